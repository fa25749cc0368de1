public import Cryptography
public import GatewayModel
import JSON
public import Postgres

/// Proxies and their way in: `instance`, `enrolment_token`.
public struct InstanceStore: Sendable {
    private let client: PostgresClient

    /// Instances in this database.
    public init(_ client: PostgresClient) {
        self.client = client
    }

    /// Whom an enrolment token was for.
    public struct Enrolment: Sendable, Hashable {
        /// The namespace's key.
        public let namespaceID: NamespaceID
        /// The namespace's name.
        public let namespace: NamespaceName
        /// The instance that was enrolled.
        public let instance: InstanceID
    }

    /// Keeps the digest of a token that lets one process enrol as `instance`, once, within
    /// `lifetimeSeconds`.
    public func addToken(
        _ token: Secret,
        for instance: InstanceID,
        of namespace: NamespaceID,
        lifetimeSeconds: Int64
    ) async throws(StoreError) {
        guard Self.isWellFormed(instance), instance != EpochStore.control else {
            throw .nameRefused
        }
        _ = try await client.run(
            """
            insert into enrolment_token (digest, namespace_id, instance, expires_at)
            values (\(Self.digest(token)), \(namespace), \(instance.text.string),
                    now() + \(lifetimeSeconds) * interval '1 second')
            """,
            in: .namespace(namespace)
        )
    }

    /// Spends a token and makes its instance, in one transaction; `nil` when the token is unknown,
    /// spent or too old.
    ///
    /// An instance that is there already is enrolled again, a new process in its place; a revoked
    /// one throws ``StoreError/instanceRefused`` and the token stays unspent.
    public func spendToken(_ token: Secret) async throws(StoreError) -> Enrolment? {
        // READ COMMITTED: of two that spend one token, the second waits for the row and then finds
        // it spent.
        try await client.transact(in: .installation) { transaction in
            let spent = try await transaction.query(
                """
                update enrolment_token t set spent_at = now()
                from namespace s
                where t.digest = \(Self.digest(token)) and t.spent_at is null
                    and t.expires_at > now()
                    and s.id = t.namespace_id
                returning t.namespace_id, s.name, t.instance
                """
            )
            guard let row = try spent.oneOrNone() else { return nil }
            let (namespace, name, instance) = try row.decode(UUID.self, String.self, String.self)
            try await transaction.enter(.namespace(namespace))
            let made = try await transaction.query(
                """
                insert into instance (namespace_id, name, kind)
                values (\(namespace), \(instance), 'proxy')
                on conflict (namespace_id, name) do update set kind = excluded.kind
                where instance.revoked_at is null and instance.kind = 'proxy'
                """
            )
            guard made.affected == 1 else { throw StoreError.instanceRefused }
            return Enrolment(
                namespaceID: namespace,
                namespace: NamespaceName(name),
                instance: InstanceID(instance)
            )
        }
    }

    /// Makes an instance without a token, for development and tests.
    public func ensure(
        _ instance: InstanceID,
        of namespace: NamespaceID
    ) async throws(StoreError) {
        guard Self.isWellFormed(instance), instance != EpochStore.control else {
            throw .nameRefused
        }
        _ = try await client.run(
            """
            insert into instance (namespace_id, name, kind)
            values (\(namespace), \(instance.text.string), 'proxy') on conflict do nothing
            """,
            in: .namespace(namespace)
        )
    }

    /// Whether the instance is known and not revoked.
    public func isAccepted(
        _ instance: InstanceID,
        of namespace: NamespaceID
    ) async throws(StoreError) -> Bool {
        try await client.run(
            """
            select 1 from instance
            where namespace_id = \(namespace) and name = \(instance.text.string)
                and kind = 'proxy' and revoked_at is null
            """,
            in: .namespace(namespace)
        ).count == 1
    }

    /// Refuses the instance from now on; its stream ends with its next heartbeat.
    public func revoke(
        _ instance: InstanceID,
        of namespace: NamespaceID
    ) async throws(StoreError) {
        _ = try await client.run(
            """
            update instance set revoked_at = now()
            where namespace_id = \(namespace) and name = \(instance.text.string)
                and revoked_at is null
            """,
            in: .namespace(namespace)
        )
    }

    /// An instance's name is an RFC 1123 label, as a namespace's is: both stand in the
    /// certificate's URI.
    public static func isWellFormed(_ instance: InstanceID) -> Bool {
        NamespaceName(instance.text).isWellFormed
    }

    private static func digest(_ token: Secret) -> [UInt8] {
        token.withUnsafeBytes { SHA256.digest(of: $0).bytes }
    }
}
