import GatewayModel
import JSON

/// The annotations that the gateway understands; Cedar itself gives them no meaning.
public enum PolicyAnnotation: String, CaseIterable, Sendable {
    /// The name of the policy in decisions and records.
    case id
    /// `absolute`, a forbid without exception, or `guard`, one that something cures or excepts.
    case tier
    /// On a guard: `group:count`, several with commas. Approvals that would lift it.
    case approval
    /// On a guard: a counter whose fall would lift it.
    case limit
    /// On a guard: authenticating anew would lift it. Takes no value.
    case stepup
    /// On a permit: `full`. See ``GatewayModel/Decision/Duty/record(_:)``.
    case record
    /// On a permit: whom to tell, several with commas.
    case notify
    /// The control that the policy implements, `AC-3(2)`.
    case control
    /// What the policy is for, in words.
    case description

    /// Whether the annotation says what would lift a guard.
    var isCure: Bool { self == .approval || self == .limit || self == .stepup }
    /// Whether the annotation obliges to something.
    var isDuty: Bool { self == .record || self == .notify }
}

/// Whether something can lift a forbid.
public enum PolicyTier: String, Hashable, Sendable {
    /// Nothing can.
    case absolute
    /// What its annotations or conditions say.
    case `guard`
}

/// What the annotations of one policy mean.
struct PolicyMeaning: Sendable {
    var name: Text?
    var tier: PolicyTier?
    var cures: [Decision.Cure] = []
    var duties: [Decision.Duty] = []

    /// Why annotations mean nothing.
    struct Refusal: Error, Hashable {
        var annotation: Text
        var reason: String
    }

    /// Reads the annotations of a policy.
    ///
    /// Every finding is returned: an annotation that is not understood must not be overlooked, since somebody who wrote
    /// `@notfy` believes that somebody is told.
    static func read(
        _ annotations: [(key: Text, value: Text)],
        permits: Bool,
        counters: Set<Text>
    ) -> (PolicyMeaning, [Refusal]) {
        var meaning = PolicyMeaning()
        var refusals: [Refusal] = []
        func refuse(_ key: Text, _ reason: String) {
            refusals.append(Refusal(annotation: key, reason: reason))
        }
        for (key, value) in annotations {
            guard let annotation = PolicyAnnotation(rawValue: key.string) else {
                refuse(key, "no such annotation")
                continue
            }
            if annotation.isCure, permits {
                refuse(key, "only a forbid can be cured")
                continue
            }
            if annotation.isDuty, !permits {
                refuse(key, "only a permit obliges to something")
                continue
            }
            switch annotation {
            case .id:
                if value.isEmpty || value.byteCount > 128 {
                    refuse(key, "not a name of 1 to 128 bytes")
                } else {
                    meaning.name = value
                }
            case .tier:
                if let tier = PolicyTier(rawValue: value.string) {
                    meaning.tier = tier
                } else {
                    refuse(key, "neither absolute nor guard")
                }
            case .approval:
                let items = value.commaSeparated
                let cures = items.compactMap(Self.approval)
                if cures.isEmpty || cures.count != items.count {
                    refuse(key, "not group:count with a count of 1 to 100")
                } else {
                    meaning.cures += cures
                }
            case .limit:
                if counters.contains(value) {
                    meaning.cures.append(.limit(counter: value))
                } else {
                    refuse(key, "no counter \(value) is declared in facts.json")
                }
            case .stepup:
                if value.isEmpty {
                    meaning.cures.append(.stepUp)
                } else {
                    refuse(key, "takes no value")
                }
            case .record:
                if let level = Decision.RecordLevel(rawValue: value.string) {
                    meaning.duties.append(.record(level))
                } else {
                    refuse(key, "the only level is full")
                }
            case .notify:
                let names = value.commaSeparated
                if names.isEmpty || !names.allSatisfy(\.isGroupName) {
                    refuse(key, "names nobody")
                } else {
                    meaning.duties += names.map { .notify($0) }
                }
            case .control, .description:
                break
            }
        }
        if meaning.tier == .absolute, !meaning.cures.isEmpty {
            refuse("tier", "an absolute forbid has no cure")
        }
        return (meaning, refusals)
    }

    private static func approval(_ text: Text) -> Decision.Cure? {
        let parts = text.string.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let count = Int(parts[1]), (1...100).contains(count),
            parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) })
        else { return nil }
        let group = Text(parts[0])
        return group.isGroupName ? .approval(group: group, count: count) : nil
    }
}

extension Text {
    /// The parts between commas, without blanks around them; an empty part stays, to be refused.
    fileprivate var commaSeparated: [Text] {
        string.split(separator: ",", omittingEmptySubsequences: false).map { part in
            var part = part
            while part.first == " " { part.removeFirst() }
            while part.last == " " { part.removeLast() }
            return Text(part)
        }
    }
}
