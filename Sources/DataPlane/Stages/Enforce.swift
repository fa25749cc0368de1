import AuditLog
import GatewayModel
import JSON
import Networking

/// The right to record an intent: policy allows exactly this call, once.
///
/// Only ``enforce(_:)`` makes one, and it cannot be copied.
struct Permit: ~Copyable {
    /// The decision it rests on.
    let decision: Decision

    fileprivate init(_ decision: Decision) {
        self.decision = decision
    }
}

/// The right to send a call to a server: its intent is durable.
///
/// Only ``recordIntent(_:as:through:from:now:)`` makes one, it consumes a permit, and it cannot be copied.
struct RecordedIntent: ~Copyable {
    /// Where the intent stands; its outcome names this.
    let number: RecordedNumber

    fileprivate init(_ number: RecordedNumber) {
        self.number = number
    }
}

/// The policy enforcement point: a permit, or the end of the call.
func enforce(_ decision: Decision) throws(Rejection) -> Permit {
    switch decision.answer {
    case .permit:
        return Permit(decision)
    case .requireApproval:
        throw Rejection(.approvalRequired, "policy asks for approval", decision: decision)
    case .stepUp:
        throw Rejection(.stepUpRequired, "policy asks for step-up", decision: decision)
    case .rateLimited:
        throw Rejection(.rateLimited, "a rate is used up", decision: decision)
    case .deny:
        switch decision.ground {
        case .definitionChanged:
            throw Rejection(
                .definitionChanged,
                "the tool is not what was accepted",
                decision: decision
            )
        case .subjectInactive:
            throw Rejection(.subjectInactive, "the subject may not act", decision: decision)
        case .policyError:
            throw Rejection(.denied, "a policy could not be evaluated", decision: decision)
        case .subjectUnknown:
            throw Rejection(.denied, "policy knows no such subject", decision: decision)
        case .resourceUnknown:
            throw Rejection(.denied, "policy knows no such tool", decision: decision)
        case .noGrant:
            throw Rejection(.denied, "no policy permits this", decision: decision)
        case .policy:
            throw Rejection(.denied, "policy forbids this", decision: decision)
        }
    }
}

/// The intent of a call as it goes on record.
func intentDraft(
    _ permit: borrowing Permit,
    _ facts: CallFacts,
    arguments: [UInt8],
    salt: [UInt8]
) -> RecordDraft {
    let part = RecordPart(name: .arguments, salt: salt, content: arguments)
    return AuditRecord.draft(ofIntent: facts, permit.decision, parts: [part])
}

/// Makes the intent durable, or ends the call.
///
/// After this function has returned a ``RecordedIntent``, the intent is in PostgreSQL and will have exactly one outcome,
/// whatever happens here: from the pipeline, or `unknown` from control. When it throws after a number was given out, it
/// has closed that number itself: nothing was forwarded.
///
/// - Parameter draft: What ``intentDraft(_:_:arguments:salt:)`` made of the call.
func recordIntent(
    _ permit: consuming Permit,
    as draft: RecordDraft,
    through link: LinkClient,
    from executor: LoopExecutor,
    now: () -> Timestamp
) async throws(Rejection) -> RecordedIntent {
    switch await link.recordIntent(draft, from: executor) {
    case .durable(let number):
        return RecordedIntent(number)
    case .refused(let code, _):
        throw Rejection(.recordRefused, Text("control refused the intent: \(code)"))
    case .overdue(let number):
        // It may become durable yet; then this is its outcome.
        link.recordOutcome(
            CallOutcome(time: now(), end: .notForwarded, code: .recordUnavailable),
            of: number,
            from: executor
        )
        throw Rejection(.recordUnavailable, "the intent was not durable in time")
    case .unavailable(let reason):
        throw Rejection(.recordUnavailable, Text("the intent was not taken: \(reason)"))
    }
}
