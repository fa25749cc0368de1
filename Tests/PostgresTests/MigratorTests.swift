import Glibc
import PostgresTestSupport
import Testing

@testable import Postgres

/// Not SHA-256, which this module does not have; any function of the bytes shows what the migrator does with it.
private func digest(_ bytes: [UInt8]) -> [UInt8] {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return (0..<8).map { UInt8(truncatingIfNeeded: hash >> (8 * $0)) }
}

private let one = ("0001_create_item", "create table item (n int);\ninsert into item values (1);")
private let two = ("0002_add_note", "alter table item add note text;")
private let three = ("0003_create_index", "create index on item (n);")

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct MigratorTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let first: [(String, String)]
        let second: [(String, String)]
        let outcome: Result<[String], MigrationError>

        init(
            _ name: String,
            _ first: [(String, String)],
            then second: [(String, String)],
            _ outcome: Result<[String], MigrationError>
        ) {
            (testDescription, self.first, self.second, self.outcome) = (
                name, first, second, outcome
            )
        }
    }

    static let rows = [
        Row("fresh", [], then: [one, two], .success([one.0, two.0])),
        Row("again", [one, two], then: [one, two], .success([])),
        Row("one more", [one], then: [one, two, three], .success([two.0, three.0])),
        Row("changed", [one, two], then: [one, (two.0, two.1 + " ")], .failure(.changed(two.0))),
        Row(
            "renamed",
            [one],
            then: [("0001_make_item", one.1)],
            .failure(.changed("0001_make_item"))
        ),
        Row("newer", [one, two, three], then: [one], .failure(.newerDatabase(two.0))),
        Row("gap", [], then: [one, three], .failure(.gap(expected: 2, found: three.0))),
        Row("gap at the start", [], then: [two], .failure(.gap(expected: 1, found: two.0))),
        Row(
            "twice",
            [],
            then: [one, ("0001_drop_item", "drop table item")],
            .failure(.gap(expected: 2, found: "0001_drop_item"))
        ),
        Row(
            "ends its transaction",
            [one],
            then: [one, ("0002_end_it", "commit; create table loose (n int)")],
            .failure(.transactionEnded("0002_end_it"))
        ),
        Row(
            "ends its transaction and begins another",
            [one],
            then: [one, ("0002_end_it", "commit; begin; create table loose (n int)")],
            .failure(.transactionEnded("0002_end_it"))
        ),
    ]

    private func migrator(
        _ configuration: Configuration,
        _ files: [(String, String)]
    ) throws -> Migrator {
        Migrator(
            configuration,
            migrations: try files.map { name, sql throws(MigrationError) in
                try Migration(name: name, sql: Array(sql.utf8))
            },
            logger: silent,
            digest: digest
        )
    }

    @Test(arguments: rows)
    func `migrating`(row: Row) async throws {
        let database = try await TestCluster.shared.database()
        try await migrator(database, row.first).migrate()
        let second = try migrator(database, row.second)
        let outcome: Result<[String], MigrationError>
        do throws(MigrationError) {
            outcome = .success(try await second.migrate().pending)
        } catch {
            outcome = .failure(error)
        }
        #expect(outcome == row.outcome)
        // Whatever happened, the entries are the migrations that took effect.
        let connection = try await Connection.connect(database, logger: silent)
        if row.first.isEmpty, case .failure = outcome { return }
        let names = try await connection.query("select name from schema_migration order by number")
            .map { try $0.decode(at: 0, as: String.self) }
        #expect(names == ((try? outcome.get()) == nil ? row.first : row.second).map(\.0))
    }

    @Test func `a migration that fails leaves nothing of itself`() async throws {
        let database = try await TestCluster.shared.database()
        let broken = ("0002_break_it", "create table half (n int); insert into nowhere values (1);")
        await #expect {
            try await migrator(database, [one, broken]).migrate()
        } throws: { error in
            guard case MigrationError.failed(let name, let cause) = error else { return false }
            return name == broken.0 && cause.sqlState == .undefinedTable
                && cause.serverError?.message == #"relation "nowhere" does not exist"#
        }
        let connection = try await Connection.connect(database, logger: silent)
        let row = try await connection.query(
            "select to_regclass('item') is not null, to_regclass('half') is null"
        ).one()
        #expect(try row.decode(Bool.self, Bool.self) == (true, true))
        // Repaired before release, it goes on from there.
        #expect(try await migrator(database, [one, two]).migrate().pending == [two.0])
    }

    @Test func `a plan changes nothing`() async throws {
        let database = try await TestCluster.shared.database()
        let plan = try await migrator(database, [one, two]).plan()
        #expect(plan == Migrator.Plan(applied: [], pending: [one.0, two.0]))
        let connection = try await Connection.connect(database, logger: silent)
        #expect(
            try await connection.query("select to_regclass('schema_migration') is null").one()
                .decode(at: 0, as: Bool.self)
        )
        try await migrator(database, [one]).migrate()
        #expect(try await migrator(database, [one, two]).plan().pending == [two.0])
    }

    @Test func `four starters at once apply each migration once`() async throws {
        let database = try await TestCluster.shared.database()
        // Slow enough that the others come in the middle of it.
        let slow = ("0002_take_time", "select pg_sleep(0.2); insert into item values (2);")
        let migrator = try migrator(database, [one, slow, three])
        let pending = try await withThrowingTaskGroup { group in
            for _ in 0..<4 {
                group.addTask { try await migrator.migrate().pending.count }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(pending.sorted() == [0, 0, 0, 3])
        let connection = try await Connection.connect(database, logger: silent)
        #expect(try await connection.query("select from item").count == 2)
    }

    @Test func `a read-only database is refused, and needs no migrating where nothing is pending`()
        async throws
    {
        let database = try await TestCluster.shared.database()
        try await migrator(database, [one]).migrate()
        let connection = try await Connection.connect(database, logger: silent)
        let name = try await connection.query("select current_database()").one()
            .decode(at: 0, as: String.self)
        func refusal() async throws -> WritabilityCheck.Refusal? {
            try await withClient(database) { try await WritabilityCheck.refusal($0) }
        }
        #expect(try await refusal() == nil)
        try await connection.query(
            "alter database \(Identifier(name)) set default_transaction_read_only = on"
        )
        #expect(try await refusal() == .readOnly)
        #expect(try await migrator(database, [one]).migrate().pending.isEmpty)
        await #expect(throws: MigrationError.notWritable(.readOnly)) {
            try await migrator(database, [one, two]).migrate()
        }
    }

    @Test(arguments: ["version bigint", "name bytea, digest text, number int"])
    func `a table of another program by that name is refused`(columns: String) async throws {
        let database = try await TestCluster.shared.database()
        let connection = try await Connection.connect(database, logger: silent)
        try await connection.query(Query(trusted: "create table schema_migration (\(columns))"))
        try await connection.query(
            columns.hasPrefix("name")
                ? "insert into schema_migration values ('a', 'b', 1)"
                : "insert into schema_migration values (1)"
        )
        await #expect(throws: MigrationError.foreignTable) {
            try await migrator(database, [one]).plan()
        }
        await #expect(throws: MigrationError.foreignTable) {
            try await migrator(database, [one]).migrate()
        }
    }

    @Test func `a starter waits for another only so long`() async throws {
        let database = try await TestCluster.shared.database()
        let connection = try await Connection.connect(database, logger: silent)
        try await connection.query("select pg_advisory_lock(\(Migrator.lockKey))")
        let migrator = Migrator(
            database,
            migrations: [],
            logger: silent,
            lockTimeout: .milliseconds(60),
            digest: digest
        )
        await #expect(throws: MigrationError.lockTimeout) { try await migrator.migrate() }
    }
}

struct MigrationTests {
    @Test(arguments: [
        ("0001_create_namespace", true), ("0042_add_column_to_item2", true),
        ("1_create_item", false), ("0000_create_item", false), ("0001_item", false),
        ("0001-create-item", false), ("0001_Create_item", false), ("0001_create_", false),
        ("٠٠٠١_create_item", false), ("create_item", false), ("", false),
    ])
    func `a migration is named NNNN_verb_noun`(name: String, isGood: Bool) {
        #expect(((try? Migration(name: name, sql: [])) != nil) == isGood)
    }

    @Test(arguments: [[0], [0xff], [0x61, 0, 0x62], [0xc3]] as [[UInt8]])
    func `a migration is UTF-8 text`(sql: [UInt8]) {
        #expect(throws: MigrationError.notText("0001_create_item")) {
            try Migration(name: "0001_create_item", sql: sql)
        }
    }

    @Test func `a folder is read in order, and refuses a misnamed file`() throws {
        var template = Array("/tmp/ostiary-migrations.XXXXXX".utf8CString)
        _ = mkdtemp(&template)
        let folder = String(
            decoding: template.dropLast().map(UInt8.init(bitPattern:)),
            as: UTF8.self
        )
        func write(_ name: String, _ text: String) {
            guard let file = fopen("\(folder)/\(name)", "w") else { return }
            fputs(text, file)
            fclose(file)
        }
        defer {
            for name in ["0002_b_b.sql", "0001_a_a.sql", "README.md", "0003.sql"] {
                unlink("\(folder)/\(name)")
            }
            rmdir(folder)
        }
        write("0002_b_b.sql", "select 2")
        write("0001_a_a.sql", "select 1")
        write("README.md", "rules")
        let migrations = try Migration.load(folder: folder)
        #expect(migrations.map(\.number) == [1, 2])
        #expect(migrations.map(\.sql) == ["select 1", "select 2"])
        write("0003.sql", "select 3")
        #expect(throws: MigrationError.badName("0003")) { try Migration.load(folder: folder) }
        #expect(throws: MigrationError.unreadable("/nowhere")) {
            try Migration.load(folder: "/nowhere")
        }
    }
}

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct DurabilityCheckTests {
    @Test func `a database that may lose commits is refused, with the reason`() async throws {
        // The shared cluster is one.
        try await withClient(try await TestCluster.shared.database()) { client in
            let refusal = try await DurabilityCheck.refusal(client)
            #expect(refusal?.settings == ["fsync", "full_page_writes", "synchronous_commit"])
        }
    }

    @Test func `a durable database is accepted, and refused again for one role's setting`()
        async throws
    {
        let cluster = TestCluster(.on)
        defer { cluster.discard() }
        let database = try cluster.configuration()
        try await withClient(database) { client in
            #expect(try await DurabilityCheck.refusal(client) == nil)
            try await client.query("alter role postgres set synchronous_commit = off")
        }
        try await withClient(database) { client in
            let refusal = try await DurabilityCheck.refusal(client)
            #expect(refusal?.settings == ["synchronous_commit"])
        }
    }
}
