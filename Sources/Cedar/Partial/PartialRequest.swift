public import JSON

/// A value of which only a part may be known.
public indirect enum PartialValue: Sendable {
    /// The whole value.
    case known(Value)
    /// A record: exactly these attributes, each of them known or not.
    case record([Text: PartialValue])
    /// Nothing but the type that the schema declares.
    ///
    /// An optional attribute of which this is said may also be absent.
    case unknown
}

/// A principal or a resource of which perhaps only the type is known.
public struct PartialReference: Sendable {
    /// The entity type.
    public let type: Text
    /// The id, if it is known.
    public let id: Text?
    /// Whether it is certain that there is such an entity, so that its required attributes can be read.
    public let exists: Bool

    /// Some entity of a type.
    ///
    /// - Parameter exists: Whether it is certain that the entity has data. Default false.
    public init(someOf type: Text, exists: Bool = false) {
        self.type = type
        id = nil
        self.exists = exists
    }

    /// A known entity.
    public init(_ uid: EntityUID) {
        type = uid.type
        id = uid.id
        exists = false
    }
}

/// A request with parts left open: the kind of requests that a ``PartialEvaluator`` looks at.
public struct PartialRequest: Sendable {
    /// Who asks.
    public var principal: PartialReference
    /// What for; always known.
    public var action: EntityUID
    /// On what.
    public var resource: PartialReference
    /// The context.
    public var context: PartialValue

    /// Describes a kind of requests.
    ///
    /// - Parameter context: Default unknown.
    public init(
        principal: PartialReference,
        action: EntityUID,
        resource: PartialReference,
        context: PartialValue = .unknown
    ) {
        self.principal = principal
        self.action = action
        self.resource = resource
        self.context = context
    }
}

/// An entity of which parts may be unknown.
public struct PartialEntity: Sendable {
    /// The name.
    public var uid: EntityUID
    /// The attributes; nothing if none is known.
    public var attributes: [Text: PartialValue]?
    /// What it is directly in; nothing if that is unknown.
    public var parents: [EntityUID]?
    /// The tags; nothing if they are unknown.
    public var tags: [Text: PartialValue]?

    /// Describes an entity that exists and of which nothing else need be known.
    public init(
        uid: EntityUID,
        attributes: [Text: PartialValue]? = nil,
        parents: [EntityUID]? = nil,
        tags: [Text: PartialValue]? = nil
    ) {
        self.uid = uid
        self.attributes = attributes
        self.parents = parents
        self.tags = tags
    }

    /// Describes an entity of which everything is known.
    public init(_ entity: Entity) {
        uid = entity.uid
        attributes = entity.attributes.mapValues { .known($0) }
        parents = entity.parents
        tags = entity.tags.mapValues { .known($0) }
    }
}

/// What is known about entities.
public struct PartialEntities: Sendable {
    /// What holds for entities that are not listed.
    public enum Others: Sendable {
        /// Nothing is known; they may or may not exist.
        case unknown
        /// They have no data, as in a snapshot that is complete.
        case absent
    }

    let entities: [EntityUID: PartialEntity]
    /// Where everything else is looked up.
    let snapshot: EntitySnapshot?
    let others: Others
    /// Entity types of which whatever is named has data.
    let complete: Set<Text>

    /// Lists entities; of two with one uid the later counts.
    ///
    /// - Parameters:
    ///   - others: What holds for all other entities. Default unknown.
    ///   - complete: Entity types of which every entity that a request can name has data, so that required attributes
    ///     can be read. Default none.
    public init(
        _ entities: some Sequence<PartialEntity>,
        others: Others = .unknown,
        complete: Set<Text> = []
    ) {
        self.entities = Dictionary(entities.map { ($0.uid, $0) }) { $1 }
        snapshot = nil
        self.others = others
        self.complete = complete
    }

    /// Everything that is in a snapshot, and nothing else.
    public init(_ snapshot: EntitySnapshot) {
        entities = [:]
        self.snapshot = snapshot
        others = .absent
        complete = []
    }

    /// Everything there is, as in an ``EntitySnapshot``.
    public init(complete entities: some Sequence<Entity>) {
        self.init(entities.map { PartialEntity($0) }, others: .absent)
    }

    /// Knows nothing.
    public static let unknown = PartialEntities([])

    enum Knowledge<T> {
        case known(T)
        case unknown
        case absent
    }

    /// The entity, if it is listed.
    func find(_ uid: EntityUID) -> Knowledge<PartialEntity> {
        if let snapshot {
            return snapshot.entity(uid).map { .known(PartialEntity($0)) } ?? .absent
        }
        guard let entity = entities[uid] else { return others == .absent ? .absent : .unknown }
        return .known(entity)
    }

    /// Whether an entity is in another, or nothing if that is unknown.
    func isIn(_ uid: EntityUID, _ container: EntityUID) -> Bool? {
        if let snapshot {
            return uid == container || snapshot.entity(uid)?.parents.contains(container) ?? false
        }
        var isCertain = true
        var seen: Set = [uid]
        var pending = [uid]
        while let next = pending.popLast() {
            if next == container { return true }
            switch find(next) {
            case .absent: continue
            case .unknown: isCertain = false
            case .known(let entity):
                guard let parents = entity.parents else {
                    isCertain = false
                    continue
                }
                for parent in parents where seen.insert(parent).inserted { pending.append(parent) }
            }
        }
        return isCertain ? false : nil
    }
}
