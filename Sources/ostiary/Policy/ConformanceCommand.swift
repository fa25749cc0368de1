import ArgumentParser
import JSON
import PolicyConformance

/// The command `ostiary policy conformance`.
struct ConformanceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "conformance",
        abstract: "Run the policy engine over conformance data and count what agrees.",
        discussion: """
            Reads the formats of Cedar's published tests (one JSON object per line, or one per file; gzip or plain) and \
            recognises them by their content. Exit code 0 if every check agrees, 2 if one does not or cannot be checked.

            Example: ostiary policy conformance corpus.ndjson.gz edge-cases.json
            """
    )

    @Argument(help: "Conformance data; - for standard input.")
    var files: [String]
    @Option(help: "Only the record of this name.")
    var only: String?
    @Option(help: "Every how manieth record of a file.")
    var every = 1
    @Option(help: "How many differences are shown.")
    var differences = 10
    @Option(help: "How the counts are printed: table or json.")
    var output = OutputForm.table

    func validate() throws {
        guard every > 0 else { throw ValidationError("--every must be at least 1") }
        guard differences >= 0 else { throw ValidationError("--differences must not be negative") }
    }

    func run() throws {
        var run = ConformanceRun(
            only: only.map { Text($0) },
            every: every,
            differencesMax: differences
        )
        var isReadable = true
        for file in files.map(InputFile.init(path:)) {
            do throws(InputFile.Failure) {
                let bytes = try file.read()
                do throws(ConformanceFileError) {
                    try run.run(bytes)
                } catch { throw InputFile.Failure(description: "\(file.name): \(error)") }
            } catch {
                Console.words("ostiary: \(error)")
                isReadable = false
            }
        }
        show(run.report)
        guard isReadable else { throw ExitCode.failure }
        guard run.report.agrees else { throw ExitCode.verificationFailed }
    }

    private func show(_ report: ConformanceReport) {
        let rows = ConformanceReport.Kind.allCases.compactMap { kind in
            report.tallies[kind].map { (kind.rawValue, $0) }
        }
        switch output {
        case .json: Console.data(json: Counts(rows: rows, total: report.total))
        case .table:
            let hasUnsupported = report.total.unsupported > 0
            let head =
                ["kind", "checks", "passed", "failed"] + (hasUnsupported ? ["unsupported"] : [])
            Console.table(
                [head]
                    + (rows + [("total", report.total)]).map { name, tally in
                        [name, "\(tally.checks)", "\(tally.passed)", "\(tally.failed)"]
                            + (hasUnsupported ? ["\(tally.unsupported)"] : [])
                    }
            )
        }
        for difference in report.differences {
            Console.words(
                "difference: \(difference.kind.rawValue): \(difference.record): \(difference.detail)"
            )
        }
        let hidden = report.total.failed - report.differences.count
        if hidden > 0 { Console.words("… and \(hidden) more") }
    }

    private struct Counts: JSONWritable {
        let rows: [(name: String, tally: ConformanceReport.Tally)]
        let total: ConformanceReport.Tally

        func write(to writer: inout JSONWriter) {
            writer.object { writer in
                writer.key("kinds")
                writer.array { writer in
                    for row in rows { count(row.name, row.tally, &writer) }
                }
                writer.key("total")
                count(nil, total, &writer)
            }
        }

        private func count(
            _ name: String?,
            _ tally: ConformanceReport.Tally,
            _ writer: inout JSONWriter
        ) {
            writer.object { writer in
                writer.member("kind", ifPresent: name)
                writer.member("checks", tally.checks)
                writer.member("passed", tally.passed)
                writer.member("failed", tally.failed)
                writer.member("unsupported", tally.unsupported)
            }
        }
    }
}
