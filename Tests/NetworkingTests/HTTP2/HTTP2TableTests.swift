import NIOCore
import Testing

@testable import Networking

/// The pure parts: tables only, no sockets, no clock.
struct HTTP2TableTests {
    struct FloodRow: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let events: [(FloodGuard.Event, Int64)]
        let isPermitted: Bool

        init(_ name: String, _ events: [(FloodGuard.Event, Int64)], permitted: Bool) {
            testDescription = name
            self.events = events
            isPermitted = permitted
        }
    }

    @Test(arguments: [
        FloodRow(
            "as many resets as allowed",
            [(.reset, 0), (.reset, 1), (.reset, 2)],
            permitted: true
        ),
        FloodRow(
            "one more",
            [(.reset, 0), (.reset, 1), (.reset, 2), (.reset, 3)],
            permitted: false
        ),
        FloodRow(
            "kinds are counted apart",
            [(.reset, 0), (.ping, 0), (.reset, 0), (.ping, 0)],
            permitted: true
        ),
        FloodRow(
            "a new window forgets",
            [(.reset, 0), (.reset, 1), (.reset, 9), (.reset, 10)],
            permitted: true
        ),
        FloodRow(
            "the window's last moment still counts",
            [(.reset, 0), (.reset, 1), (.reset, 2), (.reset, 9)],
            permitted: false
        ),
        FloodRow(
            "the new window has a limit too",
            [(.reset, 0), (.reset, 10), (.reset, 11), (.reset, 12), (.reset, 13)],
            permitted: false
        ),
    ])
    func `a flood is more than the limit in one window`(row: FloodRow) {
        var limits = FloodGuard.Limits()
        limits.window = .seconds(10)
        limits.resets = 3
        let start = NIODeadline.uptimeNanoseconds(1_000)
        var guardian = FloodGuard(limits, now: start)
        var answer = true
        for (event, second) in row.events {
            answer = guardian.record(event, now: start + .seconds(second))
        }
        #expect(answer == row.isPermitted)
    }

    @Test(
        arguments: [
            ("DATA with bytes", 0x0, 0x0, 1, nil), ("DATA that ends the stream", 0x0, 0x1, 0, nil),
            ("empty DATA", 0x0, 0x0, 0, .emptyFrame), ("empty HEADERS", 0x1, 0x4, 0, .emptyFrame),
            ("empty CONTINUATION", 0x9, 0x0, 0, .emptyFrame),
            ("PRIORITY", 0x2, 0x0, 5, .ignoredFrame),
            ("RST_STREAM", 0x3, 0x0, 4, .reset), ("SETTINGS", 0x4, 0x0, 6, .settings),
            ("SETTINGS acknowledged", 0x4, 0x1, 0, nil), ("PING", 0x6, 0x0, 8, .ping),
            ("WINDOW_UPDATE", 0x8, 0x0, 4, nil), ("an extension", 0xfa, 0x0, 9, .ignoredFrame),
        ] as [(String, UInt8, UInt8, Int, FloodGuard.Event?)]
    )
    func `a frame header tells what is counted`(
        name: String,
        type: UInt8,
        flags: UInt8,
        bytes: Int,
        event: FloodGuard.Event?
    ) {
        #expect(FloodGuard.Event(frameType: type, flags: flags, payloadBytes: bytes) == event)
    }

    @Test(arguments: 1...12)
    func `frames are found however they are cut`(pieceBytes: Int) {
        let bytes =
            RawPeer.preface + RawPeer.frame(0x6, 0x1, 0, Array(repeating: 9, count: 8))
            + RawPeer.frame(0xfa, 0, 5, [])
            + RawPeer.frame(0x0, 0x1, 7, Array(repeating: 0xff, count: 300))
        var scanner = FrameScanner(prefaceBytes: 24)
        var found: [[Int]] = []
        for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
            let piece = bytes[start..<min(start + pieceBytes, bytes.count)]
            scanner.scan(ByteBuffer(bytes: piece)) {
                found.append([Int($0), Int($1), $2])
                return true
            }
        }
        #expect(found == [[4, 0, 0], [6, 1, 8], [0xfa, 0, 0], [0, 1, 300]])
        #expect(scanner == FrameScanner(prefaceBytes: 0))
    }

    @Test func `a silent peer is asked once and then given up`() {
        func s(_ seconds: Int64) -> NIODeadline { .uptimeNanoseconds(0) + .seconds(seconds) }
        var machine = KeepAlive(interval: .seconds(30), timeout: .seconds(10), now: s(0))
        #expect(machine.tick(now: s(0)) == .wait(until: s(30)))
        machine.heard(now: s(20))
        #expect(machine.tick(now: s(30)) == .wait(until: s(50)))
        #expect(machine.tick(now: s(50)) == .ping(tickAgain: s(60)))
        machine.heard(now: s(59))
        #expect(machine.tick(now: s(60)) == .wait(until: s(89)))
        #expect(machine.tick(now: s(89)) == .ping(tickAgain: s(99)))
        #expect(machine.tick(now: s(98)) == .wait(until: s(99)))
        #expect(machine.tick(now: s(99)) == .giveUp)
        machine.heard(now: s(100))
        #expect(machine.tick(now: s(100)) == .giveUp)
    }

    static let good: HTTP2Headers = [
        ":method": "POST", ":scheme": "http", ":path": "/a.B/C", ":authority": "h:1",
    ]

    @Test(
        arguments: [
            ("a plain request", good, true),
            ("host says the same", good + ["host": "h:1"], true),
            ("host says otherwise", good + ["host": "other"], false),
            ("two hosts", good + ["host": "h:1", "host": "h:1"], false),
            ("no authority", [":method": "GET", ":scheme": "http", ":path": "/"], false),
            ("host alone", [":method": "GET", ":scheme": "http", ":path": "/", "host": "h"], true),
            (
                "tunnel",
                [":method": "CONNECT", ":scheme": "http", ":path": "/", ":authority": "h"], false
            ),
            (
                "asterisk form",
                [":method": "OPTIONS", ":scheme": "http", ":path": "*", ":authority": "h"], false
            ),
            (
                "fragment",
                [":method": "GET", ":scheme": "http", ":path": "/#a", ":authority": "h"], false
            ),
            (
                "space in path",
                [":method": "GET", ":scheme": "http", ":path": "/ a", ":authority": "h"], false
            ),
            (
                "byte above ASCII",
                [":method": "GET", ":scheme": "http", ":path": "/é", ":authority": "h"], false
            ),
            (
                "user information",
                [":method": "GET", ":scheme": "http", ":path": "/", ":authority": "u@h"], false
            ),
            (
                "other scheme",
                [":method": "GET", ":scheme": "ftp", ":path": "/", ":authority": "h"], false
            ),
        ] as [(String, HTTP2Headers, Bool)]
    )
    func `a request that could be read in two ways is refused`(
        name: String,
        head: HTTP2Headers,
        accepted: Bool
    ) {
        #expect(HTTP2RequestRules.accept(head) == accepted)
    }

    @Test func `header names are compared as bytes and values found by name`() {
        let headers: HTTP2Headers = ["a": "1", "ab": "2", "a": "3"]
        #expect(headers.string("a") == "1")
        #expect(headers.count(of: "a") == 2)
        #expect(headers.string("b") == nil)
        #expect(headers.listBytes == 7 + 3 * 32)
    }

    // MARK: gRPC

    @Test(
        arguments: [
            ("nothing", [], nil, nil), ("half a prefix", [0, 0, 0], nil, nil),
            ("an incomplete message", [0, 0, 0, 0, 2, 9], nil, nil),
            ("an empty message", [0, 0, 0, 0, 0], [], nil),
            ("a message and more", [0, 0, 0, 0, 1, 7, 0], [7], nil),
            ("too large, known from the prefix", [0, 0, 0, 0, 5], nil, .tooLarge),
            ("as large as allowed", [0, 0, 0, 0, 4, 1, 2, 3, 4], [1, 2, 3, 4], nil),
            ("the largest length there is", [0, 255, 255, 255, 255], nil, .tooLarge),
            ("compressed, known from one byte", [1], nil, .compressed),
            ("unknown flags", [2], nil, .badFlags),
        ] as [(String, [UInt8], [UInt8]?, GRPCFraming.Failure?)]
    )
    func `a frame is taken whole or not at all`(
        name: String,
        bytes: [UInt8],
        message: [UInt8]?,
        failure: GRPCFraming.Failure?
    ) {
        var buffer = ByteBuffer(bytes: bytes)
        do throws(GRPCFraming.Failure) {
            let found = try GRPCFraming.next(from: &buffer, bytesMax: 4)
            #expect(found == message)
            #expect(failure == nil)
            #expect(buffer.readableBytes == bytes.count - (message.map { $0.count + 5 } ?? 0))
        } catch {
            #expect(error == failure)
        }
    }

    @Test(arguments: [
        ("plain", "plain"), ("", ""), ("50% off", "50%25 off"), ("a\nb", "a%0Ab"),
        ("naïve", "na%C3%AFve"), (" x ", "%20x%20"), (" ", "%20"), ("~", "~"), ("\u{7f}", "%7F"),
    ])
    func `a status message survives its encoding`(message: String, encoded: String) {
        #expect(GRPCStatus.encode(message) == Array(encoded.utf8))
        #expect(GRPCStatus.decode(encoded.utf8) == message)
    }

    @Test(arguments: [("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%41%", "A%"), ("%c3%a9", "é")])
    func `a malformed escape stays as it is`(encoded: String, message: String) {
        #expect(GRPCStatus.decode(encoded.utf8) == message)
    }

    @Test(
        arguments: [
            ("0", .ok), ("16", .unauthenticated), ("17", .unknown), ("", .unknown), ("x", .unknown),
            ("-1", .unknown), ("99999999999999999999", .unknown),
        ] as [(String, GRPCStatus.Code)]
    )
    func `a status code that is not known is unknown`(text: String, code: GRPCStatus.Code) {
        #expect(GRPCStatus(trailers: ["grpc-status": text])?.code == code)
        #expect(GRPCStatus(trailers: ["other": text]) == nil)
    }

    @Test(
        arguments: [
            ("1n", .nanoseconds(1)), ("20u", .microseconds(20)), ("300m", .milliseconds(300)),
            ("4S", .seconds(4)), ("5M", .minutes(5)), ("6H", .hours(6)), ("0S", .seconds(0)),
            ("99999999H", .hours(87_600)), ("99999999M", .hours(87_600)), ("", nil), ("S", nil),
            ("1", nil),
            ("123456789S", nil), ("-1S", nil), ("1s", nil), ("1 S", nil), ("1.5S", nil),
        ] as [(String, TimeAmount?)]
    )
    func `a timeout has one to eight digits and a unit`(text: String, time: TimeAmount?) {
        #expect(GRPCHeaders.timeout(text.utf8) == time)
    }

    @Test(
        arguments: [
            (.nanoseconds(5), "5n"), (.milliseconds(10), "10000000n"), (.seconds(1), "1000000u"),
            (.seconds(100), "100000m"), (.hours(48), "172800S"),
            (.nanoseconds(100_000_001), "100001u"),
            (.nanoseconds(-5), "0n"),
        ] as [(TimeAmount, String)]
    )
    func `a timeout is written in eight digits and never shorter than asked`(
        time: TimeAmount,
        text: String
    ) {
        let written = GRPCHeaders.timeoutValue(time)
        #expect(GRPCHeaders.timeout(written.utf8).map { $0 >= max(time, .zero) } ?? false)
        #expect(written.count <= 9)
        if text != "100000m" { #expect(written == text) }
    }

    @Test(arguments: [
        ("application/grpc", true), ("application/grpc+proto", true),
        ("application/grpc+json", false),
        ("application/grpc-web", false), ("application/json", false), ("", false),
    ])
    func `only protobuf over grpc is spoken`(type: String, isSpoken: Bool) {
        #expect(GRPCHeaders.isGRPC(type.utf8) == isSpoken)
    }
}

private func + (left: HTTP2Headers, right: HTTP2Headers) -> HTTP2Headers {
    var sum = left
    sum.append(contentsOf: right)
    return sum
}
