import GatewayModel

/// The records of one lane that are not acknowledged, in order, and how far they have been sent.
///
///     … acknowledged │ sent … │ unsent … │ nextNumber
///                    first    nextUnsentNumber
public struct RecordWindow: Equatable, Sendable {
    /// The number the next record gets; numbers are dense from 1.
    public private(set) var nextNumber: UInt64 = 1
    /// Bytes of everything in the window.
    public private(set) var byteCount = 0
    /// Bytes of what has not been sent on the present stream.
    public private(set) var unsentByteCount = 0

    // Dense: records[head + i] has the number first + i. The head moves instead of the array; the dead front is cut
    // away when it is the larger half.
    private var records: [Owed] = []
    private var head = 0
    private var first: UInt64 = 1
    private var sentCount = 0
    // The last number of each batch on its way, oldest first.
    private var batchEnds: [UInt64] = []

    /// A record and how many bytes it counts for.
    private struct Owed: Equatable {
        let record: WireRecord
        let byteCount: Int
    }

    /// An empty window before its first record.
    public init() {}

    /// Whether everything is acknowledged.
    public var isEmpty: Bool {
        records.count == head
    }

    /// How many records are in the window.
    public var count: Int {
        records.count - head
    }

    /// The first number that has not been sent on the present stream.
    public var nextUnsentNumber: UInt64 {
        first + UInt64(sentCount)
    }

    /// How many batches are on their way unacknowledged.
    public var batchesInFlight: Int {
        batchEnds.count
    }

    /// Takes a record in, which must carry ``nextNumber``.
    mutating func append(_ record: WireRecord) -> UInt64 {
        precondition(record.n == nextNumber, "records are numbered densely")
        let bytes = record.windowByteCount
        records.append(Owed(record: record, byteCount: bytes))
        byteCount += bytes
        unsentByteCount += bytes
        nextNumber += 1
        return record.n
    }

    /// Everything unsent, which counts as sent from now on.
    mutating func takeUnsent() -> [WireRecord] {
        let unsent = records[(head + sentCount)...].map(\.record)
        sentCount += unsent.count
        unsentByteCount = 0
        if let last = unsent.last {
            batchEnds.append(last.n)
        }
        return unsent
    }

    /// The stream is gone: everything in the window must be sent again.
    mutating func resetSent() {
        sentCount = 0
        unsentByteCount = byteCount
        batchEnds = []
    }

    /// Drops everything up to `n`.
    mutating func acknowledge(upTo n: UInt64) {
        var dropped = 0
        while head < records.count, records[head].record.n <= n {
            byteCount -= records[head].byteCount
            if dropped >= sentCount {
                unsentByteCount -= records[head].byteCount
            }
            head += 1
            dropped += 1
        }
        first += UInt64(dropped)
        sentCount = max(0, sentCount - dropped)
        if head > records.count / 2 {
            records.removeFirst(head)
            head = 0
        }
        batchEnds.removeFirst(batchEnds.prefix { $0 <= n }.count)
    }
}

/// What was owed in an epoch that control has closed.
public struct LateRecords: Equatable, Sendable {
    /// The closed epoch.
    public var epoch: UInt64
    /// What is owed in it.
    public var window: RecordWindow
}

/// The gated records in the order of their numbers, which is also the order of their deadlines.
struct GatedRecords: Equatable, Sendable {
    private struct Gate: Equatable {
        var n: UInt64
        var deadline: MonotonicInstant
    }

    private var gates: [Gate] = []
    private var head = 0

    mutating func add(_ n: UInt64, deadline: MonotonicInstant) {
        gates.append(Gate(n: n, deadline: deadline))
    }

    mutating func take(upTo n: UInt64) -> [UInt64] {
        take { $0.n <= n }
    }

    mutating func takeOverdue(now: MonotonicInstant) -> [UInt64] {
        take { $0.deadline <= now }
    }

    mutating func takeAll() -> [UInt64] {
        take { _ in true }
    }

    private mutating func take(while condition: (Gate) -> Bool) -> [UInt64] {
        var taken: [UInt64] = []
        while head < gates.count, condition(gates[head]) {
            taken.append(gates[head].n)
            head += 1
        }
        if head > gates.count / 2 {
            gates.removeFirst(head)
            head = 0
        }
        return taken
    }
}

extension WireRecord {
    var windowByteCount: Int {
        parts.reduce(body.count) { $0 + $1.content.count + $1.salt.count }
    }
}
