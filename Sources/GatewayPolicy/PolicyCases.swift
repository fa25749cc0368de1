public import Cedar
public import GatewayModel
public import JSON

/// Tests beside policies: `*.cases.json`, each with what is asked, in which circumstances, and what is to come out.
///
/// ```json
/// {"entities": [{"uid": {"type": "MCP::User", "id": "alice"}, "attrs": {}, "parents": []}],
///  "context": {"system": {"localHour": 10}},
///  "cases": [{"description": "an SRE lists pods", "principal": {"type": "MCP::User", "id": "alice"},
///             "action": {"type": "MCP::Action", "id": "k8s/get_pods"}, "resource": {"type": "MCP::Tool", "id": "k8s/get_pods"},
///             "context": {"input": {}}, "decision": "allow", "reason": ["AC-3.sre-k8s"], "errors": []}]}
/// ```
///
/// `context` of the file is what every case has unless it says otherwise; records are merged, everything else replaced.
/// `decision`, `reason` and `errors` are Cedar's answer; `outcome`, `cures` and `duties` may be added, and are compared
/// where they are.
public struct PolicyCases: Sendable {
    /// One case.
    public struct Case: Sendable {
        /// What it shows.
        public var name: Text
        /// What is asked.
        public var question: OutcomeLayer.Question
        /// In which circumstances.
        public var facts: PolicyFacts
        /// Whether Cedar is to allow.
        public var isAllowed: Bool
        /// The `@id`s of the determining policies.
        public var reasons: [Text]
        /// The `@id`s of the policies that are to fail.
        public var errors: [Text]
        /// The answer of the gateway, where the case states it.
        public var outcome: GatewayModel.Decision.Answer?
        /// What is to be waited for, where the case states it.
        public var cures: [Text]?
        /// What a permit is to oblige to, where the case states it.
        public var duties: [Text]?
    }

    /// A case that came out otherwise.
    public struct Failure: Hashable, Sendable, CustomStringConvertible {
        /// The case.
        public var name: Text
        /// What was decided.
        public var decision: GatewayModel.Decision
        /// What is not as stated.
        public var differences: [String]

        /// One line.
        public var description: String { "\(name): " + differences.joined(separator: "; ") }
    }

    /// Why a document holds no cases.
    public struct ReadingError: Error, Hashable, Sendable, CustomStringConvertible {
        /// Which case, from 0; `nil` for the document.
        public let position: Int?
        /// What is wrong.
        public let reason: String

        /// Place and reason.
        public var description: String {
            position.map { "case \($0): \(reason)" } ?? reason
        }
    }

    /// The entities that the cases are about.
    public let entities: [Entity]
    /// The cases in the order of the document.
    public let cases: [Case]

    /// Reads a document.
    public init(_ json: JSONValue) throws(ReadingError) {
        do {
            entities =
                try json["entities"].map { json throws(ValueReadingError) in
                    try Entity.list(cedarJSON: json)
                } ?? []
        } catch {
            throw ReadingError(position: nil, reason: "entities: \(error)")
        }
        guard let list = json["cases"], list.kind == .array else {
            throw ReadingError(position: nil, reason: "there is no list of cases")
        }
        let defaults: [Text: Value]
        do {
            defaults =
                try json["context"].map { json throws(ValueReadingError) in
                    try Value.record(cedarJSON: json)
                } ?? [:]
        } catch {
            throw ReadingError(position: nil, reason: "context: \(error)")
        }
        var cases: [Case] = []
        for (position, item) in list.elements.enumerated() {
            cases.append(try Self.read(item, defaults: defaults, position))
        }
        self.cases = cases
    }

    /// Runs all cases, and returns those that come out otherwise.
    public func run(on layer: OutcomeLayer) -> [Failure] {
        cases.compactMap { row in
            let decision = layer.decide(row.question, facts: row.facts)
            let differences = row.differences(from: decision)
            return differences.isEmpty
                ? nil : Failure(name: row.name, decision: decision, differences: differences)
        }
    }

    /// Runs all cases, notes what they cover, and returns those that come out otherwise.
    public func run(on layer: OutcomeLayer, coverage: inout Coverage) -> [Failure] {
        let tracer = Coverage.Tracer(layer)
        for row in cases {
            let decision = layer.decide(row.question, facts: row.facts)
            coverage.note(row.question, facts: row.facts, decision: decision, by: tracer)
        }
        return run(on: layer)
    }

    // MARK: - Reading

    private static func read(
        _ json: JSONValue,
        defaults: [Text: Value],
        _ position: Int
    ) throws(ReadingError) -> Case {
        func fail(_ reason: String) -> ReadingError {
            ReadingError(position: position, reason: reason)
        }
        do throws(ValueReadingError) {
            guard let principal = json["principal"], let action = json["action"],
                let resource = json["resource"]
            else { throw .invalidStructure }
            var context = defaults
            if let own = json["context"] {
                context = merge(context, try Value.record(cedarJSON: own))
            }
            guard let facts = PolicyFacts(context) else {
                throw .invalidStructure
            }
            var particulars = context
            particulars["system"] = nil
            particulars["facts"] = nil
            let decision = json["decision"]?.string
            guard decision == "allow" || decision == "deny" else {
                throw .invalidStructure
            }
            return Case(
                name: json["description"]?.string ?? "",
                question: OutcomeLayer.Question(
                    principal: try EntityUID(cedarJSON: principal),
                    action: try EntityUID(cedarJSON: action),
                    resource: try EntityUID(cedarJSON: resource),
                    particulars: particulars
                ),
                facts: facts,
                isAllowed: decision == "allow",
                reasons: json["reason"]?.elements.compactMap(\.string) ?? [],
                errors: json["errors"]?.elements.compactMap(\.string) ?? [],
                outcome: json["outcome"]?.string.flatMap { .init(rawValue: $0.string) },
                cures: json["cures"]?.elements.compactMap(\.string),
                duties: json["duties"]?.elements.compactMap(\.string)
            )
        } catch {
            throw fail("\(error)")
        }
    }

    private static func merge(_ base: [Text: Value], _ own: [Text: Value]) -> [Text: Value] {
        base.merging(own) { old, new in
            if case .record(let old) = old, case .record(let new) = new {
                .record(merge(old, new))
            } else {
                new
            }
        }
    }
}

extension PolicyCases.Case {
    func differences(from decision: GatewayModel.Decision) -> [String] {
        var differences: [String] = []
        func compare<T: Equatable>(_ what: String, _ wanted: T, _ got: T) {
            if wanted != got { differences.append("\(what) is \(got), not \(wanted)") }
        }
        compare(
            "decision",
            isAllowed ? "allow" : "deny",
            decision.answer == .permit ? "allow" : "deny"
        )
        if errors.isEmpty {
            compare("reason", reasons.sorted(), decision.determining)
            compare("error", false, decision.ground == .policyError)
        } else {
            compare("error", true, decision.ground == .policyError)
            compare("errors", errors.sorted(), decision.determining)
        }
        if let outcome { compare("outcome", outcome.rawValue, decision.answer.rawValue) }
        if let cures {
            compare("cures", cures.sorted(), decision.cures.map { Text($0.description) })
        }
        if let duties {
            compare("duties", duties.sorted(), decision.duties.map { Text($0.description) })
        }
        return differences
    }
}

extension PolicyFacts {
    /// The facts that a context states; `nil` where one of those is missing that no call is without, or has another type.
    fileprivate init?(_ context: [Text: Value]) {
        guard case .record(let system)? = context["system"],
            case .record(let facts)? = context["facts"],
            case .datetime(let now)? = system["now"],
            case .bool(let pinned)? = facts["definitionPinned"]
        else { return nil }
        var source: IPAddress?
        if case .ip(let address)? = system["source"] { source = address }
        self.init(
            time: Timestamp(microseconds: now.milliseconds &* 1000),
            source: source,
            definitionPinned: pinned
        )
        if case .long(let hour)? = system["localHour"], case .long(let weekday)? = system["weekday"]
        {
            localTime = LocalTime(
                hour: Int(truncatingIfNeeded: hour),
                weekday: Int(truncatingIfNeeded: weekday)
            )
        }
        if case .entity(let uid)? = facts["client"] { client = uid.id }
        if case .duration(let age)? = facts["sessionAge"] {
            sessionAgeMilliseconds = age.milliseconds
        }
        if case .bool(let value)? = facts["stepUp"] { hasSteppedUp = value }
        if case .bool(let value)? = facts["inputFaithful"] { inputFaithful = value }
        if case .set(let classes)? = facts["found"] {
            for case .entity(let uid) in classes { found.insert(uid.id) }
        }
        if case .record(let groups)? = facts["approvals"] {
            for case (let group, .long(let count)) in groups { approvals[group] = count }
        }
        if case .record(let counters)? = facts["rate"] {
            for case (let name, .long(let count)) in counters {
                rates[name] = RateReading(count: count)
            }
        }
        if case .record(let monitors)? = facts["history"] {
            for case (let name, .bool(let value)) in monitors { history[name] = value }
        }
    }
}
