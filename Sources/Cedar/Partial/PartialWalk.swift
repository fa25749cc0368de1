import JSON

/// Evaluates one policy as far as a partial request goes.
///
/// What is known becomes a value, by the same operators as in evaluation; the rest stays an
/// expression. Three rules keep that exact. An operand is dropped only if it cannot fail. Where
/// both operands are evaluated, one that fails fails the whole. And `true && e` is `e` only if the
/// type checker says that `e` is a Bool, which it says of policies that validate.
struct PartialWalk {
    /// What an expression comes to.
    enum Operand {
        case value(Cell)
        /// What is left, and whether it may fail when it is evaluated.
        case residual(ExpressionID, mayFail: Bool)
        /// A record known in parts, and the expression that stands for it.
        case partial([Text: PartialValue], ExpressionID)
        /// Evaluation fails, whatever the rest is.
        case failure
    }

    struct Scope {
        var principal: ScopeConstraint
        var action: ScopeConstraint
        var resource: ScopeConstraint
    }

    enum Outcome {
        case applies, doesNotApply, fails
        case residual(ExpressionID?, mayFail: Bool)
        /// What is left nests too deep; the policy as it was stands for it.
        case original
    }

    /// What the type checker found out about conditions; no types if they do not validate.
    struct Typing {
        let schema: SchemaIndex
        let table: TypeTable
        let types: [UInt32: TypeID]
    }

    let syntax: Syntax
    let request: PartialRequest
    let entities: PartialEntities
    /// Of the policy that is evaluated.
    private(set) var typing: Typing
    let names: NameMap
    let heap = Heap(.scratch)
    let memory: Memory
    var writer: ResidualWriter

    init(
        _ syntax: Syntax,
        _ request: PartialRequest,
        _ entities: PartialEntities,
        _ typing: Typing,
        _ names: NameMap
    ) {
        self.syntax = syntax
        self.request = request
        self.entities = entities
        self.typing = typing
        self.names = names
        writer = ResidualWriter(syntax)
        memory = Memory(only: heap)
    }

    typealias TooDeep = ResidualWriter.TooDeep

    /// What is left of the scope of a policy, or nothing if it cannot match.
    func scope(of policy: PolicySyntax) -> Scope? {
        guard let principal = reduce(policy.principal, request.principal),
            matches(policy.action),
            let resource = reduce(policy.resource, request.resource)
        else { return nil }
        return Scope(principal: principal, action: policy.action, resource: resource)
    }

    /// Evaluates the conditions of a policy whose scope may match.
    mutating func run(_ policy: PolicySyntax, _ scope: Scope, _ typing: Typing) -> Outcome {
        self.typing = typing
        let isOpen = !scope.principal.isAny || !scope.resource.isAny
        do throws(TooDeep) {
            var rest: Operand = .value(Cell(true))
            for (index, condition) in policy.conditions.enumerated() {
                var next = try evaluate(condition.body)
                if !condition.isWhen { next = try negate(next, condition.body) }
                rest =
                    index == 0
                    ? try asBool(next)
                    : try combine(.and, rest, next) { walk throws(TooDeep) in
                        try walk.embed(condition)
                    }
                if case .value(let cell) = rest, !cell.isTrue { return .doesNotApply }
                // A failure is certain only if the scope is.
                if case .failure = rest { return isOpen ? .original : .fails }
            }
            switch rest {
            case .value:
                return isOpen ? .residual(nil, mayFail: false) : .applies
            case .residual(let id, let mayFail): return .residual(id, mayFail: mayFail)
            case .partial(_, let id): return .residual(id, mayFail: true)
            case .failure: return .original
            }
        } catch {
            return .original
        }
    }

    // MARK: Scope

    /// What is left of a constraint: `any` if it holds, nothing if it cannot.
    func reduce(
        _ constraint: ScopeConstraint,
        _ reference: PartialReference
    ) -> ScopeConstraint? {
        switch constraint {
        case .any, .inSet: return .any
        case .isType(let type): return text(type) == reference.type ? .any : nil
        case .equal(.entity(let index)):
            let wanted = uid(index)
            guard wanted.type == reference.type else { return nil }
            guard let id = reference.id else { return constraint }
            return wanted.id == id ? .any : nil
        case .in(.entity(let index)):
            let container = uid(index)
            guard let id = reference.id else {
                return canBeIn(reference.type, container.type) ? constraint : nil
            }
            let own = EntityUID(type: reference.type, id: id)
            guard let isIn = isIn(own, container) else { return constraint }
            return isIn ? .any : nil
        case .isTypeIn(let type, let operand):
            return text(type) == reference.type ? reduce(.in(operand), reference) : nil
        case .equal(.slot), .in(.slot):
            preconditionFailure("the slots of a link are filled before it is evaluated")
        }
    }

    func matches(_ constraint: ScopeConstraint) -> Bool {
        switch constraint {
        case .equal(.entity(let index)): uid(index) == request.action
        case .in(.entity(let index)): isActionIn(request.action, uid(index))
        case .inSet(let actions): actions.contains { isActionIn(request.action, uid($0)) }
        case .any, .equal, .in, .isType, .isTypeIn: true
        }
    }

    func isActionIn(_ action: EntityUID, _ group: EntityUID) -> Bool {
        guard action != group else { return true }
        return name(action).flatMap { action in
            name(group).map { typing.schema.isIn(action, $0) }
        } ?? false
    }

    /// Whether an entity is in another, or nothing if that is unknown.
    ///
    /// Actions are in what the schema says; entity types limit what is possible.
    func isIn(_ uid: EntityUID, _ container: EntityUID) -> Bool? {
        if uid == container { return true }
        if isAction(uid) { return isActionIn(uid, container) }
        guard let isIn = entities.isIn(uid, container) else {
            return canBeIn(uid.type, container.type) ? nil : false
        }
        return isIn
    }

    func isAction(_ uid: EntityUID) -> Bool {
        name(uid).map { typing.schema.actionIndices[$0] != nil } ?? false
    }

    func canBeIn(_ type: Text, _ container: Text) -> Bool {
        guard let type = typing.table.find(type), typing.schema.entityTypes[type] != nil,
            let container = typing.table.find(container)
        else { return true }
        return typing.schema.canBeIn(type, container)
    }

    // MARK: Expressions

    mutating func evaluate(_ id: ExpressionID) throws(TooDeep) -> Operand {
        let operand = try reduced(id)
        // What the checker knows to be true or false is, unless evaluating it fails first.
        if case .residual(_, mayFail: false) = operand {
            if type(id) == .yes { return .value(Cell(true)) }
            if type(id) == .no { return .value(Cell(false)) }
        }
        return operand
    }

    mutating func reduced(_ id: ExpressionID) throws(TooDeep) -> Operand {
        switch syntax[id] {
        case .boolean(let value): return .value(Cell(value))
        case .long(let value): return .value(Cell(.long, value))
        case .string(let symbol): return .value(heap.add(string: syntax.symbols[symbol]))
        case .entity(let index): return .value(heap.add(entity: uid(index)))
        case .variable(let variable): return try self.variable(variable, id)
        case .not(let a): return try negate(evaluate(a), a)
        case .negate(let a):
            switch try evaluate(a) {
            case .value(let cell):
                return value { () throws(EvaluationFailure) in
                    try memory.apply(.subtract, Cell(.long, 0), cell)
                }
            case let operand:
                return try residual(operand, a, mayFail: true) { .negate($0) }
            }
        case .isEmpty(let a):
            switch try evaluate(a) {
            case .value(let cell):
                return cell.kind == .set ? .value(Cell(cell.count == 0)) : .failure
            case let operand: return try residual(operand, a) { .isEmpty($0) }
            }
        case .binary(let operation, let left, let right):
            return try binary(operation, left, right, id)
        case .attribute(let holder, let name): return try attribute(holder, name, id)
        case .has(let holder, let path): return try has(holder, path, id)
        case .like(let a, let pattern):
            switch try evaluate(a) {
            case .value(let cell):
                guard cell.kind == .string else { return .failure }
                let matches = syntax.symbols[pattern].withUnsafeBytes {
                    Pattern.matches(memory.string(cell), $0)
                }
                return .value(Cell(matches))
            case let operand:
                let pattern = writer.symbol(pattern)
                return try residual(operand, a) { .like($0, pattern) }
            }
        case .isType(let a, let type):
            switch try evaluate(a) {
            case .value(let cell):
                return cell.kind == .entity ? .value(Cell(isOfType(cell, type))) : .failure
            case let operand:
                let type = writer.symbol(type)
                return try residual(operand, a) { .isType($0, type) }
            }
        case .isTypeIn(let a, let type, let container):
            return try isTypeIn(a, type, container, id)
        case .conditional(let condition, let then, let otherwise):
            return try conditional(condition, then, otherwise, id)
        case .set(let list): return try set(list, id)
        case .record(let list): return try record(list, id)
        case .call(let function, let list): return try call(function, list, id)
        }
    }

    mutating func variable(
        _ variable: Variable,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        switch variable {
        case .principal: return try reference(request.principal, id)
        case .resource: return try reference(request.resource, id)
        case .action: return .value(heap.add(entity: request.action))
        case .context: return operand(request.context, try writer.copy(id), mayFail: false)
        }
    }

    mutating func reference(
        _ reference: PartialReference,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        guard let known = reference.id else {
            return .residual(try writer.copy(id), mayFail: false)
        }
        return .value(heap.add(entity: EntityUID(type: reference.type, id: known)))
    }

    func operand(
        _ value: PartialValue,
        _ expression: ExpressionID,
        mayFail: Bool
    ) -> Operand {
        switch value {
        case .known(let value): return .value(heap.add(value))
        case .unknown: return .residual(expression, mayFail: mayFail)
        case .record(let members):
            guard let known = known(members) else { return .partial(members, expression) }
            return .value(heap.add(known))
        }
    }

    /// The record, if all of it is known after all.
    func known(_ members: [Text: PartialValue]) -> [Text: Value]? {
        var values: [Text: Value] = [:]
        for (name, member) in members {
            switch member {
            case .known(let value): values[name] = value
            case .unknown: return nil
            case .record(let inner):
                guard let record = known(inner) else { return nil }
                values[name] = .record(record)
            }
        }
        return values
    }

    // MARK: Lazy operators

    mutating func negate(
        _ operand: Operand,
        _ original: ExpressionID
    ) throws(TooDeep) -> Operand {
        if case .value(let cell) = operand {
            return cell.kind == .bool ? .value(Cell(!cell.isTrue)) : .failure
        }
        return try residual(operand, original) { .not($0) }
    }

    func asBool(_ operand: Operand) throws(TooDeep) -> Operand {
        if case .value(let cell) = operand, cell.kind != .bool { return .failure }
        return operand
    }

    /// `left && right` or `left || right`, with `right` evaluated already.
    mutating func combine(
        _ operation: BinaryOperator,
        _ left: Operand,
        _ right: Operand,
        _ originalRight: (inout PartialWalk) throws(TooDeep) -> ExpressionID
    ) throws(TooDeep) -> Operand {
        // The value that decides alone: false for `&&`, true for `||`.
        let decisive = operation == .or
        let leftID: ExpressionID
        let leftMayFail: Bool
        switch left {
        case .failure: return .failure
        case .value(let cell):
            guard cell.kind == .bool else { return .failure }
            if cell.isTrue == decisive { return left }
            // The rest decides, and must be a Bool.
            switch right {
            case .value, .failure: return try asBool(right)
            case .residual where isTyped: return right
            case .residual, .partial: break
            }
            leftID = try writer.literal(cell, memory)
            leftMayFail = false
        case .residual(let id, let mayFail): (leftID, leftMayFail) = (id, mayFail)
        case .partial(_, let id): (leftID, leftMayFail) = (id, true)
        }
        let rightID: ExpressionID
        var rightMayFail = !isTyped
        switch right {
        case .value(let cell):
            if cell.kind == .bool, isTyped {
                if cell.isTrue != decisive { return left }
                if !leftMayFail { return right }
            }
            rightID = try writer.literal(cell, memory)
        case .residual(let id, let mayFail):
            rightID = id
            rightMayFail = rightMayFail || mayFail
        case .partial(_, let id): (rightID, rightMayFail) = (id, true)
        case .failure: (rightID, rightMayFail) = (try originalRight(&self), true)
        }
        let id = try writer.add(.binary(operation, leftID, rightID))
        return .residual(id, mayFail: leftMayFail || rightMayFail)
    }

    mutating func chain(_ id: ExpressionID) throws(TooDeep) -> Operand {
        let (first, rest) = syntax.chain(id)
        var result = try evaluate(first)
        if case .value(let cell) = result, cell.kind != .bool { return .failure }
        for (operation, right, node) in rest {
            if case .failure = result { return .failure }
            if case .value(let cell) = result, cell.isTrue == (operation == .or) { continue }
            let next = try evaluate(right)
            result = try combine(operation, result, next) { walk throws(TooDeep) in
                try walk.writer.copy(right)
            }
            if case .residual(_, mayFail: false) = result {
                if type(node) == .yes { result = .value(Cell(true)) }
                if type(node) == .no { result = .value(Cell(false)) }
            }
        }
        return result
    }

    mutating func conditional(
        _ condition: ExpressionID,
        _ then: ExpressionID,
        _ otherwise: ExpressionID,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        let test = try evaluate(condition)
        let (testID, testMayFail): (ExpressionID, Bool)
        switch test {
        case .failure: return .failure
        case .value(let cell):
            guard cell.kind == .bool else { return .failure }
            return try evaluate(cell.isTrue ? then : otherwise)
        case .residual(let id, let mayFail): (testID, testMayFail) = (id, mayFail || !isTyped)
        case .partial(_, let id): (testID, testMayFail) = (id, true)
        }
        let (yes, no) = (try evaluate(then), try evaluate(otherwise))
        if case .value(let a) = yes, case .value(let b) = no, !testMayFail, memory.equal(a, b) {
            return yes
        }
        if case .failure = yes, case .failure = no { return .failure }
        let mayFail = testMayFail || self.mayFail(yes) || self.mayFail(no)
        let branches = (try embed(yes, then), try embed(no, otherwise))
        let whole = try writer.add(.conditional(testID, branches.0, branches.1))
        return .residual(whole, mayFail: mayFail)
    }

    mutating func isTypeIn(
        _ operand: ExpressionID,
        _ type: Symbol,
        _ container: ExpressionID,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        let left = try evaluate(operand)
        switch left {
        case .failure: return .failure
        case .value(let cell):
            guard cell.kind == .entity else { return .failure }
            guard isOfType(cell, type) else { return .value(Cell(false)) }
        case .residual, .partial: break
        }
        let right = try evaluate(container)
        let membership = try self.membership(left, right, operand, container)
        if case .value = left { return membership }
        // The type is known, or else so is the whole.
        if isTyped,
            self.type(operand)
                == typing.table.find(text(type)).flatMap({ name in
                    typing.table.find(.entity([name]))
                })
        {
            return membership
        }
        let whole = Expression.isTypeIn(
            try embed(left, operand),
            writer.symbol(type),
            try embed(right, container)
        )
        return .residual(
            try writer.add(whole),
            mayFail: !isTyped || mayFail(left) || mayFail(right)
        )
    }

    // MARK: Operands

    func value(_ body: () throws(EvaluationFailure) -> Cell) -> Operand {
        do throws(EvaluationFailure) {
            return .value(try body())
        } catch {
            return .failure
        }
    }

    /// What is left of an operator with one operand that is no value.
    mutating func residual(
        _ operand: Operand,
        _ original: ExpressionID,
        mayFail: Bool = false,
        _ make: (ExpressionID) -> Expression
    ) throws(TooDeep) -> Operand {
        if case .failure = operand { return .failure }
        let id = try writer.add(make(embed(operand, original)))
        return .residual(id, mayFail: mayFail || !isTyped || self.mayFail(operand))
    }

    mutating func embed(
        _ operand: Operand,
        _ original: ExpressionID
    ) throws(TooDeep) -> ExpressionID {
        switch operand {
        case .value(let cell): try writer.literal(cell, memory)
        case .residual(let id, _), .partial(_, let id): id
        // It fails again, and in the same way, when it is evaluated.
        case .failure: try writer.copy(original)
        }
    }

    mutating func embed(
        _ condition: PolicySyntax.Condition
    ) throws(TooDeep) -> ExpressionID {
        let body = try writer.copy(condition.body)
        return condition.isWhen ? body : try writer.add(.not(body))
    }

    func mayFail(_ operand: Operand) -> Bool {
        switch operand {
        case .value, .partial: false
        case .residual(_, let mayFail): mayFail
        case .failure: true
        }
    }

    // MARK: Types and names

    var isTyped: Bool { !typing.types.isEmpty }

    func type(_ id: ExpressionID) -> TypeID? { typing.types[id.index] }

    func isRecord(_ id: ExpressionID) -> Bool {
        guard let type = type(id), case .record = typing.table[type] else { return false }
        return true
    }

    /// Whether the schema says that the attribute is there whenever its holder is.
    func isRequired(_ name: Symbol, of holder: ExpressionID) -> Bool {
        guard var type = type(holder) else { return false }
        if case .entity(let types) = typing.table[type] {
            guard let first = types.first, let declared = typing.schema.entityTypes[first] else {
                return false
            }
            type = declared.attributes
        }
        guard case .record(let fields, _) = typing.table[type] else { return false }
        return fields.contains { $0.name == names[name] && $0.isRequired }
    }

    func isOfType(_ cell: Cell, _ type: Symbol) -> Bool {
        memory.string(memory.entity(cell).type).elementsEqual(syntax.symbols[type])
    }

    func name(_ uid: EntityUID) -> SchemaIndex.EntityKey? {
        guard let type = typing.table.find(uid.type), let id = typing.table.find(uid.id) else {
            return nil
        }
        return SchemaIndex.EntityKey(type: type, id: id)
    }

    func text(_ symbol: Symbol) -> Text { syntax.symbols.text(symbol) }

    func key(_ name: Symbol) -> Cell { heap.add(string: syntax.symbols[name]) }

    func uid(_ index: EntityIndex) -> EntityUID {
        EntityUID(type: text(syntax[index].type), id: text(syntax[index].id))
    }

    func uid(_ cell: Cell) -> EntityUID {
        let entity = memory.entity(cell)
        return EntityUID(type: Text(bytes(entity.type)), id: Text(bytes(entity.id)))
    }

    func bytes(_ cell: Cell) -> String {
        String(decoding: memory.string(cell), as: UTF8.self)
    }
}

extension ScopeConstraint {
    fileprivate var isAny: Bool {
        if case .any = self { true } else { false }
    }
}
