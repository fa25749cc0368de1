import ArgumentParser
import Cedar
import GatewayPolicy
import JSON

/// The command `ostiary policy explain`.
struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract:
            "Say why a call is answered as it is, policy by policy and condition by condition.",
        discussion: """
            The call is a case of a test, by its description, or recorded inputs with the entities they are about. Printed is \
            what is answered; what would be answered if the cures had worked; and what each policy did, with the part of \
            its condition that decided. Values that conditions read are shown.

            Example: ostiary policy explain deploy/policies --case "without the runbook it stops"
            """
    )

    @Argument(help: "Policies in Cedar syntax, facts.json, or folders of them.")
    var files: [String]
    @Option(name: .customLong("case"), help: "The description of a case.")
    var caseName: String?
    @Option(parsing: .upToNextOption, help: "Files of cases, instead of those beside the policies.")
    var cases: [String] = []
    @Option(help: "Decision inputs, one JSON object a line; - for standard input.")
    var inputs: String?
    @Option(help: "Only the input with this reference.")
    var reference: String?
    @Option(help: "The entities of the inputs, in Cedar's JSON form.")
    var entities: String?
    @Option(help: "A schema, for the groups that actions are in.")
    var schema: String?
    @Option(help: "How explanations are printed: text or json.")
    var output = TextForm.text

    func validate() throws {
        guard (caseName == nil) != (inputs == nil) else {
            throw ValidationError("name either --case or --inputs")
        }
        guard (inputs == nil) == (entities == nil) else {
            throw ValidationError("--inputs and --entities go together")
        }
    }

    func run() async throws {
        try await tellingFailures {
            let found = try ReleaseFiles(files)
            let release = try found.release()
            let actions = try schema.map { try InputFile(path: $0).actions() } ?? []
            let explanations =
                if let caseName {
                    try explain(Text(caseName), found, release, actions)
                } else {
                    try explainInputs(release, actions)
                }
            switch output {
            case .json:
                // One a line, like the inputs.
                for explanation in explanations { Console.data(json: explanation) }
            case .text:
                Console.data(explanations.map(\.description).joined(separator: "\n\n\n"))
            }
        }
    }

    private func explain(
        _ name: Text,
        _ found: ReleaseFiles,
        _ release: PolicyRelease,
        _ actions: [Entity]
    ) throws -> [Explanation] {
        var explanations: [Explanation] = []
        var names: [Text] = []
        for file in cases.isEmpty ? found.cases : cases.map(InputFile.init(path:)) {
            let document = try file.policyCases()
            names += document.cases.map(\.name)
            let rows = document.cases.filter { $0.name == name }
            guard !rows.isEmpty else { continue }
            let point = try point(release, document.entities.adding(actions), file)
            let explainer = Explainer(point)
            explanations += rows.map(explainer.explain)
        }
        guard !explanations.isEmpty else {
            let known = names.map { "\n  \($0)" }.joined()
            throw InputFile.Failure(
                description: "no case is called \(name.string)"
                    + (names.isEmpty ? "; there are no cases" : ", but these are there:\(known)")
            )
        }
        return explanations
    }

    private func explainInputs(
        _ release: PolicyRelease,
        _ actions: [Entity]
    ) throws -> [Explanation] {
        guard let inputs, let entities else { return [] }
        let file = InputFile(path: entities)
        let listed = MCPEntities.completing(
            try file.entities().adding(actions),
            for: release.facts
        )
        let explainer = Explainer(try point(release, listed, file))
        let source = InputFile(path: inputs)
        var explanations: [Explanation] = []
        let lines = try source.read().split(separator: 0x0A, omittingEmptySubsequences: false)
        for (number, line) in lines.enumerated() where !line.isEmpty {
            do throws(DecisionInput.ReadingError) {
                let input = try DecisionInput(parsing: Array(line))
                if let reference, input.reference != Text(reference) { continue }
                explanations.append(explainer.explain(input))
            } catch {
                throw InputFile.Failure(description: "\(source.name):\(number + 1): \(error)")
            }
        }
        guard !explanations.isEmpty else {
            throw InputFile.Failure(
                description: "\(source.name): "
                    + (reference.map { "no input has the reference \($0)" } ?? "no inputs")
            )
        }
        return explanations
    }

    private func point(
        _ release: PolicyRelease,
        _ entities: [Entity],
        _ file: InputFile
    ) throws(InputFile.Failure) -> PolicyDecisionPoint {
        do {
            return try PolicyDecisionPoint(release: release, entities: entities)
        } catch { throw InputFile.Failure(description: "\(file.name): \(error)") }
    }
}
