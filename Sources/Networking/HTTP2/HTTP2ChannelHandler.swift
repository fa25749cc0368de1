import NIOCore

/// Connects one ``HTTP2Session`` to its channel.
///
/// Owned by the channel's event loop.
///
/// The tasks' side are the actors ``HTTP2Stream``, ``HTTP2ServerConnection`` and
/// ``HTTP2ClientConnection``, which run on the same loop and call the methods below. Everything
/// that is sent within one turn of the loop leaves in one write: callers mark the connection with
/// `setNeedsFlush`, the flush happens at the end of the event.
///
/// The handler below must be able to take writes as soon as the channel is active (a TLS handler
/// keeps them until the handshake is done, or reports the channel active only then).
final class HTTP2ChannelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let session: HTTP2Session
    let execution: HTTP2Execution

    /// Read once, when the first bytes arrive: the handshake is over by then.
    private let readSecurity: (@Sendable () -> TransportSecurity?)?
    private(set) var security: TransportSecurity?

    /// Why the connection ended or is about to; set once.
    private(set) var failure: HTTP2Error?
    private(set) var isGoingAway = false
    private(set) var isClosed = false

    /// Streams that no task has taken yet; at most `concurrentStreamsMax`.
    private var arrivals: CircularBuffer<HTTP2StreamState> = []
    var acceptor: UnsafeContinuation<Void, Never>?
    /// Tasks that wait for the end of the connection.
    private var closeWaiters: [UnsafeContinuation<Void, Never>] = []

    private var context: ChannelHandlerContext?
    private var flood: FloodGuard
    private var keepAlive: KeepAlive?
    private var keepAliveTimer: Scheduled<Void>?
    private var drainTimer: Scheduled<Void>?
    private var now: NIODeadline
    private var hasStarted = false
    private var hasSeenBytes = false
    private var eventDepth = 0
    private var needsFlush = false
    private var isFlushScheduled = false

    /// One write is about this long, so that a long body does not keep other streams waiting.
    private static let writeBytesMax = 64 * 1024

    /// The PING between the two GOAWAYs of a graceful end; keep-alive uses another value.
    private static let shutdownPing: UInt64 = 0x6f73_7469_6172_7901
    private static let keepAlivePing: UInt64 = 0x6f73_7469_6172_7902

    init(
        role: HTTP2Session.Role,
        limits: HTTP2Limits,
        execution: HTTP2Execution,
        security: (@Sendable () -> TransportSecurity?)?
    ) {
        session = HTTP2Session(role: role, limits: limits)
        self.execution = execution
        readSecurity = security
        now = .now()
        flood = FloodGuard(limits.flood, now: now)
        keepAlive = limits.keepAliveInterval.map {
            KeepAlive(interval: $0, timeout: limits.keepAliveTimeout, now: now)
        }
        session.delegate = self
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { start() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        channelGone()
    }

    func channelActive(context: ChannelHandlerContext) {
        start()
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        event { channelGone() }
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if failure != nil { return }
        now = .now()
        keepAlive?.heard(now: now)
        guard hasSeenBytes || checkSecurity() else { return fail(.applicationProtocol) }
        eventDepth += 1
        defer { eventDepth -= 1 }
        do throws(HTTP2Session.Failure) {
            try session.receive(unwrapInboundIn(data))
        } catch {
            switch error {
            case .stopped: break
            case .flooded: fail(.flood(.ping))
            case .library: fail(.protocolViolation)
            }
        }
        needsFlush = true
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        event {}
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { event { needsFlush = true } }
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // Half a connection is of no use: what is under way cannot be acknowledged any more.
        if case .some(.inputClosed) = event as? ChannelEvent { fail(.connectionClosed) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(.connectionClosed)
    }

    private func checkSecurity() -> Bool {
        hasSeenBytes = true
        guard let readSecurity else { return true }
        security = readSecurity()
        return security?.isHTTP2 ?? false
    }

    private func start() {
        if hasStarted { return }
        hasStarted = true
        event { needsFlush = true }
        tickKeepAlive()
    }

    /// Runs an event: first what it causes, then the tasks it made ready, then one write.
    private func event(_ body: () -> Void) {
        eventDepth += 1
        body()
        if eventDepth == 1 { execution.drain() }
        eventDepth -= 1
        if eventDepth == 0, needsFlush { flush() }
    }

    private func setNeedsFlush() {
        needsFlush = true
        if eventDepth > 0 || isFlushScheduled || isClosed { return }
        isFlushScheduled = true
        let bound = NIOLoopBound(self, eventLoop: execution.loop)
        execution.loop.execute { bound.value.scheduledFlush() }
    }

    private func scheduledFlush() {
        isFlushScheduled = false
        if needsFlush { flush() }
    }

    private func flush() {
        needsFlush = false
        guard let context, hasStarted, !isClosed else { return }
        do throws(HTTP2Session.Failure) {
            // When the socket takes no more, bytes stay with their streams, and `send` waits.
            while context.channel.isWritable {
                let bytes = try session.drain(bytesMax: Self.writeBytesMax)
                if bytes.readableBytes == 0 { break }
                context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
            }
        } catch {
            fail(error == .stopped ? .flood(.reset) : .protocolViolation)
        }
        session.trim()
        if session.hasTerminated, failure == nil { end(.protocolViolation) }
        if failure != nil || session.isFinished { context.close(promise: nil) }
    }

    // MARK: Ends

    /// Ends the connection because of an error, after a last attempt to say why.
    private func fail(_ error: HTTP2Error) {
        if failure != nil { return }
        let code: HTTP2ErrorCode =
            switch error {
            case .flood: .enhanceYourCalm
            case .applicationProtocol: .inadequateSecurity
            case .protocolViolation: .protocolError
            default: .noError
            }
        session.terminate(code)
        end(error)
        setNeedsFlush()
    }

    /// Tells everyone who waits on a stream or for one.
    private func end(_ error: HTTP2Error) {
        if failure == nil { failure = error }
        isGoingAway = true
        keepAliveTimer?.cancel()
        drainTimer?.cancel()
        for stream in session.streams.values {
            if stream.failure == nil { stream.failure = failure }
            wake(stream)
        }
        acceptor.take()?.resume()
    }

    private func channelGone() {
        if isClosed { return }
        isClosed = true
        end(.connectionClosed)
        for waiter in closeWaiters { waiter.resume() }
        closeWaiters = []
    }

    private func wake(_ stream: HTTP2StreamState) {
        stream.wakeReader()
        stream.wakeWriter()
        stream.wakeCloseWaiter()
    }

    private func tickKeepAlive() {
        if failure != nil { return }
        switch keepAlive?.tick(now: .now()) {
        case nil: break
        case .wait(let deadline): scheduleKeepAlive(deadline)
        case .ping(let deadline):
            session.ping(Self.keepAlivePing)
            setNeedsFlush()
            scheduleKeepAlive(deadline)
        case .giveUp: fail(.keepAliveTimeout)
        }
    }

    private func scheduleKeepAlive(_ deadline: NIODeadline) {
        let bound = NIOLoopBound(self, eventLoop: execution.loop)
        keepAliveTimer = execution.loop.scheduleTask(deadline: deadline) {
            bound.value.tickKeepAlive()
        }
    }

    // MARK: For the connection actors

    func nextArrival() -> HTTP2Stream? {
        arrivals.popFirst().map { makeStream($0, requestHead: $0.head ?? [:]) }
    }

    private func makeStream(_ state: HTTP2StreamState, requestHead: HTTP2Headers) -> HTTP2Stream {
        HTTP2Stream(
            NIOLoopBound(.init(connection: self, state: state), eventLoop: execution.loop),
            execution: execution,
            requestHead: requestHead,
            security: security
        )
    }

    func open(_ head: HTTP2Headers, endStream: Bool) throws(HTTP2Error) -> HTTP2Stream {
        if let failure { throw failure }
        if isGoingAway { throw .goingAway }
        if session.streams.count >= session.limits.concurrentStreamsMax { throw .tooManyStreams }
        guard let stream = session.open(head, endStream: endStream) else { throw .goingAway }
        setNeedsFlush()
        return makeStream(stream, requestHead: head)
    }

    /// Takes no new streams, lets the open ones end, closes at the deadline at the latest.
    ///
    /// A server says so twice (RFC 9113 §6.8): streams that the client opened before it heard the
    /// first GOAWAY are still served; the PING's answer proves that it has heard.
    func shutdown(within deadline: TimeAmount) {
        if isGoingAway { return }
        isGoingAway = true
        if session.role == .server {
            session.announceShutdown()
            session.ping(Self.shutdownPing)
        } else {
            session.finishShutdown()
        }
        setNeedsFlush()
        let bound = NIOLoopBound(self, eventLoop: execution.loop)
        drainTimer = execution.loop.scheduleTask(in: deadline) { bound.value.close() }
    }

    func close() {
        fail(.connectionClosed)
    }

    func addCloseWaiter(_ waiter: UnsafeContinuation<Void, Never>) {
        if isClosed { waiter.resume() } else { closeWaiters.append(waiter) }
    }

    // MARK: For the stream actors

    func respond(
        _ stream: HTTP2StreamState,
        _ head: HTTP2Headers,
        endStream: Bool
    ) throws(HTTP2Error) {
        if let failure = stream.failure { throw failure }
        if stream.isClosed || stream.hasSubmittedHead { throw .invalidUse }
        if !session.respond(stream, head, endStream: endStream) { throw .invalidUse }
        setNeedsFlush()
    }

    func outboundChanged(_ stream: HTTP2StreamState) {
        if stream.isClosed { return }
        session.resume(stream)
        setNeedsFlush()
    }

    func reset(_ stream: HTTP2StreamState, _ code: HTTP2ErrorCode, as failure: HTTP2Error) {
        if stream.isClosed { return }
        if stream.failure == nil { stream.failure = failure }
        session.reset(stream, code)
        wake(stream)
        setNeedsFlush()
    }

    /// Gives the window back for everything received except the `keeping` bytes that wait for their
    /// reader.
    func acknowledge(_ stream: HTTP2StreamState, keeping: Int) {
        let taken = stream.unacknowledgedBytes - keeping
        if taken <= 0 || stream.isClosed { return }
        session.acknowledge(stream, bytes: taken)
        if session.wantsWrite { setNeedsFlush() }
    }
}

extension HTTP2ChannelHandler: HTTP2SessionDelegate {
    func streamOpened(_ stream: HTTP2StreamState) {
        arrivals.append(stream)
        acceptor.take()?.resume()
    }

    func streamChanged(_ stream: HTTP2StreamState) {
        stream.wakeReader()
    }

    func streamDrained(_ stream: HTTP2StreamState) {
        stream.wakeWriter()
    }

    func streamClosed(_ stream: HTTP2StreamState) {
        stream.deadline?.cancel()
        wake(stream)
    }

    func goAwayReceived() {
        isGoingAway = true
    }

    func pingAcknowledged(_ opaque: UInt64) {
        if opaque == Self.shutdownPing { session.finishShutdown() }
    }

    func permits(_ event: FloodGuard.Event) -> Bool {
        if flood.record(event, now: now) { return true }
        fail(.flood(event))
        return false
    }
}
