import Foundation
import NIOCore
import Testing

@testable import Networking

@Suite("HTTP/1.1 server on sockets")
struct HTTPServerTests {
    @Test
    func `the smuggling table is refused through a real socket, and never reaches the handler`()
        async throws
    {
        try await EventLoops.with { loops in
            let journal = Journal()
            let server = try await HTTPServer.local(loops) { request, connection in
                if (try? await connection.collectBody()) != nil {
                    journal.note(request.target.string)
                    try? connection.respond(connection.makeResponse(200))
                }
            }
            let address = try #require(server.addresses.first)
            for row in RefusalRow.requests {
                let client = try RawClient(to: address)
                // A second request rides along: it must not be answered whatever the first one was.
                client.send((row.bytes + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").utf8)
                let answer = try #require(client.receive(), "\(row.name): no answer")
                #expect(
                    answer.hasPrefix("HTTP/1.1 \(row.fault.status) "),
                    "\(row.name): \(answer.prefix(40))"
                )
                #expect(answer.contains("connection: close\r\n"), "\(row.name)")
                #expect(answer.components(separatedBy: "HTTP/1.1 ").count == 2, "\(row.name)")
            }
            #expect(journal.all.isEmpty)
            await server.drain(within: .seconds(5))
        }
    }

    @Test func `a large body arrives whole, and a large answer leaves whole`() async throws {
        try await EventLoops.with { loops in
            let server = try await HTTPServer.local(loops, handler: HTTPServerConnectionTests.echo)
            let client = try RawClient(to: try #require(server.addresses.first))
            let body = String(repeating: "0123456789abcdef", count: 60_000)
            client.send(
                "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
                    .utf8
            )
            let answer = try #require(client.receive { $0.utf8.count > body.utf8.count + 50 })
            #expect(answer.hasSuffix("POST /x " + body))
            await server.drain(within: .seconds(5))
        }
    }

    @Test func `a large answer is complete although the connection closes after it`() async throws {
        try await EventLoops.with { loops in
            let body = String(repeating: "0123456789abcdef", count: 500_000)
            let server = try await HTTPServer.local(loops) { _, connection in
                try? connection.respond(
                    connection.makeResponse(200),
                    body: ByteBuffer(string: body)
                )
            }
            let client = try RawClient(to: try #require(server.addresses.first))
            client.send(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: close\r\n\r\nx".utf8
            )
            let answer = try #require(client.receive())
            #expect(answer.hasSuffix("\r\n\r\n" + body))
            await server.drain(within: .seconds(5))
        }
    }

    @Test func `connections over the cap are closed`() async throws {
        try await EventLoops.with { loops in
            var configuration = HTTPServer.Configuration()
            configuration.connectionsMax = 1
            let server = try await HTTPServer.local(
                loops,
                configuration,
                handler: HTTPServerConnectionTests.echo
            )
            let address = try #require(server.addresses.first)
            let first = try RawClient(to: address)
            first.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
            #expect(first.receive { $0.hasSuffix("GET /1 ") } != nil)
            let second = try RawClient(to: address)
            #expect(second.receive() == "")
            await server.drain(within: .seconds(5))
        }
    }

    @Test func `draining waits for the request in hand, and cancels it at the deadline`()
        async throws
    {
        try await EventLoops.with(2) { loops in
            let (entered, enter) = AsyncStream<Int>.makeStream()
            let journal = Journal()
            let server = try await HTTPServer.local(loops) { _, connection in
                enter.yield(1)
                // Waits for a cancellation that only the deadline brings.
                let (never, _keep) = AsyncStream<Int>.makeStream()
                for await _ in never {}
                _ = _keep
                journal.note(Task.isCancelled ? "cancelled" : "ended")
            }
            let client = try RawClient(to: try #require(server.addresses.first))
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
            for await _ in entered { break }
            await server.drain(within: .milliseconds(20))
            #expect(journal.all == ["cancelled"])
            #expect(throws: (any Error).self) { _ = try RawClient(to: server.addresses[0]) }
        }
    }

    /// curl as a client that nobody here wrote.
    static func curl(_ arguments: [String]) throws -> String {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["curl", "--silent", "--show-error", "--max-time", "60"] + arguments
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: data, as: UTF8.self)
    }

    @Test func `curl is served: keep-alive, chunked upload, continue, HEAD`() async throws {
        try await EventLoops.with { loops in
            let server = try await HTTPServer.local(loops, handler: HTTPServerConnectionTests.echo)
            let url = "http://127.0.0.1:\(server.addresses[0].port ?? 0)"
            let reused = try Self.curl([
                "-w", " %{num_connects}\n", "-d", "one", "\(url)/1", "\(url)/2",
            ])
            #expect(reused == "POST /1 one 1\nPOST /2 one 0\n")
            let chunked = try Self.curl([
                "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "-d", "hello",
                "\(url)/c",
            ])
            #expect(chunked == "POST /c hello")
            let head = try Self.curl(["-I", "\(url)/h"])
            #expect(head.hasPrefix("HTTP/1.1 200 OK\r\ncontent-length: 8\r\ndate: "))
            await server.drain(within: .seconds(5))
        }
    }
}
