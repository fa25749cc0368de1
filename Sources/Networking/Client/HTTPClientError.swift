public import NIOCore

/// Why an exchange with an upstream server failed, and whether the server can have seen the
/// request.
public struct HTTPClientError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong.
    public enum Reason: Error, Hashable, Sendable {
        /// No connection could be made.
        case connectFailed
        /// No connection was made in time.
        case connectTimedOut
        /// The address policy allows none of the addresses of the host.
        case addressRefused
        /// The server's certificate or its TLS was not accepted.
        case tlsFailed
        /// All connections to the origin are busy and the queue for them is full.
        case overloaded
        /// A field or the target cannot be sent.
        case requestUnsendable
        /// The server closed the connection before a response began.
        case closedBeforeResponse
        /// The server's message breaks a rule or a limit, or ends early.
        case responseRefused(HTTPFault)
        /// No response began, or the next piece of one did not come, in time.
        case timedOut
        /// The calling task was cancelled.
        case cancelled
        /// The process gave up everything it had in hand.
        case abandoned
        /// The client was shut down.
        case shutDown
    }

    /// How far the request came.
    public enum Progress: Hashable, Sendable {
        /// Not a byte of it was handed to a connection: sending it again cannot do anything twice.
        case unsent
        /// The server may have seen and executed it.
        case sent
    }

    /// What went wrong.
    public let reason: Reason
    /// How far the request came.
    public let progress: Progress

    init(_ reason: Reason, _ progress: Progress) {
        self.reason = reason
        self.progress = progress
    }

    /// The reason, without data of the request.
    public var description: String {
        let text =
            switch reason {
            case .connectFailed: "no connection to the upstream server"
            case .connectTimedOut: "connecting to the upstream server took too long"
            case .addressRefused: "the address of the upstream server is not allowed"
            case .tlsFailed: "tls with the upstream server failed"
            case .overloaded: "too many requests to the upstream server"
            case .requestUnsendable: "the request cannot be sent as it is"
            case .closedBeforeResponse:
                "the upstream server closed the connection without a response"
            case .responseRefused(let fault): "upstream \(fault)"
            case .timedOut: "the upstream server took too long"
            case .cancelled: "the exchange was cancelled"
            case .abandoned: "the exchange was given up"
            case .shutDown: "the client was shut down"
            }
        return progress == .unsent ? text + ", nothing was sent" : text
    }
}

/// Decides whether a resolved address may be connected to; called for every address before the
/// connect.
///
/// It sees the address that is used, so that a name cannot resolve to one thing for the check and
/// to another for the connection.
public typealias AddressPolicy = @Sendable (SocketAddress) -> Bool
