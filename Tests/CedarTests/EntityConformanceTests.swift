import Cedar
import JSON
import Testing

/// Entities, contexts and requests against a schema, as Cedar 4.12 judges them.
@Suite struct EntityConformanceTests {
    private static let schema = """
        entity M; entity En enum ["a", "b"];
        entity U in [M] = {
          s?: String, n?: Long, b?: Bool, m?: M, ip?: ipaddr, d?: decimal, dt?: datetime,
          du?: duration, ss?: Set<String>, sm?: Set<M>, r?: {k: String, o?: M}, e?: En,
          se?: Set<ipaddr>, act?: Action
        } tags ipaddr;
        entity Q in [U]; entity Z in [En]; entity R = { k: Long };
        action any; action read in any;
        action view in read appliesTo {
          principal: [U, En], resource: [U], context: { ip?: ipaddr, m?: M, e?: En, r?: {x: Long} }
        };
        """

    private func read(_ entities: String) throws -> [String] {
        let schema = try Schema(parsing: Self.schema)
        let json = try JSONDocument(parsing: entities).root
        do throws(ConformanceFailure) {
            _ = try Entity.list(cedarJSON: json, schema: schema)
            return []
        } catch {
            return error.violations.map { "\($0.path) \($0.code.rawValue)" }
        }
    }

    private func entity(_ members: String, _ type: String = "U", _ id: String = "x") -> String {
        let defaults = ["attrs": "{}", "parents": "[]"].filter {
            !members.contains("\"\($0.key)\"")
        }
        let rest = defaults.map { ", \"\($0.key)\": \($0.value)" }.joined()
        return #"[{"uid": {"type": "\#(type)", "id": "\#(id)"}\#(rest)"#
            + (members.isEmpty ? "}]" : ", \(members)}]")
    }

    @Test(arguments: [
        #"{"s": "x", "n": 1, "b": true}"#, #"{"m": {"type": "M", "id": "1"}}"#,
        #"{"m": {"__entity": {"type": "M", "id": "1"}, "x": 1}}"#,
        #"{"m": {"type": "M", "id": "1", "x": 1}}"#, #"{"ip": "1.2.3.4"}"#,
        #"{"ip": {"fn": "ip", "arg": "1.2.3.4"}}"#, #"{"ip": {"fn": "ip", "args": ["1.2.3.4"]}}"#,
        #"{"ip": {"__extn": {"fn": "ip", "arg": "1.2.3.4", "x": 1}, "y": 1}}"#,
        #"{"dt": {"fn": "offset", "args": ["2024-01-01", "1h"]}}"#,
        #"{"dt": "2024-01-01", "du": "1h", "d": "1.5"}"#, #"{"ss": [], "se": ["1.2.3.4", "::1"]}"#,
        #"{"sm": [{"type": "M", "id": "1"}, {"__entity": {"type": "M", "id": "1"}}]}"#,
        #"{"r": {"k": "x", "o": {"type": "M", "id": "z"}}}"#, #"{"e": {"type": "En", "id": "a"}}"#,
        #"{"act": {"type": "Action", "id": "view"}}"#,
    ])
    func `values may be written without escapes where the schema knows them`(
        attributes: String
    ) throws {
        #expect(try read(entity("\"attrs\": \(attributes)")) == [])
    }

    @Test(arguments: [
        (#"{"s": 1}"#, "s type_mismatch"), (#"{"n": "1"}"#, "n type_mismatch"),
        (#"{"n": 1.0}"#, "n fraction"), (#"{"n": 9223372036854775808}"#, "n integer_too_large"),
        (#"{"n": null}"#, "n null"), (#"{"zz": 1}"#, "zz unexpected_attribute"),
        (#"{"m": {"type": "U", "id": "1"}}"#, "m type_mismatch"),
        (#"{"m": "M::\"1\""}"#, "m type_mismatch"), (#"{"m": {"type": "M "}}"#, "m invalid_entity"),
        (#"{"m": {"type": "M", "id": 42}}"#, "m invalid_entity"),
        (#"{"m": {"__expr": "M"}}"#, "m invalid_entity"),
        (#"{"m": {"__extn": {"fn": "ip", "arg": "::1"}}}"#, "m type_mismatch"),
        (#"{"ip": "zz"}"#, "ip invalid_extension"), (#"{"ip": 1}"#, "ip type_mismatch"),
        (#"{"ip": {"fn": "decimal", "arg": "1.2"}}"#, "ip type_mismatch"),
        (#"{"ip": {"fn": "ip", "arg": ["::1"]}}"#, "ip invalid_extension"),
        (#"{"ip": {"__entity": {"type": "M", "id": "1"}}}"#, "ip type_mismatch"),
        (#"{"d": 1.5}"#, "d fraction"),
        (#"{"s": {"__entity": {"type": "M", "id": "1"}}}"#, "s type_mismatch"),
        (#"{"ss": ["a", 1]}"#, "ss/1 type_mismatch"), (#"{"ss": "a"}"#, "ss type_mismatch"),
        (#"{"ss": {"__extn": {"fn": "ip", "arg": "::1"}}}"#, "ss type_mismatch"),
        (#"{"r": {}}"#, "r/k missing_attribute"),
        (#"{"r": {"k": "x", "w": 1}}"#, "r/w unexpected_attribute"),
        (#"{"r": []}"#, "r type_mismatch"), (#"{"r": {"__entity": 1}}"#, "r invalid_entity"),
        (#"{"e": {"type": "En", "id": "c"}}"#, "e undeclared_id"),
        (#"{"act": {"type": "Action", "id": "nope"}}"#, "act undeclared_action"),
    ])
    func `a value that is not as declared has its own code and place`(
        attributes: String,
        expected: String
    ) throws {
        #expect(try read(entity("\"attrs\": \(attributes)")) == ["/0/attrs/\(expected)"])
    }

    @Test(arguments: [
        ("U", "x", #""parents": [{"type": "M", "id": "1"}]"#, ""),
        ("U", "x", #""parents": [{"type": "U", "id": "1"}]"#, "/0/parents/0 invalid_parent"),
        ("U", "x", #""parents": ["M"]"#, "/0/parents/0 invalid_entity"),
        ("Q", "x", #""parents": [{"type": "M", "id": "1"}]"#, ""),
        ("Z", "x", #""parents": [{"type": "En", "id": "a"}]"#, ""),
        ("Z", "x", #""parents": [{"type": "En", "id": "c"}]"#, "/0/parents/0 undeclared_id"),
        ("U", "x", #""tags": {"t": "1.2.3.4"}"#, ""),
        ("U", "x", #""tags": {"t": 1}"#, "/0/tags/t type_mismatch"),
        ("U", "x", #""tags": null"#, "/0/tags invalid_structure"),
        ("M", "x", #""tags": {}"#, ""),
        ("M", "x", #""tags": {"a/~": 1}"#, "/0/tags/a~1~0 unexpected_tag"),
        ("En", "a", "", ""), ("En", "c", "", "/0/uid undeclared_id"),
        ("En", "a", #""attrs": {"x": 1}"#, "/0/attrs/x unexpected_attribute"),
        ("R", "x", "", "/0/attrs/k missing_attribute"),
        ("Nope", "x", "", "/0/uid undeclared_entity_type"),
        ("a b", "x", "", "/0/uid invalid_entity"),
        ("U", "x", #""foo": 1"#, ""), ("U", "x", #""parents": null"#, "/0 invalid_structure"),
        ("Action", "any", "", ""), ("Action", "nope", "", "/0/uid undeclared_action"),
        ("Action", "view", "", "/0/parents action_mismatch"),
        (
            "Action", "view",
            #""parents": [{"type": "Action", "id": "any"}, {"type": "Action", "id": "read"}]"#, ""
        ),
        (
            "Action", "view", #""parents": [{"type": "Action", "id": "read"}]"#,
            "/0/parents action_mismatch"
        ),
        ("Action", "any", #""attrs": {"a": 1}"#, "/0/attrs/a unexpected_attribute"),
        ("Action", "any", #""tags": {"a": 1}"#, "/0/tags/a unexpected_tag"),
        ("Action", "any", #""parents": [{"type": "M", "id": "x"}]"#, "/0/parents action_mismatch"),
    ])
    func `an entity is as its type is declared`(
        type: String,
        id: String,
        members: String,
        expected: String
    ) throws {
        #expect(try read(entity(members, type, id)).joined(separator: ", ") == expected)
    }

    @Test func `actions come from the schema`() throws {
        let schema = try Schema(parsing: Self.schema)
        let json = try JSONDocument(parsing: "[]").root
        let entities = try Entity.list(cedarJSON: json, schema: schema)
        #expect(entities.map(\.uid.id) == ["any", "read", "view"])
        #expect(entities.last?.parents.map(\.id) == ["any", "read"])
        let whole = #"""
            [{"uid": {"type": "Action", "id": "view"}, "attrs": {}, "parents":
            [{"type": "Action", "id": "read"}]}, {"uid": {"type": "Action", "id": "read"},
            "attrs": {}, "parents": [{"type": "Action", "id": "any"}]}]
            """#
        #expect(try read(whole) == [])
    }

    @Test(arguments: [
        ("U", "view", "U", "{}", ""), ("En", "view", "U", "{}", ""),
        ("U", "view", "U", #"{"ip": "1.2.3.4", "m": {"type": "M", "id": "1"}}"#, ""),
        ("U", "view", "U", #"{"ip": 1}"#, "/context/ip type_mismatch"),
        ("U", "view", "U", #"{"e": {"type": "En", "id": "c"}}"#, "/context/e undeclared_id"),
        ("U", "view", "U", #"{"zz": 1}"#, "/context/zz unexpected_attribute"),
        ("U", "view", "U", #"{"r": {}}"#, "/context/r/x missing_attribute"),
        ("U", "view", "U", #"{"ip": null}"#, "/context/ip null"),
        ("U", "view", "U", "[]", "/context invalid_structure"),
        ("M", "view", "U", "{}", "/principal invalid_principal_type"),
        ("Nope", "view", "U", "{}", "/principal undeclared_entity_type"),
        ("U", "view", "M", "{}", "/resource invalid_resource_type"),
        ("U", "nope", "U", "{}", "/context undeclared_action"),
        (
            "U", "any", "U", "{}",
            "/principal invalid_principal_type, /resource invalid_resource_type"
        ),
    ])
    func `a request is one the action applies to`(
        principal: String,
        action: String,
        resource: String,
        context: String,
        expected: String
    ) throws {
        let schema = try Schema(parsing: Self.schema)
        let action = EntityUID(type: "Action", id: Text(action))
        let json = try JSONDocument(parsing: context).root
        var violations: [ConformanceViolation]
        do throws(ConformanceFailure) {
            violations = schema.violations(
                principal: EntityUID(type: Text(principal), id: "a"),
                action: action,
                resource: EntityUID(type: Text(resource), id: "a"),
                context: try Value.context(cedarJSON: json, for: action, schema: schema)
            )
        } catch {
            violations = error.violations
        }
        let found = violations.map { "\($0.path) \($0.code.rawValue)" }.joined(separator: ", ")
        #expect(found == expected)
    }

    // MARK: What has no effect

    @Test(
        arguments: [
            ("x\u{202e}", "uid", "bidirectional_control"), ("p\u{0430}y", "uid", "mixed_scripts"),
            ("\u{043e}\u{043f}", nil, nil), ("a b \u{0430}", nil, nil), ("東京Tower", nil, nil),
        ] as [(String, String?, String?)]
    )
    func `a name that people would misread is not published`(
        id: String,
        place: String?,
        code: String?
    ) throws {
        let schema = try Schema(parsing: Self.schema)
        let json = try JSONDocument(parsing: entity("", "M", id)).root
        _ = try Entity.list(cedarJSON: json, schema: schema)
        do throws(ConformanceFailure) {
            _ = try Entity.list(cedarJSON: json, schema: schema, rules: .publishing)
            #expect(code == nil)
        } catch {
            #expect(error.violations.map(\.code.rawValue) == [code])
            #expect(error.violations.map(\.path) == [Text("/0/\(place ?? "")")])
        }
    }

    @Test(arguments: [
        (#"[{"uid": {"type": "M", "id": "x", "id": "y"}}]"#, JSONError.Code.duplicateKey),
        (#"[{"uid": {"type": "U", "id": "x"}, "attrs": {"s": "a", "s": "b"}}]"#, .duplicateKey),
        (String(repeating: "[", count: 100_000), .tooDeep),
        (String(repeating: " ", count: 17 << 20), .tooManyBytes),
        ("[" + String(repeating: "1,", count: 1 << 20) + "1]", .tooManyValues),
    ])
    func `entities that are no bounded JSON are not looked at`(
        text: String,
        code: JSONError.Code
    ) {
        let error = #expect(throws: JSONError.self) { try JSONDocument(parsing: text) }
        #expect(error?.code == code)
    }

    @Test func `entities that are no hierarchy are refused by name`() throws {
        let schema = try Schema(parsing: "entity E in E { n?: Long };")
        func entity(_ id: String, _ parent: String, _ attributes: String = "{}") -> String {
            #"{"uid": {"type": "E", "id": "\#(id)"}, "attrs": \#(attributes), "#
                + #""parents": [{"type": "E", "id": "\#(parent)"}]}"#
        }
        func snapshot(_ entities: String...) throws {
            let json = try JSONDocument(parsing: "[\(entities.joined(separator: ","))]").root
            _ = try EntitySnapshot(entities: try Entity.list(cedarJSON: json, schema: schema))
        }
        let a = EntityUID(type: "E", id: "a")
        #expect(throws: EntitySnapshotError.cycle(a)) {
            try snapshot(entity("a", "b"), entity("b", "c"), entity("c", "a"))
        }
        #expect(throws: EntitySnapshotError.duplicate(a)) {
            try snapshot(entity("a", "b"), entity("a", "b", #"{"n": 1}"#))
        }
        try snapshot(entity("a", "b"), entity("a", "b"))
    }

    @Test func `the list of violations is bounded`() throws {
        let schema = try Schema(parsing: "entity E;")
        let entities = (0..<5_000).map { Entity(uid: EntityUID(type: "F", id: Text("\($0)"))) }
        #expect(schema.violations(of: entities).count == ConformanceFailure.violationsMax)
    }

    @Test func `a violation says what was expected and never a value`() throws {
        let schema = try Schema(parsing: Self.schema)
        let json = try JSONDocument(parsing: entity(#""attrs": {"n": "secret"}"#)).root
        let failure = #expect(throws: ConformanceFailure.self) {
            try Entity.list(cedarJSON: json, schema: schema)
        }
        #expect(
            failure?.description == #""/0/attrs/n": type mismatch "String", expected Long"#
        )
    }

    // MARK: Published cases

    @Test func `every published entity and request is judged as published`() throws {
        let step = SharedData.isRelease ? 1 : 10
        guard let records = try SharedData.records("cedar/corpus.ndjson.gz", every: step) else {
            return
        }
        var entityCount = Count()
        var requestCount = Count()
        for record in records {
            let name = record["name"]?.string?.string ?? "?"
            do {
                let schema = try Schema(parsing: try #require(record["schema"]?.string).string)
                try checkEntities(record, schema, name, &entityCount)
                try checkRequests(record, schema, name, &requestCount)
            } catch {
                entityCount.check(false, "\(name): \(error)")
            }
        }
        entityCount.report("corpus entity validation, every \(step)th test")
        requestCount.report("corpus request validation, every \(step)th test")
    }

    private func checkEntities(
        _ record: JSONValue,
        _ schema: Schema,
        _ name: String,
        _ count: inout Count
    ) throws {
        let list = try #require(record["entities"])
        let entities = try Entity.list(cedarJSON: list)
        let guided = (try? Entity.list(cedarJSON: list, schema: schema)) != nil
        guard let expected = record["validation"]?["entityValidation"]?["perEntity"] else { return }
        let isValid = expected.members.allSatisfy { $0.value.count == 0 }
        count.check(guided == isValid, "\(name): \(schema.violations(of: entities))")
        for entity in entities {
            let key = Text("\(entity.uid.type)::\(entity.uid.id)")
            let violations = schema.violations(of: [entity])
            count.check(
                violations.isEmpty == (expected.member(named: key)?.count == 0),
                "\(name) \(key): \(violations)"
            )
        }
    }

    private func checkRequests(
        _ record: JSONValue,
        _ schema: Schema,
        _ name: String,
        _ count: inout Count
    ) throws {
        let verdicts = record["validation"]?["requestValidation"]?.elements.map { $0["strict"] }
        for (number, request) in (record["requests"]?.elements.map { $0 } ?? []).enumerated() {
            let principal = try EntityUID(cedarJSON: try #require(request["principal"]))
            let action = try EntityUID(cedarJSON: try #require(request["action"]))
            let resource = try EntityUID(cedarJSON: try #require(request["resource"]))
            let context = try #require(request["context"])
            var violations: [ConformanceViolation]
            do throws(ConformanceFailure) {
                violations = schema.violations(
                    principal: principal,
                    action: action,
                    resource: resource,
                    context: try Value.context(cedarJSON: context, for: action, schema: schema)
                )
            } catch {
                violations = error.violations
            }
            count.check(
                violations.isEmpty == (verdicts?[number]?.boolean ?? true)
                    && violations.isEmpty == request["validateRequest"]?.boolean,
                "\(name) request \(number): \(violations)"
            )
        }
    }

    @Test func `every published reading of entities with a schema succeeds or fails as published`()
        throws
    {
        guard let records = try SharedData.records("cedar/entity-parsing.ndjson.gz") else { return }
        var count = Count()
        for record in records {
            let name = record["name"]?.string?.string ?? "?"
            let text = try #require(record["entitiesText"]?.string)
            let schema = try Schema(parsing: try #require(record["schema"]?.string).string)
            let root = try? JSONDocument(parsing: text.string).root
            let expected = try #require(record["expected"])
            let isRead =
                root.map { (try? Entity.list(cedarJSON: $0, schema: schema)) != nil } ?? false
            count.check(isRead == expected["allEntities"]?["success"]?.boolean, name)
            for entity in root?.elements.map({ $0 }) ?? [] {
                guard let uid = try? EntityUID(cedarJSON: entity["uid"] ?? entity),
                    let verdict = expected["perEntity"]?.member(
                        named: Text("\(uid.type)::\(uid.id)")
                    )
                else { continue }
                var writer = JSONWriter()
                writer.array { $0.value(entity) }
                let alone = try JSONDocument(parsing: writer.finish())
                let isRead = (try? Entity.list(cedarJSON: alone.root, schema: schema)) != nil
                count.check(isRead == verdict["success"]?.boolean, "\(name) \(uid.type)::\(uid.id)")
            }
        }
        count.report("entity-parsing")
    }
}
