import AuditLog
public import GatewayModel
import JSON
public import Postgres

/// The lives of writers: `epoch`, and what closing one writes.
///
/// Locks are taken in one order everywhere: the instance, then its epochs by number, then control's
/// own epoch. Who closes an epoch or takes one over holds its row FOR UPDATE; who commits records
/// holds it FOR KEY SHARE; so a batch is either seen by the closing or sees it.
public struct EpochStore: Sendable {
    /// The instance under which control writes: one per namespace for all replicas, whose numbers
    /// are given out under the lock of its one epoch, and therefore dense whatever dies.
    public static let control: InstanceID = "control"

    private let client: PostgresClient

    /// Epochs in this database.
    public init(_ client: PostgresClient) {
        self.client = client
    }

    // MARK: - Opening

    /// What a process said of itself.
    public struct Hello: Sendable {
        /// 16 random bytes of the process.
        public var bootID: [UInt8]
        /// The epoch it wants to go on in; 0 for none.
        public var resumeEpoch: UInt64
        /// What it runs.
        public var softwareVersion: String

        /// What a process says when it connects.
        public init(bootID: [UInt8], resumeEpoch: UInt64, softwareVersion: String) {
            self.bootID = bootID
            self.resumeEpoch = resumeEpoch
            self.softwareVersion = softwareVersion
        }
    }

    /// What came of opening.
    public enum Opening: Sendable, Hashable {
        /// Records belong to this epoch now.
        case opened(Opened)
        /// A newer process writes as this instance; this one must not come back.
        case superseded
        /// The instance is unknown or revoked.
        case refused
    }

    /// An epoch that a session holds.
    public struct Opened: Sendable, Hashable {
        /// Its number.
        public let epoch: UInt64
        /// Everything up to here is durable.
        public let watermark: UInt64
        /// Nothing above here was ever stored.
        public let highest: UInt64
    }

    /// Assigns an epoch to a process that connected: the one it had, or a new one, which closes
    /// older ones at once.
    ///
    /// One transaction, READ COMMITTED; the row of the instance serialises openings.
    public func open(
        _ writer: Writer,
        _ hello: Hello,
        session: UUID,
        leaseMilliseconds: UInt32,
        now: GatewayModel.Timestamp
    ) async throws(StoreError) -> Opening {
        try await client.transact(in: .namespace(writer.namespaceID)) { transaction in
            let instance = try await transaction.query(
                """
                select last_epoch from instance
                where namespace_id = \(writer.namespaceID) and name = \(writer.instance.text.string)
                    and kind = 'proxy' and revoked_at is null
                for update
                """
            )
            guard let row = try instance.oneOrNone() else { return .refused }
            let last: Int64 = try row.decode(at: 0)
            let open = try await transaction.query(
                """
                select epoch, boot_id, settled_n, closed_at is null from epoch
                where namespace_id = \(writer.namespaceID)
                    and instance = \(writer.instance.text.string)
                    and (closed_at is null or epoch = \(last))
                order by epoch for update
                """
            )
            for row in open {
                let (epoch, boot, settled, isOpen) = try row.decode(
                    Int64.self,
                    [UInt8].self,
                    Int64.self,
                    Bool.self
                )
                if isOpen, UInt64(epoch) == hello.resumeEpoch, boot == hello.bootID {
                    return .opened(
                        try await resume(
                            writer,
                            epoch,
                            settled,
                            session,
                            leaseMilliseconds,
                            in: transaction
                        )
                    )
                }
                if epoch == last, hello.resumeEpoch != 0, UInt64(epoch) > hello.resumeEpoch,
                    boot != hello.bootID
                {
                    return .superseded
                }
            }
            for row in open where try row.decode(at: 3) {
                let epoch = UInt64(try row.decode(at: 0, as: Int64.self))
                try await Self.close(writer, epoch, now: now, in: transaction)
            }
            let epoch = last + 1
            try await transaction.pipeline(
                .init(
                    """
                    update instance set last_epoch = \(epoch)
                    where namespace_id = \(writer.namespaceID)
                        and name = \(writer.instance.text.string)
                    """
                ),
                .init(
                    """
                    insert into epoch (namespace_id, instance, epoch, boot_id, software_version,
                        session_id, lease_until)
                    values (\(writer.namespaceID), \(writer.instance.text.string), \(epoch),
                        \(hello.bootID), \(hello.softwareVersion), \(session),
                        clock_timestamp() + \(Int64(leaseMilliseconds)) * interval '1 millisecond')
                    """
                )
            )
            return .opened(Opened(epoch: UInt64(epoch), watermark: 0, highest: 0))
        }
    }

    private func resume(
        _ writer: Writer,
        _ epoch: Int64,
        _ settled: Int64,
        _ session: UUID,
        _ leaseMilliseconds: UInt32,
        in transaction: borrowing Transaction
    ) async throws -> Opened {
        _ = try await transaction.query(
            """
            update epoch set session_id = \(session),
                lease_until = clock_timestamp()
                    + \(Int64(leaseMilliseconds)) * interval '1 millisecond'
            where namespace_id = \(writer.namespaceID) and instance = \(writer.instance.text.string)
                and epoch = \(epoch)
            """
        )
        // From the settled number on: the first hole, and the end.
        let numbers = try await transaction.query(
            """
            with stored as (
                select n, row_number() over (order by n) + \(settled) as dense from record
                where namespace_id = \(writer.namespaceID)
                    and instance = \(writer.instance.text.string)
                    and epoch = \(epoch) and lane = 'committed' and n > \(settled)
            )
            select coalesce(max(n) filter (where n = dense), \(settled)),
                coalesce(max(n), \(settled))
            from stored
            """
        )
        let (watermark, highest) = try numbers.one().decode(Int64.self, Int64.self)
        return Opened(
            epoch: UInt64(epoch),
            watermark: UInt64(watermark),
            highest: UInt64(highest)
        )
    }

    // MARK: - Leases

    /// A session that asks for a lease.
    public struct Holder: Sendable, Hashable {
        /// The writer.
        public let writer: Writer
        /// Its epoch.
        public let epoch: UInt64
        /// The session.
        public let session: UUID

        /// A session that holds an epoch.
        public init(writer: Writer, epoch: UInt64, session: UUID) {
            self.writer = writer
            self.epoch = epoch
            self.session = session
        }
    }

    /// What became of a lease.
    public enum Lease: Sendable, Hashable {
        /// It is stored, and may be granted.
        case stored
        /// The epoch is closed; the process may come back for a new one.
        case closed
        /// Another session holds the epoch, or a newer epoch is there.
        case superseded
        /// The instance was revoked.
        case revoked
    }

    /// Stores leases, in one statement, before they are granted.
    ///
    /// Answers in the same order.
    ///
    /// READ COMMITTED. A closing that runs meanwhile is waited for and then seen: no lease outlives
    /// it.
    public func storeLeases(
        _ holders: [Holder],
        leaseMilliseconds: UInt32
    ) async throws(StoreError) -> [Lease] {
        guard !holders.isEmpty else { return [] }
        let rows = try await client.run(
            """
            with asked as (
                select * from unnest(\(holders.map(\.writer.namespaceID)),
                    \(holders.map(\.writer.instance.text.string)),
                    \(holders.map { Int64($0.epoch) }), \(holders.map(\.session))) with ordinality
                    as a (namespace_id, instance, epoch, session_id, i)
            ), held as (
                select a.i, e.namespace_id, e.instance, e.epoch from asked a
                join epoch e on e.namespace_id = a.namespace_id and e.instance = a.instance
                    and e.epoch = a.epoch and e.session_id = a.session_id and e.closed_at is null
                join instance s on s.namespace_id = a.namespace_id and s.name = a.instance
                    and s.revoked_at is null
                order by e.namespace_id, e.instance, e.epoch
                for no key update of e
            ), stored as (
                update epoch e set lease_until = clock_timestamp()
                    + \(Int64(leaseMilliseconds)) * interval '1 millisecond'
                from held where e.namespace_id = held.namespace_id
                    and e.instance = held.instance and e.epoch = held.epoch
                returning held.i
            )
            select a.i, stored.i is not null, s.revoked_at is not null,
                s.last_epoch > a.epoch or e.session_id <> a.session_id
            from asked a
            left join stored on stored.i = a.i
            left join epoch e on e.namespace_id = a.namespace_id and e.instance = a.instance
                and e.epoch = a.epoch
            left join instance s on s.namespace_id = a.namespace_id and s.name = a.instance
            """,
            in: .namespaces(Set(holders.map(\.writer.namespaceID)))
        )
        return try storing {
            var leases = [Lease](repeating: .closed, count: holders.count)
            for row in rows {
                let (i, stored, revoked, newer) = try row.decode(
                    Int64.self,
                    Bool.self,
                    Bool.self,
                    Bool?.self
                )
                leases[Int(i) - 1] =
                    stored ? .stored : revoked ? .revoked : newer == true ? .superseded : .closed
            }
            return leases
        }
    }

    // MARK: - Closing

    /// Closes an epoch: every intent without outcome gets `unknown`, every hole below the highest
    /// number a gap record.
    ///
    /// One transaction. Answers whether this call closed it; closing again does nothing.
    @discardableResult
    public func close(
        _ writer: Writer,
        epoch: UInt64,
        now: GatewayModel.Timestamp
    ) async throws(StoreError) -> Bool {
        try await client.transact(in: .namespace(writer.namespaceID)) { transaction in
            try await Self.close(writer, epoch, now: now, in: transaction)
        }
    }

    /// Closes epochs whose lease ended longer than `graceMilliseconds` ago, at most `count`, each
    /// in a transaction of its own.
    ///
    /// Any replica may; one that another replica is closing is passed over.
    @discardableResult
    public func closeExpired(
        graceMilliseconds: Int64,
        count: Int = 100,
        now: GatewayModel.Timestamp
    ) async throws(StoreError) -> Int {
        var closed = 0
        while closed < count {
            let found = try await client.transact(in: .installation) { transaction in
                let rows = try await transaction.query(
                    """
                    select e.namespace_id, s.name, e.instance, e.epoch
                    from epoch e join namespace s on s.id = e.namespace_id
                    where e.closed_at is null and e.lease_until
                        < clock_timestamp() - \(graceMilliseconds) * interval '1 millisecond'
                    order by e.lease_until limit 1
                    for update of e skip locked
                    """
                )
                guard let row = try rows.oneOrNone() else { return false }
                let (id, namespace, instance, epoch) = try row.decode(
                    UUID.self,
                    String.self,
                    String.self,
                    Int64.self
                )
                let writer = Writer(
                    namespaceID: id,
                    namespace: NamespaceName(namespace),
                    instance: InstanceID(instance)
                )
                try await transaction.enter(.namespace(id))
                return try await Self.close(writer, UInt64(epoch), now: now, in: transaction)
            }
            guard found else { break }
            closed += 1
        }
        return closed
    }

    @discardableResult
    private static func close(
        _ writer: Writer,
        _ epoch: UInt64,
        now: GatewayModel.Timestamp,
        in transaction: borrowing Transaction
    ) async throws -> Bool {
        let (id, instance, number) = (writer.namespaceID, writer.instance.text.string, Int64(epoch))
        let locked = try await transaction.query(
            """
            select settled_n from epoch where namespace_id = \(id) and instance = \(instance)
                and epoch = \(number) and closed_at is null
            for update
            """
        )
        guard let row = try locked.oneOrNone() else { return false }
        // From here on nobody commits into this epoch. The other lane sorts after 'committed', and
        // is read whole.
        let settled: Int64 = try row.decode(at: 0)
        let open = try await transaction.query(
            """
            select r.lane, r.n from record r
            where r.namespace_id = \(id) and r.instance = \(instance) and r.epoch = \(number)
                and (r.lane, r.n) > ('committed', \(settled))
                and r.kind = 'intent' and not r.annotation
                and not exists (select from call_outcome c where c.namespace_id = r.namespace_id
                    and c.instance = r.instance and c.epoch = r.epoch and c.lane = r.lane
                    and c.intent_n = r.n)
            order by r.lane, r.n
            """
        )
        let holes = try await transaction.query(
            """
            select lane, before + 1, n - 1 from (
                select lane, n, lag(n, 1, case lane when 'committed' then \(settled) else 0 end)
                    over (partition by lane order by n) as before
                from record
                where namespace_id = \(id) and instance = \(instance) and epoch = \(number)
                    and (lane, n) > ('committed', \(settled))
            ) as numbers
            where n > before + 1 order by lane, n
            """
        )
        var findings: [Finding] = []
        for row in open {
            let (name, n) = try row.decode(String.self, Int64.self)
            findings.append(Finding(lane: try lane(name), intent: UInt64(n)))
        }
        for row in holes {
            let (name, first, last) = try row.decode(String.self, Int64.self, Int64.self)
            findings.append(Finding(lane: try lane(name), first: UInt64(first), UInt64(last)))
        }
        if !findings.isEmpty {
            try await write(findings, about: writer, epoch, now: now, in: transaction)
        }
        _ = try await transaction.query(
            """
            update epoch set closed_at = clock_timestamp()
            where namespace_id = \(id) and instance = \(instance) and epoch = \(number)
            """
        )
        return true
    }

    private static func lane(_ name: String) throws(StoreError) -> RecordLane {
        guard let lane = RecordLane(rawValue: name) else { throw .malformed(what: "record") }
        return lane
    }

    /// What closing found: an intent without outcome, or missing numbers.
    private struct Finding {
        let lane: RecordLane
        let intent: UInt64?
        let missing: ClosedRange<UInt64>?

        init(lane: RecordLane, intent: UInt64) {
            (self.lane, self.intent, missing) = (lane, intent, nil)
        }

        init(lane: RecordLane, first: UInt64, _ last: UInt64) {
            (self.lane, intent, missing) = (lane, nil, first...last)
        }

        func record(
            of instance: InstanceID,
            _ epoch: UInt64,
            _ now: GatewayModel.Timestamp
        ) -> AuditRecord {
            if let intent {
                return .outcome(
                    of: .init(
                        n: intent,
                        owner: .init(instance: instance, epoch: epoch, lane: lane)
                    ),
                    CallOutcome(time: now, end: .unknown)
                )
            }
            let missing = missing ?? 0...0
            return .gap(
                .init(
                    time: now,
                    instance: instance,
                    epoch: epoch,
                    lane: lane,
                    first: missing.lowerBound,
                    last: missing.upperBound
                )
            )
        }
    }

    /// Control's own records: numbered, outcomes entered, in the transaction that closes.
    private static func write(
        _ findings: [Finding],
        about writer: Writer,
        _ epoch: UInt64,
        now: GatewayModel.Timestamp,
        in transaction: borrowing Transaction
    ) async throws {
        var n = try await takeNumbers(findings.count, writer.namespaceID, in: transaction)
        var (kinds, numbers, intents) = ([String](), [Int64](), [Int64?]())
        var (lanes, bodies) = ([String](), [[UInt8]]())
        for finding in findings {
            let position = RecordPosition(
                namespace: writer.namespace,
                instance: control,
                epoch: 1,
                lane: .committed,
                n: UInt64(n)
            )
            kinds.append(finding.intent == nil ? "gap" : "outcome")
            numbers.append(n)
            intents.append(finding.intent.map(Int64.init))
            lanes.append(finding.lane.rawValue)
            bodies.append(
                finding.record(of: writer.instance, epoch, now).draft().sequenced(at: position)
            )
            n += 1
        }
        let control = control.text.string
        try await transaction.pipeline(
            .init(
                """
                insert into call_outcome (namespace_id, instance, epoch, lane, intent_n, outcome,
                    outcome_instance, outcome_epoch, outcome_n)
                select \(writer.namespaceID), \(writer.instance.text.string), \(Int64(epoch)), lane,
                    intent_n, 'unknown', \(control), 1, n
                from unnest(\(lanes), \(intents), \(numbers)) as u (lane, intent_n, n)
                where intent_n is not null
                """
            ),
            .init(
                """
                insert into record (namespace_id, instance, epoch, lane, n, occurred_at, kind,
                    intent_n, body)
                select \(writer.namespaceID), \(control), 1, 'committed', n,
                    \(Postgres.Timestamp(microseconds: now.microseconds)), kind, intent_n, body
                from unnest(\(kinds), \(numbers), \(intents), \(bodies))
                    as u (kind, n, intent_n, body)
                order by n
                """
            )
        )
    }

    /// The first of `count` dense numbers of control's epoch in a namespace.
    ///
    /// Its row stays locked until the transaction ends, and a rollback gives the numbers back.
    private static func takeNumbers(
        _ count: Int,
        _ namespace: UUID,
        in transaction: borrowing Transaction
    ) async throws -> Int64 {
        let take: Query = """
            update epoch set next_n = next_n + \(Int64(count))
            where namespace_id = \(namespace) and instance = \(control.text.string) and epoch = 1
            returning next_n - \(Int64(count))
            """
        if let row = try await transaction.query(take).oneOrNone() { return try row.decode(at: 0) }
        try await transaction.pipeline(
            .init(
                """
                insert into instance (namespace_id, name, kind, last_epoch)
                values (\(namespace), \(control.text.string), 'control', 1) on conflict do nothing
                """
            ),
            .init(
                """
                insert into epoch (namespace_id, instance, epoch, boot_id, software_version,
                    session_id, lease_until)
                values (\(namespace), \(control.text.string), 1,
                    \([UInt8](repeating: 0, count: 16)), '', \(UUID(high: 0, low: 0)), 'infinity')
                on conflict do nothing
                """
            )
        )
        return try await transaction.query(take).one().decode(at: 0)
    }

    // MARK: - Settling

    /// Moves the settled number of every open epoch up to just before its first hole or open
    /// intent.
    ///
    /// Keeps closing and resuming from reading an epoch of months; a few seconds' worth of records
    /// are read instead. One transaction, READ COMMITTED: the namespaces that have an open epoch,
    /// and then, held to those, one statement; what is committed meanwhile lies above.
    public func settle() async throws(StoreError) {
        try await client.transact(in: .installation) { transaction in
            let open = try await transaction.query(
                """
                select distinct namespace_id from epoch
                where closed_at is null and instance <> \(Self.control.text.string)
                """
            )
            guard !open.isEmpty else { return }
            try await transaction.enter(.namespaces(Set(open.map { try $0.decode(at: 0) })))
            _ = try await transaction.query(
                """
                update epoch e set settled_n = greatest(e.settled_n, found.up_to)
                from (
                    select o.namespace_id, o.instance, o.epoch, coalesce(
                        min(s.dense) filter (where s.n <> s.dense or s.is_open) - 1,
                        max(s.n)) as up_to
                    from epoch o cross join lateral (
                        select r.n, row_number() over (order by r.n) + o.settled_n as dense,
                            r.kind = 'intent' and c.intent_n is null as is_open
                        from record r
                        left join call_outcome c on c.namespace_id = r.namespace_id
                            and c.instance = r.instance and c.epoch = r.epoch and c.lane = r.lane
                            and c.intent_n = r.n
                        where r.namespace_id = o.namespace_id and r.instance = o.instance
                            and r.epoch = o.epoch and r.lane = 'committed' and r.n > o.settled_n
                    ) as s
                    where o.closed_at is null and o.instance <> \(Self.control.text.string)
                    group by o.namespace_id, o.instance, o.epoch
                ) as found
                where e.namespace_id = found.namespace_id and e.instance = found.instance
                    and e.epoch = found.epoch and e.closed_at is null
                """
            )
        }
    }

    /// Makes the partitions of this month and the next; safe to ask for at any time.
    public func ensureMonths() async throws(StoreError) {
        _ = try await client.run(
            "select ensure_record_month(now()), ensure_record_month(now() + interval '1 month')",
            in: .installation
        )
    }
}

/// One statement of a fixed group.
struct Step {
    let query: Query

    init(_ query: Query) {
        self.query = query
    }
}

extension Transaction {
    /// Runs statements in one round trip; throws the first failure.
    borrowing func pipeline(_ steps: Step...) async throws(PostgresError) {
        let results = try await pipeline { pipeline in
            for step in steps { pipeline.add(step.query) }
        }
        for result in results { _ = try result.get() }
    }
}
