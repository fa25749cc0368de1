import CoreMetrics
public import Cryptography
public import NIOCore
import NIOPosix
import Synchronization

/// Listens for HTTP/1.1 and runs one ``HTTPServerConnection`` per client.
public final class HTTPServer: Sendable {
    /// What a listener is told.
    public struct Configuration: Sendable {
        /// What the listener is called in metrics, `ostiary.listener`.
        public var name = "mcp"
        /// The bounds of each connection.
        public var limits = HTTPLimits()
        /// The most connections at a time, over all loops.
        ///
        /// Default 50,000. Further ones are closed as they are accepted.
        public var connectionsMax = 50_000
        /// How many connections the kernel keeps for us to accept.
        ///
        /// Default 1024.
        public var backlog = 1024

        /// The server's side of TLS; plain TCP without it.
        public var tls: TLSContextSource?
        /// Takes over a channel whose handshake agreed on `h2`.
        ///
        /// Called on the channel's loop, to add its handlers above TLS. Without it, such a
        /// connection closes.
        public var http2:
            (@Sendable (any Channel, LoopExecutor, TLSSession.Agreement) throws -> Void)?

        /// The defaults.
        public init() {}
    }

    /// The addresses in use; with port 0 asked for, the port that was given.
    public let addresses: [SocketAddress]

    private let listeners: [any Channel]
    private let census: Census

    /// Binds and begins to accept.
    ///
    /// - Throws: What the system says about an address, an `IOError`. Nothing stays bound then.
    public static func bind(
        _ addresses: [SocketAddress],
        loops: EventLoops,
        configuration: Configuration = Configuration(),
        handler: @escaping HTTPHandler
    ) async throws -> HTTPServer {
        let metrics = ListenerMetrics(configuration.name)
        let census = Census(
            loops: loops,
            connectionsMax: configuration.connectionsMax,
            metrics: metrics
        )
        let bootstrap = ServerBootstrap(group: loops.group)
            .serverChannelOption(.backlog, value: CInt(clamping: configuration.backlog))
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let executor = loops.executor(of: channel.eventLoop), census.admit()
                    else { throw ChannelError.inputClosed }
                    channel.closeFuture.whenComplete { _ in census.leave() }
                    let site = Site(executor: executor, configuration, handler, census)
                    try site.initialize(channel)
                }
            }
        var listeners: [any Channel] = []
        do {
            for address in addresses {
                listeners.append(try await bootstrap.bind(to: address).get())
            }
        } catch {
            for listener in listeners { try? await listener.close() }
            throw error
        }
        return HTTPServer(listeners, census)
    }

    private init(_ listeners: [any Channel], _ census: Census) {
        self.listeners = listeners
        self.census = census
        addresses = listeners.compactMap(\.localAddress)
    }

    /// Number of open connections.
    public var connectionCount: Int { census.count }

    /// Stops accepting, lets requests in hand finish, and cancels what is left at the deadline.
    ///
    /// Idle connections close at once, others after their response, which says `Connection: close`.
    public func drain(within time: Duration) async {
        for listener in listeners { try? await listener.close() }
        await census.drain(within: time)
    }
}

/// Sets up the channels of one loop.
private struct Site {
    let executor: LoopExecutor
    let configuration: HTTPServer.Configuration
    let handler: HTTPHandler
    let census: Census

    init(
        executor: LoopExecutor,
        _ configuration: HTTPServer.Configuration,
        _ handler: @escaping HTTPHandler,
        _ census: Census
    ) {
        self.executor = executor
        self.configuration = configuration
        self.handler = handler
        self.census = census
    }

    func initialize(_ channel: any Channel) throws {
        guard let source = configuration.tls else { return try startHTTP1(channel, tls: nil) }
        let session = try TLSSession(server: source.current)
        let tls = TLSHandler(session, timeout: configuration.limits.headTimeout) { outcome in
            do {
                let agreement = try outcome.get()
                guard agreement.applicationProtocol == "h2" else {
                    return try startHTTP1(channel, tls: agreement)
                }
                guard let http2 = configuration.http2 else { throw TLSError.noApplicationProtocol }
                try http2(channel, executor, agreement)
            } catch {
                channel.close(promise: nil)
            }
        }
        try channel.pipeline.syncOperations.addHandler(tls)
    }

    private func startHTTP1(_ channel: any Channel, tls: TLSSession.Agreement?) throws {
        let wire = Wire(
            executor: executor,
            unreadBytesMax: configuration.limits.unreadBytesMax
        )
        try channel.pipeline.syncOperations.addHandler(wire)
        census.add(
            HTTPServerConnection(
                wire: wire,
                peerAddress: channel.remoteAddress,
                tls: tls,
                limits: configuration.limits,
                metrics: census.metrics,
                handler: handler
            )
        )
    }
}

/// Counts the connections of a server, and knows them by loop for draining.
private final class Census: Sendable {
    private let open = Atomic<Int>(0)
    private let connectionsMax: Int
    private let wards: [Ward]
    let metrics: ListenerMetrics

    /// The connections on one loop.
    private actor Ward {
        nonisolated let executor: LoopExecutor
        nonisolated var unownedExecutor: UnownedSerialExecutor {
            executor.asUnownedSerialExecutor()
        }
        private var connections: [ObjectIdentifier: HTTPServerConnection] = [:]
        private var isDraining = false
        private var emptied: CheckedContinuation<Void, Never>?
        private let metrics: ListenerMetrics

        init(_ executor: LoopExecutor, _ metrics: ListenerMetrics) {
            self.executor = executor
            self.metrics = metrics
        }

        func add(_ connection: HTTPServerConnection) {
            connections[ObjectIdentifier(connection)] = connection
            if isDraining { connection.assumeIsolated { $0.drain() } }
        }

        func remove(_ connection: ObjectIdentifier) {
            connections[connection] = nil
            if connections.isEmpty {
                emptied?.resume()
                emptied = nil
            }
        }

        func drain(within time: Duration) async {
            beginDraining()
            guard !connections.isEmpty else { return }
            let timer = executor.loop.scheduleTask(in: time.timeAmount) {
                self.assumeIsolated { $0.abort() }
            }
            await withCheckedContinuation { emptied = $0 }
            timer.cancel()
        }

        private func beginDraining() {
            isDraining = true
            for connection in connections.values { connection.assumeIsolated { $0.drain() } }
        }

        private func abort() {
            metrics.drainTime.increment()
            for connection in connections.values { connection.assumeIsolated { $0.abort() } }
            executor.drain()
        }
    }

    init(loops: EventLoops, connectionsMax: Int, metrics: ListenerMetrics) {
        self.connectionsMax = connectionsMax
        self.metrics = metrics
        wards = loops.executors.map { Ward($0, metrics) }
    }

    var count: Int { open.load(ordering: .relaxed) }

    func admit() -> Bool {
        if open.add(1, ordering: .relaxed).newValue <= connectionsMax {
            metrics.connections.increment()
            return true
        }
        open.subtract(1, ordering: .relaxed)
        metrics.connectionsReached.increment()
        return false
    }

    func leave() {
        open.subtract(1, ordering: .relaxed)
        metrics.connections.decrement()
    }

    /// On the connection's loop.
    func add(_ connection: HTTPServerConnection) {
        let ward = wards[connection.executor.index]
        let id = ObjectIdentifier(connection)
        ward.assumeIsolated { $0.add(connection) }
        connection.assumeIsolated {
            $0.start {
                ward.assumeIsolated { $0.remove(id) }
            }
        }
    }

    func drain(within time: Duration) async {
        await withTaskGroup { group in
            for ward in wards { group.addTask { await ward.drain(within: time) } }
        }
    }
}
