import Cedar
import JSON
import Testing

/// Both syntaxes of every published schema: the same meaning, and the same again however often it
/// is translated.
@Suite struct SchemaConformanceTests {
    @Test(arguments: [
        "corpus", "handwritten", "examples-templates", "validator-cases", "entity-parsing", "misc",
        "mcp-schema-generator",
    ])
    func `every published schema means the same in both syntaxes`(file: String) throws {
        let step = file == "corpus" && !SharedData.isRelease ? 10 : 1
        guard let records = try SharedData.records("cedar/\(file).ndjson.gz", every: step) else {
            return
        }
        var count = Count()
        for record in records {
            for text in texts(record) { check(text, record, &count) }
        }
        count.report("\(file) schemas, every \(step)th test")
    }

    /// The schema of a record; the generator's records have a stub and what is made of it.
    private func texts(_ record: JSONValue) -> [String] {
        let made = record["expectedSchemas"]?.members.map { $0.value.string }
        return ([record["schema"]?.string, record["stub"]?.string] + (made ?? []))
            .compactMap { $0?.string }
    }

    private func check(_ text: String, _ record: JSONValue, _ count: inout Count) {
        let name = record["name"]?.string?.string ?? "?"
        do {
            let syntax = try SchemaSyntax(parsing: text)
            let schema = try syntax.resolved()
            if name == "translate-schema" {
                // Published in an older form, in which `type` may name an entity type.
                let older = try rewritten(try JSONDocument(parsing: JSONFragment(syntax).bytes))
                let json = try #require(record["schemaJSON"])
                count.check(
                    older.canonicalBytes() == json.canonicalBytes(),
                    "\(name): JSON differs"
                )
            } else if let json = record["schemaJSON"] {
                let document = try JSONDocument(parsing: json.serialized())
                let other = try SchemaSyntax(json: document)
                count.check(try other.resolved() == schema, "\(name): JSON means something else")
                let printed = try other.formatted()
                count.check(
                    try Schema(parsing: printed) == schema,
                    "\(name): JSON to text means something else\n\(printed)"
                )
            }
            let printed = try syntax.formatted()
            let again = try SchemaSyntax(parsing: printed)
            count.check(
                try again.resolved() == schema && again.formatted() == printed,
                "\(name): printing is not stable\n\(printed)"
            )
            let json = try JSONDocument(parsing: JSONFragment(syntax).bytes)
            let fromJSON = try SchemaSyntax(json: json)
            count.check(
                try fromJSON.resolved() == schema && JSONFragment(fromJSON).bytes == json.bytes
                    && fromJSON.formatted() == printed,
                "\(name): text to JSON to text changes it\n\(printed)"
            )
        } catch {
            count.check(false, "\(name): \(error)\n\(text)")
        }
    }

    /// JSON with `{"type": X}` for each `{"type": "EntityOrCommon", "name": X}`.
    private func rewritten(_ document: JSONDocument) throws -> JSONValue {
        func copy(_ value: JSONValue, _ writer: inout JSONWriter) {
            switch value.kind {
            case .object:
                writer.object { writer in
                    if value["type"]?.stringEquals("EntityOrCommon") == true,
                        let name = value["name"]?.string
                    {
                        return writer.member("type", name)
                    }
                    for (key, member) in value.members {
                        writer.key(key)
                        copy(member, &writer)
                    }
                }
            case .array:
                writer.array { writer in
                    for element in value.elements { copy(element, &writer) }
                }
            default: writer.value(value)
            }
        }
        var writer = JSONWriter()
        copy(document.root, &writer)
        return try JSONDocument(parsing: writer.finish()).root
    }
}
