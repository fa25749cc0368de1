/// The bounds that one HTTP/1.1 connection is held to (SP 800-53 SC-5).
public struct HTTPLimits: Sendable, Hashable {
    /// The longest head: request or status line, fields, and the line ends, in bytes.
    ///
    /// Default 16 KiB. A longer one is refused with 431.
    public var headBytesMax = 16 * 1024

    /// The longest request target, in bytes.
    ///
    /// Default 4 KiB. A longer one is refused with 414.
    public var targetBytesMax = 4 * 1024

    /// The most field lines in a head.
    ///
    /// Default 64. More are refused with 431.
    public var fieldsMax = 64

    /// The largest body, in bytes after the transfer coding is removed.
    ///
    /// Default 1 MiB. A larger one is refused with 413; a declared length at once, before any of it
    /// is read.
    public var bodyBytesMax = 1024 * 1024

    /// How much unread input a connection may hold before it stops reading its socket, in bytes.
    ///
    /// Default 64 KiB. Bounds pipelined requests, and a response whose reader is slower than its
    /// sender.
    public var unreadBytesMax = 64 * 1024

    /// The most interim (1xx) responses before a final one.
    ///
    /// Default 8.
    public var interimResponsesMax = 8

    /// From the first byte of a head to its last.
    ///
    /// Default 10 s. Answered with 408.
    public var headTimeout: Duration = .seconds(10)

    /// The longest pause within a body; also the longest time a client may take to read what was
    /// written.
    ///
    /// Default 30 s. Answered with 408 while the response has not begun.
    public var bodyTimeout: Duration = .seconds(30)

    /// How long a connection may stay open between requests.
    ///
    /// Default 75 s. Closed without an answer.
    public var idleTimeout: Duration = .seconds(75)

    /// The default bounds.
    public init() {}
}
