public import JSON
public import Postgres

/// Keys of issuers that control fetches: `identity_provider_fetch`, and `identity_provider.jwks` for those.
///
/// Replicas share the work through the rows: whoever moves `due_at` has the turn. Turns are taken by the database's
/// clock.
public struct IssuerKeyStore: Sendable {
    /// How long after one attempt the next may follow that a token asked for, in seconds.
    public static let attemptPauseSeconds: Int64 = 30
    /// How long a turn lasts, in seconds: when its replica dies another takes it up.
    private static let turnSeconds: Int64 = 60

    private let client: PostgresClient

    /// Issuers in this database.
    public init(_ client: PostgresClient) {
        self.client = client
    }

    /// A turn: keys to be fetched by whoever holds this.
    public struct Turn: Sendable, Hashable {
        /// Whose issuer.
        public let namespace: NamespaceID
        /// The issuer's name.
        public let issuer: Text
        /// Where its keys come from.
        public let source: IdentityProvider.KeySource
        /// Whether they may come from an address that only this network knows.
        public let allowsPrivateAddresses: Bool
        /// How often it failed since it last succeeded.
        public let failures: Int
        /// How long ago it last succeeded; `nil` when it never did.
        public let secondsSinceSuccess: Int64?

        /// The source as `identity_provider_fetch` has it.
        fileprivate var sourceKey: String {
            source.stored.word + (source.stored.url.map { " " + $0 } ?? "")
        }
    }

    /// How fetching went, for people.
    public struct Status: Sendable, Hashable {
        /// The issuer's name.
        public let issuer: Text
        /// When it was last tried.
        public let attemptedAt: Postgres.Timestamp
        /// When it last succeeded.
        public let fetchedAt: Postgres.Timestamp?
        /// When it is tried again.
        public let dueAt: Postgres.Timestamp
        /// Why the last attempt failed, a stable code; `nil` when it did not.
        public let failure: String?
    }

    // MARK: - Turns

    /// Takes the turns that are due, at most `limit`, the ones that wait longest first.
    ///
    /// One statement, READ COMMITTED: of two replicas the second waits for the row and then finds it not due.
    public func takeTurns(limit: Int) async throws(StoreError) -> [Turn] {
        try await turns(
            """
            with due as (
                select p.namespace_id, p.issuer, p.key_source || coalesce(' ' || p.jwks_url, '') as source
                from identity_provider p
                left join identity_provider_fetch f on f.namespace_id = p.namespace_id and f.issuer = p.issuer
                where p.key_source <> 'uploaded' and (f.issuer is null or f.due_at <= now()
                    or f.source <> p.key_source || coalesce(' ' || p.jwks_url, ''))
                order by f.due_at nulls first limit \(Int64(limit))
            ), taken as (
                insert into identity_provider_fetch as f (namespace_id, issuer, source, attempted_at, due_at)
                select namespace_id, issuer, source, now(), now() + \(Self.turnSeconds) * interval '1 second'
                from due order by namespace_id, issuer
                on conflict (namespace_id, issuer) do update
                set source = excluded.source, attempted_at = excluded.attempted_at, due_at = excluded.due_at,
                    failures = case when f.source = excluded.source then f.failures else 0 end,
                    failure = case when f.source = excluded.source then f.failure end,
                    fetched_at = case when f.source = excluded.source then f.fetched_at end
                where f.due_at <= now() or f.source <> excluded.source
                returning f.namespace_id, f.issuer, f.failures, f.fetched_at
            )
            select t.namespace_id, t.issuer, p.key_source, p.jwks_url, p.private_addresses_allowed, t.failures,
                extract(epoch from now() - t.fetched_at)::bigint
            from taken t
            join identity_provider p on p.namespace_id = t.namespace_id and p.issuer = t.issuer
            """,
            in: .installation
        )
    }

    /// Takes the turn of an issuer whose token named an unknown key; `nil` when its keys are uploaded, or were tried
    /// less than ``attemptPauseSeconds`` ago by any replica.
    public func takeTurn(
        of issuer: Text,
        in namespace: NamespaceID
    ) async throws(StoreError) -> Turn? {
        try await turns(
            """
            update identity_provider_fetch f
            set attempted_at = now(), due_at = now() + \(Self.turnSeconds) * interval '1 second'
            from identity_provider p
            where f.namespace_id = \(namespace) and f.issuer = \(issuer.string)
                and f.attempted_at <= now() - \(Self.attemptPauseSeconds) * interval '1 second'
                and p.namespace_id = f.namespace_id and p.issuer = f.issuer and p.key_source <> 'uploaded'
                and f.source = p.key_source || coalesce(' ' || p.jwks_url, '')
            returning f.namespace_id, f.issuer, p.key_source, p.jwks_url, p.private_addresses_allowed, f.failures,
                extract(epoch from now() - f.fetched_at)::bigint
            """,
            in: .namespace(namespace)
        ).first
    }

    private func turns(_ query: Query, in scope: Scope) async throws(StoreError) -> [Turn] {
        let rows = try await client.run(query, in: scope)
        return try storing { try rows.map(Turn.init) }
    }

    // MARK: - Results

    /// Stores what a turn brought, and gives the turn back until `dueInSeconds` from now.
    ///
    /// Answers whether the keys are others than before, which is announced to every replica. When the provider's source
    /// was changed meanwhile, nothing is stored.
    @discardableResult
    public func succeeded(
        _ turn: Turn,
        jwks: Text,
        dueInSeconds: Int64
    ) async throws(StoreError) -> Bool {
        let isChanged = try await ConfigurationStore(client).change(
            turn.namespace,
            [.issuerKeys(issuer: turn.issuer, from: turn.source, jwks: jwks)]
        )
        _ = try await client.run(
            """
            update identity_provider_fetch set fetched_at = now(), failures = 0, failure = null,
                due_at = now() + \(dueInSeconds) * interval '1 second'
            where namespace_id = \(turn.namespace) and issuer = \(turn.issuer.string)
                and source = \(turn.sourceKey)
            """,
            in: .namespace(turn.namespace)
        )
        return isChanged
    }

    /// Stores why a turn brought nothing; the keys of before stay, unless `forgettingKeys`.
    public func failed(
        _ turn: Turn,
        _ code: String,
        dueInSeconds: Int64,
        forgettingKeys: Bool = false
    ) async throws(StoreError) {
        if forgettingKeys {
            try await ConfigurationStore(client).change(
                turn.namespace,
                [.issuerKeys(issuer: turn.issuer, from: turn.source, jwks: IdentityProvider.noKeys)]
            )
        }
        _ = try await client.run(
            """
            update identity_provider_fetch set failures = failures + 1, failure = \(code),
                due_at = now() + \(dueInSeconds) * interval '1 second'
            where namespace_id = \(turn.namespace) and issuer = \(turn.issuer.string)
                and source = \(turn.sourceKey)
            """,
            in: .namespace(turn.namespace)
        )
    }

    /// How fetching goes in a namespace, by issuer; issuers with uploaded keys are not in it.
    public func statuses(of namespace: NamespaceID) async throws(StoreError) -> [Status] {
        let rows = try await client.run(
            """
            select issuer, attempted_at, fetched_at, due_at, failure from identity_provider_fetch
            where namespace_id = \(namespace) order by issuer
            """,
            in: .namespace(namespace)
        )
        return try storing {
            try rows.map { row in
                Status(
                    issuer: Text(try row.decode(at: 0, as: String.self)),
                    attemptedAt: try row.decode(at: 1),
                    fetchedAt: try row.decode(at: 2),
                    dueAt: try row.decode(at: 3),
                    failure: try row.decode(at: 4)
                )
            }
        }
    }
}

extension IssuerKeyStore.Turn {
    fileprivate init(_ row: Row) throws {
        namespace = try row.decode(at: 0)
        issuer = Text(try row.decode(at: 1, as: String.self))
        source = try IdentityProvider.KeySource(
            stored: try row.decode(at: 2),
            url: try row.decode(at: 3)
        )
        allowsPrivateAddresses = try row.decode(at: 4)
        failures = Int(try row.decode(at: 5, as: Int32.self))
        secondsSinceSuccess = try row.decode(at: 6)
    }
}
