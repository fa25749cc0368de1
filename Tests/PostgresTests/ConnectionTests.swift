import PostgresTestSupport
import Testing

@testable import Postgres

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct ConnectionTests {
    // MARK: - Pipelines

    @Test func `a pipelined transaction is one round trip, prepared or not`() async throws {
        let relay = try Relay()
        let database = try await TestCluster.shared.database()
        let connection = try await Connection.connect(
            try relay.configuration(for: database),
            logger: silent
        )
        try await connection.query("create table record (n bigint primary key, body bytea)")
        var numbers: [Int64] = [1, 2, 3]
        for _ in 0..<3 {
            let before = relay.roundTrips
            let rows = try await connection.transaction(pipeline: [
                """
                insert into record select * from unnest(\(numbers), \(numbers.map { _ in [1, 2] as [UInt8] }))
                on conflict do nothing
                """,
                "select count(*) from record",
            ])
            #expect(relay.roundTrips - before == 1)
            #expect(rows[0].affected == 3)
            #expect(rows[1].count == 1)
            numbers = numbers.map { $0 + 3 }
        }
        #expect(try await connection.query("select from record").count == 9)
    }

    @Test func `an error in the middle of a pipeline stops the rest and only the rest`()
        async throws
    {
        let connection = try await freshConnection()
        try await connection.query("create table t (n int primary key)")
        let results = try await connection.pipeline([
            "begin", "insert into t values (1)", "insert into t values (1)", "select 1", "commit",
        ])
        #expect(results.count == 5)
        #expect(try results[1].get().affected == 1)
        #expect(await failure { try results[2].get() }?.sqlState == .uniqueViolation)
        #expect(await failure { try results[3].get() } == .skipped)
        #expect(await failure { try results[4].get() } == .skipped)
        // The transaction is still open and failed; COMMIT says so instead of pretending.
        #expect(await failure { try await connection.query("commit") } == .transactionRolledBack)
        #expect(try await connection.query("select from t").isEmpty)
    }

    @Test func `a statement that cannot be prepared fails in its place`() async throws {
        let connection = try await freshConnection()
        let results = try await connection.pipeline([
            "select 1::int8", "select from nowhere", "select 2::int8",
        ])
        #expect(try results[0].get().one().decode(at: 0, as: Int64.self) == 1)
        #expect(await failure { try results[1].get() }?.sqlState == .undefinedTable)
        #expect(await failure { try results[2].get() } == .skipped)
        // What was skipped was not prepared either, and is when it is asked for again.
        #expect(try await connection.query("select 2::int8").count == 1)
    }

    @Test func `a transaction in one round trip takes effect whole or not at all`() async throws {
        let connection = try await freshConnection()
        try await connection.query("create table t (n int primary key)")
        let error = await failure {
            try await connection.transaction(pipeline: [
                "insert into t values (1)", "insert into t values (1)",
            ])
        }
        #expect(error?.sqlState == .uniqueViolation)
        #expect(try await connection.query("select from t").isEmpty)
        #expect(
            try await connection.transaction(pipeline: ["insert into t values (1)"])[0].affected
                == 1
        )
    }

    @Test func `a pipeline larger than every buffer does not block`() async throws {
        let connection = try await freshConnection()
        let big = [UInt8](repeating: 7, count: 4 << 20)
        let results = try await connection.pipeline(Array(repeating: "select \(big)", count: 8))
        for result in results {
            #expect(try result.get().one().decode(at: 0, as: [UInt8].self).count == big.count)
        }
    }

    // MARK: - Stopping

    @Test func `a cancelled task stops its statement, and the connection lives on`() async throws {
        let connection = try await freshConnection()
        let observer = try await freshConnection()
        let process = try await connection.query("select pg_backend_pid()").one()
            .decode(at: 0, as: Int32.self)
        let task = Task { await failure { try await connection.query("select pg_sleep(600)") } }
        try await until {
            try await observer.query(
                "select from pg_stat_activity where pid = \(process) and wait_event = 'PgSleep'"
            ).count == 1
        }
        task.cancel()
        #expect(await task.value == .cancelled)
        #expect(try await connection.query("select 1").count == 1)
    }

    @Test func `a task cancelled at once never loses its connection`() async throws {
        let connection = try await freshConnection()
        for _ in 0..<50 {
            let task = Task { await failure { try await connection.query("select pg_sleep(600)") } }
            task.cancel()
            #expect(await task.value == .cancelled)
        }
        #expect(try await connection.query("select 1").count == 1)
    }

    @Test func `the server stops a statement that takes too long`() async throws {
        var configuration = try await TestCluster.shared.database()
        configuration.statementTimeout = .milliseconds(20)
        let connection = try await Connection.connect(configuration, logger: silent)
        let error = await failure { try await connection.query("select pg_sleep(600)") }
        #expect(error?.sqlState == .queryCanceled)
        // The connection lives on. On a slow machine even this may take the server too long, but not every time.
        var next: PostgresError?
        repeat {
            next = await failure { try await connection.query("select 1") }
        } while next?.sqlState == .queryCanceled
        #expect(next == nil)
    }

    @Test func `a server that falls silent is given up`() async throws {
        let relay = try Relay()
        var configuration = try relay.configuration(for: try await TestCluster.shared.database())
        configuration.statementTimeout = .milliseconds(50)
        configuration.cancelGrace = .milliseconds(100)
        let connection = try await Connection.connect(configuration, logger: silent)
        relay.set(.silent)
        #expect(await failure { try await connection.query("select 1") } == .outcomeUnknown)
        #expect(await failure { try await connection.query("select 1") } == .connectionLost)
    }

    @Test func `connecting ends when its time is over`() async throws {
        let relay = try Relay()
        var configuration = try relay.configuration(for: try TestCluster.shared.configuration())
        configuration.connectTimeout = .milliseconds(100)
        relay.set(.silent)
        guard
            case .connectFailed(let reason) = await failure({
                try await Connection.connect(configuration, logger: silent)
            })
        else {
            Issue.record("connected")
            return
        }
        #expect(reason.reason == .timeout)
    }

    @Test func `operations wait for a connection up to its bound`() async throws {
        var configuration = try await TestCluster.shared.database()
        configuration.waitingOperationsMax = 2
        let connection = try await Connection.connect(configuration, logger: silent)
        let running = Gate()
        let blocked = Task {
            await failure {
                try await connection.perform { connection throws(PostgresError) in
                    running.open()
                    return try connection.query("select pg_sleep(600)")
                }
            }
        }
        await running.wait()
        // Two wait, in whatever order they come; the third is refused.
        let outcomes = await withTaskGroup { group in
            for _ in 0..<3 {
                group.addTask { await failure { try await connection.query("select 1") } }
            }
            let first = await group.next() ?? nil
            blocked.cancel()
            var all = [first]
            for await outcome in group { all.append(outcome) }
            return all
        }
        #expect(outcomes == [.poolExhausted, nil, nil])
        #expect(await blocked.value == .cancelled)
    }

    // MARK: - Losing the connection

    @Test func `a commit whose answer is lost is reported as unknown, and was made`() async throws {
        let relay = try Relay()
        let database = try await TestCluster.shared.database()
        let observer = try await Connection.connect(database, logger: silent)
        try await observer.query("create table t (n int)")
        let connection = try await Connection.connect(
            try relay.configuration(for: database),
            logger: silent
        )
        relay.set(.loseNextAnswer)
        let error = await failure {
            try await connection.transaction(pipeline: ["insert into t values (1)"])
        }
        #expect(error == .outcomeUnknown)
        try await until { try await observer.query("select from t").count == 1 }
    }

    @Test func `a commit that never left is reported as unknown, and was not made`() async throws {
        let relay = try Relay()
        let database = try await TestCluster.shared.database()
        let observer = try await Connection.connect(database, logger: silent)
        try await observer.query("create table t (n int)")
        let connection = try await Connection.connect(
            try relay.configuration(for: database),
            logger: silent
        )
        relay.set(.loseNextQuestion)
        let error = await failure {
            try await connection.transaction(pipeline: ["insert into t values (1)"])
        }
        #expect(error == .outcomeUnknown)
        #expect(try await observer.query("select from t").isEmpty)
    }

    @Test func `before commit a lost connection is certain to have done nothing`() async throws {
        let relay = try Relay()
        let database = try await TestCluster.shared.database()
        let connection = try await Connection.connect(
            try relay.configuration(for: database),
            logger: silent
        )
        try await connection.query("create table t (n int)")
        try await connection.query("begin")
        relay.set(.loseNextAnswer)
        #expect(
            await failure { try await connection.query("insert into t values (1)") }
                == .connectionLost
        )
        let observer = try await Connection.connect(database, logger: silent)
        #expect(try await observer.query("select from t").isEmpty)
    }

    @Test func `a connection the server ended is found before anything is sent`() async throws {
        let database = try await TestCluster.shared.database()
        let observer = try await Connection.connect(database, logger: silent)
        // Synchronous, so that no thread watches it meanwhile.
        let connection = try SynchronousConnection(database, logger: silent)
        let process = try connection.query("select pg_backend_pid()").one()
            .decode(at: 0, as: Int32.self)
        try await observer.query("select pg_terminate_backend(\(process), 60000)")
        #expect(await failure { try connection.query("select 1") } == .connectionLost)
        #expect(!connection.isUsable)
        #expect(await failure { try connection.query("select 1") } == .connectionLost)
    }

    @Test func `a closed connection ends what was asked before and refuses what comes after`()
        async throws
    {
        let connection = try await freshConnection()
        #expect(try await connection.query("select 1").count == 1)
        connection.close()
        #expect(await failure { try await connection.query("select 1") } == .closed)
    }
}
