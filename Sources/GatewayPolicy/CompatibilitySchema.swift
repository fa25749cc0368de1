import Cedar
public import JSON

/// Writes the schema that the published generator for MCP writes (`cedar-policy-mcp-schema-generator`), for those who bring
/// policies that were written against it.
///
/// A stub in Cedar's syntax says who calls what: it has one namespace, with an entity type marked `@mcp_principal`, one
/// marked `@mcp_resource`, and may mark common types as `@mcp_context("name")` and parent actions as `@mcp_action`. The
/// tools are added to it. Objects become entity types and enums enumerated ones, in namespaces after the place where they
/// stand. The default mapping is ``SchemaGenerator``'s.
public struct CompatibilitySchemaGenerator: Sendable {
    /// What the published generator can be told.
    public struct Options: Hashable, Sendable {
        /// `a_b_c` in one namespace instead of `a::b::c`.
        public var flattensNamespaces = false
        /// Numbers are decimals instead of an opaque entity type.
        public var encodesNumbersAsDecimals = false
        /// The context has the tool's `output` too.
        public var includesOutputs = false
        /// Closed objects are records instead of entity types.
        public var encodesObjectsAsRecords = false
        /// Equal enumerated types, and equal objects without anything declared in them, are declared once, where all
        /// their uses can see them.
        public var declaresEqualTypesOnce = false

        /// The defaults.
        public init() {}
    }

    /// Why there is no schema.
    public enum Failure: Error, Hashable, Sendable {
        /// The stub is no schema in Cedar's syntax.
        case stubUnreadable
        /// The stub has not exactly one namespace with a principal and a resource.
        case stubIncomplete
        /// The tools are no list of tools.
        case toolsUnreadable
        /// A tool or a name within one cannot be a name of Cedar.
        case nameUnusable(Text)
        /// Objects nest deeper than 64.
        case tooDeep
    }

    private let stub: Text
    private let options: Options
    private let namespace: Text
    private let principals: [Text]
    private let resources: [Text]
    private let parents: [Text]
    private let contexts: [(name: Text, type: Text)]
    /// The names that the stub declares in its namespace.
    private let taken: Set<Text>

    /// Reads a stub.
    public init(stub: Text, options: Options = Options()) throws(Failure) {
        self.stub = stub
        self.options = options
        guard let syntax = try? SchemaSyntax(parsing: stub.string) else { throw .stubUnreadable }
        var writer = JSONWriter()
        syntax.write(to: &writer)
        guard let root = try? JSONDocument(parsing: writer.bytes).root else {
            throw .stubUnreadable
        }
        let namespaces = Array(root.members)
        guard namespaces.count == 1, let only = namespaces.first, !only.key.text.isEmpty else {
            throw .stubIncomplete
        }
        namespace = only.key.text
        func marked(_ kind: StaticString, _ annotation: StaticString) -> [(Text, Text)] {
            only.value[kind].allMembers.compactMap { key, value in
                value["annotations"]?[annotation].map { (key.text, $0.string ?? "") }
            }
        }
        principals = marked("entityTypes", "mcp_principal").map(\.0)
        resources = marked("entityTypes", "mcp_resource").map(\.0)
        parents = marked("actions", "mcp_action").map(\.0)
        contexts = marked("commonTypes", "mcp_context").map { (name: $0.1, type: $0.0) }
        guard !principals.isEmpty, !resources.isEmpty else { throw .stubIncomplete }
        var taken: Set<Text> = []
        for kind in ["entityTypes", "commonTypes"] as [StaticString] {
            for (key, _) in only.value[kind].allMembers {
                taken.insert(key.text)
            }
        }
        self.taken = taken
    }

    /// Writes the schema of `tools`: one definition, a list of them, or the answer to `tools/list`.
    public func generate(_ tools: JSONValue) throws(Failure) -> Text {
        let list = tools["result"]?["tools"] ?? tools["tools"] ?? tools
        let definitions = list.kind == .array ? Array(list.elements) : [list]
        var builder = Builder(options: options, root: [namespace])
        var types: [(Text, CompatibilityType)] = []
        var actions = ""
        for definition in definitions {
            guard let name = definition["name"]?.string else { throw .toolsUnreadable }
            guard name.isCedarName else { throw .nameUnusable(name) }
            var context = ""
            for (member, title, mark) in [
                ("inputSchema", "Input", ""), ("outputSchema", "Output", "?"),
            ]
                as [(StaticString, String, String)]
            {
                if title == "Output", !options.includesOutputs || definition[member] == nil {
                    continue
                }
                let schema = definition[member]?["json"] ?? definition[member]
                let type = Text("\(name)\(title)")
                types.append(
                    (
                        type,
                        try builder.record(schema, at: [namespace, name, Text(title)], depth: 0)
                    )
                )
                context += "\(title == "Input" ? "input" : "output")\(mark): \(type), "
            }
            context += contexts.map { "\(CedarText.name($0.name)): \($0.type)" }
                .joined(separator: ", ")
            let into = parents.map(CedarText.quoted).joined(separator: ", ")
            actions += """
                  action \(CedarText.quoted(name))\(into.isEmpty ? "" : " in [\(into)]") appliesTo {
                    principal: [\(principals.map(\.string).joined(separator: ", "))],
                    resource: [\(resources.map(\.string).joined(separator: ", "))],
                    context: { \(context) }
                  };

                """
        }
        if options.declaresEqualTypesOnce {
            builder.deduplicate(taken: taken.union(types.map(\.0)))
        }
        var root = types.map { "  type \($0) = \(builder.text($1));\n" }.joined()
        for name in builder.opaqueNames.sorted() where !taken.contains(name) {
            root += "  entity \(name);\n"
        }
        var others = ""
        for (path, declarations) in builder.byNamespace() {
            let text = declarations.map { "  " + $0 + ";\n" }.joined()
            if path == [namespace] {
                root += text
            } else {
                others += "namespace \(path.map(\.string).joined(separator: "::")) {\n\(text)}\n"
            }
        }
        // The stub's own last brace closes its namespace; a schema may not open one twice.
        guard let end = stub.string.lastIndex(of: "}") else { throw .stubUnreadable }
        return Text(stub.string[..<end] + root + actions + "}\n" + others)
    }
}

/// A type as the published generator has it.
private indirect enum CompatibilityType: Hashable {
    case named(String)
    /// An opaque entity type of the root: `Number`, `Null`.
    case opaque(Text)
    case set(CompatibilityType)
    case record([Attribute])
    /// What is declared at a place.
    case declared([Text])

    struct Attribute: Hashable {
        var name: Text
        var type: CompatibilityType
        var isRequired: Bool
    }

    var isPrimitive: Bool {
        switch self {
        case .named: true
        case .set(let element): element.isPrimitive
        case .opaque, .record, .declared: false
        }
    }
}

/// Collects what is declared where.
private struct Builder {
    enum Declaration: Hashable {
        case choices([Text])
        case object([CompatibilityType.Attribute], tags: CompatibilityType?)
    }

    let options: CompatibilitySchemaGenerator.Options
    let root: [Text]
    private(set) var opaqueNames: Set<Text> = []
    private var declarations: [[Text]: Declaration] = [:]
    /// Where the schema at hand stands, what it defines by name, and which of that is being read.
    private var base: [Text] = []
    private var definitions: JSONValue?
    private var open: Set<[Text]> = []
    /// Where something was moved to.
    private var moved: [[Text]: [Text]] = [:]

    init(options: CompatibilitySchemaGenerator.Options, root: [Text]) {
        self.options = options
        self.root = root
    }

    mutating func record(
        _ schema: JSONValue?,
        at path: [Text],
        depth: Int
    ) throws(CompatibilitySchemaGenerator.Failure) -> CompatibilityType {
        base = path
        definitions = schema?["$defs"] ?? schema?["definitions"]
        return .record(try attributes(schema, at: path, depth: depth))
    }

    private mutating func attributes(
        _ schema: JSONValue?,
        at path: [Text],
        depth: Int
    ) throws(CompatibilitySchemaGenerator.Failure) -> [CompatibilityType.Attribute] {
        guard depth < 64 else { throw .tooDeep }
        let required = schema?["required"]?.elements.compactMap(\.string) ?? []
        var attributes: [CompatibilityType.Attribute] = []
        for (key, property) in (schema?["properties"]).allMembers {
            let name = key.text
            attributes.append(
                .init(
                    name: name,
                    type: try type(property, at: path + [name], depth: depth + 1),
                    isRequired: required.contains(name)
                )
            )
        }
        return attributes.sorted { $0.name < $1.name }
    }

    private mutating func type(
        _ schema: JSONValue,
        at path: [Text],
        depth: Int
    ) throws(CompatibilitySchemaGenerator.Failure) -> CompatibilityType {
        guard depth < 64 else { throw .tooDeep }
        if let reference = schema["$ref"]?.string {
            return try referenced(reference, depth: depth)
        }
        if let name = schema["type"]?.string {
            return try type(name, schema, at: path, depth: depth)
        }
        if let choices = schema["anyOf"] ?? schema["oneOf"], choices.kind == .array {
            return try union(choices.elements.map { ($0, nil) }, at: path, depth: depth)
        }
        if let names = schema["type"], names.kind == .array {
            return try union(
                names.elements.map { (schema, $0.string) },
                at: path,
                depth: depth
            )
        }
        return opaque("Unknown")
    }

    /// What `#/$defs/name` defines is declared once, beside the arguments.
    private mutating func referenced(
        _ reference: Text,
        depth: Int
    ) throws(CompatibilitySchemaGenerator.Failure) -> CompatibilityType {
        let parts = reference.string.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "#", parts[1] == "$defs" || parts[1] == "definitions",
            let definition = definitions?.member(named: Text(parts[2]))
        else { return opaque("Unknown") }
        let path = base + [Text(parts[2])]
        // A definition that leads back to itself is declared already, or about to be.
        if declarations[path] != nil || !open.insert(path).inserted { return .declared(path) }
        defer { open.remove(path) }
        return try type(definition, at: path, depth: depth + 1)
    }

    private mutating func union(
        _ choices: [(JSONValue, Text?)],
        at path: [Text],
        depth: Int
    ) throws(CompatibilitySchemaGenerator.Failure) -> CompatibilityType {
        var attributes: [CompatibilityType.Attribute] = []
        for (index, (schema, name)) in choices.enumerated() {
            let place = path + [Text("TypeChoice\(index)")]
            let its =
                if let name {
                    try type(name, schema, at: place, depth: depth + 1)
                } else {
                    try type(schema, at: place, depth: depth + 1)
                }
            attributes.append(
                .init(name: Text("typeChoice\(index)"), type: its, isRequired: false)
            )
        }
        return .record(attributes)
    }

    private mutating func type(
        _ name: Text?,
        _ schema: JSONValue,
        at path: [Text],
        depth: Int
    ) throws(CompatibilitySchemaGenerator.Failure) -> CompatibilityType {
        switch name?.string {
        case "boolean": return .named("Bool")
        case "integer": return .named("Long")
        case "number": return number("Number")
        case "float": return number("Float")
        case "null": return opaque("Null")
        case "string":
            if let choices = schema["enum"], choices.kind == .array {
                return try declare(.choices(choices.elements.compactMap(\.string)), at: path)
            }
            switch schema["format"]?.string?.string {
            case "date", "date-time": return .named("datetime")
            case "duration": return .named("duration")
            case "ipv4", "ipv6": return .named("ipaddr")
            case "decimal": return .named("decimal")
            default: return .named("String")
            }
        case "array": return try array(schema, at: path, depth: depth)
        case "object":
            let tags: CompatibilityType?
            if let additional = schema["additionalProperties"], additional.kind == .object {
                tags = try type(additional, at: path + ["Tag"], depth: depth + 1)
            } else {
                tags = nil
            }
            return try declare(
                .object(try attributes(schema, at: path, depth: depth), tags: tags),
                at: path
            )
        default: return opaque("Unknown")
        }
    }

    private mutating func number(_ name: Text) -> CompatibilityType {
        options.encodesNumbersAsDecimals ? .named("decimal") : opaque(name)
    }

    private mutating func opaque(_ name: Text) -> CompatibilityType {
        opaqueNames.insert(name)
        return .opaque(name)
    }

    private mutating func array(
        _ schema: JSONValue,
        at path: [Text],
        depth: Int
    ) throws(CompatibilitySchemaGenerator.Failure) -> CompatibilityType {
        let items = schema["items"]
        guard let prefix = schema["prefixItems"], prefix.kind == .array else {
            guard let items, items.kind == .object else { return .set(opaque("Unknown")) }
            return .set(try type(items, at: path, depth: depth + 1))
        }
        let before = opaqueNames
        var types: [CompatibilityType] = []
        for (index, item) in prefix.elements.enumerated() {
            types.append(try type(item, at: path + [Text("Proj\(index)")], depth: depth + 1))
        }
        if items?.boolean == false {
            return .record(
                types.enumerated().map {
                    .init(name: Text("proj\($0)"), type: $1, isRequired: true)
                }
            )
        }
        // An open list is a set of one type, if it has one.
        if let items, items.kind == .object {
            let rest = try type(items, at: path, depth: depth + 1)
            if types.allSatisfy({ $0 == rest }) { return .set(rest) }
        }
        opaqueNames = before
        return .set(opaque("Unknown"))
    }

    private mutating func declare(
        _ declaration: Declaration,
        at path: [Text]
    ) throws(CompatibilitySchemaGenerator.Failure) -> CompatibilityType {
        for name in path where !name.isCedarName && name != root[0] { throw .nameUnusable(name) }
        declarations[path] = declaration
        return .declared(path)
    }

    // MARK: Equal declarations

    /// Moves equal choices, and equal objects without anything declared in them, to the nearest place above all of them,
    /// unless the name is taken there.
    mutating func deduplicate(taken: Set<Text>) {
        struct Group: Hashable {
            var name: Text
            var declaration: Declaration
        }
        var groups: [Group: [[Text]]] = [:]
        for (path, declaration) in declarations {
            switch declaration {
            case .object(let attributes, let tags)
            where !attributes.allSatisfy(\.type.isPrimitive) || tags?.isPrimitive == false:
                continue
            default: break
            }
            let group = Group(name: path[path.count - 1], declaration: declaration)
            groups[group, default: []].append(path)
        }
        var targets: [[Text]: [Group]] = [:]
        for (group, paths) in groups where paths.count > 1 {
            var common = Array(paths[0].dropLast())
            for path in paths {
                while !path.dropLast().starts(with: common) { common.removeLast() }
            }
            targets[common + [group.name], default: []].append(group)
        }
        for (target, candidates) in targets {
            guard candidates.count == 1, let group = candidates.first else { continue }
            let isTaken =
                target.count == root.count + 1 && taken.contains(group.name)
                || opaqueNames.contains(group.name) && target.count == root.count + 1
            let paths = groups[group] ?? []
            let occupant = declarations[target]
            guard !isTaken, occupant == nil || paths.contains(target) else { continue }
            for path in paths {
                declarations[path] = nil
                moved[path] = target
            }
            declarations[target] = group.declaration
        }
    }

    // MARK: Text

    /// The declarations of each namespace, sorted.
    func byNamespace() -> [(path: [Text], declarations: [String])] {
        var result: [[Text]: [String]] = [:]
        for (path, declaration) in declarations {
            let place = Array(options.flattensNamespaces ? root : path.dropLast())
            let name = options.flattensNamespaces ? flat(path) : path[path.count - 1].string
            let text =
                switch declaration {
                case .choices(let values):
                    "entity \(name) enum [\(values.map(CedarText.quoted).joined(separator: ", "))]"
                case .object(let attributes, nil) where options.encodesObjectsAsRecords:
                    "type \(name) = \(self.text(.record(attributes)))"
                case .object(let attributes, let tags):
                    "entity \(name)"
                        + (attributes.isEmpty ? "" : " = \(self.text(.record(attributes)))")
                        + (tags.map { " tags \(self.text($0))" } ?? "")
                }
            result[place, default: []].append(text)
        }
        return result.map { ($0, $1.sorted()) }.sorted { left, right in
            left.path.lexicographicallyPrecedes(right.path)
        }
    }

    private func flat(_ path: [Text]) -> String {
        path.dropFirst(root.count).map(\.string).joined(separator: "_")
    }

    func text(_ type: CompatibilityType) -> String {
        switch type {
        case .named(let name): return name
        case .opaque(let name): return "\(root[0])::\(name)"
        case .set(let element): return "Set<\(text(element))>"
        case .declared(let path):
            let path = moved[path] ?? path
            return options.flattensNamespaces
                ? "\(root[0])::\(flat(path))" : path.map(\.string).joined(separator: "::")
        case .record(let attributes):
            let members = attributes.map {
                "\(CedarText.name($0.name))\($0.isRequired ? "" : "?"): \(text($0.type))"
            }
            return "{ \(members.joined(separator: ", ")) }"
        }
    }
}
