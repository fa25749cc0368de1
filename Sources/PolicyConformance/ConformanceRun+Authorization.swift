import Cedar
import JSON

// Records with policies, entities and requests: the corpus, the handwritten tests, the validator's cases and the
// examples with template links.

extension ConformanceRun {
    mutating func authorization(_ record: JSONValue, _ name: String) {
        do {
            let policies = try policies(of: record)
            roundTrip(policies, name)
            try decide(record, policies, name)
        } catch {
            report.check(.decision, false, in: name, "\(error)")
        }
    }

    private mutating func decide(
        _ record: JSONValue,
        _ policies: PolicySet,
        _ name: String
    ) throws {
        // Some values are written as plain objects, which only the schema tells apart.
        let isGuided = record["schemaForEntities"]?.boolean ?? true
        let schema = isGuided ? Self.schema(record) : nil
        let entities = try EntitySnapshot(entities: Self.entities(record, schema))
        let compiled = CompiledPolicySet(policies)
        let indexed = Authorizer(policies: compiled, entities: entities)
        let plain = Authorizer(policies: compiled, entities: entities, usesIndex: false)
        let reread = Authorizer(
            policies: CompiledPolicySet(try Self.throughJSON(policies)),
            entities: entities
        )
        for (number, json) in (record["requests"]?.elements.map(\.self) ?? []).enumerated() {
            // Requests that only say whether they are as the schema says need not be readable.
            guard json["decision"] != nil || json["reason"] != nil || json["errors"] != nil else {
                continue
            }
            let request = try Self.request(json, schema)
            let answer = indexed.decide(request)
            compare(answer, with: json, "\(name) request \(number)")
            report.check(
                .index,
                plain.decide(request) == answer,
                in: name,
                "request \(number): with index \(answer), without \(plain.decide(request))"
            )
            let again = reread.decide(request)
            report.check(
                .policyJSONDecision,
                again.decision == answer.decision
                    && Set(again.determining) == Set(answer.determining)
                    && Set(again.errors.map(\.policy)) == Set(answer.errors.map(\.policy)),
                in: name,
                "request \(number): from JSON \(again), from text \(answer)"
            )
        }
    }

    private mutating func compare(_ answer: Response, with json: JSONValue, _ name: String) {
        func ids(_ json: JSONValue) -> [Text] { json.elements.compactMap(\.string).sorted() }
        if let expected = json["decision"]?.string {
            let ours: Text = answer.decision == .allow ? "allow" : "deny"
            report.check(.decision, ours == expected, in: name, "expected \(expected), is \(ours)")
        }
        if let expected = json["reason"].map(ids) {
            let ours = answer.determining.map(\.text).sorted()
            report.check(
                .determiningPolicies,
                ours == expected,
                in: name,
                "expected \(expected), are \(ours)"
            )
        }
        if let expected = json["errors"].map(ids) {
            let ours = answer.errors.map(\.policy.text).sorted()
            report.check(
                .failingPolicies,
                ours == expected,
                in: name,
                "expected \(expected), are \(ours): \(answer.errors.map(\.kind.rawValue))"
            )
        }
    }

    // MARK: Reading

    func policies(of record: JSONValue) throws -> PolicySet {
        var policies = try PolicySet.parse(record["policies"]?.string?.string ?? "")
        try link(record, in: &policies)
        return policies
    }

    /// Links templates, which the data names by their `@id`.
    private func link(_ record: JSONValue, in policies: inout PolicySet) throws {
        guard let links = record["links"] else { return }
        let templates = policies.policies.filter(\.isTemplate)
        for link in links.elements {
            let name = link["template_id"]?.string
            guard let template = templates.first(where: { $0.annotation("id") == name }),
                let id = link["link_id"]?.string
            else { throw TemplateLinkError.unknownTemplate }
            try policies.link(
                template: template.id,
                as: PolicyID(id),
                principal: link["args"]?["?principal"].map { try Self.uid($0) },
                resource: link["args"]?["?resource"].map { try Self.uid($0) }
            )
        }
    }

    /// The entities with what the schema knows of them, if they are as it says.
    private static func entities(_ record: JSONValue, _ schema: Schema?) throws -> [Entity] {
        let list = record["entities"] ?? record
        if let schema, let guided = try? Entity.list(cedarJSON: list, schema: schema) {
            return guided
        }
        return try Entity.list(cedarJSON: list)
    }

    static func request(_ json: JSONValue, _ schema: Schema? = nil) throws -> Request {
        let action = try uid(json["action"] ?? json)
        let context = try json["context"].map { json in
            if let schema,
                let guided = try? Value.context(cedarJSON: json, for: action, schema: schema)
            {
                return guided
            }
            return try Value.record(cedarJSON: json)
        }
        return Request(
            principal: try uid(json["principal"] ?? json),
            action: action,
            resource: try uid(json["resource"] ?? json),
            context: context ?? [:]
        )
    }

    /// An entity name as JSON, or as Cedar text, `T::"id"`, without escapes.
    static func uid(_ json: JSONValue) throws -> EntityUID {
        guard let text = json.string else { return try EntityUID(cedarJSON: json) }
        let parts = text.string.split(separator: "::\"", maxSplits: 1)
        guard parts.count == 2, parts[1].hasSuffix("\""), !text.utf8.contains(0x5C) else {
            throw ValueReadingError.invalidEntity
        }
        return EntityUID(type: Text(parts[0]), id: Text(parts[1].dropLast()))
    }
}
