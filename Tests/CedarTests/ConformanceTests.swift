import Cedar
import Foundation
import JSON
import Testing

/// Cedar's own published tests: the same answers, the same determining policies, the same failing
/// policies.
@Suite struct ConformanceTests {
    /// What a run over a file found.
    private struct Count {
        var passed = 0
        var failed = 0
        var unsupported = 0
        var first: [String] = []

        mutating func check(_ condition: Bool, _ name: @autoclosure () -> String) {
            if condition {
                passed += 1
            } else {
                failed += 1
                if first.count < 10 { first.append(name()) }
            }
        }

        func report(_ file: String) {
            SharedData.note(
                "\(file): checks passed \(passed), failed \(failed), not yet supported \(unsupported)"
            )
            #expect(failed == 0, "\(first.joined(separator: "\n"))")
        }
    }

    @Test func `every corpus request is answered as published`() throws {
        // The whole corpus takes most of a minute without optimisation; a tenth does not.
        let step = SharedData.isRelease ? 1 : 10
        guard let records = try SharedData.records("cedar/corpus.ndjson.gz", every: step) else {
            return
        }
        var count = Count()
        for record in records { run(record, &count) }
        count.report("corpus, every \(step)th test")
    }

    @Test func `every handwritten request is answered as published`() throws {
        guard let records = try SharedData.records("cedar/handwritten.ndjson.gz") else { return }
        var count = Count()
        // These rely on the schema to tell entity references from records.
        for record in records { run(record, &count, mayNeedSchema: true) }
        count.report("handwritten")
    }

    @Test func `every template example is answered as published`() throws {
        guard let records = try SharedData.records("cedar/examples-templates.ndjson.gz") else {
            return
        }
        var count = Count()
        for record in records { run(record, &count, mayNeedSchema: true) }
        count.report("examples-templates")
    }

    private func run(_ record: JSONValue, _ count: inout Count, mayNeedSchema: Bool = false) {
        let name = record["name"]?.string?.string ?? "?"
        do {
            let text = record["policies"]?.string?.string ?? ""
            var set = try PolicySet.parse(text)
            checkPrinting(set, name, &count)
            for link in record["links"]?.elements.map({ $0 }) ?? [] { try add(link, to: &set) }
            let entityList = try #require(record["entities"])
            let entities = try Entity.list(cedarJSON: entityList)
            let needsSchema =
                mayNeedSchema && (hasImplicitValues(entityList) || declaresActionGroups(record))
            let snapshot = try EntitySnapshot(entities: entities)
            let compiled = CompiledPolicySet(set)
            let indexed = Authorizer(policies: compiled, entities: snapshot)
            let plain = Authorizer(policies: compiled, entities: snapshot, usesIndex: false)
            for (number, request) in (record["requests"]?.elements.map { $0 } ?? []).enumerated() {
                let implicit = mayNeedSchema && (request["context"].map(hasImplicitValues) ?? false)
                guard !needsSchema, !implicit else {
                    count.unsupported += 1
                    continue
                }
                guard let question = try self.request(request) else {
                    count.unsupported += 1
                    continue
                }
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

    private func request(_ json: JSONValue) throws -> Request? {
        guard let principal = json["principal"], let action = json["action"],
            let resource = json["resource"], !principal.isNull, !action.isNull, !resource.isNull
        else { return nil }
        return Request(
            principal: try uid(principal),
            action: try uid(action),
            resource: try uid(resource),
            context: try json["context"].map { try Value.record(cedarJSON: $0) } ?? [:]
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

    /// Whether the schema puts actions into groups and the entities do not repeat that.
    private func declaresActionGroups(_ record: JSONValue) -> Bool {
        let lines = record["schema"]?.string?.string.split(separator: "\n") ?? []
        return lines.contains { line in
            let words = line.split(separator: " ")
            return words.first == "action" && words.contains("in")
        }
    }

    /// Whether an entity reference or an extension value is written as a plain object, which only a
    /// schema reveals.
    private func hasImplicitValues(_ json: JSONValue) -> Bool {
        switch json.kind {
        case .array: return json.elements.contains { hasImplicitValues($0) }
        case .object:
            if json["__entity"] != nil || json["__extn"] != nil { return false }
            let isEntity = json.count == 2 && json["type"] != nil && json["id"] != nil
            let isExtension = json.count == 2 && json["fn"] != nil && json["arg"] != nil
            if isEntity || isExtension { return true }
            if let attributes = json["attrs"] { return hasImplicitValues(attributes) }
            return json.members.contains { hasImplicitValues($0.value) }
        default: return false
        }
    }
}
