import CoreMetrics
public import Cryptography
public import NIOCore

/// Answers one request.
///
/// It runs on the connection's event loop, as part of the connection's task. Read the body with
/// ``HTTPServerConnection/collectBody(bytesMax:)`` or ``HTTPServerConnection/nextBodyChunk()``,
/// answer with ``HTTPServerConnection/respond(_:body:)`` or a stream. A handler that returns
/// without an answer gets 500 sent.
public typealias HTTPHandler =
    @Sendable (_ request: HTTPRequestHead, _ connection: isolated HTTPServerConnection) async ->
    Void

/// Why a request's body could not be read.
public enum HTTPBodyError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The body breaks a rule or a limit, or ends early.
    case refused(HTTPFault)
    /// The client paused for too long.
    case timedOut

    /// The reason, without data of the request.
    public var description: String {
        switch self {
        case .refused(let fault): fault.description
        case .timedOut: "the client took too long to send the body"
        }
    }
}

/// Why a response could not be sent.
public enum HTTPSendError: String, Error, Hashable, Sendable, CustomStringConvertible {
    /// A field value holds a byte that could end its line. Nothing was sent.
    case headUnsendable
    /// The client is gone.
    case closed
    /// The client did not read for too long.
    case timedOut

    /// The reason.
    public var description: String {
        switch self {
        case .headUnsendable: "a field value cannot be sent"
        case .closed: "the client closed the connection"
        case .timedOut: "the client took too long to read"
        }
    }
}

/// One client's HTTP/1.1 connection: reads a request, runs the handler, and again.
///
/// The actor's executor is the connection's event loop, so that a handler calls everything on that
/// loop without a switch. Requests are handled strictly one after another; pipelined ones wait in a
/// bounded buffer.
///
///     awaitingHead ──head──▶ handling ──answered, body read──▶ awaitingHead
///          │                    │
///          └─fault, idle─▶ closed ◀─peer gone, fault, `Connection: close`, drain
public actor HTTPServerConnection {
    /// The loop this connection lives on.
    public nonisolated let executor: LoopExecutor

    /// The connection runs on its event loop.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    /// The client's address, `nil` when the socket has none.
    public nonisolated let peerAddress: SocketAddress?

    /// What the TLS handshake agreed on and who the client proved to be; `nil` without TLS.
    public nonisolated let tls: TLSSession.Agreement?

    /// Whether this request's task is cancelled when the client closes the connection.
    ///
    /// Default true, for each request anew. A protocol in which a lost connection is not a cancel
    /// turns it off before it waits for anything.
    public var cancelsWhenPeerCloses = true

    /// What the handler wants to find again with the next request of this connection; `nil` at its start.
    public var keepsake: (any AnyObject & Sendable)?

    /// Rings for the request in hand; cleared when its handler is done.
    public nonisolated let alarm: Alarm

    /// Called when the client closes the connection while the handler works.
    ///
    /// Reset for each request.
    public var onPeerClosed: (() -> Void)?

    nonisolated let wire: Wire
    private let limits: HTTPLimits
    private let metrics: ListenerMetrics
    private let handler: HTTPHandler
    private var parser: HTTPRequestParser
    private var task: Task<Void, Never>?
    private var isDraining = false

    // The exchange in hand.
    private var method = HTTPMethod.get
    private var requestKeepsAlive = false
    private var isOldVersion = false
    private var body = HTTPBodyDecoder(.none, bytesMax: 0, trailers: .refuse)
    private var owesContinue = false
    private var bodyError: HTTPBodyError?
    private var response = Response.none
    private var closesAfterResponse = false

    /// The buffer of the last head written, for the next one.
    private var spareBuffer = ByteBuffer()

    private enum Response { case none, chunked, untilClose, headOnly, complete }

    /// Bodies up to here are copied behind their head, so that both are one write.
    private static let joinedBodyBytesMax = 16 * 1024

    init(
        wire: Wire,
        peerAddress: SocketAddress?,
        tls: TLSSession.Agreement? = nil,
        limits: HTTPLimits,
        metrics: ListenerMetrics,
        handler: @escaping HTTPHandler
    ) {
        self.metrics = metrics
        self.wire = wire
        executor = wire.executor
        self.peerAddress = peerAddress
        self.tls = tls
        self.limits = limits
        self.handler = handler
        parser = HTTPRequestParser(limits: limits)
        alarm = Alarm(on: wire.executor)
    }

    /// Whether the client closed the connection.
    public var isPeerClosed: Bool { wire.isClosed }

    /// Starts the connection's task; it ends with the connection.
    func start(onEnd: @escaping @Sendable () -> Void) {
        // Not weakly: a weak reference sends every retain of a call through a side table. The wire lets go of this when
        // the connection ends.
        wire.onClose = { self.assumeIsolated { $0.peerClosed() } }
        task = Task(executorPreference: executor) { [self] in
            await run()
            onEnd()
        }
    }

    /// Closes when idle, otherwise after the response in hand.
    func drain() {
        isDraining = true
        wire.interrupt()
    }

    /// Which request is in hand, counted from 1; for ``cancelRequest(_:)``.
    public private(set) var requestNumber = 0

    /// Cancels the handler of a request, and closes the connection after its answer.
    ///
    /// - Parameter number: the request's ``requestNumber``; nothing happens when another is in hand by now.
    public func cancelRequest(_ number: Int) {
        guard number == requestNumber else { return }
        closesAfterResponse = true
        task?.cancel()
    }

    /// Ends the connection and cancels its handler.
    func abort() {
        task?.cancel()
        wire.abort()
    }

    private func peerClosed() {
        onPeerClosed?()
        onPeerClosed = nil
        if cancelsWhenPeerCloses { task?.cancel() }
    }

    // MARK: The connection's life

    private func run() async {
        var isFirst = true
        while let head = await nextHead(isFirst: isFirst) {
            isFirst = false
            begin(head)
            await handler(head, self)
            alarm.clear()
            guard await finish() else { break }
        }
        // Nothing happens here when the connection is closing in order already.
        wire.close()
    }

    private func nextHead(isFirst: Bool) async -> HTTPRequestHead? {
        var headDeadline: NIODeadline?
        while true {
            do throws(HTTPFault) {
                if let head = try parser.parse(&wire.input) { return head }
            } catch {
                refuse(error)
                return nil
            }
            let isIdle = wire.input.readableBytes == 0
            if isIdle, isDraining { return nil }
            let deadline: NIODeadline
            if isIdle, !isFirst {
                deadline = wire.now + limits.idleTimeout.timeAmount
            } else {
                deadline = headDeadline ?? wire.now + limits.headTimeout.timeAmount
                headDeadline = deadline
            }
            switch await wire.waitForInput(until: deadline) {
            case .ready, .cancelled:
                continue
            case .closed:
                return nil
            case .timedOut:
                (isIdle ? metrics.idleTime : metrics.headTime).increment()
                if !isIdle { refuse(status: 408) }
                return nil
            }
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        requestNumber += 1
        method = head.method
        requestKeepsAlive = head.keepsAlive
        isOldVersion = head.version == .http10
        body = HTTPBodyDecoder(
            head.framing,
            bytesMax: limits.bodyBytesMax,
            trailers: .refuse,
            limits: limits
        )
        owesContinue = head.expectsContinue && !isOldVersion
        bodyError = nil
        response = .none
        closesAfterResponse = false
        cancelsWhenPeerCloses = true
        onPeerClosed = nil
    }

    /// After the handler: an answer if it gave none; true when the connection can carry the next
    /// request.
    private func finish() async -> Bool {
        onPeerClosed = nil
        switch response {
        case .complete:
            break
        case .none:
            if wire.isClosed { return false }
            switch bodyError {
            case .refused(let fault): refuse(fault)
            case .timedOut: refuse(status: 408)
            case nil: refuse(status: 500)
            }
            return false
        case .chunked, .untilClose, .headOnly:
            // The handler gave up in the middle. Closing without the last chunk tells the client
            // so.
            return false
        }
        if closesAfterResponse {
            wire.closeLingering(within: limits.bodyTimeout.timeAmount)
            return false
        }
        // A client that does not read its answers gets no further ones.
        if !wire.isWritable {
            return await wire.waitForRoom(until: wire.now + limits.bodyTimeout.timeAmount) == .ready
        }
        return true
    }

    // MARK: Request body

    /// Reads the whole body.
    ///
    /// - Parameter bytesMax: The largest body accepted here; never more than
    ///   ``HTTPLimits/bodyBytesMax``.
    /// - Throws: ``HTTPBodyError``. Without another answer from the handler, the client gets the
    ///   matching status.
    public func collectBody(bytesMax: Int = .max) async throws(HTTPBodyError) -> ByteBuffer {
        let bytesMax = min(bytesMax, limits.bodyBytesMax)
        body.limit(to: bytesMax)
        var collected: ByteBuffer?
        while true {
            switch try bodyStep() {
            case .data(let chunk):
                guard collected != nil else {
                    // Nearly always all of it, which came with the head.
                    if body.isComplete { return chunk }
                    var first = chunk
                    if let left = body.lengthLeft {
                        // What the client declares is not what it sends: memory follows the bytes, not the
                        // promise.
                        first.reserveCapacity(minimumWritableBytes: min(left, 64 * 1024))
                    }
                    collected = first
                    continue
                }
                collected?.writeImmutableBuffer(chunk)
            case .end:
                return collected ?? ByteBuffer()
            case .needsInput:
                try await waitForBody()
            }
        }
    }

    /// Reads the next piece of the body, `nil` at its end.
    public func nextBodyChunk() async throws(HTTPBodyError) -> ByteBuffer? {
        while true {
            switch try bodyStep() {
            case .data(let piece): return piece
            case .end: return nil
            case .needsInput: try await waitForBody()
            }
        }
    }

    private func bodyStep() throws(HTTPBodyError) -> HTTPBodyDecoder.Step {
        if let bodyError { throw bodyError }
        do throws(HTTPFault) {
            return try body.next(&wire.input)
        } catch {
            throw fail(.refused(error))
        }
    }

    private func waitForBody() async throws(HTTPBodyError) {
        if owesContinue {
            // RFC 9110 §10.1.1: only now, since a handler that refuses by the head alone never asks.
            owesContinue = false
            wire.send(ByteBuffer(staticString: "HTTP/1.1 100 Continue\r\n\r\n"))
        }
        switch await wire.waitForInput(until: wire.now + limits.bodyTimeout.timeAmount) {
        case .ready, .cancelled: break
        case .closed: throw fail(.refused(.truncated))
        case .timedOut:
            metrics.bodyTime.increment()
            throw fail(.timedOut)
        }
    }

    private func fail(_ error: HTTPBodyError) -> HTTPBodyError {
        bodyError = error
        return error
    }

    /// Whether the body is read, or can be with what already arrived.
    private func isBodyConsumed() -> Bool {
        while true {
            guard bodyError == nil, let step = try? body.next(&wire.input) else { return false }
            switch step {
            case .end: return true
            case .data: continue
            case .needsInput: return false
            }
        }
    }

    // MARK: Response

    /// A response head to add fields to.
    public func makeResponse(_ status: Int) -> HTTPHeadWriter {
        HTTPHeadWriter(status: status, reusing: &spareBuffer)
    }

    /// Sends a whole response in one write.
    public func respond(
        _ head: consuming HTTPHeadWriter,
        body: ByteBuffer = ByteBuffer()
    ) throws(HTTPSendError) {
        var head = head
        let status = head.status
        let mayHaveBody = status != 204 && status != 304
        var bytes = try finishHead(
            &head,
            length: mayHaveBody ? body.readableBytes : nil,
            isChunked: false
        )
        response = .complete
        guard mayHaveBody, method != .head else {
            wire.send(bytes)
            spareBuffer = bytes
            return
        }
        if body.readableBytes <= Self.joinedBodyBytesMax {
            bytes.writeImmutableBuffer(body)
            wire.send(bytes)
            spareBuffer = bytes
        } else {
            wire.queue(bytes)
            wire.send(body)
        }
    }

    /// Sends a response head; ``write(_:)`` and ``finishResponse()`` follow.
    public func startResponse(_ head: consuming HTTPHeadWriter) throws(HTTPSendError) {
        var head = head
        // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
        if isOldVersion { closesAfterResponse = true }
        let bytes = try finishHead(&head, length: nil, isChunked: !isOldVersion)
        response = method == .head ? .headOnly : isOldVersion ? .untilClose : .chunked
        wire.send(bytes)
    }

    /// Sends a piece of a started response, and waits while the client is slower than we are.
    public func write(_ piece: ByteBuffer) async throws(HTTPSendError) {
        try push(piece)
        guard piece.readableBytes > 0, response != .headOnly else { return }
        switch await wire.waitForRoom(until: wire.now + limits.bodyTimeout.timeAmount) {
        case .ready, .cancelled: break
        case .closed: throw .closed
        case .timedOut:
            metrics.bodyTime.increment()
            wire.close()
            throw .timedOut
        }
    }

    /// Sends a piece of a started response without waiting for room: for small pieces that a timer
    /// sends.
    public func push(_ piece: ByteBuffer) throws(HTTPSendError) {
        guard !wire.isClosed else { throw .closed }
        guard piece.readableBytes > 0 else { return }
        switch response {
        case .chunked:
            if piece.readableBytes <= Self.joinedBodyBytesMax {
                var bytes = ByteBuffer()
                bytes.reserveCapacity(piece.readableBytes + 16)
                bytes.writeChunkSize(piece.readableBytes)
                bytes.writeImmutableBuffer(piece)
                bytes.writeStaticString("\r\n")
                wire.send(bytes)
            } else {
                var size = ByteBuffer()
                size.writeChunkSize(piece.readableBytes)
                wire.queue(size)
                wire.queue(piece)
                wire.send(ByteBuffer(staticString: "\r\n"))
            }
        case .untilClose:
            wire.send(piece)
        case .headOnly:
            return
        case .none, .complete:
            preconditionFailure("a piece of a response is written between its head and its end")
        }
    }

    /// Ends a started response.
    public func finishResponse() {
        switch response {
        case .chunked: wire.send(ByteBuffer(staticString: "0\r\n\r\n"))
        case .untilClose, .headOnly: break
        case .none, .complete: preconditionFailure("only a started response is finished")
        }
        response = .complete
    }

    private func finishHead(
        _ head: inout HTTPHeadWriter,
        length: Int?,
        isChunked: Bool
    ) throws(HTTPSendError) -> ByteBuffer {
        if case .none = response {
        } else {
            preconditionFailure("a request has one response")
        }
        guard !wire.isClosed else { throw .closed }
        guard head.isSendable else { throw .headUnsendable }
        // A body that is not read yet ends the connection, and the client may as well know.
        if !requestKeepsAlive || isDraining || !isBodyConsumed() { closesAfterResponse = true }
        if let length {
            head.add("content-length", length)
        } else if isChunked {
            head.add("transfer-encoding", "chunked")
        }
        if closesAfterResponse { head.add("connection", "close") }
        executor.withDate(now: wire.now) { date in head.addDate(date) }
        return head.finish()
    }

    // MARK: Refusals

    private func refuse(_ fault: HTTPFault) {
        metrics.reached(by: fault)?.increment()
        refuse(status: fault.status)
    }

    /// Answers without a body and closes; there is no trustworthy next message.
    private func refuse(status: Int) {
        metrics.refused(with: status).increment()
        var head = makeResponse(status)
        if status == 405 { head.add("allow", HTTPMethod.allowed) }
        head.add("content-length", 0)
        head.add("connection", "close")
        wire.send(head.finish())
        wire.closeLingering(within: limits.bodyTimeout.timeAmount)
    }
}
