import NIOCore
import NIOPosix
import Synchronization

@testable import Networking

let loops = MultiThreadedEventLoopGroup.singleton

/// A gRPC server on a loopback port and one client connection to it, for the length of `body`.
func withGRPC(
    _ server: GRPCServer,
    limits: HTTP2Limits = HTTP2Limits(),
    clientLimits: HTTP2Limits = HTTP2Limits(),
    security: (@Sendable () -> TransportSecurity?)? = nil,
    _ body: @Sendable (GRPCClient, HTTP2Listener) async throws -> Void
) async throws {
    try await withListener(server, limits: limits, security: security) { listener in
        let connection = try await HTTP2ClientConnection.connect(
            host: "127.0.0.1",
            port: listener.port,
            on: loops,
            limits: clientLimits
        )
        do {
            try await body(GRPCClient(connection, authority: "test", scheme: "http"), listener)
        } catch {
            await connection.close()
            throw error
        }
        await connection.close()
    }
}

func withListener(
    _ server: GRPCServer,
    limits: HTTP2Limits = HTTP2Limits(),
    security: (@Sendable () -> TransportSecurity?)? = nil,
    _ body: @Sendable (HTTP2Listener) async throws -> Void
) async throws {
    let listener = try await HTTP2Listener(host: "127.0.0.1", port: 0, on: loops) {
        try HTTP2ServerConnection(addingTo: $0, limits: limits, security: security)
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await listener.run { await server.serve($0) } }
        let result = await Result { try await body(listener) }
        await listener.shutdown(within: .milliseconds(100))
        try await group.waitForAll()
        try result.get()
    }
}

extension Result where Failure == any Error, Success: Sendable {
    init(_ body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}

/// `/t.S/Unary` answers with the request; `/t.S/Echo` with every message.
func echoServer() -> GRPCServer {
    var server = GRPCServer()
    server.unary("/t.S/Unary") { request, _ in request }
    server.bidirectional("/t.S/Echo") { call throws(GRPCStatus) in
        while let message = try await call.nextMessage() { try await call.send(message) }
    }
    server.unary("/t.S/Refuse") { _, _ throws(GRPCStatus) in
        throw GRPCStatus(.permissionDenied, "naïve: 100%")
    }
    return server
}

/// A peer that speaks frames, but no HTTP/2: it sends what a row says and reads until the other
/// side closes.
enum RawPeer {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(0x4, 0, 0, [])

    /// POST http://x/ as HPACK.
    static let head: [UInt8] = [0x83, 0x86, 0x84, 0x41, 0x01, 0x78]

    static func frame(
        _ type: UInt8,
        _ flags: UInt8,
        _ stream: UInt32,
        _ payload: [UInt8]
    ) -> [UInt8] {
        let length = UInt32(payload.count)
        return [UInt8(truncatingIfNeeded: length >> 16), UInt8(truncatingIfNeeded: length >> 8)]
            + [UInt8(truncatingIfNeeded: length), type, flags]
            + (0..<4).map { UInt8(truncatingIfNeeded: stream >> (24 - 8 * $0)) } + payload
    }

    struct Answer {
        /// Error codes of the GOAWAY frames received.
        var goAways: [UInt32] = []
        /// Error codes of the RST_STREAM frames received.
        var resets: [UInt32] = []
    }

    static func exchange(port: Int, _ bytes: [UInt8]) async throws -> Answer {
        let channel = try await ClientBootstrap(group: loops)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel
                    )
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            // The other side may close while we still send: what it answered is all that matters.
            try? await outbound.write(ByteBuffer(bytes: bytes))
            var received = ByteBuffer()
            do {
                for try await var part in inbound { received.writeBuffer(&part) }
            } catch is IOError {}
            return parse(&received)
        }
    }

    private static func parse(_ bytes: inout ByteBuffer) -> Answer {
        var answer = Answer()
        while let length = bytes.readBytes(length: 3), let type: UInt8 = bytes.readInteger(),
            bytes.readBytes(length: 5) != nil,
            var payload = bytes.readSlice(length: length.reduce(0) { $0 << 8 | Int($1) })
        {
            if type == 0x3, let code: UInt32 = payload.readInteger() { answer.resets.append(code) }
            if type == 0x7, payload.readBytes(length: 4) != nil,
                let code: UInt32 = payload.readInteger()
            {
                answer.goAways.append(code)
            }
        }
        return answer
    }
}

/// A value that tests on several tasks look at.
final class Shared<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) { mutex = Mutex(value) }

    var value: Value { mutex.withLock { $0 } }

    func update(_ body: @Sendable (inout Value) -> Void) { mutex.withLock { body(&$0) } }
}
