import JSON
import MCPProtocol
import NIOCore
import Networking

/// One request's answer: a whole response, or a stream of events once that was begun.
///
/// Confined to the connection's event loop. A call that takes long becomes a stream on its own: clients that wait for the
/// head hold a lock meanwhile (mcp-protocol.md §2.3), and proxies in between close what is silent.
final class HTTPExchange {
    private let connection: HTTPServerConnection
    private let settings: MCPEndpoint.Settings
    private var isStreaming = false
    private var isAnswered = false

    // What the message's metrics will say of it; counted once, by MCPEndpoint.
    var server = ServerTimers.unknown
    var method: MCPMethod?
    /// Set where the tool is an accepted one.
    var tool: OperationTimers?
    var ending = MessageEnding.succeeded

    init(_ connection: isolated HTTPServerConnection, _ settings: MCPEndpoint.Settings) {
        self.connection = connection
        self.settings = settings
    }

    /// The timers of what the message turned out to be.
    var timers: OperationTimers {
        tool ?? server[method]
    }

    // MARK: - Whole answers

    /// Answers without a body.
    func answer(status: Int, allow: StaticString? = nil) {
        connection.assumeIsolated { connection in
            var head = connection.makeResponse(status)
            if let allow {
                head.add("allow", allow)
            }
            if status == 503 {
                head.add("retry-after", "1")
            }
            try? connection.respond(head)
        }
        isAnswered = true
    }

    /// Answers with a JSON document.
    func answer(status: Int, json: [UInt8], session: Text? = nil, isPublic: Bool = false) {
        connection.assumeIsolated { connection in
            var head = connection.makeResponse(status)
            head.add("content-type", "application/json")
            if isPublic {
                head.add("access-control-allow-origin", "*")
                head.add("cache-control", "public, max-age=60")
            } else {
                head.add("cache-control", "no-store")
            }
            if let session {
                head.add("mcp-session-id", session.string)
            }
            try? connection.respond(head, body: ByteBuffer(bytes: json))
        }
        isAnswered = true
    }

    /// Answers 401 with a challenge.
    func challenge(_ challenge: String) {
        connection.assumeIsolated { connection in
            var head = connection.makeResponse(401)
            head.add("www-authenticate", challenge)
            head.add("access-control-expose-headers", "WWW-Authenticate")
            try? connection.respond(head)
        }
        isAnswered = true
    }

    // MARK: - Streams

    /// Begins a stream after a while, unless the answer comes first; keeps it alive from then on.
    func streamIfSlow() {
        schedule(settings.streamAfter)
    }

    private func schedule(_ delay: TimeAmount) {
        connection.alarm.set(in: delay) { self.keepAlive() }
    }

    private func keepAlive() {
        guard !isAnswered else {
            return
        }
        startStream()
        guard isStreaming else {
            return
        }
        connection.assumeIsolated {
            try? $0.push(ByteBuffer(bytes: SSEWriter.comment()))
        }
        schedule(settings.heartbeat)
    }

    private func startStream() {
        guard !isStreaming else {
            return
        }
        // A client that is gone gets no stream: nothing may be written to one that never began.
        isStreaming = connection.assumeIsolated { connection in
            var head = connection.makeResponse(200)
            head.add("content-type", "text/event-stream")
            head.add("cache-control", "no-cache, no-transform")
            head.add("x-accel-buffering", "no")
            return (try? connection.startResponse(head)) != nil
        }
    }

    /// Sends a message before the answer; the answer becomes a stream with it.
    func event(_ message: [UInt8], on connection: isolated HTTPServerConnection) async {
        startStream()
        try? await connection.write(ByteBuffer(bytes: message))
    }

    /// Ends the stream without a message.
    func finishWithoutAnswer() {
        connection.alarm.clear()
        isAnswered = true
        startStream()
        guard isStreaming else { return }
        connection.assumeIsolated { $0.finishResponse() }
    }

    /// Sends the final message: in one piece, or as the last event of the stream.
    func finish(_ json: [UInt8], status: Int) {
        connection.alarm.clear()
        isAnswered = true
        guard isStreaming else {
            return answer(status: status, json: json)
        }
        let event = SSEWriter.message(json)
        connection.assumeIsolated { connection in
            try? connection.push(ByteBuffer(bytes: event))
            connection.finishResponse()
        }
    }
}
