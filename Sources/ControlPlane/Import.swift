import AdminAPI
import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import Postgres
import ServiceRuntime

/// What an import did.
public struct ImportOutcome: Sendable {
    /// Whether anything is not as it was.
    public let isChanged: Bool
    /// The release of the document's policies, if it does not come into force by itself, and why not.
    public let draft: (number: UInt64, reason: String)?
}

/// Applies an ``ImportDocument``.
///
/// The REST interface changes things through the same edits.
struct Import: Sendable {
    let client: PostgresClient
    let keys: KeyStore
    let releases: PolicyReleases
    let developmentIssuer: DevelopmentIssuer
    /// Where relative paths in a document begin.
    let folder: String

    /// Applies a document in one transaction.
    ///
    /// - Throws: ``ImportError`` for what is wrong with the document, `StoreError` for what went
    ///   wrong with the store; nothing of the document is applied then.
    @discardableResult
    func apply(_ document: ImportDocument) async throws -> ImportOutcome {
        let policies = try document.policies.map(read)
        let id = try await NamespaceStore(client).ensure(document.namespace).id
        let vault = try CredentialVault(try await keys.keys(of: id), of: id)
        let present = try await ConfigurationStore(client).load(id).servers
        let edits = try edits(of: document, present, vault)
        let store = releases.store
        return try await store.transaction { transaction in
            _ = try await store.namespace(document.namespace, in: transaction, locking: true)
            try await store.enter(id, in: transaction)
            var isChanged = try await ConfigurationStore.apply(edits, to: id, in: transaction)
            var outcome = ReleaseOutcome.none
            if let policies {
                // A second look: the document may have changed what the namespace requires.
                guard
                    let row = try await store.namespace(
                        document.namespace,
                        in: transaction,
                        locking: false
                    )
                else { throw StoreError.namespaceUnknown }
                outcome = try await release(policies, in: row.namespace, transaction)
            }
            var draft: (number: UInt64, reason: String)?
            switch outcome {
            case .none: break
            case .activates(let number):
                isChanged = true
                try await ConfigurationStore.apply(
                    [.activation(release: UInt64(number), by: "import")],
                    to: id,
                    in: transaction
                )
            case .waits(let number, let reason, let isNew):
                isChanged = isChanged || isNew
                draft = (UInt64(number), reason)
            }
            if isChanged {
                try await AdminEntry.command("import", on: document.namespace.text, of: id)
                    .insert(in: transaction)
            }
            return ImportOutcome(isChanged: isChanged, draft: draft)
        }
    }

    private func edits(
        of document: ImportDocument,
        _ present: [NamespaceConfiguration.Server],
        _ vault: CredentialVault
    ) throws -> [ConfigurationEdit] {
        var edits: [ConfigurationEdit] = []
        if let trusts = document.trustsOnFirstUse {
            edits.append(.namespace(trustsOnFirstUse: trusts))
        }
        if let count = document.policyReviewersRequired {
            edits.append(.policyReviewersRequired(count))
        }
        for provider in document.identityProviders {
            switch provider {
            case .development(let audiences):
                edits.append(
                    .identityProvider(try developmentIssuer.provider(audiences: audiences))
                )
            case .named(let provider):
                edits.append(.identityProvider(provider))
            }
        }
        edits += document.subjects.map { .subject($0) }
        for server in document.servers {
            edits.append(
                .server(
                    .init(
                        name: server.name,
                        url: server.url,
                        isEnabled: server.isEnabled,
                        memberships: server.memberships,
                        credential: try seal(server, present, vault)
                    )
                )
            )
            edits += server.tools.map { tool in
                .toolEffect(server: server.name, tool: tool.name, tool.effect, by: "import")
            }
        }
        return edits
    }

    // MARK: - Policies

    private enum ReleaseOutcome {
        /// The documents are in force.
        case none
        /// A release that may come into force.
        case activates(Int64)
        /// A release that may not yet.
        case waits(Int64, reason: String, isNew: Bool)
    }

    /// The release of these documents: the one in force, one that is there already, or a new one.
    private func release(
        _ documents: [StoredRelease.Document],
        in namespace: Namespace,
        _ transaction: borrowing Transaction
    ) async throws -> ReleaseOutcome {
        let store = releases.store
        let active = try await store.activeRelease(of: namespace.id, in: transaction)
        guard active?.release.digest != StoredRelease.digest(of: documents) else { return .none }
        // Applied before, perhaps, and waiting since then.
        var number = try await store.release(
            of: documents,
            after: active?.release.number ?? 0,
            in: namespace.id,
            in: transaction
        )
        let isNew = number == nil
        if isNew {
            do {
                let actor = PolicyReleases.Actor(person: Person(name: "operator"), token: "import")
                number = try await releases.make(
                    documents,
                    by: actor,
                    in: namespace,
                    transaction
                )
            } catch PolicyReleases.Refusal.invalid(let findings) {
                throw ImportError(findings)
            }
        }
        guard let number,
            let release = try await releases.shown(number, in: namespace, transaction)
        else { throw StoreError.malformed(what: "policy_release") }
        guard release.check?.checks.hasErrors == false else {
            throw ImportError(release.findings)
        }
        do {
            try await releases.allowActivation(
                of: release,
                in: namespace,
                acceptingWidening: false,
                transaction
            )
        } catch PolicyReleases.Refusal.life(.reviewsMissing, _) where active == nil {
            // Whoever sets a namespace up on control's own machine is trusted with its first release.
        } catch let refusal as PolicyReleases.Refusal {
            return .waits(number, reason: Problem(refusal, given: []).reason, isNew: isNew)
        }
        return .activates(number)
    }

    /// The documents, from the import itself or from files beside it.
    private func read(
        _ policies: [ImportDocument.Policy]
    ) throws(ImportError) -> [StoredRelease.Document] {
        var documents: [StoredRelease.Document] = []
        for policy in policies {
            let source: Text
            switch policy.source {
            case .text(let text): source = text
            case .file(let path):
                let bytes = try Files.read(absolute(path)) { ImportError("policies", $0) }
                guard let text = Text(validating: bytes) else {
                    throw ImportError("policies", "a file is not UTF-8")
                }
                source = text
            }
            documents.append(.init(name: policy.name, source: source, layer: policy.layer))
        }
        guard Set(documents.map(\.name)).count == documents.count else {
            throw ImportError("policies", "two documents have one name")
        }
        return PolicyReleases.expandingRules(documents)
    }

    /// The credential as stored when it is the same: sealing is random, and a new seal would be a
    /// change.
    private func seal(
        _ server: ImportDocument.Server,
        _ present: [NamespaceConfiguration.Server],
        _ vault: CredentialVault
    ) throws -> (header: Text, sealed: [UInt8])? {
        guard let (header, file) = server.credential else { return nil }
        var bytes = try Files.read(absolute(file)) { ImportError("credential", $0) }
        if bytes.last == 0x0A { bytes.removeLast() }
        let secret = Secret(bytes)
        if let sealed = present.first(where: { $0.name == server.name })?.credentialSealed,
            try vault.open(sealed, for: server.name) == secret
        {
            return (header, sealed)
        }
        return (header, try vault.seal(secret, for: server.name))
    }

    private func absolute(_ path: Text) -> String {
        path.string.utf8.first == UInt8(ascii: "/") ? path.string : folder + "/" + path.string
    }
}

extension ImportError {
    /// What keeps policies from being in force, a line each.
    fileprivate init(_ findings: [ReleaseChecks.Finding]) {
        let lines = findings.filter { $0.severity == .error }.prefix(100).map { finding in
            "\(finding.document):\(finding.line):\(finding.column): \(finding.message) [\(finding.code)]"
        }
        self.init("policies", lines.joined(separator: "\n"))
    }
}
