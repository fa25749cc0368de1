import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

/// The worked model of `data/mcp-model`: its policies, its entities, its cases, and the table of policy.md §3.11.
struct WorkedModel {
    let layer: OutcomeLayer
    let document: PolicyCases
    var cases: [Case] { document.cases }

    static let facts: Text = """
        {"approvers": ["sre", "security", "manager"],
         "counters": [
           {"name": "destructive_user_1h", "action": "destructive", "per": ["subject"], "window": "1h"},
           {"name": "calls_user_1m", "action": "any", "per": ["subject"], "window": "1m"}],
         "monitors": [
           {"name": "runbook_read_1h", "action": "wiki/read_runbook", "per": ["subject"], "window": "1h"}],
         "dataClasses": [{"name": "secret"}, {"name": "personal"},
           {"name": "personal.email", "in": ["personal"]}]}
        """

    typealias Case = PolicyCases.Case

    /// Nothing where the data is absent.
    init?() throws {
        guard let policies = try SharedPolicyData.text("mcp-model/policies.cedar"),
            let bytes = try SharedPolicyData.bytes("mcp-model/cases.json")
        else { return nil }
        let json = try SharedPolicyData.json(bytes)
        let document = try PolicyCases(json)
        var entities = document.entities
        // The actions come from the schema, which the data writes as text.
        for (action, parents) in Self.actions {
            entities.append(
                Entity(
                    uid: MCPEntities.action(action),
                    parents: parents.map { MCPEntities.action($0) }
                )
            )
        }
        layer = OutcomeLayer(
            release: try PolicyRelease(
                number: 42,
                documents: [
                    .init(name: "facts.json", source: Self.facts),
                    .init(name: "policies.cedar", source: policies),
                ]
            ),
            entities: try EntitySnapshot(entities: entities)
        )
        self.document = document
    }

    private static let actions: [(Text, [Text])] = [
        ("read", ["any"]), ("write", ["any"]), ("destructive", ["write"]),
        ("cluster-admin", ["destructive"]), ("tools/call", ["any"]),
        ("k8s/delete_pod", ["tools/call", "destructive"]),
        ("k8s/apply", ["tools/call", "cluster-admin"]), ("k8s/get_pods", ["tools/call", "read"]),
        ("s3/put_object", ["tools/call", "write"]), ("crm/find", ["tools/call", "read"]),
    ]

    /// The case of this name.
    func named(_ name: Text) throws -> Case {
        try #require(cases.first { $0.name == name })
    }
}

@Suite struct OutcomeLayerTests {
    @Test func `every case of the worked model is decided as stated`() throws {
        guard let model = try WorkedModel() else { return }
        for failure in model.document.run(on: model.layer) { Issue.record("\(failure)") }
        #expect(model.cases.count == 21)
        SharedPolicyData.note("\(model.cases.count) cases of the worked model agree")
    }

    /// One line of the table of policy.md §3.11.
    struct Row: CustomStringConvertible, Sendable {
        var description: String
        /// The case that it starts from.
        var base: Text
        var change: @Sendable (inout WorkedModel.Case) -> Void = { _ in }
        var answer: GatewayModel.Decision.Answer
        var determining: [Text]
        var cures: [GatewayModel.Decision.Cure] = []
        var duties: [GatewayModel.Decision.Duty] = []
    }

    static let night: @Sendable (inout WorkedModel.Case) -> Void = {
        $0.facts.localTime = LocalTime(hour: 23, weekday: 3)
    }

    static let table: [Row] = [
        Row(
            description: "SRE lists pods",
            base: "sre reads pods",
            answer: .permit,
            determining: ["AC-3.sre-k8s"]
        ),
        Row(
            description: "SRE applies manifest, no approvals",
            base: "sre apply, no approvals",
            answer: .requireApproval,
            determining: ["AC-3.2.cluster-admin"],
            cures: [.approval(group: "sre", count: 2)]
        ),
        Row(
            description: "same, one approval",
            base: "sre apply, no approvals",
            change: { $0.facts.approvals["sre"] = 1 },
            answer: .requireApproval,
            determining: ["AC-3.2.cluster-admin"],
            cures: [.approval(group: "sre", count: 2)]
        ),
        Row(
            description: "same, two approvals",
            base: "sre apply, no approvals",
            change: { $0.facts.approvals["sre"] = 2 },
            answer: .permit,
            determining: ["AC-3.sre-k8s"]
        ),
        Row(
            description: "contractor after contractEnd",
            base: "sre reads pods",
            change: { $0.question.principal = EntityUID(type: "MCP::User", id: "carl") },
            answer: .deny,
            determining: ["AC-2.leaver"]
        ),
        Row(
            description: "apply at 23:00, two SRE approvals",
            base: "sre apply, no approvals",
            change: {
                night(&$0)
                $0.facts.approvals["sre"] = 2
            },
            answer: .requireApproval,
            determining: ["CM-5.freeze"],
            cures: [.approval(group: "security", count: 1)]
        ),
        Row(
            description: "apply at 23:00 without any approval asks for all",
            base: "sre apply, no approvals",
            change: night,
            answer: .requireApproval,
            determining: ["AC-3.2.cluster-admin", "CM-5.freeze"],
            cures: [
                .approval(group: "security", count: 1), .approval(group: "sre", count: 2),
            ]
        ),
        Row(
            description: "plus security approval",
            base: "sre apply, no approvals",
            change: {
                night(&$0)
                $0.facts.approvals = ["sre": 2, "security": 1]
            },
            answer: .permit,
            determining: ["AC-3.sre-k8s"]
        ),
        Row(
            description: "break-glass member at 23:00 with step-up",
            base: "break-glass without step-up",
            change: { $0.facts.hasSteppedUp = true },
            answer: .permit,
            determining: ["AC-2.2.break-glass"],
            duties: [.notify("security-oncall"), .record(.full)]
        ),
        Row(
            description: "break-glass member at 23:00 without",
            base: "break-glass without step-up",
            answer: .deny,
            determining: []
        ),
        Row(
            description: "delete pod without runbook",
            base: "sre reads pods",
            change: deletePod,
            answer: .deny,
            determining: ["CM-3.runbook-first"]
        ),
        Row(
            description: "delete pod with runbook",
            base: "sre reads pods",
            change: {
                deletePod(&$0)
                $0.facts.history["runbook_read_1h"] = true
            },
            answer: .permit,
            determining: ["AC-3.sre-k8s"]
        ),
        Row(
            description: "21st destructive call in the hour",
            base: "sre reads pods",
            change: {
                deletePod(&$0)
                $0.facts.history["runbook_read_1h"] = true
                $0.facts.rates["destructive_user_1h"] = RateReading(count: 20)
            },
            answer: .rateLimited,
            determining: ["SC-5.destructive-rate"],
            cures: [.limit(counter: "destructive_user_1h")]
        ),
        Row(
            description: "21st destructive call that nothing would allow anyway",
            base: "sre reads pods",
            change: {
                deletePod(&$0)
                $0.facts.rates["destructive_user_1h"] = RateReading(count: 20)
            },
            answer: .deny,
            determining: ["CM-3.runbook-first", "SC-5.destructive-rate"]
        ),
        Row(
            description: "secret to public bucket",
            base: "secret to public bucket",
            answer: .deny,
            determining: ["AC-4.public-bucket"]
        ),
        Row(
            description: "service account from outside",
            base: "service account from outside",
            answer: .deny,
            determining: ["AC-17.service-network"]
        ),
        Row(
            description: "tool definition drifted",
            base: "tool definition drifted",
            answer: .deny,
            determining: ["SI-7.pinned-tools"]
        ),
        Row(
            description: "a curable denial of somebody without any grant stays a denial",
            base: "sre apply, no approvals",
            change: { $0.question.principal = EntityUID(type: "MCP::User", id: "fay") },
            answer: .deny,
            determining: ["AC-3.2.cluster-admin"]
        ),
    ]

    static let deletePod: @Sendable (inout WorkedModel.Case) -> Void = {
        $0.question.action = MCPEntities.action("k8s/delete_pod")
        $0.question.resource = EntityUID(type: "MCP::Tool", id: "k8s/delete_pod")
        $0.question.particulars["input"] = .record([
            "namespace": .string("prod"), "name": .string("p"),
        ])
    }

    @Test(arguments: table)
    func `the outcome is`(row: Row) throws {
        guard let model = try WorkedModel() else { return }
        var call = try model.named(row.base)
        row.change(&call)
        let decision = model.layer.decide(call.question, facts: call.facts)
        #expect(decision.answer == row.answer)
        #expect(decision.determining == row.determining)
        #expect(decision.cures == row.cures)
        #expect(decision.duties == row.duties)
        #expect(decision.release == 42)
    }

    @Test func `data classes are masked, shown or blocked`() throws {
        guard let model = try WorkedModel() else { return }
        let facts = try model.named("reveal email, fraud").facts
        func handling(_ user: Text, _ direction: DataDirection) -> [Text: DataHandling] {
            model.layer.disclose(
                ["personal.email", "secret", "unheard-of"],
                direction,
                principal: EntityUID(type: "MCP::User", id: user),
                server: "crm1",
                facts: facts
            ).handling
        }
        let others: [Text: DataHandling] = ["secret": .block, "unheard-of": .block]
        let sre = others.merging(["personal.email": .mask]) { $1 }
        #expect(handling("alice", .response) == sre)
        #expect(handling("fay", .response) == others.merging(["personal.email": .pass]) { $1 })
        #expect(handling("fay", .request) == others.merging(["personal.email": .mask]) { $1 })
    }

    // MARK: What closes

    static let facts = PolicyFacts(
        time: Timestamp(seconds: 0),
        source: IPAddress("10.0.0.1".utf8),
        definitionPinned: true
    )

    static func layer(_ policies: String, facts: String = "{}") throws -> OutcomeLayer {
        try OutcomeLayer(
            release: PolicyRelease(
                number: 1,
                documents: [
                    .init(name: "facts.json", source: Text(facts)),
                    .init(name: "a.cedar", source: Text(policies)),
                ]
            ),
            entities: EntitySnapshot(entities: [
                Entity(uid: EntityUID(type: "MCP::User", id: "u")),
                Entity(uid: EntityUID(type: "MCP::Tool", id: "t")),
                Entity(uid: MCPEntities.unregisteredClient, attributes: ["attested": .bool(false)]),
            ])
        )
    }

    static func question(user: Text = "u", tool: Text = "t") -> OutcomeLayer.Question {
        OutcomeLayer.Question(
            principal: EntityUID(type: "MCP::User", id: user),
            action: MCPEntities.action("s/t"),
            resource: EntityUID(type: "MCP::Tool", id: tool),
            particulars: ["input": .record([:])]
        )
    }

    @Test func `nobody and nothing unknown is decided on`() throws {
        let layer = try Self.layer("permit (principal, action, resource);")
        #expect(layer.decide(Self.question(), facts: Self.facts).answer == .permit)
        let nobody = layer.decide(Self.question(user: "v"), facts: Self.facts)
        #expect((nobody.answer, nobody.ground) == (.deny, .subjectUnknown))
        let nothing = layer.decide(Self.question(tool: "x"), facts: Self.facts)
        #expect((nothing.answer, nothing.ground) == (.deny, .resourceUnknown))
    }

    @Test(arguments: [
        // Cedar itself would allow each of these.
        "@id(\"e\") forbid (principal, action, resource) when { context.input.missing };",
        "@id(\"e\") forbid (principal, action, resource) when { context.facts.rate.undeclared > 1 };",
        "@id(\"e\") permit (principal, action, resource) when { context.input.missing };",
        "@id(\"e\") forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };",
    ])
    func `a policy that fails to evaluate closes`(policy: String) throws {
        let layer = try Self.layer("@id(\"p\") permit (principal, action, resource);\n" + policy)
        let decision = layer.decide(Self.question(), facts: Self.facts)
        #expect((decision.answer, decision.ground) == (.deny, .policyError))
        #expect(decision.determining == ["e"])
        #expect(decision.cures.isEmpty)
    }

    @Test func `a cure under which something fails cures nothing`() throws {
        let layer = try Self.layer(
            """
            permit (principal, action, resource);
            @id("g") @approval("sre:1") forbid (principal, action, resource)
                unless { context.facts.approvals.sre >= 1 };
            @id("e") forbid (principal, action, resource)
                when { context.facts.approvals.sre >= 1 && context.input.missing };
            """
        )
        let decision = layer.decide(Self.question(), facts: Self.facts)
        #expect((decision.answer, decision.ground) == (.deny, .policyError))
        #expect(decision.determining == ["e", "g"])
    }

    @Test func `an annotation that promises too little asks for nothing`() throws {
        let layer = try Self.layer(
            """
            permit (principal, action, resource);
            @id("g") @approval("sre:1") forbid (principal, action, resource)
                unless { context.facts.approvals.sre >= 2 };
            """
        )
        #expect(layer.decide(Self.question(), facts: Self.facts).answer == .deny)
    }

    @Test func `people come before the subject, and the subject before time`() throws {
        func answer(_ annotations: String) throws -> GatewayModel.Decision {
            let layer = try Self.layer(
                """
                permit (principal, action, resource);
                \(annotations) forbid (principal, action, resource) unless {
                    context.facts.approvals.sre >= 1 ||
                    (context.facts.stepUp && context.facts.rate.r < 1) };
                """,
                facts: """
                    {"approvers": ["sre"],
                     "counters": [{"name": "r", "action": "any", "window": "1m"}]}
                    """
            )
            var facts = Self.facts
            facts.rates["r"] = RateReading(count: 5)
            return layer.decide(Self.question(), facts: facts)
        }
        #expect(try answer("@stepup @limit(\"r\")").answer == .stepUp)
        #expect(try answer("@stepup @limit(\"r\") @approval(\"sre:1\")").answer == .requireApproval)
        #expect(
            try answer("@stepup @limit(\"r\")").cures == [.limit(counter: "r"), .stepUp]
        )
        #expect(try answer("@limit(\"r\")").answer == .deny)
    }

    @Test func `the retry time is when the counter has fallen below the condition's bound`() throws
    {
        let layer = try Self.layer(
            """
            permit (principal, action, resource);
            @limit("r") forbid (principal, action, resource) when { context.facts.rate.r >= 3 };
            """,
            facts: #"{"counters": [{"name": "r", "action": "any", "window": "1m"}]}"#
        )
        var facts = Self.facts
        facts.rates["r"] = RateReading(
            count: 6,
            falls: [
                .init(afterMilliseconds: 100, count: 5), .init(afterMilliseconds: 2000, count: 3),
                .init(afterMilliseconds: 7000, count: 2), .init(afterMilliseconds: 9000, count: 0),
            ]
        )
        let decision = layer.decide(Self.question(), facts: facts)
        #expect(decision.answer == .rateLimited)
        #expect(decision.retryAfterMilliseconds == 7000)
        // Only calls in flight are in the way: nobody knows when they end.
        facts.rates["r"] = RateReading(count: 3)
        #expect(
            layer.decide(Self.question(), facts: facts).retryAfterMilliseconds == 1000
        )
    }

    @Test(arguments: [
        ("@notfy(\"x\") permit", "@notfy: no such annotation"),
        ("@record(\"all\") permit", "@record: the only level is full"),
        ("@notify permit", "@notify: names nobody"),
        ("@notify(\"x\") forbid", "@notify: only a permit obliges to something"),
        ("@approval(\"sre:1\") permit", "@approval: only a forbid can be cured"),
        ("@approval(\"sre\") forbid", "@approval: not group:count with a count of 1 to 100"),
        ("@approval(\"sre:0\") forbid", "@approval: not group:count with a count of 1 to 100"),
        ("@approval(\"sre:1,\") forbid", "@approval: not group:count with a count of 1 to 100"),
        ("@limit(\"x\") forbid", "@limit: no counter x is declared in facts.json"),
        ("@stepup(\"x\") forbid", "@stepup: takes no value"),
        ("@tier(\"soft\") forbid", "@tier: neither absolute nor guard"),
        ("@tier(\"absolute\") @stepup forbid", "@tier: an absolute forbid has no cure"),
        ("@id(\"\") forbid", "@id: not a name of 1 to 128 bytes"),
    ])
    func `an annotation that means nothing is refused, with its place`(
        policy: String,
        message: String
    ) throws {
        let failure = #expect(throws: PolicyRelease.Failure.self) {
            try PolicyRelease(
                number: 1,
                documents: [
                    .init(name: "a.cedar", source: "permit (principal, action, resource);"),
                    .init(
                        name: "b.cedar",
                        source: Text("// é\n\n  \(policy) (principal, action, resource);")
                    ),
                ]
            )
        }
        let finding = try #require(failure?.findings.first)
        #expect(failure?.findings.count == 1)
        #expect(finding.message == message)
        #expect((finding.document, finding.line, finding.column) == ("b.cedar", 3, 3))
    }
}
