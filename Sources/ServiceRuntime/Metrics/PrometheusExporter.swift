public import CoreMetrics
import Synchronization

/// The process's metrics, and their text for Prometheus (exposition format 0.0.4).
///
/// Metrics are made through swift-metrics, once, by whoever counts; counting itself is an addition to an atomic. Names are
/// translated as OpenTelemetry's compatibility rules say: dots become underscores, the unit and `_total` are added.
public final class PrometheusExporter: MetricsFactory {
    /// The media type of ``render()``.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// The most series of one metric.
    ///
    /// Default 4,096. Further ones are counted together in one series, `otel_metric_overflow="true"` (OpenTelemetry's
    /// metrics SDK, cardinality limits).
    public let seriesMax: Int

    private enum Cell {
        case counter(CounterCell)
        case gauge(GaugeCell)
        case histogram(HistogramCell)
    }

    private struct Contents {
        /// By name, then by rendered attributes.
        var families: [String: [String: Cell]] = [:]
        var collectors: [@Sendable () -> Void] = []
    }

    private let contents = Mutex(Contents())
    private let overflows = CounterCell()

    /// An exporter that knows no series yet.
    public init(seriesMax: Int = 4096) {
        self.seriesMax = seriesMax
    }

    /// Adds what is measured only when somebody asks.
    ///
    /// Called before each rendering, on the thread that renders; it must not wait.
    public func addCollector(_ collector: @escaping @Sendable () -> Void) {
        contents.withLock { $0.collectors.append(collector) }
    }

    // MARK: Series

    private func cell(
        _ label: String,
        _ dimensions: [(String, String)],
        _ make: () -> Cell
    ) -> Cell? {
        guard MetricCatalogue.byName[label] != nil else {
            assertionFailure("\(label) is not in MetricCatalogue")
            return nil
        }
        let attributes = Self.attributes(dimensions)
        return contents.withLock { contents in
            let series = contents.families[label] ?? [:]
            if let known = series[attributes] { return known }
            guard series.count < seriesMax else {
                overflows.increment(by: 1)
                let rest = "otel_metric_overflow=\"true\""
                if let known = series[rest] { return known }
                let made = make()
                contents.families[label, default: [:]][rest] = made
                return made
            }
            let made = make()
            contents.families[label, default: [:]][attributes] = made
            return made
        }
    }

    private static func attributes(_ dimensions: [(String, String)]) -> String {
        dimensions.map { key, value in
            var escaped = ""
            for scalar in value.unicodeScalars {
                switch scalar {
                case "\\": escaped += "\\\\"
                case "\"": escaped += "\\\""
                case "\n": escaped += "\\n"
                default: escaped.unicodeScalars.append(scalar)
                }
            }
            return "\(prometheusName(key))=\"\(escaped)\""
        }
        .joined(separator: ",")
    }

    private static func prometheusName(_ name: String) -> String {
        String(name.map { $0 == "." ? "_" : $0 })
    }

    // MARK: MetricsFactory

    /// A counter's handle.
    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        guard case .counter(let found)? = cell(label, dimensions, { .counter(CounterCell()) })
        else { return CounterCell() }
        return found
    }

    /// A counter of fractions.
    public func makeFloatingPointCounter(
        label: String,
        dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler { gauge(label, dimensions) }

    /// A gauge that is set, or moved up and down.
    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        gauge(label, dimensions)
    }

    /// A gauge; distributions are durations here, ``makeTimer(label:dimensions:)``.
    public func makeRecorder(
        label: String,
        dimensions: [(String, String)],
        aggregate: Bool
    ) -> any RecorderHandler { gauge(label, dimensions) }

    /// A histogram of durations.
    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        guard case .histogram(let found)? = cell(label, dimensions, { .histogram(HistogramCell()) })
        else { return HistogramCell() }
        return found
    }

    func gauge(_ label: String, _ dimensions: [(String, String)]) -> GaugeCell {
        guard case .gauge(let found)? = cell(label, dimensions, { .gauge(GaugeCell()) })
        else { return GaugeCell() }
        return found
    }

    /// Series live as long as the process: a counter that goes away and comes back would look like a restart.
    public func destroyCounter(_ handler: any CounterHandler) {}
    /// See ``destroyCounter(_:)``.
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    /// See ``destroyCounter(_:)``.
    public func destroyMeter(_ handler: any MeterHandler) {}
    /// See ``destroyCounter(_:)``.
    public func destroyRecorder(_ handler: any RecorderHandler) {}
    /// See ``destroyCounter(_:)``.
    public func destroyTimer(_ handler: any TimerHandler) {}

    // MARK: Text

    /// Everything, as Prometheus reads it.
    public func render() -> [UInt8] {
        for collect in contents.withLock({ $0.collectors }) { collect() }
        var families = contents.withLock { $0.families }
        if overflows.value > 0 {
            families["ostiary.limit.reached", default: [:]]["ostiary_limit=\"metric_series\""] =
                .counter(overflows)
        }
        var text = ""
        for (name, series) in families.sorted(by: { $0.key < $1.key }) {
            guard let definition = MetricCatalogue.byName[name] else { continue }
            let exported = Self.exportedName(definition)
            text += "# HELP \(exported) \(definition.summary)\n"
            text += "# TYPE \(exported) \(definition.kind.rawValue)\n"
            for (attributes, cell) in series.sorted(by: { $0.key < $1.key }) {
                Self.render(exported, attributes, cell, into: &text)
            }
        }
        return Array(text.utf8)
    }

    /// The name in the text: `ostiary.lease.remaining` in `s` becomes `ostiary_lease_remaining_seconds`.
    public static func exportedName(_ definition: MetricDefinition) -> String {
        let unit =
            switch definition.unit {
            case "s": "_seconds"
            case "By": "_bytes"
            default: ""
            }
        return prometheusName(definition.name) + unit
            + (definition.kind == .counter ? "_total" : "")
    }

    private static func render(
        _ name: String,
        _ attributes: String,
        _ cell: Cell,
        into text: inout String
    ) {
        let suffix = attributes.isEmpty ? "" : "{\(attributes)}"
        switch cell {
        case .counter(let cell):
            text += "\(name)\(suffix) \(cell.value)\n"
        case .gauge(let cell):
            text += "\(name)\(suffix) \(number(cell.value))\n"
        case .histogram(let cell):
            let counts = cell.cumulative
            // A series that was made ahead of its first value is not worth its nineteen lines.
            guard let total = counts.last, total > 0 else { return }
            let comma = attributes.isEmpty ? "" : ","
            for (bound, count) in zip(HistogramCell.bounds, counts) {
                let limit = number(Double(bound) / 1e9)
                text += "\(name)_bucket{\(attributes)\(comma)le=\"\(limit)\"} \(count)\n"
            }
            text += "\(name)_bucket{\(attributes)\(comma)le=\"+Inf\"} \(total)\n"
            text += "\(name)_sum\(suffix) \(number(cell.sumSeconds))\n"
            text += "\(name)_count\(suffix) \(total)\n"
        }
    }

    /// Whole numbers without a fraction.
    private static func number(_ value: Double) -> String {
        value.magnitude < 9e15 && value == value.rounded() ? "\(Int64(value))" : "\(value)"
    }
}
