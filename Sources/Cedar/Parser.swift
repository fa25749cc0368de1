import JSON

/// Reads policy text into ``Syntax``, by recursive descent with one token of lookahead.
///
/// A mistake in meaning (a reserved word, a duplicate key) is reported and reading goes on; a
/// mistake in form abandons the policy and reading goes on behind the next `;`. So one run reports
/// everything.
struct Parser {
    static let policyBytesMax = 64 << 10
    static let policiesMax = 10_000

    private let text: [UInt8]
    private let tokens: [Token]
    private var at = 0
    private var depth = 0
    private(set) var syntax = Syntax()
    private(set) var policies: [PolicySyntax] = []
    private var findings: [(code: PolicyDiagnostic.Code, span: SourceSpan)] = []

    /// A mistake in form, already reported.
    private struct Abandoned: Error {}

    init(_ text: [UInt8]) {
        self.text = text
        var lexer = Lexer(text)
        lexer.run()
        tokens = lexer.tokens
        findings = lexer.invalid.map { (.invalidToken, $0) }
    }

    mutating func run() throws(PolicyParseFailure) {
        while current.kind != .end {
            let start = at
            do throws(Abandoned) {
                let policy = try policy()
                if policy.span.end - policy.span.start > Self.policyBytesMax {
                    report(.policyTooLong, policy.span)
                }
                policies.append(policy)
            } catch {
                recover(from: start)
            }
            if policies.count > Self.policiesMax {
                report(.tooManyPolicies, tokens[start].span)
                break
            }
        }
        guard findings.isEmpty else { throw failure() }
    }

    private func failure() -> PolicyParseFailure {
        var lines = LineCounter()
        let ordered = findings.enumerated().sorted {
            ($0.element.span.start, $0.offset) < ($1.element.span.start, $1.offset)
        }
        return PolicyParseFailure(
            diagnostics: ordered.map { _, finding in
                let (line, column) = lines.position(of: Int(finding.span.start), in: text)
                return PolicyDiagnostic(
                    code: finding.code,
                    span: finding.span,
                    line: line,
                    column: column
                )
            }
        )
    }

    private mutating func recover(from start: Int) {
        depth = 0
        while current.kind != .semicolon, current.kind != .end { at += 1 }
        if current.kind == .semicolon { at += 1 }
    }

    // MARK: Tokens

    private var current: Token { tokens[at] }

    private var previousSpan: SourceSpan { tokens[max(at - 1, 0)].span }

    private func peek(_ distance: Int) -> Token.Kind {
        tokens[min(at + distance, tokens.count - 1)].kind
    }

    private func bytes(_ span: SourceSpan) -> ArraySlice<UInt8> {
        text[Int(span.start)..<Int(span.end)]
    }

    private func isWord(_ word: StaticString, _ token: Token) -> Bool {
        guard token.kind == .identifier else { return false }
        return word.withUTF8Buffer { bytes(token.span).elementsEqual($0) }
    }

    private mutating func report(_ code: PolicyDiagnostic.Code, _ span: SourceSpan) {
        findings.append((code, span))
    }

    private mutating func abandon(_ code: PolicyDiagnostic.Code, _ span: SourceSpan) -> Abandoned {
        report(code, span)
        return Abandoned()
    }

    private mutating func unexpected() -> Abandoned {
        switch current.kind {
        case .end: abandon(.unexpectedEnd, current.span)
        case .invalid: Abandoned()
        default: abandon(.unexpectedToken, current.span)
        }
    }

    private mutating func accept(_ kind: Token.Kind) -> Bool {
        guard current.kind == kind else { return false }
        at += 1
        return true
    }

    @discardableResult
    private mutating func expect(_ kind: Token.Kind) throws(Abandoned) -> Token {
        guard current.kind == kind else { throw unexpected() }
        at += 1
        return tokens[at - 1]
    }

    private mutating func intern(_ span: SourceSpan) -> Symbol {
        bytes(span).withUnsafeBytes { syntax.symbols.intern($0) }
    }

    private mutating func string(_ token: Token, asPattern: Bool = false) -> Symbol {
        let content = bytes(token.span).dropFirst().dropLast()
        guard let decoded = Escapes.decode(content, asPattern: asPattern) else {
            report(.invalidEscape, token.span)
            return syntax.symbols.intern("")
        }
        return syntax.symbols.intern(decoded)
    }

    /// A word that names an attribute.
    private mutating func name() throws(Abandoned) -> Symbol {
        let token = try expect(.identifier)
        if ReservedWords.contains(bytes(token.span)) { report(.reservedIdentifier, token.span) }
        return intern(token.span)
    }

    // MARK: Policies

    private mutating func policy() throws(Abandoned) -> PolicySyntax {
        let start = current.span
        let annotations = try annotations()
        let effect = try expect(.identifier)
        let isPermit = isWord("permit", effect)
        if !isPermit, !isWord("forbid", effect) { report(.invalidEffect, effect.span) }
        var policy = PolicySyntax(
            annotations: annotations,
            effect: isPermit ? .permit : .forbid,
            span: start
        )
        try scope(&policy)
        while current.kind == .identifier { policy.conditions.append(try condition()) }
        try expect(.semicolon)
        policy.span = SourceSpan(from: start, through: previousSpan)
        return policy
    }

    private mutating func annotations() throws(Abandoned) -> [PolicySyntax.Annotation] {
        var annotations: [PolicySyntax.Annotation] = []
        while accept(.at) {
            // Any word will do here, reserved ones included.
            let token = try expect(.identifier)
            let key = intern(token.span)
            var value: Symbol?
            if accept(.leftParenthesis) {
                value = string(try expect(.string))
                try expect(.rightParenthesis)
            }
            if annotations.contains(where: { $0.key == key }) {
                report(.duplicateAnnotation, token.span)
            } else {
                annotations.append(PolicySyntax.Annotation(key: key, value: value))
            }
        }
        return annotations
    }

    private mutating func condition() throws(Abandoned) -> PolicySyntax.Condition {
        let keyword = try expect(.identifier)
        let isWhen = isWord("when", keyword)
        if !isWhen, !isWord("unless", keyword) { report(.invalidCondition, keyword.span) }
        try expect(.leftBrace)
        if current.kind == .rightBrace {
            report(.emptyCondition, SourceSpan(from: keyword.span, through: current.span))
            at += 1
            return PolicySyntax.Condition(isWhen: isWhen, body: ExpressionID(index: 0))
        }
        let body = try expression()
        try expect(.rightBrace)
        return PolicySyntax.Condition(isWhen: isWhen, body: body)
    }

    // MARK: Scope

    private mutating func scope(_ policy: inout PolicySyntax) throws(Abandoned) {
        try expect(.leftParenthesis)
        for variable in [Variable.principal, .action, .resource] {
            if variable != .principal { try scopeComma() }
            guard current.kind == .identifier, isWord(variable.name, current) else {
                guard current.kind == .identifier || current.kind == .rightParenthesis else {
                    throw unexpected()
                }
                throw abandon(.invalidScope, current.span)
            }
            at += 1
            switch variable {
            case .principal: policy.principal = try constraint(.principal)
            case .action: policy.action = try actionConstraint()
            case .resource, .context: policy.resource = try constraint(.resource)
            }
        }
        if accept(.comma), current.kind == .identifier {
            throw abandon(.invalidScope, current.span)
        }
        try expect(.rightParenthesis)
    }

    /// The comma before the next variable; a scope that ends here lacks one.
    private mutating func scopeComma() throws(Abandoned) {
        if current.kind == .rightParenthesis { throw abandon(.invalidScope, current.span) }
        try expect(.comma)
        if current.kind == .rightParenthesis { throw abandon(.invalidScope, current.span) }
    }

    private mutating func constraint(_ slot: Slot) throws(Abandoned) -> ScopeConstraint {
        switch current.kind {
        case .equal:
            at += 1
            return .equal(try operand(slot))
        case .identifier where isWord("in", current):
            at += 1
            return .in(try operand(slot))
        case .identifier where isWord("is", current):
            at += 1
            let type = try typeName()
            if isWord("in", current) {
                at += 1
                return .isTypeIn(type, try operand(slot))
            }
            if current.kind == .equal { throw abandon(.invalidScopeConstraint, current.span) }
            return .isType(type)
        default:
            try refuseOtherConstraints()
            return .any
        }
    }

    private mutating func actionConstraint() throws(Abandoned) -> ScopeConstraint {
        switch current.kind {
        case .equal:
            at += 1
            return .equal(.entity(try action()))
        case .identifier where isWord("in", current):
            at += 1
            guard current.kind == .leftBracket else { return .in(.entity(try action())) }
            at += 1
            var actions: [EntityIndex] = []
            while current.kind != .rightBracket {
                actions.append(try action())
                if !accept(.comma) { break }
            }
            try expect(.rightBracket)
            return .inSet(actions)
        case .identifier where isWord("is", current):
            throw abandon(.invalidScopeConstraint, current.span)
        default:
            try refuseOtherConstraints()
            return .any
        }
    }

    private mutating func refuseOtherConstraints() throws(Abandoned) {
        switch current.kind {
        case .colon, .notEqual, .less, .lessOrEqual, .greater, .greaterOrEqual:
            throw abandon(.invalidScopeConstraint, current.span)
        case .assign: throw abandon(.unsupportedOperator, current.span)
        default: break
        }
    }

    private mutating func operand(_ slot: Slot) throws(Abandoned) -> ScopeConstraint.Operand {
        switch current.kind {
        case .slot:
            let span = current.span
            if !slot.name.withUTF8Buffer({ bytes(span).elementsEqual($0) }) {
                report(.invalidSlot, span)
            }
            at += 1
            return .slot(slot)
        default: return .entity(try scopeEntity())
        }
    }

    private mutating func action() throws(Abandoned) -> EntityIndex {
        let start = current.span
        if current.kind == .slot { throw abandon(.invalidSlot, start) }
        let index = try scopeEntity()
        if !syntax.isActionType(syntax[index].type) {
            report(.invalidActionType, SourceSpan(from: start, through: previousSpan))
        }
        return index
    }

    /// An entity uid, possibly in parentheses.
    private mutating func scopeEntity() throws(Abandoned) -> EntityIndex {
        var parentheses = 0
        while current.kind == .leftParenthesis, parentheses < Syntax.depthMax {
            parentheses += 1
            at += 1
        }
        switch current.kind {
        case .identifier: break
        case .end, .invalid: throw unexpected()
        default: throw abandon(.invalidScopeConstraint, current.span)
        }
        let path = try path()
        guard let id = path.id else { throw abandon(.invalidScopeConstraint, path.span) }
        for _ in 0..<parentheses { try expect(.rightParenthesis) }
        switch current.kind {
        case .comma, .rightParenthesis, .rightBracket, .end, .invalid, .identifier, .string: break
        default: throw abandon(.invalidScopeConstraint, current.span)
        }
        return syntax.add(EntityName(type: path.type, id: id))
    }

    /// The type after `is`.
    private mutating func typeName() throws(Abandoned) -> Symbol {
        guard current.kind == .identifier else {
            if current.kind == .end || current.kind == .invalid { throw unexpected() }
            throw abandon(.invalidTypeName, current.span)
        }
        let path = try path()
        if path.id != nil { report(.invalidTypeName, path.span) }
        return path.type
    }

    /// `A::B`, or `A::B::"id"`.
    ///
    /// Reserved words in it are reported.
    private mutating func path() throws(Abandoned) -> (type: Symbol, id: Symbol?, span: SourceSpan)
    {
        let first = try expect(.identifier)
        var parts = [first.span]
        var id: Symbol?
        while id == nil, accept(.doubleColon) {
            if current.kind == .string {
                id = string(current)
                at += 1
            } else {
                parts.append(try expect(.identifier).span)
            }
        }
        for part in parts where ReservedWords.contains(bytes(part)) {
            report(.reservedIdentifier, part)
        }
        let span = SourceSpan(from: first.span, through: previousSpan)
        guard parts.count > 1 else { return (intern(first.span), id, span) }
        // Blanks and comments may stand between the parts; the symbol has none.
        var joined: [UInt8] = []
        for part in parts {
            if !joined.isEmpty { joined += [UInt8(ascii: ":"), UInt8(ascii: ":")] }
            joined += bytes(part)
        }
        return (syntax.symbols.intern(joined), id, span)
    }

    // MARK: Expressions

    private mutating func add(
        _ expression: Expression,
        from start: SourceSpan
    ) throws(Abandoned) -> ExpressionID {
        let span = SourceSpan(from: start, through: previousSpan)
        guard let id = syntax.add(expression, span) else { throw abandon(.tooDeep, span) }
        return id
    }

    private mutating func expression() throws(Abandoned) -> ExpressionID {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Syntax.depthMax else { throw abandon(.tooDeep, current.span) }
        guard isWord("if", current), peek(1) != .doubleColon else { return try or() }
        let start = current.span
        at += 1
        let condition = try expression()
        try keyword("then")
        let then = try expression()
        try keyword("else")
        let otherwise = try expression()
        return try add(.conditional(condition, then, otherwise), from: start)
    }

    private mutating func keyword(_ word: StaticString) throws(Abandoned) {
        guard isWord(word, current) else { throw unexpected() }
        at += 1
    }

    private mutating func or() throws(Abandoned) -> ExpressionID {
        let start = current.span
        var left = try and()
        while accept(.or) { left = try add(.binary(.or, left, and()), from: start) }
        return left
    }

    private mutating func and() throws(Abandoned) -> ExpressionID {
        let start = current.span
        var left = try relation()
        while accept(.and) { left = try add(.binary(.and, left, relation()), from: start) }
        return left
    }

    private mutating func relation() throws(Abandoned) -> ExpressionID {
        let start = current.span
        let left = try sum()
        let result: ExpressionID
        if let operation = relationalOperator() {
            at += 1
            result = try add(.binary(operation, left, sum()), from: start)
        } else if isWord("has", current) {
            at += 1
            result = try has(left, start)
        } else if isWord("like", current) {
            at += 1
            result = try like(left, start)
        } else if isWord("is", current) {
            at += 1
            let type = try typeName()
            if isWord("in", current) {
                at += 1
                result = try add(.isTypeIn(left, type, sum()), from: start)
            } else {
                result = try add(.isType(left, type), from: start)
            }
        } else {
            if current.kind == .assign { throw abandon(.unsupportedOperator, current.span) }
            return left
        }
        if relationalOperator() != nil { throw abandon(.chainedRelation, current.span) }
        return result
    }

    private func relationalOperator() -> BinaryOperator? {
        switch current.kind {
        case .equal: .equal
        case .notEqual: .notEqual
        case .less: .less
        case .lessOrEqual: .lessOrEqual
        case .greater: .greater
        case .greaterOrEqual: .greaterOrEqual
        case .identifier: isWord("in", current) ? .in : nil
        default: nil
        }
    }

    private mutating func has(
        _ left: ExpressionID,
        _ start: SourceSpan
    ) throws(Abandoned) -> ExpressionID {
        var path: [Symbol] = []
        switch current.kind {
        case .string:
            path.append(string(current))
            at += 1
        case .identifier:
            path.append(try name())
            while accept(.dot) { path.append(try name()) }
        case .end, .invalid: throw unexpected()
        default: throw abandon(.invalidAttributePath, current.span)
        }
        switch current.kind {
        case .leftBracket, .leftParenthesis, .doubleColon, .dot, .plus, .minus, .times:
            throw abandon(.invalidAttributePath, current.span)
        default: break
        }
        return try add(.has(left, syntax.add(path.map(\.index))), from: start)
    }

    private mutating func like(
        _ left: ExpressionID,
        _ start: SourceSpan
    ) throws(Abandoned) -> ExpressionID {
        guard current.kind == .string else {
            if current.kind == .end || current.kind == .invalid { throw unexpected() }
            throw abandon(.invalidPattern, current.span)
        }
        let pattern = string(current, asPattern: true)
        at += 1
        return try add(.like(left, pattern), from: start)
    }

    private mutating func sum() throws(Abandoned) -> ExpressionID {
        let start = current.span
        var left = try product()
        while true {
            if accept(.plus) {
                left = try add(.binary(.add, left, product()), from: start)
            } else if accept(.minus) {
                left = try add(.binary(.subtract, left, product()), from: start)
            } else {
                return left
            }
        }
    }

    private mutating func product() throws(Abandoned) -> ExpressionID {
        let start = current.span
        var left = try unary()
        while accept(.times) { left = try add(.binary(.multiply, left, unary()), from: start) }
        if current.kind == .slash || current.kind == .percent {
            throw abandon(.unsupportedOperator, current.span)
        }
        return left
    }

    private mutating func unary() throws(Abandoned) -> ExpressionID {
        let operation = current.kind
        guard operation == .not || operation == .minus else { return try member() }
        var starts: [SourceSpan] = []
        while current.kind == operation {
            starts.append(current.span)
            at += 1
        }
        if starts.count > 4 { report(.tooManyUnaryOperators, starts[0]) }
        var operand: ExpressionID
        // A minus directly before a literal belongs to it: -9223372036854775808 is one number.
        if operation == .minus, current.kind == .integer, peek(1) != .dot, peek(1) != .leftBracket {
            let start = starts.removeLast()
            let value = integer(isNegative: true)
            operand = try add(.long(value), from: start)
        } else {
            operand = try member()
        }
        for start in starts.reversed().prefix(4) {
            operand = try add(operation == .not ? .not(operand) : .negate(operand), from: start)
        }
        return operand
    }

    private mutating func integer(isNegative: Bool) -> Int64 {
        let span = current.span
        at += 1
        let magnitude = bytes(span).reduce(UInt64?(0)) { sum, digit in
            guard let sum else { return nil }
            let (product, overflow) = sum.multipliedReportingOverflow(by: 10)
            let (result, carry) = product.addingReportingOverflow(UInt64(digit & 0xF))
            return overflow || carry ? nil : result
        }
        if let magnitude {
            if isNegative, magnitude == Int64.min.magnitude { return .min }
            if let value = Int64(exactly: magnitude) { return isNegative ? -value : value }
        }
        report(.integerTooLarge, span)
        return 0
    }

    private mutating func member() throws(Abandoned) -> ExpressionID {
        let start = current.span
        var value = try primary()
        while true {
            switch current.kind {
            case .dot:
                at += 1
                let token = current
                let name = try name()
                if current.kind == .leftParenthesis {
                    value = try method(token.span, of: value, start)
                } else {
                    value = try add(.attribute(value, name), from: start)
                }
            case .leftBracket:
                at += 1
                guard current.kind == .string else {
                    if current.kind == .end || current.kind == .invalid { throw unexpected() }
                    throw abandon(.invalidIndex, current.span)
                }
                let name = string(current)
                at += 1
                if current.kind != .rightBracket, current.kind != .comma, current.kind != .end {
                    throw abandon(.invalidIndex, current.span)
                }
                try expect(.rightBracket)
                value = try add(.attribute(value, name), from: start)
            default: return value
            }
        }
    }

    private mutating func method(
        _ name: SourceSpan,
        of receiver: ExpressionID,
        _ start: SourceSpan
    ) throws(Abandoned) -> ExpressionID {
        let arguments = try arguments()
        let word = String(decoding: bytes(name), as: UTF8.self)
        if word == "isEmpty" {
            if !arguments.isEmpty { report(.wrongArgumentCount, name) }
            return try add(.isEmpty(receiver), from: start)
        }
        if let operation = BinaryOperator.methods[word] {
            if arguments.count != 1 { report(.wrongArgumentCount, name) }
            return try add(.binary(operation, receiver, arguments.first ?? receiver), from: start)
        }
        guard let function = ExtensionFunction.byName[word] else {
            report(.unknownMethod, name)
            return receiver
        }
        if function.isConstructor { report(.functionCalledAsMethod, name) }
        return try add(.call(function, syntax.add(list: [receiver] + arguments)), from: start)
    }

    private mutating func arguments() throws(Abandoned) -> [ExpressionID] {
        try expect(.leftParenthesis)
        return try list(until: .rightParenthesis)
    }

    /// Expressions separated by commas, the last of which may be followed by one too.
    private mutating func list(until end: Token.Kind) throws(Abandoned) -> [ExpressionID] {
        var list: [ExpressionID] = []
        while current.kind != end {
            list.append(try expression())
            if !accept(.comma) { break }
        }
        try expect(end)
        return list
    }

    private mutating func primary() throws(Abandoned) -> ExpressionID {
        let start = current.span
        switch current.kind {
        case .integer:
            let value = integer(isNegative: false)
            return try add(.long(value), from: start)
        case .string:
            let symbol = string(current)
            at += 1
            return try add(.string(symbol), from: start)
        case .slot: throw abandon(.invalidSlot, start)
        case .leftParenthesis:
            at += 1
            let inner = try expression()
            try expect(.rightParenthesis)
            return inner
        case .leftBracket:
            at += 1
            let elements = try list(until: .rightBracket)
            return try add(.set(syntax.add(list: elements)), from: start)
        case .leftBrace:
            at += 1
            return try record(start)
        case .identifier: return try word(start)
        default: throw unexpected()
        }
    }

    private mutating func record(_ start: SourceSpan) throws(Abandoned) -> ExpressionID {
        var members: [UInt32] = []
        var keys: Set<Symbol> = []
        while current.kind != .rightBrace {
            let span = current.span
            let key: Symbol
            if current.kind == .string {
                key = string(current)
                at += 1
            } else {
                key = try name()
            }
            try expect(.colon)
            let value = try expression()
            if !keys.insert(key).inserted { report(.duplicateRecordKey, span) }
            members += [key.index, value.index]
            if !accept(.comma) { break }
        }
        try expect(.rightBrace)
        return try add(.record(syntax.add(members)), from: start)
    }

    /// A literal, a variable, an entity or a function call, told apart by what follows the word.
    private mutating func word(_ start: SourceSpan) throws(Abandoned) -> ExpressionID {
        if peek(1) != .doubleColon {
            if isWord("true", current) || isWord("false", current) {
                let value = isWord("true", current)
                at += 1
                return try add(.boolean(value), from: start)
            }
            if isWord("if", current) { throw unexpected() }
        }
        let token = current
        let path = try path()
        if let id = path.id {
            let entity = syntax.add(EntityName(type: path.type, id: id))
            return try add(.entity(entity), from: start)
        }
        if current.kind == .leftParenthesis { return try call(path.span, start) }
        for variable in Variable.allCases
        where path.span == token.span && isWord(variable.name, token) {
            return try add(.variable(variable), from: start)
        }
        report(.unknownVariable, path.span)
        return try add(.boolean(false), from: start)
    }

    private mutating func call(
        _ name: SourceSpan,
        _ start: SourceSpan
    ) throws(Abandoned) -> ExpressionID {
        let arguments = try arguments()
        let word = String(decoding: bytes(name), as: UTF8.self)
        if let function = ExtensionFunction.byName[word], function.isConstructor {
            return try add(.call(function, syntax.add(list: arguments)), from: start)
        }
        let isMethod =
            word == "isEmpty" || BinaryOperator.methods[word] != nil
            || ExtensionFunction.byName[word] != nil
        report(isMethod ? .methodCalledAsFunction : .unknownFunction, name)
        return try add(.boolean(false), from: start)
    }
}

extension BinaryOperator {
    static let methods: [String: BinaryOperator] = Dictionary(
        uniqueKeysWithValues: allCases.filter(\.isMethod).map { ($0.name.description, $0) }
    )
}

extension Syntax {
    /// Whether the last segment of a type is `Action`.
    func isActionType(_ type: Symbol) -> Bool {
        let name = symbols[type]
        let suffix = name.suffix(6)
        guard suffix.elementsEqual("Action".utf8) else { return false }
        return name.count == 6 || name.dropLast(6).last == UInt8(ascii: ":")
    }
}
