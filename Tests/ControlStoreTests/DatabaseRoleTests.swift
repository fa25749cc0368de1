import ControlStore
import Cryptography
import Logging
import Postgres
import PostgresTestSupport
import Testing

/// Two namespaces with something in every table, and sessions that speak SQL to them as each role.
///
/// Nothing of the stores is used here: what is shown is the database's own word.
private struct House: Sendable {
    static let a = "00000000-0000-7000-8000-00000000000a"
    static let b = "00000000-0000-7000-8000-00000000000b"

    let database: TestDatabase

    init() async throws {
        database = try await freshDatabase()
        let superuser = try await connect("postgres")
        for id in [Self.a, Self.b] {
            try await superuser.execute(script: Self.fill(id))
        }
        try await superuser.execute(
            script: "insert into installation_key values ('snapshot-1', 'snapshot', '', '')"
        )
    }

    func connect(_ user: String) async throws -> Connection {
        try await Connection.connect(database.configuration(user), logger: silent)
    }

    /// Every table that belongs to a namespace, with the one row of `id`.
    private static func fill(_ id: String) -> String {
        let hash = "sha256('\(id)')"
        return """
            insert into namespace (id, name) values ('\(id)', 'n\(id.suffix(1))');
            insert into namespace_key (namespace_id, id, purpose, wrapped) values ('\(id)', 'parts-1', 'parts', '');
            insert into identity_provider (namespace_id, issuer, jwks, algorithms, token_types)
                values ('\(id)', 'https://idp', '{}', '{ES256}', '{JWT}');
            insert into identity_provider_fetch (namespace_id, issuer, source, attempted_at, due_at)
                values ('\(id)', 'https://idp', 'discovery', now(), now());
            insert into subject (namespace_id, id, issuer, name, kind)
                values ('\(id)', 'sub_1', 'https://idp', 'ann', 'user');
            insert into server (namespace_id, name, url) values ('\(id)', 'demo', 'http://demo');
            insert into tool_definition (namespace_id, server, tool, digest, canonical)
                values ('\(id)', 'demo', 'echo', \(hash), '');
            insert into tool (namespace_id, server, name) values ('\(id)', 'demo', 'echo');
            insert into policy_release (namespace_id, number, id, digest, created_by)
                values ('\(id)', 1, 'pol_\(id)', \(hash), 'ann');
            insert into policy_document (namespace_id, release_number, name, source)
                values ('\(id)', 1, 'a.cedar', '');
            insert into policy_activation (namespace_id, release_number, activated_by) values ('\(id)', 1, 'ann');
            insert into policy_review (namespace_id, release_number, release_digest, verdict, comment, reviewer, reviewed_by)
                values ('\(id)', 1, \(hash), 'approved', '', 'bob', 'tok_\(id)');
            insert into kept_configuration (namespace_id, version, key_id, sealed) values ('\(id)', 1, 'parts-1', '');
            insert into policy_shadow (namespace_id, release_number, changed_by) values ('\(id)', 1, 'ann');
            insert into policy_simulation (namespace_id, id, kind, release_number, against_number, range_to, records_max,
                requested_by) values ('\(id)', 'sim_\(id)', 'replay', 1, 1, now(), 1, 'ann');
            insert into policy_simulation_report (namespace_id, simulation_id, widening, report)
                values ('\(id)', 'sim_\(id)', 0, '{}');
            insert into instance (namespace_id, name, kind) values ('\(id)', 'p', 'proxy');
            insert into epoch (namespace_id, instance, epoch, boot_id, software_version, session_id, lease_until)
                values ('\(id)', 'p', 1, decode(repeat('00', 16), 'hex'), '', '\(id)', now());
            insert into enrolment_token (digest, namespace_id, instance, expires_at)
                values (\(hash), '\(id)', 'p', now());
            insert into api_token (digest, id, name, namespace_id, role, created_by, expires_at)
                values (\(hash), 'tok_\(id)', 't', '\(id)', 'auditor', 'ann', now());
            insert into admin_record (namespace_id, actor, actor_name, request_id, operation, target)
                values ('\(id)', 'tok_\(id)', 't', 'req_1', 'createServer', 'demo');
            insert into record (namespace_id, instance, epoch, lane, n, occurred_at, kind, body)
                values ('\(id)', 'p', 1, 'committed', 1, now(), 'intent', '');
            insert into call_outcome (namespace_id, instance, epoch, lane, intent_n, outcome, outcome_instance,
                outcome_epoch, outcome_n) values ('\(id)', 'p', 1, 'committed', 1, 'failed', 'p', 1, 2);
            insert into record_part (namespace_id, instance, epoch, lane, n, name, key_id, sealed)
                values ('\(id)', 'p', 1, 'committed', 1, 'arguments', 'parts-1', '');
            """
    }

    static let tables = [
        "namespace", "namespace_key", "identity_provider", "identity_provider_fetch", "subject",
        "server", "tool_definition",
        "tool", "policy_release", "policy_document", "policy_activation", "policy_review",
        "instance",
        "epoch",
        "enrolment_token", "api_token", "record", "call_outcome", "record_part",
        "admin_record", "kept_configuration", "policy_shadow", "policy_simulation",
        "policy_simulation_report",
    ]

    static func key(_ table: String) -> String { table == "namespace" ? "id" : "namespace_id" }
}

extension Connection {
    /// What a statement does within a scope: the number of rows, or the server's error code.
    ///
    /// Nothing stays.
    fileprivate func attempt(_ statement: String, in scope: String?) async throws -> String {
        try await query("begin")
        if let scope {
            try await query("select set_config('ostiary.namespace', \(scope), true)")
        }
        let outcome: String
        do throws(PostgresError) {
            outcome = "\(try await query(Query(trusted: statement)).affected)"
        } catch {
            outcome = error.sqlState.map { "\($0)" } ?? "\(error)"
        }
        try await query("rollback")
        return outcome
    }
}

/// The server's codes for what these tests are about.
private let refused = "42501"

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct DatabaseRoleTests {
    @Test func `a session of one namespace sees nothing of another`() async throws {
        let house = try await House()
        let app = try await house.connect("ostiary_app")
        for table in House.tables {
            let key = House.key(table)
            let count = "select 1 from \(table) where \(key) = '\(House.b)'"
            #expect(try await app.attempt(count, in: House.a) == "0", "\(table)")
            #expect(try await app.attempt(count, in: House.b) == "1", "\(table)")
            let all = "select 1 from \(table)"
            #expect(try await app.attempt(all, in: House.a) == "1", "\(table)")
            #expect(try await app.attempt(all, in: "\(House.a),\(House.b)") == "2", "\(table)")
            // Who forgets to say where it works, works nowhere.
            #expect(try await app.attempt(all, in: nil) == "0", "\(table)")
            #expect(try await app.attempt(all, in: "") == "0", "\(table)")
            #expect(try await app.attempt(all, in: "nonsense") == "22P02", "\(table)")
        }
    }

    @Test func `the installation sees who there is, and no content of a namespace`() async throws {
        let house = try await House()
        let app = try await house.connect("ostiary_app")
        var seen: [String] = []
        for table in House.tables {
            switch try await app.attempt("select 1 from \(table)", in: "*") {
            case "0": break
            case "2": seen.append(table)
            case let other: Issue.record("\(table): \(other)")
            }
        }
        #expect(
            seen == [
                "namespace", "identity_provider", "identity_provider_fetch", "instance", "epoch",
                "enrolment_token",
                "api_token", "admin_record", "policy_simulation",
            ]
        )
        let keys = "select 1 from installation_key"
        #expect(try await app.attempt(keys, in: "*") == "1")
        #expect(try await app.attempt(keys, in: House.a) == "0")
    }

    @Test(arguments: [
        // Into another namespace.
        "insert into subject (namespace_id, id, issuer, name, kind) values ('B', 's', 'https://idp', 's', 'user')",
        "insert into policy_activation (namespace_id, release_number, activated_by) values ('B', 1, 'x')",
        "insert into namespace_key (namespace_id, id, purpose, wrapped) values ('B', 'parts-2', 'parts', '')",
        """
        insert into record (namespace_id, instance, epoch, lane, n, occurred_at, kind, body)
        values ('B', 'p', 1, 'committed', 7, now(), 'intent', '') on conflict do nothing
        """,
        """
        insert into call_outcome (namespace_id, instance, epoch, lane, intent_n, outcome, outcome_instance,
            outcome_epoch, outcome_n)
        values ('B', 'p', 1, 'committed', 7, 'failed', 'p', 1, 8) on conflict do nothing
        """,
        """
        insert into record_part (namespace_id, instance, epoch, lane, n, name, key_id, sealed)
        values ('B', 'p', 1, 'committed', 7, 'arguments', 'parts-1', '')
        """,
        """
        insert into admin_record (namespace_id, actor, actor_name, request_id, operation, target)
        values ('B', 'a', 'a', 'r', 'o', 't')
        """,
        // Out of its own.
        "update subject set namespace_id = 'B' where namespace_id = 'A'",
        "update epoch set namespace_id = 'B' where namespace_id = 'A'",
        // What is on record.
        "update record set annotation = true", "delete from record", "truncate record",
        "truncate record_default", "select 1 from record_default",
        "insert into record_default select * from record",
        "update call_outcome set outcome = 'succeeded'", "delete from call_outcome",
        "update record_part set sealed = ''", "delete from record_part",
        "update policy_document set source = ''", "delete from policy_release",
        "update policy_activation set release_number = 1", "delete from policy_activation",
        """
        insert into policy_review (namespace_id, release_number, release_digest, verdict, comment, reviewer, reviewed_by)
        values ('B', 1, '', 'approved', '', 'x', 'x')
        """,
        "update policy_review set verdict = 'approved'", "delete from policy_review",
        "truncate policy_review", "update policy_release set manifest = null",
        "update admin_record set actor = ''", "delete from admin_record", "truncate admin_record",
        "update tool_definition set canonical = ''", "update namespace_key set wrapped = ''",
        "update installation_key set wrapped = ''", "delete from installation_key",
        "delete from namespace", "delete from instance", "delete from epoch",
        // The rules themselves.
        "alter table record disable trigger all", "alter table record disable row level security",
        "alter table record no force row level security", "drop policy within_scope on record",
        "drop table record", "create table other (n int)", "set role ostiary_owner",
        "create role intruder",
        "update schema_migration set digest = ''",
        "create or replace function refuse_change() returns trigger language plpgsql as 'begin return old; end'",
    ])
    func `the application is refused by the database`(statement: String) async throws {
        let house = try await House()
        let app = try await house.connect("ostiary_app")
        let sql = statement.replacing("'A'", with: "'\(House.a)'")
            .replacing("'B'", with: "'\(House.b)'")
        #expect(try await app.attempt(sql, in: House.a) == refused)
    }

    @Test(arguments: ["server", "identity_provider", "instance", "epoch", "namespace", "tool"])
    func `changes and removals pass by what is another's`(table: String) async throws {
        let house = try await House()
        let app = try await house.connect("ostiary_app")
        let key = House.key(table)
        let change = "update \(table) set \(key) = \(key) where \(key) = '\(House.b)'"
        #expect(try await app.attempt(change, in: House.a) == "0")
        #expect(try await app.attempt(change, in: House.b) == "1")
    }

    @Test func `the auditor reads every namespace, or the one it names, and no secret`()
        async throws
    {
        let house = try await House()
        let auditor = try await house.connect("ostiary_auditor")
        for table in House.tables {
            let rows = "select \(House.key(table)) from \(table)"
            #expect(try await auditor.attempt(rows, in: nil) == "2", "\(table)")
            #expect(try await auditor.attempt(rows, in: House.a) == "1", "\(table)")
        }
        for column in [
            "wrapped from namespace_key", "wrapped from installation_key",
            "digest from enrolment_token", "digest from api_token",
            "credential_sealed from server", "sealed from record_part",
        ] {
            #expect(try await auditor.attempt("select \(column)", in: nil) == refused, "\(column)")
        }
    }

    @Test func `the auditor changes nothing, in any table`() async throws {
        let house = try await House()
        let auditor = try await house.connect("ostiary_auditor")
        for table in House.tables + ["installation_key", "schema_migration"] {
            for statement in [
                "insert into \(table) default values", "delete from \(table)", "truncate \(table)",
            ] {
                #expect(
                    try await auditor.attempt(statement, in: House.a) == refused,
                    "\(statement)"
                )
            }
        }
        for statement in [
            "update record set annotation = true", "update namespace set trust_on_first_use = true",
            "select ensure_record_month(now())", "create table other (n int)",
        ] {
            #expect(try await auditor.attempt(statement, in: House.a) == refused, "\(statement)")
        }
    }

    /// Whoever adds a table decides who may see it; forgetting is not possible.
    @Test func `every table belongs to the owner and has forced row-level security`() async throws {
        let house = try await House()
        let superuser = try await house.connect("postgres")
        try await superuser.query("select ensure_record_month('2031-05-05')")
        let loose = try await superuser.query(
            """
            select relname from pg_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
                and (pg_get_userbyid(relowner) <> 'ostiary_owner'
                    or not (relrowsecurity and relforcerowsecurity))
                and relname <> 'schema_migration'
            """
        )
        #expect(
            try loose.map { row throws(PostgresError) in try row.decode(at: 0, as: String.self) }
                == []
        )
        let owner = try await superuser.query(
            """
            select 1 from pg_class where relname in ('schema_migration', 'record_203105')
                and pg_get_userbyid(relowner) = 'ostiary_owner'
            """
        )
        #expect(owner.count == 2)
    }

    @Test func `even the owner is held to the scope`() async throws {
        let house = try await House()
        let superuser = try await house.connect("postgres")
        try await superuser.query("set role ostiary_owner")
        #expect(try await superuser.attempt("select 1 from record", in: nil) == "0")
        #expect(try await superuser.attempt("select 1 from record", in: House.a) == "1")
    }

    @Test func `a scope ends with its transaction`() async throws {
        let house = try await House()
        let app = try await house.connect("ostiary_app")
        #expect(try await app.attempt("select 1 from record", in: House.a) == "1")
        #expect(try await app.attempt("select 1 from record", in: nil) == "0")
    }
}

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct PrivilegeTests {
    static let rows: [(String, [String])] = [
        ("ostiary_app", []), ("ostiary_auditor", []),
        ("postgres", ["is a superuser"]),
        ("ostiary_migrator", ["owns tables"]),
        (
            "trusted_by_a_superuser",
            ["may become a superuser", "may bypass row-level security", "may change roles"]
        ),
        ("unheld", ["may bypass row-level security"]),
        ("maker_of_roles", ["may change roles"]),
    ]

    @Test(arguments: rows)
    func `a user whom the rules do not bind is known`(user: String, told: [String]) async throws {
        let house = try await House()
        let superuser = try await house.connect("postgres")
        let made = [
            "trusted_by_a_superuser": "create role trusted_by_a_superuser login in role postgres",
            "unheld": "create role unheld login bypassrls in role ostiary_app",
            "maker_of_roles": "create role maker_of_roles login createrole in role ostiary_app",
        ]
        if let statement = made[user] { try await superuser.query(Query(trusted: statement)) }
        let client = PostgresClient(
            try house.database.configuration(user),
            limits: .patient,
            logger: silent
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await client.run() }
            let refusal = try await PrivilegeCheck.refusal(client)
            #expect(refusal?.privileges ?? [] == told)
            group.cancelAll()
        }
        if made[user] != nil {
            try await superuser.query("drop role \(Postgres.Identifier(user))")
        }
    }

    @Test func `the migrator migrates, with roles that an administrator made`() async throws {
        // A cluster of its own: roles belong to the cluster.
        let cluster = TestCluster(.off)
        defer { cluster.discard() }
        let superuser = try await Connection.connect(try cluster.configuration(), logger: silent)
        try await superuser.query("create role nobody_special login")
        let stranger = try migrator(try cluster.configuration(user: "nobody_special"))
        let error = await #expect(throws: MigrationError.self) { try await stranger.migrate() }
        guard case .rolesMissing(let cause?) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(cause.sqlState == "42501")
        #expect("\(try #require(error))".contains("migrations/roles/prepare.sql"))
        let none = try await superuser.query("select 1 from pg_roles where rolname like 'ostiary%'")
        #expect(none.isEmpty)

        let script = try Migration.read(migrationsFolder + "/roles/prepare.sql")
        for _ in 0..<2 {
            try await superuser.execute(script: String(decoding: script, as: UTF8.self))
        }
        let pending = try await migrator(try cluster.configuration(user: "ostiary_migrator"))
            .migrate().pending
        #expect(pending.count >= 8)
    }

    @Test func `a role that may make roles and owns its database needs no superuser`() async throws
    {
        let cluster = TestCluster(.off)
        defer { cluster.discard() }
        let superuser = try await Connection.connect(try cluster.configuration(), logger: silent)
        try await superuser.query("create role landlord login createrole")
        try await superuser.query("create database house owner landlord")
        let configuration = try cluster.configuration("house", user: "landlord")
        try await migrator(configuration).migrate()
        #expect(try await migrator(configuration).migrate().pending.isEmpty)
    }

    @Test func `several databases of a cluster migrate at once, several processes in each`()
        async throws
    {
        let cluster = TestCluster(.off)
        defer { cluster.discard() }
        let superuser = try await Connection.connect(try cluster.configuration(), logger: silent)
        for n in 0..<4 {
            try await superuser.query("create database \(Postgres.Identifier("d\(n)"))")
        }
        let applied = try await withThrowingTaskGroup(of: Int.self) { group in
            for n in 0..<16 {
                let migrator = try migrator(try cluster.configuration("d\(n % 4)"))
                group.addTask { try await migrator.migrate().pending.count }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        // In each database one did everything.
        #expect(applied.filter { $0 > 0 }.count == 4)
    }

    @Test func `a database from before there were roles is taken over`() async throws {
        let cluster = TestCluster(.off)
        defer { cluster.discard() }
        let migrations = try Migration.load(folder: migrationsFolder)
        let old = Migrator(
            try cluster.configuration(),
            migrations: Array(migrations.prefix(7)),
            logger: silent
        ) { SHA256.digest(of: $0).bytes }
        try await old.migrate()
        let superuser = try await Connection.connect(try cluster.configuration(), logger: silent)
        try await superuser.query("select ensure_record_month(now())")
        #expect(try await migrator(try cluster.configuration()).migrate().applied.count == 7)
        let left = try await superuser.query(
            """
            select 1 from pg_class where relnamespace = 'public'::regnamespace
                and relkind in ('r', 'p') and pg_get_userbyid(relowner) <> 'ostiary_owner'
            """
        )
        #expect(left.isEmpty)
    }
}
