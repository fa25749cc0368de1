import DataPlane
import Logging
import ServiceRuntime

/// The data plane's process: settings, assembly, run.
@main
enum OstiaryProxy {
    static func main() async {
        await Daemon.main("ostiary-proxy") {
            let settings = try ProxySettings(SettingsReader())
            Daemon.bootstrapLogging(level: settings.logLevel)
            let exporter = Daemon.bootstrapMetrics()
            let logger = Logger(label: "ostiary.proxy")
            let services = try await DataPlane.assemble(
                settings,
                exporter: exporter,
                logger: logger
            )
            try await Daemon.run(services, logger: logger, grace: settings.grace)
        }
    }
}
