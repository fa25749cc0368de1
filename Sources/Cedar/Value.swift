public import JSON

/// The name of an entity: a type path such as `MCP::User`, and an id within that type.
public struct EntityUID: Hashable, Sendable {
    /// The type, with `::` between its parts.
    public let type: Text
    /// The id; any text, compared byte for byte.
    public let id: Text

    /// Names an entity.
    public init(type: Text, id: Text) {
        self.type = type
        self.id = id
    }
}

/// A value to build contexts and entity attributes from.
///
/// This is the form for construction. Before anything is decided it is laid out flat (``Request``,
/// ``EntitySnapshot``), and evaluation never touches it.
public enum Value: Sendable {
    /// A truth value.
    case bool(Bool)
    /// A 64-bit integer.
    case long(Int64)
    /// A string, compared byte for byte.
    case string(Text)
    /// A reference to an entity, which need not exist.
    case entity(EntityUID)
    /// A set; order and repetition do not count.
    case set([Value])
    /// A record.
    case record([Text: Value])
    /// A decimal number.
    case decimal(CedarDecimal)
    /// An address or a range of addresses.
    case ip(IPAddress)
    /// An instant.
    case datetime(CedarDatetime)
    /// A span of time.
    case duration(CedarDuration)
}

/// One entity: its name, its data, and what it is directly in.
public struct Entity: Sendable {
    /// The name.
    public var uid: EntityUID
    /// The attributes.
    public var attributes: [Text: Value]
    /// The direct parents.
    ///
    /// They need not exist as entities.
    public var parents: [EntityUID]
    /// The tags.
    public var tags: [Text: Value]

    /// Describes an entity.
    public init(
        uid: EntityUID,
        attributes: [Text: Value] = [:],
        parents: [EntityUID] = [],
        tags: [Text: Value] = [:]
    ) {
        self.uid = uid
        self.attributes = attributes
        self.parents = parents
        self.tags = tags
    }
}
