import JSON

/// Writes random cases, mostly well-typed: policies, templates and links over a small world in which names meet.
///
/// Most of what a case costs is reading its entities, in either engine; so a world of entities serves many cases.
struct CaseGenerator {
    /// Entities, and the cases that are decided over them.
    struct World {
        /// A list of entities, in JSON.
        let entities: [UInt8]
        /// Policies, links and requests, each an object in JSON.
        let cases: [JSONFragment]

        /// The line that engines read: all cases, or one.
        func line(only case: Int? = nil) -> [UInt8] {
            let chosen = `case`.map { [cases[$0]] } ?? cases
            let text = Text(validating: entities) ?? ""
            return JSONFragment(object: { writer in
                // As a string, since the peer hands it on unread.
                writer.member("entities", text)
                writer.key("cases")
                writer.array { writer in chosen.forEach { writer.value($0) } }
            }).bytes
        }
    }

    private var random: SplitMix
    /// Whether the names of this world are chosen to hurt.
    private var isHostile = false
    /// Whether groups are in each other over two dozen steps.
    private var isDeep = false

    init(seed: UInt64) {
        random = SplitMix(seed: seed)
    }

    private mutating func pick<T>(_ options: [T]) -> T { options[random.next(options.count)] }

    // MARK: Cases

    /// Entities, and that many cases over them.
    mutating func makeWorld(cases count: Int) -> World {
        isHostile = random.next(7) == 0
        isDeep = random.next(4) == 0
        let entities = self.entities().bytes
        return World(entities: entities, cases: (0..<count).map { _ in makeCase() })
    }

    /// Policies, links and four requests.
    private mutating func makeCase() -> JSONFragment {
        let count = random.next(8) == 0 ? 12 : 1 + random.next(6)
        let policies = (0..<count).map { _ in policy() }
        let templates = policies.enumerated().filter { $0.element.contains("?") }
        let links = templates.flatMap { number, text in
            (0..<random.next(4)).map { link(number, text, $0) }
        }
        var text = policies.joined(separator: "\n")
        // What is damaged is mostly no policy, and has no links.
        let isDamaged = random.next(6) == 0
        if isDamaged { text = damaged(text) }
        let requests = (0..<Self.requestCount).map { _ in request() }
        return JSONFragment(object: { writer in
            writer.member("policies", text)
            writer.key("links")
            writer.array { writer in
                if !isDamaged { links.forEach { writer.value($0) } }
            }
            writer.key("requests")
            writer.array { writer in requests.forEach { writer.value($0) } }
        })
    }

    static let requestCount = 4

    private mutating func request() -> JSONFragment {
        let principal = uid(random.next(8) == 0 ? "NS::G" : "U")
        let (action, resource) = (uid("Action"), uid("R"))
        let context =
            Text(validating: record(depth: random.next(8) == 0 ? 2 : random.next(2)).bytes) ?? "{}"
        return JSONFragment(object: { writer in
            writer.member("principal", principal)
            writer.member("action", action)
            writer.member("resource", resource)
            writer.member("context", context)
        })
    }

    private mutating func link(_ template: Int, _ text: String, _ number: Int) -> JSONFragment {
        let principal = text.contains("?principal") ? uid(pick(["U", "NS::G"])) : nil
        let resource = text.contains("?resource") ? uid(pick(["R", "NS::G"])) : nil
        let id = pick(["link", "e\u{301}", "\u{e9}", "policy"]) + "\(template)-\(number)"
        return JSONFragment(object: { writer in
            writer.member("template_id", "policy\(template)")
            writer.member("new_id", id)
            writer.key("values")
            writer.object { writer in
                writer.member("?principal", ifPresent: principal)
                writer.member("?resource", ifPresent: resource)
            }
        })
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

    private var ids: [String] { isHostile ? hostileIDs : plainIDs }

    private func ids(of type: String) -> [String] {
        type == "NS::G" && isDeep ? ids + Self.deepIDs : ids
    }

    private static let deepIDs = (0..<24).map { "d\($0)" }

    private let plainIDs = ["a", "b", "\u{e9}", "e\u{301}", "", "a\"\\\n", "\u{2028}"]
    /// Names that some software would take for each other, cut, or show as something else.
    private let hostileIDs = [
        "\u{0}", "a\u{0}b", "\u{1F468}\u{200D}\u{1F469}", "\u{212B}", "\u{c5}", "A\u{30a}",
        "a\u{202E}b",
    ]

    private mutating func entities() -> JSONFragment {
        var fragments: [JSONFragment] = []
        for (rank, type) in ["U", "R", "NS::G", "Action"].enumerated() {
            let ids = ids(of: type)
            for (number, id) in ids.enumerated() where random.next(3) > 0 || number > 7 {
                let attributes = record(depth: random.next(4) == 0 ? 2 : random.next(2))
                let tags = record(depth: 1)
                var parents: [JSONFragment] = []
                for _ in 0..<random.next(3) {
                    // Users and resources are in groups, groups and actions in later ones of their
                    // kind.
                    let candidates = rank < 2 ? self.ids(of: "NS::G") : ids
                    let upper = rank < 2 ? 0 : number + 1
                    guard upper < candidates.count else { continue }
                    // Mostly the next one, so that chains are long.
                    let reach = candidates.count - upper
                    let step = rank == 2 && random.next(4) > 0 ? 0 : random.next(reach)
                    let parent = candidates[upper + step]
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
        let slot = random.next(5) == 0 ? "?\(variable)" : nil
        return switch random.next(8) {
        case 0: "\(variable) == \(slot ?? entity(type))"
        case 1: "\(variable) in \(slot ?? entity("NS::G"))"
        case 2: "\(variable) is \(pick([type, "NS::G"]))"
        case 3: "\(variable) is \(type) in \(slot ?? entity("NS::G"))"
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

    private mutating func entity(_ type: String) -> String {
        type == "NS::G" && isDeep && random.next(2) == 0
            ? "\(type)::\"\(pick(Self.deepIDs))\"" : "\(type)::\(string())"
    }

    /// A pattern of a few pieces, of which some match more than they show.
    private mutating func pattern() -> String {
        let pieces = [
            "*", "*", "**", "\\*", "a", "b", "e", "\\u{301}", "\u{e9}", "\\n", "\\\\", "\\\"",
            "\\0", "\u{2028}",
            "\u{1F468}", "\\u{200d}",
        ]
        return "\"" + (0..<random.next(6)).map { _ in pick(pieces) }.joined() + "\""
    }

    private mutating func string() -> String {
        guard isHostile else {
            return pick([
                "\"a\"", "\"b\"", "\"\\u{e9}\"", "\"e\\u{301}\"", "\"\"", "\"a\\\"\\\\\\n\"",
                "\"\u{2028}\"",
            ])
        }
        return pick([
            "\"\\0\"", "\"a\\0b\"", "\"a\\x00b\"", "\"\u{1F468}\\u{200d}\u{1F469}\"",
            "\"\u{212B}\"",
            "\"\\u{c5}\"", "\"A\\u{30a}\"", "\"A\u{30a}\"", "\"a\u{202E}b\"", "\"\\u{10ffff}\"",
            "\"\\u{0_0_61}\"", "\"\\u{d800}\"",
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
            return "\(text(depth - 1)) like \(pattern())"
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
            "ip(\"\(pick(["1.2.3.4", "10.1.0.0/16", "127.0.0.1", "::1", "ff02::1/8", "::/0", "1.2.3.4/33", "0::g", "1.2.3.04", "1.2.3.4/08", "::ffff:1.2.3.4", "224.0.0.0/4", "1::2::3", ""]))\")"
        }
    }

    private mutating func decimal(_ depth: Int) -> String {
        switch random.next(4) {
        case 0: "\(holder(max(depth - 1, 0))).dec"
        default:
            "decimal(\"\(pick(["1.0", "-0.5000", "1.23456", "922337203685477.5807", "-922337203685477.5808", "1", "1.", "-.5", "+1.0", " 1.0", "1e3", "-0.0", "00.10", "922337203685477.5808", "\u{663}.0"]))\")"
        }
    }

    private mutating func time(_ depth: Int) -> String {
        switch random.next(5) {
        case 0: "\(holder(max(depth - 1, 0))).time"
        case 1 where depth > 0: "\(time(depth - 1)).offset(\(length(depth - 1)))"
        case 2 where depth > 0: "\(time(depth - 1)).toDate()"
        default:
            "datetime(\"\(pick(["1970-01-01", "1969-12-31T23:59:59.001Z", "2024-02-29T00:00:00+2359", "2023-02-29", "9999-12-31", "0000-01-01", "2016-12-31T23:59:60Z", "2024-01-01T00:00:00.1Z", "2024-01-01T24:00:00Z", "2024-01-01t00:00:00z", "2024-1-1", "-0001-01-01"]))\")"
        }
    }

    private mutating func length(_ depth: Int) -> String {
        switch random.next(5) {
        case 0: "\(holder(max(depth - 1, 0))).dur"
        case 1 where depth > 0: "\(time(depth - 1)).durationSince(\(time(depth - 1)))"
        case 2 where depth > 0: "\(time(depth - 1)).toTime()"
        default:
            "duration(\"\(pick(["1d", "-1d2h3m4s5ms", "0ms", "-9223372036854775808ms", "90s", "1s1m", "", "d", "--1d", "1d1d", "106751991167d", "106751991168d", "9223372036854775808ms", "1.5h", "007m"]))\")"
        }
    }
}
