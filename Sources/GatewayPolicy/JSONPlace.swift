import JSON

/// Where something stands in a JSON document of a release.
struct JSONPlace {
    let start: DocumentPosition
    /// After its last byte; nothing where the document cannot be read.
    let end: DocumentPosition?

    /// Finds what an RFC 6901 pointer leads to, or the last thing on the way that exists.
    ///
    /// In a document that is no JSON, the byte at which reading stopped.
    init(_ pointer: String, in source: Text) {
        let places = DocumentPlaces([PolicyRelease.Document(name: "", source: source)])
        do throws(JSONError) {
            let root = try JSONDocument(parsing: Array(source.utf8)).root
            var range = root.sourceRange
            var value = root
            for step in pointer.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
            {
                let name = Text(
                    step.split(separator: "~", omittingEmptySubsequences: false).enumerated()
                        .map { index, part in
                            guard index > 0, let code = part.first else { return String(part) }
                            return (code == "1" ? "/" : "~") + part.dropFirst()
                        }.joined()
                )
                var next: JSONValue?
                if value.kind == .array, let position = Int(name.string) {
                    next = value.elements.dropFirst(position).first { _ in true }
                } else if value.kind == .object {
                    next = value.members.first { $0.key.equals(name) }?.value
                }
                guard let next else { break }
                (value, range) = (next, next.sourceRange)
            }
            start = places.position(of: range.lowerBound)
            end = places.position(of: range.upperBound)
        } catch {
            start = places.position(of: error.offset)
            end = nil
        }
    }
}
