import JSON
import MCPProtocol
import Testing

struct JSONRPCTests {
    static let refused: [(body: String, refusal: Message.Refusal)] = [
        ("[]", .batch),
        (#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, .batch),
        ("1", .notAnObject), ("null", .notAnObject), (#""ping""#, .notAnObject),
        ("{}", .versionMissing),
        (#"{"id":1,"method":"ping"}"#, .versionMissing),
        (#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, .versionMissing),
        (#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, .versionMissing),
        (#"{"jsonrpc":"2.0 ","id":1,"method":"ping"}"#, .versionMissing),
        (#"{"JSONRPC":"2.0","id":1,"method":"ping"}"#, .versionMissing),
        (#"{"jsonrpc":"2.0"}"#, .shapeless),
        (#"{"jsonrpc":"2.0","id":1}"#, .shapeless),
        (#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#, .shapeless),
        (#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":-0,"method":"ping"}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, .invalidID),
        (
            #"{"jsonrpc":"2.0","id":"\#(String(repeating: "x", count: 513))","method":"ping"}"#,
            .invalidID
        ),
        (#"{"jsonrpc":"2.0","id":1,"method":null}"#, .invalidMethod),
        (#"{"jsonrpc":"2.0","id":1,"method":""}"#, .invalidMethod),
        (#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#, .invalidMethod),
        (#"{"jsonrpc":"2.0","method":1}"#, .invalidMethod),
        (
            #"{"jsonrpc":"2.0","id":1,"method":"\#(String(repeating: "m", count: 257))"}"#,
            .invalidMethod
        ),
        (#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, .methodWithOutcome),
        (#"{"jsonrpc":"2.0","id":1,"method":"ping","error":null}"#, .methodWithOutcome),
        (#"{"jsonrpc":"2.0","method":"ping","result":null}"#, .methodWithOutcome),
        (
            #"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}"#,
            .resultWithError
        ),
        (#"{"jsonrpc":"2.0","id":1,"result":{},"error":null}"#, .resultWithError),
        (#"{"jsonrpc":"2.0","id":1,"result":null}"#, .invalidResult),
        (#"{"jsonrpc":"2.0","id":1,"result":[]}"#, .invalidResult),
        (#"{"jsonrpc":"2.0","result":{}}"#, .invalidResult),
        (#"{"jsonrpc":"2.0","id":null,"result":{}}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":1.5,"error":{"code":1,"message":"m"}}"#, .invalidID),
        (#"{"jsonrpc":"2.0","id":1,"error":{}}"#, .invalidError),
        (#"{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":"m"}}"#, .invalidError),
        (#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":"m"}}"#, .invalidError),
        (#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#, .invalidError),
        (#"{"jsonrpc":"2.0","id":1,"error":null}"#, .invalidError),
    ]

    @Test(arguments: refused)
    func `a body that two readers could sort differently is refused`(
        body: String,
        refusal: Message.Refusal
    ) {
        #expect(throws: refusal) { try Message(json(body)) }
    }

    @Test func `every refusal has a row`() {
        #expect(Set(Self.refused.map(\.refusal)) == Set(Message.Refusal.allCases))
    }

    @Test func `a request keeps id, method and parameters`() throws {
        for (id, expected) in [
            ("1", RequestID.integer(1)), ("0", .integer(0)), ("-5", .integer(-5)),
            (#""1""#, .string("1")),
            (#""""#, .string("")), (#""\u0061""#, .string("a")),
            ("9223372036854775807", .integer(.max)),
        ] {
            let body =
                #"{"x":1,"params":{"a":1e2},"method":"tools\/call","id":\#(id),"jsonrpc":"2\u002e0"}"#
            guard case .request(let request) = try Message(json(body)) else {
                Issue.record("no request")
                return
            }
            #expect(request.id == expected)
            #expect(request.method == "tools/call")
            #expect(request.params?["a"]?.numberLexeme == "1e2")
        }
        #expect(RequestID.integer(1) != RequestID.string("1"))
    }

    @Test func `a request method without an id is a notification`() throws {
        let body = #"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"transfer"}}"#
        guard case .notification(let notification) = try Message(json(body)) else {
            Issue.record("no notification")
            return
        }
        #expect(notification.method == "tools/call")
    }

    @Test func `only an error may come without an id`() throws {
        for id in ["", #""id":null,"#] {
            let body =
                #"{"jsonrpc":"2.0",\#(id)"error":{"code":-32700,"message":"Parse error","data":[1]}}"#
            guard case .response(let response) = try Message(json(body)),
                case .error(let error) = response.outcome
            else {
                Issue.record("no error")
                return
            }
            #expect(response.id == nil)
            #expect(error.code == -32700)
            #expect(error.message == "Parse error")
            #expect(error.data?.count == 1)
        }
    }

    @Test func `the gateway's codes lie outside every reserved range`() {
        #expect(GatewayErrorCode.allCases.map(\.rawValue) == Array(31001...31006))
        for code in GatewayErrorCode.allCases {
            #expect(!(-32768 ... -32000).contains(code.rawValue))
            #expect(!code.meaning.isEmpty)
        }
    }

    @Test func `methods exist where the specification has them`() {
        let modern = MCPMethod.allCases.filter { $0.exists(in: .r2026_07_28) }.map(\.rawValue)
        #expect(
            Set(modern) == [
                "server/discover", "subscriptions/listen", "tools/list", "tools/call",
                "prompts/list",
                "prompts/get", "resources/list", "resources/templates/list", "resources/read",
                "completion/complete", "tasks/get", "tasks/update", "tasks/cancel",
                "notifications/cancelled",
            ]
        )
        let legacy = MCPMethod.allCases.filter { $0.exists(in: .r2025_06_18) }.map(\.rawValue)
        #expect(
            Set(legacy) == [
                "initialize", "ping", "logging/setLevel", "resources/subscribe",
                "resources/unsubscribe", "tools/list", "tools/call", "prompts/list", "prompts/get",
                "resources/list", "resources/templates/list", "resources/read",
                "completion/complete", "notifications/initialized", "notifications/cancelled",
                "notifications/progress", "notifications/roots/list_changed",
            ]
        )
        for method in ["tasks/result", "tasks/list", "tasks/get", "tasks/cancel"] {
            #expect(MCPMethod(Text(method))?.exists(in: .r2025_11_25) == true)
        }
        #expect(MCPMethod("Tools/call") == nil)
        #expect(MCPMethod("tools/call ") == nil)
        #expect(MCPMethod.callTool.gate == .gated)
        #expect(MCPMethod.listTools.gate == .discovery)
        #expect(MCPMethod.allCases.filter(\.hasCachingHints).count == 6)
        #expect(
            ServerMethod.allCases.filter { $0.exists(in: .r2026_07_28) }.allSatisfy {
                $0.rawValue.hasPrefix("notifications/")
            }
        )
        #expect(ServerMethod("elicitation/create")?.exists(in: .r2025_03_26) == false)
    }

    @Test func `revisions are ordered by date and differ as the specification says`() {
        let all = ProtocolRevision.allCases
        #expect(all == all.sorted(by: >))
        #expect(all.filter(\.allowsBatches) == [.r2025_03_26])
        #expect(all.filter(\.hasVersionHeader) == [.r2026_07_28, .r2025_11_25, .r2025_06_18])
        #expect(all.filter(\.hasResultEnvelope) == [.r2026_07_28])
        #expect(all.filter { $0.resourceNotFoundCode == .invalidParams } == [.r2026_07_28])
        #expect(ProtocolRevision("2025-11-25") == .r2025_11_25)
        #expect(ProtocolRevision("2025-11-25 ") == nil)
        #expect(ProtocolRevision("DRAFT") == nil)
    }
}
