public import Cryptography
import NIOCore
import NIOPosix

extension HTTP2ClientConnection {
    /// Connects over TLS; the server must agree on `h2`.
    ///
    /// - Parameters:
    ///   - host: A name or an address.
    ///   - port: The TCP port.
    ///   - executor: The loop the connection lives on.
    ///   - tls: The client's side of TLS, with `h2` among its protocols.
    ///   - name: Whom the server's certificate must name.
    ///   - timeout: For the TCP connection and for the handshake, each.
    ///   - limits: Bounds of the connection.
    /// - Throws: What the system says about the connection, or a `TLSError`.
    public static func connect(
        host: String,
        port: Int,
        on executor: LoopExecutor,
        tls: TLSContext,
        verifying name: TLSSession.ServerName,
        timeout: Duration = .seconds(5),
        limits: HTTP2Limits = HTTP2Limits()
    ) async throws -> HTTP2ClientConnection {
        let ready = executor.loop.makePromise(of: HTTP2ClientConnection.self)
        let execution = HTTP2Execution(
            loop: executor.loop,
            executor: executor,
            drain: { executor.drain() }
        )
        do {
            _ = try await ClientBootstrap(group: executor.loop)
                .connectTimeout(timeout.timeAmount)
                .channelOption(.socketOption(.tcp_nodelay), value: 1)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let session = try TLSSession(client: tls, to: name)
                        let handler = TLSHandler(session, timeout: timeout) { outcome in
                            ready.completeWith(
                                Result {
                                    guard try outcome.get().applicationProtocol == "h2" else {
                                        throw TLSError.noApplicationProtocol
                                    }
                                    return try HTTP2ClientConnection(
                                        addingTo: channel,
                                        limits: limits,
                                        execution: execution
                                    )
                                }
                            )
                        }
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                }
                .connect(host: host, port: port).get()
        } catch {
            ready.fail(error)
        }
        return try await ready.futureResult.get()
    }
}
