import GatewayModel
import JSON
import MCPProtocol

// The only mapping from a rejection to what a client sees. A model can react to a tool result with `isError`; other
// statuses and protocol errors get lost in many clients (mcp-protocol.md §3.3), so a stopped call is HTTP 200. 401 and
// 403 belong to OAuth alone. Texts come from the code; details stay with the operator.

extension ResponseBuilder {
    /// The message that tells a client why its call was stopped.
    func rejection(_ rejection: Rejection) -> [UInt8] {
        switch rejection.code {
        case .toolUnknown:
            error(RPCError(.invalidParams, "Unknown tool"))
        case .messageInvalid:
            error(
                RPCError(
                    .headerMismatch,
                    "Header mismatch: Mcp-Param headers do not equal the arguments"
                )
            )
        case .internalError:
            error(RPCError(.internalError, "Internal error"))
        default:
            toolError(Text(rejection.clientText), decision: rejection.clientDecision)
        }
    }
}

extension Rejection {
    /// For the model and the person in front of it.
    var clientText: String {
        switch code {
        case .denied, .definitionChanged, .subjectInactive:
            let policies = decision?.determining.map(\.string).joined(separator: ", ") ?? ""
            let reason =
                switch code {
                case .definitionChanged:
                    "this tool's definition has changed and was not accepted yet"
                case .subjectInactive: "this account may not act"
                default:
                    policies.isEmpty
                        ? "no policy permits this call"
                        : "policy \(policies) does not allow this call"
                }
            return
                "Blocked: \(reason). Do not retry with the same arguments; ask an administrator for access."
        case .approvalRequired:
            return """
                Pending: this call was not made. It needs \(approvals) first. \
                Once it is approved, call again with the same arguments.
                """
        case .stepUpRequired:
            return """
                Not done: this call needs a fresh and stronger sign-in\(approvals.isEmpty ? "" : ", and \(approvals)"). \
                Sign in again, then repeat it.
                """
        case .rateLimited:
            let seconds = ((decision?.retryAfterMilliseconds ?? 1000) + 999) / 1000
            return "Not done: a rate limit is used up. Retry in \(seconds) s."
        case .limitExceeded:
            return "Not done: a limit was reached. Retry later."
        case .recordUnavailable, .recordRefused:
            return
                "Not done: the call could not be put on record, so it was not forwarded. Retry later."
        case .leaseExpired:
            return
                "Not done: the gateway has no word from its control plane, so the call was not forwarded. Retry later."
        case .aborted:
            return
                "Stopped: the gateway lost its control plane. Whether the call took effect is not known: check before you retry."
        case .upstreamUnreachable:
            return "Not done: the server cannot be reached. Retry later."
        case .upstreamLost, .upstreamTimeout:
            return
                "The server did not answer. Whether the call took effect is not known: check before you retry."
        case .upstreamInvalid:
            return "The server's answer could not be understood and was withheld."
        case .cancelled:
            return "Cancelled."
        default:
            return "Not done."
        }
    }

    /// Who has to approve, in words: `2 approvals of sre and 1 approval of security`.
    private var approvals: String {
        var parts: [String] = []
        for case .approval(let group, let count) in decision?.cures ?? [] {
            parts.append("\(count) approval\(count == 1 ? "" : "s") of \(group)")
        }
        return parts.joined(separator: " and ")
    }

    /// For programs, in `_meta`.
    var clientDecision: JSONFragment {
        JSONFragment { writer in
            writer.member("code", code.rawValue)
            writer.member("retry", code.retry.rawValue)
            if let decision {
                writer.member("answer", decision.answer.rawValue)
                writer.array("policies") { writer in
                    for id in decision.determining {
                        writer.value(id)
                    }
                }
                writer.cures(decision.cures)
                writer.member("retryAfterMs", ifPresent: decision.retryAfterMilliseconds)
            }
        }
    }

    /// The HTTP status where the protocol has no message to carry the rejection.
    var httpStatus: Int {
        switch code {
        case .tokenMissing, .tokenInvalid, .subjectUnknown: 401
        case .serverUnknown, .sessionUnknown: 404
        case .messageInvalid: 400
        case .limitExceeded: 429
        case .leaseExpired, .recordUnavailable: 503
        default: 500
        }
    }
}

extension JSONWriter {
    /// What would help, for programs: `"cures": ["approval sre:2"]`; nothing where nothing would.
    mutating func cures(_ cures: [Decision.Cure]) {
        guard !cures.isEmpty else {
            return
        }
        array("cures") { writer in
            for cure in cures {
                writer.value(Text(cure.description))
            }
        }
    }
}
