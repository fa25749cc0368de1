import CoreMetrics
import Cryptography
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import Networking
import ServiceLifecycle
import ServiceRuntime
import Synchronization

/// The listening socket of the REST interface: Hummingbird's HTTP/1.1 server, behind our TLS handler when there
/// is a certificate.
final class RESTListener: Service {
    private let server: any Service
    private let bound: BoundPort

    /// Makes the listener; it binds when it runs.
    init(
        host: String,
        port: Int,
        portFile: String?,
        tls: TLSContext?,
        loops: EventLoops,
        service: RESTService,
        logger: Logger
    ) {
        let bound = BoundPort()
        self.bound = bound
        let http = HTTP1Channel(
            responder: { request, writer, _ in
                try await service.respond(to: request, writer)
            },
            configuration: .init(
                additionalChannelHandlers: [HeadLimit()],
                idleTimeout: .seconds(60),
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: 16_384,
                    maxHeaderListSize: 32_768,
                    maxHeaderFieldCount: 100
                )
            )
        )
        // Hummingbird tells of its start at info; ours is told by whoever assembles.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        server = SecuredChannel(base: http, tls: tls)
            .server(
                configuration: ServerConfiguration(
                    address: .hostname(host, port: port),
                    availableConnectionsDelegate: ConnectionLimit()
                ),
                onServerRunning: { channel in
                    let port = channel.localAddress?.port ?? 0
                    logger.info("REST is listening", metadata: ["ostiary.api.port": "\(port)"])
                    if let portFile { Self.write(port, to: portFile, logger: logger) }
                    bound.settle(port)
                },
                eventLoopGroup: loops.executors[0].loop,
                logger: quiet
            )
    }

    private static func write(_ port: Int, to file: String, logger: Logger) {
        do throws(StartError) {
            try Files.write(Array("\(port)\n".utf8), to: file, mode: 0o644) {
                StartError(description: $0)
            }
        } catch {
            logger.error("the port was not written", metadata: ["error.message": "\(error)"])
        }
    }

    /// Serves until the process shuts down; requests that have begun are answered.
    func run() async throws {
        try await listening("OSTIARY_API_LISTEN") { try await server.run() }
    }

    /// The port in use, once it is bound.
    var port: Int { get async { await bound.value } }
}

/// A port that is known when the socket is bound.
private final class BoundPort: Sendable {
    private struct State {
        var port: Int?
        var waiting: [CheckedContinuation<Int, Never>] = []
    }

    private let state = Mutex(State())

    var value: Int {
        get async {
            await withCheckedContinuation { continuation in
                let known = state.withLock { state -> Int? in
                    if state.port == nil { state.waiting.append(continuation) }
                    return state.port
                }
                if let known { continuation.resume(returning: known) }
            }
        }
    }

    func settle(_ port: Int) {
        let waiting = state.withLock { state in
            state.port = port
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume(returning: port) }
    }
}

/// The bounds of the REST interface.
enum RESTLimits {
    /// Connections at once; more wait to be accepted.
    static let connectionsMax = 512
    /// The longest body of a request.
    static let bodyBytesMax = 1 << 20
    /// How much of a body that is too long is read to its end, so that the answer arrives.
    static let drainedBytesMax = 8 << 20
    /// The longest path and query.
    static let targetBytesMax = 8192
}

/// How many connections there are; more than ``RESTLimits/connectionsMax`` wait to be accepted.
private struct ConnectionLimit: AvailableConnectionsDelegate {
    private var count = 0
    private let connections = Meter(
        label: "ostiary.listener.connections",
        dimensions: [("ostiary.listener", "api")]
    )

    mutating func connectionOpened() {
        count += 1
        connections.increment()
        if count == RESTLimits.connectionsMax { Limit.restConnections.reached() }
    }

    mutating func connectionClosed() {
        count -= 1
        connections.decrement()
    }

    func isAcceptingNewConnections() -> Bool { count < RESTLimits.connectionsMax }
}

/// Counts heads that are too long or have too many fields; the codec below refuses them, and Hummingbird answers.
private final class HeadLimit: ChannelInboundHandler, RemovableChannelHandler {
    // It lets everything pass.
    typealias InboundIn = Never

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if case .headerOverflow? = error as? HTTPParserError { Limit.restHeadBytes.reached() }
        context.fireErrorCaught(error)
    }
}

/// TLS below HTTP/1.1, where there is a certificate.
private struct SecuredChannel: ServerChildChannel {
    let base: HTTP1Channel
    let tls: TLSContext?

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<HTTP1Channel.Value> {
        guard let tls else { return base.setup(channel: channel, logger: logger) }
        return channel.eventLoop.makeCompletedFuture {
            let handler = TLSHandler(try TLSSession(server: tls), timeout: .seconds(10)) { _ in }
            try channel.pipeline.syncOperations.addHandler(handler)
        }
        .flatMap { base.setup(channel: channel, logger: logger) }
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async {
        await base.handle(value: value, logger: logger)
    }
}
