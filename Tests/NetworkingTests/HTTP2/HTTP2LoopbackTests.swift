import NIOCore
import NIOPosix
import Testing

@testable import Networking

/// Server and client over real loopback sockets.
@Suite(.timeLimit(.minutes(5)))
struct HTTP2LoopbackTests {
    @Test func `one request gets one response`() async throws {
        try await withGRPC(echoServer()) { client, _ in
            let answers = try await [
                client.unary("/t.S/Unary", [1, 2, 3]), client.unary("/t.S/Unary", []),
            ]
            #expect(answers == [[1, 2, 3], []])
        }
    }

    @Test func `a refusal arrives with its code and message`() async throws {
        try await withGRPC(echoServer()) { client, _ in
            await #expect(throws: GRPCStatus(.permissionDenied, "naïve: 100%")) {
                try await client.unary("/t.S/Refuse", [])
            }
            await #expect(throws: GRPCStatus(.unimplemented, "unknown method")) {
                try await client.unary("/t.S/Nothing", [])
            }
        }
    }

    @Test func `ten thousand small messages pass in both directions at once`() async throws {
        try await withGRPC(echoServer()) { client, _ in
            let call = try await client.bidirectional("/t.S/Echo")
            async let sent: Void = {
                for index in 0..<10_000 { try await call.send(Array("message \(index)".utf8)) }
                try await call.finish()
            }()
            var received = 0
            while let message = try await call.nextMessage() {
                if message != Array("message \(received)".utf8) { break }
                received += 1
            }
            try await sent
            #expect(received == 10_000)
        }
    }

    @Test func `messages larger than every window arrive whole`() async throws {
        var small = HTTP2Limits()
        small.streamWindowBytes = 70_000
        small.connectionWindowBytes = 100_000
        try await withGRPC(echoServer(), limits: small, clientLimits: small) { client, _ in
            let message = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let answers = try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<3 {
                    group.addTask { try await client.unary("/t.S/Unary", message) == message }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers == [true, true, true])
        }
    }

    @Test func `a message over the limit ends its call and nothing else`() async throws {
        var server = echoServer()
        server.messageBytesMax = 1000
        try await withGRPC(server) { client, _ in
            await #expect(throws: GRPCStatus(.resourceExhausted, "message too large")) {
                try await client.unary("/t.S/Unary", [UInt8](repeating: 0, count: 1001))
            }
            let answer = try await client.unary("/t.S/Unary", [UInt8](repeating: 0, count: 1000))
            #expect(answer.count == 1000)
        }
    }

    @Test func `a reader that stops asking stops the sender`() async throws {
        let sent = Shared(0)
        var server = echoServer()
        server.bidirectional("/t.S/Pour") { call throws(GRPCStatus) in
            for _ in 0..<1000 {
                try await call.send([UInt8](repeating: 1, count: 16_000))
                sent.update { $0 += 1 }
            }
        }
        try await withGRPC(server) { client, _ in
            let limits = HTTP2Limits()
            let call = try await client.bidirectional("/t.S/Pour")
            try await call.finish()
            _ = try await call.nextMessage()
            // Each of these gives the sender all the turns it could use.
            for _ in 0..<100 { _ = try await client.unary("/t.S/Unary", [1]) }
            let bound = limits.streamWindowBytes + limits.sendBufferBytes + 2 * 16_005
            #expect(sent.value >= limits.streamWindowBytes / 16_005)
            #expect(sent.value * 16_005 <= bound)
            var received = 1
            while try await call.nextMessage() != nil { received += 1 }
            #expect(received == 1000)
            #expect(sent.value == 1000)
        }
    }

    @Test func `sends of one turn leave in one write`() async throws {
        let writes = Shared(0)
        try await withListener(echoServer()) { listener in
            let connection = try await ClientBootstrap(group: loops)
                .connect(host: "127.0.0.1", port: listener.port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(WriteCounter(writes))
                        return try HTTP2ClientConnection(addingTo: channel)
                    }
                }
            let client = GRPCClient(connection, authority: "test", scheme: "http")
            let call = try await client.bidirectional("/t.S/Echo")
            try await call.send([0])
            _ = try await call.nextMessage()
            let before = writes.value
            try await call.stream.withEventLoop {
                for _ in 0..<50 { try await call.send([1]) }
                #expect(writes.value == before)
                for _ in 0..<50 { _ = try await call.nextMessage() }
            }
            #expect(writes.value == before + 1)
            await connection.close()
        }
    }

    @Test func `open calls end before a connection that goes away`() async throws {
        try await withGRPC(echoServer()) { client, listener in
            let call = try await client.bidirectional("/t.S/Echo")
            try await call.send([1])
            _ = try await call.nextMessage()
            await listener.shutdown(within: .seconds(30))
            // Every turn of the open call is a chance for GOAWAY to arrive.
            while await client.connection.isOpen {
                try await call.send([2])
                #expect(try await call.nextMessage() == [2])
            }
            await #expect(throws: GRPCStatus(HTTP2Error.goingAway)) {
                try await client.unary("/t.S/Unary", [])
            }
            try await call.send([3])
            #expect(try await call.nextMessage() == [3])
            try await call.finish()
            #expect(try await call.nextMessage() == nil)
            await client.connection.closed()
        }
    }

    @Test func `a drain has an end`() async throws {
        try await withGRPC(echoServer()) { client, listener in
            let call = try await client.bidirectional("/t.S/Echo")
            try await call.send([1])
            _ = try await call.nextMessage()
            await listener.shutdown(within: .milliseconds(20))
            await #expect(throws: GRPCStatus.self) { while try await call.nextMessage() != nil {} }
            await client.connection.closed()
        }
    }

    @Test func `a client that is gone cancels the handler`() async throws {
        let (ends, end) = AsyncStream.makeStream(of: Bool.self)
        var server = GRPCServer()
        server.bidirectional("/t.S/Wait") { call throws(GRPCStatus) in
            try await call.send([1])
            let (never, hold) = AsyncStream.makeStream(of: Never.self)
            for await _ in never {}
            hold.finish()
            end.yield(Task.isCancelled)
        }
        try await withGRPC(server) { client, _ in
            let call = try await client.bidirectional("/t.S/Wait")
            _ = try await call.nextMessage()
            await call.cancel()
            var iterator = ends.makeAsyncIterator()
            #expect(await iterator.next() == true)
        }
    }

    @Test func `a deadline ends the call on both sides`() async throws {
        let (ends, end) = AsyncStream.makeStream(of: GRPCStatus.Code?.self)
        var server = GRPCServer()
        server.bidirectional("/t.S/Wait") { call throws(GRPCStatus) in
            do throws(GRPCStatus) {
                _ = try await call.nextMessage()
                end.yield(nil)
            } catch {
                end.yield(error.code)
                throw error
            }
        }
        try await withGRPC(server) { client, _ in
            // Long enough for the handler to begin.
            let call = try await client.bidirectional("/t.S/Wait", timeout: .seconds(1))
            // Each end has a clock of its own: whose rings second hears of the other's reset.
            let first = await #expect(throws: GRPCStatus.self) { try await call.nextMessage() }
            var iterator = ends.makeAsyncIterator()
            let second = await iterator.next() ?? nil
            let codes: [GRPCStatus.Code?] = [first?.code, second]
            #expect(codes.allSatisfy { $0 == .deadlineExceeded || $0 == .cancelled }, "\(codes)")
            // With one clock there is one answer.
            let alone = try await client.bidirectional("/t.S/Wait")
            await alone.stream.setDeadline(after: .seconds(1))
            await #expect(throws: GRPCStatus(HTTP2Error.deadlineExceeded)) {
                try await alone.nextMessage()
            }
            #expect(await iterator.next() == .cancelled)
        }
    }

    @Test func `a cancelled task stops waiting`() async throws {
        try await withGRPC(echoServer()) { client, _ in
            let call = try await client.bidirectional("/t.S/Echo")
            try await call.send([1])
            _ = try await call.nextMessage()
            let task = Task { try await call.nextMessage() }
            task.cancel()
            await #expect(throws: GRPCStatus(HTTP2Error.cancelled)) { try await task.value }
            await call.cancel()
        }
    }

    @Test func `a peer that does not answer pings is given up`() async throws {
        let silent = try await ServerBootstrap(group: loops).bind(host: "127.0.0.1", port: 0).get()
        var limits = HTTP2Limits()
        limits.keepAliveInterval = .milliseconds(10)
        limits.keepAliveTimeout = .milliseconds(10)
        let connection = try await HTTP2ClientConnection.connect(
            host: "127.0.0.1",
            port: silent.localAddress?.port ?? 0,
            on: loops,
            limits: limits
        )
        await #expect(throws: HTTP2Error.keepAliveTimeout) {
            let stream = try await connection.openStream(HTTP2TableTests.good)
            _ = try await stream.responseHead()
        }
        await connection.closed()
        try await silent.close()
    }

    @Test func `a peer that answers pings is kept`() async throws {
        var limits = HTTP2Limits()
        limits.keepAliveInterval = .milliseconds(1)
        limits.keepAliveTimeout = .seconds(20)
        limits.flood.pings = .max
        try await withGRPC(echoServer(), limits: limits, clientLimits: limits) { client, _ in
            let call = try await client.bidirectional("/t.S/Echo")
            for index in 0..<200 {
                try await call.send([UInt8(index)])
                #expect(try await call.nextMessage() == [UInt8(index)])
            }
            await call.cancel()
        }
    }

    @Test func `handlers learn who the transport says is calling`() async throws {
        var server = GRPCServer()
        server.unary("/t.S/Who") { _, call in
            Array(((call.security?.peerIdentity as? String) ?? "nobody").utf8)
        }
        let security = TransportSecurity(
            applicationProtocol: Array("h2".utf8),
            peerIdentity: "proxy-7"
        )
        try await withGRPC(server, security: { security }) { client, _ in
            let answer = try await client.unary("/t.S/Who", [])
            #expect(answer == Array("proxy-7".utf8))
        }
        try await withGRPC(server) { client, _ in
            let answer = try await client.unary("/t.S/Who", [])
            #expect(answer == Array("nobody".utf8))
        }
    }

    @Test(arguments: ["http/1.1", nil])
    func `a connection that did not agree on h2 is closed`(name: String?) async throws {
        let security = TransportSecurity(applicationProtocol: name.map { Array($0.utf8) })
        try await withListener(echoServer(), security: { security }) { listener in
            let answer = try await RawPeer.exchange(port: listener.port, RawPeer.preface)
            #expect(answer.goAways == [HTTP2ErrorCode.inadequateSecurity.rawValue])
        }
    }

    @Test(
        arguments: [
            (
                "rapid reset", 201,
                RawPeer.frame(0x1, 0x4, 1, RawPeer.head) + RawPeer.frame(0x3, 0, 1, [0, 0, 0, 8])
            ),
            ("ping", 501, RawPeer.frame(0x6, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0])),
            ("settings", 21, RawPeer.frame(0x4, 0, 0, [])),
            ("empty data on a closed stream", 101, RawPeer.frame(0x0, 0, 1, [])),
            ("empty data", 101, RawPeer.frame(0x0, 0, 1, [])),
            ("padding without data", 101, RawPeer.frame(0x0, 0x8, 1, [1, 0])),
            ("priority", 501, RawPeer.frame(0x2, 0, 1, [0, 0, 0, 0, 0])),
            ("unknown frames", 501, RawPeer.frame(0xfa, 0, 0, [])),
        ] as [(String, Int, [UInt8])]
    )
    func `a flood closes the connection`(name: String, count: Int, frame: [UInt8]) async throws {
        try await withListener(echoServer()) { listener in
            var bytes = RawPeer.preface
            if name.hasSuffix("closed stream") { bytes += RawPeer.frame(0x1, 0x5, 1, RawPeer.head) }
            if name == "empty data" || name.hasPrefix("padding") { bytes += RawPeer.openEcho }
            for index in 0..<count {
                var frame = frame
                if name == "rapid reset" { RawPeer.renumber(&frame, stream: UInt32(2 * index + 1)) }
                bytes += frame
            }
            let answer = try await RawPeer.exchange(port: listener.port, bytes)
            #expect(answer.goAways == [HTTP2ErrorCode.enhanceYourCalm.rawValue])
        }
    }

    @Test(
        arguments: [
            ("no preface", Array("GET / HTTP/1.1\r\nhost: x\r\n\r\n".utf8)),
            ("data on the connection", RawPeer.preface + RawPeer.frame(0x0, 0, 0, [1])),
            (
                "a frame that is too large",
                RawPeer.preface + RawPeer.frame(0x0, 0, 1, Array(repeating: 0, count: 16_385))
            ),
            ("headers that do not decode", RawPeer.preface + RawPeer.frame(0x1, 0x4, 1, [0x80])),
            (
                "a stream of the server's",
                RawPeer.preface + RawPeer.frame(0x1, 0x4, 2, RawPeer.head)
            ),
            ("a short ping", RawPeer.preface + RawPeer.frame(0x6, 0, 0, [1])),
            ("torn settings", RawPeer.preface + RawPeer.frame(0x4, 0, 0, [0, 1, 0, 0])),
            (
                "a window update of nothing",
                RawPeer.preface + RawPeer.frame(0x8, 0, 0, [0, 0, 0, 0])
            ),
            (
                "a window past its end",
                RawPeer.preface + RawPeer.frame(0x8, 0, 0, [0x7f, 0xff, 0xff, 0xff])
            ),
            (
                "a push from a client",
                RawPeer.preface + RawPeer.frame(0x5, 0x4, 1, [0, 0, 0, 2] + RawPeer.head)
            ),
            ("a continuation of nothing", RawPeer.preface + RawPeer.frame(0x9, 0x4, 1, [0x82])),
            (
                "continuations without end",
                RawPeer.preface + RawPeer.frame(0x1, 0, 1, [0x83])
                    + (0..<8).flatMap { _ in RawPeer.frame(0x9, 0, 1, [0x82]) }
            ),
        ] as [(String, [UInt8])]
    )
    func `what breaks the protocol closes the connection`(name: String, bytes: [UInt8]) async throws
    {
        try await withListener(echoServer()) { listener in
            // Returns only because the server closes.
            let answer = try await RawPeer.exchange(port: listener.port, bytes)
            #expect(!answer.goAways.contains(HTTP2ErrorCode.noError.rawValue))
        }
    }

    @Test(
        arguments: [
            (
                "a request with a path and a fragment",
                [0x83, 0x86, 0x41, 0x01, 0x78, 0x44, 0x03] + Array("/#a".utf8),
                HTTP2ErrorCode.protocolError
            ),
            ("a request without method", [0x86, 0x84, 0x41, 0x01, 0x78], .protocolError),
            ("an upper-case name", RawPeer.head + [0x00, 0x01, 0x41, 0x01, 0x31], .protocolError),
            (
                "a line break in a value", RawPeer.head + [0x00, 0x01, 0x61, 0x02, 0x0d, 0x0a],
                .protocolError
            ),
            (
                "white space around a value", RawPeer.head + [0x00, 0x01, 0x61, 0x02, 0x20, 0x31],
                .protocolError
            ),
            (
                "a connection field",
                RawPeer.head + [0x00, 0x0a] + Array("connection".utf8) + [0x01, 0x31],
                .protocolError
            ),
            (
                "too many fields",
                RawPeer.head + (0..<65).flatMap { _ in [0x00, 0x01, 0x61, 0x01, 0x31] as [UInt8] },
                .enhanceYourCalm
            ),
            (
                "too long a list",
                RawPeer.head + [0x00, 0x01, 0x61, 0x7f, 0x81, 0x7f]
                    + Array(repeating: 0x31, count: 16_384),
                .enhanceYourCalm
            ),
        ] as [(String, [UInt8], HTTP2ErrorCode)]
    )
    func `a bad head resets its stream only`(
        name: String,
        block: [UInt8],
        code: HTTP2ErrorCode
    ) async throws {
        try await withListener(echoServer()) { listener in
            var bytes = RawPeer.preface
            // A block that does not fit one frame goes on in a second.
            bytes += RawPeer.frame(0x1, 0, 1, Array(block.prefix(16_000)))
            bytes += RawPeer.frame(0x9, 0x4, 1, Array(block.dropFirst(16_000)))
            // The next stream is answered, which the client shows by saying goodbye and being left.
            bytes += RawPeer.frame(0x1, 0x5, 3, RawPeer.head)
            bytes += RawPeer.frame(0x7, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0])
            let answer = try await RawPeer.exchange(port: listener.port, bytes)
            #expect(answer.resets == [code.rawValue])
            #expect(answer.goAways.allSatisfy { $0 == 0 })
        }
    }

    @Test func `more streams than the limit wait or are refused`() async throws {
        var limits = HTTP2Limits()
        limits.concurrentStreamsMax = 2
        try await withGRPC(echoServer(), limits: limits, clientLimits: limits) { client, _ in
            let first = try await client.bidirectional("/t.S/Echo")
            let second = try await client.bidirectional("/t.S/Echo")
            await #expect(throws: GRPCStatus(HTTP2Error.tooManyStreams)) {
                try await client.bidirectional("/t.S/Echo")
            }
            await first.cancel()
            await second.cancel()
        }
    }
}

extension RawPeer {
    /// Stream 1, a call of `/t.S/Echo` that stays open.
    static let openEcho = frame(
        0x1,
        0x4,
        1,
        [0x83, 0x86, 0x41, 0x01, 0x78, 0x44, 0x09] + Array("/t.S/Echo".utf8) + [0x0f, 0x10, 0x10]
            + Array("application/grpc".utf8)
    )

    /// Gives every frame in `bytes` another stream number.
    static func renumber(_ bytes: inout [UInt8], stream: UInt32) {
        var start = 0
        while start < bytes.count {
            for index in 0..<4 {
                bytes[start + 5 + index] = UInt8(
                    truncatingIfNeeded: stream >> (24 - 8 * UInt32(index))
                )
            }
            start += 9 + Int(bytes[start + 1]) << 8 + Int(bytes[start + 2])
        }
    }
}

private final class WriteCounter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    private let writes: Shared<Int>

    init(_ writes: Shared<Int>) { self.writes = writes }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        writes.update { $0 += 1 }
        context.write(data, promise: promise)
    }
}
