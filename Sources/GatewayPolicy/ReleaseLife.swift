/// Where a release stands, and what may be done with it: derived from what happened to it, and stored nowhere (ADR 0009).
///
/// ```
///   draft ──▶ shadow ──▶ approved ──▶ active ◀──▶ retired
///     │          │           │
///     └──────────┴───────────┴──────▶ rejected
/// ```
///
/// A release is made as a draft and never changes; an edit is a new release. `active` and `retired` become each other by
/// activations; bringing back what was in force before is a rollback, and is asked nothing but that it still compiles.
public struct ReleaseLife: Hashable, Sendable {
    /// Where a release stands.
    public enum State: String, Hashable, Sendable, CaseIterable {
        /// Made; nothing has happened to it.
        case draft
        /// Evaluated beside the active one, not enforced.
        case shadow
        /// Enough people who did not make it have approved it, and at least one.
        case approved
        /// Somebody rejected it. It never comes into force.
        case rejected
        /// In force.
        case active
        /// Was in force, and is no more.
        case retired
    }

    /// What may be done with a release.
    public enum Step: String, Hashable, Sendable, CaseIterable {
        /// A person approves it.
        case approve
        /// A person rejects it.
        case reject
        /// It is evaluated beside the active one.
        case shadow
        /// It comes into force.
        case activate
    }

    /// Why a step is not possible.
    public enum Refusal: Hashable, Sendable {
        /// The checks find errors.
        case checksFailed
        /// So many people approved it, and more are required.
        case reviewsMissing(approvals: Int, required: Int)
        /// It was rejected.
        case rejected
        /// It is in force.
        case active
        /// It was in force: what people say about it now changes nothing.
        case retired
    }

    /// How many people who did not make it approved it.
    public var approvals: Int
    /// How many rejected it.
    public var rejections: Int
    /// How many must approve it, 0…5.
    public var reviewersRequired: Int
    /// Whether its checks find errors.
    public var hasErrors: Bool
    /// Whether it is evaluated beside the active one.
    public var isShadow: Bool
    /// Whether it is in force.
    public var isActive: Bool
    /// Whether it is in force, or was.
    public var wasActivated: Bool

    /// What happened to a release.
    public init(
        approvals: Int = 0,
        rejections: Int = 0,
        reviewersRequired: Int = 0,
        hasErrors: Bool = false,
        isShadow: Bool = false,
        isActive: Bool = false,
        wasActivated: Bool = false
    ) {
        self.approvals = approvals
        self.rejections = rejections
        self.reviewersRequired = reviewersRequired
        self.hasErrors = hasErrors
        self.isShadow = isShadow
        self.isActive = isActive
        self.wasActivated = wasActivated || isActive
    }

    /// Where it stands.
    public var state: State {
        if isActive { return .active }
        if wasActivated { return .retired }
        if rejections > 0 { return .rejected }
        if approvals > 0, approvals >= reviewersRequired { return .approved }
        return isShadow ? .shadow : .draft
    }

    /// Whether coming into force would be a return.
    public var isRollback: Bool { wasActivated && !isActive }

    /// Why a step is not possible; `nil` when it is.
    ///
    /// Nothing is said here of simulations: they compare two releases, and this is about one.
    public func refusal(of step: Step) -> Refusal? {
        switch (step, state) {
        case (_, .active): return .active
        // The way back is open whatever is found today, or rollbacks would fail when they are needed.
        case (.activate, .retired): return nil
        case (_, .retired): return .retired
        case (_, .rejected): return .rejected
        case (.reject, _): return nil
        case (.approve, _), (.shadow, _): return hasErrors ? .checksFailed : nil
        case (.activate, _):
            if hasErrors { return .checksFailed }
            guard approvals >= reviewersRequired else {
                return .reviewsMissing(approvals: approvals, required: reviewersRequired)
            }
            return nil
        }
    }
}
