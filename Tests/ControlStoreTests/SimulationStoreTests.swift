import ControlStore
import GatewayModel
import JSON
import Postgres
import PostgresTestSupport
import Testing

/// Simulations as jobs: who works on what, and what happens when nobody does any more.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct SimulationStoreTests {
    static func make(
        _ world: World,
        release: UInt64 = 2,
        kind: SimulationRow.Kind = .replay
    ) async throws -> Text? {
        let store = AdministrationStore(world.client)
        return try await store.transaction { transaction in
            try await store.enter(world.namespace.id, in: transaction)
            return try await store.makeSimulation(
                SimulationNew(
                    kind: kind,
                    release: release,
                    against: 1,
                    from: nil,
                    to: world.now,
                    recordsMax: 100
                ),
                by: "tok_a",
                in: world.namespace.id,
                in: transaction
            )
        }
    }

    static func read(_ world: World, _ id: Text) async throws -> SimulationRow? {
        let store = AdministrationStore(world.client)
        return try await store.transaction { transaction in
            try await store.enter(world.namespace.id, in: transaction)
            return try await store.simulation(
                id,
                of: 2,
                in: world.namespace.id,
                in: transaction
            )
        }
    }

    static func run(_ body: (World, SimulationStore) async throws -> Void) async throws {
        try await World.run { world in
            for number in [1, 2, 3] as [Int64] {
                _ = try await world.superuser.query(
                    """
                    insert into policy_release (namespace_id, number, id, digest, created_by)
                    values (\(world.namespace.id), \(number), \("pol_\(number)"), sha256('a'), 'ann')
                    """
                )
            }
            try await body(world, SimulationStore(world.client))
        }
    }

    static func lapse(_ world: World) async throws {
        _ = try await world.superuser.query(
            "update policy_simulation set claimed_until = now() - interval '1 second'"
        )
    }

    @Test func `two workers never have the same simulation`() async throws {
        try await Self.run { world, store in
            let first = try #require(try await Self.make(world))
            let second = try #require(try await Self.make(world))
            let (a, b) = (UUID.random(), UUID.random())
            async let forA = store.claim(by: a)
            async let forB = store.claim(by: b)
            let claimed = try await [forA?.id, forB?.id].compactMap { $0 }
            #expect(Set(claimed) == [first, second])
            #expect(try await store.claim(by: a) == nil)
            #expect(try await Self.read(world, first)?.state == .running)
        }
    }

    @Test func `a report is there when its simulation has ended, and stays`() async throws {
        try await Self.run { world, store in
            let id = try #require(try await Self.make(world))
            let worker = UUID.random()
            let claimed = try #require(try await store.claim(by: worker))
            #expect(claimed.release == 2 && claimed.against == 1 && claimed.recordsMax == 100)
            #expect(try await store.renew(claimed, by: worker, recordsRead: 7))
            #expect(try await Self.read(world, id)?.recordsRead == 7)
            let stored = try await store.finish(
                claimed,
                by: worker,
                recordsRead: 9,
                widening: 2,
                report: Array(#"{"b":1,"a":2}"#.utf8)
            )
            #expect(stored)
            let row = try #require(try await Self.read(world, id))
            #expect(row.state == .finished && row.recordsRead == 9)
            #expect(row.report == #"{"b":1,"a":2}"#)
            #expect(try await store.claim(by: worker) == nil)
            await #expect(throws: PostgresError.self) {
                try await world.superuser.query("update policy_simulation_report set widening = 0")
            }
        }
    }

    @Test func `what a dead worker left is taken over, and it cannot come back`() async throws {
        try await Self.run { world, store in
            let id = try #require(try await Self.make(world))
            let (dead, heir) = (UUID.random(), UUID.random())
            let left = try #require(try await store.claim(by: dead))
            #expect(try await store.claim(by: heir) == nil)
            try await Self.lapse(world)
            #expect(try await Self.read(world, id)?.state == .queued)
            let taken = try #require(try await store.claim(by: heir))
            #expect(taken.id == id)
            #expect(try await !store.renew(left, by: dead, recordsRead: 1))
            let late = try await store.finish(
                left,
                by: dead,
                recordsRead: 1,
                widening: 0,
                report: Array("{}".utf8)
            )
            #expect(!late)
            #expect(try await Self.read(world, id)?.state == .running)
            #expect(
                try await store.finish(
                    taken,
                    by: heir,
                    recordsRead: 1,
                    widening: 0,
                    report: Array("{}".utf8)
                )
            )
        }
    }

    @Test func `a simulation that kills its workers ends`() async throws {
        try await Self.run { world, store in
            let id = try #require(try await Self.make(world))
            for _ in 0..<SimulationStore.attemptsMax {
                #expect(try await store.claim(by: UUID.random())?.id == id)
                try await Self.lapse(world)
            }
            #expect(try await store.claim(by: UUID.random()) == nil)
            #expect(try await store.endAbandoned() == 1)
            #expect(try await store.endAbandoned() == 0)
            let row = try #require(try await Self.read(world, id))
            #expect(row.state == .failed && row.failure == "abandoned")
        }
    }

    @Test func `a worker that stops gives its simulation back, and that is no attempt`()
        async throws
    {
        try await Self.run { world, store in
            let id = try #require(try await Self.make(world))
            for _ in 0...SimulationStore.attemptsMax {
                let worker = UUID.random()
                let claimed = try #require(try await store.claim(by: worker))
                #expect(claimed.id == id)
                try await store.release(claimed, by: worker)
            }
            #expect(try await Self.read(world, id)?.state == .queued)
        }
    }

    @Test func `a namespace has so many open simulations and no more`() async throws {
        try await Self.run { world, store in
            for _ in 0..<AdministrationStore.simulationsOpenMax {
                #expect(try await Self.make(world) != nil)
            }
            #expect(try await Self.make(world) == nil)
            let worker = UUID.random()
            let claimed = try #require(try await store.claim(by: worker))
            try await store.fail(claimed, by: worker, .releaseInvalid)
            #expect(try await Self.make(world) != nil)
        }
    }

    @Test func `the widest of all reports of a pair counts`() async throws {
        try await Self.run { world, store in
            let administration = AdministrationStore(world.client)
            func widening(_ release: UInt64) async throws -> Int64? {
                try await administration.transaction { transaction in
                    try await administration.enter(world.namespace.id, in: transaction)
                    return try await administration.wideningFound(
                        by: release,
                        against: 1,
                        in: world.namespace.id,
                        in: transaction
                    )
                }
            }
            #expect(try await widening(2) == nil)
            for found in [3, 0] as [Int64] {
                _ = try await Self.make(world)
                let worker = UUID.random()
                let claimed = try #require(try await store.claim(by: worker))
                _ = try await store.finish(
                    claimed,
                    by: worker,
                    recordsRead: 1,
                    widening: found,
                    report: Array(#"{"decided":5}"#.utf8)
                )
            }
            #expect(try await widening(2) == 3)
            #expect(try await widening(3) == nil)
        }
    }

    @Test func `the newest word on a shadow counts, and it ends when its release is in force`()
        async throws
    {
        try await Self.run { world, _ in
            let configurations = ConfigurationStore(world.client)
            let id = world.namespace.id
            func shadow() async throws -> UInt64? {
                try await configurations.load(id).shadow?.number
            }
            #expect(try await shadow() == nil)
            let before = try await configurations.load(id).namespace.configurationVersion
            try await configurations.change(id, [.shadow(release: 2, by: "ann")])
            #expect(try await shadow() == 2)
            #expect(try await configurations.load(id).namespace.configurationVersion == before + 1)
            try await configurations.change(id, [.activation(release: 2, by: "ann")])
            #expect(try await shadow() == nil)
            try await configurations.change(id, [.activation(release: 1, by: "ann")])
            #expect(try await shadow() == nil)
            try await configurations.change(id, [.shadow(release: 2, by: "ann")])
            try await configurations.change(id, [.shadow(release: 3, by: "ann")])
            #expect(try await shadow() == 3)
            try await configurations.change(id, [.shadow(release: nil, by: "ann")])
            #expect(try await shadow() == nil)
        }
    }
}
