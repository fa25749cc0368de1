public import Logging
internal import Synchronization

/// The connections of one process to one database.
///
/// ``run()`` must be running for callers to be served in time: it keeps the clock (waiting callers, attempts to connect,
/// idle checks). Which connection goes to whom is decided by ``ConnectionPoolStateMachine``; this is its shell.
public final class PostgresClient: Sendable {
    private typealias Machine = ConnectionPoolStateMachine
    private typealias Grant = Result<Lent, PostgresError>
    private typealias Waiting = CheckedContinuation<Grant, Never>

    private struct Lent: Sendable {
        let id: Machine.ConnectionID
        let connection: Connection
    }

    private struct State {
        var machine: Machine
        var connections: [Machine.ConnectionID: Connection] = [:]
        var waiting: [Machine.WaiterID: Waiting] = [:]
        var nextWaiter = 0
        /// When `run` wakes by itself.
        var armed: Duration?
        var metrics = PoolMetrics()
    }

    /// How to reach the database.
    public let configuration: Configuration
    private let logger: Logger
    private let state: Mutex<State>
    private let now: @Sendable () -> Duration
    private let sleep: @Sendable (Duration) async throws -> Void
    /// Set when `run` has to look at the machine before its time.
    private let poke = Signal()

    /// A client; nothing happens before ``run()``.
    ///
    /// `clock` measures waiting, pauses and ages; tests pass one they turn by hand.
    public init<C: Clock<Duration>>(
        _ configuration: Configuration,
        limits: PoolLimits = PoolLimits(),
        logger: Logger,
        clock: C = ContinuousClock()
    ) {
        self.configuration = configuration
        self.logger = logger
        state = Mutex(State(machine: Machine(limits)))
        let start = clock.now
        now = { start.duration(to: clock.now) }
        sleep = { try await clock.sleep(until: start.advanced(by: $0), tolerance: nil) }
    }

    /// Serves until the task is cancelled, then refuses callers and closes connections as they come back.
    public func run() async {
        while !Task.isCancelled {
            step { machine, now in machine.tick(now: now) }
            let deadline = state.withLock { state in
                state.armed = state.machine.nextDeadline
                return state.armed
            }
            await withTaskGroup { group in
                group.addTask { [poke] in await poke.wait() }
                if let deadline {
                    group.addTask { [sleep] in try? await sleep(deadline) }
                }
                await group.next()
                group.cancelAll()
            }
        }
        step { machine, _ in machine.shutDown() }
    }

    // MARK: - Callers

    /// Lends a connection for the length of `body`.
    ///
    /// A transaction left open is rolled back. What the body sets for the session stays set: use SET LOCAL.
    @discardableResult
    public func withConnection<Value>(
        _ body: (borrowing LeasedConnection) async throws -> Value
    ) async throws -> Value {
        let lent = try await lease().get()
        let result: Result<Value, any Error>
        do {
            result = .success(try await body(LeasedConnection(lent.connection)))
        } catch {
            result = .failure(error)
        }
        await release(lent)
        return try result.get()
    }

    /// Runs `body` in a transaction: COMMIT when it returns, ROLLBACK when it throws.
    ///
    /// A transaction that loses against a concurrent one (40001, 40P01) runs again, up to `retrying` times: the body must
    /// have no effect but on the database. Cancelling stops it before COMMIT is sent, and never after.
    @discardableResult
    public func withTransaction<Value>(
        isolation: Isolation = .readCommitted,
        retrying: Int = 3,
        _ body: (borrowing Transaction) async throws -> Value
    ) async throws -> Value {
        try await withConnection { connection in
            try await connection.withTransaction(isolation: isolation, retrying: retrying, body)
        }
    }

    /// Runs statements as one transaction in one round trip, and gives each one's rows.
    ///
    /// See ``SynchronousConnection/transaction(isolation:retrying:pipeline:)``.
    @discardableResult
    public func pipeline(
        isolation: Isolation = .readCommitted,
        retrying: Int = 3,
        _ build: (inout Pipeline) -> Void
    ) async throws(PostgresError) -> [Rows] {
        var pipeline = Pipeline()
        build(&pipeline)
        let lent = try await lease().get()
        let result: Result<[Rows], PostgresError>
        do throws(PostgresError) {
            result = .success(
                try await lent.connection.transaction(
                    isolation: isolation,
                    retrying: retrying,
                    pipeline: pipeline.queries
                )
            )
        } catch {
            result = .failure(error)
        }
        await release(lent)
        return try result.get()
    }

    /// Runs one statement on whichever connection is free.
    @discardableResult
    public func query(_ query: Query) async throws(PostgresError) -> Rows {
        let lent = try await lease().get()
        let result: Result<Rows, PostgresError>
        do throws(PostgresError) {
            result = .success(try await lent.connection.query(query))
        } catch {
            result = .failure(error)
        }
        await release(lent)
        return try result.get()
    }

    /// Listens on a channel, on a connection of its own that is made again whenever it is lost.
    public func listen(_ channel: Identifier) -> NotificationSequence {
        NotificationSequence(configuration, channel, logger)
    }

    // MARK: - The shell of the machine

    private func lease() async -> Grant {
        let waiter = state.withLock { state in
            state.nextWaiter += 1
            return Machine.WaiterID(value: state.nextWaiter)
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                lease(waiter, continuation)
            }
        } onCancel: {
            abandon(waiter)
        }
    }

    private func lease(_ waiter: Machine.WaiterID, _ continuation: Waiting) {
        let now = now()
        let grant = state.withLock { state -> Grant? in
            defer { state.metrics.show(state.machine.usage) }
            if Task.isCancelled { return .failure(.cancelled) }
            switch state.machine.lease(waiter, now: now) {
            case .grant(let id):
                return .success(lent(id, in: state))
            case .wait(let connect):
                state.waiting[waiter] = continuation
                if let connect { self.connect(connect, in: &state) }
                pokeIfDue(state)
                return nil
            case .refuse(let refusal):
                return .failure(PostgresError(refusal))
            }
        }
        if let grant { continuation.resume(returning: grant) }
    }

    private func abandon(_ waiter: Machine.WaiterID) {
        let continuation = state.withLock { state in
            _ = state.machine.abandon(waiter)
            return state.waiting.removeValue(forKey: waiter)
        }
        continuation?.resume(returning: .failure(.cancelled))
    }

    private func release(_ lent: Lent) async {
        if lent.connection.condition == .inTransaction {
            // If this fails the connection is not clean, and is not lent again.
            _ = try? await lent.connection.performShielded { connection throws(PostgresError) in
                try connection.rollBack()
            }
        }
        let isUsable = lent.connection.condition == .clean
        step { machine, now in machine.release(lent.id, isUsable: isUsable, now: now) }
    }

    /// One event: the machine decides under the lock, callers are resumed after it.
    private func step(_ event: (inout Machine, Duration) -> [Machine.Action]) {
        let now = now()
        let resumptions = state.withLock { state -> [(Waiting, Grant)] in
            var resumptions: [(Waiting, Grant)] = []
            func resume(_ waiter: Machine.WaiterID, _ grant: Grant) {
                guard let waiting = state.waiting.removeValue(forKey: waiter) else {
                    preconditionFailure("the pool answered someone who does not wait")
                }
                resumptions.append((waiting, grant))
            }
            defer { state.metrics.show(state.machine.usage) }
            for action in event(&state.machine, now) {
                switch action {
                case .connect(let id): connect(id, in: &state)
                case .close(let id): state.connections.removeValue(forKey: id)?.close()
                case .check(let id): check(id, in: state)
                case .grant(let id, let waiter): resume(waiter, .success(lent(id, in: state)))
                case .fail(let waiter, let refusal):
                    resume(waiter, .failure(PostgresError(refusal)))
                }
            }
            pokeIfDue(state)
            return resumptions
        }
        for (waiting, grant) in resumptions { waiting.resume(returning: grant) }
    }

    private func lent(_ id: Machine.ConnectionID, in state: borrowing State) -> Lent {
        guard let connection = state.connections[id] else {
            preconditionFailure("the pool granted a connection it does not have")
        }
        return Lent(id: id, connection: connection)
    }

    private func pokeIfDue(_ state: borrowing State) {
        guard let deadline = state.machine.nextDeadline else { return }
        if state.armed.map({ deadline < $0 }) ?? true { poke.set() }
    }

    /// Under the lock, so that the connection is in its place before its thread reports.
    private func connect(_ id: Machine.ConnectionID, in state: inout State) {
        // Weak: the thread must not keep a client alive that its owner let go.
        state.connections[id] = Connection.start(configuration, logger: logger) {
            [weak self, logger] failure in
            if let failure {
                logger.warning(
                    "no database connection",
                    metadata: ["error.message": "\(failure)"]
                )
                self?.step { machine, now in machine.connectFailed(id, now: now) }
            } else {
                self?.step { machine, now in machine.connected(id, now: now) }
            }
        } onClosed: { [weak self] in
            self?.step { machine, now in machine.closed(id, now: now) }
        }
    }

    private func check(_ id: Machine.ConnectionID, in state: borrowing State) {
        state.connections[id]?.check { [weak self] isUsable in
            self?.step { machine, now in machine.checked(id, isUsable: isUsable, now: now) }
        }
    }
}

extension PostgresError {
    fileprivate init(_ refusal: ConnectionPoolStateMachine.Refusal) {
        switch refusal {
        case .exhausted: self = .poolExhausted
        case .serverAway: self = .serverAway
        case .closed: self = .closed
        }
    }
}
