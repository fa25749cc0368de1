import AuditLog
import ControlStore
import Cryptography
import GatewayModel
import JSON
import Logging
import Postgres
import PostgresTestSupport
import Testing

let silent = Logger(label: "tests", factory: { _ in SwiftLogNoOpLogHandler() })

/// Where the migrations are, seen from this file.
let migrationsFolder: String = {
    let here = #filePath
    return here[..<(here.lastIndex(of: "/") ?? here.endIndex)] + "/../../migrations"
}()

/// One namespace in a fresh database, one writer in it, and time as a number.
struct World: Sendable {
    /// Connected as control is at work, `ostiary_app`.
    let client: PostgresClient
    /// Connected as nobody is at work, a superuser: to look, and to do harm.
    let superuser: PostgresClient
    let namespace: Namespace
    let keys: KeyStore
    let sealer: PartSealer
    let writer: Writer
    let records: RecordStore
    let epochs: EpochStore
    let now = GatewayModel.Timestamp(seconds: 1_790_000_000)

    /// Runs `body` in a fresh database; with a clock that stands still, `now()` is what ``pass(_:)`` makes it.
    static func run(
        clock: DatabaseClock = .real,
        _ body: (World) async throws -> Void
    ) async throws {
        let database = try await freshDatabase()
        if clock == .manual { try await database.stopClock() }
        let client = PostgresClient(try database.app, limits: .patient, logger: silent)
        let superuser = PostgresClient(try database.superuser, limits: .patient, logger: silent)
        try await withThrowingTaskGroup { group in
            group.addTask { await client.run() }
            group.addTask { await superuser.run() }
            defer { group.cancelAll() }
            try await body(try await World(client, superuser))
        }
    }

    private init(_ client: PostgresClient, _ superuser: PostgresClient) async throws {
        self.client = client
        self.superuser = superuser
        namespace = try await NamespaceStore(client).ensure("sre")
        keys = try KeyStore(client, keyEncryptionKey: try #require(SymmetricKey(testKey)))
        sealer = try PartSealer(try await keys.keys(of: namespace.id).parts)
        writer = Writer(namespaceID: namespace.id, namespace: "sre", instance: "proxy-a")
        records = RecordStore(client)
        epochs = EpochStore(client)
        try await InstanceStore(client).ensure("proxy-a", of: namespace.id)
    }

    /// An epoch, opened.
    struct Life: Sendable {
        let session: Postgres.UUID
        let opened: EpochStore.Opened
        var epoch: UInt64 { opened.epoch }
    }

    func open(boot: UInt8 = 1, resume: UInt64 = 0, lease: UInt32 = 30_000) async throws -> Life {
        let session = Postgres.UUID.random()
        let hello = EpochStore.Hello(
            bootID: Array(repeating: boot, count: 16),
            resumeEpoch: resume,
            softwareVersion: "test"
        )
        let opening = try await epochs.open(
            writer,
            hello,
            session: session,
            leaseMilliseconds: lease,
            now: now
        )
        guard case .opened(let opened) = opening else {
            throw Unexpected(description: "\(opening)")
        }
        return Life(session: session, opened: opened)
    }

    /// A batch; everything in it may have come before unless `fresh`.
    func batch(
        _ records: [IncomingRecord],
        _ life: Life,
        epoch: UInt64? = nil,
        fresh: Bool = true
    ) throws -> RecordBatch {
        try RecordBatch(
            records,
            from: writer,
            epoch: epoch ?? life.epoch,
            session: life.session,
            above: fresh ? 0 : .max,
            sealer: sealer
        )
    }

    @discardableResult
    func commit(
        _ records: [IncomingRecord],
        _ life: Life,
        epoch: UInt64? = nil,
        fresh: Bool = true
    ) async throws -> RecordStore.Outcome {
        let batch = try batch(records, life, epoch: epoch, fresh: fresh)
        return try #require(try await self.records.commit([batch]).first)
    }

    func intent(_ n: UInt64, _ epoch: UInt64 = 1, time: Int64 = 0) -> IncomingRecord {
        var facts = CallFacts(
            time: .init(microseconds: now.microseconds + time),
            request: "req",
            method: "tools/call",
            source: "192.0.2.1"
        )
        facts.server = "demo"
        facts.tool = "restart"
        facts.subject = "sub_1"
        let part = RecordPart(
            name: .arguments,
            salt: Array(repeating: UInt8(n), count: 32),
            content: Array(#"{"pod":"a"}"#.utf8)
        )
        let decision = Decision(answer: .permit, ground: .policy, determining: ["p"], release: 1)
        let draft = AuditRecord.intent(facts, decision, parts: [part]).draft()
        return IncomingRecord(
            lane: .committed,
            n: n,
            body: draft.sequenced(at: position(n, epoch)),
            parts: [IncomingPart(name: "arguments", salt: part.salt, content: part.content)]
        )
    }

    /// A call that policy stopped, with its arguments, unless they are left out of one of the two places.
    func refusal(
        _ n: UInt64,
        decided: Bool = true,
        claims: Bool = true,
        sends: Bool = true
    ) -> IncomingRecord {
        var facts = CallFacts(
            time: now,
            request: "req",
            method: "tools/call",
            source: "192.0.2.1"
        )
        facts.server = "demo"
        facts.tool = "restart"
        let decision = Decision(answer: .deny, ground: .noGrant, determining: [], release: 1)
        let part = RecordPart(
            name: .arguments,
            salt: Array(repeating: UInt8(n), count: 32),
            content: Array(#"{"pod":"a"}"#.utf8)
        )
        let rejection = Rejection(.denied, "no", decision: decided ? decision : nil)
        let draft = AuditRecord.refusal(facts, rejection, parts: claims ? [part] : []).draft()
        let sent = IncomingPart(name: "arguments", salt: part.salt, content: part.content)
        return IncomingRecord(
            lane: .committed,
            n: n,
            body: draft.sequenced(at: position(n)),
            parts: sends ? [sent] : []
        )
    }

    func outcome(
        of intent: UInt64,
        _ n: UInt64,
        _ epoch: UInt64 = 1,
        end: CallOutcome.End = .succeeded,
        owner: AuditRecord.Intent.Owner? = nil
    ) -> IncomingRecord {
        let record = AuditRecord.outcome(
            of: .init(n: intent, owner: owner),
            CallOutcome(time: now, end: end)
        )
        return IncomingRecord(
            lane: .committed,
            n: n,
            body: record.draft().sequenced(at: position(n, epoch))
        )
    }

    func position(
        _ n: UInt64,
        _ epoch: UInt64 = 1,
        instance: InstanceID = "proxy-a",
        namespace: NamespaceName = "sre"
    ) -> RecordPosition {
        RecordPosition(
            namespace: namespace,
            instance: instance,
            epoch: epoch,
            lane: .committed,
            n: n
        )
    }

    /// What is stored, in a form that reads well in a failure: `proxy-a/1/3 outcome`, `…
    /// annotation`.
    func log() async throws -> [String] {
        try await records.page(of: namespace, limit: 100_000).map {
            let at = $0.position
            let note = $0.isAnnotation ? " annotation" : ""
            return "\(at.instance)/\(at.epoch)/\(at.n) \($0.kind.rawValue)\(note)"
        }
    }

    func end(of n: UInt64, _ epoch: UInt64 = 1) async throws -> String? {
        guard let (end, by) = try await records.outcome(of: position(n, epoch), in: namespace.id)
        else { return nil }
        return "\(end.rawValue) by \(by.instance)/\(by.epoch)/\(by.n)"
    }

    /// Turns the manual clock.
    func pass(_ seconds: Int64) async throws {
        try await superuser.query(
            "update manual_clock.reading set now = now + \(seconds) * interval '1 second'"
        )
    }

    func count(_ query: Query) async throws -> Int64 {
        try await superuser.query(query).one().decode(at: 0)
    }
}

let testKey: [UInt8] = Array(repeating: 7, count: 32)

struct Unexpected: Error, CustomStringConvertible {
    let description: String
}

/// Whose `now()` the statements of a test get.
enum DatabaseClock {
    case real
    case manual
}

/// A migrated database, and who connects to it.
struct TestDatabase: Sendable {
    let name: String

    var superuser: Configuration { get throws { try TestCluster.shared.configuration(name) } }
    var app: Configuration { get throws { try configuration("ostiary_app") } }

    /// Puts a `now()` of ours before PostgreSQL's, for everybody who connects from here on: the statements of the stores
    /// find it by their search path, as they find tables.
    func stopClock() async throws {
        let connection = try await Connection.connect(superuser, logger: silent)
        for statement: Query in [
            "create schema manual_clock",
            "create table manual_clock.reading (now timestamptz not null)",
            "insert into manual_clock.reading values ('2026-09-21T14:13:20Z')",
            """
            create function manual_clock.now() returns timestamptz language sql stable
            begin atomic select reading.now from manual_clock.reading; end
            """,
            "grant usage on schema manual_clock to public",
            "grant select on manual_clock.reading to public",
            """
            alter database \(Postgres.Identifier(name))
            set search_path = manual_clock, pg_catalog, public
            """,
        ] {
            try await connection.query(statement)
        }
    }

    func configuration(_ user: String) throws -> Configuration {
        try TestCluster.shared.configuration(name, user: user)
    }
}

func freshDatabase() async throws -> TestDatabase {
    TestDatabase(
        name: try await TestCluster.shared.databaseName(template: "control") {
            try await migrator($0).migrate()
        }
    )
}

func migrator(_ configuration: Configuration) throws -> Migrator {
    Migrator(
        configuration,
        migrations: try Migration.load(folder: migrationsFolder),
        ownership: try DatabaseRoles.ownership(
            script: try Migration.read(migrationsFolder + "/roles/prepare.sql")
        ),
        logger: silent
    ) { SHA256.digest(of: $0).bytes }
}
