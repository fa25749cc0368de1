public import JSON

// What was laid out flat, as values again: for conformance, for partial evaluation, for people.

extension Memory {
    func value(_ cell: Cell) -> Value {
        switch cell.kind {
        case .bool: .bool(cell.isTrue)
        case .long: .long(cell.integer)
        case .string: .string(text(cell))
        case .entity: .entity(uid(cell))
        case .set:
            .set((0..<cell.count).map { value(self.cell(cell.region, cell.start + $0)) })
        case .record: .record(record(cell))
        case .decimal: .decimal(CedarDecimal(tenThousandths: cell.integer))
        case .ip: .ip(address(cell))
        case .datetime: .datetime(CedarDatetime(milliseconds: cell.integer))
        case .duration: .duration(CedarDuration(milliseconds: cell.integer))
        }
    }

    func record(_ cell: Cell) -> [Text: Value] {
        var members: [Text: Value] = [:]
        for index in 0..<cell.count {
            let at = cell.start + 2 * index
            members[text(self.cell(cell.region, at))] = value(self.cell(cell.region, at + 1))
        }
        return members
    }

    func uid(_ cell: Cell) -> EntityUID { uid(entity(cell)) }

    func uid(_ cells: Heap.EntityCells) -> EntityUID {
        EntityUID(type: text(cells.type), id: text(cells.id))
    }

    private func text(_ cell: Cell) -> Text { Text(String(decoding: string(cell), as: UTF8.self)) }
}

extension Request {
    /// Who asks.
    public var principal: EntityUID { memory.uid(storage.principal) }
    /// What for.
    public var action: EntityUID { memory.uid(storage.action) }
    /// On what.
    public var resource: EntityUID { memory.uid(storage.resource) }
    /// The context, read back from its layout; takes time in proportion to it.
    public var context: [Text: Value] { memory.record(storage.context) }

    private var memory: Memory { Memory(only: storage.heap) }
}

extension EntitySnapshot {
    /// The entity of this name, with everything that it is in as its parents; nothing if it has no data here.
    public func entity(_ uid: EntityUID) -> Entity? {
        let heap = Heap(.request)
        let cell = heap.add(entity: uid)
        let name = storage.find(heap.entity(cell.index), in: Memory(only: heap))
        guard name >= 0, storage.isDefined[name], let attributes = storage.attributes(of: name),
            let tags = storage.tags(of: name)
        else { return nil }
        let memory = Memory(only: storage.heap)
        return Entity(
            uid: uid,
            attributes: memory.record(attributes),
            parents: storage.ancestors(of: name).map { memory.uid(storage.cells(of: Int($0))) },
            tags: memory.record(tags)
        )
    }
}
