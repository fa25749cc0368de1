public import GatewayModel
import JSON

/// The lanes in which one instance numbers its records, each densely from 1.
///
/// They are apart so that replaying a spool never stands in the way of a live call (ARCHITECTURE §2).
public enum RecordLane: String, Hashable, Sendable, CaseIterable {
    /// Gates a call: in PostgreSQL before anything is forwarded.
    case committed
    /// Written to a local spool first and shipped from there.
    case spooled
}

/// Where a record stands: who wrote it, in which life of the writer, and as which one.
///
/// (namespace, instance, epoch, lane, n) is unique for ever; a hole in n is a lost record and becomes a gap
/// record when the epoch is closed.
public struct RecordPosition: Hashable, Sendable {
    /// The namespace whose log the record belongs to.
    public var namespace: NamespaceName
    /// The writer.
    public var instance: InstanceID
    /// The writer's life, assigned by control at connection.
    public var epoch: UInt64
    /// The lane within the epoch.
    public var lane: RecordLane
    /// The number within the lane, from 1.
    public var n: UInt64

    /// A position.
    public init(
        namespace: NamespaceName,
        instance: InstanceID,
        epoch: UInt64,
        lane: RecordLane,
        n: UInt64
    ) {
        self.namespace = namespace
        self.instance = instance
        self.epoch = epoch
        self.lane = lane
        self.n = n
    }
}

/// A record whose content is fixed and whose number is not.
///
/// The pipeline serialises everything it knows once, here; the link puts the position in front when the record
/// takes its place in the lane. Nothing is serialised a second time afterwards: ``sequenced(at:)`` gives
/// the bytes that are hashed, sent and stored.
public struct RecordDraft: Sendable {
    /// The members after the position, from the comma on, and the closing brace.
    let tail: [UInt8]
    /// What the record commits to without containing it.
    public let parts: [RecordPart]

    init(tail: [UInt8], parts: [RecordPart]) {
        self.tail = tail
        self.parts = parts
    }

    /// How many bytes the record has besides its position.
    public var byteCount: Int {
        parts.reduce(tail.count) { $0 + $1.content.count }
    }

    /// The bytes of the record at its place.
    public func sequenced(at position: RecordPosition) -> [UInt8] {
        var writer = JSONWriter(capacity: tail.count + 160)
        writer.beginObject()
        writer.member("v", RecordFormat.version)
        writer.member("namespace", position.namespace.text)
        writer.member("instance", position.instance.text)
        writer.member("epoch", position.epoch)
        writer.member("lane", position.lane.rawValue)
        writer.member("n", position.n)
        var bytes = writer.bytes
        bytes.append(contentsOf: tail)
        return bytes
    }
}

/// A piece that a record commits to: its content is stored encrypted beside the record and can be
/// destroyed without touching the record (compliance.md §4.4).
public struct RecordPart: Hashable, Sendable {
    /// What the piece is.
    public enum Name: String, Hashable, Sendable {
        /// The arguments of a call, in canonical JSON.
        case arguments
        /// The result as released to the client.
        case result
    }

    /// What the piece is.
    public let name: Name
    /// 32 random bytes, so that short contents cannot be guessed from the commitment.
    public let salt: [UInt8]
    /// The content itself.
    public let content: [UInt8]

    /// A piece with its salt; `salt` must have ``RecordFormat/saltByteCount`` bytes.
    public init(name: Name, salt: [UInt8], content: [UInt8]) {
        precondition(salt.count == RecordFormat.saltByteCount, "a part's salt has 32 bytes")
        self.name = name
        self.salt = salt
        self.content = content
    }
}

/// The constants of the record format.
public enum RecordFormat {
    /// The format's version, the first member of every record.
    public static let version: Int64 = 1
    /// How long a part's salt is.
    public static let saltByteCount = 32
    /// The longest record body accepted, in bytes; parts are bounded by themselves.
    public static let bodyBytesMax = 16_384
}
