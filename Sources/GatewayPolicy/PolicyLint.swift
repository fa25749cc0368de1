import Cedar
import GatewayModel
public import JSON

/// What is unwise about a release that could be enforced: the checks at publish (policy.md §3.9).
///
/// Pure. With a schema the questions are put to the meaning of policies that validate: what a guard comes to with one
/// approval too few, whether a forbid can fail in any request. Of a policy that does not validate, or without a schema,
/// only the text can be judged.
public enum PolicyLint {
    /// One finding.
    public struct Finding: Hashable, Sendable {
        /// What it is: a ``PolicyLint/Code``, or the code of a reader of Cedar (docs/reference/policy-lint.md).
        public var code: Text
        /// How bad it is.
        public var severity: Severity
        /// The policy's `@id`, or its number in the release; empty for a finding about a text.
        public var policy: Text
        /// In which document.
        public var document: Text
        /// The line, from 1.
        public var line: Int
        /// The column in Unicode scalars, from 1.
        public var column: Int
        /// What is wrong, and what would be right.
        public var message: String
    }

    /// How bad a finding is.
    public enum Severity: String, Hashable, Sendable {
        /// Not to be published.
        case error
        /// To be published by two people.
        case warning
    }

    /// The kinds of findings.
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// A policy without `@id`: records could not name it for good.
        case idMissing = "id_missing"
        /// A forbid without `@tier`: nobody can tell whether something may lift it.
        case tierMissing = "tier_missing"
        /// A cure that its guard's condition does not ask for.
        case cureWithoutEffect = "cure_without_effect"
        /// A permit that reads approvals: they lift guards, and a permit beside it would allow without them.
        case permitReadsApprovals = "permit_reads_approvals"
        /// An absolute forbid that excepts the break-glass group.
        case absoluteMentionsBreakGlass = "absolute_mentions_break_glass"
        /// A forbid that can overflow: it would be skipped, were it not that the gateway closes then.
        case forbidCanOverflow = "forbid_can_overflow"
        /// A forbid that reads an entity that need not be there.
        case forbidDereferences = "forbid_dereferences"
        /// `context has input`: every call has arguments, so this asks for nothing.
        case asksForInput = "asks_for_input"
        /// A permit for anybody on anything.
        case unscopedPermit = "unscoped_permit"
        /// Whether it stops a publication.
        public var severity: Severity {
            self == .unscopedPermit || self == .asksForInput ? .warning : .error
        }
    }

    /// Everything that is unwise about a release, in the order of its documents, as far as its text tells.
    public static func findings(of release: PolicyRelease) -> [Finding] {
        findings(of: release, effects: nil) { _ in false }
    }

    /// Everything that is unwise about a release, in the order of its documents.
    ///
    /// - Parameters:
    ///   - effects: What its policies mean.
    ///   - isValid: Whether a policy validates, so that its meaning can be relied on.
    static func findings(
        of release: PolicyRelease,
        effects: PolicyEffects?,
        isValid: (PolicyID) -> Bool
    ) -> [Finding] {
        var findings: [Finding] = []
        for document in release.documents {
            // What a reviewer cannot see or would misread: the language's own reader knows.
            do throws(PolicyParseFailure) {
                _ = try PolicySet.parse(document.source.string, rules: .publishing)
            } catch {
                findings += error.diagnostics.map { diagnostic in
                    Finding(
                        code: Text(diagnostic.code.rawValue),
                        severity: diagnostic.severity == .error ? .error : .warning,
                        policy: "",
                        document: document.name,
                        line: diagnostic.line,
                        column: diagnostic.column,
                        message: diagnostic.message
                    )
                }
            }
        }
        guard let trees = PolicyTrees(release.set) else { return findings }
        let places = DocumentPlaces(release.documents)
        let breakGlass = MCPEntities.group(release.facts.breakGlassGroup)
        let mentions = Dictionary(
            release.set.entityMentions.filter { $0.uid == breakGlass && !$0.isInScope }
                .map { ($0.policy, $0.span) },
            uniquingKeysWith: { first, _ in first }
        )
        for policy in release.set.policies {
            guard let rule = release.rules[policy.id], let tree = trees[policy.id] else { continue }
            var meaning: Meaning?
            if let effects, isValid(policy.id), effects.hasKinds(policy.id) {
                meaning = Meaning(policy: policy.id, effects: effects)
            }
            func add(_ code: Code, _ message: String, line: Int, column: Int) {
                findings.append(
                    Finding(
                        code: Text(code.rawValue),
                        severity: code.severity,
                        policy: rule.name,
                        document: rule.document,
                        line: line,
                        column: column,
                        message: message
                    )
                )
            }
            for (code, message) in check(rule, tree, meaning) {
                add(code, message, line: rule.line, column: rule.column)
            }
            // One that is for its members alone may also name them below.
            if rule.tier == .absolute, let mention = mentions[policy.id],
                tree.scopeEntity("principal") != breakGlass
            {
                let (_, line, column) = places.place(of: Int(mention.start))
                let code = Code.absoluteMentionsBreakGlass
                add(code, code.advice, line: line, column: column)
            }
        }
        return findings
    }

    /// A policy whose meaning can be relied on.
    private struct Meaning {
        let policy: PolicyID
        let effects: PolicyEffects

        /// The cures that do not do what they say.
        func failing(
            _ cures: [GatewayModel.Decision.Cure]
        ) -> [(cure: GatewayModel.Decision.Cure, why: String)] {
            func effects(_ hasWorked: (Int) -> Bool) -> [PolicyEffects.Effect] {
                self.effects.effects(
                    of: policy,
                    with: cures.indices.map { .init(cure: cures[$0], hasWorked: hasWorked($0)) }
                )
            }
            guard !cures.isEmpty else { return [] }
            guard effects({ _ in true }).allSatisfy(\.isNothing) else {
                return cures.map { ($0, "the forbid still applies to some requests after \($0)") }
            }
            return cures.indices.compactMap { index in
                // Something is missing without it, or it is enough alone.
                let matters = effects { $0 != index }.contains { !$0.isNothing }
                guard !matters,
                    !effects({ $0 == index }).allSatisfy(\.isNothing) || cures.count == 1
                else { return nil }
                return (cures[index], "the forbid does not apply even without \(cures[index])")
            }
        }

        /// Why evaluating it may fail.
        func failures(_ tree: PolicyTree) -> Set<Code> {
            var codes: Set<Code> = []
            for effect in effects.effects(of: policy) where effect.mayFail {
                var isArithmetic = false
                (effect.residual ?? tree).visit { isArithmetic = isArithmetic || $0.canOverflow }
                var dereferences = false
                (effect.residual ?? tree).visit {
                    dereferences = dereferences || $0.dereferencesForeignEntity
                }
                if isArithmetic { codes.insert(.forbidCanOverflow) }
                if dereferences || !isArithmetic { codes.insert(.forbidDereferences) }
            }
            return codes
        }

        /// Whether what it comes to depends on approvals in some request.
        var readsApprovals: Bool {
            effects.effects(of: policy).contains { $0.residual?.readsApprovals ?? false }
        }
    }

    private static func check(
        _ rule: PolicyRelease.Rule,
        _ tree: PolicyTree,
        _ meaning: Meaning?
    ) -> [(Code, String)] {
        var found: [(Code, String)] = []
        if !rule.isNamed {
            found.append((.idMissing, "give it an @id that stays when its text moves"))
        }
        if !rule.permits, rule.tier == nil {
            found.append((.tierMissing, "say @tier(\"absolute\") or @tier(\"guard\")"))
        }
        if rule.permits, tree.isOpen("principal"), tree.isOpen("resource") {
            found.append((.unscopedPermit, "permits anybody anything of this kind"))
        }
        if let meaning {
            found += meaning.failing(rule.cures).map { (.cureWithoutEffect, $0.why) }
        } else {
            for cure in rule.cures where !tree.asks(for: cure) {
                found.append((.cureWithoutEffect, "the condition does not ask for \(cure)"))
            }
        }
        var codes: Set<Code> = []
        tree.visit { node in
            if !rule.permits, node.canOverflow { codes.insert(.forbidCanOverflow) }
            if !rule.permits, node.dereferencesForeignEntity { codes.insert(.forbidDereferences) }
            if node.name == "has", node["left"]?.path == ["context"],
                node.operands["attr"]?.string == "input"
                    || node.operands["attr"]?.elements.first(where: { _ in true })?.string
                        == "input"
            {
                codes.insert(.asksForInput)
            }
        }
        if let meaning, !rule.permits {
            codes.subtract([.forbidCanOverflow, .forbidDereferences])
            codes.formUnion(meaning.failures(tree))
        }
        if rule.permits, tree.readsApprovals, meaning?.readsApprovals ?? true {
            codes.insert(.permitReadsApprovals)
        }
        for code in Code.allCases where codes.contains(code) { found.append((code, code.advice)) }
        return found
    }
}

extension PolicyLint.Code {
    fileprivate var advice: String {
        switch self {
        case .permitReadsApprovals: "ask for approvals in a forbid … unless, with @approval"
        case .absoluteMentionsBreakGlass: "make it a guard, or leave out the group"
        case .forbidCanOverflow: "compare with a literal, or let a fact do the arithmetic"
        case .forbidDereferences:
            "read attributes of principal and resource only; the entity behind one may be missing"
        case .asksForInput: "context.input is always there; ask for the argument itself"
        default: rawValue
        }
    }
}

extension PolicyTree {
    /// Whether a condition compares the fact that a cure sets with what the cure sets it to.
    fileprivate func asks(for cure: GatewayModel.Decision.Cure) -> Bool {
        var asks = false
        visit { node in
            switch cure {
            case .approval(let group, let count):
                let path: [Text] = ["context", "facts", "approvals", group]
                // At n it must hold, at n − 1 it must not.
                switch node.name.string {
                case ">=": asks = asks || node.compares(path, Int64(count))
                case ">": asks = asks || node.compares(path, Int64(count) - 1)
                case "<": asks = asks || node.compares(path, Int64(count))
                case "<=": asks = asks || node.compares(path, Int64(count) - 1)
                default: break
                }
            case .limit(let counter):
                let path: [Text] = ["context", "facts", "rate", counter]
                if [">=", ">", "<", "<="].contains(node.name.string) {
                    asks = asks || node["left"]?.path == path && node["right"]?.long ?? 0 > 0
                }
            case .stepUp:
                asks = asks || node.path == ["context", "facts", "stepUp"]
            }
        }
        return asks
    }
}

extension PolicyTree {
    /// Whether `context.facts.approvals`, a part of it or something that holds it is read.
    fileprivate var readsApprovals: Bool {
        let approvals: [Text] = ["context", "facts", "approvals"]
        var reads = false
        visitPaths { path in
            reads = reads || path.starts(with: approvals) || approvals.starts(with: path)
        }
        return reads
    }
}

extension PolicyTree.Node {
    /// Whether evaluating it can leave the range of its type.
    fileprivate var canOverflow: Bool {
        ["+", "-", "*", "neg", "offset", "durationSince", "toDate"].contains(name.string)
    }

    fileprivate func compares(_ path: [Text], _ value: Int64) -> Bool {
        self["left"]?.path == path && self["right"]?.long == value
    }

    /// Whether an attribute or tag is read of an entity other than those that every decision has.
    fileprivate var dereferencesForeignEntity: Bool {
        guard name == "." || name == "getTag", let left = self["left"] else { return false }
        if left.entity != nil { return true }
        guard let path = left.path, let first = path.first else { return false }
        // principal.manager.status reads an entity behind an attribute.
        return (first == "principal" || first == "resource") && path.count > 1
    }
}
