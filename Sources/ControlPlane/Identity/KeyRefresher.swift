import ControlStore
import IdentityProtocols
import JSON
import Logging
import ServiceLifecycle
import ServiceRuntime
import Synchronization

/// Keeps the keys of issuers fresh: on a schedule, and when a proxy met a token under a key that nobody knows.
///
/// Every replica has one; they share the work through the database, which also sees to it that an issuer is asked at most
/// once in 30 seconds, however many tokens name keys that do not exist. What changed is announced by the transaction that
/// stores it, and ``SnapshotPublisher`` pushes it.
final class KeyRefresher: Service {
    /// A key that a token named and its issuer does not have.
    private struct Question: Hashable {
        let namespace: NamespaceID
        let issuer: Text
    }

    /// How many fetches run at once.
    private static let fetchesMax = 8
    /// How many questions wait; further ones are dropped, since the proxy asks again.
    private static let questionsMax = 256

    private let store: IssuerKeyStore
    private let fetcher: KeySetFetcher
    private let schedule: KeyRefreshSchedule
    private let logger: Logger
    private let questions = Mutex<Set<Question>>([])
    private let wakes: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation

    init(
        _ store: IssuerKeyStore,
        fetcher: KeySetFetcher,
        schedule: KeyRefreshSchedule,
        logger: Logger
    ) {
        self.store = store
        self.fetcher = fetcher
        self.schedule = schedule
        self.logger = logger
        (wakes, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// A token of `issuer` named a key that the proxies of `namespace` do not have.
    func asked(for issuer: Text, in namespace: NamespaceID) {
        let isTaken = questions.withLock { questions in
            guard questions.count < Self.questionsMax else {
                Limit.issuersWaiting.reached()
                return false
            }
            return questions.insert(Question(namespace: namespace, issuer: issuer)).inserted
        }
        if isTaken { wake.yield() }
    }

    /// Looks every second for what is due, and at once for what was asked, until the process shuts down.
    func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            await withTaskGroup { group in
                group.addTask { [wake] in
                    while !Task.isCancelled {
                        wake.yield()
                        try? await Task.sleep(for: .seconds(1))
                    }
                }
                await serve()
                group.cancelAll()
            }
        }
    }

    private func serve() async {
        await withTaskGroup(of: Void.self) { group in
            var running = 0
            for await _ in wakes {
                for turn in await turns(atMost: Self.fetchesMax) {
                    if running == Self.fetchesMax {
                        await group.next()
                        running -= 1
                    }
                    running += 1
                    group.addTask { await self.take(turn) }
                }
            }
        }
    }

    /// What was asked first: a caller waits for it.
    private func turns(atMost limit: Int) async -> [IssuerKeyStore.Turn] {
        let asked = questions.withLock { questions in
            defer { questions = [] }
            return questions
        }
        var turns: [IssuerKeyStore.Turn] = []
        do throws(StoreError) {
            for question in asked {
                if let turn = try await store.takeTurn(of: question.issuer, in: question.namespace)
                {
                    turns.append(turn)
                }
            }
            turns += try await store.takeTurns(limit: limit)
        } catch {
            logger.warning(
                "issuers whose keys are due were not found",
                metadata: ["error.message": "\(error)"]
            )
        }
        return turns
    }

    private func take(_ turn: IssuerKeyStore.Turn) async {
        let result: Result<Text, GuardedClient.Refusal>
        do throws(GuardedClient.Refusal) {
            result = .success(
                try await fetcher.keys(
                    of: turn.issuer,
                    from: turn.source,
                    allowingPrivateAddresses: turn.allowsPrivateAddresses
                )
            )
        } catch {
            result = .failure(error)
        }
        var metadata: Logger.Metadata = [
            "ostiary.issuer": "\(turn.issuer)", "ostiary.namespace.id": "\(turn.namespace)",
        ]
        do throws(StoreError) {
            switch result {
            case .success(let keys):
                let isChanged = try await store.succeeded(
                    turn,
                    jwks: keys,
                    dueInSeconds: schedule.secondsAfterSuccess(draw: .random(in: 0...1))
                )
                if isChanged { logger.info("the keys of an issuer changed", metadata: metadata) }
            case .failure(let refusal):
                metadata["error.type"] = "\(refusal.code)"
                try await failed(turn, refusal, metadata)
            }
        } catch {
            // The turn ends by itself, and another takes it up.
            metadata["error.message"] = "\(error)"
            logger.warning("the keys of an issuer were not stored", metadata: metadata)
        }
    }

    private func failed(
        _ turn: IssuerKeyStore.Turn,
        _ refusal: GuardedClient.Refusal,
        _ metadata: Logger.Metadata
    ) async throws(StoreError) {
        Self.count(refusal)
        let isStale = schedule.isStale(secondsSinceSuccess: turn.secondsSinceSuccess)
        if isStale {
            logger.error("the keys of an issuer are too old to be believed", metadata: metadata)
        } else {
            logger.warning("the keys of an issuer were not fetched", metadata: metadata)
        }
        try await store.failed(
            turn,
            refusal.code,
            dueInSeconds: schedule.secondsAfterFailure(
                turn.failures + 1,
                draw: .random(in: 0...1)
            ),
            forgettingKeys: isStale
        )
    }

    /// Counts the limit that a refusal is about, if it is about one.
    private static func count(_ refusal: GuardedClient.Refusal) {
        switch refusal {
        case .tooLong: Limit.issuerBytes.reached()
        case .timedOut: Limit.issuerTime.reached()
        case GuardedClient.Refusal(JWKSet.SetError.tooManyKeys.rawValue): Limit.issuerKeys.reached()
        default: break
        }
    }
}
