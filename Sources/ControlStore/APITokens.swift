public import Cryptography
public import GatewayModel
public import JSON
public import Postgres

/// A token of the REST interface as it is stored: never the token itself.
public struct APITokenRow: Sendable, Listed {
    /// Its id; what administrative records name.
    public let id: Text
    /// What people call it.
    public let name: Text
    /// The one namespace it reaches; `nil`: the installation.
    public let namespace: (id: NamespaceID, name: NamespaceName)?
    /// What it may.
    public let role: Role
    /// Who made it.
    public let createdBy: Text
    /// When it was made.
    public let createdAt: GatewayModel.Timestamp
    /// When it ends.
    public let expiresAt: GatewayModel.Timestamp
    /// Since when it is refused.
    public let revokedAt: GatewayModel.Timestamp?
    /// The people whose tokens made this one, directly or through others; only where a token is used.
    public var issuedBy: [Text] = []
    /// Who acts with it.
    public var person: Person { Person(name: name, issuedBy: issuedBy) }
    /// When it was made, and its id.
    public var key: Text { Text("\(createdAt.microseconds) \(id)") }

    /// What tokens may.
    public enum Role: String, Sendable {
        /// Reads and changes.
        case administrator
        /// Reads.
        case auditor
    }
}

// Tokens of the REST interface: `api_token`. They are 256 random bits, so that a plain digest protects them.
extension AdministrationStore {
    /// The token that is valid now and has these bytes.
    public func valid(
        _ token: Secret,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> APITokenRow? {
        let rows = try await transaction.run(
            """
            select t.id, t.name, t.namespace_id, n.name, t.role, t.created_by, t.created_at,
                t.expires_at, t.revoked_at, \(shared: Self.issuers)
            from api_token t left join namespace n on n.id = t.namespace_id
            where t.digest = \(Self.digest(token)) and t.revoked_at is null
                and t.expires_at > now()
            """
        )
        return try storing {
            guard let row = try rows.oneOrNone() else { return nil }
            var token = try APITokenRow(row)
            token.issuedBy = try row.decode(at: 9, as: [String].self).map { Text($0) }
            return token
        }
    }

    /// The people whose tokens made the token `t`, directly or through others.
    static let issuers: StaticString = """
        array(
            with recursive issuer as (
                select i.name, i.created_by from api_token i where i.id = t.created_by
                union
                select i.name, i.created_by from api_token i join issuer on i.id = issuer.created_by)
            select distinct name from issuer)
        """

    /// Tokens, newest first, only those of `namespace` if that is set.
    public func apiTokens(
        of namespace: NamespaceID?,
        id: Text? = nil,
        after: (createdAt: GatewayModel.Timestamp, id: Text)? = nil,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [APITokenRow] {
        let created = after.map { Postgres.Timestamp(microseconds: $0.createdAt.microseconds) }
        let rows = try await transaction.run(
            """
            select t.id, t.name, t.namespace_id, n.name, t.role, t.created_by, t.created_at,
                t.expires_at, t.revoked_at
            from api_token t left join namespace n on n.id = t.namespace_id
            where (\(namespace)::uuid is null or t.namespace_id = \(namespace))
                and (\(id?.string)::text is null or t.id = \(id?.string))
                and (\(created)::timestamptz is null
                    or (t.created_at, t.id) < (\(created), \(after?.id.string)))
            order by t.created_at desc, t.id desc limit \(Int64(limit))
            """
        )
        return try storing { try rows.map(APITokenRow.init) }
    }

    /// Keeps the digest of a token; answers its id.
    public func addAPIToken(
        _ token: Secret,
        name: Text,
        role: APITokenRow.Role,
        namespace: NamespaceID?,
        lifetimeSeconds: Int64,
        by actor: Text,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Text {
        let id = Text("tok_\(Postgres.UUID.random())")
        _ = try await transaction.run(
            """
            insert into api_token (digest, id, name, namespace_id, role, created_by, expires_at)
            values (\(Self.digest(token)), \(id.string), \(name.string), \(namespace),
                \(role.rawValue), \(actor.string),
                now() + \(lifetimeSeconds) * interval '1 second')
            """
        )
        return id
    }

    /// Refuses a token from now on; answers whether it was not refused before.
    public func revokeAPIToken(
        _ id: Text,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Bool {
        try await transaction.run(
            """
            update api_token set revoked_at = now()
            where id = \(id.string) and revoked_at is null
            """
        ).affected == 1
    }

    private static func digest(_ token: Secret) -> [UInt8] {
        token.withUnsafeBytes { SHA256.digest(of: $0).bytes }
    }
}

extension APITokenRow {
    init(_ row: Row) throws {
        id = try row.requiredText(at: 0)
        name = try row.requiredText(at: 1)
        let namespaceID: NamespaceID? = try row.decode(at: 2)
        namespace =
            if let namespaceID, let name = try row.text(at: 3) {
                (namespaceID, NamespaceName(name))
            } else { nil }
        guard let role = Role(rawValue: try row.decode(at: 4)) else {
            throw StoreError.malformed(what: "api_token")
        }
        self.role = role
        createdBy = try row.requiredText(at: 5)
        createdAt = try row.time(at: 6)
        expiresAt = try row.time(at: 7)
        revokedAt = try row.timeOrNone(at: 8)
    }
}
