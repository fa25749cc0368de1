import JSON
import MCPProtocol
import Testing

struct ResponseTests {
    private func builder(
        _ revision: ProtocolRevision,
        id: RequestID = .integer(2)
    ) -> ResponseBuilder {
        ResponseBuilder(revision: revision, id: id, server: gateway)
    }

    private static let info =
        #""io.modelcontextprotocol/serverInfo":{"name":"acme-gateway","version":"1.0.0"}"#

    static let upstreamList = json(
        #"""
        { "tools": [
            {"name": "transfer", "inputSchema": {"type":"object","properties":{"n":{"const":1.0}}}, "execution":{"taskSupport":"optional"}},
            {"name": "hidden", "inputSchema": {"type":"object"}},
            {"name": "list\u0073", "inputSchema": {"type":"object"}, "outputSchema":{"type":"array"}, "_meta":{"ui":{"resourceUri":"ui://x"}}},
            {"title": "nameless"}, 7
          ], "nextCursor": "theirs", "extra": [1e2], "ttlMs": 60000, "cacheScope": "public",
          "_meta": {"com.acme/build": 7, "io.modelcontextprotocol/serverInfo":{"name":"inner","version":"0"}} }
        """#
    )

    @Test func `a filtered list for a modern client`() {
        let body = builder(.r2026_07_28).toolsList(from: Self.upstreamList, nextCursor: "ours") {
            name,
            _ in
            name != "hidden"
        }
        #expect(
            text(body)
                == #"{"jsonrpc":"2.0","id":2,"result":{"resultType":"complete","extra":[1e2],"tools":["#
                + #"{"name":"transfer","inputSchema":{"type":"object","properties":{"n":{"const":1.0}}}},"#
                + #"{"name":"lists","inputSchema":{"type":"object"},"outputSchema":{"type":"array"},"_meta":{"ui":{"resourceUri":"ui://x"}}}],"#
                + #""nextCursor":"ours","ttlMs":0,"cacheScope":"private","_meta":{"com.acme/build":7,\#(Self.info)}}}"#
        )
    }

    @Test func `a filtered list for a legacy client`() {
        let body = builder(.r2025_11_25, id: .string("l")).toolsList(from: Self.upstreamList) {
            name,
            _ in
            name != "hidden"
        }
        #expect(
            text(body)
                == #"{"jsonrpc":"2.0","id":"l","result":{"extra":[1e2],"tools":["#
                + #"{"name":"transfer","inputSchema":{"type":"object","properties":{"n":{"const":1.0}}},"execution":{"taskSupport":"optional"}},"#
                + #"{"name":"lists","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://x"}}}],"#
                + #""_meta":{"com.acme/build":7}}}"#
        )
    }

    @Test func `an all-filtered page is an empty list`() {
        let body = builder(.r2025_11_25).toolsList(from: json(#"{"tools":[{"name":"a"}]}"#)) {
            _,
            _ in false
        }
        #expect(text(body) == #"{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}"#)
        #expect(
            text(builder(.r2025_11_25).toolsList([]))
                == #"{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}"#
        )
        let shapeless = builder(.r2025_11_25).toolsList(from: json("{}")) { _, _ in true }
        #expect(text(shapeless) == #"{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}"#)
    }

    static let upstreamResult = json(
        #"""
        {"resultType":"complete","content":[{"type":"text","text":"{\"bookingId\": \"bk_551\"}"}], "structuredContent":{"n": 1.0, "big":123456789012345678901234567890},
         "isError":false,"vendor":true,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"inner","version":"0"},"ostiary/decision":"forged"}}
        """#
    )

    @Test func `a tool result is bridged to each era`() {
        #expect(
            text(builder(.r2026_07_28, id: .integer(3)).toolCall(from: Self.upstreamResult))
                == #"{"jsonrpc":"2.0","id":3,"result":{"resultType":"complete","content":[{"type":"text","text":"{\"bookingId\": \"bk_551\"}"}],"structuredContent":{"n":1.0,"big":123456789012345678901234567890},"isError":false,"vendor":true,"_meta":{\#(Self.info)}}}"#
        )
        #expect(
            text(builder(.r2025_11_25, id: .integer(3)).toolCall(from: Self.upstreamResult))
                == #"{"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"{\"bookingId\": \"bk_551\"}"}],"structuredContent":{"n":1.0,"big":123456789012345678901234567890},"isError":false,"vendor":true}}"#
        )
        let decision = JSONFragment { $0.member("decision", "permit") }
        #expect(
            text(
                builder(.r2025_11_25, id: .integer(3)).toolCall(
                    from: json(#"{"content":[],"structuredContent":[1]}"#),
                    decision: decision
                )
            )
                == #"{"jsonrpc":"2.0","id":3,"result":{"content":[],"_meta":{"ostiary/decision":{"decision":"permit"}}}}"#
        )
        #expect(
            text(
                builder(.r2026_07_28, id: .integer(3)).toolCall(
                    from: json(#"{"structuredContent":[1]}"#)
                )
            )
                == #"{"jsonrpc":"2.0","id":3,"result":{"resultType":"complete","structuredContent":[1],"content":[],"_meta":{\#(Self.info)}}}"#
        )
    }

    @Test func `a refused call is a result that the model sees`() {
        let sentence: Text =
            "Blocked by policy pay-014: transfers above 500 EUR need role treasurer. Do not retry with the same arguments."
        #expect(
            text(builder(.r2025_11_25, id: .integer(7)).toolError(sentence))
                == #"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"\#(sentence)"}],"isError":true}}"#
        )
        let decision = JSONFragment { writer in
            writer.member("decision", "deny")
            writer.member("policy", "pay-014")
        }
        #expect(
            text(builder(.r2026_07_28, id: .integer(7)).toolError("No.", decision: decision))
                == #"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","content":[{"type":"text","text":"No."}],"isError":true,"_meta":{\#(Self.info),"ostiary/decision":{"decision":"deny","policy":"pay-014"}}}}"#
        )
    }

    @Test func `the gateway introduces itself in both eras`() {
        let upstream = json(
            #"{"tools":{"listChanged":true,"x":1},"resources":{},"tasks":{},"logging":{}}"#
        )
        let capabilities = ServerCapabilities.carried(from: upstream)
        #expect(text(capabilities.bytes) == #"{"tools":{"x":1}}"#)
        #expect(
            text(ServerCapabilities.carried(from: upstream, pushesListChanges: true).bytes)
                == #"{"tools":{"x":1,"listChanged":true}}"#
        )
        #expect(text(ServerCapabilities.carried(from: nil).bytes) == "{}")
        #expect(
            text(
                builder(.r2025_11_25, id: .integer(0)).initialize(
                    capabilities: capabilities,
                    instructions: "Read."
                )
            )
                == #"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"x":1}},"serverInfo":{"name":"acme-gateway","version":"1.0.0"},"instructions":"Read."}}"#
        )
        #expect(
            text(
                builder(.r2026_07_28, id: .string("d-1")).discover(
                    served: [.r2026_07_28, .r2025_11_25],
                    capabilities: capabilities,
                    hints: CachingHints(ttlMs: 60000)
                )
            )
                == #"{"jsonrpc":"2.0","id":"d-1","result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"x":1}},"ttlMs":60000,"cacheScope":"private","_meta":{\#(Self.info)}}}"#
        )
        #expect(text(builder(.r2025_11_25).empty()) == #"{"jsonrpc":"2.0","id":2,"result":{}}"#)
    }

    @Test func `errors are written with their data`() {
        let data = JSONFragment { $0.member("request", "ap_1") }
        #expect(
            text(builder(.r2026_07_28).error(RPCError(.approvalPending, data: data)))
                == #"{"jsonrpc":"2.0","id":2,"error":{"code":31002,"message":"Approval is pending","data":{"request":"ap_1"}}}"#
        )
    }
}
