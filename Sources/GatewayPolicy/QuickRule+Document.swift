public import JSON

// Rules as documents that people write and keep.

extension QuickRule {
    /// Why a document of rules is not read, and where.
    public struct DocumentError: Error, Hashable, Sendable, CustomStringConvertible {
        /// The line, from 1.
        public let line: Int
        /// The column in Unicode scalars, from 1.
        public let column: Int
        /// What is wrong there.
        public let reason: String

        /// Place and reason.
        public var description: String { "\(line):\(column): \(reason)" }
    }

    /// Reads the rules of a document `*.rules.yaml`: a plain part of YAML, or JSON (docs/reference/quick-rules.md).
    ///
    /// - Throws: ``DocumentError`` with the first thing that is wrong; what is not known is refused, not ignored.
    public static func read(document source: Text) throws(DocumentError) -> [QuickRule] {
        let root: PlainYAML.Node
        do throws(PlainYAML.Failure) {
            root = try PlainYAML.read(source)
        } catch {
            throw DocumentError(line: error.line, column: error.column, reason: error.reason)
        }
        do {
            return try read(JSONDocument(parsing: JSONFragment(root).bytes).root)
        } catch let error as ReadingError {
            let place = root.place(of: error.pointer)
            let name = error.pointer.split(separator: "/").last { Int($0) == nil }
            throw DocumentError(
                line: place.line,
                column: place.column,
                reason: name.map { "\($0): \(error.reason)" } ?? error.reason
            )
        } catch {
            throw DocumentError(line: 1, column: 1, reason: "\(error)")
        }
    }
}

extension QuickRule {
    /// The policies of a document of rules, as the document that stands beside it: `x.rules.cedar` of `x.rules.yaml`.
    public static func policies(
        of document: PolicyRelease.Document
    ) throws(DocumentError) -> PolicyRelease.Document {
        PolicyRelease.Document(
            name: companion(of: document.name),
            source: cedarText(try read(document: document.source)),
            layer: document.layer
        )
    }

    static func companion(of name: Text) -> Text {
        Text(String(decoding: name.utf8.dropLast(5), as: UTF8.self) + ".cedar")
    }
}
