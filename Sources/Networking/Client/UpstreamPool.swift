import CoreMetrics
import NIOCore

/// One connection to an upstream server.
final class UpstreamConnection {
    let number: HTTPConnectionPool.ConnectionNumber
    let wire: Wire
    var parser: HTTPResponseParser
    /// Whether the exchange in hand was given up by ``UpstreamPool/abandon()``.
    var isAbandoned = false

    init(_ number: HTTPConnectionPool.ConnectionNumber, _ wire: Wire, _ limits: HTTPLimits) {
        self.number = number
        self.wire = wire
        parser = HTTPResponseParser(limits: limits)
    }
}

/// The connections to one origin on one loop: the shell around ``HTTPConnectionPool``.
final class UpstreamPool: @unchecked Sendable {
    // Guard of the mutable state: it is touched only on `executor.loop`.

    let executor: LoopExecutor
    let configuration: HTTPClient.Configuration
    private let connector: UpstreamConnector
    private let headTimeout: TimeAmount
    private let idleTimeout: TimeAmount
    private var machine: HTTPConnectionPool
    private var connections: [HTTPConnectionPool.ConnectionNumber: UpstreamConnection] = [:]
    private var waiters:
        [HTTPConnectionPool.WaiterNumber: UnsafeContinuation<HTTPConnectionPool.OnLease, Never>] =
            [:]
    private var spareBuffer = ByteBuffer()
    private var isShutDown = false
    /// How often ``abandon()`` was called: a request that was on its way to a connection then is not sent.
    private var abandonments = 0

    /// Bodies up to here are copied behind their head, so that both are one write.
    private static let joinedBodyBytesMax = 16 * 1024

    init(_ executor: LoopExecutor, _ connector: UpstreamConnector) {
        self.executor = executor
        self.connector = connector
        configuration = connector.configuration
        headTimeout = configuration.headTimeout.timeAmount
        idleTimeout = configuration.idleTimeout.timeAmount
        machine = HTTPConnectionPool(
            connectionsMax: configuration.connectionsPerOriginMax,
            waitersMax: configuration.waitersMax
        )
    }

    func takeSpareBuffer() -> ByteBuffer {
        guard executor.loop.inEventLoop else { return ByteBuffer() }
        var buffer = ByteBuffer()
        swap(&buffer, &spareBuffer)
        return buffer
    }

    func send(
        _ request: consuming HTTPClientRequest
    ) async throws(HTTPClientError) -> HTTPClientResponse {
        var request = request
        guard request.head.isSendable else { throw HTTPClientError(.requestUnsendable, .unsent) }
        let deadline = request.timeout.map { executor.loop.now + $0.timeAmount } ?? .distantFuture
        let connection: UpstreamConnection
        let abandonments = abandonments
        do throws(HTTPClientError.Reason) {
            let decision = try firstDecision()
            if case .reuse(let number) = decision, let idle = usable(number) {
                connection = idle
            } else {
                connection = try await lease(decision, until: deadline)
            }
        } catch {
            throw HTTPClientError(error, .unsent)
        }
        guard abandonments == self.abandonments else {
            discard(connection)
            throw HTTPClientError(.abandoned, .unsent)
        }
        // From here on the server may see the request. A write that fails at once is not told from
        // one that fails later: a caller that must not repeat a call is better served by a false
        // alarm.
        write(&request, to: connection.wire)
        do throws(HTTPClientError.Reason) {
            let head = try await readHead(connection, to: request.method, until: deadline)
            return HTTPClientResponse(head, connection, self, until: deadline)
        } catch {
            discard(connection)
            throw HTTPClientError(error, .sent)
        }
    }

    private func write(_ request: inout HTTPClientRequest, to wire: Wire) {
        let length = request.body.readableBytes
        if length > 0 || request.method == .post || request.method == .put
            || request.method == .patch
        {
            request.head.add("content-length", length)
        }
        var bytes = request.head.finish()
        if length <= Self.joinedBodyBytesMax {
            bytes.writeImmutableBuffer(request.body)
            wire.send(bytes)
            spareBuffer = bytes
        } else {
            wire.queue(bytes)
            wire.send(request.body)
        }
    }

    private func readHead(
        _ connection: UpstreamConnection,
        to method: HTTPMethod,
        until deadline: NIODeadline
    ) async throws(HTTPClientError.Reason) -> HTTPResponseHead {
        let wire = connection.wire
        let deadline = min(deadline, wire.now + headTimeout)
        var interim = 0
        while true {
            do throws(HTTPFault) {
                while let head = try connection.parser.parse(&wire.input, to: method) {
                    if !head.isInterim { return head }
                    interim += 1
                    if interim > configuration.limits.interimResponsesMax {
                        throw .tooManyInterimResponses
                    }
                }
            } catch {
                throw .responseRefused(error)
            }
            switch await wire.waitForInputOrCancellation(until: deadline) {
            case .ready: continue
            case .cancelled: throw .cancelled
            case .timedOut: throw .timedOut
            case .closed:
                if connection.isAbandoned { throw .abandoned }
                throw wire.input.readableBytes == 0
                    ? .closedBeforeResponse : .responseRefused(.truncated)
            }
        }
    }

    // MARK: Leases

    private func firstDecision() throws(HTTPClientError.Reason) -> HTTPConnectionPool.OnLease {
        guard !isShutDown else { throw .shutDown }
        if Task.isCancelled { throw .cancelled }
        return machine.lease()
    }

    /// The idle connection, unless there is input without a request: a server out of step, or its parting words.
    private func usable(
        _ number: HTTPConnectionPool.ConnectionNumber
    ) -> UpstreamConnection? {
        guard let connection = connections[number], !connection.wire.isClosed,
            connection.wire.input.readableBytes == 0
        else { return nil }
        return connection
    }

    private func lease(
        _ decision: HTTPConnectionPool.OnLease,
        until deadline: NIODeadline
    ) async throws(HTTPClientError.Reason) -> UpstreamConnection {
        var decision = decision
        while true {
            switch decision {
            case .reuse(let number):
                if let connection = usable(number) { return connection }
                drop(number)
                decision = machine.lease()
            case .open(let number):
                return try await open(number)
            case .wait(let number):
                UpstreamMetrics.connectionsReached.increment()
                decision = try await wait(number, until: deadline)
            case .refuse:
                UpstreamMetrics.waitingReached.increment()
                throw .overloaded
            }
        }
    }

    private func open(
        _ number: HTTPConnectionPool.ConnectionNumber
    ) async throws(HTTPClientError.Reason) -> UpstreamConnection {
        do throws(HTTPClientError.Reason) {
            let wire = try await connector.connect(on: executor)
            let connection = UpstreamConnection(number, wire, configuration.limits)
            connections[number] = connection
            UpstreamMetrics.connections.increment()
            if Task.isCancelled { throw .cancelled }
            // Not weakly: a weak reference sends every retain of a call through a side table. The wire calls the one while it
            // lives, and lets go of both when the connection ends.
            wire.onExpiry = { [unowned wire] in wire.close() }
            wire.onClose = { self.connectionEnded(number) }
            return connection
        } catch {
            drop(number)
            throw error
        }
    }

    private func wait(
        _ number: HTTPConnectionPool.WaiterNumber,
        until deadline: NIODeadline,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(HTTPClientError.Reason) -> HTTPConnectionPool.OnLease {
        let timer = executor.loop.scheduleTask(deadline: deadline) { self.giveUp(number) }
        UpstreamMetrics.waiting.increment()
        defer {
            timer.cancel()
            UpstreamMetrics.waiting.decrement()
        }
        let decision = await withTaskCancellationHandler {
            _ = isolation
            return await withUnsafeContinuation { waiters[number] = $0 }
        } onCancel: {
            executor.loop.execute { self.giveUp(number) }
        }
        if decision == .refuse { throw Task.isCancelled ? .cancelled : .timedOut }
        return decision
    }

    private func giveUp(_ number: HTTPConnectionPool.WaiterNumber) {
        if machine.gaveUp(number) {
            waiters.removeValue(forKey: number)?.resume(returning: .refuse)
        }
        executor.drain()
    }

    private func apply(_ change: HTTPConnectionPool.OnChange) {
        guard case .wake(let number, let lease) = change else { return }
        waiters.removeValue(forKey: number)?.resume(returning: lease)
    }

    // MARK: Ends of exchanges and connections

    /// The response was read to its end.
    func finished(_ connection: UpstreamConnection, keepsAlive: Bool) {
        // Bytes after the end belong to no request of ours.
        guard keepsAlive, !connection.wire.isClosed, !isShutDown,
            connection.wire.input.readableBytes == 0
        else { return discard(connection) }
        connection.wire.expire(at: executor.loop.now + idleTimeout)
        apply(machine.returned(connection.number))
    }

    /// The exchange ended in any other way.
    func discard(_ connection: UpstreamConnection) {
        drop(connection.number)
        executor.drain()
    }

    private func drop(_ number: HTTPConnectionPool.ConnectionNumber) {
        let connection = connections.removeValue(forKey: number)
        if connection != nil { UpstreamMetrics.connections.decrement() }
        apply(machine.closed(number))
        connection?.wire.close()
    }

    /// An idle connection ended; one in use is dropped by its user.
    private func connectionEnded(_ number: HTTPConnectionPool.ConnectionNumber) {
        if machine.idle.contains(number) { drop(number) }
    }

    /// Ends every exchange in hand, and the connections that carry them.
    func abandon() async {
        try? await executor.loop.submit {
            self.abandonments += 1
            for (number, connection) in self.connections where !self.machine.idle.contains(number) {
                connection.isAbandoned = true
                connection.wire.abort()
            }
            self.executor.drain()
        }.get()
    }

    func shutdown() async {
        try? await executor.loop.submit {
            self.isShutDown = true
            for number in self.machine.idle { self.drop(number) }
        }.get()
    }
}
