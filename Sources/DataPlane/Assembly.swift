import ControlProtocol
import Cryptography
import GatewayModel
import JSON
public import Logging
import NIOCore
import Networking
public import ServiceLifecycle
import ServiceRuntime
import Synchronization

/// Chooses and connects the parts of a proxy; the only place that does.
public enum DataPlane {
    /// The services of a proxy, in the order in which they start; they stop in the reverse order, so that the listener
    /// drains while the link still takes records.
    public static func assemble(
        _ settings: ProxySettings,
        logger: Logger
    ) async throws -> [any Service] {
        let loops = EventLoops(count: settings.loops)
        if let enrolment = settings.enrolment, !ProxyIdentity.isPresent(in: settings.stateDirectory)
        {
            try await Enrolment.run(
                enrolment,
                stateDirectory: settings.stateDirectory,
                executor: loops.executors[0]
            )
            logger.info("enrolled")
        }
        let identity = try ProxyIdentity(stateDirectory: settings.stateDirectory)
        let state = GatewayState()
        let client = try HTTPClient(loops: loops, configuration: upstreamConfiguration())
        let applier = SnapshotApplier(
            namespace: identity.namespace,
            signer: identity.snapshotKey,
            client: client,
            state: state
        )
        // One loop for the link; with a single loop a call never changes threads on its way.
        let executor = loops.executors[0]
        let link = LinkClient(
            settings: LinkClient.Settings(
                host: settings.control.host,
                port: settings.control.port,
                identity: identity,
                stateDirectory: settings.stateDirectory,
                renewalSeconds: Int64(settings.renewalSeconds),
                softwareVersion: "0.1.0"
            ),
            executor: executor,
            state: state,
            applier: applier,
            logger: logger
        )
        let keeper = CatalogueKeeper(state: state, link: link, executor: executor, logger: logger)
        let listener = Listener(
            settings: settings,
            loops: loops,
            state: state,
            link: link,
            logger: logger
        )
        return [link, keeper, listener]
    }

    private static func upstreamConfiguration() throws -> HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration()
        configuration.tls = try TLSContext(
            TLSContext.Configuration(
                role: .client,
                trust: .system,
                applicationProtocols: ["http/1.1"]
            )
        )
        return configuration
    }
}

/// Serves MCP until the process stops, then lets calls in hand end.
struct Listener: Service {
    let settings: ProxySettings
    let loops: EventLoops
    let state: GatewayState
    let link: LinkClient
    let logger: Logger

    /// How long calls in hand may take once the process stops.
    ///
    /// Default 20 s.
    private static let drainTime: Duration = .seconds(20)

    func run() async throws {
        let authenticator = Authenticator()
        let address = try SocketAddress.makeAddressResolvingHost(
            settings.listen.host,
            port: settings.listen.port
        )
        // The endpoint's name contains the port, which is known only once it is bound.
        let endpoint = EndpointHolder()
        let server = try await HTTPServer.bind([address], loops: loops) { head, connection in
            await endpoint.value?.handle(head, on: connection)
        }
        let port = server.addresses.first?.port ?? settings.listen.port
        let publicURL = settings.publicURL ?? "http://\(settings.listen.host):\(port)"
        endpoint.value = MCPEndpoint(
            settings: MCPEndpoint.Settings(
                publicURL: publicURL,
                allowedHosts: PublicHosts.names(publicURL: publicURL, port: port),
                authorizationServer: settings.authorizationServer
            ),
            state: state,
            link: link,
            authenticator: authenticator
        )
        if let file = settings.portFile {
            try Files.write(Array("\(port)\n".utf8), to: file, mode: 0o644) {
                SettingsError("OSTIARY_PORT_FILE", $0)
            }
        }
        logger.info(
            "listening",
            metadata: ["server.address": "\(settings.listen.host)", "server.port": "\(port)"]
        )
        try? await gracefulShutdown()
        await server.drain(within: Self.drainTime)
    }
}

/// Set once, before the first request can have been read.
private final class EndpointHolder: Sendable {
    private let held = Mutex<MCPEndpoint?>(nil)
    var value: MCPEndpoint? {
        get { held.withLock { $0 } }
        set { held.withLock { $0 = newValue } }
    }
}
