import JSON

/// Builds the policies that are left over, in a syntax of their own.
struct ResidualWriter {
    /// An expression that would nest deeper than the language allows.
    struct TooDeep: Error {}

    private let source: Syntax
    private var syntax = Syntax()
    private var policies: [PolicySet.Source] = []
    private var symbols: [UInt32: Symbol] = [:]

    init(_ source: Syntax) {
        self.source = source
    }

    func finish() -> PolicySet { PolicySet(syntax: syntax, sources: policies) }

    // MARK: Policies

    /// Adds a policy with a condition of this syntax, or without one.
    mutating func add(
        _ id: PolicyID,
        _ policy: PolicySyntax,
        scope: PartialWalk.Scope,
        condition: ExpressionID?
    ) {
        var copy = header(policy, scope)
        if let condition {
            copy.conditions = [PolicySyntax.Condition(isWhen: true, body: condition)]
        }
        policies.append(PolicySet.Source(id: id, syntax: copy))
    }

    /// Adds a policy as it is.
    mutating func addOriginal(_ id: PolicyID, _ policy: PolicySyntax) {
        let scope = PartialWalk.Scope(
            principal: policy.principal,
            action: policy.action,
            resource: policy.resource
        )
        var copy = header(policy, scope)
        for condition in policy.conditions {
            guard let body = try? self.copy(condition.body) else {
                preconditionFailure("a copy nests no deeper than its original")
            }
            copy.conditions.append(PolicySyntax.Condition(isWhen: condition.isWhen, body: body))
        }
        policies.append(PolicySet.Source(id: id, syntax: copy))
    }

    private mutating func header(_ policy: PolicySyntax, _ scope: PartialWalk.Scope) -> PolicySyntax
    {
        var annotations: [PolicySyntax.Annotation] = []
        for annotation in policy.annotations {
            var value: Symbol?
            if let own = annotation.value { value = symbol(own) }
            annotations.append(
                PolicySyntax.Annotation(key: symbol(annotation.key), value: value)
            )
        }
        return PolicySyntax(
            annotations: annotations,
            effect: policy.effect,
            principal: constraint(scope.principal),
            action: constraint(scope.action),
            resource: constraint(scope.resource),
            span: .none
        )
    }

    private mutating func constraint(_ constraint: ScopeConstraint) -> ScopeConstraint {
        switch constraint {
        case .any: return .any
        case .equal(let operand): return .equal(self.operand(operand))
        case .in(let operand): return .in(self.operand(operand))
        case .isType(let type): return .isType(symbol(type))
        case .isTypeIn(let type, let operand):
            return .isTypeIn(symbol(type), self.operand(operand))
        case .inSet(let entities):
            var copies: [EntityIndex] = []
            for entity in entities { copies.append(self.entity(entity)) }
            return .inSet(copies)
        }
    }

    private mutating func operand(_ operand: ScopeConstraint.Operand) -> ScopeConstraint.Operand {
        switch operand {
        case .entity(let index): .entity(entity(index))
        case .slot(let slot): .slot(slot)
        }
    }

    // MARK: Expressions

    mutating func symbol(_ original: Symbol) -> Symbol {
        if let known = symbols[original.index] { return known }
        let copy = source.symbols[original].withUnsafeBytes { syntax.symbols.intern($0) }
        symbols[original.index] = copy
        return copy
    }

    private mutating func entity(_ index: EntityIndex) -> EntityIndex {
        let name = source[index]
        return syntax.add(EntityName(type: symbol(name.type), id: symbol(name.id)))
    }

    mutating func add(_ expression: Expression) throws(TooDeep) -> ExpressionID {
        guard let id = syntax.add(expression, .none) else { throw TooDeep() }
        return id
    }

    mutating func add(_ list: [UInt32]) -> ListRange { syntax.add(list) }

    /// Copies an expression of the policies as it is.
    mutating func copy(_ id: ExpressionID) throws(TooDeep) -> ExpressionID {
        switch source[id] {
        case .binary:
            // The left spine of a chain may be long.
            let (first, rest) = source.chain(id)
            var left = try copy(first)
            for (operation, right, _) in rest {
                left = try add(.binary(operation, left, copy(right)))
            }
            return left
        case .boolean, .long, .variable: return try add(source[id])
        case .string(let symbol): return try add(.string(self.symbol(symbol)))
        case .entity(let index): return try add(.entity(entity(index)))
        case .not(let a): return try add(.not(copy(a)))
        case .negate(let a): return try add(.negate(copy(a)))
        case .isEmpty(let a): return try add(.isEmpty(copy(a)))
        case .attribute(let a, let name): return try add(.attribute(copy(a), symbol(name)))
        case .has(let a, let path): return try add(.has(copy(a), names(path)))
        case .like(let a, let pattern): return try add(.like(copy(a), symbol(pattern)))
        case .isType(let a, let type): return try add(.isType(copy(a), symbol(type)))
        case .isTypeIn(let a, let type, let b):
            return try add(.isTypeIn(copy(a), symbol(type), copy(b)))
        case .conditional(let a, let b, let c):
            return try add(.conditional(copy(a), copy(b), copy(c)))
        case .set(let list): return try add(.set(self.list(list)))
        case .call(let function, let list): return try add(.call(function, self.list(list)))
        case .record(let list):
            let members = source[list]
            var copies: [UInt32] = []
            for index in stride(from: members.startIndex, to: members.endIndex, by: 2) {
                let value = try copy(ExpressionID(index: members[index + 1]))
                copies += [symbol(Symbol(index: members[index])).index, value.index]
            }
            return try add(.record(add(copies)))
        }
    }

    mutating func names(_ path: ListRange) -> ListRange {
        var copies: [UInt32] = []
        for name in source[path] { copies.append(symbol(Symbol(index: name)).index) }
        return add(copies)
    }

    private mutating func list(_ list: ListRange) throws(TooDeep) -> ListRange {
        var copies: [UInt32] = []
        for element in source[list] {
            copies.append(try copy(ExpressionID(index: element)).index)
        }
        return add(copies)
    }

    // MARK: Values

    /// Writes a value as a literal.
    mutating func literal(_ cell: Cell, _ memory: Memory) throws(TooDeep) -> ExpressionID {
        switch cell.kind {
        case .bool: return try add(.boolean(cell.isTrue))
        case .long: return try add(.long(cell.integer))
        case .string: return try add(.string(string(cell, memory)))
        case .entity:
            let entity = memory.entity(cell)
            let name = EntityName(
                type: string(entity.type, memory),
                id: string(entity.id, memory)
            )
            return try add(.entity(syntax.add(name)))
        case .set:
            var elements: [UInt32] = []
            for index in 0..<cell.count {
                let element = memory.cell(cell.region, cell.start + index)
                elements.append(try literal(element, memory).index)
            }
            return try add(.set(add(elements)))
        case .record:
            var members: [UInt32] = []
            for index in 0..<cell.count {
                let at = cell.start + 2 * index
                let key = string(memory.cell(cell.region, at), memory)
                let value = try literal(memory.cell(cell.region, at + 1), memory)
                members += [key.index, value.index]
            }
            return try add(.record(add(members)))
        case .decimal:
            let decimal = CedarDecimal(tenThousandths: cell.integer)
            return try call(.decimal, decimal.description)
        case .ip: return try call(.ip, memory.address(cell).description)
        case .duration: return try call(.duration, "\(cell.integer)ms")
        case .datetime:
            let instant = CedarDatetime(milliseconds: cell.integer)
            if let text = instant.text { return try call(.datetime, text) }
            // A literal has a year of four digits; others are so far from the epoch.
            let epoch = try call(.datetime, "1970-01-01")
            let distance = try call(.duration, "\(cell.integer)ms")
            return try add(.call(.offset, add([epoch.index, distance.index])))
        }
    }

    private mutating func string(_ cell: Cell, _ memory: Memory) -> Symbol {
        syntax.symbols.intern(memory.string(cell))
    }

    private mutating func call(
        _ function: ExtensionFunction,
        _ text: String
    ) throws(TooDeep) -> ExpressionID {
        let argument = try add(.string(syntax.symbols.intern(text)))
        return try add(.call(function, add([argument.index])))
    }
}
