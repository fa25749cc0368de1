import GatewayModel
public import JSON

/// What a decision rested on that the gateway computed and no caller supplies (policy.md §3.4).
///
/// With the arguments, which are a part of the record, and the configuration, which control keeps by its version, these
/// are everything that the same call needs to be decided again, under the same or another release. In records stands only
/// what differs from ``DecisionFacts/init()``, so that a plain call pays nothing for it.
public struct DecisionFacts: Hashable, Sendable {
    /// What the declared counters said, by name; a counter of which nothing is said was not declared.
    public var rates: [Text: Int64] = [:]
    /// What the declared monitors said, by name; likewise.
    public var history: [Text: Bool] = [:]
    /// How many distinct people had approved exactly this call, by group; 0 of every other group.
    public var approvals: [Text: Int64] = [:]
    /// The data classes found in the arguments, as they were found.
    public var found: Set<Text> = []
    /// Whether the subject had authenticated recently and strongly.
    public var stepUp = false
    /// For how long the session had existed, in milliseconds; 0 when nothing was known of it.
    public var sessionAgeMilliseconds: Int64 = 0
    /// Whether policies saw the arguments exactly.
    public var inputFaithful = true
    /// Whether the tool's definition was the accepted one.
    public var definitionPinned = true

    /// The facts of a plain call.
    public init() {}

    /// The facts, or nothing where a record says nothing of them.
    public var unlessPlain: DecisionFacts? { isPlain ? nil : self }

    private var isPlain: Bool {
        rates.isEmpty && history.isEmpty && approvals.isEmpty && found.isEmpty && !stepUp
            && sessionAgeMilliseconds == 0 && inputFaithful && definitionPinned
    }
}

extension JSONWriter {
    /// `facts`; names in the order of their bytes.
    mutating func member(of facts: DecisionFacts) {
        key("facts")
        beginObject()
        member("rates", facts.rates)
        member("history", facts.history)
        member("approvals", facts.approvals)
        if !facts.found.isEmpty {
            key("found")
            beginArray()
            for name in facts.found.sorted() { value(name) }
            endArray()
        }
        if facts.stepUp { member("stepUp", true) }
        if facts.sessionAgeMilliseconds != 0 {
            member("sessionAgeMs", facts.sessionAgeMilliseconds)
        }
        if !facts.inputFaithful { member("inputFaithful", false) }
        if !facts.definitionPinned { member("definitionPinned", false) }
        endObject()
    }

    /// What a release in shadow would have answered.
    mutating func member(ofShadow shadow: Decision) {
        key("shadow")
        beginObject()
        member("release", shadow.release)
        member("answer", shadow.answer.rawValue)
        member("ground", shadow.ground.rawValue)
        key("determining")
        beginArray()
        for id in shadow.determining { value(id) }
        endArray()
        endObject()
    }

    private mutating func member(_ name: StaticString, _ values: [Text: some JSONWritable]) {
        guard !values.isEmpty else { return }
        key(name)
        beginObject()
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            key(name)
            self.value(value)
        }
        endObject()
    }
}
