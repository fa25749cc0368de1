public import GatewayModel
public import JSON
public import Postgres

/// An identity provider as it is stored, for administrators.
public struct IdentityProviderRow: Sendable, Listed {
    /// Its id, made of its issuer.
    public let id: Text
    /// What proxies are told of it.
    public let provider: IdentityProvider
    /// When it was added.
    public let createdAt: GatewayModel.Timestamp
    /// When it was changed.
    public let updatedAt: GatewayModel.Timestamp
    /// Its issuer.
    public var key: Text { provider.issuer }
}

/// How fetching the keys of an issuer goes.
public struct KeyStatusRow: Sendable {
    /// When they were last asked for.
    public let attemptedAt: GatewayModel.Timestamp
    /// When they last came.
    public let fetchedAt: GatewayModel.Timestamp?
    /// When they are asked for again.
    public let dueAt: GatewayModel.Timestamp
    /// Why they did not come, a stable code.
    public let failure: Text?
}

/// A subject as it is stored, for administrators.
public struct SubjectRow: Sendable, Listed {
    /// The subject.
    public let subject: Subject
    /// When it was added.
    public let createdAt: GatewayModel.Timestamp
    /// When it was changed.
    public let updatedAt: GatewayModel.Timestamp
    /// Its id.
    public var key: Text { subject.id.text }
}

/// A group that has members.
public struct GroupRow: Sendable, Listed {
    /// Its name.
    public let name: Text
    /// How many subjects are in it.
    public let members: Int64
    /// Its name.
    public var key: Text { name }
}

// The directory: `identity_provider`, `subject`. Keys are compared as bytes (collation "C").
extension AdministrationStore {
    /// Identity providers by issuer.
    public func identityProviders(
        of namespace: NamespaceID,
        after: Text?,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [IdentityProviderRow] {
        let rows = try await transaction.run(
            """
            select issuer, jwks::text, audiences, algorithms, token_types, groups_pointer,
                subject_pointer, key_source, jwks_url, private_addresses_allowed,
                created_at, updated_at,
                'idp_' || left(encode(sha256(convert_to(issuer, 'UTF8')), 'hex'), 32)
            from identity_provider
            where namespace_id = \(namespace) and issuer collate "C" > \(after?.string ?? "")
            order by issuer collate "C" limit \(Int64(limit))
            """
        )
        return try storing { try rows.map(IdentityProviderRow.init) }
    }

    /// The identity provider of this id.
    public func identityProvider(
        _ id: Text,
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> IdentityProviderRow? {
        let rows = try await transaction.run(
            """
            select issuer, jwks::text, audiences, algorithms, token_types, groups_pointer,
                subject_pointer, key_source, jwks_url, private_addresses_allowed,
                created_at, updated_at,
                'idp_' || left(encode(sha256(convert_to(issuer, 'UTF8')), 'hex'), 32)
            from identity_provider
            where namespace_id = \(namespace)
                and 'idp_' || left(encode(sha256(convert_to(issuer, 'UTF8')), 'hex'), 32)
                    = \(id.string)
            """
        )
        return try storing { try rows.oneOrNone().map(IdentityProviderRow.init) }
    }

    /// The identity provider of this issuer.
    public func identityProvider(
        issuer: Text,
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> IdentityProviderRow? {
        let rows = try await transaction.run(
            """
            select issuer, jwks::text, audiences, algorithms, token_types, groups_pointer,
                subject_pointer, key_source, jwks_url, private_addresses_allowed,
                created_at, updated_at,
                'idp_' || left(encode(sha256(convert_to(issuer, 'UTF8')), 'hex'), 32)
            from identity_provider
            where namespace_id = \(namespace) and issuer = \(issuer.string)
            """
        )
        return try storing { try rows.oneOrNone().map(IdentityProviderRow.init) }
    }

    /// How fetching an issuer's keys goes; `nil` while nobody tried.
    public func keyStatus(
        of issuer: Text,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> KeyStatusRow? {
        let rows = try await transaction.run(
            """
            select attempted_at, fetched_at, due_at, failure from identity_provider_fetch
            where namespace_id = \(namespace) and issuer = \(issuer.string)
            """
        )
        return try storing {
            try rows.oneOrNone().map { row in
                KeyStatusRow(
                    attemptedAt: try row.time(at: 0),
                    fetchedAt: try row.timeOrNone(at: 1),
                    dueAt: try row.time(at: 2),
                    failure: try row.text(at: 3)
                )
            }
        }
    }

    /// How many subjects an issuer has.
    public func subjectCount(
        issuer: Text,
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Int64 {
        let rows = try await transaction.run(
            """
            select count(*) from subject
            where namespace_id = \(namespace) and issuer = \(issuer.string)
            """
        )
        return try storing { try rows.one().decode(at: 0) }
    }

    /// Subjects by id.
    public func subjects(
        of namespace: NamespaceID,
        group: Text? = nil,
        status: Text? = nil,
        after: Text?,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [SubjectRow] {
        let rows = try await transaction.run(
            """
            select id, issuer, name, kind, status, groups, attributes::text, created_at, updated_at
            from subject
            where namespace_id = \(namespace) and id collate "C" > \(after?.string ?? "")
                and (\(group?.string)::text is null or \(group?.string) = any (groups))
                and (\(status?.string)::text is null or status = \(status?.string))
            order by id collate "C" limit \(Int64(limit))
            """
        )
        return try storing { try rows.map(SubjectRow.init) }
    }

    /// The subject of this id.
    public func subject(
        _ id: SubjectID,
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> SubjectRow? {
        let rows = try await transaction.run(
            """
            select id, issuer, name, kind, status, groups, attributes::text, created_at, updated_at
            from subject where namespace_id = \(namespace) and id = \(id.text.string)
            """
        )
        return try storing { try rows.oneOrNone().map(SubjectRow.init) }
    }

    /// The subject that an issuer calls `name`.
    public func subject(
        named name: Text,
        issuer: Text,
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> SubjectRow? {
        let rows = try await transaction.run(
            """
            select id, issuer, name, kind, status, groups, attributes::text, created_at, updated_at
            from subject where namespace_id = \(namespace) and issuer = \(issuer.string)
                and name = \(name.string)
            """
        )
        return try storing { try rows.oneOrNone().map(SubjectRow.init) }
    }

    /// Groups by name.
    public func groups(
        of namespace: NamespaceID,
        after: Text?,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [GroupRow] {
        let rows = try await transaction.run(
            """
            select g.name, count(*) from subject s, unnest(s.groups) as g (name)
            where s.namespace_id = \(namespace) and g.name collate "C" > \(after?.string ?? "")
            group by g.name order by g.name collate "C" limit \(Int64(limit))
            """
        )
        return try storing {
            try rows.map {
                GroupRow(name: try $0.requiredText(at: 0), members: try $0.decode(at: 1))
            }
        }
    }
}

extension IdentityProviderRow {
    init(_ row: Row) throws {
        provider = try IdentityProvider(row)
        createdAt = try row.time(at: 10)
        updatedAt = try row.time(at: 11)
        id = try row.requiredText(at: 12)
    }
}

extension SubjectRow {
    init(_ row: Row) throws {
        subject = try Subject(stored: row)
        createdAt = try row.time(at: 7)
        updatedAt = try row.time(at: 8)
    }
}
