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
            let logger = Logger(label: "ostiary.proxy")
            try await Daemon.run(DataPlane.assemble(settings, logger: logger), logger: logger)
        }
    }
}
