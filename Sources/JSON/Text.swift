/// Unicode text that is compared, ordered and hashed byte for byte on its UTF-8.
///
/// This is the identifier type of the project. `String` compares by canonical equivalence: "é" as one scalar
/// and "é" as two are equal there, and so two subjects of an identity provider, two tools or two dictionary
/// keys would silently become one here while every other system keeps them apart. Identifiers from strangers
/// therefore never meet `String.==`; they are `Text`.
public struct Text: Hashable, Comparable, Sendable, ExpressibleByStringLiteral {
    /// The text as a `String`, for display and for text algorithms, never for comparing identifiers.
    public let string: String

    /// Wraps a string without changing any byte of its UTF-8.
    public init(_ string: String) {
        var string = string
        string.makeContiguousUTF8()
        self.string = string
    }

    /// Wraps a substring by copying it.
    public init(_ substring: Substring) {
        self.init(String(substring))
    }

    /// Makes text from bytes, or nothing if they are not valid UTF-8.
    ///
    /// Nothing is repaired: an overlong form, an encoded surrogate or a cut sequence is refused.
    public init?(validating bytes: some Sequence<UInt8>) {
        guard let string = String(validating: bytes, as: UTF8.self) else { return nil }
        self.init(string)
    }

    /// Makes text from bytes, or nothing if they are not valid UTF-8.
    public init?(validating bytes: Span<UInt8>) {
        guard let utf8 = try? UTF8Span(validating: bytes) else { return nil }
        string = String(copying: utf8)
    }

    /// Wraps a literal, whose bytes stay where the compiler put them.
    public init(stringLiteral value: String) {
        string = value
    }

    /// Copies a literal that is known by its address.
    public init(stringLiteral value: StaticString) {
        self.init(value.description)
    }

    /// Literals are of this type, so that they are not copied.
    public typealias StringLiteralType = String

    /// The bytes that are compared and hashed.
    public var utf8: String.UTF8View { string.utf8 }

    /// The number of UTF-8 bytes.
    public var byteCount: Int { string.utf8.count }

    /// Whether there is no byte at all.
    public var isEmpty: Bool { string.isEmpty }

    /// Whether both texts have the same bytes.
    public static func == (left: Text, right: Text) -> Bool {
        // String equality is a cheap necessary condition: equal bytes are always canonically equal, and most
        // unequal identifiers are told apart here in a few instructions.
        guard left.string == right.string else { return false }
        let (a, b) = (left.string.utf8Span.span, right.string.utf8Span.span)
        return a.count == b.count && bytesEqual(a, 0, b, 0, count: a.count)
    }

    /// Orders by the first differing byte, a prefix before its extensions.
    public static func < (left: Text, right: Text) -> Bool {
        let (a, b) = (left.string.utf8Span.span, right.string.utf8Span.span)
        for index in 0..<min(a.count, b.count) where a[index] != b[index] {
            return a[index] < b[index]
        }
        return a.count < b.count
    }

    /// Feeds the bytes, and their number, to the hasher.
    public func hash(into hasher: inout Hasher) {
        string.utf8Span.span.withUnsafeBytes { hasher.combine(bytes: $0) }
        hasher.combine(0xFF as UInt8)
    }
}

extension Text: CustomStringConvertible {
    /// The text itself.
    public var description: String { string }
}
