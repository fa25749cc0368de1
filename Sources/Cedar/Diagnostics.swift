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
        /// A string without its closing quote.
        case unterminatedString = "unterminated_string"
        /// A policy that begins before the one before it has its `;`.
        case missingSemicolon = "missing_semicolon"
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
        /// A text longer than the limit; it is not read.
        case textTooLong = "text_too_long"
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
        /// More findings than are listed.
        case tooManyFindings = "too_many_findings"
        /// A control character that makes text read in another order than it is stored.
        ///
        /// This and what follows the language allows, and ``SourceRules/publishing`` refuses.
        case bidirectionalControl = "bidirectional_control"
        /// A carriage return without a line feed, which ends a comment but looks as if it did not.
        case bareCarriageReturn = "bare_carriage_return"
        /// A word with letters of scripts that are not written together.
        case mixedScripts = "mixed_scripts"
    }

    /// Whether a policy set is refused for it.
    public enum Severity: String, Hashable, Sendable {
        case error, warning
    }

    /// What is wrong.
    public let code: Code
    /// Whether the set is refused for it.
    public let severity: Severity
    /// Where, in bytes.
    public let span: SourceSpan
    /// The line, from 1.
    public let line: Int
    /// The column in Unicode scalars, from 1.
    public let column: Int
    /// What is wrong, for the author: it quotes the text.
    public let message: String
    /// What would help, if that can be said.
    public let hint: String?

    init(_ finding: Finding, line: Int, column: Int) {
        code = finding.code
        severity = finding.severity
        span = finding.span
        self.line = line
        self.column = column
        message = finding.message
        hint = finding.hint
    }
}

/// One thing that is wrong, before its line is known.
struct Finding {
    var code: PolicyDiagnostic.Code
    var severity = PolicyDiagnostic.Severity.error
    var span: SourceSpan
    var message: String
    var hint: String?

    init(
        _ code: PolicyDiagnostic.Code,
        _ span: SourceSpan,
        _ message: String? = nil,
        hint: String? = nil,
        severity: PolicyDiagnostic.Severity = .error
    ) {
        self.code = code
        self.severity = severity
        self.span = span
        self.message = message ?? code.summary
        self.hint = hint
    }

    /// The findings in the order of the text, with lines and columns, at most `max` of them.
    static func diagnostics(
        _ findings: [Finding],
        in text: [UInt8],
        max: Int = PolicyDiagnostic.countMax
    ) -> [PolicyDiagnostic] {
        var lines = LineCounter()
        let ordered = findings.enumerated().sorted {
            ($0.element.span.start, $0.offset) < ($1.element.span.start, $1.offset)
        }
        var listed = ordered.prefix(max).map(\.element)
        if ordered.count > max, let last = listed.last {
            listed.append(
                Finding(
                    .tooManyFindings,
                    SourceSpan(Int(last.span.end), Int(last.span.end)),
                    "\(ordered.count - max) more findings are not listed"
                )
            )
        }
        return listed.map { finding in
            let (line, column) = lines.position(of: Int(finding.span.start), in: text)
            return PolicyDiagnostic(finding, line: line, column: column)
        }
    }
}

extension PolicyDiagnostic {
    /// How many findings of one text are listed.
    static let countMax = 1000
}

extension PolicyDiagnostic.Code {
    /// What the code means, where nothing more is known.
    var summary: String {
        switch self {
        case .unexpectedToken: "this cannot stand here"
        case .unexpectedEnd: "the text ends inside a policy"
        case .invalidToken: "this is no part of the language"
        case .unterminatedString: "this string has no closing quote"
        case .missingSemicolon: "a policy ends with `;`"
        case .invalidEscape:
            "this string has an escape that does not exist, or a bare carriage return"
        case .integerTooLarge: "an integer must be within -9223372036854775808…9223372036854775807"
        case .reservedIdentifier: "this word is reserved"
        case .duplicateAnnotation: "this annotation was given before"
        case .duplicateRecordKey: "this key was given before"
        case .invalidEffect: "a policy begins with `permit` or `forbid`"
        case .invalidCondition: "a condition begins with `when` or `unless`"
        case .emptyCondition: "a condition needs an expression"
        case .invalidScope: "a scope names principal, action and resource, in this order"
        case .invalidScopeConstraint: "the scope does not allow this constraint"
        case .invalidActionType: "the type of an action is `Action`, or ends in `::Action`"
        case .invalidSlot: "a slot may stand in the scope, for its own variable"
        case .unknownVariable: "there is no such variable"
        case .unknownFunction: "there is no such function"
        case .unknownMethod: "there is no such method"
        case .functionCalledAsMethod: "this is a function, not a method"
        case .methodCalledAsFunction: "this is a method, not a function"
        case .wrongArgumentCount: "this method takes another number of arguments"
        case .unsupportedOperator: "there is no such operator"
        case .chainedRelation: "relations do not chain: put one of them in parentheses"
        case .tooManyUnaryOperators: "at most four `!` or `-` may stand in a row"
        case .invalidPattern: "the right side of `like` is a string in quotes"
        case .invalidAttributePath:
            "the right side of `has` is a name, a path of names, or a string in quotes"
        case .invalidTypeName: "the right side of `is` is the name of an entity type"
        case .invalidIndex: "an index is a string in quotes"
        case .textTooLong: "the text is longer than \(Parser.textBytesMax) bytes"
        case .policyTooLong: "this policy is longer than \(Parser.policyBytesMax) bytes"
        case .tooDeep: "this nests deeper than \(Syntax.depthMax) levels"
        case .tooManyPolicies: "there are more than \(Parser.policiesMax) policies"
        case .invalidJSON: "this is not the JSON form of a policy"
        case .duplicatePolicyID: "another policy has this id"
        case .tooManyFindings: "there are more findings"
        case .bidirectionalControl:
            "a control character makes text read in another order than it is stored"
        case .bareCarriageReturn:
            "a carriage return without a line feed ends a comment, though it may look like one line"
        case .mixedScripts: "a word mixes letters of scripts that look alike"
        }
    }
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
