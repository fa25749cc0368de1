import PostgresTestSupport
import Testing

@testable import Postgres

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct ClientTests {
    private struct Unrelated: Error {}

    @Test func `a transaction commits when its body returns and not when it throws`() async throws {
        try await withClient(try await TestCluster.shared.database()) { client in
            try await client.query("create table t (n int)")
            try await client.withTransaction { try await $0.query("insert into t values (1)") }
            await #expect(throws: Unrelated.self) {
                try await client.withTransaction { transaction in
                    try await transaction.query("insert into t values (2)")
                    throw Unrelated()
                }
            }
            #expect(
                try await client.query("select n from t").one().decode(at: 0, as: Int32.self) == 1
            )
        }
    }

    @Test func `a transaction whose error was swallowed does not pretend to commit`() async throws {
        try await withClient(try await TestCluster.shared.database()) { client in
            try await client.query("create table t (n int)")
            let error = await failure {
                try await client.withTransaction { transaction in
                    try await transaction.query("insert into t values (1)")
                    _ = try? await transaction.query("select 1/0")
                }
            }
            #expect(error == .transactionRolledBack)
            #expect(try await client.query("select from t").isEmpty)
        }
    }

    @Test func `a transaction that loses against another runs again`() async throws {
        try await withClient(try await TestCluster.shared.database()) { client in
            try await client.query("create table counter (n bigint)")
            try await client.query("insert into counter values (0)")
            let attempts = Counter()
            // Two transactions have both read before either writes: one of them must lose.
            let readers = Counter()
            let meeting = Meeting(of: 2)
            try await withThrowingTaskGroup { group in
                for _ in 0..<4 {
                    group.addTask {
                        for _ in 0..<10 {
                            try await client.withTransaction(
                                isolation: .serializable,
                                retrying: 1000
                            ) { transaction in
                                attempts.increment()
                                let n = try await transaction.query("select n from counter").one()
                                    .decode(at: 0, as: Int64.self)
                                if readers.increment() <= 2 { await meeting.arrive() }
                                try await transaction.query("update counter set n = \(n + 1)")
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            let n = try await client.query("select n from counter").one()
            #expect(try n.decode(at: 0, as: Int64.self) == 40)
            #expect(attempts.count > 40)
        }
    }

    @Test func `retries are bounded`() async throws {
        try await withClient(try await TestCluster.shared.database()) { client in
            let attempts = Counter()
            let error = await failure {
                try await client.withTransaction(retrying: 2) { transaction in
                    attempts.increment()
                    try await transaction.query(
                        "do $$ begin raise exception using errcode = '40001'; end $$"
                    )
                }
            }
            #expect(error?.sqlState == .serializationFailure)
            #expect(attempts.count == 3)
            let pipelined = await failure {
                try await client.pipeline(retrying: 2) { pipeline in
                    pipeline.add("do $$ begin raise exception using errcode = '40P01'; end $$")
                }
            }
            #expect(pipelined?.sqlState == .deadlockDetected)
        }
    }

    @Test func `a cancelled transaction is rolled back and its connection used again`() async throws
    {
        var limits = PoolLimits.patient
        limits.connectionsMax = 1
        try await withClient(try await TestCluster.shared.database(), limits: limits) { client in
            try await client.query("create table t (n int)")
            let inside = Gate()
            let task = Task {
                await failure {
                    try await client.withTransaction { transaction in
                        try await transaction.query("insert into t values (1)")
                        inside.open()
                        try await transaction.query("select pg_sleep(600)")
                    }
                }
            }
            await inside.wait()
            task.cancel()
            #expect(await task.value == .cancelled)
            #expect(try await client.query("select from t").isEmpty)
        }
    }

    @Test func `a transaction left open in a connection is rolled back before the next caller`()
        async throws
    {
        var limits = PoolLimits.patient
        limits.connectionsMax = 1
        try await withClient(try await TestCluster.shared.database(), limits: limits) { client in
            try await client.query("create table t (n int)")
            try await client.withConnection { connection in
                try await connection.query("begin")
                try await connection.query("insert into t values (1)")
            }
            #expect(try await client.query("select from t").isEmpty)
        }
    }

    @Test func `an exhausted pool refuses after a while, and at once beyond its bound`()
        async throws
    {
        var limits = PoolLimits()
        limits.connectionsMax = 1
        limits.waitersMax = 1
        let clock = ManualClock()
        let database = try await TestCluster.shared.database()
        try await withClient(database, limits: limits, clock: clock) { client in
            try await client.withConnection { _ in
                await withTaskGroup { group in
                    for _ in 0..<2 {
                        group.addTask { await failure { try await client.query("select 1") } }
                    }
                    // Time stands still: the first to be refused is one too many, the other waits.
                    #expect(await group.next() == .poolExhausted)
                    clock.advance(by: limits.waitTimeout)
                    #expect(await group.next() == .poolExhausted)
                }
            }
            #expect(try await client.query("select 1").count == 1)
        }
    }

    @Test func `a caller that is cancelled while it waits goes at once`() async throws {
        var limits = PoolLimits.patient
        limits.connectionsMax = 1
        try await withClient(try await TestCluster.shared.database(), limits: limits) { client in
            try await client.withConnection { _ in
                let task = Task { await failure { try await client.query("select 1") } }
                task.cancel()
                #expect(await task.value == .cancelled)
            }
        }
    }

    @Test func `a killed connection is replaced, whether it was in use or not`() async throws {
        var limits = PoolLimits.patient
        limits.connectionsMax = 1
        let database = try await TestCluster.shared.database()
        let observer = try await Connection.connect(database, logger: silent)
        let kill: Query = """
            select pg_terminate_backend(pid, 60000) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()
            """
        try await withClient(database, limits: limits) { client in
            // Idle: its thread saw the end, or the check before sending does; nothing is ambiguous.
            #expect(try await client.query("select 1").count == 1)
            try await observer.query(kill)
            let idle = await failure { try await client.query("select 1") }
            #expect(idle == nil || idle == .connectionLost)
            #expect(try await client.query("select 1").count == 1)

            // In a transaction, before COMMIT.
            let lost = await failure {
                try await client.withTransaction { transaction in
                    try await transaction.query("create table t (n int)")
                    try await observer.query(kill)
                    try await transaction.query("insert into t values (1)")
                }
            }
            #expect(lost == .connectionLost)

            // In the middle of a statement that commits by itself.
            let task = Task { await failure { try await client.query("select pg_sleep(600)") } }
            try await until {
                try await observer.query(
                    "select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
                ).count == 1
            }
            try await observer.query(kill)
            #expect(await task.value == .outcomeUnknown)
            #expect(try await client.query("select 1").count == 1)
        }
    }

    @Test func `after its end a client refuses callers`() async throws {
        let client = PostgresClient(try await TestCluster.shared.database(), logger: silent)
        let running = Task { await client.run() }
        #expect(try await client.query("select 1").count == 1)
        running.cancel()
        await running.value
        #expect(await failure { try await client.query("select 1") } == .closed)
    }
}

/// Tests that stop the server have one of their own.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct RestartTests {
    @Test func `the server stops and comes back: callers are refused quickly, then served`()
        async throws
    {
        let cluster = TestCluster(.off)
        defer { cluster.discard() }
        var limits = PoolLimits()
        limits.waitTimeout = .milliseconds(200)
        limits.backoffFirst = .milliseconds(10)
        limits.backoffMax = .milliseconds(50)
        limits.tripAfter = .milliseconds(100)
        try await withClient(try cluster.configuration(), limits: limits) { client in
            try await until {
                await failure {
                    try await client.query("create table if not exists t (n bigint primary key)")
                } == nil
            }
            // Someone is writing all the time; the server goes away in the middle of it.
            let writing = Gate()
            let writer = Task {
                var (confirmed, open): ([Int64], Set<Int64>) = ([], [])
                for n in (0 as Int64)... {
                    let error = await failure {
                        try await client.pipeline { $0.add("insert into t values (\(n))") }
                    }
                    switch error {
                    case nil: confirmed.append(n)
                    case .outcomeUnknown: open.insert(n)
                    default: break
                    }
                    if n == 100 { writing.open() }
                    if Task.isCancelled { break }
                    await Task.yield()
                }
                return (confirmed, open)
            }
            await writing.wait()
            try cluster.stop()
            try await until { await failure { try await client.query("select 1") } == .serverAway }
            try cluster.start()
            try await until { await failure { try await client.query("select 1") } == nil }
            writer.cancel()
            let (confirmed, open) = await writer.value
            // What was confirmed is there; what is there was confirmed or reported as unknown.
            let stored = try await client.query("select n from t order by n").map {
                try $0.decode(at: 0, as: Int64.self)
            }
            #expect(Set(confirmed).isSubset(of: stored))
            #expect(Set(stored).subtracting(confirmed).isSubset(of: open))
        }
    }

    @Test func `a listener goes on after a restart and knows that it may have missed something`()
        async throws
    {
        let cluster = TestCluster(.off)
        defer { cluster.discard() }
        try await withClient(try cluster.configuration()) { client in
            var signals = client.listen(Identifier("change")).makeAsyncIterator()
            #expect(await signals.next() == .listening)
            try await client.query("select pg_notify('change', 'one')")
            guard case .notification(let one) = await signals.next() else {
                Issue.record("no notification")
                return
            }
            #expect(one.payload == "one")
            try cluster.stop()
            try cluster.start()
            #expect(await signals.next() == .listening)
            try await until {
                await failure { try await client.query("select pg_notify('change', 'two')") } == nil
            }
            guard case .notification(let two) = await signals.next() else {
                Issue.record("no notification")
                return
            }
            #expect(two.payload == "two")
        }
    }
}
