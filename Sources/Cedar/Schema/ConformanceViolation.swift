public import JSON

/// One way in which an entity, a context or a request is not as the schema says.
public struct ConformanceViolation: Hashable, Sendable {
    /// What is wrong.
    ///
    /// The raw value is stable and documented; the message is for people.
    public enum Code: String, CaseIterable, Hashable, Sendable {
        // Types and names.

        /// An entity type that is not declared.
        case undeclaredEntityType = "undeclared_entity_type"
        /// An action that is not declared.
        case undeclaredAction = "undeclared_action"
        /// An id that an enumerated type does not list.
        case undeclaredID = "undeclared_id"

        // Content.

        /// A required attribute that is not there.
        case missingAttribute = "missing_attribute"
        /// An attribute that is not declared.
        case unexpectedAttribute = "unexpected_attribute"
        /// A value of another type than the declared one.
        case typeMismatch = "type_mismatch"
        /// A tag of an entity type without tags.
        case unexpectedTag = "unexpected_tag"
        /// A parent of a type that the entity may not be in.
        case invalidParent = "invalid_parent"
        /// An action entity that is not in exactly what the schema says.
        case actionMismatch = "action_mismatch"

        // Requests.

        /// A principal of a type that the action does not apply to.
        case invalidPrincipalType = "invalid_principal_type"
        /// A resource of a type that the action does not apply to.
        case invalidResourceType = "invalid_resource_type"

        // JSON.

        /// `null`, which Cedar does not have.
        case null
        /// A number that is no integer.
        case fraction
        /// An integer beyond 64 bits.
        case integerTooLarge = "integer_too_large"
        /// Nested deeper than the limit.
        case tooDeep = "too_deep"
        /// No record where one is needed.
        case notARecord = "not_a_record"
        /// An entity reference without type or id, or with a type that is no path of names.
        case invalidEntity = "invalid_entity"
        /// An extension value that does not exist or is malformed.
        case invalidExtension = "invalid_extension"
        /// An entity without `uid`, `attrs` or `parents`, a list of entities that is none, a context
        /// that is no record.
        case invalidStructure = "invalid_structure"
        /// An action that is in something else than actions.
        case invalidActionParent = "invalid_action_parent"

        // Legal in the language, refused by ``SourceRules/publishing``.

        /// An id or a name with a control character that changes the direction of text.
        case bidirectionalControl = "bidirectional_control"
        /// An id or a name with letters of several scripts in one word.
        case mixedScripts = "mixed_scripts"
    }

    /// What is wrong.
    public let code: Code
    /// The entity it is wrong with, if it is one and its name could be read.
    public let entity: EntityUID?
    /// Where, as an RFC 6901 pointer into the JSON form of what was checked:
    /// `/3/attrs/manager` in a list of entities, `/context/input` or `/principal` in a request.
    public let path: Text
    /// What the schema wants there, in Cedar syntax, if that can be said.
    public let expected: Text?
    /// What is there instead: a type, or a name; never a value.
    public let found: Text?
}

extension ConformanceViolation: CustomStringConvertible {
    /// Place, kind, and what was expected and found.
    public var description: String {
        var text = path.isEmpty ? "" : CedarText.quoted(path) + ": "
        text += String(code.rawValue.map { $0 == "_" ? " " : $0 })
        if let found { text += " \(CedarText.quoted(found))" }
        if let expected { text += ", expected \(expected.string)" }
        return text
    }
}

/// Data that was refused because it is not as the schema says, with everything that is wrong.
///
/// Checking again does not help.
public struct ConformanceFailure: Error, Hashable, Sendable {
    /// The most violations that are listed: 1,000.
    public static let violationsMax = 1_000

    /// The violations in the order of the data; at least one.
    public let violations: [ConformanceViolation]
}

extension ConformanceFailure: CustomStringConvertible {
    /// The violations, one per line.
    public var description: String {
        violations.map(\.description).joined(separator: "\n")
    }
}

extension SchemaType: CustomStringConvertible {
    /// The type in Cedar syntax; a record without its attributes.
    public var description: String {
        switch self {
        case .bool: "Bool"
        case .long: "Long"
        case .string: "String"
        case .set(let element): "Set<\(element)>"
        case .record: "a record"
        case .entity(let type): type.string
        case .decimal: "decimal"
        case .ipaddr: "ipaddr"
        case .datetime: "datetime"
        case .duration: "duration"
        }
    }
}

extension Value {
    /// What kind of value this is, in the words of schemas.
    var typeName: Text {
        switch self {
        case .bool: "Bool"
        case .long: "Long"
        case .string: "String"
        case .entity(let uid): uid.type
        case .set: "Set"
        case .record: "a record"
        case .decimal: "decimal"
        case .ip: "ipaddr"
        case .datetime: "datetime"
        case .duration: "duration"
        }
    }
}

/// Collects violations while walking through data.
struct ViolationCollector {
    private(set) var violations: [ConformanceViolation] = []
    /// The entity being looked at.
    var entity: EntityUID?
    private var path: [Text] = []

    mutating func report(
        _ code: ConformanceViolation.Code,
        expected: Text? = nil,
        found: Text? = nil
    ) {
        guard violations.count < ConformanceFailure.violationsMax else { return }
        violations.append(
            ConformanceViolation(
                code: code,
                entity: entity,
                path: Text(path.map { "/" + $0.string.escapedForPointer }.joined()),
                expected: expected,
                found: found
            )
        )
    }

    mutating func enter(_ step: Text) { path.append(step) }
    mutating func leave() { path.removeLast() }

    /// Does something one step further down.
    mutating func at<Result>(_ step: Text, _ body: (inout Self) -> Result) -> Result {
        enter(step)
        defer { leave() }
        return body(&self)
    }

    mutating func at<Result>(_ index: Int, _ body: (inout Self) -> Result) -> Result {
        at(Text(String(index)), body)
    }
}
