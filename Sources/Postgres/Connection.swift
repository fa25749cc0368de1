public import Logging
internal import Synchronization

/// One connection on a thread of its own, used by any task.
///
/// Operations run one after the other in the order they were asked for. A task that is cancelled asks the server to
/// stop; the operation then ends with what really happened: ``PostgresError/cancelled``, or its result when it was
/// quicker. The thread also watches the connection while nothing runs, so that a server that goes away is noticed at
/// once and not by the next statement.
public final class Connection: Sendable {
    private let shared: Shared

    private init(_ shared: Shared) {
        self.shared = shared
    }

    deinit {
        shared.close()
    }

    /// Connects.
    public static func connect(
        _ configuration: Configuration,
        logger: Logger
    ) async throws(PostgresError) -> Connection {
        let cancellation = Cancellation()
        let shared = Shared(configuration)
        let failure: PostgresError? = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                shared.start(logger, cancellation) {
                    continuation.resume(returning: $0)
                } onClosed: {
                }
            }
        } onCancel: {
            cancellation.request()
            shared.wakeUp.signal()
        }
        if let failure { throw failure }
        return Connection(shared)
    }

    /// Starts connecting; the callbacks come from the connection's thread, `onClosed` once after a success.
    static func start(
        _ configuration: Configuration,
        logger: Logger,
        onConnected: @escaping @Sendable (PostgresError?) -> Void,
        onClosed: @escaping @Sendable () -> Void
    ) -> Connection {
        let shared = Shared(configuration)
        shared.start(logger, Cancellation(), onConnected, onClosed: onClosed)
        return Connection(shared)
    }

    /// Ends the connection after the operations already asked for; later ones throw ``PostgresError/closed``.
    public func close() {
        shared.close()
    }

    /// Runs one statement.
    ///
    /// See ``SynchronousConnection/query(_:)``.
    @discardableResult
    public func query(_ query: Query) async throws(PostgresError) -> Rows {
        try await perform { connection throws(PostgresError) in try connection.query(query) }
    }

    /// Runs statements in one round trip.
    ///
    /// See ``SynchronousConnection/pipeline(_:)``.
    @discardableResult
    public func pipeline(
        _ queries: [Query]
    ) async throws(PostgresError) -> [Result<Rows, PostgresError>] {
        try await perform { connection throws(PostgresError) in try connection.pipeline(queries) }
    }

    /// Runs statements as one transaction in one round trip.
    ///
    /// See ``SynchronousConnection/transaction(isolation:retrying:pipeline:)``.
    @discardableResult
    public func transaction(
        isolation: Isolation = .readCommitted,
        retrying: Int = 0,
        pipeline queries: [Query]
    ) async throws(PostgresError) -> [Rows] {
        try await perform { connection throws(PostgresError) in
            try connection.transaction(isolation: isolation, retrying: retrying, pipeline: queries)
        }
    }

    /// Runs a script.
    ///
    /// See ``SynchronousConnection/execute(script:)``.
    public func execute(script: String) async throws(PostgresError) {
        try await perform { connection throws(PostgresError) in
            try connection.execute(script: script)
        }
    }

    /// Runs several steps on the connection's thread without handing over in between.
    public func perform<Value: Sendable>(
        _ body: @escaping @Sendable (SynchronousConnection) throws(PostgresError) -> Value
    ) async throws(PostgresError) -> Value {
        let cancellation = Cancellation()
        let shared = shared
        return try await withTaskCancellationHandler {
            await enqueue(cancellation, body)
        } onCancel: {
            cancellation.request()
            shared.wakeUp.signal()
        }.get()
    }

    /// Like ``perform(_:)``, for what must be done whatever happens to the task: rolling back, committing.
    func performShielded<Value: Sendable>(
        _ body: @escaping @Sendable (SynchronousConnection) throws(PostgresError) -> Value
    ) async throws(PostgresError) -> Value {
        try await enqueue(nil, body).get()
    }

    private func enqueue<Value: Sendable>(
        _ cancellation: Cancellation?,
        _ body: @escaping @Sendable (SynchronousConnection) throws(PostgresError) -> Value
    ) async -> Result<Value, PostgresError> {
        let shared = shared
        return await withCheckedContinuation { continuation in
            let job = Job(cancellation: cancellation) { connection in
                guard let connection else {
                    continuation.resume(returning: .failure(shared.whyClosed))
                    return
                }
                let result = Result<Value, PostgresError> { () throws(PostgresError) in
                    try body(connection)
                }
                // Before the caller goes on, since it may give the connection back at once.
                shared.note(connection)
                continuation.resume(returning: result)
            }
            switch shared.add(job) {
            case .added: break
            case .full: continuation.resume(returning: .failure(.poolExhausted))
            case .closed: continuation.resume(returning: .failure(shared.whyClosed))
            }
        }
    }

    /// In what state the last operation left the connection.
    enum Condition: UInt8 {
        case clean
        case inTransaction
        case unusable
    }

    var condition: Condition {
        shared.condition
    }

    /// Asks the server whether it is there.
    func check(_ report: @escaping @Sendable (Bool) -> Void) {
        let job = Job(cancellation: nil) { connection in
            let isUsable: Bool
            do throws(PostgresError) {
                isUsable = try connection?.query("select 1").count == 1
            } catch {
                isUsable = false
            }
            report(isUsable)
        }
        if case .added = shared.add(job) { return }
        report(false)
    }

    private struct Job: Sendable {
        let cancellation: Cancellation?
        /// Runs it, or fails it when there is no connection any more.
        let run: @Sendable (SynchronousConnection?) -> Void
    }

    /// What the owners and the thread share.
    ///
    /// The thread keeps this alive, not the `Connection`, whose end is the signal to stop.
    private final class Shared: Sendable {
        enum Addition { case added, full, closed }

        struct Queue {
            var jobs: [Job] = []
            var isClosing = false
            /// The thread takes no more jobs.
            var isClosed = false
        }

        let configuration: Configuration
        let wakeUp = WakeUp()
        private let queue = Mutex(Queue())
        /// Written by the thread, read by everybody.
        private let lastCondition = Atomic(Condition.clean.rawValue)

        var condition: Condition {
            Condition(rawValue: lastCondition.load(ordering: .acquiring)) ?? .unusable
        }

        func note(_ connection: SynchronousConnection) {
            let condition: Condition =
                if !connection.isUsable { .unusable } else if connection.isInTransaction {
                    .inTransaction
                } else { .clean }
            lastCondition.store(condition.rawValue, ordering: .releasing)
        }

        init(_ configuration: Configuration) {
            self.configuration = configuration
        }

        func add(_ job: Job) -> Addition {
            let addition = queue.withLock { queue -> Addition in
                guard !queue.isClosing, !queue.isClosed else { return .closed }
                guard queue.jobs.count < configuration.waitingOperationsMax else { return .full }
                queue.jobs.append(job)
                return .added
            }
            if case .added = addition { wakeUp.signal() }
            return addition
        }

        /// By its owner, or by the server.
        var whyClosed: PostgresError {
            queue.withLock { $0.isClosing } ? .closed : .connectionLost
        }

        func close() {
            queue.withLock { $0.isClosing = true }
            wakeUp.signal()
        }

        func start(
            _ logger: Logger,
            _ connecting: Cancellation,
            _ onConnected: @escaping @Sendable (PostgresError?) -> Void,
            onClosed: @escaping @Sendable () -> Void
        ) {
            startThread { [self] in
                let connection: SynchronousConnection
                do throws(PostgresError) {
                    connection = try SynchronousConnection(
                        configuration,
                        logger: logger,
                        wakeUp: wakeUp,
                        cancellation: connecting
                    )
                } catch {
                    failRemaining()
                    onConnected(error)
                    return
                }
                onConnected(nil)
                serve(connection)
                lastCondition.store(Condition.unusable.rawValue, ordering: .releasing)
                failRemaining()
                onClosed()
            }
        }

        private func serve(_ connection: SynchronousConnection) {
            while connection.isUsable {
                let (job, isClosing) = queue.withLock { queue in
                    (queue.jobs.isEmpty ? nil : queue.jobs.removeFirst(), queue.isClosing)
                }
                if let job {
                    connection.cancellation = job.cancellation
                    job.run(connection)
                    connection.cancellation = nil
                } else if isClosing {
                    return
                } else {
                    _ = connection.waitIdle()
                }
            }
        }

        private func failRemaining() {
            let jobs = queue.withLock { queue in
                queue.isClosed = true
                defer { queue.jobs = [] }
                return queue.jobs
            }
            for job in jobs { job.run(nil) }
        }
    }
}
