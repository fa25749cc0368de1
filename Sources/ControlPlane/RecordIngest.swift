public import ControlStore
import CoreMetrics
import GatewayModel
public import Logging
public import ServiceLifecycle
import ServiceRuntime

/// The one writer of records of this process.
///
/// Batches of all sessions are committed in rounds, one transaction for each namespace; what arrives
/// meanwhile makes the next round. A single writer keeps each session's batches in order without any
/// bookkeeping, and lets one fsync serve everybody. A transaction never writes for two namespaces, so
/// that the database itself keeps them apart.
public final class RecordIngest: Service {
    /// The bounds of one transaction and of what waits.
    public struct Limits: Sendable {
        /// How many batches may wait.
        ///
        /// Default 4096; one more is answered with a failure, and its session ends.
        public var batchesWaitingMax = 4096
        /// How many records one transaction takes.
        ///
        /// Default 8192.
        public var recordsMax = 8192
        /// How many bytes of bodies and parts one transaction takes, unless a single batch is
        /// longer.
        ///
        /// Default 8 MiB.
        public var bytesMax = 8_388_608
        /// How many namespaces are written for at the same time, each on a connection.
        ///
        /// Default 4, half of the pool.
        public var namespacesAtOnceMax = 4

        /// The defaults.
        public init() {}
    }

    /// Told, in the order of submission, what became of a batch.
    public typealias Delivery =
        @Sendable (_ batch: RecordBatch, _ result: Result<RecordStore.Outcome, StoreError>) -> Void

    private struct Job: Sendable {
        let batch: RecordBatch
        let deliver: Delivery
    }

    private let store: RecordStore
    private let limits: Limits
    private let logger: Logger
    private let queue: NaturalBatcher<Job>
    private let metrics = IngestMetrics()

    /// A writer into `store`.
    public init(_ store: RecordStore, limits: Limits = Limits(), logger: Logger) {
        self.store = store
        self.limits = limits
        self.logger = logger
        queue = NaturalBatcher(
            itemsMax: limits.batchesWaitingMax,
            limit: .ingestWaiting,
            metric: "ostiary.ingest.waiting"
        )
    }

    /// Hands a batch over; `false` when too many wait, and then `deliver` is never called.
    public func submit(_ batch: RecordBatch, deliver: @escaping Delivery) -> Bool {
        queue.add(Job(batch: batch, deliver: deliver))
    }

    /// Writes until the process shuts down.
    public func run() async {
        await cancelWhenGracefulShutdown { [self] in
            await queue.run(share: share, process: commit)
        }
    }

    /// How many of the waiting batches fit into one transaction.
    ///
    /// One that may hold twins waits for the batches of its writer to be committed, so that it can
    /// see what it repeats.
    private func share(_ jobs: [Job]) -> Int {
        var (records, bytes, count) = (0, 0, 0)
        for job in jobs {
            records += job.batch.recordCount
            bytes += job.batch.byteCount
            if count > 0 {
                guard records <= limits.recordsMax, bytes <= limits.bytesMax else { break }
                if job.batch.mayHoldTwins,
                    jobs[..<count].contains(where: {
                        $0.batch.writer == job.batch.writer && $0.batch.epoch == job.batch.epoch
                    })
                {
                    break
                }
            }
            count += 1
        }
        return count
    }

    private func commit(_ jobs: [Job]) async {
        let byNamespace = Dictionary(grouping: jobs, by: \.batch.writer.namespaceID)
        guard byNamespace.count > 1 else { return await commitTogether(jobs) }
        await withTaskGroup(of: Void.self) { group in
            for (count, jobs) in byNamespace.values.enumerated() {
                if count >= limits.namespacesAtOnceMax { await group.next() }
                group.addTask { await self.commitTogether(jobs) }
            }
        }
    }

    /// Jobs of one namespace, in the order of their arrival.
    private func commitTogether(_ jobs: [Job]) async {
        let began = SystemClock.monotonic().nanoseconds
        do throws(StoreError) {
            let outcomes = try await store.commit(jobs.map(\.batch))
            metrics.committed.recordNanoseconds(SystemClock.monotonic().nanoseconds - began)
            metrics.count(zip(jobs.map(\.batch), outcomes))
            for (job, outcome) in zip(jobs, outcomes) { job.deliver(job.batch, .success(outcome)) }
        } catch {
            metrics.failed.recordNanoseconds(SystemClock.monotonic().nanoseconds - began)
            logger.warning(
                "records were not committed",
                metadata: ["error.message": "\(error)", "ostiary.batches": "\(jobs.count)"]
            )
            for job in jobs { job.deliver(job.batch, .failure(error)) }
        }
    }
}

/// What the ingest counts, made once.
private struct IngestMetrics: Sendable {
    let committed = Timer(label: "ostiary.ingest.duration")
    let failed = Timer(
        label: "ostiary.ingest.duration",
        dimensions: [("error.type", "store_error")]
    )
    private let stored = Counter(
        label: "ostiary.ingest.records",
        dimensions: [("ostiary.ingest.result", "committed")]
    )
    private let refused = Counter(
        label: "ostiary.ingest.records",
        dimensions: [("ostiary.ingest.result", "refused")]
    )

    func count(_ batches: some Sequence<(RecordBatch, RecordStore.Outcome)>) {
        for (batch, outcome) in batches {
            guard case .committed(let refusals) = outcome else { continue }
            stored.increment(by: batch.recordCount - refusals.count)
            refused.increment(by: refusals.count)
            for refusal in refusals where refusal.code == .tooLong { Limit.recordBytes.reached() }
        }
    }
}
