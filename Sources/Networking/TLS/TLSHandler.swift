public import Cryptography
public import NIOCore

/// TLS on a channel: ciphertext below, plaintext above.
///
/// A thin shell around ``Cryptography/TLSSession``. What is written before the handshake ends waits
/// for it. A connection that ends without `close_notify` is reported as an error to the handlers
/// above, so that a cut body is not taken for a complete one.
public final class TLSHandler: ChannelDuplexHandler {
    /// Ciphertext from the peer.
    public typealias InboundIn = ByteBuffer
    /// Plaintext for the handlers above.
    public typealias InboundOut = ByteBuffer
    /// Plaintext from the handlers above.
    public typealias OutboundIn = ByteBuffer
    /// Ciphertext for the peer.
    public typealias OutboundOut = ByteBuffer

    /// What the handshake came to.
    public typealias Handshake = Result<TLSSession.Agreement, TLSError>

    private var session: TLSSession
    private let onHandshake: (Handshake) -> Void
    private let timeout: TimeAmount
    private var isHandshaking = true
    private var timer: Scheduled<Void>?
    private var early: [(ByteBuffer, EventLoopPromise<Void>?)] = []

    /// Fired to the handlers above when the peer is silent for too long.
    public struct HandshakeTimedOut: Error {}

    /// A handler for one channel.
    ///
    /// - Parameters:
    ///   - timeout: The time the handshake may take; the channel closes after it.
    ///   - onHandshake: Called once, on the loop, before any plaintext arrives; the place to add
    ///     the handlers above.
    public init(
        _ session: consuming TLSSession,
        timeout: Duration,
        onHandshake: @escaping (Handshake) -> Void
    ) {
        self.session = session
        self.timeout = timeout.timeAmount
        self.onHandshake = onHandshake
    }

    /// Starts the clock of the handshake, and the handshake of a client.
    public func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(in: timeout) {
            let (handler, context) = bound.value
            guard handler.isHandshaking else { return }
            handler.endHandshake(.failure(.notEstablished))
            context.fireErrorCaught(HandshakeTimedOut())
            context.close(promise: nil)
        }
        if context.channel.isActive { flushCiphertext(context) }
    }

    /// Sends a client's first bytes.
    public func channelActive(context: ChannelHandlerContext) {
        flushCiphertext(context)
        context.fireChannelActive()
    }

    /// Takes ciphertext, goes on with the handshake, hands up plaintext.
    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let ciphertext = unwrapInboundIn(data)
        do throws(TLSError) {
            try ciphertext.withUnsafeReadableBytes { bytes throws(TLSError) in
                try session.receive(bytes)
            }
            if isHandshaking, let agreement = session.agreement {
                endHandshake(.success(agreement))
                sendEarly(context)
            }
            if !isHandshaking {
                try deliver(context, upTo: ciphertext.readableBytes)
            }
        } catch {
            return fail(context, error)
        }
        if case .closed = session.state {
            // The peer is done. Nobody here keeps a half-open connection.
            session.close()
            flushCiphertext(context)
            context.close(promise: nil)
        } else {
            flushCiphertext(context)
        }
    }

    /// Reports an end without `close_notify` as an error.
    public func channelInactive(context: ChannelHandlerContext) {
        let wasOpen = session.state == .handshaking || session.agreement != nil
        session.transportClosed()
        if isHandshaking {
            endHandshake(.failure(.notEstablished))
        } else if wasOpen {
            context.fireErrorCaught(TLSError.protocolViolation("closed without notice"))
        }
        context.fireChannelInactive()
    }

    /// Lets go of what never was sent.
    public func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        timer = nil
        for (_, promise) in early { promise?.fail(ChannelError.ioOnClosedChannel) }
        early = []
    }

    /// Encrypts, or keeps what comes before the end of the handshake.
    public func write(
        context: ChannelHandlerContext,
        data: NIOAny,
        promise: EventLoopPromise<Void>?
    ) {
        let plaintext = unwrapOutboundIn(data)
        if isHandshaking {
            early.append((plaintext, promise))
        } else {
            encrypt(context, plaintext, promise)
        }
    }

    /// Sends the records of the writes so far.
    public func flush(context: ChannelHandlerContext) {
        flushCiphertext(context)
        context.flush()
    }

    /// Says `close_notify`, then closes.
    public func close(
        context: ChannelHandlerContext,
        mode: CloseMode,
        promise: EventLoopPromise<Void>?
    ) {
        if mode != .input {
            session.close()
            flushCiphertext(context)
        }
        context.close(mode: mode, promise: promise)
    }

    private func endHandshake(_ outcome: Handshake) {
        isHandshaking = false
        timer?.cancel()
        timer = nil
        onHandshake(outcome)
    }

    private func sendEarly(_ context: ChannelHandlerContext) {
        let waiting = early
        early = []
        for (plaintext, promise) in waiting { encrypt(context, plaintext, promise) }
    }

    private func encrypt(
        _ context: ChannelHandlerContext,
        _ plaintext: ByteBuffer,
        _ promise: EventLoopPromise<Void>?
    ) {
        do throws(TLSError) {
            try plaintext.withUnsafeReadableBytes { bytes throws(TLSError) in
                try session.send(bytes)
            }
        } catch {
            promise?.fail(error)
            return fail(context, error)
        }
        // Without a promise the records of several writes leave together at the flush.
        if promise != nil {
            let ciphertext = takeCiphertext(context) ?? ByteBuffer()
            context.write(wrapOutboundOut(ciphertext), promise: promise)
        }
    }

    /// Hands up the plaintext of one read as one buffer.
    private func deliver(_ context: ChannelHandlerContext, upTo expected: Int) throws(TLSError) {
        // A record's plaintext is shorter than its ciphertext; only records begun earlier bring
        // more.
        var plaintext = context.channel.allocator.buffer(capacity: max(expected, 256))
        while true {
            var failure: TLSError?
            let count = plaintext.writeWithUnsafeMutableBytes(minimumWritableBytes: 64) { buffer in
                do throws(TLSError) {
                    return try session.read(into: buffer)
                } catch {
                    failure = error
                    return 0
                }
            }
            if count == 0 {
                if plaintext.readableBytes > 0 {
                    context.fireChannelRead(wrapInboundOut(plaintext))
                }
                if let failure { throw failure }
                return
            }
        }
    }

    private func takeCiphertext(_ context: ChannelHandlerContext) -> ByteBuffer? {
        guard session.pendingCiphertextByteCount > 0 else { return nil }
        var buffer = context.channel.allocator.buffer(capacity: session.pendingCiphertextByteCount)
        session.takeCiphertext { bytes in
            _ = buffer.writeBytes(bytes)
        }
        return buffer
    }

    private func flushCiphertext(_ context: ChannelHandlerContext) {
        guard let ciphertext = takeCiphertext(context) else { return }
        context.writeAndFlush(wrapOutboundOut(ciphertext), promise: nil)
    }

    private func fail(_ context: ChannelHandlerContext, _ error: TLSError) {
        // The alert tells the peer what was wrong.
        flushCiphertext(context)
        if isHandshaking { endHandshake(.failure(error)) }
        context.fireErrorCaught(error)
        context.close(promise: nil)
    }
}
