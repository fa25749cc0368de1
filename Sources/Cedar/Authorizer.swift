/// A policy set compiled for evaluation.
///
/// Shared between threads as a value; links come and go without compiling anything again.
public struct CompiledPolicySet: Sendable {
    let program: Program
    /// The set, for its links.
    private(set) var policies: PolicySet

    /// Lowers a policy set.
    ///
    /// Templates count through their links only.
    public init(_ policies: PolicySet) {
        program = Program(policies)
        self.policies = policies
    }

    /// The templates of the set.
    public var templates: [Policy] { policies.policies.filter(\.isTemplate) }

    /// Fills the slots of a template under a new id, as ``PolicySet/link(template:as:principal:resource:)``.
    ///
    /// An authorizer that was made before does not see it. While one is alive the first change copies the rows
    /// of all links, so changes are best made together.
    public mutating func link(
        template: PolicyID,
        as id: PolicyID,
        principal: EntityUID? = nil,
        resource: EntityUID? = nil
    ) throws(TemplateLinkError) {
        try policies.link(template: template, as: id, principal: principal, resource: resource)
    }

    /// Takes a link away; false if there is none with this id.
    @discardableResult
    public mutating func unlink(_ id: PolicyID) -> Bool { policies.unlink(id) }

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
        let syntax: Syntax
        let links: LinkTable
        /// The name number of each entity of the sources, or -1.
        let names: [Int32]
        /// The policies' number of each name plus one, or 0.
        let anchors: [UInt32]

        init(_ compiled: CompiledPolicySet, _ entities: EntitySnapshot.Storage) {
            syntax = compiled.policies.syntax
            links = compiled.policies.linkTable
            let heap = compiled.program.heap
            let memory = Memory(only: heap)
            names = (0..<heap.entityCount).map {
                Int32(entities.find(heap.entity($0), in: memory))
            }
            let snapshot = Memory(only: entities.heap)
            let syntax = syntax
            // The policies may name far more entities than there are, or far fewer.
            anchors = (0..<entities.nameCount).map { name in
                syntax.find(entities.cells(of: name), in: snapshot).map { $0.index + 1 } ?? 0
            }
        }

        func id(of link: LinkTable.Row) -> PolicyID { PolicyID(syntax.symbols.text(link.id)) }
    }

    /// Binds policies to entities.
    ///
    /// - Parameter usesIndex: Whether scopes are answered by an index instead of one by one. The result is the same;
    ///   turning it off is for tests.
    public init(policies: CompiledPolicySet, entities: EntitySnapshot, usesIndex: Bool = true) {
        program = policies.program
        self.entities = entities.storage
        self.usesIndex = usesIndex
        binding = Binding(policies, entities.storage)
    }

    /// Decides one request: pure, without I/O and clock.
    public func decide(_ request: Request) -> Response {
        let evaluator = Evaluator(program, entities, bound: binding.names, request.storage)
        var tally = Tally()
        OperandStack.with(capacity: program.stackDepth) { stack in
            if usesIndex {
                decideByIndex(evaluator, request.storage, &stack, &tally)
            } else {
                decideOneByOne(evaluator, request.storage, &stack, &tally)
            }
        }
        return tally.response
    }

    // MARK: With the index

    private func decideByIndex(
        _ evaluator: borrowing Evaluator,
        _ request: Request.Storage,
        _ stack: inout OperandStack,
        _ tally: inout Tally
    ) {
        let principal = binding.syntax.find(
            evaluator.cells(request.principal),
            in: evaluator.memory
        )
        let resource = binding.syntax.find(evaluator.cells(request.resource), in: evaluator.memory)
        if program.index.wordCount > 0 {
            BitMask.withPair(words: program.index.wordCount) { candidates, scratch in
                select(candidates, scratch, evaluator, request, principal, resource)
                candidates.forEach { number in
                    let row = program.rows[number]
                    guard program.index.isExact(number) || evaluator.matches(row) else { return }
                    tally.count(evaluator.run(row, &stack), row.effect, program) {
                        program.ids[number]
                    }
                }
            }
        }
        guard binding.links.count > 0 else { return }
        let found = candidateLinks(evaluator, principal, resource)
        for number in found {
            let link = binding.links.rows[number]
            guard let template = program.templates[Int(link.template)] else { continue }
            // What the probe found is in the right places; equality and the rest of the scope are left.
            if template.principal == .equal, link.principal != (principal?.index ?? .max) &+ 1 {
                continue
            }
            if template.resource == .equal, link.resource != (resource?.index ?? .max) &+ 1 {
                continue
            }
            guard evaluator.matches(template.row) else { continue }
            tally.count(evaluator.run(template.row, &stack), template.row.effect, program) {
                binding.id(of: link)
            }
        }
    }

    /// The links whose entities are those of the request or what they are in, in the order of the set.
    private func candidateLinks(
        _ evaluator: borrowing Evaluator,
        _ principal: EntityIndex?,
        _ resource: EntityIndex?
    ) -> [Int] {
        let links = binding.links
        var found: [Int] = []
        found.reserveCapacity(16)
        withAnchors(evaluator.principal, principal, { links.hasPrincipal($0) }) { principals in
            guard !principals.isEmpty else { return }
            withAnchors(evaluator.resource, resource, { links.hasResource($0) }) { resources in
                links.forEach(principals: principals, resources: resources) { found.append($0) }
            }
        }
        if found.count > 1 { found.sort() }
        return found
    }

    /// Calls `body` with the numbers, plus one, of an entity and of what it is in, and 0, as far as they are wanted.
    private func withAnchors(
        _ name: Int,
        _ own: EntityIndex?,
        _ isWanted: (UInt32) -> Bool,
        _ body: (UnsafeMutableBufferPointer<UInt32>) -> Void
    ) {
        let ancestors = name >= 0 ? entities.ancestors(of: name) : []
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: ancestors.count + 2) { room in
            var count = 0
            func add(_ number: UInt32) {
                guard isWanted(number) else { return }
                room.initializeElement(at: count, to: number)
                count += 1
            }
            add(0)
            if let own { add(own.index + 1) }
            for ancestor in ancestors {
                let anchor = binding.anchors[Int(ancestor)]
                if anchor != 0 { add(anchor) }
            }
            body(UnsafeMutableBufferPointer(rebasing: room[..<count]))
        }
    }

    /// Leaves in `candidates` the policies whose scope may match.
    private func select(
        _ candidates: BitMask,
        _ scratch: BitMask,
        _ evaluator: borrowing Evaluator,
        _ request: Request.Storage,
        _ principal: EntityIndex?,
        _ resource: EntityIndex?
    ) {
        let index = program.index
        let action = binding.syntax.find(evaluator.cells(request.action), in: evaluator.memory)
        unite(index.action, request.action, evaluator.action, action, evaluator, candidates)
        unite(
            index.principal,
            request.principal,
            evaluator.principal,
            principal,
            evaluator,
            scratch
        )
        candidates.formIntersection(scratch)
        unite(index.resource, request.resource, evaluator.resource, resource, evaluator, scratch)
        candidates.formIntersection(scratch)
    }

    private func unite(
        _ dimension: ScopeIndex.Dimension,
        _ cell: Cell,
        _ name: Int,
        _ own: EntityIndex?,
        _ evaluator: borrowing Evaluator,
        _ mask: BitMask
    ) {
        mask.assign(dimension.any)
        for (type, rows) in dimension.types where evaluator.isType(cell, type) {
            mask.formUnion(rows[...])
        }
        let entityCount = UInt32(program.heap.entityCount)
        if let own, own.index < entityCount {
            dimension.equal.unite(Int(own.index), into: mask)
            dimension.within.unite(Int(own.index), into: mask)
        }
        guard name >= 0 else { return }
        for ancestor in entities.ancestors(of: name) {
            let anchor = binding.anchors[Int(ancestor)]
            // Beyond that count are entities that only links name.
            if anchor != 0, anchor <= entityCount {
                dimension.within.unite(Int(anchor) - 1, into: mask)
            }
        }
    }

    // MARK: Without the index

    private func decideOneByOne(
        _ evaluator: borrowing Evaluator,
        _ request: Request.Storage,
        _ stack: inout OperandStack,
        _ tally: inout Tally
    ) {
        for (number, row) in program.rows.enumerated() where evaluator.matches(row) {
            tally.count(evaluator.run(row, &stack), row.effect, program) { program.ids[number] }
        }
        for link in binding.links.rows where link.template != LinkTable.none {
            guard let template = program.templates[Int(link.template)],
                fits(
                    link.principal,
                    template.principal,
                    request.principal,
                    evaluator.principal,
                    evaluator
                ),
                fits(
                    link.resource,
                    template.resource,
                    request.resource,
                    evaluator.resource,
                    evaluator
                ),
                evaluator.matches(template.row)
            else { continue }
            tally.count(evaluator.run(template.row, &stack), template.row.effect, program) {
                binding.id(of: link)
            }
        }
    }

    /// Compares bytes and walks ancestors: shares nothing with the index.
    private func fits(
        _ entity: UInt32,
        _ use: Program.SlotUse,
        _ cell: Cell,
        _ name: Int,
        _ evaluator: borrowing Evaluator
    ) -> Bool {
        guard use != .none else { return true }
        let syntax = binding.syntax
        let wanted = syntax[EntityIndex(index: entity - 1)]
        func isWanted(_ cells: Heap.EntityCells, _ memory: Memory) -> Bool {
            syntax.symbols.equals(wanted.type, memory.string(cells.type))
                && syntax.symbols.equals(wanted.id, memory.string(cells.id))
        }
        if isWanted(evaluator.cells(cell), evaluator.memory) { return true }
        guard use == .within, name >= 0 else { return false }
        let snapshot = Memory(only: entities.heap)
        return entities.ancestors(of: name).contains {
            isWanted(entities.cells(of: Int($0)), snapshot)
        }
    }

    /// What the evaluated policies add up to.
    private struct Tally {
        var permits: [PolicyID] = []
        var forbids: [PolicyID] = []
        var errors: [EvaluationError] = []

        mutating func count(
            _ outcome: Evaluator.Outcome,
            _ effect: Effect,
            _ program: Program,
            _ id: () -> PolicyID
        ) {
            switch outcome {
            case .doesNotApply: break
            case .applies:
                if effect == .forbid {
                    forbids.append(id())
                } else if forbids.isEmpty {
                    permits.append(id())
                }
            case .failed(let failure, let node):
                errors.append(
                    EvaluationError(
                        policy: id(),
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
