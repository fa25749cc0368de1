import JSON

/// Groups the actions of a schema by what a policy can tell apart (ADR 0008).
///
/// A verdict depends on the types of principal and resource, on what the context paths that the
/// policy reads come to, and on how the action lies to the actions that the policy mentions. Actions
/// that agree in all of that are checked once. The numbers it is told by are also what a
/// ``ValidationMemo`` remembers verdicts by.
struct RequestGrouping {
    /// Requests that a policy cannot tell apart, and the actions they are for.
    struct Group {
        let principalTypes: [NameID]
        let resourceTypes: [NameID]
        /// The context of one of the actions, for all.
        let context: TypeID
        let action: SchemaIndex.EntityKey
        /// What the verdict may depend on, beside principal and resource.
        let key: [UInt32]
        var actions: [Int]
    }

    private enum ActionScope: Hashable {
        case any
        case equal(SchemaIndex.EntityKey)
        case within([SchemaIndex.EntityKey])
    }

    private struct Question: Hashable {
        let scope: ActionScope
        let paths: [[NameID]]
        let actions: [SchemaIndex.EntityKey]?
    }

    private let syntax: Syntax
    private let schema: SchemaIndex
    /// With the types of the schema; others do not occur in requests.
    private let table: TypeTable
    private let names: NameMap
    private(set) var closures: ClosureTable
    private var groups: [Question: [Group]] = [:]
    private var leaves: [TypeID: [[NameID]: [UInt32]]] = [:]
    private var closureOfType: [NameID: UInt32] = [:]

    init(
        _ syntax: Syntax,
        _ schema: SchemaIndex,
        _ table: TypeTable,
        _ names: NameMap,
        _ closures: ClosureTable
    ) {
        self.syntax = syntax
        self.schema = schema
        self.table = table
        self.names = names
        self.closures = closures
    }

    mutating func groups(_ policy: PolicySyntax, _ outline: PolicyOutline) -> [Group] {
        let scope = scope(of: policy.action)
        let paths = outline.contextPaths.map { $0.map { names[$0] } }
            .sorted { $0.lexicographicallyPrecedes($1) { $0.index < $1.index } }
        let literals = outline.mentionsAction ? actionLiterals(outline) : nil
        let question = Question(scope: scope, paths: paths, actions: literals)
        if let known = groups[question] { return known }
        var found: [Group] = []
        var indices: [[UInt32]: Int] = [:]
        for index in applicableActions(policy.action) {
            let action = schema.actions[index]
            var own = action.principalTypes.map(\.index) + [.max]
            own += action.resourceTypes.map(\.index) + [.max]
            let start = own.count
            for path in paths { own += leaf(path, of: action.context) }
            if let literals { own += relations(of: action.name, to: literals) }
            if let known = indices[own] {
                found[known].actions.append(index)
                continue
            }
            indices[own] = found.count
            found.append(
                Group(
                    principalTypes: action.principalTypes,
                    resourceTypes: action.resourceTypes,
                    context: action.context,
                    action: action.name,
                    key: Array(own[start...]),
                    actions: [index]
                )
            )
        }
        groups[question] = found
        return found
    }

    /// The actions in a scope that apply to anything.
    func applicableActions(_ constraint: ScopeConstraint) -> [Int] {
        let scope = scope(of: constraint)
        return schema.actions.indices.filter { index in
            let action = schema.actions[index]
            guard action.applies else { return false }
            switch scope {
            case .any: return true
            case .equal(let key): return action.name == key
            case .within(let keys):
                return keys.contains { $0 == action.name || action.ancestors.contains($0) }
            }
        }
    }

    private func scope(of constraint: ScopeConstraint) -> ActionScope {
        switch constraint {
        case .equal(.entity(let index)): .equal(names[syntax[index]])
        case .in(.entity(let index)): .within([names[syntax[index]]])
        case .inSet(let actions): .within(actions.map { names[syntax[$0]] })
        case .any, .equal, .in, .isType, .isTypeIn: .any
        }
    }

    // MARK: What verdicts depend on

    /// What there is to know of a path in one context: whether each step is there always, maybe or
    /// never, and the type where it ends.
    private mutating func leaf(_ path: [NameID], of context: TypeID) -> [UInt32] {
        if let known = leaves[context]?[path] { return known }
        var key: [UInt32] = []
        var type = context
        for name in path {
            guard case .record(let fields, _) = table[type] else { break }
            guard let field = fields.first(where: { $0.name == name }) else {
                key.append(0)
                break
            }
            key.append(field.isRequired ? 2 : 1)
            type = field.type
        }
        if key.last != 0 {
            // Entities below are known by their declarations, not by their names.
            key += [3, type.index, closures.closure(of: type, schema, table)]
        }
        key.insert(UInt32(key.count), at: 0)
        leaves[context, default: [:]][path] = key
        return key
    }

    private func actionLiterals(_ outline: PolicyOutline) -> [SchemaIndex.EntityKey] {
        var keys: [SchemaIndex.EntityKey] = []
        for (index, site) in outline.entities {
            guard case .node = site, syntax.isActionType(syntax[index].type) else { continue }
            let key = names[syntax[index]]
            if !keys.contains(key) { keys.append(key) }
        }
        return keys
    }

    /// How an action and the actions that a policy mentions lie to each other.
    private func relations(
        of action: SchemaIndex.EntityKey,
        to literals: [SchemaIndex.EntityKey]
    ) -> [UInt32] {
        let all = [action] + literals
        var words = [action.type.index]
        for a in all {
            words.append(schema.actionIndices[a] == nil ? 0 : 1)
            for b in all { words.append((a == b ? 2 : 0) + (schema.isIn(a, b) ? 1 : 0)) }
        }
        return words
    }

    /// What a verdict may depend on in every request: the types of entity literals.
    mutating func literalKey(_ outline: PolicyOutline) -> [UInt32] {
        var key: [UInt32] = []
        var seen: Set<NameID> = []
        for (index, site) in outline.entities {
            guard case .node = site else { continue }
            let type = names[syntax[index].type]
            if seen.insert(type).inserted { key.append(number(of: type)) }
        }
        return key
    }

    /// The number of an entity type with all that its entities can lead to.
    mutating func number(of type: NameID) -> UInt32 {
        if let known = closureOfType[type] { return known }
        let number = closures.closure(of: type, schema, table)
        closureOfType[type] = number
        return number
    }
}
