public import Cryptography
public import NIOCore
import NIOPosix
import Synchronization

/// Where an upstream server listens.
public struct HTTPOrigin: Hashable, Sendable {
    /// Whether connections are made with TLS.
    public let isSecure: Bool
    /// A DNS name or an IP address; IPv6 without brackets.
    public let host: String
    /// The TCP port.
    public let port: Int

    /// An origin.
    public init(isSecure: Bool, host: String, port: Int) {
        self.isSecure = isSecure
        self.host = host
        self.port = port
    }

    /// The value of a `Host` field.
    var authority: String {
        let host = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? host : "\(host):\(port)"
    }
}

/// One request to an upstream server.
public struct HTTPClientRequest: ~Copyable, Sendable {
    /// The request line and fields; add more fields with the methods of the head.
    public var head: HTTPHeadWriter
    /// The body, sent with its length.
    public var body = ByteBuffer()
    /// How long the whole exchange may take, from ``HTTPUpstream/send(_:on:)`` to the last byte of
    /// the response.
    ///
    /// Default 60 s. A streamed response is held to ``HTTPClient/Configuration/pieceTimeout`` alone
    /// when this is `nil`.
    public var timeout: Duration? = .seconds(60)

    let method: HTTPMethod
}

/// Talks HTTP/1.1 to upstream servers over pooled connections.
///
/// Each event loop has connections of its own: a call made on a loop stays on it. A request is sent
/// at most once. A failure says whether the server can have seen the request
/// (``HTTPClientError/progress``), and only the caller knows whether sending it again is harmless.
public final class HTTPClient: Sendable {
    /// What a client is told.
    public struct Configuration: Sendable {
        /// The bounds for responses.
        public var limits = HTTPLimits()
        /// The most connections to one origin from one loop.
        ///
        /// Default 128.
        public var connectionsPerOriginMax = 128
        /// The most requests that wait for a connection to one origin on one loop; further ones
        /// fail at once.
        ///
        /// Default 1,024.
        public var waitersMax = 1024
        /// How long a connection may be kept without use.
        ///
        /// Default 15 s: shorter than servers keep theirs, since a connection that the server
        /// closes at the moment of use costs a request.
        public var idleTimeout: Duration = .seconds(15)
        /// For the TCP connection and the TLS handshake, each.
        ///
        /// Default 5 s.
        public var connectTimeout: Duration = .seconds(5)
        /// From the request's last byte to the response's head.
        ///
        /// Default 60 s.
        public var headTimeout: Duration = .seconds(60)
        /// The longest pause within a response's body.
        ///
        /// Default 60 s.
        public var pieceTimeout: Duration = .seconds(60)
        /// How servers of `https` origins are verified; without it such an origin cannot be
        /// connected to.
        public var tls: TLSContext?
        /// Which addresses may be connected to.
        ///
        /// Default: all.
        public var addressPolicy: AddressPolicy?

        /// The defaults.
        public init() {}
    }

    let loops: EventLoops
    let configuration: Configuration
    private let upstreams = Mutex<[HTTPOrigin: HTTPUpstream]>([:])

    /// A client on these loops.
    public init(loops: EventLoops, configuration: Configuration = Configuration()) {
        self.loops = loops
        self.configuration = configuration
    }

    /// The connections to one origin.
    ///
    /// Keep it; the lookup takes a lock.
    public func upstream(_ origin: HTTPOrigin) -> HTTPUpstream {
        upstreams.withLock { known in
            if let upstream = known[origin] { return upstream }
            let upstream = HTTPUpstream(origin, self)
            known[origin] = upstream
            return upstream
        }
    }

    /// Ends every exchange in hand with ``HTTPClientError/Reason/abandoned``, on all loops.
    ///
    /// For a process that may not go on with what it began. Exchanges that begin afterwards are not concerned.
    public func abandonExchanges() async {
        for upstream in upstreams.withLock({ Array($0.values) }) { await upstream.abandon() }
    }

    /// Closes all idle connections; those in use close when their exchange ends.
    public func shutdown() async {
        for upstream in upstreams.withLock({ Array($0.values) }) { await upstream.shutdown() }
    }
}

/// The connections to one origin, a pool on each loop.
public final class HTTPUpstream: Sendable {
    /// The origin.
    public let origin: HTTPOrigin
    private let authority: String
    private let pools: [UpstreamPool]

    init(_ origin: HTTPOrigin, _ client: HTTPClient) {
        self.origin = origin
        authority = origin.authority
        let connector = UpstreamConnector(origin: origin, configuration: client.configuration)
        pools = client.loops.executors.map { UpstreamPool($0, connector) }
    }

    /// A request to this origin, its head begun with the request line and `Host`.
    ///
    /// - Parameter target: Path and query in origin form. A byte that cannot stand there makes the
    ///   request unsendable.
    public func request(
        _ method: HTTPMethod,
        _ target: HTTPFieldValue,
        on executor: LoopExecutor
    ) -> HTTPClientRequest {
        var buffer = pools[executor.index].takeSpareBuffer()
        var head = HTTPHeadWriter(method: method, target: target.bytes, reusing: &buffer)
        head.add("host", authority)
        return HTTPClientRequest(head: head, method: method)
    }

    /// Sends a request and reads the head of the response.
    ///
    /// Cancelling the task closes the connection, then and while the body is read.
    ///
    /// - Parameter executor: The loop the caller runs on.
    /// - Throws: ``HTTPClientError``; retry only what is `unsent` or harmless twice.
    public func send(
        _ request: consuming HTTPClientRequest,
        on executor: LoopExecutor
    ) async throws(HTTPClientError) -> HTTPClientResponse {
        executor.loop.preconditionInEventLoop()
        return try await pools[executor.index].send(request)
    }

    func abandon() async {
        for pool in pools { await pool.abandon() }
    }

    func shutdown() async {
        for pool in pools { await pool.shutdown() }
    }
}

/// Makes connections to one origin.
struct UpstreamConnector: Sendable {
    let origin: HTTPOrigin
    let configuration: HTTPClient.Configuration

    func connect(on executor: LoopExecutor) async throws(HTTPClientError.Reason) -> Wire {
        let configuration = configuration
        let origin = origin
        let wire = Wire(executor: executor, unreadBytesMax: configuration.limits.unreadBytesMax)
        let handshake = executor.loop.makePromise(of: Void.self)
        let bootstrap = ClientBootstrap(group: executor.loop)
            .connectTimeout(configuration.connectTimeout.timeAmount)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let policy = configuration.addressPolicy {
                        try pipeline.addHandler(AddressGuard(policy))
                    }
                    if origin.isSecure {
                        try pipeline.addHandler(Self.tls(origin, configuration, handshake))
                    }
                    try pipeline.addHandler(wire)
                }
            }
        do {
            _ = try await bootstrap.connect(host: origin.host, port: origin.port).get()
        } catch {
            handshake.fail(error)
            throw Self.reason(error)
        }
        guard origin.isSecure else {
            handshake.succeed()
            return wire
        }
        do {
            try await handshake.futureResult.get()
        } catch {
            wire.close()
            throw .tlsFailed
        }
        return wire
    }

    private static func tls(
        _ origin: HTTPOrigin,
        _ configuration: HTTPClient.Configuration,
        _ handshake: EventLoopPromise<Void>
    ) throws -> TLSHandler {
        guard let context = configuration.tls else { throw TLSError.notEstablished }
        let isAddress = (try? SocketAddress(ipAddress: origin.host, port: 0)) != nil
        let session = try TLSSession(
            client: context,
            to: isAddress ? .address(origin.host) : .host(origin.host)
        )
        return TLSHandler(session, timeout: configuration.connectTimeout) { outcome in
            switch outcome {
            case .success(let agreement):
                let name = agreement.applicationProtocol
                if name == nil || name == "http/1.1" {
                    handshake.succeed()
                } else {
                    handshake.fail(TLSError.noApplicationProtocol)
                }
            case .failure(let error):
                handshake.fail(error)
            }
        }
    }

    private static func reason(_ error: any Error) -> HTTPClientError.Reason {
        switch error {
        case is AddressGuard.Refused:
            return .addressRefused
        case is TLSError:
            return .tlsFailed
        case ChannelError.connectTimeout:
            return .connectTimedOut
        case let failure as NIOConnectionError:
            // One refused address among several is no news; only if nothing else was tried.
            let causes = failure.connectionErrors.map(\.error)
            if !causes.isEmpty, causes.allSatisfy({ $0 is AddressGuard.Refused }) {
                return .addressRefused
            }
            let isTimeout: (any Error) -> Bool = {
                if case ChannelError.connectTimeout = $0 { true } else { false }
            }
            return causes.contains(where: isTimeout) ? .connectTimedOut : .connectFailed
        default:
            return .connectFailed
        }
    }
}

/// Lets a connect through when the policy allows its address.
private final class AddressGuard: ChannelOutboundHandler {
    typealias OutboundIn = Never

    struct Refused: Error {}

    private let policy: AddressPolicy

    init(_ policy: @escaping AddressPolicy) { self.policy = policy }

    func connect(
        context: ChannelHandlerContext,
        to address: SocketAddress,
        promise: EventLoopPromise<Void>?
    ) {
        guard policy(address) else {
            promise?.fail(Refused())
            return
        }
        context.connect(to: address, promise: promise)
    }
}
