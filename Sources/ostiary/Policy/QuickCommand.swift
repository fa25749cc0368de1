import ArgumentParser
import GatewayPolicy
import JSON

/// The command `ostiary policy quick`.
struct QuickCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quick",
        abstract: "Print the Cedar text of quick rules.",
        discussion: """
            Reads rules in a plain part of YAML, or in JSON (docs/reference/quick-rules.md), and prints the policies that \
            they are. The text is what is published, reviewed and changed; rules that say more than a form can are edited \
            there. Nothing is printed where something is wrong; what is wrong is told with line and column, and the exit \
            code is 1.

            Example: ostiary policy quick deploy/policies/example.rules.yaml
            """
    )

    @Argument(help: "Rules in YAML or JSON; - for standard input.")
    var file: String

    func run() throws {
        let input = InputFile(path: file)
        do {
            guard let source = Text(validating: try input.read()) else {
                throw InputFile.Failure(description: "\(input.name): not UTF-8")
            }
            let rules = try QuickRule.read(document: source)
            Console.data(Array(QuickRule.cedarText(rules).utf8))
        } catch let error as QuickRule.DocumentError {
            Console.words("\(input.name):\(error.line):\(error.column): error: \(error.reason)")
            throw ExitCode.failure
        } catch let failure as InputFile.Failure {
            Console.words("ostiary: \(failure)")
            throw ExitCode.failure
        }
    }
}
