public import JSON

/// How a value of the body travels in a mirrored header (2026-07-28, standard request headers).
///
/// Printable ASCII without blanks at its ends goes as it is; anything else, and whatever looks like the wrapper
/// itself, as `=?base64?` + Base64 of the UTF-8 + `?=`. The wrapper also is what keeps CR, LF and foreign bytes
/// out of the header section of an upstream request.
public enum HeaderValueCodec {
    private static let prefix = Array("=?base64?".utf8)
    private static let suffix = Array("?=".utf8)

    /// The header value for a text.
    public static func encode(_ text: Text) -> Text {
        let bytes = Array(text.utf8)
        if isPlain(bytes), !bytes.starts(with: prefix) { return text }
        return Text(
            String(decoding: prefix + Base64.encode(bytes) + suffix, as: UTF8.self)
        )
    }

    /// The text of a header value without blanks at its ends, or nothing if it is malformed.
    ///
    /// A wrapper must hold canonical, padded Base64 of valid UTF-8: two spellings of one name would be two names
    /// to whoever compares headers without decoding them.
    public static func decode(_ value: Text) -> Text? {
        let bytes = Array(value.utf8)
        guard isPlain(bytes) else { return nil }
        guard bytes.starts(with: prefix), bytes.suffix(2).elementsEqual(suffix) else {
            return value
        }
        guard bytes.count >= prefix.count + suffix.count else { return nil }
        let wrapped = bytes[prefix.count..<bytes.count - suffix.count]
        return Base64.decode(wrapped).flatMap { Text(validating: $0) }
    }

    private static func isPlain(_ bytes: [UInt8]) -> Bool {
        bytes.first != 0x20 && bytes.last != 0x20 && bytes.allSatisfy { (0x20...0x7E).contains($0) }
    }
}

/// Standard Base64 with padding (RFC 4648 §4), canonical both ways.
enum Base64 {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8
    )

    static func encode(_ bytes: [UInt8]) -> [UInt8] {
        var encoded: [UInt8] = []
        encoded.reserveCapacity((bytes.count + 2) / 3 * 4)
        var index = 0
        while index < bytes.count {
            let group = bytes[index..<min(index + 3, bytes.count)]
            var bits = group.reduce(0) { $0 << 8 | UInt32($1) }
            bits <<= 8 * UInt32(3 - group.count)
            for position in 0..<4 {
                let isPadding = position > group.count
                let sextet = Int(bits >> UInt32(18 - 6 * position) & 63)
                encoded.append(isPadding ? UInt8(ascii: "=") : alphabet[sextet])
            }
            index += 3
        }
        return encoded
    }

    static func decode(_ encoded: ArraySlice<UInt8>) -> [UInt8]? {
        guard encoded.count % 4 == 0 else { return nil }
        let padding = encoded.suffix(2).reversed().prefix { $0 == UInt8(ascii: "=") }.count
        var decoded: [UInt8] = []
        decoded.reserveCapacity(encoded.count / 4 * 3)
        var (bits, count): (UInt32, Int) = (0, 0)
        for byte in encoded.dropLast(padding) {
            guard let sextet = value(of: byte) else { return nil }
            bits = bits << 6 | sextet
            count += 6
            if count >= 8 {
                count -= 8
                decoded.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        // Bits that the padding leaves over must be zero, else one text would have several encodings.
        guard bits & (1 << UInt32(count) - 1) == 0 else { return nil }
        return decoded
    }

    private static func value(of byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a") + 26)
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0") + 52)
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
