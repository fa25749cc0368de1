public import NIOCore
import NIOPosix
import Synchronization

/// The server's end of one connection. An actor on the connection's event loop.
public actor HTTP2ServerConnection {
    /// The loop's.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { execution.unowned }

    private nonisolated let execution: HTTP2Execution
    private nonisolated let bound: NIOLoopBound<HTTP2ChannelHandler>

    /// Adds HTTP/2 to a channel whose handlers below it already carry plain bytes.
    ///
    /// Called on the event loop.
    ///
    /// - Parameters:
    ///   - limits: What the connection may use.
    ///   - execution: Where its tasks run; the channel's loop by default.
    ///   - security: Read once after the handshake; `nil` for plain TCP with prior knowledge.
    public init(
        addingTo channel: any Channel,
        limits: HTTP2Limits = HTTP2Limits(),
        execution: HTTP2Execution? = nil,
        security: (@Sendable () -> TransportSecurity?)? = nil
    ) throws {
        self.execution = execution ?? HTTP2Execution(loop: channel.eventLoop)
        let handler = HTTP2ChannelHandler(
            role: .server,
            limits: limits,
            execution: self.execution,
            security: security
        )
        bound = NIOLoopBound(handler, eventLoop: channel.eventLoop)
        try channel.pipeline.syncOperations.addHandler(handler)
    }

    private var handler: HTTP2ChannelHandler { bound.value }

    /// The next stream the client opened; `nil` when there will be no more.
    ///
    /// One task at a time may ask. When it is cancelled, `nil` is returned.
    public func nextStream() async -> HTTP2Stream? {
        while true {
            if handler.failure != nil || Task.isCancelled { return nil }
            if let stream = handler.nextArrival() { return stream }
            precondition(handler.acceptor == nil, "two tasks accept streams of one connection")
            let (bound, loop) = (self.bound, execution.loop)
            await withTaskCancellationHandler {
                await withUnsafeContinuation { continuation in
                    // `self` keeps this closure on the loop, and so the cancellation comes before
                    // or after it.
                    if Task.isCancelled {
                        continuation.resume()
                    } else {
                        self.handler.acceptor = continuation
                    }
                }
            } onCancel: {
                loop.execute { bound.value.acceptor.take()?.resume() }
            }
        }
    }

    /// Serves every stream in a task of its own, until the connection has ended and all of them
    /// have returned.
    ///
    /// A stream whose handler returns is reset unless it has ended.
    public nonisolated func serveStreams(
        _ handle: @escaping @Sendable (HTTP2Stream) async -> Void
    ) async {
        await withDiscardingTaskGroup { group in
            while let stream = await nextStream() {
                group.addTask { await stream.serve(handle) }
            }
        }
    }

    /// Why the connection ended; `nil` while it lives.
    public var failure: HTTP2Error? { handler.failure }

    /// Takes no new streams, lets the open ones end, and closes then, or when `deadline` has
    /// passed.
    public func shutdown(within deadline: TimeAmount) {
        handler.shutdown(within: deadline)
    }

    /// Closes at once; open streams fail.
    public func close() {
        handler.close()
    }

    /// Waits until the channel is closed.
    public func closed() async {
        let handler = self.handler
        await withUnsafeContinuation { handler.addCloseWaiter($0) }
    }
}

extension HTTP2Stream {
    /// Runs a handler on the event loop and leaves nothing open behind it.
    func serve(_ handle: @Sendable (HTTP2Stream) async -> Void) async {
        await handle(self)
        resetUnlessFinished()
    }
}

/// The client's end of one connection. An actor on the connection's event loop.
public actor HTTP2ClientConnection {
    /// The loop's.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { execution.unowned }

    private nonisolated let execution: HTTP2Execution
    private nonisolated let bound: NIOLoopBound<HTTP2ChannelHandler>

    /// Adds HTTP/2 to a channel whose handlers below it already carry plain bytes.
    ///
    /// Called on the event loop.
    public init(
        addingTo channel: any Channel,
        limits: HTTP2Limits = HTTP2Limits(),
        execution: HTTP2Execution? = nil,
        security: (@Sendable () -> TransportSecurity?)? = nil
    ) throws {
        self.execution = execution ?? HTTP2Execution(loop: channel.eventLoop)
        let handler = HTTP2ChannelHandler(
            role: .client,
            limits: limits,
            execution: self.execution,
            security: security
        )
        bound = NIOLoopBound(handler, eventLoop: channel.eventLoop)
        try channel.pipeline.syncOperations.addHandler(handler)
    }

    /// Connects over plain TCP, with prior knowledge that the server speaks HTTP/2.
    public static func connect(
        host: String,
        port: Int,
        on group: any EventLoopGroup,
        limits: HTTP2Limits = HTTP2Limits()
    ) async throws -> HTTP2ClientConnection {
        try await ClientBootstrap(group: group)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .connect(host: host, port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try HTTP2ClientConnection(addingTo: channel, limits: limits)
                }
            }
    }

    private var handler: HTTP2ChannelHandler { bound.value }

    /// Opens a stream with a request head.
    ///
    /// When the server allows fewer streams than are open, the request waits in line for one of
    /// them to end.
    ///
    /// - Parameter endStream: True for a request without a body.
    public func openStream(
        _ head: HTTP2Headers,
        endStream: Bool = false
    ) throws(HTTP2Error) -> HTTP2Stream {
        try handler.open(head, endStream: endStream)
    }

    /// Whether new streams are still taken: the pool's question.
    public var isOpen: Bool { handler.failure == nil && !handler.isGoingAway }

    /// Why the connection ended; `nil` while it lives.
    public var failure: HTTP2Error? { handler.failure }

    /// What the transport proved about the server; known after the first bytes from it.
    public var security: TransportSecurity? { handler.security }

    /// Opens no more streams, lets the open ones end, and closes then, or when `deadline` has
    /// passed.
    public func shutdown(within deadline: TimeAmount) {
        handler.shutdown(within: deadline)
    }

    /// Closes at once; open streams fail.
    public func close() {
        handler.close()
    }

    /// Waits until the channel is closed.
    public func closed() async {
        let handler = self.handler
        await withUnsafeContinuation { handler.addCloseWaiter($0) }
    }
}

/// A listening socket for HTTP/2.
public final class HTTP2Listener: Sendable {
    private let channel: NIOAsyncChannel<HTTP2ServerConnection, Never>
    private let connections = Mutex<[ObjectIdentifier: HTTP2ServerConnection]>([:])
    private let drainTime = Mutex<TimeAmount?>(nil)

    /// The port in use; the kernel's choice when 0 was asked for.
    public var port: Int { channel.channel.localAddress?.port ?? 0 }

    /// Listens.
    ///
    /// - Parameters:
    ///   - host: Address to listen on.
    ///   - port: 0 for any.
    ///   - group: The event loops.
    ///   - makeConnection: Called on the loop of each accepted channel. Adds what belongs below
    ///     HTTP/2 (TLS), then
    ///     ``HTTP2ServerConnection/init(addingTo:limits:execution:security:)``.
    public init(
        host: String,
        port: Int,
        on group: any EventLoopGroup,
        makeConnection: @escaping @Sendable (any Channel) throws -> HTTP2ServerConnection = {
            try HTTP2ServerConnection(addingTo: $0)
        }
    ) async throws {
        channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .bind(host: host, port: port) { channel in
                channel.eventLoop.makeCompletedFuture { try makeConnection(channel) }
            }
    }

    /// Serves each connection in a task of its own; returns when the listener is shut down and all
    /// have returned.
    public func run(_ serve: @escaping @Sendable (HTTP2ServerConnection) async -> Void) async throws
    {
        try await channel.executeThenClose { inbound in
            try await withThrowingDiscardingTaskGroup { group in
                for try await connection in inbound {
                    group.addTask { await self.hold(connection, serve) }
                }
            }
        }
    }

    /// Stops listening, and shuts every connection down within `deadline`.
    public func shutdown(within deadline: TimeAmount) async {
        drainTime.withLock { $0 = deadline }
        channel.channel.close(promise: nil)
        for connection in connections.withLock({ Array($0.values) }) {
            await connection.shutdown(within: deadline)
        }
    }

    private func hold(
        _ connection: HTTP2ServerConnection,
        _ serve: @Sendable (HTTP2ServerConnection) async -> Void
    ) async {
        connections.withLock { $0[ObjectIdentifier(connection)] = connection }
        if let deadline = drainTime.withLock({ $0 }) { await connection.shutdown(within: deadline) }
        await serve(connection)
        await connection.close()
        connections.withLock { _ = $0.removeValue(forKey: ObjectIdentifier(connection)) }
    }
}
