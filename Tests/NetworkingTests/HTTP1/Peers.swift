import Glibc
import NIOCore
import NIOPosix
import Synchronization

@testable import Networking

/// A plain blocking socket: the foreign client that sends exactly the bytes it is told.
final class RawClient {
    private let descriptor: CInt

    init(to address: SocketAddress) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var timeout = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(
            descriptor,
            SOL_SOCKET,
            SO_RCVTIMEO,
            &timeout,
            socklen_t(MemoryLayout<timeval>.size)
        )
        let outcome = address.withSockAddr { connect(descriptor, $0, socklen_t($1)) }
        if outcome != 0 { throw IOError(errnoCode: errno, reason: "connect") }
    }

    deinit { close(descriptor) }

    func send(_ bytes: some Sequence<UInt8>) {
        let bytes = Array(bytes)
        var start = 0
        while start < bytes.count {
            let count = bytes[start...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
            }
            if count <= 0 { return }
            start += count
        }
    }

    /// Everything until the peer closes, or until `isComplete`; `nil` when the peer is silent for
    /// too long.
    func receive(until isComplete: (String) -> Bool = { _ in false }) -> String? {
        var received: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(descriptor, &piece, piece.count, 0)
            if count < 0 {
                return errno == ECONNRESET ? String(decoding: received, as: UTF8.self) : nil
            }
            received.append(contentsOf: piece[..<max(0, count)])
            let text = String(decoding: received, as: UTF8.self)
            if count == 0 || isComplete(text) { return text }
        }
    }
}

/// An upstream that answers the n-th request it sees with the n-th script, whatever the request
/// says.
final class ScriptedUpstream: Sendable {
    struct Step: Sendable {
        var bytes: String
        var closes = false
    }

    private struct State {
        var steps: [Step]
        var requests: [String] = []
        var connections = 0
    }

    private let state: Mutex<State>
    private let listener: Mutex<(any Channel)?> = Mutex(nil)

    init(_ loops: EventLoops, _ steps: [Step]) async throws {
        state = Mutex(State(steps: steps))
        let channel = try await ServerBootstrap(group: loops.group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    self.state.withLock { $0.connections += 1 }
                    try channel.pipeline.syncOperations.addHandler(Handler(self))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        listener.withLock { $0 = channel }
    }

    var origin: HTTPOrigin {
        let port = listener.withLock { $0?.localAddress?.port } ?? 0
        return HTTPOrigin(isSecure: false, host: "127.0.0.1", port: port)
    }
    var requests: [String] { state.withLock { $0.requests } }
    var connections: Int { state.withLock { $0.connections } }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        let owner: ScriptedUpstream
        var received = ""

        init(_ owner: ScriptedUpstream) { self.owner = owner }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            received += String(buffer: unwrapInboundIn(data))
            guard received.contains("\r\n\r\n") else { return }
            let request = received
            received = ""
            let step = owner.state.withLock { state -> Step? in
                state.requests.append(request)
                return state.steps.isEmpty ? nil : state.steps.removeFirst()
            }
            guard let step else { return }
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: step.bytes)), promise: nil)
            if step.closes { context.close(promise: nil) }
        }
    }
}

extension EventLoops {
    /// Runs `body` with loops of its own and stops them.
    static func with<Value>(
        _ count: Int = 1,
        _ body: (EventLoops) async throws -> Value
    ) async throws -> Value {
        let loops = EventLoops(count: count)
        do {
            let value = try await body(loops)
            try await loops.shutdown()
            return value
        } catch {
            try await loops.shutdown()
            throw error
        }
    }
}

extension HTTPServer {
    /// Binds a port of the system's choice on loopback.
    static func local(
        _ loops: EventLoops,
        _ configuration: Configuration = Configuration(),
        handler: @escaping HTTPHandler
    ) async throws -> HTTPServer {
        try await bind(
            [SocketAddress(ipAddress: "127.0.0.1", port: 0)],
            loops: loops,
            configuration: configuration,
            handler: handler
        )
    }
}
