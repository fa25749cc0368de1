/// A view on one value of a document: a reference to the document and a position on its tape.
///
/// Questions of the wrong kind have an empty answer, not an error: `value["name"]?.string` is nil when the value
/// is no object, has no such member, or the member is no string.
public struct JSONValue: Sendable {
    /// What a value is.
    public enum Kind: UInt8, Hashable, Sendable {
        /// `null`.
        case null
        /// `true` or `false`.
        case boolean
        /// A number, known by its lexeme.
        case number
        /// A string.
        case string
        /// An array.
        case array
        /// An object.
        case object
    }

    let storage: JSONDocument.Storage
    let index: Int

    var node: Node { storage.nodes[index] }

    /// What this value is.
    public var kind: Kind { node.kind }

    /// Whether this is `null`.
    public var isNull: Bool { kind == .null }

    /// The truth value, if this is one.
    public var boolean: Bool? {
        let node = node
        return node.kind == .boolean ? node.count == 1 : nil
    }

    /// Where the value stands in the received bytes, quotes and brackets included.
    public var sourceRange: Range<Int> { node.range }

    // MARK: Strings

    /// The string as a view that decodes nothing yet.
    public var jsonString: JSONString? {
        kind == .string ? JSONString(storage: storage, index: index) : nil
    }

    /// The string, unescaped.
    public var string: Text? { jsonString?.text }

    /// Whether this is a string with exactly these bytes; allocates nothing.
    public func stringEquals(_ text: StaticString) -> Bool {
        jsonString?.equals(text) ?? false
    }

    // MARK: Containers

    /// The number of members or elements; 0 for a scalar.
    public var count: Int {
        let node = node
        return node.kind == .object || node.kind == .array ? node.count : 0
    }

    /// The members in document order; none if this is no object.
    public var members: JSONMembers { JSONMembers(of: self) }

    /// The elements in order; none if this is no array.
    public var elements: JSONElements { JSONElements(of: self) }

    /// The member with this name, compared byte for byte after unescaping.
    ///
    /// Allocates nothing. A lookup walks the names; ask once, not in a loop over a large object.
    public subscript(_ key: StaticString) -> JSONValue? {
        key.withUTF8Buffer { member(named: $0.span) }
    }

    /// The member with this name, compared byte for byte after unescaping.
    public func member(named key: Text) -> JSONValue? {
        member(named: key.string.utf8Span.span)
    }

    /// The member with this name, compared byte for byte after unescaping.
    public func member(named key: some Collection<UInt8>) -> JSONValue? {
        if let found = key.withContiguousStorageIfAvailable({ member(named: $0.span) }) {
            return found
        }
        return member(named: Array(key).span)
    }

    func member(named key: Span<UInt8>) -> JSONValue? {
        let object = node
        guard object.kind == .object else { return nil }
        let source = storage.bytes
        var name = index + 1
        for _ in 0..<object.count {
            if namesEqual(storage.nodes[name], source.span, key) {
                return JSONValue(storage: storage, index: name + 1)
            }
            name = Int(storage.nodes[name + 1].next)
        }
        return nil
    }
}

/// A string of a document, or the name of a member, not yet decoded.
public struct JSONString: Sendable {
    let storage: JSONDocument.Storage
    let index: Int

    private var node: Node { storage.nodes[index] }

    /// The string, unescaped.
    public var text: Text {
        let node = node
        guard !node.isEscaped else { return Text(String(decoding: utf8Bytes, as: UTF8.self)) }
        return Text(String(decoding: storage.bytes[node.content], as: UTF8.self))
    }

    /// The UTF-8 of the unescaped string.
    public var utf8Bytes: [UInt8] {
        let node = node
        guard node.isEscaped else { return Array(storage.bytes[node.content]) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(node.content.count)
        let source = storage.bytes
        appendUnescaped(source.span, node.content, to: &bytes)
        return bytes
    }

    /// Lends the UTF-8 of the unescaped string; copies it only if there is something to unescape.
    public func withUTF8<R>(_ body: (Span<UInt8>) -> R) -> R {
        let node = node
        guard !node.isEscaped else { return body(utf8Bytes.span) }
        let source = storage.bytes
        return body(source.span.extracting(node.content))
    }

    /// Where the string stands in the received bytes, quotes included.
    public var sourceRange: Range<Int> { node.range }

    /// Whether the string contains escapes in the received bytes.
    public var isEscaped: Bool { node.isEscaped }

    /// Whether the unescaped string has exactly these bytes; allocates nothing.
    public func equals(_ text: StaticString) -> Bool {
        let source = storage.bytes
        return text.withUTF8Buffer { namesEqual(node, source.span, $0.span) }
    }

    /// Whether the unescaped string has exactly the bytes of this text; allocates nothing.
    @_disfavoredOverload  // A literal is a StaticString.
    public func equals(_ text: Text) -> Bool {
        let source = storage.bytes
        return namesEqual(node, source.span, text.string.utf8Span.span)
    }

    /// Whether the unescaped string starts with these bytes.
    public func hasPrefix(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { prefix in
            guard !node.isEscaped else { return utf8Bytes.starts(with: prefix) }
            guard node.content.count >= prefix.count else { return false }
            let source = storage.bytes
            let start = node.content.lowerBound
            return bytesEqual(source.span, start, prefix.span, 0, count: prefix.count)
        }
    }
}

/// The members of an object in document order.
public struct JSONMembers: Sequence, Sendable {
    private let object: JSONValue
    /// The number of members.
    public let count: Int

    init(of value: JSONValue) {
        object = value
        count = value.kind == .object ? value.count : 0
    }

    /// Whether there is no member.
    public var isEmpty: Bool { count == 0 }

    /// The number of members, which is known.
    public var underestimatedCount: Int { count }

    /// Starts at the first member.
    public func makeIterator() -> Iterator {
        Iterator(storage: object.storage, name: object.index + 1, remaining: count)
    }

    /// Walks the tape from name to name.
    public struct Iterator: IteratorProtocol {
        let storage: JSONDocument.Storage
        var name: Int
        var remaining: Int

        /// The next name and value.
        public mutating func next() -> (key: JSONString, value: JSONValue)? {
            guard remaining > 0 else { return nil }
            remaining -= 1
            let key = JSONString(storage: storage, index: name)
            let value = JSONValue(storage: storage, index: name + 1)
            name = Int(storage.nodes[name + 1].next)
            return (key, value)
        }
    }
}

/// The elements of an array in order.
public struct JSONElements: Sequence, Sendable {
    private let array: JSONValue
    /// The number of elements.
    public let count: Int

    init(of value: JSONValue) {
        array = value
        count = value.kind == .array ? value.count : 0
    }

    /// Whether there is no element.
    public var isEmpty: Bool { count == 0 }

    /// The number of elements, which is known.
    public var underestimatedCount: Int { count }

    /// Starts at the first element.
    public func makeIterator() -> Iterator {
        Iterator(storage: array.storage, index: array.index + 1, remaining: count)
    }

    /// Walks the tape from element to element.
    public struct Iterator: IteratorProtocol {
        let storage: JSONDocument.Storage
        var index: Int
        var remaining: Int

        /// The next element.
        public mutating func next() -> JSONValue? {
            guard remaining > 0 else { return nil }
            remaining -= 1
            let value = JSONValue(storage: storage, index: index)
            index = Int(storage.nodes[index].next)
            return value
        }
    }
}
