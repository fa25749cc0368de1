import GatewayPolicy
import JSON

/// The `layers.json` beside files of policies, each read once.
struct LayerFiles {
    private var known: [String: [Text: PolicyLayer]] = [:]

    /// Whose a file is; the namespace's own where no `layers.json` beside it names it.
    ///
    /// - Throws: for a `layers.json` that cannot be read, or that names a file which is not there: misspelt, a document
    ///   would be held to nothing.
    mutating func layer(of file: InputFile) throws(InputFile.Failure) -> PolicyLayer {
        guard file.path != "-" else { return .namespace }
        let beside = file.sibling(Self.name)
        if known[beside.path] == nil { known[beside.path] = try Self.read(beside) }
        return known[beside.path]?[Text(String(file.lastComponent))] ?? .namespace
    }

    /// Whether this is such a file itself, which is found and needs no naming.
    static func isOne(_ file: InputFile) -> Bool { file.lastComponent == name }

    private static let name = LayerAssignments.fileName.string

    private static func read(
        _ file: InputFile
    ) throws(InputFile.Failure) -> [Text: PolicyLayer] {
        guard file.exists else { return [:] }
        func failure(_ line: Int, _ column: Int, _ reason: String) -> InputFile.Failure {
            .init(description: "\(file.name):\(line):\(column): \(reason)")
        }
        guard let text = Text(validating: try file.read()) else {
            throw InputFile.Failure(description: "\(file.name): not UTF-8")
        }
        let read: LayerAssignments
        do throws(LayerAssignments.ReadingError) {
            read = try LayerAssignments(parsing: text)
        } catch {
            throw failure(error.line, error.column, error.reason)
        }
        var layers: [Text: PolicyLayer] = [:]
        for assignment in read.assignments {
            guard file.sibling(assignment.document.string).exists else {
                throw failure(
                    assignment.place.line,
                    assignment.place.column,
                    "\(assignment.document) is not in this folder"
                )
            }
            layers[assignment.document] = assignment.layer
        }
        return layers
    }
}
