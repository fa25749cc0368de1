import Cedar
import GatewayPolicy
import JSON
import Testing

@Suite struct QuickRuleTests {
    static func rules(_ text: String) throws -> [QuickRule] {
        try QuickRule.read(JSONDocument(parsing: Array(text.utf8)).root)
    }

    @Test(arguments: [
        (
            #"{"id":"a","allow":{"groups":["sre"],"tools":["k8s/get_pods"],"environments":["prod"]}}"#,
            """
            @id("a")
            permit (principal in MCP::Group::"sre", action == MCP::Action::"k8s/get_pods", resource in MCP::Environment::"prod");

            """
        ),
        (
            #"{"id":"a","description":"why","deny":{"groups":["x","y"],"arguments":{"namespace":"prod","dry run":true,"n":3}}}"#,
            """
            @id("a") @tier("absolute")
            @description("why")
            forbid (principal, action in MCP::Action::"tools/call", resource)
            when { principal in [MCP::Group::"x", MCP::Group::"y"] &&
                   context.input has "dry run" && context.input["dry run"] == true &&
                   context.input has n && context.input.n == 3 &&
                   context.input has namespace && context.input.namespace == "prod" };

            """
        ),
        (
            #"{"id":"a","guard":{"effects":["cluster-admin"]},"unless":{"approvals":{"sre":2,"data-owners":1},"groups":["break-glass-active"],"hours":[8,18],"weekdaysOnly":true,"stepUp":true}}"#,
            """
            @id("a") @tier("guard") @approval("data-owners:1,sre:2") @stepup
            forbid (principal, action in MCP::Action::"cluster-admin", resource)
            unless { (context.system.weekday <= 5 && context.system.localHour >= 8 && context.system.localHour < 18) ||
                     (context.facts.approvals["data-owners"] >= 1 && context.facts.approvals.sre >= 2) ||
                     context.facts.stepUp ||
                     principal in MCP::Group::"break-glass-active" };

            """
        ),
        (
            #"{"id":"a","guard":{"effects":["write","destructive"]},"limit":{"counter":"r","max":20}}"#,
            """
            @id("a") @tier("guard") @limit("r")
            forbid (principal, action in [MCP::Action::"write", MCP::Action::"destructive"], resource)
            when { context.facts.rate.r >= 20 };

            """
        ),
    ])
    func `a rule becomes text that one can read`(rule: String, text: String) throws {
        let rules = try Self.rules(#"{"rules":[\#(rule)]}"#)
        #expect(QuickRule.cedarText(rules).string == text)
        // And that the gateway takes without any finding.
        let release = try PolicyRelease(
            number: 1,
            documents: [
                .init(
                    name: "facts.json",
                    source: #"{"counters":[{"name":"r","action":"any","window":"1m"}]}"#
                ),
                .init(name: "rules.cedar", source: QuickRule.cedarText(rules)),
            ]
        )
        #expect(PolicyLint.findings(of: release) == [])
    }

    @Test(arguments: [
        (#"{}"#, "/rules"), (#"{"rules":[{}]}"#, "/rules/0"),
        (#"{"rules":[{"id":"a","allow":{},"deny":{}}]}"#, "/rules/0"),
        (#"{"rules":[{"id":"a","allow":{}}]}"#, "/rules/0/allow"),
        (#"{"rules":[{"allow":{"groups":["a"]}}]}"#, "/rules/0/id"),
        (#"{"rules":[{"id":"a","allow":{"group":["a"]}}]}"#, "/rules/0/allow/group"),
        (#"{"rules":[{"id":"a","allow":{"groups":[]}}]}"#, "/rules/0/allow/groups"),
        (#"{"rules":[{"id":"a","deny":{"effects":["explode"]}}]}"#, "/rules/0/deny/effects"),
        (#"{"rules":[{"id":"a","deny":{"arguments":{"x":1.5}}}]}"#, "/rules/0/deny/arguments"),
        (#"{"rules":[{"id":"a","deny":{},"unless":{"approvals":{"sre":1}}}]}"#, "/rules/0/unless"),
        (
            #"{"rules":[{"id":"a","guard":{},"unless":{"approvals":{"sre":0}}}]}"#,
            "/rules/0/unless/approvals"
        ),
        (#"{"rules":[{"id":"a","guard":{},"unless":{"hours":[18,8]}}]}"#, "/rules/0/unless/hours"),
        (
            #"{"rules":[{"id":"a","guard":{},"unless":{"weekdaysOnly":true}}]}"#,
            "/rules/0/unless/weekdaysOnly"
        ),
        (
            #"{"rules":[{"id":"a","allow":{"groups":["a"]},"limit":{"counter":"r","max":1}}]}"#,
            "/rules/0/limit"
        ),
        (#"{"rules":[{"id":"a","guard":{},"limit":{"counter":"r","max":0}}]}"#, "/rules/0/limit"),
    ])
    func `a rule that says nothing clear is refused at its place`(text: String, place: String) {
        let error = #expect(throws: QuickRule.ReadingError.self) { try Self.rules(text) }
        #expect(error?.pointer == place)
    }

    @Test func `a name cannot end its quotes`() throws {
        let rules = try Self.rules(
            #"{"rules":[{"id":"a\") permit (principal, action, resource); //","allow":{"groups":["x\" || true || \""]}}]}"#
        )
        let set = try PolicySet.parse(QuickRule.cedarText(rules).string)
        #expect(set.policies.count == 1)
    }
}
