import NIOCore
import Testing

@testable import Networking

@Suite("HTTP/1.1 client")
struct HTTPClientTests {
    typealias Step = ScriptedUpstream.Step

    static let hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

    static func target(_ text: String) -> HTTPFieldValue {
        HTTPFieldValue(bytes: ByteBuffer(string: text))
    }

    /// One call; the answer's status and body, or the error.
    static func call(
        _ client: HTTPClient,
        _ origin: HTTPOrigin,
        _ method: HTTPMethod = .get,
        body: String = "",
        _ adjust: @Sendable (inout HTTPClientRequest) -> Void = { _ in }
    ) async -> Result<String, HTTPClientError> {
        let upstream = client.upstream(origin)
        let executor = client.loops.executors[0]
        return await LoopActor(executor).run { _ in
            do throws(HTTPClientError) {
                var request = upstream.request(method, target("/x"), on: executor)
                request.body = ByteBuffer(string: body)
                adjust(&request)
                var response = try await upstream.send(request, on: executor)
                let content = try await response.collect()
                return .success("\(response.head.status) \(String(buffer: content))")
            } catch {
                return .failure(error)
            }
        }
    }

    @Test func `a connection is used again after a clean response, and the request is as written`()
        async throws
    {
        try await EventLoops.with { loops in
            let upstream = try await ScriptedUpstream(
                loops,
                [
                    Step(bytes: Self.hello),
                    Step(
                        bytes:
                            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
                    ),
                    Step(bytes: Self.hello),
                ]
            )
            let client = HTTPClient(loops: loops)
            #expect(await Self.call(client, upstream.origin) == .success("200 hello"))
            #expect(
                await Self.call(client, upstream.origin, .post, body: "abc") {
                    $0.head.add("x", "y")
                }
                    == .success("200 hi")
            )
            #expect(await Self.call(client, upstream.origin) == .success("200 hello"))
            #expect(upstream.connections == 1)
            let host = "127.0.0.1:\(upstream.origin.port)"
            #expect(
                upstream.requests[1]
                    == "POST /x HTTP/1.1\r\nhost: \(host)\r\nx: y\r\ncontent-length: 3\r\n\r\nabc"
            )
            await client.shutdown()
        }
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        hello + "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
    ])
    func `a connection is not used again when the server closes, or is out of step`(
        _ first: String
    )
        async throws
    {
        try await EventLoops.with { loops in
            let upstream = try await ScriptedUpstream(
                loops,
                [Step(bytes: first), Step(bytes: Self.hello)]
            )
            let client = HTTPClient(loops: loops)
            #expect(await Self.call(client, upstream.origin) == .success("200 hello"))
            #expect(await Self.call(client, upstream.origin) == .success("200 hello"))
            #expect(upstream.connections == 2)
            await client.shutdown()
        }
    }

    static let lies: [(Step, HTTPClientError.Reason)] = [
        (Step(bytes: "", closes: true), .closedBeforeResponse),
        (Step(bytes: "HTTP/1.1 200", closes: true), .responseRefused(.truncated)),
        (
            Step(bytes: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", closes: true),
            .responseRefused(.truncated)
        ),
        (
            Step(
                bytes: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                closes: true
            ),
            .responseRefused(.truncated)
        ),
        (
            Step(
                bytes: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            .responseRefused(.lengthAndTransferEncoding)
        ),
        (Step(bytes: "HTTP/1.1 200 OK\r\n\r\nhello"), .responseRefused(.bodyUnframed)),
        (Step(bytes: "HTTP/1.1 101 Yes\r\n\r\n"), .responseRefused(.unexpectedUpgrade)),
        (
            Step(bytes: String(repeating: "HTTP/1.1 103 x\r\n\r\n", count: 20)),
            .responseRefused(.tooManyInterimResponses)
        ),
        (Step(bytes: "220 smtp ready\r\n"), .responseRefused(.statusLineMalformed)),
        (
            Step(bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"),
            .responseRefused(.bodyTooLarge)
        ),
    ]

    @Test(arguments: lies)
    func `an upstream that lies is an error with its reason, and the call counts as sent`(
        _ step: Step,
        _ reason: HTTPClientError.Reason
    ) async throws {
        try await EventLoops.with { loops in
            let upstream = try await ScriptedUpstream(loops, [step, Step(bytes: Self.hello)])
            let client = HTTPClient(loops: loops)
            #expect(
                await Self.call(client, upstream.origin) == .failure(HTTPClientError(reason, .sent))
            )
            #expect(await Self.call(client, upstream.origin) == .success("200 hello"))
            #expect(upstream.connections == 2)
            await client.shutdown()
        }
    }

    @Test func `a request that cannot be sent, or has nowhere to go, counts as unsent`()
        async throws
    {
        try await EventLoops.with { loops in
            let upstream = try await ScriptedUpstream(loops, [Step(bytes: Self.hello)])
            let client = HTTPClient(loops: loops)
            let unsendable = await Self.call(client, upstream.origin) {
                $0.head.add("x", "a\r\nb: c")
            }
            #expect(unsendable == .failure(HTTPClientError(.requestUnsendable, .unsent)))
            // A port that was bound and let go: nobody listens there.
            let gone = try await HTTPServer.local(loops) { _, _ in }
            let port = gone.addresses[0].port ?? 0
            await gone.drain(within: .seconds(1))
            let origin = HTTPOrigin(isSecure: false, host: "127.0.0.1", port: port)
            #expect(
                await Self.call(client, origin)
                    == .failure(HTTPClientError(.connectFailed, .unsent))
            )
            var configuration = HTTPClient.Configuration()
            configuration.addressPolicy = { $0.ipAddress != "127.0.0.1" }
            let guarded = HTTPClient(loops: loops, configuration: configuration)
            #expect(
                await Self.call(guarded, upstream.origin)
                    == .failure(HTTPClientError(.addressRefused, .unsent))
            )
            #expect(upstream.connections == 0)
        }
    }

    @Test func `a silent upstream times out, and cancelling closes the connection`() async throws {
        try await EventLoops.with { loops in
            let upstream = try await ScriptedUpstream(loops, [])
            let client = HTTPClient(loops: loops)
            // Long enough to have been sent.
            let late = await Self.call(client, upstream.origin) { $0.timeout = .seconds(2) }
            #expect(late == .failure(HTTPClientError(.timedOut, .sent)))
            let origin = upstream.origin
            let task = Task { await Self.call(client, origin) }
            while upstream.requests.count < 2 { await Task.yield() }
            task.cancel()
            #expect(await task.value == .failure(HTTPClientError(.cancelled, .sent)))
        }
    }

    @Test func `a response let go of in the middle closes its connection`() async throws {
        try await EventLoops.with { loops in
            let upstream = try await ScriptedUpstream(
                loops,
                [
                    Step(bytes: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
                    Step(bytes: Self.hello),
                ]
            )
            let client = HTTPClient(loops: loops)
            let executor = loops.executors[0]
            let pool = client.upstream(upstream.origin)
            let piece = try await LoopActor(executor).run { _ in
                let request = pool.request(.get, Self.target("/"), on: executor)
                var response = try await pool.send(request, on: executor)
                return try await response.nextChunk().map { String(buffer: $0) }
            }
            #expect(piece == "hello")
            #expect(await Self.call(client, upstream.origin) == .success("200 hello"))
            #expect(upstream.connections == 2)
            await client.shutdown()
        }
    }

    @Test func `requests over the connection bound wait for one, and a full queue refuses`()
        async throws
    {
        try await EventLoops.with { loops in
            let server = try await HTTPServer.local(loops, handler: HTTPServerConnectionTests.echo)
            var configuration = HTTPClient.Configuration()
            configuration.connectionsPerOriginMax = 2
            let client = HTTPClient(loops: loops, configuration: configuration)
            let origin = HTTPOrigin(
                isSecure: false,
                host: "127.0.0.1",
                port: server.addresses[0].port ?? 0
            )
            await withTaskGroup(of: Result<String, HTTPClientError>.self) { group in
                for _ in 0..<200 {
                    group.addTask { await Self.call(client, origin, .post, body: "hi") }
                }
                for await answer in group { #expect(answer == .success("200 POST /x hi")) }
            }
            #expect(server.connectionCount <= 2)
            await client.shutdown()
            await server.drain(within: .seconds(5))
        }
    }
}
