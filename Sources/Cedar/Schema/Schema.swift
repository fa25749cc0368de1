public import JSON

/// A schema with every name resolved: which entities there can be, what they hold, and which action
/// applies to whom and what.
///
/// This is what validation, conformance and partial evaluation read. How it was written (either
/// syntax, common types, namespaces) is `SchemaSyntax`'s matter. Source: Cedar 4.5; policy.md §2.10.
public struct Schema: Hashable, Sendable {
    /// The declared entity types by their whole name, `MCP::User`; action types are not among them.
    public internal(set) var entityTypes: [Text: EntityType]
    /// The declared actions, groups of actions included.
    public internal(set) var actions: [EntityUID: Action]

    init(entityTypes: [Text: EntityType], actions: [EntityUID: Action]) {
        self.entityTypes = entityTypes
        self.actions = actions
    }

    /// One declared entity type.
    public struct EntityType: Hashable, Sendable {
        /// The types its entities may be directly in.
        public var memberOf: Set<Text> = []
        /// The types its entities may be in, over any number of steps; itself only on a cycle.
        public var ancestors: Set<Text> = []
        /// What its entities hold; closed.
        public var attributes = SchemaRecord()
        /// The type of every tag, or nothing where tags are not allowed.
        public var tags: SchemaType?
        /// The only ids there are, for an enumerated type.
        public var ids: [Text]?
    }

    /// One declared action.
    public struct Action: Hashable, Sendable {
        /// The actions it is directly in.
        public var memberOf: Set<EntityUID> = []
        /// The actions it is in, over any number of steps; never itself.
        public var ancestors: Set<EntityUID> = []
        /// The types a principal may have; empty for an action that applies to nothing.
        public var principalTypes: [Text] = []
        /// The types a resource may have.
        public var resourceTypes: [Text] = []
        /// What the context holds; closed.
        public var context = SchemaRecord()
    }
}

/// The type of a value, as a schema declares it.
public indirect enum SchemaType: Hashable, Sendable {
    case bool
    case long
    case string
    case set(SchemaType)
    case record(SchemaRecord)
    /// An entity of this type; an action if the last part of the name is `Action`.
    case entity(Text)
    case decimal
    case ipaddr
    case datetime
    case duration
}

/// The type of a record: exactly these attributes.
public struct SchemaRecord: Hashable, Sendable {
    /// One attribute.
    public struct Attribute: Hashable, Sendable {
        /// The type of its value.
        public var type: SchemaType
        /// Whether it is always there.
        public var isRequired: Bool
    }

    /// The attributes by name.
    public var attributes: [Text: Attribute] = [:]

    /// A record of these attributes; of none, if not given.
    public init(attributes: [Text: Attribute] = [:]) {
        self.attributes = attributes
    }
}
