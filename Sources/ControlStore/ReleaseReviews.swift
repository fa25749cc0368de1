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

    /// Everybody who has said something about a release.
    ///
    /// Whose token made whose is the installation's to know: the transaction looks there, and goes on in the namespace.
    public func reviewers(
        of release: UInt64,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [Person] {
        let rows = try await transaction.run(
            """
            select reviewer, reviewed_by from policy_review
            where namespace_id = \(namespace) and release_number = \(Int64(release))
            """
        )
        let reviews = try storing {
            try rows.map { (name: try $0.requiredText(at: 0), token: try $0.requiredText(at: 1)) }
        }
        guard !reviews.isEmpty else { return [] }
        try await enter(.installation, in: transaction)
        let tokens = try await transaction.run(
            """
            select t.id, \(shared: Self.issuers) from api_token t
            where t.id = any(\(reviews.map(\.token.string)))
            """
        )
        try await enter(.namespace(namespace), in: transaction)
        let issuers = try storing {
            try tokens.map { row in
                (
                    try row.requiredText(at: 0),
                    try row.decode(at: 1, as: [String].self).map { Text($0) }
                )
            }
        }
        let byToken = Dictionary(issuers) { first, _ in first }
        return reviews.map { Person(name: $0.name, issuedBy: byToken[$0.token] ?? []) }
    }

    /// Keeps what a person says about a release; `nil` if that person has said something before.
    ///
    /// The caller holds the namespace's lock, and has made sure that the person is neither the maker nor a reviewer.
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
