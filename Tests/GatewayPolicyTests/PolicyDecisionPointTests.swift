import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@Suite struct PolicyDecisionPointTests {
    static let policies = """
        @id("AC-3.sre") permit (principal in MCP::Group::"sre", action in MCP::Action::"tools/call",
            resource in MCP::ServerGroup::"kubernetes");
        @id("AC-3.dev") permit (principal in MCP::Group::"dev", action in MCP::Action::"read", resource)
            when { context.input.namespace != "prod" };
        @id("AC-6.no-delete") forbid (principal, action in MCP::Action::"destructive", resource)
            unless { principal in MCP::Group::"admins" };
        @id("SI-7.faithful") forbid (principal, action, resource) unless { context.facts.inputFaithful };
        """

    static func subject(
        _ groups: [Text],
        status: Subject.Status = .active,
        kind: Subject.Kind = .user
    ) -> Subject {
        Subject(
            id: "sub_1",
            issuer: "https://idp.example",
            name: "alice",
            kind: kind,
            status: status,
            groups: groups
        )
    }

    static let server = PolicyServer(
        name: "k8s",
        memberships: [EntityUID(type: "MCP::ServerGroup", id: "kubernetes")],
        tools: [
            "get_pods": .read, "apply": .write, "delete_pod": .destructive, "exec": .clusterAdmin,
        ]
    )

    static func point(_ subject: Subject) throws -> PolicyDecisionPoint {
        try PolicyDecisionPoint(
            release: PolicyRelease(
                number: 9,
                documents: [.init(name: "a.cedar", source: Text(policies))]
            ),
            subjects: [subject],
            servers: [server]
        )
    }

    struct Row: CustomStringConvertible, Sendable {
        var description: String
        var subject: Subject
        var tool: ToolName
        var arguments: String = #"{"namespace":"dev"}"#
        var pinned = true
        var answer: GatewayModel.Decision.Answer
        var ground: GatewayModel.Decision.Ground
        var determining: [Text]
        var known: Bool
    }

    static let rows: [Row] = [
        Row(
            description: "a group's permit allows",
            subject: subject(["sre"]),
            tool: "apply",
            answer: .permit,
            ground: .policy,
            determining: ["AC-3.sre"],
            known: true
        ),
        Row(
            description: "nobody else may",
            subject: subject(["sales"]),
            tool: "apply",
            answer: .deny,
            ground: .noGrant,
            determining: [],
            known: false
        ),
        Row(
            description: "a forbid beats a permit, and hides what it always forbids",
            subject: subject(["sre"]),
            tool: "delete_pod",
            answer: .deny,
            ground: .policy,
            determining: ["AC-6.no-delete"],
            known: false
        ),
        Row(
            description: "cluster-admin is destructive too",
            subject: subject(["sre"]),
            tool: "exec",
            answer: .deny,
            ground: .policy,
            determining: ["AC-6.no-delete"],
            known: false
        ),
        Row(
            description: "a forbid's exception holds",
            subject: subject(["sre", "admins"]),
            tool: "delete_pod",
            answer: .permit,
            ground: .policy,
            determining: ["AC-3.sre"],
            known: true
        ),
        Row(
            description: "a permit reads the arguments",
            subject: subject(["dev"]),
            tool: "get_pods",
            answer: .permit,
            ground: .policy,
            determining: ["AC-3.dev"],
            known: true
        ),
        Row(
            description: "and refuses by them, without hiding the tool",
            subject: subject(["dev"]),
            tool: "get_pods",
            arguments: #"{"namespace":"prod"}"#,
            answer: .deny,
            ground: .noGrant,
            determining: [],
            known: true
        ),
        Row(
            description: "an argument that is not there closes the gateway",
            subject: subject(["dev"]),
            tool: "get_pods",
            arguments: "{}",
            answer: .deny,
            ground: .policyError,
            determining: ["AC-3.dev"],
            known: true
        ),
        Row(
            description: "a read permit is no write permit",
            subject: subject(["dev"]),
            tool: "apply",
            answer: .deny,
            ground: .noGrant,
            determining: [],
            known: false
        ),
        Row(
            description: "what Cedar cannot hold is told to policies",
            subject: subject(["sre"]),
            tool: "apply",
            arguments: #"{"x":1.5}"#,
            answer: .deny,
            ground: .policy,
            determining: ["SI-7.faithful"],
            known: true
        ),
        Row(
            description: "null is not invisible",
            subject: subject(["sre"]),
            tool: "apply",
            arguments: #"{"x":null}"#,
            answer: .deny,
            ground: .policy,
            determining: ["SI-7.faithful"],
            known: true
        ),
        Row(
            description: "a leaver may nothing",
            subject: subject(["sre"], status: .leaver),
            tool: "apply",
            answer: .deny,
            ground: .subjectInactive,
            determining: [],
            known: false
        ),
        Row(
            description: "a suspended subject may nothing",
            subject: subject(["sre"], status: .suspended),
            tool: "apply",
            answer: .deny,
            ground: .subjectInactive,
            determining: [],
            known: false
        ),
        Row(
            description: "a changed definition stops everybody",
            subject: subject(["sre"]),
            tool: "apply",
            pinned: false,
            answer: .deny,
            ground: .definitionChanged,
            determining: [],
            known: true
        ),
        Row(
            description: "a workload is a principal of its own",
            subject: subject(["sre"], kind: .workload),
            tool: "apply",
            answer: .permit,
            ground: .policy,
            determining: ["AC-3.sre"],
            known: true
        ),
        Row(
            description: "a tool that is not in the catalogue is not decided on",
            subject: subject(["sre"]),
            tool: "other",
            answer: .deny,
            ground: .resourceUnknown,
            determining: [],
            known: false
        ),
    ]

    @Test(arguments: rows)
    func `the decision is`(row: Row) throws {
        let point = try Self.point(row.subject)
        let facts = PolicyFacts(
            time: Timestamp(seconds: 1_795_366_800),
            source: IPAddress("127.0.0.1".utf8),
            definitionPinned: row.pinned
        )
        let arguments = try JSONDocument(parsing: Array(row.arguments.utf8)).root
        let decision = point.decide(
            row.subject,
            "k8s",
            row.tool,
            arguments: arguments,
            facts: facts
        )
        #expect(decision.answer == row.answer)
        #expect(decision.ground == row.ground)
        #expect(decision.determining == row.determining)
        #expect(decision.release == 9)
        #expect(point.mayKnow(row.subject, of: row.tool, at: "k8s", facts: facts) == row.known)
    }

    @Test func `an empty release permits nothing`() throws {
        let subject = Self.subject(["sre"])
        let point = try PolicyDecisionPoint(
            release: .empty,
            subjects: [subject],
            servers: [Self.server]
        )
        let facts = PolicyFacts(
            time: Timestamp(seconds: 0),
            source: nil,
            definitionPinned: true
        )
        #expect(
            point.decide(subject, "k8s", "apply", arguments: nil, facts: facts).ground == .noGrant
        )
    }

    @Test func `everything that is wrong with a release is named with its place`() throws {
        let documents: [PolicyRelease.Document] = [
            .init(name: "good.cedar", source: "permit (principal, action, resource);"),
            .init(
                name: "bad.cedar",
                source:
                    "permit (principal, action);\n\nforbid (principal, action, resource) when { };"
            ),
        ]
        let failure = #expect(throws: PolicyRelease.Failure.self) {
            try PolicyRelease(number: 1, documents: documents)
        }
        let findings = try #require(failure?.findings)
        #expect(findings.map(\.document) == ["bad.cedar", "bad.cedar"])
        #expect(findings.map(\.line) == [1, 3])
    }

    @Test func `an id that two policies carry is refused`() {
        #expect(throws: PolicyRelease.Failure.self) {
            try PolicyRelease(
                number: 1,
                documents: [
                    .init(name: "a", source: "@id(\"x\") permit (principal, action, resource);"),
                    .init(name: "b", source: "@id(\"x\") forbid (principal, action, resource);"),
                ]
            )
        }
    }

    @Test(arguments: [
        ("MCP::Environment::\"prod\"", true), ("MCP::Environment::prod", false),
        ("\"prod\"", false),
        ("MCP::X::\"a\"b\"", false), ("MCP::X::\"a\\u{22}\"", false), ("MCP:X\"a\"", false),
        ("", false),
    ])
    func `a membership is a type path and a quoted id`(text: String, accepted: Bool) {
        #expect((MCPEntities.uid(cedarText: Text(text)) != nil) == accepted)
    }
}
