import JSON
import MCPProtocol
import Testing

/// Messages bent a little, in body and headers: whatever passes must mean one thing to everybody.
struct SmugglingTests {
    private struct Sample {
        var lines: Lines
        var body: [UInt8]
    }

    private static let corpus = (AppendixTests.rows + LadderTests.ladder + LadderTests.eras).map {
        Sample(lines: $0.lines, body: Array($0.body.utf8))
    }

    private static let tokens: [String] = [
        #""id":null"#, #""id":1"#, #","method":"tools/list""#, #","result":{}"#,
        #""name":"danger","#, "_meta",
        #""io.modelcontextprotocol/protocolVersion":"2025-11-25""#, "2026-07-28", "2025-11-25", "[",
        "]", "{", "}", ",",
        "\"", "\\u0061", "\\", "null", "1.0", "tools/call", "initialize",
        "notifications/initialized", "é",
    ]

    private static let headerPool: Lines = [
        ("MCP-Protocol-Version", "2026-07-28"), ("mcp-protocol-version", "2025-11-25"),
        ("MCP-Protocol-Version", "2027-01-01"), ("Mcp-Method", "tools/call"),
        ("mcp-method", "tools/list"),
        ("Mcp-Name", "transfer"), ("mcp-name", "danger"), ("Mcp-Name", "=?base64?dHJhbnNmZXI=?="),
        ("Mcp-Session-Id", "s"), ("Accept", "*/*"), ("Content-Type", "text/plain"),
        ("Mcp-Param-Region", "eu"),
    ]

    @Test func `whatever passes says the same in body and headers, and survives the next hop`()
        throws
    {
        let seed = fuzzSeed(0x5_3066)
        print("seed", seed)
        var random = SeededGenerator(seed: seed)
        let deadline = ContinuousClock.now + fuzzDuration
        var (round, requests) = (0, 0)
        while round < 20_000 || ContinuousClock.now < deadline {
            round += 1
            guard var sample = Self.corpus.randomElement(using: &random) else { return }
            for _ in 0..<Int.random(in: 0...2, using: &random) { bend(&sample.body, &random) }
            for _ in 0..<Int.random(in: 0...2, using: &random) { bend(&sample.lines, &random) }
            let fields = headers(sample.lines)
            do throws(LadderRefusal) {
                let message = try RequestLadder().accept(headers: fields, body: sample.body)
                guard case .request(let request) = message else { continue }
                requests += 1
                check(request, fields, "seed \(seed), round \(round)")
            } catch {
                #expect([200, 400, 404, 406, 413, 415].contains(error.httpStatus))
                let body = json(text(error.body))
                #expect(body["error"]?["code"]?.int64 == Int64(error.error.code))
                #expect(body["id"] != nil)
            }
        }
        #expect(requests > round / 20)
    }

    private func check(_ request: InboundRequest, _ fields: RequestHeaders, _ place: String) {
        if case .modern(let revision, let envelope) = request.context {
            #expect(fields.protocolVersion == .value(Text(revision.rawValue)), "\(place)")
            #expect(envelope.protocolVersion == Text(revision.rawValue), "\(place)")
            #expect(fields.method == .value(request.method), "\(place)")
            if let member = request.known?.nameMember {
                let named = request.params?[member]?.string
                #expect(fields.name.value.flatMap(HeaderValueCodec.decode) == named, "\(place)")
            }
        } else {
            #expect(fields.protocolVersion != .value("2026-07-28"), "\(place)")
            #expect(!RequestEnvelope.isPresent(in: request.params), "\(place)")
        }
        // A call that passed is rebuilt, and what is rebuilt passes the ladder of the next gateway.
        guard let call = ToolCallParams(request) else { return }
        let upstream = UpstreamDialect(revision: .r2026_07_28, client: gateway)
            .callTool(id: request.id, name: call.name, arguments: call.arguments, meta: call.meta)
        let lines = contentLines + upstream.headers.map { ($0.name.string, $0.value.string) }
        let outcome = verdict(RequestLadder(), headers(lines), upstream.body)
        #expect(outcome == "request tools/call 2026-07-28", "\(place)")
    }

    private func bend(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
        guard !bytes.isEmpty else { return }
        let at = Int.random(in: 0..<bytes.count, using: &random)
        let end = min(bytes.count, at + Int.random(in: 1...10, using: &random))
        switch Int.random(in: 0..<5, using: &random) {
        case 0: bytes[at] = .random(in: 0...255, using: &random)
        case 1: bytes[at] ^= 0x20
        case 2: bytes.removeSubrange(at..<end)
        case 3: bytes.insert(contentsOf: bytes[at..<end], at: at)
        default:
            bytes.insert(
                contentsOf: Array((Self.tokens.randomElement(using: &random) ?? "").utf8),
                at: at
            )
        }
    }

    private func bend(_ lines: inout Lines, _ random: inout SeededGenerator) {
        switch Int.random(in: 0..<3, using: &random) {
        case 0 where !lines.isEmpty:
            lines.remove(at: Int.random(in: 0..<lines.count, using: &random))
        case 1 where !lines.isEmpty:
            let at = Int.random(in: 0..<lines.count, using: &random)
            lines[at].1 =
                [" " + lines[at].1, lines[at].1 + "\t", lines[at].1.uppercased(), ""].randomElement(
                    using: &random
                ) ?? ""
        default:
            if let line = Self.headerPool.randomElement(using: &random) {
                lines.insert(line, at: Int.random(in: 0...lines.count, using: &random))
            }
        }
    }
}
