public import AuditLog
public import Cryptography
public import GatewayModel
import JSON
public import Postgres

/// Where a batch came from: what the certificate and the session say, which the bytes must repeat.
public struct Writer: Hashable, Sendable {
    /// The namespace's key.
    public let namespaceID: NamespaceID
    /// The namespace's name, as records carry it.
    public let namespace: NamespaceName
    /// The writer.
    public let instance: InstanceID

    /// A writer of records.
    public init(namespaceID: NamespaceID, namespace: NamespaceName, instance: InstanceID) {
        self.namespaceID = namespaceID
        self.namespace = namespace
        self.instance = instance
    }
}

/// A record as it arrived.
public struct IncomingRecord: Sendable {
    /// The lane it came in.
    public var lane: RecordLane
    /// The number it came under.
    public var n: UInt64
    /// Its exact bytes.
    public var body: [UInt8]
    /// What it commits to.
    public var parts: [IncomingPart]

    /// A record from the link.
    public init(lane: RecordLane, n: UInt64, body: [UInt8], parts: [IncomingPart] = []) {
        self.lane = lane
        self.n = n
        self.body = body
        self.parts = parts
    }
}

/// A part as it arrived.
public struct IncomingPart: Sendable {
    /// What the piece calls itself.
    public var name: String
    /// Its salt.
    public var salt: [UInt8]
    /// Its content.
    public var content: [UInt8]

    /// A part from the link.
    public init(name: String, salt: [UInt8], content: [UInt8]) {
        self.name = name
        self.salt = salt
        self.content = content
    }
}

/// A record that control will not keep, with a stable code (docs/reference/records.md).
///
/// Its call must not go on.
public struct RecordRefusal: Hashable, Sendable {
    /// Its number.
    public let n: UInt64
    /// Why.
    public let code: Code

    /// Why a record is refused.
    ///
    /// Sending the same bytes again does not help.
    public enum Code: String, Error, Hashable, Sendable, CaseIterable {
        /// The body is longer than a record may be.
        case tooLong = "too_long"
        /// The body is not strict JSON.
        case notJSON = "not_json"
        /// The body is of a format version this build does not know.
        case unknownVersion = "unknown_version"
        /// A member is missing or has the wrong form.
        case malformed
        /// The position in the bytes is not the one of the stream it came on.
        case positionMismatch = "position_mismatch"
        /// Only control writes records of this kind.
        case kindNotAllowed = "kind_not_allowed"
        /// The outcome names an intent that is not earlier, or not the writer's own.
        case intentNotAllowed = "intent_not_allowed"
        /// The parts are not those that the body commits to.
        case partMismatch = "part_mismatch"
        /// Another record stands under this number.
        case numberReused = "number_reused"
    }

    /// A refusal.
    public init(n: UInt64, code: Code) {
        self.n = n
        self.code = code
    }
}

/// Encrypts the parts of one namespace's records.
///
/// `sealed` is `nonce || ciphertext || tag` over `salt || content`. The salt is inside, so that
/// with the key gone the commitment in the record cannot be tested against guesses. The position
/// and the name are authenticated, so that a part cannot be moved to another record.
public struct PartSealer: Sendable {
    /// The key's name, stored beside each part.
    public let keyID: String
    private let aead: AEAD

    /// A sealer with the namespace's `parts` key.
    public init(_ key: NamespaceKey) throws(CryptographyError) {
        keyID = key.id
        aead = try AEAD(key.key)
    }

    func seal(
        _ part: IncomingPart,
        at position: RecordPosition
    ) throws(CryptographyError) -> [UInt8] {
        try aead.seal(
            part.salt + part.content,
            authenticating: Self.place(part.name, position)
        )
    }

    /// Salt and content of a stored part.
    static func open(
        _ sealed: [UInt8],
        _ name: String,
        at position: RecordPosition,
        with key: SymmetricKey
    ) throws(CryptographyError) -> IncomingPart {
        let plain = try AEAD(key).open(sealed, authenticating: place(name, position))
        guard plain.count >= RecordFormat.saltByteCount else { throw .authenticationFailed }
        return IncomingPart(
            name: name,
            salt: Array(plain[..<RecordFormat.saltByteCount]),
            content: Array(plain[RecordFormat.saltByteCount...])
        )
    }

    /// The content of a stored part, for whoever opens many under one key.
    static func content(
        of sealed: [UInt8],
        _ name: String,
        at position: RecordPosition,
        with key: AEAD
    ) throws(CryptographyError) -> [UInt8] {
        let plain = try key.open(sealed, authenticating: place(name, position))
        guard plain.count >= RecordFormat.saltByteCount else { throw .authenticationFailed }
        return Array(plain[RecordFormat.saltByteCount...])
    }

    /// Every piece is a label or a number, so that the separator cannot stand inside one.
    private static func place(_ name: String, _ at: RecordPosition) -> [UInt8] {
        Array(
            """
            ostiary-part-v1
            \(at.namespace)/\(at.instance)/\(at.epoch)/\(at.lane.rawValue)/\(at.n)/\(name)
            """.utf8
        )
    }
}

/// A batch of one stream, read, compared and encrypted: what a transaction needs and nothing to
/// think about.
///
/// Making one is pure and costs most of control's work per record; it happens on the session's own
/// thread, so that the one that talks to the database only copies.
public struct RecordBatch: Sendable {
    struct Entry: Sendable {
        let summary: RecordSummary
        let body: [UInt8]
        let parts: [(name: String, sealed: [UInt8])]
        /// A record may stand under this number already.
        let mayBeTwin: Bool
    }

    /// Who wrote it.
    public let writer: Writer
    /// The epoch the records were numbered in.
    public let epoch: UInt64
    /// The session that holds the epoch.
    public let session: UUID
    /// The last number of the batch.
    public let upTo: UInt64
    /// What was refused before the database was asked.
    public let refused: [RecordRefusal]
    let entries: [Entry]
    let keyID: String
    /// How many bytes of bodies and parts it holds.
    public let byteCount: Int

    /// Whether a number of this batch may be taken: such batches of one writer must not share a
    /// transaction.
    public var mayHoldTwins: Bool { entries.contains { $0.mayBeTwin } }
    /// How many records are to be stored.
    public var recordCount: Int { entries.count }

    /// Reads, compares and encrypts a batch.
    ///
    /// - Parameters:
    ///   - records: in the order they came.
    ///   - fresh: numbers above this one were never handed to a store before.
    public init(
        _ records: [IncomingRecord],
        from writer: Writer,
        epoch: UInt64,
        session: UUID,
        above fresh: UInt64,
        sealer: PartSealer
    ) throws(CryptographyError) {
        self.writer = writer
        self.epoch = epoch
        self.session = session
        keyID = sealer.keyID
        upTo = records.last?.n ?? 0
        var refused: [RecordRefusal] = []
        var entries: [Entry] = []
        entries.reserveCapacity(records.count)
        var byteCount = 0
        for record in records {
            let summary: RecordSummary
            do throws(RecordRefusal.Code) {
                summary = try Self.examine(record, from: writer, epoch: epoch)
            } catch {
                refused.append(RecordRefusal(n: record.n, code: error))
                continue
            }
            var parts: [(name: String, sealed: [UInt8])] = []
            for part in record.parts {
                parts.append((part.name, try sealer.seal(part, at: summary.position)))
            }
            entries.append(
                Entry(
                    summary: summary,
                    body: record.body,
                    parts: parts,
                    mayBeTwin: record.n <= fresh
                )
            )
            byteCount += parts.reduce(record.body.count) { $0 + $1.sealed.count }
        }
        self.refused = refused
        self.entries = entries
        self.byteCount = byteCount
    }

    /// Everything that can be said of a record without a database.
    private static func examine(
        _ record: IncomingRecord,
        from writer: Writer,
        epoch: UInt64
    ) throws(RecordRefusal.Code) -> RecordSummary {
        let summary: RecordSummary
        do throws(RecordSummary.Refusal) {
            summary = try RecordSummary(reading: record.body)
        } catch {
            throw RecordRefusal.Code(error)
        }
        let position = summary.position
        guard position.namespace == writer.namespace, position.instance == writer.instance,
            position.epoch == epoch, position.lane == record.lane, position.n == record.n,
            record.n > 0
        else { throw .positionMismatch }
        // PostgreSQL's text has no NUL, and one record must not fail its batch.
        for text in [summary.subject, summary.server, summary.tool, summary.answer, summary.code] {
            if text?.utf8.contains(0) == true { throw .malformed }
        }
        guard summary.kind != .gap else { throw .kindNotAllowed }
        if summary.kind == .outcome {
            // An outcome closes an intent of its own life, or says of an earlier life of the same
            // writer what came late.
            guard let intent = summary.intent, intent > 0 else { throw .intentNotAllowed }
            if let owner = summary.owner {
                guard owner.instance == writer.instance, owner.epoch > 0, owner.epoch < epoch
                else { throw .intentNotAllowed }
            } else if intent >= record.n {
                throw .intentNotAllowed
            }
        }
        try compareParts(record, summary)
        return summary
    }

    /// The parts that came are those the body commits to: all of them, and nothing else.
    private static func compareParts(
        _ record: IncomingRecord,
        _ summary: RecordSummary
    ) throws(RecordRefusal.Code) {
        // Arguments belong to what policy decided on: a call that goes on, or one that it stopped.
        guard summary.kind == .intent || summary.kind == .refusal && summary.answer != nil else {
            guard record.parts.isEmpty else { throw .partMismatch }
            return
        }
        let claims = summary.parts ?? []
        guard claims.count == record.parts.count else { throw .partMismatch }
        for (part, claim) in zip(record.parts, claims) {
            guard RecordPart.Name(rawValue: part.name) != nil,
                claim.name == Text(part.name),
                part.salt.count == RecordFormat.saltByteCount,
                let commitment = claim.commitment
            else { throw .partMismatch }
            var stream = SHA256.stream()
            stream.update(part.salt)
            stream.update(part.content)
            guard commitment == Text("sha256:\(SHA256.finish(stream))") else { throw .partMismatch }
        }
        guard Set(record.parts.map { Text($0.name) }).count == record.parts.count else {
            throw .partMismatch
        }
    }
}

extension RecordRefusal.Code {
    init(_ refusal: RecordSummary.Refusal) {
        self =
            switch refusal {
            case .tooLong: .tooLong
            case .notJSON: .notJSON
            case .unknownVersion: .unknownVersion
            case .malformed: .malformed
            }
    }
}
