/// A range of bytes in the text of a policy set.
public struct SourceSpan: Hashable, Sendable {
    /// The offset of the first byte.
    public let start: UInt32
    /// The offset after the last byte.
    public let end: UInt32

    init(_ start: Int, _ end: Int) {
        self.start = UInt32(truncatingIfNeeded: start)
        self.end = UInt32(truncatingIfNeeded: end)
    }

    init(from first: SourceSpan, through last: SourceSpan) {
        start = first.start
        end = max(first.start, last.end)
    }

    /// A place that has no text, such as a policy that came as JSON.
    static let none = SourceSpan(0, 0)
}

/// One thing that is wrong with a policy text, and where.
public struct PolicyDiagnostic: Hashable, Sendable {
    /// What is wrong.
    ///
    /// The raw value is stable and documented; the message is for people.
    public enum Code: String, CaseIterable, Hashable, Sendable {
        /// A token that cannot stand here.
        case unexpectedToken = "unexpected_token"
        /// The text ends inside a policy.
        case unexpectedEnd = "unexpected_end"
        /// Bytes that are no token of the language.
        case invalidToken = "invalid_token"
        /// An escape sequence that does not exist, or a bare carriage return in a string.
        case invalidEscape = "invalid_escape"
        /// An integer beyond 64 bits.
        case integerTooLarge = "integer_too_large"
        /// A reserved word used as a name.
        case reservedIdentifier = "reserved_identifier"
        /// An annotation given twice.
        case duplicateAnnotation = "duplicate_annotation"
        /// A record literal with the same key twice.
        case duplicateRecordKey = "duplicate_record_key"
        /// Neither `permit` nor `forbid`.
        case invalidEffect = "invalid_effect"
        /// Neither `when` nor `unless`.
        case invalidCondition = "invalid_condition"
        /// A condition without an expression.
        case emptyCondition = "empty_condition"
        /// A scope that does not name principal, action and resource in this order.
        case invalidScope = "invalid_scope"
        /// A constraint that the scope does not allow.
        case invalidScopeConstraint = "invalid_scope_constraint"
        /// An action whose type does not end in `Action`.
        case invalidActionType = "invalid_action_type"
        /// A template slot where none is allowed, or one that does not exist.
        case invalidSlot = "invalid_slot"
        /// A name that is no variable.
        case unknownVariable = "unknown_variable"
        /// A function that does not exist.
        case unknownFunction = "unknown_function"
        /// A method that does not exist.
        case unknownMethod = "unknown_method"
        /// A function called as a method.
        case functionCalledAsMethod = "function_called_as_method"
        /// A method called as a function.
        case methodCalledAsFunction = "method_called_as_function"
        /// A built-in method with the wrong number of arguments.
        case wrongArgumentCount = "wrong_argument_count"
        /// An operator of other languages: `/`, `%`, `=`.
        case unsupportedOperator = "unsupported_operator"
        /// Two relational operators without parentheses.
        case chainedRelation = "chained_relation"
        /// More than four `!` or `-` in a row.
        case tooManyUnaryOperators = "too_many_unary_operators"
        /// The right side of `like` is no string literal.
        case invalidPattern = "invalid_pattern"
        /// The right side of `has` is neither a string literal nor a path of names.
        case invalidAttributePath = "invalid_attribute_path"
        /// The right side of `is` is no type name.
        case invalidTypeName = "invalid_type_name"
        /// An index that is no string literal.
        case invalidIndex = "invalid_index"
        /// A policy longer than the limit.
        case policyTooLong = "policy_too_long"
        /// Expressions nested deeper than the limit.
        case tooDeep = "too_deep"
        /// More policies than the limit.
        case tooManyPolicies = "too_many_policies"
        /// JSON that does not have the shape of a policy.
        case invalidJSON = "invalid_json"
        /// Two policies with one id.
        case duplicatePolicyID = "duplicate_policy_id"
    }

    /// What is wrong.
    public let code: Code
    /// Where, in bytes.
    public let span: SourceSpan
    /// The line, from 1.
    public let line: Int
    /// The column in Unicode scalars, from 1.
    public let column: Int
}

extension PolicyDiagnostic: CustomStringConvertible {
    /// Position and kind, without the text that caused it.
    public var description: String {
        "line \(line):\(column): \(code.rawValue.replacing("_", by: " "))"
    }
}

/// A policy text that was refused, with everything that is wrong with it.
public struct PolicyParseFailure: Error, Hashable, Sendable {
    /// All findings in the order of the text; at least one.
    public let diagnostics: [PolicyDiagnostic]
}

extension PolicyParseFailure: CustomStringConvertible {
    /// The findings, one per line.
    public var description: String {
        diagnostics.map(\.description).joined(separator: "\n")
    }
}

extension String {
    fileprivate func replacing(_ separator: Character, by replacement: Character) -> String {
        String(map { $0 == separator ? replacement : $0 })
    }
}

/// Finds lines and columns of byte offsets that only grow.
struct LineCounter {
    private var offset = 0
    private var line = 1
    private var column = 1

    mutating func position(of target: Int, in text: [UInt8]) -> (line: Int, column: Int) {
        if target < offset { self = LineCounter() }
        while offset < min(target, text.count) {
            let byte = text[offset]
            if byte == UInt8(ascii: "\n") {
                line += 1
                column = 1
            } else if byte & 0xC0 != 0x80 {
                column += 1
            }
            offset += 1
        }
        return (line, column)
    }
}
