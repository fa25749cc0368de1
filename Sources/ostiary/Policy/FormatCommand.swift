import ArgumentParser
import Cedar
import Glibc
import JSON

/// The command `ostiary policy format`.
struct FormatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "format",
        abstract: "Lay policies out in one form, or turn them from text to JSON and back.",
        discussion: """
            Comments are kept; a policy with a comment inside stands as it was written. The ids of policies in text are \
            policy0, policy1, … in their order, so JSON with other ids loses those as text.

            Example: ostiary policy format --write policies.cedar
            """
    )

    @Argument(help: "Policies in Cedar syntax or JSON; - for standard input.")
    var files: [String]
    @Flag(help: "Write each file back instead of printing it.")
    var write = false
    @Flag(
        help: "Print the names of the files that are not in the form; exit code 1 if there is one."
    )
    var check = false
    @Option(help: "The form that is printed: cedar or json.")
    var output = PolicyForm.cedar

    enum PolicyForm: String, ExpressibleByArgument, CaseIterable {
        case cedar, json
    }

    func validate() throws {
        guard !(write && check) else {
            throw ValidationError("--write and --check exclude each other")
        }
        guard output == .cedar || !(write || check) else {
            throw ValidationError("--write and --check are for Cedar syntax")
        }
        guard !write || !files.contains("-") else {
            throw ValidationError("standard input cannot be written back")
        }
        guard output == .cedar || files.count == 1 else {
            throw ValidationError("one file makes one JSON document")
        }
    }

    func run() throws {
        var isFailed = false
        for file in files.map(InputFile.init(path:)) {
            do {
                isFailed = try !format(file) || isFailed
            } catch let refusal as PolicyFile.Refusal {
                for finding in refusal.findings { finding.lines.forEach(Console.words) }
                isFailed = true
            } catch let failure as InputFile.Failure {
                Console.words("ostiary: \(failure)")
                isFailed = true
            }
        }
        if isFailed { throw ExitCode.failure }
    }

    /// Whether the file is in the form, or was brought into it.
    private func format(_ file: InputFile) throws -> Bool {
        let read = try PolicyFile(file, rules: .language)
        if output == .json {
            Console.data(json: read.policies)
            return true
        }
        guard let text = read.text else {
            guard !write, !check else {
                throw InputFile.Failure(description: "\(file.name): is JSON, not Cedar syntax")
            }
            Console.data(Array(read.policies.formatted().utf8))
            return true
        }
        let formatted = try PolicySet.formatted(text: text)
        for policy in formatted.keptAsWritten {
            Console.words(
                "\(file.name): \(policy) has a comment inside and stands as it was written"
            )
        }
        if check {
            guard formatted.text.utf8.elementsEqual(text.utf8) else {
                Console.data(file.name)
                return false
            }
        } else if !write {
            Console.data(Array(formatted.text.utf8))
        } else if !formatted.text.utf8.elementsEqual(text.utf8) {
            try file.replace(with: Array(formatted.text.utf8))
        }
        return true
    }
}
