/// What a run over conformance data found: how many statements of each kind were checked, and which failed.
public struct ConformanceReport: Sendable {
    /// A kind of statement that the data makes about the engine.
    ///
    /// The raw value is what is printed.
    public enum Kind: String, CaseIterable, Hashable, Sendable {
        case decision = "decision"
        case determiningPolicies = "determining policies"
        case failingPolicies = "failing policies"
        case index = "same with and without index"
        case policyJSONDecision = "same from policies in JSON"
        case policyText = "policy text, printed, read"
        case policyJSON = "policy text, JSON, text"
        case policyTranslation = "policy JSON as published"
        case edgeExpression = "edge expression"
        case parserInput = "parser input"
        case schemaText = "schema text, printed, read"
        case schemaJSON = "schema text, JSON, text"
        case schemaTranslation = "schema JSON as published"
        case setValidation = "strict validation, set"
        case policyValidation = "strict validation, policy"
        case permissiveSetValidation = "permissive validation, set"
        case permissivePolicyValidation = "permissive validation, policy"
        case level = "level validation"
        case entityValidation = "entity validation"
        case requestValidation = "request validation"
        case entityParsing = "entity parsing"
        case partialEvaluation = "partial evaluation"
        case toolSchema = "schema from a list of tools"
    }

    /// The count of one kind.
    public struct Tally: Hashable, Sendable {
        /// The statements that hold.
        public fileprivate(set) var passed = 0
        /// The statements that do not.
        public fileprivate(set) var failed = 0
        /// The statements that this engine cannot check; none of them counts as passed.
        public fileprivate(set) var unsupported = 0
        /// All of them.
        public var checks: Int { passed + failed + unsupported }
    }

    /// One statement that does not hold.
    public struct Difference: Hashable, Sendable {
        /// The kind.
        public let kind: Kind
        /// The record's name in its file.
        public let record: String
        /// What was expected and what came, with what is needed to see it again.
        public let detail: String
    }

    /// The counts of the kinds that occurred.
    public private(set) var tallies: [Kind: Tally] = [:]
    /// The first statements that do not hold.
    public private(set) var differences: [Difference] = []
    /// How many differences are kept.
    public let differencesMax: Int

    init(differencesMax: Int) {
        self.differencesMax = differencesMax
    }

    /// The sum over all kinds.
    public var total: Tally {
        tallies.values.reduce(into: Tally()) { sum, tally in
            sum.passed += tally.passed
            sum.failed += tally.failed
            sum.unsupported += tally.unsupported
        }
    }

    /// Whether everything was checked and holds; nothing checked is no agreement.
    public var agrees: Bool { total.passed > 0 && total.passed == total.checks }

    /// Counts a statement.
    ///
    /// `detail` is asked only where it does not hold.
    mutating func check(
        _ kind: Kind,
        _ holds: Bool,
        in record: String,
        _ detail: @autoclosure () -> String
    ) {
        if holds {
            tallies[kind, default: Tally()].passed += 1
        } else {
            tallies[kind, default: Tally()].failed += 1
            guard differences.count < differencesMax else { return }
            differences.append(Difference(kind: kind, record: record, detail: detail()))
        }
    }

    /// Counts statements that are not checked.
    mutating func leaveOut(_ kind: Kind, count: Int = 1) {
        guard count > 0 else { return }
        tallies[kind, default: Tally()].unsupported += count
    }
}
