public import AuditLog
public import Cryptography
public import GatewayModel
public import Postgres

/// A recorded decision: an intent or a refusal that policy answered, with its arguments still encrypted.
public struct RecordedDecision: Sendable {
    /// Where it stands in the order of arrival.
    public let arrival: Int64
    /// Where it stands in its writer's order.
    public let position: RecordPosition
    /// Its exact bytes.
    public let body: [UInt8]
    /// Its arguments.
    public let arguments: SealedPart?

    /// A part as it is stored.
    public struct SealedPart: Sendable {
        /// The name of its key.
        public let keyID: String
        /// `nil` for a part too long to be read with others; ``RecordStore/parts(of:in:keys:)`` has it.
        public let sealed: [UInt8]?
    }

    /// The content of the arguments under their key.
    ///
    /// - Throws: When the part does not belong to this record.
    public func openArguments(
        _ sealed: [UInt8],
        with key: AEAD
    ) throws(CryptographyError) -> [UInt8] {
        try PartSealer.content(
            of: sealed,
            RecordPart.Name.arguments.rawValue,
            at: position,
            with: key
        )
    }
}

// Recorded decisions, newest first: `record`, `record_part`.
extension RecordStore {
    /// The longest sealed part that a page carries, in bytes, so that a page fits into memory whatever was asked.
    private static let pagePartBytesMax: Int64 = 65_536

    /// The position above every record that is there and can have no other below it, to begin paging from.
    public func newestDecision(in namespace: NamespaceID) async throws(StoreError) -> Int64 {
        try await client.transact(in: .namespace(namespace)) { transaction in
            try await horizon(in: transaction) + 1
        }
    }

    /// Decisions that arrived before `position`, newest first, at most `limit`.
    ///
    /// Keyset pages, each a transaction of its own. Annotations are left out: they had no effect.
    public func decisions(
        of namespace: Namespace,
        before position: Int64,
        from: GatewayModel.Timestamp?,
        to: GatewayModel.Timestamp,
        withArguments: Bool,
        limit: Int
    ) async throws(StoreError) -> [RecordedDecision] {
        let first = from.map { Postgres.Timestamp(microseconds: $0.microseconds) }
        let last = Postgres.Timestamp(microseconds: to.microseconds)
        let rows = try await client.run(
            """
            with page as materialized (
                select position, namespace_id, instance, epoch, lane, n, body from record
                where namespace_id = \(namespace.id) and position < \(position)
                    and kind in ('intent', 'refusal') and answer is not null and not annotation
                    and (\(first)::timestamptz is null or occurred_at >= \(first))
                    and occurred_at < \(last)
                order by position desc limit \(Int64(limit))
            )
            select r.position, r.instance, r.epoch, r.lane, r.n, r.body, p.key_id, p.sealed
            from page r left join lateral (
                select key_id, case when octet_length(sealed) <= \(Self.pagePartBytesMax) then sealed end as sealed
                from record_part
                where \(withArguments) and namespace_id = r.namespace_id and instance = r.instance
                    and epoch = r.epoch and lane = r.lane and n = r.n and name = 'arguments'
            ) p on true
            order by r.position desc
            """,
            in: .namespace(namespace.id)
        )
        return try storing { try rows.map { try RecordedDecision($0, of: namespace.name) } }
    }
}

extension RecordedDecision {
    fileprivate init(_ row: Row, of namespace: NamespaceName) throws {
        let (arrival, instance, epoch, lane, n) = try row.decode(
            Int64.self,
            String.self,
            Int64.self,
            String.self,
            Int64.self
        )
        guard let lane = RecordLane(rawValue: lane) else {
            throw StoreError.malformed(what: "record")
        }
        self.arrival = arrival
        position = RecordPosition(
            namespace: namespace,
            instance: InstanceID(instance),
            epoch: UInt64(epoch),
            lane: lane,
            n: UInt64(n)
        )
        body = try row.decode(at: 5)
        arguments = try row.decode(at: 6, as: String?.self).map {
            SealedPart(keyID: $0, sealed: try row.decode(at: 7))
        }
    }
}
