import ArgumentParser
import Cedar
import GatewayModel
import GatewayPolicy
import Glibc
import JSON

/// Where recorded decisions come from, and the shell that asks them again on all cores.
struct ReplayOptions: ParsableArguments {
    @Option(help: "Decision inputs, one JSON object a line; - for standard input.")
    var inputs: String?
    @Option(
        help: "The entities of the inputs, in Cedar's JSON form: who and what decisions were about."
    )
    var entities: String?
    @Option(help: "A schema, for the groups that actions are in.")
    var schema: String?

    /// About how many bytes of lines one task replays.
    private static let chunkBytes = 1 << 20
    /// How many unreadable lines are told one by one.
    private static let toldMax = 10
    /// How often long work says how far it is.
    private static let progressSeconds = 2

    /// What one task made of its lines.
    private struct Part: Sendable {
        var simulation: Simulation
        var refusals: [(line: Int, error: DecisionInput.ReadingError)] = []
        var refusedCount = 0
    }

    /// Replays all inputs; the second value is false if a line could not be read.
    func run(
        candidate: PolicyRelease,
        baseline: PolicyRelease?,
        coverage: Bool
    ) async throws -> (Simulation, Bool) {
        let configuration = ReplayConfiguration(
            baseline: try baseline.map(point),
            candidate: try point(candidate),
            tracesCandidate: coverage
        )
        let empty = Simulation(coverage: coverage ? Coverage(of: candidate) : nil)
        let file = InputFile(path: inputs ?? "-")
        var merged = Part(simulation: empty)
        var progress = Progress()
        try await withThrowingTaskGroup(of: (Int, Part).self) { group in
            let tasksMax = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)) + 1)
            var finished: [Int: Part] = [:]
            var (started, next) = (0, 0)
            func collect() async throws {
                guard let (number, part) = try await group.next() else { return }
                finished[number] = part
                // Merged in the order of the lines, so that the same file makes the same report.
                while let part = finished.removeValue(forKey: next) {
                    merged.simulation.merge(part.simulation)
                    for refusal in part.refusals where merged.refusals.count < Self.toldMax {
                        merged.refusals.append(refusal)
                    }
                    merged.refusedCount += part.refusedCount
                    next += 1
                }
                progress.tell(merged.simulation.diff.total)
            }
            try await file.readLines(bytesMax: Self.chunkBytes) { lines, firstLine in
                if started - next >= tasksMax { try await collect() }
                let number = started
                started += 1
                group.addTask {
                    var part = Part(simulation: empty)
                    part.simulation.replay(lines: lines, in: configuration) { line, error in
                        part.refusedCount += 1
                        if part.refusals.count < Self.toldMax {
                            part.refusals.append((firstLine + line, error))
                        }
                    }
                    return (number, part)
                }
            }
            while next < started { try await collect() }
        }
        for (line, error) in merged.refusals {
            Console.words("\(file.name):\(line): \(error)")
        }
        let untold = merged.refusedCount - merged.refusals.count
        if untold > 0 {
            Console.words(
                "… and \(untold) more \(untold == 1 ? "line" : "lines") that cannot be read"
            )
        }
        return (merged.simulation, merged.refusedCount == 0)
    }

    private func point(_ release: PolicyRelease) throws -> PolicyDecisionPoint {
        let file = InputFile(path: entities ?? "-")
        let actions = try schema.map { try InputFile(path: $0).actions() } ?? []
        do {
            return try PolicyDecisionPoint(
                release: release,
                entities: MCPEntities.completing(
                    try file.entities().adding(actions),
                    for: release.facts
                )
            )
        } catch let error as EntitySnapshotError {
            throw InputFile.Failure(description: "\(file.name): \(error)")
        }
    }

    /// Says on standard error how far long work is.
    private struct Progress {
        private let clock = ContinuousClock()
        private var told = ContinuousClock().now

        mutating func tell(_ count: Int) {
            guard told.duration(to: clock.now) >= .seconds(ReplayOptions.progressSeconds) else {
                return
            }
            told = clock.now
            Console.words(Console.count(count, "input", "inputs") + " replayed")
        }
    }
}

extension DecisionDiff {
    /// Prints the report as text.
    func show() {
        Console.data(
            "\(Console.count(total, "input", "inputs")), \(decided) decided, \(changed) answered otherwise, "
                + Console.count(widening, "becomes permit", "become permit")
        )
        for obstacle in DecisionInput.Obstacle.allCases {
            if let count = undecided[obstacle] {
                Console.data("  \(count) not decided: \(obstacle.rawValue)")
            }
        }
        if sameAnswerOtherPolicies > 0 {
            Console.data("  \(sameAnswerOtherPolicies) answered the same by other policies")
        }
        if let fidelity {
            let compared = fidelity.agreed + fidelity.differed
            if compared > 0 {
                Console.data(
                    "  \(fidelity.agreed) of \(compared) answered under the baseline as recorded"
                )
            }
            for example in fidelity.examples {
                Console.data(
                    "    \(example.line): recorded \(example.baseline.words), now \(example.candidate.words)"
                )
            }
        }
        let changes = transitions.filter(\.key.isChange).sorted { $0.key < $1.key }
        guard !changes.isEmpty else { return }
        Console.data("")
        Console.table(
            [["from", "to", "inputs"]]
                + changes.map { [$0.key.from.rawValue, $0.key.to.rawValue, "\($0.value)"] }
        )
        for group in groups {
            Console.data("")
            Console.data(
                "\(group.count) \(group.transition): \(Self.names(group.baseline)) → \(Self.names(group.candidate))"
            )
            for example in group.examples { Console.data("    \(example.line)") }
        }
        if ungrouped > 0 {
            Console.data("")
            Console.data("\(ungrouped) more in smaller groups")
        }
    }

    private static func names(_ policies: [Text]) -> String {
        policies.isEmpty ? "no policy" : policies.map(\.string).joined(separator: ", ")
    }
}

extension DecisionDiff.Example {
    fileprivate var line: String {
        (reference.isEmpty ? "" : "\(reference.string) ")
            + "\(principal.cedarText) \(action.cedarText) \(resource.cedarText)"
    }
}

extension DecisionSummary {
    fileprivate var words: String {
        determining.isEmpty
            ? "\(answer.rawValue) (\(ground.rawValue))"
            : "\(answer.rawValue) by \(determining.map(\.string).joined(separator: ", "))"
    }
}
