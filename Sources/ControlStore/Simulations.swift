public import GatewayModel
public import JSON
public import Postgres

/// A simulation as it is stored: what is asked, who works on it, what came of it.
public struct SimulationRow: Sendable, Listed {
    /// What is counted.
    public enum Kind: String, Sendable {
        /// Recorded calls, asked again under both releases.
        case replay
        /// What records say that the release in shadow answered.
        case shadow
    }

    /// Where it stands.
    public enum State: String, Sendable {
        /// Nobody works on it.
        case queued
        /// Somebody does.
        case running
        /// Its report is there.
        case finished
        /// It came to nothing; see ``SimulationRow/failure``.
        case failed
    }

    /// Why it came to nothing: a stable code (docs/reference/policy-life.md).
    public enum Failure: String, Sendable {
        /// A release does not compile in this build.
        case releaseInvalid = "release_invalid"
        /// Every replica that took it up died or gave up.
        case abandoned
    }

    /// Whose.
    public let namespace: NamespaceID
    /// Its id, `sim_…`.
    public let id: Text
    /// What is counted.
    public let kind: Kind
    /// The release that is tried.
    public let release: UInt64
    /// The release that it is compared with.
    public let against: UInt64
    /// Calls not earlier than this; `nil`: all.
    public let from: GatewayModel.Timestamp?
    /// Calls earlier than this.
    public let to: GatewayModel.Timestamp
    /// The most records that are looked at, the newest.
    public let recordsMax: Int64
    /// Who asked.
    public let requestedBy: Text
    /// When.
    public let createdAt: GatewayModel.Timestamp
    /// Where it stands.
    public let state: State
    /// How many records were looked at.
    public let recordsRead: Int64
    /// When it ended.
    public let finishedAt: GatewayModel.Timestamp?
    /// Why it came to nothing.
    public let failure: Text?
    /// JSON, when it is finished and one simulation is read.
    public var report: Text?
    /// Its place in the order of lists.
    public var key: Text { Text("\(createdAt.microseconds) \(id)") }
}

/// What is asked of a simulation.
public struct SimulationNew: Sendable {
    /// What is counted.
    public var kind: SimulationRow.Kind
    /// The release that is tried.
    public var release: UInt64
    /// The release that it is compared with.
    public var against: UInt64
    /// Calls not earlier than this; `nil`: all.
    public var from: GatewayModel.Timestamp?
    /// Calls earlier than this.
    public var to: GatewayModel.Timestamp
    /// The most records that are looked at, the newest.
    public var recordsMax: Int64

    /// A simulation of `release`.
    public init(
        kind: SimulationRow.Kind,
        release: UInt64,
        against: UInt64,
        from: GatewayModel.Timestamp?,
        to: GatewayModel.Timestamp,
        recordsMax: Int64
    ) {
        self.kind = kind
        self.release = release
        self.against = against
        self.from = from
        self.to = to
        self.recordsMax = recordsMax
    }
}

// Simulations and shadows as administrators see them: `policy_simulation`, `policy_simulation_report`, `policy_shadow`.
extension AdministrationStore {
    /// The most simulations of a namespace that have not ended.
    public static let simulationsOpenMax: Int64 = 8

    /// Asks for a simulation; `nil` when ``simulationsOpenMax`` wait.
    ///
    /// The transaction holds the lock of the namespace's row, so two requests count one after the other.
    public func makeSimulation(
        _ new: SimulationNew,
        by actor: Text,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Text? {
        let id = "sim_\(Postgres.UUID.random())"
        let from = new.from.map { Postgres.Timestamp(microseconds: $0.microseconds) }
        let to = Postgres.Timestamp(microseconds: new.to.microseconds)
        let made = try await transaction.run(
            """
            insert into policy_simulation (namespace_id, id, kind, release_number, against_number, range_from, range_to,
                records_max, requested_by)
            select \(namespace), \(id), \(new.kind.rawValue), \(Int64(new.release)), \(Int64(new.against)), \(from),
                \(to), \(new.recordsMax), \(actor.string)
            where (select count(*) from policy_simulation where namespace_id = \(namespace) and finished_at is null)
                < \(Self.simulationsOpenMax)
            """
        )
        return made.affected == 1 ? Text(id) : nil
    }

    /// Simulations of a release, newest first, without reports.
    public func simulations(
        of release: UInt64,
        in namespace: NamespaceID,
        before: (createdAt: GatewayModel.Timestamp, id: Text)?,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [SimulationRow] {
        let time = before.map { Postgres.Timestamp(microseconds: $0.createdAt.microseconds) }
        let rows = try await transaction.run(
            """
            select \(shared: SimulationRow.columns)
            from policy_simulation
            where namespace_id = \(namespace) and release_number = \(Int64(clamping: release))
                and (\(time)::timestamptz is null or (created_at, id) < (\(time), \(before?.id.string)))
            order by created_at desc, id desc limit \(Int64(limit))
            """
        )
        return try storing { try rows.map(SimulationRow.init) }
    }

    /// A simulation of a release, with its report.
    public func simulation(
        _ id: Text,
        of release: UInt64,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> SimulationRow? {
        let rows = try await transaction.run(
            """
            select \(shared: SimulationRow.columns), (
                select report::text from policy_simulation_report r
                where r.namespace_id = s.namespace_id and r.simulation_id = s.id)
            from policy_simulation s
            where namespace_id = \(namespace) and id = \(id.string) and release_number = \(Int64(clamping: release))
            """
        )
        return try storing {
            guard let row = try rows.oneOrNone() else { return nil }
            var simulation = try SimulationRow(row)
            simulation.report = try row.text(at: 14)
            return simulation
        }
    }

    /// What finished simulations of `release` against `other` found: the most calls that one of them saw become
    /// permitted; `nil` when there is none that says anything.
    ///
    /// One that decided no call says something only where it looked at all there were up to then: else a range in which
    /// nothing happened would stand for having looked.
    public func wideningFound(
        by release: UInt64,
        against other: UInt64,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> Int64? {
        let rows = try await transaction.run(
            """
            select max(r.widening) from policy_simulation s
            join policy_simulation_report r on r.namespace_id = s.namespace_id and r.simulation_id = s.id
            where s.namespace_id = \(namespace) and s.release_number = \(Int64(clamping: release))
                and s.against_number = \(Int64(clamping: other))
                and ((r.report->>'decided')::bigint > 0
                    or s.kind = 'replay' and s.range_from is null and s.range_to >= s.created_at - interval '1 minute'
                        and not (r.report->>'truncated')::boolean)
            """
        )
        return try storing { try rows.one().decode(at: 0, as: Int64?.self) }
    }

    // MARK: - Shadows

    /// The release in shadow, who put it there and when.
    ///
    /// A shadow ends when its release comes into force.
    public func shadow(
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> ShadowRow? {
        let rows = try await transaction.run(
            """
            select s.id, s.release_number, s.changed_by, s.changed_at from (
                select * from policy_shadow where namespace_id = \(namespace) order by id desc limit 1) s
            where not exists (
                select 1 from policy_activation a
                where a.namespace_id = s.namespace_id and a.release_number = s.release_number
                    and a.activated_at >= s.changed_at)
            """
        )
        return try storing {
            guard let row = try rows.oneOrNone(),
                let release = try row.decode(at: 1, as: Int64?.self)
            else { return nil }
            return ShadowRow(
                id: try row.decode(at: 0),
                release: UInt64(release),
                startedBy: try row.requiredText(at: 2),
                startedAt: try row.time(at: 3)
            )
        }
    }
}

/// A release in shadow as it is stored.
public struct ShadowRow: Sendable {
    /// Its number.
    public let id: Int64
    /// The release.
    public let release: UInt64
    /// Who put it there.
    public let startedBy: Text
    /// When.
    public let startedAt: GatewayModel.Timestamp
}

/// Simulations as their workers see them: `policy_simulation`, `policy_simulation_report`.
///
/// Replicas share the work through the rows. A claim is a lease by the database's clock; its holder renews it, and who
/// finds it run out takes the row over and begins anew.
public struct SimulationStore: Sendable {
    /// How long a claim lasts, in seconds; its holder renews it every few.
    public static let claimSeconds: Int64 = 30
    /// How many replicas take a simulation up before it counts as ``SimulationRow/Failure/abandoned``.
    public static let attemptsMax: Int32 = 3

    private let client: PostgresClient

    /// Simulations in this database.
    public init(_ client: PostgresClient) {
        self.client = client
    }

    /// Ends the simulations that were given up too often, and answers how many there were.
    ///
    /// READ COMMITTED, one statement.
    public func endAbandoned() async throws(StoreError) -> Int {
        try await client.run(
            """
            update policy_simulation set finished_at = now(), failure = \(SimulationRow.Failure.abandoned.rawValue),
                claimed_by = null, claimed_until = null
            where (namespace_id, id) in (
                select namespace_id, id from policy_simulation
                where finished_at is null and claimed_until < now() and attempts >= \(Self.attemptsMax)
                for update skip locked)
            """,
            in: .installation
        ).affected
    }

    /// Takes the simulation that waits longest, if any, but none that was given up too often; of two workers each gets
    /// another.
    ///
    /// READ COMMITTED, one statement.
    public func claim(by worker: UUID) async throws(StoreError) -> SimulationRow? {
        let rows = try await client.run(
            """
            with due as (
                select namespace_id, id from policy_simulation
                where finished_at is null and attempts < \(Self.attemptsMax)
                    and (claimed_until is null or claimed_until < now())
                order by created_at limit 1 for update skip locked
            ), taken as (
                update policy_simulation s set claimed_by = \(worker), records_read = 0, attempts = s.attempts + 1,
                    claimed_until = now() + \(Self.claimSeconds) * interval '1 second'
                from due where s.namespace_id = due.namespace_id and s.id = due.id
                returning s.*
            )
            select \(shared: SimulationRow.columns)
            from taken
            """,
            in: .installation
        )
        return try storing { try rows.oneOrNone().map(SimulationRow.init) }
    }

    /// Renews a claim and notes how far it is; answers whether it still holds: if not, another works on it now.
    public func renew(
        _ simulation: SimulationRow,
        by worker: UUID,
        recordsRead: Int64
    ) async throws(StoreError) -> Bool {
        try await client.run(
            """
            update policy_simulation set records_read = \(recordsRead),
                claimed_until = now() + \(Self.claimSeconds) * interval '1 second'
            where namespace_id = \(simulation.namespace) and id = \(simulation.id.string)
                and claimed_by = \(worker) and finished_at is null
            """,
            in: .namespace(simulation.namespace)
        ).affected == 1
    }

    /// Gives a claim back, as a process does that is about to stop; nothing is lost but the work.
    public func release(_ simulation: SimulationRow, by worker: UUID) async throws(StoreError) {
        _ = try await client.run(
            """
            update policy_simulation set claimed_by = null, claimed_until = null, attempts = attempts - 1
            where namespace_id = \(simulation.namespace) and id = \(simulation.id.string)
                and claimed_by = \(worker) and finished_at is null
            """,
            in: .namespace(simulation.namespace)
        )
    }

    /// Stores the report and ends the simulation; answers whether the claim still held.
    public func finish(
        _ simulation: SimulationRow,
        by worker: UUID,
        recordsRead: Int64,
        widening: Int64,
        report: [UInt8]
    ) async throws(StoreError) -> Bool {
        // One statement: a worker that lost its claim stores nothing.
        try await client.run(
            """
            with ended as (
                update policy_simulation set finished_at = now(), records_read = \(recordsRead),
                    claimed_by = null, claimed_until = null
                where namespace_id = \(simulation.namespace) and id = \(simulation.id.string)
                    and claimed_by = \(worker) and finished_at is null
                returning namespace_id, id
            )
            insert into policy_simulation_report (namespace_id, simulation_id, widening, report)
            select namespace_id, id, \(widening), \(String(decoding: report, as: UTF8.self))::text::json from ended
            """,
            in: .namespace(simulation.namespace)
        ).affected == 1
    }

    /// Ends a simulation that cannot succeed.
    public func fail(
        _ simulation: SimulationRow,
        by worker: UUID,
        _ failure: SimulationRow.Failure
    ) async throws(StoreError) {
        _ = try await client.run(
            """
            update policy_simulation set finished_at = now(), failure = \(failure.rawValue),
                claimed_by = null, claimed_until = null
            where namespace_id = \(simulation.namespace) and id = \(simulation.id.string)
                and claimed_by = \(worker) and finished_at is null
            """,
            in: .namespace(simulation.namespace)
        )
    }
}

extension SimulationRow {
    /// What ``init(_:)`` reads, of `policy_simulation`.
    fileprivate static let columns: StaticString = """
        namespace_id, id, kind, release_number, against_number, range_from, range_to, records_max, requested_by,
            created_at, case when failure is not null then 'failed' when finished_at is not null then 'finished'
                when claimed_until > now() then 'running' else 'queued' end,
            records_read, finished_at, failure
        """

    fileprivate init(_ row: Row) throws {
        guard let kind = Kind(rawValue: try row.decode(at: 2)),
            let state = State(rawValue: try row.decode(at: 10))
        else { throw StoreError.malformed(what: "policy_simulation") }
        self.kind = kind
        self.state = state
        namespace = try row.decode(at: 0)
        id = try row.requiredText(at: 1)
        release = UInt64(try row.decode(at: 3, as: Int64.self))
        against = UInt64(try row.decode(at: 4, as: Int64.self))
        from = try row.timeOrNone(at: 5)
        to = try row.time(at: 6)
        recordsMax = try row.decode(at: 7)
        requestedBy = try row.requiredText(at: 8)
        createdAt = try row.time(at: 9)
        recordsRead = try row.decode(at: 11)
        finishedAt = try row.timeOrNone(at: 12)
        failure = try row.text(at: 13)
    }
}
