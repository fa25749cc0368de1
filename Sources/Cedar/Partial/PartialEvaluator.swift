public import JSON

/// Decides what can be decided while parts of a request are unknown, and says what is left to know.
///
/// The answer holds for every completion of the request and of the entities that conforms to the
/// schema. Immutable and shared between threads. Source: Cedar RFC 95; policy.md §2.13.
public struct PartialEvaluator: Sendable {
    private let policies: PolicySet
    private let schema: SchemaIndex
    /// With the names of schema and policies; copied for each evaluation.
    private let checker: TypeChecker

    /// Prepares a set of policies.
    ///
    /// Policies that do not validate strictly are evaluated too, but simplified less, since nothing
    /// is known about their types.
    public init(policies: PolicySet, schema: Schema) {
        self.policies = policies
        var table = TypeTable()
        self.schema = SchemaIndex(schema, &table)
        checker = TypeChecker(policies.syntax, self.schema, table, isStrict: true)
    }

    /// Evaluates policies as far as the request is known.
    ///
    /// - Parameter only: The policies and links to evaluate; all if not given.
    public func evaluate(
        _ request: PartialRequest,
        entities: PartialEntities = .unknown,
        only: Set<PolicyID>? = nil
    ) -> PartialResponse {
        var checker = checker
        let environment = environment(request, &checker.table)
        let untyped = PartialWalk.Typing(schema: schema, table: checker.table, types: [:])
        var walk = PartialWalk(policies.syntax, request, entities, untyped, checker.names)
        var results: [PartialResponse.Result] = []
        for (id, policy) in rows(only) {
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
    private func rows(_ only: Set<PolicyID>?) -> [(PolicyID, PolicySyntax)] {
        func isWanted(_ id: PolicyID) -> Bool { only?.contains(id) ?? true }
        return policies.sources.filter { !$0.syntax.isTemplate && isWanted($0.id) }
            .map { ($0.id, $0.syntax) }
            + policies.links.filter { isWanted($0.id) }
            .map { ($0.id, policies.sources[$0.template].syntax.filled(by: $0)) }
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

/// Requests that a policy cannot tell apart but by values: an action that stands for others, and the types of what it is
/// asked for.
public struct RequestKind: Hashable, Sendable {
    /// The type of the principal.
    public let principalType: Text
    /// One of the actions; the policy sees no difference between them.
    public let action: EntityUID
    /// The type of the resource.
    public let resourceType: Text
    /// How many actions it stands for.
    public let actionCount: Int
}

extension PartialEvaluator {
    /// The kinds of requests that fall within the scope of each policy, as far as types tell.
    ///
    /// What a policy comes to in one kind it comes to in all requests that the kind stands for (ADR 0008). Templates
    /// have none.
    public func kinds(of ids: [PolicyID]) -> [PolicyID: [RequestKind]] {
        var grouping = RequestGrouping(
            policies.syntax,
            schema,
            checker.table,
            checker.names,
            ClosureTable()
        )
        let wanted = Set(ids)
        var kinds: [PolicyID: [RequestKind]] = [:]
        for source in policies.sources
        where wanted.contains(source.id) && !source.syntax.isTemplate {
            let outline = PolicyOutline(source.syntax, policies.syntax)
            var found: [RequestKind] = []
            for group in grouping.groups(source.syntax, outline) {
                for principal in group.principalTypes {
                    for resource in group.resourceTypes {
                        found.append(
                            RequestKind(
                                principalType: checker.table.text(principal),
                                action: EntityUID(
                                    type: checker.table.text(group.action.type),
                                    id: checker.table.text(group.action.id)
                                ),
                                resourceType: checker.table.text(resource),
                                actionCount: group.actions.count
                            )
                        )
                    }
                }
            }
            kinds[source.id] = found
        }
        return kinds
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
