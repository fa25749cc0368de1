import Cedar
import JSON
import Testing

/// Inputs at the edges, with outcomes from an independent engine.
@Suite struct EdgeCaseTests {
    @Test func `expressions at the edges evaluate as elsewhere`() throws {
        guard let bytes = try SharedData.bytes("cedar/edge-cases.json") else { return }
        let data = try SharedData.json(bytes)
        let entities = try EntitySnapshot(
            entities: Entity.list(cedarJSON: try #require(data["entities"]))
        )
        let question = try #require(data["request"])
        let request = Request(
            principal: try EntityUID(cedarJSON: try #require(question["principal"])),
            action: try EntityUID(cedarJSON: try #require(question["action"])),
            resource: try EntityUID(cedarJSON: try #require(question["resource"])),
            context: try Value.record(cedarJSON: try #require(question["context"]))
        )
        let cases = try #require(data["expressions"]).elements.map { $0 }
        for row in cases {
            let expression = try #require(row["expr"]?.string).string
            let outcome = try #require(row["outcome"]?.string).string
            #expect(self.outcome(expression, request, entities) == outcome, "\(expression)")
        }
        SharedData.note("edge cases: \(cases.count) expressions")
    }

    private func outcome(
        _ expression: String,
        _ request: Request,
        _ entities: EntitySnapshot
    ) -> String {
        let text = "permit(principal, action, resource) when { \(expression) };"
        guard let set = try? PolicySet.parse(text) else { return "parse-error" }
        let answer = CompiledPolicySet(set).decide(request, entities: entities)
        guard answer.errors.isEmpty else { return "error" }
        return answer.decision == .allow ? "true" : "false"
    }

    @Test func `texts at the edges are accepted and refused as elsewhere`() throws {
        guard let bytes = try SharedData.bytes("cedar/edge-cases.json") else { return }
        let rows = try #require(try SharedData.json(bytes)["parsing"]).elements.map { $0 }
        for row in rows {
            let text = try #require(row["policies"]?.string).string
            let isAccepted = (try? PolicySet.parse(text)) != nil
            #expect(isAccepted == (row["accepts"]?.boolean ?? !isAccepted), "\(text)")
        }
        SharedData.note("edge cases: \(rows.count) texts")
    }

    @Test func `the worked gateway model decides as documented`() throws {
        guard let bytes = try SharedData.bytes("mcp-model/cases.json"),
            let policies = try SharedData.bytes("mcp-model/policies.cedar")
        else { return }
        let data = try SharedData.json(bytes)
        let set = try PolicySet.parse(String(decoding: policies, as: UTF8.self))
        let names = Dictionary(
            uniqueKeysWithValues: set.policies.map { ($0.id, $0.annotation("id") ?? "") }
        )
        let entities = try EntitySnapshot(
            entities: Entity.list(cedarJSON: try #require(data["entities"]))
                + modelActions
        )
        let authorizer = Authorizer(policies: CompiledPolicySet(set), entities: entities)
        let rows = try #require(data["cases"]).elements.map { $0 }
        for row in rows {
            let answer = authorizer.decide(
                Request(
                    principal: try EntityUID(cedarJSON: try #require(row["principal"])),
                    action: try EntityUID(cedarJSON: try #require(row["action"])),
                    resource: try EntityUID(cedarJSON: try #require(row["resource"])),
                    context: try Value.record(cedarJSON: try #require(row["context"]))
                )
            )
            let name = row["description"]?.string?.string ?? ""
            #expect(
                row["decision"]?.string == (answer.decision == .allow ? "allow" : "deny"),
                "\(name)"
            )
            let reasons = Set(answer.determining.compactMap { names[$0] })
            #expect(reasons == Set(row["reason"]?.elements.compactMap(\.string) ?? []), "\(name)")
            #expect(answer.errors.isEmpty, "\(name)")
        }
        SharedData.note("gateway model: \(rows.count) cases")
    }
}

/// The action hierarchy of the model's schema, until schemas are read.
private let modelActions: [Entity] = [
    ("read", ["any"]), ("write", ["any"]), ("destructive", ["write"]),
    ("cluster-admin", ["destructive"]), ("tools/call", ["any"]),
    ("k8s/delete_pod", ["tools/call", "destructive"]),
    ("k8s/apply", ["tools/call", "cluster-admin"]), ("k8s/get_pods", ["tools/call", "read"]),
    ("s3/put_object", ["tools/call", "write"]), ("crm/find", ["tools/call", "read"]),
].map { (name: Text, parents: [Text]) in
    Entity(
        uid: EntityUID(type: "MCP::Action", id: name),
        parents: parents.map { EntityUID(type: "MCP::Action", id: $0) }
    )
}
