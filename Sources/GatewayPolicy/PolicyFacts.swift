public import Cedar
public import GatewayModel
public import JSON

/// What the gateway knows about a call besides who, what and with which arguments; callers supply none of it.
///
/// Policies read these as `context.facts` and `context.system` (policy.md §3.4). What is not known has the value that
/// opens nothing: nobody has approved, nobody has stepped up. A counter or monitor that is declared and not given is
/// left out, so that a policy which reads it fails, and the gateway closes.
public struct PolicyFacts: Sendable {
    /// When the call is decided.
    public var time: Timestamp
    /// What the clock on the wall shows; `nil` to follow the time zone that the release declares.
    public var localTime: LocalTime?
    /// The client's address; not a range.
    public var source: IPAddress?
    /// The `client_id` that the token's issuer vouches for; `nil` for none.
    public var client: Text?
    /// For how long the session has existed, in milliseconds.
    public var sessionAgeMilliseconds: Int64 = 0
    /// Whether the subject has authenticated recently and strongly.
    public var hasSteppedUp = false
    /// Whether the tool's definition is the accepted one.
    public var definitionPinned: Bool
    /// Whether policies see the arguments exactly.
    public var inputFaithful = true
    /// The data classes found in the payload, as they were found.
    public var found: Set<Text> = []
    /// How many distinct valid approvers of exactly this request there are, by group.
    public var approvals: [Text: Int64] = [:]
    /// What the counters say.
    public var rates: [Text: RateReading] = [:]
    /// What the monitors say.
    public var history: [Text: Bool] = [:]

    /// The facts that no call is without.
    public init(time: Timestamp, source: IPAddress?, definitionPinned: Bool) {
        self.time = time
        self.source = source
        self.definitionPinned = definitionPinned
    }

    /// Adds `system` and `facts` to a context.
    func write(
        to context: inout RecordLayout,
        _ declared: FactDeclarations,
        client: EntityUID
    ) {
        let local = localTime ?? declared.timeZone.localTime(at: time)
        context.add("system") { system in
            let now = CedarDatetime(milliseconds: time.microseconds / 1000)
            system.add("now", .datetime(now))
            system.add("localHour", .long(Int64(local.hour)))
            system.add("weekday", .long(Int64(local.weekday)))
            if let source { system.add("source", .ip(source)) }
        }
        context.add("facts") { facts in
            facts.add("client", .entity(client))
            facts.add("sessionAge", .duration(CedarDuration(milliseconds: sessionAgeMilliseconds)))
            facts.add("stepUp", .bool(hasSteppedUp))
            facts.add("definitionPinned", .bool(definitionPinned))
            facts.add("inputFaithful", .bool(inputFaithful))
            let found = found.isEmpty ? [] : declared.closure(of: found)
            facts.add("found", .set(found.map { .entity(MCPEntities.dataClass($0)) }))
            facts.add("approvals") { approvals in
                for group in declared.approverGroups {
                    approvals.add(group, .long(self.approvals[group] ?? 0))
                }
            }
            facts.add("rate") { rate in
                for counter in declared.counters {
                    guard let reading = rates[counter.name] else { continue }
                    rate.add(counter.name, .long(reading.count))
                }
            }
            facts.add("history") { history in
                for monitor in declared.monitors {
                    guard let happened = self.history[monitor.name] else { continue }
                    history.add(monitor.name, .bool(happened))
                }
            }
        }
    }

    /// The facts as they would be with `cures` at work.
    func cured(by cures: some Sequence<GatewayModel.Decision.Cure>) -> PolicyFacts {
        var facts = self
        for cure in cures {
            switch cure {
            case .approval(let group, let count):
                facts.approvals[group] = max(facts.approvals[group] ?? 0, Int64(count))
            case .stepUp:
                facts.hasSteppedUp = true
            case .limit(let counter):
                facts.rates[counter] = RateReading(count: 0)
            }
        }
        return facts
    }
}
