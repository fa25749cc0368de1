import ArgumentParser
import Cedar
import GatewayPolicy
import JSON

/// The command `ostiary policy simulate`.
struct SimulateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Ask recorded decisions again under other policies, and count what changes.",
        discussion: """
            Every input is decided by the policies that are named, and compared with what was recorded, or with what the \
            policies of --against say. Printed are the answers that change, grouped by the policies that determine them, \
            with examples. A line that cannot be read is told, counted, and makes the exit code 1.

            With --release a server asks the calls that it has on record, under that release and the one in force, or \
            the release that --against names. \(ServerOptions.discussion)

            Example: ostiary policy simulate deploy/policies --inputs deploy/policies/example/inputs.ndjson \
            --entities deploy/policies/example/entities.json

            Example: ostiary policy simulate --release 7 --from 2026-11-01T00:00:00Z
            """
    )

    @Argument(help: "The policies to try, in Cedar syntax, with facts.json, or folders of them.")
    var files: [String] = []
    @OptionGroup var replay: ReplayOptions
    @Option(
        parsing: .upToNextOption,
        help:
            "The policies to compare with, what was recorded if not given; with --release a number."
    )
    var against: [String] = []
    @OptionGroup var server: ServerSimulationOptions
    @Flag(help: "Count what each rule of the tried policies did.")
    var coverage = false
    @Option(help: "How the report is printed: text or json.")
    var output = TextForm.text

    func validate() throws {
        guard server.release == nil else {
            guard files.isEmpty, replay.inputs == nil, replay.entities == nil, !coverage else {
                throw ValidationError(
                    "--release asks a server: no files, no --inputs, no --coverage"
                )
            }
            guard against.count <= 1, against.allSatisfy({ Int64($0) != nil }) else {
                throw ValidationError("with --release, --against is the number of a release")
            }
            return
        }
        guard !files.isEmpty else { throw ValidationError("name policies, or a --release") }
        guard replay.inputs != nil, replay.entities != nil else {
            throw ValidationError("--inputs and --entities are needed")
        }
    }

    func run() async throws {
        if let release = server.release {
            return try await ServerSimulation.run(
                release,
                against: against.first.flatMap { Int64($0) },
                server,
                output
            )
        }
        try await tellingFailures {
            let candidate = try ReleaseFiles(files).release()
            let baseline = against.isEmpty ? nil : try ReleaseFiles(against).release()
            let (simulation, isReadable) = try await replay.run(
                candidate: candidate,
                baseline: baseline,
                coverage: coverage
            )
            switch output {
            case .json: Console.data(json: simulation)
            case .text:
                simulation.diff.show()
                if let coverage = simulation.coverage {
                    Console.data("")
                    coverage.show()
                }
            }
            guard isReadable else { throw ExitCode.failure }
        }
    }
}
