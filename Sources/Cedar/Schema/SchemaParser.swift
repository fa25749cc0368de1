import JSON

/// Reads Cedar schema text into ``SchemaSyntax``, by recursive descent with one token of lookahead.
///
/// Like the policy parser: a mistake in meaning is reported and reading goes on; a mistake in form
/// abandons the declaration and reading goes on behind its `;`, so that one run reports everything.
struct SchemaParser {
    private let text: [UInt8]
    private let tokens: [Token]
    private var at = 0
    private var depth = 0
    private var namespaces: [SchemaSyntax.Namespace] = []
    /// Where each name is in `namespaces`.
    private var positions: [Text: Int] = [:]
    private var declarationCount = 0
    private(set) var findings = SchemaFindings()

    /// A mistake in form, already reported.
    private struct Abandoned: Error {}

    init(_ text: [UInt8]) {
        self.text = text
        guard text.count <= SchemaLimits.bytesMax else {
            tokens = [Token(kind: .end, span: .none)]
            findings.report(.tooLong, SourceSpan(SchemaLimits.bytesMax, text.count))
            return
        }
        var lexer = Lexer(text, hasSlots: false)
        lexer.run()
        tokens = lexer.tokens
        for span in lexer.invalid { findings.report(.invalidToken, span) }
    }

    mutating func run() -> SchemaSyntax {
        while current.kind != .end, !findings.isFull {
            let start = at
            do throws(Abandoned) {
                let annotations = try annotations()
                if isWord("namespace", current) {
                    try namespace(annotations)
                } else {
                    try declaration(annotations, in: position(of: "", .none))
                }
            } catch {
                recover(from: start)
                // A closing brace that closes nothing is reported once and passed over.
                if current.kind == .rightBrace { at += 1 }
            }
        }
        return SchemaSyntax(namespaces: namespaces, source: .text(text))
    }

    /// Skips to behind the `;` that ends the declaration, or to the `}` that ends its namespace.
    private mutating func recover(from start: Int) {
        depth = 0
        let failed = at
        at = start
        var braces = 0
        while current.kind != .end {
            switch current.kind {
            case .leftBrace: braces += 1
            case .rightBrace:
                if braces == 0, at >= failed { return }
                braces = max(braces - 1, 0)
            case .semicolon where braces == 0 && at >= failed:
                at += 1
                return
            default: break
            }
            at += 1
        }
    }

    // MARK: Tokens

    private var current: Token { tokens[at] }

    private var previousSpan: SourceSpan { tokens[max(at - 1, 0)].span }

    private func bytes(_ span: SourceSpan) -> ArraySlice<UInt8> {
        text[Int(span.start)..<Int(span.end)]
    }

    private func isWord(_ word: StaticString, _ token: Token) -> Bool {
        guard token.kind == .identifier else { return false }
        return word.withUTF8Buffer { bytes(token.span).elementsEqual($0) }
    }

    private func textual(_ span: SourceSpan) -> Text {
        Text(String(decoding: bytes(span), as: UTF8.self))
    }

    private mutating func unexpected() -> Abandoned {
        switch current.kind {
        case .end: findings.report(.unexpectedEnd, current.span)
        // The lexer has reported it.
        case .invalid: break
        default: findings.report(.unexpectedToken, current.span)
        }
        return Abandoned()
    }

    private mutating func accept(_ kind: Token.Kind) -> Bool {
        guard current.kind == kind else { return false }
        at += 1
        return true
    }

    private mutating func accept(_ word: StaticString) -> Bool {
        guard isWord(word, current) else { return false }
        at += 1
        return true
    }

    @discardableResult
    private mutating func expect(_ kind: Token.Kind) throws(Abandoned) -> Token {
        guard current.kind == kind else { throw unexpected() }
        at += 1
        return tokens[at - 1]
    }

    private mutating func expect(_ word: StaticString) throws(Abandoned) {
        guard accept(word) else { throw unexpected() }
    }

    private mutating func string(_ token: Token) -> Text {
        let content = bytes(token.span).dropFirst().dropLast()
        guard let decoded = Escapes.decode(content, asPattern: false) else {
            findings.report(.invalidEscape, token.span)
            return ""
        }
        return Text(String(decoding: decoded, as: UTF8.self))
    }

    /// A word that names something, which a reserved word cannot.
    private mutating func identifier() throws(Abandoned) -> SchemaSyntax.Name {
        let token = try expect(.identifier)
        let word = bytes(token.span)
        if ReservedWords.contains(word), !word.elementsEqual("__cedar".utf8) {
            findings.report(.reservedIdentifier, token.span, name: textual(token.span))
        }
        return SchemaSyntax.Name(text: textual(token.span), span: token.span)
    }

    /// The name of an action or attribute: a word or a string.
    private mutating func wordOrString() throws(Abandoned) -> SchemaSyntax.Name {
        guard current.kind == .string else { return try identifier() }
        at += 1
        return SchemaSyntax.Name(text: string(tokens[at - 1]), span: previousSpan)
    }

    /// The name of a type or of a part of a namespace to be declared.
    private mutating func declaredName() throws(Abandoned) -> SchemaSyntax.Name {
        let name = try identifier()
        if name.text == "__cedar" { findings.report(.reservedName, name.span, name: name.text) }
        return name
    }

    /// `A::B::C`; blanks between the parts do not count.
    private mutating func path() throws(Abandoned) -> SchemaSyntax.Name {
        try path(startingWith: try identifier())
    }

    private mutating func path(
        startingWith first: SchemaSyntax.Name
    ) throws(Abandoned) -> SchemaSyntax.Name {
        guard current.kind == .doubleColon else { return first }
        var joined = first.text.string
        while accept(.doubleColon) { joined += "::" + (try identifier()).text.string }
        let span = SourceSpan(from: first.span, through: previousSpan)
        return SchemaSyntax.Name(text: Text(joined), span: span)
    }

    // MARK: Declarations

    private mutating func annotations() throws(Abandoned) -> [SchemaSyntax.Annotation] {
        var annotations: [SchemaSyntax.Annotation] = []
        while accept(.at) {
            // Any word will do here, reserved ones included.
            let token = try expect(.identifier)
            let key = textual(token.span)
            var value: Text?
            if accept(.leftParenthesis) {
                value = string(try expect(.string))
                try expect(.rightParenthesis)
            }
            if annotations.contains(where: { $0.key == key }) {
                findings.report(.duplicateAnnotation, token.span, name: key)
            } else {
                annotations.append(SchemaSyntax.Annotation(key: key, value: value))
            }
        }
        return annotations
    }

    /// The position of a namespace, which is made if it is new.
    private mutating func position(of name: Text, _ span: SourceSpan) -> Int {
        if let position = positions[name] { return position }
        let position = namespaces.count
        positions[name] = position
        namespaces.append(SchemaSyntax.Namespace(name: name, span: span))
        return position
    }

    private mutating func namespace(
        _ annotations: [SchemaSyntax.Annotation]
    ) throws(Abandoned) {
        at += 1
        let name = try path()
        if SchemaSyntax.isReserved(name.text) {
            findings.report(.reservedName, name.span, name: name.text)
        }
        try expect(.leftBrace)
        if positions[name.text] != nil {
            findings.report(.duplicateNamespace, name.span, name: name.text)
        }
        countDeclaration(name.span)
        let position = position(of: name.text, name.span)
        namespaces[position].annotations = annotations
        while current.kind != .rightBrace, current.kind != .end, !findings.isFull {
            let start = at
            do throws(Abandoned) {
                try declaration(try self.annotations(), in: position)
            } catch {
                recover(from: start)
            }
        }
        guard accept(.rightBrace) else { throw unexpected() }
    }

    private mutating func declaration(
        _ annotations: [SchemaSyntax.Annotation],
        in position: Int
    ) throws(Abandoned) {
        if accept("entity") {
            try entityTypes(annotations, in: position)
        } else if accept("action") {
            try actions(annotations, in: position)
        } else if accept("type") {
            try commonType(annotations, in: position)
        } else {
            throw unexpected()
        }
    }

    private mutating func countDeclaration(_ span: SourceSpan) {
        declarationCount += 1
        if declarationCount == SchemaLimits.declarationsMax + 1 {
            findings.report(.tooManyDeclarations, span)
        }
    }

    private mutating func commonType(
        _ annotations: [SchemaSyntax.Annotation],
        in position: Int
    ) throws(Abandoned) {
        let name = try declaredName()
        if SchemaSyntax.BuiltIn.reservedForCommonTypes.contains(name.text) {
            findings.report(.reservedName, name.span, name: name.text)
        }
        try expect(.assign)
        let type = try type()
        try expect(.semicolon)
        countDeclaration(name.span)
        namespaces[position].commonTypes.append(
            SchemaSyntax.CommonType(name: name, annotations: annotations, type: type)
        )
    }

    private mutating func entityTypes(
        _ annotations: [SchemaSyntax.Annotation],
        in position: Int
    ) throws(Abandoned) {
        var names = [try declaredName()]
        while accept(.comma) { names.append(try declaredName()) }
        let kind: SchemaSyntax.EntityType.Kind
        if accept("enum") {
            kind = .enumerated(try ids())
        } else {
            let memberOf = accept("in") ? try paths() : []
            var shape: SchemaSyntax.TypeSyntax?
            if accept(.assign) || current.kind == .leftBrace { shape = try record() }
            let tags = accept("tags") ? try type() : nil
            kind = .standard(memberOf: memberOf, shape: shape, tags: tags)
        }
        try expect(.semicolon)
        for name in names {
            countDeclaration(name.span)
            namespaces[position].entityTypes.append(
                SchemaSyntax.EntityType(name: name, annotations: annotations, kind: kind)
            )
        }
    }

    private mutating func ids() throws(Abandoned) -> [Text] {
        try expect(.leftBracket)
        guard current.kind != .rightBracket else {
            findings.report(.emptyList, SourceSpan(from: previousSpan, through: current.span))
            at += 1
            return []
        }
        var ids = [string(try expect(.string))]
        while accept(.comma) { ids.append(string(try expect(.string))) }
        try expect(.rightBracket)
        return ids
    }

    /// One path, or a list of them that may be empty.
    private mutating func paths() throws(Abandoned) -> [SchemaSyntax.Name] {
        guard accept(.leftBracket) else { return [try path()] }
        if accept(.rightBracket) { return [] }
        var paths = [try path()]
        while accept(.comma) { paths.append(try path()) }
        try expect(.rightBracket)
        return paths
    }

    // MARK: Actions

    private mutating func actions(
        _ annotations: [SchemaSyntax.Annotation],
        in position: Int
    ) throws(Abandoned) {
        var names = [try wordOrString()]
        while accept(.comma) { names.append(try wordOrString()) }
        let memberOf = accept("in") ? try parents() : []
        let scope = accept("appliesTo") ? try scope() : nil
        if accept("attributes") {
            // Attributes of actions have left the language; the empty list has stayed.
            try expect(.leftBrace)
            try expect(.rightBrace)
        }
        try expect(.semicolon)
        for name in names {
            countDeclaration(name.span)
            namespaces[position].actions.append(
                SchemaSyntax.Action(
                    name: name,
                    annotations: annotations,
                    memberOf: memberOf,
                    scope: scope
                )
            )
        }
    }

    private mutating func parents() throws(Abandoned) -> [SchemaSyntax.Action.Parent] {
        guard accept(.leftBracket) else { return [try parent()] }
        if current.kind == .rightBracket {
            findings.report(.emptyList, SourceSpan(from: previousSpan, through: current.span))
            at += 1
            return []
        }
        var parents = [try parent()]
        while accept(.comma) { parents.append(try parent()) }
        try expect(.rightBracket)
        return parents
    }

    /// `view`, `"view"` or `N::Action::"view"`.
    private mutating func parent() throws(Abandoned) -> SchemaSyntax.Action.Parent {
        let first = try wordOrString()
        guard tokens[at - 1].kind == .identifier, current.kind == .doubleColon else {
            return SchemaSyntax.Action.Parent(type: nil, id: first.text, span: first.span)
        }
        var type = first.text.string
        while true {
            try expect(.doubleColon)
            if current.kind == .string { break }
            type += "::" + (try identifier()).text.string
        }
        at += 1
        let id = string(tokens[at - 1])
        let span = SourceSpan(from: first.span, through: previousSpan)
        return SchemaSyntax.Action.Parent(type: Text(type), id: id, span: span)
    }

    /// `{ principal: …, resource: …, context: … }` in any order.
    private mutating func scope() throws(Abandoned) -> SchemaSyntax.Action.Scope {
        let open = try expect(.leftBrace).span
        var principals: [SchemaSyntax.Name]?
        var resources: [SchemaSyntax.Name]?
        var context: SchemaSyntax.TypeSyntax?
        repeat {
            if current.kind == .rightBrace { break }
            let key = current.span
            if accept("principal") {
                if principals != nil { findings.report(.duplicateScope, key, name: "principal") }
                principals = try scopeTypes()
            } else if accept("resource") {
                if resources != nil { findings.report(.duplicateScope, key, name: "resource") }
                resources = try scopeTypes()
            } else if accept("context") {
                if context != nil { findings.report(.duplicateScope, key, name: "context") }
                try expect(.colon)
                context = current.kind == .leftBrace ? try record() : .common(try path())
            } else {
                throw unexpected()
            }
        } while accept(.comma)
        try expect(.rightBrace)
        let span = SourceSpan(from: open, through: previousSpan)
        if principals == nil { findings.report(.missingScope, span, name: "principal") }
        if resources == nil { findings.report(.missingScope, span, name: "resource") }
        return SchemaSyntax.Action.Scope(
            principals: principals ?? [],
            resources: resources ?? [],
            context: context
        )
    }

    private mutating func scopeTypes() throws(Abandoned) -> [SchemaSyntax.Name] {
        try expect(.colon)
        let start = current.span
        let types = try paths()
        if types.isEmpty {
            findings.report(.emptyList, SourceSpan(from: start, through: previousSpan))
        }
        return types
    }

    // MARK: Types

    private mutating func type() throws(Abandoned) -> SchemaSyntax.TypeSyntax {
        if current.kind == .leftBrace { return try record() }
        let start = current.span
        let isSet = isWord("Set", current)
        let name = try path()
        guard isSet, name.span == start, accept(.less) else { return .entityOrCommon(name) }
        try enter(start)
        let element = try type()
        depth -= 1
        try expect(.greater)
        return .set(element, SourceSpan(from: start, through: previousSpan))
    }

    private mutating func record() throws(Abandoned) -> SchemaSyntax.TypeSyntax {
        let start = try expect(.leftBrace).span
        try enter(start)
        var attributes: [SchemaSyntax.TypeSyntax.Attribute] = []
        while current.kind != .rightBrace {
            let annotations = try annotations()
            let name = try wordOrString()
            let isRequired = !accept(.question)
            try expect(.colon)
            attributes.append(
                SchemaSyntax.TypeSyntax.Attribute(
                    name: name,
                    annotations: annotations,
                    isRequired: isRequired,
                    type: try type()
                )
            )
            if !accept(.comma) { break }
        }
        depth -= 1
        try expect(.rightBrace)
        return .record(attributes, SourceSpan(from: start, through: previousSpan))
    }

    private mutating func enter(_ span: SourceSpan) throws(Abandoned) {
        depth += 1
        guard depth <= SchemaLimits.depthMax else {
            findings.report(.tooDeep, span)
            throw Abandoned()
        }
    }
}
