public import GatewayModel
public import JSON
public import Postgres

/// A release as it is stored, for administrators.
public struct ReleaseRow: Sendable, Listed {
    /// The release; its documents only where one release is read.
    public var release: StoredRelease
    /// Who made it.
    public let createdBy: Text
    /// When it was made.
    public let createdAt: GatewayModel.Timestamp
    /// Whether it is in force.
    public let isActive: Bool
    /// Its number.
    public var key: Text { Text("\(release.number)") }
}

/// An activation as it is stored.
public struct ActivationRow: Sendable, Listed {
    /// Its number.
    public let id: Int64
    /// The release that came into force.
    public let release: UInt64
    /// Who did it.
    public let activatedBy: Text
    /// When.
    public let activatedAt: GatewayModel.Timestamp
    /// Its number.
    public var key: Text { Text("\(id)") }
}

// Policies: `policy_release`, `policy_document`, `policy_activation`.
extension AdministrationStore {
    /// Releases before `number`, newest first, without documents.
    public func releases(
        of namespace: NamespaceID,
        before number: Int64,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [ReleaseRow] {
        let rows = try await transaction.run(
            """
            select r.id, r.number, r.digest, r.created_by, r.created_at, r.number = (
                select release_number from policy_activation
                where namespace_id = \(namespace) order by id desc limit 1)
            from policy_release r where r.namespace_id = \(namespace) and r.number < \(number)
            order by r.number desc limit \(Int64(limit))
            """
        )
        return try storing { try rows.map(ReleaseRow.init) }
    }

    /// A release with its documents.
    public func release(
        _ number: Int64,
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> ReleaseRow? {
        guard number < Int64.max,
            var row = try await releases(
                of: namespace,
                before: number + 1,
                limit: 1,
                in: transaction
            ).first,
            row.release.number == UInt64(number)
        else { return nil }
        let documents = try await transaction.run(
            """
            select name, source from policy_document
            where namespace_id = \(namespace) and release_number = \(number)
            order by name collate "C"
            """
        )
        row.release.documents = try storing {
            try documents.map {
                .init(name: try $0.requiredText(at: 0), source: try $0.requiredText(at: 1))
            }
        }
        return row
    }

    /// The release in force, with its documents.
    public func activeRelease(
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> ReleaseRow? {
        guard
            let newest = try await activations(
                of: namespace,
                before: .max,
                limit: 1,
                in: transaction
            ).first
        else { return nil }
        return try await release(Int64(newest.release), of: namespace, in: transaction)
    }

    /// Makes the next release of documents that are known to compile; it is not in force yet.
    public func makeRelease(
        _ documents: [StoredRelease.Document],
        by actor: Text,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Int64 {
        let documents = documents.sorted { $0.name < $1.name }
        let rows = try await transaction.run(
            """
            insert into policy_release (namespace_id, number, id, digest, created_by)
            select \(namespace), coalesce(max(number), 0) + 1, \("pol_\(Postgres.UUID.random())"),
                \(ConfigurationEdit.digest(of: documents)), \(actor.string)
            from policy_release where namespace_id = \(namespace)
            returning number
            """
        )
        let number: Int64 = try storing { try rows.one().decode(at: 0) }
        _ = try await transaction.run(
            """
            insert into policy_document (namespace_id, release_number, name, source)
            select \(namespace), \(number), name, source
            from unnest(\(documents.map(\.name.string)), \(documents.map(\.source.string)))
                as d (name, source)
            """
        )
        return number
    }

    /// Activations before `id`, newest first.
    public func activations(
        of namespace: NamespaceID,
        before id: Int64,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [ActivationRow] {
        let rows = try await transaction.run(
            """
            select id, release_number, activated_by, activated_at from policy_activation
            where namespace_id = \(namespace) and id < \(id)
            order by id desc limit \(Int64(limit))
            """
        )
        return try storing {
            try rows.map { row in
                ActivationRow(
                    id: try row.decode(at: 0),
                    release: UInt64(try row.decode(at: 1, as: Int64.self)),
                    activatedBy: try row.requiredText(at: 2),
                    activatedAt: try row.time(at: 3)
                )
            }
        }
    }
}

extension ReleaseRow {
    init(_ row: Row) throws(PostgresError) {
        release = try StoredRelease(row)
        createdBy = try row.requiredText(at: 3)
        createdAt = try row.time(at: 4)
        isActive = try row.decode(at: 5, as: Bool?.self) ?? false
    }
}
