public import NIOCore

/// One stream: a request and its response, both in pieces.
///
/// An actor on the event loop of its connection. A task that already runs there
/// (``withEventLoop(_:)``, a handler of ``GRPCServer``, an actor with the same executor) uses it
/// without a switch. One task may read while another sends; two readers or two senders at a time
/// are a bug of the caller and get ``HTTP2Error/invalidUse``.
public actor HTTP2Stream {
    struct Parts {
        let connection: HTTP2ChannelHandler
        let state: HTTP2StreamState
    }

    /// The loop's, so that the stream's state is touched on the loop only.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { execution.unowned }

    /// The head of the request.
    public nonisolated let requestHead: HTTP2Headers

    /// What the transport proved about the peer.
    public nonisolated let security: TransportSecurity?

    private nonisolated let execution: HTTP2Execution
    private nonisolated let parts: NIOLoopBound<Parts>

    init(
        _ parts: NIOLoopBound<Parts>,
        execution: HTTP2Execution,
        requestHead: HTTP2Headers,
        security: TransportSecurity?
    ) {
        self.parts = parts
        self.execution = execution
        self.requestHead = requestHead
        self.security = security
    }

    private var connection: HTTP2ChannelHandler { parts.value.connection }
    private var state: HTTP2StreamState { parts.value.state }

    /// Runs `body` on the event loop of the connection: calls of the stream in there do not switch
    /// executors.
    public func withEventLoop<Value: Sendable>(
        _ body: @Sendable () async throws -> Value
    ) async rethrows -> Value {
        try await body()
    }

    // MARK: Receiving

    /// The head of the response, at a client.
    public func responseHead() async throws(HTTP2Error) -> HTTP2Headers {
        while true {
            let state = self.state
            let seen = state.readerNews
            if let head = state.head { return head }
            if let failure = state.failure { throw failure }
            try await waitAsReader(since: seen)
        }
    }

    /// The next bytes of the body; `nil` after the last.
    ///
    /// The peer may send as much again only when this has returned: a reader that stops asking
    /// stops the sender.
    public func read() async throws(HTTP2Error) -> ByteBuffer? {
        try await parse { $0.readSlice(length: $0.readableBytes) }
    }

    /// The fields after the body, once ``read()`` has returned `nil`.
    public func trailers() -> HTTP2Headers? {
        state.trailers
    }

    /// The next value that `parser` finds at the start of the unread bytes; `nil` after the last
    /// byte.
    ///
    /// - Parameter parser: Removes what it could use and returns a value, or returns `nil` to
    ///   get more bytes.
    /// - Throws: ``HTTP2Error/malformedMessage`` when the body ends with bytes the parser
    ///   could not use.
    func parse<Value: Sendable>(
        _ parser: @Sendable (inout ByteBuffer) -> Value?
    ) async throws(HTTP2Error) -> Value? {
        while true {
            let (connection, state) = (self.connection, self.state)
            let seen = state.readerNews
            if state.inbound.readableBytes > 0, let value = parser(&state.inbound) {
                connection.acknowledge(state, keeping: state.inbound.readableBytes)
                compact(&state.inbound)
                return value
            }
            if state.inboundEnded {
                if state.inbound.readableBytes > 0 { throw .malformedMessage }
                return nil
            }
            if let failure = state.failure { throw failure }
            // The reader waits, so what is here counts as taken: a message may be longer than the
            // window.
            connection.acknowledge(state, keeping: 0)
            try await waitAsReader(since: seen)
        }
    }

    /// Keeps the unread bytes from crawling through ever more memory, and a burst's memory from
    /// staying.
    private func compact(_ buffer: inout ByteBuffer) {
        if buffer.readableBytes == 0 {
            if buffer.capacity > 16 * 1024 { buffer = ByteBuffer() } else { buffer.clear() }
        } else if buffer.readerIndex > 64 * 1024 {
            buffer.discardReadBytes()
        }
    }

    // MARK: Sending

    /// Sends the head of the response, at a server.
    ///
    /// Once per stream.
    public func respond(_ head: HTTP2Headers, endStream: Bool = false) throws(HTTP2Error) {
        try connection.respond(state, head, endStream: endStream)
    }

    /// Whether ``respond(_:endStream:)`` has been called.
    var hasSubmittedHead: Bool { state.hasSubmittedHead }

    /// Sends bytes of the body.
    ///
    /// Returns at once while the stream holds less than ``HTTP2Limits/sendBufferBytes``; then waits
    /// until the peer has made room. Returning does not mean that the peer has received anything.
    public func send(_ bytes: ByteBuffer) async throws(HTTP2Error) {
        try await send { $0.writeImmutableBuffer(bytes) }
    }

    /// Sends what `encode` writes.
    func send(_ encode: @Sendable (inout ByteBuffer) -> Void) async throws(HTTP2Error) {
        let limit = try enqueue(encode)
        while true {
            let state = self.state
            let seen = state.writerNews
            if let failure = state.failure { throw failure }
            if state.outbound.readableBytes <= limit { return }
            try await waitAsWriter(since: seen)
        }
    }

    /// Adds to the unsent bytes; returns how many the stream may hold without waiting.
    private func enqueue(_ encode: (inout ByteBuffer) -> Void) throws(HTTP2Error) -> Int {
        let (connection, state) = (self.connection, self.state)
        if let failure = state.failure { throw failure }
        if state.isClosed || state.outboundEnd != .open || !state.hasSubmittedHead {
            throw .invalidUse
        }
        compact(&state.outbound)
        encode(&state.outbound)
        connection.outboundChanged(state)
        return connection.session.limits.sendBufferBytes
    }

    /// Ends our half, after everything sent before.
    ///
    /// - Parameter trailers: Fields after the body.
    public func finish(trailers: HTTP2Headers? = nil) throws(HTTP2Error) {
        let state = self.state
        if let failure = state.failure { throw failure }
        if state.isClosed || state.outboundEnd != .open || !state.hasSubmittedHead {
            throw .invalidUse
        }
        state.outboundEnd = trailers.map { .trailers($0) } ?? .endStream
        connection.outboundChanged(state)
    }

    /// Ends the stream at once, in both directions.
    ///
    /// Nothing happens when it has ended already.
    public func reset(_ code: HTTP2ErrorCode = .cancel) {
        connection.reset(state, code, as: .resetLocally(code))
    }

    /// What happens to a stream whose handler is done with it: the rest is not wanted.
    func resetUnlessFinished() {
        if state.outboundEnd == .open { reset(.cancel) }
    }

    /// Resets the stream with ``HTTP2Error/deadlineExceeded`` unless it has ended by then.
    public func setDeadline(after time: TimeAmount) {
        let parts = self.parts
        if state.isClosed { return }
        state.deadline?.cancel()
        state.deadline = execution.loop.scheduleTask(in: time) {
            let (connection, state) = (parts.value.connection, parts.value.state)
            connection.reset(state, .cancel, as: .deadlineExceeded)
        }
    }

    /// Waits until the stream is closed or has failed, or the task is cancelled.
    func closed() async {
        let state = self.state
        if state.isClosed || state.failure != nil { return }
        await wait(
            { $0.closeWaiter = $1 },
            unless: { $0.isClosed || $0.failure != nil },
            { $0.wakeCloseWaiter() }
        )
    }

    // MARK: Waiting
    //
    // Whoever waits reads `self.state` again afterwards, and not a copy of the reference taken
    // before: the 6.3.1 optimiser keeps what it loaded through such a copy across the suspension
    // (seen in release builds).

    private func waitAsReader(since seen: UInt64) async throws(HTTP2Error) {
        if state.reader != nil { throw .invalidUse }
        await wait({ $0.reader = $1 }, unless: { $0.readerNews != seen }, { $0.wakeReader() })
        if Task.isCancelled { throw .cancelled }
    }

    private func waitAsWriter(since seen: UInt64) async throws(HTTP2Error) {
        if state.writer != nil { throw .invalidUse }
        await wait({ $0.writer = $1 }, unless: { $0.writerNews != seen }, { $0.wakeWriter() })
        if Task.isCancelled { throw .cancelled }
    }

    private func wait(
        _ set: (HTTP2StreamState, UnsafeContinuation<Void, Never>) -> Void,
        unless hasNews: (HTTP2StreamState) -> Bool,
        _ wake: @escaping @Sendable (HTTP2StreamState) -> Void
    ) async {
        let (parts, loop) = (self.parts, execution.loop)
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                // `self` keeps this closure on the loop, and so the cancellation comes before or
                // after it.
                if Task.isCancelled || hasNews(self.state) {
                    continuation.resume()
                } else {
                    set(self.state, continuation)
                }
            }
        } onCancel: {
            loop.execute { wake(parts.value.state) }
        }
    }
}
