import Cedar
public import GatewayModel
import JSON

/// What calls of one server's tools can say, for questions that are asked before there is a call: the release's policies,
/// ready to be evaluated in part with the arguments open.
///
/// Immutable; made once for a release and what a server's tools are, since that takes milliseconds.
public struct OpenArguments: Sendable {
    private let evaluator: PartialEvaluator

    /// Prepares the policies that `point` decides by for the tools of a server.
    ///
    /// Policies that do not validate against what the tools say of their arguments are evaluated with less certainty, and
    /// hide less.
    ///
    /// - Returns: Nothing if the tools make no schema: one that takes the name of a method, for example.
    public init?(
        _ point: PolicyDecisionPoint,
        server: ServerName,
        tools: [SchemaGenerator.Tool]
    ) {
        let outcomes = point.outcomes
        let memberships = outcomes.entities.entity(MCPEntities.server(server))?.parents ?? []
        let generated = SchemaGenerator(facts: outcomes.release.facts).generate([
            SchemaGenerator.Server(name: server, memberships: memberships, tools: tools)
        ])
        guard let schema = try? Schema(parsing: generated.schema.string) else { return nil }
        evaluator = PartialEvaluator(policies: outcomes.release.set, schema: schema)
    }

    /// What policies come to for a request whose context lacks its arguments.
    func evaluate(
        _ request: Request,
        _ entities: EntitySnapshot,
        only: Set<PolicyID>? = nil
    ) -> PartialResponse {
        var context = request.context.mapValues { PartialValue.known($0) }
        context["input"] = .unknown
        return evaluator.evaluate(
            PartialRequest(
                principal: PartialReference(request.principal),
                action: request.action,
                resource: PartialReference(request.resource),
                context: .record(context)
            ),
            entities: PartialEntities(entities),
            only: only
        )
    }
}
