import CoreMetrics
import Testing

@testable import ServiceRuntime

@Suite struct PrometheusExporterTests {
    private func lines(_ exporter: PrometheusExporter) -> [String] {
        String(decoding: exporter.render(), as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test func `names get what Prometheus wants of unit and kind`() {
        let exporter = PrometheusExporter()
        Counter(label: "ostiary.record.untaken", factory: exporter).increment(by: 3)
        Gauge(label: "ostiary.record.owed.size", factory: exporter).record(7)
        Gauge(label: "ostiary.lease.remaining", factory: exporter).record(1.5)
        Timer(label: "ostiary.intent.duration", factory: exporter).recordMilliseconds(2)
        let lines = lines(exporter)
        #expect(lines.contains("ostiary_record_untaken_total 3"))
        #expect(lines.contains("# TYPE ostiary_record_untaken_total counter"))
        #expect(lines.contains("ostiary_record_owed_size_bytes 7"))
        #expect(lines.contains("ostiary_lease_remaining_seconds 1.5"))
        #expect(lines.contains("# TYPE ostiary_intent_duration_seconds histogram"))
    }

    @Test func `a duration is counted in its bucket and in every longer one`() {
        let exporter = PrometheusExporter()
        let timer = Timer(
            label: "ostiary.intent.duration",
            dimensions: [("error.type", "x")],
            factory: exporter
        )
        // On a bound belongs to it: `le` is "less or equal".
        timer.recordNanoseconds(1_000_000)
        timer.recordNanoseconds(1_000_001)
        timer.recordSeconds(120)
        let lines = lines(exporter)
        let name = "ostiary_intent_duration_seconds"
        #expect(lines.contains("\(name)_bucket{error_type=\"x\",le=\"0.0005\"} 0"))
        #expect(lines.contains("\(name)_bucket{error_type=\"x\",le=\"0.001\"} 1"))
        #expect(lines.contains("\(name)_bucket{error_type=\"x\",le=\"0.0025\"} 2"))
        #expect(lines.contains("\(name)_bucket{error_type=\"x\",le=\"60\"} 2"))
        #expect(lines.contains("\(name)_bucket{error_type=\"x\",le=\"+Inf\"} 3"))
        #expect(lines.contains("\(name)_count{error_type=\"x\"} 3"))
        #expect(lines.contains { $0.hasPrefix("\(name)_sum{error_type=\"x\"} 120.002") })
    }

    @Test func `equal attributes are one series, whoever makes it`() {
        let exporter = PrometheusExporter()
        for _ in 0..<2 {
            Counter(
                label: "ostiary.limit.reached",
                dimensions: [("ostiary.limit", "lease")],
                factory: exporter
            )
            .increment()
        }
        #expect(
            lines(exporter).filter { !$0.hasPrefix("#") } == [
                "ostiary_limit_reached_total{ostiary_limit=\"lease\"} 2"
            ]
        )
    }

    @Test func `a value cannot end its quotes or its line`() {
        let exporter = PrometheusExporter()
        Counter(
            label: "ostiary.limit.reached",
            dimensions: [("ostiary.limit", "a\"b\\c\nd 1")],
            factory: exporter
        )
        .increment()
        #expect(
            lines(exporter).last
                == "ostiary_limit_reached_total{ostiary_limit=\"a\\\"b\\\\c\\nd 1\"} 1"
        )
    }

    @Test func `past the bound the rest is one series, and the bound is reported`() {
        let exporter = PrometheusExporter(seriesMax: 2)
        for name in ["a", "b", "c", "d"] {
            Gauge(
                label: "ostiary.listener.connections",
                dimensions: [("ostiary.listener", name)],
                factory: exporter
            )
            .record(1)
        }
        let lines = lines(exporter).filter { !$0.hasPrefix("#") }
        #expect(
            lines == [
                "ostiary_limit_reached_total{ostiary_limit=\"metric_series\"} 2",
                "ostiary_listener_connections{ostiary_listener=\"a\"} 1",
                "ostiary_listener_connections{ostiary_listener=\"b\"} 1",
                "ostiary_listener_connections{otel_metric_overflow=\"true\"} 1",
            ]
        )
    }

    @Test func `many threads lose no addition`() async {
        let exporter = PrometheusExporter()
        let counter = Counter(label: "ostiary.record.untaken", factory: exporter)
        let meter = Meter(label: "ostiary.upstream.waiting", factory: exporter)
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<1000 {
                        counter.increment()
                        meter.increment()
                        meter.increment()
                        meter.decrement()
                    }
                }
            }
        }
        let lines = lines(exporter)
        #expect(lines.contains("ostiary_record_untaken_total 8000"))
        #expect(lines.contains("ostiary_upstream_waiting 8000"))
    }

    @Test func `what the system says of the process is there`() throws {
        let exporter = PrometheusExporter()
        ProcessMetrics.install(in: exporter)
        let lines = lines(exporter)
        for name in [
            "process_cpu_time_seconds_total", "process_memory_usage_bytes",
            "process_unix_file_descriptor_count",
        ] {
            let line = try #require(lines.first { $0.hasPrefix(name + " ") }, "\(name)")
            let value = try #require(Double(line.split(separator: " ")[1]))
            #expect(value > 0, "\(name)")
        }
    }

    @Test func `every limit has a value of its own`() {
        #expect(Set(Limit.allCases.map(\.rawValue)).count == Limit.allCases.count)
        #expect(
            Set(MetricCatalogue.all.map(PrometheusExporter.exportedName)).count
                == MetricCatalogue.all.count
        )
    }
}
