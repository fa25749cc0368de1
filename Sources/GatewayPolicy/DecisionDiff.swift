public import Cedar
public import GatewayModel
public import JSON

/// What changes between two releases over the same inputs (policy.md §4, "Decision diff").
///
/// A fold: decisions are counted one at a time, and what is kept does not grow with them. Counts are exact; groups are at
/// most ``groupsMax``, each with at most ``examplesMax`` examples, the first ones. Parts that were counted apart are
/// ``merge(_:)``d in the order of their inputs. Replay and shadow runs fill the same value, so their reports read alike.
public struct DecisionDiff: Sendable {
    /// The most groups; what would be one more is counted under its transition and as ungrouped.
    public static let groupsMax = 1000
    /// The most examples of a group.
    public static let examplesMax = 5

    /// One answer becoming another, or staying.
    public struct Transition: Hashable, Sendable {
        /// What the baseline answers.
        public var from: GatewayModel.Decision.Answer
        /// What the candidate answers.
        public var to: GatewayModel.Decision.Answer

        /// An answer becoming another.
        public init(from: GatewayModel.Decision.Answer, to: GatewayModel.Decision.Answer) {
            self.from = from
            self.to = to
        }

        /// Whether the answer is another one.
        public var isChange: Bool { from != to }
        /// Whether something goes on that did not: what somebody must accept before it is in force.
        public var isWidening: Bool { to == .permit && from != .permit }
    }

    /// One input that is answered otherwise, without its arguments.
    public struct Example: Hashable, Sendable {
        /// Where it is recorded.
        public var reference: Text
        /// When it was asked.
        public var time: Timestamp
        /// Who.
        public var principal: EntityUID
        /// Does what.
        public var action: EntityUID
        /// To what.
        public var resource: EntityUID
        /// What the baseline answers.
        public var baseline: DecisionSummary
        /// What the candidate answers.
        public var candidate: DecisionSummary

        init(_ input: DecisionInput, _ baseline: DecisionSummary, _ candidate: DecisionSummary) {
            reference = input.reference
            time = input.facts.time
            principal = input.principal
            action = input.action
            resource = input.resource
            self.baseline = baseline
            self.candidate = candidate
        }
    }

    /// Inputs that change in the same way for the same reasons.
    public struct Group: Hashable, Sendable {
        /// From what to what.
        public var transition: Transition
        /// The policies that determine the baseline's answer; empty where none does.
        public var baseline: [Text]
        /// The policies that determine the candidate's answer; empty where none does.
        public var candidate: [Text]
        /// How many inputs.
        public var count: Int
        /// The first of them.
        public var examples: [Example]
    }

    /// Whether the baseline, asked again, says what was recorded when it was in force.
    ///
    /// Where it does not, the replay does not see what the decision saw, and its other counts are worth less: facts that
    /// were not recorded, entities of another moment.
    public struct Fidelity: Hashable, Sendable {
        /// The same answer.
        public var agreed = 0
        /// Another answer.
        public var differed = 0
        /// Not comparable: another release was in force, or nothing was recorded.
        public var incomparable = 0
        /// The first that differ: `baseline` is what was recorded, `candidate` what the baseline says now.
        public var examples: [Example] = []
    }

    /// Inputs that were given, whatever became of them.
    public private(set) var total = 0
    /// Inputs that could not be decided, by reason.
    public private(set) var undecided: [DecisionInput.Obstacle: Int] = [:]
    /// Inputs by what their answer becomes; those that stay the same are counted too.
    public private(set) var transitions: [Transition: Int] = [:]
    /// Inputs with the same answer that other policies determine, or that rests on another ground.
    public private(set) var sameAnswerOtherPolicies = 0
    /// Inputs that change, in groups that were one too many.
    public private(set) var ungrouped = 0
    /// How the replayed baseline compares with the record; `nil` where it was not replayed.
    public internal(set) var fidelity: Fidelity?
    private var groupsByKey: [GroupKey: Group] = [:]

    private struct GroupKey: Hashable, Sendable {
        let transition: Transition
        let baseline: [Text]
        let candidate: [Text]
    }

    /// Nothing counted yet.
    public init() {}

    // MARK: - Counting

    /// Counts an input that both sides have answered.
    public mutating func count(
        _ input: DecisionInput,
        baseline: DecisionSummary,
        candidate: DecisionSummary
    ) {
        total += 1
        let transition = Transition(from: baseline.answer, to: candidate.answer)
        transitions[transition, default: 0] += 1
        guard transition.isChange else {
            if baseline.ground != candidate.ground || baseline.determining != candidate.determining
            {
                sameAnswerOtherPolicies += 1
            }
            return
        }
        let key = GroupKey(
            transition: transition,
            baseline: baseline.determining,
            candidate: candidate.determining
        )
        guard groupsByKey[key] != nil || groupsByKey.count < Self.groupsMax else {
            ungrouped += 1
            return
        }
        let fresh = Group(
            transition: transition,
            baseline: key.baseline,
            candidate: key.candidate,
            count: 0,
            examples: []
        )
        groupsByKey[key, default: fresh].add(1, [Example(input, baseline, candidate)])
    }

    /// Counts an input that cannot be asked again.
    public mutating func count(undecided obstacle: DecisionInput.Obstacle) {
        total += 1
        undecided[obstacle, default: 0] += 1
    }

    /// Adds what was counted over the inputs that follow.
    public mutating func merge(_ later: DecisionDiff) {
        total += later.total
        undecided.merge(later.undecided, uniquingKeysWith: +)
        transitions.merge(later.transitions, uniquingKeysWith: +)
        sameAnswerOtherPolicies += later.sameAnswerOtherPolicies
        ungrouped += later.ungrouped
        if let its = later.fidelity {
            var own = fidelity ?? Fidelity()
            own.agreed += its.agreed
            own.differed += its.differed
            own.incomparable += its.incomparable
            own.examples += its.examples.prefix(Self.examplesMax - own.examples.count)
            fidelity = own
        }
        // In a fixed order, so that the same parts always make the same report.
        for group in later.groups {
            let key = GroupKey(
                transition: group.transition,
                baseline: group.baseline,
                candidate: group.candidate
            )
            if groupsByKey[key] != nil {
                groupsByKey[key]?.add(group.count, group.examples)
            } else if groupsByKey.count < Self.groupsMax {
                groupsByKey[key] = group
            } else {
                ungrouped += group.count
            }
        }
    }

    // MARK: - Reading

    /// Inputs that both sides have answered.
    public var decided: Int { transitions.values.reduce(0, +) }

    /// Inputs whose answer becomes another one.
    public var changed: Int {
        transitions.reduce(0) { $0 + ($1.key.isChange ? $1.value : 0) }
    }

    /// Inputs that become a permit and were none.
    public var widening: Int {
        transitions.reduce(0) { $0 + ($1.key.isWidening ? $1.value : 0) }
    }

    /// The groups, those with most inputs first.
    public var groups: [Group] {
        groupsByKey.values.sorted { left, right in
            if left.count != right.count { return left.count > right.count }
            if left.transition != right.transition { return left.transition < right.transition }
            if left.baseline != right.baseline {
                return left.baseline.lexicographicallyPrecedes(right.baseline)
            }
            return left.candidate.lexicographicallyPrecedes(right.candidate)
        }
    }
}

extension DecisionDiff.Group {
    fileprivate mutating func add(_ count: Int, _ examples: [DecisionDiff.Example]) {
        self.count += count
        self.examples += examples.prefix(DecisionDiff.examplesMax - self.examples.count)
    }
}

extension DecisionDiff.Transition: Comparable, CustomStringConvertible {
    /// `permit→deny`.
    public var description: String { "\(from.rawValue)→\(to.rawValue)" }

    /// From the widest answer to the narrowest.
    public static func < (left: Self, right: Self) -> Bool {
        (left.from.rank, left.to.rank) < (right.from.rank, right.to.rank)
    }
}

extension GatewayModel.Decision.Answer {
    /// How much stands in the way.
    fileprivate var rank: Int {
        switch self {
        case .permit: 0
        case .rateLimited: 1
        case .stepUp: 2
        case .requireApproval: 3
        case .deny: 4
        }
    }
}

extension DecisionDiff: JSONWritable {
    /// Writes the report (docs/reference/policy-life.md).
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in writeMembers(to: &writer) }
    }

    /// Writes the members of the report, for a report that has others besides.
    public func writeMembers(to writer: inout JSONWriter) {
        writer.member("total", total)
        writer.member("decided", decided)
        writer.member("changed", changed)
        writer.member("widening", widening)
        writer.member("sameAnswerOtherPolicies", sameAnswerOtherPolicies)
        writer.array("transitions") { writer in
            for (transition, count) in transitions.sorted(by: { $0.key < $1.key }) {
                writer.object { writer in
                    writer.members(of: transition)
                    writer.member("count", count)
                }
            }
        }
        writer.array("groups") { writer in
            for group in groups {
                writer.object { writer in
                    writer.members(of: group.transition)
                    writer.list("baseline", group.baseline)
                    writer.list("candidate", group.candidate)
                    writer.member("count", group.count)
                    writer.array("examples") { writer in
                        for example in group.examples { writer.value(example) }
                    }
                }
            }
        }
        writer.member("ungrouped", ungrouped)
        writer.array("undecided") { writer in
            for obstacle in DecisionInput.Obstacle.allCases {
                guard let count = undecided[obstacle] else { continue }
                writer.object { writer in
                    writer.member("reason", obstacle.rawValue)
                    writer.member("count", count)
                }
            }
        }
        if let fidelity {
            writer.object("fidelity") { writer in
                writer.member("agreed", fidelity.agreed)
                writer.member("differed", fidelity.differed)
                writer.member("incomparable", fidelity.incomparable)
                writer.array("examples") { writer in
                    for example in fidelity.examples { writer.value(example) }
                }
            }
        }
    }
}

extension DecisionDiff.Example: JSONWritable {
    /// Writes an object.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("reference", reference)
            writer.member("time", time.description)
            writer.member("principal", entity: principal)
            writer.member("action", entity: action)
            writer.member("resource", entity: resource)
            writer.member("baseline", baseline)
            writer.member("candidate", candidate)
        }
    }
}

extension JSONWriter {
    fileprivate mutating func members(of transition: DecisionDiff.Transition) {
        member("from", transition.from.rawValue)
        member("to", transition.to.rawValue)
    }

    /// Writes a member that is a list of texts.
    mutating func list(_ name: StaticString, _ items: [Text]) {
        array(name) { writer in
            for item in items { writer.value(item) }
        }
    }
}
