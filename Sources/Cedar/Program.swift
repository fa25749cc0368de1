/// One step of a compiled condition.
///
/// Jumps go forward only, so every program ends.
struct Instruction: Sendable {
    enum Operation: UInt8, Sendable {
        case constant, variable
        case not, negate, isEmpty
        /// If the top is false (true), jump and keep it; otherwise drop it.
        case and, or
        /// The top must be a Bool.
        case bool
        /// Drops a Bool and jumps if it was false.
        case branch
        case jump
        case binary
        case attribute, has, like, isType
        /// If the top is an entity of another type, replace it by false and jump.
        case isTypeOrJump
        case set, record, call
        /// Drops a Bool; the policy does not apply if it was false (true).
        case when, unless
        /// The policy applies.
        case satisfied
    }

    let operation: Operation
    /// A variable, a binary operator or a function.
    let detail: UInt8
    /// The number of arguments, members or attribute names.
    let count: UInt16
    /// A constant, a jump target, a place in `lists`, or a number of elements.
    var operand: UInt32
    /// The node this came from, for spans.
    let node: UInt32
}

/// A policy set lowered to flat code: what evaluation reads, and nothing else.
///
/// Bodies are shared by all links of a template; the scope is data, so that an index may answer it. Links are not
/// here: they are rows of the set (``LinkTable``), and change without compiling anything.
final class Program: Sendable {
    let heap: Heap
    let code: [Instruction]
    let constants: [Cell]
    /// Runs of constant indices (attribute paths, record keys) and of entities (action scopes).
    let lists: [UInt32]
    let stackDepth: Int
    let rows: [Row]
    let ids: [PolicyID]
    /// By the number of the source; nothing for policies that are no templates.
    let templates: [Template?]
    let index: ScopeIndex
    let spans: [SourceSpan]

    /// One template, as evaluation sees it.
    struct Template: Sendable {
        /// With everything but the slots.
        let row: Row
        let principal: SlotUse
        let resource: SlotUse
    }

    /// What a template asks of a variable with regard to the link's entity.
    enum SlotUse: Sendable {
        case none
        case equal
        case within
    }

    /// One policy, as evaluation sees it.
    struct Row: Sendable {
        let effect: Effect
        let principal: Scope
        let action: Scope
        let resource: Scope
        /// Where the conditions start, or -1 if there are none.
        let entry: Int32
    }

    /// A constraint on one variable.
    ///
    /// Numbers are entities of the policy heap.
    enum Scope: Sendable {
        case any
        case equal(UInt32)
        case `in`(UInt32)
        /// The number is a constant.
        case isType(UInt32)
        case isTypeIn(UInt32, UInt32)
        /// A run in `lists`.
        case inSet(start: UInt32, count: UInt32)
    }

    init(_ set: PolicySet) {
        var compiler = Compiler(set.syntax, entityCount: set.sourceEntityCount)
        var rows: [Row] = []
        var ids: [PolicyID] = []
        var templates: [Template?] = []
        for policy in set.sources {
            let row = compiler.row(policy.syntax, entry: compiler.compile(policy.syntax))
            guard policy.syntax.isTemplate else {
                ids.append(policy.id)
                rows.append(row)
                templates.append(nil)
                continue
            }
            templates.append(
                Template(
                    row: row,
                    principal: SlotUse(policy.syntax.principal),
                    resource: SlotUse(policy.syntax.resource)
                )
            )
        }
        heap = compiler.heap
        code = compiler.code
        constants = compiler.constants
        lists = compiler.lists
        stackDepth = compiler.stackDepthMax
        spans = set.syntax.spans
        index = ScopeIndex(rows, lists: compiler.lists, entityCount: compiler.heap.entityCount)
        self.rows = rows
        self.ids = ids
        self.templates = templates
    }
}

extension Program.SlotUse {
    fileprivate init(_ constraint: ScopeConstraint) {
        switch constraint {
        case .equal(.slot): self = .equal
        case .in(.slot), .isTypeIn(_, .slot): self = .within
        default: self = .none
        }
    }
}

/// Lowers syntax to code.
private struct Compiler {
    private let syntax: Syntax
    let heap = Heap(.policies)
    var code: [Instruction] = []
    var constants: [Cell] = []
    var lists: [UInt32] = []
    var stackDepthMax = 0
    private var stackDepth = 0
    private var symbolConstants: [Symbol: UInt32] = [:]

    init(_ syntax: Syntax, entityCount: Int) {
        self.syntax = syntax
        // Entity numbers in the heap are those of the syntax; what only links name is not read by code.
        for entity in syntax.entities[..<entityCount] {
            _ = heap.add(
                type: heap.add(string: syntax.symbols[entity.type]),
                id: heap.add(string: syntax.symbols[entity.id])
            )
        }
    }

    // MARK: Policies

    mutating func row(_ policy: PolicySyntax, entry: Int32) -> Program.Row {
        Program.Row(
            effect: policy.effect,
            principal: scope(policy.principal),
            action: scope(policy.action),
            resource: scope(policy.resource),
            entry: entry
        )
    }

    /// A constraint without its slot: the row of the link answers that.
    private mutating func scope(_ constraint: ScopeConstraint) -> Program.Scope {
        switch constraint {
        case .any, .equal(.slot), .in(.slot): .any
        case .equal(.entity(let entity)): .equal(entity.index)
        case .in(.entity(let entity)): .in(entity.index)
        case .isType(let type), .isTypeIn(let type, .slot): .isType(constant(type))
        case .isTypeIn(let type, .entity(let entity)): .isTypeIn(constant(type), entity.index)
        case .inSet(let entities):
            .inSet(start: add(entities.map(\.index)), count: UInt32(entities.count))
        }
    }

    /// Compiles the conditions of a policy and returns where they start.
    mutating func compile(_ policy: PolicySyntax) -> Int32 {
        guard let last = policy.conditions.last else { return -1 }
        let entry = Int32(code.count)
        for condition in policy.conditions {
            expression(condition.body)
            emit(condition.isWhen ? .when : .unless, condition.body, pops: 1)
        }
        emit(.satisfied, last.body)
        return entry
    }

    // MARK: Code

    @discardableResult
    private mutating func emit(
        _ operation: Instruction.Operation,
        _ node: ExpressionID,
        detail: UInt8 = 0,
        count: Int = 0,
        operand: UInt32 = 0,
        pops: Int = 0,
        pushes: Int = 0
    ) -> Int {
        code.append(
            Instruction(
                operation: operation,
                detail: detail,
                count: UInt16(truncatingIfNeeded: count),
                operand: operand,
                node: node.index
            )
        )
        stackDepth += pushes - pops
        stackDepthMax = max(stackDepthMax, stackDepth)
        return code.count - 1
    }

    private mutating func land(_ jump: Int) { code[jump].operand = UInt32(code.count) }

    private mutating func constant(_ symbol: Symbol) -> UInt32 {
        if let known = symbolConstants[symbol] { return known }
        let constant = constant(heap.add(string: syntax.symbols[symbol]))
        symbolConstants[symbol] = constant
        return constant
    }

    private mutating func constant(_ cell: Cell) -> UInt32 {
        constants.append(cell)
        return UInt32(constants.count - 1)
    }

    private mutating func expression(_ id: ExpressionID) {
        if let cell = literal(id) {
            emit(.constant, id, operand: constant(cell), pushes: 1)
            return
        }
        switch syntax[id] {
        case .boolean, .long, .string, .entity: break
        case .variable(let variable): emit(.variable, id, detail: variable.rawValue, pushes: 1)
        case .not(let operand): unary(.not, operand, id)
        case .negate(let operand): unary(.negate, operand, id)
        case .isEmpty(let operand): unary(.isEmpty, operand, id)
        case .binary: chain(id)
        case .attribute(let operand, let name):
            expression(operand)
            emit(.attribute, id, operand: constant(name))
        case .has(let operand, let path):
            expression(operand)
            let names = syntax[path].map { constant(Symbol(index: $0)) }
            emit(.has, id, count: names.count, operand: add(names))
        case .like(let operand, let pattern):
            expression(operand)
            emit(.like, id, operand: constant(pattern))
        case .isType(let operand, let type):
            expression(operand)
            emit(.isType, id, operand: constant(type))
        case .isTypeIn(let operand, let type, let container):
            expression(operand)
            emit(.constant, id, operand: constant(type), pushes: 1)
            let jump = emit(.isTypeOrJump, id, pops: 1)
            expression(container)
            emit(.binary, id, detail: BinaryOperator.in.rawValue, pops: 1)
            land(jump)
        case .conditional(let condition, let then, let otherwise):
            expression(condition)
            let branch = emit(.branch, condition, pops: 1)
            expression(then)
            let jump = emit(.jump, id, pops: 1)
            land(branch)
            expression(otherwise)
            land(jump)
        case .set(let list):
            for element in syntax[list] { expression(ExpressionID(index: element)) }
            let count = Int(list.count)
            emit(.set, id, operand: list.count, pops: count, pushes: 1)
        case .record(let list): record(list, id)
        case .call(let function, let list):
            for argument in syntax[list] { expression(ExpressionID(index: argument)) }
            let count = Int(list.count)
            emit(.call, id, detail: function.rawValue, count: count, pops: count, pushes: 1)
        }
    }

    private mutating func unary(
        _ operation: Instruction.Operation,
        _ operand: ExpressionID,
        _ id: ExpressionID
    ) {
        expression(operand)
        emit(operation, id)
    }

    private mutating func chain(_ id: ExpressionID) {
        let (first, rest) = syntax.chain(id)
        expression(first)
        var jumps: [(at: Int, operation: BinaryOperator)] = []
        for (operation, right, node) in rest {
            switch operation {
            case .and, .or:
                // `a && b && c` leaves at the first false with all jumps to one place.
                jumps.append(
                    (emit(operation == .and ? .and : .or, node, pops: 1), operation)
                )
                expression(right)
                emit(.bool, right)
            default:
                expression(right)
                emit(.binary, node, detail: operation.rawValue, pops: 1)
            }
        }
        for jump in jumps { land(jump.at) }
    }

    private mutating func record(_ list: ListRange, _ id: ExpressionID) {
        let members = syntax[list]
        var keys: [UInt32] = []
        for index in stride(from: members.startIndex, to: members.endIndex, by: 2) {
            keys.append(constant(Symbol(index: members[index])))
            expression(ExpressionID(index: members[index + 1]))
        }
        let count = keys.count
        emit(.record, id, count: count, operand: add(keys), pops: count, pushes: 1)
    }

    private mutating func add(_ list: [UInt32]) -> UInt32 {
        lists.append(contentsOf: list)
        return UInt32(lists.count - list.count)
    }

    // MARK: Constants

    /// The value of an expression that is the same in every request and cannot fail.
    private mutating func literal(_ id: ExpressionID) -> Cell? {
        switch syntax[id] {
        case .boolean(let value): return Cell(value)
        case .long(let value): return Cell(.long, value)
        case .string(let symbol): return constants[Int(constant(symbol))]
        case .entity(let index): return heap.entityCell(Int(index.index))
        case .set(let list):
            var elements: [Cell] = []
            for element in syntax[list] {
                guard let cell = literal(ExpressionID(index: element)) else { return nil }
                elements.append(cell)
            }
            return Memory(only: heap).add(set: elements, to: heap)
        case .record(let list):
            let members = syntax[list]
            var cells: [(key: Cell, value: Cell)] = []
            for index in stride(from: members.startIndex, to: members.endIndex, by: 2) {
                guard let value = literal(ExpressionID(index: members[index + 1])) else {
                    return nil
                }
                cells.append((constants[Int(constant(Symbol(index: members[index])))], value))
            }
            return Memory(only: heap).add(record: cells, to: heap)
        case .call(let function, let list):
            guard function.isConstructor, list.count == 1, let argument = syntax[list].first,
                case .string(let symbol) = syntax[ExpressionID(index: argument)]
            else { return nil }
            return heap.construct(function, syntax.symbols[symbol])
        default: return nil
        }
    }
}

extension Heap {
    /// Applies a constructor of an extension type, or nothing if the text is not of its grammar.
    func construct(_ function: ExtensionFunction, _ text: some Collection<UInt8>) -> Cell? {
        switch function {
        case .decimal: CedarDecimal(text).map { Cell(.decimal, $0.tenThousandths) }
        case .datetime: CedarDatetime(text).map { Cell(.datetime, $0.milliseconds) }
        case .duration: CedarDuration(text).map { Cell(.duration, $0.milliseconds) }
        case .ip: IPAddress(text).map { add(ip: $0) }
        default: nil
        }
    }
}
