import ControlProtocol
import Cryptography
import FoundationEssentials
import GatewayModel
import JSON
import Networking
import SwiftProtobuf
import Synchronization

/// Turns what control sends into what calls are decided by: verifies, compiles, installs.
///
/// All or nothing.
final class SnapshotApplier: Sendable {
    private let namespace: NamespaceName
    private let signer: VerificationKey
    private let client: HTTPClient
    private let state: GatewayState
    private let limits: UpstreamServer.Limits
    private let secrets = Mutex<Secrets>(Secrets())

    /// What arrived outside the signed snapshot, in memory only.
    private struct Secrets {
        var upstream: [ServerName: UpstreamCredential] = [:]
        var sealing: [Text: AEAD] = [:]
        var sealingKeyID: Text?
    }

    /// What is signed in front of a payload, so that the signature can mean nothing else.
    private static let signaturePrefix = Array("ostiary-snapshot-v1\n".utf8)

    init(
        namespace: NamespaceName,
        signer: VerificationKey,
        client: HTTPClient,
        state: GatewayState,
        limits: UpstreamServer.Limits
    ) {
        self.limits = limits
        self.namespace = namespace
        self.signer = signer
        self.client = client
        self.state = state
    }

    /// Verifies and installs a configuration.
    ///
    /// Answers why the release in shadow is not evaluated, when it names one that is not.
    func apply(_ wire: WireSnapshot) throws(GatewaySnapshot.Refusal) -> String? {
        do {
            try signer.verify(
                Array(wire.signature),
                over: Self.signaturePrefix + wire.payload,
                with: .es256
            )
        } catch {
            throw GatewaySnapshot.Refusal(reason: "the signature does not verify")
        }
        guard let configuration = try? WireConfiguration(serializedBytes: wire.payload),
            configuration.version == wire.version
        else {
            throw GatewaySnapshot.Refusal(reason: "the payload cannot be read")
        }
        let snapshot = try GatewaySnapshot(compiling: configuration, for: namespace)
        // A server that did not change keeps its connections, sessions and catalogue.
        let standing = state.servers
        var servers: [ServerName: UpstreamServer] = [:]
        for (name, server) in snapshot.servers {
            if let known = standing[name], known.serves(server) {
                servers[name] = known
            } else {
                servers[name] = UpstreamServer(
                    server,
                    upstream: client.upstream(server.origin),
                    limits: limits
                )
            }
        }
        secrets.withLock { secrets in
            secrets.sealingKeyID = Text(configuration.sealingKeyID)
            for (name, server) in servers {
                server.install(secrets.upstream[name])
            }
            installSeal(secrets)
        }
        state.install(snapshot, servers: servers)
        return snapshot.shadowRefusal
    }

    /// Installs secrets; they count from the next call on.
    func apply(_ wire: WireCredentials) {
        secrets.withLock { secrets in
            secrets.upstream = Dictionary(
                wire.upstream.map {
                    (
                        ServerName($0.server),
                        UpstreamCredential(header: Text($0.header), value: Secret($0.value))
                    )
                },
                uniquingKeysWith: { first, _ in first }
            )
            var sealing: [Text: AEAD] = [:]
            for key in wire.sealingKeys {
                if let symmetric = SymmetricKey(key.key), let aead = try? AEAD(symmetric) {
                    sealing[Text(key.id)] = aead
                }
            }
            secrets.sealing = sealing
            for (name, server) in state.servers {
                server.install(secrets.upstream[name])
            }
            installSeal(secrets)
        }
    }

    private func installSeal(_ secrets: Secrets) {
        if let id = secrets.sealingKeyID,
            let seal = SessionSeal(keys: secrets.sealing, sealingKeyID: id)
        {
            state.install(seal)
        }
    }
}

/// What the gateway shows a server; callers never see it.
struct UpstreamCredential: Sendable {
    /// The field's name.
    let header: Text
    /// The field's value.
    let value: Secret
}
