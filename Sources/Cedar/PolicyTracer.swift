import JSON

/// Evaluates policies for what each of them does, not for the decision: the source of coverage.
///
/// The ``Authorizer`` decides, by an index and without a word more than the answer; this looks at every policy whose scope
/// matches, one by one, and shares evaluation with it, so that the two cannot disagree. Links of templates are not traced.
public struct PolicyTracer: Sendable {
    private let program: Program
    private let entities: EntitySnapshot.Storage
    private let names: [Int32]

    /// What a policy whose scope matches did.
    public enum Outcome: Hashable, Sendable {
        /// Its condition is true, or it has none.
        case applies
        /// Its condition is false.
        case doesNotApply
        /// Its condition has no value.
        case failed(EvaluationError.Kind)
    }

    /// The ids of the policies, by the number that ``trace(_:_:)`` tells.
    public var policies: [PolicyID] { program.ids }

    /// Binds policies to entities.
    public init(policies: CompiledPolicySet, entities: EntitySnapshot) {
        program = policies.program
        self.entities = entities.storage
        names = entities.storage.names(ofEntitiesOf: policies.program.heap)
    }

    /// Calls `visit` with the number of each policy whose scope matches, in the order of the set, and what it did.
    public func trace(_ request: Request, _ visit: (Int, Outcome) -> Void) {
        let evaluator = Evaluator(program, entities, bound: names, request.storage)
        OperandStack.with(capacity: program.stackDepth) { stack in
            for (number, row) in program.rows.enumerated() where evaluator.matches(row) {
                visit(number, Outcome(evaluator.run(row, &stack)))
            }
        }
    }
}

extension PolicyTracer.Outcome {
    fileprivate init(_ outcome: Evaluator.Outcome) {
        switch outcome {
        case .applies: self = .applies
        case .doesNotApply: self = .doesNotApply
        case .failed(let failure, _): self = .failed(failure.kind)
        }
    }
}

extension EntitySnapshot.Storage {
    /// The name number of each entity of another heap, or -1.
    fileprivate func names(ofEntitiesOf heap: Heap) -> [Int32] {
        let memory = Memory(only: heap)
        return (0..<heap.entityCount).map { Int32(find(heap.entity($0), in: memory)) }
    }
}

/// One policy and one request, seen from inside: which part of the scope matches, and what each part of the condition gives.
public struct PolicyTrace: Sendable {
    /// A variable of the scope.
    public struct ScopePart: Sendable {
        /// `principal`, `action` or `resource`.
        public let variable: String
        /// Whether the request's fits.
        public let isMatch: Bool
    }

    /// The policy.
    public let policy: PolicyID
    /// What it does when it applies.
    public let effect: Effect
    /// Principal, action, resource.
    public let scope: [ScopePart]
    /// Its conditions in the order of the text; empty if the scope does not match.
    public let conditions: [ConditionTrace]
    /// What it did; `nil` if the scope does not match.
    public let outcome: PolicyTracer.Outcome?
}

/// A part of a condition, and what it gave.
public struct ConditionTrace: Sendable {
    /// What kind of part.
    public enum Kind: String, Hashable, Sendable {
        /// A whole condition; true if the policy may apply.
        case when, unless
        /// Parts, of which the first false one, or the first true one, decides.
        case and, or
        /// The opposite of its part.
        case not
        /// Condition, then, else.
        case conditional
        /// Anything else: a comparison, a membership, a pattern.
        case expression
    }

    /// What a part gave.
    public enum Result: Hashable, Sendable {
        case isTrue
        case isFalse
        /// It has no value.
        case failed(EvaluationError.Kind)
        /// What stands before it decided already.
        case notReached
    }

    /// An attribute that an expression reads.
    public struct Reading: Sendable {
        /// As it is written: `context.facts.approvals.sre`.
        public let path: String
        /// Its value; `nil` if there is none.
        public let value: Value?
    }

    /// What kind of part.
    public let kind: Kind
    /// What it gave.
    public let result: Result
    /// Where it stands.
    public let span: SourceSpan
    /// The part in the fixed layout of the printer.
    public let text: String
    /// Its parts; empty for an expression.
    public let parts: [ConditionTrace]
    /// The attributes that an expression which was evaluated reads, each once.
    public let readings: [Reading]
}

/// Takes conditions apart for people; slow, for one request at a time.
///
/// Every boolean leaf of every condition is compiled as a condition of its own and evaluated by the same evaluator as any
/// other; only `&&`, `||`, `!` and `if` are put together here.
public struct PolicyExplainer: Sendable {
    private let set: PolicySet
    private let program: Program
    private let leaves: Program
    private let leafRows: [ExpressionID: Int]
    private let entities: EntitySnapshot.Storage
    private let names: [Int32]
    private let leafNames: [Int32]

    /// Binds policies to entities.
    public init(policies: CompiledPolicySet, entities: EntitySnapshot) {
        set = policies.policies
        program = policies.program
        var rows: [ExpressionID: Int] = [:]
        var sources: [PolicySet.Source] = []
        let syntax = set.syntax
        for source in set.sources {
            for condition in source.syntax.conditions {
                syntax.visitLeaves(of: condition.body) { leaf in
                    rows[leaf] = sources.count
                    sources.append(
                        PolicySet.Source(
                            id: PolicyID(Text("leaf\(sources.count)")),
                            syntax: PolicySyntax(
                                effect: .permit,
                                conditions: [.init(isWhen: true, body: leaf)],
                                span: source.syntax.span
                            )
                        )
                    )
                }
            }
        }
        leafRows = rows
        leaves = Program(PolicySet(syntax: syntax, sources: sources))
        self.entities = entities.storage
        names = entities.storage.names(ofEntitiesOf: program.heap)
        leafNames = entities.storage.names(ofEntitiesOf: leaves.heap)
    }

    /// What every policy does with a request, in the order of the set; templates are left out.
    public func explain(_ request: Request) -> [PolicyTrace] {
        let whole = Evaluator(program, entities, bound: names, request.storage)
        var walk = ConditionWalk(
            syntax: set.syntax,
            leaves: leaves,
            rows: leafRows,
            parts: .init(Evaluator(leaves, entities, bound: leafNames, request.storage)),
            entities: entities,
            request: request.storage
        )
        var traces: [PolicyTrace] = []
        OperandStack.with(capacity: max(program.stackDepth, leaves.stackDepth)) { stack in
            let policies = set.sources.lazy.filter { !$0.syntax.isTemplate }
            for (row, source) in zip(program.rows, policies) {
                let isMatch = whole.matches(row)
                var conditions: [ConditionTrace] = []
                if isMatch {
                    conditions = walk.conditions(source.syntax, &stack)
                }
                traces.append(
                    PolicyTrace(
                        policy: source.id,
                        effect: source.syntax.effect,
                        scope: row.scopeParts.map { variable, part in
                            PolicyTrace.ScopePart(
                                variable: variable,
                                isMatch: whole.matches(part)
                            )
                        },
                        conditions: conditions,
                        outcome: isMatch ? PolicyTracer.Outcome(whole.run(row, &stack)) : nil
                    )
                )
            }
        }
        return traces
    }
}

extension Program.Row {
    /// The row with one variable of its scope each.
    fileprivate var scopeParts: [(String, Program.Row)] {
        func only(
            principal: Program.Scope = .any,
            action: Program.Scope = .any,
            resource: Program.Scope = .any
        ) -> Program.Row {
            Program.Row(
                effect: effect,
                principal: principal,
                action: action,
                resource: resource,
                entry: -1
            )
        }
        return [
            ("principal", only(principal: principal)), ("action", only(action: action)),
            ("resource", only(resource: resource)),
        ]
    }
}

extension Syntax {
    /// Calls `visit` with the parts of a condition that `&&`, `||`, `!` and `if` put together.
    fileprivate func visitLeaves(of id: ExpressionID, _ visit: (ExpressionID) -> Void) {
        switch self[id] {
        case .binary(.and, _, _), .binary(.or, _, _):
            let (first, rest) = chain(id)
            visitLeaves(of: first, visit)
            for (_, part, _) in rest { visitLeaves(of: part, visit) }
        case .not(let part): visitLeaves(of: part, visit)
        case .conditional(let condition, let then, let otherwise):
            for part in [condition, then, otherwise] { visitLeaves(of: part, visit) }
        default: visit(id)
        }
    }
}

/// Puts what the leaves of one policy gave together.
private struct ConditionWalk {
    let syntax: Syntax
    let leaves: Program
    let rows: [ExpressionID: Int]
    let parts: Parts
    let entities: EntitySnapshot.Storage
    let request: Request.Storage

    /// The evaluator of the leaves; it cannot be copied, this can.
    final class Parts {
        let evaluator: Evaluator

        init(_ evaluator: consuming Evaluator) {
            self.evaluator = evaluator
        }
    }

    mutating func conditions(
        _ policy: PolicySyntax,
        _ stack: inout OperandStack
    ) -> [ConditionTrace] {
        var isReached = true
        var traces: [ConditionTrace] = []
        for condition in policy.conditions {
            let body = trace(condition.body, isReached, &stack)
            let result = condition.isWhen ? body.result : body.result.opposite
            traces.append(
                ConditionTrace(
                    kind: condition.isWhen ? .when : .unless,
                    result: result,
                    span: body.span,
                    text: body.text,
                    parts: [body],
                    readings: []
                )
            )
            isReached = isReached && result == .isTrue
        }
        return traces
    }

    private mutating func trace(
        _ id: ExpressionID,
        _ isReached: Bool,
        _ stack: inout OperandStack
    ) -> ConditionTrace {
        switch syntax[id] {
        case .binary(let operation, _, _) where operation == .and || operation == .or:
            let (first, rest) = syntax.chain(id)
            let goesOn = operation == .and ? ConditionTrace.Result.isTrue : .isFalse
            var parts: [ConditionTrace] = []
            var result = isReached ? goesOn : .notReached
            for part in [first] + rest.map(\.1) {
                parts.append(trace(part, result == goesOn, &stack))
                if result == goesOn { result = parts[parts.count - 1].result }
            }
            return node(operation == .and ? .and : .or, id, result, parts)
        case .not(let part):
            let part = trace(part, isReached, &stack)
            return node(.not, id, part.result.opposite, [part])
        case .conditional(let condition, let then, let otherwise):
            let condition = trace(condition, isReached, &stack)
            let then = trace(then, condition.result == .isTrue, &stack)
            let otherwise = trace(otherwise, condition.result == .isFalse, &stack)
            let result =
                switch condition.result {
                case .isTrue: then.result
                case .isFalse: otherwise.result
                case .failed, .notReached: condition.result
                }
            return node(.conditional, id, result, [condition, then, otherwise])
        default:
            guard isReached, let row = rows[id] else {
                return node(.expression, id, .notReached, [])
            }
            let result: ConditionTrace.Result =
                switch parts.evaluator.run(leaves.rows[row], &stack) {
                case .applies: .isTrue
                case .doesNotApply: .isFalse
                case .failed(let failure, _): .failed(failure.kind)
                }
            return node(.expression, id, result, [], readings(of: id))
        }
    }

    private func node(
        _ kind: ConditionTrace.Kind,
        _ id: ExpressionID,
        _ result: ConditionTrace.Result,
        _ parts: [ConditionTrace],
        _ readings: [ConditionTrace.Reading] = []
    ) -> ConditionTrace {
        ConditionTrace(
            kind: kind,
            result: result,
            span: syntax.span(id),
            text: Printer.text(id, of: syntax),
            parts: parts,
            readings: readings
        )
    }

    // MARK: Values

    /// The attributes that an expression reads by their whole path, in the order of the text.
    private func readings(of id: ExpressionID) -> [ConditionTrace.Reading] {
        var readings: [ConditionTrace.Reading] = []
        func visit(_ id: ExpressionID) {
            if let found = value(of: id) {
                guard case .attribute = syntax[id] else { return }
                let path = Printer.text(id, of: syntax)
                if !readings.contains(where: { $0.path.utf8.elementsEqual(path.utf8) }) {
                    readings.append(.init(path: path, value: found.cell.map(value)))
                }
                return
            }
            for operand in syntax.operands(of: id) { visit(operand) }
        }
        visit(id)
        return readings
    }

    /// The value of a variable or of an attribute of one; nothing for any other expression.
    private func value(of id: ExpressionID) -> (cell: Cell?, Void)? {
        switch syntax[id] {
        case .variable(.principal): return (request.principal, ())
        case .variable(.action): return (request.action, ())
        case .variable(.resource): return (request.resource, ())
        case .variable(.context): return (request.context, ())
        case .attribute(let base, let name):
            guard let base = value(of: base) else { return nil }
            guard let cell = base.cell else { return (nil, ()) }
            let memory = parts.evaluator.memory
            let key = memory.scratch.add(string: syntax.symbols[name])
            switch cell.kind {
            case .record: return (memory.member(cell, key), ())
            case .entity:
                let number = entities.find(memory.entity(cell), in: memory)
                return (entities.attributes(of: number).flatMap { memory.member($0, key) }, ())
            default: return (nil, ())
            }
        default: return nil
        }
    }

    private func value(_ cell: Cell) -> Value {
        let memory = parts.evaluator.memory
        func string(_ cell: Cell) -> Text {
            Text(String(decoding: memory.string(cell), as: UTF8.self))
        }
        switch cell.kind {
        case .bool: return .bool(cell.isTrue)
        case .long: return .long(cell.integer)
        case .string: return .string(string(cell))
        case .entity:
            let entity = memory.entity(cell)
            return .entity(EntityUID(type: string(entity.type), id: string(entity.id)))
        case .set:
            return .set(
                (0..<cell.count).map { value(memory.cell(cell.region, cell.start + $0)) }
            )
        case .record:
            var members: [Text: Value] = [:]
            for index in 0..<cell.count {
                let at = cell.start + 2 * index
                members[string(memory.cell(cell.region, at))] = value(
                    memory.cell(cell.region, at + 1)
                )
            }
            return .record(members)
        case .decimal: return .decimal(CedarDecimal(tenThousandths: cell.integer))
        case .ip: return .ip(memory.address(cell))
        case .datetime: return .datetime(CedarDatetime(milliseconds: cell.integer))
        case .duration: return .duration(CedarDuration(milliseconds: cell.integer))
        }
    }
}

extension ConditionTrace.Result {
    fileprivate var opposite: Self {
        switch self {
        case .isTrue: .isFalse
        case .isFalse: .isTrue
        case .failed, .notReached: self
        }
    }
}

extension Syntax {
    /// The expressions directly below one.
    fileprivate func operands(of id: ExpressionID) -> [ExpressionID] {
        switch self[id] {
        case .boolean, .long, .string, .entity, .variable: []
        case .not(let operand), .negate(let operand), .isEmpty(let operand),
            .attribute(let operand, _), .has(let operand, _), .like(let operand, _),
            .isType(let operand, _):
            [operand]
        case .binary(_, let left, let right), .isTypeIn(let left, _, let right): [left, right]
        case .conditional(let condition, let then, let otherwise): [condition, then, otherwise]
        case .set(let list), .call(_, let list): self[list].map { ExpressionID(index: $0) }
        case .record(let list):
            stride(from: list.start + 1, to: list.start + list.count, by: 2)
                .map { ExpressionID(index: lists[Int($0)]) }
        }
    }
}
