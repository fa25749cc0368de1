public import Cedar
public import GatewayModel
public import JSON

/// Writes the schema that the policies of a namespace are validated against: the fixed part of the model, the declared
/// facts, and one action for each tool with the types of its arguments (policy.md §3.2, §3.3).
///
/// Pure; the same input gives the same text, byte for byte, whatever the order of servers and tools.
public struct SchemaGenerator: Sendable {
    /// A tool as the schema describes it.
    public struct Tool: Sendable {
        /// The tool.
        public var name: ToolName
        /// What it can do, as it was reviewed; never what the server claims.
        public var effect: ToolEffect
        /// Its arguments.
        public var input: ToolInputSchema

        /// A tool.
        public init(name: ToolName, effect: ToolEffect, input: ToolInputSchema) {
            self.name = name
            self.effect = effect
            self.input = input
        }

        /// A tool with the `inputSchema` that its server states; nothing for one that states none.
        public init(name: ToolName, effect: ToolEffect, inputSchema: JSONValue?) {
            self.init(name: name, effect: effect, input: ToolInputSchema(inputSchema))
        }
    }

    /// A server with its tools.
    public struct Server: Sendable {
        /// Its name.
        public var name: ServerName
        /// What it is in: environments, server groups.
        public var memberships: [EntityUID]
        /// The tools that are accepted; none if it has not been asked yet.
        public var tools: [Tool]

        /// A server.
        public init(name: ServerName, memberships: [EntityUID] = [], tools: [Tool]) {
            self.name = name
            self.memberships = memberships
            self.tools = tools
        }
    }

    /// What was generated.
    public struct Result: Hashable, Sendable {
        /// The schema in Cedar's own syntax.
        public var schema: Text
        /// What policies cannot see, by tool, and which type names had to be changed; sorted.
        public var report: [Note]
    }

    /// Something that a reader of the schema would not expect.
    public struct Note: Hashable, Sendable {
        /// `server/tool`.
        public var action: Text
        /// What it is.
        public var kind: Kind

        /// What a note says.
        public enum Kind: Hashable, Sendable {
            /// A part of the arguments is not in the schema; calls that use it are not faithful.
            case omitted(ToolInputSchema.Omission)
            /// Another tool's name gives the same type name, so this one's got a digest.
            case renamed(typeName: Text)
        }
    }

    /// The facts that policies may read.
    public var facts: FactDeclarations
    /// The environments there are, besides those that a server is in.
    public var environments: [Text]

    /// A generator for the facts of a release.
    public init(
        facts: FactDeclarations,
        environments: [Text] = ["dev", "staging", "prod"]
    ) {
        self.facts = facts
        self.environments = environments
    }

    /// Writes the schema.
    public func generate(_ servers: [Server]) -> Result {
        var tools: [(action: Text, tool: Tool)] = []
        for server in servers {
            for tool in server.tools {
                tools.append((MCPEntities.action(server.name, tool.name).id, tool))
            }
        }
        tools.sort { $0.action < $1.action }
        var uses: [Text: Int] = [:]
        for (action, _) in tools { uses[Self.typeName(action), default: 0] += 1 }
        var report: [Note] = []
        var types = ""
        var actions = ""
        for (action, tool) in tools {
            var name = Self.typeName(action)
            if uses[name] ?? 0 > 1 || Self.fixedTypeNames.contains(name) {
                name = Text("\(name)_\(ShortDigest.hex(action))")
                report.append(Note(action: action, kind: .renamed(typeName: name)))
            }
            report += tool.input.omissions.map { Note(action: action, kind: .omitted($0)) }
            types += "  type \(name) = \(Self.text(tool.input.fields, indent: 2));\n"
            actions += """
                  action \(CedarText.quoted(action)) in ["tools/call", \(CedarText.quoted(Text(tool.effect.rawValue)))]
                    appliesTo { principal: [User, ServiceAccount], resource: [Tool],
                      context: { input: \(name), system: System, facts: Facts } };

                """
        }
        return Result(
            schema: Text("namespace MCP {\n" + fixedPart(servers) + types + actions + "}\n"),
            report: report
        )
    }

    private static let fixedTypeNames: Set<Text> = ["System", "Facts", "DataContext"]

    /// `k8s/delete_pod` → `k8s_delete_pod`.
    private static func typeName(_ action: Text) -> Text {
        var bytes = action.utf8.map { byte in
            isLetterOrDigit(byte) ? byte : UInt8(ascii: "_")
        }
        if let first = bytes.first, (0x30...0x39).contains(first) {
            bytes.insert(UInt8(ascii: "_"), at: 0)
        }
        return Text(String(decoding: bytes, as: UTF8.self))
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte)
            || (0x61...0x7A).contains(byte)
    }

    /// What servers may be in: what the model says, and what administrators have put them in.
    ///
    /// A membership of another namespace than `MCP` is outside of the model, and no policy that validates asks for it; nor
    /// for one that has the name of a built-in type, which would mean that entity everywhere else.
    private func memberships(
        of servers: [Server]
    ) -> (environments: [Text], parents: [Text], declared: [Text]) {
        var environments = environments
        var parents: [Text] = ["ServerGroup", "Environment", "Tenant"]
        var declared: [Text] = []
        for membership in servers.flatMap(\.memberships).sorted() {
            guard membership.type.utf8.starts(with: "MCP::".utf8),
                let type = Text(validating: Array(membership.type.utf8.dropFirst(5))),
                type.isCedarName, type != "Action", !Self.builtInTypeNames.contains(type)
            else { continue }
            if type == "Environment", !environments.contains(membership.id) {
                environments.append(membership.id)
            }
            if !parents.contains(type) { parents.append(type) }
            if !Self.fixedEntityNames.contains(type), !declared.contains(type) {
                declared.append(type)
            }
        }
        return (environments, parents, declared)
    }

    private static let builtInTypeNames: Set<Text> = [
        "Bool", "Boolean", "Long", "String", "Set", "Record", "Entity", "Extension", "datetime",
        "decimal", "duration", "ipaddr",
    ]

    private static let fixedEntityNames: Set<Text> = [
        "Tenant", "Group", "User", "ServiceAccount", "ClientGroup", "Client", "Environment",
        "ServerGroup", "Server", "ToolGroup", "Tool", "Resource", "Prompt", "DataClass",
    ]

    private func fixedPart(_ servers: [Server]) -> String {
        let (environments, parents, declared) = memberships(of: servers)
        return """
              entity Tenant;
              entity Group in [Group, Tenant];
              entity User in [Group, Tenant] = {
                employment: String, status: String, contractEnd?: datetime, mfaAt?: datetime, manager?: User
              } tags String;
              entity ServiceAccount in [Group, Tenant] = { owner: Group, status: String } tags String;
              entity ClientGroup;
              entity Client in [ClientGroup] = { name: String, version?: String, attested: Bool };

              entity Environment enum [\(environments.map(CedarText.quoted).joined(separator: ", "))];
              entity ServerGroup in [ServerGroup];
              entity Server in [\(parents.map(\.string).joined(separator: ", "))] = { owner: Group, pinned: Bool };
            \(declared.map { "  entity \($0);\n" }.joined())\
              entity ToolGroup in [ToolGroup];
              entity Tool in [Server, ToolGroup] = { risk: Long };
              entity Resource in [Server] = { uri: String, mimeType?: String };
              entity Prompt in [Server];
              entity DataClass in [DataClass];

              type System = { now: datetime, localHour: Long, weekday: Long, source: ipaddr };
              type Facts = {
                client: Client, sessionAge: duration, stepUp: Bool,
                inputFaithful: Bool, definitionPinned: Bool, found: Set<DataClass>,
                approvals: \(Self.record(facts.approverGroups, "Long")),
                rate: \(Self.record(facts.counters.map(\.name), "Long")),
                history: \(Self.record(facts.monitors.map(\.name), "Bool"))
              };

              action "any";
              action "read", "write" in ["any"];
              action "destructive" in ["write"];
              action "cluster-admin" in ["destructive"];
              action "tools/call" in ["any"];
              action "initialize", "ping", "tools/list", "resources/list", "prompts/list" in ["read"]
                appliesTo { principal: [User, ServiceAccount], resource: [Server], context: { system: System, facts: Facts } };
              action "resources/read" in ["read"]
                appliesTo { principal: [User, ServiceAccount], resource: [Resource], context: { system: System, facts: Facts } };
              action "prompts/get" in ["read"]
                appliesTo { principal: [User, ServiceAccount], resource: [Prompt], context: { system: System, facts: Facts } };
              action "sampling/createMessage" in ["any"]
                appliesTo { principal: [User, ServiceAccount], resource: [Server], context: { system: System, facts: Facts } };

              type DataContext = { system: System, facts: Facts, direction: String, server: Server };
              action "data/transit", "data/reveal"
                appliesTo { principal: [User, ServiceAccount], resource: [DataClass], context: DataContext };


            """
    }

    private static func record(_ names: [Text], _ type: String) -> String {
        names.isEmpty
            ? "{}"
            : "{ " + names.sorted().map { "\(CedarText.name($0)): \(type)" }.joined(separator: ", ")
                + " }"
    }

    private static func text(_ fields: ToolInputSchema.Fields, indent: Int) -> String {
        guard !fields.attributes.isEmpty else { return "{}" }
        let inset = String(repeating: " ", count: indent + 2)
        var out = "{\n"
        let names = fields.attributes.keys.sorted()
        for (index, name) in names.enumerated() {
            guard let field = fields.attributes[name] else { continue }
            if case .choice(let values) = field.type {
                // Kept for the lint, and for whoever reads the schema.
                let list = values.map(CedarText.quoted).joined(separator: ", ")
                out += inset + "@choices(\(CedarText.quoted(Text(list))))\n"
            }
            let mark = field.isRequired ? "" : "?"
            out += inset + CedarText.name(name) + mark + ": " + text(field.type, indent: indent + 2)
            out += index == names.count - 1 ? "\n" : ",\n"
        }
        return out + String(repeating: " ", count: indent) + "}"
    }

    private static func text(_ type: ToolInputSchema.InputType, indent: Int) -> String {
        switch type {
        case .bool: "Bool"
        case .long: "Long"
        case .string, .choice: "String"
        case .decimal: "decimal"
        case .datetime: "datetime"
        case .duration: "duration"
        case .ipaddr: "ipaddr"
        case .set(let element): "Set<" + text(element, indent: indent) + ">"
        case .record(let fields), .union(let fields), .tuple(let fields):
            text(fields, indent: indent)
        }
    }
}

/// Pieces of Cedar text.
enum CedarText {
    /// A string literal.
    static func quoted(_ text: Text) -> String {
        var out = "\""
        for scalar in text.string.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case "\0": out += "\\0"
            case _
            where scalar.value < 0x20 || scalar.value == 0x7F
                || scalar.properties.generalCategory == .format:
                out += "\\u{\(String(scalar.value, radix: 16))}"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }

    /// An attribute's name, in quotes where it is no identifier.
    static func name(_ text: Text) -> String {
        text.isCedarName ? text.string : quoted(text)
    }
}

/// Eight hexadecimal digits that tell apart names which look alike (FNV-1a).
///
/// No protection against somebody who looks for a collision: two types of one name are an error of the schema, and the
/// schema before stays in force.
enum ShortDigest {
    static func hex(_ text: Text) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        let digits = String(hash, radix: 16)
        let padded = String(repeating: "0", count: 16 - digits.count) + digits
        return String(padded.prefix(8))
    }
}
