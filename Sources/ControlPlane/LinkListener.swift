import Cryptography
import GatewayModel
import Logging
import NIOCore
import Networking
public import ServiceLifecycle
import ServiceRuntime
import Synchronization

/// One listening socket of the link: TLS, HTTP/2, gRPC.
///
/// Control's own certificate lives for a day and is replaced every eight hours; connections keep
/// the one they began with.
public final class LinkListener: Service {
    /// Who may connect.
    enum Admission: Sendable {
        /// Holders of a certificate of the authority.
        case certified
        /// Everybody: only enrolment is served.
        case anybody
    }

    private let listener: HTTP2Listener
    private let server: GRPCServer
    private let context: CurrentContext
    private let onDraining: @Sendable () async -> Void
    private let logger: Logger

    /// The port in use.
    public var port: Int { listener.port }

    init(
        host: String,
        port: Int,
        loops: EventLoops,
        admitting admission: Admission,
        authority: LinkAuthority,
        server: GRPCServer,
        logger: Logger,
        onDraining: @escaping @Sendable () async -> Void = {}
    ) async throws {
        let context = try CurrentContext(authority, admission)
        self.context = context
        self.server = server
        self.onDraining = onDraining
        self.logger = logger
        listener = try await HTTP2Listener(
            host: host,
            port: port,
            on: loops.executors[0].loop
        ) { channel in
            let agreement = Agreement()
            let session = try TLSSession(server: context.value)
            let tls = TLSHandler(session, timeout: .seconds(10)) { outcome in
                agreement.settle(outcome)
            }
            try channel.pipeline.syncOperations.addHandler(tls)
            return try HTTP2ServerConnection(addingTo: channel) { agreement.security }
        }
    }

    /// Serves until the process shuts down; then sessions are told, and get five seconds.
    public func run() async throws {
        let (listener, server, onDraining) = (listener, server, onDraining)
        try await withThrowingTaskGroup { group in
            group.addTask { try await listener.run { await server.serve($0) } }
            group.addTask { [self] in await renew() }
            group.addTask {
                try? await gracefulShutdown()
                await onDraining()
                await listener.shutdown(within: .seconds(5))
            }
            // A listener that fails ends the others; a shutdown ends all three.
            try await group.waitForAll()
        }
    }

    private func renew() async {
        await cancelWhenGracefulShutdown { [self] in
            while (try? await Task.sleep(for: .seconds(8 * 3600))) != nil {
                do {
                    try context.renew()
                } catch {
                    logger.error(
                        "control's certificate was not renewed",
                        metadata: ["error.message": "\(error)"]
                    )
                }
            }
        }
    }
}

/// The TLS context for new connections.
private final class CurrentContext: Sendable {
    private let authority: LinkAuthority
    private let admission: LinkListener.Admission
    private let current: Mutex<TLSContext>

    init(_ authority: LinkAuthority, _ admission: LinkListener.Admission) throws {
        self.authority = authority
        self.admission = admission
        current = Mutex(try Self.make(authority, admission))
    }

    var value: TLSContext { current.withLock { $0 } }

    func renew() throws {
        let fresh = try Self.make(authority, admission)
        current.withLock { $0 = fresh }
    }

    private static func make(
        _ authority: LinkAuthority,
        _ admission: LinkListener.Admission
    ) throws -> TLSContext {
        let trust: TLSTrust =
            switch admission {
            case .certified: .roots([authority.authority.certificate])
            case .anybody: .nobody
            }
        return try TLSContext(
            TLSContext.Configuration(
                role: .server,
                identity: authority.ownIdentity(now: SystemClock.now().seconds),
                trust: trust,
                applicationProtocols: ["h2"]
            )
        )
    }
}

/// What a handshake proved, once it has.
private final class Agreement: Sendable {
    private let settled = Mutex<TransportSecurity?>(nil)

    var security: TransportSecurity? { settled.withLock { $0 } }

    func settle(_ outcome: TLSHandler.Handshake) {
        guard case .success(let agreement) = outcome else { return }
        settled.withLock {
            $0 = TransportSecurity(
                applicationProtocol: agreement.applicationProtocol.map { Array($0.utf8) },
                peerCertificate: agreement.peerCertificate?.der,
                peerIdentity: agreement.peerCertificate
            )
        }
    }
}
