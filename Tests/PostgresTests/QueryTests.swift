import PostgresTestSupport
import Testing

@testable import Postgres

@Suite(.enabled(if: TestCluster.isAvailable))
struct QueryTests {
    @Test(arguments: [
        "'; drop table secret; --",
        "1); delete from secret; --",
        "$1", "$$", "\\'; drop table secret", "\u{2019}; drop table secret",
        "x' or '1'='1",
    ])
    func `a value cannot become SQL`(attempt: String) async throws {
        let connection = try await freshConnection()
        try await connection.query("create table secret (name text)")
        try await connection.query("insert into secret values (\(attempt)), ('kept')")
        let found = try await connection.query("select name from secret where name = \(attempt)")
        #expect(try found.one().decode(at: 0, as: String.self) == attempt)
        #expect(try await connection.query("select from secret").count == 2)
    }

    @Test(arguments: [#"plain"#, #"we"ird"#, #"x"; drop table secret; --"#, "Ünï", "select", "a.b"])
    func `an identifier is one name, whatever is in it`(name: String) async throws {
        let connection = try await freshConnection()
        try await connection.query("create table secret (n int)")
        try await connection.query("create table \(Identifier(name)) (\(Identifier(name)) int)")
        let names = try await connection.query(
            "select relname::text from pg_class where relkind = 'r' and relname in (\(name), 'secret')"
        )
        #expect(Set(try names.map { try $0.decode(at: 0, as: String.self) }) == [name, "secret"])
    }

    @Test func `an interpolation is a numbered parameter and never text`() {
        let query: Query = "select \(1 as Int64), \("x"), \(Identifier("a\"b")) from t"
        #expect(query.sql == #"select $1, $2, "a""b" from t"#)
        let shared: Query = "select \(shared: "a, b") from t where a = \(1 as Int64)"
        #expect(shared.sql == "select a, b from t where a = $1")
    }

    @Test func `what cannot be sent is refused before anything is`() async throws {
        let connection = try await freshConnection()
        let nul = "a\0b"
        let long = String(repeating: "x", count: 64)
        var strings = ArrayParameter(of: String.self)
        strings.append(nul)
        let rows: [(Query, PostgresError)] = [
            ("select 1, \(1 as Int64), \(nul)", .parameter(position: 2, .containsNUL)),
            ("select \(text: nul)", .parameter(position: 1, .containsNUL)),
            ("select \([nul])", .parameter(position: 1, .containsNUL)),
            ("select \(strings)", .parameter(position: 1, .containsNUL)),
            (
                "select \(Timestamp(microseconds: .min + 1))",
                .parameter(position: 1, .outOfRange)
            ),
            ("select \(Identifier(nul))", .invalidStatement(.containsNUL)),
            ("select \(Identifier(""))", .invalidStatement(.identifierLength)),
            ("select \(Identifier(long))", .invalidStatement(.identifierLength)),
            (Query(trusted: "select 1\0; drop table x"), .invalidStatement(.containsNUL)),
        ]
        for (query, expected) in rows {
            #expect(await failure { try await connection.query(query) } == expected)
        }
        #expect(
            await failure { try await connection.execute(script: "select 1\0") }
                == .invalidStatement(.containsNUL)
        )
        #expect(try await connection.query("select 1").count == 1)
    }

    @Test func `errors keep codes and names and never a value`() async throws {
        let connection = try await freshConnection()
        try await connection.execute(
            script: """
                create table person (
                    id bigint constraint person_pk primary key,
                    name text not null,
                    age integer constraint person_is_adult check (age >= 18)
                );
                insert into person values (1, 'first', 20);
                """
        )
        let canary = "canary-7f3a"
        let rows: [(Query, SQLState, String?, String?)] = [
            (
                "insert into person values (\(1 as Int64), \(canary), 20)", .uniqueViolation,
                "person_pk", "person"
            ),
            (
                "insert into person values (2, \(canary), \(17 as Int32))", .checkViolation,
                "person_is_adult", "person"
            ),
            (
                "insert into person values (2, \(String?.none), 20)", .notNullViolation, nil,
                "person"
            ),
            ("select (\(canary))::integer", "22P02", nil, nil),
            ("select (\(canary))::regclass", .undefinedTable, nil, nil),
            ("select \(canary) from missing_table", .undefinedTable, nil, nil),
            ("selct \(canary)", .syntaxError, nil, nil),
        ]
        for (query, state, constraint, table) in rows {
            let error = try #require(await failure { try await connection.query(query) })
            #expect(error.sqlState == state)
            #expect(error.serverError?.constraint == constraint)
            #expect(error.serverError?.table == table)
            #expect(!"\(error)".contains("canary"))
            #expect(!String(reflecting: error).contains("canary"))
        }
        // A mistake in the text itself is told in full: no value was known when it was found.
        let mistake = await failure {
            try await connection.query("select \(canary) from missing_table")
        }
        #expect(mistake?.serverError?.message == #"relation "missing_table" does not exist"#)
        #expect(mistake?.serverError?.position == 16)
    }

    @Test func `a connection string is never shown`() async throws {
        let configuration = try Configuration("host=/nowhere password=hunter2 user=me")
        var dumped = ""
        dump(configuration, to: &dumped)
        #expect(
            !"\(configuration)\(dumped)\(String(reflecting: configuration))".contains("hunter2")
        )
        let refused = await failure { try await Connection.connect(configuration, logger: silent) }
        #expect(!"\(String(reflecting: refused))".contains("hunter2"))
        let broken = await failure { try Configuration("host=x pasword=hunter2") }
        #expect(!"\(String(reflecting: broken))".contains("hunter2"))
        guard case .connectFailed(let reason) = broken else {
            Issue.record("accepted")
            return
        }
        #expect(reason.reason == .badConfiguration)
    }

    @Test func `a statement is prepared once, and again when its table changed`() async throws {
        let connection = try await freshConnection()
        try await connection.query("create table t (a int)")
        for _ in 0..<3 { try await connection.query("select * from t") }
        let prepared: Query =
            "select count(*) from pg_prepared_statements where statement like 'select * from t%'"
        #expect(try await connection.query(prepared).one().decode(at: 0, as: Int64.self) == 1)
        try await connection.query("alter table t add b int")
        let first = await failure { try await connection.query("select * from t") }
        #expect(first?.sqlState == "0A000")
        #expect(try await connection.query("select * from t").isEmpty)
    }

    @Test func `the same text with other types is another statement`() async throws {
        let connection = try await freshConnection()
        func type(_ query: Query) async throws -> String {
            try await connection.query(query).one().decode(at: 0)
        }
        #expect(try await type("select pg_typeof(\(1 as Int64))::text") == "bigint")
        #expect(try await type("select pg_typeof(\("1"))::text") == "text")
    }

    @Test func `the statement cache starts over when it is full`() async throws {
        var configuration = try await TestCluster.shared.database()
        configuration.preparedStatementsMax = 4
        let connection = try await Connection.connect(configuration, logger: silent)
        for number in 0..<20 {
            let row = try await connection.query(Query(trusted: "select \(number)::int8")).one()
            #expect(try row.decode(at: 0, as: Int64.self) == Int64(number))
        }
        let count = try await connection.query("select count(*) from pg_prepared_statements").one()
        #expect(try count.decode(at: 0, as: Int64.self) <= 4)
    }

    @Test func `notices reach the log without their text`() async throws {
        let (logger, lines) = recordingLogger()
        let connection = try await Connection.connect(
            try await TestCluster.shared.database(),
            logger: logger
        )
        try await connection.execute(script: "do $$ begin raise warning 'canary-7f3a'; end $$")
        let text = lines().joined(separator: "\n")
        #expect(text.contains("WARNING"))
        #expect(text.contains("01000"))
        #expect(!text.contains("canary"))
    }
}
