public import NIOCore

/// What one HTTP/2 connection may use, and what its peer may do to it.
///
/// Memory of a connection is bounded by ``connectionWindowBytes`` for what was received and not yet
/// read, plus ``sendBufferBytes`` and one message per stream for what was sent and not yet taken by
/// the peer.
public struct HTTP2Limits: Sendable, Hashable {
    /// Streams the peer may have open at a time (SETTINGS_MAX_CONCURRENT_STREAMS); also the bound
    /// for our own.
    public var concurrentStreamsMax: Int = 128

    /// Bytes of one header list: names, values and 32 per field (RFC 9113 §6.5.2).
    ///
    /// A longer one resets its stream.
    public var headerListBytesMax: Int = 16 * 1024

    /// Fields of one header list.
    ///
    /// More reset the stream.
    public var headerFieldsMax: Int = 64

    /// Payload of one frame we accept (SETTINGS_MAX_FRAME_SIZE), 16,384…16,777,215.
    public var frameBytesMax: Int = 16 * 1024

    /// Bytes a stream may receive ahead of its reader.
    public var streamWindowBytes: Int = 256 * 1024

    /// Bytes all streams together may receive ahead of their readers.
    public var connectionWindowBytes: Int = 1024 * 1024

    /// Bytes a stream holds for the peer before `send` waits.
    public var sendBufferBytes: Int = 64 * 1024

    /// Bounds for frames that cost work and carry nothing.
    public var flood = FloodGuard.Limits()

    /// Silence after which the peer is asked whether it is there; `nil` never asks.
    public var keepAliveInterval: TimeAmount? = .seconds(30)

    /// How long the answer to a keep-alive PING may take.
    public var keepAliveTimeout: TimeAmount = .seconds(10)

    /// The defaults: a link of few long connections.
    public init() {}
}
