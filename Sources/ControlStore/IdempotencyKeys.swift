public import Cryptography
public import JSON
public import Postgres

/// Answers kept for requests that are sent again: `idempotency_key`.
///
/// The key, the change and the answer are one transaction, so that a process that dies in between leaves none of
/// them, and the request can simply be sent again.
extension AdministrationStore {
    /// What is known of a key.
    public enum Replay: Sendable {
        /// Nothing: go on, then ``keep(_:of:key:digest:in:)``.
        case new
        /// The request was answered before; the answer as it was kept.
        case answered([UInt8])
        /// The first request has not ended.
        case running
        /// The key came with another request.
        case otherRequest
    }

    /// Asks for a key, and holds it until the transaction ends.
    ///
    /// - Parameter digest: SHA-256 over everything that makes the request what it is.
    public func replay(
        of token: Text,
        key: Text,
        digest: SHA256.Digest,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Replay {
        let name = "idempotency_key \(token) \(key)"
        let held = try await transaction.run(
            "select pg_try_advisory_xact_lock(hashtextextended(\(name), 0))"
        )
        guard try storing({ try held.one().decode(at: 0, as: Bool.self) }) else { return .running }
        _ = try await transaction.run(
            "delete from idempotency_key where created_at < now() - interval '1 day'"
        )
        let rows = try await transaction.run(
            """
            select request_digest, sealed from idempotency_key
            where api_token = \(token.string) and key = \(key.string)
            """
        )
        return try storing {
            guard let row = try rows.oneOrNone() else { return .new }
            let (known, sealed) = try row.decode([UInt8].self, [UInt8].self)
            return known == digest.bytes ? .answered(sealed) : .otherRequest
        }
    }

    /// Keeps an answer, encrypted by the caller; the last thing of a transaction, since it leaves the namespace.
    public func keep(
        _ sealed: [UInt8],
        of token: Text,
        key: Text,
        digest: SHA256.Digest,
        in transaction: borrowing Transaction
    ) async throws(StoreError) {
        do throws(PostgresError) {
            try await transaction.enter(.installation)
        } catch {
            throw .database(error)
        }
        _ = try await transaction.run(
            """
            insert into idempotency_key (api_token, key, request_digest, sealed)
            values (\(token.string), \(key.string), \(digest.bytes), \(sealed))
            """
        )
    }
}
