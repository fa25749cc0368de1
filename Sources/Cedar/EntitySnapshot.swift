import JSON

/// Why a list of entities is no hierarchy.
public enum EntitySnapshotError: Error, Hashable, Sendable {
    /// An entity is, directly or not, in itself.
    case cycle(EntityUID)
    /// One uid with two different definitions.
    case duplicate(EntityUID)
}

extension EntitySnapshotError: CustomStringConvertible {
    /// The kind of the error, without names.
    public var description: String {
        switch self {
        case .cycle: "the entity hierarchy has a cycle"
        case .duplicate: "an entity is defined twice"
        }
    }
}

/// Entities as they were at one moment, with everything each of them is in.
///
/// Immutable and shared between threads. Names are dense numbers, the ancestors of each are one
/// sorted run of them, so that `in` is a search and never a walk.
public struct EntitySnapshot: Sendable {
    let storage: Storage

    /// Lays out entities and computes the closure of their parents.
    ///
    /// Parents need not exist as entities. A cycle is refused, and so is a uid that appears twice
    /// with different parents; with the same definition it counts once.
    public init(entities: some Sequence<Entity>) throws(EntitySnapshotError) {
        storage = try Storage(Array(entities))
    }

    private init() {
        storage = Storage()
    }

    /// A snapshot without entities.
    public static let empty = EntitySnapshot()

    /// The number of entities with data.
    public var count: Int { storage.definedCount }

    /// Whether an entity has data here.
    public func contains(_ uid: EntityUID) -> Bool {
        uid.type.string.utf8Span.span.withUnsafeBytes { type in
            uid.id.string.utf8Span.span.withUnsafeBytes { id in
                storage.isDefined(type: type, id: id)
            }
        }
    }

    /// What a snapshot shares.
    final class Storage: Sendable {
        let heap: Heap
        /// Per name: whether it has data, its attributes and tags, and where its ancestors start.
        let isDefined: [Bool]
        let definedCount: Int
        private let names: [Cell]
        private let attributes: [Cell]
        private let tags: [Cell]
        private let ancestorStarts: [UInt32]
        private let ancestorList: [UInt32]
        /// The name of each entity reference in the heap, or -1 for one that is neither defined nor
        /// a parent.
        private let nameOfReference: [Int32]
        private let table: EntityTable

        init() {
            heap = Heap(.entities)
            isDefined = []
            definedCount = 0
            names = []
            attributes = []
            tags = []
            ancestorStarts = [0]
            ancestorList = []
            nameOfReference = []
            table = EntityTable()
        }

        init(_ entities: [Entity]) throws(EntitySnapshotError) {
            var builder = Builder()
            for entity in entities { try builder.add(entity) }
            try builder.close()
            heap = builder.heap
            isDefined = builder.isDefined
            definedCount = builder.isDefined.count { $0 }
            names = builder.names
            attributes = builder.attributes
            tags = builder.tags
            ancestorStarts = builder.ancestorStarts
            ancestorList = builder.ancestorList
            table = builder.table
            let memory = Memory(only: builder.heap)
            let (heap, table, names) = (builder.heap, builder.table, builder.names)
            nameOfReference = (0..<builder.heap.entityCount).map {
                Int32(table.find(heap.entity($0), in: memory) { memory.entity(names[$0]) } ?? -1)
            }
        }

        var nameCount: Int { names.count }

        /// A name's type and id, in the snapshot's heap.
        @inline(__always) func cells(of name: Int) -> Heap.EntityCells {
            heap.entity(names[name].index)
        }

        /// The number of a name, or -1.
        @inline(__always) func find(_ entity: Heap.EntityCells, in memory: Memory) -> Int {
            table.find(entity, in: memory, againstEntitiesOf: heap) { heap.entity(names[$0].index) }
                ?? -1
        }

        /// Whether the entity with these bytes has data.
        ///
        /// Asked of every call, so nothing is laid out for it.
        func isDefined(type: UnsafeRawBufferPointer, id: UnsafeRawBufferPointer) -> Bool {
            let hash = ByteHash.combine(ByteHash.hash(type), ByteHash.hash(id))
            let number = table.find(hash) { number in
                let cells = heap.entity(names[number].index)
                return cells.hash == hash && heap.string(cells.type).holdsSameBytes(as: type)
                    && heap.string(cells.id).holdsSameBytes(as: id)
            }
            return number.map { isDefined[$0] } ?? false
        }

        /// The number of a name that this heap refers to, or -1.
        @inline(__always) func name(ofReference index: Int) -> Int { Int(nameOfReference[index]) }

        @inline(__always) func attributes(of name: Int) -> Cell? {
            name >= 0 && isDefined[name] ? attributes[name] : nil
        }

        @inline(__always) func tags(of name: Int) -> Cell? {
            name >= 0 && isDefined[name] ? tags[name] : nil
        }

        @inline(__always) func ancestors(of name: Int) -> ArraySlice<UInt32> {
            ancestorList[Int(ancestorStarts[name])..<Int(ancestorStarts[name + 1])]
        }

        func isAncestor(_ candidate: Int, of name: Int) -> Bool {
            var low = Int(ancestorStarts[name])
            var high = Int(ancestorStarts[name + 1])
            while low < high {
                let middle = (low + high) / 2
                let value = Int(ancestorList[middle])
                if value == candidate { return true }
                if value < candidate { low = middle + 1 } else { high = middle }
            }
            return false
        }
    }
}

extension EntitySnapshot {
    fileprivate struct Builder {
        let heap = Heap(.entities)
        var names: [Cell] = []
        var uids: [EntityUID] = []
        var isDefined: [Bool] = []
        var attributes: [Cell] = []
        var tags: [Cell] = []
        var parents: [[UInt32]] = []
        var ancestorStarts: [UInt32] = [0]
        var ancestorList: [UInt32] = []
        var table = EntityTable()
        private var numbers: [EntityUID: Int] = [:]
        private var types: [Text: Cell] = [:]

        private mutating func number(_ uid: EntityUID) -> Int {
            if let known = numbers[uid] { return known }
            let type = types[uid.type] ?? heap.add(string: uid.type)
            types[uid.type] = type
            let cell = heap.add(type: type, id: heap.add(string: uid.id))
            let number = names.count
            numbers[uid] = number
            uids.append(uid)
            names.append(cell)
            isDefined.append(false)
            attributes.append(heap.add(canonicalRecord: []))
            tags.append(heap.add(canonicalRecord: []))
            parents.append([])
            return number
        }

        mutating func add(_ entity: Entity) throws(EntitySnapshotError) {
            let number = number(entity.uid)
            let attributes = heap.add(entity.attributes)
            let tags = heap.add(entity.tags)
            var parents: [UInt32] = []
            for parent in entity.parents { parents.append(UInt32(self.number(parent))) }
            parents.sort()
            if isDefined[number] {
                let memory = Memory(only: heap)
                guard memory.equal(attributes, self.attributes[number]),
                    memory.equal(tags, self.tags[number]), parents == self.parents[number]
                else { throw .duplicate(entity.uid) }
                return
            }
            isDefined[number] = true
            self.attributes[number] = attributes
            self.tags[number] = tags
            self.parents[number] = parents
        }

        /// Orders names so that parents come first, refusing cycles, and unites their ancestors.
        mutating func close() throws(EntitySnapshotError) {
            let closed = try closure()
            for ancestors in closed {
                ancestorList.append(contentsOf: ancestors)
                ancestorStarts.append(UInt32(ancestorList.count))
            }
            table = EntityTable(hashes: names.map(\.hash))
        }

        private func closure() throws(EntitySnapshotError) -> [[UInt32]] {
            enum State { case new, open, closed }
            var states = Array(repeating: State.new, count: names.count)
            var ancestors: [[UInt32]] = Array(repeating: [], count: names.count)
            // An explicit stack: a hierarchy may be deeper than a thread's stack.
            for root in 0..<names.count where states[root] == .new {
                var path: [(name: Int, next: Int)] = [(root, 0)]
                states[root] = .open
                while let (name, next) = path.last {
                    guard next < parents[name].count else {
                        var union: Set<UInt32> = Set(parents[name])
                        for parent in parents[name] { union.formUnion(ancestors[Int(parent)]) }
                        ancestors[name] = union.sorted()
                        states[name] = .closed
                        path.removeLast()
                        continue
                    }
                    path[path.count - 1].next += 1
                    let parent = Int(parents[name][next])
                    switch states[parent] {
                    case .open: throw .cycle(uids[parent])
                    case .new:
                        states[parent] = .open
                        path.append((parent, 0))
                    case .closed: break
                    }
                }
            }
            return ancestors
        }
    }
}

/// Finds numbered entities by name: open addressing over the hashes of their names.
struct EntityTable: Sendable {
    /// A slot holds the number plus one.
    ///
    /// The size is a power of two.
    private let slots: [UInt32]

    init(hashes: [UInt32] = []) {
        var size = 8
        while size < hashes.count * 2 { size *= 2 }
        var slots = Array(repeating: UInt32(0), count: size)
        for (number, hash) in hashes.enumerated() {
            var slot = Int(hash) & (size - 1)
            while slots[slot] != 0 { slot = (slot + 1) & (size - 1) }
            slots[slot] = UInt32(number) + 1
        }
        self.slots = slots
    }

    /// The first number in the run of a hash that is the one looked for.
    @inline(__always) func find(_ hash: UInt32, _ isWanted: (Int) -> Bool) -> Int? {
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let number = Int(slots[slot]) - 1
            if isWanted(number) { return number }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// The number of the entity with this name.
    ///
    /// `memory` holds `entity`; `owner`, if given, the numbered ones.
    @inline(__always)
    func find(
        _ entity: Heap.EntityCells,
        in memory: Memory,
        againstEntitiesOf owner: Heap? = nil,
        _ candidate: (Int) -> Heap.EntityCells
    ) -> Int? {
        find(entity.hash) { number in
            let other = candidate(number)
            guard other.hash == entity.hash else { return false }
            guard let owner else {
                return memory.string(entity.type).holdsSameBytes(as: memory.string(other.type))
                    && memory.string(entity.id).holdsSameBytes(as: memory.string(other.id))
            }
            return memory.string(entity.type).holdsSameBytes(as: owner.string(other.type))
                && memory.string(entity.id).holdsSameBytes(as: owner.string(other.id))
        }
    }
}
