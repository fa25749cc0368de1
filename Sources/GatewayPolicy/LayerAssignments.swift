public import JSON

/// Which files of a folder are of which layer: the file `layers.json` beside them.
///
/// ```json
/// {"layers": [{"rank": "organisation", "name": "acme", "documents": ["baseline.cedar"]},
///             {"rank": "team", "name": "web", "owned": ["MCP::Server::\"web\""], "documents": ["web.cedar"]}]}
/// ```
///
/// A file that is not named is the namespace's own. Only files are read this way; over REST each document names its layer.
public struct LayerAssignments: Sendable {
    /// The name of the file.
    public static let fileName: Text = "layers.json"
    /// The most layers, and the most documents of one.
    public static let countMax = 256

    /// Why the file assigns nothing.
    public struct ReadingError: Error, Hashable, Sendable, CustomStringConvertible {
        /// The line, from 1.
        public let line: Int
        /// The column in Unicode scalars, from 1.
        public let column: Int
        /// What is wrong there.
        public let reason: String

        /// Place and reason.
        public var description: String { "\(line):\(column): \(reason)" }

        fileprivate init(_ pointer: String, _ reason: String, in source: Text) {
            let place = JSONPlace(pointer, in: source).start
            (line, column) = (place.line, place.column)
            self.reason = reason
        }
    }

    /// A file that is of a layer.
    public struct Assignment: Hashable, Sendable {
        /// The file's name, without its folder.
        public let document: Text
        /// Whose it is.
        public let layer: PolicyLayer
        /// Where the file is named.
        public let place: DocumentPosition
    }

    /// The files, in the order of the text; each once.
    public let assignments: [Assignment]

    /// Reads the file.
    ///
    /// - Throws: ``ReadingError`` with the first thing that is wrong: what is not known is refused, not ignored.
    public init(parsing source: Text) throws(ReadingError) {
        func error(_ pointer: String, _ reason: String) -> ReadingError {
            ReadingError(pointer, reason, in: source)
        }
        let root: JSONValue
        do throws(JSONError) {
            root = try JSONDocument(parsing: Array(source.utf8)).root
        } catch {
            throw ReadingError("", "not JSON: \(error)", in: source)
        }
        guard root.kind == .object else { throw error("", "must be an object") }
        for (key, _) in root.members where !key.equals("layers") {
            throw error("/\(key.text)", "no such member")
        }
        guard let layers = root["layers"], layers.kind == .array, layers.count <= Self.countMax
        else { throw error("/layers", "layers must be a list of at most \(Self.countMax)") }
        let places = DocumentPlaces([.init(name: Self.fileName, source: source)])
        var assignments: [Assignment] = []
        var seen: Set<Text> = []
        for (index, value) in layers.elements.enumerated() {
            let at = "/layers/\(index)"
            let layer: PolicyLayer
            do throws(PolicyLayer.ReadingError) {
                layer = try PolicyLayer(value, beside: ["documents"])
            } catch let wrong {
                let member = wrong.pointer.dropFirst()
                throw error(
                    at + wrong.pointer,
                    member.isEmpty ? wrong.reason : "\(member): \(wrong.reason)"
                )
            }
            guard let names = value["documents"], names.kind == .array,
                names.count <= Self.countMax
            else {
                throw error(
                    at + "/documents",
                    "documents must be a list of at most \(Self.countMax) names of files"
                )
            }
            for (position, value) in names.elements.enumerated() {
                let place = "\(at)/documents/\(position)"
                guard let name = value.string, Self.isFileName(name) else {
                    throw error(place, "must be the name of a file in this folder")
                }
                guard seen.insert(name).inserted else {
                    throw error(place, "\(name) is named twice")
                }
                assignments.append(
                    Assignment(
                        document: name,
                        layer: layer,
                        place: places.position(of: value.sourceRange.lowerBound)
                    )
                )
            }
        }
        self.assignments = assignments
    }

    private static func isFileName(_ name: Text) -> Bool {
        !name.isEmpty && name != "." && name != ".." && !name.utf8.contains(UInt8(ascii: "/"))
            && !name.utf8.contains(0)
    }
}
