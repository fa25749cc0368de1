import ControlStore
import Cryptography
import GatewayModel
import JSON
import Postgres
import PostgresTestSupport
import Testing

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct ConfigurationStoreTests {
    static let provider = IdentityProvider(
        issuer: "https://issuer.test",
        jwks: #"{"keys": []}"#,
        audiences: ["https://door.test"],
        algorithms: ["ES256"],
        tokenTypes: ["at+jwt"]
    )
    static let subject = Subject(
        id: "sub_1",
        issuer: "https://issuer.test",
        name: "ann",
        kind: .user,
        status: .active,
        groups: ["sre"],
        attributes: ["team": "a"]
    )
    static let tool = ConfigurationEdit.ReportedTool(name: "t", canonical: Array("{}".utf8))
    static let edits: [ConfigurationEdit] = [
        .identityProvider(provider),
        .subject(subject),
        .server(.init(name: "demo", url: "http://127.0.0.1:1/mcp", memberships: [#"Env::"prod""#])),
    ]
    static let documents = [
        StoredRelease.Document(name: "a.cedar", source: "permit(principal, action, resource);")
    ]

    @Test func `a change is read back whole, and applying it again changes nothing`() async throws {
        try await World.run { world in
            let store = ConfigurationStore(world.client)
            let id = world.namespace.id
            #expect(try await store.change(id, Self.edits))
            #expect(try await store.load(id).namespace.configurationVersion == 2)
            try await world.activate(try await world.release(Self.documents, by: "ann"))
            let first = try await store.load(id)
            #expect(first.namespace.configurationVersion == 3)
            #expect(first.identityProviders == [Self.provider])
            #expect(first.subjects == [Self.subject])
            #expect(first.servers.map(\.name) == ["demo"])
            #expect(first.servers.first?.memberships == [#"Env::"prod""#])
            #expect(first.release?.number == 1)
            #expect(first.release?.documents.map(\.name) == ["a.cedar"])
            #expect(try await !store.change(id, Self.edits))
            #expect(try await store.load(id).namespace.configurationVersion == 3)
            try await world.activate(
                try await world.release([.init(name: "a.cedar", source: "")], by: "b")
            )
            let second = try await store.load(id)
            #expect(second.release?.number == 2)
            #expect(second.release?.documents.map(\.source) == [""])
            #expect(try await store.versions() == [id: 4])
        }
    }

    @Test(arguments: [false, true])
    func `a first definition is pinned only where the namespace trusts it`(
        trusts: Bool
    ) async throws {
        try await World.run { world in
            let store = ConfigurationStore(world.client)
            let id = world.namespace.id
            try await store.change(id, Self.edits + [.namespace(trustsOnFirstUse: trusts)])
            let report = ConfigurationEdit.toolsReported(server: "demo", [Self.tool])
            #expect(try await store.change(id, [report]) == trusts)
            #expect(try await !store.change(id, [report]))
            let changed = ConfigurationEdit.ReportedTool(name: "t", canonical: Array("[]".utf8))
            #expect(try await !store.change(id, [.toolsReported(server: "demo", [changed])]))
            let digest = SHA256.digest(of: Self.tool.canonical)
            #expect(
                try await store.load(id).servers.first?.tools.map(\.digest)
                    == (trusts ? [digest.bytes] : [])
            )
            // A person accepts the second definition.
            let other = SHA256.digest(of: changed.canonical)
            #expect(
                try await store.change(
                    id,
                    [
                        .pin(server: "demo", tool: "t", digest: other, by: "ann"),
                        .toolEffect(server: "demo", tool: "t", .read, by: "ann"),
                    ]
                )
            )
            let tools = try await store.load(id).servers.first?.tools
            #expect(tools?.map(\.digest) == [other.bytes])
            #expect(tools?.map(\.effect) == ["read"])
        }
    }

    @Test func `a change is announced once, when it is committed`() async throws {
        try await World.run { world in
            let store = ConfigurationStore(world.client)
            var signals = world.client.listen(ConfigurationStore.channel).makeAsyncIterator()
            #expect(await signals.next() == .listening)
            try await store.change(world.namespace.id, Self.edits)
            guard case .notification(let notification)? = await signals.next() else {
                Issue.record("nothing was announced")
                return
            }
            #expect(notification.payload == world.namespace.id.description)
        }
    }

    @Test func `many replicas that start at once agree on namespaces and keys`() async throws {
        let client = PostgresClient(
            try await freshDatabase().app,
            limits: .patient,
            logger: silent
        )
        try await withThrowingTaskGroup(of: Void.self) { outer in
            outer.addTask { await client.run() }
            let seen = try await withThrowingTaskGroup(of: [String].self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        let namespace = try await NamespaceStore(client).ensure("sre")
                        let wrapping = try #require(SymmetricKey(testKey))
                        let store = try KeyStore(client, keyEncryptionKey: wrapping)
                        let keys = try await store.keys(of: namespace.id)
                        let own = try await store.installationKeys(now: 1_790_000_000)
                        return [
                            namespace.id.description, own.snapshotKeyID,
                            own.authority.certificate.fingerprint.description,
                            keys.parts.key.withUnsafeBytes { SHA256.digest(of: $0).description },
                            keys.sealing.key.withUnsafeBytes { SHA256.digest(of: $0).description },
                        ]
                    }
                }
                return try await group.reduce(into: Set<[String]>()) { $0.insert($1) }
            }
            #expect(seen.count == 1)
            outer.cancelAll()
        }
    }

    @Test func `keys do not open under another key-encryption key`() async throws {
        try await World.run { world in
            let other = try #require(SymmetricKey(Array(repeating: UInt8(8), count: 32)))
            let store = try KeyStore(world.client, keyEncryptionKey: other)
            await #expect(throws: StoreError.self) { try await store.keys(of: world.namespace.id) }
        }
    }

    @Test func `an enrolment token is spent once, however many try`() async throws {
        try await World.run { world in
            let store = InstanceStore(world.client)
            let token = Secret("token")
            try await store.addToken(token, for: "new", of: world.namespace.id, lifetimeSeconds: 60)
            let spent = try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<6 { group.addTask { try await store.spendToken(token) != nil } }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(spent == 1)
            #expect(try await store.isAccepted("new", of: world.namespace.id))
            #expect(try await store.spendToken(Secret("other")) == nil)
            let old = Secret("old")
            try await store.addToken(old, for: "new", of: world.namespace.id, lifetimeSeconds: -1)
            #expect(try await store.spendToken(old) == nil)
            await #expect(throws: StoreError.self) {
                try await store.addToken(
                    token,
                    for: EpochStore.control,
                    of: world.namespace.id,
                    lifetimeSeconds: 60
                )
            }
        }
    }
}
