import Cedar
import Foundation
import JSON
import Testing

/// Random policies, entities and requests, answered by us and by an independent engine.
///
/// The peer is the Python package `cedarpy` 4.12.2; `OSTIARY_CEDARPY` names a Python interpreter
/// that has it, and without it the test is skipped with a note. `OSTIARY_FUZZ_CASES` and
/// `OSTIARY_FUZZ_SEED` choose how much and what.
@Suite struct DifferentialTests {
    @Test func `random cases are answered as by an independent engine`() throws {
        let environment = ProcessInfo.processInfo.environment
        guard let python = environment["OSTIARY_CEDARPY"] else {
            SharedData.note("skipped 1 differential run: OSTIARY_CEDARPY is not set")
            return
        }
        let cases =
            Int(environment["OSTIARY_FUZZ_CASES"] ?? "") ?? (SharedData.isRelease ? 2000 : 300)
        let seed = UInt64(environment["OSTIARY_FUZZ_SEED"] ?? "") ?? 1
        var generator = CaseGenerator(seed: seed)
        let generated = (0..<cases).map { _ in generator.makeCase() }
        let theirs = try ask(python, generated)
        try #require(theirs.count == cases)
        var (differences, parsed, failed) = (0, 0, 0)
        for (test, their) in zip(generated, theirs) {
            let our = try answer(test)
            parsed += our == "refused" ? 0 : 1
            failed += our.contains("!") ? 1 : 0
            guard our != their else { continue }
            differences += 1
            if differences <= 10 {
                Issue.record(
                    "ours \(our), theirs \(their)\n\(String(decoding: test, as: UTF8.self))"
                )
            }
        }
        SharedData.note(
            "differential, seed \(seed): \(cases) cases, \(parsed) parsed, \(failed) with errors, \(differences) differ"
        )
        #expect(differences == 0)
    }

    /// `allow policy0 policy1 !policy2`, or `refused`.
    private func answer(_ line: [UInt8]) throws -> String {
        let test = try SharedData.json(line)
        guard let set = try? PolicySet.parse(test["policies"]?.string?.string ?? "") else {
            return "refused"
        }
        let request = try #require(test["request"])
        let list = try Entity.list(cedarJSON: try #require(test["entities"]))
        let compiled = CompiledPolicySet(set)
        let snapshot = try EntitySnapshot(entities: list)
        let question = Request(
            principal: try EntityUID(cedarJSON: try #require(request["principal"])),
            action: try EntityUID(cedarJSON: try #require(request["action"])),
            resource: try EntityUID(cedarJSON: try #require(request["resource"])),
            context: try Value.record(cedarJSON: try #require(request["context"]))
        )
        let answer = Authorizer(policies: compiled, entities: snapshot).decide(question)
        let plain = Authorizer(policies: compiled, entities: snapshot, usesIndex: false)
        guard plain.decide(question) == answer else { return "the index changes the answer" }
        var writer = JSONWriter()
        set.write(to: &writer)
        let limits = JSONLimits(depthMax: 512)
        let again = try PolicySet(json: JSONDocument(parsing: writer.finish(), limits: limits))
        let reread = CompiledPolicySet(again).decide(question, entities: snapshot)
        guard Set(reread.determining) == Set(answer.determining) else {
            return "JSON changes the answer"
        }
        let words =
            [answer.decision == .allow ? "allow" : "deny"]
            + answer.determining.map(\.text.string).sorted()
            + answer.errors.map { "!" + $0.policy.text.string }.sorted()
        return words.joined(separator: " ")
    }

    private func ask(_ python: String, _ cases: [[UInt8]]) throws -> [String] {
        let file = FileManager.default.temporaryDirectory
            .appendingPathComponent("cedar-cases-\(UUID().uuidString)")
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
        import json, re, sys, cedarpy
        for line in open(sys.argv[1], encoding="utf-8", newline="\\n"):
            case = json.loads(line)
            try:
                policies = cedarpy.PolicySet.from_str(case["policies"])
            except Exception:
                print("refused")
                continue
            answer = cedarpy.is_authorized(case["request"], policies, json.dumps(case["entities"]))
            found = [re.match("error while evaluating policy `(.*?)`", e) for e in answer.diagnostics.errors]
            errors = sorted("!" + (m.group(1) if m else "?") for m in found)
            print(" ".join([answer.decision.value.lower()] + sorted(answer.diagnostics.reasons) + errors))
        """
}

/// Writes random cases, mostly well-typed.
private struct CaseGenerator {
    private var random: SplitMix

    init(seed: UInt64) {
        random = SplitMix(seed: seed)
    }

    private mutating func pick<T>(_ options: [T]) -> T { options[random.next(options.count)] }

    // MARK: Cases

    mutating func makeCase() -> [UInt8] {
        var policies = (0...random.next(5)).map { _ in policy() }.joined(separator: "\n")
        if random.next(5) == 0 { policies = damaged(policies) }
        let request = JSONFragment(object: { writer in
            writer.member("principal", uid("U"))
            writer.member("action", uid("Action"))
            writer.member("resource", uid("R"))
            writer.member("context", record(depth: 2))
        })
        let entities = self.entities()
        return JSONFragment(object: { writer in
            writer.member("policies", policies)
            writer.member("request", request)
            writer.member("entities", entities)
        }).bytes
    }

    /// Removes or inserts a piece, so that both sides also agree on what is no policy.
    private mutating func damaged(_ text: String) -> String {
        var scalars = Array(text.unicodeScalars)
        let at = random.next(scalars.count)
        if random.next(2) == 0 {
            scalars.removeSubrange(at..<min(at + 1 + random.next(3), scalars.count))
        } else {
            let pieces = [
                "(", ")", "[", "]", "{", "}", ".", ",", ";", ":", "::", "\"", "\\", "=", "==", "!",
                "-", "*", "/",
                "if ", " in ", " has ", " is ", " like ", "true", "__cedar", "@a", "?principal",
                "//", "\r", "1",
                "\u{a0}", "\u{feff}", "\u{e9}", " when { true }", "principal", "ip", "isIpv4",
                ".isEmpty()", "&", "|",
            ]
            scalars.insert(contentsOf: pick(pieces).unicodeScalars, at: at)
        }
        var result = ""
        result.unicodeScalars.append(contentsOf: scalars)
        return result
    }

    private mutating func uid(_ type: String) -> JSONFragment {
        let id = pick(ids)
        return JSONFragment(object: { writer in
            writer.member("type", type)
            writer.member("id", id)
        })
    }

    private let ids = ["a", "b", "\u{e9}", "e\u{301}", "", "a\"\\\n", "\u{2028}"]

    private mutating func entities() -> JSONFragment {
        var fragments: [JSONFragment] = []
        for (rank, type) in ["U", "R", "NS::G", "Action"].enumerated() {
            for (number, id) in ids.enumerated() where random.next(3) > 0 {
                let attributes = record(depth: 2)
                let tags = record(depth: 1)
                var parents: [JSONFragment] = []
                for _ in 0..<random.next(3) {
                    // Users and resources are in groups, groups and actions in later ones of their
                    // kind.
                    let upper = rank < 2 ? 0 : number + 1
                    guard upper < ids.count else { continue }
                    let parent = ids[upper + random.next(ids.count - upper)]
                    parents.append(
                        JSONFragment(object: { writer in
                            writer.member("type", rank < 2 ? "NS::G" : type)
                            writer.member("id", parent)
                        })
                    )
                }
                fragments.append(
                    JSONFragment(object: { writer in
                        writer.key("uid")
                        writer.object { writer in
                            writer.member("type", type)
                            writer.member("id", id)
                        }
                        writer.member("attrs", attributes)
                        writer.key("parents")
                        writer.array { writer in parents.forEach { writer.value($0) } }
                        if type != "Action" { writer.member("tags", tags) }
                    })
                )
            }
        }
        var writer = JSONWriter()
        writer.array { writer in fragments.forEach { writer.value($0) } }
        return JSONFragment(preserialized: writer.finish())
    }

    private let keys = ["n", "s", "b", "set", "rec", "ent", "ip", "dec", "time", "dur", "a b"]

    private mutating func record(depth: Int) -> JSONFragment {
        let members = keys.filter { _ in random.next(4) > 0 }.map { ($0, value($0, depth: depth)) }
        return JSONFragment(object: { writer in
            for (key, value) in members {
                writer.key(Text(key))
                writer.value(value)
            }
        })
    }

    private mutating func value(_ key: String, depth: Int) -> JSONFragment {
        func escape(_ function: String, _ argument: String) -> JSONFragment {
            JSONFragment(object: { writer in
                writer.key("__extn")
                writer.object { writer in
                    writer.member("fn", function)
                    writer.member("arg", argument)
                }
            })
        }
        // Now and then a value of another type than its name says.
        switch random.next(12) == 0 ? pick(keys) : key {
        case "n": return JSONFragment(pick([0, 1, -1, 2, Int64.max, .min]))
        case "s": return JSONFragment(pick(ids))
        case "b": return JSONFragment(random.next(2) == 0)
        case "ent":
            let reference = uid(pick(["U", "R", "NS::G"]))
            return JSONFragment(object: { $0.member("__entity", reference) })
        case "ip": return escape("ip", pick(["1.2.3.4", "10.0.0.0/8", "::1", "ff00::/8"]))
        case "dec": return escape("decimal", pick(["1.0", "-0.5", "922337203685477.5807"]))
        case "time":
            return escape("datetime", pick(["1970-01-01", "2024-02-29T23:59:59.999+0130"]))
        case "dur": return escape("duration", pick(["1d", "-1ms", "9223372036854775807ms"]))
        case "rec" where depth > 0: return record(depth: depth - 1)
        default:
            let kind = pick(keys)
            let count = depth > 0 ? random.next(4) : 0
            let elements = (0..<count).map { _ in value(kind, depth: depth - 1) }
            var writer = JSONWriter()
            writer.array { writer in elements.forEach { writer.value($0) } }
            return JSONFragment(preserialized: writer.finish())
        }
    }

    // MARK: Policies

    private mutating func policy() -> String {
        let effect = random.next(3) == 0 ? "forbid" : "permit"
        let conditions = (0..<random.next(3)).map { _ in
            "\(random.next(4) == 0 ? "unless" : "when") { \(bool(4)) }"
        }
        let scope = "\(constraint("principal", "U")), \(actions()), \(constraint("resource", "R"))"
        return "\(effect)(\(scope)) \(conditions.joined(separator: " "));"
    }

    private mutating func constraint(_ variable: String, _ type: String) -> String {
        switch random.next(8) {
        case 0: "\(variable) == \(entity(type))"
        case 1: "\(variable) in \(entity("NS::G"))"
        case 2: "\(variable) is \(pick([type, "NS::G"]))"
        case 3: "\(variable) is \(type) in \(entity("NS::G"))"
        default: variable
        }
    }

    private mutating func actions() -> String {
        switch random.next(6) {
        case 0: "action == \(entity("Action"))"
        case 1: "action in \(entity("Action"))"
        case 2: "action in [\(entity("Action")), \(entity("Action"))]"
        default: "action"
        }
    }

    private mutating func entity(_ type: String) -> String { "\(type)::\(string())" }

    private mutating func string() -> String {
        pick([
            "\"a\"", "\"b\"", "\"\\u{e9}\"", "\"e\\u{301}\"", "\"\"", "\"a\\\"\\\\\\n\"",
            "\"\u{2028}\"",
        ])
    }

    // MARK: Expressions

    private mutating func bool(_ depth: Int) -> String {
        guard depth > 0 else { return pick(["true", "false", "context.b", "principal.b"]) }
        if random.next(40) == 0 { return any(depth - 1) }
        switch random.next(24) {
        case 0: return "!\(paren(bool(depth - 1)))"
        case 1, 2: return "\(paren(bool(depth - 1))) && \(paren(bool(depth - 1)))"
        case 3, 4: return "\(paren(bool(depth - 1))) || \(paren(bool(depth - 1)))"
        case 5: return "(if \(bool(depth - 1)) then \(bool(depth - 1)) else \(bool(depth - 1)))"
        case 6: return "\(any(depth - 1)) \(pick(["==", "!="])) \(any(depth - 1))"
        case 7: return "\(long(depth - 1)) \(pick(["<", "<=", ">", ">="])) \(long(depth - 1))"
        case 8: return "\(reference(depth - 1)) in \(pick([reference(depth - 1), set(depth - 1)]))"
        case 9: return "\(reference(depth - 1)) is \(pick(["U", "R", "NS::G", "Action"]))"
        case 10: return "\(reference(depth - 1)) is U in \(reference(depth - 1))"
        case 11:
            return
                "\(holder(depth - 1)) has \(pick(keys.dropLast().map { $0 } + ["\"a b\"", "rec.n", "rec.rec.s", "ent.n"]))"
        case 12:
            return
                "\(text(depth - 1)) like \(pick(["\"*\"", "\"a*\"", "\"*\\n\"", "\"\\*\"", "\"*\\u{301}\"", "\"e*\""]))"
        case 13: return "\(set(depth - 1)).contains(\(any(depth - 1)))"
        case 14:
            return "\(set(depth - 1)).\(pick(["containsAll", "containsAny"]))(\(set(depth - 1)))"
        case 15: return "\(set(depth - 1)).isEmpty()"
        case 16: return "\(reference(depth - 1)).hasTag(\(text(depth - 1)))"
        case 17:
            return
                "\(address(depth - 1)).\(pick(["isIpv4()", "isIpv6()", "isLoopback()", "isMulticast()"]))"
        case 18: return "\(address(depth - 1)).isInRange(\(address(depth - 1)))"
        case 19:
            return
                "\(decimal(depth - 1)).\(pick(["lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"]))(\(decimal(depth - 1)))"
        case 20:
            return "\(time(depth - 1)) \(pick(["<", "<=", ">", ">=", "=="])) \(time(depth - 1))"
        case 21:
            return "\(length(depth - 1)) \(pick(["<", "<=", ">", ">=", "=="])) \(length(depth - 1))"
        case 22: return "\(holder(depth - 1)) has b && \(holder(depth - 1)).b"
        default: return "\(holder(depth - 1)).b"
        }
    }

    private func paren(_ text: String) -> String { "(\(text))" }

    private mutating func any(_ depth: Int) -> String {
        switch random.next(10) {
        case 0: return paren(bool(depth))
        case 1: return long(depth)
        case 2: return text(depth)
        case 3: return set(depth)
        case 4: return holder(depth)
        case 5: return reference(depth)
        case 6: return address(depth)
        case 7: return decimal(depth)
        case 8: return time(depth)
        default: return length(depth)
        }
    }

    private mutating func long(_ depth: Int) -> String {
        guard depth > 0 else {
            return pick(["0", "1", "-1", "9223372036854775807", "-9223372036854775808"])
        }
        switch random.next(6) {
        case 0: return "(\(long(depth - 1)) \(pick(["+", "-", "*"])) \(long(depth - 1)))"
        case 1: return "(-\(paren(long(depth - 1))))"
        case 2:
            return
                "\(length(depth - 1)).\(pick(["toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays"]))()"
        case 3: return "\(holder(depth - 1)).n"
        default: return long(0)
        }
    }

    private mutating func text(_ depth: Int) -> String {
        depth > 0 && random.next(2) == 0 ? "\(holder(depth - 1)).s" : string()
    }

    private mutating func holder(_ depth: Int) -> String {
        guard depth > 0 else { return pick(["context", "context", "principal", "resource"]) }
        switch random.next(6) {
        case 0: return "\(holder(depth - 1)).rec"
        case 1: return "\(holder(depth - 1))[\"rec\"]"
        case 2: return "{n: \(long(depth - 1)), \"a b\": \(any(depth - 1)), s: \(text(depth - 1))}"
        case 3: return reference(depth - 1)
        default: return holder(0)
        }
    }

    private mutating func reference(_ depth: Int) -> String {
        guard depth > 0 else {
            return random.next(3) == 0
                ? entity(pick(["U", "R", "NS::G"])) : pick(["principal", "resource", "action"])
        }
        switch random.next(4) {
        case 0: return "\(holder(depth - 1)).ent"
        case 1: return "\(reference(depth - 1)).getTag(\(pick(["\"ent\"", "\"n\"", "context.s"])))"
        default: return reference(0)
        }
    }

    private mutating func set(_ depth: Int) -> String {
        guard depth > 0, random.next(3) > 0 else {
            return pick(["[]", "[1, 2]", "[\"a\"]", "context.set"])
        }
        let kind = random.next(4)
        let elements = (0..<random.next(4)).map { _ in
            switch kind {
            case 0: long(depth - 1)
            case 1: reference(depth - 1)
            case 2: set(depth - 1)
            default: any(depth - 1)
            }
        }
        return random.next(3) == 0
            ? "\(holder(depth - 1)).set" : "[\(elements.joined(separator: ", "))]"
    }

    private mutating func address(_ depth: Int) -> String {
        switch random.next(5) {
        case 0: "\(holder(max(depth - 1, 0))).ip"
        case 1: "ip(\(text(max(depth - 1, 0))))"
        default:
            "ip(\"\(pick(["1.2.3.4", "10.1.0.0/16", "127.0.0.1", "::1", "ff02::1/8", "::/0", "1.2.3.4/33", "0::g"]))\")"
        }
    }

    private mutating func decimal(_ depth: Int) -> String {
        switch random.next(4) {
        case 0: "\(holder(max(depth - 1, 0))).dec"
        default:
            "decimal(\"\(pick(["1.0", "-0.5000", "1.23456", "922337203685477.5807", "-922337203685477.5808", "1"]))\")"
        }
    }

    private mutating func time(_ depth: Int) -> String {
        switch random.next(5) {
        case 0: "\(holder(max(depth - 1, 0))).time"
        case 1 where depth > 0: "\(time(depth - 1)).offset(\(length(depth - 1)))"
        case 2 where depth > 0: "\(time(depth - 1)).toDate()"
        default:
            "datetime(\"\(pick(["1970-01-01", "1969-12-31T23:59:59.001Z", "2024-02-29T00:00:00+2359", "2023-02-29", "9999-12-31"]))\")"
        }
    }

    private mutating func length(_ depth: Int) -> String {
        switch random.next(5) {
        case 0: "\(holder(max(depth - 1, 0))).dur"
        case 1 where depth > 0: "\(time(depth - 1)).durationSince(\(time(depth - 1)))"
        case 2 where depth > 0: "\(time(depth - 1)).toTime()"
        default:
            "duration(\"\(pick(["1d", "-1d2h3m4s5ms", "0ms", "-9223372036854775808ms", "90s", "1s1m"]))\")"
        }
    }
}
