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
        /// The tool's definition differs from the pinned one.
        case definitionChanged
    }

    /// Permit, deny or require approval.
    public let answer: Answer
    /// What the answer rests on.
    public let ground: Ground
    /// The `@id`s of the determining policies, sorted.
    public let determining: [Text]
    /// The release in force, by number; 0 when there is none.
    public let release: UInt64

    /// Assembles a decision.
    public init(answer: Answer, ground: Ground, determining: [Text], release: UInt64) {
        self.answer = answer
        self.ground = ground
        self.determining = determining.sorted()
        self.release = release
    }
}
