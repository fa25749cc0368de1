import NIOCore

extension HTTPFieldValue {
    /// A value to send; bytes that could end a line make the head it is added to unsendable.
    public init(_ text: String) {
        self.init(bytes: ByteBuffer(string: text))
    }

    /// Whether the value is this media type, with or without parameters (RFC 9110 §8.3.1); `type`
    /// is in lower case.
    public func isMediaType(_ type: StaticString) -> Bool {
        let span = bytes.readableBytesSpan
        let length = type.utf8CodeUnitCount
        guard span.byteCount >= length, span.equalsLowercased(type, at: 0) else { return false }
        guard span.byteCount > length else { return true }
        let next = span[length]
        return next == UInt8(ascii: ";") || next == UInt8(ascii: " ") || next == UInt8(ascii: "\t")
    }
}
