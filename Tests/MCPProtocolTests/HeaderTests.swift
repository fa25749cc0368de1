import JSON
import MCPProtocol
import Testing

struct HeaderTests {
    static let vectors: [(text: String, value: String)] = [
        ("transfer", "transfer"), ("ledger://2026?x=1 y", "ledger://2026?x=1 y"), ("", ""),
        ("~", "~"),
        ("Zürich", "=?base64?WsO8cmljaA==?="), (" a", "=?base64?IGE=?="), ("a ", "=?base64?YSA=?="),
        ("a\tb", "=?base64?YQli?="), ("a\r\nX-Evil: 1", "=?base64?YQ0KWC1FdmlsOiAx?="),
        ("\u{7F}", "=?base64?fw==?="),
        ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="), ("😀", "=?base64?8J+YgA==?="),
        ("\0", "=?base64?AA==?="),
        ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="), ("?=", "?="),
    ]

    @Test(arguments: vectors)
    func `a value travels as it is or wrapped`(plain: String, value: String) {
        #expect(HeaderValueCodec.encode(Text(plain)) == Text(value))
        #expect(HeaderValueCodec.decode(Text(value)) == Text(plain))
    }

    static let malformed = [
        "=?base64?YQ?=", "=?base64?YQ=?=", "=?base64?YR==?=", "=?base64?YWI?=", "=?base64?YWJ=?=",
        "=?base64?Y?=",
        "=?base64?Y Q=?=", "=?base64?YQ-_?=", "=?base64?====?=", "=?base64?Y===?=",
        "=?base64?=YQ=?=", "=?base64?YQ==YQ==?=",
        "=?base64?/w==?=", "=?base64?wK8=?=", "=?base64?7aCA?=", "=?base64?=", "é", "a\u{1}",
    ]

    @Test(arguments: malformed)
    func `a malformed wrapper is no value`(value: String) {
        #expect(HeaderValueCodec.decode(Text(value)) == nil)
    }

    @Test func `every text survives the codec`() {
        var random = SeededGenerator(seed: 31)
        for length in 0..<60 {
            let scalars = (0..<length).compactMap { _ in
                Unicode.Scalar(UInt32.random(in: 0...0x2FF, using: &random))
            }
            let plain = Text(String(String.UnicodeScalarView(scalars)))
            let value = HeaderValueCodec.encode(plain)
            #expect(HeaderValueCodec.decode(value) == plain)
            #expect(value.utf8.allSatisfy { (0x20...0x7E).contains($0) })
        }
    }

    @Test func `header lines are counted, trimmed and told from foreign ones`() {
        var headers = RequestHeaders()
        func add(_ name: String, _ value: [UInt8]) -> Bool {
            headers.add(name: Array(name.utf8), value: value)
        }
        #expect(add("MCP-NAME", Array(" \ta b\t ".utf8)))
        #expect(headers.name == .value("a b"))
        #expect(add("mcp-name", Array("a b".utf8)))
        #expect(headers.name == .repeated)
        #expect(add("Mcp-Method", [0x61, 0xFF]))
        #expect(headers.method == .malformed)
        #expect(add("Mcp-Protocol-Version", [0x0D]))
        #expect(headers.protocolVersion == .malformed)
        #expect(!add("X-Mcp-Name", Array("a".utf8)))
        #expect(!add("authorization", Array("Bearer x".utf8)))
        #expect(!add("mcp-param-", Array("x".utf8)))
        #expect(add("Mcp-Param-Region", Array("eu".utf8)))
        #expect(add("mcp-param-REGION", Array("us".utf8)))
        #expect(headers.parameters == ["region": .repeated])
        for index in 0..<100 { #expect(add("mcp-param-p\(index)", Array("x".utf8))) }
        #expect(headers.parameters.count == RequestHeaders.parametersMax)
        #expect(headers.hasTooManyParameters)
    }

    // MARK: Mirrored parameters

    static let schema = json(
        #"""
        {"type":"object","properties":{
          "region":{"type":"string","x-mcp-header":"Region"},
          "amount":{"type":"integer","x-mcp-header":"Amount"},
          "dry":{"type":"boolean","x-mcp-header":"Dry"},
          "deep":{"type":"object","properties":{"x-mcp-header":{"type":"string","x-mcp-header":"Deep"}}},
          "free":{"type":"string","default":{"x-mcp-header":1},"enum":[{"x-mcp-header":"no"}]}}}
        """#
    )

    @Test func `annotations are found where properties lead`() throws {
        let parameters = try ToolHeaderSchema(inputSchema: Self.schema).parameters
        #expect(parameters.map(\.token) == ["Region", "Amount", "Dry", "Deep"])
        #expect(
            parameters.map(\.path) == [["region"], ["amount"], ["dry"], ["deep", "x-mcp-header"]]
        )
        #expect(try ToolHeaderSchema(inputSchema: json(#"{"type":"object"}"#)) == .none)
    }

    static let invalid: [(property: String, defect: ToolHeaderSchema.Defect)] = [
        (#""a":{"type":"string","x-mcp-header":""}"#, .invalidToken),
        (#""a":{"type":"string","x-mcp-header":"a b"}"#, .invalidToken),
        (#""a":{"type":"string","x-mcp-header":"a\r\nb"}"#, .invalidToken),
        (#""a":{"type":"string","x-mcp-header":"é"}"#, .invalidToken),
        (#""a":{"type":"string","x-mcp-header":1}"#, .invalidToken),
        (#""a":{"type":"number","x-mcp-header":"A"}"#, .invalidType),
        (#""a":{"type":["string","null"],"x-mcp-header":"A"}"#, .invalidType),
        (#""a":{"x-mcp-header":"A"}"#, .invalidType),
        (#""a":{"type":"object","x-mcp-header":"A"}"#, .invalidType),
        (
            #""a":{"type":"string","x-mcp-header":"Id"},"b":{"type":"string","x-mcp-header":"iD"}"#,
            .repeatedToken
        ),
        (#""a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}"#, .unreachable),
        (#""a":{"anyOf":[{"type":"string","x-mcp-header":"A"}]}"#, .unreachable),
        (
            #""a":{"allOf":[{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}]}"#,
            .unreachable
        ),
        (#""a":{"$defs":{"b":{"type":"string","x-mcp-header":"A"}}}"#, .unreachable),
        (#""a":{"if":{"type":"string","x-mcp-header":"A"}}"#, .unreachable),
        (#""a":{"additionalProperties":{"type":"string","x-mcp-header":"A"}}"#, .unreachable),
        (#""a":{"patternProperties":{"x":{"type":"string","x-mcp-header":"A"}}}"#, .unreachable),
    ]

    @Test(arguments: invalid)
    func `an annotation out of place makes the tool unusable`(
        property: String,
        defect: ToolHeaderSchema.Defect
    ) {
        let schema = json(#"{"type":"object","properties":{\#(property)}}"#)
        #expect(throws: defect) { try ToolHeaderSchema(inputSchema: schema) }
    }

    @Test func `an annotated root is unreachable`() {
        let schema = json(#"{"type":"string","x-mcp-header":"A"}"#)
        #expect(throws: ToolHeaderSchema.Defect.unreachable) {
            try ToolHeaderSchema(inputSchema: schema)
        }
    }

    @Test func `arguments are rendered as the specification says`() throws {
        let schema = try ToolHeaderSchema(inputSchema: Self.schema)
        func lines(_ arguments: String) -> [String] {
            schema.headers(for: json(arguments)).map { "\($0.name): \($0.value)" }
        }
        #expect(
            lines(#"{"dry":true,"amount":42.0,"region":"Zürich","deep":{"x-mcp-header":" x"}}"#)
                == [
                    "Mcp-Param-Region: =?base64?WsO8cmljaA==?=", "Mcp-Param-Amount: 42",
                    "Mcp-Param-Dry: true",
                    "Mcp-Param-Deep: =?base64?IHg=?=",
                ]
        )
        #expect(
            lines(#"{"region":null,"amount":123456789012345678901234567890}"#) == [
                "Mcp-Param-Amount: 123456789012345678901234567890"
            ]
        )
        #expect(lines(#"{"region":[],"amount":1.5,"dry":{}}"#) == [])
        #expect(schema.headers(for: nil).isEmpty)
    }

    static let checks: [(lines: Lines, arguments: String, agrees: Bool)] = [
        ([("Mcp-Param-Region", "eu")], #"{"region":"eu"}"#, true),
        ([("mcp-param-region", " eu ")], #"{"region":"eu"}"#, true),
        ([("Mcp-Param-Region", "=?base64?ZXU=?=")], #"{"region":"eu"}"#, true),
        ([("Mcp-Param-Region", "=?base64?ZXU?=")], #"{"region":"eu"}"#, false),
        ([("Mcp-Param-Region", "EU")], #"{"region":"eu"}"#, false),
        ([], #"{"region":"eu"}"#, false),
        ([("Mcp-Param-Region", "eu")], #"{}"#, false),
        ([("Mcp-Param-Region", "eu")], #"{"region":null}"#, false),
        ([("Mcp-Param-Region", "eu"), ("Mcp-Param-Region", "eu")], #"{"region":"eu"}"#, false),
        ([], #"{"region":null}"#, true),
        ([("Mcp-Param-Amount", "42")], #"{"amount":42}"#, true),
        ([("Mcp-Param-Amount", "42.0")], #"{"amount":42}"#, true),
        ([("Mcp-Param-Amount", "42")], #"{"amount":42.0}"#, true),
        ([("Mcp-Param-Amount", "4.2e1")], #"{"amount":42}"#, false),
        ([("Mcp-Param-Amount", "042")], #"{"amount":42}"#, false),
        ([("Mcp-Param-Amount", "43")], #"{"amount":42}"#, false),
        ([("Mcp-Param-Amount", "42x")], #"{"amount":42}"#, false),
        ([("Mcp-Param-Dry", "true")], #"{"dry":true}"#, true),
        ([("Mcp-Param-Dry", "True")], #"{"dry":true}"#, false),
        ([("Mcp-Param-Unknown", "x"), ("Mcp-Param-Unknown", "y")], #"{}"#, true),
    ]

    @Test(arguments: checks)
    func `mirrored parameters must agree with the arguments`(
        lines: Lines,
        arguments: String,
        agrees: Bool
    ) throws {
        let schema = try ToolHeaderSchema(inputSchema: Self.schema)
        do throws(LadderRefusal) {
            try schema.check(headers(lines), arguments: json(arguments), id: .integer(3))
            #expect(agrees)
        } catch {
            #expect(!agrees)
            #expect(error.error.code == -32020)
            #expect(error.id == .integer(3))
        }
    }
}

struct MetaTests {
    @Test func `keys of the protocol belong to their hop, all others pass`() {
        for key in [
            "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/anything",
            "IO.ModelContextProtocol/x",
            "dev.mcp/x", "com.mcp.tools/x", "org.modelcontextprotocol.api/x",
            "io.modelcontextprotocol/", "progressToken",
            "ProgressToken", "ostiary/decision", "ostiary/x",
        ] {
            #expect(MetaKey.belongsToHop(Text(key)), "\(key)")
        }
        for key in [
            "traceparent", "tracestate", "baggage", "com.acme/trace", "com.acme.mcp/x", "mcp/x",
            "mcp.acme/x", "",
            "io.modelcontextprotocol", "io.modelcontextprotocols/x", "a/io.mcp/x",
        ] {
            #expect(!MetaKey.belongsToHop(Text(key)), "\(key)")
        }
    }

    @Test func `a trace context is read only if it is one`() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        func read(_ value: String) -> TraceContext {
            TraceContext(params: json(#"{"_meta":{"traceparent":"\#(value)","tracestate":"a=1"}}"#))
        }
        #expect(read(parent).parent == Text(parent))
        #expect(read(parent).state == "a=1")
        for bad in [
            "", parent + "-", parent.uppercased(), String(parent.dropLast()),
            "ff" + parent.dropFirst(2),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            #expect(read(bad).parent == nil, "\(bad)")
            #expect(read(bad).state == nil)
        }
        #expect(TraceContext(params: nil).parent == nil)
    }
}
