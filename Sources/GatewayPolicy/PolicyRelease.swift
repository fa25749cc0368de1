import Cedar
import GatewayModel
public import JSON

/// The policies of one numbered release, compiled, with the facts they may read.
///
/// Immutable; a decision names the release by its number. Everything that can be wrong with the text of a release
/// is found here, so that a release that was published can be enforced. What is merely unwise is ``PolicyLint``'s
/// matter.
public struct PolicyRelease: Sendable {
    /// One file of a release.
    public struct Document: Hashable, Sendable {
        /// What people call it: `sre.cedar`; its ending says what it holds, see ``kind``.
        public var name: Text
        /// Cedar text, or JSON.
        public var source: Text
        /// Who wrote it.
        public var layer: PolicyLayer

        /// A file of policies.
        public init(name: Text, source: Text, layer: PolicyLayer = .namespace) {
            self.name = name
            self.source = source
            self.layer = layer
        }

        /// What a document can hold.
        public enum Kind: Hashable, Sendable {
            /// Policies in Cedar's syntax.
            case policies
            /// The declarations of ``FactDeclarations``.
            case facts
            /// Tests, which decide nothing: ``PolicyCases``.
            case cases
            /// Quick rules, which decide nothing; the policies that were made of them stand beside them.
            case rules
        }

        /// What it holds: ``FactDeclarations/documentName`` declares facts, `*.cases.json` holds tests, `*.rules.yaml`
        /// quick rules, all else policies.
        public var kind: Kind {
            if name == FactDeclarations.documentName { return .facts }
            if name.utf8.suffix(11).elementsEqual(".cases.json".utf8) { return .cases }
            return name.utf8.suffix(11).elementsEqual(".rules.yaml".utf8) ? .rules : .policies
        }
    }

    /// Why documents do not make a release: everything that is wrong, with places.
    public struct Failure: Error, Sendable, CustomStringConvertible {
        /// One finding.
        public struct Finding: Hashable, Sendable {
            /// What it is: a code of the reader of Cedar, or one of the release's own (docs/reference/policy-lint.md).
            public var code: Text
            /// The policy's `@id`, or its number in the release; `nil` for a finding about a text.
            public var policy: Text?
            /// In which document.
            public var document: Text
            /// The line, from 1.
            public var line: Int
            /// The column, from 1.
            public var column: Int
            /// The line and column after it, where they are known.
            public var end: DocumentPosition?
            /// What is wrong, for logs: it quotes nothing of the text.
            public var message: String
            /// What is wrong, for the author: it may quote the text.
            public var detail: String
            /// What would help, if that can be said.
            public var hint: String?

            init(
                _ code: Text,
                document: Text,
                line: Int = 1,
                column: Int = 1,
                message: String
            ) {
                self.code = code
                self.document = document
                self.line = line
                self.column = column
                self.message = message
                detail = message
            }

            init(
                _ diagnostic: PolicyDiagnostic,
                in document: Document? = nil,
                _ places: DocumentPlaces? = nil
            ) {
                self.init(
                    Text(diagnostic.code.rawValue),
                    document: document?.name ?? "*",
                    line: diagnostic.line,
                    column: diagnostic.column,
                    message: "\(diagnostic)"
                )
                detail = diagnostic.message
                hint = diagnostic.hint
                end = places?.position(of: Int(diagnostic.span.end))
            }
        }

        /// All findings in the order of the documents.
        public let findings: [Finding]

        /// One line a finding.
        public var description: String {
            findings.map { "\($0.document.string):\($0.line):\($0.column): \($0.message)" }
                .joined(separator: "\n")
        }
    }

    /// The number; 0 for the empty release that permits nothing.
    public let number: UInt64
    /// The facts that policies may read besides those that always exist.
    ///
    /// The approver groups that annotations name are among them, declared or not.
    public let facts: FactDeclarations
    /// The documents that hold policies.
    let documents: [Document]
    let set: PolicySet
    let compiled: CompiledPolicySet
    let rules: [PolicyID: Rule]
    /// Whether some policy could tell that arguments are missing, and not fail.
    let looksAtWholeContext: Bool

    /// What the gateway knows of one policy.
    struct Rule: Sendable {
        /// Its `@id`, or else its number in the release.
        var name: Text
        var isNamed: Bool
        var permits: Bool
        var tier: PolicyTier?
        var cures: [GatewayModel.Decision.Cure]
        var duties: [GatewayModel.Decision.Duty]
        /// Where it stands.
        var document: Text
        var line: Int
        var column: Int
        /// Who wrote it.
        var layer: PolicyLayer
    }

    /// The release of a namespace that has none: it permits nothing.
    public static let empty: PolicyRelease = {
        do {
            return try PolicyRelease(number: 0, documents: [])
        } catch {
            preconditionFailure("a release without documents has nothing to be wrong")
        }
    }()

    /// The `@id`s of all policies, in the order of the documents.
    public var policyNames: [Text] {
        // Not `set` alone: at the start of a getter that would be a setter.
        self.set.policies.compactMap { rules[$0.id]?.name }
    }

    /// Compiles a release.
    ///
    /// - Throws: ``Failure`` with everything that is wrong; trying again does not help.
    public init(number: UInt64, documents: [Document]) throws(Failure) {
        var findings: [Failure.Finding] = []
        var facts = FactDeclarations()
        for document in documents where document.kind == .facts {
            if let refusal = document.layer.refusalOfFacts {
                findings.append(
                    .init("layer_exceeded", document: document.name, message: refusal)
                )
            }
            do throws(FactDeclarations.ReadingError) {
                facts = try FactDeclarations(parsing: document.source)
            } catch {
                var finding = Failure.Finding(
                    "facts_invalid",
                    document: document.name,
                    message: "\(error)"
                )
                let place = JSONPlace(error.pointer, in: document.source)
                (finding.line, finding.column) = (place.start.line, place.start.column)
                finding.end = place.end
                findings.append(finding)
            }
        }
        let texts = documents.filter { $0.kind == .policies }
        for document in texts {
            do {
                _ = try PolicySet.parse(document.source.string)
            } catch {
                let places = DocumentPlaces([document])
                findings += error.diagnostics.map { Failure.Finding($0, in: document, places) }
            }
        }
        guard findings.isEmpty else {
            throw Failure(findings: findings)
        }
        do {
            set = try PolicySet.parse(texts.map(\.source.string).joined(separator: "\n"))
        } catch {
            // Each document parsed, so only a bound of the whole can be broken: too many policies.
            throw Failure(findings: error.diagnostics.map { Failure.Finding($0) })
        }
        self.number = number
        compiled = CompiledPolicySet(set)
        self.documents = texts
        // Only a layer that owns something, and not everything, is held to it.
        let trees = texts.contains { $0.layer.owned != nil } ? PolicyTrees(set) : nil
        looksAtWholeContext = set.looksAtWholeContext
        let places = DocumentPlaces(texts)
        let counters = Set(facts.counters.map(\.name))
        var rules: [PolicyID: Rule] = [:]
        var names: Set<Text> = []
        for policy in set.policies {
            let place = places.place(of: Int(policy.span.start))
            let permits = policy.effect == .permit
            let (meaning, refusals) = PolicyMeaning.read(
                policy.annotations,
                permits: permits,
                counters: counters
            )
            let name = meaning.name ?? policy.id.text
            func refuse(_ code: Text, _ message: String) {
                var finding = Failure.Finding(
                    code,
                    document: place.document.name,
                    line: place.line,
                    column: place.column,
                    message: message
                )
                finding.policy = name
                findings.append(finding)
            }
            if let refusal = place.document.layer.refusal(
                of: trees?[policy.id],
                isPermit: permits,
                tier: meaning.tier
            ) {
                refuse("layer_exceeded", refusal)
            }
            for refusal in refusals {
                refuse("annotation_invalid", "@\(refusal.annotation): \(refusal.reason)")
            }
            if let name = meaning.name, !names.insert(name).inserted {
                refuse("duplicate_id", "two policies have the id \(name)")
            }
            for case .approval(let group, _) in meaning.cures
            where !facts.approverGroups.contains(group) {
                facts.approverGroups.append(group)
            }
            rules[policy.id] = Rule(
                name: name,
                isNamed: meaning.name != nil,
                permits: permits,
                tier: meaning.tier,
                cures: meaning.cures,
                duties: meaning.duties,
                document: place.document.name,
                line: place.line,
                column: place.column,
                layer: place.document.layer
            )
        }
        if facts.approverGroups.count > FactDeclarations.countMax {
            findings.append(
                .init(
                    "too_many_approver_groups",
                    document: "*",
                    message: "more than \(FactDeclarations.countMax) groups approve"
                )
            )
        }
        guard findings.isEmpty else {
            throw Failure(findings: findings)
        }
        self.rules = rules
        self.facts = facts
    }
}
