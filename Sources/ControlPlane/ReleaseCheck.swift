import Cedar
import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON

/// One thing that is wrong or unwise about a release, and where.
struct ReleaseFinding: Sendable, Hashable {
    /// Stable: docs/reference/policy-lint.md.
    var code: Text
    /// Whether it keeps the release from being approved and activated.
    var isError: Bool
    /// The policy's `@id`, or its number; empty for a finding about a document.
    var policy: Text
    /// In which document.
    var document: Text
    /// The line, from 1.
    var line: Int
    /// The column in Unicode scalars, from 1.
    var column: Int
    /// What is wrong, and what would be right.
    var message: String
}

extension ReleaseFinding {
    init(_ finding: PolicyLint.Finding) {
        self.init(
            code: finding.code,
            isError: finding.severity == .error,
            policy: finding.policy,
            document: finding.document,
            line: finding.line,
            column: finding.column,
            message: finding.message
        )
    }
}

/// What the checks say about the documents of a release, and against what they were checked.
struct ReleaseCheck: Sendable {
    /// What is wrong or unwise, in the order of the documents.
    let findings: [ReleaseFinding]
    /// Digests of what the documents were checked against.
    let basis: ReleaseManifest.Basis

    /// Checks documents against the tools that may be called.
    ///
    /// - Throws: What does not compile; that is never stored.
    init(
        _ documents: [StoredRelease.Document],
        against catalogue: StoredCatalogue
    ) throws(PolicyRelease.Failure) {
        let release = try Self.compile(documents)
        let schema = Self.generator(release, catalogue).generate(
            catalogue.servers.map(\.forPolicies)
        )
        findings = PolicyLint.findings(of: release).map(ReleaseFinding.init)
        basis = ReleaseManifest.Basis(
            facts: Self.digest(of: documents, named: FactDeclarations.documentName),
            schema: SHA256.digest(of: schema.schema.utf8).bytes,
            catalogue: catalogue.digest
        )
    }

    /// Compiles the documents that proxies would get.
    static func compile(
        _ documents: [StoredRelease.Document]
    ) throws(PolicyRelease.Failure) -> PolicyRelease {
        try PolicyRelease(
            number: 1,
            documents: documents.map { .init(name: $0.name, source: $0.source) }
        )
    }

    private static func generator(
        _ release: PolicyRelease,
        _ catalogue: StoredCatalogue
    ) -> SchemaGenerator {
        var generator = SchemaGenerator(facts: release.facts)
        // An environment that a server is in is one that policies may name.
        for membership in catalogue.servers.flatMap(\.memberships) {
            guard let uid = MCPEntities.uid(cedarText: membership), uid.type == "MCP::Environment",
                !generator.environments.contains(uid.id)
            else { continue }
            generator.environments.append(uid.id)
        }
        return generator
    }

    private static func digest(
        of documents: [StoredRelease.Document],
        named name: Text
    ) -> [UInt8] {
        let source = documents.first { $0.name == name }?.source ?? ""
        return SHA256.digest(of: source.utf8).bytes
    }
}

extension StoredCatalogue.Server {
    /// As the schema describes it; a definition that is no JSON any more has no arguments that policies can see.
    fileprivate var forPolicies: SchemaGenerator.Server {
        SchemaGenerator.Server(
            name: name,
            tools: tools.map { tool in
                let definition = try? JSONDocument(parsing: tool.definition)
                return SchemaGenerator.Tool(
                    name: tool.name,
                    effect: ToolEffect(rawValue: tool.effect.string) ?? .write,
                    input: ToolInputSchema(definition?.root["inputSchema"])
                )
            }
        )
    }
}
