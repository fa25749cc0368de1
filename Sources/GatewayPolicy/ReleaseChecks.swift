import Cedar
public import GatewayModel
public import JSON

/// Everything that can be said about the documents of a release against the tools that there are: whether they compile,
/// what is unwise about them, whether they validate against the schema generated from the tools, and whether their own
/// cases come out as stated (policy.md §4).
///
/// Pure, and the same for CLI, REST and CI. A release whose checks have an error is not to be put in force. What makes an
/// error and what a warning: docs/reference/policy-lint.md.
public struct ReleaseChecks: Sendable {
    /// One thing that was found.
    public struct Finding: Hashable, Sendable {
        /// What it is; documented and stable.
        public var code: Text
        /// How bad it is.
        public var severity: PolicyLint.Severity
        /// The policy's `@id`, or its number in the release; empty for a finding about a text.
        public var policy: Text
        /// In which document; `*` for a finding about all of them.
        public var document: Text
        /// The line, from 1.
        public var line: Int
        /// The column in Unicode scalars, from 1.
        public var column: Int
        /// Behind its last character; nothing where only the beginning is known.
        public var end: DocumentPosition?
        /// What is wrong, in a sentence.
        public var message: String
        /// What may have been meant, or what to do about it.
        public var hint: String?
        /// `server/tool` and the other actions in whose requests it was found; none if it does not depend on the request.
        public var actions: [Text] = []
    }

    /// What became of one case.
    public struct CaseResult: Hashable, Sendable {
        /// In which document.
        public var document: Text
        /// Which case of it, from 0.
        public var position: Int
        /// Where it stands.
        public var place: DocumentPosition
        /// What it shows, in the words of its author.
        public var name: Text
        /// What was decided.
        public var decision: GatewayModel.Decision
        /// What is not as stated; nothing if the case passes.
        public var differences: [String]

        /// Whether everything came out as stated.
        public var passes: Bool { differences.isEmpty }
    }

    /// What one check leaves for the next, so that only what changed is validated again.
    ///
    /// For one line of releases, not shared between tasks. What a check finds does not depend on it.
    public struct Memo: Sendable {
        var validation = ValidationMemo()

        /// Remembers nothing.
        public init() {}
    }

    /// How long a chain of entities a policy may follow, unless said otherwise: the data of principal, resource and of
    /// the entities in the context decides, and nothing behind them (Cedar RFC 76).
    public static let levelMax = 1

    /// The release; nothing if it does not compile.
    public let release: PolicyRelease?
    /// Everything that was found, in the order of the documents and of their lines.
    public let findings: [Finding]
    /// What became of the cases, in the order of the documents.
    public let cases: [CaseResult]
    /// The schema of facts and tools in Cedar's syntax; nothing if the release does not compile.
    ///
    /// The same input gives the same bytes.
    public let schema: Text?
    /// The tools that it was checked against.
    public let catalogue: [SchemaGenerator.Server]
    /// How long a chain of entities policies may follow.
    public let levelMax: Int
    /// What of the tools' arguments policies cannot see.
    public let schemaNotes: [SchemaGenerator.Note]

    /// The facts that the release declares; none if it does not compile.
    public var facts: FactDeclarations { release?.facts ?? FactDeclarations() }
    /// Whether it is not to be put in force.
    public var hasErrors: Bool { findings.contains { $0.severity == .error } }

    /// Checks a release.
    ///
    /// - Parameters:
    ///   - documents: Policies, facts and cases.
    ///   - catalogue: The registered servers with the tools that were accepted of each; a server that has not been asked
    ///     yet has none.
    ///   - levelMax: How long a chain of entities policies may follow. Default 1.
    public init(
        _ documents: [PolicyRelease.Document],
        against catalogue: [SchemaGenerator.Server],
        levelMax: Int = ReleaseChecks.levelMax
    ) {
        var memo = Memo()
        self.init(documents, against: catalogue, levelMax: levelMax, reusing: &memo)
    }

    /// Checks a release, except what the memo still knows.
    public init(
        _ documents: [PolicyRelease.Document],
        against catalogue: [SchemaGenerator.Server],
        levelMax: Int = ReleaseChecks.levelMax,
        reusing memo: inout Memo
    ) {
        self.catalogue = catalogue
        self.levelMax = levelMax
        let release: PolicyRelease
        do throws(PolicyRelease.Failure) {
            release = try PolicyRelease(number: 0, documents: documents)
        } catch {
            self.release = nil
            findings = Self.ordered(error.findings.map { Finding($0) }, documents)
            cases = []
            schema = nil
            schemaNotes = []
            return
        }
        let generated = SchemaGenerator(facts: release.facts).generate(catalogue)
        var findings: [Finding]
        do throws(Finding) {
            let schema = try ReleaseValidation.schema(generated.schema)
            var validation = ReleaseValidation(release, catalogue, levelMax)
            let (found, valid) = validation.findings(schema, reusing: &memo.validation)
            let effects = PolicyEffects(release.set, schema)
            findings =
                PolicyLint.findings(of: release, effects: effects, isValid: valid.contains)
                .map { Finding($0) } + found
        } catch {
            findings = PolicyLint.findings(of: release).map { Finding($0) } + [error]
        }
        for document in documents where document.kind == .rules {
            if let finding = Self.finding(onRules: document, among: documents) {
                findings.append(finding)
            }
        }
        var cases: [CaseResult] = []
        var coverage = Coverage(of: release)
        var areRead = true
        for document in documents where document.kind == .cases {
            do throws(Finding) {
                let results = try Self.run(document, on: release, &coverage)
                findings += results.filter { !$0.passes }.map { Finding($0) }
                cases += results
            } catch {
                areRead = false
                findings.append(error)
            }
        }
        // What tests leave out is told where there are tests, and all of them could be read.
        if areRead, !cases.isEmpty { findings += coverage.untestedForbids.map { Finding($0) } }
        self.release = release
        self.findings = Self.ordered(findings, documents)
        self.cases = cases
        schema = generated.schema
        schemaNotes = generated.report
    }

    private static func ordered(
        _ findings: [Finding],
        _ documents: [PolicyRelease.Document]
    ) -> [Finding] {
        var positions: [Text: Int] = [:]
        for (index, document) in documents.enumerated() where positions[document.name] == nil {
            positions[document.name] = index
        }
        return findings.enumerated().sorted { a, b in
            let (x, y) = (a.element, b.element)
            return (positions[x.document] ?? -1, x.line, x.column, a.offset)
                < (positions[y.document] ?? -1, y.line, y.column, b.offset)
        }.map(\.element)
    }

    /// Quick rules decide nothing, so the policies beside them must be what they say.
    private static func finding(
        onRules document: PolicyRelease.Document,
        among documents: [PolicyRelease.Document]
    ) -> Finding? {
        func finding(_ code: Text, _ line: Int, _ column: Int, _ message: String) -> Finding {
            Finding(
                code: code,
                severity: .error,
                policy: "",
                document: document.name,
                line: line,
                column: column,
                message: message
            )
        }
        do throws(QuickRule.DocumentError) {
            let policies = try QuickRule.policies(of: document)
            let beside = documents.first { $0.name == policies.name }
            // In another layer they would reach further than their rules.
            if let beside, beside.source == policies.source, beside.layer != policies.layer {
                let message = "\(policies.name) is of another layer than these rules"
                return finding("rules_stale", 1, 1, message)
            }
            guard beside?.source != policies.source else { return nil }
            let message = "\(policies.name) is not what these rules say: make it anew"
            return finding("rules_stale", 1, 1, message)
        } catch {
            return finding("rules_invalid", error.line, error.column, error.reason)
        }
    }

    // MARK: - Cases

    private static func run(
        _ document: PolicyRelease.Document,
        on release: PolicyRelease,
        _ coverage: inout Coverage
    ) throws(Finding) -> [CaseResult] {
        func refusal(_ pointer: String, _ reason: String) -> Finding {
            let place = JSONPlace(pointer, in: document.source)
            return Finding(
                code: "cases_invalid",
                severity: .error,
                policy: "",
                document: document.name,
                line: place.start.line,
                column: place.start.column,
                end: place.end,
                message: reason
            )
        }
        let cases: PolicyCases
        let positions: [DocumentPosition]
        let layer: OutcomeLayer
        do {
            let root = try JSONDocument(parsing: Array(document.source.utf8)).root
            cases = try PolicyCases(root)
            // One pass over the document: looking each case up by its pointer would be one for each.
            let places = DocumentPlaces([document])
            positions =
                (root["cases"]?.elements).map { elements in
                    elements.map { places.position(of: $0.sourceRange.lowerBound) }
                } ?? []
            layer = OutcomeLayer(
                release: release,
                entities: try EntitySnapshot(entities: cases.entities)
            )
        } catch let error as PolicyCases.ReadingError {
            throw refusal(error.position.map { "/cases/\($0)" } ?? "", error.reason)
        } catch let error as JSONError {
            throw refusal("", "not JSON: \(error)")
        } catch {
            throw refusal("/entities", "\(error)")
        }
        let tracer = Coverage.Tracer(layer)
        return zip(cases.cases, positions).enumerated().map { position, its in
            let (row, place) = its
            let decision = layer.decide(row.question, facts: row.facts)
            coverage.note(row.question, facts: row.facts, decision: decision, by: tracer)
            return CaseResult(
                document: document.name,
                position: position,
                place: place,
                name: row.name,
                decision: decision,
                differences: row.differences(from: decision)
            )
        }
    }
}

extension ReleaseChecks.Finding: Error {}

extension ReleaseChecks.Finding {
    fileprivate init(_ finding: PolicyRelease.Failure.Finding) {
        self.init(
            code: finding.code,
            severity: .error,
            policy: finding.policy ?? "",
            document: finding.document,
            line: finding.line,
            column: finding.column,
            end: finding.end,
            message: finding.detail,
            hint: finding.hint
        )
    }

    fileprivate init(_ finding: PolicyLint.Finding) {
        self.init(
            code: finding.code,
            severity: finding.severity,
            policy: finding.policy,
            document: finding.document,
            line: finding.line,
            column: finding.column,
            message: finding.message
        )
    }

    fileprivate init(_ result: ReleaseChecks.CaseResult) {
        self.init(
            code: "case_failed",
            severity: .error,
            policy: "",
            document: result.document,
            line: result.place.line,
            column: result.place.column,
            message: (["case \(result.position) (\(result.name))"] + result.differences)
                .joined(separator: "; ")
        )
    }
}

extension ReleaseChecks.Finding: JSONWritable {
    /// Writes code, severity, policy, document, line, column, message, and what else is known.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("code", code)
            writer.member("severity", severity.rawValue)
            if !policy.isEmpty { writer.member("policy", policy) }
            writer.member("document", document)
            writer.member("line", line)
            writer.member("column", column)
            if let end {
                writer.member("endLine", end.line)
                writer.member("endColumn", end.column)
            }
            writer.member("message", message)
            if let hint { writer.member("hint", hint) }
            if !actions.isEmpty {
                writer.key("actions")
                writer.array { writer in actions.forEach { writer.value($0) } }
            }
        }
    }
}

extension ReleaseChecks.CaseResult: JSONWritable {
    /// Writes document, position, line, name, what was decided, and what is not as stated.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("document", document)
            writer.member("position", position)
            writer.member("line", place.line)
            writer.member("column", place.column)
            writer.member("name", name)
            writer.member("passes", passes)
            writer.member("answer", decision.answer.rawValue)
            if !differences.isEmpty {
                writer.key("differences")
                writer.array { writer in differences.forEach { writer.value($0) } }
            }
        }
    }
}
