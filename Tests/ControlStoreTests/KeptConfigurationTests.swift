import ControlStore
import Postgres
import PostgresTestSupport
import Testing

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct KeptConfigurationTests {
    @Test func `what was published first under a version is what it finds`() async throws {
        try await World.run { world in
            let store = KeptConfigurationStore(world.client, keys: world.keys)
            let key = try await world.keys.keys(of: world.namespace.id).parts
            try await store.keep(Array("one".utf8), version: 3, of: world.namespace.id, under: key)
            try await store.keep(Array("two".utf8), version: 3, of: world.namespace.id, under: key)
            let found = try await store.configuration(3, of: world.namespace.id)
            #expect(found == Array("one".utf8))
            #expect(try await store.configuration(4, of: world.namespace.id) == nil)
            let shown = try await world.count(
                "select count(*) from kept_configuration where position('one'::bytea in sealed) > 0"
            )
            #expect(shown == 0)
        }
    }

    @Test func `with the key of the parts gone a configuration is gone`() async throws {
        try await World.run { world in
            let store = KeptConfigurationStore(world.client, keys: world.keys)
            let key = try await world.keys.keys(of: world.namespace.id).parts
            try await store.keep([1], version: 1, of: world.namespace.id, under: key)
            _ = try await world.superuser.query("delete from namespace_key where purpose = 'parts'")
            #expect(try await store.configuration(1, of: world.namespace.id) == nil)
        }
    }

    @Test func `a configuration under another version does not open`() async throws {
        try await World.run { world in
            let store = KeptConfigurationStore(world.client, keys: world.keys)
            let key = try await world.keys.keys(of: world.namespace.id).parts
            try await store.keep([1], version: 1, of: world.namespace.id, under: key)
            _ = try await world.superuser.query(
                """
                insert into kept_configuration (namespace_id, version, key_id, sealed)
                select namespace_id, 2, key_id, sealed from kept_configuration
                """
            )
            await #expect(throws: StoreError.self) {
                try await store.configuration(2, of: world.namespace.id)
            }
        }
    }

    @Test func `a version is forgotten only when another took its place long enough ago`()
        async throws
    {
        try await World.run { world in
            let store = KeptConfigurationStore(world.client, keys: world.keys)
            for (version, days) in [(1, 90), (2, 50), (3, 20), (4, 5)] as [(Int64, Int64)] {
                _ = try await world.superuser.query(
                    """
                    insert into kept_configuration (namespace_id, version, key_id, sealed, published_at)
                    values (\(world.namespace.id), \(version), 'parts-1', '',
                        now() - \(days) * interval '1 day')
                    """
                )
            }
            func left() async throws -> [Int64] {
                try await world.superuser.query(
                    "select version from kept_configuration order by version"
                ).map { try $0.decode(at: 0) }
            }
            // The second took the place of the first 50 days ago, the third that of the second 20 days ago.
            #expect(try await store.forget(olderThanDays: 60, in: world.namespace.id) == 0)
            #expect(try await store.forget(olderThanDays: 30, in: world.namespace.id) == 1)
            #expect(try await left() == [2, 3, 4])
            // The database says so itself, and to its owner too.
            for version in [2, 4] as [Int64] {
                await #expect(throws: PostgresError.self) {
                    try await world.superuser.query(
                        "delete from kept_configuration where version = \(version)"
                    )
                }
            }
            #expect(try await left() == [2, 3, 4])
        }
    }
}
