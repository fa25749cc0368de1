import JSON

/// One runtime value in 16 bytes: scalars themselves, everything else by its place in a ``Heap``.
struct Cell {
    enum Kind: UInt8 {
        // The order is the order of kinds in canonical sets.
        case bool, long, string, entity, set, record, decimal, ip, datetime, duration
    }

    /// Which heap of a decision a value lives in.
    enum Region: UInt8 {
        case policies, entities, request, scratch
    }

    var kind: Kind
    var region: Region
    /// An address: the prefix, plus `0x100` for IPv6.
    var small: UInt16
    /// Strings and entities: a hash that differs only if the values differ.
    ///
    /// Otherwise 0.
    var hash: UInt32
    /// Scalars: the bits.
    ///
    /// Entities: the index. Others: position and, in the upper half, count.
    var payload: UInt64

    init(
        _ kind: Kind,
        _ region: Region,
        hash: UInt32 = 0,
        small: UInt16 = 0,
        payload: UInt64
    ) {
        self.kind = kind
        self.region = region
        self.small = small
        self.hash = hash
        self.payload = payload
    }

    init(_ kind: Kind, _ region: Region, hash: UInt32 = 0, start: Int, count: Int) {
        self.init(kind, region, hash: hash, payload: UInt64(start) | UInt64(count) << 32)
    }

    init(_ value: Bool) { self.init(.bool, .policies, payload: value ? 1 : 0) }

    init(_ kind: Kind, _ value: Int64) {
        self.init(kind, .policies, payload: UInt64(bitPattern: value))
    }

    var isTrue: Bool { payload != 0 }
    var integer: Int64 { Int64(bitPattern: payload) }
    var start: Int { Int(payload & 0xFFFF_FFFF) }
    var count: Int { Int(payload >> 32) }
    var index: Int { Int(truncatingIfNeeded: payload) }
}

/// The flat store of the values of one owner: a policy set, an entity snapshot, a request, or one
/// evaluation.
///
/// This is the one place of the module that holds raw memory. Reads are bounds-checked here, so
/// that a wrong index stops the process and never reads a neighbour.
///
/// `@unchecked Sendable`: a heap is filled by the one task that builds its owner, and never changed
/// after the owner is initialised; only then can another task see it. An evaluation's own heap
/// stays with its task.
final class Heap: @unchecked Sendable {
    let region: Cell.Region
    // Not watched for overlapping access at run time: each is touched inside one method here, and none of them calls
    // out. Watching them was a third of a decision (194 entries into the runtime for 12 comparisons).
    @exclusivity(unchecked) private var cells: Buffer<Cell>
    @exclusivity(unchecked) private var bytes: Buffer<UInt8>
    @exclusivity(unchecked) private var entities: Buffer<EntityCells>

    struct EntityCells {
        let type: Cell
        let id: Cell
        let hash: UInt32
    }

    init(_ region: Cell.Region) {
        self.region = region
        // A request is made for every call, and most fit into this.
        let isRequest = region == .request
        cells = Buffer(capacity: isRequest ? 64 : 0)
        bytes = Buffer(capacity: isRequest ? 1024 : 0)
        entities = Buffer(capacity: isRequest ? 4 : 0)
    }

    deinit {
        cells.base?.deallocate()
        bytes.base?.deallocate()
        entities.base?.deallocate()
    }

    @inline(__always) func cell(_ index: Int) -> Cell { cells[index] }
    @inline(__always) func entity(_ index: Int) -> EntityCells { entities[index] }
    var entityCount: Int { entities.count }

    @inline(__always) func string(_ cell: Cell) -> UnsafeRawBufferPointer {
        bytes.range(cell.start, cell.count)
    }

    // MARK: Filling

    func add(string: UnsafeRawBufferPointer) -> Cell {
        let start = bytes.count
        bytes.append(contentsOf: string)
        return Cell(
            .string,
            region,
            hash: ByteHash.hash(string),
            start: start,
            count: string.count
        )
    }

    func add(string: Text) -> Cell {
        string.string.utf8Span.span.withUnsafeBytes { add(string: $0) }
    }

    func add(string: some Collection<UInt8>) -> Cell {
        if let cell = string.withContiguousStorageIfAvailable({
            add(string: UnsafeRawBufferPointer($0))
        }) {
            return cell
        }
        return Array(string).withUnsafeBytes { add(string: $0) }
    }

    func add(type: Cell, id: Cell) -> Cell {
        let hash = ByteHash.combine(type.hash, id.hash)
        entities.append(EntityCells(type: type, id: id, hash: hash))
        return Cell(.entity, region, hash: hash, payload: UInt64(entities.count - 1))
    }

    func add(entity uid: EntityUID) -> Cell {
        add(type: add(string: uid.type), id: add(string: uid.id))
    }

    func entityCell(_ index: Int) -> Cell {
        Cell(.entity, region, hash: entities[index].hash, payload: UInt64(index))
    }

    func add(ip address: IPAddress) -> Cell {
        let small = UInt16(address.prefix) | (address.isIPv6 ? 0x100 : 0)
        guard address.isIPv6 else { return Cell(.ip, region, small: small, payload: address.low) }
        let start = cells.count
        cells.append(Cell(.long, region, payload: address.high))
        cells.append(Cell(.long, region, payload: address.low))
        return Cell(.ip, region, small: small, payload: UInt64(start))
    }

    /// Adds a set whose elements are in canonical order and without repetition.
    func add(canonicalSet elements: [Cell]) -> Cell {
        let start = cells.count
        for element in elements { cells.append(element) }
        return Cell(.set, region, start: start, count: elements.count)
    }

    /// Adds a record whose members are ordered by the bytes of their distinct keys.
    func add(canonicalRecord members: [(key: Cell, value: Cell)]) -> Cell {
        let start = cells.count
        for member in members {
            cells.append(member.key)
            cells.append(member.value)
        }
        return Cell(.record, region, start: start, count: members.count)
    }
}

/// A growing array of trivial elements whose address does not depend on reference counts.
private struct Buffer<Element: BitwiseCopyable> {
    private(set) var base: UnsafeMutablePointer<Element>?
    private(set) var count = 0
    private var capacity = 0

    /// An empty array with room for `capacity` elements.
    init(capacity: Int) {
        guard capacity > 0 else { return }
        base = UnsafeMutablePointer<Element>.allocate(capacity: capacity)
        self.capacity = capacity
    }

    @inline(__always) subscript(_ index: Int) -> Element {
        guard let base, index >= 0, index < count else { outOfBounds() }
        return base[index]
    }

    @inline(__always) func range(_ start: Int, _ length: Int) -> UnsafeRawBufferPointer {
        guard start >= 0, length >= 0, start + length <= count else { outOfBounds() }
        guard let base else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(start: base + start, count: length)
    }

    private func outOfBounds() -> Never {
        preconditionFailure("a value refers to a place outside its heap")
    }

    mutating func append(_ element: Element) {
        if count == capacity { reserve(count + 1) }
        base?.advanced(by: count).initialize(to: element)
        count += 1
    }

    mutating func append(contentsOf source: UnsafeRawBufferPointer) where Element == UInt8 {
        guard let start = source.baseAddress, !source.isEmpty else { return }
        if count + source.count > capacity { reserve(count + source.count) }
        base?.advanced(by: count).initialize(
            from: start.assumingMemoryBound(to: UInt8.self),
            count: source.count
        )
        count += source.count
    }

    private mutating func reserve(_ needed: Int) {
        precondition(needed < Int(UInt32.max), "a heap holds at most 2^32 elements")
        capacity = max(needed, capacity * 2, 16)
        let grown = UnsafeMutablePointer<Element>.allocate(capacity: capacity)
        if let base {
            grown.moveInitialize(from: base, count: count)
            base.deallocate()
        }
        base = grown
    }
}

/// The operand stack of one evaluation, in memory that its caller provides.
///
/// The compiler knows how deep a program goes, so that nothing is allocated; the bounds are checked
/// all the same.
struct OperandStack {
    private let base: UnsafeMutableBufferPointer<Cell>
    private(set) var count = 0

    /// Calls `body` with an empty stack for `capacity` values.
    static func with<R>(capacity: Int, _ body: (inout OperandStack) -> R) -> R {
        withUnsafeTemporaryAllocation(of: Cell.self, capacity: max(capacity, 1)) { memory in
            var stack = OperandStack(base: memory)
            return body(&stack)
        }
    }

    @inline(__always) mutating func push(_ cell: Cell) {
        precondition(count < base.count, "a program pushes more than its compiler counted")
        base.initializeElement(at: count, to: cell)
        count += 1
    }

    @inline(__always) mutating func pop() -> Cell {
        precondition(count > 0, "a program pops more than it pushed")
        count -= 1
        return base[count]
    }

    @inline(__always) var top: Cell {
        get {
            precondition(count > 0, "a program reads an empty stack")
            return base[count - 1]
        }
        set {
            precondition(count > 0, "a program writes to an empty stack")
            base[count - 1] = newValue
        }
    }

    /// The value `depth` below the top.
    subscript(_ depth: Int) -> Cell {
        precondition(depth >= 0 && depth < count, "a program reads below its stack")
        return base[count - 1 - depth]
    }

    mutating func drop(_ number: Int) {
        precondition(number <= count, "a program pops more than it pushed")
        count -= number
    }

    mutating func removeAll() { count = 0 }
}

/// Sets of policies as bits, in memory that their caller provides.
struct BitMask {
    private let words: UnsafeMutableBufferPointer<UInt64>

    /// Calls `body` with two masks of `words` words each, without defined content.
    ///
    /// They are on the stack for up to 16,384 policies: a temporary allocation is from the heap beyond a kilobyte, which
    /// two masks of 4,096 policies fill.
    static func withPair<R>(words: Int, _ body: (BitMask, BitMask) -> R) -> R {
        func call(_ memory: UnsafeMutableBufferPointer<UInt64>) -> R {
            body(
                BitMask(words: UnsafeMutableBufferPointer(rebasing: memory[0..<words])),
                BitMask(words: UnsafeMutableBufferPointer(rebasing: memory[words..<words * 2]))
            )
        }
        if words > 64, words <= 256 {
            var room = InlineArray<512, UInt64>(repeating: 0)
            var span = room.mutableSpan
            return span.withUnsafeMutableBufferPointer { call($0) }
        }
        return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: max(words * 2, 1)) {
            $0.initialize(repeating: 0)
            return call($0)
        }
    }

    func assign(_ source: [UInt64]) {
        precondition(source.count == words.count, "masks of one index have one size")
        for index in 0..<words.count { words[index] = source[index] }
    }

    func assign(_ source: BitMask) {
        precondition(source.words.count == words.count, "masks of one index have one size")
        for index in 0..<words.count { words[index] = source.words[index] }
    }

    func formUnion(_ source: ArraySlice<UInt64>) {
        precondition(source.count == words.count, "masks of one index have one size")
        var at = source.startIndex
        for index in 0..<words.count {
            words[index] |= source[at]
            at += 1
        }
    }

    func formIntersection(_ source: BitMask) {
        precondition(source.words.count == words.count, "masks of one index have one size")
        for index in 0..<words.count { words[index] &= source.words[index] }
    }

    func insert(_ bit: Int) {
        precondition(UInt(bitPattern: bit) >> 6 < words.count, "a policy outside the mask")
        words[bit >> 6] |= 1 << UInt64(bit & 63)
    }

    func forEach(_ body: (Int) -> Void) {
        for index in 0..<words.count {
            var word = words[index]
            while word != 0 {
                body(index << 6 | word.trailingZeroBitCount)
                word &= word - 1
            }
        }
    }
}
