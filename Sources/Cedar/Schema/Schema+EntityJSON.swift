public import JSON

// Entities and contexts in Cedar's JSON form, read with a schema at hand: `"10.0.0.1"` is an address
// where the schema has one, `{"type", "id"}` a reference where it has one. Source: Cedar 4.5;
// policy.md §2.9.

extension Entity {
    /// Reads a list of entities as the schema says they are, and adds the actions it declares.
    ///
    /// Escapes (`__entity`, `__extn`) may be left out where the schema tells what is meant.
    /// Members without a meaning are passed over, as elsewhere in Cedar's JSON. A failure lists all
    /// violations, with RFC 6901 pointers.
    public static func list(
        cedarJSON json: JSONValue,
        schema: Schema,
        rules: SourceRules = .language
    ) throws(ConformanceFailure) -> [Entity] {
        var reader = GuidedReader(schema: schema)
        let entities = reader.entities(json)
        if rules == .publishing, reader.collector.violations.isEmpty {
            reader.checkNames(of: entities)
        }
        // What could not be read is not held against the schema a second time.
        var violations = reader.collector.violations
        if violations.isEmpty { violations = schema.violations(of: entities) }
        guard violations.isEmpty else { throw ConformanceFailure(violations: violations) }
        return entities.filter { !$0.uid.isAction } + schema.actionEntities
    }
}

extension Value {
    /// Reads the context of a request as the schema says it is for this action.
    ///
    /// Escapes may be left out where the schema tells what is meant. Only the JSON is judged here,
    /// with all violations; ``Schema/violations(principal:action:resource:context:)`` judges the
    /// request.
    public static func context(
        cedarJSON json: JSONValue,
        for action: EntityUID,
        schema: Schema
    ) throws(ConformanceFailure) -> [Text: Value] {
        var reader = GuidedReader(schema: schema)
        let context = reader.context(json, for: action)
        guard reader.collector.violations.isEmpty else {
            throw ConformanceFailure(violations: reader.collector.violations)
        }
        return context
    }
}

/// Reads JSON towards a type, and goes on after what cannot be read.
private struct GuidedReader {
    let schema: Schema
    var collector = ViolationCollector()

    init(schema: Schema) {
        self.schema = schema
    }

    mutating func entities(_ json: JSONValue) -> [Entity] {
        guard json.kind == .array else {
            collector.report(.invalidStructure)
            return []
        }
        var entities: [Entity] = []
        entities.reserveCapacity(json.count)
        for (index, element) in json.elements.enumerated() {
            if let entity = descend(Text(String(index)), { $0.entity(element) }) {
                entities.append(entity)
            }
        }
        return entities
    }

    mutating func context(_ json: JSONValue, for action: EntityUID) -> [Text: Value] {
        descend("context") { reader in
            guard let declared = reader.schema.actions[action] else {
                reader.collector.report(.undeclaredAction, found: action.id)
                return [:]
            }
            guard json.kind == .object else {
                reader.collector.report(.invalidStructure)
                return [:]
            }
            return reader.members(json, declared.context)
        }
    }

    private mutating func descend<Result>(
        _ step: Text,
        _ body: (inout GuidedReader) -> Result
    ) -> Result {
        collector.enter(step)
        defer { collector.leave() }
        return body(&self)
    }

    // MARK: Entities

    private mutating func entity(_ json: JSONValue) -> Entity? {
        guard let name = json["uid"], let attributes = json["attrs"],
            let parents = json["parents"], attributes.kind == .object, parents.kind == .array
        else {
            collector.report(.invalidStructure)
            return nil
        }
        guard let uid = descend("uid", { $0.uid(name) }) else { return nil }
        collector.entity = uid
        defer { collector.entity = nil }
        let type = schema.entityTypes[uid.type]
        // Of an undeclared type or an action nothing is known; the check says so.
        let record = type?.attributes
        var entity = Entity(uid: uid)
        entity.attributes = descend("attrs") { $0.members(attributes, record) }
        entity.parents = descend("parents") { reader in
            parents.elements.enumerated().compactMap { index, parent in
                reader.descend(Text(String(index))) { $0.uid(parent) }
            }
        }
        if let tags = json["tags"] {
            entity.tags = descend("tags") { reader in
                guard tags.kind == .object else {
                    reader.collector.report(.invalidStructure)
                    return [:]
                }
                var values: [Text: Value] = [:]
                for (key, value) in tags.members {
                    let name = key.text
                    values[name] = reader.descend(name) { $0.value(value, type?.tags) }
                }
                return values
            }
        }
        return entity
    }

    private mutating func uid(_ json: JSONValue) -> EntityUID? {
        do throws(ValueReadingError) {
            return try EntityUID(cedarJSON: json)
        } catch {
            collector.report(.invalidEntity)
            return nil
        }
    }

    /// Reports ids and tag keys that people would misread; values are data and may say anything.
    mutating func checkNames(of entities: [Entity]) {
        for (index, entity) in entities.enumerated() {
            descend(Text(String(index))) { reader in
                reader.collector.entity = entity.uid
                reader.descend("uid") { $0.checkName(entity.uid.id) }
                reader.descend("parents") { reader in
                    for (index, parent) in entity.parents.enumerated() {
                        reader.descend(Text(String(index))) { $0.checkName(parent.id) }
                    }
                }
                reader.descend("tags") { reader in
                    for key in entity.tags.keys.sorted() {
                        reader.descend(key) { $0.checkName(key) }
                    }
                }
                reader.collector.entity = nil
            }
        }
    }

    private mutating func checkName(_ name: Text) {
        if TextHazards.hasBidirectionalControl(name) {
            collector.report(.bidirectionalControl, found: name)
        }
        if TextHazards.mixesScripts(name) { collector.report(.mixedScripts, found: name) }
    }

    // MARK: Values

    /// The members of an object that should be this record, or any.
    private mutating func members(_ json: JSONValue, _ record: SchemaRecord?) -> [Text: Value] {
        var members: [Text: Value] = [:]
        members.reserveCapacity(json.count)
        for (key, value) in json.members {
            let name = key.text
            let type = record?.attributes[name]?.type
            members[name] = descend(name) { $0.value(value, type) }
        }
        return members
    }

    private mutating func value(_ json: JSONValue, _ type: SchemaType?) -> Value? {
        switch type {
        case .entity? where json.kind == .object && json["__extn"] == nil:
            return uid(json).map { .entity($0) }
        case .set(let element)? where json.kind == .array:
            return .set(
                json.elements.enumerated().compactMap { index, value in
                    descend(Text(String(index))) { $0.value(value, element) }
                }
            )
        case .record(let record)? where json.kind == .object && !json.isEscape:
            return .record(members(json, record))
        case .decimal?, .ipaddr?, .datetime?, .duration?:
            return extensionValue(json, type ?? .decimal)
        default: return plain(json)
        }
    }

    /// A value of which nothing is known: the escapes decide.
    private mutating func plain(_ json: JSONValue) -> Value? {
        do throws(ValueReadingError) {
            return try Value(cedarJSON: json)
        } catch {
            collector.report(
                ConformanceViolation.Code(rawValue: error.rawValue) ?? .invalidStructure
            )
            return nil
        }
    }

    /// A string, `{"fn", "arg"}`, or the same inside `__extn`.
    private mutating func extensionValue(_ json: JSONValue, _ type: SchemaType) -> Value? {
        let call = json["__extn"] ?? json
        switch call.kind {
        case .string:
            let text = call.jsonString?.utf8Bytes ?? []
            let value: Value? =
                switch type {
                case .decimal: CedarDecimal(text).map(Value.decimal)
                case .ipaddr: IPAddress(text).map(Value.ip)
                case .datetime: CedarDatetime(text).map(Value.datetime)
                default: CedarDuration(text).map(Value.duration)
                }
            if value == nil {
                collector.report(.invalidExtension, expected: Text("\(type)"))
            }
            return value
        case .object where json["__entity"] == nil:
            do throws(ValueReadingError) {
                return try Value(cedarExtensionJSON: call)
            } catch {
                collector.report(.invalidExtension, expected: Text("\(type)"))
                return nil
            }
        default: return plain(json)
        }
    }
}

extension JSONValue {
    /// Whether this stands for a reference or an extension value wherever it is.
    fileprivate var isEscape: Bool {
        self["__entity"] != nil || self["__extn"] != nil || self["__expr"] != nil
    }
}
