import Cedar
import JSON

// Schemas in both syntaxes, and entities and requests held against them.

extension ConformanceRun {
    /// The schema of a record, if it has one that is read; whether it is, is checked by ``translations(_:_:)``.
    static func schema(_ record: JSONValue) -> Schema? {
        guard let text = record["schema"]?.string?.string else { return nil }
        return try? Schema(parsing: text)
    }

    // MARK: Syntaxes

    /// A schema means the same however often it is printed, written as JSON and read again; JSON that comes with it
    /// means the same.
    mutating func translations(_ record: JSONValue, _ name: String) {
        let made = record["expectedSchemas"]?.members.map { $0.value.string } ?? []
        let texts = [record["schema"]?.string, record["stub"]?.string] + made
        for text in texts.compactMap({ $0?.string }) { translation(of: text, name) }
        guard let text = record["schema"]?.string?.string, let json = record["schemaJSON"] else {
            return
        }
        do {
            let schema = try Schema(parsing: text)
            // One published translation is in an older form, in which `type` names an entity type or a common one.
            let document = try Self.modernised(json)
            let theirs = try SchemaSyntax(json: document)
            report.check(
                .schemaTranslation,
                try theirs.resolved() == schema
                    && Schema(parsing: theirs.formatted()) == schema,
                in: name,
                "the JSON of the schema does not mean what its text does"
            )
        } catch {
            report.check(.schemaTranslation, false, in: name, "\(error)")
        }
    }

    private mutating func translation(of text: String, _ name: String) {
        do {
            let syntax = try SchemaSyntax(parsing: text)
            let schema = try syntax.resolved()
            let printed = try syntax.formatted()
            let again = try SchemaSyntax(parsing: printed)
            report.check(
                .schemaText,
                try again.resolved() == schema && again.formatted() == printed,
                in: name,
                "printing is not stable:\n\(printed)"
            )
            let json = try JSONDocument(parsing: JSONFragment(syntax).bytes, limits: Self.limits)
            let fromJSON = try SchemaSyntax(json: json)
            report.check(
                .schemaJSON,
                try fromJSON.resolved() == schema && JSONFragment(fromJSON).bytes == json.bytes
                    && fromJSON.formatted() == printed,
                in: name,
                "text to JSON to text changes it:\n\(printed)"
            )
        } catch {
            report.check(.schemaText, false, in: name, "\(error)\n\(text)")
        }
    }

    /// JSON in which an unknown `{"type": X}` is `{"type": "EntityOrCommon", "name": X}`, if it is needed.
    private static func modernised(_ json: JSONValue) throws -> JSONDocument {
        let builtIn: Set<Text> = [
            "Long", "String", "Boolean", "Set", "Record", "Entity", "Extension", "EntityOrCommon",
        ]
        func copy(_ value: JSONValue, isType: Bool, _ writer: inout JSONWriter) {
            switch value.kind {
            case .object:
                writer.object { writer in
                    for (key, member) in value.members {
                        if isType, key.equals("type"), let name = member.string,
                            !builtIn.contains(name)
                        {
                            writer.member("type", "EntityOrCommon")
                            writer.member("name", name)
                            continue
                        }
                        writer.key(key)
                        // Only below a shape, a context or the like does `type` name a type.
                        let holdsTypes =
                            isType
                            || ["shape", "context", "tags", "commonTypes"]
                                .contains { key.equals($0) }
                        copy(member, isType: holdsTypes, &writer)
                    }
                }
            case .array:
                writer.array { writer in
                    for element in value.elements { copy(element, isType: isType, &writer) }
                }
            default: writer.value(value)
            }
        }
        var plain = JSONWriter()
        plain.value(json)
        let document = try JSONDocument(parsing: plain.finish(), limits: limits)
        if (try? SchemaSyntax(json: document).resolved()) != nil { return document }
        var writer = JSONWriter()
        copy(json, isType: false, &writer)
        return try JSONDocument(parsing: writer.finish(), limits: limits)
    }

    // MARK: Entities and requests

    /// Whether each entity is as the schema says.
    mutating func entityValidation(_ record: JSONValue, _ schema: Schema, _ name: String) {
        guard let expected = record["validation"]?["entityValidation"]?["perEntity"],
            let list = record["entities"]
        else { return }
        for json in list.elements {
            do {
                let entity = try Entity(cedarJSON: json)
                let key = Text("\(entity.uid.type)::\(entity.uid.id)")
                guard let verdict = expected.member(named: key) else { continue }
                let isValid = verdict.count == 0
                let violations = schema.violations(of: [entity])
                report.check(
                    .entityValidation,
                    violations.isEmpty == isValid,
                    in: name,
                    "\(key): \(isValid ? "conforms" : "does not conform"), found \(violations)"
                )
            } catch {
                report.check(.entityValidation, false, in: name, "\(error)")
            }
        }
    }

    /// Whether each request is as the schema says.
    mutating func requestValidation(_ record: JSONValue, _ schema: Schema, _ name: String) {
        let verdicts = record["validation"]?["requestValidation"]?.elements.map { $0["strict"] }
        for (number, json) in (record["requests"]?.elements.map(\.self) ?? []).enumerated() {
            // `validateRequest` says whether the request was validated, and so that it conforms; where there is a
            // verdict, that counts.
            let verdict = verdicts?.element(number)??.boolean
            guard let isValid = verdict ?? (json["validateRequest"]?.boolean == true ? true : nil)
            else { continue }
            do {
                let violations = try Self.violations(of: json, schema)
                report.check(
                    .requestValidation,
                    violations.isEmpty == isValid,
                    in: name,
                    "request \(number): \(isValid ? "conforms" : "does not conform"), found \(violations)"
                )
            } catch {
                report.check(.requestValidation, false, in: name, "request \(number): \(error)")
            }
        }
    }

    private static func violations(
        of request: JSONValue,
        _ schema: Schema
    ) throws -> [ConformanceViolation] {
        let action = try uid(request["action"] ?? request)
        let (principal, resource) = (
            try uid(request["principal"] ?? request), try uid(request["resource"] ?? request)
        )
        do throws(ConformanceFailure) {
            let context = try request["context"].map { json throws(ConformanceFailure) in
                try Value.context(cedarJSON: json, for: action, schema: schema)
            }
            return schema.violations(
                principal: principal,
                action: action,
                resource: resource,
                context: context ?? [:]
            )
        } catch { return error.violations }
    }

    /// What is read of a text of entities with a schema, all together and each alone.
    mutating func entityParsing(_ record: JSONValue, _ name: String) {
        guard let schema = Self.schema(record), let text = record["entitiesText"]?.string,
            let expected = record["expected"]
        else { return report.check(.entityParsing, false, in: name, "the schema is not read") }
        // Some of these are no JSON, or not what our reader takes for it.
        let root = try? JSONDocument(parsing: text.string, limits: Self.limits).root
        let isRead = root.map { (try? Entity.list(cedarJSON: $0, schema: schema)) != nil } ?? false
        report.check(
            .entityParsing,
            isRead == expected["allEntities"]?["success"]?.boolean,
            in: name,
            isRead ? "is read" : "is refused"
        )
        for entity in root?.elements.map(\.self) ?? [] {
            guard let uid = try? EntityUID(cedarJSON: entity["uid"] ?? entity),
                let verdict = expected["perEntity"]?.member(named: Text("\(uid.type)::\(uid.id)"))
            else { continue }
            var writer = JSONWriter()
            writer.array { $0.value(entity) }
            let alone = try? JSONDocument(parsing: writer.finish(), limits: Self.limits)
            let isRead =
                alone.map { (try? Entity.list(cedarJSON: $0.root, schema: schema)) != nil } ?? false
            report.check(
                .entityParsing,
                isRead == verdict["success"]?.boolean,
                in: name,
                "\(uid.type)::\(uid.id) \(isRead ? "is read" : "is refused")"
            )
        }
    }
}

extension Array {
    fileprivate func element(_ index: Int) -> Element? {
        indices.contains(index) ? self[index] : nil
    }
}
