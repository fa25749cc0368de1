import ControlStore
import CoreMetrics
import Logging
public import ServiceLifecycle
import ServiceRuntime

/// Closes epochs whose lease and grace have passed, and keeps the books easy to close.
///
/// Every replica has one.
public struct EpochKeeper: Service {
    let store: EpochStore
    let graceMilliseconds: Int64
    let logger: Logger
    private static let closed = Counter(label: "ostiary.epoch.closed")

    /// Runs every second until the process shuts down.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            var second = 0
            while !Task.isCancelled {
                do throws(StoreError) {
                    if second % 3600 == 0 { try await store.ensureMonths() }
                    if second % 10 == 0 { try await store.settle() }
                    let closed = try await store.closeExpired(
                        graceMilliseconds: graceMilliseconds,
                        now: SystemClock.now()
                    )
                    if closed > 0 {
                        Self.closed.increment(by: closed)
                        logger.info("epochs were closed", metadata: ["ostiary.epochs": "\(closed)"])
                    }
                } catch {
                    logger.warning(
                        "epochs were not looked after",
                        metadata: ["error.message": "\(error)"]
                    )
                }
                second += 1
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }
}
