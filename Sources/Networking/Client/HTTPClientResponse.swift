import CoreMetrics
public import NIOCore

/// A response whose head was read, and the right to read its body.
///
/// Read the body to its end and the connection serves the next request; let go of the response
/// before, and the connection closes.
public struct HTTPClientResponse: ~Copyable {
    /// Status and fields.
    public let head: HTTPResponseHead

    private var body: HTTPBodyDecoder
    private var connection: UpstreamConnection?
    private let pool: UpstreamPool
    private let deadline: NIODeadline

    init(
        _ head: HTTPResponseHead,
        _ connection: UpstreamConnection,
        _ pool: UpstreamPool,
        until deadline: NIODeadline
    ) {
        self.head = head
        self.connection = connection
        self.pool = pool
        self.deadline = deadline
        body = HTTPBodyDecoder(
            head.framing,
            bytesMax: pool.configuration.limits.bodyBytesMax,
            trailers: .drop,
            limits: pool.configuration.limits
        )
        if head.framing == .none { finish() }
    }

    deinit {
        guard let connection else { return }
        let pool = pool
        let discard = UncheckedTransfer(connection)
        if pool.executor.loop.inEventLoop {
            pool.discard(connection)
        } else {
            pool.executor.loop.execute { pool.discard(discard.value) }
        }
    }

    /// Reads the next piece of the body, `nil` at its end.
    public mutating func nextChunk() async throws(HTTPClientError) -> ByteBuffer? {
        while let connection {
            switch try step(connection) {
            case .data(let piece): return piece
            case .end: return nil
            case .needsInput: try await wait(connection)
            }
        }
        return nil
    }

    private mutating func step(
        _ connection: UpstreamConnection
    ) throws(HTTPClientError) -> HTTPBodyDecoder.Step {
        do throws(HTTPFault) {
            let step = try body.next(&connection.wire.input)
            switch step {
            case .data:
                // A length reached with this piece is the end: no need for another round.
                if body.isComplete { finish() }
            case .end:
                finish()
            case .needsInput:
                break
            }
            return step
        } catch {
            if error == .bodyTooLarge { UpstreamMetrics.answerBytesReached.increment() }
            throw fail(.responseRefused(error))
        }
    }

    /// Waits for more of the body; the end of the connection may be its end.
    private mutating func wait(_ connection: UpstreamConnection) async throws(HTTPClientError) {
        let wire = connection.wire
        let pause = wire.now + pool.configuration.pieceTimeout.timeAmount
        switch await wire.waitForInputOrCancellation(until: min(deadline, pause)) {
        case .ready: return
        case .cancelled: throw fail(.cancelled)
        case .timedOut: throw fail(.timedOut)
        case .closed:
            if connection.isAbandoned { throw fail(.abandoned) }
            do throws(HTTPFault) {
                if wire.hasFailed { throw .truncated }
                try body.connectionEnded()
            } catch {
                throw fail(.responseRefused(error))
            }
            finish()
        }
    }

    /// Reads the whole body.
    ///
    /// - Parameter bytesMax: The largest body accepted here; never more than the client's limit.
    public mutating func collect(
        bytesMax: Int = .max
    ) async throws(HTTPClientError) -> ByteBuffer {
        body.limit(to: min(bytesMax, pool.configuration.limits.bodyBytesMax))
        var collected: ByteBuffer?
        while let connection {
            switch try step(connection) {
            case .data(let piece):
                guard collected != nil else {
                    collected = piece
                    if let left = body.lengthLeft, self.connection != nil {
                        collected?.reserveCapacity(minimumWritableBytes: min(left, 64 * 1024))
                    }
                    continue
                }
                collected?.writeImmutableBuffer(piece)
            case .end:
                break
            case .needsInput:
                try await wait(connection)
            }
        }
        return collected ?? ByteBuffer()
    }

    private mutating func finish() {
        guard let connection else { return }
        self.connection = nil
        pool.finished(connection, keepsAlive: head.keepsAlive && head.framing != .untilClose)
    }

    private mutating func fail(_ reason: HTTPClientError.Reason) -> HTTPClientError {
        if let connection {
            self.connection = nil
            pool.discard(connection)
        }
        return HTTPClientError(reason, .sent)
    }
}

/// Carries a value to the loop that owns it.
private struct UncheckedTransfer<Value>: @unchecked Sendable {
    // Guard: the sender lets go of the value before the receiver touches it.
    let value: Value
    init(_ value: Value) { self.value = value }
}
