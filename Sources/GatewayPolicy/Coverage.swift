import Cedar
public import GatewayModel
public import JSON

/// What the rules of a release did over many decisions: of tests, or of recorded traffic (policy.md §4, "Coverage").
///
/// A fold, like ``DecisionDiff``: it grows with the rules, not with the decisions, and parts are ``merge(_:)``d.
public struct Coverage: Sendable {
    /// What one rule did.
    public struct Rule: Hashable, Sendable {
        /// Its `@id`, or else its number in the release.
        public let policy: Text
        /// Whether it is a permit; else it is a forbid.
        public let permits: Bool
        /// Whether it has a condition.
        public let isConditional: Bool
        /// In which document it stands.
        public let document: Text
        /// The line, from 1.
        public let line: Int
        /// The column, from 1.
        public let column: Int
        /// Decisions whose principal, action and resource fit; the next three add up to it.
        public fileprivate(set) var scopeMatched = 0
        /// Of those, the condition was true, or there is none.
        public fileprivate(set) var conditionTrue = 0
        /// Of those, the condition was false.
        public fileprivate(set) var conditionFalse = 0
        /// Of those, the condition could not be evaluated.
        public fileprivate(set) var errors = 0
        /// Decisions whose answer rests on it.
        public fileprivate(set) var determining = 0
        /// Decisions that fit, that its condition let pass, and that were permitted.
        public fileprivate(set) var passed = 0
    }

    /// Decisions that policies were asked for.
    public private(set) var decisions = 0
    /// Of those, the permitted ones.
    public private(set) var permitted = 0
    /// The rules in the order of the release.
    public private(set) var rules: [Rule]
    private let numbers: [Text: Int]

    /// Nothing decided yet.
    public init(of release: PolicyRelease) {
        rules = release.set.policies.filter { !$0.isTemplate }.map { policy in
            guard let rule = release.rules[policy.id] else {
                preconditionFailure("a release knows every policy of its set")
            }
            return Rule(
                policy: rule.name,
                permits: rule.permits,
                isConditional: policy.hasConditions,
                document: rule.document,
                line: rule.line,
                column: rule.column
            )
        }
        numbers = Dictionary(
            rules.enumerated().map { ($0.element.policy, $0.offset) },
            uniquingKeysWith: { first, _ in first }
        )
    }

    /// Sees which policies a question meets.
    public struct Tracer: Sendable {
        private let layer: OutcomeLayer
        private let tracer: PolicyTracer

        /// Binds a release to entities, as `layer` does; costs as much as making that.
        public init(_ layer: OutcomeLayer) {
            self.layer = layer
            tracer = PolicyTracer(policies: layer.release.compiled, entities: layer.entities)
        }

        fileprivate func trace(
            _ question: OutcomeLayer.Question,
            _ facts: PolicyFacts,
            _ visit: (Int, PolicyTracer.Outcome) -> Void
        ) {
            tracer.trace(layer.request(question, facts), visit)
        }
    }

    /// Adds what the rules did for a question that was answered with `decision`.
    ///
    /// A question that no policy is asked, since its subject is unknown or not active, is not counted.
    public mutating func note(
        _ question: OutcomeLayer.Question,
        facts: PolicyFacts,
        decision: GatewayModel.Decision,
        by tracer: Tracer
    ) {
        guard decision.ground.isOfPolicies else { return }
        let isPermitted = decision.answer == .permit
        tracer.trace(question, facts) { number, outcome in
            rules[number].scopeMatched += 1
            switch outcome {
            case .applies: rules[number].conditionTrue += 1
            case .doesNotApply:
                rules[number].conditionFalse += 1
                if isPermitted { rules[number].passed += 1 }
            case .failed: rules[number].errors += 1
            }
        }
        decisions += 1
        if isPermitted { permitted += 1 }
        for name in decision.determining {
            if let number = numbers[name] { rules[number].determining += 1 }
        }
    }

    /// Adds what was noted elsewhere for the same release.
    public mutating func merge(_ other: Coverage) {
        precondition(rules.count == other.rules.count, "coverage of one release is merged")
        decisions += other.decisions
        permitted += other.permitted
        for (number, its) in other.rules.enumerated() {
            rules[number].scopeMatched += its.scopeMatched
            rules[number].conditionTrue += its.conditionTrue
            rules[number].conditionFalse += its.conditionFalse
            rules[number].errors += its.errors
            rules[number].determining += its.determining
            rules[number].passed += its.passed
        }
    }

    // MARK: - Reading

    /// The rules whose scope no decision fits.
    public var neverMatched: [Text] { rules.filter { $0.scopeMatched == 0 }.map(\.policy) }

    /// The rules that no answer rests on.
    public var neverDetermining: [Text] { rules.filter { $0.determining == 0 }.map(\.policy) }

    /// Forbids without a test that they deny and a test that they let pass, for coverage of tests.
    ///
    /// A test that a forbid lets pass fits its scope and is permitted; a forbid without a condition denies whatever fits,
    /// and any permitted test will do.
    public var untestedForbids: [PolicyLint.Finding] {
        rules.compactMap { rule in
            guard !rule.permits else { return nil }
            let isPassing = rule.isConditional ? rule.passed > 0 : permitted > 0
            let missing =
                (rule.determining > 0 ? [] : ["that it denies"])
                + (isPassing
                    ? []
                    : [
                        rule.isConditional
                            ? "in its scope that is permitted"
                            : "outside its scope that is permitted"
                    ])
            guard !missing.isEmpty else { return nil }
            return PolicyLint.Finding(
                code: "untested_forbid",
                severity: .warning,
                policy: rule.policy,
                document: rule.document,
                line: rule.line,
                column: rule.column,
                message: "add a test " + missing.joined(separator: ", and one ")
            )
        }
    }
}

extension GatewayModel.Decision.Ground {
    /// Whether policies were asked at all.
    var isOfPolicies: Bool {
        switch self {
        case .policy, .noGrant, .policyError: true
        case .subjectInactive, .subjectUnknown, .resourceUnknown, .definitionChanged: false
        }
    }
}

extension Coverage: JSONWritable {
    /// Writes an object (docs/reference/policy-life.md).
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("decisions", decisions)
            writer.array("rules") { writer in
                for rule in rules { writer.value(rule) }
            }
            writer.list("neverMatched", neverMatched)
            writer.list("neverDetermining", neverDetermining)
        }
    }
}

extension Coverage.Rule: JSONWritable {
    /// Writes an object.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("policy", policy)
            writer.member("effect", permits ? "permit" : "forbid")
            writer.member("document", document)
            writer.member("line", line)
            writer.member("column", column)
            writer.member("scopeMatched", scopeMatched)
            writer.member("conditionTrue", conditionTrue)
            writer.member("conditionFalse", conditionFalse)
            writer.member("errors", errors)
            writer.member("determining", determining)
        }
    }
}
