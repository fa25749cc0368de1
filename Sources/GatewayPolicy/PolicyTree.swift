import Cedar
import JSON

/// The policies of a set as trees that can be walked: Cedar's JSON format, read back.
///
/// The checks on layers and the lint look at syntax, and this is the syntax that Cedar publishes and keeps stable.
struct PolicyTrees {
    private let root: JSONValue

    /// Nothing for a set that is larger than any reader would take.
    init?(_ set: PolicySet) {
        var writer = JSONWriter()
        set.write(to: &writer)
        let limits = JSONLimits(bytesMax: 256 << 20, depthMax: 512)
        guard let document = try? JSONDocument(parsing: writer.bytes, limits: limits) else {
            return nil
        }
        root = document.root
    }

    subscript(id: PolicyID) -> PolicyTree? {
        (root["staticPolicies"]?.member(named: id.text)
            ?? root["templates"]?.member(named: id.text)).map { PolicyTree(root: $0) }
    }
}

/// One policy as a tree.
struct PolicyTree {
    let root: JSONValue

    /// What a variable of the scope must be or be in; `nil` where nothing is said, or only a type.
    func scopeEntity(_ variable: StaticString) -> EntityUID? {
        guard let scope = root[variable] else { return nil }
        let entity = scope["entity"] ?? scope["in"]?["entity"]
        return entity.flatMap { try? EntityUID(cedarJSON: $0) }
    }

    /// Whether the scope says nothing at all about a variable.
    func isOpen(_ variable: StaticString) -> Bool {
        root[variable]?["op"]?.stringEquals("All") ?? true
    }

    /// Visits every expression of the conditions, the outer before the inner.
    func visit(_ body: (Node) -> Void) {
        for condition in root["conditions"]?.elements ?? Self.nothing {
            if let expression = condition["body"] { Self.visit(expression, body) }
        }
    }

    /// Visits every chain of attributes from a variable, each as far as it goes.
    func visitPaths(_ body: ([Text]) -> Void) {
        var pending: [JSONValue] = []
        for condition in root["conditions"]?.elements ?? Self.nothing {
            if let expression = condition["body"] { pending.append(expression) }
        }
        while let expression = pending.popLast() {
            guard let node = Node(expression) else { continue }
            if let path = node.path {
                body(path)
            } else if node.name == "has", let base = node["left"]?.path {
                // What is tested for is read.
                let names = node.operands["attr"]
                body(
                    base
                        + (names?.string.map { [$0] } ?? names?.elements.compactMap(\.string) ?? [])
                )
            } else {
                pending += Self.children(of: node)
            }
        }
    }

    private static let nothing: JSONElements = {
        guard let document = try? JSONDocument(parsing: "[]") else {
            preconditionFailure("an empty array is valid JSON")
        }
        return document.root.elements
    }()

    /// An expression: its operator and its operands.
    struct Node {
        let name: Text
        let operands: JSONValue

        init?(_ expression: JSONValue) {
            guard expression.kind == .object,
                let (key, value) = expression.members.first(where: { _ in true })
            else { return nil }
            name = key.text
            operands = value
        }

        subscript(_ operand: StaticString) -> Node? { operands[operand].flatMap { Node($0) } }
    }

    private static func visit(_ expression: JSONValue, _ body: (Node) -> Void) {
        guard let node = Node(expression), node.name != "Value" else { return }
        body(node)
        for child in children(of: node) { visit(child, body) }
    }

    private static func children(of node: Node) -> [JSONValue] {
        let value = node.operands
        switch value.kind {
        case .object where node.name == "Value": return []
        case .object where node.name == "Record": return value.members.map(\.value)
        case .object:
            return value.members.filter { key, _ in
                !key.equals("attr" as StaticString) && !key.equals("pattern" as StaticString)
                    && !key.equals("entity_type" as StaticString)
            }.map(\.value)
        case .array: return value.elements.map(\.self)
        default: return []
        }
    }
}

extension PolicyTree.Node {
    /// `context.facts.approvals.sre` as its names; `nil` for anything but a variable and attributes.
    var path: [Text]? {
        switch name.string {
        case "Var": operands.string.map { [$0] }
        case ".":
            if let attribute = operands["attr"]?.string, let base = self["left"]?.path {
                base + [attribute]
            } else {
                nil
            }
        default: nil
        }
    }

    /// The integer of a literal.
    var long: Int64? { name == "Value" ? operands.int64 : nil }

    /// The entity of a literal.
    var entity: EntityUID? {
        guard name == "Value", operands.kind == .object else { return nil }
        return try? EntityUID(cedarJSON: operands)
    }
}
