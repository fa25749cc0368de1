import Cedar
public import JSON

/// What was written differently in two releases: rules by their `@id`, whose layer they are in, and what they may read.
///
/// Layout, comments and the order of rules do not count; a rule without `@id` is another rule as soon as its text is another.
public struct ReleaseDiff: Sendable {
    /// A rule that is in one release only, or in both with another text or in another layer.
    public struct Change: Hashable, Sendable {
        /// What happened to it.
        public enum Kind: String, Hashable, Sendable {
            case added, removed, changed
        }

        /// What happened to it.
        public let kind: Kind
        /// Its `@id`; `nil` if it has none.
        public let policy: Text?
        /// Where it stands, in the newer release that has it.
        public let document: Text
        /// The line, from 1.
        public let line: Int
        /// The text it had, in one fixed layout; `nil` if it was not there.
        public let old: String?
        /// The text it has; `nil` if it is not there any more.
        public let new: String?
        /// The layer it was in, if it is in another one now.
        public let oldLayer: PolicyLayer?
        /// The layer it is in, if it was in another one, or nowhere and this is not the namespace's own.
        public let newLayer: PolicyLayer?
    }

    /// The changes: those of the newer release in its order, then what is no longer there.
    public let changes: [Change]
    /// The rules that are the same in both.
    public let unchanged: Int
    /// Which declarations of facts differ: `approvers`, `counters`, `monitors`, `dataClasses`, `timeZone`, `breakGlassGroup`.
    public let facts: [Text]

    /// Whether both say the same.
    public var isEmpty: Bool { changes.isEmpty && facts.isEmpty }

    /// Compares two releases.
    public init(from old: PolicyRelease, to new: PolicyRelease) {
        let before = Self.rules(of: old)
        let after = Self.rules(of: new)
        let beforeByKey = Dictionary(
            before.map { ($0.key, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        let afterKeys = Set(after.map(\.key))
        var changes: [Change] = []
        var unchanged = 0
        for rule in after {
            let earlier = beforeByKey[rule.key]
            let isMoved = (earlier?.layer ?? .namespace) != rule.layer
            if let earlier, !isMoved, earlier.text.utf8.elementsEqual(rule.text.utf8) {
                unchanged += 1
                continue
            }
            changes.append(
                Change(
                    kind: earlier == nil ? .added : .changed,
                    policy: rule.policy,
                    document: rule.document,
                    line: rule.line,
                    old: earlier?.text,
                    new: rule.text,
                    oldLayer: isMoved ? earlier?.layer : nil,
                    newLayer: isMoved ? rule.layer : nil
                )
            )
        }
        for rule in before where !afterKeys.contains(rule.key) {
            changes.append(
                Change(
                    kind: .removed,
                    policy: rule.policy,
                    document: rule.document,
                    line: rule.line,
                    old: rule.text,
                    new: nil,
                    oldLayer: nil,
                    newLayer: nil
                )
            )
        }
        self.changes = changes
        self.unchanged = unchanged
        let (a, b) = (old.facts, new.facts)
        let parts: [(Text, Bool)] = [
            ("approvers", Set(a.approverGroups) == Set(b.approverGroups)),
            ("counters", Set(a.counters) == Set(b.counters)),
            ("monitors", Set(a.monitors) == Set(b.monitors)),
            ("dataClasses", Set(a.dataClasses) == Set(b.dataClasses)),
            ("timeZone", a.timeZone == b.timeZone),
            ("breakGlassGroup", a.breakGlassGroup == b.breakGlassGroup),
        ]
        facts = parts.filter { !$0.1 }.map(\.0)
    }

    private struct Rule {
        let policy: Text?
        let document: Text
        let line: Int
        let text: String
        let layer: PolicyLayer
        /// The `@id`, or the text of a rule that has none; never mistaken for each other.
        var key: [Text] { policy.map { [$0] } ?? ["", Text(text)] }
    }

    private static func rules(of release: PolicyRelease) -> [Rule] {
        release.set.policies.compactMap { policy in
            release.rules[policy.id].map { rule in
                Rule(
                    policy: rule.isNamed ? rule.name : nil,
                    document: rule.document,
                    line: rule.line,
                    text: policy.formatted(),
                    layer: rule.layer
                )
            }
        }
    }
}

extension ReleaseDiff: JSONWritable {
    /// Writes an object (docs/reference/policy-life.md).
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.array("changes") { writer in
                for change in changes {
                    writer.object { writer in
                        writer.member("change", change.kind.rawValue)
                        writer.member("policy", ifPresent: change.policy)
                        writer.member("document", change.document)
                        writer.member("line", change.line)
                        writer.member("old", ifPresent: change.old)
                        writer.member("new", ifPresent: change.new)
                        writer.member("oldLayer", ifPresent: change.oldLayer)
                        writer.member("newLayer", ifPresent: change.newLayer)
                    }
                }
            }
            writer.member("unchanged", unchanged)
            writer.list("facts", facts)
        }
    }
}
