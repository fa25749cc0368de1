import Cryptography
public import GatewayModel
public import JSON
public import Postgres

/// What administrators read and change, piece by piece, inside a transaction.
///
/// One request is one transaction: what it reads, what it changes, its entry in `admin_record` and its answer in
/// `idempotency_key` are there together or not at all.
///
/// READ COMMITTED. Whoever changes a namespace holds the lock of its row (``namespace(_:in:locking:)``), so
/// that a comparison of versions and the change after it cannot be divided.
public struct AdministrationStore: Sendable {
    let client: PostgresClient

    /// Administration of this database.
    public init(_ client: PostgresClient) {
        self.client = client
    }

    /// Runs `body` in a transaction, which commits when it returns and has no effect when it throws.
    ///
    /// It begins in the scope of the installation; ``enter(_:in:)`` goes on in a namespace's.
    ///
    /// - Throws: What `body` throws; ``StoreError`` and `PostgresError` for the database's part.
    public func transaction<Value>(
        _ body: (borrowing Transaction) async throws -> Value
    ) async throws -> Value {
        try await client.withTransaction {
            try await $0.enter(.installation)
            return try await body($0)
        }
    }

    /// Goes on in the scope of one namespace: from here on, what belongs to no other.
    public func enter(
        _ namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) {
        try await enter(.namespace(namespace), in: transaction)
    }

    func enter(
        _ scope: Scope,
        in transaction: borrowing Transaction
    ) async throws(StoreError) {
        do throws(PostgresError) {
            try await transaction.enter(scope)
        } catch {
            throw .database(error)
        }
    }
}

/// One row of a list, and the key that the next page follows.
public protocol Listed {
    /// What a cursor carries.
    var key: Text { get }
}

/// A namespace, with what people want to know about it.
public struct NamespaceRow: Sendable, Listed {
    /// The namespace.
    public let namespace: Namespace
    /// When it was made.
    public let createdAt: GatewayModel.Timestamp
    /// Its name.
    public var key: Text { namespace.name.text }
}

// MARK: - Namespaces: `namespace`

extension AdministrationStore {
    /// Namespaces by name, only `reachable` if that is set.
    public func namespaces(
        reachable: NamespaceID?,
        after: Text?,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [NamespaceRow] {
        let rows = try await transaction.run(
            """
            select id, name, trust_on_first_use, spooled_reads_allowed, configuration_version,
                policy_reviewers_required, created_at
            from namespace
            where (\(reachable)::uuid is null or id = \(reachable))
                and name > \(after?.string ?? "") order by name limit \(Int64(limit))
            """
        )
        return try storing { try rows.map(NamespaceRow.init) }
    }

    /// The namespace of this name; `locking`, nobody else changes it before the transaction ends.
    public func namespace(
        _ name: NamespaceName,
        in transaction: borrowing Transaction,
        locking: Bool
    ) async throws(StoreError) -> NamespaceRow? {
        if locking {
            _ = try await transaction.run(
                "select 1 from namespace where name = \(name.text.string) for no key update"
            )
        }
        // A second look: the first one may have waited for a change.
        let rows = try await transaction.run(
            """
            select id, name, trust_on_first_use, spooled_reads_allowed, configuration_version,
                policy_reviewers_required, created_at
            from namespace where name = \(name.text.string)
            """
        )
        return try storing { try rows.oneOrNone().map(NamespaceRow.init) }
    }

    /// Makes a namespace; answers whether its name was free.
    public func makeNamespace(
        _ name: NamespaceName,
        trustsOnFirstUse: Bool,
        policyReviewersRequired: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Bool {
        try await transaction.run(
            """
            insert into namespace (id, name, trust_on_first_use, policy_reviewers_required)
            values (\(UUID.random()), \(name.text.string), \(trustsOnFirstUse),
                \(Int64(policyReviewersRequired)))
            on conflict (name) do nothing
            """
        ).affected == 1
    }
}

extension NamespaceRow {
    init(_ row: Row) throws(PostgresError) {
        namespace = try Namespace(row)
        createdAt = try row.time(at: 6)
    }
}
