import ControlStore
import Logging
public import ServiceLifecycle
import ServiceRuntime

/// Stores the leases that sessions ask for, all that wait in one statement.
public final class LeaseKeeper: Service {
    typealias Delivery = @Sendable (Result<EpochStore.Lease, StoreError>) -> Void

    private struct Job: Sendable {
        let holder: EpochStore.Holder
        let deliver: Delivery
    }

    private let store: EpochStore
    private let leaseMilliseconds: UInt32
    private let logger: Logger
    private let queue = NaturalBatcher<Job>(
        itemsMax: 16_384,
        limit: .leasesWaiting,
        metric: "ostiary.lease.waiting"
    )

    init(_ store: EpochStore, leaseMilliseconds: UInt32, logger: Logger) {
        self.store = store
        self.leaseMilliseconds = leaseMilliseconds
        self.logger = logger
    }

    /// Asks for a lease; `false` when too many wait.
    ///
    /// A heartbeat without an answer is the proxy's to judge.
    func ask(_ holder: EpochStore.Holder, deliver: @escaping Delivery) -> Bool {
        queue.add(Job(holder: holder, deliver: deliver))
    }

    /// Serves until the process shuts down.
    public func run() async {
        await cancelWhenGracefulShutdown { [self] in
            await queue.run(share: { min($0.count, 1024) }, process: store)
        }
    }

    private func store(_ jobs: [Job]) async {
        do throws(StoreError) {
            let leases = try await store.storeLeases(
                jobs.map(\.holder),
                leaseMilliseconds: leaseMilliseconds
            )
            for (job, lease) in zip(jobs, leases) { job.deliver(.success(lease)) }
        } catch {
            logger.warning("leases were not stored", metadata: ["error.message": "\(error)"])
            for job in jobs { job.deliver(.failure(error)) }
        }
    }
}
