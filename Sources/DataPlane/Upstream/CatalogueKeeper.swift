import ControlProtocol
import FoundationEssentials
import GatewayModel
import JSON
import Logging
import NIOCore
import Networking
import ServiceLifecycle
import ServiceRuntime

/// Reads the tools of every configured server, again and again, and reports what changed: only proxies reach the
/// servers, and control can pin only what was reported.
struct CatalogueKeeper: Service {
    let state: GatewayState
    let link: LinkClient
    let executor: LoopExecutor
    let logger: Logger

    /// How often servers that have no catalogue are asked.
    ///
    /// Default 500 ms.
    private static let pause: Duration = .milliseconds(500)
    /// How often a catalogue is read anew.
    ///
    /// Default 60 s.
    private static let refreshMilliseconds: Int64 = 60_000
    /// How long a server that failed is left alone.
    ///
    /// Default 5 s.
    private static let failureMilliseconds: Int64 = 5000

    func run() async throws {
        let keeper = Keeper(state: state, link: link, executor: executor, logger: logger)
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                await keeper.round()
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    /// On an event loop, since upstream connections belong to one.
    private actor Keeper {
        nonisolated let executor: LoopExecutor
        nonisolated var unownedExecutor: UnownedSerialExecutor {
            executor.asUnownedSerialExecutor()
        }
        let state: GatewayState
        let link: LinkClient
        let logger: Logger
        /// When each server was last asked, what was reported of it, and whether it answered.
        var last: [ObjectIdentifier: (at: MonotonicInstant, reported: [Data: Data], failed: Bool)] =
            [:]

        init(state: GatewayState, link: LinkClient, executor: LoopExecutor, logger: Logger) {
            self.state = state
            self.link = link
            self.executor = executor
            self.logger = logger
        }

        func round() async {
            let servers = state.servers.values
            let living = Set(servers.map { ObjectIdentifier($0) })
            last = last.filter { living.contains($0.key) }
            for server in servers {
                let now = SystemClock.monotonic()
                if let known = last[ObjectIdentifier(server)] {
                    let pause =
                        known.failed
                        ? CatalogueKeeper.failureMilliseconds : CatalogueKeeper.refreshMilliseconds
                    guard now.milliseconds(since: known.at) >= pause else {
                        continue
                    }
                }
                await read(server, now: now)
            }
        }

        private func read(_ server: UpstreamServer, now: MonotonicInstant) async {
            var report = WireToolReport()
            report.server = server.name.text.string
            let reported = last[ObjectIdentifier(server)]?.reported ?? [:]
            do {
                let catalogue = try await server.refreshCatalogue(on: executor, now: now)
                var found: [Data: Data] = [:]
                for tool in catalogue.tools {
                    let canonical = Data(tool.definition.canonicalBytes())
                    let name = Data(tool.name.text.utf8)
                    found[name] = canonical
                    if reported[name] != canonical {
                        var definition = WireToolDefinition()
                        definition.name = tool.name.text.string
                        definition.canonical = canonical
                        report.tools.append(definition)
                    }
                }
                last[ObjectIdentifier(server)] = (now, found, false)
            } catch {
                report.failure = error.detail.string
                last[ObjectIdentifier(server)] = (now, reported, true)
                logger.warning(
                    "tools cannot be listed",
                    metadata: [
                        "ostiary.server": "\(server.name)", "error.message": "\(error.detail)",
                    ]
                )
            }
            guard !report.tools.isEmpty || !report.failure.isEmpty else {
                return
            }
            if await !link.report(report) {
                // Control did not hear of it: ask again soon, and report everything.
                last[ObjectIdentifier(server)] = (now, [:], true)
            }
        }
    }
}
