import Cryptography
public import GatewayModel
public import JSON
public import Postgres

/// Everything proxies of one namespace enforce, at one version.
public struct NamespaceConfiguration: Sendable {
    /// The namespace, with the version all of this belongs to.
    public var namespace: Namespace
    /// Whose tokens are believed, by issuer.
    public var identityProviders: [IdentityProvider]
    /// Who may act, by id.
    public var subjects: [Subject]
    /// The servers and their pinned tools, by name.
    public var servers: [Server]
    /// The release in force, if one was ever activated.
    public var release: StoredRelease?
    /// The release that is evaluated beside it, if one is.
    public var shadow: StoredRelease?

    /// An MCP server behind the door.
    public struct Server: Sendable, Hashable {
        /// Its name in the MCP URL.
        public var name: ServerName
        /// Where it is.
        public var url: Text
        /// Whether calls may reach it.
        public var isEnabled: Bool
        /// Entity uids it is `in`, as Cedar text.
        public var memberships: [Text]
        /// The field that carries its credential.
        public var credentialHeader: Text?
        /// The credential under the namespace's `credentials` key; see ``CredentialVault``.
        public var credentialSealed: [UInt8]?
        /// The tools that may be called, by name.
        public var tools: [PinnedTool]
    }

    /// A tool with an accepted definition.
    public struct PinnedTool: Sendable, Hashable {
        /// Its bare name.
        public var name: ToolName
        /// SHA-256 of the canonical definition.
        public var digest: [UInt8]
        /// How a person classed it.
        public var effect: Text
    }
}

/// An identity provider as it is stored.
public struct IdentityProvider: Sendable, Hashable {
    /// Compared with `iss` byte for byte.
    public var issuer: Text
    /// Its key set, JSON: as it was uploaded, or as it was last fetched.
    public var jwks: Text
    /// Where the key set comes from.
    public var keySource: KeySource
    /// Whether keys may be fetched from an address that only this network knows.
    ///
    /// Default `false`.
    public var allowsPrivateAddresses: Bool
    /// The audiences a token may name.
    public var audiences: [Text]
    /// The algorithms accepted.
    public var algorithms: [Text]
    /// The `typ` values accepted.
    public var tokenTypes: [Text]
    /// JSON pointer to the groups in the claims; empty: directory only.
    public var groupsPointer: Text
    /// JSON pointer to the subject; empty: `/sub`.
    public var subjectPointer: Text

    /// Where a key set comes from.
    public enum KeySource: Sendable, Hashable {
        /// An administrator.
        case uploaded
        /// Where the issuer's own metadata says.
        case discovery
        /// This URL.
        case url(Text)
    }

    /// The key set of which nothing was fetched yet.
    public static let noKeys: Text = #"{"keys": []}"#

    /// An identity provider.
    ///
    /// Of keys that are fetched, `jwks` is what was fetched just now; fetched before, they stay while their source does.
    public init(
        issuer: Text,
        jwks: Text = IdentityProvider.noKeys,
        keySource: KeySource = .uploaded,
        allowsPrivateAddresses: Bool = false,
        audiences: [Text],
        algorithms: [Text],
        tokenTypes: [Text],
        groupsPointer: Text = "",
        subjectPointer: Text = ""
    ) {
        self.issuer = issuer
        self.jwks = jwks
        self.keySource = keySource
        self.allowsPrivateAddresses = allowsPrivateAddresses
        self.audiences = audiences
        self.algorithms = algorithms
        self.tokenTypes = tokenTypes
        self.groupsPointer = groupsPointer
        self.subjectPointer = subjectPointer
    }
}

/// A policy release as it is stored.
public struct StoredRelease: Sendable, Hashable {
    /// Its durable id, `pol_…`.
    public var id: Text
    /// Its number within the namespace.
    public var number: UInt64
    /// SHA-256 over names, sources and layers.
    public var digest: [UInt8]
    /// Its documents, by name.
    public var documents: [Document]

    /// Lengths before contents, so that no two lists of documents give the same bytes.
    ///
    /// A layer begins with `+`, where a name would begin with a digit; documents without one have the digest they had before
    /// there were layers.
    public static func digest(of documents: [Document]) -> [UInt8] {
        var stream = SHA256.stream()
        for document in documents.sorted(by: { $0.name < $1.name }) {
            for text in [document.name, document.source] {
                stream.update("\(text.byteCount):".utf8)
                stream.update(text.utf8)
            }
            if let layer = document.layer {
                let bytes = layer.bytes()
                stream.update("+\(bytes.count):".utf8)
                stream.update(bytes)
            }
        }
        return SHA256.finish(stream).bytes
    }

    /// One file of a release.
    public struct Document: Sendable, Hashable {
        /// What people call it.
        public var name: Text
        /// Cedar text.
        public var source: Text
        /// Whose it is; `nil` for the namespace's own.
        public var layer: Layer?

        /// A file of policies.
        public init(name: Text, source: Text, layer: Layer? = nil) {
            self.name = name
            self.source = source
            self.layer = layer
        }
    }

    /// The layer that a document names, as it is stored and signed; what it means is the policies' matter.
    public struct Layer: Sendable, Hashable {
        /// `organisation`, `namespace` or `team`.
        public var rank: Text
        /// Who.
        public var name: Text
        /// Entity uids as Cedar text; `nil` for everything.
        public var owned: [Text]?

        /// A layer.
        public init(rank: Text, name: Text, owned: [Text]?) {
            self.rank = rank
            self.name = name
            self.owned = owned
        }

        /// Canonical JSON: members sorted, no blanks.
        func bytes() -> [UInt8] {
            var writer = JSONWriter(capacity: 128)
            write(to: &writer)
            return writer.finish()
        }
    }
}

extension StoredRelease.Layer: JSONWritable {
    /// Writes the members in the order of their names.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("name", name)
            if let owned {
                writer.array("owned") { writer in owned.forEach { writer.value($0) } }
            }
            writer.member("rank", rank)
        }
    }
}

/// Reads and changes what proxies enforce: `identity_provider`, `subject`, `server`, `tool`,
/// `tool_definition`, `policy_release`, `policy_document`, `policy_activation`, `policy_shadow`, and the version in
/// `namespace`.
public struct ConfigurationStore: Sendable {
    /// The channel on which a change is announced; the payload is the namespace's id.
    public static let channel = Postgres.Identifier("ostiary_configuration")

    let client: PostgresClient

    /// Configurations in this database.
    public init(_ client: PostgresClient) {
        self.client = client
    }

    // MARK: - Reading

    /// The version in force, for the slow poll.
    public func versions() async throws(StoreError) -> [NamespaceID: UInt64] {
        let rows = try await client.run(
            "select id, configuration_version from namespace",
            in: .installation
        )
        return try storing {
            var versions: [NamespaceID: UInt64] = [:]
            for row in rows {
                let (id, version) = try row.decode(UUID.self, Int64.self)
                versions[id] = UInt64(version)
            }
            return versions
        }
    }

    /// Everything of a namespace as of one instant: REPEATABLE READ, one round trip.
    ///
    /// It reads only, so it cannot conflict.
    public func load(_ id: NamespaceID) async throws(StoreError) -> NamespaceConfiguration {
        do {
            let results = try await client.pipeline(
                in: .namespace(id),
                isolation: .repeatableRead,
                retrying: 0
            ) {
                $0.add("set transaction read only")
                for query in Self.reading(id) { $0.add(query) }
            }
            guard let row = try results[1].oneOrNone() else { throw StoreError.namespaceUnknown }
            var tools: [String: [NamespaceConfiguration.PinnedTool]] = [:]
            for row in results[5] {
                let server: String = try row.decode(at: 0)
                tools[server, default: []].append(try .init(row))
            }
            return NamespaceConfiguration(
                namespace: try Namespace(row),
                identityProviders: try results[2].map(IdentityProvider.init),
                subjects: try results[3].map(Subject.init(stored:)),
                servers: try results[4].map { row in
                    var server = try NamespaceConfiguration.Server(row)
                    server.tools = tools[server.name.text.string] ?? []
                    return server
                },
                release: try StoredRelease(results[6], documents: results[7]),
                shadow: try StoredRelease(results[8], documents: results[9])
            )
        } catch {
            throw StoreError(error)
        }
    }

    /// Definitions of tools, canonical JSON, by digest; those whose server is gone are not there.
    public func definitions(
        _ digests: [[UInt8]],
        in namespace: NamespaceID
    ) async throws(StoreError) -> [(digest: [UInt8], canonical: [UInt8])] {
        let rows = try await client.run(
            """
            select distinct on (digest) digest, canonical from tool_definition
            where namespace_id = \(namespace) and digest = any(\(digests))
            """,
            in: .namespace(namespace)
        )
        return try storing {
            try rows.map { try $0.decode([UInt8].self, [UInt8].self) }
        }
    }

    private static func reading(_ id: NamespaceID) -> [Query] {
        [
            """
            select id, name, trust_on_first_use, spooled_reads_allowed, configuration_version,
                policy_reviewers_required
            from namespace where id = \(id)
            """,
            """
            select issuer, jwks::text, audiences, algorithms, token_types, groups_pointer,
                subject_pointer, key_source, jwks_url, private_addresses_allowed
            from identity_provider where namespace_id = \(id) order by issuer
            """,
            """
            select id, issuer, name, kind, status, groups, attributes::text
            from subject where namespace_id = \(id) order by id
            """,
            """
            select name, url, enabled, memberships, credential_header, credential_sealed
            from server where namespace_id = \(id) order by name
            """,
            """
            select server, name, pinned_digest, effect from tool
            where namespace_id = \(id) and pinned_digest is not null order by server, name
            """,
            """
            select r.id, r.number, r.digest from policy_release r
            where r.namespace_id = \(id) and r.number = (
                select release_number from policy_activation
                where namespace_id = \(id) order by id desc limit 1)
            """,
            """
            select d.name, d.source, d.layer_rank, d.layer_name, d.layer_owned
            from policy_document d
            where d.namespace_id = \(id) and d.release_number = (
                select release_number from policy_activation
                where namespace_id = \(id) order by id desc limit 1)
            order by d.name
            """,
            """
            select r.id, r.number, r.digest from policy_release r
            join (select * from policy_shadow where namespace_id = \(id) order by id desc limit 1) s
                on s.namespace_id = r.namespace_id and s.release_number = r.number
            where not exists (
                select 1 from policy_activation a
                where a.namespace_id = s.namespace_id and a.release_number = s.release_number
                    and a.activated_at >= s.changed_at)
            """,
            """
            select d.name, d.source, d.layer_rank, d.layer_name, d.layer_owned
            from policy_document d
            where d.namespace_id = \(id) and d.release_number = (
                select release_number from policy_shadow
                where namespace_id = \(id) order by id desc limit 1)
            order by d.name
            """,
        ]
    }

    // MARK: - Changing

    /// Changes a namespace's configuration in one transaction, which counts the version up and
    /// announces it when something really changed.
    ///
    /// Answers whether it did, so that the same edits can be applied any number of times.
    ///
    /// READ COMMITTED under the lock of the namespace's row: changes of one namespace follow each
    /// other, and versions appear in the order of their numbers.
    ///
    /// - Parameter entry: goes on record with the change, when an administrator is behind it.
    @discardableResult
    public func change(
        _ id: NamespaceID,
        _ edits: [ConfigurationEdit],
        recording entry: AdminEntry? = nil
    ) async throws(StoreError) -> Bool {
        try await client.transact(in: .namespace(id)) { transaction in
            let rows = try await transaction.query(
                "select 1 from namespace where id = \(id) for no key update"
            )
            guard rows.count == 1 else { throw StoreError.namespaceUnknown }
            let isChanged = try await Self.apply(edits, to: id, in: transaction)
            if isChanged, let entry { try await entry.insert(in: transaction) }
            return isChanged
        }
    }

    /// Applies edits in a transaction that holds the lock of the namespace's row; answers whether
    /// they changed what proxies enforce.
    @discardableResult
    public static func apply(
        _ edits: [ConfigurationEdit],
        to id: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Bool {
        let steps = edits.flatMap { $0.steps(in: id) }
        do throws(PostgresError) {
            let results = try await transaction.pipeline { pipeline in
                for step in steps { pipeline.add(step.query) }
            }
            var isChanged = false
            for (step, result) in zip(steps, results) {
                let rows = try result.get()
                isChanged = isChanged || (step.isSeenByProxies && rows.affected > 0)
            }
            guard isChanged else { return false }
            // Sent when the transaction commits, and only then.
            let announcements = try await transaction.pipeline { pipeline in
                pipeline.add(
                    """
                    update namespace set configuration_version = configuration_version + 1
                    where id = \(id)
                    """
                )
                pipeline.add("select pg_notify('ostiary_configuration', \(id.description))")
            }
            for result in announcements { _ = try result.get() }
            return true
        } catch {
            throw .database(error)
        }
    }
}

// MARK: - Rows

extension NamespaceConfiguration.PinnedTool {
    fileprivate init(_ row: Row) throws(PostgresError) {
        name = ToolName(try row.decode(at: 1, as: String.self))
        digest = try row.decode(at: 2)
        effect = Text(try row.decode(at: 3, as: String.self))
    }
}

extension NamespaceConfiguration.Server {
    init(_ row: Row) throws(PostgresError) {
        name = ServerName(try row.decode(at: 0, as: String.self))
        url = Text(try row.decode(at: 1, as: String.self))
        isEnabled = try row.decode(at: 2)
        memberships = try row.decode(at: 3, as: [String].self).map { Text($0) }
        credentialHeader = try row.decode(at: 4, as: String?.self).map { Text($0) }
        credentialSealed = try row.decode(at: 5)
        tools = []
    }
}

extension IdentityProvider {
    init(_ row: Row) throws {
        issuer = Text(try row.decode(at: 0, as: String.self))
        jwks = Text(try row.decode(at: 1, as: String.self))
        audiences = try row.decode(at: 2, as: [String].self).map { Text($0) }
        algorithms = try row.decode(at: 3, as: [String].self).map { Text($0) }
        tokenTypes = try row.decode(at: 4, as: [String].self).map { Text($0) }
        groupsPointer = Text(try row.decode(at: 5, as: String.self))
        subjectPointer = Text(try row.decode(at: 6, as: String.self))
        keySource = try KeySource(stored: try row.decode(at: 7), url: try row.decode(at: 8))
        allowsPrivateAddresses = try row.decode(at: 9)
    }
}

extension IdentityProvider.KeySource {
    /// As it is stored: a word, and the URL that belongs to one of them.
    var stored: (word: String, url: String?) {
        switch self {
        case .uploaded: ("uploaded", nil)
        case .discovery: ("discovery", nil)
        case .url(let url): ("url", url.string)
        }
    }

    init(stored word: String, url: String?) throws(StoreError) {
        switch (word, url) {
        case ("uploaded", nil): self = .uploaded
        case ("discovery", nil): self = .discovery
        case ("url", let url?): self = .url(Text(url))
        default: throw .malformed(what: "identity_provider")
        }
    }
}

extension StoredRelease {
    init(_ row: Row) throws(PostgresError) {
        id = Text(try row.decode(at: 0, as: String.self))
        number = UInt64(try row.decode(at: 1, as: Int64.self))
        digest = try row.decode(at: 2)
        documents = []
    }

    /// The release of at most one row, with the rows of its documents.
    fileprivate init?(_ rows: Rows, documents: Rows) throws {
        guard let row = try rows.oneOrNone() else { return nil }
        try self.init(row)
        self.documents = try documents.map(Document.init)
    }
}

extension StoredRelease.Document {
    /// A row of name, source, and rank, name and possessions of the layer.
    init(_ row: Row) throws(PostgresError) {
        name = try row.requiredText(at: 0)
        source = try row.requiredText(at: 1)
        guard let rank = try row.text(at: 2) else { return }
        layer = StoredRelease.Layer(
            rank: rank,
            name: try row.requiredText(at: 3),
            owned: try row.decode(at: 4, as: [String]?.self)?.map { Text($0) }
        )
    }
}

extension Subject {
    init(stored row: Row) throws {
        let (id, issuer, name) = try row.decode(String.self, String.self, String.self)
        guard let kind = Kind(rawValue: try row.decode(at: 3)),
            let status = Status(rawValue: try row.decode(at: 4)),
            let document = try? JSONDocument(parsing: try row.decode(at: 6, as: String.self))
        else { throw StoreError.malformed(what: "subject") }
        var attributes: [Text: Text] = [:]
        for (key, value) in document.root.members {
            guard let text = value.string else { throw StoreError.malformed(what: "subject") }
            attributes[key.text] = text
        }
        self.init(
            id: SubjectID(id),
            issuer: Text(issuer),
            name: Text(name),
            kind: kind,
            status: status,
            groups: try row.decode(at: 5, as: [String].self).map { Text($0) },
            attributes: attributes
        )
    }
}
