import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

/// How documents name their layers, and what checks and comparisons say of it.
@Suite struct LayerFormTests {
    static let team = PolicyLayer(
        rank: .team,
        name: "web",
        owned: [
            EntityUID(type: "MCP::Server", id: "web"), EntityUID(type: "MCP::Tool", id: "db/a"),
        ]
    )

    static func read(_ json: String) throws -> PolicyLayer {
        try PolicyLayer(JSONDocument(parsing: Array(json.utf8)).root)
    }

    @Test(arguments: [
        (
            #"{"name":"web","owned":["MCP::Server::\"web\"","MCP::Tool::\"db/a\""],"rank":"team"}"#,
            team
        ),
        (#"{"name":"w","owned":[],"rank":"team"}"#, .init(rank: .team, name: "w", owned: [])),
        (
            #"{"name":"acme","rank":"organisation"}"#,
            .init(rank: .organisation, name: "acme", owned: nil)
        ),
        (#"{"name":"sre","rank":"namespace"}"#, .init(rank: .namespace, name: "sre", owned: nil)),
    ])
    func `a layer is read and written in one form`(json: String, layer: PolicyLayer) throws {
        #expect(try Self.read(json) == layer)
        #expect(JSONFragment(layer).bytes == Array(json.utf8))
        let parts = try PolicyLayer(
            rank: Text(layer.rank.rawValue),
            name: layer.name,
            owned: layer.ownedTexts
        )
        #expect(parts == layer)
    }

    @Test(arguments: [
        ("[]", "", PolicyLayer.ReadingError.Kind.form),
        (#"{"name": "a", "owned": []}"#, "/rank", .missing),
        (#"{"rank": 1, "name": "a"}"#, "/rank", .form),
        (#"{"rank": "org", "name": "a"}"#, "/rank", .form),
        (#"{"rank": "Team", "name": "a", "owned": []}"#, "/rank", .form),
        (#"{"rank": "team", "owned": []}"#, "/name", .missing),
        (#"{"rank": "team", "name": "", "owned": []}"#, "/name", .form),
        (#"{"rank": "team", "name": "a\nb", "owned": []}"#, "/name", .form),
        ("{\"rank\": \"team\", \"name\": \"a\u{202E}b\", \"owned\": []}", "/name", .form),
        // A team without bounds would be the namespace.
        (#"{"rank": "team", "name": "a"}"#, "/owned", .missing),
        (#"{"rank": "team", "name": "a", "owned": null}"#, "/owned", .form),
        (#"{"rank": "team", "name": "a", "owned": "MCP::Server::\"a\""}"#, "/owned", .form),
        (#"{"rank": "team", "name": "a", "owned": [1]}"#, "/owned", .form),
        (#"{"rank": "team", "name": "a", "owned": ["a"]}"#, "/owned/0", .form),
        (
            #"{"rank": "team", "name": "a", "owned": ["A::\"b\"", "A::\"b\\\"c\""]}"#, "/owned/1",
            .form
        ),
        (
            #"{"rank": "team", "name": "a", "owned": ["A::\"b\"", "A::\"b\""]}"#, "/owned/1",
            .duplicate
        ),
        (#"{"rank": "team", "name": "a", "owned": [], "owner": []}"#, "/owner", .form),
    ])
    func `what is no layer is refused with its place`(
        json: String,
        pointer: String,
        kind: PolicyLayer.ReadingError.Kind
    ) throws {
        let error = #expect(throws: PolicyLayer.ReadingError.self) { try Self.read(json) }
        #expect(error?.pointer == pointer && error?.kind == kind, "\(String(describing: error))")
    }

    @Test func `names and possessions have bounds`() throws {
        func layer(_ name: Int, _ owned: Int, _ id: Int = 1) throws -> PolicyLayer {
            try PolicyLayer(
                rank: "team",
                name: Text(String(repeating: "n", count: name)),
                owned: (0..<owned).map {
                    Text("A::\"\(String(repeating: "i", count: id - 1 + $0))\"")
                }.filter { $0 != "A::\"\"" }
            )
        }
        #expect(try layer(128, 100).owned?.count == 99)
        #expect(throws: PolicyLayer.ReadingError.self) { try layer(129, 1) }
        #expect(try layer(1, 1, 252).owned?.count == 1)
        #expect(throws: PolicyLayer.ReadingError.self) { try layer(1, 1, 253) }
        let many = (0..<257).map { Text("A::\"\($0)\"") }
        #expect(
            try PolicyLayer(rank: "team", name: "a", owned: many.dropLast()).owned?.count == 256
        )
        #expect(throws: PolicyLayer.ReadingError.self) {
            try PolicyLayer(rank: "team", name: "a", owned: many)
        }
    }

    @Test func `a policy outside its layer is found with its id and place`() throws {
        let policies: Text = """
            @id("ours") permit (principal, action, resource in MCP::Server::"web");
              @id("theirs") permit (principal, action, resource in MCP::Server::"db");
            permit (principal, action, resource);
            """
        let checks = ReleaseChecks(
            [
                .init(name: "org.cedar", source: "permit (principal, action, resource);"),
                .init(name: "web.cedar", source: policies, layer: Self.team),
            ],
            against: []
        )
        #expect(checks.release == nil)
        let found = checks.findings.map { finding in
            "\(finding.code) \(finding.policy) \(finding.document):\(finding.line):\(finding.column) \(finding.message)"
        }
        #expect(
            found == [
                "layer_exceeded theirs web.cedar:2:3 the layer web does not own MCP::Server::\"db\"",
                "layer_exceeded policy3 web.cedar:3:1 the layer web must say in the scope which of its resources this is about",
            ]
        )
    }

    @Test func `facts are everybody's, so a layer that owns something declares none`() throws {
        func findings(_ layer: PolicyLayer) -> [String] {
            ReleaseChecks([.init(name: "facts.json", source: "{}", layer: layer)], against: [])
                .findings.map { "\($0.code) \($0.document):\($0.line)" }
        }
        #expect(findings(Self.team) == ["layer_exceeded facts.json:1"])
        #expect(findings(.init(rank: .organisation, name: "acme", owned: nil)) == [])
    }

    @Test func `policies made of rules are of the layer of their rules`() throws {
        let rules = PolicyRelease.Document(
            name: "a.rules.yaml",
            source: "rules:\n- id: a\n  allow: {groups: [x], servers: [web], effects: [read]}\n",
            layer: Self.team
        )
        var policies = try QuickRule.policies(of: rules)
        #expect(policies.layer == Self.team)
        func codes(_ documents: [PolicyRelease.Document]) -> [Text] {
            ReleaseChecks(documents, against: []).findings.filter { $0.severity == .error }
                .map(\.code)
        }
        policies.layer = .namespace
        #expect(codes([rules, policies]) == ["rules_stale"])
    }

    @Test func `a rule in another layer is another rule`() throws {
        let text: Text = "@id(\"a\") permit (principal, action, resource in MCP::Server::\"web\");"
        func release(_ layer: PolicyLayer, _ text: Text) throws -> PolicyRelease {
            try PolicyRelease(
                number: 1,
                documents: [.init(name: "a.cedar", source: text, layer: layer)]
            )
        }
        let (ours, theirs) = (try release(.namespace, text), try release(Self.team, text))
        #expect(ReleaseDiff(from: theirs, to: theirs).isEmpty)
        let diff = ReleaseDiff(from: theirs, to: ours)
        let change = try #require(diff.changes.first)
        #expect(change.kind == .changed && change.policy == "a" && diff.unchanged == 0)
        #expect(change.oldLayer == Self.team && change.newLayer == .namespace)
        let json = try JSONDocument(parsing: JSONFragment(diff).bytes).root
        let shown = json["changes"]?.elements.first { _ in true }
        #expect(shown?["oldLayer"]?["name"]?.string == "web")
        #expect(shown?["newLayer"]?["rank"]?.string == "namespace")
        // New, its layer is told where it is not the namespace's own.
        let added = ReleaseDiff(from: try release(.namespace, ""), to: theirs).changes
        #expect(added.map(\.kind) == [.added] && added.map(\.newLayer) == [Self.team])
        let plain = ReleaseDiff(from: try release(.namespace, ""), to: ours).changes
        #expect(plain.map(\.newLayer) == [nil])
    }
}

@Suite struct LayerAssignmentTests {
    @Test func `files are assigned to layers`() throws {
        let assignments = try LayerAssignments(
            parsing: """
                {"layers": [
                  {"rank": "organisation", "name": "acme", "documents": ["base.cedar", "facts.json"]},
                  {"rank": "team", "name": "web", "owned": ["MCP::Server::\\"web\\""], "documents": ["web.cedar"]}]}
                """
        ).assignments
        #expect(assignments.map(\.document) == ["base.cedar", "facts.json", "web.cedar"])
        #expect(assignments.map(\.layer.name) == ["acme", "acme", "web"])
        #expect(assignments[2].layer.owned == [EntityUID(type: "MCP::Server", id: "web")])
        #expect(assignments.map(\.place.line) == [2, 2, 3])
    }

    @Test(arguments: [
        ("{", "1:2: not JSON"), ("[]", "1:1: must be an object"),
        ("{}", "1:1: layers must be a list"), (#"{"layers": {}}"#, "1:12: layers must be a list"),
        (#"{"layers": [], "x": 1}"#, "1:21: no such member"),
        (#"{"layers": [1]}"#, "1:13: must be an object"),
        (
            #"{"layers": [{"rank": "org", "name": "a", "documents": []}]}"#,
            "1:22: rank: must be one of"
        ),
        (
            #"{"layers": [{"rank": "team", "name": "a", "documents": []}]}"#,
            "1:13: owned: a team says"
        ),
        (
            #"{"layers": [{"rank": "namespace", "name": "a", "document": []}]}"#,
            "1:60: document: no such"
        ),
        (#"{"layers": [{"rank": "namespace", "name": "a"}]}"#, "1:13: documents must be a list"),
        (
            #"{"layers": [{"rank": "namespace", "name": "a", "documents": ["../a"]}]}"#,
            "1:62: must be the name"
        ),
        (
            #"{"layers": [{"rank": "namespace", "name": "a", "documents": ["a", "a"]}]}"#,
            "1:67: a is named twice"
        ),
    ])
    func `what assigns nothing is refused with its place`(text: Text, reason: String) throws {
        let error = #expect(throws: LayerAssignments.ReadingError.self) {
            try LayerAssignments(parsing: text)
        }
        #expect(error.map { "\($0)".hasPrefix(reason) } == true, "\(String(describing: error))")
    }
}
