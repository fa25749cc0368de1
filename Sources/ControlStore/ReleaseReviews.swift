public import GatewayModel
public import JSON
public import Postgres

/// Somebody who acts through API tokens: known by a name, whatever the number of tokens.
public struct Person: Sendable, Hashable {
    /// The name of the token that is used.
    public let name: Text
    /// The people whose tokens made that token, directly or through others: each could have kept it.
    public let issuedBy: [Text]

    /// A person.
    public init(name: Text, issuedBy: [Text] = []) {
        self.name = name
        self.issuedBy = issuedBy
    }

    /// Whether two acts may be one person's: the same name, or a token that one made for the other.
    public func mayBe(_ other: Person) -> Bool {
        name == other.name || issuedBy.contains(other.name) || other.issuedBy.contains(name)
    }
}

/// What a person said about a release.
public struct ReviewRow: Sendable, Listed {
    /// Its number.
    public let id: Int64
    /// The release.
    public let release: UInt64
    /// The contents that were reviewed.
    public let digest: [UInt8]
    /// What was said.
    public let verdict: Verdict
    /// Why.
    public let comment: Text
    /// Who.
    public let reviewer: Text
    /// The id of the API token.
    public let reviewedBy: Text
    /// When.
    public let reviewedAt: GatewayModel.Timestamp
    /// Its number.
    public var key: Text { Text("\(id)") }

    /// What can be said.
    public enum Verdict: String, Sendable {
        /// It may come into force.
        case approved
        /// It may not, for good.
        case rejected
    }
}

// Reviews: `policy_review`.
extension AdministrationStore {
    /// Reviews of a release after `id`, oldest first.
    public func reviews(
        of release: UInt64,
        in namespace: NamespaceID,
        after id: Int64,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [ReviewRow] {
        let rows = try await transaction.run(
            """
            select id, release_number, release_digest, verdict, comment, reviewer, reviewed_by,
                reviewed_at
            from policy_review
            where namespace_id = \(namespace) and release_number = \(Int64(release)) and id > \(id)
            order by id limit \(Int64(limit))
            """
        )
        return try storing { try rows.map(ReviewRow.init) }
    }

    /// Keeps what a person says about a release; `nil` if that person has said something before.
    ///
    /// The caller holds the namespace's lock, and has made sure that the person is not the maker.
    public func addReview(
        _ verdict: ReviewRow.Verdict,
        comment: Text,
        of release: StoredRelease,
        by person: Person,
        with token: Text,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> ReviewRow? {
        let rows = try await transaction.run(
            """
            insert into policy_review (namespace_id, release_number, release_digest, verdict,
                comment, reviewer, reviewed_by)
            values (\(namespace), \(Int64(release.number)), \(release.digest), \(verdict.rawValue),
                \(comment.string), \(person.name.string), \(token.string))
            on conflict on constraint policy_review_once_a_person do nothing
            returning id, release_number, release_digest, verdict, comment, reviewer, reviewed_by,
                reviewed_at
            """
        )
        return try storing { try rows.oneOrNone().map(ReviewRow.init) }
    }
}

extension ReviewRow {
    init(_ row: Row) throws {
        id = try row.decode(at: 0)
        release = UInt64(try row.decode(at: 1, as: Int64.self))
        digest = try row.decode(at: 2)
        guard let verdict = Verdict(rawValue: try row.decode(at: 3)) else {
            throw StoreError.malformed(what: "policy_review")
        }
        self.verdict = verdict
        comment = try row.requiredText(at: 4)
        reviewer = try row.requiredText(at: 5)
        reviewedBy = try row.requiredText(at: 6)
        reviewedAt = try row.time(at: 7)
    }
}
