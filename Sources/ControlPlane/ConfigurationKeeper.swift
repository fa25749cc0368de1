import ControlStore
import Logging
import ServiceLifecycle

/// Forgets configurations that others took the place of long ago.
///
/// Every replica has one; what one of them forgot the others do not find.
struct ConfigurationKeeper: Service {
    let store: KeptConfigurationStore
    let namespaces: NamespaceStore
    let days: Int64
    let logger: Logger

    /// Runs every hour until the process shuts down.
    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do throws(StoreError) {
                    for namespace in try await namespaces.all() {
                        let forgotten = try await store.forget(
                            olderThanDays: days,
                            in: namespace.id
                        )
                        guard forgotten > 0 else { continue }
                        logger.info(
                            "old configurations were forgotten",
                            metadata: [
                                "ostiary.namespace": "\(namespace.name)",
                                "ostiary.configurations": "\(forgotten)",
                            ]
                        )
                    }
                } catch {
                    logger.warning(
                        "old configurations were not looked for",
                        metadata: ["error.message": "\(error)"]
                    )
                }
                try? await Task.sleep(for: .seconds(3600))
            }
        }
    }
}
