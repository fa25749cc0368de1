import ControlStore
import CoreMetrics
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import Logging
import Postgres
import ServiceLifecycle
import ServiceRuntime

/// Works on simulations, one at a time; every replica has one, and they share the work through the rows.
///
/// A simulation reads the records of its range in pages, newest first, and asks both releases about each call. Pages are
/// evaluated while the next one is read, on as many tasks as ``evaluationsMax``; their parts are put together in order,
/// so that a report does not depend on who was faster.
///
/// A replica that dies leaves its claim behind, which runs out; another begins anew. One that stops gives it back.
final class SimulationWorker: Service {
    /// How many records a page has.
    private static let pageRecords = 500
    /// How many pages are evaluated at once.
    ///
    /// Two: more would take the cores from commits that calls wait for.
    private static let evaluationsMax = 2
    /// How often the claim is renewed, in seconds; it lasts six times as long.
    private static let renewalSeconds: Int64 = 5

    private let id = Postgres.UUID.random()
    private let store: SimulationStore
    private let records: RecordStore
    private let kept: KeptConfigurationStore
    private let configurations: ConfigurationStore
    private let administration: AdministrationStore
    private let namespaces: NamespaceStore
    private let keys: KeyStore
    private let logger: Logger
    private let metrics = SimulationMetrics()

    init(_ client: PostgresClient, keys: KeyStore, logger: Logger) {
        store = SimulationStore(client)
        records = RecordStore(client)
        kept = KeptConfigurationStore(client, keys: keys)
        configurations = ConfigurationStore(client)
        administration = AdministrationStore(client)
        namespaces = NamespaceStore(client)
        self.keys = keys
        self.logger = logger
    }

    /// Looks every second for what waits, until the process shuts down.
    func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            while !Task.isCancelled {
                if await !workOnce() { try? await Task.sleep(for: .seconds(1)) }
            }
        }
    }

    /// Works on one simulation; answers whether there was one.
    func workOnce() async -> Bool {
        let began = SystemClock.monotonic()
        do {
            for _ in 0..<(try await store.endAbandoned()) { Limit.simulationAttempts.reached() }
            guard let simulation = try await store.claim(by: id) else { return false }
            let metadata: Logger.Metadata = ["ostiary.simulation": "\(simulation.id)"]
            do {
                let failure = try await work(on: simulation)
                metrics.ended(failure?.rawValue, since: began)
                logger.info("a simulation ended", metadata: metadata)
            } catch {
                metrics.ended("interrupted", since: began)
                logger.warning(
                    "a simulation was interrupted",
                    metadata: metadata.merging(["error.message": "\(error)"]) { $1 }
                )
                // Whoever stops gives it back, in a task of its own, since this one is cancelled: somebody else can begin
                // at once. After a fault the claim runs out and the attempt counts, or a simulation that can never
                // succeed would be tried for ever.
                if Task.isCancelled {
                    await Task { try? await store.release(simulation, by: id) }.value
                }
            }
            return true
        } catch {
            logger.warning("simulations were not found", metadata: ["error.message": "\(error)"])
            return false
        }
    }

    /// - Returns: why it came to nothing; `nil` when its report is stored, or another works on it by now.
    private func work(on simulation: SimulationRow) async throws -> SimulationRow.Failure? {
        guard
            let namespace = try await namespaces.all().first(where: {
                $0.id == simulation.namespace
            })
        else { throw StoreError.namespaceUnknown }
        guard let candidate = try await release(simulation.release, of: namespace),
            let baseline = try await release(simulation.against, of: namespace)
        else {
            try await store.fail(simulation, by: id, .releaseInvalid)
            return .releaseInvalid
        }
        let replays = ReplayConfigurations(
            of: namespace.id,
            store: kept,
            definitions: configurations,
            candidate: candidate,
            baseline: baseline
        )
        guard let (fold, isTruncated) = try await count(simulation, in: namespace, replays) else {
            return nil
        }
        if isTruncated { Limit.simulationRecords.reached() }
        let report = SimulationReport(
            simulation: simulation,
            fold: fold,
            isTruncated: isTruncated,
            policies: baseline.policyNames
        )
        _ = try await store.finish(
            simulation,
            by: id,
            recordsRead: fold.recordsRead,
            widening: Int64(fold.simulation.diff.widening),
            report: report.json()
        )
        return nil
    }

    /// A release, compiled; `nil` when it does not compile in this build.
    private func release(_ number: UInt64, of namespace: Namespace) async throws -> PolicyRelease? {
        let row = try await administration.transaction { transaction in
            try await administration.enter(namespace.id, in: transaction)
            return try await administration.release(
                Int64(number),
                of: namespace.id,
                in: transaction
            )
        }
        guard let row else { return nil }
        return try? PolicyRelease(
            number: number,
            documents: row.release.documents.map(\.forPolicies)
        )
    }

    /// - Returns: what was counted, and whether records were left; `nil` when the claim was lost.
    private func count(
        _ simulation: SimulationRow,
        in namespace: Namespace,
        _ replays: ReplayConfigurations
    ) async throws -> (SimulationFold, isTruncated: Bool)? {
        var pages = RecordPagesReader(
            simulation: simulation,
            namespace: namespace,
            records: records,
            keys: keys,
            before: try await records.newestDecision(in: namespace.id)
        )
        return try await withThrowingTaskGroup(of: (Int, SimulationFold).self) { group in
            var whole = SimulationFold()
            var parts: [Int: SimulationFold] = [:]
            var (made, merged) = (0, 0)
            var renewedAt = SystemClock.monotonic()
            func merge(_ finished: (Int, SimulationFold)?) {
                guard let (position, part) = finished else { return }
                parts[position] = part
                while let part = parts.removeValue(forKey: merged) {
                    whole.merge(part)
                    metrics.records.increment(by: part.recordsRead)
                    merged += 1
                }
            }
            while let page = try await pages.next(limit: Self.pageRecords) {
                if made - merged - parts.count >= Self.evaluationsMax {
                    merge(try await group.next())
                }
                let (position, source) = (made, page.source(simulation, replays))
                group.addTask { (position, try await SimulationFold.of(page.records, source)) }
                made += 1
                let now = SystemClock.monotonic()
                guard now.microseconds(since: renewedAt) > Self.renewalSeconds * 1_000_000 else {
                    continue
                }
                renewedAt = now
                guard
                    try await store.renew(simulation, by: id, recordsRead: whole.recordsRead)
                else { return nil }
            }
            while let finished = try await group.next() { merge(finished) }
            return (whole, pages.isTruncated)
        }
    }
}

/// The records of a simulation, page by page, with what is needed to read them.
private struct RecordPagesReader {
    let simulation: SimulationRow
    let namespace: Namespace
    let records: RecordStore
    let keys: KeyStore
    /// Everything from here on was read.
    var before: Int64
    /// Whether there were more records than may be looked at.
    private(set) var isTruncated = false
    private var left: Int64
    private var opened: [String: AEAD] = [:]
    /// How many bytes of long arguments a page takes; then it ends early, and the rest is the next one's.
    private static let longBytesMax = 16_777_216
    private var isOver = false

    init(
        simulation: SimulationRow,
        namespace: Namespace,
        records: RecordStore,
        keys: KeyStore,
        before: Int64
    ) {
        self.simulation = simulation
        self.namespace = namespace
        self.records = records
        self.keys = keys
        self.before = before
        left = simulation.recordsMax
    }

    struct Page: Sendable {
        let records: [RecordedDecision]
        let keys: [String: AEAD]
        let longArguments: [Int64: [UInt8]]

        func source(
            _ simulation: SimulationRow,
            _ configurations: ReplayConfigurations
        ) -> SimulationFold.Source {
            SimulationFold.Source(
                kind: simulation.kind,
                release: simulation.release,
                against: simulation.against,
                configurations: configurations,
                keys: keys,
                longArguments: longArguments
            )
        }
    }

    /// The next page, `nil` after the last.
    mutating func next(limit: Int) async throws -> Page? {
        guard !isOver else { return nil }
        // One more than is looked at, to know whether there are more.
        let asked = Int(min(Int64(limit), left + 1))
        var page = try await records.decisions(
            of: namespace,
            before: before,
            from: simulation.from,
            to: simulation.to,
            withArguments: simulation.kind == .replay,
            limit: asked
        )
        isOver = page.count < asked
        if Int64(page.count) > left {
            page.removeLast(page.count - Int(left))
            (isTruncated, isOver) = (true, true)
        }
        var longArguments: [Int64: [UInt8]] = [:]
        var longBytes = 0
        for (index, record) in page.enumerated() {
            guard let part = record.arguments else { continue }
            if part.sealed == nil {
                let content = try await longArgumentsContent(of: record)
                longArguments[record.arrival] = content
                longBytes += content?.count ?? 0
            } else if opened[part.keyID] == nil,
                let key = try await keys.key(part.keyID, of: namespace.id)
            {
                opened[part.keyID] = try AEAD(key)
            }
            guard longBytes > Self.longBytesMax, index < page.count - 1 else { continue }
            page.removeLast(page.count - index - 1)
            (isOver, isTruncated) = (false, false)
            break
        }
        guard let last = page.last else { return nil }
        before = last.arrival
        left -= Int64(page.count)
        return Page(records: page, keys: opened, longArguments: longArguments)
    }
}

extension RecordPagesReader {
    /// Arguments too long for their page; `nil` when they were erased, whatever has the name of their key by now.
    fileprivate func longArgumentsContent(of record: RecordedDecision) async throws -> [UInt8]? {
        do throws(StoreError) {
            let parts = try await records.parts(of: record.position, in: namespace.id, keys: keys)
            return parts.first { $0.name == "arguments" }?.content
        } catch {
            guard case .cryptography = error else { throw error }
            return nil
        }
    }
}

/// What simulations count, made once.
private struct SimulationMetrics: Sendable {
    let records = Counter(label: "ostiary.simulation.records")

    func ended(_ error: String?, since began: MonotonicInstant) {
        Timer(
            label: "ostiary.simulation.duration",
            dimensions: error.map { [("error.type", $0)] } ?? []
        ).recordNanoseconds(SystemClock.monotonic().nanoseconds - began.nanoseconds)
    }
}
