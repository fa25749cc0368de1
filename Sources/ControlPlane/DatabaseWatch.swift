import JSON
import Logging
import Postgres
import ServiceLifecycle
import Synchronization

/// Knows whether the database can be written to, keeps what it commits, and has the schema of this
/// program.
///
/// It asks by itself, so that a probe costs nothing and a slow database does not make probes pile
/// up. What it does not know for a while counts as bad.
final class DatabaseWatch: Service {
    private struct Finding {
        var problem: String?
        var at: ContinuousClock.Instant
    }

    private let client: PostgresClient
    private let migrations: [String]
    private let pause: Duration
    private let logger: Logger
    private let finding: Mutex<Finding>

    /// - Parameters:
    ///   - migrations: the names this program comes with; empty when their files are not there.
    ///   - pause: how often to look. Default 1 s.
    init(
        _ client: PostgresClient,
        migrations: [String],
        pause: Duration = .seconds(1),
        logger: Logger
    ) {
        self.client = client
        self.migrations = migrations
        self.pause = pause
        self.logger = logger
        finding = Mutex(Finding(problem: "the database was not asked yet", at: .now))
    }

    /// What is wrong, in a constant sentence; `nil` when nothing is.
    var problem: String? {
        let last = finding.withLock { $0 }
        guard ContinuousClock.now - last.at < pause * 5 + .seconds(2) else {
            return "the database does not answer"
        }
        return last.problem
    }

    /// Looks again and again until the process shuts down.
    func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            repeat {
                let problem = await look()
                let before = finding.withLock { finding in
                    defer { finding = Finding(problem: problem, at: .now) }
                    return finding.problem
                }
                if problem != before {
                    logger.log(
                        level: problem == nil ? .info : .error,
                        problem == nil ? "the database is well" : "the database is not well",
                        metadata: problem.map { ["error.message": "\($0)"] }
                    )
                }
            } while (try? await Task.sleep(for: pause)) != nil
        }
    }

    private func look() async -> String? {
        do throws(PostgresError) {
            if let refusal = try await WritabilityCheck.refusal(client) {
                return refusal.description
            }
            if let refusal = try await DurabilityCheck.refusal(client) {
                return refusal.description
            }
            let applied = try await client.query(
                "select name from schema_migration order by number"
            ).map { row throws(PostgresError) in try row.decode(at: 0, as: String.self) }
            return Self.schemaProblem(applied: applied, expected: migrations)
        } catch {
            return "the database cannot be asked"
        }
    }

    /// What is wrong with the schema, compared by the names of migrations.
    static func schemaProblem(applied: [String], expected: [String]) -> String? {
        guard !expected.isEmpty else { return "the migration files cannot be read" }
        let isSame = zip(applied, expected).allSatisfy { $0.utf8.elementsEqual($1.utf8) }
        guard isSame else { return "the schema belongs to another program" }
        if applied.count < expected.count { return "migrations are pending" }
        return applied.count > expected.count ? "the schema is newer than this program" : nil
    }
}
