import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@Suite struct SchemaGenerationTests {
    /// What differs between two resolved schemas, by name.
    static func differences(_ left: Schema, _ right: Schema) -> [String] {
        var names: [String] = []
        for type in Set(left.entityTypes.keys).union(right.entityTypes.keys)
        where left.entityTypes[type] != right.entityTypes[type] {
            names.append("entity \(type)")
        }
        for action in Set(left.actions.keys).union(right.actions.keys)
        where left.actions[action] != right.actions[action] {
            names.append("action \(action.type)::\(action.id)")
        }
        return names.sorted()
    }

    @Test func `the schema of the worked model is generated from its tools`() throws {
        guard let text = try SharedPolicyData.text("mcp-model/mcp.cedarschema") else { return }
        func tool(
            _ name: ToolName,
            _ effect: ToolEffect,
            _ required: [String],
            _ optional: [String: String]
        )
            throws -> SchemaGenerator.Tool
        {
            let properties =
                required.map { #""\#($0)":{"type":"string"}"# }
                + optional.map { #""\#($0)":{"type":"\#($1)"}"# }
            return .init(
                name: name,
                effect: effect,
                input: try ToolSchemaTests.input(
                    properties.joined(separator: ","),
                    required: required.map { "\"\($0)\"" }.joined(separator: ",")
                )
            )
        }
        let result = try ToolSchemaTests.schema([
            .init(
                name: "s3",
                tools: [
                    try tool("put_object", .write, ["bucket", "key", "body"], ["acl": "string"])
                ]
            ),
            .init(name: "crm", tools: [try tool("find", .read, ["query"], ["limit": "integer"])]),
            .init(
                name: "k8s",
                tools: [
                    try tool(
                        "delete_pod",
                        .destructive,
                        ["namespace", "name"],
                        ["grace": "integer"]
                    ),
                    try tool("apply", .clusterAdmin, ["manifest"], ["namespace": "string"]),
                    try tool("get_pods", .read, [], ["namespace": "string"]),
                ]
            ),
        ])
        #expect(result.report.isEmpty)
        let generated = try Schema(parsing: result.schema.string)
        #expect(Self.differences(generated, try Schema(parsing: text.string)) == [])
    }

    @Test func `whatever a server lists, the schema can be read`() throws {
        let hostile = try ToolSchemaTests.input(
            #""a b":{"type":"string"},"if":{"type":"number"},"\u202e":{"enum":["x\"y","\n"]},"é":{"type":"array","items":{"type":"object","properties":{"":{"type":"boolean"}}}}"#
        )
        let result = try ToolSchemaTests.schema([
            .init(
                name: "1st",
                tools: [
                    .init(name: "x\"; }", effect: .read, input: hostile),
                    .init(name: "\\", effect: .read, input: .empty),
                    .init(name: "é", effect: .write, input: hostile),
                ]
            )
        ])
        let schema = try Schema(parsing: result.schema.string)
        #expect(schema.actions[EntityUID(type: "MCP::Action", id: "1st/x\"; }")] != nil)
        #expect(
            schema.actions[EntityUID(type: "MCP::Action", id: "1st/é")]?.context.attributes["input"]
                != nil
        )
    }

    @Test(
        arguments: [
            "System", "Facts", "DataContext", "Long", "String", "Bool", "Set", "decimal",
            "datetime",
            "ipaddr", "demo_zone", "User",
        ] as [Text]
    )
    func `what a server is in takes no name from the schema`(type: Text) throws {
        let plain = SchemaGenerator.Server(
            name: "demo",
            tools: [.init(name: "zone", effect: .read, input: .empty)]
        )
        var member = plain
        member.memberships = [EntityUID(type: Text("MCP::\(type)"), id: "x")]
        func schema(_ server: SchemaGenerator.Server) throws -> Schema {
            try Schema(parsing: ToolSchemaTests.schema([server]).schema.string)
        }
        let (without, with) = (try schema(plain), try schema(member))
        #expect(with.actions == without.actions)
    }
}
