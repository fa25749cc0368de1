import Cedar
import GatewayModel
import JSON

/// Strict validation of a release against the tools that there are, in the places of its documents.
///
/// Cedar knows a schema, and an action that is not in it is a mistake. Here a tool may also not be there *yet*: a policy
/// may be written before its server is registered. What cannot be told from that is a warning, `unknown_tool`; where the
/// server is known and has listed its tools it is an error, with what was probably meant.
struct ReleaseValidation {
    private let release: PolicyRelease
    private let levelMax: Int
    private let catalogue: [SchemaGenerator.Server]
    /// Whether a registered server has listed tools, by its name.
    private let hasTools: [Text: Bool]
    private let tools: [Text]
    private let places: DocumentPlaces
    /// How many verdicts the memo did not know.
    private(set) var checkCount = 0

    /// The server, without a name, whose tools stand for those to come.
    private static let placeholder = SchemaGenerator.Server(
        name: "",
        tools: ToolEffect.allCases.map {
            SchemaGenerator.Tool(name: ToolName($0.rawValue), effect: $0, input: .empty)
        }
    )

    init(_ release: PolicyRelease, _ catalogue: [SchemaGenerator.Server], _ levelMax: Int) {
        self.release = release
        self.levelMax = levelMax
        self.catalogue = catalogue
        hasTools = Dictionary(catalogue.map { ($0.name.text, !$0.tools.isEmpty) }) { $0 || $1 }
        tools = catalogue.flatMap { server in
            server.tools.map { MCPEntities.qualified(server.name, $0.name) }
        }
        places = DocumentPlaces(release.documents)
    }

    /// The schema, or why there is none.
    static func schema(_ text: Text) throws(ReleaseChecks.Finding) -> Schema {
        do {
            return try Schema(parsing: text.string)
        } catch {
            throw ReleaseChecks.Finding(
                code: "schema_invalid",
                severity: .error,
                policy: "",
                document: "*",
                line: 1,
                column: 1,
                message: "the schema of facts and tools cannot be read: \(error)"
            )
        }
    }

    /// Everything that is wrong with the policies, and which of them validate.
    mutating func findings(
        _ schema: Schema,
        reusing memo: inout ValidationMemo
    ) -> (findings: [ReleaseChecks.Finding], valid: Set<PolicyID>) {
        guard !release.set.policies.isEmpty else { return ([], []) }
        let report = Validator(schema, levelMax: levelMax)
            .validate(release.set, reusing: &memo)
        checkCount = report.checks
        let invalid = report.findings.filter { $0.severity == .error }.compactMap(\.policy)
        let valid = Set(release.set.policies.map(\.id)).subtracting(invalid)
        var findings: [ReleaseChecks.Finding] = []
        var waiting: Set<PolicyID> = []
        for finding in report.findings where finding.code == .unknownAction {
            guard let policy = finding.policy, let action = finding.entity,
                action.type == "MCP::Action", isYetToCome(action.id)
            else { continue }
            waiting.insert(policy)
        }
        let homeless =
            report.findings.contains { $0.code == .noApplicableAction }
            ? inhabited(reusing: &memo) : []
        for finding in report.findings {
            var own = place(finding)
            switch finding.code {
            case .bidirectionalControl, .bareCarriageReturn, .mixedScripts:
                // The reader that people's texts go through refuses them already.
                continue
            case .unknownAction:
                if let action = finding.entity, action.type == "MCP::Action",
                    isYetToCome(action.id)
                {
                    own.code = "unknown_tool"
                    own.severity = .warning
                    own.message = Self.absence(action.id)
                }
            case .noApplicableAction, .impossiblePolicy:
                if finding.policy.map(waiting.contains) == true { continue }
                if finding.code == .noApplicableAction,
                    finding.policy.map(homeless.contains) == true
                {
                    own.code = "unknown_tool"
                    own.severity = .warning
                    own.message = "no tool of the catalogue is in the scope yet"
                    own.hint = "the conditions are checked when there is one"
                }
            default: break
            }
            findings.append(own)
        }
        return (findings + mentions(), valid)
    }

    /// The policies to which some action would apply, if there were a tool of every effect.
    private func inhabited(reusing memo: inout ValidationMemo) -> Set<PolicyID> {
        let generated = SchemaGenerator(facts: release.facts)
            .generate(catalogue + [Self.placeholder])
        guard let schema = try? Schema(parsing: generated.schema.string) else { return [] }
        let report = Validator(schema).validate(release.set, reusing: &memo)
        let still = report.findings.filter { $0.code == .noApplicableAction }.map(\.policy)
        return Set(release.set.policies.map(\.id)).subtracting(still.compactMap(\.self))
    }

    /// Tools that are named as resources; the schema does not list those.
    private func mentions() -> [ReleaseChecks.Finding] {
        let known = Set(tools)
        return release.set.entityMentions.compactMap { mention in
            guard mention.uid.type == "MCP::Tool", !known.contains(mention.uid.id) else {
                return nil
            }
            let isYetToCome = isYetToCome(mention.uid.id)
            var finding = place(mention.policy, mention.span)
            finding.code = "unknown_tool"
            finding.severity = isYetToCome ? .warning : .error
            finding.message = Self.absence(mention.uid.id)
            finding.hint = Suggestion.nearest(to: mention.uid.id, among: tools)
                .map { "did you mean `MCP::Tool::\(CedarText.quoted($0))`?" }
            return finding
        }
    }

    private static func absence(_ name: Text) -> String {
        "no registered server has the tool `\(name)` yet"
    }

    /// Whether a tool may still come: its server is not registered, or has not listed its tools.
    private func isYetToCome(_ name: Text) -> Bool {
        let bytes = name.utf8
        guard let slash = bytes.firstIndex(of: UInt8(ascii: "/")), slash != bytes.startIndex,
            let server = Text(validating: Array(bytes[..<slash]))
        else { return false }
        guard let hasTools = hasTools[server] else { return !MCPEntities.methods.contains(server) }
        return !hasTools
    }

    // MARK: - Places

    private func place(_ finding: ValidationFinding) -> ReleaseChecks.Finding {
        var own = place(finding.policy, finding.span)
        own.code = Text(finding.code.rawValue)
        own.severity = finding.severity == .error ? .error : .warning
        own.message = finding.message
        own.hint = finding.hint
        own.actions = finding.actions.map(\.id)
        return own
    }

    private func place(
        _ policy: PolicyID?,
        _ span: SourceSpan
    ) -> ReleaseChecks.Finding {
        let start = places.place(of: Int(span.start))
        let end = places.place(of: Int(span.end))
        return ReleaseChecks.Finding(
            code: "",
            severity: .error,
            policy: policy.map { release.rules[$0]?.name ?? $0.text } ?? "",
            document: start.document.name,
            line: start.line,
            column: start.column,
            end: DocumentPosition(line: end.line, column: end.column),
            message: ""
        )
    }
}
