import Cedar
import JSON

/// A file of policies, in Cedar syntax or in JSON.
struct PolicyFile {
    let policies: PolicySet
    /// The bytes, if they are Cedar syntax.
    let text: String?

    /// One thing that is wrong with a file, and where; the data of `policy check`.
    struct Finding: JSONWritable {
        let file: String
        let line: Int
        let column: Int
        let severity: String
        let code: String
        var policy: Text?
        let message: String
        var hint: String?

        /// As compilers write it, so that editors find the place.
        var lines: [String] {
            ["\(file):\(line):\(column): \(severity): \(message) [\(code)]"]
                + (hint.map { ["    hint: \($0)"] } ?? [])
        }

        func write(to writer: inout JSONWriter) {
            writer.object { writer in
                writer.member("file", file)
                writer.member("line", line)
                writer.member("column", column)
                writer.member("severity", severity)
                writer.member("code", code)
                writer.member("policy", ifPresent: policy)
                writer.member("message", message)
                writer.member("hint", ifPresent: hint)
            }
        }
    }

    /// A file that was refused, with everything that is wrong.
    struct Refusal: Error {
        let findings: [Finding]
    }

    /// Reads policies; a file that begins with `{` is JSON.
    init(_ file: InputFile, rules: SourceRules) throws {
        let bytes = try file.read()
        guard Self.isJSON(bytes) else {
            guard let text = Text(validating: bytes) else {
                throw Refusal(findings: [Self.notUTF8(file, bytes)])
            }
            do throws(PolicyParseFailure) {
                policies = try PolicySet.parse(text.string, rules: rules)
                self.text = text.string
            } catch { throw Refusal(findings: Self.findings(error, in: file)) }
            return
        }
        let document = try Self.document(bytes, of: file)
        do throws(PolicyParseFailure) {
            policies = try PolicySet(json: document)
            text = nil
        } catch { throw Refusal(findings: Self.findings(error, in: file)) }
    }

    static func isJSON(_ bytes: [UInt8]) -> Bool {
        bytes.first { $0 != 0x20 && !(0x09...0x0D).contains($0) } == UInt8(ascii: "{")
    }

    static func notUTF8(_ file: InputFile, _ bytes: [UInt8]) -> Finding {
        // Find the line: the longest start that is text, a line at a time.
        let lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
        let bad = lines.firstIndex { Text(validating: $0) == nil } ?? 0
        return Finding(
            file: file.name,
            line: bad + 1,
            column: 1,
            severity: "error",
            code: "invalid_utf8",
            message: "the line is not UTF-8"
        )
    }

    static func document(
        _ bytes: [UInt8],
        of file: InputFile
    ) throws(PolicyFile.Refusal) -> JSONDocument {
        do throws(JSONError) {
            return try JSONDocument(parsing: bytes, limits: JSONLimits(depthMax: 512))
        } catch {
            let (line, column) = error.position(in: bytes)
            throw Refusal(
                findings: [
                    Finding(
                        file: file.name,
                        line: line,
                        column: column,
                        severity: "error",
                        code: "invalid_json",
                        message: "the JSON reader refuses this: \(error.code.rawValue)"
                    )
                ]
            )
        }
    }

    private static func findings(_ failure: PolicyParseFailure, in file: InputFile) -> [Finding] {
        failure.diagnostics.map { diagnostic in
            Finding(
                file: file.name,
                line: diagnostic.line,
                column: diagnostic.column,
                severity: diagnostic.severity.rawValue,
                code: diagnostic.code.rawValue,
                message: diagnostic.message,
                hint: diagnostic.hint
            )
        }
    }
}
