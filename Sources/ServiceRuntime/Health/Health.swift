import Synchronization

/// One thing that has to be well.
public struct HealthCheck: Sendable {
    /// What is looked at, in one word: `lease`, `database`.
    public let name: String
    let problem: @Sendable () async -> String?

    /// A check.
    ///
    /// - Parameter problem: `nil` when all is well, otherwise the reason in a constant sentence: whoever reaches the
    ///   admin listener reads it, so nothing of a request, a secret or an address stands in it.
    public init(_ name: String, _ problem: @escaping @Sendable () async -> String?) {
        self.name = name
        self.problem = problem
    }
}

/// Whether a process lives, and whether it should get work.
///
/// Living means that restarting it would not help: only its own threads are asked. Ready means that a call sent here now
/// can be answered; a process that is about to stop is not ready, whatever else is well.
public final class Health: Sendable {
    /// What was found.
    public struct Report: Sendable, Equatable {
        /// Each check's name, and what is wrong.
        public var checks: [Finding]

        /// One check.
        public struct Finding: Sendable, Equatable {
            /// What was looked at.
            public let name: String
            /// What is wrong with it, if anything is.
            public let problem: String?
        }

        /// Whether nothing is wrong.
        public var isWell: Bool { checks.allSatisfy { $0.problem == nil } }
    }

    private let liveness: [HealthCheck]
    private let readiness: [HealthCheck]
    private let patience: Duration
    private let draining = Atomic<Bool>(false)

    /// - Parameter patience: how long one check may take; longer is a problem of its own. Default 2 s.
    public init(
        liveness: [HealthCheck],
        readiness: [HealthCheck],
        patience: Duration = .seconds(2)
    ) {
        self.liveness = liveness
        self.readiness = readiness
        self.patience = patience
    }

    /// From now on the process is not ready, for good: it is about to stop.
    public func beginDraining() {
        draining.store(true, ordering: .relaxed)
    }

    /// Whether restarting would not help.
    public func live() async -> Report {
        await report(liveness)
    }

    /// Whether a call sent here now can be answered.
    public func ready() async -> Report {
        var report = await report(readiness)
        let isDraining = draining.load(ordering: .relaxed)
        report.checks.append(
            .init(name: "draining", problem: isDraining ? "the process is stopping" : nil)
        )
        return report
    }

    private func report(_ checks: [HealthCheck]) async -> Report {
        var findings: [Report.Finding] = []
        for check in checks {
            findings.append(.init(name: check.name, problem: await problem(of: check)))
        }
        return Report(checks: findings)
    }

    /// A check that hangs is left behind: what it asks may be just what is stuck.
    private func problem(of check: HealthCheck) async -> String? {
        let patience = patience
        return await withCheckedContinuation { continuation in
            let answer = FirstAnswer(continuation)
            let asking = Task {
                answer.give(await check.problem())
            }
            Task {
                try? await Task.sleep(for: patience)
                answer.give("did not answer in time")
                asking.cancel()
            }
        }
    }
}

/// Resumes a continuation once.
private final class FirstAnswer: Sendable {
    private let waiting: Mutex<CheckedContinuation<String?, Never>?>

    init(_ continuation: CheckedContinuation<String?, Never>) {
        waiting = Mutex(continuation)
    }

    func give(_ answer: String?) {
        waiting.withLock { waiting in
            defer { waiting = nil }
            return waiting
        }?
        .resume(returning: answer)
    }
}
