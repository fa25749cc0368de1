public import JSON

/// What the policy decision point answers, with its reasons (SP 800-207).
public struct Decision: Hashable, Sendable {
    /// The answer itself.
    ///
    /// Anything that is not a clear permit is a refusal.
    public enum Answer: String, Hashable, Sendable {
        /// The call may go on.
        case permit
        /// The call stops here.
        case deny
        /// The call may go on once the named people have approved exactly it.
        case requireApproval
        /// The call may go on once the subject has authenticated anew, more strongly.
        case stepUp
        /// The same call may go on later; see ``Decision/retryAfterMilliseconds``.
        case rateLimited
    }

    /// Why a decision is what it is when no policy determined it.
    public enum Ground: String, Hashable, Sendable {
        /// Determining policies say so.
        case policy
        /// No policy permits the call: the default.
        case noGrant
        /// A policy that could matter failed to evaluate; the gateway closes.
        case policyError
        /// The subject may not act at all.
        case subjectInactive
        /// Nothing is known of the subject.
        case subjectUnknown
        /// Nothing is known of what is acted on.
        case resourceUnknown
        /// The tool's definition differs from the pinned one.
        case definitionChanged
    }

    /// What would turn a refusal into a permit, as the determining policies say it.
    public enum Cure: Hashable, Sendable {
        /// So many distinct people of a group approve exactly this call.
        case approval(group: Text, count: Int)
        /// The subject authenticates anew, more strongly.
        case stepUp
        /// The named counter falls.
        case limit(counter: Text)
    }

    /// What the gateway owes for a permit; duties only add, so several never contradict each other.
    public enum Duty: Hashable, Sendable {
        /// Keep more of the call than the record asks for: `full` keeps arguments and result.
        case record(RecordLevel)
        /// Tell somebody: a channel or a group, by name.
        case notify(Text)
    }

    /// How much of a call is kept.
    public enum RecordLevel: String, Hashable, Sendable, CaseIterable {
        /// Arguments and result, as the client saw them.
        case full
    }

    /// Permit, deny, or what has to happen first.
    public let answer: Answer
    /// What the answer rests on.
    public let ground: Ground
    /// The `@id`s of the determining policies, sorted.
    public let determining: [Text]
    /// The release in force, by number; 0 when there is none.
    public let release: UInt64
    /// What would help, all of it, sorted; empty for a permit and for a refusal that nothing cures.
    public let cures: [Cure]
    /// What a permit obliges to, sorted; empty for everything else.
    public let duties: [Duty]
    /// When the same call can succeed, in milliseconds from now, if nothing else happens; only when rate limited.
    public let retryAfterMilliseconds: Int64?

    /// Assembles a decision.
    public init(
        answer: Answer,
        ground: Ground,
        determining: [Text],
        release: UInt64,
        cures: [Cure] = [],
        duties: [Duty] = [],
        retryAfterMilliseconds: Int64? = nil
    ) {
        self.answer = answer
        self.ground = ground
        self.determining = Array(Set(determining)).sorted()
        self.release = release
        self.cures = Array(Set(cures)).sorted()
        self.duties = Array(Set(duties)).sorted()
        self.retryAfterMilliseconds = retryAfterMilliseconds
    }
}

extension Decision.Cure: Comparable, CustomStringConvertible {
    /// The cure as an annotation says it: `approval sre:2`, `stepup`, `limit calls_1m`.
    public var description: String {
        switch self {
        case .approval(let group, let count): "approval \(group):\(count)"
        case .stepUp: "stepup"
        case .limit(let counter): "limit \(counter)"
        }
    }

    /// Orders by the text; the order has no meaning, it is only always the same.
    public static func < (left: Self, right: Self) -> Bool {
        Text(left.description) < Text(right.description)
    }
}

extension Decision.Duty: Comparable, CustomStringConvertible {
    /// The duty as an annotation says it: `record full`, `notify security-oncall`.
    public var description: String {
        switch self {
        case .record(let level): "record \(level.rawValue)"
        case .notify(let whom): "notify \(whom)"
        }
    }

    /// Orders by the text; the order has no meaning, it is only always the same.
    public static func < (left: Self, right: Self) -> Bool {
        Text(left.description) < Text(right.description)
    }
}
