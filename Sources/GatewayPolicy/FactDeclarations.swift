public import GatewayModel
public import JSON

/// Which facts the policies of a release may read besides those that always exist (policy.md §3.4): approver groups,
/// rate counters, history monitors, data classes, and the clock on the wall.
///
/// Versioned with the policies: the document `facts.json` of a release.
///
/// ```json
/// {"approvers": ["sre", "security"],
///  "counters": [{"name": "destructive_user_1h", "action": "destructive", "per": ["subject"], "window": "1h"}],
///  "monitors": [{"name": "runbook_read_1h", "action": "wiki/read_runbook", "per": ["subject"], "window": "1h"}],
///  "dataClasses": [{"name": "personal"}, {"name": "personal.email", "in": ["personal"]}],
///  "timeZone": "CET-1CEST,M3.5.0,M10.5.0/3",
///  "breakGlassGroup": "break-glass-active"}
/// ```
public struct FactDeclarations: Hashable, Sendable {
    /// The name of the document of a release that holds them.
    public static let documentName: Text = "facts.json"
    /// The most counters, the most monitors, the most approver groups: each becomes part of every request.
    public static let countMax = 64
    /// The most data classes.
    public static let dataClassesMax = 1000
    /// The longest window, in milliseconds: 31 days.
    public static let windowMillisecondsMax: Int64 = 31 * 86_400_000

    /// Which events are counted.
    public struct Filter: Hashable, Sendable {
        /// An action or a group of actions: `k8s/delete_pod`, `destructive`, `any`.
        public var action: Text
        /// Only at this server.
        public var server: ServerName?

        /// Events of an action.
        public init(action: Text, server: ServerName? = nil) {
            self.action = action
            self.server = server
        }

        /// Whether an event is one of these.
        public func matches(_ event: PolicyEvent) -> Bool {
            event.actions.contains(action) && (server == nil || server == event.server)
        }
    }

    /// What events are told apart by; without any part, one count for the whole namespace.
    public struct Scope: Hashable, Sendable {
        /// A part of the key.
        public enum Part: String, Hashable, Sendable, CaseIterable {
            /// The subject's id.
            case subject
            /// The client's id.
            case client
            /// The server's name.
            case server
            /// `server/tool`.
            case tool
        }

        /// The parts, each once.
        public var parts: [Part]

        /// Tells events apart by `parts`.
        public init(_ parts: [Part]) {
            self.parts = parts
        }

        func key(of event: PolicyEvent) -> [Text] {
            parts.map { part in
                switch part {
                case .subject: event.subject.text
                case .client: event.client
                case .server: event.server.text
                case .tool: event.tool
                }
            }
        }
    }

    /// A sliding counter: `context.facts.rate.<name>`.
    public struct Counter: Hashable, Sendable {
        /// An identifier of Cedar.
        public var name: Text
        /// What is counted.
        public var filter: Filter
        /// Per what.
        public var scope: Scope
        /// Within how many milliseconds; 1,000 to ``FactDeclarations/windowMillisecondsMax``.
        public var windowMilliseconds: Int64

        /// A counter.
        public init(name: Text, filter: Filter, scope: Scope, windowMilliseconds: Int64) {
            self.name = name
            self.filter = filter
            self.scope = scope
            self.windowMilliseconds = windowMilliseconds
        }
    }

    /// A memory of what succeeded: `context.facts.history.<name>`.
    public struct Monitor: Hashable, Sendable {
        /// An identifier of Cedar.
        public var name: Text
        /// What is noted.
        public var filter: Filter
        /// Per what.
        public var scope: Scope
        /// For how many milliseconds; 1,000 to ``FactDeclarations/windowMillisecondsMax``.
        public var windowMilliseconds: Int64

        /// A monitor.
        public init(name: Text, filter: Filter, scope: Scope, windowMilliseconds: Int64) {
            self.name = name
            self.filter = filter
            self.scope = scope
            self.windowMilliseconds = windowMilliseconds
        }
    }

    /// A class of data that is looked for in payloads: `MCP::DataClass::"personal.email"`.
    public struct DataClassDeclaration: Hashable, Sendable {
        /// The class.
        public var name: Text
        /// The classes it is part of.
        public var parents: [Text]

        /// A data class.
        public init(name: Text, parents: [Text] = []) {
            self.name = name
            self.parents = parents
        }
    }

    /// The groups whose approvals are counted: `context.facts.approvals.<group>`.
    public var approverGroups: [Text] = []
    /// The rate counters.
    public var counters: [Counter] = []
    /// The history monitors.
    public var monitors: [Monitor] = []
    /// The data classes.
    public var dataClasses: [DataClassDeclaration] = []
    /// What `localHour` and `weekday` are read by; UTC where nothing is said.
    public var timeZone: TimeZoneRule = .utc
    /// The group whose members may break the glass; `break-glass-active` where nothing is said.
    public var breakGlassGroup: Text = "break-glass-active"

    /// No declarations beyond what always exists.
    public init() {}

    /// The classes with all classes that contain them.
    ///
    /// A class that is not declared stands for itself.
    public func closure(of found: some Sequence<Text>) -> Set<Text> {
        var closed: Set<Text> = []
        var open = Array(found)
        while let name = open.popLast() {
            guard closed.insert(name).inserted else { continue }
            for declared in dataClasses where declared.name == name { open += declared.parents }
        }
        return closed
    }

    /// Why a document declares nothing.
    public struct ReadingError: Error, Hashable, Sendable, CustomStringConvertible {
        /// Where in the document (RFC 6901).
        public let pointer: String
        /// What is wrong there.
        public let reason: String

        /// Place and reason.
        public var description: String { "\(pointer): \(reason)" }
    }

    /// Reads the document.
    ///
    /// - Throws: ``ReadingError`` with the first thing that is wrong: what is not known is refused, not ignored.
    public init(parsing text: Text) throws(ReadingError) {
        let root: JSONValue
        do {
            root = try JSONDocument(parsing: Array(text.utf8)).root
        } catch {
            throw ReadingError(pointer: "", reason: "not JSON: \(error)")
        }
        var reader = DeclarationReader(
            root,
            "",
            members: [
                "approvers", "counters", "monitors", "dataClasses", "timeZone", "breakGlassGroup",
            ]
        )
        try reader.check()
        for (item, pointer) in try reader.list("approvers", max: Self.countMax) {
            guard let name = item.string, name.isGroupName else {
                throw ReadingError(pointer: pointer, reason: "not the name of a group")
            }
            approverGroups.append(name)
        }
        for (item, pointer) in try reader.list("counters", max: Self.countMax) {
            let (name, filter, scope, window) = try Self.timed(item, pointer)
            counters.append(
                Counter(name: name, filter: filter, scope: scope, windowMilliseconds: window)
            )
        }
        for (item, pointer) in try reader.list("monitors", max: Self.countMax) {
            let (name, filter, scope, window) = try Self.timed(item, pointer)
            monitors.append(
                Monitor(name: name, filter: filter, scope: scope, windowMilliseconds: window)
            )
        }
        for (item, pointer) in try reader.list("dataClasses", max: Self.dataClassesMax) {
            var fields = DeclarationReader(item, pointer, members: ["name", "in"])
            try fields.check()
            var parents: [Text] = []
            for (parent, place) in try fields.list("in", max: Self.countMax) {
                guard let name = parent.string else {
                    throw ReadingError(pointer: place, reason: "not a string")
                }
                parents.append(name)
            }
            dataClasses.append(
                DataClassDeclaration(name: try fields.text("name"), parents: parents)
            )
        }
        if root["timeZone"] != nil {
            guard let rule = TimeZoneRule(try reader.text("timeZone")) else {
                throw ReadingError(
                    pointer: "/timeZone",
                    reason:
                        "neither an offset (+01:00) nor a POSIX rule (CET-1CEST,M3.5.0,M10.5.0/3)"
                )
            }
            timeZone = rule
        }
        if root["breakGlassGroup"] != nil { breakGlassGroup = try reader.text("breakGlassGroup") }
        try checkUniqueness()
    }

    private static func timed(
        _ item: JSONValue,
        _ pointer: String
    ) throws(ReadingError) -> (Text, Filter, Scope, Int64) {
        var reader = DeclarationReader(
            item,
            pointer,
            members: ["name", "action", "server", "per", "window"]
        )
        try reader.check()
        let name = try reader.text("name")
        guard name.isCedarName else {
            throw ReadingError(pointer: pointer + "/name", reason: "not a name")
        }
        var filter = Filter(action: try reader.text("action"))
        if item["server"] != nil { filter.server = ServerName(try reader.text("server")) }
        var parts: [Scope.Part] = []
        for (part, place) in try reader.list("per", max: Scope.Part.allCases.count) {
            guard let part = part.string.flatMap({ Scope.Part(rawValue: $0.string) }),
                !parts.contains(part)
            else {
                throw ReadingError(
                    pointer: place,
                    reason: "not one of subject, client, server, tool, each once"
                )
            }
            parts.append(part)
        }
        guard let window = WindowText.milliseconds(try reader.text("window")),
            (1000...windowMillisecondsMax).contains(window)
        else {
            throw ReadingError(
                pointer: pointer + "/window",
                reason: "not a duration of 1s to 31d: 30s, 5m, 1h, 7d"
            )
        }
        return (name, filter, Scope(parts), window)
    }

    private func checkUniqueness() throws(ReadingError) {
        let lists: [(String, [Text])] = [
            ("/approvers", approverGroups), ("/counters", counters.map(\.name)),
            ("/monitors", monitors.map(\.name)), ("/dataClasses", dataClasses.map(\.name)),
        ]
        for (pointer, names) in lists {
            var seen: Set<Text> = []
            for name in names where !seen.insert(name).inserted {
                throw ReadingError(pointer: pointer, reason: "\(name) is declared twice")
            }
        }
        for (index, declared) in dataClasses.enumerated()
        where declared.parents.contains(where: { closure(of: [$0]).contains(declared.name) }) {
            throw ReadingError(
                pointer: "/dataClasses/\(index)/in",
                reason: "\(declared.name) would contain itself"
            )
        }
    }
}

/// Reads members of one object and refuses those that are not known.
private struct DeclarationReader {
    private let value: JSONValue
    private let pointer: String
    private let members: [Text]

    init(_ value: JSONValue, _ pointer: String, members: [Text]) {
        self.value = value
        self.pointer = pointer
        self.members = members
    }

    mutating func check() throws(FactDeclarations.ReadingError) {
        guard value.kind == .object else {
            throw FactDeclarations.ReadingError(pointer: pointer, reason: "not an object")
        }
        for (key, _) in value.members where !members.contains(key.text) {
            throw FactDeclarations.ReadingError(
                pointer: "\(pointer)/\(key.text)",
                reason: "no such member"
            )
        }
    }

    func text(_ name: Text) throws(FactDeclarations.ReadingError) -> Text {
        guard let text = value.member(named: name)?.string, !text.isEmpty, text.byteCount <= 256
        else {
            throw FactDeclarations.ReadingError(
                pointer: "\(pointer)/\(name)",
                reason: "not a string of 1 to 256 bytes"
            )
        }
        return text
    }

    func list(
        _ name: Text,
        max: Int
    ) throws(FactDeclarations.ReadingError) -> [(JSONValue, String)] {
        guard let list = value.member(named: name) else { return [] }
        guard list.kind == .array, list.count <= max else {
            throw FactDeclarations.ReadingError(
                pointer: "\(pointer)/\(name)",
                reason: "not a list of at most \(max)"
            )
        }
        return list.elements.enumerated().map { ($1, "\(pointer)/\(name)/\($0)") }
    }
}

/// `90s`, `5m`, `1h`, `7d`.
enum WindowText {
    static func milliseconds(_ text: Text) -> Int64? {
        let digits = text.utf8.dropLast()
        guard let unit = text.utf8.last, (1...9).contains(digits.count),
            digits.allSatisfy({ (0x30...0x39).contains($0) })
        else { return nil }
        let factor: Int64
        switch unit {
        case UInt8(ascii: "s"): factor = 1000
        case UInt8(ascii: "m"): factor = 60_000
        case UInt8(ascii: "h"): factor = 3_600_000
        case UInt8(ascii: "d"): factor = 86_400_000
        default: return nil
        }
        return digits.reduce(0) { $0 * 10 + Int64($1 & 0xF) } * factor
    }
}

extension Text {
    /// Whether an annotation can name this group: it separates by colons and commas.
    var isGroupName: Bool {
        !isEmpty && byteCount <= 128
            && utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F && $0 != 0x2C && $0 != 0x3A }
    }

    /// Whether policies can write this after a dot.
    var isCedarName: Bool {
        guard let first = utf8.first, byteCount <= 128 else { return false }
        let isStart = { (byte: UInt8) in
            (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == 0x5F
        }
        let reserved: Set<String> = [
            "true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar",
        ]
        return isStart(first) && utf8.allSatisfy { isStart($0) || (0x30...0x39).contains($0) }
            && !reserved.contains(string)
    }
}
