import JSON

/// The types that validation meets, each stored once, so that comparing them compares numbers.
///
/// Numbers stay valid as long as the table lives. That is what lets a ``ValidationMemo`` key its
/// verdicts on types across versions of a schema without a digest that could collide.
struct TypeTable: Sendable {
    enum Node: Hashable {
        /// No value has it; the element type of `[]`, which only permissive mode accepts.
        case never
        /// Bool, and its two types of one value each: what is known to be true or false.
        case bool, yes, no
        case long, string, decimal, ipaddr, datetime, duration
        case set(TypeID)
        /// Fields in the order of their names' numbers.
        ///
        /// An open record may hold more; only permissive mode makes them.
        case record([Field], isOpen: Bool)
        /// One of these entity types, in the order of their numbers; more than one only in
        /// permissive mode.
        case entity([NameID])
    }

    struct Field: Hashable {
        let name: NameID
        let type: TypeID
        let isRequired: Bool
    }

    private(set) var names = SymbolTable()
    private(set) var nodes: [Node] = []
    private var ids: [Node: TypeID] = [:]

    init() {
        for node in TypeID.fixed { _ = add(node) }
    }

    subscript(_ id: TypeID) -> Node { nodes[Int(id.index)] }

    mutating func add(_ node: Node) -> TypeID {
        if let known = ids[node] { return known }
        let id = TypeID(index: UInt32(nodes.count))
        nodes.append(node)
        ids[node] = id
        return id
    }

    mutating func entity(_ type: NameID) -> TypeID { add(.entity([type])) }

    mutating func record(_ fields: [Field], isOpen: Bool = false) -> TypeID {
        add(.record(fields.sorted { $0.name.index < $1.name.index }, isOpen: isOpen))
    }

    mutating func add(_ type: SchemaType) -> TypeID {
        switch type {
        case .bool: .bool
        case .long: .long
        case .string: .string
        case .decimal: .decimal
        case .ipaddr: .ipaddr
        case .datetime: .datetime
        case .duration: .duration
        case .set(let element): add(.set(add(element)))
        case .record(let fields): add(fields)
        case .entity(let name): entity(self.name(name))
        }
    }

    mutating func add(_ record: SchemaRecord) -> TypeID {
        var fields: [Field] = []
        for (name, attribute) in record.attributes {
            fields.append(
                Field(
                    name: self.name(name),
                    type: add(attribute.type),
                    isRequired: attribute.isRequired
                )
            )
        }
        return self.record(fields)
    }

    // MARK: Names

    mutating func name(_ text: Text) -> NameID { NameID(index: names.intern(text.string).index) }

    mutating func name(_ bytes: ArraySlice<UInt8>) -> NameID {
        bytes.withUnsafeBytes { NameID(index: names.intern($0).index) }
    }

    /// The number of a name, if it has one.
    func find(_ text: Text) -> NameID? {
        names.find(text).map { NameID(index: $0.index) }
    }

    /// The number of a type, if it has one.
    func find(_ node: Node) -> TypeID? { ids[node] }

    func text(_ name: NameID) -> Text { names.text(Symbol(index: name.index)) }

    // MARK: Relations

    /// What values of either type have in common, or nothing.
    ///
    /// Strict mode joins equal shapes only: the two singletons of Bool become Bool, records agree
    /// attribute by attribute, entity types are the same. Permissive mode forgets what differs.
    mutating func join(_ a: TypeID, _ b: TypeID, strict: Bool) -> TypeID? {
        if a == b { return a }
        switch (self[a], self[b]) {
        case (.never, _): return b
        case (_, .never): return a
        case (.bool, .yes), (.bool, .no), (.yes, .bool), (.no, .bool), (.yes, .no), (.no, .yes):
            return .bool
        case (.set(let x), .set(let y)):
            return join(x, y, strict: strict).map { add(.set($0)) }
        case (.record(let x, let isOpenX), .record(let y, let isOpenY)):
            return strict
                ? joinStrictly(x, y)
                : joinPermissively(x, y, isOpen: isOpenX || isOpenY)
        case (.entity(let x), .entity(let y)):
            return strict ? nil : add(.entity(Set(x).union(y).sorted { $0.index < $1.index }))
        default: return nil
        }
    }

    private mutating func joinStrictly(_ x: [Field], _ y: [Field]) -> TypeID? {
        guard x.count == y.count else { return nil }
        var fields: [Field] = []
        for (a, b) in zip(x, y) {
            guard a.name == b.name, a.isRequired == b.isRequired,
                let type = join(a.type, b.type, strict: true)
            else { return nil }
            fields.append(Field(name: a.name, type: type, isRequired: a.isRequired))
        }
        return record(fields)
    }

    private mutating func joinPermissively(_ x: [Field], _ y: [Field], isOpen: Bool) -> TypeID {
        var fields: [Field] = []
        for a in x {
            guard let b = y.first(where: { $0.name == a.name }),
                let type = join(a.type, b.type, strict: false)
            else { continue }
            fields.append(
                Field(name: a.name, type: type, isRequired: a.isRequired && b.isRequired)
            )
        }
        let forgets = fields.count != x.count || fields.count != y.count
        return record(fields, isOpen: isOpen || forgets)
    }

    // MARK: Display

    /// The type in the words of a schema; long records are cut.
    func describe(_ id: TypeID) -> String {
        switch self[id] {
        case .never: "nothing"
        case .bool: "Bool"
        case .yes: "true"
        case .no: "false"
        case .long: "Long"
        case .string: "String"
        case .decimal: "decimal"
        case .ipaddr: "ipaddr"
        case .datetime: "datetime"
        case .duration: "duration"
        case .set(let element): "Set<\(describe(element))>"
        case .record(let fields, let isOpen): describe(fields, isOpen)
        case .entity(let names): names.map { text($0).string }.joined(separator: " or ")
        }
    }

    private func describe(_ fields: [Field], _ isOpen: Bool) -> String {
        let limit = 6
        let sorted = fields.map { (text($0.name), $0) }.sorted { $0.0 < $1.0 }
        var parts = sorted.prefix(limit).map { name, field in
            "\(name)\(field.isRequired ? "" : "?"): \(describe(field.type))"
        }
        if isOpen || fields.count > limit { parts.append("…") }
        return "{\(parts.joined(separator: ", "))}"
    }
}

/// The number of a type in its table.
struct TypeID: Hashable, Sendable {
    let index: UInt32

    static let never = TypeID(index: 0)
    static let bool = TypeID(index: 1)
    static let yes = TypeID(index: 2)
    static let no = TypeID(index: 3)
    static let long = TypeID(index: 4)
    static let string = TypeID(index: 5)
    static let decimal = TypeID(index: 6)
    static let ipaddr = TypeID(index: 7)
    static let datetime = TypeID(index: 8)
    static let duration = TypeID(index: 9)

    /// The nodes of the numbers above, in their order.
    fileprivate static let fixed: [TypeTable.Node] = [
        .never, .bool, .yes, .no, .long, .string, .decimal, .ipaddr, .datetime, .duration,
    ]

    var isBool: Bool { self == .bool || self == .yes || self == .no }
}

/// The number of a name (an attribute, a type, an id) in its table.
struct NameID: Hashable, Sendable {
    let index: UInt32
}
