/// Numbers for expressions, the same for two that read the same.
///
/// A capability learned from `principal has a` belongs to every `principal`, wherever it stands.
struct ExpressionClasses {
    struct ID: Hashable {
        let index: UInt32
    }

    private enum Key: Hashable {
        case boolean(Bool)
        case long(Int64)
        case string(Symbol)
        case entity(EntityIndex)
        case variable(Variable)
        case not(ID), negate(ID), isEmpty(ID)
        case binary(BinaryOperator, ID, ID)
        case attribute(ID, Symbol)
        case has(ID, [UInt32])
        case like(ID, Symbol)
        case isType(ID, Symbol)
        case isTypeIn(ID, Symbol, ID)
        case conditional(ID, ID, ID)
        case set([ID])
        case record([Symbol: ID])
        case call(ExtensionFunction, [ID])
    }

    private var ids: [Key: ID] = [:]
    private var known: [UInt32: ID] = [:]

    private mutating func id(_ key: Key) -> ID {
        if let id = ids[key] { return id }
        let id = ID(index: UInt32(ids.count))
        ids[key] = id
        return id
    }

    mutating func attribute(_ holder: ID, _ name: Symbol) -> ID { id(.attribute(holder, name)) }

    mutating func find(_ expression: ExpressionID, _ syntax: Syntax) -> ID {
        if let id = known[expression.index] { return id }
        let found: ID
        switch syntax[expression] {
        case .boolean(let value): found = id(.boolean(value))
        case .long(let value): found = id(.long(value))
        case .string(let symbol): found = id(.string(symbol))
        case .entity(let index): found = id(.entity(index))
        case .variable(let variable): found = id(.variable(variable))
        case .not(let a): found = id(.not(find(a, syntax)))
        case .negate(let a): found = id(.negate(find(a, syntax)))
        case .isEmpty(let a): found = id(.isEmpty(find(a, syntax)))
        case .binary:
            let (first, rest) = syntax.chain(expression)
            var left = find(first, syntax)
            for (operation, right, _) in rest {
                left = binary(operation, left, find(right, syntax))
            }
            found = left
        case .attribute(let a, let name): found = id(.attribute(find(a, syntax), name))
        case .has(let a, let path): found = id(.has(find(a, syntax), Array(syntax[path])))
        case .like(let a, let pattern): found = id(.like(find(a, syntax), pattern))
        case .isType(let a, let type): found = id(.isType(find(a, syntax), type))
        case .isTypeIn(let a, let type, let b):
            found = id(.isTypeIn(find(a, syntax), type, find(b, syntax)))
        case .conditional(let a, let b, let c):
            found = id(.conditional(find(a, syntax), find(b, syntax), find(c, syntax)))
        case .set(let list): found = id(.set(self.list(list, syntax)))
        case .call(let function, let list): found = id(.call(function, self.list(list, syntax)))
        case .record(let list):
            let members = syntax[list]
            var record: [Symbol: ID] = [:]
            for index in stride(from: members.startIndex, to: members.endIndex, by: 2) {
                let value = find(ExpressionID(index: members[index + 1]), syntax)
                record[Symbol(index: members[index])] = value
            }
            found = id(.record(record))
        }
        known[expression.index] = found
        return found
    }

    /// `a != b` is `!(a == b)` and `a > b` is `!(a <= b)` to the language.
    private mutating func binary(_ operation: BinaryOperator, _ a: ID, _ b: ID) -> ID {
        switch operation {
        case .notEqual: id(.not(id(.binary(.equal, a, b))))
        case .greater: id(.not(id(.binary(.lessOrEqual, a, b))))
        case .greaterOrEqual: id(.not(id(.binary(.less, a, b))))
        default: id(.binary(operation, a, b))
        }
    }

    private mutating func list(_ list: ListRange, _ syntax: Syntax) -> [ID] {
        var ids: [ID] = []
        for element in syntax[list] { ids.append(find(ExpressionID(index: element), syntax)) }
        return ids
    }
}

/// What the table of types calls the symbols of a policy set.
struct NameMap {
    private let names: [NameID]

    init(_ symbols: SymbolTable, _ table: inout TypeTable) {
        var names: [NameID] = []
        names.reserveCapacity(symbols.count)
        for index in 0..<symbols.count {
            names.append(table.name(symbols[Symbol(index: UInt32(index))]))
        }
        self.names = names
    }

    subscript(_ symbol: Symbol) -> NameID { names[Int(symbol.index)] }

    subscript(_ entity: EntityName) -> SchemaIndex.EntityKey {
        SchemaIndex.EntityKey(type: self[entity.type], id: self[entity.id])
    }
}
