/// Verdicts of earlier validations, so that the next one checks only what changed.
///
/// A verdict is known by the conditions of the policy and by everything in the schema that they can
/// see: the types of the context paths they read, the declarations of all entity types reachable
/// from there. Keys are compared in full; there is no digest that two tools could be made to share.
/// A new version of schema or policies is validated with the memo of the last. One memo belongs to
/// one line of versions and is not shared between tasks.
public struct ValidationMemo: Sendable {
    /// What one policy comes to in one kind of request.
    struct Verdict: Sendable {
        var isFalse: Bool
        var failed: Bool
        /// Their nodes are relative to the policy's first.
        var findings: [TypeChecker.Finding]
        var level: LevelCheck.Result
    }

    struct Entry: Sendable {
        var verdicts: [[UInt32]: Verdict] = [:]
        var lastUse = 0
    }

    /// How many validations a verdict that is not used is kept for.
    static let generationsMax = 16
    /// How many types are remembered before everything is forgotten.
    static let typesMax = 1 << 20

    var table = TypeTable()
    var entries: [[UInt32]: Entry] = [:]
    var closures = ClosureTable()
    private(set) var generation = 0

    /// A memo that knows nothing.
    public init() {}

    /// The number of policies it knows verdicts of.
    public var count: Int { entries.count }

    mutating func begin() {
        if table.nodes.count > Self.typesMax { self = ValidationMemo() }
        generation += 1
    }

    mutating func end() {
        entries = entries.filter { generation - $0.value.lastUse < Self.generationsMax }
    }
}

/// Numbers for the declarations that values of a type can lead to.
///
/// Equal numbers mean equal declarations, under one schema or under two.
struct ClosureTable: Sendable {
    private var declarations: [SchemaIndex.EntityDeclaration: UInt32] = [:]
    private var numbers: [[UInt32]: UInt32] = [:]

    mutating func closure(
        of type: TypeID,
        _ schema: SchemaIndex,
        _ table: TypeTable
    ) -> UInt32 {
        var search = Search(schema: schema, table: table)
        search.add(type)
        search.run()
        return number(key(search.found, schema))
    }

    /// The number of an entity type; two types may lead to the same declarations, so the name counts.
    mutating func closure(
        of name: NameID,
        _ schema: SchemaIndex,
        _ table: TypeTable
    ) -> UInt32 {
        var search = Search(schema: schema, table: table)
        search.add(name)
        search.run()
        return number([.max, name.index] + key(search.found, schema))
    }

    private mutating func key(_ names: Set<NameID>, _ schema: SchemaIndex) -> [UInt32] {
        var key: [UInt32] = []
        for name in names.sorted(by: { $0.index < $1.index }) {
            key += [name.index, schema.entityTypes[name].map { number($0) } ?? 0]
        }
        return key
    }

    private mutating func number(_ key: [UInt32]) -> UInt32 {
        if let known = numbers[key] { return known }
        let next = UInt32(numbers.count + 1)
        numbers[key] = next
        return next
    }

    private mutating func number(_ declaration: SchemaIndex.EntityDeclaration) -> UInt32 {
        if let known = declarations[declaration] { return known }
        let next = UInt32(declarations.count + 1)
        declarations[declaration] = next
        return next
    }

    private struct Search {
        let schema: SchemaIndex
        let table: TypeTable
        var found: Set<NameID> = []
        private var seen: Set<TypeID> = []
        private var pending: [TypeID] = []

        init(schema: SchemaIndex, table: TypeTable) {
            self.schema = schema
            self.table = table
        }

        mutating func add(_ type: TypeID) {
            if seen.insert(type).inserted { pending.append(type) }
        }

        mutating func add(_ name: NameID) {
            guard found.insert(name).inserted, let declaration = schema.entityTypes[name] else {
                return
            }
            add(declaration.attributes)
            if let tags = declaration.tags { add(tags) }
        }

        mutating func run() {
            while let type = pending.popLast() {
                switch table[type] {
                case .set(let element): add(element)
                case .record(let fields, _): for field in fields { add(field.type) }
                case .entity(let names): for name in names { add(name) }
                default: break
                }
            }
        }
    }
}
