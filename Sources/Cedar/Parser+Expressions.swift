// Expressions, one function for each level of precedence.

extension Parser {
    mutating func add(
        _ expression: Expression,
        from start: SourceSpan
    ) throws(Abandoned) -> ExpressionID {
        let span = SourceSpan(from: start, through: previousSpan)
        guard let id = syntax.add(expression, span) else { throw abandon(.tooDeep, span) }
        return id
    }

    mutating func expression() throws(Abandoned) -> ExpressionID {
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

    mutating func keyword(_ word: StaticString) throws(Abandoned) {
        guard isWord(word, current) else { throw unexpected("`\(word)`") }
        at += 1
    }

    mutating func or() throws(Abandoned) -> ExpressionID {
        let start = current.span
        var left = try and()
        while accept(.or) { left = try add(.binary(.or, left, and()), from: start) }
        return left
    }

    mutating func and() throws(Abandoned) -> ExpressionID {
        let start = current.span
        var left = try relation()
        while accept(.and) { left = try add(.binary(.and, left, relation()), from: start) }
        return left
    }

    mutating func relation() throws(Abandoned) -> ExpressionID {
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
            if current.kind == .assign {
                throw abandon(
                    .unsupportedOperator,
                    current.span,
                    "`=` is no operator",
                    hint: "did you mean `==`?"
                )
            }
            return left
        }
        if relationalOperator() != nil {
            throw abandon(
                .chainedRelation,
                current.span,
                hint: "`a < b && b < c` says what `a < b < c` may have been meant to"
            )
        }
        return result
    }

    func relationalOperator() -> BinaryOperator? {
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

    mutating func has(
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
        case .end, .invalid: throw unexpected("the name of an attribute")
        default: throw abandon(.invalidAttributePath, current.span)
        }
        switch current.kind {
        case .leftBracket, .leftParenthesis, .doubleColon, .dot, .plus, .minus, .times:
            throw abandon(.invalidAttributePath, current.span)
        default: break
        }
        return try add(.has(left, syntax.add(path.map(\.index))), from: start)
    }

    mutating func like(
        _ left: ExpressionID,
        _ start: SourceSpan
    ) throws(Abandoned) -> ExpressionID {
        guard current.kind == .string else {
            if current.kind == .end || current.kind == .invalid {
                throw unexpected("a pattern in quotes")
            }
            throw abandon(.invalidPattern, current.span)
        }
        let pattern = string(current, asPattern: true)
        at += 1
        return try add(.like(left, pattern), from: start)
    }

    mutating func sum() throws(Abandoned) -> ExpressionID {
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

    mutating func product() throws(Abandoned) -> ExpressionID {
        let start = current.span
        var left = try unary()
        while accept(.times) { left = try add(.binary(.multiply, left, unary()), from: start) }
        if current.kind == .slash || current.kind == .percent {
            throw abandon(
                .unsupportedOperator,
                current.span,
                "\(quoted(current.span)) is no operator",
                hint: peek(1) == .slash || peek(1) == .times
                    ? "a comment begins with `//`"
                    : "there is no division; compare a product instead"
            )
        }
        return left
    }

    mutating func unary() throws(Abandoned) -> ExpressionID {
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

    mutating func integer(isNegative: Bool) -> Int64 {
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

    mutating func member() throws(Abandoned) -> ExpressionID {
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
                    if current.kind == .end || current.kind == .invalid {
                        throw unexpected("a name in quotes")
                    }
                    throw abandon(
                        .invalidIndex,
                        current.span,
                        hint: "there are no positions in a set; use contains(…)"
                    )
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

    mutating func method(
        _ name: SourceSpan,
        of receiver: ExpressionID,
        _ start: SourceSpan
    ) throws(Abandoned) -> ExpressionID {
        let arguments = try arguments()
        let word = String(decoding: bytes(name), as: UTF8.self)
        if word == "isEmpty" {
            if !arguments.isEmpty {
                report(.wrongArgumentCount, name, "`isEmpty` takes no argument")
            }
            return try add(.isEmpty(receiver), from: start)
        }
        if let operation = BinaryOperator.methods[word] {
            if arguments.count != 1 {
                report(
                    .wrongArgumentCount,
                    name,
                    "`\(word)` takes one argument, not \(arguments.count)",
                    hint: operation == .contains && arguments.count > 1
                        ? "did you mean `containsAll([…])`?" : nil
                )
            }
            return try add(.binary(operation, receiver, arguments.first ?? receiver), from: start)
        }
        guard let function = ExtensionFunction.byName[word] else {
            reportMethod(name)
            return receiver
        }
        if function.isConstructor {
            report(
                .functionCalledAsMethod,
                name,
                "`\(word)` is a function",
                hint: "write it before its argument: \(word)(\"…\")"
            )
        }
        return try add(.call(function, syntax.add(list: [receiver] + arguments)), from: start)
    }

    mutating func arguments() throws(Abandoned) -> [ExpressionID] {
        try expect(.leftParenthesis)
        return try list(until: .rightParenthesis)
    }

    /// Expressions separated by commas, the last of which may be followed by one too.
    mutating func list(until end: Token.Kind) throws(Abandoned) -> [ExpressionID] {
        var list: [ExpressionID] = []
        while current.kind != end {
            list.append(try expression())
            if !accept(.comma) { break }
        }
        try expect(end, "`,` or \(end.sample)")
        return list
    }

    mutating func primary() throws(Abandoned) -> ExpressionID {
        let start = current.span
        switch current.kind {
        case .integer:
            let value = integer(isNegative: false)
            return try add(.long(value), from: start)
        case .string:
            let symbol = string(current)
            at += 1
            return try add(.string(symbol), from: start)
        case .slot:
            throw abandon(.invalidSlot, start, hint: "in a condition use the variable itself")
        case .leftParenthesis:
            at += 1
            let inner = try expression()
            try expect(.rightParenthesis, "an operator or `)`")
            return inner
        case .leftBracket:
            at += 1
            let elements = try list(until: .rightBracket)
            return try add(.set(syntax.add(list: elements)), from: start)
        case .leftBrace:
            at += 1
            return try record(start)
        case .identifier: return try word(start)
        default: throw unexpected("a value")
        }
    }

    mutating func record(_ start: SourceSpan) throws(Abandoned) -> ExpressionID {
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
            if !keys.insert(key).inserted {
                report(
                    .duplicateRecordKey,
                    span,
                    "the key \(quoted(span)) was given before"
                )
            }
            members += [key.index, value.index]
            if !accept(.comma) { break }
        }
        try expect(.rightBrace, "`,` or `}`")
        return try add(.record(syntax.add(members)), from: start)
    }

    /// A literal, a variable, an entity or a function call, told apart by what follows the word.
    mutating func word(_ start: SourceSpan) throws(Abandoned) -> ExpressionID {
        // Not a call of a function that does not exist, but the end of a condition that is not closed.
        if beginsPolicy(at) { throw unexpected("a value") }
        if peek(1) != .doubleColon {
            if isWord("true", current) || isWord("false", current) {
                let value = isWord("true", current)
                at += 1
                return try add(.boolean(value), from: start)
            }
            if isWord("if", current) {
                throw unexpected("a value", hint: "put `if … then … else …` in parentheses")
            }
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
        reportVariable(path.span)
        return try add(.boolean(false), from: start)
    }

    mutating func call(
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
        reportFunction(name, isMethod: isMethod)
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
