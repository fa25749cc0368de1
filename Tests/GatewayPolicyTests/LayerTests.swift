import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@Suite struct LayerTests {
    static let organisation = PolicyLayer(rank: .organisation, name: "org", owned: nil)
    static let team = PolicyLayer(
        rank: .team,
        name: "web",
        owned: [
            EntityUID(type: "MCP::Server", id: "web"),
            EntityUID(type: "MCP::ToolGroup", id: "blue"),
        ]
    )

    static func release(_ organisation: String, _ team: String) throws -> PolicyRelease {
        try PolicyRelease(
            number: 1,
            documents: [
                .init(name: "org.cedar", source: Text(organisation), layer: Self.organisation),
                .init(name: "web.cedar", source: Text(team), layer: Self.team),
            ]
        )
    }

    @Test(arguments: [
        ("permit (principal, action, resource in MCP::Server::\"web\");", nil),
        ("permit (principal, action, resource == MCP::Tool::\"web/get\");", nil),
        ("permit (principal, action, resource is MCP::Tool in MCP::ToolGroup::\"blue\");", nil),
        ("@tier(\"guard\") forbid (principal, action, resource in MCP::Server::\"web\");", nil),
        ("permit (principal, action, resource);", "must say in the scope"),
        ("permit (principal, action, resource is MCP::Tool);", "must say in the scope"),
        (
            "permit (principal, action, resource) when { resource in MCP::Server::\"web\" };",
            "must say in the scope"
        ),
        ("permit (principal, action, resource in MCP::Server::\"db\");", "does not own"),
        ("permit (principal, action, resource == MCP::Tool::\"web2/get\");", "does not own"),
        ("permit (principal, action, resource == MCP::Tool::\"we\");", "does not own"),
        ("permit (principal, action, resource in MCP::Environment::\"prod\");", "does not own"),
        ("forbid (principal, action, resource in MCP::Server::\"web\");", "no guard"),
        (
            "@tier(\"absolute\") forbid (principal, action, resource in MCP::Server::\"web\");",
            "no guard"
        ),
    ])
    func `a layer writes about what it owns`(policy: String, refusal: String?) throws {
        do {
            _ = try Self.release("permit (principal, action, resource);", policy)
            #expect(refusal == nil)
        } catch let failure as PolicyRelease.Failure {
            let wanted = try #require(refusal, "\(failure)")
            let finding = try #require(failure.findings.first)
            #expect(finding.document == "web.cedar" && finding.line == 1)
            #expect(finding.message.contains(wanted))
        }
    }

    @Test func `nothing a lower layer writes widens what an upper one forbids`() throws {
        var generator = SeededGenerator(seed: 11)
        var widened = 0
        for _ in 0..<60 {
            let upper = (0..<4).map { Self.policy($0, in: "org", &generator) }
            let lower = (0..<4).map { Self.policy($0, in: "web", &generator) }
            let (org, all) = (
                try Self.layer(Self.release(upper.joined(separator: "\n"), "")),
                try Self.layer(
                    Self.release(upper.joined(separator: "\n"), lower.joined(separator: "\n"))
                )
            )
            for user in ["a", "b"] as [Text] {
                for tool in ["web/get", "web/put", "db/get", "db/put"] as [Text] {
                    for approvals: Int64 in 0...2 {
                        var facts = OutcomeLayerTests.facts
                        facts.approvals = ["sre": approvals]
                        let question = OutcomeLayer.Question(
                            principal: EntityUID(type: "MCP::User", id: user),
                            action: MCPEntities.action(tool),
                            resource: EntityUID(type: "MCP::Tool", id: tool)
                        )
                        let (before, after) = (
                            org.decide(question, facts: facts), all.decide(question, facts: facts)
                        )
                        if tool.string.hasPrefix("db") {
                            // What the layer does not own it does not touch.
                            #expect(before == after)
                        } else if before.answer != .permit, !before.determining.isEmpty {
                            #expect(after.answer != .permit)
                        } else if before.answer != .permit, after.answer == .permit {
                            widened += 1
                        }
                    }
                }
            }
        }
        // Where nothing forbids, the layer's own permits do count.
        #expect(widened > 0)
    }

    private static func policy(
        _ number: Int,
        in layer: String,
        _ generator: inout SeededGenerator
    ) -> String {
        func one(of list: [String]) -> String { list.randomElement(using: &generator) ?? "" }
        let principal = one(of: [
            "principal", "principal == MCP::User::\"a\"", "principal in MCP::Group::\"g\"",
        ])
        let action = one(of: [
            "action", "action in MCP::Action::\"read\"", "action == MCP::Action::\"web/put\"",
        ])
        let resource =
            layer == "web"
            ? one(of: ["resource in MCP::Server::\"web\"", "resource == MCP::Tool::\"web/get\""])
            : one(of: [
                "resource", "resource in MCP::Server::\"web\"", "resource in MCP::Server::\"db\"",
            ])
        let head = one(of: [
            "permit", "@tier(\"guard\") forbid", "@tier(\"guard\") @approval(\"sre:2\") forbid",
        ])
        let body =
            head.contains("approval")
            ? " unless { context.facts.approvals.sre >= 2 }"
            : one(of: ["", " when { principal in MCP::Group::\"g\" }"])
        return "@id(\"\(layer).\(number)\") \(head) (\(principal), \(action), \(resource))\(body);"
    }

    private static func layer(_ release: PolicyRelease) throws -> OutcomeLayer {
        func user(_ id: Text, _ groups: [Text]) -> Entity {
            Entity(
                uid: EntityUID(type: "MCP::User", id: id),
                parents: groups.map { EntityUID(type: "MCP::Group", id: $0) }
            )
        }
        var entities = [
            user("a", []), user("b", ["g"]), Entity(uid: MCPEntities.unregisteredClient),
        ]
        for server in ["web", "db"] as [Text] {
            for (tool, effect) in [("get", "read"), ("put", "write")] as [(Text, Text)] {
                let name = Text("\(server)/\(tool)")
                entities.append(
                    Entity(uid: MCPEntities.action(name), parents: [MCPEntities.action(effect)])
                )
                entities.append(
                    Entity(
                        uid: EntityUID(type: "MCP::Tool", id: name),
                        parents: [EntityUID(type: "MCP::Server", id: server)]
                    )
                )
            }
        }
        return OutcomeLayer(release: release, entities: try EntitySnapshot(entities: entities))
    }
}

@Suite struct PolicyLintTests {
    @Test func `the worked model has nothing to be found`() throws {
        guard let policies = try SharedPolicyData.text("mcp-model/policies.cedar") else { return }
        let release = try PolicyRelease(
            number: 1,
            documents: [
                .init(name: "facts.json", source: WorkedModel.facts),
                .init(name: "policies.cedar", source: policies),
            ]
        )
        #expect(PolicyLint.findings(of: release) == [])
    }

    @Test(arguments: [
        ("permit (principal == MCP::User::\"a\", action, resource);", "id_missing"),
        ("@id(\"a\") forbid (principal, action, resource);", "tier_missing"),
        ("@id(\"a\") permit (principal, action, resource);", "unscoped_permit"),
        ("@id(\"a\") permit (principal, action, resource in MCP::Server::\"s\");", nil),
        (
            "@id(\"a\") @tier(\"guard\") @approval(\"sre:2\") forbid (principal, action, resource) unless { context.facts.approvals.sre >= 1 };",
            "cure_without_effect"
        ),
        (
            "@id(\"a\") @tier(\"guard\") @approval(\"sre:2\") forbid (principal, action, resource) unless { context.facts.approvals.ops >= 2 };",
            "cure_without_effect"
        ),
        (
            "@id(\"a\") @tier(\"guard\") @approval(\"sre:2\") forbid (principal, action, resource) when { context.facts.approvals.sre < 2 };",
            nil
        ),
        (
            "@id(\"a\") @tier(\"guard\") @stepup forbid (principal, action, resource) when { context.facts.definitionPinned };",
            "cure_without_effect"
        ),
        (
            "@id(\"a\") @tier(\"guard\") @limit(\"r\") forbid (principal, action, resource) when { context.facts.rate.r >= 0 };",
            "cure_without_effect"
        ),
        (
            "@id(\"a\") permit (principal == MCP::User::\"a\", action, resource) when { context.facts.approvals.sre >= 2 };",
            "permit_reads_approvals"
        ),
        (
            "@id(\"a\") @tier(\"absolute\") forbid (principal, action, resource) unless { principal in MCP::Group::\"break-glass-active\" };",
            "absolute_mentions_break_glass"
        ),
        (
            "@id(\"a\") @tier(\"guard\") forbid (principal, action, resource) when { context.system.localHour + 1 > 8 };",
            "forbid_can_overflow"
        ),
        (
            "@id(\"a\") @tier(\"guard\") forbid (principal, action, resource) when { principal.manager.status == \"leaver\" };",
            "forbid_dereferences"
        ),
        (
            "@id(\"a\") @tier(\"guard\") forbid (principal, action, resource) when { MCP::User::\"x\".status == \"leaver\" };",
            "forbid_dereferences"
        ),
        (
            "@id(\"a\") @tier(\"guard\") forbid (principal, action, resource) unless { context has input.x };",
            "asks_for_input"
        ),
        (
            "// a\r@id(\"a\") permit (principal == MCP::User::\"a\", action, resource);",
            "bare_carriage_return"
        ),
        (
            "@id(\"a\u{202E}\") permit (principal == MCP::User::\"a\", action, resource);",
            "bidirectional_control"
        ),
        (
            "@id(\"\u{430}dmin\") permit (principal == MCP::User::\"a\", action, resource);",
            "mixed_scripts"
        ),
        (
            "// \u{43F}\u{440}\u{430}\u{432}\u{438}\u{43B}\u{43E} of ours\r\n@id(\"a\") permit (principal == MCP::User::\"a\", action, resource);",
            nil
        ),
    ])
    func `the lint finds`(policy: String, code: String?) throws {
        let release = try PolicyRelease(
            number: 1,
            documents: [
                .init(
                    name: "facts.json",
                    source: #"{"counters":[{"name":"r","action":"any","window":"1m"}]}"#
                ),
                .init(name: "a.cedar", source: Text(policy)),
            ]
        )
        let findings = PolicyLint.findings(of: release)
        #expect(findings.map(\.code.string) == (code.map { [$0] } ?? []))
        #expect(findings.allSatisfy { $0.document == "a.cedar" && $0.line == 1 })
    }
}
