import JSON
public import Logging
import NIOCore
public import Networking
public import ServiceLifecycle

/// Answers operators and their machines, apart from everything else: `/livez`, `/readyz`, `/metrics`.
///
/// It has a thread of its own, so that it can say that the others are stuck, and it is the last to stop. It knows no
/// callers and no secrets; it listens on loopback unless told otherwise, and whoever reaches it may read all it says.
public struct AdminListener: Service {
    private let address: (host: String, port: Int)
    private let portFile: String?
    private let health: Health
    private let exporter: PrometheusExporter
    private let logger: Logger

    /// - Parameters:
    ///   - address: where it listens; port 0 takes a free one.
    ///   - portFile: a file that gets the port in use.
    public init(
        _ settings: AdminSettings,
        health: Health,
        exporter: PrometheusExporter,
        logger: Logger
    ) {
        address = settings.listen
        portFile = settings.portFile
        self.health = health
        self.exporter = exporter
        self.logger = logger
    }

    /// Serves until the process stops.
    public func run() async throws {
        let loops = EventLoops(count: 1)
        var configuration = HTTPServer.Configuration()
        configuration.name = "admin"
        configuration.connectionsMax = 64
        configuration.limits.bodyBytesMax = 0
        let (health, exporter) = (health, exporter)
        let server = try await listening("OSTIARY_ADMIN_LISTEN") {
            try await HTTPServer.bind(
                [try SocketAddress.makeAddressResolvingHost(address.host, port: address.port)],
                loops: loops,
                configuration: configuration
            ) { head, connection in
                await Self.answer(head, health, exporter, on: connection)
            }
        }
        let port = server.addresses.first?.port ?? address.port
        if let portFile {
            try Files.write(Array("\(port)\n".utf8), to: portFile, mode: 0o644) {
                SettingsError("OSTIARY_ADMIN_PORT_FILE", $0)
            }
        }
        logger.info(
            "admin listener is ready",
            metadata: ["server.address": "\(address.host)", "server.port": "\(port)"]
        )
        try? await gracefulShutdown()
        await server.drain(within: .seconds(1))
        try await loops.shutdown()
    }

    private static func answer(
        _ head: HTTPRequestHead,
        _ health: Health,
        _ exporter: PrometheusExporter,
        on connection: isolated HTTPServerConnection
    ) async {
        guard head.method == .get || head.method == .head else {
            var answer = connection.makeResponse(405)
            answer.add("allow", "GET, HEAD")
            try? connection.respond(answer)
            return
        }
        switch head.path.string {
        case "/livez": respond(await health.live(), "live", on: connection)
        case "/readyz": respond(await health.ready(), "ready", on: connection)
        case "/metrics":
            var answer = connection.makeResponse(200)
            answer.add("content-type", PrometheusExporter.contentType)
            try? connection.respond(answer, body: ByteBuffer(bytes: exporter.render()))
        default: try? connection.respond(connection.makeResponse(404))
        }
    }

    private static func respond(
        _ report: Health.Report,
        _ well: String,
        on connection: isolated HTTPServerConnection
    ) {
        var answer = connection.makeResponse(report.isWell ? 200 : 503)
        answer.add("content-type", "application/json")
        answer.add("cache-control", "no-store")
        try? connection.respond(answer, body: ByteBuffer(bytes: document(report, well)))
    }

    static func document(_ report: Health.Report, _ well: String) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("status", report.isWell ? well : "not " + well)
        writer.key("checks")
        writer.beginArray()
        for check in report.checks {
            writer.beginObject()
            writer.member("name", check.name)
            writer.member("status", check.problem == nil ? "pass" : "fail")
            if let problem = check.problem { writer.member("reason", problem) }
            writer.endObject()
        }
        writer.endArray()
        writer.endObject()
        return writer.bytes + [0x0A]
    }
}

/// Where the admin listener is.
public struct AdminSettings: Sendable {
    /// `OSTIARY_ADMIN_LISTEN`; port 0 takes a free one.
    public var listen: (host: String, port: Int)
    /// `OSTIARY_ADMIN_PORT_FILE`: a file that gets the port in use.
    public var portFile: String?

    /// Reads the settings.
    ///
    /// - Parameter port: the process's own default.
    public init(_ reader: SettingsReader, port: Int) throws(SettingsError) {
        listen = try reader.address("admin.listen", default: ("127.0.0.1", port))
        portFile = reader.text("admin.port.file")
    }

    /// Settings for tests and tools: a free port on loopback.
    public init() {
        listen = ("127.0.0.1", 0)
    }
}

extension HealthCheck {
    /// Whether every event loop takes work: one that does not serves nobody, and only a restart helps.
    public static func eventLoops(_ loops: EventLoops) -> HealthCheck {
        HealthCheck("event-loops") {
            for executor in loops.executors {
                _ = try? await executor.loop.submit {}.get()
            }
            return nil
        }
    }
}
