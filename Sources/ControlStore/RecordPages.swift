public import AuditLog
import Cryptography
public import GatewayModel
public import JSON
public import Postgres

/// A record as it is stored.
public struct StoredRecord: Sendable, Hashable, Listed {
    /// Where it stands in the order of arrival.
    public let arrival: Int64
    /// Where it stands in its writer's order.
    public let position: RecordPosition
    /// What kind it is.
    public let kind: AuditRecord.Kind
    /// When it happened.
    public let time: GatewayModel.Timestamp
    /// Whether it is kept without effect.
    public let isAnnotation: Bool
    /// Its exact bytes.
    public let body: [UInt8]
    /// Its place in the order of arrival.
    public var key: Text { Text("\(arrival)") }
}

/// What a reader is interested in; an absent criterion accepts everything.
public struct RecordFilter: Sendable {
    /// Only this kind.
    public var kind: AuditRecord.Kind?
    /// Only this subject.
    public var subject: SubjectID?
    /// Only this server.
    public var server: ServerName?
    /// Only this tool.
    public var tool: ToolName?
    /// Only with this decision.
    public var answer: Text?
    /// Not earlier than this, by the record's own time.
    public var from: GatewayModel.Timestamp?
    /// Earlier than this, by the record's own time.
    public var to: GatewayModel.Timestamp?

    /// Everything.
    public init(
        kind: AuditRecord.Kind? = nil,
        subject: SubjectID? = nil,
        server: ServerName? = nil,
        tool: ToolName? = nil,
        answer: Text? = nil,
        from: GatewayModel.Timestamp? = nil,
        to: GatewayModel.Timestamp? = nil
    ) {
        self.kind = kind
        self.subject = subject
        self.server = server
        self.tool = tool
        self.answer = answer
        self.from = from
        self.to = to
    }
}

/// Records, read: pages by position.
extension RecordStore {
    /// The records that arrived after `position`, oldest first, at most `limit`.
    ///
    /// A page that was read once reads the same for ever: what is still being written is left to later pages.
    public func page(
        of namespace: Namespace,
        after position: Int64 = 0,
        limit: Int = 100,
        filter: RecordFilter = RecordFilter()
    ) async throws(StoreError) -> [StoredRecord] {
        try await client.transact(in: .namespace(namespace.id)) { transaction in
            try await page(
                of: namespace,
                after: position,
                limit: limit,
                filter: filter,
                in: transaction
            )
        }
    }

    /// The same, in a transaction, which must be READ COMMITTED: the rows are read after the horizon.
    public func page(
        of namespace: Namespace,
        after position: Int64,
        limit: Int,
        filter: RecordFilter = RecordFilter(),
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [StoredRecord] {
        let horizon = try await horizon(in: transaction)
        let from = filter.from.map { Postgres.Timestamp(microseconds: $0.microseconds) }
        let to = filter.to.map { Postgres.Timestamp(microseconds: $0.microseconds) }
        let rows = try await transaction.run(
            """
            select position, instance, epoch, lane, n, kind, occurred_at, annotation, body
            from record
            where namespace_id = \(namespace.id) and position > \(position)
                and position <= \(horizon)
                and (\(filter.kind?.rawValue)::text is null or kind = \(filter.kind?.rawValue))
                and (\(filter.subject?.text.string)::text is null
                    or subject = \(filter.subject?.text.string))
                and (\(filter.server?.text.string)::text is null
                    or server = \(filter.server?.text.string))
                and (\(filter.tool?.text.string)::text is null
                    or tool = \(filter.tool?.text.string))
                and (\(filter.answer?.string)::text is null or answer = \(filter.answer?.string))
                and (\(from)::timestamptz is null or occurred_at >= \(from))
                and (\(to)::timestamptz is null or occurred_at < \(to))
            order by position limit \(Int64(limit))
            """
        )
        return try storing { try rows.map { try StoredRecord($0, of: namespace.name) } }
    }

    /// The position up to which nothing can be added any more (`note_record_horizon`).
    ///
    /// The sequence is read before the locks, in statements of their own: a writer that shows no lock yet will take only
    /// positions above what the sequence said.
    func horizon(in transaction: borrowing Transaction) async throws(StoreError) -> Int64 {
        let last = try await transaction.run("select last_value from record_position_seq")
        let shown = try await transaction.run(
            """
            select objid::bigint from pg_locks
            where locktype = 'advisory' and classid = 1330859340 and objsubid = 2
                and database = (select oid from pg_database where datname = current_database())
            """
        )
        return try storing {
            let last: Int64 = try last.one().decode(at: 0)
            return try shown.reduce(last) { least, row in
                // Only the low half fits a lock; the position is the nearest one that is not above the sequence.
                let low: Int64 = try row.decode(at: 0)
                var position = last & ~0xFFFF_FFFF | low
                if position > last { position -= 1 << 32 }
                // The first position of the writer may be the next one, and is no harm itself: a page that ends
                // with it has nothing above it.
                return min(least, position + 1)
            }
        }
    }

    /// How the call of an intent ended, and who said so.
    public func outcome(
        of intent: RecordPosition,
        in namespace: NamespaceID
    ) async throws(StoreError) -> (end: CallOutcome.End, by: RecordPosition)? {
        let rows = try await client.run(
            """
            select outcome, outcome_instance, outcome_epoch, outcome_n from call_outcome
            where namespace_id = \(namespace) and instance = \(intent.instance.text.string)
                and epoch = \(Int64(intent.epoch)) and lane = \(intent.lane.rawValue)
                and intent_n = \(Int64(intent.n))
            """,
            in: .namespace(namespace)
        )
        return try storing {
            guard let row = try rows.oneOrNone() else { return nil }
            let (outcome, instance, epoch, n) = try row.decode(
                String.self,
                String.self,
                Int64.self,
                Int64.self
            )
            guard let end = CallOutcome.End(rawValue: outcome) else {
                throw StoreError.malformed(what: "call_outcome")
            }
            let by = RecordPosition(
                namespace: intent.namespace,
                instance: InstanceID(instance),
                epoch: UInt64(epoch),
                lane: intent.lane,
                n: UInt64(n)
            )
            return (end, by)
        }
    }

    /// The parts of a record, decrypted; a part whose key was destroyed is left out.
    public func parts(
        of position: RecordPosition,
        in namespace: NamespaceID,
        keys: KeyStore
    ) async throws(StoreError) -> [IncomingPart] {
        let rows = try await client.run(
            """
            select name, key_id, sealed from record_part
            where namespace_id = \(namespace) and instance = \(position.instance.text.string)
                and epoch = \(Int64(position.epoch)) and lane = \(position.lane.rawValue)
                and n = \(Int64(position.n))
            order by name
            """,
            in: .namespace(namespace)
        )
        var parts: [IncomingPart] = []
        for row in rows {
            let (name, id, sealed) = try storing {
                try row.decode(String.self, String.self, [UInt8].self)
            }
            guard let key = try await keys.key(id, of: namespace) else { continue }
            parts.append(
                try storing { try PartSealer.open(sealed, name, at: position, with: key) }
            )
        }
        return parts
    }
}

extension StoredRecord {
    fileprivate init(_ row: Row, of namespace: NamespaceName) throws {
        let (arrival, instance, epoch, lane, n) = try row.decode(
            Int64.self,
            String.self,
            Int64.self,
            String.self,
            Int64.self
        )
        guard let lane = RecordLane(rawValue: lane),
            let kind = AuditRecord.Kind(rawValue: try row.decode(at: 5))
        else { throw StoreError.malformed(what: "record") }
        self.arrival = arrival
        position = RecordPosition(
            namespace: namespace,
            instance: InstanceID(instance),
            epoch: UInt64(epoch),
            lane: lane,
            n: UInt64(n)
        )
        self.kind = kind
        time = .init(microseconds: try row.decode(at: 6, as: Postgres.Timestamp.self).microseconds)
        isAnnotation = try row.decode(at: 7)
        body = try row.decode(at: 8)
    }
}
