/// A policy set compiled for evaluation.
///
/// Immutable and shared between threads.
public struct CompiledPolicySet: Sendable {
    let program: Program

    /// Lowers a policy set.
    ///
    /// Templates count through their links only.
    public init(_ policies: PolicySet) {
        program = Program(policies)
    }

    /// Decides one request.
    ///
    /// This binds the set to the snapshot first, which costs time in proportion to both. Whoever
    /// decides more than once keeps an ``Authorizer``.
    public func decide(_ request: Request, entities: EntitySnapshot) -> Response {
        Authorizer(policies: self, entities: entities).decide(request)
    }
}

/// A policy set and an entity snapshot, bound to each other: the policy decision point.
///
/// Immutable and shared between threads. A new version of either makes a new authorizer, so that
/// one decision sees one pair. Every policy is evaluated: true satisfies it, false does not, an
/// error is recorded and the policy skipped. A satisfied forbid denies; else a satisfied permit
/// allows; else the answer is deny.
public struct Authorizer: Sendable {
    private let program: Program
    private let entities: EntitySnapshot.Storage
    private let binding: Binding
    private let usesIndex: Bool

    /// What the snapshot calls the entities of the policies, and back.
    private final class Binding: Sendable {
        /// The name number of each entity of the policies, or -1.
        let names: [Int32]
        /// The policies' number of each name plus one, or 0.
        let anchors: [UInt32]

        init(_ program: Program, _ entities: EntitySnapshot.Storage) {
            let memory = Memory(only: program.heap)
            names = (0..<program.heap.entityCount).map {
                Int32(entities.find(program.heap.entity($0), in: memory))
            }
            var anchors = Array(repeating: UInt32(0), count: entities.nameCount)
            for (number, name) in names.enumerated() where name >= 0 {
                anchors[Int(name)] = UInt32(number) + 1
            }
            self.anchors = anchors
        }
    }

    /// Binds policies to entities.
    ///
    /// - Parameter usesIndex: Whether scopes are answered by an index instead of one by one. The result is the same;
    ///   turning it off is for tests.
    public init(policies: CompiledPolicySet, entities: EntitySnapshot, usesIndex: Bool = true) {
        program = policies.program
        self.entities = entities.storage
        self.usesIndex = usesIndex
        binding = Binding(policies.program, entities.storage)
    }

    /// Decides one request: pure, without I/O and clock.
    public func decide(_ request: Request) -> Response {
        let evaluator = Evaluator(program, entities, bound: binding.names, request.storage)
        var tally = Tally(program)
        OperandStack.with(capacity: program.stackDepth) { stack in
            if usesIndex {
                BitMask.withPair(words: program.index.wordCount) { candidates, scratch in
                    select(candidates, scratch, evaluator, request.storage)
                    candidates.forEach { number in
                        let row = program.rows[number]
                        guard program.index.isExact(number) || evaluator.matches(row) else {
                            return
                        }
                        tally.count(evaluator.run(row, &stack), row.effect, number)
                    }
                }
            } else {
                for (number, row) in program.rows.enumerated() where evaluator.matches(row) {
                    tally.count(evaluator.run(row, &stack), row.effect, number)
                }
            }
        }
        return tally.response
    }

    /// Leaves in `candidates` the policies whose scope may match.
    private func select(
        _ candidates: BitMask,
        _ scratch: BitMask,
        _ evaluator: Evaluator,
        _ request: Request.Storage
    ) {
        let index = program.index
        unite(index.action, request.action, evaluator.action, evaluator.memory, candidates)
        unite(index.principal, request.principal, evaluator.principal, evaluator.memory, scratch)
        candidates.formIntersection(scratch)
        unite(index.resource, request.resource, evaluator.resource, evaluator.memory, scratch)
        candidates.formIntersection(scratch)
    }

    private func unite(
        _ dimension: ScopeIndex.Dimension,
        _ cell: Cell,
        _ name: Int,
        _ memory: Memory,
        _ mask: BitMask
    ) {
        mask.assign(dimension.any)
        let entity = memory.request.entity(cell.index)
        for (type, rows) in dimension.types
        where memory.equalStrings(entity.type, program.constants[Int(type)]) {
            mask.formUnion(rows[...])
        }
        if let own = program.find(entity, in: memory) {
            dimension.equal.unite(own, into: mask)
            dimension.within.unite(own, into: mask)
        }
        guard name >= 0 else { return }
        for ancestor in entities.ancestors(of: name) {
            let anchor = binding.anchors[Int(ancestor)]
            if anchor != 0 { dimension.within.unite(Int(anchor) - 1, into: mask) }
        }
    }

    /// What the evaluated policies add up to.
    private struct Tally {
        let program: Program
        var permits: [PolicyID] = []
        var forbids: [PolicyID] = []
        var errors: [EvaluationError] = []

        init(_ program: Program) {
            self.program = program
        }

        mutating func count(_ outcome: Evaluator.Outcome, _ effect: Effect, _ number: Int) {
            switch outcome {
            case .doesNotApply: break
            case .applies:
                if effect == .forbid {
                    forbids.append(program.ids[number])
                } else if forbids.isEmpty {
                    permits.append(program.ids[number])
                }
            case .failed(let failure, let node):
                errors.append(
                    EvaluationError(
                        policy: program.ids[number],
                        kind: failure.kind,
                        span: program.spans[Int(node)]
                    )
                )
            }
        }

        var response: Response {
            guard forbids.isEmpty else {
                return Response(decision: .deny, determining: forbids, errors: errors)
            }
            return Response(
                decision: permits.isEmpty ? .deny : .allow,
                determining: permits,
                errors: errors
            )
        }
    }
}
