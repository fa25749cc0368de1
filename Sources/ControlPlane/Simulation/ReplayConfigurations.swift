import Cedar
import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import Postgres

/// The configurations that one simulation meets, with both releases bound to each.
///
/// Binding costs time in proportion to the entities, so a version is bound once, and the last few stay: records are read
/// in the order of their arrival, so versions come one after the other.
actor ReplayConfigurations {
    /// A configuration that is kept, bound.
    struct Bound: Sendable {
        let kept: KeptConfiguration
        let replay: ReplayConfiguration

        /// Who has this id; `nil` where the configuration knows nobody by it.
        func principal(_ subject: Text) -> EntityUID? { kept.principals[subject] }

        /// Whether the arguments of a tool can be read as its proxy read them.
        ///
        /// Its definition goes with its server; without it a number might be another number.
        func knowsArguments(of action: Text) -> Bool {
            kept.definitions[action] == nil || replay.schemas[action] != nil
        }
    }

    /// A version, or why there is nothing to replay in it.
    typealias Result = Swift.Result<Bound, Obstacle>

    /// An obstacle that can be thrown.
    struct Obstacle: Error {
        let reason: DecisionInput.Obstacle
    }

    /// How many versions stay bound.
    private static let boundMax = 8

    private let namespace: NamespaceID
    private let store: KeptConfigurationStore
    private let definitions: ConfigurationStore
    private let candidate: PolicyRelease
    private let baseline: PolicyRelease
    private var bound: [UInt64: Task<Result, any Error>] = [:]
    private var order: [UInt64] = []
    /// By digest; `nil` for a definition that says nothing readable.
    private var schemas: [[UInt8]: ToolInputSchema] = [:]

    init(
        of namespace: NamespaceID,
        store: KeptConfigurationStore,
        definitions: ConfigurationStore,
        candidate: PolicyRelease,
        baseline: PolicyRelease
    ) {
        self.namespace = namespace
        self.store = store
        self.definitions = definitions
        self.candidate = candidate
        self.baseline = baseline
    }

    /// The version as it was published.
    ///
    /// - Throws: when the database is away.
    func configuration(_ version: UInt64) async throws -> Result {
        if let known = bound[version] { return try await known.value }
        // Two who ask at once share the work.
        let task = Task { try await bind(version) }
        bound[version] = task
        order.append(version)
        if order.count > Self.boundMax { bound[order.removeFirst()] = nil }
        return try await task.value
    }

    private func bind(_ version: UInt64) async throws -> Result {
        let packed: [UInt8]?
        do throws(StoreError) {
            packed = try await store.configuration(version, of: namespace)
        } catch {
            // Kept under a key that was destroyed, and another has its name by now: erased, like one without a key.
            guard case .cryptography = error else { throw error }
            packed = nil
        }
        guard let packed else { return .failure(Obstacle(reason: .configurationMissing)) }
        guard let kept = KeptConfiguration(packed: packed) else {
            return .failure(Obstacle(reason: .unreadable))
        }
        try await loadSchemas(Set(kept.definitions.values))
        do throws(EntitySnapshotError) {
            let replay = ReplayConfiguration(
                baseline: try PolicyDecisionPoint(
                    release: baseline,
                    subjects: kept.subjects,
                    servers: kept.servers
                ),
                candidate: try PolicyDecisionPoint(
                    release: candidate,
                    subjects: kept.subjects,
                    servers: kept.servers
                ),
                schemas: kept.definitions.compactMapValues { schemas[$0] }
            )
            return .success(Bound(kept: kept, replay: replay))
        } catch {
            return .failure(Obstacle(reason: .configurationInvalid))
        }
    }

    private func loadSchemas(_ digests: Set<[UInt8]>) async throws {
        let missing = digests.filter { schemas[$0] == nil }
        guard !missing.isEmpty else { return }
        for (digest, canonical) in try await definitions.definitions(
            Array(missing),
            in: namespace
        ) {
            guard let definition = try? JSONDocument(parsing: canonical).root else { continue }
            schemas[digest] = ToolInputSchema(definition["inputSchema"])
        }
    }
}
