import JSON

/// What validation needs to know of a policy before it looks at any request.
///
/// The verdict over a request depends on no more of its context than the paths that the policy
/// reads. So a policy over 500 tools, each with arguments of its own, is checked once if it does
/// not look at them, and a few times if it does.
struct PolicyOutline {
    /// Entity literals of scope and conditions, each once per place.
    var entities: [(index: EntityIndex, site: Site)] = []
    /// Type names of `is`.
    var types: [(symbol: Symbol, site: Site)] = []
    /// Paths of attributes from `context`; an empty one if it is used as a whole.
    var contextPaths: Set<[Symbol]> = []
    /// Whether the conditions mention the action or any action.
    var mentionsAction = false
    /// The numbers of the conditions' nodes, in ascending order.
    private(set) var nodes: [UInt32] = []

    /// Where something stands.
    enum Site: Hashable {
        case principal, action, resource
        case node(ExpressionID)
    }

    init(_ policy: PolicySyntax, _ syntax: Syntax) {
        scope(policy.principal, .principal)
        scope(policy.action, .action)
        scope(policy.resource, .resource)
        var pending = policy.conditions.map(\.body)
        while let id = pending.popLast() {
            if let path = Self.contextPath(id, syntax) {
                contextPaths.insert(path.names)
                nodes.append(contentsOf: path.nodes)
            } else {
                nodes.append(id.index)
                note(id, syntax)
                syntax.forEachChild(of: id) { pending.append($0) }
            }
        }
        nodes.sort()
    }

    private mutating func scope(_ constraint: ScopeConstraint, _ site: Site) {
        switch constraint {
        case .isType(let type), .isTypeIn(let type, _): types.append((type, site))
        case .inSet(let actions): entities += actions.map { ($0, site) }
        case .any, .equal, .in: break
        }
        if case .entity(let index)? = constraint.operand { entities.append((index, site)) }
    }

    private mutating func note(_ id: ExpressionID, _ syntax: Syntax) {
        switch syntax[id] {
        case .entity(let index):
            entities.append((index, .node(id)))
            if syntax.isActionType(syntax[index].type) { mentionsAction = true }
        case .variable(.action): mentionsAction = true
        case .isType(_, let type), .isTypeIn(_, let type, _): types.append((type, .node(id)))
        default: break
        }
    }

    /// The names from `context` to what an expression reads, if it is such a path.
    private static func contextPath(
        _ id: ExpressionID,
        _ syntax: Syntax
    ) -> (names: [Symbol], nodes: [UInt32])? {
        var names: [Symbol] = []
        var nodes: [UInt32] = []
        var at = id
        while true {
            nodes.append(at.index)
            switch syntax[at] {
            case .variable(.context): return (names.reversed(), nodes)
            case .attribute(let holder, let name):
                names.append(name)
                at = holder
            case .has(let holder, let path):
                names += syntax[path].reversed().map { Symbol(index: $0) }
                at = holder
            default: return nil
            }
        }
    }

    /// The conditions as numbers that say everything and depend on nothing else in the set.
    ///
    /// Nodes refer to each other relative to the first, names by their number in the table.
    func fingerprint(
        _ policy: PolicySyntax,
        _ syntax: Syntax,
        _ names: NameMap
    ) -> [UInt32] {
        var writer = FingerprintWriter(syntax: syntax, base: nodes.first ?? 0, names: names)
        for condition in policy.conditions {
            writer.words += [condition.isWhen ? 1 : 0, condition.body.index - writer.base]
        }
        for node in nodes { writer.write(ExpressionID(index: node)) }
        return writer.words
    }
}

private struct FingerprintWriter {
    let syntax: Syntax
    let base: UInt32
    let names: NameMap
    var words: [UInt32] = []

    private mutating func add(_ kind: UInt32, _ symbol: Symbol) {
        words += [kind, names[symbol].index]
    }

    private mutating func add(_ children: ExpressionID...) {
        words += children.map { $0.index - base }
    }

    mutating func write(_ id: ExpressionID) {
        words.append(id.index - base)
        switch syntax[id] {
        case .boolean(let value): words += [1, value ? 1 : 0]
        case .long(let value):
            let bits = UInt64(bitPattern: value)
            words += [2, UInt32(truncatingIfNeeded: bits), UInt32(truncatingIfNeeded: bits >> 32)]
        case .string(let symbol): add(3, symbol)
        case .entity(let index):
            add(4, syntax[index].type)
            add(4, syntax[index].id)
        case .variable(let variable): words += [5, UInt32(variable.rawValue)]
        case .not(let a):
            words.append(6)
            add(a)
        case .negate(let a):
            words.append(7)
            add(a)
        case .isEmpty(let a):
            words.append(8)
            add(a)
        case .binary(let operation, let a, let b):
            words += [9, UInt32(operation.rawValue)]
            add(a, b)
        case .attribute(let a, let symbol):
            add(10, symbol)
            add(a)
        case .has(let a, let path):
            words += [11, path.count]
            for symbol in syntax[path] { words.append(names[Symbol(index: symbol)].index) }
            add(a)
        case .like(let a, let symbol):
            add(12, symbol)
            add(a)
        case .isType(let a, let symbol):
            add(13, symbol)
            add(a)
        case .isTypeIn(let a, let symbol, let b):
            add(14, symbol)
            add(a, b)
        case .conditional(let a, let b, let c):
            words.append(15)
            add(a, b, c)
        case .set(let list):
            words += [16, list.count]
            for element in syntax[list] { words.append(element - base) }
        case .record(let list):
            words += [17, list.count]
            for (index, word) in syntax[list].enumerated() {
                words.append(
                    index % 2 == 0 ? names[Symbol(index: word)].index : word - base
                )
            }
        case .call(let function, let list):
            words += [18, UInt32(function.rawValue), list.count]
            for argument in syntax[list] { words.append(argument - base) }
        }
    }
}

extension Syntax {
    /// The operands of an expression, in the order of evaluation.
    func forEachChild(of id: ExpressionID, _ body: (ExpressionID) -> Void) {
        switch self[id] {
        case .boolean, .long, .string, .entity, .variable: break
        case .not(let a), .negate(let a), .isEmpty(let a), .attribute(let a, _), .has(let a, _),
            .like(let a, _), .isType(let a, _):
            body(a)
        case .binary(_, let a, let b), .isTypeIn(let a, _, let b):
            body(a)
            body(b)
        case .conditional(let a, let b, let c):
            body(a)
            body(b)
            body(c)
        case .set(let list), .call(_, let list):
            for element in self[list] { body(ExpressionID(index: element)) }
        case .record(let list):
            let members = self[list]
            for index in stride(from: members.startIndex + 1, to: members.endIndex, by: 2) {
                body(ExpressionID(index: members[index]))
            }
        }
    }
}
