import JSON
import MCPProtocol
import Testing

/// The validation ladder of 2026-07-28 and the table that tells the eras apart.
struct LadderTests {
    struct Row: CustomTestStringConvertible {
        let name: String
        let lines: Lines
        let body: String
        let verdict: String

        init(_ name: String, _ lines: Lines, _ body: String, _ verdict: String) {
            (self.name, self.lines, self.body, self.verdict) = (name, lines, body, verdict)
        }

        var testDescription: String { name }
    }

    static func call(
        id: String = "8",
        method: String = "tools/call",
        params: String = #""name":"transfer","arguments":{}"#,
        meta: String = envelope
    ) -> String {
        #"{"jsonrpc":"2.0","id":\#(id),"method":"\#(method)","params":{\#(params),"_meta":{\#(meta)}}}"#
    }

    static let accepted = "request tools/call 2026-07-28"
    static let good = modernLines("tools/call", name: "transfer")

    static func lines(_ changes: [String: String?], _ extra: Lines = []) -> Lines {
        good.compactMap { line in
            guard let change = changes[line.0] else { return line }
            return change.map { (line.0, $0) }
        } + extra
    }

    static let ladder: [Row] = [
        Row("a complete request", good, call(), accepted),
        Row("a string id", good, call(id: #""r-1""#), accepted),

        // Row 3
        Row(
            "no content type",
            lines(["Content-Type": nil]),
            call(),
            #"415 -32600 {"id":null} contentType"#
        ),
        Row(
            "content type of a form",
            lines(["Content-Type": "text/plain"]),
            call(),
            #"415 -32600 {"id":null} contentType"#
        ),
        Row(
            "content type json-seq",
            lines(["Content-Type": "application/json-seq"]),
            call(),
            #"415 -32600 {"id":null} contentType"#
        ),
        Row(
            "content type with charset",
            lines(["Content-Type": "Application/JSON ; Charset=UTF-8"]),
            call(),
            accepted
        ),
        Row(
            "content type with other charset",
            lines(["Content-Type": "application/json; charset=utf-16"]),
            call(),
            #"415 -32600 {"id":null} contentType"#
        ),
        Row(
            "two content types",
            lines([:], [("content-type", "application/json")]),
            call(),
            #"415 -32600 {"id":null} contentType"#
        ),
        Row(
            "no accept",
            lines(["Accept": nil]),
            call(),
            #"406 -32600 {"id":null} notAcceptable"#
        ),
        Row(
            "accepts JSON only",
            lines(["Accept": "application/json"]),
            call(),
            #"406 -32600 {"id":null} notAcceptable"#
        ),
        Row(
            "accepts SSE only",
            lines(["Accept": "text/event-stream"]),
            call(),
            #"406 -32600 {"id":null} notAcceptable"#
        ),
        Row("accepts anything", lines(["Accept": "*/*"]), call(), accepted),
        Row(
            "accepts by halves",
            lines(["Accept": "application/*;q=0.5, TEXT/*"]),
            call(),
            accepted
        ),
        Row(
            "accepts on two lines",
            lines(["Accept": "application/json"], [("accept", "text/event-stream")]),
            call(),
            accepted
        ),
        Row(
            "accepts with quality 0",
            lines(["Accept": "application/json, text/event-stream;q=0.0"]),
            call(),
            #"406 -32600 {"id":null} notAcceptable"#
        ),

        // Row 5
        Row("no JSON", good, "{", #"400 -32700 {"id":null} malformedJSON"#),
        Row("empty body", good, "", #"400 -32700 {"id":null} malformedJSON"#),
        Row(
            "duplicate method",
            good,
            #"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
            #"400 -32700 {"id":null} malformedJSON"#
        ),
        Row(
            "duplicate name, one escaped",
            good,
            call(params: #""name":"safe","n\u0061me":"danger""#),
            #"400 -32700 {"id":null} malformedJSON"#
        ),
        Row(
            "duplicate arguments deep inside",
            good,
            call(params: #""name":"transfer","arguments":{"a":{"b":1,"b":2}}"#),
            #"400 -32700 {"id":null} malformedJSON"#
        ),
        Row(
            "nested too deep",
            good,
            String(repeating: "[", count: 100),
            #"400 -32700 {"id":null} malformedJSON"#
        ),
        Row("array", good, "[\(call())]", #"400 -32600 {"id":null} batch"#),
        Row(
            "posted response",
            good,
            #"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            #"400 -32600 {"id":null} postedResponse"#
        ),
        Row(
            "posted error",
            good,
            #"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#,
            #"400 -32600 {"id":null} postedResponse"#
        ),
        Row("null id", good, call(id: "null"), #"400 -32600 {"id":null} malformedMessage"#),
        Row("fractional id", good, call(id: "1.5"), #"400 -32600 {"id":null} malformedMessage"#),
        Row(
            "method and result",
            good,
            #"{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{}}"#,
            #"400 -32600 {"id":null} malformedMessage"#
        ),

        // Row 6
        Row(
            "notification at a served version",
            good,
            #"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
            "notification notifications/cancelled modern"
        ),
        Row(
            "notification with envelope",
            good,
            #"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"_meta":{\#(envelope)}}}"#,
            "notification notifications/cancelled modern"
        ),
        Row(
            "notification of another era",
            good,
            #"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            "notification unknown modern"
        ),
        Row(
            "tools/call without an id",
            good,
            #"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"transfer","_meta":{\#(envelope)}}}"#,
            "notification unknown modern"
        ),
        Row(
            "notification at an unserved version",
            lines(["MCP-Protocol-Version": "2027-01-01"]),
            #"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
            #"400 -32022 {"id":null} unsupportedVersion"#
        ),
        Row(
            "notification that contradicts itself",
            lines(["MCP-Protocol-Version": "2025-11-25"]),
            #"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"_meta":{\#(envelope)}}}"#,
            #"400 -32020 {"id":null} versionMismatch"#
        ),
        Row(
            "notification with list parameters",
            good,
            #"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[]}"#,
            #"400 -32602 {"id":null} invalidParams"#
        ),

        // Row 7
        Row(
            "version twice",
            lines([:], [("mcp-protocol-version", "2026-07-28")]),
            call(),
            #"400 -32020 {"id":8} repeatedHeader"#
        ),
        Row(
            "method twice",
            lines([:], [("MCP-METHOD", "tools/call")]),
            call(),
            #"400 -32020 {"id":8} repeatedHeader"#
        ),
        Row(
            "name twice",
            lines([:], [("mcp-name", "danger")]),
            call(),
            #"400 -32020 {"id":8} repeatedHeader"#
        ),
        Row(
            "version twice, no envelope",
            contentLines + [
                ("MCP-Protocol-Version", "2025-11-25"), ("MCP-Protocol-Version", "2026-07-28"),
            ],
            #"{"jsonrpc":"2.0","id":8,"method":"ping"}"#,
            #"400 -32020 {"id":8} repeatedHeader"#
        ),
        Row(
            "version twice on a notification",
            lines([:], [("mcp-protocol-version", "2026-07-28")]),
            #"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
            #"400 -32020 {"id":null} repeatedHeader"#
        ),
        Row(
            "versions in one line",
            lines(["MCP-Protocol-Version": "2026-07-28, 2026-07-28"]),
            call(),
            #"400 -32020 {"id":8} versionMismatch"#
        ),
        Row(
            "control character in the name",
            lines(["Mcp-Name": "trans\u{1}fer"]),
            call(),
            #"400 -32020 {"id":8} malformedHeader"#
        ),

        // Row 8
        Row(
            "no capabilities",
            good,
            call(meta: #""io.modelcontextprotocol/protocolVersion":"2026-07-28""#),
            #"400 -32602 {"id":8} envelope"#
        ),
        Row(
            "no version",
            good,
            call(meta: #""io.modelcontextprotocol/clientCapabilities":{}"#),
            #"400 -32602 {"id":8} envelope"#
        ),
        Row(
            "version is a number",
            good,
            call(
                meta:
                    #""io.modelcontextprotocol/protocolVersion":2026,"io.modelcontextprotocol/clientCapabilities":{}"#
            ),
            #"400 -32602 {"id":8} envelope"#
        ),
        Row(
            "capabilities are a list",
            good,
            call(
                meta:
                    #""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]"#
            ),
            #"400 -32602 {"id":8} envelope"#
        ),
        Row(
            "client info is a string",
            good,
            call(
                meta:
                    #""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":"x""#
            ),
            #"400 -32602 {"id":8} envelope"#
        ),
        Row(
            "no client info",
            good,
            call(
                meta:
                    #""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#
            ),
            accepted
        ),
        Row(
            "unknown log level",
            good,
            call(meta: envelope + #","io.modelcontextprotocol/logLevel":"loud""#),
            #"400 -32602 {"id":8} envelope"#
        ),
        Row(
            "known log level",
            good,
            call(meta: envelope + #","io.modelcontextprotocol/logLevel":"warning""#),
            accepted
        ),
        Row(
            "meta is no object",
            good,
            #"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"transfer","_meta":[]}}"#,
            #"400 -32602 {"id":8} envelope"#
        ),

        // Row 9, before row 12
        Row(
            "no version header",
            lines(["MCP-Protocol-Version": nil]),
            call(),
            #"400 -32020 {"id":8} versionMismatch"#
        ),
        Row(
            "legacy version header",
            lines(["MCP-Protocol-Version": "2025-11-25"]),
            call(),
            #"400 -32020 {"id":8} versionMismatch"#
        ),
        Row(
            "unknown version header",
            lines(["MCP-Protocol-Version": "2027-01-01"]),
            call(),
            #"400 -32020 {"id":8} versionMismatch"#
        ),
        Row(
            "version header with blanks",
            lines(["MCP-Protocol-Version": " \t2026-07-28 "]),
            call(),
            accepted
        ),

        // Row 10
        Row(
            "no method header",
            lines(["Mcp-Method": nil]),
            call(),
            #"400 -32020 {"id":8} methodMismatch"#
        ),
        Row(
            "other method header",
            lines(["Mcp-Method": "tools/list"]),
            call(),
            #"400 -32020 {"id":8} methodMismatch"#
        ),
        Row(
            "method header in capitals",
            lines(["Mcp-Method": "TOOLS/CALL"]),
            call(),
            #"400 -32020 {"id":8} methodMismatch"#
        ),

        // Row 11
        Row(
            "no name header",
            lines(["Mcp-Name": nil]),
            call(),
            #"400 -32020 {"id":8} nameMismatch"#
        ),
        Row(
            "other name header",
            lines(["Mcp-Name": "safe"]),
            call(),
            #"400 -32020 {"id":8} nameMismatch"#
        ),
        Row(
            "name header in capitals",
            lines(["Mcp-Name": "Transfer"]),
            call(),
            #"400 -32020 {"id":8} nameMismatch"#
        ),
        Row(
            "name header without name",
            good,
            call(params: #""arguments":{}"#),
            #"400 -32020 {"id":8} nameMismatch"#
        ),
        Row(
            "name header, encoded",
            lines(["Mcp-Name": "=?base64?dHJhbnNmZXI=?="]),
            call(),
            accepted
        ),
        Row(
            "name header, encoded without padding",
            lines(["Mcp-Name": "=?base64?dHJhbnNmZXI?="]),
            call(),
            #"400 -32020 {"id":8} nameMismatch"#
        ),
        Row(
            "name header, encoded, not canonical",
            lines(["Mcp-Name": "=?base64?dHJhbnNmZXJ=?="]),
            call(),
            #"400 -32020 {"id":8} nameMismatch"#
        ),
        Row(
            "name header of another form of é",
            lines(["Mcp-Name": "=?base64?ZcyB?="]),
            call(params: "\"name\":\"\u{E9}\""),
            #"400 -32020 {"id":8} nameMismatch"#
        ),
        Row(
            "name header of é",
            lines(["Mcp-Name": "=?base64?w6k=?="]),
            call(params: "\"name\":\"\u{E9}\""),
            accepted
        ),
        Row(
            "name header of raw é",
            lines(["Mcp-Name": "\u{E9}"]),
            call(params: "\"name\":\"\u{E9}\""),
            #"400 -32020 {"id":8} nameMismatch"#
        ),
        Row(
            "resource by its URI",
            modernLines("resources/read", name: "ledger://2026"),
            call(method: "resources/read", params: #""uri":"ledger://2026""#),
            "request resources/read 2026-07-28"
        ),
        Row(
            "resource by another URI",
            modernLines("resources/read", name: "ledger://2025"),
            call(method: "resources/read", params: #""uri":"ledger://2026""#),
            #"400 -32020 {"id":8} nameMismatch"#
        ),
        Row(
            "prompt by its name",
            modernLines("prompts/get", name: "p"),
            call(method: "prompts/get", params: #""name":"p""#),
            "request prompts/get 2026-07-28"
        ),
        Row(
            "task by its id",
            modernLines("tasks/get", name: "tk_1"),
            call(method: "tasks/get", params: #""taskId":"tk_1""#),
            "request tasks/get 2026-07-28"
        ),
        Row(
            "name on a method that has none",
            modernLines("tools/list", name: "whatever"),
            call(method: "tools/list", params: #""cursor":"""#),
            "request tools/list 2026-07-28"
        ),

        // Row 12
        Row(
            "unknown version everywhere",
            lines(["MCP-Protocol-Version": "2027-01-01"]),
            call(
                meta:
                    #""io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientCapabilities":{}"#
            ),
            #"400 -32022 {"id":8} unsupportedVersion"#
        ),
        Row(
            "legacy version in an envelope",
            lines(["MCP-Protocol-Version": "2025-11-25"]),
            call(
                meta:
                    #""io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}"#
            ),
            #"400 -32022 {"id":8} unsupportedVersion"#
        ),

        // Row 14
        Row(
            "unknown method",
            modernLines("tools/destroy"),
            call(method: "tools/destroy"),
            #"404 -32601 {"id":8} unknownMethod"#
        ),
        Row(
            "removed method ping",
            modernLines("ping"),
            call(method: "ping"),
            #"404 -32601 {"id":8} unknownMethod"#
        ),
        Row(
            "removed method initialize",
            modernLines("initialize"),
            call(method: "initialize"),
            #"404 -32601 {"id":8} unknownMethod"#
        ),
        Row(
            "removed method logging/setLevel",
            modernLines("logging/setLevel"),
            call(method: "logging/setLevel"),
            #"404 -32601 {"id":8} unknownMethod"#
        ),
        Row(
            "method of the tasks of 2025-11-25",
            modernLines("tasks/result"),
            call(method: "tasks/result"),
            #"404 -32601 {"id":8} unknownMethod"#
        ),
        Row(
            "notification with an id",
            modernLines("notifications/cancelled"),
            call(method: "notifications/cancelled"),
            #"404 -32601 {"id":8} unknownMethod"#
        ),
        Row(
            "method of a server",
            modernLines("sampling/createMessage"),
            call(method: "sampling/createMessage"),
            #"404 -32601 {"id":8} unknownMethod"#
        ),

        // Row 15
        Row(
            "no name at all",
            lines(["Mcp-Name": nil]),
            call(params: #""arguments":{}"#),
            #"400 -32602 {"id":8} invalidParams"#
        ),
        Row(
            "name is a number",
            lines(["Mcp-Name": nil]),
            call(params: #""name":1"#),
            #"400 -32602 {"id":8} invalidParams"#
        ),
        Row(
            "arguments are a list",
            good,
            call(params: #""name":"transfer","arguments":[]"#),
            #"400 -32602 {"id":8} invalidParams"#
        ),
        Row(
            "arguments are null",
            good,
            call(params: #""name":"transfer","arguments":null"#),
            #"400 -32602 {"id":8} invalidParams"#
        ),
        Row(
            "request state is an object",
            good,
            call(params: #""name":"transfer","requestState":{}"#),
            #"400 -32602 {"id":8} invalidParams"#
        ),
        Row(
            "progress token is null",
            good,
            call(meta: envelope + #","progressToken":null"#),
            #"400 -32602 {"id":8} invalidParams"#
        ),
        Row(
            "cursor is a number",
            modernLines("tools/list"),
            call(method: "tools/list", params: #""cursor":1"#),
            #"400 -32602 {"id":8} invalidParams"#
        ),

        Row(
            "session and event id mean nothing",
            lines([:], [("Mcp-Session-Id", "x"), ("Last-Event-ID", "y")]),
            call(),
            accepted
        ),
    ]

    @Test(arguments: ladder)
    func `the ladder answers as the revision demands`(row: Row) {
        #expect(verdict(RequestLadder(), row.lines, row.body) == row.verdict)
    }

    static let legacyLines: Lines =
        contentLines + [("MCP-Protocol-Version", "2025-11-25"), ("Mcp-Session-Id", "sess_1")]
    static let initialize =
        #"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}"#
    static let bare =
        #"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"transfer","arguments":{}}}"#

    static let eras: [Row] = [
        Row("initialize, no header", contentLines, initialize, "request initialize legacy - -"),
        Row(
            "initialize, legacy header",
            contentLines + [("MCP-Protocol-Version", "2025-11-25")],
            initialize,
            "request initialize legacy 2025-11-25 -"
        ),
        Row(
            "initialize, legacy header that is not served",
            contentLines + [("MCP-Protocol-Version", "2025-03-26")],
            initialize,
            "request initialize legacy 2025-03-26 -"
        ),
        Row(
            "initialize, modern header",
            modernLines("initialize"),
            initialize,
            #"400 -32020 {"id":0} eraMismatch"#
        ),
        Row(
            "initialize, unknown header",
            contentLines + [("MCP-Protocol-Version", "2027-01-01")],
            initialize,
            #"400 -32022 {"id":0} unsupportedVersion"#
        ),
        Row(
            "initialize with an envelope, modern header",
            modernLines("initialize"),
            call(method: "initialize"),
            #"404 -32601 {"id":8} unknownMethod"#
        ),
        Row(
            "initialize with an envelope, no header",
            contentLines,
            call(method: "initialize"),
            #"400 -32020 {"id":8} versionMismatch"#
        ),
        Row("envelope, no header", contentLines, call(), #"400 -32020 {"id":8} versionMismatch"#),
        Row(
            "envelope, legacy header and session",
            legacyLines,
            call(),
            #"400 -32020 {"id":8} versionMismatch"#
        ),
        Row(
            "half an envelope, legacy header",
            legacyLines,
            call(meta: #""io.modelcontextprotocol/clientCapabilities":{}"#),
            #"400 -32602 {"id":8} envelope"#
        ),
        Row(
            "envelope version null, legacy header",
            legacyLines,
            call(meta: #""io.modelcontextprotocol/protocolVersion":null"#),
            #"400 -32602 {"id":8} envelope"#
        ),
        Row(
            "no envelope, modern header",
            modernLines("tools/call", name: "transfer"),
            bare,
            #"400 -32602 {"id":4} envelope"#
        ),
        Row(
            "no parameters, modern header",
            modernLines("tools/list"),
            #"{"jsonrpc":"2.0","id":4,"method":"tools/list"}"#,
            #"400 -32602 {"id":4} envelope"#
        ),
        Row(
            "no envelope, legacy header",
            legacyLines,
            bare,
            "request tools/call legacy 2025-11-25 sess_1"
        ),
        Row(
            "no envelope, no header",
            contentLines + [("mcp-session-id", "s")],
            bare,
            "request tools/call legacy - s"
        ),
        Row(
            "no envelope, legacy header that is not served",
            contentLines + [("MCP-Protocol-Version", "2025-06-18")],
            bare,
            #"400 -32022 {"id":4} unsupportedVersion"#
        ),
        Row(
            "no envelope, unknown header",
            contentLines + [("MCP-Protocol-Version", "2027-01-01")],
            bare,
            #"400 -32022 {"id":4} unsupportedVersion"#
        ),
        Row("array, no header", contentLines, "[\(bare)]", #"400 -32600 {"id":null} batch"#),
        Row("array, legacy header", legacyLines, "[\(bare)]", #"400 -32600 {"id":null} batch"#),
        Row(
            "array with an envelope",
            modernLines("tools/call", name: "transfer"),
            "[\(call())]",
            #"400 -32600 {"id":null} batch"#
        ),

        Row(
            "legacy notification",
            legacyLines,
            #"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            "notification notifications/initialized legacy"
        ),
        Row(
            "legacy notification, no header",
            contentLines,
            #"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}"#,
            "notification notifications/cancelled legacy"
        ),
        Row(
            "legacy tools/call without an id",
            legacyLines,
            #"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"transfer"}}"#,
            "notification unknown legacy"
        ),
        Row(
            "legacy notification with a modern envelope",
            contentLines,
            #"{"jsonrpc":"2.0","method":"notifications/initialized","params":{"_meta":{\#(envelope)}}}"#,
            #"400 -32020 {"id":null} versionMismatch"#
        ),
        Row(
            "legacy response",
            legacyLines,
            #"{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}"#,
            "response integer(1)"
        ),
        Row(
            "legacy unknown method",
            legacyLines,
            #"{"jsonrpc":"2.0","id":4,"method":"tools/destroy"}"#,
            #"200 -32601 {"id":4} unknownMethod"#
        ),
        Row(
            "modern method in the legacy era",
            legacyLines,
            #"{"jsonrpc":"2.0","id":4,"method":"server/discover"}"#,
            #"200 -32601 {"id":4} unknownMethod"#
        ),
        Row(
            "legacy bad parameters",
            legacyLines,
            #"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"arguments":{}}}"#,
            #"200 -32602 {"id":4} invalidParams"#
        ),
        Row(
            "legacy list parameters",
            legacyLines,
            #"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":["transfer"]}"#,
            #"200 -32602 {"id":4} invalidParams"#
        ),
        Row(
            "legacy ping",
            legacyLines,
            #"{"jsonrpc":"2.0","id":4,"method":"ping"}"#,
            "request ping legacy 2025-11-25 sess_1"
        ),
        Row(
            "legacy two sessions",
            legacyLines + [("mcp-session-id", "sess_2")],
            bare,
            #"400 -32600 {"id":4} repeatedHeader"#
        ),
        Row(
            "legacy log level",
            legacyLines,
            #"{"jsonrpc":"2.0","id":4,"method":"logging/setLevel","params":{"level":"loud"}}"#,
            #"200 -32602 {"id":4} invalidParams"#
        ),
    ]

    @Test(arguments: eras)
    func `the eras are told apart by body and header together`(row: Row) {
        #expect(verdict(RequestLadder(), row.lines, row.body) == row.verdict)
    }

    @Test func `an endpoint of one era refuses the other`() {
        let modern = RequestLadder(served: [.r2026_07_28])
        #expect(
            verdict(modern, Self.legacyLines, Self.bare)
                == #"400 -32022 {"id":4} unsupportedVersion"#
        )
        let legacy = RequestLadder(served: [.r2025_11_25])
        #expect(
            verdict(legacy, Self.good, Self.call()) == #"400 -32022 {"id":8} unsupportedVersion"#
        )
    }

    @Test func `a method outside the protocol passes only by configuration`() {
        let open = RequestLadder(extraMethods: ["acme/export"])
        let lines = modernLines("acme/export")
        let body = Self.call(method: "acme/export")
        #expect(verdict(open, lines, body) == "request unknown 2026-07-28")
        #expect(verdict(RequestLadder(), lines, body) == #"404 -32601 {"id":8} unknownMethod"#)
    }

    @Test func `a body beyond the limit is 413`() {
        let ladder = RequestLadder(limits: JSONLimits(bytesMax: 100))
        #expect(verdict(ladder, Self.good, Self.call()) == #"413 -32600 {"id":null} bodyTooLarge"#)
    }

    private func refusal(_ lines: Lines, _ body: String) -> LadderRefusal? {
        do throws(LadderRefusal) {
            _ = try RequestLadder().accept(headers: headers(lines), body: Array(body.utf8))
            return nil
        } catch {
            return error
        }
    }

    @Test func `refusals have the bodies of the specification`() throws {
        let id10 =
            #""io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientCapabilities":{}"#
        let rows: [(LadderRefusal?, String)] = [
            (
                refusal(Self.lines(["Mcp-Name": "x"]), Self.call()),
                #"{"jsonrpc":"2.0","id":8,"error":{"code":-32020,"message":"Header mismatch: Mcp-Name does not equal params.name"}}"#
            ),
            (
                refusal(
                    Self.good,
                    Self.call(
                        id: "9",
                        meta: #""io.modelcontextprotocol/protocolVersion":"2026-07-28""#
                    )
                ),
                #"{"jsonrpc":"2.0","id":9,"error":{"code":-32602,"message":"params._meta lacks io.modelcontextprotocol/clientCapabilities"}}"#
            ),
            (
                refusal(
                    modernLines("tools/list"),
                    #"{"jsonrpc":"2.0","id":9,"method":"tools/list"}"#
                ),
                #"{"jsonrpc":"2.0","id":9,"error":{"code":-32602,"message":"params._meta lacks io.modelcontextprotocol/protocolVersion, io.modelcontextprotocol/clientCapabilities"}}"#
            ),
            (
                refusal(
                    Self.lines(["MCP-Protocol-Version": "2027-01-01"]),
                    Self.call(id: "10", meta: id10)
                ),
                #"{"jsonrpc":"2.0","id":10,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28","2025-11-25"],"requested":"2027-01-01"}}}"#
            ),
            (
                refusal(modernLines("nope"), Self.call(id: #""12""#, method: "nope")),
                #"{"jsonrpc":"2.0","id":"12","error":{"code":-32601,"message":"Method not found"}}"#
            ),
            (
                refusal(Self.good, "{]"),
                #"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#
            ),
        ]
        for (refusal, body) in rows {
            #expect(try text(#require(refusal).body) == body)
        }
        #expect(refusal(Self.good, "{]")?.jsonError == JSONError(.unexpectedByte, at: 1))
    }

    @Test func `a capability that was not declared is asked for by name`() throws {
        let body = Self.call(
            id: "11",
            meta:
                #""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}"#
        )
        guard
            case .request(let request) = try RequestLadder().accept(
                headers: headers(Self.good),
                body: Array(body.utf8)
            )
        else {
            Issue.record("no request")
            return
        }
        try request.require(capability: ["elicitation", "form"])
        do throws(LadderRefusal) {
            try request.require(capability: ["elicitation", "url"])
            Issue.record("not refused")
        } catch {
            #expect(error.httpStatus == 400)
            #expect(
                text(error.body)
                    == #"{"jsonrpc":"2.0","id":11,"error":{"code":-32021,"message":"Missing required client capability","data":{"requiredCapabilities":{"elicitation":{"url":{}}}}}}"#
            )
        }
    }

    @Test func `GET and DELETE belong to legacy sessions alone`() throws {
        let ladder = RequestLadder()
        func operation(_ verb: RequestLadder.SessionVerb, _ lines: Lines) -> String {
            do throws(LadderRefusal) {
                return "\(try ladder.accept(verb, headers: headers(lines)))"
            } catch {
                return "\(error.httpStatus) \(error.reason)"
            }
        }
        let modern: Lines = [
            ("MCP-Protocol-Version", "2026-07-28"), ("Accept", "text/event-stream"),
        ]
        let legacy: Lines = [("MCP-Protocol-Version", "2025-11-25"), ("Mcp-Session-Id", "s")]
        #expect(operation(.get, modern) == "405 verb")
        #expect(operation(.delete, modern) == "405 verb")
        #expect(operation(.get, legacy) == "406 notAcceptable")
        #expect(operation(.delete, legacy).hasPrefix("endSession"))
        let resume = legacy + [("Accept", "text/event-stream"), ("Last-Event-ID", "e-1")]
        #expect(
            try ladder.accept(.get, headers: headers(resume))
                == .openStream(sessionID: "s", lastEventID: "e-1")
        )
        #expect(
            operation(.get, [("MCP-Protocol-Version", "2027-01-01")]) == "400 unsupportedVersion"
        )
    }

    @Test func `the handshake settles on a served legacy revision`() throws {
        func negotiated(_ version: String, _ served: [ProtocolRevision]) throws -> ProtocolRevision?
        {
            let body = Self.initialize.replacing("2025-11-25", with: version)
            guard
                case .request(let request) = try RequestLadder().accept(
                    headers: headers(contentLines),
                    body: Array(body.utf8)
                )
            else { return nil }
            return InitializeParams(request)?.negotiated(among: served)
        }
        let served: [ProtocolRevision] = [.r2026_07_28, .r2025_11_25]
        #expect(try negotiated("2025-11-25", served) == .r2025_11_25)
        #expect(try negotiated("2024-11-05", served) == .r2025_11_25)
        #expect(try negotiated("2024-11-05", [.r2025_11_25, .r2024_11_05]) == .r2024_11_05)
        #expect(try negotiated("2026-07-28", served) == .r2025_11_25)
        #expect(try negotiated("never", served) == .r2025_11_25)
        #expect(try negotiated("2025-11-25", [.r2026_07_28]) == nil)
    }
}
