import AuditLog
import Cryptography
import GatewayModel
import JSON
public import Postgres

/// Records, written: `record`, `record_part`, `call_outcome`.
///
/// One transaction takes batches of many writers:
///
///     1  lock the epochs             nothing closes while we write
///     2  insert the parts
///     3  insert outcomes and records an outcome that finds its place taken is an annotation
///
/// The three go out together and cost one round trip. A batch that may hold numbers stored before
/// (after a reconnect, or of a closed epoch) first asks what is there, which costs one more.
public struct RecordStore: Sendable {
    let client: PostgresClient

    /// Records in this database.
    public init(_ client: PostgresClient) {
        self.client = client
    }

    /// What became of a batch.
    public enum Outcome: Hashable, Sendable {
        /// Everything in it is durable, but what is named here.
        case committed(refused: [RecordRefusal])
        /// Another session holds the epoch now. Nothing was stored; its owner will send it again.
        case superseded
        /// The epoch was never assigned. Nothing was stored.
        case epochUnknown
    }

    /// Commits batches in one transaction; answers in the same order.
    ///
    /// READ COMMITTED; runs again up to three times when it loses against a concurrent transaction.
    /// When this throws, nothing is to be acknowledged; the same batches may be sent again, as ones
    /// that may hold twins. Two batches of one writer and epoch must not come together when the
    /// later one ``RecordBatch/mayHoldTwins``.
    public func commit(_ batches: [RecordBatch]) async throws(StoreError) -> [Outcome] {
        guard batches.contains(where: { $0.mayHoldTwins }) else {
            return try await commitFresh(batches)
        }
        return try await client.transact(in: Self.scope(of: batches)) { transaction in
            let streams = Streams(batches)
            let standing = try streams.standing(await transaction.query(streams.lock))
            let twins = try Self.readTwins(
                await transaction.query(Self.findTwins(batches, streams))
            )
            let columns = Columns(batches, streams, leavingOut: twins)
            if !columns.isEmpty {
                for result in try await transaction.pipeline({ columns.insert(into: &$0, streams) })
                {
                    _ = try result.get()
                }
            }
            return Self.outcomes(batches, streams, standing, twins)
        }
    }

    private func commitFresh(_ batches: [RecordBatch]) async throws(StoreError) -> [Outcome] {
        let streams = Streams(batches)
        let columns = Columns(batches, streams, leavingOut: [:])
        do throws(PostgresError) {
            let results = try await client.pipeline(in: Self.scope(of: batches)) { pipeline in
                pipeline.add(streams.lock)
                if !columns.isEmpty { columns.insert(into: &pipeline, streams) }
            }
            // The commit was answered: everything here is durable, and can be acknowledged.
            return Self.outcomes(batches, streams, try streams.standing(results[0]), [:])
        } catch {
            throw .database(error)
        }
    }

    private static func scope(of batches: [RecordBatch]) -> Scope {
        .namespaces(Set(batches.map(\.writer.namespaceID)))
    }

    private static func outcomes(
        _ batches: [RecordBatch],
        _ streams: Streams,
        _ standing: [Int: Standing],
        _ twins: [Place: Bool]
    ) -> [Outcome] {
        batches.enumerated().map { index, batch in
            switch standing[streams.own[index]] {
            case nil: return .epochUnknown
            case .heldByAnother: return .superseded
            case .open, .closed:
                let reused = batch.entries.filter {
                    twins[Place(stream: streams.own[index], $0)] == false
                }
                return .committed(
                    refused: batch.refused
                        + reused.map {
                            RecordRefusal(n: $0.summary.position.n, code: .numberReused)
                        }
                )
            }
        }
    }

    // MARK: - Numbers that are taken

    /// A number on a stream.
    private struct Place: Hashable {
        let stream: Int
        let lane: RecordLane
        let n: UInt64

        init(stream: Int, _ entry: RecordBatch.Entry) {
            self.stream = stream
            lane = entry.summary.position.lane
            n = entry.summary.position.n
        }

        init(stream: Int, lane: RecordLane, n: UInt64) {
            (self.stream, self.lane, self.n) = (stream, lane, n)
        }
    }

    /// The time in the key does not help here: a number that comes again with another time is a
    /// twin too, a false one.
    private static func findTwins(_ batches: [RecordBatch], _ streams: Streams) -> Query {
        var (stream, lane, n) = (Ints32(), Texts(), Ints64())
        var body = ArrayParameter(of: [UInt8].self)
        for (index, batch) in batches.enumerated() {
            for entry in batch.entries where entry.mayBeTwin {
                stream.append(Int32(streams.own[index]))
                lane.append(entry.summary.position.lane.rawValue)
                n.append(Int64(entry.summary.position.n))
                body.append(entry.body)
            }
        }
        return """
            select i.stream, i.lane, i.n, r.body = i.body
            from unnest(\(stream), \(lane), \(n), \(body)) as i (stream, lane, n, body)
            join unnest(\(streams.namespace), \(streams.instance), \(streams.epoch)) with ordinality
                as s (namespace_id, instance, epoch, stream) on s.stream = i.stream
            join record r on r.namespace_id = s.namespace_id and r.instance = s.instance
                and r.epoch = s.epoch and r.lane = i.lane and r.n = i.n
            """
    }

    /// By place: whether the bytes are the same.
    private static func readTwins(_ rows: Rows) throws(PostgresError) -> [Place: Bool] {
        var twins: [Place: Bool] = [:]
        for row in rows {
            let (stream, lane, n, same) = try row.decode(
                Int32.self,
                String.self,
                Int64.self,
                Bool.self
            )
            guard let lane = RecordLane(rawValue: lane) else { continue }
            twins[Place(stream: Int(stream), lane: lane, n: UInt64(n))] = same
        }
        return twins
    }

    // MARK: - Streams

    private enum Standing { case open, closed, heldByAnother }

    /// The distinct (writer, epoch)s of some batches, numbered from 1 as `WITH ORDINALITY` does.
    private struct Streams {
        private struct Key: Hashable {
            let namespace: UUID
            let instance: InstanceID
            let epoch: UInt64
            /// Two sessions of one epoch are judged apart; `nil` for a mere target.
            let session: UUID?
        }

        private var numbers: [Key: Int] = [:]
        private(set) var namespace: [UUID] = []
        private(set) var instance: [String] = []
        private(set) var epoch: [Int64] = []
        private(set) var session: [UUID?] = []
        /// Per batch: its stream.
        private(set) var own: [Int] = []

        init(_ batches: [RecordBatch]) {
            for batch in batches {
                let key = Key(
                    namespace: batch.writer.namespaceID,
                    instance: batch.writer.instance,
                    epoch: batch.epoch,
                    session: batch.session
                )
                let number = add(key)
                own.append(number)
            }
            for batch in batches {
                for entry in batch.entries {
                    guard let owner = entry.summary.owner else { continue }
                    _ = add(
                        Key(
                            namespace: batch.writer.namespaceID,
                            instance: owner.instance,
                            epoch: owner.epoch,
                            session: nil
                        )
                    )
                }
            }
        }

        private mutating func add(_ key: Key) -> Int {
            if let number = numbers[key] { return number }
            namespace.append(key.namespace)
            instance.append(key.instance.text.string)
            epoch.append(Int64(key.epoch))
            session.append(key.session)
            numbers[key] = namespace.count
            return namespace.count
        }

        /// Whose intent an outcome closes.
        func target(of entry: RecordBatch.Entry, own: Int, _ namespaceID: UUID) -> Int {
            guard let owner = entry.summary.owner else { return own }
            let key = Key(
                namespace: namespaceID,
                instance: owner.instance,
                epoch: owner.epoch,
                session: nil
            )
            return numbers[key] ?? own
        }

        /// KEY SHARE is the weakest lock that excludes the FOR UPDATE of closing and of taking
        /// over, and lets leases be stored meanwhile.
        ///
        /// In the order of the key, as everybody locks epochs.
        var lock: Query {
            """
            select s.stream, e.closed_at is not null,
                e.closed_at is not null or e.session_id = s.session_id
            from unnest(\(namespace), \(instance), \(epoch), \(session)) with ordinality
                as s (namespace_id, instance, epoch, session_id, stream)
            join epoch e on e.namespace_id = s.namespace_id and e.instance = s.instance
                and e.epoch = s.epoch
            order by e.namespace_id, e.instance, e.epoch
            for key share of e
            """
        }

        func standing(_ rows: Rows) throws(PostgresError) -> [Int: Standing] {
            var standing: [Int: Standing] = [:]
            for row in rows {
                let (stream, isClosed, isOurs) = try row.decode(Int64.self, Bool.self, Bool?.self)
                standing[Int(stream)] =
                    isClosed ? .closed : isOurs == true ? .open : .heldByAnother
            }
            return standing
        }
    }

    // MARK: - Columns

    private typealias Texts = ArrayParameter<String>
    private typealias Ints32 = ArrayParameter<Int32>
    private typealias Ints64 = ArrayParameter<Int64>

    /// The records of some batches, column by column.
    private struct Columns {
        private var stream = Ints32()
        private var target = Ints32()
        private var lane = Texts()
        private var n = Ints64()
        private var time = ArrayParameter<Postgres.Timestamp>()
        private var kind = Texts()
        private var intent = Ints64()
        private var end = Texts()
        private var subject = Texts()
        private var server = Texts()
        private var tool = Texts()
        private var answer = Texts()
        private var code = Texts()
        private var body: ArrayParameter<[UInt8]>

        private var partStream = Ints32()
        private var partLane = Texts()
        private var partN = Ints64()
        private var partName = Texts()
        private var partKey = Texts()
        private var partSealed: ArrayParameter<[UInt8]>
        private var partCount = 0

        private(set) var isEmpty = true

        init(_ batches: [RecordBatch], _ streams: Streams, leavingOut twins: [Place: Bool]) {
            let bytes = batches.reduce(0) { $0 + $1.byteCount }
            body = ArrayParameter(of: [UInt8].self, capacity: bytes)
            partSealed = ArrayParameter(of: [UInt8].self)
            for (index, batch) in batches.enumerated() {
                let own = streams.own[index]
                for entry in batch.entries {
                    if entry.mayBeTwin, twins[Place(stream: own, entry)] != nil { continue }
                    add(
                        entry,
                        Int32(own),
                        Int32(streams.target(of: entry, own: own, batch.writer.namespaceID)),
                        batch.keyID
                    )
                }
            }
        }

        private mutating func add(
            _ entry: RecordBatch.Entry,
            _ own: Int32,
            _ closes: Int32,
            _ keyID: String
        ) {
            isEmpty = false
            let summary = entry.summary
            stream.append(own)
            target.append(closes)
            lane.append(summary.position.lane.rawValue)
            n.append(Int64(summary.position.n))
            time.append(Postgres.Timestamp(microseconds: summary.time.microseconds))
            kind.append(summary.kind.rawValue)
            intent.append(
                ifPresent: summary.kind == .outcome ? summary.intent.map(Int64.init) : nil
            )
            end.append(ifPresent: summary.end?.rawValue)
            subject.append(ifPresent: summary.subject?.string)
            server.append(ifPresent: summary.server?.string)
            tool.append(ifPresent: summary.tool?.string)
            answer.append(ifPresent: summary.answer?.string)
            code.append(ifPresent: summary.code?.string)
            body.append(entry.body)
            for part in entry.parts {
                partCount += 1
                partStream.append(own)
                partLane.append(summary.position.lane.rawValue)
                partN.append(Int64(summary.position.n))
                partName.append(part.name)
                partKey.append(keyID)
                partSealed.append(part.sealed)
            }
        }

        func insert(into pipeline: inout Pipeline, _ streams: Streams) {
            if partCount > 0 { pipeline.add(insertParts(streams)) }
            pipeline.add(insertRecords(streams))
        }

        /// A stream whose epoch another session holds is left out, here and below: nothing of it is
        /// stored.
        private func insertParts(_ streams: Streams) -> Query {
            """
            insert into record_part (namespace_id, instance, epoch, lane, n, name, key_id, sealed)
            select e.namespace_id, e.instance, e.epoch, p.lane, p.n, p.name, p.key_id, p.sealed
            from unnest(\(partStream), \(partLane), \(partN), \(partName), \(partKey),
                        \(partSealed))
                as p (stream, lane, n, name, key_id, sealed)
            join unnest(\(streams.namespace), \(streams.instance), \(streams.epoch),
                        \(streams.session)) with ordinality
                as s (namespace_id, instance, epoch, session_id, stream) on s.stream = p.stream
            join epoch e on e.namespace_id = s.namespace_id and e.instance = s.instance
                and e.epoch = s.epoch and (e.closed_at is not null or e.session_id = s.session_id)
            on conflict do nothing
            """
        }

        /// Only what `closing` really inserted has an effect: an outcome whose intent has one
        /// already, or whose own or whose intent's epoch is closed, is an annotation.
        ///
        /// `NOT IN` is looked up in a hash. A join was planned for the few rows that a generic plan expects, and
        /// compared each record of a batch with each outcome: 1 ms of PostgreSQL a call in batches of 40.
        private func insertRecords(_ streams: Streams) -> Query {
            """
            with stream as materialized (
                select s.stream, e.namespace_id, e.instance, e.epoch,
                    e.closed_at is not null as is_closed,
                    e.closed_at is not null or e.session_id = s.session_id as is_ours
                from unnest(\(streams.namespace), \(streams.instance), \(streams.epoch),
                            \(streams.session)) with ordinality
                    as s (namespace_id, instance, epoch, session_id, stream)
                join epoch e on e.namespace_id = s.namespace_id and e.instance = s.instance
                    and e.epoch = s.epoch
            ), incoming as materialized (
                select own.namespace_id, own.instance, own.epoch, own.is_closed,
                    target.instance as intent_instance, target.epoch as intent_epoch,
                    own.is_closed or target.is_closed as is_late,
                    i.lane, i.n, i.occurred_at, i.kind, i.intent_n, i.outcome,
                    i.subject, i.server, i.tool, i.answer, i.code, i.body
                from unnest(\(stream), \(target), \(lane), \(n), \(time), \(kind), \(intent),
                            \(end),
                            \(subject), \(server), \(tool), \(answer), \(code), \(body))
                    as i (stream, target, lane, n, occurred_at, kind, intent_n, outcome,
                          subject, server, tool, answer, code, body)
                join stream own on own.stream = i.stream and own.is_ours
                left join stream target on target.stream = i.target
            ), closing as (
                insert into call_outcome (namespace_id, instance, epoch, lane, intent_n,
                    outcome, outcome_instance, outcome_epoch, outcome_n)
                select namespace_id, intent_instance, intent_epoch, lane, intent_n,
                    outcome, instance, epoch, n
                from incoming
                where kind = 'outcome' and intent_epoch is not null and not is_late
                order by n
                on conflict do nothing
                returning namespace_id, outcome_instance, outcome_epoch, lane, outcome_n
            )
            insert into record (namespace_id, instance, epoch, lane, n, occurred_at, kind, intent_n,
                annotation, subject, server, tool, answer, code, body)
            select i.namespace_id, i.instance, i.epoch, i.lane, i.n, i.occurred_at, i.kind,
                i.intent_n,
                i.is_closed or (i.kind = 'outcome'
                    and (i.namespace_id, i.instance, i.epoch, i.lane, i.n) not in (
                        select namespace_id, outcome_instance, outcome_epoch, lane, outcome_n
                        from closing)),
                i.subject, i.server, i.tool, i.answer, i.code, i.body
            from incoming i
            order by i.namespace_id, i.instance, i.epoch, i.lane, i.n
            on conflict do nothing
            """
        }
    }
}

extension ArrayParameter where Element: PostgresScalar {
    fileprivate mutating func append(ifPresent element: Element?) {
        if let element { append(element) } else { appendNull() }
    }
}
