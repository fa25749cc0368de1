import Cedar
import GatewayModel
import JSON

/// What the policies of a release come to in every kind of request that the schema allows, while nothing is known but
/// the facts that are chosen: the lint's questions, put to the partial evaluator.
struct PolicyEffects {
    /// What a policy comes to in one kind of request.
    struct Effect {
        let outcome: PartialResponse.Outcome
        /// What is left of it; nothing where nothing is.
        let residual: PolicyTree?
    }

    /// Whether a cure has worked.
    struct Setting {
        let cure: GatewayModel.Decision.Cure
        let hasWorked: Bool

        /// One approval too few, no sign-in, a counter that cannot be higher; or what the cure asks for.
        var value: Value {
            switch cure {
            case .approval(_, let count): .long(Int64(count) - (hasWorked ? 0 : 1))
            case .stepUp: .bool(hasWorked)
            case .limit: .long(hasWorked ? 0 : .max)
            }
        }

        /// Where in `context.facts` it is read.
        var path: [Text] {
            switch cure {
            case .approval(let group, _): ["approvals", group]
            case .stepUp: ["stepUp"]
            case .limit(let counter): ["rate", counter]
            }
        }
    }

    private let schema: Schema
    private let evaluator: PartialEvaluator
    private let kinds: [PolicyID: [RequestKind]]

    /// The gateway decides on no principal and no resource that it does not know, and clients and servers in the context
    /// are its own.
    private static let entities = PartialEntities([], complete: ["MCP::Client", "MCP::Server"])

    init(_ policies: PolicySet, _ schema: Schema) {
        self.schema = schema
        evaluator = PartialEvaluator(policies: policies, schema: schema)
        kinds = evaluator.kinds(of: policies.policies.map(\.id))
    }

    /// Whether there is a request that the policy could be about.
    func hasKinds(_ policy: PolicyID) -> Bool { !(kinds[policy] ?? []).isEmpty }

    /// What a policy comes to in every kind of request, with these cures at work or not.
    func effects(of policy: PolicyID, with settings: [Setting] = []) -> [Effect] {
        (kinds[policy] ?? []).compactMap { kind in
            guard let action = schema.actions[kind.action] else { return nil }
            let response = evaluator.evaluate(
                PartialRequest(
                    principal: PartialReference(someOf: kind.principalType, exists: true),
                    action: kind.action,
                    resource: PartialReference(someOf: kind.resourceType, exists: true),
                    context: Self.open(action.context, [], settings)
                ),
                entities: Self.entities,
                only: [policy]
            )
            guard let result = response.results.first else { return nil }
            return Effect(
                outcome: result.outcome,
                residual: PolicyTrees(response.residuals)?[policy]
            )
        }
    }

    /// A context of which only the settings are known.
    private static func open(
        _ record: SchemaRecord,
        _ path: [Text],
        _ settings: [Setting]
    ) -> PartialValue {
        guard path.isEmpty || settings.contains(where: { (["facts"] + $0.path).starts(with: path) })
        else { return .unknown }
        return .record(
            Dictionary(
                uniqueKeysWithValues: record.attributes.map { name, attribute in
                    let own = path + [name]
                    if let setting = settings.first(where: { ["facts"] + $0.path == own }) {
                        return (name, .known(setting.value))
                    }
                    guard case .record(let inner) = attribute.type else { return (name, .unknown) }
                    return (name, open(inner, own, settings))
                }
            )
        )
    }
}

extension PolicyEffects.Effect {
    /// Whether the policy applies to no request of the kind.
    var isNothing: Bool { outcome == .doesNotApply }
    /// Whether evaluating it may fail.
    var mayFail: Bool { outcome == .fails || outcome == .residual(mayFail: true) }
}
