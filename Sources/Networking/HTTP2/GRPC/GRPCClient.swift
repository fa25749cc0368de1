public import NIOCore

/// Calls gRPC methods over one HTTP/2 connection.
///
/// A value; the connection is its caller's.
public struct GRPCClient: Sendable {
    /// The connection calls are made over.
    public let connection: HTTP2ClientConnection

    /// Largest message accepted, in bytes; a larger one ends its call with `resourceExhausted`.
    ///
    /// Default 4 MiB.
    public var messageBytesMax: Int

    private let head: HTTP2Headers

    /// A client.
    ///
    /// - Parameters:
    ///   - connection: To the server.
    ///   - authority: Name of the server as requests carry it.
    ///   - scheme: `https` over TLS, `http` over plain TCP.
    ///   - messageBytesMax: Largest message accepted.
    public init(
        _ connection: HTTP2ClientConnection,
        authority: String,
        scheme: String,
        messageBytesMax: Int = 4 * 1024 * 1024
    ) {
        self.connection = connection
        self.messageBytesMax = messageBytesMax
        head = [":method": "POST", ":scheme": scheme, ":authority": authority]
    }

    /// One request, one response.
    public func unary(
        _ path: String,
        _ request: [UInt8],
        metadata: HTTP2Headers = [:],
        timeout: TimeAmount? = nil
    ) async throws(GRPCStatus) -> [UInt8] {
        let call = try await bidirectional(path, metadata: metadata, timeout: timeout)
        do throws(GRPCStatus) {
            try await call.send(request)
            try await call.finish()
        } catch {
            // A server that answers without reading has said why: that status, not our failed
            // write.
            if error.code == .cancelled {
                await call.cancel()
                throw error
            }
        }
        do throws(GRPCStatus) {
            guard let response = try await call.nextMessage() else {
                throw GRPCStatus(.internal, "the response has no message")
            }
            if try await call.nextMessage() != nil {
                throw GRPCStatus(.internal, "the response has more than one message")
            }
            return response
        } catch {
            await call.cancel()
            throw error
        }
    }

    /// Opens a call with streams in both directions.
    ///
    /// - Parameters:
    ///   - path: `/package.Service/Method`.
    ///   - metadata: Further header fields.
    ///   - timeout: After which the call ends here and at the server: with `deadlineExceeded` where it is noticed first,
    ///     and `cancelled` at the other end if the reset comes before its own clock rings.
    public func bidirectional(
        _ path: String,
        metadata: HTTP2Headers = [:],
        timeout: TimeAmount? = nil
    ) async throws(GRPCStatus) -> GRPCClientCall {
        var head = self.head
        head.append(":path", path)
        head.append("te", "trailers")
        head.append("content-type", "application/grpc")
        if let timeout { head.append("grpc-timeout", GRPCHeaders.timeoutValue(timeout)) }
        head.append(contentsOf: metadata)
        do throws(HTTP2Error) {
            let stream = try await connection.openStream(head)
            if let timeout { await stream.setDeadline(after: timeout) }
            return GRPCClientCall(stream: stream, messageBytesMax: messageBytesMax)
        } catch {
            throw GRPCStatus(error)
        }
    }
}

/// One call at the client.
///
/// It must be read to its end or cancelled, or its stream stays open.
public struct GRPCClientCall: Sendable {
    /// The stream below.
    public let stream: HTTP2Stream

    let messageBytesMax: Int

    /// Sends a message; waits while the server has no room.
    public func send(_ message: [UInt8]) async throws(GRPCStatus) {
        do throws(HTTP2Error) {
            try await stream.sendGRPCMessage(message, head: nil)
        } catch {
            throw GRPCStatus(error)
        }
    }

    /// Says that no more messages will be sent.
    public func finish() async throws(GRPCStatus) {
        do throws(HTTP2Error) {
            try await stream.finish()
        } catch {
            throw GRPCStatus(error)
        }
    }

    /// The next message; `nil` when the call has ended with `ok`.
    ///
    /// - Throws: Any other status, the server's or one that stands for what went wrong on the way.
    public func nextMessage() async throws(GRPCStatus) -> [UInt8]? {
        try await stream.nextGRPCResponse(bytesMax: messageBytesMax)
    }

    /// Ends the call at once.
    ///
    /// Nothing happens when it has ended already.
    public func cancel() async {
        await stream.reset(.cancel)
    }
}

extension HTTP2Stream {
    func nextGRPCResponse(bytesMax: Int) async throws(GRPCStatus) -> [UInt8]? {
        let head: HTTP2Headers
        do throws(HTTP2Error) {
            head = try await responseHead()
        } catch {
            throw GRPCStatus(error)
        }
        guard let status = head.string(":status"), let status = Int(status) else {
            throw GRPCStatus(.internal, "response without status")
        }
        if status != 200 { throw GRPCStatus(trailers: head) ?? GRPCStatus(httpStatus: status) }
        guard let type = head.value("content-type"), GRPCHeaders.isGRPC(type) else {
            throw GRPCStatus(.unknown, "response is not grpc")
        }
        if let encoding = head.value("grpc-encoding"), !encoding.elementsEqual("identity".utf8) {
            throw GRPCFraming.Failure.compressed.status
        }
        if let message = try await nextGRPCMessage(bytesMax: bytesMax) { return message }
        // Trailers-Only: the head is the trailers.
        guard let end = GRPCStatus(trailers: trailers() ?? head) else {
            throw GRPCStatus(.unknown, "response without grpc-status")
        }
        if end.code != .ok { throw end }
        return nil
    }
}
