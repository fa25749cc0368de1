import CoreMetrics
import Glibc
public import Logging
public import ServiceLifecycle
import UnixSignals

/// Runs the services of a process until one ends or a signal asks for it.
public enum Daemon {
    /// Makes every logger of the process write JSON lines to standard error.
    public static func bootstrapLogging(level: Logger.Level) {
        LoggingSystem.bootstrap { JSONLogHandler(label: $0, level: level) }
    }

    /// Makes every metric of the process go to an exporter; before the first one is made.
    public static func bootstrapMetrics() -> PrometheusExporter {
        let exporter = PrometheusExporter()
        MetricsSystem.bootstrap(exporter)
        ProcessMetrics.install(in: exporter)
        return exporter
    }

    /// Runs services in this order and ends them in the reverse order.
    ///
    /// When one fails, an address that is taken for example, the others shut down and its error is thrown.
    /// SIGTERM and SIGINT shut down gracefully: listeners close, work in hand ends, within `grace`; then everything
    /// that is left is cancelled.
    public static func run(
        _ services: [any Service],
        logger: Logger,
        grace: Duration = .seconds(25)
    ) async throws {
        var configuration = ServiceGroupConfiguration(
            services: services.map {
                .init(
                    service: $0,
                    successTerminationBehavior: .gracefullyShutdownGroup,
                    // Services end well on this path; one that was merely cancelled may try again for ever.
                    failureTerminationBehavior: .gracefullyShutdownGroup
                )
            },
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: logger
        )
        configuration.maximumGracefulShutdownDuration = grace
        try await ServiceGroup(configuration: configuration).run()
    }

    /// Runs a process's main body; an error becomes one line on standard error and exit status 1.
    ///
    /// Whoever starts a daemon wants the sentence, not a stack trace.
    public static func main(_ name: String, _ body: () async throws -> Void) async {
        do {
            try await body()
        } catch {
            let line = Array("\(name): \(error)\n".utf8)
            _ = line.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
            exit(1)
        }
    }
}
