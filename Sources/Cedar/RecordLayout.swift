public import JSON

/// Lays a record out as it will be decided on, member by member, without a dictionary or a ``Value`` in between.
///
/// For contexts that are made for every request (measured: half of the time of a decision over 40 arguments went into
/// building values to be laid out again). What it makes is what the same ``Value`` would have made.
public struct RecordLayout: ~Copyable {
    private let heap: Heap
    private var members: [(key: Cell, value: Cell)] = []

    init(_ heap: Heap) {
        self.heap = heap
        members.reserveCapacity(8)
    }

    /// Adds a member.
    ///
    /// Names must differ.
    public mutating func add(_ name: Text, _ value: Value) {
        members.append((heap.add(string: name), heap.add(value)))
    }

    /// Adds a member that is a record.
    public mutating func add(_ name: Text, _ content: (inout RecordLayout) -> Void) {
        var inner = RecordLayout(heap)
        content(&inner)
        members.append((heap.add(string: name), inner.finish()))
    }

    /// Adds JSON from a caller as a member, by the rules of ``ValueReader``: everything is data.
    ///
    /// What Cedar cannot hold is left out. What is no object, or nested too deep, counts as an empty record.
    ///
    /// - Returns: Whether nothing was left out.
    public mutating func add(_ name: Text, json: JSONValue) -> Bool {
        var reader = CellReader(heap)
        let value: Cell
        var isFaithful = false
        if json.kind == .object, let record = reader.cell(json, depth: 0), !reader.isTooDeep {
            value = record
            isFaithful = !reader.hasDropped
        } else {
            value = heap.add(canonicalRecord: [])
        }
        members.append((heap.add(string: name), value))
        return isFaithful
    }

    consuming func finish() -> Cell {
        Self.record(members, in: heap)
    }

    fileprivate static func record(
        _ members: consuming [(key: Cell, value: Cell)],
        in heap: Heap
    ) -> Cell {
        Memory(only: heap).add(record: members, to: heap)
    }
}

extension Request {
    /// Asks with a context that `context` lays out.
    public init(
        principal: EntityUID,
        action: EntityUID,
        resource: EntityUID,
        layingOut context: (inout RecordLayout) -> Void
    ) {
        let heap = Heap(.request)
        let (principal, action) = (heap.add(entity: principal), heap.add(entity: action))
        let resource = heap.add(entity: resource)
        var layout = RecordLayout(heap)
        context(&layout)
        self.init(
            Storage(
                heap,
                principal: principal,
                action: action,
                resource: resource,
                context: layout.finish()
            )
        )
    }
}

/// ``ValueReader`` with `nulls` and `fractions` dropped, into a heap.
private struct CellReader {
    private let heap: Heap
    var hasDropped = false
    var isTooDeep = false
    private let depthMax = ValueReader().depthMax

    init(_ heap: Heap) {
        self.heap = heap
    }

    mutating func cell(_ json: JSONValue, depth: Int) -> Cell? {
        switch json.kind {
        case .boolean:
            return Cell(json.boolean ?? false)
        case .number:
            if let value = json.int64 { return Cell(.long, value) }
            hasDropped = true
            return nil
        case .null:
            hasDropped = true
            return nil
        case .string:
            return json.jsonString.map(add)
        case .array:
            guard descends(depth) else { return nil }
            var elements: [Cell] = []
            elements.reserveCapacity(json.count)
            for element in json.elements {
                if let value = cell(element, depth: depth + 1) { elements.append(value) }
            }
            return Memory(only: heap).add(set: elements, to: heap)
        case .object:
            guard descends(depth) else { return nil }
            var members: [(key: Cell, value: Cell)] = []
            members.reserveCapacity(json.count)
            for (key, element) in json.members {
                if let value = cell(element, depth: depth + 1) { members.append((add(key), value)) }
            }
            return RecordLayout.record(members, in: heap)
        }
    }

    private mutating func descends(_ depth: Int) -> Bool {
        if depth >= depthMax { isTooDeep = true }
        return !isTooDeep
    }

    private func add(_ string: JSONString) -> Cell {
        string.withUTF8 { bytes in
            bytes.bytes.withUnsafeBytes { heap.add(string: $0) }
        }
    }
}
