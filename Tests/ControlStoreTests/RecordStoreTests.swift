import AuditLog
import Cryptography
import GatewayModel
import JSON
import Postgres
import PostgresTestSupport
import Testing

@testable import ControlStore

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct RecordStoreTests {
    @Test func `an intent and its outcome are stored, and the intent is closed by it`() async throws
    {
        try await World.run { world in
            let life = try await world.open()
            let outcome = try await world.commit([world.intent(1), world.outcome(of: 1, 2)], life)
            #expect(outcome == .committed(refused: []))
            #expect(try await world.log() == ["proxy-a/1/1 intent", "proxy-a/1/2 outcome"])
            #expect(try await world.end(of: 1) == "succeeded by proxy-a/1/2")
        }
    }

    @Test func `a call that policy stopped keeps its arguments, encrypted`() async throws {
        try await World.run { world in
            let life = try await world.open()
            // The third is as proxies wrote it before refusals had parts.
            let old = world.refusal(3, claims: false, sends: false)
            let outcome = try await world.commit([world.intent(1), world.refusal(2), old], life)
            #expect(outcome == .committed(refused: []))
            let parts = try await world.records.parts(
                of: world.position(2),
                in: world.namespace.id,
                keys: world.keys
            )
            #expect(parts.map(\.content) == [Array(#"{"pod":"a"}"#.utf8)])
            let shown = try await world.count(
                "select count(*) from record_part where position('pod'::bytea in sealed) > 0"
            )
            #expect(shown == 0)
        }
    }

    @Test func `a batch that comes again changes nothing`() async throws {
        try await World.run { world in
            let life = try await world.open()
            let batch = [world.intent(1), world.outcome(of: 1, 2), world.intent(3)]
            try await world.commit(batch, life)
            let again = try await world.commit(batch + [world.intent(4)], life, fresh: false)
            #expect(again == .committed(refused: []))
            #expect(
                try await world.log() == [
                    "proxy-a/1/1 intent", "proxy-a/1/2 outcome", "proxy-a/1/3 intent",
                    "proxy-a/1/4 intent",
                ]
            )
            // Even when nobody thought it might: the key swallows the twin.
            #expect(try await world.commit(batch, life) == .committed(refused: []))
            #expect(try await world.log().count == 4)
            #expect(try await world.count("select count(*) from record_part") == 3)
            #expect(try await world.count("select count(*) from call_outcome") == 1)
        }
    }

    @Test(arguments: [Int64(0), 1])
    func `a number that comes again with other bytes is refused`(shift: Int64) async throws {
        try await World.run { world in
            let life = try await world.open()
            try await world.commit([world.intent(1), world.intent(2)], life)
            // The time is in the key of the partitions: with another one the key alone would take
            // it.
            let false2 =
                shift == 0 ? world.outcome(of: 1, 2) : world.intent(2, time: shift)
            let outcome = try await world.commit(
                [world.intent(1), false2, world.intent(3)],
                life,
                fresh: false
            )
            #expect(outcome == .committed(refused: [.init(n: 2, code: .numberReused)]))
            #expect(
                try await world.log() == [
                    "proxy-a/1/1 intent", "proxy-a/1/2 intent", "proxy-a/1/3 intent",
                ]
            )
            #expect(try await world.end(of: 1) == nil)
        }
    }

    @Test func `a second outcome is an annotation and changes nothing`() async throws {
        try await World.run { world in
            let life = try await world.open()
            try await world.commit([world.intent(1), world.outcome(of: 1, 2)], life)
            try await world.commit([world.outcome(of: 1, 3, end: .failed)], life)
            #expect(try await world.log().last == "proxy-a/1/3 outcome annotation")
            #expect(try await world.end(of: 1) == "succeeded by proxy-a/1/2")
        }
    }

    @Test func `of two outcomes in one batch the first counts`() async throws {
        try await World.run { world in
            let life = try await world.open()
            try await world.commit(
                [world.intent(1), world.outcome(of: 1, 2), world.outcome(of: 1, 3, end: .failed)],
                life
            )
            #expect(
                try await world.log() == [
                    "proxy-a/1/1 intent", "proxy-a/1/2 outcome", "proxy-a/1/3 outcome annotation",
                ]
            )
            #expect(try await world.end(of: 1) == "succeeded by proxy-a/1/2")
        }
    }

    @Test func `what comes for a closed epoch is kept without effect`() async throws {
        try await World.run { world in
            let first = try await world.open(boot: 1)
            try await world.commit([world.intent(1)], first)
            let second = try await world.open(boot: 2)
            #expect(second.epoch == 2)
            #expect(try await world.end(of: 1) == "unknown by control/1/1")
            // Both epochs in one transaction, as one process would owe them.
            let late = try world.batch(
                [world.outcome(of: 1, 2), world.intent(3)],
                second,
                epoch: 1,
                fresh: false
            )
            let own = try world.batch([world.intent(1, 2)], second)
            let outcomes = try await world.records.commit([late, own])
            #expect(outcomes == [.committed(refused: []), .committed(refused: [])])
            #expect(
                try await world.log() == [
                    "proxy-a/1/1 intent", "control/1/1 outcome", "proxy-a/1/2 outcome annotation",
                    "proxy-a/1/3 intent annotation", "proxy-a/2/1 intent",
                ]
            )
            #expect(try await world.end(of: 1) == "unknown by control/1/1")
            #expect(try await world.end(of: 3) == nil)
        }
    }

    @Test func `an outcome that names an intent of an earlier life is an annotation`() async throws
    {
        try await World.run { world in
            let first = try await world.open(boot: 1)
            try await world.commit([world.intent(1)], first)
            let second = try await world.open(boot: 2)
            let owner = AuditRecord.Intent.Owner(instance: "proxy-a", epoch: 1, lane: .committed)
            try await world.commit([world.outcome(of: 1, 1, 2, owner: owner)], second)
            #expect(try await world.log().last == "proxy-a/2/1 outcome annotation")
            #expect(try await world.end(of: 1) == "unknown by control/1/1")
        }
    }

    struct BadRecord: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let code: RecordRefusal.Code
        let make: @Sendable (World) -> IncomingRecord

        init(
            _ name: String,
            _ code: RecordRefusal.Code,
            _ make: @escaping @Sendable (World) -> IncomingRecord
        ) {
            (testDescription, self.code, self.make) = (name, code, make)
        }

        static func at(_ position: RecordPosition, _ world: World) -> IncomingRecord {
            let facts = CallFacts(time: world.now, request: "r", method: "ping", source: "s")
            return IncomingRecord(
                lane: .committed,
                n: 2,
                body: AuditRecord.access(facts, nil).draft().sequenced(at: position)
            )
        }
    }

    static let badRecords = [
        BadRecord("another namespace", .positionMismatch) {
            BadRecord.at($0.position(2, namespace: "other"), $0)
        },
        BadRecord("another instance", .positionMismatch) {
            BadRecord.at($0.position(2, instance: "proxy-b"), $0)
        },
        BadRecord("another epoch", .positionMismatch) { BadRecord.at($0.position(2, 7), $0) },
        BadRecord("another number", .positionMismatch) { BadRecord.at($0.position(5), $0) },
        BadRecord("a refusal without the arguments it commits to", .partMismatch) {
            $0.refusal(2, sends: false)
        },
        BadRecord("a refusal with arguments it does not commit to", .partMismatch) {
            $0.refusal(2, claims: false)
        },
        BadRecord("arguments of what nobody decided", .partMismatch) {
            $0.refusal(2, decided: false)
        },
        BadRecord("not JSON", .notJSON) { _ in
            IncomingRecord(lane: .committed, n: 2, body: Array("{".utf8))
        },
        BadRecord("too long", .tooLong) { _ in
            IncomingRecord(lane: .committed, n: 2, body: Array(repeating: 0x20, count: 20_000))
        },
        BadRecord("a NUL in a column", .malformed) { world in
            var record = BadRecord.at(world.position(2), world)
            let text = String(decoding: record.body, as: UTF8.self)
            record.body = Array(
                text.replacing(#""source":"s""#, with: #""source":"s","subject":"\u0000""#).utf8
            )
            return record
        },
        BadRecord("an outcome of itself", .intentNotAllowed) { $0.outcome(of: 2, 2) },
        BadRecord("an outcome for somebody else", .intentNotAllowed) {
            $0.outcome(
                of: 1,
                2,
                owner: .init(instance: "proxy-b", epoch: 1, lane: .committed)
            )
        },
        BadRecord("a gap, which only control finds", .kindNotAllowed) { world in
            let gap = AuditRecord.Gap(
                time: world.now,
                instance: "proxy-a",
                epoch: 1,
                lane: .committed,
                first: 1,
                last: 1
            )
            return IncomingRecord(
                lane: .committed,
                n: 2,
                body: AuditRecord.gap(gap).draft().sequenced(at: world.position(2))
            )
        },
        BadRecord("a part that was changed", .partMismatch) {
            var record = $0.intent(2)
            record.parts[0].content[0] ^= 1
            return record
        },
        BadRecord("a part that is missing", .partMismatch) {
            var record = $0.intent(2)
            record.parts = []
            return record
        },
        BadRecord("parts that are an object of as many members", .partMismatch) {
            var record = $0.intent(2)
            let text = String(decoding: record.body, as: UTF8.self)
            guard let list = text.firstRange(of: "\"parts\":["), let end = text.lastIndex(of: "]")
            else { return record }
            record.body = Array(
                (text[..<list.lowerBound] + "\"parts\":{\"a\":" + text[list.upperBound..<end] + "}"
                    + text[text.index(after: end)...]).utf8
            )
            return record
        },
        BadRecord("a part nobody committed to", .partMismatch) {
            var record = $0.outcome(of: 1, 2)
            record.parts = $0.intent(2).parts
            return record
        },
    ]

    @Test(arguments: badRecords)
    func `one bad record is refused and its batch is stored`(row: BadRecord) async throws {
        try await World.run { world in
            let life = try await world.open()
            let outcome = try await world.commit(
                [world.intent(1), row.make(world), world.intent(3)],
                life
            )
            #expect(outcome == .committed(refused: [.init(n: 2, code: row.code)]))
            #expect(try await world.log() == ["proxy-a/1/1 intent", "proxy-a/1/3 intent"])
        }
    }

    @Test func `records of an epoch that another session holds are not stored`() async throws {
        try await World.run { world in
            let old = try await world.open()
            let new = try await world.open(resume: old.epoch)
            #expect(new.epoch == old.epoch)
            #expect(try await world.commit([world.intent(1)], old) == .superseded)
            #expect(try await world.log().isEmpty)
            #expect(try await world.commit([world.intent(1)], new) == .committed(refused: []))
            #expect(
                try await world.commit([world.intent(1)], new, epoch: 1, fresh: false)
                    == .committed(refused: [])
            )
        }
    }

    @Test func `an epoch that was never assigned takes nothing`() async throws {
        try await World.run { world in
            let life = try await world.open()
            #expect(try await world.commit([world.intent(1, 9)], life, epoch: 9) == .epochUnknown)
            #expect(try await world.log().isEmpty)
        }
    }

    @Test func `parts decrypt again and carry the commitment of their record`() async throws {
        try await World.run { world in
            let life = try await world.open()
            try await world.commit([world.intent(1), world.intent(2)], life)
            let stored = try await world.records.page(of: world.namespace)
            for record in stored {
                let parts = try await world.records.parts(
                    of: record.position,
                    in: world.namespace.id,
                    keys: world.keys
                )
                let part = try #require(parts.first)
                #expect(part.content == Array(#"{"pod":"a"}"#.utf8))
                let document = try JSONDocument(parsing: record.body)
                let claim = document.root["parts"]?.elements.first { _ in true }
                let commitment = SHA256.digest(of: part.salt + part.content)
                #expect(claim?["commitment"]?.string == Text("sha256:\(commitment)"))
            }
            // Moved to another record, the same bytes open no more.
            try await world.superuser.withTransaction { transaction in
                // Without triggers, as only a superuser can.
                _ = try await transaction.query("set local session_replication_role = replica")
                _ = try await transaction.query(
                    """
                    update record_part p set sealed = q.sealed from record_part q
                    where p.n = 1 and q.n = 2
                    """
                )
            }
            await #expect(throws: StoreError.self) {
                try await world.records.parts(
                    of: world.position(1),
                    in: world.namespace.id,
                    keys: world.keys
                )
            }
        }
    }

    @Test(arguments: [
        "update record set kind = 'access'", "delete from record", "truncate record",
        "truncate record_default", "update call_outcome set outcome = 'failed'",
        "delete from call_outcome", "truncate call_outcome", "delete from record_part",
        "update record_part set sealed = ''", "truncate record_part",
    ])
    func `nobody changes or removes a record, not even a superuser`(statement: String) async throws
    {
        try await World.run { world in
            let life = try await world.open()
            try await world.commit([world.intent(1), world.outcome(of: 1, 2)], life)
            let error = await #expect(throws: PostgresError.self) {
                try await world.superuser.query(Query(trusted: statement))
            }
            #expect(error?.sqlState == "23000")
            #expect(try await world.log().count == 2)
        }
    }

    @Test func `a partition of a month takes its records and is as guarded as the rest`()
        async throws
    {
        try await World.run { world in
            try await world.client.query(
                "select ensure_record_month(to_timestamp(1790000000))"
            )
            try await world.epochs.ensureMonths()
            try await world.epochs.ensureMonths()
            let life = try await world.open()
            try await world.commit([world.intent(1)], life)
            #expect(try await world.count("select count(*) from record_default") == 0)
            #expect(try await world.log().count == 1)
            let month = "record_202609"
            await #expect(throws: PostgresError.self) {
                try await world.superuser.query("truncate \(Postgres.Identifier(month))")
            }
        }
    }

    @Test func `pages follow each other and filters choose`() async throws {
        try await World.run { world in
            let life = try await world.open()
            for n in stride(from: UInt64(1), to: 9, by: 2) {
                try await world.commit([world.intent(n), world.outcome(of: n, n + 1)], life)
            }
            var seen: [UInt64] = []
            var after: Int64 = 0
            while true {
                let page = try await world.records.page(of: world.namespace, after: after, limit: 3)
                guard let last = page.last else { break }
                seen += page.map(\.position.n)
                after = last.arrival
            }
            #expect(seen == Array(1...8))
            let intents = try await world.records.page(
                of: world.namespace,
                filter: RecordFilter(
                    kind: .intent,
                    subject: "sub_1",
                    server: "demo",
                    tool: "restart"
                )
            )
            #expect(intents.map(\.position.n) == [1, 3, 5, 7])
            let none = try await world.records.page(
                of: world.namespace,
                filter: RecordFilter(subject: "sub_2")
            )
            #expect(none.isEmpty)
        }
    }

    @Test func `a page ends before what is still being written`() async throws {
        try await World.run { world in
            let life = try await world.open()
            try await world.commit([world.intent(1)], life)
            #expect(try await world.log() == ["proxy-a/1/1 intent"])
            try await world.superuser.withTransaction { transaction in
                // It has its position, and is not committed.
                _ = try await transaction.query(
                    """
                    insert into record (namespace_id, instance, epoch, lane, n, occurred_at, kind, body)
                    select namespace_id, instance, epoch, lane, n + 100, occurred_at, kind, body
                    from record
                    """
                )
                try await world.commit([world.intent(2)], life)
                #expect(try await world.log() == ["proxy-a/1/1 intent"])
            }
            #expect(
                try await world.log()
                    == ["proxy-a/1/1 intent", "proxy-a/1/101 intent", "proxy-a/1/2 intent"]
            )
        }
    }
}
