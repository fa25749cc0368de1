public import JSON

/// Why a call stops: the only error of the data plane.
///
/// Three questions are answered apart from each other: what it is (``code``), whose it is (``Code/source``),
/// and whether trying again can help (``Code/retry``). ``detail`` is for the operator and the record; what a
/// stranger is told follows from the code alone (`Rejection+JSONRPC.swift` is the only mapping).
public struct Rejection: Error, Hashable, Sendable {
    /// Who has to do something about it.
    public enum Source: String, Hashable, Sendable {
        /// The client or its token.
        case downstream
        /// The MCP server behind the gateway.
        case upstream
        /// A policy, a person's decision or a limit.
        case policy
        /// The gateway or something it needs.
        case `internal`
    }

    /// Whether the same call can succeed later.
    public enum Retry: String, Hashable, Sendable {
        /// Not without a change of the call or of the rules.
        case never
        /// After a pause.
        case afterBackoff
        /// Only if nothing of it reached the server, which is not known here.
        case ifUnsent
    }

    /// The stable, documented codes (docs/reference/rejections.md).
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// No token was presented.
        case tokenMissing = "token_missing"
        /// The token did not verify, is not for this server, or has ended.
        case tokenInvalid = "token_invalid"
        /// The token verified, but names nobody the directory knows.
        case subjectUnknown = "subject_unknown"
        /// The subject is suspended or has left.
        case subjectInactive = "subject_inactive"
        /// No such server in this namespace, or not for this caller.
        case serverUnknown = "server_unknown"
        /// No such tool, or none that this caller may see.
        case toolUnknown = "tool_unknown"
        /// The session id is not ours, not this caller's, or not for this server.
        case sessionUnknown = "session_unknown"
        /// The message is not what the protocol allows.
        case messageInvalid = "message_invalid"
        /// The method is not one the gateway carries.
        case methodUnknown = "method_unknown"
        /// Policy says no.
        case denied
        /// Policy lets the call pass once others have approved exactly it.
        case approvalRequired = "approval_required"
        /// Policy lets the call pass once its subject has authenticated anew, more strongly.
        case stepUpRequired = "step_up_required"
        /// A rate that policy limits is used up for now.
        case rateLimited = "rate_limited"
        /// The tool is not what was accepted.
        case definitionChanged = "definition_changed"
        /// A documented bound was reached.
        case limitExceeded = "limit_exceeded"
        /// The intent could not be made durable in time.
        case recordUnavailable = "record_unavailable"
        /// Control refused the intent.
        case recordRefused = "record_refused"
        /// The configuration lease ended before the call was forwarded.
        case leaseExpired = "lease_expired"
        /// The configuration lease ended while the call was at the server; whether it ran is not known.
        case aborted
        /// The server could not be reached; nothing was sent.
        case upstreamUnreachable = "upstream_unreachable"
        /// The server stopped answering after the request was sent.
        case upstreamLost = "upstream_lost"
        /// The server did not answer in time.
        case upstreamTimeout = "upstream_timeout"
        /// The server's answer is not what the protocol allows.
        case upstreamInvalid = "upstream_invalid"
        /// The client went away.
        case cancelled
        /// A bug.
        case internalError = "internal_error"

        /// Who has to act.
        public var source: Source {
            switch self {
            case .tokenMissing, .tokenInvalid, .subjectUnknown, .serverUnknown, .toolUnknown,
                .sessionUnknown, .messageInvalid, .methodUnknown, .cancelled:
                .downstream
            case .subjectInactive, .denied, .approvalRequired, .stepUpRequired, .rateLimited,
                .definitionChanged, .limitExceeded:
                .policy
            case .upstreamUnreachable, .upstreamLost, .upstreamTimeout, .upstreamInvalid:
                .upstream
            case .recordUnavailable, .recordRefused, .leaseExpired, .aborted, .internalError:
                .internal
            }
        }

        /// Whether trying again can help.
        public var retry: Retry {
            switch self {
            case .approvalRequired, .rateLimited, .limitExceeded, .recordUnavailable,
                .leaseExpired, .upstreamUnreachable:
                .afterBackoff
            case .upstreamLost, .upstreamTimeout, .aborted:
                .ifUnsent
            default:
                .never
            }
        }
    }

    /// What it is.
    public let code: Code
    /// For the operator and the record: precise, without anything from arguments, results or tokens.
    public let detail: Text
    /// The decision behind it, when policy spoke.
    public let decision: Decision?

    /// Stops a call.
    public init(_ code: Code, _ detail: Text, decision: Decision? = nil) {
        self.code = code
        self.detail = detail
        self.decision = decision
    }
}
