import Cedar
import Foundation
import JSON
import Testing

/// Schemas and entities nobody thought of.
///
/// `OSTIARY_FUZZ_CASES` and `OSTIARY_FUZZ_SEED` choose how much and what; a failing seed becomes a
/// row in `SchemaTests`.
@Suite struct SchemaFuzzTests {
    private static var cases: Int {
        let wanted = ProcessInfo.processInfo.environment["OSTIARY_FUZZ_CASES"]
        return Int(wanted ?? "") ?? (SharedData.isRelease ? 3000 : 400)
    }

    private static var seed: UInt64 {
        UInt64(ProcessInfo.processInfo.environment["OSTIARY_FUZZ_SEED"] ?? "") ?? 1
    }

    @Test func `whatever is read keeps its meaning through both syntaxes`() throws {
        var generator = SchemaGenerator(seed: Self.seed)
        var accepted = 0
        for number in 0..<Self.cases {
            let text = generator.text()
            do throws(SchemaFailure) {
                let syntax = try SchemaSyntax(parsing: text)
                let schema = try syntax.resolved()
                accepted += 1
                let printed = try syntax.formatted()
                let again = try SchemaSyntax(parsing: printed)
                #expect(try again.resolved() == schema, "case \(number)\n\(text)")
                #expect(try again.formatted() == printed, "case \(number)\n\(text)")
                let json = syntax.jsonBytes
                guard let document = try? JSONDocument(parsing: json) else {
                    Issue.record("case \(number)\n\(text)")
                    continue
                }
                let other = try SchemaSyntax(json: document)
                #expect(try other.resolved() == schema, "case \(number)\n\(text)")
                #expect(other.jsonBytes == json, "case \(number)\n\(text)")
            } catch {
                check(error, Array(text.utf8), "case \(number)\n\(text)")
            }
        }
        SharedData.note(
            "schema texts, seed \(Self.seed): \(Self.cases) cases, \(accepted) accepted"
        )
        #expect(accepted > Self.cases / 20)
    }

    @Test func `whatever is damaged is refused with places, or read`() throws {
        var generator = SchemaGenerator(seed: Self.seed &+ 1_000_000)
        for number in 0..<Self.cases {
            let text = generator.text()
            let damaged = generator.damaged(Array(text.utf8))
            let mutated = String(decoding: damaged, as: UTF8.self)
            do throws(SchemaFailure) {
                _ = try Schema(parsing: mutated, rules: .publishing)
            } catch {
                check(error, Array(mutated.utf8), "case \(number)\n\(mutated)")
            }
            guard let syntax = try? SchemaSyntax(parsing: text),
                let document = try? JSONDocument(parsing: generator.damaged(syntax.jsonBytes))
            else { continue }
            do throws(SchemaFailure) {
                let other = try SchemaSyntax(json: document)
                _ = try other.formatted()
                _ = try other.resolved()
            } catch {
                check(error, document.bytes, "case \(number)")
                #expect(error.diagnostics.allSatisfy { $0.pointer != nil }, "case \(number)")
            }
        }
    }

    private func check(_ failure: SchemaFailure, _ source: [UInt8], _ name: String) {
        let found = failure.diagnostics
        #expect(!found.isEmpty && found.count <= SchemaLimits.findingsMax + 1, "\(name)")
        #expect(
            found.allSatisfy {
                $0.line >= 1 && $0.column >= 1 && $0.span.start <= $0.span.end
                    && Int($0.span.end) <= source.count
            },
            "\(name): \(failure)"
        )
        #expect(found.map(\.span.start) == found.map(\.span.start).sorted(), "\(name)")
    }

    // MARK: Beside an independent engine

    @Test func `random schemas are accepted as by an independent engine`() throws {
        guard let python = ProcessInfo.processInfo.environment["OSTIARY_CEDARPY"] else {
            SharedData.note("skipped 1 differential run: OSTIARY_CEDARPY is not set")
            return
        }
        var generator = SchemaGenerator(seed: Self.seed &+ 2_000_000)
        var lines: [[UInt8]] = []
        var ours: [String] = []
        for number in 0..<Self.cases {
            var text = generator.text()
            if number % 4 == 0 {
                text = String(decoding: generator.damaged(Array(text.utf8)), as: UTF8.self)
            }
            lines.append(JSONFragment(object: { $0.member("text", text) }).bytes)
            ours.append((try? Schema(parsing: text)) == nil ? "refused" : "accepted")
            guard let syntax = try? SchemaSyntax(parsing: text) else { continue }
            // A name of another kind, a missing list: mistakes that only JSON can make.
            let json = generator.changed(String(decoding: syntax.jsonBytes, as: UTF8.self))
            lines.append(JSONFragment(object: { $0.member("json", json) }).bytes)
            let document = try? JSONDocument(parsing: json)
            ours.append(
                document.flatMap { try? Schema(json: $0) } == nil ? "refused" : "accepted"
            )
        }
        try compare(lines, ours, python, "schemas")
    }

    @Test func `random entities are accepted as by an independent engine`() throws {
        guard let python = ProcessInfo.processInfo.environment["OSTIARY_CEDARPY"] else {
            SharedData.note("skipped 1 differential run: OSTIARY_CEDARPY is not set")
            return
        }
        let schema = try Schema(parsing: EntityGenerator.schema)
        var generator = EntityGenerator(seed: Self.seed &+ 3_000_000)
        var lines: [[UInt8]] = []
        var ours: [String] = []
        for _ in 0..<Self.cases {
            let text = generator.entities()
            lines.append(
                JSONFragment(object: { writer in
                    writer.member("schema", EntityGenerator.schema)
                    writer.member("entities", text)
                }).bytes
            )
            let json = try JSONDocument(parsing: text).root
            let list = try? Entity.list(cedarJSON: json, schema: schema)
            let isRead = list.map { (try? EntitySnapshot(entities: $0)) != nil } ?? false
            ours.append(isRead ? "accepted" : "refused")
        }
        try compare(lines, ours, python, "entities")
    }

    private func compare(
        _ lines: [[UInt8]],
        _ ours: [String],
        _ python: String,
        _ name: String
    ) throws {
        let theirs = try ask(python, lines)
        try #require(theirs.count == lines.count)
        var differences = 0
        for (line, verdicts) in zip(lines, zip(ours, theirs)) where verdicts.0 != verdicts.1 {
            differences += 1
            if differences <= 10 {
                let text = String(decoding: line, as: UTF8.self)
                Issue.record("ours \(verdicts.0), theirs \(verdicts.1)\n\(text)")
            }
        }
        SharedData.note(
            "\(name) beside an independent engine, seed \(Self.seed): \(lines.count) cases, "
                + "\(ours.count { $0 == "accepted" }) accepted, \(differences) differ"
        )
        #expect(differences == 0)
    }

    private func ask(_ python: String, _ lines: [[UInt8]]) throws -> [String] {
        let file = FileManager.default.temporaryDirectory
            .appendingPathComponent("cedar-schemas-\(UUID().uuidString)")
        try Data(lines.joined(separator: [0x0A])).write(to: file)
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
        for line in open(sys.argv[1], encoding="utf-8", newline="\\n"):
            case = json.loads(line)
            try:
                if "text" in case:
                    cedarpy.Schema.from_str(case["text"])
                elif "entities" in case:
                    cedarpy.Entities.from_json_str(case["entities"], case["schema"])
                else:
                    cedarpy.Schema.from_json_str(case["json"])
                print("accepted")
            except Exception:
                print("refused")
        """
}

extension SchemaSyntax {
    fileprivate var jsonBytes: [UInt8] { JSONFragment(self).bytes }
}

/// Writes random schemas over few names, so that they meet.
private struct SchemaGenerator {
    private var random: SplitMix

    init(seed: UInt64) {
        random = SplitMix(seed: seed)
    }

    private mutating func pick<T>(_ options: [T]) -> T { options[random.next(options.count)] }

    private mutating func some(_ most: Int, _ make: (inout Self) -> String) -> [String] {
        (0..<random.next(most + 1)).map { _ in make(&self) }
    }

    mutating func text() -> String {
        var text = declarations(3)
        for name in ["N", "M", "N::M"] where random.next(3) == 0 {
            text += "\(annotations())namespace \(name) {\n\(declarations(3))}\n"
        }
        return text
    }

    private mutating func declarations(_ most: Int) -> String {
        some(most) { $0.declaration() }.joined(separator: "\n") + "\n"
    }

    private mutating func declaration() -> String {
        switch random.next(4) {
        case 0: return "\(annotations())type \(name()) = \(type(2));"
        case 1, 2:
            var text = "\(annotations())entity \(name())"
            if random.next(6) == 0 { return text + " enum [\"a\", \"é\"];" }
            if random.next(3) == 0 {
                text += " in [\(some(2) { $0.path() }.joined(separator: ", "))]"
            }
            if random.next(2) == 0 { text += " = \(record(2))" }
            if random.next(3) == 0 { text += " tags \(type(1))" }
            return text + ";"
        default:
            var text = "\(annotations())action \(action())"
            if random.next(3) == 0 {
                text += " in \(pick(["", "Action::", "N::Action::"]))\"\(pick(["a", "b"]))\""
            }
            if random.next(2) == 0 {
                text += " appliesTo { principal: \(path()), resource: [\(path())]"
                if random.next(2) == 0 {
                    text += ", context: \(random.next(3) == 0 ? path() : record(1))"
                }
                text += " }"
            }
            return text + ";"
        }
    }

    private mutating func annotations() -> String {
        random.next(4) == 0 ? pick(["@a ", "@if(\"x\\u{202e}\") ", "@a(\"\") @b "]) : ""
    }

    private mutating func name() -> String {
        pick(["A", "B", "C", "D", "Long", "String", "ipaddr", "Action", "tags", "E", "F", "G"])
    }

    private mutating func path() -> String {
        pick(["", "", "", "N::", "M::", "N::M::"]) + name()
    }

    private mutating func action() -> String {
        pick(["a", "b", "\"a\"", "\"c d\"", "view", "\"é\""])
    }

    private mutating func type(_ depth: Int) -> String {
        switch random.next(depth > 0 ? 8 : 5) {
        case 0, 1: return pick(["Long", "String", "Bool", "decimal", "datetime", "__cedar::Long"])
        case 2, 3: return path()
        case 4: return pick(["Boolean", "__cedar::ipaddr", "duration", "Set", "Missing"])
        case 5: return "Set<\(type(depth - 1))>"
        default: return record(depth - 1)
        }
    }

    private mutating func record(_ depth: Int) -> String {
        let attributes = some(3) { generator in
            let name = generator.pick(["x", "y", "\"z z\"", "tags", "\"if\"", "__cedar", "w"])
            let mark = generator.random.next(3) == 0 ? "?" : ""
            return "\(generator.annotations())\(name)\(mark): \(generator.type(depth))"
        }
        return "{\(attributes.joined(separator: ", "))}"
    }

    /// A few bytes deleted, doubled, exchanged or replaced.
    mutating func damaged(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0...random.next(3) where !bytes.isEmpty {
            let at = random.next(bytes.count)
            switch random.next(4) {
            case 0: bytes.remove(at: at)
            case 1: bytes.insert(bytes[at], at: random.next(bytes.count))
            case 2: bytes.swapAt(at, random.next(bytes.count))
            default: bytes[at] = pick(Array("{}[]<>;:,\"\\?@= \r\n/*aAé\0".utf8))
            }
        }
        return bytes
    }

    /// JSON with one word exchanged for another.
    mutating func changed(_ json: String) -> String {
        let words = [
            "EntityOrCommon", "Entity", "Record", "Long", "\"A\"", "\"B\"", "\"required\"",
            "\"appliesTo\"", "\"memberOf\"", "\"type\"", "\"shape\"", "\"attributes\"", "\"tags\"",
            "false", "Set", "principalTypes", "Extension", "annotations",
        ]
        let (old, new) = (pick(words), pick(words))
        return json.replacingOccurrences(of: old, with: new)
    }
}

/// Writes random entities for one schema, mostly as it says.
private struct EntityGenerator {
    static let schema = """
        entity M; entity N in [M]; entity En enum ["a", "b"];
        entity U in [N] = {
          s?: String, n?: Long, b?: Bool, m?: M, ip?: ipaddr, d?: decimal, dt?: datetime,
          du?: duration, ss?: Set<String>, sm?: Set<M>, r?: {k: String, o?: M}, e?: En,
          act?: Action, "a b"?: Set<{i?: ipaddr}>
        } tags ipaddr;
        action any; action read in any; action view in read;
        """

    private var random: SplitMix

    init(seed: UInt64) {
        random = SplitMix(seed: seed)
    }

    private mutating func pick<T>(_ options: [T]) -> T { options[random.next(options.count)] }

    mutating func entities() -> String {
        "[" + (0...random.next(2)).map { _ in entity() }.joined(separator: ", ") + "]"
    }

    private mutating func entity() -> String {
        let type = pick(["U", "U", "U", "U", "N", "M", "En", "Action"])
        let name = uid(
            type,
            pick(type == "En" ? ["a", "b"] : type == "Action" ? ["any"] : ["x", "y"])
        )
        var attributes: [String: String] = [:]
        for _ in 0..<(type == "U" ? random.next(3) : random.next(8) / 7) {
            let key = pick([
                "s", "n", "b", "m", "ip", "d", "dt", "du", "ss", "sm", "r", "e", "act", "a b",
            ])
            attributes[key] = random.next(12) == 0 ? value() : value(of: name)
        }
        if random.next(40) == 0 { attributes["zz"] = value() }
        let members = attributes.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }
        var parents: [String] = []
        if type == "U" || type == "N", random.next(3) == 0 {
            parents.append(uid(random.next(12) == 0 ? pick(["U", "En", "Z"]) : "M", "p"))
        }
        var text = "{\"uid\": \(name), \"attrs\": {\(members.joined(separator: ", "))}, "
        text += "\"parents\": [\(parents.joined(separator: ", "))]"
        if type == "U" ? random.next(4) == 0 : random.next(40) == 0 {
            text += ", \"tags\": {\"t\": \(random.next(10) == 0 ? value() : value(of: "ip"))}"
        }
        return text + "}"
    }

    private mutating func uid(_ type: String, _ id: String) -> String {
        let plain = "{\"type\": \"\(type)\", \"id\": \"\(id)\"}"
        return random.next(4) == 0 ? "{\"__entity\": \(plain)}" : plain
    }

    private mutating func call(_ function: String, _ text: String) -> String {
        switch random.next(4) {
        case 0: "{\"__extn\": {\"fn\": \"\(function)\", \"arg\": \"\(text)\"}}"
        case 1: "{\"fn\": \"\(function)\", \"arg\": \"\(text)\"}"
        case 2: "{\"fn\": \"\(function)\", \"args\": [\"\(text)\"]}"
        default: "\"\(text)\""
        }
    }

    private mutating func value(of attribute: String) -> String {
        switch attribute {
        case "s": "\"x\""
        case "n": pick(["1", "-9223372036854775808", "9223372036854775808", "1.0"])
        case "b": "true"
        case "m": uid("M", "x")
        case "ip": call("ip", pick(["1.2.3.4", "::1/64", "1.2.3.4/33"]))
        case "d": call("decimal", pick(["1.5", "-0.0001", "1.23456"]))
        case "dt": call("datetime", pick(["2024-01-01", "2024-02-30"]))
        case "du": call("duration", pick(["1h", "-1d2h", "1h1d"]))
        case "ss": pick(["[]", "[\"a\", \"a\"]", "[\"a\", 1]"])
        case "sm": "[\(uid("M", "x")), \(uid("M", "y"))]"
        case "r": pick(["{\"k\": \"x\"}", "{\"k\": \"x\", \"o\": \(uid("M", "x"))}", "{}"])
        case "e": uid("En", pick(["a", "b", "b", "c"]))
        case "act": uid("Action", pick(["any", "view", "nope"]))
        default: "[{\"i\": \(call("ip", "::1"))}, {}]"
        }
    }

    private mutating func value() -> String {
        switch random.next(10) {
        case 0: "null"
        case 1: "1.5"
        case 2: "\"M::\\\"x\\\"\""
        case 3: "{\"__expr\": \"1\"}"
        case 4: "{\"__entity\": {\"type\": \"a b\", \"id\": \"x\"}}"
        case 5: "{\"fn\": \"isIpv4\", \"arg\": \"::1\"}"
        default: value(of: pick(["s", "n", "b", "m", "ip", "d", "dt", "du", "ss", "r", "e"]))
        }
    }
}
