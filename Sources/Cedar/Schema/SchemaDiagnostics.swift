public import JSON

/// One thing that is wrong with a schema, and where.
public struct SchemaDiagnostic: Hashable, Sendable {
    /// What is wrong.
    ///
    /// The raw value is stable and documented; the message is for people.
    public enum Code: String, CaseIterable, Hashable, Sendable {
        // Form, in Cedar syntax.

        /// A token that cannot stand here.
        case unexpectedToken = "unexpected_token"
        /// The text ends inside a declaration.
        case unexpectedEnd = "unexpected_end"
        /// Bytes that are no token of the language.
        case invalidToken = "invalid_token"
        /// An escape sequence that does not exist, or a bare carriage return in a string.
        case invalidEscape = "invalid_escape"
        /// `appliesTo` without `principal` or without `resource`.
        case missingScope = "missing_scope"
        /// `principal`, `resource` or `context` twice in one `appliesTo`.
        case duplicateScope = "duplicate_scope"

        // Form, in JSON.

        /// A value of another kind than the one needed, such as a string for an object.
        case invalidKind = "invalid_kind"
        /// A member that must be there is not.
        case missingMember = "missing_member"
        /// A member that means nothing here.
        case unknownMember = "unknown_member"
        /// A name that is no identifier, or no path of identifiers without blanks.
        case invalidName = "invalid_name"
        /// Attributes of actions, or records with additional attributes.
        case unsupportedFeature = "unsupported_feature"
        /// Annotations on declarations that have no namespace.
        case misplacedAnnotation = "misplaced_annotation"

        // Names and lists.

        /// A reserved word of the language used as a name.
        case reservedIdentifier = "reserved_identifier"
        /// A name that only the language may give: `__cedar`, a common type named like a built-in
        /// type, an entity type named `Action`.
        case reservedName = "reserved_name"
        /// An annotation given twice.
        case duplicateAnnotation = "duplicate_annotation"
        /// A namespace opened twice.
        case duplicateNamespace = "duplicate_namespace"
        /// A type or action declared twice.
        case duplicateDeclaration = "duplicate_declaration"
        /// A list that must not be empty: principals, resources, ids of an enumerated type, parents
        /// of an action.
        case emptyList = "empty_list"

        // Meaning.

        /// A declaration that hides one without a namespace.
        case shadowedName = "shadowed_name"
        /// A type that is not declared.
        case unknownType = "unknown_type"
        /// An action that is not declared.
        case unknownAction = "unknown_action"
        /// An extension type that does not exist.
        case unknownExtension = "unknown_extension"
        /// A common type that contains itself.
        case commonTypeCycle = "common_type_cycle"
        /// An action that is in itself.
        case actionCycle = "action_cycle"
        /// The shape of an entity type, or a context, that is no record.
        case notARecord = "not_a_record"

        /// A name that means an entity type, where Cedar syntax would mean a common type.
        case notExpressible = "not_expressible"

        // Limits.

        /// A text longer than ``SchemaLimits/bytesMax``.
        case tooLong = "too_long"
        /// A type nested deeper than ``SchemaLimits/depthMax``.
        case tooDeep = "too_deep"
        /// A type with more parts than ``SchemaLimits/typePartsMax``.
        case typeTooLarge = "type_too_large"
        /// More declarations than ``SchemaLimits/declarationsMax``.
        case tooManyDeclarations = "too_many_declarations"
        /// A hierarchy with more ancestors than ``SchemaLimits/ancestorsMax``.
        case tooManyAncestors = "too_many_ancestors"
        /// More findings than ``SchemaLimits/findingsMax``; the rest is not listed.
        case tooManyFindings = "too_many_findings"

        // Legal in the language, refused by ``SourceRules/publishing``.

        /// An attribute declared twice in one record; the language lets the last one win.
        case repeatedAttribute = "repeated_attribute"
        /// A control character that changes the direction of the text around it.
        case bidirectionalControl = "bidirectional_control"
        /// A carriage return without a line feed, which ends a comment and shows no new line.
        case bareCarriageReturn = "bare_carriage_return"
        /// A name with letters of several scripts, such as a Cyrillic `а` in a Latin word.
        case mixedScripts = "mixed_scripts"
    }

    /// What is wrong.
    public let code: Code
    /// Where, in bytes of the text or the JSON document.
    public let span: SourceSpan
    /// The line, from 1.
    public let line: Int
    /// The column in Unicode scalars, from 1.
    public let column: Int
    /// Where in a JSON document, as an RFC 6901 pointer; nothing for a text.
    public let pointer: Text?
    /// The name the finding is about, if it is about one.
    public let name: Text?
    /// The declared name that was probably meant, for a name that is not declared.
    public let suggestion: Text?
}

extension SchemaDiagnostic: CustomStringConvertible {
    /// Position, kind, name and suggestion, in one line.
    ///
    /// Names stand in quotes with everything escaped that could disturb a terminal or a log.
    public var description: String {
        var text = "line \(line):\(column)"
        if let pointer, !pointer.isEmpty { text += " (\(CedarText.quoted(pointer)))" }
        text += ": " + String(code.rawValue.map { $0 == "_" ? " " : $0 })
        if let name { text += " \(CedarText.quoted(name))" }
        if let suggestion { text += ", did you mean \(CedarText.quoted(suggestion))?" }
        return text
    }
}

/// A schema that was refused, with everything that is wrong with it.
///
/// Reading again does not help.
public struct SchemaFailure: Error, Hashable, Sendable {
    /// All findings in the order of the source; at least one.
    public let diagnostics: [SchemaDiagnostic]
}

extension SchemaFailure: CustomStringConvertible {
    /// The findings, one per line.
    public var description: String {
        diagnostics.map(\.description).joined(separator: "\n")
    }
}

/// The bounds of a schema; what exceeds one is refused whole.
///
/// They keep reading linear and what reading makes proportional to the source: common types may
/// multiply (`type A = {x: B, y: B}`, thirty times), and a chain of types has quadratically many
/// ancestors. Source: SP 800-53 SC-5.
public enum SchemaLimits {
    /// The longest Cedar text, in bytes: 16 MiB.
    ///
    /// For JSON the limits of the JSON reader apply.
    public static let bytesMax = 16 << 20
    /// The deepest nesting of one type, steps from name to common type included: 64.
    public static let depthMax = 64
    /// The most types within one type after common types are replaced by what they stand for:
    /// 65,536.
    public static let typePartsMax = 65_536
    /// The most namespaces, types and actions: 100,000.
    public static let declarationsMax = 100_000
    /// The most pairs of descendant and ancestor among entity types, and among actions: 1,000,000.
    public static let ancestorsMax = 1_000_000
    /// The most findings that are listed: 1,000.
    public static let findingsMax = 1_000
}

/// How strictly a source is read.
public enum SourceRules: Hashable, Sendable {
    /// As the language defines it.
    case language
    /// As the language defines it, without what a reviewer cannot see or would misread:
    /// bidirectional controls, bare carriage returns, names of mixed scripts, repeated attributes.
    ///
    /// For everything that people approve.
    case publishing
}

/// What a reader of schemas finds, before lines and columns are known.
struct SchemaFindings {
    struct Finding {
        let code: SchemaDiagnostic.Code
        let span: SourceSpan
        let name: Text?
        let suggestion: Text?
    }

    private(set) var list: [Finding] = []
    private(set) var isFull = false

    var isEmpty: Bool { list.isEmpty }

    mutating func report(
        _ code: SchemaDiagnostic.Code,
        _ span: SourceSpan,
        name: Text? = nil,
        suggestion: Text? = nil
    ) {
        guard list.count < SchemaLimits.findingsMax else {
            guard !isFull else { return }
            isFull = true
            let finding = Finding(code: .tooManyFindings, span: span, name: nil, suggestion: nil)
            return list.append(finding)
        }
        list.append(Finding(code: code, span: span, name: name, suggestion: suggestion))
    }

    /// The findings in the order of the source, with their places.
    func failure(in source: SchemaSyntax.Source) -> SchemaFailure {
        var lines = LineCounter()
        let ordered = list.enumerated().sorted {
            ($0.element.span.start, $0.offset) < ($1.element.span.start, $1.offset)
        }
        return SchemaFailure(
            diagnostics: ordered.map { _, finding in
                let (line, column) = lines.position(of: Int(finding.span.start), in: source.bytes)
                return SchemaDiagnostic(
                    code: finding.code,
                    span: finding.span,
                    line: line,
                    column: column,
                    pointer: source.pointer(to: finding.span),
                    name: finding.name,
                    suggestion: finding.suggestion
                )
            }
        )
    }
}
