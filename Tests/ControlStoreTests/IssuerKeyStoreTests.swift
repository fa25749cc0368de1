import ControlStore
import JSON
import Postgres
import PostgresTestSupport
import Testing

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct IssuerKeyStoreTests {
    static let keys: Text = #"{"keys": [{"kid": "a"}]}"#

    private func provider(
        _ source: IdentityProvider.KeySource,
        jwks: Text = IdentityProvider.noKeys,
        audiences: [Text] = []
    ) -> IdentityProvider {
        IdentityProvider(
            issuer: "https://idp",
            jwks: jwks,
            keySource: source,
            audiences: audiences,
            algorithms: ["ES256"],
            tokenTypes: ["JWT"]
        )
    }

    private func stored(_ world: World) async throws -> IdentityProvider? {
        try await ConfigurationStore(world.client).load(world.namespace.id).identityProviders.first
    }

    @Test func `an issuer is fetched in turns, one replica at a time`() async throws {
        try await World.run(clock: .manual) { world in
            let configuration = ConfigurationStore(world.client)
            let store = IssuerKeyStore(world.client)
            try await configuration.change(
                world.namespace.id,
                [.identityProvider(provider(.uploaded, jwks: Self.keys))]
            )
            #expect(try await store.takeTurns(limit: 10).isEmpty)
            try await configuration.change(
                world.namespace.id,
                [.identityProvider(provider(.discovery))]
            )
            // Uploaded keys do not count for an issuer whose keys are fetched.
            #expect(try await stored(world)?.jwks == IdentityProvider.noKeys)

            let turns = try await withThrowingTaskGroup(of: [IssuerKeyStore.Turn].self) { group in
                for _ in 0..<8 { group.addTask { try await store.takeTurns(limit: 10) } }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(turns.count == 1)
            let turn = try #require(turns.first)
            #expect(turn.issuer == "https://idp" && turn.source == .discovery)
            #expect(turn.secondsSinceSuccess == nil && turn.failures == 0)

            let before = try await configuration.versions()[world.namespace.id]
            #expect(try await store.succeeded(turn, jwks: Self.keys, dueInSeconds: 900))
            #expect(try await stored(world)?.jwks == Self.keys)
            let after = try await configuration.versions()[world.namespace.id]
            #expect(after == before.map { $0 + 1 })
            // The same keys again are no change for anybody.
            #expect(try await !store.succeeded(turn, jwks: Self.keys, dueInSeconds: 900))

            #expect(try await store.takeTurns(limit: 10).isEmpty)
            try await world.pass(899)
            #expect(try await store.takeTurns(limit: 10).isEmpty)
            try await world.pass(1)
            #expect(try await store.takeTurns(limit: 10).first?.secondsSinceSuccess == 900)
            // The replica that has the turn dies: another takes it up.
            try await world.pass(59)
            #expect(try await store.takeTurns(limit: 10).isEmpty)
            try await world.pass(1)
            #expect(try await store.takeTurns(limit: 10).count == 1)
        }
    }

    @Test func `unknown keys make an issuer asked once in 30 seconds`() async throws {
        try await World.run(clock: .manual) { world in
            let store = IssuerKeyStore(world.client)
            func ask() async throws -> Int {
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<8 {
                        group.addTask {
                            try await store.takeTurn(of: "https://idp", in: world.namespace.id)
                                == nil ? 0 : 1
                        }
                    }
                    return try await group.reduce(0, +)
                }
            }
            #expect(try await ask() == 0)
            try await ConfigurationStore(world.client).change(
                world.namespace.id,
                [.identityProvider(provider(.url("https://idp/keys")))]
            )
            let turn = try #require(try await store.takeTurns(limit: 1).first)
            try await store.succeeded(turn, jwks: Self.keys, dueInSeconds: 900)
            #expect(try await ask() == 0)
            try await world.pass(29)
            #expect(try await ask() == 0)
            try await world.pass(1)
            #expect(try await ask() == 1)
            #expect(try await ask() == 0)
        }
    }

    @Test func `a failure keeps the keys, until they are too old`() async throws {
        try await World.run(clock: .manual) { world in
            let store = IssuerKeyStore(world.client)
            try await ConfigurationStore(world.client).change(
                world.namespace.id,
                [.identityProvider(provider(.discovery))]
            )
            var turn = try #require(try await store.takeTurns(limit: 1).first)
            try await store.succeeded(turn, jwks: Self.keys, dueInSeconds: 30)
            for failures in 1...3 {
                try await world.pass(30)
                turn = try #require(try await store.takeTurns(limit: 1).first)
                #expect(turn.failures == failures - 1)
                try await store.failed(turn, "timed_out", dueInSeconds: 30)
            }
            #expect(try await stored(world)?.jwks == Self.keys)
            let status = try #require(try await store.statuses(of: world.namespace.id).first)
            #expect(status.failure == "timed_out" && status.fetchedAt != nil)
            try await store.failed(turn, "timed_out", dueInSeconds: 30, forgettingKeys: true)
            #expect(try await stored(world)?.jwks == IdentityProvider.noKeys)
        }
    }

    @Test func `keys from another place are not believed before they are fetched there`()
        async throws
    {
        try await World.run(clock: .manual) { world in
            let configuration = ConfigurationStore(world.client)
            let store = IssuerKeyStore(world.client)
            let namespace = world.namespace.id
            try await configuration.change(namespace, [.identityProvider(provider(.discovery))])
            let turn = try #require(try await store.takeTurns(limit: 1).first)
            try await store.succeeded(turn, jwks: Self.keys, dueInSeconds: 900)
            // Another audience is no other place.
            try await configuration.change(
                namespace,
                [.identityProvider(provider(.discovery, audiences: ["https://door"]))]
            )
            #expect(try await stored(world)?.jwks == Self.keys)
            try await configuration.change(
                namespace,
                [.identityProvider(provider(.url("https://idp/keys")))]
            )
            #expect(try await stored(world)?.jwks == IdentityProvider.noKeys)
            // What the old turn brings comes too late.
            #expect(try await !store.succeeded(turn, jwks: Self.keys, dueInSeconds: 900))
            #expect(try await stored(world)?.jwks == IdentityProvider.noKeys)
            let next = try await store.takeTurns(limit: 1).first
            #expect(next?.source == .url("https://idp/keys"))
        }
    }
}
