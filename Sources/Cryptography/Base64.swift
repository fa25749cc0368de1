/// Base64 as RFC 4648 defines it, without tolerance: one text for each byte string.
///
/// Tolerant decoders map several texts to one value (padding, line breaks, unused bits that are not
/// zero), and two readers of one token then disagree about what was signed.
public enum Base64 {
    /// Which characters stand for 62 and 63, and whether the text is padded to a multiple of four.
    public enum Variant: Sendable {
        /// `+` and `/`, padded (RFC 4648 §4).
        case standard
        /// `-` and `_`, unpadded (RFC 4648 §5 as used by RFC 7515).
        case url
    }

    /// The text for `bytes`.
    public static func encode(
        _ bytes: some Collection<UInt8>,
        _ variant: Variant = .standard
    ) -> String {
        String(unsafeUninitializedCapacity: (bytes.count + 2) / 3 * 4) { output in
            bytes.withBytes { encode($0, variant, into: output) }
        }
    }

    /// The text for `bytes`, as ASCII.
    public static func encodeToBytes(
        _ bytes: some Collection<UInt8>,
        _ variant: Variant = .standard
    ) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: (bytes.count + 2) / 3 * 4) { output, filled in
            filled = bytes.withBytes { encode($0, variant, into: output) }
        }
    }

    /// The bytes for `text`; `nil` when it is not the canonical text of any.
    public static func decode(_ text: String, _ variant: Variant = .standard) -> [UInt8]? {
        decode(text.utf8, variant)
    }

    /// The bytes for ASCII `text`; `nil` when it is not the canonical text of any.
    public static func decode(
        _ text: some Collection<UInt8>,
        _ variant: Variant = .standard
    ) -> [UInt8]? {
        text.withBytes { decode(region: $0, variant) }
    }

    private static func decode(region text: UnsafeRawBufferPointer, _ variant: Variant) -> [UInt8]?
    {
        var count = text.count
        if variant == .standard {
            guard count % 4 == 0 else { return nil }
            if count > 0, text[count - 1] == UInt8(ascii: "=") { count -= 1 }
            if count > 0, text[count - 1] == UInt8(ascii: "=") { count -= 1 }
        }
        // A lone last character carries six bits, which is no byte.
        guard count % 4 != 1 else { return nil }
        let table = variant == .standard ? standardValues : urlValues
        var isCanonical = true
        let bytes = [UInt8](unsafeUninitializedCapacity: count / 4 * 3 + 2) { output, filled in
            var bad: UInt8 = 0
            var index = 0
            table.withUnsafeBufferPointer { table in
                while index + 4 <= count {
                    let a = table[Int(text[index])], b = table[Int(text[index + 1])]
                    let c = table[Int(text[index + 2])], d = table[Int(text[index + 3])]
                    bad |= a | b | c | d
                    output[filled] = a << 2 | (b >> 4 & 0x03)
                    output[filled + 1] = b << 4 | (c >> 2 & 0x0f)
                    output[filled + 2] = c << 6 | (d & 0x3f)
                    filled += 3
                    index += 4
                }
                let rest = count - index
                guard rest > 0 else { return }
                let a = table[Int(text[index])], b = table[Int(text[index + 1])]
                let c: UInt8 = rest == 3 ? table[Int(text[index + 2])] : 0
                bad |= a | b | c
                output[filled] = a << 2 | (b >> 4 & 0x03)
                filled += 1
                if rest == 3 {
                    output[filled] = b << 4 | (c >> 2 & 0x0f)
                    filled += 1
                    // Bits beyond the last byte must be zero: RFC 4648 §3.5.
                    if c & 0x03 != 0 { isCanonical = false }
                } else if b & 0x0f != 0 {
                    isCanonical = false
                }
            }
            if bad & 0x80 != 0 { isCanonical = false }
        }
        return isCanonical ? bytes : nil
    }

    @discardableResult
    private static func encode(
        _ bytes: UnsafeRawBufferPointer,
        _ variant: Variant,
        into output: UnsafeMutableBufferPointer<UInt8>
    ) -> Int {
        let alphabet: StaticString = variant == .standard ? standardAlphabet : urlAlphabet
        let characters = alphabet.utf8Start
        var filled = 0
        var index = 0
        while index + 3 <= bytes.count {
            let word =
                UInt32(bytes[index]) << 16 | UInt32(bytes[index + 1]) << 8
                | UInt32(bytes[index + 2])
            output[filled] = characters[Int(word >> 18)]
            output[filled + 1] = characters[Int(word >> 12 & 63)]
            output[filled + 2] = characters[Int(word >> 6 & 63)]
            output[filled + 3] = characters[Int(word & 63)]
            filled += 4
            index += 3
        }
        let rest = bytes.count - index
        guard rest > 0 else { return filled }
        let word = UInt32(bytes[index]) << 16 | (rest == 2 ? UInt32(bytes[index + 1]) << 8 : 0)
        output[filled] = characters[Int(word >> 18)]
        output[filled + 1] = characters[Int(word >> 12 & 63)]
        filled += 2
        if rest == 2 {
            output[filled] = characters[Int(word >> 6 & 63)]
            filled += 1
        }
        if variant == .standard {
            for _ in rest..<3 {
                output[filled] = UInt8(ascii: "=")
                filled += 1
            }
        }
        return filled
    }

    private static let standardAlphabet: StaticString =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    private static let urlAlphabet: StaticString =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    private static let standardValues = values(of: standardAlphabet)
    private static let urlValues = values(of: urlAlphabet)

    /// Value by character; 0x80 marks what is not in the alphabet.
    private static func values(of alphabet: StaticString) -> [UInt8] {
        var table = [UInt8](repeating: 0x80, count: 256)
        for value in 0..<64 { table[Int(alphabet.utf8Start[value])] = UInt8(value) }
        return table
    }
}

/// Hexadecimal text: written in lower case, read in either.
public enum Hex {
    /// Two digits for each byte.
    @inlinable
    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        bytes.withBytes { encode(region: $0) }
    }

    @usableFromInline
    static func encode(region bytes: UnsafeRawBufferPointer) -> String {
        String(unsafeUninitializedCapacity: bytes.count * 2) { output in
            var filled = 0
            for byte in bytes {
                output[filled] = digit(byte >> 4)
                output[filled + 1] = digit(byte & 15)
                filled += 2
            }
            return filled
        }
    }

    /// The bytes for `text`; `nil` for an odd length or any other character.
    public static func decode(_ text: String) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(digits.count / 2)
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = value(digits[index]), let low = value(digits[index + 1]) else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
