/// Decides what can be decided while parts of a request are unknown, and says what is left to know.
///
/// The answer holds for every completion of the request and of the entities that conforms to the
/// schema. Immutable and shared between threads. Source: Cedar RFC 95; policy.md §2.13.
public struct PartialEvaluator: Sendable {
    private let policies: PolicySet
    private let schema: SchemaIndex
    private let table: TypeTable

    /// Prepares a set of policies.
    ///
    /// Policies that do not validate strictly are evaluated too, but simplified less, since nothing
    /// is known about their types.
    public init(policies: PolicySet, schema: Schema) {
        self.policies = policies
        var table = TypeTable()
        self.schema = SchemaIndex(schema, &table)
        self.table = table
    }

    /// Evaluates all policies as far as the request is known.
    public func evaluate(
        _ request: PartialRequest,
        entities: PartialEntities = .unknown
    ) -> PartialResponse {
        var checker = TypeChecker(policies.syntax, schema, table, isStrict: true)
        let environment = environment(request, &checker.table)
        let untyped = PartialWalk.Typing(schema: schema, table: checker.table, types: [:])
        var walk = PartialWalk(policies.syntax, request, entities, untyped, checker.names)
        var results: [PartialResponse.Result] = []
        for (id, policy) in rows {
            var outcome = PartialResponse.Outcome.doesNotApply
            if let scope = walk.scope(of: policy) {
                var typing = untyped
                if let environment, !checker.check(policy.conditions, in: environment).failed {
                    typing = PartialWalk.Typing(
                        schema: schema,
                        table: checker.table,
                        types: checker.types
                    )
                }
                switch walk.run(policy, scope, typing) {
                case .applies:
                    outcome = .applies
                    walk.writer.add(id, policy, scope: scope, condition: nil)
                case .doesNotApply: break
                case .fails:
                    outcome = .fails
                    walk.writer.addOriginal(id, policy)
                case .residual(let condition, let mayFail):
                    outcome = .residual(mayFail: mayFail)
                    walk.writer.add(id, policy, scope: scope, condition: condition)
                case .original:
                    outcome = .residual(mayFail: true)
                    walk.writer.addOriginal(id, policy)
                }
            }
            results.append(
                PartialResponse.Result(policy: id, effect: policy.effect, outcome: outcome)
            )
        }
        return PartialResponse(results: results, residuals: walk.writer.finish())
    }

    /// Static policies and links, each with its slots filled.
    private var rows: [(PolicyID, PolicySyntax)] {
        policies.sources.filter { !$0.syntax.isTemplate }.map { ($0.id, $0.syntax) }
            + policies.links.map { ($0.id, policies.sources[$0.template].syntax.filled(by: $0)) }
    }

    /// The environment of the request, if the schema has one.
    private func environment(
        _ request: PartialRequest,
        _ table: inout TypeTable
    ) -> TypeChecker.Environment? {
        let action = SchemaIndex.key(request.action, &table)
        let principal = table.name(request.principal.type)
        let resource = table.name(request.resource.type)
        guard let index = schema.actionIndices[action] else { return nil }
        let declaration = schema.actions[index]
        guard declaration.principalTypes.contains(principal),
            declaration.resourceTypes.contains(resource)
        else { return nil }
        return TypeChecker.Environment(
            principal: principal,
            action: action,
            resource: resource,
            context: declaration.context
        )
    }
}

/// What is certain about a kind of requests, and what depends on the rest.
public struct PartialResponse: Sendable {
    /// What one policy comes to.
    public enum Outcome: Hashable, Sendable {
        /// It applies to every completion.
        case applies
        /// It applies to no completion.
        case doesNotApply
        /// It fails for every completion.
        case fails
        /// It depends on what is unknown; for some completions it may fail.
        case residual(mayFail: Bool)
    }

    /// A policy and what it comes to.
    public struct Result: Hashable, Sendable {
        /// The policy or link.
        public let policy: PolicyID
        /// What it does when it applies.
        public let effect: Effect
        /// What it comes to.
        public let outcome: Outcome
    }

    /// What is certain about the decision.
    public enum Answer: Hashable, Sendable {
        /// Every completion is allowed.
        case allow
        /// No completion is allowed.
        case deny
        /// It depends.
        case unknown
    }

    /// All policies and links, in the order of the set.
    public let results: [Result]
    /// The policies that may apply or fail, reduced to what is unknown.
    ///
    /// For any completion this set gives the same response as the whole: decision, determining
    /// policies and failing policies. Ids and annotations are those of the originals.
    public let residuals: PolicySet

    /// What is certain about the decision.
    ///
    /// Failing policies are left out, as when deciding. A caller that fails closed looks at
    /// ``mayFail`` too.
    public var answer: Answer {
        func exists(_ effect: Effect, _ isWanted: (Outcome) -> Bool) -> Bool {
            results.contains { $0.effect == effect && isWanted($0.outcome) }
        }
        func isOpen(_ outcome: Outcome) -> Bool {
            if case .residual = outcome { true } else { false }
        }
        if exists(.forbid, { $0 == .applies }) { return .deny }
        if !exists(.permit, { $0 == .applies || isOpen($0) }) { return .deny }
        if exists(.permit, { $0 == .applies }), !exists(.forbid, isOpen) { return .allow }
        return .unknown
    }

    /// Whether some policy fails for some completion.
    public var mayFail: Bool {
        results.contains { $0.outcome == .fails || $0.outcome == .residual(mayFail: true) }
    }
}

extension PolicySyntax {
    fileprivate func filled(by link: PolicySet.Link) -> PolicySyntax {
        var policy = self
        policy.principal = principal.filled(with: link.principal)
        policy.resource = resource.filled(with: link.resource)
        return policy
    }
}

extension ScopeConstraint {
    /// The constraint with a value in place of its slot.
    func filled(with entity: EntityIndex?) -> ScopeConstraint {
        guard let entity, hasSlot else { return self }
        switch self {
        case .equal: return .equal(.entity(entity))
        case .in: return .in(.entity(entity))
        case .isTypeIn(let type, _): return .isTypeIn(type, .entity(entity))
        case .any, .isType, .inSet: return self
        }
    }
}
