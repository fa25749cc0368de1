import ControlStore
import Cryptography
import GatewayModel
import JSON
import Postgres
import PostgresTestSupport
import Testing

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct ReleaseStoreTests {
    static let documents = [
        StoredRelease.Document(name: "b.cedar", source: "// b"),
        StoredRelease.Document(name: "a.cedar", source: "// a"),
    ]

    @Test func `a release is stored with a manifest that says what it is, signed`() async throws {
        try await World.run { world in
            let number = try await world.release(Self.documents, by: "ann")
            #expect(number == 1)
            let (row, signed) = try await world.stored(number)
            #expect(row.maker == Person(name: "ann"))
            let root = try JSONDocument(parsing: signed.bytes).root
            #expect(root.canonicalBytes() == signed.bytes)
            #expect(root["digest"]?.string == Text(Hex.encode(row.release.digest)))
            #expect(
                root["documents"]?.elements.map { $0["name"]?.string } == ["a.cedar", "b.cedar"]
            )
            #expect(
                root["documents"]?.elements.first { _ in true }?["digest"]?.string
                    == Text(SHA256.digest(of: "// a").description)
            )
            #expect(root["language"]?.string == "4.5" && root["number"]?.int64 == 1)
            #expect(root["createdAt"]?.string == Text(row.createdAt.description))
            #expect(root["maker"]?.string == "ann" && root["namespace"]?.string == "sre")
            let signer = try await world.signer()
            #expect(signer.refusal(of: signed, for: row.release, in: "sre") == nil)
            // Anybody with the public key can say the same.
            let key = try await world.keys.installationKeys(now: 0).snapshot.verificationKey
            try key.verify(
                signed.signature,
                over: Array("ostiary-release-v1\n".utf8) + signed.bytes,
                with: .es256
            )
        }
    }

    @Test func `what was exchanged or edited past the application is noticed`() async throws {
        try await World.run { world in
            let number = try await world.release(Self.documents, by: "ann")
            let other = try await world.release([.init(name: "a.cedar", source: "")], by: "ann")
            let (row, signed) = try await world.stored(number)
            let (otherRow, otherSigned) = try await world.stored(other)
            let signer = try await world.signer()
            func refusal(
                _ signed: SignedManifest,
                _ release: StoredRelease,
                _ namespace: NamespaceName = "sre"
            ) -> String? { signer.refusal(of: signed, for: release, in: namespace) }
            #expect(
                refusal(signed, row.release) == nil && refusal(otherSigned, otherRow.release) == nil
            )
            #expect(refusal(otherSigned, row.release) != nil)
            #expect(refusal(signed, row.release, "other") != nil)
            let edits: [(inout StoredRelease) -> Void] = [
                { $0.number = 2 }, { $0.digest[0] ^= 1 },
                { $0.documents[0].source = "permit(principal, action, resource);" },
                { $0.documents[0].name = "c.cedar" }, { $0.documents.removeLast() },
                { $0.documents.append(.init(name: "z", source: "")) },
                { $0.documents[0].layer = .init(rank: "namespace", name: "sre", owned: nil) },
            ]
            for edit in edits {
                var release = row.release
                edit(&release)
                #expect(refusal(signed, release) != nil)
            }
            // A document and the digest over all of them, changed together.
            var release = row.release
            release.documents[0].source = "permit(principal, action, resource);"
            release.digest = StoredRelease.digest(of: release.documents)
            #expect(refusal(signed, release) != nil)
            // The database: another signature, another key.
            for change in [
                "signature = set_byte(signature, 3, get_byte(signature, 3) # 1)", "key_id = 'x'",
                "manifest = manifest || ' '",
            ] {
                try await world.superuser.query(
                    "alter table policy_release disable trigger policy_release_is_insert_only"
                )
                try await world.superuser.query(
                    Query(trusted: "update policy_release set \(change) where number = 1")
                )
                let (row, signed) = try await world.stored(number)
                #expect(refusal(signed, row.release) != nil, "\(change)")
            }
        }
    }

    static let layered = [
        StoredRelease.Document(
            name: "a.cedar",
            source: "// a",
            layer: .init(rank: "organisation", name: "acme", owned: nil)
        ),
        StoredRelease.Document(name: "b.cedar", source: "// b"),
        StoredRelease.Document(
            name: "c.cedar",
            source: "// c",
            layer: .init(
                rank: "team",
                name: "we\"b",
                owned: [#"MCP::Server::"web""#, #"MCP::Tool::"a,{}/b""#]
            )
        ),
        StoredRelease.Document(
            name: "d.cedar",
            source: "// d",
            layer: .init(rank: "team", name: "nobody", owned: [])
        ),
    ]

    @Test func `each document keeps its layer wherever a release is read`() async throws {
        try await World.run { world in
            let number = try await world.release(Self.layered.reversed(), by: "ann")
            let (row, signed) = try await world.stored(number)
            #expect(row.release.documents == Self.layered)
            #expect(
                try await world.signer().refusal(of: signed, for: row.release, in: "sre") == nil
            )
            let root = try JSONDocument(parsing: signed.bytes).root
            #expect(root.canonicalBytes() == signed.bytes)
            let layers = root["documents"]?.elements.map { document in
                document["layer"].map { String(decoding: $0.canonicalBytes(), as: UTF8.self) }
            }
            #expect(
                layers == [
                    #"{"name":"acme","rank":"organisation"}"#, nil,
                    #"{"name":"we\"b","owned":["MCP::Server::\"web\"","MCP::Tool::\"a,{}/b\""],"rank":"team"}"#,
                    #"{"name":"nobody","owned":[],"rank":"team"}"#,
                ]
            )
            let configurations = ConfigurationStore(world.client)
            try await configurations.change(
                world.namespace.id,
                [.shadow(release: UInt64(number), by: "ann")]
            )
            let shadow = try await configurations.load(world.namespace.id).shadow
            #expect(shadow?.documents == Self.layered)
            try await world.activate(number)
            let active = try await configurations.load(world.namespace.id).release
            #expect(active?.documents == Self.layered)
            #expect(active?.digest == StoredRelease.digest(of: Self.layered))

            // A layer that was edited past the application is found before the release comes into force.
            try await world.superuser.query(
                "alter table policy_document disable trigger policy_document_is_insert_only"
            )
            for change in [
                "layer_owned = null, layer_rank = 'namespace'",
                "layer_owned = array_append(layer_owned, 'MCP::Server::\"db\"')",
                "layer_name = 'other'", "layer_rank = null, layer_name = null, layer_owned = null",
            ] {
                try await world.superuser.query(
                    Query(trusted: "update policy_document set \(change) where name = 'c.cedar'")
                )
                let edited = try await world.stored(number).row.release
                #expect(
                    try await world.signer().refusal(of: signed, for: edited, in: "sre") != nil,
                    "\(change)"
                )
            }
        }
    }

    @Test func `releases without layers are signed with the bytes they always had`() throws {
        // sha256("7:a.cedar4:// a7:b.cedar4:// b"), made with sha256sum.
        #expect(
            Hex.encode(StoredRelease.digest(of: Self.documents))
                == "8a6f0ad456a7a2adad09b502ad36a9834a0c9df3d90c3f1a3b91df6d224b5115"
        )
        let plain = Self.layered.map { StoredRelease.Document(name: $0.name, source: $0.source) }
        var digests: Set<[UInt8]> = [
            StoredRelease.digest(of: plain), StoredRelease.digest(of: Self.layered),
        ]
        // Every part of a layer counts, and none can pass for another part or for a document.
        let edits: [(inout StoredRelease.Document) -> Void] = [
            { $0.layer = nil }, { $0.layer?.rank = "namespace" }, { $0.layer?.name = "web" },
            { $0.layer?.owned = nil }, { $0.layer?.owned = [] }, { $0.layer?.owned?.removeLast() },
            { $0.layer?.owned?.reverse() },
            {
                $0.source = Text("// c+\(#"{"name":"w","rank":"team"}"#)"); $0.layer = nil
            },
        ]
        for edit in edits {
            var documents = Self.layered
            edit(&documents[2])
            #expect(digests.insert(StoredRelease.digest(of: documents)).inserted)
        }
    }

    @Test(arguments: [
        ("'galaxy', 'a', null", "policy_document_layer_rank_known"),
        ("null, 'a', null", "policy_document_layer_is_named"),
        ("'team', null, '{}'", "policy_document_layer_is_named"),
        ("'namespace', '', null", "policy_document_layer_is_named"),
        ("'namespace', repeat('n', 129), null", "policy_document_layer_is_named"),
        ("'team', 'a', null", "policy_document_team_says_what_it_owns"),
        ("null, null, '{}'", "policy_document_only_layers_own"),
        ("'team', 'a', array[null::text]", "policy_document_layer_owns_few"),
        ("'team', 'a', array_fill('x'::text, array[257])", "policy_document_layer_owns_few"),
        ("'team', repeat('n', 128), array_fill('x'::text, array[256])", nil),
        ("null, null, null", nil), ("'organisation', 'a', null", nil), ("'team', 'a', '{}'", nil),
    ])
    func `the database keeps layers whole`(layer: String, constraint: String?) async throws {
        try await World.run { world in
            let number = try await world.release([], by: "ann")
            do throws(PostgresError) {
                try await world.superuser.query(
                    Query(
                        trusted: """
                            insert into policy_document (namespace_id, release_number, name, source,
                                layer_rank, layer_name, layer_owned)
                            values ('\(world.namespace.id)', \(number), 'x', '', \(layer))
                            """
                    )
                )
                #expect(constraint == nil)
            } catch {
                let wanted = try #require(constraint, "\(error)")
                #expect("\(error)".contains(wanted), "\(error)")
            }
        }
    }

    @Test func `a person reviews a release once, whichever of two comes first`() async throws {
        try await World.run { world in
            let number = try await world.release(Self.documents, by: "ann")
            let verdicts = try await withThrowingTaskGroup(of: ReviewRow.Verdict?.self) { group in
                for verdict in [ReviewRow.Verdict.approved, .rejected, .approved, .rejected] {
                    group.addTask {
                        try await world.review(
                            number,
                            verdict,
                            by: "bob",
                            with: Text("tok_\(verdict)")
                        )
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(verdicts.compactMap(\.self).count == 1)
            // A name that only looks the same is another person.
            #expect(try await world.review(number, .approved, by: "b\u{F3}b") == .approved)
            #expect(try await world.review(number, .approved, by: "bo\u{301}b") == .approved)
            #expect(try await world.review(number, .approved, by: "b\u{F3}b") == nil)
            let row = try await world.stored(number).row
            #expect(row.approvals + row.rejections == 3)
        }
    }

    @Test func `a review is of the contents that were there`() async throws {
        try await World.run { world in
            let number = try await world.release(Self.documents, by: "ann")
            await #expect(throws: (any Error).self) {
                try await world.superuser.query(
                    """
                    insert into policy_review (namespace_id, release_number, release_digest,
                        verdict, comment, reviewer, reviewed_by)
                    values (\(world.namespace.id), \(number), sha256('other'), 'approved', '',
                        'bob', 'tok')
                    """
                )
            }
        }
    }

    @Test func `an activation of what was in force before is a rollback`() async throws {
        try await World.run { world in
            let first = try await world.release(Self.documents, by: "ann")
            let second = try await world.release([], by: "ann")
            for number in [first, second, first, second] { try await world.activate(number) }
            let store = AdministrationStore(world.client)
            let rows = try await store.transaction { transaction in
                try await store.enter(world.namespace.id, in: transaction)
                return try await store.activations(
                    of: world.namespace.id,
                    before: .max,
                    limit: 9,
                    in: transaction
                )
            }
            #expect(rows.map(\.release) == [2, 1, 2, 1])
            #expect(rows.map(\.isRollback) == [true, true, false, false])
        }
    }

    @Test func `whose token made whose is known, through any number of tokens`() async throws {
        try await World.run { world in
            let store = AdministrationStore(world.client)
            let people = try await store.transaction { transaction in
                var maker: Text = "command:api-token"
                for name in ["root", "ann", "bob", "bob"] {
                    maker = try await store.addAPIToken(
                        Secret("\(name) \(maker)"),
                        name: Text(name),
                        role: .administrator,
                        namespace: nil,
                        lifetimeSeconds: 60,
                        by: maker,
                        in: transaction
                    )
                }
                let last = try await store.apiTokens(of: nil, limit: 9, in: transaction)
                    .first { $0.id == maker }
                let secret = Secret("bob \(last?.createdBy ?? "")")
                let token = try await store.valid(secret, in: transaction)
                return try #require(token).person
            }
            #expect(people.name == "bob" && Set(people.issuedBy) == ["bob", "ann", "root"])
            #expect(people.mayBe(Person(name: "ann")) && Person(name: "root").mayBe(people))
            #expect(!people.mayBe(Person(name: "eve", issuedBy: ["root"])))
            #expect(people.mayBe(Person(name: "bob")) && !people.mayBe(Person(name: "Bob")))
        }
    }
}

extension World {
    func signer() async throws -> ReleaseSigner {
        ReleaseSigner(try await keys.installationKeys(now: now.seconds))
    }

    /// Makes a release; answers its number.
    func release(_ documents: [StoredRelease.Document], by maker: Text) async throws -> Int64 {
        let store = AdministrationStore(client)
        let signer = try await signer()
        let digest = [UInt8](repeating: 0, count: 32)
        return try await store.transaction { transaction in
            _ = try await store.namespace(namespace.name, in: transaction, locking: true)
            try await store.enter(namespace.id, in: transaction)
            return try await store.makeRelease(
                documents,
                of: namespace,
                by: Person(name: maker),
                with: Text("tok_\(maker)"),
                basis: .init(facts: digest, schema: digest, catalogue: digest),
                signer: signer,
                in: transaction
            )
        }
    }

    func activate(_ number: Int64) async throws {
        let edit = ConfigurationEdit.activation(release: UInt64(number), by: "test")
        try await ConfigurationStore(client).change(namespace.id, [edit])
    }

    func stored(_ number: Int64) async throws -> (row: ReleaseRow, signed: SignedManifest) {
        let store = AdministrationStore(client)
        return try await store.transaction { transaction in
            try await store.enter(namespace.id, in: transaction)
            let row = try await store.release(number, of: namespace.id, in: transaction)
            let signed = try await store.manifest(
                of: UInt64(number),
                in: namespace.id,
                in: transaction
            )
            return (try #require(row), try #require(signed))
        }
    }

    /// Reviews without any lock; answers what was kept.
    func review(
        _ number: Int64,
        _ verdict: ReviewRow.Verdict,
        by person: Text,
        with token: Text = "tok"
    ) async throws -> ReviewRow.Verdict? {
        let store = AdministrationStore(client)
        return try await store.transaction { transaction in
            try await store.enter(namespace.id, in: transaction)
            let row = try await store.release(number, of: namespace.id, in: transaction)
            return try await store.addReview(
                verdict,
                comment: "",
                of: try #require(row).release,
                by: Person(name: person),
                with: token,
                in: namespace.id,
                in: transaction
            )?.verdict
        }
    }
}
