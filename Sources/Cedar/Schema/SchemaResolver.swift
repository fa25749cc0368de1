public import JSON

/// Looks up every name of a ``SchemaSyntax`` and reports all that is wrong with its meaning.
struct SchemaResolver {
    private let syntax: SchemaSyntax
    private let names: SchemaNames
    private(set) var findings = SchemaFindings()

    private typealias Place = SchemaNames.Place

    /// A type without names, and how large it is.
    private struct Resolved {
        var type: SchemaType
        var depth = 1
        var parts = 1
    }

    private enum State {
        case open
        case closed(Resolved?)
    }

    private var states: [Place: State] = [:]
    /// How many more names may be compared in search of what was meant.
    ///
    /// A schema of thousands of types with a thousand mistakes would cost minutes otherwise; the
    /// mistakes are still listed.
    private var comparisonsLeft = 200_000
    /// How many common types, sets and records are being looked into.
    private var nesting = 0

    init(_ syntax: SchemaSyntax) {
        self.syntax = syntax
        names = SchemaNames(syntax)
    }

    mutating func run() -> Schema {
        for name in names.repeated {
            findings.report(.duplicateDeclaration, name.span, name: name.text)
        }
        for namespace in syntax.namespaces {
            for type in namespace.entityTypes where type.name.text == "Action" {
                findings.report(.reservedName, type.name.span, name: type.name.text)
            }
        }
        checkShadowing()
        for (number, namespace) in syntax.namespaces.enumerated() {
            for index in namespace.commonTypes.indices {
                _ = commonType(Place(namespace: number, index: index))
            }
        }
        var schema = Schema(entityTypes: [:], actions: [:])
        for (number, namespace) in syntax.namespaces.enumerated() {
            for (index, type) in namespace.entityTypes.enumerated() {
                let name = SchemaSyntax.qualified(type.name.text, in: namespace.name)
                guard names.entityTypes[name] == Place(namespace: number, index: index) else {
                    continue
                }
                schema.entityTypes[name] = entityType(type, in: namespace.name)
            }
            for (index, action) in namespace.actions.enumerated() {
                let uid = Self.uid(action.name.text, in: namespace.name)
                guard names.actions[uid] == Place(namespace: number, index: index) else { continue }
                schema.actions[uid] = self.action(action, in: namespace.name)
            }
        }
        if findings.isEmpty { close(&schema) }
        return schema
    }

    private static func uid(_ id: Text, in namespace: Text) -> EntityUID {
        EntityUID(type: SchemaSyntax.qualified("Action", in: namespace), id: id)
    }

    // MARK: Names

    /// A declaration in a namespace must not have the name of one without.
    ///
    /// Otherwise a reference would change its meaning when a namespace gains a declaration.
    private mutating func checkShadowing() {
        for namespace in syntax.namespaces where !namespace.name.isEmpty {
            let types = namespace.commonTypes.map(\.name) + namespace.entityTypes.map(\.name)
            for name in types
            where names.commonTypes[name.text] != nil || names.entityTypes[name.text] != nil {
                findings.report(.shadowedName, name.span, name: name.text)
            }
            for action in namespace.actions
            where names.actions[EntityUID(type: "Action", id: action.name.text)] != nil {
                findings.report(.shadowedName, action.name.span, name: action.name.text)
            }
        }
    }

    private mutating func unknownType(
        _ name: SchemaSyntax.Name,
        in namespace: Text,
        _ kinds: SchemaNames.Kinds
    ) {
        var suggestion: Text?
        if mayCompare(names.commonTypes.count + names.entityTypes.count) {
            let candidates = names.suggestions(in: namespace, kinds)
            suggestion = Suggestion.nearest(to: name.text, among: candidates)
        }
        findings.report(.unknownType, name.span, name: name.text, suggestion: suggestion)
    }

    private mutating func mayCompare(_ count: Int) -> Bool {
        comparisonsLeft -= count
        return comparisonsLeft >= 0
    }

    /// The whole names of entity types that principals, resources and parents may have.
    private mutating func entityNames(
        _ written: [SchemaSyntax.Name],
        in namespace: Text
    ) -> [Text] {
        var resolved: [Text] = []
        var seen: Set<Text> = []
        for name in written {
            // Actions are entities, but none that act, are acted upon or are grouped with others.
            guard case .entity(let type) = names.meaning(of: name.text, in: namespace, .entity),
                names.entityTypes[type] != nil
            else {
                unknownType(name, in: namespace, .entity)
                continue
            }
            if seen.insert(type).inserted { resolved.append(type) }
        }
        return resolved
    }

    // MARK: Types

    private mutating func commonType(_ place: Place) -> Resolved? {
        let namespace = syntax.namespaces[place.namespace]
        let declaration = namespace.commonTypes[place.index]
        switch states[place] {
        case .open:
            findings.report(
                .commonTypeCycle,
                declaration.name.span,
                name: declaration.name.text
            )
            return nil
        case .closed(let resolved): return resolved
        case nil: break
        }
        states[place] = .open
        var resolved = descend(declaration.type, in: namespace.name)
        resolved?.depth += 1
        if let found = resolved, !isWithinLimits(found, declaration.name) { resolved = nil }
        states[place] = .closed(resolved)
        return resolved
    }

    /// Looks into a type that is part of another, unless that is too deep for the stack as well.
    private mutating func descend(
        _ type: SchemaSyntax.TypeSyntax,
        in namespace: Text
    ) -> Resolved? {
        nesting += 1
        defer { nesting -= 1 }
        guard nesting <= SchemaLimits.depthMax else {
            findings.report(.tooDeep, type.span)
            return nil
        }
        return self.type(type, in: namespace)
    }

    private mutating func isWithinLimits(_ type: Resolved, _ name: SchemaSyntax.Name) -> Bool {
        if type.depth > SchemaLimits.depthMax {
            findings.report(.tooDeep, name.span, name: name.text)
        } else if type.parts > SchemaLimits.typePartsMax {
            findings.report(.typeTooLarge, name.span, name: name.text)
        } else {
            return true
        }
        return false
    }

    private mutating func type(
        _ type: SchemaSyntax.TypeSyntax,
        in namespace: Text
    ) -> Resolved? {
        switch type {
        case .bool: return Resolved(type: .bool)
        case .long: return Resolved(type: .long)
        case .string: return Resolved(type: .string)
        case .extensionType(let name):
            if let type = SchemaSyntax.BuiltIn.extensionType(name.text) {
                return Resolved(type: type)
            }
            let names = SchemaSyntax.BuiltIn.names.filter {
                SchemaSyntax.BuiltIn.extensionType($0) != nil
            }
            findings.report(
                .unknownExtension,
                name.span,
                name: name.text,
                suggestion: Suggestion.nearest(to: name.text, among: names)
            )
            return nil
        case .set(let element, _):
            guard let element = descend(element, in: namespace) else { return nil }
            return Resolved(
                type: .set(element.type),
                depth: element.depth + 1,
                parts: element.parts + 1
            )
        case .record(let attributes, _): return record(attributes, in: namespace)
        case .common(let name):
            return named(name, in: namespace, .common)
        case .entity(let name):
            return named(name, in: namespace, .entity)
        case .entityOrCommon(let name):
            return named(name, in: namespace, [.common, .entity])
        }
    }

    private mutating func record(
        _ attributes: [SchemaSyntax.TypeSyntax.Attribute],
        in namespace: Text
    ) -> Resolved? {
        var record = SchemaRecord()
        var resolved = Resolved(type: .record(record))
        var isComplete = true
        // What a repeated attribute overrides is not looked at, as in other engines.
        for attribute in SchemaSyntax.effective(attributes) {
            guard let type = descend(attribute.type, in: namespace) else {
                isComplete = false
                continue
            }
            resolved.depth = max(resolved.depth, type.depth + 1)
            resolved.parts = min(resolved.parts + type.parts, SchemaLimits.typePartsMax + 1)
            record.attributes[attribute.name.text] = SchemaRecord.Attribute(
                type: type.type,
                isRequired: attribute.isRequired
            )
        }
        resolved.type = .record(record)
        return isComplete ? resolved : nil
    }

    private mutating func named(
        _ name: SchemaSyntax.Name,
        in namespace: Text,
        _ kinds: SchemaNames.Kinds
    ) -> Resolved? {
        switch names.meaning(of: name.text, in: namespace, kinds) {
        case .common(let place): return commonType(place)
        case .entity(let type): return Resolved(type: .entity(type))
        case .builtIn(let type): return Resolved(type: type)
        case nil:
            unknownType(name, in: namespace, kinds)
            return nil
        }
    }

    /// The record that a shape or context must be.
    private mutating func recordType(
        _ syntax: SchemaSyntax.TypeSyntax?,
        in namespace: Text,
        of name: SchemaSyntax.Name
    ) -> SchemaRecord {
        guard let syntax, let resolved = type(syntax, in: namespace) else { return SchemaRecord() }
        guard case .record(let record) = resolved.type else {
            findings.report(.notARecord, syntax.span, name: name.text)
            return SchemaRecord()
        }
        _ = isWithinLimits(resolved, name)
        return record
    }

    // MARK: Entity types and actions

    private mutating func entityType(
        _ syntax: SchemaSyntax.EntityType,
        in namespace: Text
    ) -> Schema.EntityType {
        var type = Schema.EntityType()
        switch syntax.kind {
        case .enumerated(let ids):
            var seen: Set<Text> = []
            type.ids = ids.filter { seen.insert($0).inserted }
        case .standard(let memberOf, let shape, let tags):
            type.memberOf = Set(entityNames(memberOf, in: namespace))
            type.attributes = recordType(shape, in: namespace, of: syntax.name)
            if let tags, let resolved = self.type(tags, in: namespace) {
                _ = isWithinLimits(resolved, syntax.name)
                type.tags = resolved.type
            }
        }
        return type
    }

    private mutating func action(
        _ syntax: SchemaSyntax.Action,
        in namespace: Text
    ) -> Schema.Action {
        var action = Schema.Action()
        for parent in syntax.memberOf {
            let written = parent.type ?? "Action"
            let candidates = SchemaNames.candidates(for: written, in: namespace)
            let uids = candidates.map { EntityUID(type: $0, id: parent.id) }
            if let uid = uids.first(where: { names.actions[$0] != nil }) {
                action.memberOf.insert(uid)
            } else {
                var suggestion: Text?
                if mayCompare(names.actions.count) {
                    let ids = names.actions.keys.filter { candidates.contains($0.type) }.map(\.id)
                    suggestion = Suggestion.nearest(to: parent.id, among: ids)
                }
                findings.report(
                    .unknownAction,
                    parent.span,
                    name: parent.id,
                    suggestion: suggestion
                )
            }
        }
        guard let scope = syntax.scope else { return action }
        action.principalTypes = entityNames(scope.principals, in: namespace)
        action.resourceTypes = entityNames(scope.resources, in: namespace)
        action.context = recordType(scope.context, in: namespace, of: syntax.name)
        if action.principalTypes.isEmpty || action.resourceTypes.isEmpty {
            // There is no request it could be part of.
            action.principalTypes = []
            action.resourceTypes = []
            action.context = SchemaRecord()
        }
        return action
    }

    // MARK: Hierarchies

    private mutating func close(_ schema: inout Schema) {
        var pairs = 0
        for name in schema.entityTypes.keys {
            guard
                let ancestors = ancestors(
                    of: name,
                    &pairs,
                    { schema.entityTypes[$0]?.memberOf ?? [] }
                )
            else {
                let span = names.entityTypes[name].map { place in
                    syntax.namespaces[place.namespace].entityTypes[place.index].name.span
                }
                return findings.report(.tooManyAncestors, span ?? .none, name: name)
            }
            schema.entityTypes[name]?.ancestors = ancestors
        }
        pairs = 0
        var onCycles: [SchemaSyntax.Name] = []
        for uid in schema.actions.keys {
            guard let place = names.actions[uid] else { continue }
            let name = syntax.namespaces[place.namespace].actions[place.index].name
            guard
                let ancestors = ancestors(
                    of: uid,
                    &pairs,
                    { schema.actions[$0]?.memberOf ?? [] }
                )
            else { return findings.report(.tooManyAncestors, name.span, name: name.text) }
            if ancestors.contains(uid) { onCycles.append(name) }
            schema.actions[uid]?.ancestors = ancestors
        }
        for name in onCycles { findings.report(.actionCycle, name.span, name: name.text) }
    }

    /// What can be reached over parents, or nothing once there are too many pairs in all.
    private func ancestors<Node: Hashable>(
        of node: Node,
        _ pairs: inout Int,
        _ parents: (Node) -> Set<Node>
    ) -> Set<Node>? {
        var found: Set<Node> = []
        var open = Array(parents(node))
        while let next = open.popLast() {
            guard found.insert(next).inserted else { continue }
            pairs += 1
            guard pairs <= SchemaLimits.ancestorsMax else { return nil }
            open.append(contentsOf: parents(next))
        }
        return found
    }
}

/// Finds the name that was probably meant.
public enum Suggestion {
    /// The closest candidate, if it is close enough to be a slip: up to a third of the letters
    /// changed, added, left out or swapped.
    public static func nearest(to name: Text, among candidates: some Sequence<Text>) -> Text? {
        let word = Array(name.utf8.prefix(lengthMax + 1))
        guard word.count <= lengthMax else { return nil }
        let allowed = max(1, word.count / 3)
        var best: (distance: Int, text: Text)?
        for candidate in candidates {
            let other = Array(candidate.utf8.prefix(lengthMax + 1))
            guard other.count <= lengthMax, abs(other.count - word.count) <= allowed else {
                continue
            }
            let distance = distance(folded(word), folded(other))
            guard distance <= allowed else { continue }
            if let best, (best.distance, best.text) <= (distance, candidate) { continue }
            best = (distance, candidate)
        }
        return best?.text
    }

    private static let lengthMax = 64

    /// Capitals are the commonest slip and count as none.
    private static func folded(_ word: [UInt8]) -> [UInt8] {
        word.map { $0 &- UInt8(ascii: "A") < 26 ? $0 | 0x20 : $0 }
    }

    /// Insertions, deletions, substitutions and swaps of neighbours.
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...right.count)
        for row in 0..<left.count {
            var current = [row + 1]
            current.reserveCapacity(right.count + 1)
            for column in 0..<right.count {
                let isSame = left[row] == right[column]
                var cost = min(
                    last[column] + (isSame ? 0 : 1),
                    last[column + 1] + 1,
                    current[column] + 1
                )
                if row > 0, column > 0, left[row] == right[column - 1],
                    left[row - 1] == right[column]
                {
                    cost = min(cost, beforeLast[column - 1] + 1)
                }
                current.append(cost)
            }
            beforeLast = last
            last = current
        }
        return last[right.count]
    }
}

extension SchemaSyntax {
    /// Looks up all names.
    ///
    /// Throws everything that is wrong: names that are not declared or declared twice, cycles among
    /// common types or actions, shapes that are no records, limits of ``SchemaLimits``.
    public func resolved() throws(SchemaFailure) -> Schema {
        var resolver = SchemaResolver(self)
        let schema = resolver.run()
        guard resolver.findings.isEmpty else { throw resolver.findings.failure(in: source) }
        return schema
    }

    /// Reads a schema in Cedar syntax, without looking up names.
    ///
    /// A failure lists everything that is wrong with the form. The limits are ``SchemaLimits``.
    public init(
        parsing text: String,
        rules: SourceRules = .language
    ) throws(SchemaFailure) {
        var parser = SchemaParser(Array(text.utf8))
        self = parser.run()
        guard parser.findings.isEmpty else { throw parser.findings.failure(in: source) }
        try check(rules)
    }

    /// Reads a schema in JSON form, without looking up names.
    ///
    /// A failure lists everything that is wrong with the form, with RFC 6901 pointers.
    public init(
        json document: JSONDocument,
        rules: SourceRules = .language
    ) throws(SchemaFailure) {
        var decoder = SchemaDecoder()
        self = decoder.schema(document)
        guard decoder.findings.isEmpty else { throw decoder.findings.failure(in: source) }
        try check(rules)
    }
}

extension Schema {
    /// Reads a schema in Cedar syntax.
    ///
    /// A failure lists everything that is wrong: with the form if that is wrong, else with what
    /// the rules refuse, else with the names. The limits are ``SchemaLimits``.
    public init(
        parsing text: String,
        rules: SourceRules = .language
    ) throws(SchemaFailure) {
        self = try SchemaSyntax(parsing: text, rules: rules).resolved()
    }

    /// Reads a schema in JSON form; failures are as for text, with RFC 6901 pointers.
    public init(
        json document: JSONDocument,
        rules: SourceRules = .language
    ) throws(SchemaFailure) {
        self = try SchemaSyntax(json: document, rules: rules).resolved()
    }
}
