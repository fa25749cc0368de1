public import Cryptography
public import GatewayModel
public import JSON
public import Postgres

/// A proxy as it is stored, for administrators.
public struct ProxyRow: Sendable, Listed {
    /// Its name.
    public let name: InstanceID
    /// When it first enrolled.
    public let enrolledAt: GatewayModel.Timestamp
    /// Since when it is refused.
    public let revokedAt: GatewayModel.Timestamp?
    /// Its newest epoch; 0 before it first connected.
    public let epoch: Int64
    /// What it runs.
    public let softwareVersion: Text?
    /// Until when it may enforce what it has.
    public let leaseUntil: GatewayModel.Timestamp?
    /// Whether its newest epoch is open.
    public let isConnected: Bool
    /// Its name.
    public var key: Text { name.text }
}

/// An enrolment token as it is stored: never the token itself.
public struct EnrolmentTokenRow: Sendable, Listed {
    /// Its id, made of its digest.
    public let id: Text
    /// The name the proxy will have.
    public let proxy: InstanceID
    /// When it was made.
    public let createdAt: GatewayModel.Timestamp
    /// When it ends.
    public let expiresAt: GatewayModel.Timestamp
    /// When a proxy used it, or it was withdrawn.
    public let spentAt: GatewayModel.Timestamp?
    /// When it was made, and its id.
    public var key: Text { Text("\(createdAt.microseconds) \(id)") }
}

// Proxies: `instance`, `epoch`, `enrolment_token`.
extension AdministrationStore {
    /// Proxies by name.
    public func proxies(
        of namespace: NamespaceID,
        named name: InstanceID? = nil,
        after: Text?,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [ProxyRow] {
        let rows = try await transaction.run(
            """
            select i.name, i.created_at, i.revoked_at, i.last_epoch, e.software_version,
                e.lease_until, e.epoch is not null and e.closed_at is null
            from instance i left join epoch e on e.namespace_id = i.namespace_id
                and e.instance = i.name and e.epoch = i.last_epoch
            where i.namespace_id = \(namespace) and i.kind = 'proxy'
                and (\(name?.text.string)::text is null or i.name = \(name?.text.string))
                and i.name > \(after?.string ?? "")
            order by i.name limit \(Int64(limit))
            """
        )
        return try storing {
            try rows.map { row in
                ProxyRow(
                    name: InstanceID(try row.requiredText(at: 0)),
                    enrolledAt: try row.time(at: 1),
                    revokedAt: try row.timeOrNone(at: 2),
                    epoch: try row.decode(at: 3),
                    softwareVersion: try row.text(at: 4),
                    leaseUntil: try row.timeOrNone(at: 5),
                    isConnected: try row.decode(at: 6)
                )
            }
        }
    }

    /// Refuses a proxy from now on; its stream ends with its next heartbeat.
    public func revokeProxy(
        _ name: InstanceID,
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Bool {
        try await transaction.run(
            """
            update instance set revoked_at = now()
            where namespace_id = \(namespace) and name = \(name.text.string)
                and revoked_at is null
            """
        ).affected == 1
    }

    /// Enrolment tokens, newest first.
    public func enrolmentTokens(
        of namespace: NamespaceID,
        id: Text? = nil,
        after: (createdAt: GatewayModel.Timestamp, id: Text)? = nil,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [EnrolmentTokenRow] {
        let created = after.map { Postgres.Timestamp(microseconds: $0.createdAt.microseconds) }
        let rows = try await transaction.run(
            """
            select t.id, t.instance, t.created_at, t.expires_at, t.spent_at from (
                select 'enr_' || left(encode(digest, 'hex'), 32) as id, * from enrolment_token
                where namespace_id = \(namespace)) t
            where (\(id?.string)::text is null or t.id = \(id?.string))
                and (\(created)::timestamptz is null
                    or (t.created_at, t.id) < (\(created), \(after?.id.string)))
            order by t.created_at desc, t.id desc limit \(Int64(limit))
            """
        )
        return try storing {
            try rows.map { row in
                EnrolmentTokenRow(
                    id: try row.requiredText(at: 0),
                    proxy: InstanceID(try row.requiredText(at: 1)),
                    createdAt: try row.time(at: 2),
                    expiresAt: try row.time(at: 3),
                    spentAt: try row.timeOrNone(at: 4)
                )
            }
        }
    }

    /// Keeps the digest of a token that enrols `proxy`; answers its id.
    public func addEnrolmentToken(
        _ token: Secret,
        for proxy: InstanceID,
        of namespace: NamespaceID,
        lifetimeSeconds: Int64,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Text {
        guard InstanceStore.isWellFormed(proxy), proxy != EpochStore.control else {
            throw .nameRefused
        }
        let digest = token.withUnsafeBytes { SHA256.digest(of: $0) }
        _ = try await transaction.run(
            """
            insert into enrolment_token (digest, namespace_id, instance, expires_at)
            values (\(digest.bytes), \(namespace), \(proxy.text.string),
                    now() + \(lifetimeSeconds) * interval '1 second')
            """
        )
        return Text("enr_" + digest.description.prefix(32))
    }

    /// Makes sure that a token cannot be used; answers whether it could have been.
    public func withdrawEnrolmentToken(
        _ id: Text,
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Bool {
        try await transaction.run(
            """
            update enrolment_token set spent_at = now()
            where namespace_id = \(namespace) and spent_at is null
                and 'enr_' || left(encode(digest, 'hex'), 32) = \(id.string)
            """
        ).affected == 1
    }
}
