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
        // Of another type, these said nothing: the rule would have been wider than it reads.
        (#"{"rules":[{"id":"a","allow":{"groups":[""]}}]}"#, "/rules/0/allow/groups"),
        (
            #"{"rules":[{"id":"a","allow":{"groups":["a"],"arguments":["n"]}}]}"#,
            "/rules/0/allow/arguments"
        ),
        (
            #"{"rules":[{"id":"a","allow":{"groups":["a"],"arguments":null}}]}"#,
            "/rules/0/allow/arguments"
        ),
        (
            #"{"rules":[{"id":"a","deny":{},"unless":{"hours":[8,18],"weekdaysOnly":"true"}}]}"#,
            "/rules/0/unless/weekdaysOnly"
        ),
        (#"{"rules":[{"id":"a","guard":{},"unless":{"stepUp":1}}]}"#, "/rules/0/unless/stepUp"),
        (
            #"{"rules":[{"id":"a","guard":{},"unless":{"approvals":"sre"}}]}"#,
            "/rules/0/unless/approvals"
        ),
        (
            #"{"rules":[{"id":"a","guard":{},"unless":{"approvals":{}}}]}"#,
            "/rules/0/unless/approvals"
        ),
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

    // MARK: Documents

    static let document = """
        # A few rules.
        rules:
        - id: 'AC-3.sre'     # in quotes or not
          description: "says \\u00fcber: all"
          allow: {groups: [sre, "night watch"], tools: [k8s/get_pods,
                  k8s/apply]}
        - id: AC-3.2
          guard:
            effects:
              - cluster-admin
          unless:
            approvals: {sre: 2}
            stepUp: true

        - {"id": "SC-5", "guard": {"effects": ["destructive"], "arguments": {"n": -3, dry run: false}},
           "limit": {counter: r, max: 20}}
        """

    static let documentText = """
        @id("AC-3.sre")
        @description("says \u{fc}ber: all")
        permit (principal, action in [MCP::Action::"k8s/get_pods", MCP::Action::"k8s/apply"], resource)
        when { principal in [MCP::Group::"sre", MCP::Group::"night watch"] };

        @id("AC-3.2") @tier("guard") @approval("sre:2") @stepup
        forbid (principal, action in MCP::Action::"cluster-admin", resource)
        unless { context.facts.approvals.sre >= 2 ||
                 context.facts.stepUp };

        @id("SC-5") @tier("guard") @limit("r")
        forbid (principal, action in MCP::Action::"destructive", resource)
        when { context.input has "dry run" && context.input["dry run"] == false &&
               context.input has n && context.input.n == -3 &&
               context.facts.rate.r >= 20 };

        """

    @Test func `a document of rules becomes text that one can read`() throws {
        let rules = try QuickRule.read(document: Text(Self.document))
        #expect(QuickRule.cedarText(rules).string == Self.documentText)
        // With the line ends of another system too.
        let other = Self.document.replacing("\n", with: "\r\n")
        #expect(try QuickRule.read(document: Text(other)) == rules)
    }

    @Test(arguments: [
        ("rules:\n  - id: a\n    alow: {groups: [x]}\n", "3:5: alow: no such member"),
        (
            "rules:\n  - id: a\n    allow: {groups: []}\n",
            "3:13: groups: not a list of 1 to 100 strings of 1 to 256 bytes"
        ),
        (
            "rules:\n  - id: a\n    allow: {}\n",
            "3:5: allow: permits everybody everything: say whom or what"
        ),
        (
            "rules:\n  - id: a\n    deny: {}\n  - {}\n",
            "4:5: rules: not exactly one of allow, deny, guard"
        ),
        ("rules:\n  - id: a\n    id: b\n", "3:5: id is said twice"),
        ("rules: [{id: a, id: b}]", "1:17: id is said twice"),
        ("rules: &a\n  - id: a\n", "1:8: anchors are not read"),
        ("rules:\n  - *a\n", "2:5: aliases are not read"),
        ("rules: !!seq []", "1:8: tags are not read"),
        ("rules: [!x a]", "1:9: tags are not read"),
        ("<<: *a\n", "1:1: << means different things to different readers; put it in quotes"),
        (
            "rules:\n  - id: |\n      a\n",
            "2:9: text over several lines is not read; put it in quotes"
        ),
        ("rules:\n\t- id: a\n", "2:1: a tab; use spaces, or \\t in double quotes"),
        ("rules:\t[]\n", "1:7: a tab; use spaces, or \\t in double quotes"),
        ("rules:\n  - id: a\n   b: c\n", "3:4: indented unlike what stands above"),
        ("rules:\n  - id: a\n      b: c\n", "3:7: indented unlike what stands above"),
        ("  rules:\n  - id: a\nb: c\n", "3:1: does not belong to what stands above"),
        ("rules:\n  - id: a: b\n", "2:10: a colon within a value; put the value in quotes"),
        (
            "rules:\n  - id: yes\n",
            "2:9: yes means different things to different readers; put it in quotes"
        ),
        (
            "rules:\n  - id: 1.5\n",
            "2:9: 1.5 could be taken for a number or a date; put it in quotes"
        ),
        (
            "rules:\n  - id: 0123\n",
            "2:9: 0123 could be taken for a number or a date; put it in quotes"
        ),
        (
            "rules:\n  - id: 2026-01-01\n",
            "2:9: 2026-01-01 could be taken for a number or a date; put it in quotes"
        ),
        ("rules:\n  - id: \"a\n", "2:9: the quote does not end on this line"),
        ("rules:\n  - id: \"\\q\"\n", "2:10: no such escape"),
        ("rules: [a, [b}]", "1:14: neither a comma nor ]"),
        ("rules: [a,\n  b\n", "1:8: the bracket is not closed"),
        ("rules: {a: 1} b\n", "1:15: more than one value"),
        ("rules:\n", "1:1: rules has no value"),
        ("rules:\n  -\n", "2:3: an item that says nothing"),
        ("rules\n", "1:1: not an object"),
        ("---\nrules: []\n---\nrules: []\n", "3:1: one document only"),
        ("---\n---\nrules: []\n", "2:1: one document only"),
        (
            "rules:\n  - id: a\n    deny:\n      arguments:\n        yes: 1\n",
            "5:9: yes means different things to different readers; put it in quotes"
        ),
        ("1: a\n", "1:1: a key that is no text; put it in quotes"),
        ("rules: {null: a}\n", "1:9: a key that is no text; put it in quotes"),
        (
            "<<: {}\n",
            "1:1: << means different things to different readers; put it in quotes"
        ),
        (
            "rules: [=]\n",
            "1:9: = means different things to different readers; put it in quotes"
        ),
        ("rules: [?a]\n", "1:9: put it in quotes"),
        ("rules: [a?b]\n", "1:9: put it in quotes"),
        ("rules: [:a]\n", "1:9: put it in quotes"),
        (
            "rules:\n  - id: 2001-12-14t21:59:43\n",
            "2:9: 2001-12-14t21:59:43 could be taken for a number or a date; put it in quotes"
        ),
        ("%YAML 1.2\n", "1:1: put it in quotes"),
        ("# nothing\n\n", "1:1: nothing is said"),
        ("", "1:1: nothing is said"),
        (
            "rules: \"a\u{202E}b\"",
            "1:10: a control character; write it as an escape in double quotes"
        ),
        ("rules: a\rb", "1:9: a control character; write it as an escape in double quotes"),
        (String(repeating: "[", count: 100), "1:16: nested deeper than 16"),
        (String(repeating: "- ", count: 100) + "a", "1:33: nested deeper than 16"),
    ])
    func `what could mean two things, or nothing, is refused at its place`(
        document: String,
        message: String
    ) throws {
        let error = #expect(throws: QuickRule.DocumentError.self) {
            try QuickRule.read(document: Text(document))
        }
        #expect(error?.description == message)
    }

    @Test func `a document that is too long is not read`() {
        let long = "# " + String(repeating: "x", count: 256 << 10)
        let error = #expect(throws: QuickRule.DocumentError.self) {
            try QuickRule.read(document: Text(long))
        }
        #expect(error?.reason == "longer than 262144 bytes")
    }

    @Test(
        .timeLimit(.minutes(1)),
        arguments: [
            ("members", "rules:\n" + (0..<30_000).map { "k\($0): 1\n" }.joined()),
            ("items of a line", "rules: [" + String(repeating: "1,", count: 120_000) + "]"),
            (
                "members of a line",
                "rules: {" + (0..<25_000).map { "k\($0): 1," }.joined() + "}"
            ),
        ]
    )
    func `a document of many parts is read in one pass`(name: String, document: String) {
        // Quadratic work would take many minutes.
        #expect(throws: QuickRule.DocumentError.self) {
            try QuickRule.read(document: Text(document))
        }
    }

    @Test func `random damage is refused or read, and never stops the reader`() {
        var random = Seeded(state: 11)
        let pieces = Array("[]{}:,-#\"'\n \t&*!|>%@?ab1\\\r".unicodeScalars)
        for _ in 0..<3000 {
            var scalars = Array(Self.document.unicodeScalars)
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0..<scalars.count, using: &random)
                if Bool.random(using: &random) {
                    scalars.remove(at: at)
                } else {
                    scalars.insert(pieces.randomElement(using: &random) ?? "a", at: at)
                }
            }
            var text = ""
            text.unicodeScalars.append(contentsOf: scalars)
            _ = try? QuickRule.read(document: Text(text))
        }
    }

    /// The same numbers in every run.
    private struct Seeded: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
    }

    @Test func `rules of a release are held against the policies beside them`() throws {
        let source = PolicyRelease.Document(
            name: "a.rules.yaml",
            source: "rules:\n- id: a\n  allow: {groups: [x], effects: [read]}\n"
        )
        let policies = try QuickRule.policies(of: source)
        #expect(policies.name == "a.rules.cedar")
        func codes(_ documents: [PolicyRelease.Document]) -> [Text] {
            ReleaseChecks(documents, against: []).findings.map(\.code)
        }
        #expect(codes([source, policies]) == [])
        #expect(codes([source]) == ["rules_stale"])
        var other = policies
        other.source = Text(policies.source.string.replacing("\"x\"", with: "\"y\""))
        #expect(codes([source, other]) == ["rules_stale"])
        var broken = source
        broken.source = "rules: yes"
        #expect(codes([broken, policies]) == ["rules_invalid"])
    }
}
