import GatewayModel
import JSON
import Networking

/// Why an exchange with a server came to nothing, and whether the server can have acted on it.
struct UpstreamFault: Error {
    /// What went wrong.
    enum Kind: String, CaseIterable {
        /// No connection, or none in time.
        case unreachable
        /// The connection ended before the answer was whole.
        case lost
        /// No answer in time.
        case timedOut = "timed_out"
        /// The answer breaks HTTP, JSON-RPC or MCP, or a bound.
        case invalid
        /// The server does not know the session any more, so it did not act.
        case sessionEnded = "session_ended"
        /// The server refused the gateway's credential, so it did not act.
        case unauthorized
        /// The client went away.
        case cancelled
        /// The configuration lease ended.
        case abandoned
    }

    let kind: Kind
    /// Whether the server may have acted.
    let mayHaveActed: Bool
    /// For the log and the record, in the gateway's own words.
    let detail: Text

    init(_ kind: Kind, mayHaveActed: Bool, _ detail: Text) {
        self.kind = kind
        self.mayHaveActed = mayHaveActed
        self.detail = detail
    }

    init(_ error: HTTPClientError) {
        let kind: Kind =
            switch error.reason {
            case .connectFailed, .connectTimedOut, .addressRefused, .tlsFailed, .overloaded,
                .requestUnsendable, .shutDown:
                .unreachable
            case .closedBeforeResponse: .lost
            case .responseRefused: .invalid
            case .timedOut: .timedOut
            case .cancelled: .cancelled
            case .abandoned: .abandoned
            }
        self.init(kind, mayHaveActed: error.progress == .sent, Text(error.description))
    }

    /// The reason a call stops for.
    var rejection: Rejection {
        let code: Rejection.Code =
            switch kind {
            case .unreachable, .unauthorized: .upstreamUnreachable
            case .lost, .sessionEnded: mayHaveActed ? .upstreamLost : .upstreamUnreachable
            case .timedOut: mayHaveActed ? .upstreamTimeout : .upstreamUnreachable
            case .invalid: .upstreamInvalid
            case .cancelled: .cancelled
            case .abandoned: mayHaveActed ? .aborted : .leaseExpired
            }
        return Rejection(code, detail)
    }
}
