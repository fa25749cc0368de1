public import JSON

/// A rule as a form or a few lines of YAML say it, which becomes Cedar text that one can read, review and keep.
///
/// ```yaml
/// rules:
///   - id: AC-3.sre
///     allow: {groups: [sre], tools: [k8s/get_pods, k8s/apply]}
///   - id: AC-3.2.cluster-admin
///     guard: {effects: [cluster-admin]}
///     unless: {approvals: {sre: 2}, groups: [break-glass-active]}
///   - id: SC-5.rate
///     guard: {effects: [destructive]}
///     limit: {counter: destructive_user_1h, max: 20}
/// ```
///
/// What decides is the text; a rule that says more than a form can is edited there.
public struct QuickRule: Hashable, Sendable {
    /// What a rule does.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// Permits.
        case allow
        /// Forbids, and nothing lifts it.
        case deny
        /// Forbids until something lifts it.
        case `guard`
    }

    /// Whom and what a rule is about; what is empty is not restricted.
    public struct Scope: Hashable, Sendable {
        /// Members of any of these groups.
        public var groups: [Text] = []
        /// Tools, `server/tool`.
        public var tools: [Text] = []
        /// Effects: `read`, `write`, `destructive`, `cluster-admin`, with what they contain.
        public var effects: [Text] = []
        /// Servers by name.
        public var servers: [Text] = []
        /// Groups of servers.
        public var serverGroups: [Text] = []
        /// Environments of servers.
        public var environments: [Text] = []
        /// Arguments that have a value, by name; a call without the argument is not meant.
        public var arguments: [Text: Literal] = [:]
    }

    /// A value that an argument is compared with.
    public enum Literal: Hashable, Sendable {
        /// `"x"`.
        case string(Text)
        /// `7`.
        case long(Int64)
        /// `true`.
        case bool(Bool)
    }

    /// What a rule does not apply to; any of these suffices.
    public struct Exception: Hashable, Sendable {
        /// So many approvals by group; all of them together.
        public var approvals: [Text: Int64] = [:]
        /// Members of any of these groups.
        public var groups: [Text] = []
        /// The subject has stepped up.
        public var stepUp = false
        /// From the first hour to before the second, by the release's clock.
        public var hours: Range<Int64>?
        /// Together with hours: Monday to Friday only.
        public var weekdaysOnly = false
    }

    /// A rate above which a guard applies.
    public struct Limit: Hashable, Sendable {
        /// A counter that the release declares.
        public var counter: Text
        /// How many are let through; at least 1.
        public var max: Int64
    }

    /// The name in records.
    public var id: Text
    /// What it is for.
    public var description: Text?
    /// What it does.
    public var kind: Kind
    /// Whom and what it is about.
    public var scope = Scope()
    /// What it does not apply to.
    public var unless = Exception()
    /// Only above a rate.
    public var limit: Limit?

    // MARK: - Cedar

    /// The rule as Cedar text.
    public var cedarText: Text {
        var head = "@id(\(CedarText.quoted(id)))"
        switch kind {
        case .allow: break
        case .deny: head += " @tier(\"absolute\")"
        case .guard: head += " @tier(\"guard\")"
        }
        if !unless.approvals.isEmpty {
            let all = unless.approvals.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }
            head += " @approval(\(CedarText.quoted(Text(all.joined(separator: ",")))))"
        }
        if unless.stepUp { head += " @stepup" }
        if let limit { head += " @limit(\(CedarText.quoted(limit.counter)))" }
        if let description { head += "\n@description(\(CedarText.quoted(description)))" }
        var conditions: [String] = []
        let principal = Self.scope("principal", Self.uids("Group", scope.groups), &conditions)
        let actions =
            scope.tools.map { Self.uid("Action", $0) } + Self.uids("Action", scope.effects)
        let action: String
        switch actions.count {
        case 0: action = "action in MCP::Action::\"tools/call\""
        case 1: action = "action \(scope.tools.isEmpty ? "in" : "==") \(actions[0])"
        default: action = "action in [\(actions.joined(separator: ", "))]"
        }
        let resource = Self.scope(
            "resource",
            Self.uids("Server", scope.servers) + Self.uids("ServerGroup", scope.serverGroups)
                + Self.uids("Environment", scope.environments),
            &conditions
        )
        for (name, value) in scope.arguments.sorted(by: { $0.key < $1.key }) {
            let access =
                name.isCedarName
                ? "context.input.\(name)" : "context.input[\(CedarText.quoted(name))]"
            conditions.append("context.input has \(CedarText.name(name)) && \(access) == \(value)")
        }
        if let limit {
            conditions.append("context.facts.rate.\(limit.counter) >= \(limit.max)")
        }
        var text = head + "\n\(kind == .allow ? "permit" : "forbid") ("
        text += [principal, action, resource].joined(separator: ", ") + ")"
        if !conditions.isEmpty {
            text += "\nwhen { " + conditions.joined(separator: " &&\n       ") + " }"
        }
        let exceptions = self.exceptions
        if !exceptions.isEmpty {
            text += "\nunless { " + exceptions.joined(separator: " ||\n         ") + " }"
        }
        return Text(text + ";\n")
    }

    private var exceptions: [String] {
        var list: [String] = []
        if let hours = unless.hours {
            var parts = [
                "context.system.localHour >= \(hours.lowerBound)",
                "context.system.localHour < \(hours.upperBound)",
            ]
            if unless.weekdaysOnly { parts.insert("context.system.weekday <= 5", at: 0) }
            list.append("(" + parts.joined(separator: " && ") + ")")
        }
        if !unless.approvals.isEmpty {
            let all = unless.approvals.sorted { $0.key < $1.key }.map { group, count in
                group.isCedarName
                    ? "context.facts.approvals.\(group) >= \(count)"
                    : "context.facts.approvals[\(CedarText.quoted(group))] >= \(count)"
            }
            list.append(all.count == 1 ? all[0] : "(" + all.joined(separator: " && ") + ")")
        }
        if unless.stepUp { list.append("context.facts.stepUp") }
        list += Self.uids("Group", unless.groups).map { "principal in \($0)" }
        return list
    }

    private static func uid(_ type: String, _ id: Text) -> String {
        "MCP::\(type)::\(CedarText.quoted(id))"
    }

    private static func uids(_ type: String, _ ids: [Text]) -> [String] {
        ids.map { uid(type, $0) }
    }

    /// One entity stands in the scope, several in a condition.
    private static func scope(
        _ variable: String,
        _ uids: [String],
        _ conditions: inout [String]
    ) -> String {
        if uids.count == 1 { return "\(variable) in \(uids[0])" }
        if uids.count > 1 { conditions.append("\(variable) in [\(uids.joined(separator: ", "))]") }
        return variable
    }
}

extension QuickRule.Literal: CustomStringConvertible {
    /// The literal of Cedar.
    public var description: String {
        switch self {
        case .string(let text): CedarText.quoted(text)
        case .long(let number): "\(number)"
        case .bool(let value): "\(value)"
        }
    }
}

// MARK: - Reading

extension QuickRule {
    /// Why a document holds no rules.
    public struct ReadingError: Error, Hashable, Sendable, CustomStringConvertible {
        /// Where in the document (RFC 6901).
        public let pointer: String
        /// What is wrong there.
        public let reason: String

        /// Place and reason.
        public var description: String { "\(pointer): \(reason)" }
    }

    /// The most rules of one document.
    public static let countMax = 1000

    /// Reads `{"rules": […]}`; what is not known is refused, not ignored.
    public static func read(_ json: JSONValue) throws(ReadingError) -> [QuickRule] {
        let root = try RuleReader(json, "", ["rules"])
        guard let list = json["rules"], list.kind == .array, list.count <= countMax else {
            throw root.error("rules", "not a list of at most \(countMax)")
        }
        var rules: [QuickRule] = []
        for (index, item) in list.elements.enumerated() {
            rules.append(try read(item, "/rules/\(index)"))
        }
        return rules
    }

    /// All rules as the text of one document.
    public static func cedarText(_ rules: [QuickRule]) -> Text {
        Text(rules.map(\.cedarText.string).joined(separator: "\n"))
    }

    private static func read(_ json: JSONValue, _ pointer: String) throws(ReadingError) -> QuickRule
    {
        let reader = try RuleReader(
            json,
            pointer,
            ["id", "description", "allow", "deny", "guard", "unless", "limit"]
        )
        let kinds = Kind.allCases.filter { json.member(named: Text($0.rawValue)) != nil }
        guard kinds.count == 1, let kind = kinds.first,
            let scope = json.member(named: Text(kind.rawValue))
        else {
            throw reader.error("", "not exactly one of allow, deny, guard")
        }
        var rule = QuickRule(id: try reader.text("id"), kind: kind)
        if json["description"] != nil { rule.description = try reader.text("description") }
        rule.scope = try readScope(scope, "\(pointer)/\(kind.rawValue)")
        if let unless = json["unless"] {
            rule.unless = try readException(unless, pointer + "/unless")
            guard rule.kind == .guard || rule.unless.isWithoutCure else {
                throw reader.error("unless", "only a guard waits for approvals or step-up")
            }
        }
        if let limit = json["limit"] {
            let reader = try RuleReader(limit, pointer + "/limit", ["counter", "max"])
            guard kind == .guard else { throw reader.error("", "only a guard has a limit") }
            let counter = try reader.text("counter")
            guard counter.isCedarName, let max = limit["max"]?.int64, max > 0 else {
                throw reader.error("", "not a counter and a number of at least 1")
            }
            rule.limit = Limit(counter: counter, max: max)
        }
        if kind == .allow, rule.scope == Scope() {
            throw reader.error("allow", "permits everybody everything: say whom or what")
        }
        return rule
    }

    private static func readScope(
        _ json: JSONValue,
        _ pointer: String
    ) throws(ReadingError) -> Scope {
        let reader = try RuleReader(
            json,
            pointer,
            [
                "groups", "tools", "effects", "servers", "serverGroups", "environments",
                "arguments",
            ]
        )
        var scope = Scope()
        scope.groups = try reader.texts("groups")
        scope.tools = try reader.texts("tools")
        scope.effects = try reader.texts("effects")
        scope.servers = try reader.texts("servers")
        scope.serverGroups = try reader.texts("serverGroups")
        scope.environments = try reader.texts("environments")
        let effects: Set<Text> = ["read", "write", "destructive", "cluster-admin"]
        for effect in scope.effects where !effects.contains(effect) {
            throw reader.error("effects", "\(effect) is no effect")
        }
        for (name, value) in try reader.members("arguments") {
            if let text = value.string {
                scope.arguments[name] = .string(text)
            } else if let number = value.int64 {
                scope.arguments[name] = .long(number)
            } else if let truth = value.boolean {
                scope.arguments[name] = .bool(truth)
            } else {
                throw reader.error("arguments", "\(name) is no text, integer or truth value")
            }
        }
        return scope
    }

    private static func readException(
        _ json: JSONValue,
        _ pointer: String
    ) throws(ReadingError) -> Exception {
        let reader = try RuleReader(
            json,
            pointer,
            ["approvals", "groups", "stepUp", "hours", "weekdaysOnly"]
        )
        var exception = Exception()
        for (group, value) in try reader.members("approvals") {
            guard group.isGroupName, let count = value.int64, (1...100).contains(count) else {
                throw reader.error("approvals", "not a group with a number of 1 to 100")
            }
            exception.approvals[group] = count
        }
        exception.groups = try reader.texts("groups")
        exception.stepUp = try reader.flag("stepUp")
        exception.weekdaysOnly = try reader.flag("weekdaysOnly")
        if let hours = json["hours"] {
            let numbers = hours.elements.compactMap(\.int64)
            guard hours.count == 2, numbers.count == 2, numbers[0] >= 0, numbers[0] < numbers[1],
                numbers[1] <= 24
            else {
                throw reader.error("hours", "not two hours of 0 to 24 in order")
            }
            exception.hours = numbers[0]..<numbers[1]
        } else if exception.weekdaysOnly {
            throw reader.error("weekdaysOnly", "says nothing without hours")
        }
        return exception
    }
}

extension QuickRule.Exception {
    fileprivate var isWithoutCure: Bool { approvals.isEmpty && !stepUp }
}

/// Reads members of one object and refuses those that are not known.
private struct RuleReader {
    private let value: JSONValue
    private let pointer: String

    init(
        _ value: JSONValue,
        _ pointer: String,
        _ members: [Text]
    ) throws(QuickRule.ReadingError) {
        self.value = value
        self.pointer = pointer
        guard value.kind == .object else { throw error("", "not an object") }
        for (key, _) in value.members where !members.contains(key.text) {
            throw error(key.text.string, "no such member")
        }
    }

    func error(_ member: String, _ reason: String) -> QuickRule.ReadingError {
        .init(pointer: member.isEmpty ? pointer : "\(pointer)/\(member)", reason: reason)
    }

    func text(_ name: Text) throws(QuickRule.ReadingError) -> Text {
        guard let text = value.member(named: name)?.string, !text.isEmpty, text.byteCount <= 256
        else { throw error(name.string, "not a string of 1 to 256 bytes") }
        return text
    }

    func texts(_ name: Text) throws(QuickRule.ReadingError) -> [Text] {
        guard let list = value.member(named: name) else { return [] }
        let texts = list.elements.compactMap(\.string)
        guard list.kind == .array, !texts.isEmpty, texts.count == list.count, texts.count <= 100,
            texts.allSatisfy({ !$0.isEmpty && $0.byteCount <= 256 })
        else { throw error(name.string, "not a list of 1 to 100 strings of 1 to 256 bytes") }
        return texts
    }

    func members(_ name: Text) throws(QuickRule.ReadingError) -> [(name: Text, value: JSONValue)] {
        guard let object = value.member(named: name) else { return [] }
        let members = object.members.map { (name: $0.key.text, value: $0.value) }
        guard object.kind == .object, !members.isEmpty, members.count <= 100,
            members.allSatisfy({ $0.name.byteCount <= 256 })
        else {
            throw error(name.string, "not an object with 1 to 100 names of at most 256 bytes")
        }
        return members
    }

    func flag(_ name: Text) throws(QuickRule.ReadingError) -> Bool {
        guard let flag = value.member(named: name) else { return false }
        guard let truth = flag.boolean else { throw error(name.string, "not true or false") }
        return truth
    }
}
