import CoreMetrics
import GatewayModel
import Glibc

/// What the operating system says of this process, read when somebody asks.
struct ProcessMetrics: Sendable {
    private let cpu: GaugeCell
    private let memory: GaugeCell
    private let descriptors: GaugeCell
    private let uptime: GaugeCell
    private let startedAt = SystemClock.monotonic()

    /// Adds them to an exporter.
    static func install(in exporter: PrometheusExporter) {
        let metrics = ProcessMetrics(exporter)
        exporter.addCollector { metrics.collect() }
    }

    private init(_ exporter: PrometheusExporter) {
        cpu = exporter.gauge("process.cpu.time", [])
        memory = exporter.gauge("process.memory.usage", [])
        descriptors = exporter.gauge("process.unix.file_descriptor.count", [])
        uptime = exporter.gauge("process.uptime", [])
    }

    private func collect() {
        var time = timespec()
        if clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 {
            cpu.set(Double(time.tv_sec) + Double(time.tv_nsec) / 1e9)
        }
        // The second number is the resident pages (proc(5)).
        if let bytes = try? Files.read("/proc/self/statm", orThrow: { Unreadable(reason: $0) }) {
            let fields = bytes.split(separator: 0x20)
            if fields.count > 1, let pages = Int(String(decoding: fields[1], as: UTF8.self)) {
                memory.set(Double(pages * sysconf(Int32(_SC_PAGESIZE))))
            }
        }
        if let folder = opendir("/proc/self/fd") {
            // Without `.`, `..` and the descriptor that reads the folder.
            var count = -3
            while readdir(folder) != nil { count += 1 }
            closedir(folder)
            descriptors.set(Double(max(0, count)))
        }
        uptime.set(Double(SystemClock.monotonic().milliseconds(since: startedAt)) / 1000)
    }

    private struct Unreadable: Error {
        let reason: String
    }
}
