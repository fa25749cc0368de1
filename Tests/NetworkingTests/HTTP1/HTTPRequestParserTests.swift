import NIOCore
import Testing

@testable import Networking

/// One message and what the codec must say to it.
struct RefusalRow: Sendable, CustomTestStringConvertible {
    let name: String
    let bytes: String
    let fault: HTTPFault
    var testDescription: String { name }

    init(_ name: String, _ bytes: String, _ fault: HTTPFault) {
        self.name = name
        self.bytes = bytes
        self.fault = fault
    }

    /// A request with these extra field lines and body.
    static func fields(
        _ name: String,
        _ lines: String,
        _ fault: HTTPFault,
        body: String = ""
    ) -> Self {
        Self(name, "POST / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n\r\n\(body)", fault)
    }

    static func chunked(_ name: String, _ body: String, _ fault: HTTPFault) -> Self {
        .fields(name, "Transfer-Encoding: chunked", fault, body: body)
    }

    static func line(_ name: String, _ line: String, _ fault: HTTPFault) -> Self {
        Self(name, "\(line)\r\nHost: a\r\n\r\n", fault)
    }

    static let requests: [RefusalRow] = [
        .line("bare LF after the request line", "GET / HTTP/1.1\n", .bareLineFeed),
        .line("bare CR in the request line", "GET /\r HTTP/1.1", .bareCarriageReturn),
        .line("NUL in the request line", "GET /\0 HTTP/1.1", .controlByte),
        .line("tab instead of space", "GET\t/ HTTP/1.1", .methodMalformed),
        .line("two spaces before the target", "GET  / HTTP/1.1", .requestLineMalformed),
        .line("two spaces before the version", "GET /  HTTP/1.1", .requestLineMalformed),
        .line("space at the end of the line", "GET / HTTP/1.1 ", .requestLineMalformed),
        .line("space before the method", " GET / HTTP/1.1", .methodMalformed),
        .line("method only", "GET", .requestLineMalformed),
        .line("empty line first", "", .emptyLineBeforeRequest),
        .line("HTTP/0.9", "GET /", .versionMissing),
        .line("HTTP/2 preface", "PRI * HTTP/2.0", .versionUnsupported),
        .line("HTTP/1.2", "GET / HTTP/1.2", .versionUnsupported),
        .line("HTTP/3.0", "GET / HTTP/3.0", .versionUnsupported),
        .line("lower-case version", "GET / http/1.1", .requestLineMalformed),
        .line("version with a long minor", "GET / HTTP/1.10", .requestLineMalformed),
        .line("version with a sign", "GET / HTTP/1.+1", .requestLineMalformed),
        .line("method with a separator", "G@T / HTTP/1.1", .methodMalformed),
        .line("lower-case method", "get / HTTP/1.1", .methodUnknown),
        .line("unknown method", "BREW / HTTP/1.1", .methodUnknown),
        .line("CONNECT", "CONNECT a:443 HTTP/1.1", .methodForbidden),
        .line("TRACE", "TRACE / HTTP/1.1", .methodForbidden),
        .line("absolute form", "GET http://a/ HTTP/1.1", .targetForm),
        .line("authority form", "GET a:80 HTTP/1.1", .targetForm),
        .line("asterisk form", "OPTIONS * HTTP/1.1", .targetForm),
        .line("fragment in the target", "GET /#x HTTP/1.1", .targetMalformed),
        .line("backslash in the target", "GET /\\x HTTP/1.1", .targetMalformed),
        .line("quote in the target", "GET /\"x HTTP/1.1", .targetMalformed),
        .line("broken percent escape", "GET /%4 HTTP/1.1", .targetMalformed),
        .line("percent escape that is not hex", "GET /%zz HTTP/1.1", .targetMalformed),
        .line("UTF-8 in the target", "GET /é HTTP/1.1", .nonASCIIByte),
        .line("DEL in the target", "GET /\u{7f} HTTP/1.1", .controlByte),
        .line(
            "long target",
            "GET /\(String(repeating: "a", count: 5000)) HTTP/1.1",
            .targetTooLong
        ),
        .line("TLS on a plain port", "\u{16}\u{3}\u{1}", .controlByte),

        RefusalRow("no Host", "GET / HTTP/1.1\r\n\r\n", .hostMissing),
        RefusalRow("no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", .hostMissing),
        .fields("two Hosts", "Host: b", .hostDuplicate),
        RefusalRow("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", .hostMalformed),
        RefusalRow("Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", .hostMalformed),
        RefusalRow("Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", .hostMalformed),
        RefusalRow("Host with a list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", .hostMalformed),
        RefusalRow(
            "Host with a port too high",
            "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
            .hostMalformed
        ),
        RefusalRow(
            "Host with an open bracket",
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            .hostMalformed
        ),

        .fields("bare LF after a field", "A: b\nC: d", .bareLineFeed),
        .fields("bare CR in a value", "A: b\rC: d", .bareCarriageReturn),
        .fields("two CRs before LF", "A: b\r", .bareCarriageReturn),
        .fields("folded field", "A: b\r\n c", .foldedField),
        .fields("folded field with a tab", "A: b\r\n\tc", .foldedField),
        RefusalRow(
            "white space before the first field",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            .foldedField
        ),
        .fields("space before the colon", "A : b", .fieldNameMalformed),
        .fields(
            "space before the colon of a length",
            "Content-Length : 5",
            .fieldNameMalformed,
            body: "hello"
        ),
        .fields("empty name", ": b", .fieldMalformed),
        .fields("no colon", "abc", .fieldMalformed),
        .fields("separator in a name", "A(b: c", .fieldNameMalformed),
        .fields("NUL in a value", "A: b\0c", .controlByte),
        .fields("escape in a value", "A: b\u{1b}c", .controlByte),
        .fields("vertical tab before chunked", "Transfer-Encoding: \u{b}chunked", .controlByte),
        .fields("obs-text in a value", "A: é", .nonASCIIByte),
        .fields("unknown expectation", "Expect: 200-ok", .expectationUnknown),
        .fields(
            "too many fields",
            (0..<70).map { "A\($0): b" }.joined(separator: "\r\n"),
            .tooManyFields
        ),
        .fields("long value", "A: " + String(repeating: "b", count: 17_000), .headTooLarge),

        .fields(
            "length and chunked",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            .lengthAndTransferEncoding
        ),
        .fields(
            "chunked and length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            .lengthAndTransferEncoding
        ),
        .fields("equal lengths", "Content-Length: 5\r\nContent-Length: 5", .lengthDuplicate),
        .fields("different lengths", "Content-Length: 5\r\nContent-Length: 6", .lengthDuplicate),
        .fields("length list", "Content-Length: 5, 5", .lengthDuplicate),
        .fields("length with plus", "Content-Length: +5", .lengthMalformed),
        .fields("length with minus", "Content-Length: -5", .lengthMalformed),
        .fields("hexadecimal length", "Content-Length: 0x5", .lengthMalformed),
        .fields("length with a unit", "Content-Length: 5b", .lengthMalformed),
        .fields("empty length", "Content-Length:", .lengthMalformed),
        .fields("length with a space inside", "Content-Length: 5 5", .lengthMalformed),
        .fields("length that overflows", "Content-Length: 18446744073709551621", .lengthMalformed),
        .fields("declared length over the limit", "Content-Length: 1048577", .bodyTooLarge),
        .fields("identity", "Transfer-Encoding: identity", .transferEncodingUnknown),
        .fields("gzip, chunked", "Transfer-Encoding: gzip, chunked", .transferEncodingUnknown),
        .fields(
            "chunked, identity",
            "Transfer-Encoding: chunked, identity",
            .transferEncodingUnknown
        ),
        .fields(
            "chunked with a parameter",
            "Transfer-Encoding: chunked;q=1",
            .transferEncodingUnknown
        ),
        .fields("quoted chunked", "Transfer-Encoding: \"chunked\"", .transferEncodingUnknown),
        .fields("xchunked", "Transfer-Encoding: xchunked", .transferEncodingUnknown),
        .fields("empty coding", "Transfer-Encoding:", .transferEncodingUnknown),
        .fields(
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            .transferEncodingUnknown
        ),
        .fields(
            "chunked and identity on two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            .transferEncodingUnknown
        ),
        RefusalRow(
            "chunked in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            .transferEncodingInOldVersion
        ),

        .chunked("chunk extension", "5;a=b\r\nhello\r\n0\r\n\r\n", .chunkExtension),
        .chunked("space after the size", "5 \r\nhello\r\n0\r\n\r\n", .chunkExtension),
        .chunked("space before the size", " 5\r\nhello\r\n0\r\n\r\n", .chunkSizeMalformed),
        .chunked("empty size", "\r\nhello\r\n0\r\n\r\n", .chunkSizeMalformed),
        .chunked("size with 0x", "0x5\r\nhello\r\n0\r\n\r\n", .chunkSizeMalformed),
        .chunked("size with plus", "+5\r\nhello\r\n0\r\n\r\n", .chunkSizeMalformed),
        .chunked("size with minus", "-5\r\nhello\r\n0\r\n\r\n", .chunkSizeMalformed),
        .chunked("size that overflows", "fffffffffffffffff\r\n", .chunkSizeMalformed),
        .chunked("size over the limit", "fffffff\r\n", .bodyTooLarge),
        .chunked("size ended by LF", "5\nhello\r\n0\r\n\r\n", .chunkSizeMalformed),
        .chunked("size ended by CR", "5\rhello\r\n0\r\n\r\n", .bareCarriageReturn),
        .chunked("no CRLF after the data", "5\r\nhelloXX0\r\n\r\n", .chunkEndMissing),
        .chunked("LF after the data", "5\r\nhello\n0\r\n\r\n", .chunkEndMissing),
        .chunked("CR without LF after the data", "5\r\nhello\rX", .chunkEndMissing),
        .chunked("trailer field", "5\r\nhello\r\n0\r\nA: b\r\n\r\n", .trailerField),
        .chunked("bare LF at the end", "0\r\n\n", .trailerField),
    ]
}

/// What one whole message reads as.
enum Parsed: Equatable {
    case request(HTTPMethod, target: String, fields: [String], body: String, keepsAlive: Bool)
    case refused(HTTPFault)
    case incomplete
}

/// Feeds `bytes` in the pieces given by `splits` and reads one request.
func parseRequest(_ bytes: [UInt8], splits: [Int], limits: HTTPLimits = HTTPLimits()) -> Parsed {
    var parser = HTTPRequestParser(limits: limits)
    var input = ByteBuffer()
    var head: HTTPRequestHead?
    var decoder: HTTPBodyDecoder?
    var body = ByteBuffer()
    var start = 0
    do throws(HTTPFault) {
        for end in splits + [bytes.count] {
            input.writeBytes(bytes[start..<end])
            start = end
            if head == nil, let complete = try parser.parse(&input) {
                head = complete
                decoder = HTTPBodyDecoder(
                    complete.framing,
                    bytesMax: limits.bodyBytesMax,
                    trailers: .refuse,
                    limits: limits
                )
            }
            guard let head else { continue }
            while true {
                guard let step = try decoder?.next(&input) else { return .incomplete }
                switch step {
                case .needsInput: break
                case .data(var piece):
                    body.writeBuffer(&piece)
                    continue
                case .end:
                    var fields: [String] = []
                    head.fields.forEach { fields.append("\($0.string)=\($1.string)") }
                    return .request(
                        head.method,
                        target: head.target.string,
                        fields: fields,
                        body: String(buffer: body),
                        keepsAlive: head.keepsAlive
                    )
                }
                break
            }
        }
        return .incomplete
    } catch {
        return .refused(error)
    }
}

@Suite("HTTP/1.1 request parser")
struct HTTPRequestParserTests {
    @Test(arguments: RefusalRow.requests)
    func `a request two parsers could read differently is refused at every split`(_ row: RefusalRow)
    {
        let bytes = Array(row.bytes.utf8)
        #expect(parseRequest(bytes, splits: []) == .refused(row.fault))
        #expect(
            parseRequest(bytes, splits: Array(1..<max(1, min(bytes.count, 6000))))
                == .refused(row.fault)
        )
        for split in stride(from: 1, to: bytes.count, by: max(1, bytes.count / 300)) {
            #expect(
                parseRequest(bytes, splits: [split]) == .refused(row.fault),
                "split at \(split)"
            )
        }
    }

    static let accepted: [(String, Parsed)] = [
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            .request(.get, target: "/", fields: ["Host=a"], body: "", keepsAlive: true)
        ),
        (
            "POST /mcp?a=b%20c&d HTTP/1.1\r\nhOsT: [::1]:8080\r\nContent-LENGTH:5\r\nA:\t b c \t\r\nA:\r\n\r\nhello",
            .request(
                .post,
                target: "/mcp?a=b%20c&d",
                fields: ["hOsT=[::1]:8080", "Content-LENGTH=5", "A=b c", "A="],
                body: "hello",
                keepsAlive: true
            )
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.example:1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00A\r\n, my world\r\n0\r\n\r\n",
            .request(
                .post,
                target: "/",
                fields: ["Host=a.example:1", "Transfer-Encoding=Chunked"],
                body: "hello, my world",
                keepsAlive: true
            )
        ),
        (
            "DELETE /x HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\nUpgrade: websocket\r\n\r\n",
            .request(
                .delete,
                target: "/x",
                fields: ["Host=a", "Connection=x, CLOSE", "Upgrade=websocket"],
                body: "",
                keepsAlive: false
            )
        ),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            .request(
                .get,
                target: "/",
                fields: ["Host=a", "Connection=keep-alive"],
                body: "",
                keepsAlive: false
            )
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 000\r\n\r\n",
            .request(
                .put,
                target: "/",
                fields: ["Host=a", "Content-Length=000"],
                body: "",
                keepsAlive: true
            )
        ),
    ]

    @Test(arguments: accepted)
    func `a clean request reads the same at every split`(_ text: String, _ expected: Parsed) {
        let bytes = Array(text.utf8)
        #expect(parseRequest(bytes, splits: []) == expected)
        #expect(parseRequest(bytes, splits: Array(1..<bytes.count)) == expected)
        for first in 1..<bytes.count {
            #expect(parseRequest(bytes, splits: [first]) == expected, "split at \(first)")
        }
        for count in 0..<bytes.count {
            #expect(parseRequest(Array(bytes[..<count]), splits: []) == .incomplete)
        }
    }

    @Test func `fields are found without regard to case, and duplicates are seen`() throws {
        var input = ByteBuffer(
            string:
                "GET / HTTP/1.1\r\nHost: a\r\nAccept: x\r\nACCEPT: y , Z\r\nX-One: 12\r\n\r\nrest"
        )
        var parser = HTTPRequestParser()
        let head = try #require(try parser.parse(&input))
        #expect(head.fields["accept"]?.string == "x")
        #expect(head.fields.values(of: "accept").map(\.string) == ["x", "y , Z"])
        #expect(head.fields.values(of: "accept")[1].listContains("z"))
        #expect(!head.fields.values(of: "accept")[1].listContains("y , z"))
        #expect(head.fields["x-one"]?.integer == 12)
        #expect(head.fields["x-on"] == nil)
        #expect(throws: HTTPFault.fieldMalformed) { try head.fields.single("accept") }
        #expect(try head.fields.single("x-one")?.string == "12")
        #expect(String(buffer: input) == "rest")
    }

    @Test func `each fault has the status the RFCs give it`() {
        #expect(HTTPFault.methodForbidden.status == 405)
        #expect(HTTPFault.bodyTooLarge.status == 413)
        #expect(HTTPFault.targetTooLong.status == 414)
        #expect(HTTPFault.expectationUnknown.status == 417)
        #expect(HTTPFault.headTooLarge.status == 431)
        #expect(HTTPFault.methodUnknown.status == 501)
        #expect(HTTPFault.versionUnsupported.status == 505)
        #expect(HTTPFault.bareLineFeed.status == 400)
        #expect(HTTPFault.bareLineFeed.description == "http message refused: bare line feed")
    }
}
