import ArgumentParser
import Cedar
import GatewayPolicy
import JSON

/// The command `ostiary policy check`.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "List everything that is wrong with policies, with file, line and column.",
        discussion: """
            Reads Cedar text or the JSON form. Also refused is what the language allows and a reviewer would misread: \
            bidirectional controls, bare carriage returns, mixed scripts, two policies with one @id. Nothing is \
            printed where nothing is wrong. Where a layers.json beside a file says whose it is, its policies are held to that \
            layer. Exit code 0 if there is no error, 1 if there is one.

            Example: ostiary policy check policies.cedar --schema mcp.cedarschema
            """
    )

    @Argument(help: "Policies in Cedar syntax or JSON; - for standard input.")
    var files: [String]
    @Option(help: "The schema to check against, in Cedar syntax or JSON.")
    var schema: String?
    @Option(help: "How long a chain of entities policies may follow; any length if not given.")
    var level: Int?
    @Option(help: "How findings are printed: text or json.")
    var output = FindingForm.text

    enum FindingForm: String, ExpressibleByArgument, CaseIterable {
        case text, json
    }

    func run() throws {
        var findings: [PolicyFile.Finding] = []
        let schema = try read(&findings)
        var layers = LayerFiles()
        for file in files.map(InputFile.init(path:)) {
            do {
                let layer = try layers.layer(of: file)
                let read = try PolicyFile(file, rules: .publishing)
                if let text = read.text { findings += Self.hold(text, to: layer, in: file) }
                if let schema { findings += validate(read.policies, schema, in: file) }
            } catch let refusal as PolicyFile.Refusal {
                findings += refusal.findings
            } catch let failure as InputFile.Failure {
                Console.words("ostiary: \(failure)")
                throw ExitCode.failure
            }
        }
        switch output {
        case .json: Console.data(json: List(findings: findings))
        case .text: for finding in findings { finding.lines.forEach(Console.data) }
        }
        if findings.contains(where: { $0.severity == "error" }) { throw ExitCode.failure }
    }

    /// Policies that their layer may not contain.
    private static func hold(
        _ text: String,
        to layer: PolicyLayer,
        in file: InputFile
    ) -> [PolicyFile.Finding] {
        do throws(PolicyRelease.Failure) {
            let name = Text(String(file.lastComponent))
            _ = try PolicyRelease(
                number: 0,
                documents: [.init(name: name, source: Text(text), layer: layer)]
            )
            return []
        } catch {
            // What is wrong with the release as a whole is not this command's matter.
            return error.findings.filter { $0.code == "layer_exceeded" }.map { finding in
                PolicyFile.Finding(
                    file: file.name,
                    line: finding.line,
                    column: finding.column,
                    severity: "error",
                    code: finding.code.string,
                    policy: finding.policy,
                    message: finding.detail,
                    hint: finding.hint
                )
            }
        }
    }

    private func validate(
        _ policies: PolicySet,
        _ schema: Schema,
        in file: InputFile
    ) -> [PolicyFile.Finding] {
        Validator(schema, levelMax: level).validate(policies).findings.map { finding in
            PolicyFile.Finding(
                file: file.name,
                line: finding.line,
                column: finding.column,
                severity: finding.severity.rawValue,
                code: finding.code.rawValue,
                policy: finding.policy?.text,
                message: finding.message,
                hint: finding.hint
            )
        }
    }

    /// The schema, if one was named and can be read.
    private func read(_ findings: inout [PolicyFile.Finding]) throws -> Schema? {
        guard let schema else { return nil }
        let file = InputFile(path: schema)
        do {
            let bytes = try file.read()
            if PolicyFile.isJSON(bytes) {
                return try Schema(
                    json: try PolicyFile.document(bytes, of: file),
                    rules: .publishing
                )
            }
            guard let text = Text(validating: bytes) else {
                findings.append(PolicyFile.notUTF8(file, bytes))
                return nil
            }
            return try Schema(parsing: text.string, rules: .publishing)
        } catch let failure as SchemaFailure {
            findings += failure.diagnostics.map { diagnostic in
                PolicyFile.Finding(
                    file: file.name,
                    line: diagnostic.line,
                    column: diagnostic.column,
                    severity: "error",
                    code: diagnostic.code.rawValue,
                    message: diagnostic.message,
                    hint: diagnostic.suggestion.map { "did you mean `\($0)`?" }
                )
            }
        } catch let refusal as PolicyFile.Refusal {
            findings += refusal.findings
        } catch let failure as InputFile.Failure {
            Console.words("ostiary: \(failure)")
            throw ExitCode.failure
        }
        return nil
    }

    private struct List: JSONWritable {
        let findings: [PolicyFile.Finding]

        func write(to writer: inout JSONWriter) {
            writer.object { writer in
                writer.key("findings")
                writer.array { writer in findings.forEach { writer.value($0) } }
            }
        }
    }
}

extension SchemaDiagnostic {
    /// The code in words, and the name that it is about.
    fileprivate var message: String {
        let words = String(code.rawValue.map { $0 == "_" ? " " : $0 })
        return name.map { "\(words): `\($0)`" } ?? words
    }
}
