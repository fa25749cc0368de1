// The scope of a policy: principal, action and resource, with the constraints that each may have.

extension Parser {
    mutating func scope(_ policy: inout PolicySyntax) throws(Abandoned) {
        guard current.kind == .leftParenthesis else {
            throw unexpected(
                "`(`",
                hint: "a policy begins with permit (principal, action, resource)"
            )
        }
        at += 1
        for variable in [Variable.principal, .action, .resource] {
            if variable != .principal { try scopeComma(before: variable) }
            guard current.kind == .identifier, isWord(variable.name, current) else {
                guard current.kind == .identifier || current.kind == .rightParenthesis else {
                    throw unexpected("`\(variable.name)`")
                }
                throw invalidScope(expected: variable)
            }
            let start = current.span
            at += 1
            switch variable {
            case .principal: policy.principal = try constraint(.principal)
            case .action: policy.action = try actionConstraint()
            case .resource, .context: policy.resource = try constraint(.resource)
            }
            policy.scopeSpans.append(SourceSpan(from: start, through: previousSpan))
        }
        if accept(.comma), current.kind == .identifier {
            throw abandon(
                .invalidScope,
                current.span,
                "a scope ends with the resource",
                hint: "what concerns \(quoted(current.span)) belongs into `when { … }`"
            )
        }
        try expect(.rightParenthesis, "`)`")
    }

    private mutating func invalidScope(expected variable: Variable) -> Abandoned {
        abandon(
            .invalidScope,
            current.span,
            "expected `\(variable.name)`, found \(quoted(current.span))",
            hint: "a scope names principal, action and resource, in this order"
        )
    }

    /// The comma before the next variable; a scope that ends here lacks one.
    private mutating func scopeComma(before variable: Variable) throws(Abandoned) {
        if current.kind == .rightParenthesis { throw invalidScope(expected: variable) }
        if current.kind == .and || current.kind == .or {
            throw unexpected("`,`", hint: "further conditions belong into `when { … }`")
        }
        try expect(.comma)
        if current.kind == .rightParenthesis { throw invalidScope(expected: variable) }
    }

    mutating func constraint(_ slot: Slot) throws(Abandoned) -> ScopeConstraint {
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
            if current.kind == .equal {
                throw abandon(
                    .invalidScopeConstraint,
                    current.span,
                    "`is` and `==` cannot stand together in a scope",
                    hint: "`== T::\"id\"` alone says both"
                )
            }
            return .isType(type)
        default:
            try refuseOtherConstraints()
            return .any
        }
    }

    mutating func actionConstraint() throws(Abandoned) -> ScopeConstraint {
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
            throw abandon(
                .invalidScopeConstraint,
                current.span,
                "an action has no `is`",
                hint:
                    "name the action, `action == Action::\"…\"`, or a group, `action in Action::\"…\"`"
            )
        default:
            try refuseOtherConstraints()
            return .any
        }
    }

    mutating func refuseOtherConstraints() throws(Abandoned) {
        switch current.kind {
        case .colon:
            throw abandon(
                .invalidScopeConstraint,
                current.span,
                hint: "a type is given by `is`: principal is User"
            )
        case .notEqual, .less, .lessOrEqual, .greater, .greaterOrEqual:
            throw abandon(
                .invalidScopeConstraint,
                current.span,
                "a scope has only `==`, `in` and `is`",
                hint: "use `when { … }` or `unless { … }`"
            )
        case .assign:
            throw abandon(
                .unsupportedOperator,
                current.span,
                "`=` is no operator",
                hint: "did you mean `==`?"
            )
        default: break
        }
    }

    mutating func operand(_ slot: Slot) throws(Abandoned) -> ScopeConstraint.Operand {
        switch current.kind {
        case .slot:
            let span = current.span
            if !slot.name.withUTF8Buffer({ bytes(span).elementsEqual($0) }) {
                report(
                    .invalidSlot,
                    span,
                    "\(quoted(span)) is not the slot of this variable",
                    hint: "it is `\(slot.name)`"
                )
            }
            at += 1
            return .slot(slot)
        default: return .entity(try scopeEntity())
        }
    }

    mutating func action() throws(Abandoned) -> EntityIndex {
        let start = current.span
        if current.kind == .slot { throw abandon(.invalidSlot, start, "an action has no slot") }
        let index = try scopeEntity()
        if !syntax.isActionType(syntax[index].type) {
            let type = String(decoding: syntax.symbols[syntax[index].type], as: UTF8.self)
            report(
                .invalidActionType,
                SourceSpan(from: start, through: previousSpan),
                hint: type.hasSuffix("action") || type.hasSuffix("Actions")
                    ? "did you mean `Action`?" : "an action is written Action::\"…\""
            )
        }
        return index
    }

    /// An entity uid, possibly in parentheses.
    mutating func scopeEntity() throws(Abandoned) -> EntityIndex {
        var parentheses = 0
        while current.kind == .leftParenthesis, parentheses < Syntax.depthMax {
            parentheses += 1
            at += 1
        }
        switch current.kind {
        case .identifier: break
        case .end, .invalid: throw unexpected("an entity")
        case .leftBracket:
            throw abandon(
                .invalidScopeConstraint,
                current.span,
                "only an action may be in a list",
                hint: "write one policy for each, or put them into a group"
            )
        default:
            throw abandon(
                .invalidScopeConstraint,
                current.span,
                "expected an entity, found \(quoted(current.span))",
                hint: "an entity is written with its type: User::\"alice\""
            )
        }
        let path = try path()
        guard let id = path.id else {
            throw abandon(
                .invalidScopeConstraint,
                path.span,
                "expected an entity, found \(quoted(path.span))",
                hint:
                    "a type alone is given by `is`; an entity has its id in quotes: \(spelling(path.span))::\"…\""
            )
        }
        for _ in 0..<parentheses { try expect(.rightParenthesis) }
        switch current.kind {
        case .comma, .rightParenthesis, .rightBracket, .end, .invalid, .identifier, .string: break
        case .and, .or:
            throw abandon(
                .invalidScopeConstraint,
                current.span,
                hint: "further conditions belong into `when { … }`"
            )
        default: throw abandon(.invalidScopeConstraint, current.span)
        }
        return syntax.add(EntityName(type: path.type, id: id))
    }

    /// The type after `is`.
    mutating func typeName() throws(Abandoned) -> Symbol {
        guard current.kind == .identifier else {
            if current.kind == .end || current.kind == .invalid {
                throw unexpected("an entity type")
            }
            throw abandon(.invalidTypeName, current.span)
        }
        let path = try path()
        if path.id != nil {
            report(.invalidTypeName, path.span, hint: "an entity is compared by `==` or `in`")
        }
        return path.type
    }

    /// `A::B`, or `A::B::"id"`.
    ///
    /// Reserved words in it are reported.
    mutating func path() throws(Abandoned) -> (type: Symbol, id: Symbol?, span: SourceSpan) {
        let first = try expect(.identifier, "a name")
        var parts = [first.span]
        var id: Symbol?
        while id == nil, accept(.doubleColon) {
            if current.kind == .string {
                id = string(current)
                at += 1
            } else {
                parts.append(try expect(.identifier, "a name or an id in quotes").span)
            }
        }
        for part in parts where ReservedWords.contains(bytes(part)) {
            report(.reservedIdentifier, part, "\(quoted(part)) is a reserved word")
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
}
