import Cedar
import GatewayModel
import JSON
import Testing

@testable import GatewayPolicy

@Suite struct ToolSchemaTests {
    static func json(_ text: String) throws -> JSONValue {
        try JSONDocument(parsing: Array(text.utf8)).root
    }

    static func input(_ properties: String, required: String = "") throws -> ToolInputSchema {
        ToolInputSchema(
            try json(#"{"type":"object","properties":{\#(properties)},"required":[\#(required)]}"#)
        )
    }

    static func schema(_ servers: [SchemaGenerator.Server]) throws -> SchemaGenerator.Result {
        SchemaGenerator(facts: try FactDeclarations(parsing: WorkedModel.facts)).generate(servers)
    }

    // MARK: Types

    typealias InputType = ToolInputSchema.InputType

    @Test(arguments: [
        (#"{"type":"string"}"#, InputType.string), (#"{"type":"integer"}"#, .long),
        (#"{"type":"boolean"}"#, .bool), (#"{"type":"number"}"#, .decimal),
        (#"{"type":"string","format":"date-time"}"#, .datetime),
        (#"{"type":"string","format":"duration"}"#, .duration),
        (#"{"type":"string","format":"ipv6"}"#, .ipaddr),
        (#"{"type":"string","format":"decimal"}"#, .decimal),
        (#"{"type":"string","format":"uri"}"#, .string),
        (#"{"type":"string","enum":["a","b"]}"#, .choice(["a", "b"])),
        (#"{"const":"a"}"#, .choice(["a"])),
        (#"{"type":"array","items":{"type":"integer"}}"#, .set(.long)),
        (#"{"type":["string","null"]}"#, .string),
        (#"{"anyOf":[{"type":"integer"},{"type":"null"}]}"#, .long),
    ])
    func `a type of JSON Schema is a type of Cedar`(schema: String, type: InputType) throws {
        let input = try Self.input(#""x":\#(schema)"#, required: #""x""#)
        #expect(input.fields.attributes["x"]?.type == type)
        // What may be null may be absent.
        #expect(input.fields.attributes["x"]?.isRequired == !schema.contains("null"))
        #expect(input.omissions.isEmpty)
    }

    @Test(arguments: [
        (##"{"$ref":"#/x"}"##, "/properties/a~1b/$ref", "unsupported_keyword"),
        (#"{"allOf":[]}"#, "/properties/a~1b/allOf", "unsupported_keyword"),
        (#"{"type":"object"}"#, "/properties/a~1b", "open_map"),
        (
            #"{"type":"object","additionalProperties":{"type":"string"}}"#, "/properties/a~1b",
            "open_map"
        ),
        (#"{}"#, "/properties/a~1b", "untyped"), (#"true"#, "/properties/a~1b", "untyped"),
        (#"{"type":"array"}"#, "/properties/a~1b", "untyped"),
        (#"{"type":"float"}"#, "/properties/a~1b", "unknown_type"),
        (#"{"type":"null"}"#, "/properties/a~1b", "only_null"),
        (#"{"type":["string","object"]}"#, "/properties/a~1b", "open_map"),
        (
            #"{"anyOf":[{"type":"string"},{"type":"string","format":"duration"}]}"#,
            "/properties/a~1b", "ambiguous_union"
        ),
    ])
    func `what has no counterpart is left out and listed`(
        schema: String,
        pointer: String,
        reason: String
    ) throws {
        let input = try Self.input(#""a/b":\#(schema)"#)
        #expect(input.fields.attributes.isEmpty)
        #expect(input.omissions.map(\.pointer) == [Text(pointer)])
        #expect(input.omissions.map(\.reason.rawValue) == [reason])
        // Whoever uses it is not faithful.
        let reading = input.read(try Self.json(#"{"a/b":"x"}"#))
        #expect(!reading.isFaithful)
        #expect(reading.values.isEmpty)
    }

    @Test func `a schema that is too deep or too large ends somewhere`() throws {
        var deep = #"{"type":"string"}"#
        for _ in 0..<20 { deep = #"{"type":"object","properties":{"a":\#(deep)}}"# }
        let input = ToolInputSchema(try Self.json(deep))
        #expect(input.omissions.map(\.reason) == [.tooDeep])
        let many = (0..<5000).map { #""p\#($0)":{"type":"string"}"# }.joined(separator: ",")
        let large = try Self.input(many)
        #expect(large.omissions.map(\.reason) == [.tooLarge])
        #expect(large.fields.attributes.count == ToolInputSchema.partsMax)
    }

    // MARK: Arguments

    struct Row: CustomStringConvertible, Sendable {
        var description: String
        var properties: String
        var required = ""
        var arguments: String
        /// As `key=value` in the order of the keys.
        var values: String
        var isFaithful: Bool
    }

    static let rows: [Row] = [
        Row(
            description: "numbers are decimals, exactly",
            properties: #""a":{"type":"number"},"b":{"type":"number"},"c":{"type":"number"}"#,
            arguments: #"{"a":1,"b":-1.5e-2,"c":12.3400}"#,
            values: "a=1.0000 b=-0.0150 c=12.3400",
            isFaithful: true
        ),
        Row(
            description: "a fifth decimal place is not rounded away",
            properties: #""a":{"type":"number"}"#,
            arguments: #"{"a":1.00001}"#,
            values: "",
            isFaithful: false
        ),
        Row(
            description: "a decimal out of range is absent",
            properties: #""a":{"type":"number"}"#,
            arguments: #"{"a":922337203685477.5808}"#,
            values: "",
            isFaithful: false
        ),
        Row(
            description: "the lowest decimal is in range",
            properties: #""a":{"type":"number"}"#,
            arguments: #"{"a":-922337203685477.5808}"#,
            values: "a=-922337203685477.5808",
            isFaithful: true
        ),
        Row(
            description: "an integer written as a fraction is an integer",
            properties: #""a":{"type":"integer"}"#,
            arguments: #"{"a":3.0}"#,
            values: "a=3",
            isFaithful: true
        ),
        Row(
            description: "another type than declared is absent",
            properties: #""a":{"type":"integer"},"b":{"type":"string"}"#,
            arguments: #"{"a":"3","b":"x"}"#,
            values: "b=x",
            isFaithful: false
        ),
        Row(
            description: "null is absence where absence is allowed",
            properties: #""a":{"type":"string"}"#,
            arguments: #"{"a":null}"#,
            values: "",
            isFaithful: true
        ),
        Row(
            description: "and a fault where it is not",
            properties: #""a":{"type":"string"}"#,
            required: #""a""#,
            arguments: #"{"a":null}"#,
            values: "",
            isFaithful: false
        ),
        Row(
            description: "a required argument that is not there is a fault",
            properties: #""a":{"type":"string"}"#,
            required: #""a""#,
            arguments: "{}",
            values: "",
            isFaithful: false
        ),
        Row(
            description: "an argument that is not declared is a fault",
            properties: #""a":{"type":"string"}"#,
            arguments: #"{"a":"x","b":"y"}"#,
            values: "a=x",
            isFaithful: false
        ),
        Row(
            description: "also deep inside",
            properties: #""a":{"type":"object","properties":{"b":{"type":"string"}}}"#,
            arguments: #"{"a":{"b":"x","c":1}}"#,
            values: "a={b=x}",
            isFaithful: false
        ),
        Row(
            description: "a choice is a string, and a foreign one a fault",
            properties: #""a":{"enum":["x"]},"b":{"enum":["x"]}"#,
            arguments: #"{"a":"x","b":"z"}"#,
            values: "a=x b=z",
            isFaithful: false
        ),
        Row(
            description: "a union has one attribute for each type",
            properties: #""a":{"type":["string","integer"]},"b":{"type":["string","integer"]}"#,
            arguments: #"{"a":"x","b":7}"#,
            values: "a={asString=x} b={asLong=7}",
            isFaithful: true
        ),
        Row(
            description: "a list with a stranger in it is a fault",
            properties: #""a":{"type":"array","items":{"type":"integer"}}"#,
            arguments: #"{"a":[1,"2",3]}"#,
            values: "a=[1,3]",
            isFaithful: false
        ),
        Row(
            description: "a list of fixed length is a record",
            properties:
                #""a":{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}]}"#,
            arguments: #"{"a":["x",2]}"#,
            values: "a={item0=x item1=2}",
            isFaithful: true
        ),
        Row(
            description: "moments and addresses are read as such",
            properties:
                #""a":{"type":"string","format":"date-time"},"b":{"type":"string","format":"ipv4"}"#,
            arguments: #"{"a":"1970-01-01T00:00:01Z","b":"10.0.0.1"}"#,
            values: "a=1000ms b=ip",
            isFaithful: true
        ),
        Row(
            description: "and are absent when they are none",
            properties:
                #""a":{"type":"string","format":"date-time"},"b":{"type":"string","format":"ipv4"}"#,
            arguments: #"{"a":"yesterday","b":"10.0.0.256"}"#,
            values: "",
            isFaithful: false
        ),
        Row(
            description: "arguments that are no object are none",
            properties: #""a":{"type":"string"}"#,
            arguments: "[]",
            values: "",
            isFaithful: false
        ),
    ]

    @Test(arguments: rows)
    func `policies see`(row: Row) throws {
        let input = try Self.input(row.properties, required: row.required)
        let reading = input.read(try Self.json(row.arguments))
        #expect(Self.text(reading.values) == row.values)
        #expect(reading.isFaithful == row.isFaithful)
    }

    static func text(_ values: [Text: Value]) -> String {
        values.sorted { $0.key < $1.key }.map { "\($0)=\(text($1))" }.joined(separator: " ")
    }

    static func text(_ value: Value) -> String {
        switch value {
        case .bool(let value): "\(value)"
        case .long(let value): "\(value)"
        case .string(let value): value.string
        case .decimal(let value): "\(value)"
        case .datetime(let value): "\(value.milliseconds)ms"
        case .ip: "ip"
        case .set(let elements): "[" + elements.map(text).joined(separator: ",") + "]"
        case .record(let members): "{" + text(members) + "}"
        case .entity, .duration: "?"
        }
    }

    // MARK: Text

    @Test func `names that look alike stay apart, and say so`() throws {
        let tool = { (name: ToolName) in
            SchemaGenerator.Tool(name: name, effect: .read, input: .empty)
        }
        let result = try Self.schema([
            .init(name: "s", tools: [tool("my-tool"), tool("my_tool"), tool("other")])
        ])
        let renamed = result.report.compactMap { note -> Text? in
            if case .renamed(let name) = note.kind { name } else { nil }
        }
        #expect(result.report.map(\.action) == ["s/my-tool", "s/my_tool"])
        #expect(Set(renamed).count == 2 && renamed.allSatisfy { $0.string.hasPrefix("s_my_tool_") })
        #expect(result.schema.string.contains("action \"s/other\" in [\"tools/call\", \"read\"]"))
        let reversed = try Self.schema([
            .init(name: "s", tools: [tool("other"), tool("my_tool"), tool("my-tool")])
        ])
        #expect(reversed == result)
    }

    @Test func `a name from a server cannot end its quotes`() throws {
        let result = try Self.schema([
            .init(
                name: "s",
                tools: [
                    .init(
                        name: "x\"; action \"evil",
                        effect: .read,
                        input: try Self.input(#""a\"b\n\u202e":{"type":"string"}"#)
                    )
                ]
            )
        ])
        #expect(result.schema.string.contains(#"action "s/x\"; action \"evil" in"#))
        #expect(result.schema.string.contains(#""a\"b\n\u{202e}"?: String"#))
    }

    // MARK: Changes

    @Test(arguments: [
        (
            #"{"name":"t","inputSchema":{"properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"]},"description":"d"}"#,
            [ToolListDiff.Change.optionalArgumentAdded("b")]
        ),
        (
            #"{"name":"t","inputSchema":{"properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a","b"]},"description":"d"}"#,
            [.requiredArgumentAdded("b")]
        ),
        (
            #"{"name":"t","inputSchema":{"properties":{"a":{"type":"integer"}},"required":["a"]},"description":"d"}"#,
            [.typeChanged("a")]
        ),
        (
            #"{"name":"t","inputSchema":{"properties":{"a":{"type":"string"}}},"description":"d"}"#,
            [.requirementChanged("a", isRequired: false)]
        ),
        (
            #"{"name":"t","inputSchema":{"properties":{}},"description":"e"}"#,
            [.argumentRemoved("a"), .descriptionChanged]
        ),
        (
            #"{"name":"t","inputSchema":{"properties":{"a":{"type":"string","description":"x"}},"required":["a"]},"description":"d"}"#,
            [.otherChanged]
        ),
        (
            #"{"name":"t","inputSchema":{"properties":{"a":{"type":"string"},"b":{"$ref":"x"}},"required":["a"]},"description":"d"}"#,
            [.omissionsChanged]
        ),
        (
            #"{"description":"d","name":"t","inputSchema":{"required":["a"],"properties":{"a":{"type":"string"}}}}"#,
            []
        ),
    ])
    func `a change is classed`(definition: String, changes: [ToolListDiff.Change]) throws {
        let old = try Self.json(
            #"{"name":"t","inputSchema":{"properties":{"a":{"type":"string"}},"required":["a"]},"description":"d"}"#
        )
        let diff = ToolListDiff(from: [old], to: [try Self.json(definition)])
        #expect(diff.changes["t"] ?? [] == changes)
        #expect(ToolListDiff(from: [], to: [old]).changes == ["t": [.toolAdded]])
        #expect(ToolListDiff(from: [old], to: []).changes == ["t": [.toolRemoved]])
    }
}
