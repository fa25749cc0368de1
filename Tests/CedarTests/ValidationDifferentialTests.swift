import Cedar
import Foundation
import JSON
import Testing

/// Random schemas and policies, judged by us and by an independent validator.
///
/// Peer and settings are those of `DifferentialTests`.
@Suite struct ValidationDifferentialTests {
    @Test func `random policies are judged as by an independent validator`() throws {
        let environment = ProcessInfo.processInfo.environment
        guard let python = environment["OSTIARY_CEDARPY"] else {
            SharedData.note("skipped 1 differential run: OSTIARY_CEDARPY is not set")
            return
        }
        let cases =
            Int(environment["OSTIARY_FUZZ_CASES"] ?? "") ?? (SharedData.isRelease ? 2000 : 300)
        let seed = UInt64(environment["OSTIARY_FUZZ_SEED"] ?? "") ?? 1
        var generated: [(schema: String, policies: [String])] = []
        for number in 0..<UInt64(cases) {
            var generator = ValidationCaseGenerator(seed: seed &* 1_000_003 &+ number)
            generated.append(generator.makeCase())
        }
        let lines = generated.map { test in
            JSONFragment(object: { writer in
                writer.member("schema", test.schema)
                writer.key("policies")
                writer.array { writer in test.policies.forEach { writer.value($0) } }
            }).bytes
        }
        let theirs = try ask(python, lines)
        let policyCount = generated.reduce(0) { $0 + $1.policies.count }
        try #require(theirs.count == policyCount)
        var (at, valid, differences) = (0, 0, 0)
        for (schema, policies) in generated {
            let parsed = try? Schema(parsing: schema)
            for policy in policies {
                let their = theirs[at]
                at += 1
                let our = try parsed.map { try judge(policy, $0) } ?? "refused"
                valid += our == "valid" ? 1 : 0
                guard our != their else { continue }
                differences += 1
                guard differences <= 10 else { continue }
                Issue.record("ours \(our), theirs \(their)\n\(policy)\n\(schema)")
            }
        }
        SharedData.note(
            "validation differential, seed \(seed): \(policyCount) policies, \(valid) valid, "
                + "\(differences) differ"
        )
        #expect(differences == 0)
    }

    private func judge(_ policy: String, _ schema: Schema) throws -> String {
        let report = Validator(schema).validate(try PolicySet.parse(policy))
        let errors = report.findings.filter { $0.severity == .error }
        let kinds = Set(
            errors.map { $0.code == .tagsNotAllowed ? "unsafe_tag" : $0.code.rawValue }
        )
        return kinds.isEmpty ? "valid" : kinds.sorted().joined(separator: " ")
    }

    private func ask(_ python: String, _ cases: [[UInt8]]) throws -> [String] {
        let file = FileManager.default.temporaryDirectory
            .appendingPathComponent("cedar-validation-\(UUID().uuidString)")
        try Data(cases.joined(separator: [0x0A])).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let peer = Process()
        peer.executableURL = URL(fileURLWithPath: python)
        peer.arguments = ["-c", Self.peer, file.path]
        let output = Pipe()
        peer.standardOutput = output
        try peer.run()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        peer.waitUntilExit()
        try #require(peer.terminationStatus == 0)
        return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    private static let peer = """
        import json, sys, cedarpy
        kinds = [
            ("unrecognized entity type", "unknown_entity_type"), ("unrecognized action", "unknown_action"),
            ("applicable action", "no_applicable_action"), ("optional attribute", "unsafe_optional_attribute"),
            ("access to tag", "unsafe_tag"), ("unexpected type", "unexpected_type"),
            ("not compatible", "incompatible_types"), ("empty set", "empty_set"),
            ("non-literal", "non_literal_constructor"), ("argument validation", "invalid_extension_literal"),
            ("number of arguments", "wrong_argument_count"), ("enumerated entity type", "invalid_enum_id"),
            ("not found", "attribute_not_found"),
        ]
        for line in open(sys.argv[1], encoding="utf-8", newline="\\n"):
            case = json.loads(line)
            for policy in case["policies"]:
                try:
                    result = cedarpy.validate_policies(policy, case["schema"])
                except Exception:
                    print("refused")
                    continue
                errors = [e.error for e in result.errors]
                found = {next((k for w, k in kinds if w in e), "other: " + e) for e in errors}
                print(" ".join(sorted(found)) or "valid")
        """
}

/// Writes a schema, and policies that mostly fit it.
private struct ValidationCaseGenerator {
    indirect enum Kind: Equatable {
        case bool, long, string, decimal, ip, datetime, duration
        case set(Kind)
        case record([Field])
        case entity(String)
    }

    struct Field: Equatable {
        let name: String
        let kind: Kind
        let isOptional: Bool
    }

    private struct EntityModel {
        let name: String
        let parents: [String]
        let attributes: [Field]
        let tags: Kind?
    }

    private struct ActionModel {
        let id: String
        let parents: [String]
        let principals: [String]
        let resources: [String]
        let context: [Field]
    }

    private var random: SplitMix
    private var entities: [EntityModel] = []
    private var actions: [ActionModel] = []
    private var environment: ActionModel?
    private var principal = ""
    private var resource = ""

    init(seed: UInt64) {
        random = SplitMix(seed: seed)
    }

    private mutating func chance(_ one: Int) -> Bool { random.next(one) == 0 }
    private mutating func pick<T>(_ options: [T]) -> T { options[random.next(options.count)] }

    private let entityNames = ["A", "B", "N::C", "D"]
    private let fieldNames = ["a", "b", "c", "if", "x y"]

    // MARK: Schemas

    mutating func makeCase() -> (schema: String, policies: [String]) {
        for name in entityNames {
            entities.append(
                EntityModel(
                    name: name,
                    parents: entityNames.filter { _ in chance(3) },
                    attributes: fields(2),
                    tags: chance(2) ? kind(1) : nil
                )
            )
        }
        for number in 0...random.next(3) {
            actions.append(
                ActionModel(
                    id: "act\(number)",
                    parents: actions.map(\.id).filter { _ in chance(2) },
                    principals: someEntities(),
                    resources: someEntities(),
                    context: fields(2)
                )
            )
        }
        var text = "entity E enum [\"x\", \"y\"];\naction group;\n"
        for entity in entities {
            let isNamespaced = entity.name == "N::C"
            let parents =
                entity.parents.isEmpty ? "" : " in [\(entity.parents.joined(separator: ", "))]"
            let tags = entity.tags.map { " tags \(write($0))" } ?? ""
            let line =
                "entity \(isNamespaced ? "C" : entity.name)\(parents) = \(write(.record(entity.attributes)))\(tags);\n"
            text += isNamespaced ? "namespace N {\n\(line)}\n" : line
        }
        for action in actions {
            let parents = (action.parents + (chance(2) ? ["group"] : [])).map { "\"\($0)\"" }
            text +=
                "action \"\(action.id)\"\(parents.isEmpty ? "" : " in [\(parents.joined(separator: ", "))]")"
            text +=
                " appliesTo { principal: [\(action.principals.joined(separator: ", "))], resource: [\(action.resources.joined(separator: ", "))], context: \(write(.record(action.context))) };\n"
        }
        let policies = (0..<5).map { _ in policy() }
        return (text, policies)
    }

    private mutating func someEntities() -> [String] {
        let some = entityNames.filter { _ in chance(3) }
        return some.isEmpty ? [pick(entityNames)] : some
    }

    private mutating func fields(_ depth: Int) -> [Field] {
        fieldNames.filter { _ in !chance(3) }.map {
            Field(name: $0, kind: kind(depth), isOptional: chance(3))
        }
    }

    private mutating func kind(_ depth: Int) -> Kind {
        switch random.next(depth > 0 ? 11 : 9) {
        case 0, 1: .bool
        case 2, 3: .long
        case 4: .string
        case 5: pick([.decimal, .ip])
        case 6: pick([.datetime, .duration])
        case 7, 8: .entity(pick(entityNames + ["E"]))
        case 9: .set(kind(depth - 1))
        default: .record(fields(depth - 1))
        }
    }

    private func write(_ kind: Kind) -> String {
        switch kind {
        case .bool: "Bool"
        case .long: "Long"
        case .string: "String"
        case .decimal: "decimal"
        case .ip: "ipaddr"
        case .datetime: "datetime"
        case .duration: "duration"
        case .set(let element): "Set<\(write(element))>"
        case .entity(let name): name
        case .record(let fields):
            "{"
                + fields.map { "\"\($0.name)\"\($0.isOptional ? "?" : ""): \(write($0.kind))" }
                .joined(separator: ", ") + "}"
        }
    }

    // MARK: Policies

    private mutating func policy() -> String {
        let action = pick(actions)
        environment = action
        principal = pick(action.principals)
        resource = pick(action.resources)
        let scope = [
            constraint("principal", principal),
            pick([
                "action == Action::\"\(action.id)\"", "action == Action::\"\(action.id)\"",
                "action", "action in Action::\"group\"",
                "action in [Action::\"\(action.id)\", Action::\"\(pick(actions).id)\"]",
                chance(8) ? "action == Action::\"nope\"" : "action",
            ]),
            constraint("resource", resource),
        ]
        let conditions = (0...random.next(2)).map { _ in
            "\(chance(4) ? "unless" : "when") { \(expression(.bool, 3)) }"
        }
        let effect = pick(["permit", "forbid"])
        return "\(effect)(\(scope.joined(separator: ", "))) \(conditions.joined(separator: " "));"
    }

    private mutating func constraint(_ variable: String, _ type: String) -> String {
        switch random.next(9) {
        case 0: "\(variable) == \(type)::\"i\""
        case 1: "\(variable) in \(pick(entityNames))::\"i\""
        case 2: "\(variable) is \(pick([type, type, pick(entityNames), "Nope"]))"
        case 3: "\(variable) is \(type) in \(pick(entityNames))::\"i\""
        case 4: chance(3) ? variable : "\(variable) is \(type)"
        default: "\(variable) is \(type)"
        }
    }

    // MARK: Expressions

    private mutating func expression(_ wanted: Kind, _ depth: Int) -> String {
        // Now and then another type than is wanted.
        let wanted = chance(25) ? kind(1) : wanted
        let found = holders(depth).filter { $0.kind == wanted }
        if !found.isEmpty, chance(depth > 0 ? 3 : 1) {
            let path = pick(found)
            return path.guards.isEmpty || chance(4) || wanted != .bool
                ? path.text : "(\((path.guards + [path.text]).joined(separator: " && ")))"
        }
        let d = depth - 1
        switch wanted {
        case .bool: return bool(depth)
        case .long:
            guard depth > 0 else { return pick(["1", "0", "-5"]) }
            switch random.next(4) {
            case 0:
                return "(\(expression(.long, d)) \(pick(["+", "-", "*"])) \(expression(.long, d)))"
            case 1:
                return
                    "(if \(expression(.bool, d)) then \(expression(.long, d)) else \(expression(.long, d)))"
            case 2: return "\(expression(.duration, d)).\(pick(["toDays", "toMilliseconds"]))()"
            default: return "-(\(expression(.long, d)))"
            }
        case .string: return pick(["\"s\"", "\"\"", "\"10.0.0.1\""])
        case .decimal: return "decimal(\(chance(8) ? expression(.string, 0) : "\"1.5\""))"
        case .ip: return "ip(\(chance(8) ? expression(.string, 0) : "\"10.0.0.1\""))"
        case .datetime:
            return chance(3) && depth > 0
                ? "\(expression(.datetime, d)).offset(\(expression(.duration, d)))"
                : "datetime(\"\(pick(["2024-01-01", "2024-01-01", "nope"]))\")"
        case .duration:
            return chance(3) && depth > 0
                ? "\(expression(.datetime, d)).\(chance(2) ? "toTime()" : "durationSince(\(expression(.datetime, d)))")"
                : "duration(\"1d\"\(chance(20) ? ", 1" : ""))"
        case .set(let element):
            let count = chance(12) ? 0 : 1 + random.next(2)
            return "[\((0..<count).map { _ in expression(element, d) }.joined(separator: ", "))]"
        case .record(let fields):
            let members = fields.filter { !$0.isOptional || chance(2) }
            return
                "{\(members.map { "\"\($0.name)\": \(expression($0.kind, d))" }.joined(separator: ", "))}"
        case .entity(let name):
            if name == principal, chance(2) { return "principal" }
            if name == resource, chance(2) { return "resource" }
            if name == "E" {
                return pick(["E::\"x\"", "E::\"y\"", chance(6) ? "E::\"z\"" : "E::\"x\""])
            }
            return "\(chance(30) ? "Nope" : name)::\"i\""
        }
    }

    private mutating func bool(_ depth: Int) -> String {
        guard depth > 0 else { return pick(["true", "false", "1 < 2"]) }
        let d = depth - 1
        let any = kind(1)
        switch random.next(22) {
        case 0, 1, 2: return "(\(expression(.bool, d)) && \(expression(.bool, d)))"
        case 3, 4: return "(\(expression(.bool, d)) || \(expression(.bool, d)))"
        case 5: return "!(\(expression(.bool, d)))"
        case 6:
            return
                "(if \(expression(.bool, d)) then \(expression(.bool, d)) else \(expression(.bool, d)))"
        case 7, 8:
            return "\(paren(expression(any, d))) \(pick(["==", "!="])) \(paren(expression(any, d)))"
        case 9:
            let kind = pick([Kind.long, .datetime, .duration, .decimal])
            return
                "\(paren(expression(kind, d))) \(pick(["<", ">="])) \(paren(expression(kind, d)))"
        case 10:
            let container = Kind.entity(pick(entityNames))
            let right = chance(2) ? expression(container, d) : expression(.set(container), d)
            return "\(paren(expression(.entity(pick(entityNames)), d))) in \(paren(right))"
        case 11:
            return "action \(pick(["==", "in"])) Action::\"\(pick(actions.map(\.id) + ["group"]))\""
        case 12: return "\(paren(expression(.set(any), d))).contains(\(expression(any, d)))"
        case 13:
            return
                "\(paren(expression(.set(any), d))).\(pick(["containsAll", "containsAny"]))(\(expression(.set(any), d)))"
        case 14: return "\(paren(expression(.set(any), d))).isEmpty()"
        case 15: return "\(paren(expression(.string, d))) like \"a*\""
        case 16:
            return "\(paren(expression(.entity(pick(entityNames)), d))) is \(pick(entityNames))"
        case 17:
            return
                "\(paren(expression(.ip, d))).\(chance(2) ? "isIpv4()" : "isInRange(\(expression(.ip, d)))")"
        case 18: return "\(paren(expression(.decimal, d))).lessThan(\(expression(.decimal, d)))"
        case 19:
            let tag = pick(["\"t\"", expression(.string, 0)])
            let holder = pick([
                "principal", "resource", paren(expression(.entity(pick(entityNames)), 0)),
            ])
            let type = entities.first { $0.name == (holder == "principal" ? principal : resource) }?
                .tags
            let read = "\(holder).getTag(\(tag)) == \(paren(expression(type ?? .long, 0)))"
            return chance(6) ? read : "(\(holder).hasTag(\(tag)) && \(read))"
        case 20:
            let holder = pick(["principal", "resource", "context"])
            return "\(holder) has \(pick(["a", "b", "c", "a.b", "\"x y\"", "b.a.c"]))"
        default:
            // A read of something optional behind its test.
            let paths = holders(depth).filter { !$0.guards.isEmpty }
            guard !paths.isEmpty else { return "true" }
            let path = pick(paths)
            return
                "(\(path.guards.joined(separator: " && ")) && \(path.text) == \(paren(expression(path.kind, d))))"
        }
    }

    private func paren(_ text: String) -> String { "(\(text))" }

    private struct Path {
        let text: String
        let kind: Kind
        let guards: [String]
    }

    /// What can be read from the request, with the tests that reading it needs.
    private func holders(_ depth: Int) -> [Path] {
        guard let environment else { return [] }
        var found: [Path] = []
        var open = [
            Path(text: "principal", kind: .entity(principal), guards: []),
            Path(text: "resource", kind: .entity(resource), guards: []),
            Path(text: "context", kind: .record(environment.context), guards: []),
        ]
        for _ in 0..<3 {
            var next: [Path] = []
            for path in open {
                let fields: [Field]
                switch path.kind {
                case .record(let own): fields = own
                case .entity(let name):
                    fields = entities.first { $0.name == name }?.attributes ?? []
                default: continue
                }
                for field in fields {
                    let isWord = field.name != "if" && field.name != "x y"
                    let text = path.text + (isWord ? ".\(field.name)" : "[\"\(field.name)\"]")
                    let test = "\(path.text) has \(isWord ? field.name : "\"\(field.name)\"")"
                    next.append(
                        Path(
                            text: text,
                            kind: field.kind,
                            guards: path.guards + (field.isOptional ? [test] : [])
                        )
                    )
                }
            }
            found += next
            open = next
        }
        return found
    }
}
