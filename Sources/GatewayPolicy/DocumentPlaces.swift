import JSON

/// A place in a document.
public struct DocumentPosition: Hashable, Sendable {
    /// The line, from 1.
    public var line: Int
    /// The column in Unicode scalars, from 1.
    public var column: Int
}

/// Finds the document, line and column of a byte of all documents together.
///
/// Findings come in any order and by the thousand, and a walk from the beginning for each would be quadratic: marks are set
/// once, and a place is found from the mark before it.
struct DocumentPlaces {
    private let documents: [PolicyRelease.Document]
    /// Where each document begins; a line feed joins two.
    private var starts: [Int] = []
    /// The position of every byte of each document that ``markBytes`` divides.
    private var marks: [[DocumentPosition]] = []

    private static let markBytes = 256

    init(_ documents: [PolicyRelease.Document]) {
        self.documents = documents
        var start = 0
        for document in documents {
            starts.append(start)
            start += document.source.byteCount + 1
            var position = DocumentPosition(line: 1, column: 1)
            var its = [position]
            for (offset, byte) in document.source.utf8.enumerated() {
                position.step(over: byte)
                if (offset + 1) % Self.markBytes == 0 { its.append(position) }
            }
            marks.append(its)
        }
    }

    /// The place of a byte; behind the last one, the end.
    func place(of byte: Int) -> (document: PolicyRelease.Document, line: Int, column: Int) {
        precondition(!documents.isEmpty, "a policy stands in a document")
        var (low, high) = (0, starts.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= byte { low = middle } else { high = middle }
        }
        let target = max(byte - starts[low], 0)
        let mark = min(target / Self.markBytes, marks[low].count - 1)
        var position = marks[low][mark]
        let offset = mark * Self.markBytes
        for byte in documents[low].source.utf8.dropFirst(offset).prefix(target - offset) {
            position.step(over: byte)
        }
        return (documents[low], position.line, position.column)
    }

    /// Line and column of a byte.
    func position(of byte: Int) -> DocumentPosition {
        let (_, line, column) = place(of: byte)
        return DocumentPosition(line: line, column: column)
    }
}

extension DocumentPosition {
    /// Columns count scalars: the bytes that go on in one are no step.
    fileprivate mutating func step(over byte: UInt8) {
        if byte == UInt8(ascii: "\n") {
            line += 1
            column = 1
        } else if byte & 0xC0 != 0x80 {
            column += 1
        }
    }
}
