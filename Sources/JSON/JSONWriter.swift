/// Appends JSON to a byte array: no blanks, minimal escaping, commas where they belong.
///
/// Everything that leaves a process as JSON goes through here, forwarded messages included: what strangers sent is
/// read, then written again, so that no oddity of their bytes reaches another reader. Strings escape `"`, `\` and
/// control characters (`\b \f \n \r \t`, else `\u00xx` in small letters) and nothing else.
public struct JSONWriter: Sendable {
    /// What has been written so far.
    public private(set) var bytes: [UInt8] = []
    private var depth = 0
    private var needsComma = false

    /// Makes a writer with room for `capacity` bytes.
    public init(capacity: Int = 256) {
        bytes.reserveCapacity(capacity)
    }

    /// The complete document.
    public consuming func finish() -> [UInt8] {
        precondition(depth == 0, "an array or object is still open")
        return bytes
    }

    // MARK: Containers

    /// Writes an object whose members the closure writes.
    public mutating func object<E: Error>(
        _ members: (inout JSONWriter) throws(E) -> Void
    ) throws(E) {
        beginObject()
        try members(&self)
        endObject()
    }

    /// Writes an array whose elements the closure writes.
    public mutating func array<E: Error>(
        _ elements: (inout JSONWriter) throws(E) -> Void
    ) throws(E) {
        beginArray()
        try elements(&self)
        endArray()
    }

    /// Opens an object.
    public mutating func beginObject() { begin(UInt8(ascii: "{")) }
    /// Closes an object.
    public mutating func endObject() { end(UInt8(ascii: "}")) }
    /// Opens an array.
    public mutating func beginArray() { begin(UInt8(ascii: "[")) }
    /// Closes an array.
    public mutating func endArray() { end(UInt8(ascii: "]")) }

    private mutating func begin(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
        depth += 1
        needsComma = false
    }

    private mutating func end(_ bracket: UInt8) {
        precondition(depth > 0, "nothing is open")
        bytes.append(bracket)
        depth -= 1
        needsComma = true
    }

    /// Writes the comma that a value or name after another one needs.
    private mutating func separate() {
        if needsComma, depth > 0 { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    // MARK: Names

    /// Writes the name of the next member; it must need no escapes.
    public mutating func key(_ name: StaticString) {
        name.withUTF8Buffer { name in
            assert(endOfUnescaped(name.span, from: 0) == name.count, "a name that needs escapes")
            bytes.append(addingCapacity: name.count + 4) { out in
                if needsComma, depth > 0 { out.append(UInt8(ascii: ",")) }
                out.append(UInt8(ascii: "\""))
                out.append(name.span, 0..<name.count)
                out.append(UInt8(ascii: "\""))
                out.append(UInt8(ascii: ":"))
            }
        }
        needsComma = false
    }

    /// Writes the name of the next member.
    @_disfavoredOverload  // A literal is a StaticString.
    public mutating func key(_ name: Text) {
        separate()
        appendQuoted(name.string.utf8Span.span)
        endKey()
    }

    /// Writes the name of the next member, taken from a document.
    public mutating func key(_ name: JSONString) {
        separate()
        append(name.storage, name.storage.nodes[name.index])
        endKey()
    }

    private mutating func endKey() {
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    // MARK: Values

    /// Writes one value.
    public mutating func value(_ value: some JSONWritable) {
        value.write(to: &self)
    }

    /// Writes `null`.
    public mutating func null() {
        literal("null")
    }

    /// Writes a member.
    public mutating func member(_ name: StaticString, _ value: some JSONWritable) {
        key(name)
        value.write(to: &self)
    }

    // The types that records and messages are made of, so that no call goes through a witness table.

    /// Writes a member.
    public mutating func member(_ name: StaticString, _ value: Text) {
        key(name)
        string(value.string.utf8Span.span)
    }

    /// Writes a member.
    public mutating func member(_ name: StaticString, _ value: String) {
        key(name)
        string(value.utf8Span.span)
    }

    /// Writes a member.
    public mutating func member(_ name: StaticString, _ value: Int64) {
        key(name)
        number(value)
    }

    /// Writes a member.
    public mutating func member(_ name: StaticString, _ value: UInt64) {
        key(name)
        number(value)
    }

    /// Writes a member, or nothing if there is no value.
    public mutating func member(_ name: StaticString, ifPresent value: Text?) {
        if let value { member(name, value) }
    }

    /// Writes a member, or nothing if there is no value.
    public mutating func member(_ name: StaticString, ifPresent value: (some JSONWritable)?) {
        if let value { member(name, value) }
    }

    /// Writes a member that is an object.
    public mutating func object<E: Error>(
        _ name: StaticString,
        _ members: (inout JSONWriter) throws(E) -> Void
    ) throws(E) {
        key(name)
        try object(members)
    }

    /// Writes a member that is an array.
    public mutating func array<E: Error>(
        _ name: StaticString,
        _ elements: (inout JSONWriter) throws(E) -> Void
    ) throws(E) {
        key(name)
        try array(elements)
    }

    /// Writes a string from its UTF-8, which must be valid.
    mutating func string(_ utf8: Span<UInt8>) {
        separate()
        appendQuoted(utf8)
    }

    mutating func number(_ value: Int64) {
        separate()
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        appendDigits(value.magnitude)
    }

    mutating func number(_ value: UInt64) {
        separate()
        appendDigits(value)
    }

    private mutating func appendDigits(_ value: UInt64) {
        // From the last digit on, dividing by a constant: a multiplication for each instead of two divisions.
        var digits: InlineArray<20, UInt8> = InlineArray(repeating: 0)
        var rest = value
        var first = 20
        repeat {
            let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
            first -= 1
            digits[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: digit)
            rest = quotient
        } while rest > 0
        bytes.append(addingCapacity: 20 - first) { out in
            for at in first..<20 { out.append(digits[at]) }
        }
    }

    mutating func literal(_ text: StaticString) {
        separate()
        text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    mutating func fragment(_ fragment: [UInt8]) {
        separate()
        bytes.append(contentsOf: fragment)
    }

    mutating func copy(_ value: JSONValue) {
        separate()
        appendCopy(value.storage, value.index)
        needsComma = true
    }

    // MARK: Copying from a document

    /// Writes the value at an index of a tape: order, lexemes and text kept, blanks and needless escapes gone.
    private mutating func appendCopy(_ storage: JSONDocument.Storage, _ index: Int) {
        let node = storage.nodes[index]
        guard node.isReworded, node.kind != .string else { return append(storage, node) }
        let isObject = node.kind == .object
        bytes.append(UInt8(ascii: isObject ? "{" : "["))
        var child = index + 1
        for position in 0..<node.count {
            if position > 0 { bytes.append(UInt8(ascii: ",")) }
            if isObject {
                append(storage, storage.nodes[child])
                bytes.append(UInt8(ascii: ":"))
                child += 1
            }
            appendCopy(storage, child)
            child = Int(storage.nodes[child].next)
        }
        bytes.append(UInt8(ascii: isObject ? "}" : "]"))
    }

    /// Writes a string, or a value that the scanner found to be written exactly as this writer would.
    private mutating func append(_ storage: JSONDocument.Storage, _ node: Node) {
        let source = storage.bytes
        guard node.isReworded else { return bytes.append(source.span, node.range) }
        var unescaped: [UInt8] = []
        unescaped.reserveCapacity(node.content.count)
        appendUnescaped(source.span, node.content, to: &unescaped)
        appendQuoted(unescaped.span)
    }

    /// Writes a string with its quotes.
    mutating func appendQuoted(_ utf8: Span<UInt8>) {
        var end = endOfUnescaped(utf8, from: 0)
        // Most strings need no escapes and are written in one go.
        bytes.append(addingCapacity: end + 2) { out in
            out.append(UInt8(ascii: "\""))
            out.append(utf8, 0..<end)
            if end == utf8.count { out.append(UInt8(ascii: "\"")) }
        }
        guard end < utf8.count else { return }
        repeat {
            appendEscape(utf8[end])
            let start = end + 1
            end = endOfUnescaped(utf8, from: start)
            bytes.append(utf8, start..<end)
        } while end < utf8.count
        bytes.append(UInt8(ascii: "\""))
    }

    private mutating func appendEscape(_ byte: UInt8) {
        bytes.append(UInt8(ascii: "\\"))
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(byte)
        case 0x08: bytes.append(UInt8(ascii: "b"))
        case 0x09: bytes.append(UInt8(ascii: "t"))
        case 0x0A: bytes.append(UInt8(ascii: "n"))
        case 0x0C: bytes.append(UInt8(ascii: "f"))
        case 0x0D: bytes.append(UInt8(ascii: "r"))
        default:
            let low = byte & 0xF
            bytes.append(contentsOf: [UInt8(ascii: "u"), UInt8(ascii: "0"), UInt8(ascii: "0")])
            bytes.append(UInt8(ascii: "0") + byte >> 4)
            bytes.append(low < 10 ? UInt8(ascii: "0") + low : UInt8(ascii: "a") + low - 10)
        }
    }
}

/// Something that can be written as one JSON value.
public protocol JSONWritable {
    /// Writes exactly one value.
    func write(to writer: inout JSONWriter)
}

extension String: JSONWritable {
    /// Writes a string.
    public func write(to writer: inout JSONWriter) { writer.string(utf8Span.span) }
}

extension Text: JSONWritable {
    /// Writes a string.
    public func write(to writer: inout JSONWriter) { writer.string(string.utf8Span.span) }
}

extension JSONString: JSONWritable {
    /// Writes the string, unescaped and minimally escaped again.
    public func write(to writer: inout JSONWriter) {
        writer.copy(JSONValue(storage: storage, index: index))
    }
}

extension Bool: JSONWritable {
    /// Writes `true` or `false`.
    public func write(to writer: inout JSONWriter) { writer.literal(self ? "true" : "false") }
}

extension Int: JSONWritable {
    /// Writes a decimal integer.
    public func write(to writer: inout JSONWriter) { Int64(self).write(to: &writer) }
}

extension Int64: JSONWritable {
    /// Writes a decimal integer.
    public func write(to writer: inout JSONWriter) { writer.number(self) }
}

extension UInt64: JSONWritable {
    /// Writes a decimal integer.
    public func write(to writer: inout JSONWriter) { writer.number(self) }
}

extension JSONValue: JSONWritable {
    /// Writes the value again: member order and number lexemes kept, strings unescaped and minimally escaped.
    public func write(to writer: inout JSONWriter) { writer.copy(self) }

    /// The value as the writer writes it, without blanks.
    public func serialized() -> [UInt8] {
        var writer = JSONWriter(capacity: sourceRange.count)
        writer.copy(self)
        return writer.finish()
    }
}

/// One value that is already JSON in the writer's form, to be inserted as it is.
public struct JSONFragment: JSONWritable, Hashable, Sendable {
    /// The serialised value.
    public let bytes: [UInt8]

    /// Writes a value once, for inserting it many times.
    public init(_ value: some JSONWritable) {
        var writer = JSONWriter()
        value.write(to: &writer)
        bytes = writer.finish()
    }

    /// Builds a value that is an object.
    public init<E: Error>(object members: (inout JSONWriter) throws(E) -> Void) throws(E) {
        var writer = JSONWriter()
        try writer.object(members)
        bytes = writer.finish()
    }

    /// Takes bytes that this project's writer made before; they are not looked at again.
    public init(preserialized bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Inserts the bytes.
    public func write(to writer: inout JSONWriter) { writer.fragment(bytes) }
}
