import Cedar
import GatewayModel
import JSON
import Testing

@testable import GatewayPolicy

@Suite struct CatalogueImpactTests {
    static let policies: Text = """
        @id("pods") permit (principal in MCP::Group::"sre", action == MCP::Action::"k8s/delete_pod", resource)
        when { context.input.namespace == "dev" };
        @id("lists") permit (principal in MCP::Group::"dev", action in MCP::Action::"read", resource);

        @id("buckets") @tier("guard") forbid (principal, action in MCP::Action::"write", resource)
        when { action == MCP::Action::"s3/put_object" && context.input.bucket like "public-*" };
        """

    static func impact(
        _ change: (inout [SchemaGenerator.Server]) throws -> Void
    ) throws -> CatalogueImpact {
        var memo = ReleaseChecks.Memo()
        let catalogue = try ReleaseCheckTests.catalogue()
        let checks = ReleaseChecks(
            [ReleaseCheckTests.facts, .init(name: "a.cedar", source: policies)],
            against: catalogue,
            reusing: &memo
        )
        #expect(checks.findings.map(ReleaseCheckTests.summary) == [])
        var next = catalogue
        try change(&next)
        return checks.impact(of: next, reusing: &memo)
    }

    static func verdicts(_ impact: CatalogueImpact) -> [String] {
        impact.affected.map { policy in
            "\(policy.policy.string) \(policy.document.string):\(policy.line):\(policy.column) "
                + "\(policy.verdict.rawValue): "
                + policy.findings.map(ReleaseCheckTests.summary).joined(separator: "; ")
        }
    }

    @Test func `what policies do not see changes none of them, and nothing is checked again`()
        throws
    {
        let impact = try Self.impact {
            $0[0].tools[2].input = try ToolSchemaTests.input(
                #""namespace":{"type":"string"},"limit":{"type":"integer"}"#
            )
        }
        #expect(impact.changes.map(\.key) == ["k8s"])
        #expect(impact.changes["k8s"]?.changes == ["get_pods": [.optionalArgumentAdded("limit")]])
        #expect(impact.policies.map(\.policy) == ["pods", "lists", "buckets"])
        #expect(Self.verdicts(impact) == [])
        #expect(impact.checkCount == 0)
    }

    @Test func `an argument of another type makes the policies that read it invalid, with places`()
        throws
    {
        let impact = try Self.impact {
            $0[0].tools[0].input = try ToolSchemaTests.input(
                #""namespace":{"type":"integer"},"name":{"type":"string"}"#,
                required: #""namespace","name""#
            )
        }
        #expect(impact.changes["k8s"]?.changes == ["delete_pod": [.typeChanged("namespace")]])
        #expect(
            Self.verdicts(impact) == [
                "pods a.cedar:1:1 invalid: a.cedar:2:8-2:40 error incompatible_types pods"
            ]
        )
    }

    @Test func `an argument that became optional must be asked for`() throws {
        let impact = try Self.impact {
            $0[1].tools[0].input = try ToolSchemaTests.input(#""bucket":{"type":"string"}"#)
        }
        #expect(
            impact.changes["s3"]?.changes == [
                "put_object": [
                    .requirementChanged("bucket", isRequired: false), .argumentRemoved("acl"),
                ]
            ]
        )
        #expect(
            Self.verdicts(impact) == [
                "buckets a.cedar:5:1 invalid: a.cedar:6:50-6:70 error unsafe_optional_attribute buckets"
            ]
        )
    }

    @Test func `a tool that is gone takes the policies that name it along`() throws {
        let impact = try Self.impact { $0[0].tools.removeFirst() }
        #expect(impact.changes["k8s"]?.changes == ["delete_pod": [.toolRemoved]])
        #expect(
            Self.verdicts(impact) == [
                "pods a.cedar:1:1 invalid: a.cedar:1:21-1:102 error no_applicable_action pods; "
                    + "a.cedar:1:53-1:92 error unknown_action pods"
            ]
        )
    }

    @Test func `a policy whose last tool was classed otherwise can no longer apply`() throws {
        let impact = try Self.impact {
            $0[1].tools[0].effect = .read
            $0[0].tools.removeAll { $0.name != "get_pods" && $0.name != "delete_pod" }
            $0[0].tools[0].effect = .read
        }
        #expect(impact.changes["s3"]?.changes == ["put_object": [.effectChanged(.read)]])
        #expect(
            Self.verdicts(impact) == [
                "buckets a.cedar:5:1 impossible: a.cedar:5:39-5:90 warning unknown_tool buckets"
            ]
        )
    }

    @Test func `a server that is not registered any more leaves policies waiting`() throws {
        let impact = try Self.impact { $0.removeFirst() }
        // Lists of other servers are read too.
        #expect(impact.affected.map(\.verdict) == [.impossible])
        #expect(impact.affected.map(\.policy) == ["pods"])
    }

    @Test func `a change of one tool among many leaves most verdicts standing`() throws {
        let policies = (0..<1000).map { number in
            number % 2 == 0
                ? "@id(\"p\(number)\") permit (principal in MCP::Group::\"g\(number)\", action in MCP::Action::\"read\", resource is MCP::Tool in MCP::Server::\"s\(number % 20)\") when { context.input has namespace && context.input.namespace == \"n\(number)\" };"
                : "@id(\"p\(number)\") permit (principal in MCP::Group::\"g\(number)\", action == MCP::Action::\"s\(number % 20)/t\(number % 25)\", resource) when { context.input.a\(number % 5) == \"x\" };"
        }
        func tool(_ number: Int, _ extra: String = "") throws -> SchemaGenerator.Tool {
            let properties =
                (0..<5).map { #""a\#($0)":{"type":"string"}"# }
                + (number % 3 == 0 ? [#""namespace":{"type":"string"}"#] : [])
            return .init(
                name: ToolName("t\(number)"),
                effect: ToolEffect.allCases[number % 4],
                input: try ToolSchemaTests.input(
                    properties.joined(separator: ",") + extra,
                    required: (0..<5).map { #""a\#($0)""# }.joined(separator: ",")
                )
            )
        }
        var catalogue = try (0..<20).map { server in
            SchemaGenerator.Server(
                name: ServerName("s\(server)"),
                tools: try (0..<25).map { try tool($0) }
            )
        }
        var memo = ReleaseChecks.Memo()
        let clock = ContinuousClock()
        var checks: ReleaseChecks?
        let full = clock.measure {
            checks = ReleaseChecks(
                [.init(name: "a.cedar", source: Text(policies.joined(separator: "\n")))],
                against: catalogue,
                reusing: &memo
            )
        }
        let before = try #require(checks)
        #expect(before.findings.first == nil)
        catalogue[7].tools[7] = .init(
            name: "t7",
            effect: .clusterAdmin,
            input: try ToolSchemaTests.input(#""a2":{"type":"integer"}"#, required: #""a2""#)
        )
        var impact: CatalogueImpact?
        let incremental = clock.measure {
            impact = before.impact(of: catalogue, reusing: &memo)
        }
        #expect(impact?.affected.allSatisfy { $0.verdict == .invalid } == true)
        #expect(impact?.affected.isEmpty == false)
        #expect(impact.map { $0.checkCount < 100 } == true)
        SharedPolicyData.note(
            "1,000 policies over 500 tools: checked in \(full), again after a change of one tool in \(incremental), \(impact?.checkCount ?? 0) verdicts"
        )
    }
}
