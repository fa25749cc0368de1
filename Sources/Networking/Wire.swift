import NIOCore

/// One connection's bytes, for straight-line async code: the last handler of its channel.
///
/// Received bytes collect in ``input``; whoever reads the connection parses from there and calls
/// ``waitForInput(until:)`` when it needs more. Bytes out go through ``send(_:)``. There is at most
/// one waiting task, and it goes on within the event that woke it (``LoopExecutor``).
///
/// One call costs no allocation here: `input` is reused as long as nobody keeps a slice of it, and
/// one timer per connection serves all deadlines (a later deadline only moves a field).
final class Wire: ChannelInboundHandler, NIOScheduledCallbackHandler, @unchecked Sendable {
    // Guard of the mutable state: it is touched only on `executor.loop`.

    typealias InboundIn = ByteBuffer

    /// Why a wait ended.
    enum Wake: Sendable, Hashable {
        case ready
        case closed
        case timedOut
        case cancelled
    }

    private enum Waiting { case no, forInput, forRoom }

    let executor: LoopExecutor
    /// What arrived and was not consumed yet.
    var input = ByteBuffer()
    /// Both directions are closed; `input` may still hold bytes that came before.
    private(set) var isClosed = false
    /// The connection ended by a reset, or TLS without its closing notice: what came may not be
    /// all.
    private(set) var hasFailed = false
    /// Whether the socket takes what is sent at the rate it is sent.
    private(set) var isWritable = true
    /// Called once, on the loop, when the connection ends.
    var onClose: (() -> Void)?
    /// Called on the loop when the deadline set by ``expire(at:)`` passes.
    var onExpiry: (() -> Void)?

    private let unreadBytesMax: Int
    private var context: ChannelHandlerContext?
    private var waiter: UnsafeContinuation<Wake, Never>?
    private var waiting = Waiting.no
    private var waitNumber: UInt64 = 0
    private var deadline = NIODeadline.distantFuture
    private var armedAt = NIODeadline.distantFuture
    private var timer: NIOScheduledCallback?
    private(set) var isReadingPaused = false
    private var isLingering = false

    /// Larger reads are taken over as they are, smaller ones are copied into the buffer that is
    /// reused.
    private static let adoptedReadBytesMin = 8 * 1024
    /// How long a closing connection reads and drops what the peer still sends, so that the peer
    /// gets to see the answer and not a reset (RFC 9112 §9.6).
    private static let lingerTime = TimeAmount.seconds(2)

    init(executor: LoopExecutor, unreadBytesMax: Int) {
        self.executor = executor
        self.unreadBytesMax = unreadBytesMax
    }

    var now: NIODeadline { executor.loop.now }

    /// The connection's channel, while it is in a pipeline.
    var channel: (any Channel)? { context?.channel }

    // MARK: Reading

    /// Waits for more bytes in ``input``, for the end of the connection, or for the deadline.
    func waitForInput(until deadline: NIODeadline) async -> Wake {
        if isClosed { return .closed }
        if isReadingPaused { pauseReading(false) }
        return await wait(.forInput, until: deadline)
    }

    /// Like ``waitForInput(until:)``; ends also when the task is cancelled.
    func waitForInputOrCancellation(
        until deadline: NIODeadline,
        isolation: isolated (any Actor)? = #isolation
    ) async -> Wake {
        if Task.isCancelled { return .cancelled }
        // A cancellation from another thread arrives late: it must not hit a later wait, perhaps of
        // another task.
        let number = waitNumber + 1
        return await withTaskCancellationHandler {
            // Naming the isolation keeps this closure on the caller's actor: it would leave the
            // loop otherwise.
            _ = isolation
            if isClosed { return .closed }
            if isReadingPaused { pauseReading(false) }
            beginWait(until: deadline)
            // Not through ``waitForInput(until:)``: each async call on the way costs two looks at the executor.
            return await withUnsafeContinuation { continuation in
                waiter = continuation
                waiting = .forInput
            }
        } onCancel: {
            if executor.loop.inEventLoop {
                cancelWait(number)
            } else {
                executor.loop.execute { self.cancelWait(number) }
            }
        }
    }

    /// Ends a wait for input with ``Wake/cancelled``, if there is one.
    func interrupt() {
        if waiting == .forInput { wake(.cancelled) }
        executor.drain()
    }

    private func cancelWait(_ number: UInt64) {
        if waiting == .forInput, waitNumber == number { wake(.cancelled) }
        executor.drain()
    }

    // MARK: Writing

    /// Sends bytes; they are lost without a word when the connection is closed.
    func send(_ bytes: ByteBuffer) {
        guard !isClosed, let context else { return }
        context.writeAndFlush(NIOAny(bytes), promise: nil)
    }

    /// Queues bytes for the next ``send(_:)``.
    func queue(_ bytes: ByteBuffer) {
        guard !isClosed, let context else { return }
        context.write(NIOAny(bytes), promise: nil)
    }

    /// Waits until the peer has taken enough of what was sent.
    func waitForRoom(until deadline: NIODeadline) async -> Wake {
        if isClosed { return .closed }
        if isWritable { return .ready }
        return await wait(.forRoom, until: deadline)
    }

    // MARK: Closing

    /// Closes both directions at once.
    ///
    /// A connection that is closing in order goes on with that.
    func close() {
        guard !isClosed, !isLingering, let context else { return }
        context.close(promise: nil)
    }

    /// Closes both directions at once, whatever is going on.
    func abort() {
        guard !isClosed, let context else { return }
        context.close(promise: nil)
    }

    /// Ends the connection so that the peer gets to see everything that was sent.
    ///
    /// What still arrives is dropped. When all is written, within `time`, the outgoing direction
    /// closes; the rest when the peer closes too, or two seconds later.
    func closeLingering(within time: TimeAmount) {
        guard !isClosed, !isLingering, let context else { return }
        isLingering = true
        input = ByteBuffer()
        if isReadingPaused { pauseReading(false) }
        setDeadline(now + time)
        let written = executor.loop.makePromise(of: Void.self)
        written.futureResult.whenSuccess { self.closeOutput() }
        context.writeAndFlush(NIOAny(ByteBuffer()), promise: written)
    }

    private func closeOutput() {
        guard !isClosed, let context else { return }
        setDeadline(now + Self.lingerTime)
        context.close(mode: .output, promise: nil)
    }

    /// Calls ``onExpiry`` at `deadline`, unless a wait begins before.
    func expire(at deadline: NIODeadline) { setDeadline(deadline) }

    // MARK: The waiting task

    private func wait(_ kind: Waiting, until deadline: NIODeadline) async -> Wake {
        beginWait(until: deadline)
        return await withUnsafeContinuation { continuation in
            waiter = continuation
            waiting = kind
        }
    }

    private func beginWait(until deadline: NIODeadline) {
        precondition(waiter == nil, "a connection is read by one task at a time")
        setDeadline(deadline)
        waitNumber += 1
    }

    private func wake(_ reason: Wake) {
        guard let waiter else { return }
        self.waiter = nil
        waiting = .no
        deadline = .distantFuture
        waiter.resume(returning: reason)
    }

    // MARK: Deadlines

    private func setDeadline(_ deadline: NIODeadline) {
        self.deadline = deadline
        guard deadline < armedAt else { return }
        timer?.cancel()
        armedAt = deadline
        // Fails only when the loop is being shut down, which closes the channel.
        timer = try? executor.loop.scheduleCallback(at: deadline, handler: self)
    }

    func handleScheduledCallback(eventLoop: some EventLoop) {
        armedAt = .distantFuture
        timer = nil
        guard deadline < .distantFuture else { return }
        guard deadline <= now else { return setDeadline(deadline) }
        deadline = .distantFuture
        if isLingering {
            context?.close(promise: nil)
        } else if waiter != nil {
            wake(.timedOut)
        } else {
            onExpiry?()
        }
        executor.drain()
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        ended()
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isLingering { return }
        receive(unwrapInboundIn(data))
        if input.readableBytes > unreadBytesMax, !isReadingPaused { pauseReading(true) }
        if waiting == .forInput {
            wake(.ready)
            executor.drain()
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable, waiting == .forRoom {
            wake(.ready)
            executor.drain()
        }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        ended()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        hasFailed = true
        // Whatever went wrong below (reset, TLS), nothing more can be said on this connection.
        context.close(promise: nil)
    }

    private func ended() {
        if isClosed { return }
        isClosed = true
        timer?.cancel()
        timer = nil
        armedAt = .distantFuture
        wake(.closed)
        onClose?()
        onClose = nil
        onExpiry = nil
        executor.drain()
    }

    private func receive(_ bytes: ByteBuffer) {
        if input.readableBytes == 0 {
            if bytes.readableBytes >= Self.adoptedReadBytesMin {
                input = bytes
                return
            }
            input.clear(minimumCapacity: 2048)
        }
        input.writeImmutableBuffer(bytes)
    }

    private func pauseReading(_ pause: Bool) {
        isReadingPaused = pause
        try? context?.channel.syncOptions?.setOption(.autoRead, value: !pause)
    }
}

extension Duration {
    /// The same span for a loop's timers; more than 95 years are cut to that.
    var timeAmount: TimeAmount {
        let (seconds, attoseconds) = components
        // A deadline that far away must still be a deadline: now + this may not overflow.
        guard seconds < 3_000_000_000 else { return .seconds(3_000_000_000) }
        return .nanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
