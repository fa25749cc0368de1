import Compression
import ControlProtocol
import ControlStore
import CoreMetrics
import Cryptography
// Only for Data, the type of protobuf's bytes fields.
import FoundationEssentials
import GatewayModel
import GatewayPolicy
import JSON
import Logging
import Postgres
public import ServiceLifecycle
import ServiceRuntime
import SwiftProtobuf
import Synchronization

/// Turns a namespace's stored configuration into a signed snapshot, and pushes it when it changes.
///
/// A change is announced by the transaction that makes it (NOTIFY); a slow poll finds what an
/// announcement missed. The secrets of a configuration travel beside the snapshot, never inside.
public final class SnapshotPublisher: Service {
    /// One version, ready to be sent.
    struct Publication: Sendable {
        let version: UInt64
        let snapshot: WireSnapshot
        let credentials: WireCredentials
    }

    /// Fast rather than small: a revocation waits for it.
    private static let packingLevel: Int32 = 1

    private static let publications = Counter(label: "ostiary.snapshot.published")

    private let client: PostgresClient
    private let store: ConfigurationStore
    private let kept: KeptConfigurationStore
    private let keys: KeyStore
    private let installation: InstallationKeys

    /// What configurations are verified with; a proxy pins it when it enrols.
    var verificationKey: VerificationKey {
        get throws(CryptographyError) { try installation.snapshot.verificationKey }
    }
    private let registry: SessionRegistry
    private let logger: Logger
    private let pollEvery: Duration
    private let published = Mutex<[NamespaceID: Publication]>([:])

    init(
        _ client: PostgresClient,
        keys: KeyStore,
        installation: InstallationKeys,
        registry: SessionRegistry,
        pollEvery: Duration = .seconds(5),
        logger: Logger
    ) {
        self.client = client
        store = ConfigurationStore(client)
        kept = KeptConfigurationStore(client, keys: keys)
        self.keys = keys
        self.installation = installation
        self.registry = registry
        self.pollEvery = pollEvery
        self.logger = logger
    }

    /// The newest publication of a namespace that this process knows, built when there is none.
    func current(_ namespace: NamespaceID) async throws -> Publication {
        if let known = published.withLock({ $0[namespace] }) { return known }
        return try await refresh(namespace)
    }

    /// Listens and polls until the process shuts down.
    public func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            await withTaskGroup { group in
                group.addTask { await self.listen() }
                group.addTask { await self.poll() }
            }
        }
    }

    private func listen() async {
        for await signal in client.listen(ConfigurationStore.channel) {
            switch signal {
            case .listening:
                await compareVersions()
            case .notification(let notification):
                let known = published.withLock { Array($0.keys) }
                // A namespace nobody asked about is built when somebody does.
                for id in known where id.description == notification.payload {
                    await publish(id)
                }
            }
        }
    }

    private func poll() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: pollEvery)
            await compareVersions()
        }
    }

    private func compareVersions() async {
        let known = published.withLock { $0.mapValues(\.version) }
        guard !known.isEmpty else { return }
        do throws(StoreError) {
            let versions = try await store.versions()
            for (id, version) in known where versions[id].map({ $0 > version }) == true {
                await publish(id)
            }
        } catch {
            logger.warning(
                "configuration versions were not read",
                metadata: ["error.message": "\(error)"]
            )
        }
    }

    private func publish(_ id: NamespaceID) async {
        do {
            let publication = try await refresh(id)
            registry.tell(.published(publication), namespace: id)
            Self.publications.increment()
        } catch {
            logger.error(
                "a configuration was not published",
                metadata: ["error.message": "\(error)", "ostiary.namespace.id": "\(id)"]
            )
        }
    }

    /// Builds from the store; of two that build at once the newer version stays.
    private func refresh(_ id: NamespaceID) async throws -> Publication {
        let configuration = try await store.load(id)
        let keys = try await keys.keys(of: id)
        let built = try build(configuration, keys)
        // Before any proxy can decide by it: what a record names can be looked up for as long as it is kept.
        try await kept.keep(
            Gzip.compress(Array(built.snapshot.payload), level: Self.packingLevel),
            version: built.version,
            of: id,
            under: keys.parts
        )
        return published.withLock { published in
            if let known = published[id], known.version >= built.version { return known }
            published[id] = built
            return built
        }
    }

    private func build(
        _ configuration: NamespaceConfiguration,
        _ keys: NamespaceKeys
    ) throws -> Publication {
        let wire = WireConfiguration(
            configuration,
            sealingKeyID: keys.sealing.id,
            at: SystemClock.now()
        )
        let payload: [UInt8] = try wire.serializedBytes()
        var snapshot = WireSnapshot()
        snapshot.version = configuration.namespace.configurationVersion
        snapshot.payload = Data(payload)
        snapshot.signature = Data(
            try installation.snapshot.sign(Array("ostiary-snapshot-v1\n".utf8) + payload)
        )
        snapshot.keyID = installation.snapshotKeyID
        let vault = try CredentialVault(keys, of: configuration.namespace.id)
        return Publication(
            version: snapshot.version,
            snapshot: snapshot,
            credentials: try WireCredentials(configuration, keys.sealing, vault)
        )
    }
}

extension WireConfiguration {
    /// The configuration as proxies read it.
    init(
        _ configuration: NamespaceConfiguration,
        sealingKeyID: String,
        at time: GatewayModel.Timestamp
    ) {
        self.init()
        namespace = configuration.namespace.name.text.string
        version = configuration.namespace.configurationVersion
        createdAtUs = time.microseconds
        servers = configuration.servers.map(WireServer.init)
        issuers = configuration.identityProviders.map(WireIssuer.init)
        subjects = configuration.subjects.map(WireSubject.init)
        if let release = configuration.release { policy = WirePolicyRelease(release) }
        if let release = configuration.shadow { shadow = WirePolicyRelease(release) }
        self.sealingKeyID = sealingKeyID
        spooledReadsAllowed = configuration.namespace.allowsSpooledReads
    }
}

extension WireCredentials {
    fileprivate init(
        _ configuration: NamespaceConfiguration,
        _ sealing: NamespaceKey,
        _ vault: CredentialVault
    ) throws {
        self.init()
        for server in configuration.servers {
            guard let header = server.credentialHeader, let sealed = server.credentialSealed
            else { continue }
            var credential = WireUpstreamCredential()
            credential.server = server.name.text.string
            credential.header = header.string
            credential.value = try vault.open(sealed, for: server.name).withUnsafeBytes { Data($0) }
            upstream.append(credential)
        }
        var key = WireSealingKey()
        key.id = sealing.id
        key.key = sealing.key.withUnsafeBytes { Data($0) }
        sealingKeys = [key]
    }
}

extension WireServer {
    fileprivate init(_ server: NamespaceConfiguration.Server) {
        self.init()
        name = server.name.text.string
        url = server.url.string
        enabled = server.isEnabled
        memberships = server.memberships.map(\.string)
        tools = server.tools.map { tool in
            var pinned = WirePinnedTool()
            pinned.name = tool.name.text.string
            pinned.definitionDigest = Data(tool.digest)
            pinned.effect = tool.effect.string
            return pinned
        }
    }
}

extension WireIssuer {
    fileprivate init(_ provider: IdentityProvider) {
        self.init()
        issuer = provider.issuer.string
        jwks = Data(provider.jwks.utf8)
        audiences = provider.audiences.map(\.string)
        algorithms = provider.algorithms.map(\.string)
        tokenTypes = provider.tokenTypes.map(\.string)
        groupsPointer = provider.groupsPointer.string
        subjectPointer = provider.subjectPointer.string
    }
}

extension WireSubject {
    fileprivate init(_ subject: Subject) {
        self.init()
        issuer = subject.issuer.string
        self.subject = subject.name.string
        id = subject.id.text.string
        kind = subject.kind.rawValue
        status = subject.status.rawValue
        groups = subject.groups.map(\.string)
        for (key, value) in subject.attributes { attributes[key.string] = value.string }
    }
}

extension WirePolicyRelease {
    fileprivate init(_ release: StoredRelease) {
        self.init()
        id = release.id.string
        number = release.number
        digest = Data(release.digest)
        // Cases and quick rules decide nothing.
        documents = release.documents.filter { document in
            let kind = document.forPolicies.kind
            return kind == .policies || kind == .facts
        }.map { document in
            var wire = WirePolicyDocument()
            wire.name = document.name.string
            guard let layer = document.layer else {
                wire.text = document.source.string
                return wire
            }
            wire.text = WirePolicyDocument.textOfLayered
            wire.layered.text = document.source.string
            wire.layered.rank = layer.rank.string
            wire.layered.name = layer.name.string
            if let owned = layer.owned { wire.layered.owned.entities = owned.map(\.string) }
            return wire
        }
    }
}
