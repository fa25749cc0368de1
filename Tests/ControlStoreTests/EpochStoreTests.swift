import AuditLog
import GatewayModel
import JSON
import Postgres
import PostgresTestSupport
import Testing

@testable import ControlStore

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct EpochStoreTests {
    @Test func `a process that comes back resumes, one that restarted gets a new epoch`()
        async throws
    {
        try await World.run { world in
            let first = try await world.open(boot: 1)
            #expect(first.opened == .init(epoch: 1, watermark: 0, highest: 0))
            try await world.commit([world.intent(1), world.intent(2)], first)
            try await world.commit([world.intent(4)], first)
            let resumed = try await world.open(boot: 1, resume: 1)
            #expect(resumed.opened == .init(epoch: 1, watermark: 2, highest: 4))
            let restarted = try await world.open(boot: 2)
            #expect(restarted.opened == .init(epoch: 2, watermark: 0, highest: 0))
            // An older process that still lives must not take the instance back.
            await #expect(throws: Unexpected.self) { try await world.open(boot: 1, resume: 1) }
        }
    }

    @Test func `a process whose epoch was closed gets a new one`() async throws {
        try await World.run { world in
            let first = try await world.open(boot: 1)
            try await world.epochs.close(world.writer, epoch: first.epoch, now: world.now)
            let second = try await world.open(boot: 1, resume: 1)
            #expect(second.epoch == 2)
        }
    }

    @Test func `an unknown or revoked instance is refused`() async throws {
        try await World.run { world in
            let life = try await world.open()
            try await InstanceStore(world.client).revoke("proxy-a", of: world.namespace.id)
            await #expect(throws: Unexpected.self) { try await world.open() }
            let leases = try await world.epochs.storeLeases(
                [.init(writer: world.writer, epoch: life.epoch, session: life.session)],
                leaseMilliseconds: 30_000
            )
            #expect(leases == [.revoked])
        }
    }

    @Test(arguments: [false, true])
    func `closing gives each open intent an unknown outcome and each hole a gap record`(
        settled: Bool
    ) async throws {
        try await World.run { world in
            let life = try await world.open()
            // 1 closed, 2 its outcome, 3 open, 4-5 lost, 6 open, 7 lost, 8 access-like intent open
            try await world.commit(
                [world.intent(1), world.outcome(of: 1, 2), world.intent(3)],
                life
            )
            try await world.commit([world.intent(6)], life)
            try await world.commit([world.intent(8)], life)
            if settled { try await world.epochs.settle() }
            let settledN = try await world.count("select settled_n from epoch where epoch = 1")
            #expect(settledN == (settled ? 2 : 0))
            #expect(try await world.epochs.close(world.writer, epoch: 1, now: world.now))
            #expect(try await !world.epochs.close(world.writer, epoch: 1, now: world.now))
            #expect(try await world.end(of: 1) == "succeeded by proxy-a/1/2")
            #expect(try await world.end(of: 3) == "unknown by control/1/1")
            #expect(try await world.end(of: 6) == "unknown by control/1/2")
            #expect(try await world.end(of: 8) == "unknown by control/1/3")
            let own = try await world.records.page(of: world.namespace).filter {
                $0.position.instance == EpochStore.control
            }
            #expect(own.map(\.position.n) == [1, 2, 3, 4, 5])
            #expect(own.map(\.kind) == [.outcome, .outcome, .outcome, .gap, .gap])
            let gaps = try own.suffix(2).map { record in
                let of = try JSONDocument(parsing: record.body).root["of"]
                return [of?["first"]?.int64, of?["last"]?.int64]
            }
            #expect(gaps == [[4, 5], [7, 7]])
            for record in own {
                let summary = try RecordSummary(reading: record.body)
                #expect(summary.position == record.position)
            }
        }
    }

    @Test func `control numbers densely across epochs of several instances`() async throws {
        try await World.run { world in
            for boot in UInt8(1)...5 {
                let life = try await world.open(boot: boot)
                try await world.commit([world.intent(1, life.epoch)], life)
            }
            try await world.epochs.close(world.writer, epoch: 5, now: world.now)
            let own = try await world.records.page(of: world.namespace).filter {
                $0.position.instance == EpochStore.control
            }
            #expect(own.map(\.position.n) == [1, 2, 3, 4, 5])
        }
    }

    @Test func `settling follows the stored prefix and never passes an open intent or a hole`()
        async throws
    {
        try await World.run { world in
            let life = try await world.open()
            func settled() async throws -> Int64 {
                try await world.epochs.settle()
                return try await world.count("select settled_n from epoch where epoch = 1")
            }
            #expect(try await settled() == 0)
            try await world.commit([world.intent(1), world.intent(2)], life)
            #expect(try await settled() == 0)
            try await world.commit([world.outcome(of: 1, 3)], life)
            #expect(try await settled() == 1)
            try await world.commit([world.outcome(of: 2, 4)], life)
            #expect(try await settled() == 4)
            try await world.commit([world.outcome(of: 2, 6)], life)
            #expect(try await settled() == 4)
            let resumed = try await world.open(resume: 1)
            #expect(resumed.opened == .init(epoch: 1, watermark: 4, highest: 6))
        }
    }

    @Test func `a lease is stored for its holder only and keeps the epoch open`() async throws {
        try await World.run { world in
            let old = try await world.open(boot: 1, lease: 0)
            let holder = EpochStore.Holder(writer: world.writer, epoch: 1, session: old.session)
            let stored = try await world.epochs.storeLeases([holder], leaseMilliseconds: 60_000)
            #expect(stored == [.stored])
            #expect(try await world.epochs.closeExpired(graceMilliseconds: 0, now: world.now) == 0)
            let resumed = try await world.open(boot: 1, resume: 1, lease: 0)
            let both = try await world.epochs.storeLeases(
                [holder, .init(writer: world.writer, epoch: 1, session: resumed.session)],
                leaseMilliseconds: 0
            )
            #expect(both == [.superseded, .stored])
            #expect(
                try await world.epochs.closeExpired(graceMilliseconds: 60_000, now: world.now) == 0
            )
            #expect(
                try await world.epochs.closeExpired(graceMilliseconds: -1000, now: world.now) == 1
            )
            let after = try await world.epochs.storeLeases(
                [.init(writer: world.writer, epoch: 1, session: resumed.session)],
                leaseMilliseconds: 30_000
            )
            #expect(after == [.closed])
        }
    }

    @Test func `two replicas that close the same epochs write everything once`() async throws {
        try await World.run { world in
            for boot in UInt8(1)...8 {
                let instance = InstanceID("p\(boot)")
                try await InstanceStore(world.client).ensure(instance, of: world.namespace.id)
                let writer = Writer(
                    namespaceID: world.namespace.id,
                    namespace: "sre",
                    instance: instance
                )
                let session = Postgres.UUID.random()
                _ = try await world.epochs.open(
                    writer,
                    .init(
                        bootID: Array(repeating: boot, count: 16),
                        resumeEpoch: 0,
                        softwareVersion: ""
                    ),
                    session: session,
                    leaseMilliseconds: 0,
                    now: world.now
                )
                let facts = CallFacts(time: world.now, request: "r", method: "m", source: "s")
                let decision = Decision(
                    answer: .permit,
                    ground: .policy,
                    determining: [],
                    release: 1
                )
                let draft = AuditRecord.intent(facts, decision, parts: []).draft()
                let body = draft.sequenced(at: world.position(1, instance: instance))
                let batch = try RecordBatch(
                    [IncomingRecord(lane: .committed, n: 1, body: body)],
                    from: writer,
                    epoch: 1,
                    session: session,
                    above: 0,
                    sealer: world.sealer
                )
                #expect(try await world.records.commit([batch]) == [.committed(refused: [])])
            }
            let closed = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        try await world.epochs.closeExpired(
                            graceMilliseconds: -1000,
                            now: world.now
                        )
                    }
                }
                return try await group.reduce(0, +)
            }
            #expect(closed == 8)
            #expect(try await world.count("select count(*) from call_outcome") == 8)
            let own = try await world.records.page(of: world.namespace).filter {
                $0.position.instance == EpochStore.control
            }
            #expect(Set(own.map(\.position.n)) == Set(1...8))
        }
    }

    /// Closing and committing race for one epoch, over and over: whoever comes first, each stored
    /// intent that is no annotation has exactly one outcome, and nothing was stored half.
    @Test func `a commit is either seen by the closing or becomes an annotation`() async throws {
        try await World.run { world in
            var (before, after) = (0, 0)
            for round in 1...60 {
                let life = try await world.open(boot: UInt8(round))
                let epoch = life.epoch
                try await world.commit([world.intent(1, epoch)], life)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        try await world.commit(
                            [world.outcome(of: 1, 2, epoch), world.intent(3, epoch)],
                            life
                        )
                    }
                    group.addTask {
                        // A different head start each round, in statements rather than time.
                        for _ in 0..<(round % 4) { try await world.client.query("select 1") }
                        try await world.epochs.close(world.writer, epoch: epoch, now: world.now)
                    }
                    try await group.waitForAll()
                }
                switch try await world.end(of: 1, epoch) {
                case "succeeded by proxy-a/\(epoch)/2":
                    before += 1
                    #expect(
                        try await world.end(of: 3, epoch)?.hasPrefix("unknown by control") == true
                    )
                case let end?:
                    after += 1
                    #expect(end.hasPrefix("unknown by control"))
                    #expect(try await world.end(of: 3, epoch) == nil)
                case nil:
                    Issue.record("an intent without outcome in epoch \(epoch)")
                }
            }
            let halves = try await world.count(
                """
                select count(*) from record r
                left join call_outcome c on c.instance = r.instance and c.epoch = r.epoch
                    and c.intent_n = r.n
                where r.kind = 'intent' and r.annotation = (c.intent_n is not null)
                """
            )
            #expect(halves == 0)
            #expect(before > 0 && after > 0, "the race was decided the same way every time")
        }
    }
}
