import Cedar
import Foundation
import JSON
import Testing

/// Cedar's own published tests: the same answers, the same determining policies, the same failing
/// policies.
@Suite struct ConformanceTests {
    @Test func `every corpus request is answered as published`() throws {
        // The whole corpus takes most of a minute without optimisation; a tenth does not.
        let step = SharedData.isRelease ? 1 : 10
        guard let records = try SharedData.records("cedar/corpus.ndjson.gz", every: step) else {
            return
        }
        var count = Count()
        for record in records { run(record, &count, readsWithSchema: false) }
        count.report("corpus, every \(step)th test")
    }

    @Test func `every handwritten request is answered as published`() throws {
        guard let records = try SharedData.records("cedar/handwritten.ndjson.gz") else { return }
        var count = Count()
        // These rely on the schema to tell entity references from records.
        for record in records { run(record, &count, readsWithSchema: true) }
        count.report("handwritten")
    }

    @Test func `every template example is answered as published`() throws {
        guard let records = try SharedData.records("cedar/examples-templates.ndjson.gz") else {
            return
        }
        var count = Count()
        for record in records {
            run(record, &count, readsWithSchema: record["schemaForEntities"]?.boolean ?? true)
        }
        count.report("examples-templates")
    }

    private func run(_ record: JSONValue, _ count: inout Count, readsWithSchema: Bool) {
        let name = record["name"]?.string?.string ?? "?"
        do {
            let text = record["policies"]?.string?.string ?? ""
            var set = try PolicySet.parse(text)
            checkPrinting(set, name, &count)
            for link in record["links"]?.elements.map({ $0 }) ?? [] { try add(link, to: &set) }
            let schema = try readsWithSchema ? self.schema(record) : nil
            let entityList = try #require(record["entities"])
            let entities =
                try schema.map { try Entity.list(cedarJSON: entityList, schema: $0) }
                ?? Entity.list(cedarJSON: entityList)
            let snapshot = try EntitySnapshot(entities: entities)
            let compiled = CompiledPolicySet(set)
            let indexed = Authorizer(policies: compiled, entities: snapshot)
            let plain = Authorizer(policies: compiled, entities: snapshot, usesIndex: false)
            for (number, request) in (record["requests"]?.elements.map { $0 } ?? []).enumerated() {
                let question = try self.request(request, schema)
                let answer = indexed.decide(question)
                count.check(
                    agrees(answer, with: request) && plain.decide(question) == answer,
                    "\(name) request \(number): \(answer)"
                )
            }
        } catch {
            count.check(false, "\(name): \(error)")
        }
    }

    private func schema(_ record: JSONValue) throws -> Schema {
        try Schema(parsing: try #require(record["schema"]?.string).string)
    }

    /// Parse, print, parse, print: the text is stable.
    ///
    /// Parse, JSON, print: the same text.
    private func checkPrinting(_ set: PolicySet, _ name: String, _ count: inout Count) {
        let printed = set.formatted()
        do {
            var writer = JSONWriter()
            set.write(to: &writer)
            let limits = JSONLimits(depthMax: 512)
            let json = try JSONDocument(parsing: writer.finish(), limits: limits)
            let texts = Set(set.policies.map { $0.formatted() })
            let fromJSON = Set(try PolicySet(json: json).policies.map { $0.formatted() })
            count.check(fromJSON == texts, "\(name): JSON does not give the same policies back")
            let again = try PolicySet.parse(printed)
            count.check(again.formatted() == printed, "\(name): printing is not stable\n\(printed)")
        } catch {
            count.check(false, "\(name): what is printed does not parse: \(error)\n\(printed)")
        }
    }

    private func agrees(_ answer: Response, with request: JSONValue) -> Bool {
        guard let expected = request["decision"]?.string else { return false }
        func ids(_ key: StaticString) -> Set<Text>? {
            request[key].map { Set($0.elements.compactMap(\.string)) }
        }
        let reasons = Set(answer.determining.map(\.text))
        let errors = Set(answer.errors.map(\.policy.text))
        return expected == (answer.decision == .allow ? "allow" : "deny")
            && ids("reason").map { $0 == reasons } ?? true
            && ids("errors").map { $0 == errors } ?? true
    }

    /// The request, which must conform to the schema if there is one.
    private func request(_ json: JSONValue, _ schema: Schema?) throws -> Request {
        let principal = try uid(try #require(json["principal"]))
        let action = try uid(try #require(json["action"]))
        let resource = try uid(try #require(json["resource"]))
        let context = try json["context"].map { context in
            try schema.map { try Value.context(cedarJSON: context, for: action, schema: $0) }
                ?? Value.record(cedarJSON: context)
        }
        if let schema {
            let violations = schema.violations(
                principal: principal,
                action: action,
                resource: resource,
                context: context ?? [:]
            )
            try #require(violations.isEmpty, "\(violations)")
        }
        return Request(
            principal: principal,
            action: action,
            resource: resource,
            context: context ?? [:]
        )
    }

    private func uid(_ json: JSONValue) throws -> EntityUID {
        guard let text = json.string else { return try EntityUID(cedarJSON: json) }
        // The examples write uids as Cedar text, without escapes.
        let parts = text.string.split(separator: "::\"", maxSplits: 1)
        try #require(parts.count == 2 && parts[1].hasSuffix("\"") && !text.utf8.contains(0x5C))
        return EntityUID(type: Text(parts[0]), id: Text(parts[1].dropLast()))
    }

    private func add(_ link: JSONValue, to set: inout PolicySet) throws {
        let template = link["template_id"]?.string
        let source = set.policies.first { $0.annotation("id") == template }
        try set.link(
            template: try #require(source).id,
            as: PolicyID(try #require(link["link_id"]?.string)),
            principal: try link["args"]?["?principal"].map { try uid($0) },
            resource: try link["args"]?["?resource"].map { try uid($0) }
        )
    }
}
