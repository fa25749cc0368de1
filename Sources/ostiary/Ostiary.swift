import ArgumentParser

/// The command line: `ostiary <noun> <verb>`.
///
/// Exit codes: 0 done, 1 refused or failed, 2 verification failed, 64 usage.
@main
struct Ostiary: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ostiary",
        abstract: "The command line of Ostiary, the door to a team's MCP servers.",
        discussion: """
            Data goes to standard output, words to standard error. Exit codes: 0 done, 1 refused or failed, \
            2 verification failed, 64 usage.
            """,
        subcommands: [PolicyCommand.self]
    )
}

/// The noun `policy` with its verbs.
struct PolicyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy",
        abstract: "Work on Cedar policies, and on the releases of a server.",
        subcommands: [
            CheckCommand.self, FormatCommand.self, QuickCommand.self, TestCommand.self,
            ExplainCommand.self,
            SimulateCommand.self, DiffCommand.self, ConformanceCommand.self, ReleasesCommand.self,
            ReviewCommand.self, ActivateCommand.self, RollbackCommand.self,
        ]
    )
}

/// How a command prints its data.
enum OutputForm: String, ExpressibleByArgument, CaseIterable {
    case table, json
}

/// How a command prints data that reads as text.
enum TextForm: String, ExpressibleByArgument, CaseIterable {
    case text, json
}
