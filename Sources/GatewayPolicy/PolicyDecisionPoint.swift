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
    /// Who may do nothing at all, for questions that name principals.
    private let inactive: Set<EntityUID>

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
        inactive = Set(
            subjects.lazy.filter { $0.status != .active }.map(MCPEntities.principal)
        )
    }

    /// Binds a release to entities as a test, or an export, lists them.
    ///
    /// A principal with an attribute `status` that is not `active` is a subject that is not.
    ///
    /// - Throws: when the entities contradict each other: a membership that leads back to itself, for example.
    public init(release: PolicyRelease, entities: [Entity]) throws(EntitySnapshotError) {
        outcomes = OutcomeLayer(release: release, entities: try EntitySnapshot(entities: entities))
        inactive = Set(
            entities.lazy.filter { entity in
                guard entity.uid.type == "MCP::User" || entity.uid.type == "MCP::ServiceAccount",
                    case .string(let status)? = entity.attributes["status"]
                else { return false }
                return status != Text(Subject.Status.active.rawValue)
            }.map(\.uid)
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
        decide(subject, server, tool, reading: Self.read(arguments, schema), facts: facts)
    }

    /// Whether `subject` may call `tool` with arguments that were read before: by ``read(_:_:)``, for this tool.
    ///
    /// Two releases that are asked about one call share the reading.
    public func decide(
        _ subject: Subject,
        _ server: ServerName,
        _ tool: ToolName,
        reading: ToolInputSchema.Reading,
        facts: PolicyFacts
    ) -> GatewayModel.Decision {
        guard subject.status == .active else {
            return outcomes.decision(.deny, .subjectInactive, [])
        }
        guard facts.definitionPinned else {
            return outcomes.decision(.deny, .definitionChanged, [])
        }
        let (question, facts) = question(subject, server, tool, reading: reading, facts: facts)
        return outcomes.decide(question, facts: facts)
    }

    /// What policies are asked about a call, and what they are told.
    func question(
        _ subject: Subject,
        _ server: ServerName,
        _ tool: ToolName,
        arguments: JSONValue?,
        schema: ToolInputSchema?,
        facts: PolicyFacts
    ) -> (question: OutcomeLayer.Question, facts: PolicyFacts) {
        let reading = Self.read(arguments, schema)
        return question(subject, server, tool, reading: reading, facts: facts)
    }

    private func question(
        _ subject: Subject,
        _ server: ServerName,
        _ tool: ToolName,
        reading: ToolInputSchema.Reading,
        facts: PolicyFacts
    ) -> (question: OutcomeLayer.Question, facts: PolicyFacts) {
        var facts = facts
        facts.inputFaithful = facts.inputFaithful && reading.isFaithful
        var question = question(subject, server, tool)
        question.particulars["input"] = .record(reading.values)
        return (question, facts)
    }

    /// Asks a recorded question again, the answer to which is that of ``decide(_:_:_:arguments:schema:facts:)``.
    public func decide(
        _ input: DecisionInput,
        schema: ToolInputSchema? = nil
    ) -> GatewayModel.Decision {
        decide(DecisionInput.Question(input, schema: schema))
    }

    /// Asks a question that several releases are asked, and that may have been laid out for them already.
    func decide(
        _ question: DecisionInput.Question,
        laidOut request: Request? = nil
    ) -> GatewayModel.Decision {
        if question.isToolCall {
            guard !inactive.contains(question.asked.principal) else {
                return outcomes.decision(.deny, .subjectInactive, [])
            }
            guard question.facts.definitionPinned else {
                return outcomes.decision(.deny, .definitionChanged, [])
            }
        }
        return outcomes.decide(question.asked, facts: question.facts, laidOut: request)
    }

    /// The arguments of a call as policies see them; see ``decide(_:_:_:arguments:schema:facts:)``.
    public static func read(
        _ arguments: JSONValue?,
        _ schema: ToolInputSchema?
    ) -> ToolInputSchema.Reading {
        schema.map { $0.read(arguments) } ?? read(arguments)
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
    ///
    /// - Parameter arguments: What they can be; without it more is shown than has to be.
    public func visibility(
        _ subject: Subject,
        of tool: ToolName,
        at server: ServerName,
        facts: PolicyFacts,
        arguments: OpenArguments? = nil
    ) -> OutcomeLayer.Visibility {
        guard subject.status == .active else {
            return .hidden
        }
        return outcomes.visibility(
            of: question(subject, server, tool),
            facts: facts,
            arguments: arguments
        )
    }

    /// Whether `subject` may know of `tool`.
    public func mayKnow(
        _ subject: Subject,
        of tool: ToolName,
        at server: ServerName,
        facts: PolicyFacts,
        arguments: OpenArguments? = nil
    ) -> Bool {
        visibility(subject, of: tool, at: server, facts: facts, arguments: arguments) != .hidden
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

extension DecisionInput {
    /// An input as policies are asked it: the same for every release.
    struct Question {
        let asked: OutcomeLayer.Question
        let facts: PolicyFacts
        let isToolCall: Bool

        /// - Parameter schema: What the tool said its arguments are, when it was asked.
        init(_ input: DecisionInput, schema: ToolInputSchema?) {
            isToolCall = input.resource.type == "MCP::Tool"
            var facts = input.facts
            var asked = OutcomeLayer.Question(
                principal: input.principal,
                action: input.action,
                resource: input.resource
            )
            if let schema {
                let reading = schema.read(input.input)
                asked.particulars["input"] = .record(reading.values)
                facts.inputFaithful = facts.inputFaithful && reading.isFaithful
            } else if input.input != nil {
                // Laid out by the rules that the point reads arguments by which nothing is known of.
                asked.arguments = input.input
            } else if isToolCall {
                asked.particulars["input"] = .record([:])
            }
            self.asked = asked
            self.facts = facts
        }
    }
}
