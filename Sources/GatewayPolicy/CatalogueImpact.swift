import Cedar
public import GatewayModel
public import JSON

/// What a changed list of tools means for a release: what changed of each tool, and which policies no longer hold
/// (policy.md §4).
///
/// Only what policies can tell apart from before is validated again, so that a change of one tool costs little however
/// many there are.
public struct CatalogueImpact: Sendable {
    /// What becomes of a policy.
    public enum Verdict: String, Hashable, Sendable, CaseIterable {
        /// It means what it meant.
        case unaffected
        /// It is valid, and can no longer apply to any request.
        case impossible
        /// It does not validate any more.
        case invalid
    }

    /// One policy.
    public struct PolicyImpact: Hashable, Sendable {
        /// Its `@id`, or its number in the release.
        public var policy: Text
        /// In which document it stands.
        public var document: Text
        /// The line, from 1.
        public var line: Int
        /// The column in Unicode scalars, from 1.
        public var column: Int
        /// What becomes of it.
        public var verdict: Verdict
        /// What is found of it now that was not found before.
        public var findings: [ReleaseChecks.Finding]
    }

    /// What changed, by server; only servers with changes.
    public let changes: [ServerName: ToolListDiff]
    /// All policies of the release in the order of its documents; none if it does not compile.
    public let policies: [PolicyImpact]
    /// Why there is no schema of the new catalogue, and so nothing is known of any policy.
    public let obstacle: ReleaseChecks.Finding?
    /// How many verdicts had to be found out; the rest was remembered.
    public let checkCount: Int

    /// The policies that are not what they were.
    public var affected: [PolicyImpact] { policies.filter { $0.verdict != .unaffected } }

    init(
        of checks: ReleaseChecks,
        _ catalogue: [SchemaGenerator.Server],
        reusing memo: inout ReleaseChecks.Memo
    ) {
        changes = Self.changes(from: checks.catalogue, to: catalogue)
        guard let release = checks.release else {
            (policies, obstacle, checkCount) = ([], nil, 0)
            return
        }
        let generated = SchemaGenerator(facts: release.facts).generate(catalogue)
        do throws(ReleaseChecks.Finding) {
            let schema = try ReleaseValidation.schema(generated.schema)
            var validation = ReleaseValidation(release, catalogue, checks.levelMax)
            let found = validation.findings(schema, reusing: &memo.validation).findings
            checkCount = validation.checkCount
            obstacle = nil
            var known: [Text: Set<ReleaseChecks.Finding>] = [:]
            for finding in checks.findings {
                known[finding.policy, default: []].insert(finding.key)
            }
            let fresh = Dictionary(
                grouping: found.filter { known[$0.policy]?.contains($0.key) != true },
                by: \.policy
            )
            policies = release.set.policies.compactMap { policy in
                release.rules[policy.id].map { PolicyImpact($0, fresh[$0.name] ?? []) }
            }
        } catch {
            (policies, obstacle, checkCount) = ([], error, 0)
        }
    }

    private static func changes(
        from old: [SchemaGenerator.Server],
        to new: [SchemaGenerator.Server]
    ) -> [ServerName: ToolListDiff] {
        func byName(_ servers: [SchemaGenerator.Server]) -> [ServerName: [SchemaGenerator.Tool]] {
            Dictionary(servers.map { ($0.name, $0.tools) }) { first, _ in first }
        }
        let (before, after) = (byName(old), byName(new))
        var changes: [ServerName: ToolListDiff] = [:]
        for name in Set(before.keys).union(after.keys) {
            let diff = ToolListDiff(from: before[name] ?? [], to: after[name] ?? [])
            if !diff.isEmpty { changes[name] = diff }
        }
        return changes
    }
}

extension ReleaseChecks {
    /// What another catalogue would mean for the policies that were checked.
    ///
    /// - Parameter memo: The one that the check was made with; without it everything is found out anew.
    public func impact(
        of catalogue: [SchemaGenerator.Server],
        reusing memo: inout Memo
    ) -> CatalogueImpact {
        CatalogueImpact(of: self, catalogue, reusing: &memo)
    }
}

extension CatalogueImpact.PolicyImpact {
    fileprivate init(_ rule: PolicyRelease.Rule, _ findings: [ReleaseChecks.Finding]) {
        let isInvalid = findings.contains { $0.severity == .error }
        let isImpossible = findings.contains {
            $0.code == "impossible_policy" || $0.code == "unknown_tool"
        }
        self.init(
            policy: rule.name,
            document: rule.document,
            line: rule.line,
            column: rule.column,
            verdict: isInvalid ? .invalid : isImpossible ? .impossible : .unaffected,
            findings: findings
        )
    }
}

extension ReleaseChecks.Finding {
    /// What makes it the same finding under another catalogue: what is wrong where, whatever is suggested.
    fileprivate var key: Self {
        var key = self
        key.hint = nil
        key.actions = []
        return key
    }
}

extension CatalogueImpact.PolicyImpact: JSONWritable {
    /// Writes policy, document, line, column, verdict and findings.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("policy", policy)
            writer.member("document", document)
            writer.member("line", line)
            writer.member("column", column)
            writer.member("verdict", verdict.rawValue)
            writer.key("findings")
            writer.array { writer in findings.forEach { writer.value($0) } }
        }
    }
}
