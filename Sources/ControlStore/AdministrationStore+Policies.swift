public import GatewayModel
public import JSON
public import Postgres

/// A release as it is stored, for administrators.
public struct ReleaseRow: Sendable, Listed {
    /// The release; its documents only where one release is read.
    public var release: StoredRelease
    /// The API token, or the command, that made it.
    public let createdBy: Text
    /// When it was made.
    public let createdAt: GatewayModel.Timestamp
    /// Who made it; absent in releases from before makers were kept.
    public let maker: Person?
    /// Whether it is evaluated beside the one in force.
    public let isShadow: Bool
    /// Whether it is in force.
    public let isActive: Bool
    /// Whether it is in force, or was.
    public let wasActivated: Bool
    /// How many people approved it.
    public let approvals: Int
    /// How many people rejected it.
    public let rejections: Int
    /// Its number.
    public var key: Text { Text("\(release.number)") }
}

/// An activation as it is stored.
public struct ActivationRow: Sendable, Listed {
    /// Its number.
    public let id: Int64
    /// The release that came into force.
    public let release: UInt64
    /// Whether that release had been in force before.
    public let isRollback: Bool
    /// Whether it was accepted that calls go on which did not before.
    public let acceptsWidening: Bool
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
            select r.id, r.number, r.digest, r.created_by, r.created_at, r.maker,
                r.maker_issued_by, r.number = (
                    select release_number from policy_activation
                    where namespace_id = \(namespace) order by id desc limit 1),
                exists (
                    select from policy_activation a
                    where a.namespace_id = \(namespace) and a.release_number = r.number),
                v.approvals, v.rejections, exists (
                    select from (
                        select * from policy_shadow where namespace_id = \(namespace)
                        order by id desc limit 1) s
                    where s.release_number = r.number and not exists (
                        select from policy_activation a
                        where a.namespace_id = \(namespace) and a.release_number = r.number
                            and a.activated_at >= s.changed_at))
            from policy_release r, lateral (
                select count(*) filter (where verdict = 'approved') as approvals,
                    count(*) filter (where verdict = 'rejected') as rejections
                from policy_review
                where namespace_id = \(namespace) and release_number = r.number) v
            where r.namespace_id = \(namespace) and r.number < \(number)
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
            select name, source, layer_rank, layer_name, layer_owned from policy_document
            where namespace_id = \(namespace) and release_number = \(number)
            order by name collate "C"
            """
        )
        row.release.documents = try storing { try documents.map(StoredRelease.Document.init) }
        return row
    }

    /// The number of the release in force.
    public func activeReleaseNumber(
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> UInt64? {
        try await activations(of: namespace, before: .max, limit: 1, in: transaction).first?.release
    }

    /// The release in force, with its documents.
    public func activeRelease(
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> ReleaseRow? {
        guard let number = try await activeReleaseNumber(of: namespace, in: transaction) else {
            return nil
        }
        return try await release(Int64(number), of: namespace, in: transaction)
    }

    /// The newest release after `number` with these contents.
    public func release(
        of documents: [StoredRelease.Document],
        after number: UInt64,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Int64? {
        let rows = try await transaction.run(
            """
            select max(number) from policy_release
            where namespace_id = \(namespace) and number > \(Int64(number))
                and digest = \(StoredRelease.digest(of: documents))
            """
        )
        return try storing { try rows.one().decode(at: 0) }
    }

    /// Makes the next release of documents that are known to compile, as a draft; answers its number.
    ///
    /// The caller holds the namespace's lock, so that numbers follow each other.
    public func makeRelease(
        _ documents: [StoredRelease.Document],
        of namespace: Namespace,
        by maker: Person,
        with token: Text,
        basis: ReleaseManifest.Basis,
        signer: ReleaseSigner,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Int64 {
        let documents = documents.sorted { $0.name < $1.name }
        let next = try await transaction.run(
            """
            select coalesce(max(number), 0) + 1, now() from policy_release
            where namespace_id = \(namespace.id)
            """
        )
        let (number, signed) = try storing {
            let number: Int64 = try next.one().decode(at: 0)
            let manifest = ReleaseManifest(
                namespace: namespace.name,
                number: UInt64(number),
                documents: documents,
                maker: maker.name,
                createdBy: token,
                createdAt: try next.one().time(at: 1),
                basis: basis
            )
            return (number, try signer.sign(manifest))
        }
        _ = try await transaction.run(
            """
            insert into policy_release (namespace_id, number, id, digest, created_by, maker,
                maker_issued_by, manifest, signature, key_id)
            values (\(namespace.id), \(number), \("pol_\(Postgres.UUID.random())"),
                \(StoredRelease.digest(of: documents)), \(token.string), \(maker.name.string),
                \(maker.issuedBy.map(\.string)), \(signed.bytes), \(signed.signature),
                \(signed.keyID.string))
            """
        )
        // Possessions are arrays, which do not stand in arrays: as JSON, and of nothing NULL.
        let owned = documents.map { $0.layer?.owned.map(Self.json(of:)) }
        _ = try await transaction.run(
            """
            insert into policy_document (namespace_id, release_number, name, source, layer_rank,
                layer_name, layer_owned)
            select \(namespace.id), \(number), name, source, layer_rank, layer_name,
                case when owned is not null then array(
                    select uid from json_array_elements_text(owned::json)
                        with ordinality as o (uid, n)
                    order by n) end
            from unnest(\(documents.map(\.name.string)), \(documents.map(\.source.string)),
                \(documents.map { $0.layer?.rank.string }),
                \(documents.map { $0.layer?.name.string }), \(owned))
                as d (name, source, layer_rank, layer_name, owned)
            """
        )
        return number
    }

    private static func json(of texts: [Text]) -> String {
        var writer = JSONWriter()
        writer.array { writer in texts.forEach { writer.value($0) } }
        return String(decoding: writer.finish(), as: UTF8.self)
    }

    /// The signed manifest of a release; `nil` for a release from before they were signed.
    public func manifest(
        of release: UInt64,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> SignedManifest? {
        let rows = try await transaction.run(
            """
            select manifest, signature, key_id from policy_release
            where namespace_id = \(namespace) and number = \(Int64(release))
                and manifest is not null
            """
        )
        return try storing {
            try rows.oneOrNone().map { row in
                SignedManifest(
                    bytes: try row.decode(at: 0),
                    signature: try row.decode(at: 1),
                    keyID: try row.requiredText(at: 2)
                )
            }
        }
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
            select a.id, a.release_number, a.activated_by, a.activated_at, exists (
                select from policy_activation e where e.namespace_id = \(namespace)
                    and e.release_number = a.release_number and e.id < a.id), a.accepts_widening
            from policy_activation a
            where a.namespace_id = \(namespace) and a.id < \(id)
            order by a.id desc limit \(Int64(limit))
            """
        )
        return try storing {
            try rows.map { row in
                ActivationRow(
                    id: try row.decode(at: 0),
                    release: UInt64(try row.decode(at: 1, as: Int64.self)),
                    isRollback: try row.decode(at: 4),
                    acceptsWidening: try row.decode(at: 5),
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
        let issuers = try row.decode(at: 6, as: [String].self).map { Text($0) }
        maker = try row.text(at: 5).map { Person(name: $0, issuedBy: issuers) }
        isShadow = try row.decode(at: 11)
        isActive = try row.decode(at: 7, as: Bool?.self) ?? false
        wasActivated = try row.decode(at: 8)
        approvals = Int(try row.decode(at: 9, as: Int64.self))
        rejections = Int(try row.decode(at: 10, as: Int64.self))
    }
}
