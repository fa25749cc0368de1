/// How far conditions follow entities: the longest chain of reads of an entity's data that starts
/// at the request.
///
/// `.` and `has` on an entity, tags, and the left side of `in` are reads. A policy of level 1 needs
/// the data of principal, action, resource and the entities in the context, and of no other. An
/// entity literal is not in the request, so reading it has no level. Source: Cedar RFC 76.
struct LevelCheck {
    struct Result: Hashable {
        var level = 0
        /// The last read of the longest chain.
        var node: ExpressionID?
        /// A read of an entity that cannot be reached from the request.
        var unreachable: ExpressionID?
    }

    private let syntax: Syntax
    private let schema: SchemaIndex
    private let table: TypeTable
    /// The types of the nodes that matter; what was pruned is not evaluated and reads nothing.
    private let types: [UInt32: TypeID]
    private let names: NameMap
    private let action: SchemaIndex.EntityKey
    private var result = Result()

    /// Measures conditions that were typed without a mistake.
    static func measure(
        _ conditions: [PolicySyntax.Condition],
        _ checker: TypeChecker,
        action: SchemaIndex.EntityKey
    ) -> Result {
        var check = LevelCheck(
            syntax: checker.syntax,
            schema: checker.schema,
            table: checker.table,
            types: checker.types,
            names: checker.names,
            action: action
        )
        for condition in conditions { check.visit(condition.body) }
        return check.result
    }

    private func isReached(_ id: ExpressionID) -> Bool { types[id.index] != nil }

    private func isEntity(_ type: TypeID?) -> Bool {
        guard let type, case .entity = table[type] else { return false }
        return true
    }

    private mutating func visit(_ id: ExpressionID) {
        guard isReached(id) else { return }
        switch syntax[id] {
        case .attribute(let holder, _) where isEntity(types[holder.index]):
            read(holder, at: id)
        case .has(let holder, let path): visit(holder, has: path, at: id)
        case .binary(.in, let entity, let container), .isTypeIn(let entity, _, let container):
            read(entity, at: id)
            visit(container)
        case .binary(.hasTag, let entity, let key), .binary(.getTag, let entity, let key):
            read(entity, at: id)
            visit(key)
        case .binary:
            let (first, rest) = syntax.chain(id)
            visit(first)
            for (_, right, _) in rest { visit(right) }
        default:
            var children: [ExpressionID] = []
            syntax.forEachChild(of: id) { children.append($0) }
            for child in children { visit(child) }
        }
    }

    /// `x has a.b` reads `x`, and also `x.a` if that is an entity.
    private mutating func visit(_ holder: ExpressionID, has path: ListRange, at id: ExpressionID) {
        guard var type = types[holder.index] else { return }
        let path = syntax[path].map { Symbol(index: $0) }
        var depth: Int?
        var isRead = false
        for (index, symbol) in path.enumerated() {
            var record = type
            if case .entity(let entityTypes) = table[type] {
                depth = isRead ? depth.map { $0 + 1 } : access(holder, path[..<index])
                isRead = true
                note(depth, at: id)
                guard let first = entityTypes.first, let declared = schema.entityTypes[first]
                else { break }
                record = declared.attributes
            }
            guard let next = field(symbol, of: record) else { break }
            type = next
        }
        if !isRead { visit(holder) }
    }

    private func field(_ symbol: Symbol, of record: TypeID) -> TypeID? {
        guard case .record(let fields, _) = table[record] else { return nil }
        return fields.first { $0.name == names[symbol] }?.type
    }

    private mutating func read(_ entity: ExpressionID, at id: ExpressionID) {
        note(access(entity, []), at: id)
    }

    private mutating func note(_ depth: Int?, at id: ExpressionID) {
        guard let depth else {
            result.unreachable = result.unreachable ?? id
            return
        }
        if depth + 1 > result.level {
            result.level = depth + 1
            result.node = id
        }
    }

    /// The number of reads that lead to an entity, or nothing if none leads there.
    ///
    /// - Parameter path: The attributes of records still to be followed below the expression.
    private mutating func access(_ id: ExpressionID, _ path: ArraySlice<Symbol>) -> Int? {
        switch syntax[id] {
        case .variable: return 0
        case .entity(let index): return names[syntax[index]] == action ? 0 : nil
        case .attribute(let holder, let name):
            guard isEntity(types[holder.index]) else { return access(holder, [name] + path) }
            read(holder, at: id)
            return access(holder, []).map { $0 + 1 }
        case .binary(.getTag, let holder, let key):
            visit(key)
            read(holder, at: id)
            return access(holder, []).map { $0 + 1 }
        case .conditional(let condition, let then, let otherwise):
            visit(condition)
            let branches = [then, otherwise].filter { isReached($0) }.map { access($0, path) }
            return branches.contains(nil) ? nil : branches.compactMap(\.self).max()
        case .record(let list):
            let members = syntax[list]
            var found: Int?
            for index in stride(from: members.startIndex, to: members.endIndex, by: 2) {
                let value = ExpressionID(index: members[index + 1])
                if members[index] == path.first?.index {
                    found = access(value, path.dropFirst())
                } else {
                    visit(value)
                }
            }
            return found
        default: return nil
        }
    }
}
