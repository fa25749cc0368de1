import JSON

/// One thing that validation has to say about a policy, and where.
public struct ValidationFinding: Hashable, Sendable {
    /// How much it matters.
    public enum Severity: String, Hashable, Sendable {
        /// The policy is refused.
        case error
        /// The policy is valid, and probably not what was meant.
        case warning
    }

    /// What was found.
    ///
    /// The raw value is stable and documented; the message is for people.
    public enum Code: String, CaseIterable, Hashable, Sendable {
        /// An entity type that the schema does not declare.
        case unknownEntityType = "unknown_entity_type"
        /// An action that the schema does not declare.
        case unknownAction = "unknown_action"
        /// An id that an enumerated entity type does not have.
        case invalidEnumID = "invalid_enum_id"
        /// No action in the scope applies to a principal and a resource in the scope.
        case noApplicableAction = "no_applicable_action"
        /// An operand of another type than its operator or function takes.
        case unexpectedType = "unexpected_type"
        /// Types that must agree and do not.
        case incompatibleTypes = "incompatible_types"
        /// An attribute that the type does not have.
        case attributeNotFound = "attribute_not_found"
        /// An optional attribute read without a test.
        case unsafeOptionalAttribute = "unsafe_optional_attribute"
        /// A tag read without a test.
        case unsafeTag = "unsafe_tag"
        /// A tag of an entity type that has no tags.
        case tagsNotAllowed = "tags_not_allowed"
        /// An extension function with the wrong number of arguments.
        case wrongArgumentCount = "wrong_argument_count"
        /// A literal that is no value of its extension type.
        case invalidExtensionLiteral = "invalid_extension_literal"
        /// An extension value made from anything but a literal.
        case nonLiteralConstructor = "non_literal_constructor"
        /// `[]`, whose elements have no type.
        case emptySet = "empty_set"
        /// More entities are followed than the level allows.
        case levelExceeded = "level_exceeded"
        /// The condition is false in every request that the schema allows.
        case impossiblePolicy = "impossible_policy"
        /// A control character that makes text read in another order than it is stored.
        case bidirectionalControl = "bidirectional_control"
        /// A carriage return without a line feed, which ends a comment but looks as if it did not.
        case bareCarriageReturn = "bare_carriage_return"
        /// A word with letters of more than one script.
        case mixedScripts = "mixed_scripts"
        /// A character that looks like another.
        case confusableCharacter = "confusable_character"

        /// How much a finding of this kind matters.
        public var severity: Severity {
            switch self {
            case .impossiblePolicy, .bidirectionalControl, .bareCarriageReturn, .mixedScripts,
                .confusableCharacter:
                .warning
            default: .error
            }
        }
    }

    /// What was found.
    public let code: Code
    /// The policy, template or link; nothing for text between policies.
    public let policy: PolicyID?
    /// Where, in bytes of the text; empty if the policy came as JSON.
    public let span: SourceSpan
    /// The line, from 1; 0 if the policy came as JSON.
    public let line: Int
    /// The column in Unicode scalars, from 1; 0 if the policy came as JSON.
    public let column: Int
    /// What is wrong, in a sentence.
    ///
    /// It names types, attributes and literals of policy and schema.
    public let message: String
    /// What may have been meant, or what to do about it.
    public let hint: String?
    /// The actions in whose requests it was found; empty if it does not depend on the request.
    public let actions: [EntityUID]

    /// The action or enumerated id that the schema does not have, where that is what was found.
    public let entity: EntityUID?

    /// How much it matters.
    public var severity: Severity { code.severity }
}

extension ValidationFinding: CustomStringConvertible {
    /// Position, kind, message and hint.
    public var description: String {
        let place = line > 0 ? "line \(line):\(column): " : ""
        return "\(place)\(severity.rawValue): \(message) [\(code.rawValue)]"
            + (hint.map { "; \($0)" } ?? "")
    }
}

/// What validation found in a set of policies.
public struct ValidationReport: Hashable, Sendable {
    /// All findings in the order of the text; links come last.
    public let findings: [ValidationFinding]
    /// How many kinds of requests policies were checked against.
    ///
    /// Kinds that a policy cannot tell apart count once.
    public let checks: Int
    /// How many verdicts a ``ValidationMemo`` still knew.
    public let remembered: Int

    /// Whether no finding is an error.
    public var isValid: Bool { !findings.contains { $0.severity == .error } }

    /// Whether no finding about this policy is an error.
    public func isValid(_ policy: PolicyID) -> Bool {
        !findings.contains { $0.policy == policy && $0.severity == .error }
    }
}

extension Suggestion {
    /// `did you mean …?`, if a candidate is close.
    static func hint(for name: Text, among candidates: some Sequence<Text>) -> String? {
        nearest(to: name, among: candidates).map { "did you mean `\($0)`?" }
    }

    /// The same for a name that lacks its namespace, if only one namespace has it.
    static func hint(forUnqualified name: Text, among candidates: [Text]) -> String? {
        let suffix = Array("::\(name)".utf8)
        let found = candidates.filter { $0.utf8.suffix(suffix.count).elementsEqual(suffix) }
        return found.count == 1 ? "did you mean `\(found[0])`?" : nil
    }
}
