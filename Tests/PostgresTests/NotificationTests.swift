import PostgresTestSupport
import Testing

@testable import Postgres

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct NotificationTests {
    @Test func `notifications arrive in order, on their channel only, after commit only`()
        async throws
    {
        try await withClient(try await TestCluster.shared.database()) { client in
            var signals = client.listen(Identifier("a \"b\"")).makeAsyncIterator()
            #expect(await signals.next() == .listening)
            try await client.query("select pg_notify('other', 'x')")
            _ = try? await client.withTransaction { transaction in
                try await transaction.query("select pg_notify('a \"b\"', 'rolled back')")
                throw CancellationError()
            }
            for n in 0..<20 {
                try await client.query("select pg_notify('a \"b\"', \("\(n)"))")
            }
            for n in 0..<20 {
                guard case .notification(let notification) = await signals.next() else {
                    Issue.record("no notification \(n)")
                    return
                }
                #expect(notification.payload == "\(n)")
                #expect(notification.channel == "a \"b\"")
            }
        }
    }

    @Test func `a listener whose connection is killed says so and goes on`() async throws {
        let database = try await TestCluster.shared.database()
        try await withClient(database) { client in
            var signals = client.listen(Identifier("change")).makeAsyncIterator()
            #expect(await signals.next() == .listening)
            try await client.query(
                """
                select pg_terminate_backend(pid, 60000) from pg_stat_activity
                where datname = current_database() and query like 'listen%'
                """
            )
            #expect(await signals.next() == .listening)
            try await client.query("select pg_notify('change', 'x')")
            guard case .notification = await signals.next() else {
                Issue.record("no notification")
                return
            }
        }
    }

    @Test func `listening ends with its task`() async throws {
        try await withClient(try await TestCluster.shared.database()) { client in
            let listening = Gate()
            let task = Task {
                for await signal in client.listen(Identifier("change")) where signal == .listening {
                    listening.open()
                }
            }
            await listening.wait()
            task.cancel()
            await task.value
            try await until {
                try await client.query(
                    "select from pg_stat_activity where datname = current_database() and query like 'listen%'"
                ).isEmpty
            }
        }
    }
}

struct NotificationBufferTests {
    @Test func `a backlog collapses into the advice to look, and what follows comes after it`() {
        func notification(_ n: Int) -> NotificationSignal {
            .notification(Notification(channel: "c", payload: "\(n)", processIdentifier: 1))
        }
        var buffer = NotificationBuffer()
        for n in 1...NotificationBuffer.signalsMax { buffer.add(notification(n)) }
        var kept = buffer
        #expect(kept.take() == notification(1))
        buffer.add(notification(0))
        buffer.add(.listening)
        buffer.add(notification(-1))
        #expect(
            [buffer.take(), buffer.take(), buffer.take()] == [.listening, notification(-1), nil]
        )
    }
}
