/// A JSON document from somebody we do not trust, read once, strictly (RFC 8259), within bounds.
///
/// It owns the received bytes and a flat tape of 16-byte nodes in document order; values are views on it. There
/// is no object per value and no dictionary. What two readers could understand differently is refused:
/// duplicate names (RFC 8259 §4 only advises against them, and readers disagree on which one wins), lone
/// surrogates, byte order marks, invalid UTF-8. Numbers keep their lexeme, because converting them is where
/// readers differ next.
public struct JSONDocument: Sendable {
    let storage: Storage

    /// Reads a document from bytes, which become part of it.
    ///
    /// Throws a ``JSONError`` with the position of the first offence. Retrying does not help.
    public init(parsing bytes: [UInt8], limits: JSONLimits = .default) throws(JSONError) {
        var scanner = Scanner(limits: limits, byteCount: bytes.count)
        try scanner.scan(bytes.span)
        storage = Storage(bytes: bytes, nodes: scanner.nodes)
    }

    /// Reads a document from text.
    public init(parsing text: String, limits: JSONLimits = .default) throws(JSONError) {
        try self.init(parsing: Array(text.utf8), limits: limits)
    }

    /// The outermost value.
    public var root: JSONValue { JSONValue(storage: storage, index: 0) }

    /// The bytes as they were received; for digests and archives, never for forwarding.
    public var bytes: [UInt8] { storage.bytes }

    /// Bytes and tape, shared by all values of a document, so that a value costs one reference count.
    final class Storage: Sendable {
        let bytes: [UInt8]
        let nodes: [Node]

        init(bytes: [UInt8], nodes: [Node]) {
            self.bytes = bytes
            self.nodes = nodes
        }
    }
}

/// One value or member name on the tape.
///
/// An object is followed by name, value, name, value…; an array by its elements. `next` leads past everything
/// inside, so that skipping a value is one step.
struct Node: Sendable {
    /// The position of the first byte; of the opening quote in a string.
    var start: UInt32
    /// The position after the last byte.
    var end: UInt32
    /// The index of the node after this value; while a container is open, the index of its parent.
    var next: UInt32
    /// Members or elements (26 bits; 1 for `true`), two flags, kind (4 bits).
    var header: UInt32

    static let countMax = 1 << 26 - 1
    static let countUnit: UInt32 = 1 << 6
    static let noParent = UInt32.max

    /// The string contains escapes.
    static let escaped: UInt32 = 1 << 4
    /// The source is not what the writer would write: it has blanks or needless escapes inside.
    static let reworded: UInt32 = 1 << 5

    var kind: JSONValue.Kind { JSONValue.Kind(rawValue: UInt8(header & 0xF)) ?? .null }
    var count: Int { Int(header >> 6) }
    var isEscaped: Bool { header & Node.escaped != 0 }
    var isReworded: Bool { header & Node.reworded != 0 }
    var range: Range<Int> { Int(start)..<Int(end) }
    /// What is between the quotes of a string.
    var content: Range<Int> { Int(start) + 1..<Int(end) - 1 }
}
