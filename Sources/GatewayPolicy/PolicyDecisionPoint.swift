public import Cedar
public import GatewayModel
public import JSON

/// Decides calls: one release of policies over one configuration's subjects and servers.
///
/// Pure.
///
/// Cedar alone allows. This layer only adds what closes the gateway (policy.md §3.10): an evaluation error is a
/// refusal, a subject that is not active is refused before anything is evaluated, and what no policy determined is
/// refused for want of a grant.
public struct PolicyDecisionPoint: Sendable {
    /// What the gateway knows about a call besides who, what and with which arguments; callers supply none of it.
    public struct Facts: Sendable {
        /// When the call is decided.
        public var time: Timestamp
        /// The client's address; not a range.
        public var source: IPAddress?
        /// Whether the tool's definition is the accepted one.
        public var definitionPinned: Bool

        /// The facts of a call.
        public init(time: Timestamp, source: IPAddress?, definitionPinned: Bool) {
            self.time = time
            self.source = source
            self.definitionPinned = definitionPinned
        }
    }

    private let release: PolicyRelease
    private let authorizer: Authorizer

    /// Binds a release to a configuration.
    ///
    /// - Throws: when the entities contradict each other: a membership that leads back to itself, for example.
    public init(
        release: PolicyRelease,
        subjects: [Subject],
        servers: [PolicyServer]
    ) throws(EntitySnapshotError) {
        self.release = release
        let entities = try EntitySnapshot(
            entities: MCPEntities.all(subjects: subjects, servers: servers)
        )
        authorizer = Authorizer(policies: release.compiled, entities: entities)
    }

    /// The number of the release that decides.
    public var releaseNumber: UInt64 {
        release.number
    }

    /// Whether `subject` may call `tool` with `arguments`.
    public func decide(
        _ subject: Subject,
        _ server: ServerName,
        _ tool: ToolName,
        arguments: JSONValue?,
        facts: Facts
    ) -> GatewayModel.Decision {
        guard subject.status == .active else {
            return refusal(.subjectInactive)
        }
        guard facts.definitionPinned else {
            return refusal(.definitionChanged)
        }
        let response = authorizer.decide(
            request(subject, server, tool, arguments: arguments, isCall: true, facts: facts)
        )
        guard response.errors.isEmpty else {
            return decision(.deny, .policyError, response.errors.map(\.policy))
        }
        switch response.decision {
        case .allow:
            return decision(.permit, .policy, response.determining)
        case .deny where response.determining.isEmpty:
            return refusal(.noGrant)
        case .deny:
            return decision(.deny, .policy, response.determining)
        }
    }

    /// Whether `subject` may know of `tool`: unless it is certain, whatever the arguments, that calling it is refused.
    ///
    /// The call is evaluated without its arguments. A policy that cannot be evaluated for want of them might go either
    /// way: a permit might permit, a forbid might not forbid.
    public func mayKnow(
        _ subject: Subject,
        of tool: ToolName,
        at server: ServerName,
        facts: Facts
    ) -> Bool {
        guard subject.status == .active else {
            return false
        }
        let response = authorizer.decide(
            request(subject, server, tool, arguments: nil, isCall: false, facts: facts)
        )
        switch response.decision {
        case .allow:
            return true
        case .deny:
            return response.determining.isEmpty
                && response.errors.contains { release.policies[$0.policy]?.permits == true }
        }
    }

    /// The question, with the arguments of a call as `context.input`.
    ///
    /// What Cedar cannot hold (null, fractions) is left out, and policies are told that something was.
    private func request(
        _ subject: Subject,
        _ server: ServerName,
        _ tool: ToolName,
        arguments: JSONValue?,
        isCall: Bool,
        facts: Facts
    ) -> Request {
        let qualified = MCPEntities.qualified(server, tool)
        return Request(
            principal: MCPEntities.principal(subject),
            action: MCPEntities.action(qualified),
            resource: MCPEntities.tool(qualified)
        ) { context in
            var inputFaithful = true
            if let arguments {
                inputFaithful = context.add("input", json: arguments)
            } else if isCall {
                context.add("input", .record([:]))
            }
            context.add("system") { system in
                let now = CedarDatetime(milliseconds: facts.time.microseconds / 1000)
                system.add("now", .datetime(now))
                if let source = facts.source {
                    system.add("source", .ip(source))
                }
            }
            context.add("facts") {
                $0.add("definitionPinned", .bool(facts.definitionPinned))
                $0.add("inputFaithful", .bool(inputFaithful))
            }
        }
    }

    private func decision(
        _ answer: GatewayModel.Decision.Answer,
        _ ground: GatewayModel.Decision.Ground,
        _ determining: [PolicyID]
    ) -> GatewayModel.Decision {
        GatewayModel.Decision(
            answer: answer,
            ground: ground,
            determining: determining.map { release.policies[$0]?.name ?? $0.text },
            release: release.number
        )
    }

    private func refusal(_ ground: GatewayModel.Decision.Ground) -> GatewayModel.Decision {
        decision(.deny, ground, [])
    }
}
