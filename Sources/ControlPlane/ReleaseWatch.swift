import ControlStore
import CoreMetrics
import GatewayModel
import GatewayPolicy
import Logging
import Postgres
import ServiceLifecycle
import ServiceRuntime
import Synchronization

/// Checks the release in force of each namespace again when its tools change, and says what no longer holds.
///
/// A policy that reads an argument which the tool no longer has fails when it is asked, and the gateway closes; whoever
/// accepted the definition should hear of it before the first caller does. Nothing is changed here. Every replica does
/// so, and the results are those that are shown on the release.
final class ReleaseWatch: Service {
    private static let checks = Counter(label: "ostiary.release.revalidated")
    private static let invalid = Gauge(label: "ostiary.policy.invalid")

    private let client: PostgresClient
    private let store: AdministrationStore
    private let namespaces: NamespaceStore
    private let checker: ReleaseChecker
    private let logger: Logger

    private struct Known {
        let name: NamespaceName
        let release: UInt64
        let documents: [StoredRelease.Document]
        let catalogue: StoredCatalogue
        let digest: [UInt8]
        /// How many policies have errors.
        let invalid: Int
    }

    /// What was found last, by namespace.
    private let known = Mutex<[NamespaceID: Known]>([:])

    init(_ client: PostgresClient, checker: ReleaseChecker, logger: Logger) {
        self.client = client
        store = AdministrationStore(client)
        namespaces = NamespaceStore(client)
        self.checker = checker
        self.logger = logger
    }

    /// Listens until the process shuts down; looks at every namespace whenever something may have been missed.
    func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            for await signal in client.listen(ConfigurationStore.channel) {
                switch signal {
                case .listening: await look { _ in true }
                case .notification(let notification):
                    await look { $0.id.description == notification.payload }
                }
            }
        }
    }

    private func look(at isMeant: (Namespace) -> Bool) async {
        do {
            for namespace in try await namespaces.all() where isMeant(namespace) {
                try await look(at: namespace)
            }
        } catch {
            // What was missed is found with the next change, or when the connection comes back.
            logger.warning(
                "a release was not checked again",
                metadata: ["error.message": "\(error)"]
            )
        }
    }

    private func look(at namespace: Namespace) async throws {
        let store = store
        let found = try await store.transaction { transaction in
            try await store.enter(namespace.id, in: transaction)
            let active = try await store.activeRelease(of: namespace.id, in: transaction)
            return (active, try await store.catalogue(of: namespace.id, in: transaction))
        }
        guard let release = found.0?.release else { return }
        let digest = found.1.digest
        let before = known.withLock { $0[namespace.id] }
        guard before?.release != release.number || before?.digest != digest else { return }
        let check = checker.check(release.documents, against: found.1, in: namespace.id)
        let errors = check.checks.findings.filter { $0.severity == .error }
        let now = Known(
            name: namespace.name,
            release: release.number,
            documents: release.documents,
            catalogue: found.1,
            digest: digest,
            invalid: Set(errors.map(\.policy)).count
        )
        let total = known.withLock { known in
            known[namespace.id] = now
            return known.values.reduce(0) { $0 + $1.invalid }
        }
        report(now, after: before, in: namespace.id)
        Self.checks.increment()
        Self.invalid.record(total)
    }

    private func report(_ now: Known, after before: Known?, in namespace: NamespaceID) {
        var metadata: Logger.Metadata = [
            "ostiary.namespace": "\(now.name)", "ostiary.policy.release": "\(now.release)",
            "ostiary.policy.invalid": "\(now.invalid)",
        ]
        guard let before, before.release == now.release else {
            // Another release, or the first look: its checks are known to whoever activated it.
            guard now.invalid > 0 else { return }
            return logger.warning("policies in force do not fit the tools", metadata: metadata)
        }
        let impact = checker.impact(
            of: now.catalogue,
            on: now.documents,
            checkedAgainst: before.catalogue,
            in: namespace
        )
        guard impact.obstacle == nil, !impact.affected.isEmpty else {
            guard before.invalid > 0, now.invalid == 0 else { return }
            return logger.info("policies in force fit the tools again", metadata: metadata)
        }
        metadata["ostiary.policy.affected"] = "\(impact.affected.count)"
        metadata["ostiary.policies"] = .array(
            impact.affected.prefix(10).map { "\($0.policy): \($0.verdict.rawValue)" }
        )
        logger.warning("changed tools do not fit policies in force", metadata: metadata)
    }
}
