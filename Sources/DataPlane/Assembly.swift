import ControlProtocol
import Cryptography
import GatewayModel
import JSON
public import Logging
import NIOCore
import Networking
public import ServiceLifecycle
public import ServiceRuntime
import Synchronization

/// Chooses and connects the parts of a proxy; the only place that does.
public enum DataPlane {
    /// The services of a proxy, in the order in which they start; they stop in the reverse order, so that the listener
    /// drains while the link still takes records.
    public static func assemble(
        _ settings: ProxySettings,
        exporter: PrometheusExporter,
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
        var limits = UpstreamServer.Limits()
        limits.callTimeout = settings.callTimeout
        let client = try HTTPClient(loops: loops, configuration: upstreamConfiguration(limits))
        let applier = SnapshotApplier(
            namespace: identity.namespace,
            signer: identity.snapshotKey,
            client: client,
            state: state,
            limits: limits
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
        ) { await client.abandonExchanges() }
        let keeper = CatalogueKeeper(state: state, link: link, executor: executor, logger: logger)
        let tls = try settings.tls.map { files throws(SettingsError) in
            try ListenerTLS(files, logger: logger)
        }
        let health = health(loops, state, link)
        let admin = AdminListener(
            settings.admin,
            health: health,
            exporter: exporter,
            logger: logger
        )
        let listener = Listener(
            settings: settings,
            tls: tls?.source,
            loops: loops,
            state: state,
            link: link,
            health: health,
            logger: logger
        )
        return ([admin, tls, link, keeper, listener] as [(any Service)?]).compactMap(\.self)
    }

    /// Ready: a call that comes now is decided under a configuration in force, and its intent has somewhere to go.
    private static func health(
        _ loops: EventLoops,
        _ state: GatewayState,
        _ link: LinkClient
    ) -> Health {
        Health(
            liveness: [.eventLoops(loops)],
            readiness: [
                HealthCheck("configuration") {
                    state.snapshotVersion == nil ? "no configuration was applied yet" : nil
                },
                HealthCheck("lease") {
                    state.isLeaseCurrent(at: SystemClock.monotonic())
                        ? nil : "the configuration lease is over"
                },
                HealthCheck("link") {
                    await link.isLive ? nil : "there is no stream to control"
                },
            ]
        )
    }

    private static func upstreamConfiguration(
        _ limits: UpstreamServer.Limits
    ) throws -> HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration()
        configuration.limits.bodyBytesMax = limits.answerBytesMax
        // One bound for the whole exchange; the others must not end it before.
        configuration.headTimeout = limits.callTimeout
        configuration.pieceTimeout = limits.callTimeout
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
    let tls: TLSContextSource?
    let loops: EventLoops
    let state: GatewayState
    let link: LinkClient
    let health: Health
    let logger: Logger

    func run() async throws {
        let authenticator = Authenticator()
        // The endpoint's name contains the port, which is known only once it is bound.
        let endpoint = EndpointHolder()
        var configuration = HTTPServer.Configuration()
        configuration.tls = tls
        let server = try await listening("OSTIARY_LISTEN") {
            try await HTTPServer.bind(
                [
                    try SocketAddress.makeAddressResolvingHost(
                        settings.listen.host,
                        port: settings.listen.port
                    )
                ],
                loops: loops,
                configuration: configuration
            ) { head, connection in
                await endpoint.value?.handle(head, on: connection)
            }
        }
        let port = server.addresses.first?.port ?? settings.listen.port
        let scheme = tls == nil ? "http" : "https"
        let publicURL = settings.publicURL ?? "\(scheme)://\(settings.listen.host):\(port)"
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
        // Readiness first: whoever sends calls here is to stop before the door closes.
        health.beginDraining()
        try? await Task.sleep(for: settings.drainDelay)
        await server.drain(within: settings.drainTime)
        logger.info("drained", metadata: ["server.port": "\(port)"])
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
