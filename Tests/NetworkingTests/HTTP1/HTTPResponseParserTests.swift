import NIOCore
import Testing

@testable import Networking

/// One response and what it reads as: status, body, whether the connection may be reused; or the
/// fault.
enum ParsedResponse: Equatable {
    case response(Int, body: String, reusable: Bool)
    case refused(HTTPFault)
    case incomplete
}

func parseResponse(
    _ bytes: [UInt8],
    splits: [Int],
    to method: HTTPMethod = .get,
    closes: Bool = true
) -> ParsedResponse {
    var parser = HTTPResponseParser()
    var input = ByteBuffer()
    var head: HTTPResponseHead?
    var decoder: HTTPBodyDecoder?
    var body = ByteBuffer()
    var start = 0
    func done(_ head: HTTPResponseHead) -> ParsedResponse {
        .response(
            head.status,
            body: String(buffer: body),
            reusable: head.keepsAlive && head.framing != .untilClose
        )
    }
    do throws(HTTPFault) {
        for end in splits + [bytes.count] {
            input.writeBytes(bytes[start..<end])
            start = end
            while head == nil, let complete = try parser.parse(&input, to: method) {
                if complete.isInterim { continue }
                head = complete
                decoder = HTTPBodyDecoder(complete.framing, bytesMax: 1000, trailers: .drop)
            }
            guard let head else { continue }
            reading: while let step = try decoder?.next(&input) {
                switch step {
                case .needsInput: break reading
                case .data(var piece): body.writeBuffer(&piece)
                case .end: return done(head)
                }
            }
        }
        guard closes, let head else { return .incomplete }
        try decoder?.connectionEnded()
        return done(head)
    } catch {
        return .refused(error)
    }
}

@Suite("HTTP/1.1 response parser")
struct HTTPResponseParserTests {
    static let rows: [(String, String, HTTPMethod, ParsedResponse)] = [
        (
            "length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", .get,
            .response(200, body: "hello", reusable: true)
        ),
        (
            "no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", .get,
            .response(200, body: "", reusable: true)
        ),
        (
            "opaque bytes", "HTTP/1.1 200 Schön\r\nA: é\r\nContent-Length: 0\r\n\r\n", .get,
            .response(200, body: "", reusable: true)
        ),
        (
            "interim responses",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            .post, .response(200, body: "x", reusable: true)
        ),
        (
            "chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            .get, .response(200, body: "abc", reusable: true)
        ),
        (
            "trailers dropped",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\n",
            .get, .response(200, body: "abc", reusable: true)
        ),
        (
            "malformed trailer",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA b\r\n\r\n", .get,
            .refused(.fieldNameMalformed)
        ),
        (
            "HEAD with a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", .head,
            .response(200, body: "", reusable: true)
        ),
        (
            "304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", .get,
            .response(304, body: "", reusable: true)
        ),
        ("204", "HTTP/1.1 204 No Content\r\n\r\n", .get, .response(204, body: "", reusable: true)),
        (
            "204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", .get,
            .refused(.bodyNotAllowed)
        ),
        (
            "204 chunked", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            .get, .refused(.bodyNotAllowed)
        ),
        (
            "close-delimited", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", .get,
            .response(200, body: "hello", reusable: false)
        ),
        (
            "close-delimited HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", .get,
            .response(200, body: "hello", reusable: false)
        ),
        ("unframed", "HTTP/1.1 200 OK\r\n\r\nhello", .get, .refused(.bodyUnframed)),
        (
            "announces to close",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", .get,
            .response(200, body: "hello", reusable: false)
        ),
        (
            "cut body", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", .get,
            .refused(.truncated)
        ),
        (
            "cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello", .get,
            .refused(.truncated)
        ),
        (
            "missing last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", .get,
            .refused(.truncated)
        ),
        (
            "length and chunked",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", .get,
            .refused(.lengthAndTransferEncoding)
        ),
        (
            "two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            .get, .refused(.lengthDuplicate)
        ),
        (
            "negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", .get,
            .refused(.lengthMalformed)
        ),
        (
            "chunk extension",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n", .get,
            .refused(.chunkExtension)
        ),
        (
            "body over the limit", "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\nx", .get,
            .refused(.bodyTooLarge)
        ),
        ("101", "HTTP/1.1 101 Switching\r\n\r\n", .get, .refused(.unexpectedUpgrade)),
        ("status 600", "HTTP/1.1 600 X\r\n\r\n", .get, .refused(.statusLineMalformed)),
        ("status 99", "HTTP/1.1 099 X\r\n\r\n", .get, .refused(.statusLineMalformed)),
        ("four digits", "HTTP/1.1 2000 X\r\n\r\n", .get, .refused(.statusLineMalformed)),
        ("HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", .get, .refused(.versionUnsupported)),
        ("not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", .get, .refused(.statusLineMalformed)),
        ("bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", .get, .refused(.bareLineFeed)),
        ("folded field", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", .get, .refused(.foldedField)),
        (
            "chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", .get,
            .refused(.transferEncodingInOldVersion)
        ),
    ]

    @Test(arguments: rows)
    func `a response reads the same at every split`(
        _ name: String,
        _ text: String,
        _ method: HTTPMethod,
        _ expected: ParsedResponse
    ) {
        let bytes = Array(text.utf8)
        #expect(parseResponse(bytes, splits: [], to: method) == expected)
        #expect(parseResponse(bytes, splits: Array(1..<bytes.count), to: method) == expected)
        for split in 1..<bytes.count {
            #expect(
                parseResponse(bytes, splits: [split], to: method) == expected,
                "split at \(split)"
            )
        }
    }
}
