import ArgumentParser
import Cedar
import GatewayPolicy
import JSON

/// The command `ostiary policy test`.
struct TestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test",
        abstract: "Run the tests beside policies, and say which rules they reach.",
        discussion: """
            All files make one release, and every case is decided by all of it. A folder stands for its *.cedar, facts.json \
            and *.cases.json; beside x.cedar, facts.json and x.cases.json are found. Cases that come out as stated are \
            not printed. With --coverage each rule is counted, and a forbid without a test that it denies and one that it \
            lets pass is listed. Exit code 1 if a case fails.

            Example: ostiary policy test deploy/policies --coverage
            """
    )

    @Argument(help: "Policies in Cedar syntax, facts.json, *.cases.json, or folders of them.")
    var files: [String]
    @Option(
        parsing: .upToNextOption,
        help: "Other files of cases, instead of those beside the policies."
    )
    var cases: [String] = []
    @Option(help: "A schema, for the groups that actions are in; entities of a case come first.")
    var schema: String?
    @Flag(help: "Count what each rule did.")
    var coverage = false
    @Option(help: "How results are printed: text or json.")
    var output = TextForm.text

    /// One case that came out otherwise, and where it stands.
    private struct Failure {
        let file: String
        let failure: PolicyCases.Failure
    }

    func run() async throws {
        try await tellingFailures {
            let found = try ReleaseFiles(files)
            let release = try found.release()
            let tests = cases.isEmpty ? found.cases : cases.map(InputFile.init(path:))
            guard !tests.isEmpty else {
                throw InputFile.Failure(
                    description: "no cases beside the policies: name them with --cases"
                )
            }
            let actions = try schema.map { try InputFile(path: $0).actions() } ?? []
            var coverage = Coverage(of: release)
            var failures: [Failure] = []
            var count = 0
            for file in tests {
                let document = try file.policyCases()
                let layer: OutcomeLayer
                do {
                    layer = OutcomeLayer(
                        release: release,
                        entities: try EntitySnapshot(entities: document.entities.adding(actions))
                    )
                } catch { throw InputFile.Failure(description: "\(file.name): \(error)") }
                count += document.cases.count
                failures += document.run(on: layer, coverage: &coverage).map {
                    Failure(file: file.name, failure: $0)
                }
            }
            show(failures, count, coverage)
            Console.words("\(count - failures.count) of \(count) cases come out as stated")
            if !failures.isEmpty { throw ExitCode.failure }
        }
    }

    private func show(_ failures: [Failure], _ count: Int, _ coverage: Coverage) {
        let untested = self.coverage ? coverage.untestedForbids : []
        guard output == .text else {
            Console.data(
                json: JSONFragment(object: { writer in
                    writer.member("cases", count)
                    writer.member("failed", failures.count)
                    writer.array("failures") { writer in
                        for row in failures {
                            writer.object { writer in
                                writer.member("file", row.file)
                                writer.member("case", row.failure.name)
                                writer.member("decision", DecisionSummary(row.failure.decision))
                                writer.array("differences") { writer in
                                    for difference in row.failure.differences {
                                        writer.value(difference)
                                    }
                                }
                            }
                        }
                    }
                    if self.coverage {
                        writer.member("coverage", coverage)
                        writer.array("findings") { writer in
                            for finding in untested { writer.value(Self.line(finding)) }
                        }
                    }
                })
            )
            return
        }
        for row in failures {
            Console.data("\(row.file): \(row.failure.name)")
            for difference in row.failure.differences { Console.data("    \(difference)") }
        }
        guard self.coverage else { return }
        if !failures.isEmpty { Console.data("") }
        coverage.show()
        for finding in untested {
            Self.line(finding).lines.forEach(Console.data)
        }
    }

    private static func line(_ finding: PolicyLint.Finding) -> PolicyFile.Finding {
        PolicyFile.Finding(
            file: finding.document.string,
            line: finding.line,
            column: finding.column,
            severity: finding.severity.rawValue,
            code: finding.code.string,
            policy: finding.policy,
            message: "\(finding.policy): \(finding.message)"
        )
    }
}

extension Coverage {
    /// Prints a row for each rule.
    func show() {
        Console.table(
            [["policy", "effect", "scope", "true", "false", "error", "determining"]]
                + rules.map { rule in
                    [rule.policy.string, rule.permits ? "permit" : "forbid"]
                        + [
                            rule.scopeMatched, rule.conditionTrue, rule.conditionFalse, rule.errors,
                            rule.determining,
                        ].map { "\($0)" }
                }
        )
        if !neverMatched.isEmpty {
            Console.data("never in scope: " + neverMatched.map(\.string).joined(separator: ", "))
        }
        let others = neverDetermining.filter { !neverMatched.contains($0) }
        if !others.isEmpty {
            Console.data(
                "in scope, but no answer rests on it: "
                    + others.map(\.string).joined(separator: ", ")
            )
        }
    }
}
