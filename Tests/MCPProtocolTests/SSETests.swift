import JSON
import MCPProtocol
import Testing

struct SSETests {
    private func events(_ chunks: [[UInt8]]) throws -> [SSEEvent] {
        var parser = SSEParser()
        return try chunks.flatMap { try parser.push($0) }
    }

    private func event(_ data: String, _ type: Text = "message", id: Text? = nil) -> SSEEvent {
        SSEEvent(data: Array(data.utf8), event: type, id: id)
    }

    static let stream =
        "\u{FEFF}: hello\n\nid: ev-1\nretry: 1500\ndata: \n\nid: ev-2\r\nevent: message\r\ndata: {\"é\":1}\r\n\r\n"
        + "data:a\rdata:  b\rdata\r\rfoo: bar\nignored\n\nevent: endpoint\ndata: /x\n\nid\ndata: y\n\ndata: unfinished\n"

    @Test func `a stream gives the same events wherever it is split`() throws {
        let bytes = Array(Self.stream.utf8)
        let expected = [
            event("", id: "ev-1"), event(#"{"é":1}"#, id: "ev-2"), event("a\n b\n"),
            event("/x", "endpoint"), event("y", id: ""),
        ]
        #expect(try events([bytes]) == expected)
        #expect(try events(bytes.map { [$0] }) == expected)
        for first in 0...bytes.count {
            #expect(try events([Array(bytes[..<first]), Array(bytes[first...])]) == expected)
            for second in first...bytes.count {
                let chunks = [bytes[..<first], bytes[first..<second], bytes[second...]].map(
                    Array.init
                )
                #expect(try events(chunks) == expected)
            }
        }
    }

    @Test func `fields follow the specification`() throws {
        let rows: [(String, [SSEEvent])] = [
            ("\n\n\n", []), ("event: x\n\n", []), (": c\n\n", []), ("data\n\n", [event("")]),
            ("data:x\ndata:y\n\n", [event("x\ny")]), ("data:  x\n\n", [event(" x")]),
            ("data: a:b\n\n", [event("a:b")]), ("Data: x\n\n", []), (" data: x\n\n", []),
            ("id: a\u{0}b\ndata: x\n\n", [event("x")]), ("id: a\n\ndata: x\n\n", [event("x")]),
            ("event: a\nevent: b\ndata: x\n\n", [event("x", "b")]), ("data: x\n", []),
            ("data: x", []),
            ("data: x\r\r", [event("x")]), ("data: x\r\n\r\n", [event("x")]),
            ("data: x\n\r", [event("x")]),
            ("data: x\r\n\n", [event("x")]),
        ]
        for (text, expected) in rows {
            #expect(try events([Array(text.utf8)]) == expected, "\(text.debugDescription)")
        }
        var parser = SSEParser()
        _ = try parser.push(Array("retry: 1500\nretry: -1\nretry: 1e3\nretry:\n".utf8))
        #expect(parser.retryMilliseconds == 1500)
        #expect(!parser.isInsideEvent)
        _ = try parser.push(Array("data: x\n".utf8))
        #expect(parser.isInsideEvent)
    }

    @Test func `lines and events are bounded, streams are not`() throws {
        var parser = SSEParser(lineBytesMax: 20, eventBytesMax: 30)
        for _ in 0..<1000 {
            #expect(try parser.push(Array("data: 12345678901234\n\n".utf8)).count == 1)
        }
        #expect(throws: SSEParser.Fault.lineTooLong) {
            var parser = parser
            _ = try parser.push(Array("data: 123456789012345".utf8))
        }
        #expect(throws: SSEParser.Fault.lineTooLong) {
            var parser = parser
            for _ in 0..<21 { _ = try parser.push(Array(":".utf8)) }
        }
        #expect(throws: SSEParser.Fault.eventTooLong) {
            var parser = parser
            for _ in 0..<3 { _ = try parser.push(Array("data: 12345678901234\n".utf8)) }
        }
        #expect(throws: SSEParser.Fault.eventTooLong) {
            // Empty lines cost a byte each: they may not be free either.
            var parser = parser
            for _ in 0..<100 { _ = try parser.push(Array("data\n".utf8)) }
        }
    }

    @Test func `what is written is read`() throws {
        let message = Array(#"{"jsonrpc":"2.0","method":"x\n"}"#.utf8)
        #expect(
            text(SSEWriter.message(message, id: "r4-2"))
                == "id: r4-2\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"x\\n\"}\n\n"
        )
        #expect(text(SSEWriter.message(message)).hasPrefix("event: message\ndata: {"))
        #expect(text(SSEWriter.comment()) == ": keep-alive\n\n")
        #expect(
            text(SSEWriter.priming(id: "ev-1", retryMilliseconds: 1500))
                == "id: ev-1\nretry: 1500\ndata: \n\n"
        )
        let stream = [
            SSEWriter.priming(id: "a", retryMilliseconds: 1), SSEWriter.comment(),
            SSEWriter.message(message),
        ]
        #expect(try events(stream) == [event("", id: "a"), SSEEvent(data: message)])
    }

    @Test func `random bytes never crash the parser, and splitting never changes what it says`()
        throws
    {
        let seed = fuzzSeed(0x55E)
        print("seed", seed)
        var random = SeededGenerator(seed: seed)
        let pieces = [
            "data", ":", " ", "\n", "\r", "\r\n", "\n\n", "id", "event", "retry", "x", "\u{FEFF}",
            "é", "\0", "data: {}\n\n",
        ]
        let deadline = ContinuousClock.now + fuzzDuration
        var round = 0
        while round < 3000 || ContinuousClock.now < deadline {
            round += 1
            var bytes = (0..<Int.random(in: 0...40, using: &random)).flatMap { _ in
                Array((pieces.randomElement(using: &random) ?? "").utf8)
            }
            if !bytes.isEmpty, Bool.random(using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(
                    in: 0...255,
                    using: &random
                )
            }
            let split = Int.random(in: 0...bytes.count, using: &random)
            let whole = try events([bytes])
            #expect(
                try events([Array(bytes[..<split]), Array(bytes[split...])]) == whole,
                "seed \(seed), round \(round)"
            )
            #expect(try events(bytes.map { [$0] }) == whole, "seed \(seed), round \(round)")
        }
    }
}
