import JSON
import MCPProtocol
import Testing

/// Complete exchanges of both revisions, from the ladder through the upstream hop and back.
struct AppendixTests {
    static let session: Lines =
        contentLines + [
            ("Authorization", "Bearer eyJ…"), ("MCP-Protocol-Version", "2025-11-25"),
            ("Mcp-Session-Id", "sess_9pQ2v7mXk4"),
        ]

    static let rows: [LadderTests.Row] = [
        .init(
            "L1 handshake",
            contentLines + [("Authorization", "Bearer eyJ…")],
            #"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true}},"clientInfo":{"name":"acme-agent","version":"3.1.0"}}}"#,
            "request initialize legacy - -"
        ),
        .init(
            "L1 initialized",
            session,
            #"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            "notification notifications/initialized legacy"
        ),
        .init(
            "L3 call with progress",
            session,
            #"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"export_ledger","arguments":{"year":2026},"_meta":{"progressToken":"p-4"}}}"#,
            "request tools/call legacy 2025-11-25 sess_9pQ2v7mXk4"
        ),
        .init(
            "L4 answer to an elicitation",
            session,
            #"{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}"#,
            "response integer(1)"
        ),
        .init(
            "L8 cancel",
            session,
            #"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4,"reason":"user pressed stop"}}"#,
            "notification notifications/cancelled legacy"
        ),
        .init(
            "L9 task call",
            session,
            #"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"transfer","arguments":{"amount":900,"to":"DE-77"},"task":{"ttl":900000}}}"#,
            "request tools/call legacy 2025-11-25 sess_9pQ2v7mXk4"
        ),
        .init(
            "L9 task get",
            session,
            #"{"jsonrpc":"2.0","id":9,"method":"tasks/get","params":{"taskId":"tk_7f3a"}}"#,
            "request tasks/get legacy 2025-11-25 sess_9pQ2v7mXk4"
        ),
        .init(
            "L9 task result",
            session,
            #"{"jsonrpc":"2.0","id":10,"method":"tasks/result","params":{"taskId":"tk_7f3a"}}"#,
            "request tasks/result legacy 2025-11-25 sess_9pQ2v7mXk4"
        ),

        .init(
            "M1 discovery",
            modernLines("server/discover"),
            #"{"jsonrpc":"2.0","id":"d-1","method":"server/discover","params":{"_meta":{\#(envelope)}}}"#,
            "request server/discover 2026-07-28"
        ),
        .init(
            "M2 list",
            modernLines("tools/list"),
            #"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{\#(envelope)}}}"#,
            "request tools/list 2026-07-28"
        ),
        .init("M3 call with mirrored parameter", m3Lines, m3, "request tools/call 2026-07-28"),
        .init(
            "M4 call with progress",
            modernLines("tools/call", name: "export_ledger"),
            #"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"export_ledger","arguments":{"year":2026},"_meta":{\#(envelope),"progressToken":4}}}"#,
            "request tools/call 2026-07-28"
        ),
        .init(
            "M5 retry with state",
            m3Lines,
            #"{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"transfer","arguments":{"region":"Zürich","amount":900,"to":"DE-77"},"inputResponses":{"approval":{"action":"accept"}},"requestState":"gw1.k3.AAECAwQFBgcICQ.9pQm3bq…","_meta":{\#(envelope)}}}"#,
            "request tools/call 2026-07-28"
        ),
        .init(
            "M8 subscription",
            modernLines("subscriptions/listen"),
            #"{"jsonrpc":"2.0","id":"l-1","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["ledger://2026"]},"_meta":{\#(envelope)}}}"#,
            "request subscriptions/listen 2026-07-28"
        ),
        .init(
            "M9 read",
            modernLines("resources/read", name: "ledger://2026"),
            #"{"jsonrpc":"2.0","id":14,"method":"resources/read","params":{"uri":"ledger://2026","_meta":{\#(envelope)}}}"#,
            "request resources/read 2026-07-28"
        ),
        .init(
            "M10 task get",
            modernLines("tasks/get", name: "tk_c0ffee"),
            #"{"jsonrpc":"2.0","id":17,"method":"tasks/get","params":{"taskId":"tk_c0ffee","_meta":{\#(envelope)}}}"#,
            "request tasks/get 2026-07-28"
        ),
        .init(
            "M10 task cancel",
            modernLines("tasks/cancel", name: "tk_c0ffee"),
            #"{"jsonrpc":"2.0","id":18,"method":"tasks/cancel","params":{"taskId":"tk_c0ffee","_meta":{\#(envelope)}}}"#,
            "request tasks/cancel 2026-07-28"
        ),
    ]

    static let m3Lines =
        modernLines("tools/call", name: "transfer") + [
            ("Mcp-Param-Region", "=?base64?WsO8cmljaA==?=")
        ]
    static let m3 =
        #"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"transfer","arguments":{"region":"Zürich","amount":900,"to":"DE-77"},"_meta":{\#(envelope)}}}"#

    @Test(arguments: rows)
    func `messages of the appendix pass the ladder`(row: LadderTests.Row) {
        #expect(verdict(RequestLadder(), row.lines, row.body) == row.verdict)
    }

    /// Bodies of servers in the appendix, read as answers to the request they belong to.
    static let answers: [(body: String, id: RequestID, revision: ProtocolRevision)] = [
        (
            #"{"jsonrpc":"2.0","id":4,"result":{"content":[{"type":"text","text":"{\"rows\": 12}"}],"structuredContent":{"rows":12},"isError":false}}"#,
            .integer(4), .r2025_11_25
        ),
        (
            #"{"jsonrpc":"2.0","id":6,"error":{"code":-32042,"message":"Approval is required before this call can run.","data":{"elicitations":[{"mode":"url","elicitationId":"el_01JE","url":"https://gw.acme.example/approvals/ap_01JE","message":"Approve the transfer of 900 EUR."}]}}}"#,
            .integer(6), .r2025_11_25
        ),
        (
            #"{"jsonrpc":"2.0","id":"d-1","result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"prompts":{"listChanged":true},"completions":{}},"instructions":"Calls to payment tools may need approval.","ttlMs":60000,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"acme-gateway","version":"1.0.0"}}}}"#,
            .string("d-1"), .r2026_07_28
        ),
        (
            #"{"jsonrpc":"2.0","id":5,"result":{"resultType":"input_required","inputRequests":{"approval":{"method":"elicitation/create","params":{"mode":"url","url":"https://gw.acme.example/approvals/ap_01JD","message":"Transfer of 900 EUR needs approval by a treasurer."}}},"requestState":"gw1.k3.AAECAwQFBgcICQ.9pQm3bq…","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"acme-gateway","version":"1.0.0"}}}}"#,
            .integer(5), .r2026_07_28
        ),
        (
            #"{"jsonrpc":"2.0","id":15,"error":{"code":-32602,"message":"Resource not found","data":{"uri":"ledger://1999"}}}"#,
            .integer(15), .r2026_07_28
        ),
        (
            #"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Session not found"}}"#,
            .integer(1), .r2025_11_25
        ),
    ]

    @Test(arguments: answers)
    func `answers of the appendix are read`(
        body: String,
        id: RequestID,
        revision: ProtocolRevision
    ) throws {
        guard
            case .answer = try UpstreamMessage(
                parsing: Array(body.utf8),
                answering: id,
                revision: revision
            )
        else {
            Issue.record("no answer")
            return
        }
        // Written in the appendix as we write: the writer must give the same bytes.
        #expect(text(json(body).serialized()) == body)
    }

    private func request(_ lines: Lines, _ body: String) throws -> InboundRequest {
        guard
            case .request(let request) = try RequestLadder().accept(
                headers: headers(lines),
                body: Array(body.utf8)
            )
        else { throw Unexpected() }
        return request
    }

    private struct Unexpected: Error {}

    static let booked =
        #"{"jsonrpc":"2.0","id":70,"result":{"content":[{"type":"text","text":"{\"bookingId\": \"bk_551\"}"}],"structuredContent":{"bookingId":"bk_551"},"isError":false}}"#

    @Test func `a modern call crosses to a legacy server and back`() throws {
        let inbound = try request(Self.m3Lines, Self.m3)
        let call = try #require(ToolCallParams(inbound))
        let upstream = UpstreamDialect(revision: .r2025_11_25, client: gateway)
            .callTool(id: .integer(70), name: call.name, arguments: call.arguments, meta: call.meta)
        #expect(
            text(upstream.body)
                == #"{"jsonrpc":"2.0","id":70,"method":"tools/call","params":{"name":"transfer","arguments":{"region":"Zürich","amount":900,"to":"DE-77"}}}"#
        )
        guard
            case .answer(.complete(let result)) = try UpstreamMessage(
                parsing: Array(Self.booked.utf8),
                answering: .integer(70),
                revision: .r2025_11_25
            )
        else { throw Unexpected() }
        let answer = ResponseBuilder(revision: .r2026_07_28, id: inbound.id, server: gateway)
            .toolCall(from: result)
        // M3.
        #expect(
            text(answer)
                == #"{"jsonrpc":"2.0","id":3,"result":{"resultType":"complete","content":[{"type":"text","text":"{\"bookingId\": \"bk_551\"}"}],"structuredContent":{"bookingId":"bk_551"},"isError":false,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"acme-gateway","version":"1.0.0"}}}}"#
        )
    }

    @Test func `a legacy call crosses to a modern server and back`() throws {
        let inbound = try request(
            Self.session,
            #"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"export_ledger","arguments":{"year":2026},"_meta":{"progressToken":"p-4"}}}"#
        )
        #expect(inbound.progressToken == .string("p-4"))
        #expect(try inbound.revision(inSession: .r2025_11_25) == .r2025_11_25)
        let call = try #require(ToolCallParams(inbound))
        let upstream = UpstreamDialect(revision: .r2026_07_28, client: gateway)
            .callTool(
                id: .integer(70),
                name: call.name,
                arguments: call.arguments,
                meta: call.meta,
                progressToken: .integer(70)
            )
        let lines = contentLines + upstream.headers.map { ($0.name.string, $0.value.string) }
        #expect(
            verdict(RequestLadder(), headers(lines), upstream.body)
                == "request tools/call 2026-07-28"
        )
        let body =
            #"{"jsonrpc":"2.0","id":70,"result":{"resultType":"complete","content":[{"type":"text","text":"12 rows"}],"isError":false,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}}"#
        guard
            case .answer(.complete(let result)) = try UpstreamMessage(
                parsing: Array(body.utf8),
                answering: .integer(70),
                revision: .r2026_07_28
            )
        else { throw Unexpected() }
        let answer = ResponseBuilder(revision: .r2025_11_25, id: inbound.id, server: gateway)
            .toolCall(from: result)
        #expect(
            text(answer)
                == #"{"jsonrpc":"2.0","id":4,"result":{"content":[{"type":"text","text":"12 rows"}],"isError":false}}"#
        )
    }

    @Test func `a session's own revision decides`() throws {
        let named = try request(Self.session, LadderTests.bare)
        #expect(throws: LadderRefusal.self) { try named.revision(inSession: .r2025_06_18) }
        let silent = try request(contentLines, LadderTests.bare)
        #expect(try silent.revision(inSession: .r2025_06_18) == .r2025_06_18)
        let task = try request(
            contentLines,
            #"{"jsonrpc":"2.0","id":9,"method":"tasks/get","params":{"taskId":"t"}}"#
        )
        #expect(try task.revision(inSession: .r2025_11_25) == .r2025_11_25)
        #expect(throws: LadderRefusal.self) { try task.revision(inSession: .r2025_06_18) }
        let modern = try request(Self.m3Lines, Self.m3)
        #expect(try modern.revision(inSession: .r2025_11_25) == .r2026_07_28)
    }

    @Test func `statuses after the ladder follow the era`() throws {
        let modern = try request(Self.m3Lines, Self.m3)
        #expect(modern.httpStatus(for: .methodNotFound) == 404)
        #expect(modern.httpStatus(for: .missingRequiredClientCapability) == 400)
        #expect(modern.httpStatus(for: .invalidParams) == 200)
        #expect(modern.httpStatus(for: .internalError) == 200)
        let legacy = try request(Self.session, LadderTests.bare)
        for code in RPCErrorCode.allCases { #expect(legacy.httpStatus(for: code) == 200) }
    }
}
