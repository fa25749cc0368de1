public import Postgres

/// Whose rows a transaction may see and write.
///
/// Row-level security holds every session to what its transaction has said (`ostiary.namespace`, migration 0008): a
/// query that forgets its namespace finds nothing, one that names a foreign one is refused by the database. The scope is
/// set inside the transaction, in the round trip that opens it, so that a pooled connection carries nothing over.
public enum Scope: Sendable, Hashable {
    /// One namespace: what nearly everything is about.
    case namespace(NamespaceID)
    /// A statement that serves several at once: leases of all sessions, records of several writers.
    case namespaces(Set<NamespaceID>)
    /// The installation: which namespaces, issuers, proxies, lives and tokens there are, and the installation's keys.
    ///
    /// No content of a namespace: no records, policies, subjects, servers or namespace keys.
    case installation

    /// The setting's value.
    fileprivate var value: String {
        switch self {
        case .namespace(let id): id.description
        case .namespaces(let ids): ids.lazy.map(\.description).joined(separator: ",")
        case .installation: "*"
        }
    }

    /// Holds the rest of the open transaction to this scope.
    var statement: Query { "select set_config('ostiary.namespace', \(value), true)" }
}

extension PostgresClient {
    /// A transaction whose errors are the store's; see
    /// ``Postgres/PostgresClient/withTransaction(isolation:retrying:_:)``.
    func transact<Value>(
        in scope: Scope,
        isolation: Isolation = .readCommitted,
        retrying: Int = 3,
        _ body: (borrowing Transaction) async throws -> Value
    ) async throws(StoreError) -> Value {
        do {
            return try await withTransaction(isolation: isolation, retrying: retrying) {
                try await $0.enter(scope)
                return try await body($0)
            }
        } catch {
            throw StoreError(error)
        }
    }

    /// Statements as one transaction in one round trip; their results have the same positions.
    func pipeline(
        in scope: Scope,
        isolation: Isolation = .readCommitted,
        retrying: Int = 3,
        _ build: (inout Pipeline) -> Void
    ) async throws(PostgresError) -> [Rows] {
        let results = try await pipeline(isolation: isolation, retrying: retrying) {
            $0.add(scope.statement)
            build(&$0)
        }
        return Array(results.dropFirst())
    }

    /// One statement whose errors are the store's, in one round trip.
    func run(_ query: Query, in scope: Scope) async throws(StoreError) -> Rows {
        do throws(PostgresError) {
            // As a statement alone would be, it is not run again by itself.
            return try await pipeline(in: scope, retrying: 0) { $0.add(query) }[0]
        } catch {
            throw .database(error)
        }
    }
}

extension Transaction {
    /// Goes on in another scope: from what the installation knows to the namespace it concerns.
    borrowing func enter(_ scope: Scope) async throws(PostgresError) {
        _ = try await query(scope.statement)
    }
}
