internal import CLibpq
public import Logging
internal import Synchronization

/// One connection, used by the thread that made it; every call blocks that thread.
///
/// ``Connection`` puts one on a thread of its own and is what most code wants. A writer that has its own thread and
/// nothing else to do (the audit log's) uses this directly and saves two hand-overs per commit.
///
/// Everything goes through libpq's pipeline mode: any number of statements are sent without waiting, followed by one
/// Sync, and then answered one by one. A single statement is a pipeline of one; preparing it travels in the same
/// message. So an exchange is always one round trip.
public final class SynchronousConnection {
    private let handle: OpaquePointer
    private let configuration: Configuration
    private let notices: NoticeLog
    /// The server-side names of what this connection has prepared.
    private var statements: [StatementKey: String] = [:]
    private var statementCount = 0
    /// False once the connection was lost or given up; it never comes back.
    public private(set) var isUsable = true
    let wakeUp: WakeUp
    /// The request to stop what runs now, if someone can make one.
    var cancellation: Cancellation?

    /// Connects, blocking.
    public convenience init(_ configuration: Configuration, logger: Logger) throws(PostgresError) {
        try self.init(configuration, logger: logger, wakeUp: WakeUp(), cancellation: nil)
    }

    init(
        _ configuration: Configuration,
        logger: Logger,
        wakeUp: WakeUp,
        cancellation: Cancellation?
    ) throws(PostgresError) {
        self.configuration = configuration
        self.wakeUp = wakeUp
        notices = NoticeLog(logger)
        handle = try Self.connect(configuration, wakeUp, cancellation)
        PQsetNoticeReceiver(handle, NoticeLog.receive, Unmanaged.passUnretained(notices).toOpaque())
        PQsetnonblocking(handle, 1)
        // Not through libpq's `options`: that would replace what the connection string says there.
        func milliseconds(_ duration: Duration?) -> String {
            guard let parts = duration?.components else { return "0" }
            return "\(max(1, parts.seconds * 1000 + parts.attoseconds / 1_000_000_000_000_000))"
        }
        _ = try query(
            """
            select set_config('statement_timeout', \(milliseconds(configuration.statementTimeout)), false),
                set_config('idle_in_transaction_session_timeout',
                    \(milliseconds(configuration.idleTransactionTimeout)), false)
            """
        )
    }

    deinit {
        PQfinish(handle)
    }

    // MARK: - Statements

    /// Runs one statement.
    ///
    /// Outside a transaction it commits by itself, so losing the connection leaves its outcome unknown.
    @discardableResult
    public func query(_ query: Query) throws(PostgresError) -> Rows {
        try exchange([query])[0].get()
    }

    /// Runs statements in one round trip and gives each one's result.
    ///
    /// After a failure the rest are ``PostgresError/skipped``. Statements outside an explicit transaction form one
    /// implicit transaction. Throws only when nothing can be said of single statements.
    @discardableResult
    public func pipeline(
        _ queries: [Query]
    ) throws(PostgresError) -> [Result<Rows, PostgresError>] {
        guard !queries.isEmpty else { return [] }
        return try exchange(queries)
    }

    /// Runs statements as one transaction in one round trip: BEGIN, the statements, COMMIT.
    ///
    /// Either all took effect and the results are theirs, or none did and the first failure is thrown; only
    /// ``PostgresError/outcomeUnknown`` leaves it open. A transaction that loses against a concurrent one (40001, 40P01)
    /// is sent again up to `retrying` times, each a round trip more.
    @discardableResult
    public func transaction(
        isolation: Isolation = .readCommitted,
        retrying: Int = 0,
        pipeline queries: [Query]
    ) throws(PostgresError) -> [Rows] {
        var attempts = 0
        while true {
            let results = try exchange([isolation.begin] + queries + [.commit])
            let failure = results.firstNonNil { result -> PostgresError? in
                if case .failure(let error) = result { error } else { nil }
            }
            guard let failure else {
                let rows = try results.map { result throws(PostgresError) in try result.get() }
                return Array(rows[1...queries.count])
            }
            // The server skipped the COMMIT as well: the transaction is open and failed, or never began.
            try rollBack()
            guard failure.serverError?.isRetryable == true, attempts < retrying else {
                throw failure
            }
            attempts += 1
        }
    }

    /// Ends an open transaction without effect; does nothing when none is open.
    func rollBack() throws(PostgresError) {
        guard isUsable, PQtransactionStatus(handle) != PQTRANS_IDLE else { return }
        let own = cancellation
        cancellation = nil
        defer { cancellation = own }
        _ = try query("rollback")
    }

    /// Runs a script of several statements without parameters, such as a migration; its results are dropped.
    ///
    /// Without BEGIN and COMMIT of its own it is one implicit transaction, or part of the open one.
    public func execute(script: String) throws(PostgresError) {
        guard !script.utf8.contains(0) else { throw .invalidStatement(.containsNUL) }
        try checkUsable()
        var progress = Progress(deadline: deadline(statements: 1))
        let failure: PostgresError?
        do throws(Lost) {
            failure = try run(script: script, &progress)
        } catch {
            throw giveUp(.outcomeUnknown)
        }
        if let failure { throw failure }
    }

    private func run(script: String, _ progress: inout Progress) throws(Lost) -> PostgresError? {
        guard PQsendQuery(handle, script) == 1 else { throw Lost() }
        try flush(&progress)
        var failure: PostgresError?
        while let result = try nextResult(&progress) {
            if result.isFailure, failure == nil {
                failure = try error(of: result, valuesWereBound: false)
            }
        }
        try settle(&progress)
        return failure
    }

    // MARK: - One exchange

    private func exchange(
        _ queries: [Query]
    ) throws(PostgresError) -> [Result<Rows, PostgresError>] {
        for query in queries {
            if let problem = query.problem { throw problem }
        }
        try checkUsable()
        var sent = Sent(wasInTransaction: PQtransactionStatus(handle) != PQTRANS_IDLE)
        var progress = Progress(deadline: deadline(statements: queries.count))
        let results: [Result<Rows, PostgresError>]
        do throws(Lost) {
            try send(queries, &sent)
            // The point of no return: from here on the server may execute, and commit, what it received.
            try flush(&progress)
            results = try receive(queries, sent, &progress)
            try settle(&progress)
        } catch {
            throw giveUp(sent.lossMeans(queries))
        }
        return results
    }

    private func send(_ queries: [Query], _ sent: inout Sent) throws(Lost) {
        guard PQenterPipelineMode(handle) == 1 else { throw Lost() }
        if statements.count + queries.count > configuration.preparedStatementsMax,
            PQtransactionStatus(handle) != PQTRANS_INERROR, !statements.isEmpty
        {
            statements.removeAll()
            guard PQsendQueryParams(handle, "deallocate all", 0, nil, nil, nil, nil, 1) == 1 else {
                throw Lost()
            }
            sent.steps.append(.housekeeping)
        }
        for (index, query) in queries.enumerated() {
            let key = StatementKey(query)
            if statements[key] == nil {
                statementCount += 1
                let name = "s\(statementCount)"
                guard
                    PQsendPrepare(handle, name, query.sql, Int32(key.types.count), key.types) == 1
                else { throw Lost() }
                sent.steps.append(.prepare(key))
                statements[key] = name
            }
            guard let name = statements[key], query.bindings.send(handle, statement: name) else {
                throw Lost()
            }
            sent.steps.append(.execute(index, key))
            sent.queued = index + 1
        }
        guard PQpipelineSync(handle) == 1 else { throw Lost() }
        sent.isSynced = true
    }

    private func receive(
        _ queries: [Query],
        _ sent: Sent,
        _ progress: inout Progress
    ) throws(Lost) -> [Result<Rows, PostgresError>] {
        var results: [Result<Rows, PostgresError>] = []
        results.reserveCapacity(queries.count)
        // A statement that could not be prepared is never executed; the failure of the one is the other's.
        var notPrepared: PostgresError?
        for step in sent.steps {
            guard let result = try nextResult(&progress) else { throw Lost() }
            while try nextResult(&progress) != nil {}
            switch step {
            case .housekeeping:
                break
            case .prepare(let key):
                guard result.isFailure || result.isSkipped else { continue }
                statements[key] = nil
                if result.isFailure { notPrepared = try error(of: result, valuesWereBound: false) }
            case .execute(let index, let key):
                if let failure = notPrepared {
                    results.append(.failure(failure))
                    notPrepared = nil
                } else if result.isSkipped {
                    results.append(.failure(.skipped))
                } else if result.isFailure {
                    let failure = try error(
                        of: result,
                        valuesWereBound: !queries[index].bindings.slots.isEmpty
                    )
                    // The plan no longer fits its tables, or is gone: prepared anew the next time.
                    if failure.sqlState == "0A000" || failure.sqlState == "26000" {
                        statements[key] = nil
                    }
                    results.append(.failure(failure))
                } else if result.isRollback, queries[index].isCommit {
                    results.append(.failure(.transactionRolledBack))
                } else {
                    results.append(.success(Rows(result)))
                }
            }
        }
        guard let sync = try nextResult(&progress), sync.isSync else { throw Lost() }
        guard PQexitPipelineMode(handle) == 1 else { throw Lost() }
        return results
    }

    private func error(
        of result: QueryResult,
        valuesWereBound: Bool
    ) throws(Lost) -> PostgresError {
        let error = result.serverError(valuesWereBound: valuesWereBound)
        // After FATAL and PANIC the server closes the connection.
        if result.isFatal { throw Lost() }
        if error.sqlState == .queryCanceled, cancellation?.isRequested == true { return .cancelled }
        return .server(error)
    }

    private func checkUsable() throws(PostgresError) {
        guard isUsable else { throw .connectionLost }
        if cancellation?.isRequested == true { throw .cancelled }
        // What the server closed while nobody looked is found before anything is sent, while the answer is certain.
        guard checkIdle() else { throw giveUp(.connectionLost) }
    }

    private func giveUp(_ error: PostgresError) -> PostgresError {
        isUsable = false
        return error
    }

    // MARK: - Waiting

    /// The connection is of no further use; what that means for the caller is the caller's to say.
    private struct Lost: Error {}

    /// How one exchange is getting on.
    private struct Progress {
        /// When the server has had its time.
        let deadline: ContinuousClock.Instant?
        var cancel: CancelRequest?
        var giveUpAt: ContinuousClock.Instant?
    }

    private func deadline(statements: Int) -> ContinuousClock.Instant? {
        guard let timeout = configuration.statementTimeout else { return nil }
        return .now + timeout * statements + configuration.cancelGrace
    }

    /// Reads what arrived without a question (notices, notifications, the server's farewell) without waiting.
    func checkIdle() -> Bool {
        guard isUsable else { return false }
        let socket = PQsocket(handle)
        // Until nothing more is there: the end of the line is only seen by a read that finds no farewell before it.
        while isUsable,
            Readiness.wait(socket: socket, writing: false, wake: nil, until: .now).isReadable
        {
            isUsable = PQconsumeInput(handle) == 1 && PQstatus(handle) == CONNECTION_OK
        }
        // Parses what was read; a farewell that nobody asked for comes as a notice.
        _ = PQisBusy(handle)
        if notices.saidFarewell { isUsable = false }
        return isUsable
    }

    private func flush(_ progress: inout Progress) throws(Lost) {
        while true {
            let left = PQflush(handle)
            if left == 0 { return }
            guard left == 1 else { throw Lost() }
            // Reading as well: a server that blocks on answers we do not take stops taking questions.
            try wait(writing: true, &progress)
        }
    }

    private func nextResult(_ progress: inout Progress) throws(Lost) -> QueryResult? {
        while PQisBusy(handle) == 1 {
            try wait(writing: false, &progress)
        }
        guard let result = PQgetResult(handle) else {
            if PQstatus(handle) != CONNECTION_OK { throw Lost() }
            return nil
        }
        let owner = QueryResult(owning: result)
        if PQstatus(handle) != CONNECTION_OK, owner.isFailure { throw Lost() }
        return owner
    }

    /// Waits for the socket; on the way asks the server to stop when the caller or the clock says so.
    private func wait(writing: Bool, _ progress: inout Progress) throws(Lost) {
        let socket = PQsocket(handle)
        while true {
            let now = ContinuousClock.now
            let isLate = progress.deadline.map { $0 <= now } ?? false
            if isLate || cancellation?.isRequested == true {
                let giveUpAt = progress.giveUpAt ?? now + configuration.cancelGrace
                progress.giveUpAt = giveUpAt
                guard now < giveUpAt else { throw Lost() }
                // Repeated, because a request that reaches the server before the statement does is forgotten.
                if progress.cancel?.isAnswered ?? true {
                    progress.cancel = CancelRequest(of: handle)
                }
            }
            let pause = progress.giveUpAt.map { min($0, now + .milliseconds(100)) }
            let ready = Readiness.wait(
                socket: socket,
                writing: writing,
                wake: wakeUp,
                until: pause ?? progress.deadline
            )
            if ready.isWoken { wakeUp.clear() }
            if ready.isReadable {
                guard PQconsumeInput(handle) == 1 else { throw Lost() }
            }
            if ready.isReadable || ready.isWritable { return }
        }
    }

    /// Lets a cancel request under way arrive, so that it cannot hit the next statement.
    private func settle(_ progress: inout Progress) throws(Lost) {
        guard let cancel = progress.cancel else { return }
        guard cancel.wait(atMost: configuration.cancelGrace) else { throw Lost() }
    }

    private static func connect(
        _ configuration: Configuration,
        _ wakeUp: WakeUp,
        _ cancellation: Cancellation?
    ) throws(PostgresError) -> OpaquePointer {
        let deadline = ContinuousClock.now + configuration.connectTimeout
        let keywords = configuration.keywords
        let handle = withCStrings(keywords.map(\.0)) { names in
            withCStrings(keywords.map(\.1)) { values in
                PQconnectStartParams(names, values, 1)
            }
        }
        guard let handle else { preconditionFailure("libpq has no memory for a connection") }
        func failure(_ reason: ConnectFailure.Reason) -> PostgresError {
            let lines = String(cString: PQerrorMessage(handle)).split(
                whereSeparator: \.isWhitespace
            )
            PQfinish(handle)
            return .connectFailed(
                ConnectFailure(reason: reason, message: lines.joined(separator: " "))
            )
        }
        guard PQstatus(handle) != CONNECTION_BAD else { throw failure(.refused) }
        var isWriting = true
        while true {
            if cancellation?.isRequested == true {
                PQfinish(handle)
                throw .cancelled
            }
            guard ContinuousClock.now < deadline else { throw failure(.timeout) }
            let ready = Readiness.wait(
                socket: PQsocket(handle),
                writing: isWriting,
                wake: wakeUp,
                until: deadline
            )
            if ready.isWoken { wakeUp.clear() }
            guard isWriting ? ready.isWritable || ready.isReadable : ready.isReadable else {
                continue
            }
            switch PQconnectPoll(handle) {
            case PGRES_POLLING_OK: return handle
            case PGRES_POLLING_READING: isWriting = false
            case PGRES_POLLING_WRITING: isWriting = true
            default: throw failure(.refused)
            }
        }
    }

    // MARK: - Between operations

    /// Whether a transaction is open, failed or not.
    var isInTransaction: Bool {
        PQtransactionStatus(handle) != PQTRANS_IDLE
    }

    /// The next notification that has arrived.
    func nextNotification() -> Notification? {
        guard let received = PQnotifies(handle) else { return nil }
        defer { PQfreemem(received) }
        return Notification(
            channel: String(cString: received.pointee.relname),
            payload: String(cString: received.pointee.extra),
            processIdentifier: received.pointee.be_pid
        )
    }

    /// Waits until the server sends something, the wake-up is signalled or the time is over; false once it is lost.
    func waitIdle(until deadline: ContinuousClock.Instant? = nil) -> Bool {
        guard isUsable else { return false }
        let ready = Readiness.wait(
            socket: PQsocket(handle),
            writing: false,
            wake: wakeUp,
            until: deadline
        )
        if ready.isWoken { wakeUp.clear() }
        return ready.isReadable ? checkIdle() : true
    }
}

/// How a transaction sees concurrent ones (PostgreSQL manual §13.2).
public enum Isolation: Sendable, Equatable {
    /// Each statement sees what was committed before it began.
    case readCommitted
    /// All statements see what was committed before the first; a conflicting write fails with 40001.
    case repeatableRead
    /// As if transactions ran one after the other; a conflict fails with 40001.
    case serializable

    var begin: Query {
        switch self {
        case .readCommitted: "begin isolation level read committed"
        case .repeatableRead: "begin isolation level repeatable read"
        case .serializable: "begin isolation level serializable"
        }
    }
}

extension Query {
    static let commit: Query = "commit"

    private var verb: String {
        String(sql.drop { $0.isWhitespace }.prefix { $0.isLetter }).lowercased()
    }

    var isCommit: Bool { ["commit", "end"].contains(verb) }
    var isBegin: Bool { ["begin", "start"].contains(verb) }
}

/// What an exchange has handed to libpq, to read the answers by and to judge a loss by.
private struct Sent {
    enum Step {
        case housekeeping
        case prepare(StatementKey)
        case execute(Int, StatementKey)
    }

    let wasInTransaction: Bool
    var steps: [Step] = []
    /// How many queries were handed over; libpq may have sent them before all were.
    var queued = 0
    var isSynced = false

    init(wasInTransaction: Bool) {
        self.wasInTransaction = wasInTransaction
    }

    /// Whether something may have been committed when the connection is lost now.
    func lossMeans(_ queries: [Query]) -> PostgresError {
        var isInTransaction = wasInTransaction
        for query in queries.prefix(queued) {
            if query.isBegin { isInTransaction = true }
            if query.isCommit { return .outcomeUnknown }
            // A statement outside a transaction commits at Sync.
            if !isInTransaction, isSynced { return .outcomeUnknown }
        }
        return .connectionLost
    }
}

/// What a prepared statement depends on.
private struct StatementKey: Hashable {
    let sql: String
    let types: [UInt32]

    init(_ query: Query) {
        sql = query.sql
        types = query.bindings.slots.map(\.type.oid)
    }
}

/// Writes the server's notices to the log: codes only, since their text may quote data.
private final class NoticeLog {
    private let logger: Logger
    /// The server said with FATAL that it ends this connection.
    private(set) var saidFarewell = false

    init(_ logger: Logger) {
        self.logger = logger
    }

    static let receive: PQnoticeReceiver = { context, result in
        guard let context, let result else { return }
        let log = Unmanaged<NoticeLog>.fromOpaque(context).takeUnretainedValue()
        func field(_ code: Character) -> String {
            PQresultErrorField(result, Int32(code.asciiValue ?? 0)).map { String(cString: $0) }
                ?? ""
        }
        if ["FATAL", "PANIC"].contains(field("V")) { log.saidFarewell = true }
        log.logger.debug(
            "notice from the database",
            metadata: [
                "db.response.status_code": "\(field("C"))",
                "ostiary.postgres.severity": "\(field("V"))",
            ]
        )
    }
}

extension Bindings {
    /// Hands the values to libpq, which copies them; false when it could not.
    func send(_ handle: OpaquePointer, statement: String) -> Bool {
        bytes.withUnsafeBytes { buffer in
            // A value of no bytes still needs a pointer: NULL would mean SQL's NULL. It is never read.
            let nothing = UnsafePointer<CChar>(bitPattern: 1)
            let values = slots.map { slot -> UnsafePointer<CChar>? in
                if slot.length < 0 { return nil }
                if slot.length == 0 { return nothing }
                return buffer.baseAddress.map {
                    ($0 + slot.offset).assumingMemoryBound(to: CChar.self)
                }
            }
            let lengths = slots.map { Int32($0.length) }
            let formats = slots.map { Int32($0.isText ? 0 : 1) }
            let sent = PQsendQueryPrepared(
                handle,
                statement,
                Int32(slots.count),
                values,
                lengths,
                formats,
                1
            )
            return sent == 1
        }
    }
}

extension QueryResult {
    /// The server's error, without what may quote a value.
    func serverError(valuesWereBound: Bool) -> ServerError {
        func field(_ code: Character) -> String? {
            self.field(Int32(code.asciiValue ?? 0))
        }
        // PG_DIAG_* of libpq are these characters; they are those of the protocol (manual §55.8).
        let state = SQLState(field("C") ?? "XX000")
        let mayTell = !valuesWereBound && state.class == "42"
        return ServerError(
            sqlState: state,
            constraint: field("n"),
            schema: field("s"),
            table: field("t"),
            column: field("c"),
            position: field("P").flatMap { Int($0) },
            message: mayTell ? field("M") : nil
        )
    }
}

private func withCStrings<Result>(
    _ strings: [String],
    _ body: ([UnsafePointer<CChar>?]) -> Result
) -> Result {
    func next(_ rest: ArraySlice<String>, _ done: [UnsafePointer<CChar>?]) -> Result {
        guard let first = rest.first else { return body(done + [nil]) }
        return first.withCString { next(rest.dropFirst(), done + [$0]) }
    }
    return next(strings[...], [])
}

extension Collection {
    fileprivate func firstNonNil<Value>(_ transform: (Element) -> Value?) -> Value? {
        for element in self {
            if let value = transform(element) { return value }
        }
        return nil
    }
}
