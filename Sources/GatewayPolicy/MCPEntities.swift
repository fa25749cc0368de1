public import Cedar
public import GatewayModel
public import JSON

/// How the things of MCP are called in Cedar (reference model, namespace `MCP`).
///
/// - principals: `MCP::User`, `MCP::ServiceAccount`, in `MCP::Group`
/// - actions: `MCP::Action::"server/tool"`, in the tool's effect and in `tools/call`, both in `any`; and one for each
///   method that is not a tool call
/// - resources: `MCP::Tool::"server/tool"` in `MCP::Server::"server"`, which is in whatever an administrator said:
///   `MCP::Environment::"prod"`, `MCP::ServerGroup::"kubernetes"`
public enum MCPEntities {
    static func group(_ name: Text) -> EntityUID {
        EntityUID(type: "MCP::Group", id: name)
    }

    /// The principal of a subject.
    public static func principal(_ subject: Subject) -> EntityUID {
        switch subject.kind {
        case .user: EntityUID(type: "MCP::User", id: subject.id.text)
        case .workload: EntityUID(type: "MCP::ServiceAccount", id: subject.id.text)
        }
    }

    /// The first parts of names of methods: `tools/call` is no tool of a server.
    static let methods: Set<Text> = ["tools", "resources", "prompts", "sampling", "data"]

    /// Whether no server may have this name: the action of one of its tools could be a method's, or a group of actions.
    public static func isReserved(_ server: ServerName) -> Bool { methods.contains(server.text) }

    /// The action of calling a tool.
    public static func action(_ server: ServerName, _ tool: ToolName) -> EntityUID {
        EntityUID(type: "MCP::Action", id: qualified(server, tool))
    }

    /// The action of a method that calls no tool, or a group of actions.
    public static func action(_ name: Text) -> EntityUID {
        EntityUID(type: "MCP::Action", id: name)
    }

    static func tool(_ qualified: Text) -> EntityUID {
        EntityUID(type: "MCP::Tool", id: qualified)
    }

    /// The resource that a tool is.
    public static func tool(_ server: ServerName, _ tool: ToolName) -> EntityUID {
        EntityUID(type: "MCP::Tool", id: qualified(server, tool))
    }

    /// The resource that a server is.
    public static func server(_ name: ServerName) -> EntityUID {
        EntityUID(type: "MCP::Server", id: name.text)
    }

    /// A registered client.
    public static func client(_ name: Text) -> EntityUID {
        EntityUID(type: "MCP::Client", id: name)
    }

    /// What every client is that nobody has registered: not attested, and in no group.
    public static let unregisteredClient = EntityUID(type: "MCP::Client", id: "")

    /// A class of data, as a resource.
    public static func dataClass(_ name: Text) -> EntityUID {
        EntityUID(type: "MCP::DataClass", id: name)
    }

    /// `server/tool`.
    ///
    /// A server's name has no slash, so two pairs never share one name.
    static func qualified(_ server: ServerName, _ tool: ToolName) -> Text {
        Text(server.text.string + "/" + tool.text.string)
    }

    /// Reads `MCP::Environment::"prod"`: a type path and an id in double quotes without escapes.
    ///
    /// - Returns: `nil` for anything else; more is not needed for memberships, which an administrator writes.
    public static func uid(cedarText text: Text) -> EntityUID? {
        let bytes = Array(text.utf8)
        guard bytes.last == 0x22, let quote = bytes.firstIndex(of: 0x22), quote >= 3,
            quote < bytes.count - 1, bytes[quote - 1] == 0x3A, bytes[quote - 2] == 0x3A
        else {
            return nil
        }
        let type = bytes[..<(quote - 2)]
        let id = bytes[(quote + 1)..<(bytes.count - 1)]
        guard !id.contains(0x22), !id.contains(0x5C), id.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }),
            type.allSatisfy({ isIdentifierByte($0) || $0 == 0x3A }),
            let type = Text(validating: type),
            let id = Text(validating: id)
        else {
            return nil
        }
        return EntityUID(type: type, id: id)
    }

    private static func isIdentifierByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte)
            || (0x61...0x7A).contains(byte) || byte == 0x5F
    }

    /// What `employment` is where the directory does not say.
    static let employmentUnknown: Text = "unknown"

    /// A subject as the model types it: what the model names are attributes, all else are tags.
    ///
    /// A moment that cannot be read is the beginning of time: a contract that ended, an authentication long ago. A
    /// service account without an owner belongs to the group without a name.
    private static func entity(_ subject: Subject) -> Entity {
        var attributes: [Text: Value] = ["status": .string(Text(subject.status.rawValue))]
        var tags: [Text: Value] = [:]
        switch subject.kind {
        case .user: attributes["employment"] = .string(employmentUnknown)
        case .workload: attributes["owner"] = .entity(group(""))
        }
        for (name, value) in subject.attributes where name != "status" {
            switch (subject.kind, name) {
            case (.user, "employment"): attributes[name] = .string(value)
            case (.user, "contractEnd"), (.user, "mfaAt"):
                let moment = CedarDatetime(Array(value.utf8))
                attributes[name] = .datetime(moment ?? CedarDatetime(milliseconds: 0))
            case (.user, "manager"):
                attributes[name] = .entity(EntityUID(type: "MCP::User", id: value))
            case (.workload, "owner"): attributes[name] = .entity(group(value))
            default: tags[name] = .string(value)
            }
        }
        return Entity(
            uid: principal(subject),
            attributes: attributes,
            parents: subject.groups.map(group),
            tags: tags
        )
    }

    /// The entities that a caller lists, and of what every configuration has besides, what is not among them: the groups
    /// of actions, the data classes that a release declares, and the client that nobody registered.
    public static func completing(
        _ entities: [Entity],
        for facts: FactDeclarations
    ) -> [Entity] {
        let listed = Set(entities.map(\.uid))
        let base = all(subjects: [], servers: [], clients: [], dataClasses: facts.dataClasses)
        return entities + base.filter { !listed.contains($0.uid) }
    }

    /// The entities of one configuration: everybody and everything a decision can be about.
    ///
    /// They are as ``SchemaGenerator``'s schema of the same servers says, so that a policy which validates cannot fail
    /// on them.
    static func all(
        subjects: [Subject],
        servers: [PolicyServer],
        clients: [PolicyClient],
        dataClasses: [FactDeclarations.DataClassDeclaration]
    ) -> [Entity] {
        var entities: [Entity] = []
        for effect in ToolEffect.allCases {
            entities.append(
                Entity(uid: action(Text(effect.rawValue)), parents: [action(effect.parent)])
            )
        }
        entities.append(Entity(uid: action("tools/call"), parents: [action("any")]))
        for group in ["data/transit", "data/reveal"] as [Text] {
            entities.append(Entity(uid: action(group)))
        }
        for declared in dataClasses {
            entities.append(
                Entity(uid: dataClass(declared.name), parents: declared.parents.map(dataClass))
            )
        }
        entities.append(
            Entity(
                uid: unregisteredClient,
                attributes: ["name": .string(""), "attested": .bool(false)]
            )
        )
        for client in clients where !client.id.isEmpty {
            var attributes: [Text: Value] = [
                "name": .string(client.name), "attested": .bool(client.isAttested),
            ]
            if let version = client.version { attributes["version"] = .string(version) }
            entities.append(
                Entity(
                    uid: self.client(client.id),
                    attributes: attributes,
                    parents: client.groups.map { EntityUID(type: "MCP::ClientGroup", id: $0) }
                )
            )
        }
        for subject in subjects { entities.append(entity(subject)) }
        for server in servers {
            entities.append(
                Entity(
                    uid: MCPEntities.server(server.name),
                    attributes: [
                        "owner": .entity(group(server.owner)),
                        // Of every server only tools whose definition was accepted can be called.
                        "pinned": .bool(true),
                    ],
                    parents: server.memberships
                )
            )
            for (tool, effect) in server.tools {
                entities.append(
                    Entity(
                        uid: action(server.name, tool),
                        parents: [action("tools/call"), action(Text(effect.rawValue))]
                    )
                )
                entities.append(
                    Entity(
                        uid: self.tool(server.name, tool),
                        attributes: ["risk": .long(effect.risk)],
                        parents: [self.server(server.name)]
                    )
                )
            }
        }
        return entities
    }
}

extension ToolEffect {
    /// `risk` of a tool: 0 reads, 1 writes, 2 destroys, 3 can do anything.
    var risk: Int64 {
        switch self {
        case .read: 0
        case .write: 1
        case .destructive: 2
        case .clusterAdmin: 3
        }
    }

    /// The effect and every group that it is in, `any` left out.
    var withAllAbove: [Text] {
        switch self {
        case .read: ["read"]
        case .write: ["write"]
        case .destructive: ["destructive", "write"]
        case .clusterAdmin: ["cluster-admin", "destructive", "write"]
        }
    }

    /// The effect that contains this one; `any` at the top.
    fileprivate var parent: Text {
        switch self {
        case .read, .write: "any"
        case .destructive: "write"
        case .clusterAdmin: "destructive"
        }
    }
}

/// A server as policies see it.
public struct PolicyServer: Sendable {
    /// Its name.
    public var name: ServerName
    /// What it is in: environments, server groups.
    public var memberships: [EntityUID]
    /// The tools that may be called at all, with their effects.
    public var tools: [ToolName: ToolEffect]
    /// The group that answers for it; the group without a name if nobody does.
    public var owner: Text

    /// A server as policies see it.
    public init(
        name: ServerName,
        memberships: [EntityUID],
        tools: [ToolName: ToolEffect],
        owner: Text = ""
    ) {
        self.name = name
        self.memberships = memberships
        self.tools = tools
        self.owner = owner
    }
}

/// A registered client as policies see it.
public struct PolicyClient: Hashable, Sendable {
    /// The `client_id` that a token's issuer vouches for.
    public var id: Text
    /// What people call it.
    public var name: Text
    /// Which version was registered.
    public var version: Text?
    /// Whether somebody vouches for what runs there.
    public var isAttested: Bool
    /// The client groups that it is in.
    public var groups: [Text]

    /// A registered client.
    public init(
        id: Text,
        name: Text,
        version: Text? = nil,
        isAttested: Bool,
        groups: [Text] = []
    ) {
        self.id = id
        self.name = name
        self.version = version
        self.isAttested = isAttested
        self.groups = groups
    }
}
