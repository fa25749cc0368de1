public import Cedar
public import GatewayModel
public import JSON

/// Decides calls: one release of policies over one configuration's subjects and servers.
///
/// Pure.
///
/// It names things for policies, and closes what no policy is asked about: a subject that is not active and a tool whose
/// definition changed are refused before anything is evaluated. ``OutcomeLayer`` decides.
public struct PolicyDecisionPoint: Sendable {
    /// What decides, for questions that are no tool calls.
    public let outcomes: OutcomeLayer

    /// Binds a release to a configuration.
    ///
    /// - Throws: when the entities contradict each other: a membership that leads back to itself, for example.
    public init(
        release: PolicyRelease,
        subjects: [Subject],
        servers: [PolicyServer],
        clients: [PolicyClient] = []
    ) throws(EntitySnapshotError) {
        outcomes = OutcomeLayer(
            release: release,
            entities: try EntitySnapshot(
                entities: MCPEntities.all(
                    subjects: subjects,
                    servers: servers,
                    clients: clients,
                    dataClasses: release.facts.dataClasses
                )
            )
        )
    }

    /// The number of the release that decides.
    public var releaseNumber: UInt64 {
        outcomes.release.number
    }

    /// The facts that the release declares.
    public var declaredFacts: FactDeclarations {
        outcomes.release.facts
    }

    /// Whether `subject` may call `tool` with `arguments`.
    ///
    /// - Parameter schema: What the tool says its arguments are. Where it is known policies see them typed, and are told
    ///   of everything that does not fit; else as JSON says it, numbers with a fraction and `null` left out.
    public func decide(
        _ subject: Subject,
        _ server: ServerName,
        _ tool: ToolName,
        arguments: JSONValue?,
        schema: ToolInputSchema? = nil,
        facts: PolicyFacts
    ) -> GatewayModel.Decision {
        guard subject.status == .active else {
            return outcomes.decision(.deny, .subjectInactive, [])
        }
        guard facts.definitionPinned else {
            return outcomes.decision(.deny, .definitionChanged, [])
        }
        let reading = schema.map { $0.read(arguments) } ?? Self.read(arguments)
        var facts = facts
        facts.inputFaithful = facts.inputFaithful && reading.isFaithful
        var question = question(subject, server, tool)
        question.particulars["input"] = .record(reading.values)
        return outcomes.decide(question, facts: facts)
    }

    /// Arguments that nothing is known of: what Cedar cannot hold is left out, and policies are told that something was.
    private static func read(_ arguments: JSONValue?) -> ToolInputSchema.Reading {
        guard let arguments else {
            return ToolInputSchema.Reading(values: [:], isFaithful: true)
        }
        var reader = ValueReader(nulls: .drop, fractions: .drop)
        guard let values = try? reader.record(arguments) else {
            return ToolInputSchema.Reading(values: [:], isFaithful: false)
        }
        return ToolInputSchema.Reading(values: values, isFaithful: reader.droppedCount == 0)
    }

    /// Whether `subject` may know of `tool`: unless it is certain, whatever the arguments, that calling it is refused.
    ///
    /// The call is evaluated without its arguments.
    public func visibility(
        _ subject: Subject,
        of tool: ToolName,
        at server: ServerName,
        facts: PolicyFacts
    ) -> OutcomeLayer.Visibility {
        guard subject.status == .active else {
            return .hidden
        }
        return outcomes.visibility(of: question(subject, server, tool), facts: facts)
    }

    /// Whether `subject` may know of `tool`.
    public func mayKnow(
        _ subject: Subject,
        of tool: ToolName,
        at server: ServerName,
        facts: PolicyFacts
    ) -> Bool {
        visibility(subject, of: tool, at: server, facts: facts) != .hidden
    }

    private func question(
        _ subject: Subject,
        _ server: ServerName,
        _ tool: ToolName
    ) -> OutcomeLayer.Question {
        OutcomeLayer.Question(
            principal: MCPEntities.principal(subject),
            action: MCPEntities.action(server, tool),
            resource: MCPEntities.tool(server, tool)
        )
    }
}
