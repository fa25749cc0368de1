public import GatewayModel
import JSON
public import Postgres

/// The key of a namespace in every table.
public typealias NamespaceID = Postgres.UUID

/// A namespace as it is stored.
public struct Namespace: Sendable, Hashable {
    /// Its key.
    public let id: NamespaceID
    /// What people and certificates call it.
    public let name: NamespaceName
    /// Whether the first definition of a tool is accepted without a person looking at it.
    public let trustsOnFirstUse: Bool
    /// Whether reads may go on with a spooled record while control is away.
    public let allowsSpooledReads: Bool
    /// How many people who did not make a release must approve it before it comes into force.
    ///
    /// 0…5; 1 in a new namespace.
    public let policyReviewersRequired: Int
    /// The version of the newest configuration.
    public let configurationVersion: UInt64
}

/// Namespaces: `namespace`.
public struct NamespaceStore: Sendable {
    let client: PostgresClient

    /// Namespaces in this database.
    public init(_ client: PostgresClient) {
        self.client = client
    }

    /// Makes a namespace, or finds it; several replicas may do so at once.
    ///
    /// An existing one keeps its settings.
    @discardableResult
    public func ensure(
        _ name: NamespaceName,
        trustOnFirstUse: Bool = false
    ) async throws(StoreError) -> Namespace {
        guard name.isWellFormed else { throw .nameRefused }
        // READ COMMITTED, one statement: the loser of a race conflicts, inserts nothing, and reads
        // the winner's row.
        _ = try await client.run(
            """
            insert into namespace (id, name, trust_on_first_use)
            values (\(UUID.random()), \(name.text.string), \(trustOnFirstUse))
            on conflict (name) do nothing
            """,
            in: .installation
        )
        guard let namespace = try await find(name) else { throw .namespaceUnknown }
        return namespace
    }

    /// The namespace of this name.
    public func find(_ name: NamespaceName) async throws(StoreError) -> Namespace? {
        let rows = try await client.run(
            """
            select id, name, trust_on_first_use, spooled_reads_allowed, configuration_version,
                policy_reviewers_required
            from namespace where name = \(name.text.string)
            """,
            in: .installation
        )
        return try storing { try rows.oneOrNone().map(Namespace.init) }
    }

    /// Every namespace, by name.
    public func all() async throws(StoreError) -> [Namespace] {
        let rows = try await client.run(
            """
            select id, name, trust_on_first_use, spooled_reads_allowed, configuration_version,
                policy_reviewers_required
            from namespace order by name
            """,
            in: .installation
        )
        return try storing { try rows.map(Namespace.init) }
    }
}

extension Namespace {
    init(_ row: Row) throws(PostgresError) {
        let (id, name, trusts, spooled, version, reviewers) = try row.decode(
            UUID.self,
            String.self,
            Bool.self,
            Bool.self,
            Int64.self,
            Int64.self
        )
        self.id = id
        self.name = NamespaceName(name)
        trustsOnFirstUse = trusts
        allowsSpooledReads = spooled
        policyReviewersRequired = Int(reviewers)
        configurationVersion = UInt64(version)
    }
}
