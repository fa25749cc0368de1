import JSON

/// Reads policy text into ``Syntax``, by recursive descent with one token of lookahead.
///
/// One run reports everything, and nothing twice. A mistake in meaning (a reserved word, a duplicate key) is reported
/// and reading goes on. A mistake in form abandons the smallest thing that has a certain end: a scope at its `)`, a
/// condition at its `}`, a policy at its `;` or where the next one plainly begins. A string that lost its quote
/// runs into the policies behind it; it is found by that, and reading goes on behind its first line.
struct Parser {
    static let textBytesMax = 16 << 20
    static let policyBytesMax = 64 << 10
    static let policiesMax = 10_000
    /// How often a text is cut into tokens anew; bounds the work on one with many open strings.
    private static let relexingMax = 64

    let text: [UInt8]
    private(set) var tokens: [Token] = []
    var at = 0
    var depth = 0
    var syntax = Syntax()
    private(set) var policies: [PolicySyntax] = []
    private var findings: [Finding] = []
    private var relexings = 0

    /// A mistake in form, already reported.
    struct Abandoned: Error {}

    init(_ text: [UInt8]) {
        self.text = text
    }

    mutating func run(_ rules: SourceRules = .language) throws(PolicyParseFailure) {
        guard text.count <= Self.textBytesMax else {
            report(.textTooLong, SourceSpan(0, 0))
            throw failure()
        }
        lex(from: 0)
        while current.kind != .end {
            let start = at
            let known = findings.count
            do throws(Abandoned) {
                let policy = try policy()
                if policy.span.end - policy.span.start > Self.policyBytesMax {
                    report(.policyTooLong, policy.span)
                }
                policies.append(policy)
            } catch {
                recover(from: start)
            }
            if findings.count > known { closeOpenString(from: start, known: known) }
            if policies.count > Self.policiesMax {
                report(.tooManyPolicies, tokens[start].span)
                break
            }
        }
        if rules == .publishing { lint() }
        guard findings.isEmpty else { throw failure() }
    }

    private func failure() -> PolicyParseFailure {
        PolicyParseFailure(diagnostics: Finding.diagnostics(findings, in: text))
    }

    /// Cuts the text from an offset on, in place of the tokens that stood there.
    private mutating func lex(from offset: Int) {
        var lexer = Lexer(text, from: offset)
        lexer.run()
        tokens.removeSubrange((tokens.firstIndex { $0.span.start >= offset } ?? tokens.count)...)
        tokens += lexer.tokens
        findings.removeAll { $0.span.start >= offset && $0.isLexical }
        for span in lexer.invalid { reportForeign(span) }
    }

    // MARK: Recovery

    /// Goes behind the policy's `;`, or to where another policy begins.
    private mutating func recover(from start: Int) {
        depth = 0
        while current.kind != .end {
            if accept(.semicolon) { return }
            if at > start, beginsPolicy(at) { return }
            at += 1
        }
    }

    /// Whether a policy plainly begins here: no expression holds `permit (` or `@`.
    func beginsPolicy(_ index: Int) -> Bool {
        switch tokens[index].kind {
        case .at: return kind(index + 1) == .identifier
        case .identifier:
            guard isWord("permit", tokens[index]) || isWord("forbid", tokens[index]) else {
                return false
            }
            return kind(index + 1) == .leftParenthesis && kind(index - 1) != .dot
        default: return false
        }
    }

    /// Goes behind the bracket that closes the one at `opening`, if it comes before the policy ends.
    private mutating func skipBlock(
        _ open: Token.Kind,
        _ close: Token.Kind,
        at opening: Int
    ) -> Bool {
        var nesting = 0
        var index = opening
        while true {
            switch tokens[index].kind {
            case open: nesting += 1
            case close: nesting -= 1
            case .semicolon, .end: return false
            case .leftBrace where open == .leftParenthesis: return false
            default: if beginsPolicy(index), index > opening { return false }
            }
            index += 1
            // What stands behind a block shows whether it was its end.
            guard nesting <= 0, index > at else { continue }
            let isEnd =
                tokens[index].kind == .semicolon || tokens[index].kind == .end
                || isWord("when", tokens[index]) || isWord("unless", tokens[index])
                || beginsPolicy(index)
            guard isEnd else { return false }
            at = index
            depth = 0
            return true
        }
    }

    /// Looks whether a string without its closing quote made the findings of the policy that was just read: one that
    /// runs over a line into what looks like the end of a policy.
    ///
    /// Then that is the finding, and reading goes on behind the line where it began.
    private mutating func closeOpenString(from start: Int, known: Int) {
        guard relexings < Self.relexingMax else { return }
        let first = findings[known...].map(\.span.start).min() ?? 0
        // A string that the reader went over without complaint is behind, one that stopped it may be just ahead.
        let open = tokens[start..<min(at + 1, tokens.count)].first { token in
            guard token.kind == .string else { return false }
            let content = bytes(token.span)
            guard content.contains(0x0A) else { return false }
            return content.contains(UInt8(ascii: ";")) && token.span.end >= first
        }
        guard let open, let line = bytes(open.span).firstIndex(of: 0x0A) else { return }
        relexings += 1
        findings.removeAll { $0.span.start >= open.span.start }
        report(
            .unterminatedString,
            SourceSpan(Int(open.span.start), line),
            hint: "the next quote in the text is on another line, behind a `;`"
        )
        lex(from: line)
        at = tokens.firstIndex { $0.span.start >= line } ?? tokens.count - 1
        depth = 0
        // The policy's own rest, if its end was on that line, is gone; a `;` of the next one ends nothing else.
        while current.kind != .end, !beginsPolicy(at) {
            if accept(.semicolon) { break }
            at += 1
        }
    }

    // MARK: Tokens

    var current: Token { tokens[at] }

    var previousSpan: SourceSpan { tokens[max(at - 1, 0)].span }

    private func kind(_ index: Int) -> Token.Kind? {
        tokens.indices.contains(index) ? tokens[index].kind : nil
    }

    func peek(_ distance: Int) -> Token.Kind {
        tokens[min(at + distance, tokens.count - 1)].kind
    }

    func bytes(_ span: SourceSpan) -> ArraySlice<UInt8> {
        text[Int(span.start)..<Int(span.end)]
    }

    func isWord(_ word: StaticString, _ token: Token) -> Bool {
        guard token.kind == .identifier else { return false }
        return word.withUTF8Buffer { bytes(token.span).elementsEqual($0) }
    }

    mutating func report(
        _ code: PolicyDiagnostic.Code,
        _ span: SourceSpan,
        _ message: String? = nil,
        hint: String? = nil
    ) {
        findings.append(Finding(code, span, message, hint: hint))
    }

    mutating func abandon(
        _ code: PolicyDiagnostic.Code,
        _ span: SourceSpan,
        _ message: String? = nil,
        hint: String? = nil
    ) -> Abandoned {
        report(code, span, message, hint: hint)
        return Abandoned()
    }

    mutating func unexpected(_ expected: String, hint: String? = nil) -> Abandoned {
        switch current.kind {
        case .end:
            abandon(.unexpectedEnd, current.span, "the text ends where \(expected) should stand")
        case .invalid: Abandoned()
        default:
            abandon(
                .unexpectedToken,
                current.span,
                "expected \(expected), found \(quoted(current.span))",
                hint: hint ?? foreignWordHint
            )
        }
    }

    mutating func accept(_ kind: Token.Kind) -> Bool {
        guard current.kind == kind else { return false }
        at += 1
        return true
    }

    @discardableResult
    mutating func expect(
        _ kind: Token.Kind,
        _ what: String? = nil
    ) throws(Abandoned) -> Token {
        guard current.kind == kind else { throw unexpected(what ?? kind.sample) }
        at += 1
        return tokens[at - 1]
    }

    mutating func intern(_ span: SourceSpan) -> Symbol {
        bytes(span).withUnsafeBytes { syntax.symbols.intern($0) }
    }

    mutating func string(_ token: Token, asPattern: Bool = false) -> Symbol {
        let content = bytes(token.span).dropFirst().dropLast()
        guard let decoded = Escapes.decode(content, asPattern: asPattern) else {
            report(
                .invalidEscape,
                token.span,
                hint: #"the escapes are \" \' \\ \n \r \t \0 \x41 \u{1F512}"#
                    + (asPattern ? #" and \* for a star"# : "")
            )
            return syntax.symbols.intern("")
        }
        return syntax.symbols.intern(decoded)
    }

    /// A word that names an attribute.
    mutating func name() throws(Abandoned) -> Symbol {
        let token = try expect(.identifier, "a name")
        if ReservedWords.contains(bytes(token.span)) {
            report(
                .reservedIdentifier,
                token.span,
                "\(quoted(token.span)) is a reserved word",
                hint: "as an attribute it is written in quotes: [\"\(spelling(token.span))\"]"
            )
        }
        return intern(token.span)
    }

    // MARK: Policies

    private mutating func policy() throws(Abandoned) -> PolicySyntax {
        let start = current.span
        let annotations = try annotations()
        let effect = try effect()
        let isPermit = isWord("permit", effect)
        var policy = PolicySyntax(
            annotations: annotations,
            effect: isPermit ? .permit : .forbid,
            span: start
        )
        let opening = at
        do throws(Abandoned) {
            try scope(&policy)
        } catch {
            guard skipBlock(.leftParenthesis, .rightParenthesis, at: opening) else { throw error }
        }
        while let condition = try condition() { policy.conditions.append(condition) }
        if beginsPolicy(at) {
            let end = Int(previousSpan.end)
            report(.missingSemicolon, SourceSpan(end, end))
        } else {
            try expect(.semicolon, policy.conditions.isEmpty ? "`when`, `unless` or `;`" : "`;`")
        }
        policy.span = SourceSpan(from: start, through: previousSpan)
        return policy
    }

    private mutating func effect() throws(Abandoned) -> Token {
        let effect = try expect(.identifier, "a policy")
        guard !isWord("permit", effect), !isWord("forbid", effect) else { return effect }
        let word = spelling(effect.span)
        let other: String? =
            switch word.lowercased() {
            case "allow", "grant", "accept": "permit"
            case "deny", "reject", "block", "disallow": "forbid"
            default: nearest(to: word, among: ["permit", "forbid"])
            }
        report(
            .invalidEffect,
            effect.span,
            "expected `permit` or `forbid`, found \(quoted(effect.span))",
            hint: other.map { "did you mean `\($0)`?" }
        )
        // Without a scope it is no policy with a wrong word, but something else altogether.
        guard current.kind == .leftParenthesis else { throw Abandoned() }
        return effect
    }

    private mutating func annotations() throws(Abandoned) -> [PolicySyntax.Annotation] {
        var annotations: [PolicySyntax.Annotation] = []
        while accept(.at) {
            // Any word will do here, reserved ones included.
            let token = try expect(.identifier, "the name of an annotation")
            let key = intern(token.span)
            var value: Symbol?
            if accept(.leftParenthesis) {
                value = string(try expect(.string, "a string in quotes"))
                try expect(.rightParenthesis)
            }
            if annotations.contains(where: { $0.key == key }) {
                report(
                    .duplicateAnnotation,
                    token.span,
                    "the annotation \(quoted(token.span)) was given before"
                )
            } else {
                annotations.append(PolicySyntax.Annotation(key: key, value: value))
            }
        }
        return annotations
    }

    /// The next `when` or `unless`; nothing where the conditions end.
    private mutating func condition() throws(Abandoned) -> PolicySyntax.Condition? {
        guard current.kind == .identifier, !beginsPolicy(at) else { return nil }
        let keyword = current
        let isWhen = isWord("when", keyword)
        if !isWhen, !isWord("unless", keyword) {
            let word = spelling(keyword.span)
            let other: String? =
                ["if", "where", "with", "having"].contains(word.lowercased())
                ? "when" : nearest(to: word, among: ["when", "unless"])
            report(
                .invalidCondition,
                keyword.span,
                "expected `when`, `unless` or `;`, found \(quoted(keyword.span))",
                hint: other.map { "did you mean `\($0)`?" }
            )
            guard peek(1) == .leftBrace else { throw Abandoned() }
        }
        at += 1
        guard current.kind == .leftBrace else {
            throw unexpected("`{`", hint: "a condition is written in braces: when { … }")
        }
        let opening = at
        at += 1
        if current.kind == .rightBrace {
            report(.emptyCondition, SourceSpan(from: keyword.span, through: current.span))
            at += 1
            return PolicySyntax.Condition(isWhen: isWhen, body: ExpressionID(index: 0))
        }
        do throws(Abandoned) {
            let body = try expression()
            try expect(.rightBrace, "an operator or `}`")
            return PolicySyntax.Condition(isWhen: isWhen, body: body)
        } catch {
            guard skipBlock(.leftBrace, .rightBrace, at: opening) else { throw error }
            return PolicySyntax.Condition(isWhen: isWhen, body: ExpressionID(index: 0))
        }
    }
}

extension Token.Kind {
    /// The token as it is written, for messages.
    var sample: String {
        switch self {
        case .identifier: "a name"
        case .integer: "a number"
        case .string: "a string in quotes"
        case .slot: "a slot"
        case .at: "`@`"
        case .leftParenthesis: "`(`"
        case .rightParenthesis: "`)`"
        case .leftBrace: "`{`"
        case .rightBrace: "`}`"
        case .leftBracket: "`[`"
        case .rightBracket: "`]`"
        case .comma: "`,`"
        case .semicolon: "`;`"
        case .colon: "`:`"
        case .doubleColon: "`::`"
        case .dot: "`.`"
        default: "something else"
        }
    }
}
