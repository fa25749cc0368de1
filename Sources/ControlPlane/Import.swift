import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import Postgres
import ServiceRuntime

/// Applies an ``ImportDocument``.
///
/// The REST interface changes things through the same edits.
struct Import: Sendable {
    let client: PostgresClient
    let keys: KeyStore
    let developmentIssuer: DevelopmentIssuer
    /// Where relative paths in a document begin.
    let folder: String

    /// Applies a document in one transaction; answers whether it changed anything.
    ///
    /// - Throws: ``ImportError`` for what is wrong with the document, `StoreError` for what went
    ///   wrong with the store.
    @discardableResult
    func apply(_ document: ImportDocument) async throws -> Bool {
        let release = try document.policies.map(compile)
        let namespaces = NamespaceStore(client)
        let namespace = try await namespaces.ensure(document.namespace)
        let store = ConfigurationStore(client)
        var edits: [ConfigurationEdit] = []
        if let trusts = document.trustsOnFirstUse {
            edits.append(.namespace(trustsOnFirstUse: trusts))
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
        let present = try await store.load(namespace.id).servers
        let vault = try CredentialVault(try await keys.keys(of: namespace.id), of: namespace.id)
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
        if let release { edits.append(.release(release, by: "import")) }
        return try await store.change(
            namespace.id,
            edits,
            recording: .command("import", on: document.namespace.text, of: namespace.id)
        )
    }

    /// The release in full, once it is known to compile: what does not compile is never stored.
    private func compile(
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
            documents.append(.init(name: policy.name, source: source))
        }
        guard Set(documents.map(\.name)).count == documents.count else {
            throw ImportError("policies", "two documents have one name")
        }
        do throws(PolicyRelease.Failure) {
            _ = try PolicyRelease(
                number: 1,
                documents: documents.map { .init(name: $0.name, source: $0.source) }
            )
        } catch {
            throw ImportError("policies", "\(error)")
        }
        return documents
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
