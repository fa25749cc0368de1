import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import Networking

/// A server connection on an embedded loop: everything happens inside the test's own calls, time
/// included.
final class EmbeddedServer {
    let loop = EmbeddedEventLoop()
    let channel: EmbeddedChannel
    let connection: HTTPServerConnection

    init(limits: HTTPLimits = HTTPLimits(), handler: @escaping HTTPHandler) throws {
        let executor = LoopExecutor(loop)
        let wire = Wire(executor: executor, unreadBytesMax: limits.unreadBytesMax)
        channel = EmbeddedChannel(handler: wire, loop: loop)
        connection = HTTPServerConnection(
            wire: wire,
            peerAddress: nil,
            limits: limits,
            metrics: ListenerMetrics("test"),
            handler: handler
        )
        connection.assumeIsolated { $0.start {} }
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        loop.run()
    }

    func send(_ text: String) throws {
        try channel.writeInbound(ByteBuffer(string: text))
        loop.run()
    }

    func pass(_ time: TimeAmount) { loop.advanceTime(by: time) }

    /// What was written since the last call, without `date` lines.
    func received() throws -> String {
        var text = ""
        while let bytes = try channel.readOutbound(as: ByteBuffer.self) {
            text += String(buffer: bytes)
        }
        return text.replacing(/date: [^\r]*\r\n/, with: "")
    }

    var isOpen: Bool { channel.isActive }
}

/// Events that a handler leaves for the test.
final class Journal: Sendable {
    private let entries = Mutex<[String]>([])
    func note(_ text: String) { entries.withLock { $0.append(text) } }
    var all: [String] { entries.withLock { $0 } }
}

@Suite("HTTP/1.1 server connection")
struct HTTPServerConnectionTests {
    static let echo: HTTPHandler = { request, connection in
        do {
            let body = try await connection.collectBody()
            var text = ByteBuffer(string: "\(request.method.rawValue) \(request.target.string) ")
            text.writeImmutableBuffer(body)
            try connection.respond(connection.makeResponse(200), body: text)
        } catch {}
    }

    static func ok(_ body: String) -> String {
        "HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    static func refused(_ status: String) -> String {
        "HTTP/1.1 \(status)\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    }

    @Test func `requests on one connection are answered one after another`() throws {
        let server = try EmbeddedServer(handler: Self.echo)
        try server.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try server.received() == Self.ok("GET /1 "))
        server.pass(.seconds(70))
        try server.send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        #expect(try server.received() == "")
        try server.send("lo")
        #expect(try server.received() == Self.ok("POST /2 hello"))
        #expect(server.isOpen)
    }

    @Test func `pipelined requests are answered in order, also byte by byte`() throws {
        let requests =
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
            + "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nyz\r\n0\r\n\r\n"
            + "HEAD /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        let expected =
            Self.ok("POST /1 x") + Self.ok("POST /2 yz")
            + "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"
            + "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nGET /4 "
        let server = try EmbeddedServer(handler: Self.echo)
        try server.send(requests)
        #expect(try server.received() == expected)
        #expect(!server.isOpen)
        let slow = try EmbeddedServer(handler: Self.echo)
        for byte in requests { try slow.send(String(byte)) }
        #expect(try slow.received() == expected)
    }

    @Test func `a slow head is cut off at the head deadline, however it trickles`() throws {
        let server = try EmbeddedServer(handler: Self.echo)
        try server.send("GET / HTTP/1.1\r\n")
        for _ in 0..<9 {
            server.pass(.seconds(1))
            try server.send("A: b\r\n")
        }
        #expect(server.isOpen)
        server.pass(.seconds(1))
        #expect(try server.received() == Self.refused("408 Request Timeout"))
        #expect(!server.isOpen)
    }

    @Test func `a connection that never speaks is closed without a word`() throws {
        let server = try EmbeddedServer(handler: Self.echo)
        server.pass(.seconds(10))
        #expect(try server.received() == "")
        #expect(!server.isOpen)
    }

    @Test func `an idle connection is closed at the idle deadline`() throws {
        let server = try EmbeddedServer(handler: Self.echo)
        try server.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        _ = try server.received()
        server.pass(.seconds(74))
        #expect(server.isOpen)
        server.pass(.seconds(1))
        #expect(try server.received() == "")
        #expect(!server.isOpen)
    }

    @Test func `a body that pauses is cut off at the body deadline`() throws {
        let server = try EmbeddedServer(handler: Self.echo)
        try server.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nh")
        server.pass(.seconds(29))
        try server.send("e")
        server.pass(.seconds(29))
        #expect(try server.received() == "")
        server.pass(.seconds(1))
        #expect(try server.received() == Self.refused("408 Request Timeout"))
        #expect(!server.isOpen)
    }

    @Test func `continue is said when the body is asked for, and only then`() throws {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        let server = try EmbeddedServer(handler: Self.echo)
        try server.send(head)
        #expect(try server.received() == "HTTP/1.1 100 Continue\r\n\r\n")
        try server.send("hi")
        #expect(try server.received() == Self.ok("POST / hi"))

        let refusing = try EmbeddedServer { _, connection in
            try? connection.respond(connection.makeResponse(403))
        }
        try refusing.send(head)
        #expect(try refusing.received() == Self.refused("403 Forbidden"))
        #expect(!refusing.isOpen)
    }

    @Test func `an answer before the end of the body closes the connection`() throws {
        let server = try EmbeddedServer { _, connection in
            try? connection.respond(connection.makeResponse(401))
        }
        try server.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        #expect(try server.received() == Self.refused("401 Unauthorized"))
        #expect(!server.isOpen)
    }

    @Test func `an unread body that has arrived does not`() throws {
        let server = try EmbeddedServer { _, connection in
            try? connection.respond(connection.makeResponse(401))
        }
        try server.send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nheGET / HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        let one = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"
        #expect(try server.received() == one + one)
        #expect(server.isOpen)
    }

    @Test func `a body over the handler's bound is refused with 413`() throws {
        let server = try EmbeddedServer { _, connection in
            _ = try? await connection.collectBody(bytesMax: 3)
        }
        try server.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\n"
        )
        #expect(try server.received() == Self.refused("413 Content Too Large"))
    }

    @Test func `a handler without an answer becomes a 500`() throws {
        let server = try EmbeddedServer { _, _ in }
        try server.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try server.received() == Self.refused("500 Internal Server Error"))
    }

    @Test func `a value that could end its line is not sent`() throws {
        let server = try EmbeddedServer { _, connection in
            #expect(throws: HTTPSendError.headUnsendable) {
                var head = connection.makeResponse(200)
                head.add("x", "a\r\nset-cookie: b")
                try connection.respond(head)
            }
        }
        try server.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try server.received() == Self.refused("500 Internal Server Error"))
    }

    @Test func `a stream is chunked, and ends only when it is finished`() throws {
        let server = try EmbeddedServer { request, connection in
            do {
                var head = connection.makeResponse(200)
                head.add("content-type", "text/event-stream")
                try connection.startResponse(head)
                try await connection.write(ByteBuffer(string: "data: 1\n\n"))
                try await connection.write(ByteBuffer(string: String(repeating: "x", count: 300)))
                if request.path == "/whole" { connection.finishResponse() }
            } catch {}
        }
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        let chunks = "9\r\ndata: 1\n\n\r\n12c\r\n\(String(repeating: "x", count: 300))\r\n"
        try server.send("GET /whole?x HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try server.received() == head + chunks + "0\r\n\r\n")
        #expect(server.isOpen)
        try server.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try server.received() == head + chunks)
        #expect(!server.isOpen)
    }

    @Test func `a stream to an HTTP 1_0 client ends with the connection`() throws {
        let server = try EmbeddedServer { _, connection in
            do {
                try connection.startResponse(connection.makeResponse(200))
                try await connection.write(ByteBuffer(string: "hello"))
                connection.finishResponse()
            } catch {}
        }
        try server.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        #expect(try server.received() == "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello")
        #expect(!server.isOpen)
    }

    @Test func `a writer waits for a client that does not read, and gives up at the deadline`()
        throws
    {
        let journal = Journal()
        let server = try EmbeddedServer { _, connection in
            do throws(HTTPSendError) {
                try connection.startResponse(connection.makeResponse(200))
                for number in 1...3 {
                    journal.note("write \(number)")
                    try await connection.write(ByteBuffer(string: "x"))
                }
            } catch {
                journal.note(error.rawValue)
            }
        }
        server.channel.isWritable = false
        server.channel.pipeline.fireChannelWritabilityChanged()
        try server.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(journal.all == ["write 1"])
        server.channel.isWritable = true
        server.channel.pipeline.fireChannelWritabilityChanged()
        #expect(journal.all == ["write 1", "write 2", "write 3"])

        let stuck = try EmbeddedServer { _, connection in
            do throws(HTTPSendError) {
                try connection.startResponse(connection.makeResponse(200))
                try await connection.write(ByteBuffer(string: "x"))
            } catch {
                journal.note(error.rawValue)
            }
        }
        stuck.channel.isWritable = false
        stuck.channel.pipeline.fireChannelWritabilityChanged()
        try stuck.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        stuck.pass(.seconds(30))
        #expect(journal.all.last == "timedOut")
        #expect(!stuck.isOpen)
    }

    @Test func `a client that goes away cancels the handler, unless it chose otherwise`() throws {
        let journal = Journal()
        let handler: HTTPHandler = { request, connection in
            if request.path == "/stay" { connection.cancelsWhenPeerCloses = false }
            let (stream, source) = AsyncStream<Int>.makeStream()
            connection.onPeerClosed = {
                journal.note("peer closed")
                source.yield(1)
            }
            for await _ in stream { break }
            journal.note(Task.isCancelled ? "cancelled" : "went on")
            journal.note(connection.isPeerClosed ? "gone" : "here")
        }
        let server = try EmbeddedServer(handler: handler)
        try server.send("GET /go HTTP/1.1\r\nHost: a\r\n\r\n")
        _ = try? server.channel.close().wait()
        server.loop.run()
        #expect(journal.all == ["peer closed", "cancelled", "gone"])
        let other = try EmbeddedServer(handler: handler)
        try other.send("GET /stay HTTP/1.1\r\nHost: a\r\n\r\n")
        _ = try? other.channel.close().wait()
        other.loop.run()
        #expect(journal.all.suffix(3) == ["peer closed", "went on", "gone"])
    }

    @Test func `draining closes an idle connection and lets a request in hand finish`() throws {
        let idle = try EmbeddedServer(handler: Self.echo)
        try idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        _ = try idle.received()
        idle.connection.assumeIsolated { $0.drain() }
        idle.loop.run()
        #expect(!idle.isOpen)

        let busy = try EmbeddedServer(handler: Self.echo)
        try busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        busy.connection.assumeIsolated { $0.drain() }
        busy.loop.run()
        #expect(busy.isOpen)
        try busy.send("hi")
        #expect(
            try busy.received()
                == "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nPOST / hi"
        )
        #expect(!busy.isOpen)
    }

    @Test func `pipelined input is bounded: the socket is not read while a handler works`() throws {
        var limits = HTTPLimits()
        limits.unreadBytesMax = 1000
        let (gate, open) = AsyncStream<Int>.makeStream()
        let server = try EmbeddedServer(limits: limits) { _, connection in
            for await _ in gate { break }
            try? connection.respond(connection.makeResponse(200))
        }
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        try server.send(request)
        try server.send(String(repeating: request, count: 50))
        #expect(server.connection.wire.isReadingPaused)
        open.finish()
        server.loop.run()
        #expect(!server.connection.wire.isReadingPaused)
        #expect(try server.received().split(separator: "\r\n\r\n").count == 51)
    }
}
