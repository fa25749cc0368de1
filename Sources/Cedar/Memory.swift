import JSON

/// The heaps of one decision, and the questions about values that need more than one of them.
struct Memory {
    let policies: Heap
    let entities: Heap
    let request: Heap
    let scratch: Heap

    /// The memory of something being built, which sees only itself.
    init(only heap: Heap) {
        self.init(policies: heap, entities: heap, request: heap, scratch: heap)
    }

    init(policies: Heap, entities: Heap, request: Heap, scratch: Heap) {
        self.policies = policies
        self.entities = entities
        self.request = request
        self.scratch = scratch
    }

    @inline(__always) func cell(_ region: Cell.Region, _ index: Int) -> Cell {
        switch region {
        case .policies: policies.cell(index)
        case .entities: entities.cell(index)
        case .request: request.cell(index)
        case .scratch: scratch.cell(index)
        }
    }

    @inline(__always) func string(_ cell: Cell) -> UnsafeRawBufferPointer {
        switch cell.region {
        case .policies: policies.string(cell)
        case .entities: entities.string(cell)
        case .request: request.string(cell)
        case .scratch: scratch.string(cell)
        }
    }

    @inline(__always) func entity(_ cell: Cell) -> Heap.EntityCells {
        switch cell.region {
        case .policies: policies.entity(cell.index)
        case .entities: entities.entity(cell.index)
        case .request: request.entity(cell.index)
        case .scratch: scratch.entity(cell.index)
        }
    }

    func address(_ cell: Cell) -> IPAddress {
        let isIPv6 = cell.small & 0x100 != 0
        return IPAddress(
            isIPv6: isIPv6,
            high: isIPv6 ? self.cell(cell.region, cell.index).payload : 0,
            low: isIPv6 ? self.cell(cell.region, cell.index + 1).payload : cell.payload,
            prefix: UInt8(truncatingIfNeeded: cell.small)
        )
    }

    // MARK: Equality and order

    @inline(__always) func equalStrings(_ a: Cell, _ b: Cell) -> Bool {
        guard a.hash == b.hash, a.count == b.count else { return false }
        if a.region == b.region, a.start == b.start { return true }
        return string(a).holdsSameBytes(as: string(b))
    }

    func equal(_ a: Cell, _ b: Cell) -> Bool {
        guard a.kind == b.kind else { return false }
        switch a.kind {
        case .bool, .long, .decimal, .datetime, .duration: return a.payload == b.payload
        case .string: return equalStrings(a, b)
        case .entity:
            guard a.hash == b.hash else { return false }
            if a.region == b.region, a.payload == b.payload { return true }
            let (left, right) = (entity(a), entity(b))
            return equalStrings(left.type, right.type) && equalStrings(left.id, right.id)
        case .ip: return a.small == b.small && address(a) == address(b)
        case .set, .record:
            guard a.count == b.count else { return false }
            if a.region == b.region, a.start == b.start { return true }
            // Both are in canonical order.
            for index in 0..<(a.kind == .set ? a.count : a.count * 2)
            where !equal(cell(a.region, a.start + index), cell(b.region, b.start + index)) {
                return false
            }
            return true
        }
    }

    func compareStrings(_ a: Cell, _ b: Cell) -> Int {
        let (left, right) = (string(a), string(b))
        for index in 0..<min(left.count, right.count) where left[index] != right[index] {
            return left[index] < right[index] ? -1 : 1
        }
        return left.count == right.count ? 0 : left.count < right.count ? -1 : 1
    }

    /// A total order without meaning, which makes equal sets equal sequences.
    func compare(_ a: Cell, _ b: Cell) -> Int {
        func order<T: Comparable>(_ x: T, _ y: T) -> Int { x == y ? 0 : x < y ? -1 : 1 }
        guard a.kind == b.kind else { return order(a.kind.rawValue, b.kind.rawValue) }
        switch a.kind {
        case .bool, .long, .decimal, .datetime, .duration: return order(a.integer, b.integer)
        case .string: return compareStrings(a, b)
        case .entity:
            let (left, right) = (entity(a), entity(b))
            let types = compareStrings(left.type, right.type)
            return types != 0 ? types : compareStrings(left.id, right.id)
        case .ip:
            guard a.small == b.small else { return order(a.small, b.small) }
            let (left, right) = (address(a), address(b))
            return left.high != right.high
                ? order(left.high, right.high) : order(left.low, right.low)
        case .set, .record:
            guard a.count == b.count else { return order(a.count, b.count) }
            for index in 0..<(a.kind == .set ? a.count : a.count * 2) {
                let result = compare(
                    cell(a.region, a.start + index),
                    cell(b.region, b.start + index)
                )
                if result != 0 { return result }
            }
            return 0
        }
    }

    // MARK: Containers

    func contains(_ set: Cell, _ value: Cell) -> Bool {
        // Comparing hashes in a row beats a search until the row is long.
        if set.count <= 16 {
            for index in 0..<set.count where equal(cell(set.region, set.start + index), value) {
                return true
            }
            return false
        }
        var (low, high) = (0, set.count)
        while low < high {
            let middle = (low + high) / 2
            let result = compare(cell(set.region, set.start + middle), value)
            if result == 0 { return true }
            if result < 0 { low = middle + 1 } else { high = middle }
        }
        return false
    }

    func member(_ record: Cell, _ key: Cell) -> Cell? {
        if record.count <= 16 {
            for index in 0..<record.count {
                let at = record.start + 2 * index
                if equalStrings(cell(record.region, at), key) { return cell(record.region, at + 1) }
            }
            return nil
        }
        var (low, high) = (0, record.count)
        while low < high {
            let middle = (low + high) / 2
            let at = record.start + 2 * middle
            let result = compareStrings(cell(record.region, at), key)
            if result == 0 { return cell(record.region, at + 1) }
            if result < 0 { low = middle + 1 } else { high = middle }
        }
        return nil
    }

    // MARK: Building

    /// Puts elements in canonical order, drops repetitions, and adds the set to a heap of this
    /// memory.
    func add(set elements: [Cell], to heap: Heap) -> Cell {
        guard elements.count > 1 else { return heap.add(canonicalSet: elements) }
        let sorted = elements.sorted { compare($0, $1) < 0 }
        var distinct = [sorted[0]]
        for element in sorted.dropFirst() where !equal(element, distinct[distinct.count - 1]) {
            distinct.append(element)
        }
        return heap.add(canonicalSet: distinct)
    }

    /// Orders members by key and adds the record to a heap of this memory.
    ///
    /// Keys must be distinct.
    func add(record members: consuming [(key: Cell, value: Cell)], to heap: Heap) -> Cell {
        // Most records are small or in order already; then nothing is moved or made.
        guard members.count <= 16 else {
            return heap.add(canonicalRecord: members.sorted { compareStrings($0.key, $1.key) < 0 })
        }
        for index in members.indices.dropFirst() {
            var at = index
            while at > 0, compareStrings(members[at].key, members[at - 1].key) < 0 {
                members.swapAt(at, at - 1)
                at -= 1
            }
        }
        return heap.add(canonicalRecord: members)
    }
}

extension Heap {
    /// Lays out a value.
    func add(_ value: Value) -> Cell {
        switch value {
        case .bool(let value): Cell(value)
        case .long(let value): Cell(.long, value)
        case .string(let text): add(string: text)
        case .entity(let uid): add(entity: uid)
        case .set(let elements): Memory(only: self).add(set: elements.map { add($0) }, to: self)
        case .record(let members): add(members)
        case .decimal(let value): Cell(.decimal, value.tenThousandths)
        case .ip(let address): add(ip: address)
        case .datetime(let value): Cell(.datetime, value.milliseconds)
        case .duration(let value): Cell(.duration, value.milliseconds)
        }
    }

    func add(_ record: [Text: Value]) -> Cell {
        let members = record.map { (key: add(string: $0.key), value: add($0.value)) }
        return Memory(only: self).add(record: members, to: self)
    }
}
