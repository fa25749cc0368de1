import Cryptography
import Foundation
import NIOCore
import Synchronization
import Testing

@testable import Networking

@Suite("TLS on channels", .timeLimit(.minutes(5)))
struct TLSHandlerTests {
    /// An authority for names on loopback, valid from 2020 to 2100.
    struct Authority {
        let authority: CertificateAuthority

        init() throws {
            authority = try .create(
                commonName: "test authority",
                notBefore: 1_577_836_800,
                notAfter: 4_102_444_800
            )
        }

        func identity(
            _ purpose: CertificatePurpose,
            _ names: [AlternativeName]
        ) throws -> TLSIdentity {
            let key = try SigningKey.generate()
            let certificate = try authority.issue(
                CertificateTemplate(
                    commonName: "leaf",
                    alternativeNames: names,
                    notBefore: 1_577_836_800,
                    notAfter: 4_102_444_800,
                    purposes: [purpose]
                ),
                for: key.verificationKey.spki()
            )
            return try TLSIdentity(certificatesPEM: certificate.pem.utf8, keyPEM: key.pem())
        }

        func server(clients: Bool, _ protocols: [String]) throws -> TLSContext {
            try TLSContext(
                .init(
                    role: .server,
                    identity: identity(.server, [.dns("gateway.test"), .ip([127, 0, 0, 1])]),
                    trust: clients ? .roots([authority.certificate]) : .nobody,
                    applicationProtocols: protocols
                )
            )
        }

        func client(_ protocols: [String], identity: TLSIdentity? = nil) throws -> TLSContext {
            try TLSContext(
                .init(
                    role: .client,
                    identity: identity,
                    trust: .roots([authority.certificate]),
                    applicationProtocols: protocols
                )
            )
        }
    }

    static func client(_ loops: EventLoops, _ tls: TLSContext) -> HTTPClient {
        var configuration = HTTPClient.Configuration()
        configuration.tls = tls
        return HTTPClient(loops: loops, configuration: configuration)
    }

    static func server(
        _ loops: EventLoops,
        _ tls: TLSContext,
        handler: @escaping HTTPHandler
    ) async throws -> (HTTPServer, HTTPOrigin) {
        var configuration = HTTPServer.Configuration()
        configuration.tls = TLSContextSource(tls)
        let server = try await HTTPServer.local(loops, configuration, handler: handler)
        let port = server.addresses[0].port ?? 0
        return (server, HTTPOrigin(isSecure: true, host: "127.0.0.1", port: port))
    }

    @Test func `a mutual TLS exchange carries large bodies, and each side knows the other`()
        async throws
    {
        try await EventLoops.with(2) { loops in
            let authority = try Authority()
            let identity = try authority.identity(.client, [.uri("spiffe://test/proxy/1")])
            let (server, origin) = try await Self.server(
                loops,
                authority.server(clients: true, ["http/1.1"])
            ) { _, connection in
                guard let body = try? await connection.collectBody() else { return }
                let uris = connection.tls?.peerCertificate?.uris ?? []
                var head = connection.makeResponse(200)
                head.add("x-peer", uris.joined())
                head.add("x-alpn", connection.tls?.applicationProtocol ?? "none")
                try? connection.respond(head, body: body)
            }
            let client = Self.client(loops, try authority.client(["http/1.1"], identity: identity))
            let text = String(repeating: "large ", count: 100_000)
            let upstream = client.upstream(origin)
            let executor = loops.executors[0]
            for _ in 0..<2 {
                let answer = try await LoopActor(executor).run { _ in
                    var request = upstream.request(.post, HTTPClientTests.target("/"), on: executor)
                    request.body = ByteBuffer(string: text)
                    var response = try await upstream.send(request, on: executor)
                    let body = try await response.collect()
                    return [
                        response.head.fields["x-peer"]?.string,
                        response.head.fields["x-alpn"]?.string,
                        String(buffer: body),
                    ]
                }
                #expect(answer == ["spiffe://test/proxy/1", "http/1.1", text])
            }
            #expect(server.connectionCount == 1)
            await client.shutdown()
            await server.drain(within: .seconds(5))
        }
    }

    @Test func `a server of another authority, or without TLS, is refused before anything is sent`()
        async throws
    {
        try await EventLoops.with { loops in
            let (server, origin) = try await Self.server(
                loops,
                Authority().server(clients: false, [])
            ) { _, _ in Issue.record("reached") }
            let client = Self.client(loops, try Authority().client([]))
            #expect(
                await HTTPClientTests.call(client, origin)
                    == .failure(HTTPClientError(.tlsFailed, .unsent))
            )
            let plain = try await HTTPServer.local(loops) { _, _ in Issue.record("reached") }
            let port = plain.addresses[0].port ?? 0
            #expect(
                await HTTPClientTests.call(
                    client,
                    HTTPOrigin(isSecure: true, host: "127.0.0.1", port: port)
                ) == .failure(HTTPClientError(.tlsFailed, .unsent))
            )
            await server.drain(within: .seconds(5))
            await plain.drain(within: .seconds(5))
        }
    }

    @Test func `plain text on a TLS port gets no answer from the handler`() async throws {
        try await EventLoops.with { loops in
            let (server, _) = try await Self.server(
                loops,
                Authority().server(clients: false, [])
            ) { _, _ in Issue.record("reached") }
            let client = try RawClient(to: server.addresses[0])
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
            #expect(client.receive()?.contains("HTTP") == false)
            await server.drain(within: .seconds(5))
        }
    }

    @Test func `a client that agrees on h2 is handed over`() async throws {
        try await EventLoops.with { loops in
            let authority = try Authority()
            let journal = Journal()
            var configuration = HTTPServer.Configuration()
            configuration.tls = TLSContextSource(
                try authority.server(clients: false, ["h2", "http/1.1"])
            )
            configuration.http2 = { channel, _, agreement in
                journal.note(agreement.applicationProtocol ?? "none")
                channel.close(promise: nil)
            }
            let server = try await HTTPServer.local(loops, configuration) { _, _ in }
            let origin = HTTPOrigin(
                isSecure: true,
                host: "127.0.0.1",
                port: server.addresses[0].port ?? 0
            )
            let client = Self.client(loops, try authority.client(["h2"]))
            let answer = await HTTPClientTests.call(client, origin)
            #expect(answer == .failure(HTTPClientError(.tlsFailed, .unsent)))
            // In TLS 1.3 the client is done first: the server's end of the handshake may be on its way.
            while journal.all.isEmpty { try await Task.sleep(for: .milliseconds(10)) }
            #expect(journal.all == ["h2"])
            await server.drain(within: .seconds(5))
        }
    }

    @Test func `curl verifies us and is served over TLS`() async throws {
        try await EventLoops.with { loops in
            let authority = try Authority()
            let (server, origin) = try await Self.server(
                loops,
                authority.server(clients: false, ["http/1.1"]),
                handler: HTTPServerConnectionTests.echo
            )
            let folder = FileManager.default.temporaryDirectory
            let file = folder.appendingPathComponent("ostiary-test-ca-\(UUID().uuidString).pem")
            try authority.authority.certificate.pem.write(
                to: file,
                atomically: true,
                encoding: .utf8
            )
            defer { try? FileManager.default.removeItem(at: file) }
            let url = "https://gateway.test:\(origin.port)"
            let output = try HTTPServerTests.curl([
                "--cacert", file.path, "--resolve", "gateway.test:\(origin.port):127.0.0.1",
                "-d", "one", "\(url)/1", "\(url)/2",
            ])
            #expect(output == "POST /1 onePOST /2 one")
            await server.drain(within: .seconds(5))
        }
    }

    @Test func `a close-delimited body cut off without notice is not taken for complete`()
        async throws
    {
        try await EventLoops.with { loops in
            let authority = try Authority()
            let context = try authority.server(clients: false, [])
            var configuration = HTTPServer.Configuration()
            configuration.tls = TLSContextSource(context)
            let server = try await HTTPServer.local(loops, configuration) { request, connection in
                guard let channel = connection.wire.channel else { return }
                let text = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf"
                connection.wire.send(ByteBuffer(string: text))
                // Below TLS, as a cut cable or an attacker does it; or in order.
                if request.fields["x"] != nil {
                    try? await channel.pipeline.context(handlerType: TLSHandler.self)
                        .flatMap { context in
                            context.close(mode: .all)
                        }.get()
                } else {
                    connection.wire.close()
                }
            }
            let client = Self.client(loops, try authority.client([]))
            let origin = HTTPOrigin(
                isSecure: true,
                host: "127.0.0.1",
                port: server.addresses[0].port ?? 0
            )
            #expect(await HTTPClientTests.call(client, origin) == .success("200 half"))
            let cut = await HTTPClientTests.call(client, origin) { $0.head.add("x", "y") }
            #expect(cut == .failure(HTTPClientError(.responseRefused(.truncated), .sent)))
            await server.drain(within: .seconds(5))
        }
    }
}
