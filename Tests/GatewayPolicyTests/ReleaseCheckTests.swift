import Cedar
import Foundation
import GatewayModel
import JSON
import Testing

@testable import GatewayPolicy

@Suite struct ReleaseCheckTests {
    /// The tools of the worked model.
    static func catalogue() throws -> [SchemaGenerator.Server] {
        func tool(
            _ name: ToolName,
            _ effect: ToolEffect,
            _ properties: String,
            _ required: String = ""
        ) throws -> SchemaGenerator.Tool {
            let schema =
                #"{"type":"object","properties":{\#(properties)},"required":[\#(required)]}"#
            return .init(name: name, effect: effect, inputSchema: try ToolSchemaTests.json(schema))
        }
        return [
            .init(
                name: "k8s",
                memberships: [
                    EntityUID(type: "MCP::ServerGroup", id: "kubernetes"),
                    EntityUID(type: "MCP::Environment", id: "prod"),
                ],
                tools: [
                    try tool(
                        "delete_pod",
                        .destructive,
                        #""namespace":{"type":"string"},"name":{"type":"string"}"#,
                        #""namespace","name""#
                    ),
                    try tool(
                        "apply",
                        .clusterAdmin,
                        #""manifest":{"type":"string"},"namespace":{"type":"string"}"#,
                        #""manifest""#
                    ),
                    try tool("get_pods", .read, #""namespace":{"type":"string"}"#),
                ]
            ),
            .init(
                name: "s3",
                tools: [
                    try tool(
                        "put_object",
                        .write,
                        #""bucket":{"type":"string"},"acl":{"type":"string"}"#,
                        #""bucket""#
                    )
                ]
            ),
            .init(name: "crm", tools: []),
        ]
    }

    static let facts = PolicyRelease.Document(name: "facts.json", source: WorkedModel.facts)

    static func check(
        _ policies: Text,
        more: [PolicyRelease.Document] = []
    ) throws -> ReleaseChecks {
        ReleaseChecks(
            [facts, .init(name: "a.cedar", source: policies)] + more,
            against: try catalogue()
        )
    }

    static func summary(_ finding: ReleaseChecks.Finding) -> String {
        let end = finding.end.map { "-\($0.line):\($0.column)" } ?? ""
        return "\(finding.document.string):\(finding.line):\(finding.column)\(end) "
            + "\(finding.severity.rawValue) \(finding.code.string) \(finding.policy.string)"
    }

    // MARK: What is in order

    @Test func `the starter policies pass every check against the tools they are about`() throws {
        let folder = StarterPolicyTests.folder
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        let documents = try names.filter { $0.hasSuffix(".cedar") || $0.hasSuffix(".json") }.map {
            PolicyRelease.Document(
                name: Text($0),
                source: Text(
                    try String(contentsOf: folder.appendingPathComponent($0), encoding: .utf8)
                )
            )
        }
        let checks = ReleaseChecks(documents, against: try Self.catalogue())
        #expect(checks.findings.map(Self.summary) == [])
        #expect(checks.cases.count >= 22)
        #expect(checks.cases.filter { !$0.passes }.isEmpty)
        #expect(checks.facts.counters.count == 1)
        // Before any server is registered they are no worse than waiting for it.
        let early = ReleaseChecks(documents, against: [])
        #expect(!early.hasErrors)
        #expect(Set(early.findings.map(\.code)) == ["unknown_tool"])
        #expect(early.schema != checks.schema)
        let reversed = ReleaseChecks(documents, against: try Self.catalogue().reversed())
        #expect(reversed.schema == checks.schema)
    }

    // MARK: What is not

    struct Row: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var policies: Text
        var findings: [String]
        var hint: String?
        var actions: [Text]?
    }

    static let permit = #"@id("p") permit (principal in MCP::Group::"sre", "#
    static let rows: [Row] = [
        Row(
            testDescription: "what does not parse, with the token",
            policies: "@id(\"p\") permit (principal, action, resource)\nwhen { context.input. };",
            findings: ["a.cedar:2:23-2:24 error unexpected_token "]
        ),
        Row(
            testDescription: "an annotation that means nothing",
            policies: "\n@id(\"p\") @notfy(\"x\") permit (principal, action, resource);",
            findings: ["a.cedar:2:1 error annotation_invalid p"]
        ),
        Row(
            testDescription: "an attribute that some tools do not have",
            policies: Text(
                permit + #"action in MCP::Action::"tools/call", resource)"# + "\n"
                    + #"when { context.input.namespace == "dev" };"#
            ),
            findings: [
                "a.cedar:2:8-2:31 error unsafe_optional_attribute p",
                "a.cedar:2:8-2:31 error attribute_not_found p",
            ],
            actions: ["k8s/apply", "k8s/get_pods"]
        ),
        Row(
            testDescription: "a type that an argument does not have",
            policies: Text(
                permit + #"action == MCP::Action::"k8s/delete_pod", resource)"# + "\n"
                    + "when { context.input.name > 1 };"
            ),
            findings: ["a.cedar:2:8-2:26 error unexpected_type p"],
            actions: ["k8s/delete_pod"]
        ),
        Row(
            testDescription: "a tool that a server which has listed its tools does not have",
            policies: Text(permit + #"action == MCP::Action::"k8s/delete_pods", resource);"#),
            findings: [
                "a.cedar:1:18-1:100 error no_applicable_action p",
                "a.cedar:1:50-1:90 error unknown_action p",
            ],
            hint: #"did you mean `MCP::Action::"k8s/delete_pod"`?"#
        ),
        Row(
            testDescription: "a tool of a server that is not registered yet",
            policies: Text(
                permit + #"action == MCP::Action::"wiki/read", resource) when { context.input.x };"#
            ),
            findings: ["a.cedar:1:50-1:84 warning unknown_tool p"]
        ),
        Row(
            testDescription: "a tool of a server that has not listed its tools yet",
            policies: Text(permit + #"action == MCP::Action::"crm/find", resource);"#),
            findings: ["a.cedar:1:50-1:83 warning unknown_tool p"]
        ),
        Row(
            testDescription: "a method that does not exist is no tool to come",
            policies: Text(permit + #"action == MCP::Action::"tools/lst", resource);"#),
            findings: [
                "a.cedar:1:18-1:94 error no_applicable_action p",
                "a.cedar:1:50-1:84 error unknown_action p",
            ],
            hint: #"did you mean `MCP::Action::"tools/list"`?"#
        ),
        Row(
            testDescription: "a tool named as a resource that the server does not have",
            policies: Text(
                permit + #"action, resource == MCP::Tool::"k8s/aply");"#
            ),
            findings: ["a.cedar:1:58-1:91 error unknown_tool p"],
            hint: #"did you mean `MCP::Tool::"k8s/apply"`?"#
        ),
        Row(
            testDescription: "a policy whose conditions are never true",
            policies: Text(
                "\n" + permit
                    + #"action == MCP::Action::"k8s/apply", resource) when { principal is MCP::Server };"#
            ),
            findings: ["a.cedar:2:1-2:130 warning impossible_policy p"]
        ),
        Row(
            testDescription: "a fact that is not declared",
            policies: Text(
                #"@id("p") @tier("guard") forbid (principal, action in MCP::Action::"write", resource)"#
                    + "\nwhen { context.facts.rate.calls > 3 };"
            ),
            findings: ["a.cedar:2:8-2:32 error attribute_not_found p"]
        ),
        Row(
            testDescription: "a chain of entities that is too long",
            policies: Text(
                permit + #"action == MCP::Action::"k8s/apply", resource) when { "#
                    + #"principal has manager && principal.manager.status == "active" };"#
            ),
            findings: [
                "a.cedar:1:128-1:152 error level_exceeded p"
            ]
        ),
        Row(
            testDescription: "what the lint finds, in one list",
            policies: #"permit (principal, action == MCP::Action::"k8s/get_pods", resource);"#,
            findings: [
                "a.cedar:1:1 error id_missing policy0",
                "a.cedar:1:1 warning unscoped_permit policy0",
            ]
        ),
    ]

    @Test(arguments: rows) func `a check finds`(row: Row) throws {
        let checks = try Self.check(row.policies)
        #expect(checks.findings.map(Self.summary) == row.findings)
        if let hint = row.hint { #expect(checks.findings.compactMap(\.hint) == [hint]) }
        if let actions = row.actions { #expect(checks.findings.first?.actions == actions) }
    }

    // MARK: The lint, on meaning

    static let guardScope = #"forbid (principal, action in MCP::Action::"destructive", resource) "#

    @Test(arguments: [
        (#"@approval("sre:2")"#, #"unless { context.facts.approvals.sre >= 2 }"#, []),
        (#"@approval("sre:2")"#, #"unless { {n: context.facts.approvals.sre}.n > 1 }"#, []),
        (
            #"@approval("sre:2")"#,
            #"when { context.input has namespace && context.input.namespace == "prod" && context.facts.approvals.sre < 2 }"#,
            []
        ),
        (
            #"@approval("sre:2")"#,
            #"unless { context.facts.approvals.sre > 1 || context.facts.approvals.security >= 1 }"#,
            []
        ),
        (
            #"@approval("sre:2")"#, #"unless { context.facts.approvals.sre >= 1 }"#,
            [
                "a.cedar:1:1 error cure_without_effect g: the forbid does not apply even without approval sre:2"
            ]
        ),
        (
            #"@approval("sre:2")"#,
            #"unless { context.facts.approvals.sre >= 2 && context.facts.stepUp }"#,
            [
                "a.cedar:1:1 error cure_without_effect g: the forbid still applies to some requests after approval sre:2"
            ]
        ),
        (
            #"@approval("sre:2,security:1")"#,
            #"unless { context.facts.approvals.sre >= 2 && context.facts.approvals.security >= 1 }"#,
            []
        ),
        (
            #"@approval("sre:2,security:1")"#,
            #"unless { context.facts.approvals.sre >= 2 || context.facts.approvals.security >= 1 }"#,
            []
        ),
        (
            #"@approval("sre:2,security:1")"#, #"unless { context.facts.approvals.sre >= 2 }"#,
            [
                "a.cedar:1:1 error cure_without_effect g: the forbid does not apply even without approval security:1"
            ]
        ),
        (
            #"@limit("destructive_user_1h")"#,
            #"when { context.facts.rate.destructive_user_1h >= 20 }"#, []
        ),
        (
            #"@limit("destructive_user_1h")"#,
            #"when { context.facts.rate.destructive_user_1h < 20 }"#,
            [
                "a.cedar:1:1 error cure_without_effect g: the forbid still applies to some requests after limit destructive_user_1h"
            ]
        ),
        (#"@stepup"#, #"when { context.facts.stepUp == false }"#, []),
        ("", #"when { 1 + 2 > 2 && context.system.localHour > 5 }"#, []),
        (
            "", #"when { context.system.now > datetime("2026-01-01").offset(duration("1h")) }"#, []
        ),
        (
            "",
            #"when { context.system.now.offset(context.facts.sessionAge) > context.system.now }"#,
            [
                "a.cedar:1:1 error forbid_can_overflow g: compare with a literal, or let a fact do the arithmetic"
            ]
        ),
        (
            "", #"when { context.system.localHour + 1 > 8 }"#,
            [
                "a.cedar:1:1 error forbid_can_overflow g: compare with a literal, or let a fact do the arithmetic"
            ]
        ),
        ("", #"when { resource.risk > 2 || !context.facts.client.attested }"#, []),
        (
            "",
            #"when { principal is MCP::User && principal has contractEnd && context.system.now >= principal.contractEnd }"#,
            []
        ),
        (
            "", #"when { context has input }"#,
            [
                "a.cedar:1:1 warning asks_for_input g: context.input is always there; ask for the argument itself"
            ]
        ),
    ])
    func `a guard is judged by what it comes to`(
        annotation: String,
        condition: String,
        findings: [String]
    ) throws {
        let text =
            #"@id("g") @tier("guard") "# + annotation + " " + Self.guardScope + condition + ";"
        let checks = try Self.check(Text(text))
        #expect(checks.findings.map { "\(Self.summary($0)): \($0.message)" } == findings)
    }

    @Test(arguments: [
        (
            #"@id("p") permit (principal in MCP::Group::"sre", action in MCP::Action::"tools/call", resource) when { {a: context.facts}.a.approvals.sre >= 2 };"#,
            ["a.cedar:1:1 error permit_reads_approvals p"]
        ),
        (
            #"@id("p") permit (principal in MCP::Group::"sre", action in MCP::Action::"tools/call", resource) when { context.facts.stepUp || (false && context.facts.approvals.sre >= 2) };"#,
            []
        ),
        (
            #"@id("p") @tier("absolute") forbid (principal, action in MCP::Action::"tools/call", resource) unless { principal in [MCP::Group::"sre", MCP::Group::"break-glass-active"] };"#,
            ["a.cedar:1:136 error absolute_mentions_break_glass p"]
        ),
        (
            #"@id("p") @tier("absolute") forbid (principal in MCP::Group::"break-glass-active", action in MCP::Action::"tools/call", resource) when { resource.risk > 2 && principal in MCP::Group::"break-glass-active" };"#,
            []
        ),
    ])
    func `what a policy depends on is judged, not what its text mentions`(
        policy: String,
        findings: [String]
    ) throws {
        let checks = try Self.check(Text(policy))
        #expect(checks.findings.map(Self.summary) == findings)
    }

    @Test func `findings stand in the documents they are about, in order`() throws {
        let checks = ReleaseChecks(
            [
                .init(
                    name: "b.cedar",
                    source: Text(Self.permit + "action, resource) when { 1 };\n")
                ),
                Self.facts,
                .init(
                    name: "a.cedar",
                    source: Text(
                        "\n// \u{e9}\n" + Self.permit.replacing("\"p\"", with: "\"q\"")
                            + "action, resource) when { 2 };"
                    )
                ),
            ],
            against: try Self.catalogue()
        )
        #expect(
            checks.findings.map(Self.summary) == [
                "b.cedar:1:75-1:76 error unexpected_type p",
                "a.cedar:3:75-3:76 error unexpected_type q",
            ]
        )
    }

    @Test func `facts that cannot be read are found where they stand`() throws {
        let checks = ReleaseChecks(
            [
                .init(
                    name: "facts.json",
                    source:
                        "{\"approvers\": [\"sre\"],\n \"counters\": [\n  {\"name\": \"r\", \"action\": \"any\", \"window\": \"1y\"}]}"
                )
            ],
            against: []
        )
        #expect(checks.findings.map(Self.summary) == ["facts.json:3:44-3:48 error facts_invalid "])
        #expect(checks.release == nil)
        let torn = ReleaseChecks(
            [.init(name: "facts.json", source: "{\n \"approvers\": [\n")],
            against: []
        )
        #expect(torn.findings.map(Self.summary) == ["facts.json:3:1 error facts_invalid "])
    }

    @Test func `a case that comes out otherwise is an error where it stands`() throws {
        let name = "dual-authorization"
        let folder = StarterPolicyTests.folder
        func text(_ file: String) throws -> String {
            try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
        }
        let policies = try text("\(name).cedar") + text("sre-kubernetes.cedar")
        let cases = try text("\(name).cases.json")
        func check(_ cases: String) throws -> ReleaseChecks {
            try Self.check(
                Text(policies),
                more: [.init(name: "a.cases.json", source: Text(cases))]
            )
        }
        let right = try check(cases)
        #expect(right.findings.map(Self.summary) == [])
        let wrong = try check(
            cases.replacingOccurrences(of: #""decision": "allow""#, with: #""decision": "deny""#)
        )
        #expect(wrong.findings.map(Self.summary) == ["a.cases.json:17:3 error case_failed "])
        #expect(wrong.hasErrors)
        #expect(wrong.cases.map(\.passes) == [true, true, false])
        #expect(wrong.findings.first?.message.contains("decision is allow, not deny") == true)
        let unreadable = try check(
            cases.replacingOccurrences(of: #""decision": "allow""#, with: #""decision": "yes""#)
        )
        #expect(
            unreadable.findings.map(Self.summary).first?.hasPrefix("a.cases.json:17:3-17:") == true
        )
        #expect(unreadable.findings.map(\.code) == ["cases_invalid"])
        let torn = try check("{\"cases\": [\n}")
        #expect(torn.findings.map(Self.summary) == ["a.cases.json:2:1 error cases_invalid "])
    }

    @Test func `a forbid that no case lets pass is told where there are cases`() throws {
        let folder = StarterPolicyTests.folder
        func text(_ file: String) throws -> String {
            try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
        }
        let policies = try text("dual-authorization.cedar") + text("sre-kubernetes.cedar")
        // The last case is the one with enough approvals.
        let lines = try text("dual-authorization.cases.json").split(separator: "\n").map(
            String.init
        )
        let fewer = (lines.dropLast(4) + [String(lines[lines.count - 4].dropLast()), " ]", "}"])
            .joined(separator: "\n")
        func findings(_ more: [PolicyRelease.Document]) throws -> [String] {
            try Self.check(Text(policies), more: more).findings.map(Self.summary)
        }
        #expect(try findings([]) == [])
        let document = PolicyRelease.Document(name: "a.cases.json", source: Text(fewer))
        let found = try findings([document])
        #expect(found.count == 1)
        #expect(found.first?.hasSuffix("warning untested_forbid AC-3.2.cluster-admin") == true)
    }

    @Test(.timeLimit(.minutes(1))) func `many findings and cases are placed in one pass`() throws {
        let policies = (0..<1500).map { number in
            "@id(\"\(number)\") @tier(\"absolute\") forbid (principal, action, resource) when { context.x };"
        }
        let one =
            #"{"principal":{"type":"MCP::User","id":"a"},"action":{"type":"MCP::Action","id":"x"},"resource":{"type":"MCP::Tool","id":"x"},"decision":"allow","context":{}}"#
        let cases =
            #"{"context":{"system":{"now":{"__extn":{"fn":"datetime","arg":"2026-11-25T10:00:00Z"}}},"facts":{"definitionPinned":true}},"cases":["#
            + Array(repeating: "\n" + one, count: 1200).joined(separator: ",") + "]}"
        // A walk from the beginning for each would take minutes.
        let checks = ReleaseChecks(
            [.init(name: "a.cedar", source: Text(policies.joined(separator: "\n")))],
            against: []
        )
        let lines = Set(checks.findings.filter { $0.code == "attribute_not_found" }.map(\.line))
        #expect(lines == Set(1...1500))
        let run = ReleaseChecks([.init(name: "a.cases.json", source: Text(cases))], against: [])
        #expect(run.cases.map(\.place.line) == Array(2...1201))
        #expect(run.cases.allSatisfy { $0.place.column == 1 })
        #expect(run.findings.map(\.line) == Array(2...1201))
    }

    @Test func `a place is the same whatever was asked before it`() {
        let documents = ["é\n", "", "\n" + String(repeating: "aé\n", count: 300), "x"].enumerated()
            .map {
                PolicyRelease.Document(name: Text("\($0)"), source: Text($1))
            }
        let places = DocumentPlaces(documents)
        var expected: [String] = []
        for document in documents {
            var (line, column) = (1, 1)
            for scalar in document.source.string.unicodeScalars {
                let width = String(scalar).utf8.count
                expected += Array(repeating: "\(document.name):\(line)", count: width)
                    .enumerated().map { "\($1):\(column + ($0 == 0 ? 0 : 1))" }
                (line, column) = scalar == "\n" ? (line + 1, 1) : (line, column + 1)
            }
            expected.append("\(document.name):\(line):\(column)")
        }
        for byte in Array(expected.indices) + expected.indices.reversed() {
            let (document, line, column) = places.place(of: byte)
            #expect("\(document.name):\(line):\(column)" == expected[byte])
        }
    }

    @Test func `what is remembered changes nothing that is found`() throws {
        var memo = ReleaseChecks.Memo()
        for row in Self.rows + Self.rows.reversed() {
            let documents = [Self.facts, .init(name: "a.cedar", source: row.policies)]
            let checks = ReleaseChecks(
                documents,
                against: try Self.catalogue(),
                reusing: &memo
            )
            #expect(checks.findings.map(Self.summary) == row.findings, "\(row.testDescription)")
        }
    }

    @Test func `a server that would hide a method makes no schema`() throws {
        let checks = ReleaseChecks(
            [.init(name: "a.cedar", source: Text(Self.permit + "action, resource);"))],
            against: [
                .init(name: "tools", tools: [.init(name: "call", effect: .read, input: .empty)])
            ]
        )
        #expect(checks.findings.map(Self.summary) == ["*:1:1 error schema_invalid "])
    }

    @Test func `servers that could hide a method are those whose names begin one`() throws {
        let schema = try Schema(parsing: ToolSchemaTests.schema([]).schema.string)
        let first = Set(
            schema.actions.keys.compactMap { action in
                let parts = action.id.string.split(separator: "/")
                return parts.count > 1 ? ServerName(Text(parts[0])) : nil
            }
        )
        #expect(first.count == 5)
        for name in first { #expect(MCPEntities.isReserved(name)) }
        for name in ["tool", "k8s", "toolss", "any"] as [ServerName] {
            #expect(!MCPEntities.isReserved(name))
        }
    }
}
