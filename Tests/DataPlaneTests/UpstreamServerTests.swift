import GatewayModel
import JSON
import MCPProtocol
import NIOCore
import Networking
import Synchronization
import Testing

@testable import DataPlane

/// What the gateway says to a server before a call, counted at the server.
@Suite struct UpstreamServerTests {
    @Test func `a server without sessions is shaken hands with once, for everybody`() async throws {
        try await Upstream.with(.init()) { upstream, server, executor in
            for owner in ["alice", "alice", "bob"] as [Text] {
                let conversation = try await conversation(server, owner, executor)
                #expect(conversation.session == nil)
            }
            #expect(upstream.said("initialize") == 1)
            #expect(upstream.said("notifications/initialized") == 1)
        }
    }

    @Test func `a server with sessions gives each owner one`() async throws {
        try await Upstream.with(.init(givesSessions: true)) { upstream, server, executor in
            let alice = try await conversation(server, "alice", executor).session
            #expect(alice != nil)
            #expect(try await conversation(server, "alice", executor).session == alice)
            #expect(try await conversation(server, "bob", executor).session != alice)
            #expect(upstream.said("initialize") == 2)
        }
    }

    @Test func `a server that comes to want sessions is asked again`() async throws {
        try await Upstream.with(.init()) { upstream, server, executor in
            _ = try await conversation(server, "alice", executor)
            upstream.become(.init(givesSessions: true, refusesWithoutSession: true))
            await #expect(throws: UpstreamFault.self) {
                try await server.refreshCatalogue(on: executor, now: start)
            }
            #expect(try await conversation(server, "alice", executor).session != nil)
        }
    }

    private let start = MonotonicInstant(nanoseconds: 0)

    private func conversation(
        _ server: UpstreamServer,
        _ owner: Text,
        _ executor: LoopExecutor
    ) async throws -> UpstreamServer.Conversation {
        try await server.conversation(
            for: .init(subject: SubjectID(owner), client: "agent"),
            on: executor,
            now: start
        )
    }
}

/// A server of the era of handshakes, and what it heard.
private final class Upstream: Sendable {
    struct Behaviour {
        var givesSessions = false
        var refusesWithoutSession = false
    }

    private struct State {
        var behaviour: Behaviour
        var heard: [Text] = []
    }

    private let state: Mutex<State>

    private init(_ behaviour: Behaviour) {
        state = Mutex(State(behaviour: behaviour))
    }

    func said(_ method: Text) -> Int {
        state.withLock { $0.heard.count { $0 == method } }
    }

    func become(_ behaviour: Behaviour) {
        state.withLock { $0.behaviour = behaviour }
    }

    static func with(
        _ behaviour: Behaviour,
        _ body: @escaping @Sendable (Upstream, UpstreamServer, LoopExecutor) async throws -> Void
    ) async throws {
        let upstream = Upstream(behaviour)
        let loops = EventLoops(count: 1)
        let listener = try await HTTPServer.bind(
            [SocketAddress(ipAddress: "127.0.0.1", port: 0)],
            loops: loops
        ) { head, connection in
            await upstream.answer(head, on: connection)
        }
        let client = HTTPClient(loops: loops)
        let origin = HTTPOrigin(
            isSecure: false,
            host: "127.0.0.1",
            port: listener.addresses[0].port ?? 0
        )
        let server = UpstreamServer(
            GatewaySnapshot.Server(
                name: "tools",
                origin: origin,
                target: "/mcp",
                pins: [:],
                timers: .unknown
            ),
            upstream: client.upstream(origin)
        )
        let executor = loops.executors[0]
        // A call runs on its loop.
        let outcome = await Task(executorPreference: executor) {
            try await body(upstream, server, executor)
        }.result
        await client.shutdown()
        await listener.drain(within: .seconds(5))
        try await loops.shutdown()
        try outcome.get()
    }

    private func answer(
        _ head: HTTPRequestHead,
        on connection: isolated HTTPServerConnection
    ) async {
        guard var body = try? await connection.collectBody(),
            let root = try? JSONDocument(parsing: body.readBytes(length: body.readableBytes) ?? [])
                .root
        else { return }
        let method = root["method"]?.string ?? ""
        let (behaviour, count) = state.withLock { state in
            state.heard.append(method)
            return (state.behaviour, state.heard.count)
        }
        let isHandshake = method == "initialize"
        guard isHandshake || root["id"] != nil else {
            try? connection.respond(connection.makeResponse(202))
            return
        }
        guard
            isHandshake || head.fields["mcp-session-id"] != nil
                || !behaviour.refusesWithoutSession
        else {
            try? connection.respond(connection.makeResponse(400))
            return
        }
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("jsonrpc", "2.0")
        if let id = root["id"] { writer.member("id", id) }
        if isHandshake {
            writer.object("result") { writer in
                writer.member("protocolVersion", "2025-11-25")
                writer.object("capabilities") { $0.object("tools") { _ in } }
                writer.object("serverInfo") {
                    $0.member("name", "tools")
                    $0.member("version", "1")
                }
            }
        } else if method == "tools/list" {
            writer.object("result") { $0.array("tools") { _ in } }
        } else {
            writer.object("error") {
                $0.member("code", -32601)
                $0.member("message", "Method not found")
            }
        }
        writer.endObject()
        var response = connection.makeResponse(200)
        response.add("content-type", "application/json")
        if isHandshake, behaviour.givesSessions {
            response.add("mcp-session-id", "session-\(count)")
        }
        try? connection.respond(response, body: ByteBuffer(bytes: writer.finish()))
    }
}
