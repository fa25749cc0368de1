import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@Suite struct SimulationTests {
    static let entities: Text = """
        [{"uid": {"type": "MCP::User", "id": "alice"}, "attrs": {"status": "active"}, "parents": [{"type": "MCP::Group", "id": "sre"}]},
         {"uid": {"type": "MCP::User", "id": "gone"}, "attrs": {"status": "left"}, "parents": [{"type": "MCP::Group", "id": "sre"}]},
         {"uid": {"type": "MCP::Tool", "id": "k8s/apply"}, "attrs": {}, "parents": []},
         {"uid": {"type": "MCP::Tool", "id": "k8s/get"}, "attrs": {}, "parents": []}]
        """

    static func release(_ number: UInt64, _ source: Text) throws -> PolicyRelease {
        try PolicyRelease(number: number, documents: [.init(name: "p.cedar", source: source)])
    }

    static func point(_ number: UInt64, _ source: Text) throws -> PolicyDecisionPoint {
        let json = try JSONDocument(parsing: Array(entities.utf8)).root
        return try PolicyDecisionPoint(
            release: release(number, source),
            entities: try Entity.list(cedarJSON: json)
        )
    }

    static func input(
        _ reference: Text = "r",
        _ principal: Text = "alice",
        tool: Text = "k8s/apply",
        arguments: String? = nil,
        recorded: GatewayModel.Decision.Answer? = nil,
        release: UInt64 = 1
    ) throws -> DecisionInput {
        DecisionInput(
            reference: reference,
            principal: EntityUID(type: "MCP::User", id: principal),
            action: EntityUID(type: "MCP::Action", id: tool),
            resource: EntityUID(type: "MCP::Tool", id: tool),
            input: try arguments.map { try JSONDocument(parsing: $0).root },
            facts: PolicyFacts(
                time: Timestamp(seconds: 0),
                source: nil,
                definitionPinned: true
            ),
            snapshot: nil,
            recorded: recorded.map {
                DecisionSummary(answer: $0, ground: .policy, determining: ["x"], release: release)
            }
        )
    }

    static let permit: Text = """
        @id("all") permit (principal in MCP::Group::"sre", action, resource);
        """
    static let guarded: Text = """
        @id("all") permit (principal in MCP::Group::"sre", action, resource);
        @id("apply") @tier("guard") @approval("sre:2") forbid (principal, action == MCP::Action::"k8s/apply", resource)
        unless { context.facts.approvals.sre >= 2 };
        @id("prod") @tier("absolute") forbid (principal, action, resource) when { context.input has ns && context.input.ns == "prod" };
        """

    @Test func `transitions are counted, and grouped by the policies of both sides`() throws {
        let configuration = ReplayConfiguration(
            baseline: try Self.point(1, Self.permit),
            candidate: try Self.point(2, Self.guarded)
        )
        var simulation = Simulation()
        for index in 0..<7 {
            simulation.replay(try Self.input(Text("a\(index)")), in: configuration)
        }
        simulation.replay(
            try Self.input("b", arguments: #"{"ns": "prod"}"#),
            in: configuration
        )
        simulation.replay(try Self.input("c", tool: "k8s/get"), in: configuration)
        simulation.replay(try Self.input("d", "nobody"), in: configuration)
        simulation.leaveOut(.configurationMissing)
        let diff = simulation.diff
        #expect(diff.total == 11)
        #expect(diff.decided == 10)
        #expect(diff.changed == 8)
        #expect(diff.widening == 0)
        #expect(
            diff.transitions == [
                .init(from: .permit, to: .requireApproval): 7,
                .init(from: .permit, to: .deny): 1, .init(from: .permit, to: .permit): 1,
                .init(from: .deny, to: .deny): 1,
            ]
        )
        #expect(diff.undecided == [.configurationMissing: 1])
        let groups = diff.groups
        #expect(groups.map(\.count) == [7, 1])
        #expect(groups[0].baseline == ["all"] && groups[0].candidate == ["apply"])
        #expect(groups[0].examples.map(\.reference) == ["a0", "a1", "a2", "a3", "a4"])
        #expect(groups[1].candidate == ["apply", "prod"])
    }

    @Test func `what becomes a permit is counted as widening, whatever it was`() throws {
        let configuration = ReplayConfiguration(
            baseline: try Self.point(1, Self.guarded),
            candidate: try Self.point(2, Self.permit)
        )
        var simulation = Simulation()
        simulation.replay(try Self.input(), in: configuration)
        simulation.replay(try Self.input(arguments: #"{"ns": "prod"}"#), in: configuration)
        simulation.replay(try Self.input(tool: "k8s/get"), in: configuration)
        #expect(simulation.diff.widening == 2)
        #expect(simulation.diff.changed == 2)
    }

    @Test func `a subject that may not act and a changed definition are refused without policies`()
        throws
    {
        let point = try Self.point(1, Self.permit)
        #expect(point.decide(try Self.input("r", "gone")).ground == .subjectInactive)
        var input = try Self.input()
        #expect(point.decide(input).answer == .permit)
        input.facts.definitionPinned = false
        #expect(point.decide(input).ground == .definitionChanged)
    }

    @Test func `what was recorded is the baseline where none is given`() throws {
        let configuration = ReplayConfiguration(
            baseline: nil,
            candidate: try Self.point(2, Self.guarded)
        )
        var simulation = Simulation()
        simulation.replay(try Self.input(recorded: .permit), in: configuration)
        simulation.replay(try Self.input(recorded: nil), in: configuration)
        #expect(simulation.diff.transitions == [.init(from: .permit, to: .requireApproval): 1])
        #expect(simulation.diff.undecided == [.nothingRecorded: 1])
        #expect(simulation.diff.fidelity == nil)
    }

    @Test func `a replay that does not find what was recorded says so`() throws {
        let configuration = ReplayConfiguration(
            baseline: try Self.point(1, Self.permit),
            candidate: try Self.point(2, Self.permit)
        )
        var simulation = Simulation()
        simulation.replay(try Self.input(recorded: .permit), in: configuration)
        simulation.replay(try Self.input("x", recorded: .deny), in: configuration)
        simulation.replay(try Self.input(recorded: .deny, release: 7), in: configuration)
        simulation.replay(try Self.input(recorded: nil), in: configuration)
        let fidelity = try #require(simulation.diff.fidelity)
        #expect((fidelity.agreed, fidelity.differed, fidelity.incomparable) == (1, 1, 2))
        #expect(fidelity.examples.map(\.reference) == ["x"])
        #expect(fidelity.examples.first?.baseline.answer == .deny)
        #expect(fidelity.examples.first?.candidate.answer == .permit)
    }

    @Test func `the same answer for other reasons is no change, and is counted`() throws {
        let configuration = ReplayConfiguration(
            baseline: try Self.point(1, Self.permit),
            candidate: try Self.point(2, Text(Self.permit.string.replacing("all", with: "each")))
        )
        var simulation = Simulation()
        simulation.replay(try Self.input(), in: configuration)
        #expect(simulation.diff.changed == 0)
        #expect(simulation.diff.sameAnswerOtherPolicies == 1)
    }

    @Test func `parts add up to the whole, byte for byte`() throws {
        let configuration = ReplayConfiguration(
            baseline: try Self.point(1, Self.permit),
            candidate: try Self.point(2, Self.guarded)
        )
        let inputs = try (0..<100).map { index in
            try Self.input(
                Text("r\(index)"),
                index % 7 == 0 ? "gone" : "alice",
                tool: index % 3 == 0 ? "k8s/get" : "k8s/apply",
                arguments: index % 5 == 0 ? #"{"ns": "prod"}"# : nil,
                recorded: index % 2 == 0 ? .permit : .deny
            )
        }
        var whole = Simulation()
        for input in inputs { whole.replay(input, in: configuration) }
        for size in [1, 3, 50, 99] {
            var merged = Simulation()
            for start in stride(from: 0, to: 100, by: size) {
                var part = Simulation()
                for input in inputs[start..<min(start + size, 100)] {
                    part.replay(input, in: configuration)
                }
                if start % 2 == 0 { part.leaveOut(.unreadable) }
                merged.merge(part)
            }
            var expected = whole
            for start in stride(from: 0, to: 100, by: size) where start % 2 == 0 {
                expected.leaveOut(.unreadable)
            }
            #expect(JSONFragment(merged.diff) == JSONFragment(expected.diff))
        }
    }

    @Test func `more groups than there is room for are counted without one`() throws {
        var diff = DecisionDiff()
        let input = try Self.input()
        let permit = DecisionSummary(
            answer: .permit,
            ground: .policy,
            determining: ["p"],
            release: 1
        )
        for number in 0..<(DecisionDiff.groupsMax + 10) {
            let deny = DecisionSummary(
                answer: .deny,
                ground: .policy,
                determining: [Text("f\(number)")],
                release: 2
            )
            diff.count(input, baseline: permit, candidate: deny)
            diff.count(input, baseline: permit, candidate: deny)
        }
        #expect(diff.groups.count == DecisionDiff.groupsMax)
        #expect(diff.ungrouped == 20)
        #expect(diff.changed == 2 * (DecisionDiff.groupsMax + 10))
        var twice = diff
        twice.merge(diff)
        #expect(twice.groups.count == DecisionDiff.groupsMax)
        #expect(twice.ungrouped == 40)
        #expect(twice.changed == 2 * diff.changed)
    }

    /// What the decision point says of a call is what replay says, of whatever a caller may have written.
    @Test(arguments: [
        "{}", #"{"ns": "prod"}"#, #"{"ns": 7}"#, #"{"n": 1.5}"#, #"{"n": null}"#,
        #"{"a": [1, {"ns": "prod"}]}"#,
        #"{"ns": {"__entity": {"type": "U", "id": "u"}}}"#, #"{"n": 99999999999999999999}"#,
    ]) func `replay answers what the door answered, told once for both or to each`(
        _ arguments: String
    ) throws {
        let source: Text = """
            @id("all") permit (principal in MCP::Group::"sre", action, resource);
            @id("faithful") @tier("absolute") forbid (principal, action, resource) unless { context.facts.inputFaithful };
            @id("ns") @tier("absolute") forbid (principal, action, resource)
            when { context.input has ns && context.input.ns == "prod" };
            @id("guard") @tier("guard") @approval("sre:1") forbid (principal, action, resource)
            when { context.input has a } unless { context.facts.approvals.sre >= 1 };
            """
        let subject = Subject(
            id: "alice",
            issuer: "https://idp.example",
            name: "Alice",
            kind: .user,
            status: .active,
            groups: ["sre"]
        )
        func point(_ number: UInt64, _ source: Text) throws -> PolicyDecisionPoint {
            try PolicyDecisionPoint(
                release: Self.release(number, source),
                subjects: [subject],
                servers: [
                    PolicyServer(name: "k8s", memberships: [], tools: ["apply": .write])
                ]
            )
        }
        let input = try Self.input(arguments: arguments)
        let same = try point(1, source)
        // Another approver group: the two are not told the same.
        let other = try point(
            2,
            Text(
                source.string.replacing("sre:1", with: "ops:1").replacing(
                    "approvals.sre",
                    with: "approvals.ops"
                )
            )
        )
        for (schema, schemas) in [
            (nil, [:]), (ToolInputSchema(nil), ["k8s/apply": ToolInputSchema(nil)]),
        ] as [(ToolInputSchema?, [Text: ToolInputSchema])] {
            let atTheDoor = DecisionSummary(
                same.decide(
                    subject,
                    "k8s",
                    "apply",
                    arguments: input.input,
                    schema: schema,
                    facts: input.facts
                )
            )
            #expect(DecisionSummary(same.decide(input, schema: schema)) == atTheDoor)
            for candidate in [same, other] {
                var replayed = input
                replayed.recorded = atTheDoor
                var simulation = Simulation()
                simulation.replay(
                    replayed,
                    in: ReplayConfiguration(baseline: same, candidate: candidate, schemas: schemas)
                )
                #expect(simulation.diff.fidelity?.agreed == 1)
                #expect(simulation.diff.changed == 0)
                #expect(simulation.diff.transitions.keys.first?.from == atTheDoor.answer)
                #expect(
                    candidate.releaseNumber != 1 || simulation.diff.sameAnswerOtherPolicies == 0
                )
            }
        }
    }
}
