import JSON

/// What is declared in a ``SchemaSyntax``, by whole name, and what a written name means.
///
/// A name is looked for in its namespace and then without one, each time first among common types,
/// then among entity types; a built-in type comes last. `__cedar::Long` is always the built-in one.
struct SchemaNames {
    /// Where a declaration is in the syntax.
    struct Place: Hashable {
        let namespace: Int
        let index: Int
    }

    /// Which kinds of declaration may stand in a place.
    struct Kinds: OptionSet {
        let rawValue: UInt8
        /// Common types, built-in ones among them.
        static let common = Kinds(rawValue: 1)
        /// Entity types, those of actions among them.
        static let entity = Kinds(rawValue: 2)
    }

    enum Meaning: Equatable {
        case common(Place)
        /// By whole name.
        case entity(Text)
        case builtIn(SchemaType)
    }

    private(set) var commonTypes: [Text: Place] = [:]
    private(set) var entityTypes: [Text: Place] = [:]
    private(set) var actions: [EntityUID: Place] = [:]
    /// `Action` and `N::Action` for each namespace with actions.
    private(set) var actionTypes: Set<Text> = []
    /// Declarations whose name was taken.
    private(set) var repeated: [SchemaSyntax.Name] = []

    init(_ syntax: SchemaSyntax) {
        for (number, namespace) in syntax.namespaces.enumerated() {
            for (index, type) in namespace.commonTypes.enumerated() {
                let name = SchemaSyntax.qualified(type.name.text, in: namespace.name)
                let place = Place(namespace: number, index: index)
                if commonTypes.updateValue(place, forKey: name) != nil {
                    repeated.append(type.name)
                }
            }
            for (index, type) in namespace.entityTypes.enumerated() {
                let name = SchemaSyntax.qualified(type.name.text, in: namespace.name)
                let place = Place(namespace: number, index: index)
                if entityTypes.updateValue(place, forKey: name) != nil {
                    repeated.append(type.name)
                }
            }
            let type = SchemaSyntax.qualified("Action", in: namespace.name)
            for (index, action) in namespace.actions.enumerated() {
                let uid = EntityUID(type: type, id: action.name.text)
                let place = Place(namespace: number, index: index)
                if actions.updateValue(place, forKey: uid) != nil { repeated.append(action.name) }
                actionTypes.insert(type)
            }
        }
    }

    /// What a name means in a namespace, or nothing.
    func meaning(of name: Text, in namespace: Text, _ kinds: Kinds) -> Meaning? {
        let allowsCommon = kinds.contains(.common)
        if name.utf8.starts(with: SchemaSyntax.BuiltIn.prefix.utf8) {
            let rest = Text(name.string.dropFirst(SchemaSyntax.BuiltIn.prefix.count))
            return allowsCommon ? SchemaSyntax.BuiltIn.type(rest).map { .builtIn($0) } : nil
        }
        for candidate in Self.candidates(for: name, in: namespace) {
            if allowsCommon, let place = commonTypes[candidate] { return .common(place) }
            if kinds.contains(.entity),
                entityTypes[candidate] != nil || actionTypes.contains(candidate)
            {
                return .entity(candidate)
            }
        }
        // An entity type without a namespace takes the name away, whether or not it may stand here.
        guard allowsCommon, entityTypes[name] == nil else { return nil }
        return SchemaSyntax.BuiltIn.type(name).map { .builtIn($0) }
    }

    /// The whole names that a written name may stand for, nearest first.
    static func candidates(for name: Text, in namespace: Text) -> [Text] {
        namespace.isEmpty ? [name] : [SchemaSyntax.qualified(name, in: namespace), name]
    }

    /// The declared names that could stand in a place, as they would be written there.
    func suggestions(in namespace: Text, _ kinds: Kinds) -> [Text] {
        var names: [Text] = []
        if kinds.contains(.common) { names += Array(commonTypes.keys) + SchemaSyntax.BuiltIn.names }
        if kinds.contains(.entity) { names += Array(entityTypes.keys) }
        guard !namespace.isEmpty else { return names }
        let own = namespace.string + "::"
        return names.map { name in
            name.utf8.starts(with: own.utf8) ? Text(name.string.dropFirst(own.count)) : name
        }
    }
}
