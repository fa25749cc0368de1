public import JSON

// Whether entities and requests are as the schema says. Strict validation proves that policies do
// not fail on data that is; so data that is not must not come near them. Source: Cedar 4.5;
// policy.md §2.12.

extension Schema {
    /// The actions as entities, with everything they are in.
    ///
    /// They belong into every ``EntitySnapshot``: what an action is in, only the schema says.
    public var actionEntities: [Entity] {
        actions.map { uid, action in Entity(uid: uid, parents: action.ancestors.sorted()) }
            .sorted { $0.uid < $1.uid }
    }

    /// Everything in which entities are not as the schema says; nothing if they conform.
    ///
    /// Paths lead into the JSON form of the list. Action entities need not be among them; those
    /// that are must be in exactly what the schema says, over any number of steps within the list.
    public func violations(of entities: [Entity]) -> [ConformanceViolation] {
        var collector = ViolationCollector()
        let actionParents = Dictionary(
            entities.lazy.filter(\.uid.isAction).map { ($0.uid, $0.parents) },
            uniquingKeysWith: { $0 + $1 }
        )
        for (index, entity) in entities.enumerated() {
            collector.at(index) { check(entity, actionParents, &$0) }
        }
        return collector.violations
    }

    /// Everything in which a request is not as the schema says; nothing if it conforms.
    public func violations(
        principal: EntityUID,
        action: EntityUID,
        resource: EntityUID,
        context: [Text: Value]
    ) -> [ConformanceViolation] {
        var collector = ViolationCollector()
        let declared = actions[action]
        if declared == nil {
            collector.at("action") { $0.report(.undeclaredAction, found: action.id) }
        }
        collector.at("principal") { collector in
            check(
                principal,
                among: declared?.principalTypes,
                .invalidPrincipalType,
                &collector
            )
        }
        collector.at("resource") { collector in
            check(resource, among: declared?.resourceTypes, .invalidResourceType, &collector)
        }
        if let declared, !declared.principalTypes.isEmpty {
            collector.at("context") { check(context, declared.context, &$0) }
        }
        return collector.violations
    }

    // MARK: Names

    private func check(
        _ uid: EntityUID,
        among types: [Text]?,
        _ code: ConformanceViolation.Code,
        _ collector: inout ViolationCollector
    ) {
        guard entityTypes[uid.type] != nil else {
            return collector.report(.undeclaredEntityType, found: uid.type)
        }
        if let types, !types.contains(uid.type) {
            let expected = types.isEmpty ? nil : types.map(\.string).joined(separator: " or ")
            return collector.report(code, expected: expected.map { Text($0) }, found: uid.type)
        }
        checkID(uid, &collector)
    }

    /// Whether the id may exist: enumerated types and actions list theirs.
    private func checkID(_ uid: EntityUID, _ collector: inout ViolationCollector) {
        if let ids = entityTypes[uid.type]?.ids, !ids.contains(uid.id) {
            let expected = ids.prefix(8).map(CedarText.quoted).joined(separator: ", ")
            collector.report(
                .undeclaredID,
                expected: Text(ids.count > 8 ? expected + ", …" : expected),
                found: uid.id
            )
        } else if uid.isAction, actions[uid] == nil {
            collector.report(.undeclaredAction, found: uid.id)
        }
    }

    // MARK: Entities

    private func check(
        _ entity: Entity,
        _ actionParents: [EntityUID: [EntityUID]],
        _ collector: inout ViolationCollector
    ) {
        collector.entity = entity.uid
        defer { collector.entity = nil }
        if entity.uid.isAction { return checkAction(entity, actionParents, &collector) }
        guard let type = entityTypes[entity.uid.type] else {
            return collector.at("uid") {
                $0.report(.undeclaredEntityType, found: entity.uid.type)
            }
        }
        collector.at("uid") { checkID(entity.uid, &$0) }
        collector.at("attrs") { check(entity.attributes, type.attributes, &$0) }
        collector.at("parents") { collector in
            for (index, parent) in entity.parents.enumerated() {
                collector.at(index) { collector in
                    if type.ancestors.contains(parent.type) {
                        checkID(parent, &collector)
                    } else {
                        let allowed = type.ancestors.sorted().map(\.string)
                        collector.report(
                            .invalidParent,
                            expected: Text(
                                allowed.isEmpty ? "none" : allowed.joined(separator: " or ")
                            ),
                            found: parent.type
                        )
                    }
                }
            }
        }
        collector.at("tags") { collector in
            for (key, value) in entity.tags.sorted(by: { $0.key < $1.key }) {
                collector.at(key) { collector in
                    if let tags = type.tags {
                        check(value, tags, &collector)
                    } else {
                        collector.report(.unexpectedTag)
                    }
                }
            }
        }
    }

    private func checkAction(
        _ entity: Entity,
        _ actionParents: [EntityUID: [EntityUID]],
        _ collector: inout ViolationCollector
    ) {
        guard let action = actions[entity.uid] else {
            return collector.at("uid") { $0.report(.undeclaredAction, found: entity.uid.id) }
        }
        collector.at("attrs") { check(entity.attributes, SchemaRecord(), &$0) }
        collector.at("tags") { collector in
            for key in entity.tags.keys.sorted() {
                collector.at(key) { $0.report(.unexpectedTag) }
            }
        }
        var found: Set<EntityUID> = []
        var open = entity.parents
        while let next = open.popLast() {
            guard found.insert(next).inserted else { continue }
            open.append(contentsOf: actionParents[next] ?? [])
        }
        if found != action.ancestors { collector.at("parents") { $0.report(.actionMismatch) } }
    }

    // MARK: Values

    private func check(
        _ record: [Text: Value],
        _ type: SchemaRecord,
        _ collector: inout ViolationCollector
    ) {
        for (name, attribute) in type.attributes {
            if let value = record[name] {
                collector.at(name) { check(value, attribute.type, &$0) }
            } else if attribute.isRequired {
                collector.at(name) {
                    $0.report(.missingAttribute, expected: Text("\(attribute.type)"))
                }
            }
        }
        guard record.keys.contains(where: { type.attributes[$0] == nil }) else { return }
        for name in record.keys.sorted() where type.attributes[name] == nil {
            collector.at(name) { $0.report(.unexpectedAttribute) }
        }
    }

    private func check(
        _ value: Value,
        _ type: SchemaType,
        _ collector: inout ViolationCollector
    ) {
        switch (value, type) {
        case (.bool, .bool), (.long, .long), (.string, .string), (.decimal, .decimal),
            (.ip, .ipaddr), (.datetime, .datetime), (.duration, .duration):
            break
        case (.entity(let uid), .entity(let expected)) where uid.type == expected:
            checkID(uid, &collector)
        case (.set(let elements), .set(let element)):
            for (index, value) in elements.enumerated() {
                collector.at(index) { check(value, element, &$0) }
            }
        case (.record(let members), .record(let record)): check(members, record, &collector)
        default:
            collector.report(.typeMismatch, expected: Text("\(type)"), found: value.typeName)
        }
    }
}

extension EntityUID: Comparable {
    /// Orders by type, then by id, byte by byte.
    public static func < (left: EntityUID, right: EntityUID) -> Bool {
        left.type == right.type ? left.id < right.id : left.type < right.type
    }
}
