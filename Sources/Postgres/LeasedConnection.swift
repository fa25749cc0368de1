/// A connection lent by the pool for the length of a closure.
///
/// It cannot be copied, so it cannot outlive the closure and be used beside its next borrower.
public struct LeasedConnection: ~Copyable {
    private let connection: Connection

    init(_ connection: Connection) {
        self.connection = connection
    }

    /// Runs one statement.
    ///
    /// See ``SynchronousConnection/query(_:)``.
    @discardableResult
    public func query(_ query: Query) async throws(PostgresError) -> Rows {
        try await connection.query(query)
    }

    /// Runs statements in one round trip.
    ///
    /// See ``SynchronousConnection/pipeline(_:)``.
    @discardableResult
    public func pipeline(
        _ build: (inout Pipeline) -> Void
    ) async throws(PostgresError) -> [Result<Rows, PostgresError>] {
        var pipeline = Pipeline()
        build(&pipeline)
        return try await connection.pipeline(pipeline.queries)
    }

    /// Runs a script.
    ///
    /// See ``SynchronousConnection/execute(script:)``.
    public func execute(script: String) async throws(PostgresError) {
        try await connection.execute(script: script)
    }

    /// Runs `body` in a transaction.
    ///
    /// See ``PostgresClient/withTransaction(isolation:retrying:_:)``.
    @discardableResult
    public func withTransaction<Value>(
        isolation: Isolation = .readCommitted,
        retrying: Int = 3,
        _ body: (borrowing Transaction) async throws -> Value
    ) async throws -> Value {
        var attempts = 0
        while true {
            do {
                return try await attempt(isolation, body)
            } catch let error as PostgresError
                where error.serverError?.isRetryable == true && attempts < retrying
            {
                attempts += 1
            }
        }
    }

    private func attempt<Value>(
        _ isolation: Isolation,
        _ body: (borrowing Transaction) async throws -> Value
    ) async throws -> Value {
        try await connection.query(isolation.begin)
        let value: Value
        do {
            value = try await body(Transaction(connection))
            // Asked here and not again: from COMMIT on, only the server knows.
            try Task.checkCancellation()
        } catch {
            try? await connection.performShielded { connection throws(PostgresError) in
                try connection.rollBack()
            }
            throw error is CancellationError ? PostgresError.cancelled : error
        }
        try await connection.performShielded { connection throws(PostgresError) in
            // The point of no return. A failure is the server's word that nothing was committed, except
            // `outcomeUnknown`.
            _ = try connection.query(.commit)
        }
        return value
    }
}

/// An open transaction; it ends with the closure it was given to.
public struct Transaction: ~Copyable {
    private let connection: Connection

    init(_ connection: Connection) {
        self.connection = connection
    }

    /// Runs one statement.
    @discardableResult
    public func query(_ query: Query) async throws(PostgresError) -> Rows {
        try await connection.query(query)
    }

    /// Runs statements in one round trip.
    ///
    /// See ``SynchronousConnection/pipeline(_:)``.
    @discardableResult
    public func pipeline(
        _ build: (inout Pipeline) -> Void
    ) async throws(PostgresError) -> [Result<Rows, PostgresError>] {
        var pipeline = Pipeline()
        build(&pipeline)
        return try await connection.pipeline(pipeline.queries)
    }
}

/// Statements to be sent together.
public struct Pipeline: Sendable {
    var queries: [Query] = []

    /// Adds a statement; its result has the same position.
    public mutating func add(_ query: Query) {
        queries.append(query)
    }
}
