import JSON

// What may be read of entities and records: attributes and tags that are there for certain.

extension TypeChecker {
    /// Where an attribute may be found.
    private enum Lookup {
        case found(TypeID, isRequired: Bool)
        case missing
        /// Not declared, but the type may hold more than it declares.
        case unknown
    }

    private mutating func lookup(_ name: NameID, in type: TypeID) -> Lookup {
        switch table[type] {
        case .record(let fields, let isOpen):
            if let field = fields.first(where: { $0.name == name }) {
                return .found(field.type, isRequired: field.isRequired)
            }
            return isOpen ? .unknown : .missing
        case .entity(let types):
            var joined: (type: TypeID, isRequired: Bool)?
            for type in types {
                // An action has no attributes.
                guard let attributes = schema.entityTypes[type]?.attributes,
                    case .found(let found, let isRequired) = lookup(name, in: attributes)
                else { return types.count > 1 ? .unknown : .missing }
                guard let known = joined else {
                    joined = (found, isRequired)
                    continue
                }
                guard let both = table.join(known.type, found, strict: false) else {
                    return .unknown
                }
                joined = (both, known.isRequired && isRequired)
            }
            return joined.map { .found($0.type, isRequired: $0.isRequired) } ?? .missing
        default: return .missing
        }
    }

    mutating func attribute(
        _ holder: ExpressionID,
        _ name: Symbol,
        _ id: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        let left = expect(holder, .entityOrRecord, prior)
        guard let type = left.type else { return .failure() }
        switch lookup(names[name], in: type) {
        case .found(let found, let isRequired):
            if !isRequired, !prior.contains(capability(holder, attribute: name)) {
                reportUnsafe(name, of: type, id)
                return .failure(found)
            }
            return Answer(type: found, failed: left.failed)
        case .missing, .unknown:
            report(
                .attributeNotFound,
                id,
                "attribute `\(quoted(name))` does not exist in \(table.describe(type))",
                hint: suggestion(for: name, in: type)
            )
            return .failure()
        }
    }

    private mutating func reportUnsafe(_ name: Symbol, of type: TypeID, _ id: ExpressionID) {
        report(
            .unsafeOptionalAttribute,
            id,
            "attribute `\(quoted(name))` of \(table.describe(type)) is optional",
            hint: "test it first: `… has \(quoted(name)) && …`"
        )
    }

    /// `x has a.b.c` is `x has a && x.a has b && x.a.b has c`.
    mutating func has(
        _ holder: ExpressionID,
        _ path: ListRange,
        _ id: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        let left = expect(holder, .entityOrRecord, prior)
        guard var type = left.type else { return .failure(.bool) }
        var holder = classes.find(holder, syntax)
        var result = Answer(type: .yes, failed: left.failed)
        var optional: [(capability: Capability, name: Symbol, type: TypeID)] = []
        let path = syntax[path].map { Symbol(index: $0) }
        for (index, name) in path.enumerated() {
            var isEntity = false
            switch table[type] {
            case .entity: isEntity = true
            case .record: break
            default:
                reportUnexpected(id, type, "an entity or a record")
                // What the steps before have tested counts no more for those behind.
                if index + 1 < path.count {
                    for step in optional where !prior.contains(step.capability) {
                        reportUnsafe(step.name, of: step.type, id)
                    }
                }
                return .failure(.bool)
            }
            let capability = Capability(holder: holder, isTag: false, key: name.index)
            var step = Answer(type: .bool, capabilities: [capability])
            let found = lookup(names[name], in: type)
            switch found {
            case .missing: return conjunction(result, Answer(type: .no))
            case .unknown: break
            case .found(_, let isRequired):
                if !isRequired { optional.append((capability, name, type)) }
                // An entity that does not exist has no attributes, whatever its type requires.
                let isKnown = prior.contains(capability) || result.capabilities.contains(capability)
                if isKnown || (isRequired && !isEntity) { step.type = .yes }
            }
            result = conjunction(result, step)
            guard index + 1 < path.count else { break }
            guard case .found(let next, _) = found else {
                report(
                    .attributeNotFound,
                    id,
                    "attribute `\(quoted(name))` may not exist in \(table.describe(type))"
                )
                return .failure(.bool)
            }
            type = next
            holder = classes.attribute(holder, name)
        }
        return result
    }

    mutating func tag(
        _ operation: BinaryOperator,
        _ holder: ExpressionID,
        _ key: ExpressionID,
        _ id: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        let left = expect(holder, .entity, prior)
        let right = expect(key, .string, prior)
        let failed = left.failed || right.failed
        let capability = Capability(
            holder: classes.find(holder, syntax),
            isTag: true,
            key: classes.find(key, syntax).index
        )
        let types = entityTypes(left.type) ?? []
        let tags = types.map { schema.entityTypes[$0]?.tags }
        if operation == .hasTag {
            guard tags.contains(where: { $0 != nil }) || types.isEmpty else {
                return Answer(type: .no, failed: failed)
            }
            guard !failed else { return .failure(.bool) }
            let isKnown = prior.contains(capability)
            return Answer(type: isKnown ? .yes : .bool, capabilities: [capability])
        }
        guard let holderType = left.type, !types.isEmpty else { return .failure() }
        guard !tags.contains(where: { $0 == nil }) else {
            report(
                .tagsNotAllowed,
                id,
                "entities of type \(table.describe(holderType)) have no tags"
            )
            return .failure()
        }
        guard prior.contains(capability) else {
            report(
                .unsafeTag,
                id,
                "the tag may not exist on \(table.describe(holderType))",
                hint: "test it first with `hasTag` and the same tag"
            )
            return .failure()
        }
        guard let type = join(tags, at: id) else { return .failure() }
        return Answer(type: type, failed: failed)
    }

    private mutating func capability(_ holder: ExpressionID, attribute name: Symbol) -> Capability {
        Capability(holder: classes.find(holder, syntax), isTag: false, key: name.index)
    }

    private func suggestion(for name: Symbol, in type: TypeID) -> String? {
        var candidates: [NameID] = []
        switch table[type] {
        case .record(let fields, _): candidates = fields.map(\.name)
        case .entity(let types):
            for case let attributes? in types.map({ schema.entityTypes[$0]?.attributes }) {
                if case .record(let fields, _) = table[attributes] {
                    candidates += fields.map(\.name)
                }
            }
        default: break
        }
        let names = candidates.lazy.map { table.text($0) }
        return Suggestion.hint(for: syntax.symbols.text(name), among: names)
    }
}
