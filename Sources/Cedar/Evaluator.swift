import JSON

/// Why a condition has no value.
enum EvaluationFailure: Error {
    case type, overflow, missingAttribute, missingTag, missingEntity, argumentCount, extensionValue

    var kind: EvaluationError.Kind {
        switch self {
        case .type: .typeMismatch
        case .overflow: .integerOverflow
        case .missingAttribute: .missingAttribute
        case .missingTag: .missingTag
        case .missingEntity: .missingEntity
        case .argumentCount: .wrongArgumentCount
        case .extensionValue: .invalidExtensionValue
        }
    }
}

/// Runs the programs of one decision.
///
/// Values are 16-byte cells on a stack of known depth; nothing is allocated unless a condition
/// builds a set or a record out of something that is not constant.
struct Evaluator: ~Copyable {
    enum Outcome {
        case applies
        case doesNotApply
        case failed(EvaluationFailure, node: UInt32)
    }

    private let program: Program
    private let entities: EntitySnapshot.Storage
    /// The name number of each entity of the policies, or -1.
    private let bound: [Int32]
    private let request: Request.Storage
    let memory: Memory
    let principal: Int
    let action: Int
    let resource: Int

    init(
        _ program: Program,
        _ entities: EntitySnapshot.Storage,
        bound: [Int32],
        _ request: Request.Storage
    ) {
        self.program = program
        self.entities = entities
        self.bound = bound
        self.request = request
        memory = Memory(
            policies: program.heap,
            entities: entities.heap,
            request: request.heap,
            scratch: Heap(.scratch)
        )
        principal = entities.find(request.heap.entity(request.principal.index), in: memory)
        action = entities.find(request.heap.entity(request.action.index), in: memory)
        resource = entities.find(request.heap.entity(request.resource.index), in: memory)
    }

    /// The name number of an entity value, or -1 if the snapshot does not know it.
    @inline(__always) private func name(of cell: Cell) -> Int {
        switch cell.region {
        case .entities: entities.name(ofReference: cell.index)
        case .policies: Int(bound[cell.index])
        case .request, .scratch: entities.find(memory.entity(cell), in: memory)
        }
    }

    // MARK: Scope

    func matches(_ row: Program.Row) -> Bool {
        matches(row.principal, request.principal, principal)
            && matches(row.action, request.action, action)
            && matches(row.resource, request.resource, resource)
    }

    private func matches(_ scope: Program.Scope, _ cell: Cell, _ name: Int) -> Bool {
        switch scope {
        case .any: true
        case .equal(let entity): memory.equal(cell, policyEntity(entity))
        case .in(let entity): isIn(cell, name, policyEntity(entity))
        case .isType(let type): isType(cell, type)
        case .isTypeIn(let type, let entity):
            isType(cell, type) && isIn(cell, name, policyEntity(entity))
        case .inSet(let start, let count):
            (start..<start + count).contains {
                isIn(cell, name, policyEntity(program.lists[Int($0)]))
            }
        }
    }

    private func policyEntity(_ number: UInt32) -> Cell {
        program.heap.entityCell(Int(number))
    }

    /// The type and id of an entity of the request.
    @inline(__always) func cells(_ cell: Cell) -> Heap.EntityCells { memory.entity(cell) }

    func isType(_ cell: Cell, _ type: UInt32) -> Bool {
        memory.equalStrings(memory.entity(cell).type, program.constants[Int(type)])
    }

    private func isIn(_ cell: Cell, _ name: Int, _ container: Cell) -> Bool {
        if memory.equal(cell, container) { return true }
        guard name >= 0 else { return false }
        let other = self.name(of: container)
        return other >= 0 && entities.isAncestor(other, of: name)
    }

    // MARK: Conditions

    func run(_ row: Program.Row, _ stack: inout OperandStack) -> Outcome {
        guard row.entry >= 0 else { return .applies }
        stack.removeAll()
        var at = Int(row.entry)
        do throws(EvaluationFailure) {
            while true {
                let step = program.code[at]
                at += 1
                switch step.operation {
                case .constant: stack.push(program.constants[Int(step.operand)])
                case .variable: stack.push(variable(step.detail))
                case .not:
                    stack.top = Cell(!(try truth(stack.top)))
                case .negate:
                    let (value, overflow) = Int64(0).subtractingReportingOverflow(
                        try memory.integer(stack.top)
                    )
                    if overflow { throw .overflow }
                    stack.top = Cell(.long, value)
                case .isEmpty:
                    guard stack.top.kind == .set else { throw .type }
                    stack.top = Cell(stack.top.count == 0)
                case .and:
                    if try truth(stack.top) { stack.drop(1) } else { at = Int(step.operand) }
                case .or:
                    if try truth(stack.top) { at = Int(step.operand) } else { stack.drop(1) }
                case .bool: _ = try truth(stack.top)
                case .branch: if !(try truth(stack.pop())) { at = Int(step.operand) }
                case .jump: at = Int(step.operand)
                case .binary:
                    let right = stack.pop()
                    stack.top = try binary(step.detail, stack.top, right)
                case .attribute:
                    stack.top = try attribute(stack.top, program.constants[Int(step.operand)])
                case .has: stack.top = Cell(try has(stack.top, step))
                case .like:
                    guard stack.top.kind == .string else { throw .type }
                    let pattern = program.constants[Int(step.operand)]
                    stack.top = Cell(
                        Pattern.matches(memory.string(stack.top), memory.string(pattern))
                    )
                case .isType:
                    guard stack.top.kind == .entity else { throw .type }
                    stack.top = Cell(isType(stack.top, step.operand))
                case .isTypeOrJump:
                    let type = stack.pop()
                    guard stack.top.kind == .entity else { throw .type }
                    if !memory.equalStrings(memory.entity(stack.top).type, type) {
                        stack.top = Cell(false)
                        at = Int(step.operand)
                    }
                case .set: makeSet(Int(step.operand), &stack)
                case .record: makeRecord(step, &stack)
                case .call:
                    let result = try call(step, stack)
                    stack.drop(Int(step.count))
                    stack.push(result)
                case .when: if !(try truth(stack.pop())) { return .doesNotApply }
                case .unless: if try truth(stack.pop()) { return .doesNotApply }
                case .satisfied: return .applies
                }
            }
        } catch {
            return .failed(error, node: program.code[at - 1].node)
        }
    }

    @inline(__always) private func variable(_ raw: UInt8) -> Cell {
        switch raw {
        case Variable.principal.rawValue: request.principal
        case Variable.action.rawValue: request.action
        case Variable.resource.rawValue: request.resource
        default: request.context
        }
    }

    @inline(__always) private func truth(_ cell: Cell) throws(EvaluationFailure) -> Bool {
        guard cell.kind == .bool else { throw .type }
        return cell.isTrue
    }

    private func binary(
        _ raw: UInt8,
        _ left: Cell,
        _ right: Cell
    ) throws(EvaluationFailure) -> Cell {
        guard let operation = BinaryOperator(rawValue: raw) else {
            preconditionFailure("the compiler emits known operators only")
        }
        switch operation {
        case .in: return Cell(try isIn(left, right))
        case .hasTag:
            guard left.kind == .entity, right.kind == .string else { throw .type }
            guard let tags = entities.tags(of: name(of: left)) else { return Cell(false) }
            return Cell(memory.member(tags, right) != nil)
        case .getTag:
            guard left.kind == .entity, right.kind == .string else { throw .type }
            guard let tags = entities.tags(of: name(of: left)) else { throw .missingEntity }
            guard let value = memory.member(tags, right) else { throw .missingTag }
            return value
        default: return try memory.apply(operation, left, right)
        }
    }

    private func isIn(_ left: Cell, _ right: Cell) throws(EvaluationFailure) -> Bool {
        guard left.kind == .entity else { throw .type }
        if right.kind == .entity { return isIn(left, name(of: left), right) }
        guard right.kind == .set else { throw .type }
        // Every member must be an entity, also those behind a match.
        for index in 0..<right.count
        where memory.cell(right.region, right.start + index).kind != .entity {
            throw .type
        }
        let name = name(of: left)
        for index in 0..<right.count
        where isIn(left, name, memory.cell(right.region, right.start + index)) {
            return true
        }
        return false
    }

    private func attribute(_ cell: Cell, _ key: Cell) throws(EvaluationFailure) -> Cell {
        let record: Cell
        switch cell.kind {
        case .record: record = cell
        case .entity:
            guard let attributes = entities.attributes(of: name(of: cell)) else {
                throw .missingEntity
            }
            record = attributes
        default: throw .type
        }
        guard let value = memory.member(record, key) else { throw .missingAttribute }
        return value
    }

    /// `x has a.b.c` is `x has a && x.a has b && x.a.b has c`.
    private func has(_ cell: Cell, _ step: Instruction) throws(EvaluationFailure) -> Bool {
        var value = cell
        for index in 0..<Int(step.count) {
            let key = program.constants[Int(program.lists[Int(step.operand) + index])]
            let record: Cell
            switch value.kind {
            case .record: record = value
            case .entity:
                guard let attributes = entities.attributes(of: name(of: value)) else {
                    return false
                }
                record = attributes
            default: throw .type
            }
            guard let member = memory.member(record, key) else { return false }
            value = member
        }
        return true
    }

    private func makeSet(_ count: Int, _ stack: inout OperandStack) {
        var elements: [Cell] = []
        elements.reserveCapacity(count)
        for depth in stride(from: count - 1, through: 0, by: -1) { elements.append(stack[depth]) }
        stack.drop(count)
        stack.push(memory.add(set: elements, to: memory.scratch))
    }

    private func makeRecord(_ step: Instruction, _ stack: inout OperandStack) {
        let count = Int(step.count)
        var members: [(key: Cell, value: Cell)] = []
        members.reserveCapacity(count)
        for index in 0..<count {
            let key = program.constants[Int(program.lists[Int(step.operand) + index])]
            members.append((key, stack[count - 1 - index]))
        }
        stack.drop(count)
        stack.push(memory.add(record: members, to: memory.scratch))
    }

    // MARK: Extension types

    private func call(
        _ step: Instruction,
        _ stack: borrowing OperandStack
    ) throws(EvaluationFailure) -> Cell {
        guard let function = ExtensionFunction(rawValue: step.detail) else {
            preconditionFailure("the compiler emits known functions only")
        }
        guard Int(step.count) == function.argumentCount else { throw .argumentCount }
        return try memory.call(function, stack[function.argumentCount - 1], stack[0])
    }
}

/// Glob matching for `like`.
enum Pattern {
    /// Greedy with one point of return, on bytes: equivalent to matching code points, because UTF-8
    /// of one scalar never starts inside that of another.
    ///
    /// Linear in most cases, at worst the product of both lengths.
    static func matches(_ text: UnsafeRawBufferPointer, _ pattern: UnsafeRawBufferPointer) -> Bool {
        var (t, p) = (0, 0)
        var star = -1
        var mark = 0
        while t < text.count {
            if p < pattern.count, pattern[p] == Escapes.wildcard {
                star = p
                mark = t
                p += 1
            } else if p < pattern.count, pattern[p] == text[t] {
                p += 1
                t += 1
            } else if star >= 0 {
                p = star + 1
                mark += 1
                t = mark
            } else {
                return false
            }
        }
        while p < pattern.count, pattern[p] == Escapes.wildcard { p += 1 }
        return p == pattern.count
    }
}
