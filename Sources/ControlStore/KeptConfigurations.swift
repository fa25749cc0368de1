import Cryptography
public import Postgres

/// Configurations as they were published, by version: `kept_configuration`.
///
/// A record names the version its decision rested on; here are the subjects, servers and policies of that version. The
/// bytes are the caller's, packed as it likes; they name people, so they stand under the namespace's `parts` key, and who
/// destroys that key erases them with the parts of the records.
///
/// A version is forgotten once another took its place so many days ago, ``keptDaysMin`` at least: the database refuses
/// earlier. The newest is never forgotten.
public struct KeptConfigurationStore: Sendable {
    /// The fewest days that a version stays after another took its place.
    public static let keptDaysMin: Int64 = 30

    private let client: PostgresClient
    private let keys: KeyStore

    /// Configurations in this database.
    public init(_ client: PostgresClient, keys: KeyStore) {
        self.client = client
        self.keys = keys
    }

    /// Keeps a version; what was kept of it first stays.
    ///
    /// Of several replicas that publish one version each may call this: they differ in nothing that decides.
    public func keep(
        _ packed: [UInt8],
        version: UInt64,
        of namespace: NamespaceID,
        under key: NamespaceKey
    ) async throws(StoreError) {
        let sealed = try storing {
            try AEAD(key.key).seal(packed, authenticating: Self.place(version, namespace))
        }
        _ = try await client.run(
            """
            insert into kept_configuration (namespace_id, version, key_id, sealed)
            values (\(namespace), \(Int64(version)), \(key.id), \(sealed))
            on conflict do nothing
            """,
            in: .namespace(namespace)
        )
    }

    /// What was kept of a version; `nil` when it was forgotten, never published, or its key was destroyed.
    public func configuration(
        _ version: UInt64,
        of namespace: NamespaceID
    ) async throws(StoreError) -> [UInt8]? {
        let rows = try await client.run(
            """
            select key_id, sealed from kept_configuration
            where namespace_id = \(namespace) and version = \(Int64(clamping: version))
            """,
            in: .namespace(namespace)
        )
        let found = try storing { try rows.oneOrNone()?.decode(String.self, [UInt8].self) }
        guard let (id, sealed) = found, let key = try await keys.key(id, of: namespace) else {
            return nil
        }
        return try storing {
            try AEAD(key).open(sealed, authenticating: Self.place(version, namespace))
        }
    }

    /// Forgets the versions of a namespace that others took the place of more than `days` ago; answers how many.
    @discardableResult
    public func forget(
        olderThanDays days: Int64,
        in namespace: NamespaceID
    ) async throws(StoreError) -> Int {
        precondition(days >= Self.keptDaysMin, "a configuration stays for 30 days at least")
        return try await client.run(
            """
            delete from kept_configuration k
            where k.namespace_id = \(namespace) and exists (
                select 1 from kept_configuration n
                where n.namespace_id = k.namespace_id and n.version > k.version
                    and n.published_at < now() - \(days) * interval '1 day')
            """,
            in: .namespace(namespace)
        ).affected
    }

    private static func place(_ version: UInt64, _ namespace: NamespaceID) -> [UInt8] {
        Array("ostiary-configuration-v1\n\(namespace)/\(version)".utf8)
    }
}
