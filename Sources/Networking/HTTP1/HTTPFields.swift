public import NIOCore

/// The field lines of one head: slices of the received bytes, in the order they came.
///
/// Nothing is copied and no name becomes a `String`. Names are compared ASCII case-insensitively;
/// the name looked for is written in lower case.
public struct HTTPFields: Sendable {
    /// Where one line's name and value lie in the head.
    struct Line: Sendable, Hashable {
        var nameStart: UInt32
        var nameEnd: UInt32
        var valueStart: UInt32
        var valueEnd: UInt32
    }

    /// The bytes of the whole head, reader index 0.
    let head: ByteBuffer
    let lines: [Line]

    /// Number of lines.
    public var count: Int { lines.count }

    /// The value of the first line with this name.
    public subscript(name: StaticString) -> HTTPFieldValue? {
        guard let index = index(of: name, from: 0) else { return nil }
        return value(of: lines[index])
    }

    /// The values of all lines with this name.
    public func values(of name: StaticString) -> [HTTPFieldValue] {
        var found: [HTTPFieldValue] = []
        var from = 0
        while let index = index(of: name, from: from) {
            found.append(value(of: lines[index]))
            from = index + 1
        }
        return found
    }

    /// The value of a field that may stand in a message only once.
    ///
    /// - Throws: ``HTTPFault/fieldMalformed`` when two lines carry the name: two readers could
    ///   choose differently.
    public func single(_ name: StaticString) throws(HTTPFault) -> HTTPFieldValue? {
        guard let index = index(of: name, from: 0) else { return nil }
        if self.index(of: name, from: index + 1) != nil { throw .fieldMalformed }
        return value(of: lines[index])
    }

    /// Calls `body` with every name and value in order, for logs and for forwarding.
    public func forEach(_ body: (_ name: HTTPFieldValue, _ value: HTTPFieldValue) -> Void) {
        for line in lines {
            body(slice(line.nameStart, line.nameEnd), slice(line.valueStart, line.valueEnd))
        }
    }

    /// Calls `body` with the bytes of every name and value in order; nothing is counted or copied.
    public func forEachLine(_ body: (_ name: Span<UInt8>, _ value: Span<UInt8>) -> Void) {
        let bytes = head.readableBytesUInt8Span
        for line in lines {
            body(
                bytes.extracting(Int(line.nameStart)..<Int(line.nameEnd)),
                bytes.extracting(Int(line.valueStart)..<Int(line.valueEnd))
            )
        }
    }

    private func value(of line: Line) -> HTTPFieldValue { slice(line.valueStart, line.valueEnd) }

    private func slice(_ start: UInt32, _ end: UInt32) -> HTTPFieldValue {
        HTTPFieldValue(
            bytes: head.getSlice(at: Int(start), length: Int(end - start)) ?? ByteBuffer()
        )
    }

    private func index(of name: StaticString, from: Int) -> Int? {
        let bytes = head.readableBytesSpan
        var index = from
        while index < lines.count {
            let line = lines[index]
            if Int(line.nameEnd - line.nameStart) == name.utf8CodeUnitCount,
                bytes.equalsLowercased(name, at: Int(line.nameStart))
            {
                return index
            }
            index += 1
        }
        return nil
    }
}

/// A field's value (or name) as it stands in the received bytes, without surrounding white space.
public struct HTTPFieldValue: Sendable {
    /// The bytes.
    public let bytes: ByteBuffer

    /// The bytes as text.
    ///
    /// In a request they are ASCII; other bytes, which a response may carry, are repaired.
    public var string: String { String(buffer: bytes) }

    /// Whether there are no bytes.
    public var isEmpty: Bool { bytes.readableBytes == 0 }

    /// The value as a decimal number without sign, `nil` when it is not one or does not fit.
    public var integer: Int? { bytes.readableBytesSpan.decimal }

    /// Byte equality.
    public static func == (value: HTTPFieldValue, text: StaticString) -> Bool {
        let span = value.bytes.readableBytesSpan
        guard span.byteCount == text.utf8CodeUnitCount else { return false }
        return text.withUTF8Buffer { text in
            for index in 0..<text.count where span[index] != text[index] { return false }
            return true
        }
    }

    /// Equality without regard to ASCII case; `text` is in lower case.
    public func equalsIgnoringCase(_ text: StaticString) -> Bool {
        bytes.readableBytes == text.utf8CodeUnitCount
            && bytes.readableBytesSpan.equalsLowercased(text, at: 0)
    }

    /// Whether the value is a comma-separated list with this member, without regard to ASCII case.
    public func listContains(_ member: StaticString) -> Bool {
        let span = bytes.readableBytesSpan
        var found = false
        span.forEachListMember(in: 0..<span.byteCount) { range in
            if range.count == member.utf8CodeUnitCount,
                span.equalsLowercased(member, at: range.lowerBound)
            {
                found = true
            }
        }
        return found
    }
}
