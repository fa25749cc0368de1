public import Cedar
public import GatewayModel
public import JSON

/// Why a question is answered as it is: every policy, whether it is about this at all, and which part of its condition
/// decided; and what would happen if what is missing were there.
///
/// For people, one question at a time. It repeats what conditions read of the arguments: whoever may see it may see those.
public struct Explanation: Sendable {
    /// What one policy did.
    public struct Policy: Sendable {
        /// Its `@id`, or else its number in the release.
        public let name: Text
        /// Whether it is a permit; else it is a forbid.
        public let permits: Bool
        /// In which document it stands.
        public let document: Text
        /// The line, from 1.
        public let line: Int
        /// The column, from 1.
        public let column: Int
        /// Whether the answer rests on it.
        public let isDetermining: Bool
        /// What would lift it.
        public let cures: [GatewayModel.Decision.Cure]
        /// What happened.
        public let effect: Effect
        /// Which of principal, action and resource do not fit its scope.
        public let mismatches: [String]
        /// Its conditions, if the scope fits.
        public let conditions: [Part]
    }

    /// What a policy did.
    public enum Effect: String, Hashable, Sendable {
        /// It is about this, and its condition is true.
        case applies
        /// It is about this, and its condition is false.
        case conditionFalse
        /// It is about this, and its condition cannot be evaluated; the gateway closes.
        case failed
        /// It is about something else.
        case scopeDiffers
    }

    /// A part of a condition.
    public struct Part: Sendable {
        /// What kind of part.
        public let kind: ConditionTrace.Kind
        /// What it gave.
        public let result: ConditionTrace.Result
        /// The part, in one line.
        public let text: String
        /// The line, from 1.
        public let line: Int
        /// The column, from 1.
        public let column: Int
        /// The attributes that it reads, with their values as Cedar text; `nil` where there is none.
        public let readings: [(path: String, value: String?)]
        /// Its parts.
        public let parts: [Part]
    }

    /// What was asked.
    public let question: OutcomeLayer.Question
    /// What is answered.
    public let decision: GatewayModel.Decision
    /// What would be answered if every cure of the determining forbids had worked; `nil` if one of them has none.
    public let cured: (cures: [GatewayModel.Decision.Cure], decision: GatewayModel.Decision)?
    /// The policies: those that the answer rests on first, those that are about something else last.
    public let policies: [Policy]
}

/// Explains decisions of one release over the entities of one configuration.
public struct Explainer: Sendable {
    private let point: PolicyDecisionPoint
    private let explainer: PolicyExplainer

    /// Takes every condition apart once; explains any number of questions.
    public init(_ point: PolicyDecisionPoint) {
        self.point = point
        explainer = PolicyExplainer(
            policies: point.outcomes.release.compiled,
            entities: point.outcomes.entities
        )
    }

    /// Explains a recorded question.
    ///
    /// - Parameter schema: What the tool said its arguments are; as JSON says them without.
    public func explain(_ input: DecisionInput, schema: ToolInputSchema? = nil) -> Explanation {
        let question = DecisionInput.Question(input, schema: schema)
        return explain(question.asked, question.facts, point.decide(question))
    }

    /// Explains a test.
    public func explain(_ row: PolicyCases.Case) -> Explanation {
        explain(row.question, row.facts, point.outcomes.decide(row.question, facts: row.facts))
    }

    private func explain(
        _ question: OutcomeLayer.Question,
        _ facts: PolicyFacts,
        _ decision: GatewayModel.Decision
    ) -> Explanation {
        let layer = point.outcomes
        let release = layer.release
        let traces = explainer.explain(layer.request(question, facts))
        let determining = Set(decision.determining)
        // A question that is refused before policies are asked has none that apply.
        let isAsked = decision.ground.isOfPolicies
        let places = DocumentPlaces(release.documents)
        var policies: [Explanation.Policy] = []
        var applying: [PolicyID] = []
        for trace in traces {
            guard let rule = release.rules[trace.policy] else { continue }
            if trace.effect == .forbid, trace.outcome == .applies { applying.append(trace.policy) }
            policies.append(
                Explanation.Policy(
                    name: rule.name,
                    permits: rule.permits,
                    document: rule.document,
                    line: rule.line,
                    column: rule.column,
                    isDetermining: determining.contains(rule.name),
                    cures: rule.cures,
                    effect: .init(trace.outcome),
                    mismatches: trace.scope.filter { !$0.isMatch }.map(\.variable),
                    conditions: trace.conditions.map { part($0, places) }
                )
            )
        }
        // The order of the release within each rank.
        let ranked = (0...4).flatMap { rank in policies.filter { $0.rank == rank } }
        var cured: (cures: [GatewayModel.Decision.Cure], decision: GatewayModel.Decision)?
        if isAsked, !applying.isEmpty, let cures = layer.cures(of: applying) {
            let unique = Array(Set(cures)).sorted()
            cured = (unique, layer.decide(question, facts: facts.cured(by: unique)))
        }
        return Explanation(
            question: question,
            decision: decision,
            cured: cured,
            policies: isAsked ? ranked : []
        )
    }

    private func part(
        _ trace: ConditionTrace,
        _ places: DocumentPlaces
    ) -> Explanation.Part {
        let place = places.place(of: Int(trace.span.start))
        return Explanation.Part(
            kind: trace.kind,
            result: trace.result,
            text: trace.text,
            line: place.line,
            column: place.column,
            readings: trace.readings.map { ($0.path, $0.value?.shortText) },
            parts: trace.parts.map { part($0, places) }
        )
    }
}

extension Explanation.Policy {
    fileprivate var rank: Int {
        if isDetermining { return 0 }
        return switch effect {
        case .failed: 1
        case .applies: 2
        case .conditionFalse: 3
        case .scopeDiffers: 4
        }
    }
}

extension Explanation.Effect {
    fileprivate init(_ outcome: PolicyTracer.Outcome?) {
        self =
            switch outcome {
            case .applies: .applies
            case .doesNotApply: .conditionFalse
            case .failed: .failed
            case nil: .scopeDiffers
            }
    }

    /// After the name of a policy.
    fileprivate var words: String {
        switch self {
        case .applies: "applies"
        case .conditionFalse: "does not apply: its condition is false"
        case .failed: "cannot be evaluated: the gateway denies"
        case .scopeDiffers: "is about something else"
        }
    }
}

extension Value {
    private static let bytesMax = 80
    private static let elementsMax = 5

    /// The value as Cedar text; what is long is cut, and shows it.
    fileprivate var shortText: String {
        func list(_ items: [String]) -> String {
            items.prefix(Self.elementsMax).joined(separator: ", ")
                + (items.count > Self.elementsMax ? ", …" : "")
        }
        switch self {
        case .bool(let value): return value ? "true" : "false"
        case .long(let value): return "\(value)"
        case .string(let text): return text.shortQuoted
        case .entity(let uid): return uid.cedarText
        case .set(let values): return "[" + list(values.map(\.shortText)) + "]"
        case .record(let members):
            let texts = members.sorted { $0.key < $1.key }.map {
                "\($0.key.shortQuoted): \($0.value.shortText)"
            }
            return "{" + list(texts) + "}"
        case .decimal(let value): return "decimal(\"\(value)\")"
        case .ip(let value): return "ip(\"\(value)\")"
        case .datetime(let value):
            let (microseconds, overflow) = value.milliseconds.multipliedReportingOverflow(by: 1000)
            return overflow
                ? "datetime of \(value.milliseconds) ms"
                : "datetime(\"\(Timestamp(microseconds: microseconds))\")"
        case .duration(let value): return "duration(\"\(value.milliseconds)ms\")"
        }
    }
}

extension Text {
    fileprivate static let shownMax = 80

    /// In quotes, on one line, at most 80 scalars.
    fileprivate var shortQuoted: String {
        var out = "\""
        for scalar in string.unicodeScalars.prefix(Self.shownMax) {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator:
                out += "\\u{\(String(scalar.value, radix: 16))}"
            default:
                if scalar == "\"" || scalar == "\\" { out += "\\" }
                out.unicodeScalars.append(scalar)
            }
        }
        return out + (string.unicodeScalars.count > Self.shownMax ? "…\"" : "\"")
    }
}

extension EntityUID {
    /// `MCP::User::"alice"`, for people: what is long is cut.
    public var cedarText: String { "\(type)::\(id.shortQuoted)" }
}

// MARK: - Forms

extension Explanation: CustomStringConvertible {
    /// The explanation as lines for a terminal, policies that are about something else last and in one line each.
    public var description: String {
        var lines = [
            "\(decision.answer.rawValue): \(question.principal.cedarText) \(question.action.cedarText) "
                + question.resource.cedarText,
            "  " + ground,
        ]
        if let cured {
            let cures = cured.cures.map(\.description).joined(separator: ", ")
            let reason =
                cured.decision.determining.isEmpty
                ? "" : ", by " + cured.decision.determining.map(\.string).joined(separator: ", ")
            lines.append("  with \(cures): \(cured.decision.answer.rawValue)\(reason)")
        }
        if !decision.duties.isEmpty {
            lines.append(
                "  and owes: " + decision.duties.map(\.description).joined(separator: ", ")
            )
        }
        for policy in policies where policy.effect != .scopeDiffers {
            lines.append("")
            lines += policy.lines
        }
        let others = policies.filter { $0.effect == .scopeDiffers }
        if !others.isEmpty {
            lines.append("")
            lines.append("about something else:")
            for policy in others {
                lines.append(
                    "  \(policy.title): not this \(policy.mismatches.joined(separator: ", nor this "))"
                )
            }
        }
        return lines.joined(separator: "\n")
    }

    private var ground: String {
        let names = decision.determining.map(\.string).joined(separator: ", ")
        return switch decision.ground {
        case .policy where decision.answer == .permit:
            "permitted by \(names), and no forbid applies"
        case .policy: "stopped by \(names)"
        case .noGrant: "no permit applies"
        case .policyError: "cannot be evaluated: \(names)"
        case .subjectInactive: "the subject is not active; no policy is asked"
        case .subjectUnknown: "the principal is not among the entities; no policy is asked"
        case .resourceUnknown: "the resource is not among the entities; no policy is asked"
        case .definitionChanged: "the tool's definition is not the accepted one; no policy is asked"
        }
    }
}

extension Explanation.Policy {
    fileprivate var title: String {
        "\(permits ? "permit" : "forbid") \(name) (\(document):\(line):\(column))"
    }

    fileprivate var lines: [String] {
        var lines = ["\(title) \(effect.words)"]
        for cure in cures where effect == .applies { lines.append("  cure: \(cure)") }
        for condition in conditions { condition.append(to: &lines, indent: "  ") }
        return lines
    }
}

extension Explanation.Part {
    fileprivate func append(to lines: inout [String], indent: String) {
        guard result != .notReached else { return }
        switch kind {
        case .when, .unless:
            // Its body says whether it is true; the two together say whether the policy may apply.
            guard let body = parts.first else { return }
            lines.append("\(indent)\(kind.rawValue) \(body.result.words) [\(line):\(column)]")
            body.append(to: &lines, indent: indent + "  ")
        case .and, .or, .conditional, .not:
            let head =
                switch kind {
                case .and: "all of"
                case .or: "any of"
                case .not: "not"
                default: "if, then, else"
                }
            lines.append("\(indent)\(head): \(result.words) [\(line):\(column)]")
            for part in parts { part.append(to: &lines, indent: indent + "  ") }
            let skipped = parts.count { $0.result == .notReached }
            if skipped > 0, kind != .conditional {
                lines.append("\(indent)  (\(skipped) more not looked at)")
            }
        case .expression:
            var line = "\(indent)\(result.words): \(text) [\(self.line):\(column)]"
            if !readings.isEmpty {
                line +=
                    "; "
                    + readings.map { reading in
                        reading.value.map { "\(reading.path) is \($0)" }
                            ?? "there is no \(reading.path)"
                    }.joined(separator: ", ")
            }
            lines.append(line)
        }
    }
}

extension ConditionTrace.Result {
    fileprivate var words: String {
        switch self {
        case .isTrue: "true"
        case .isFalse: "false"
        case .failed(let kind): "error (\(String(kind.rawValue.map { $0 == "_" ? " " : $0 })))"
        case .notReached: "not looked at"
        }
    }

    fileprivate var code: String {
        switch self {
        case .isTrue: "true"
        case .isFalse: "false"
        case .failed: "error"
        case .notReached: "notReached"
        }
    }
}

extension Explanation: JSONWritable {
    /// Writes an object (docs/reference/policy-life.md).
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("principal", entity: question.principal)
            writer.member("action", entity: question.action)
            writer.member("resource", entity: question.resource)
            writer.member("decision", DecisionSummary(decision))
            if let cured {
                writer.object("cured") { writer in
                    writer.list("cures", cured.cures.map { Text($0.description) })
                    writer.member("decision", DecisionSummary(cured.decision))
                }
            }
            writer.array("policies") { writer in
                for policy in policies { writer.value(policy) }
            }
        }
    }
}

extension Explanation.Policy: JSONWritable {
    /// Writes an object.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("policy", name)
            writer.member("effect", permits ? "permit" : "forbid")
            writer.member("document", document)
            writer.member("line", line)
            writer.member("column", column)
            writer.member("result", effect.rawValue)
            writer.member("determining", isDetermining)
            if !cures.isEmpty { writer.list("cures", cures.map { Text($0.description) }) }
            if !mismatches.isEmpty { writer.list("mismatches", mismatches.map { Text($0) }) }
            if !conditions.isEmpty {
                writer.array("conditions") { writer in
                    for condition in conditions { writer.value(condition) }
                }
            }
        }
    }
}

extension Explanation.Part: JSONWritable {
    /// Writes an object.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("kind", kind.rawValue)
            writer.member("result", result.code)
            if case .failed(let kind) = result { writer.member("error", kind.rawValue) }
            writer.member("text", text)
            writer.member("line", line)
            writer.member("column", column)
            if !readings.isEmpty {
                writer.array("readings") { writer in
                    for reading in readings {
                        writer.object { writer in
                            writer.member("path", reading.path)
                            writer.member("value", ifPresent: reading.value)
                        }
                    }
                }
            }
            if !parts.isEmpty {
                writer.array("parts") { writer in
                    for part in parts { writer.value(part) }
                }
            }
        }
    }
}
