public import NIOCore

/// One call at the server: messages in, messages out.
///
/// Messages are raw bytes; the caller knows their type.
///
/// Runs on the event loop of its connection. The status is what the handler returns or throws.
public struct GRPCServerCall: Sendable {
    /// The stream below, for its identity and executor.
    public let stream: HTTP2Stream

    let messageBytesMax: Int

    /// Path of the method: `/package.Service/Method`.
    public var path: ArraySlice<UInt8> { stream.requestHead.value(":path") ?? [] }

    /// The request's header fields.
    public var metadata: HTTP2Headers { stream.requestHead }

    /// What the transport proved about the caller; `nil` over plain TCP.
    public var security: TransportSecurity? { stream.security }

    /// How long the caller waits, from when the call arrived; `nil` is as long as it takes.
    public var timeout: TimeAmount? {
        stream.requestHead.value("grpc-timeout").flatMap { GRPCHeaders.timeout($0) }
    }

    /// The next message; `nil` after the last.
    public func nextMessage() async throws(GRPCStatus) -> [UInt8]? {
        try await stream.nextGRPCMessage(bytesMax: messageBytesMax)
    }

    /// Sends a message; waits while the caller has no room.
    public func send(_ message: [UInt8]) async throws(GRPCStatus) {
        do throws(HTTP2Error) {
            try await stream.sendGRPCMessage(message, head: GRPCHeaders.responseHead)
        } catch {
            throw GRPCStatus(error)
        }
    }
}

/// Serves gRPC methods on HTTP/2 connections.
///
/// A value: register the methods, then hand it to the listener's connections.
///
/// ```swift
/// var server = GRPCServer()
/// server.unary("/ostiary.control.v1.Link/Enrol") { request, call in
///     try await enrol(request, call.security)
/// }
/// try await listener.run { await server.serve($0) }
/// ```
public struct GRPCServer: Sendable {
    /// Answers one message with one message.
    public typealias UnaryHandler =
        @Sendable (_ request: [UInt8], _ call: GRPCServerCall) async throws(GRPCStatus) -> [UInt8]

    /// Reads and sends as it likes; returning is the status `ok`.
    public typealias StreamingHandler =
        @Sendable (_ call: GRPCServerCall) async throws(GRPCStatus) -> Void

    /// Largest message accepted, in bytes; a larger one ends its call with `resourceExhausted`.
    ///
    /// Default 4 MiB.
    public var messageBytesMax: Int

    private var methods: [ArraySlice<UInt8>: StreamingHandler] = [:]

    /// A server without methods: every call is `unimplemented`.
    public init(messageBytesMax: Int = 4 * 1024 * 1024) {
        self.messageBytesMax = messageBytesMax
    }

    /// Registers a method with one request and one response.
    public mutating func unary(_ path: String, _ handler: @escaping UnaryHandler) {
        bidirectional(path) { call throws(GRPCStatus) in
            guard let request = try await call.nextMessage() else {
                throw GRPCStatus(.invalidArgument, "the request has no message")
            }
            if try await call.nextMessage() != nil {
                throw GRPCStatus(.invalidArgument, "the request has more than one message")
            }
            try await call.send(try await handler(request, call))
        }
    }

    /// Registers a method with streams in both directions.
    public mutating func bidirectional(_ path: String, _ handler: @escaping StreamingHandler) {
        precondition(GRPCHeaders.isMethodPath(path.utf8), "a gRPC path is /package.Service/Method")
        methods[ArraySlice(path.utf8)] = handler
    }

    /// Serves one connection until it has ended.
    public func serve(_ connection: HTTP2ServerConnection) async {
        await connection.serveStreams { await serve($0) }
    }

    /// Serves one stream: checks the head, runs the handler, sends the status.
    ///
    /// The handler's task is cancelled when the client is gone or its deadline has passed.
    private func serve(_ stream: HTTP2Stream) async {
        let head = stream.requestHead
        guard isPost(head), let type = head.value("content-type"), GRPCHeaders.isGRPC(type) else {
            // Not gRPC at all: the answer is HTTP's (gRPC over HTTP/2, "Requests").
            try? await stream.respond([":status": isPost(head) ? "415" : "405"], endStream: true)
            return
        }
        guard let handler = methods[head.value(":path") ?? []] else {
            return await finish(stream, GRPCStatus(.unimplemented, "unknown method"))
        }
        if let encoding = head.value("grpc-encoding"), !encoding.elementsEqual("identity".utf8) {
            return await finish(stream, GRPCFraming.Failure.compressed.status)
        }
        if let value = head.value("grpc-timeout") {
            guard let time = GRPCHeaders.timeout(value) else {
                return await finish(stream, GRPCStatus(.internal, "malformed grpc-timeout"))
            }
            await stream.setDeadline(after: time)
        }
        let call = GRPCServerCall(stream: stream, messageBytesMax: messageBytesMax)
        await finish(stream, await run(handler, call))
    }

    private func run(
        _ handler: @escaping StreamingHandler,
        _ call: GRPCServerCall
    ) async -> GRPCStatus {
        await withTaskGroup(of: GRPCStatus?.self) { group in
            group.addTask {
                await call.stream.status { () throws(GRPCStatus) in try await handler(call) }
            }
            group.addTask {
                await call.stream.closed()
                return nil
            }
            var status: GRPCStatus?
            while let ended = await group.next() {
                group.cancelAll()
                status = status ?? ended
            }
            return status ?? .ok
        }
    }

    private func finish(_ stream: HTTP2Stream, _ status: GRPCStatus) async {
        await stream.finishGRPC(status)
    }

    private func isPost(_ head: HTTP2Headers) -> Bool {
        head.value(":method")?.elementsEqual("POST".utf8) ?? false
    }
}

extension HTTP2Stream {
    /// One message, or `nil` after the last.
    func nextGRPCMessage(bytesMax: Int) async throws(GRPCStatus) -> [UInt8]? {
        let result: Result<[UInt8], GRPCFraming.Failure>?
        do throws(HTTP2Error) {
            result = try await parse { buffer in
                do throws(GRPCFraming.Failure) {
                    return try GRPCFraming.next(from: &buffer, bytesMax: bytesMax).map {
                        .success($0)
                    }
                } catch {
                    return .failure(error)
                }
            }
        } catch {
            throw GRPCStatus(error)
        }
        switch result {
        case nil: return nil
        case .success(let message): return message
        case .failure(let failure): throw failure.status
        }
    }

    /// Sends one message, and before the first the response's head.
    func sendGRPCMessage(
        _ message: [UInt8],
        head: HTTP2Headers?
    ) async throws(HTTP2Error) {
        if let head, !hasSubmittedHead { try respond(head) }
        try await send { GRPCFraming.write(message, to: &$0) }
    }

    /// Sends the status; a stream that has ended needs none.
    func finishGRPC(_ status: GRPCStatus) {
        if hasSubmittedHead {
            try? finish(trailers: GRPCHeaders.trailers(status))
        } else if status == .ok {
            try? respond(GRPCHeaders.responseHead)
            try? finish(trailers: GRPCHeaders.okTrailers)
        } else {
            try? respond(GRPCHeaders.trailersOnly(status), endStream: true)
        }
    }

    /// Runs a handler on the event loop.
    func status(of handler: @Sendable () async throws(GRPCStatus) -> Void) async -> GRPCStatus? {
        do throws(GRPCStatus) {
            try await handler()
            return .ok
        } catch {
            return error
        }
    }
}
