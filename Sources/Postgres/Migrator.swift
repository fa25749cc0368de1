public import Logging

/// Brings a database to the schema this program was written for.
///
/// Migrations are applied in order, each in one transaction together with its own entry in `schema_migration`; so a
/// crash leaves whole migrations only. Any number of processes may start at once: one applies, under an advisory lock,
/// and the others find nothing left to do. Rules for the files are in migrations/README.md.
public struct Migrator: Sendable {
    /// What is to be done, and what was done before.
    public struct Plan: Sendable, Equatable {
        /// The names of the migrations the database has.
        public let applied: [String]
        /// The names of the migrations to be applied, in order.
        public let pending: [String]
    }

    /// The role that owns the schema when it is not the one that connects, and how it comes to be there.
    public struct Ownership: Sendable {
        /// Everything migrations make belongs to this role.
        public let role: Identifier
        /// Asks whether the connected user may act as the role, and the role may make tables: one boolean.
        let isReady: Query
        /// Makes it so; may run any number of times, in several databases of a cluster at once.
        let script: String

        /// A role, the question and the script.
        public init(role: Identifier, isReady: Query, script: [UInt8]) throws(MigrationError) {
            guard !script.contains(0), let text = String(validating: script, as: UTF8.self) else {
                throw .notText("of roles")
            }
            self.role = role
            self.isReady = isReady
            self.script = text
        }
    }

    private struct Entry {
        let name: String
        let digest: [UInt8]
    }

    private let configuration: Configuration
    private let migrations: [Migration]
    private let digest: @Sendable ([UInt8]) -> [UInt8]
    private let logger: Logger
    private let lockTimeout: Duration
    private let ownership: Ownership?

    /// The advisory lock's key: "migrate!" in ASCII.
    ///
    /// Advisory locks belong to one database, so no other key is ours.
    static let lockKey: Int64 = 0x6d69_6772_6174_6521

    /// A migrator for one database.
    ///
    /// The user must own the schema, or be able to act as the role that does. `digest` is SHA-256 (this module has no
    /// cryptography of its own). `lockTimeout` is how long to wait for another process that migrates, default 5 min.
    public init(
        _ configuration: Configuration,
        migrations: [Migration],
        ownership: Ownership? = nil,
        logger: Logger,
        lockTimeout: Duration = .seconds(300),
        digest: @escaping @Sendable ([UInt8]) -> [UInt8]
    ) {
        var configuration = configuration
        // A migration takes as long as it takes.
        configuration.statementTimeout = nil
        configuration.idleTransactionTimeout = nil
        self.configuration = configuration
        self.migrations = migrations
        self.digest = digest
        self.logger = logger
        self.lockTimeout = lockTimeout
        self.ownership = ownership
    }

    /// What ``migrate()`` would do now; changes nothing.
    public func plan() async throws(MigrationError) -> Plan {
        try await perform { connection throws(MigrationError) in try plan(connection) }
    }

    /// Applies what is pending, and returns what it was.
    @discardableResult
    public func migrate() async throws(MigrationError) -> Plan {
        try await perform { connection throws(MigrationError) in
            try foresee(connection)
            try lock(connection)
            // The lock goes with the connection, however this ends; so does the role.
            if let ownership { try take(ownership, connection) }
            let plan = try plan(connection)
            if !plan.pending.isEmpty {
                try ask(connection) { connection throws(PostgresError) in
                    try connection.execute(script: Self.table)
                }
            }
            for migration in migrations.suffix(plan.pending.count) {
                try apply(migration, connection)
            }
            return plan
        }
    }

    /// Refuses what cannot come to a good end before roles are made, in a database that may be another program's.
    private func foresee(_ connection: SynchronousConnection) throws(MigrationError) {
        let plan: Plan
        do throws(MigrationError) {
            plan = try self.plan(connection)
        } catch {
            // Who may not read the table may do so as its owner.
            if case .database = error { return }
            throw error
        }
        let refusal = try ask(connection) { connection throws(PostgresError) in
            try WritabilityCheck.refusal(connection.query(WritabilityCheck.question))
        }
        if let refusal, !plan.pending.isEmpty { throw .notWritable(refusal) }
    }

    private static let table = """
        create table if not exists schema_migration (
            number integer constraint schema_migration_pk primary key
                constraint schema_migration_number_is_positive check (number > 0),
            name text not null constraint schema_migration_name_is_unique unique,
            digest bytea not null,
            applied_at timestamptz not null default clock_timestamp()
        )
        """

    private func plan(_ connection: SynchronousConnection) throws(MigrationError) -> Plan {
        for (index, migration) in migrations.enumerated() where migration.number != index + 1 {
            throw .gap(expected: index + 1, found: migration.name)
        }
        let applied = try applied(connection)
        for (entry, migration) in zip(applied, migrations) {
            guard entry.name.utf8.elementsEqual(migration.name.utf8),
                entry.digest == digest(Array(migration.sql.utf8))
            else { throw .changed(migration.name) }
        }
        if applied.count > migrations.count {
            throw .newerDatabase(applied[migrations.count].name)
        }
        return Plan(
            applied: applied.map(\.name),
            pending: migrations.dropFirst(applied.count).map(\.name)
        )
    }

    private func applied(_ connection: SynchronousConnection) throws(MigrationError) -> [Entry] {
        do throws(PostgresError) {
            let exists = try connection.query("select to_regclass('schema_migration') is not null")
            guard try exists.one().decode(at: 0) else { return [] }
            var entries: [Entry] = []
            for row in try connection.query(
                "select name, digest from schema_migration order by number"
            ) {
                let (name, digest) = try row.decode(String.self, [UInt8].self)
                entries.append(Entry(name: name, digest: digest))
            }
            return entries
        } catch {
            switch error {
            case .server(let error) where error.sqlState == .undefinedColumn: throw .foreignTable
            case .column: throw .foreignTable
            default: throw .database(error)
            }
        }
    }

    private func apply(
        _ migration: Migration,
        _ connection: SynchronousConnection
    ) throws(MigrationError) {
        let isWhole: Bool
        do throws(PostgresError) {
            isWhole = try run(migration, connection)
        } catch {
            // The connection, and with it the lock, ends here; so does the open transaction.
            throw .failed(migration.name, error)
        }
        guard isWhole else { throw .transactionEnded(migration.name) }
        logger.info(
            "migration applied",
            metadata: ["ostiary.migration.name": "\(migration.name)"]
        )
    }

    /// False if the migration ended the transaction it runs in.
    private func run(
        _ migration: Migration,
        _ connection: SynchronousConnection
    ) throws(PostgresError) -> Bool {
        try connection.query("begin")
        let before = try transaction(connection)
        try connection.execute(script: migration.sql)
        // A COMMIT in the script would have ended ours, and left everything after it on its own.
        guard connection.isInTransaction, try transaction(connection) == before else {
            return false
        }
        try connection.query(
            """
            insert into schema_migration (number, name, digest)
            values (\(Int32(migration.number)), \(migration.name), \(digest(Array(migration.sql.utf8))))
            """
        )
        // The point of no return: the migration and its entry are durable together, or neither is.
        try connection.query(.commit)
        return true
    }

    private func transaction(_ connection: SynchronousConnection) throws(PostgresError) -> String {
        try connection.query("select pg_current_xact_id()::text").one().decode(at: 0)
    }

    /// Asks again and again instead of waiting in the server: a statement that waits holds a snapshot, and
    /// CREATE INDEX CONCURRENTLY would wait for that snapshot while it waits for the lock.
    private func lock(_ connection: SynchronousConnection) throws(MigrationError) {
        let deadline = ContinuousClock.now + lockTimeout
        while true {
            let isLocked = try ask(connection) { connection throws(PostgresError) -> Bool in
                try connection.query("select pg_try_advisory_lock(\(Self.lockKey))").one()
                    .decode(at: 0)
            }
            if isLocked { return }
            guard ContinuousClock.now < deadline else { throw .lockTimeout }
            _ = connection.waitIdle(until: .now + .milliseconds(50))
        }
    }

    private func take(
        _ ownership: Ownership,
        _ connection: SynchronousConnection
    ) throws(MigrationError) {
        func isReady() throws(MigrationError) -> Bool {
            try ask(connection) { connection throws(PostgresError) in
                try connection.query(ownership.isReady).one().decode(at: 0)
            }
        }
        if try !isReady() {
            do throws(PostgresError) {
                try connection.execute(script: ownership.script)
            } catch {
                throw .rolesMissing(error)
            }
            guard try isReady() else { throw .rolesMissing(nil) }
        }
        try ask(connection) { connection throws(PostgresError) in
            _ = try connection.query("set role \(ownership.role)")
        }
    }

    private func ask<Value>(
        _ connection: SynchronousConnection,
        _ body: (SynchronousConnection) throws(PostgresError) -> Value
    ) throws(MigrationError) -> Value {
        do throws(PostgresError) {
            return try body(connection)
        } catch {
            throw .database(error)
        }
    }

    /// On a connection of its own, whose end gives back the lock.
    private func perform(
        _ body: @escaping @Sendable (SynchronousConnection) throws(MigrationError) -> Plan
    ) async throws(MigrationError) -> Plan {
        let result: Result<Plan, MigrationError>
        do throws(PostgresError) {
            let connection = try await Connection.connect(configuration, logger: logger)
            result = try await connection.perform { connection throws(PostgresError) in
                Result { () throws(MigrationError) in try body(connection) }
            }
        } catch {
            throw .database(error)
        }
        return try result.get()
    }
}
