/// An HTTP/2 error code (RFC 9113 §7), as RST_STREAM and GOAWAY carry it.
public struct HTTP2ErrorCode: RawRepresentable, Sendable, Hashable {
    /// The number on the wire.
    public let rawValue: UInt32

    /// Any number: codes that are not known here are legal on the wire.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// The end of something that went well.
    public static let noError = Self(rawValue: 0x0)
    /// The peer broke the protocol.
    public static let protocolError = Self(rawValue: 0x1)
    /// The fault is on the side that sends this.
    public static let internalError = Self(rawValue: 0x2)
    /// The peer sent more than the window allowed.
    public static let flowControlError = Self(rawValue: 0x3)
    /// The stream was not processed at all; sending it again is safe.
    public static let refusedStream = Self(rawValue: 0x7)
    /// The stream is no longer wanted.
    public static let cancel = Self(rawValue: 0x8)
    /// The peer asks for more than this side gives.
    public static let enhanceYourCalm = Self(rawValue: 0xb)
    /// The transport's properties do not suffice.
    public static let inadequateSecurity = Self(rawValue: 0xc)
}

/// Why a stream or a connection could not do what was asked.
public enum HTTP2Error: Error, Sendable, Hashable {
    /// The peer ended the stream with RST_STREAM. A retry is safe only for `refusedStream`.
    case reset(HTTP2ErrorCode)
    /// This side ended the stream before.
    case resetLocally(HTTP2ErrorCode)
    /// The connection takes no new streams; another one may. Nothing was sent.
    case goingAway
    /// As many streams are open as the limits allow. Nothing was sent; try again when one has
    /// ended.
    case tooManyStreams
    /// The connection has ended while the stream was open.
    case connectionClosed
    /// The connection was closed because the peer did not answer a keep-alive PING in time.
    case keepAliveTimeout
    /// The connection was closed because the peer sent too many frames that cost work and carry
    /// nothing.
    case flood(FloodGuard.Event)
    /// The connection was closed because the peer broke the protocol.
    case protocolViolation
    /// The transport below did not agree on HTTP/2 (ALPN `h2`).
    case applicationProtocol
    /// The stream's deadline has passed.
    case deadlineExceeded
    /// The bytes received are not what the reader can take.
    case malformedMessage
    /// The waiting task was cancelled.
    case cancelled
    /// Sent after ``HTTP2Stream/finish(trailers:)``, or a head that HTTP/2 cannot carry: a bug of
    /// the caller.
    case invalidUse
}

extension HTTP2Error: CustomStringConvertible {
    /// What happened, without anything the peer sent.
    public var description: String {
        switch self {
        case .reset(let code): "peer reset the stream (code \(code.rawValue))"
        case .resetLocally(let code): "stream was reset here (code \(code.rawValue))"
        case .goingAway: "connection is going away"
        case .tooManyStreams: "too many open streams"
        case .connectionClosed: "connection closed"
        case .keepAliveTimeout: "peer did not answer a keep-alive ping"
        case .flood(let event): "peer floods the connection (\(event))"
        case .protocolViolation: "peer broke the http/2 protocol"
        case .applicationProtocol: "peer did not negotiate h2"
        case .deadlineExceeded: "deadline exceeded"
        case .malformedMessage: "malformed message"
        case .cancelled: "cancelled"
        case .invalidUse: "invalid use of a stream"
        }
    }
}
