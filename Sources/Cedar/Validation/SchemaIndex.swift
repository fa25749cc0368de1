import JSON

/// A schema in the numbers of a ``TypeTable``: what the type checker looks things up in.
struct SchemaIndex: Sendable {
    struct EntityDeclaration: Hashable {
        /// A record.
        let attributes: TypeID
        let tags: TypeID?
        let ancestors: Set<NameID>
        /// The only ids there are, for an enumerated type.
        let ids: Set<NameID>?
    }

    struct ActionDeclaration: Hashable {
        let name: EntityKey
        let ancestors: Set<EntityKey>
        let principalTypes: [NameID]
        let resourceTypes: [NameID]
        let context: TypeID

        var applies: Bool { !principalTypes.isEmpty && !resourceTypes.isEmpty }
    }

    /// The name of an entity in the numbers of the table.
    struct EntityKey: Hashable {
        let type: NameID
        let id: NameID
    }

    let entityTypes: [NameID: EntityDeclaration]
    /// In the order of their names, so that reports do not depend on hashing.
    let actions: [ActionDeclaration]
    let actionUIDs: [EntityUID]
    let actionIndices: [EntityKey: Int]
    let actionTypes: Set<NameID>

    init(_ schema: Schema, _ table: inout TypeTable) {
        var entityTypes: [NameID: EntityDeclaration] = [:]
        for (name, type) in schema.entityTypes {
            entityTypes[table.name(name)] = EntityDeclaration(
                attributes: table.add(type.attributes),
                tags: type.tags.map { table.add($0) },
                ancestors: Set(type.ancestors.map { table.name($0) }),
                ids: type.ids.map { Set($0.map { table.name($0) }) }
            )
        }
        self.entityTypes = entityTypes
        let sorted = schema.actions.sorted { ($0.key.type, $0.key.id) < ($1.key.type, $1.key.id) }
        actionUIDs = sorted.map(\.key)
        var actions: [ActionDeclaration] = []
        for (uid, action) in sorted {
            actions.append(
                ActionDeclaration(
                    name: Self.key(uid, &table),
                    ancestors: Set(action.ancestors.map { Self.key($0, &table) }),
                    principalTypes: action.principalTypes.map { table.name($0) },
                    resourceTypes: action.resourceTypes.map { table.name($0) },
                    context: table.add(action.context)
                )
            )
        }
        self.actions = actions
        actionIndices = Dictionary(
            uniqueKeysWithValues: actions.enumerated().map { ($1.name, $0) }
        )
        actionTypes = Set(actions.map(\.name.type))
    }

    static func key(_ uid: EntityUID, _ table: inout TypeTable) -> EntityKey {
        EntityKey(type: table.name(uid.type), id: table.name(uid.id))
    }

    /// Whether an entity of one type can be in, or be, one of the other.
    func canBeIn(_ type: NameID, _ container: NameID) -> Bool {
        type == container || entityTypes[type]?.ancestors.contains(container) ?? false
    }

    /// Whether the first action is, or is in, the second.
    func isIn(_ action: EntityKey, _ group: EntityKey) -> Bool {
        guard action != group else { return true }
        guard let index = actionIndices[action] else { return false }
        return actions[index].ancestors.contains(group)
    }
}
