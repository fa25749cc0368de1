import Cedar
import JSON
import Testing

/// The worked model of a gateway: policies, entities and requests with their outcomes.
@Suite struct GatewayModelTests {
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
