import Cedar
import GatewayModel
import JSON
import Testing

@testable import GatewayPolicy

/// Which tools are shown: those whose calls are not certainly refused, whatever their arguments.
@Suite struct ToolVisibilityTests {
    static let scope = #"(principal, action in MCP::Action::"tools/call", resource)"#

    static func point(_ policies: [String]) throws -> PolicyDecisionPoint {
        try PolicyDecisionPoint(
            release: PolicyRelease(
                number: 1,
                documents: [
                    ReleaseCheckTests.facts,
                    .init(name: "a.cedar", source: Text(policies.joined(separator: "\n"))),
                ]
            ),
            subjects: [ModelConformanceTests.subject("sub_1", groups: ["sre"])],
            servers: [PolicyServer(name: "k8s", memberships: [], tools: ["apply": .write])]
        )
    }

    static let subject = ModelConformanceTests.subject("sub_1", groups: ["sre"])

    static func tool() throws -> SchemaGenerator.Tool {
        .init(
            name: "apply",
            effect: .write,
            input: try ToolSchemaTests.input(
                #""namespace":{"type":"string"},"limit":{"type":"integer"}"#,
                required: #""namespace""#
            )
        )
    }

    static func facts(
        _ point: PolicyDecisionPoint,
        rate: Int64 = 0,
        stepUp: Bool = false
    ) -> PolicyFacts {
        var facts = PolicyFacts(
            time: Timestamp(microseconds: 1_000_000),
            source: IPAddress(Array("10.1.2.3".utf8)),
            definitionPinned: true
        )
        facts.hasSteppedUp = stepUp
        for counter in point.declaredFacts.counters {
            facts.rates[counter.name] = RateReading(count: rate)
        }
        for monitor in point.declaredFacts.monitors { facts.history[monitor.name] = false }
        return facts
    }

    static func visibility(
        _ policies: [String],
        knowing: Bool = true
    ) throws -> OutcomeLayer.Visibility {
        let point = try point(policies)
        let arguments = OpenArguments(point, server: "k8s", tools: [try tool()])
        return point.visibility(
            subject,
            of: "apply",
            at: "k8s",
            facts: facts(point),
            arguments: knowing ? arguments : nil
        )
    }

    static let permit = "permit \(scope);"

    @Test(arguments: [
        ([permit], OutcomeLayer.Visibility.visible, OutcomeLayer.Visibility.visible),
        ([], .hidden, .hidden),
        (["permit \(scope) when { context.input.namespace == \"dev\" };"], .visible, .visible),
        // What cannot come true with any arguments.
        (
            [
                "permit \(scope) when { context.input.namespace == \"dev\" && context.facts.stepUp };"
            ], .hidden, .visible
        ),
        (
            ["permit \(scope) when { context.input.namespace == \"dev\" && 1 > 2 };"], .hidden,
            .visible
        ),
        // Every call has arguments.
        (["permit \(scope) when { context has input };"], .visible, .hidden),
        (
            ["permit \(scope) when { context has input && context.input has limit };"], .visible,
            .hidden
        ),
        ([permit, "forbid \(scope) unless { context has input };"], .visible, .hidden),
        ([permit, "forbid \(scope) when { context has input };"], .hidden, .visible),
        // A forbid that applies to some calls hides nothing, one that applies to all does.
        (
            [permit, "forbid \(scope) when { context.input.namespace == \"prod\" };"], .visible,
            .visible
        ),
        ([permit, "forbid \(scope) when { context.input has namespace };"], .hidden, .visible),
        // What fails whatever the arguments are closes the gateway.
        (
            [permit, "forbid \(scope) when { context.facts.rate.undeclared > 3 };"], .hidden,
            .visible
        ),
        ([permit, "permit \(scope) when { context.input.nothing == 3 };"], .visible, .visible),
        (
            [
                permit,
                #"@approval("sre:1") forbid \#(scope) unless { context.facts.approvals.sre >= 1 };"#,
            ],
            .curable([.approval(group: "sre", count: 1)]),
            .curable([.approval(group: "sre", count: 1)])
        ),
        (
            [
                "permit \(scope) when { context.input.namespace == \"dev\" && context.facts.stepUp };",
                "@stepup forbid \(scope) unless { context.facts.stepUp };",
            ],
            .curable([.stepUp]), .curable([.stepUp])
        ),
        (
            [
                "permit \(scope) when { context.input.namespace == \"dev\" && !context.facts.stepUp };",
                "@stepup forbid \(scope) unless { context.facts.stepUp };",
            ],
            .hidden, .curable([.stepUp])
        ),
    ])
    func `a tool is shown unless every call of it is refused`(
        policies: [String],
        expected: OutcomeLayer.Visibility,
        withoutArguments: OutcomeLayer.Visibility
    ) throws {
        #expect(try Self.visibility(policies) == expected)
        // What is known of the arguments makes the difference.
        #expect(try Self.visibility(policies, knowing: false) == withoutArguments)
    }

    static let snippets = [
        permit,
        "permit \(scope) when { context.input.namespace == \"dev\" };",
        "permit \(scope) when { context.input has limit && context.input.limit < 10 };",
        "permit \(scope) when { context.input has limit && context.input.limit < 10 && context.facts.stepUp };",
        "permit \(scope) when { context has input };",
        "permit \(scope) unless { context has input };",
        "permit \(scope) when { context.input.namespace like \"p*\" || context.facts.stepUp };",
        "forbid \(scope) when { context.input.namespace == \"prod\" };",
        "forbid \(scope) when { context.input.namespace != \"prod\" };",
        "forbid \(scope) unless { context has input.namespace };",
        "forbid \(scope) when { context == {} };",
        "forbid \(scope) when { context.input has limit && context.input.limit * 2 > 4 };",
        "forbid \(scope) when { context.input has limit && context.input.limit + 9223372036854775807 > 4 };",
        "forbid \(scope) when { context.input.namespace == \"prod\" && context.facts.rate.undeclared > 1 };",
        #"@approval("sre:1") forbid \#(scope) unless { context.facts.approvals.sre >= 1 };"#,
        #"@approval("sre:1") forbid \#(scope) when { context.input.namespace == "dev" } unless { context.facts.approvals.sre >= 1 };"#,
        "@stepup forbid \(scope) unless { context.facts.stepUp };",
        #"@limit("destructive_user_1h") forbid \#(scope) when { context.facts.rate.destructive_user_1h >= 20 };"#,
        "forbid \(scope) when { principal.status == \"leaver\" };",
        "permit \(scope) when { resource in MCP::Server::\"k8s\" && context.input.namespace != principal.status };",
    ]

    @Test
    func `whatever the policies, no tool is hidden that some call of can be allowed or waits`()
        throws
    {
        var random = SplitMix(seed: 7)
        let inputs = try [#""dev""#, #""prod""#, #""x""#].flatMap { namespace in
            try ["", #","limit":1"#, #","limit":50"#].map {
                try ToolSchemaTests.json(#"{"namespace":\#(namespace)\#($0)}"#)
            }
        }
        let tool = try Self.tool()
        var (hidden, shown, needless) = (0, 0, 0)
        for round in 0..<300 {
            let policies = (0...random.next(5)).map { _ in
                Self.snippets[random.next(Self.snippets.count)]
            }
            let point = try Self.point(policies)
            let arguments = try #require(OpenArguments(point, server: "k8s", tools: [tool]))
            let facts = Self.facts(
                point,
                rate: random.next(3) == 0 ? 30 : 0,
                stepUp: random.next(2) == 0
            )
            let visibility = point.visibility(
                Self.subject,
                of: "apply",
                at: "k8s",
                facts: facts,
                arguments: arguments
            )
            let answers = inputs.map {
                point.decide(
                    Self.subject,
                    "k8s",
                    "apply",
                    arguments: $0,
                    schema: tool.input,
                    facts: facts
                ).answer
            }
            let isPossible = answers.contains { $0 != .deny }
            if isPossible { #expect(visibility != .hidden, "round \(round): \(policies)") }
            if answers.contains(.permit) {
                #expect(visibility == .visible, "round \(round): \(policies)")
            }
            if visibility == .hidden { hidden += 1 } else { shown += 1 }
            if visibility != .hidden, !isPossible { needless += 1 }
        }
        #expect(hidden > 20 && shown > 20)
        // Only where several policies exclude each other.
        #expect(needless * 4 < shown)
        SharedPolicyData.note(
            "300 releases: \(hidden) hide the tool, \(shown) show it, \(needless) of them although no call is allowed"
        )
    }

    private struct SplitMix {
        var state: UInt64

        init(seed: UInt64) { state = seed }

        mutating func next(_ bound: Int) -> Int {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return Int((z ^ (z >> 31)) % UInt64(bound))
        }
    }
}
