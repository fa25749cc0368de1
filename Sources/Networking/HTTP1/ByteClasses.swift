import NIOCore

// Leaf functions over received bytes, shared by the parsers. Everything is bounds-checked; eight
// bytes at a time where a head is scanned.

extension UInt8 {
    static let tab = UInt8(ascii: "\t")
    static let lineFeed = UInt8(ascii: "\n")
    static let carriageReturn = UInt8(ascii: "\r")
    static let space = UInt8(ascii: " ")

    /// tchar of RFC 9110 §5.6.2.
    @inline(__always)
    var isTokenByte: Bool { isMember(0x03ff_6cfa_0000_0000, 0x57ff_ffff_c7ff_fffe) }

    /// What may stand in a path or a query besides percent escapes: pchar, `/`, `?` (RFC 3986 §3.3,
    /// §3.4).
    @inline(__always)
    var isTargetByte: Bool { isMember(0xafff_ffd2_0000_0000, 0x47ff_fffe_87ff_ffff) }

    /// Letters, digits, `-`, `.`, `_`: a DNS name or an IPv4 address.
    @inline(__always)
    var isHostByte: Bool { isMember(0x03ff_6000_0000_0000, 0x07ff_fffe_87ff_fffe) }

    @inline(__always)
    var isDigit: Bool { self &- 0x30 < 10 }

    @inline(__always)
    var hexValue: UInt8? {
        switch self {
        case 0x30...0x39: self - 0x30
        case 0x41...0x46: self - 0x37
        case 0x61...0x66: self - 0x57
        default: nil
        }
    }

    @inline(__always)
    var lowercased: UInt8 { self &- 0x41 < 26 ? self | 0x20 : self }

    /// Membership in a set of ASCII bytes given as two words of bits.
    @inline(__always)
    private func isMember(_ low: UInt64, _ high: UInt64) -> Bool {
        let word = self < 64 ? low : high
        return self < 128 && (word >> UInt64(self & 63)) & 1 == 1
    }
}

extension RawSpan {
    @inline(__always)
    subscript(index: Int) -> UInt8 {
        unsafe unsafeLoad(fromByteOffset: index, as: UInt8.self)
    }

    /// The first index in `range` whose byte is not printable ASCII, space or HTAB; the end when
    /// there is none.
    @inline(__always)
    func firstSpecial(in range: Range<Int>) -> Int {
        var index = range.lowerBound
        while index < range.upperBound {
            if range.upperBound - index >= 8 {
                let word = unsafe unsafeLoadUnaligned(fromByteOffset: index, as: UInt64.self)
                // Per byte: high bit set when the byte is below 0x20, above 0x7f, or 0x7f.
                let below = (word &- 0x2020_2020_2020_2020) & ~word
                let delete = (word ^ 0x7f7f_7f7f_7f7f_7f7f) &- 0x0101_0101_0101_0101
                if (below | delete & ~(word ^ 0x7f7f_7f7f_7f7f_7f7f) | word)
                    & 0x8080_8080_8080_8080 == 0
                {
                    index += 8
                    continue
                }
            }
            let byte = self[index]
            if byte < 0x20 && byte != .tab || byte >= 0x7f { return index }
            index += 1
        }
        return index
    }

    /// Whether the bytes at `start` are `text`, which is in lower case, without regard to ASCII
    /// case.
    @inline(__always)
    func equalsLowercased(_ text: StaticString, at start: Int) -> Bool {
        let count = text.utf8CodeUnitCount
        guard start >= 0, byteCount - start >= count else { return false }
        return text.withUTF8Buffer { text in
            for index in 0..<count where self[start + index].lowercased != text[index] {
                return false
            }
            return true
        }
    }

    /// Whether the bytes at `start` are `text`.
    @inline(__always)
    func equals(_ text: StaticString, at start: Int) -> Bool {
        let count = text.utf8CodeUnitCount
        guard start >= 0, byteCount - start >= count else { return false }
        return text.withUTF8Buffer { text in
            for index in 0..<count where self[start + index] != text[index] { return false }
            return true
        }
    }

    /// `range` without spaces and tabs at its ends.
    @inline(__always)
    func trimmed(_ range: Range<Int>) -> Range<Int> {
        var lower = range.lowerBound
        var upper = range.upperBound
        while lower < upper, self[lower] == .space || self[lower] == .tab { lower += 1 }
        while lower < upper, self[upper - 1] == .space || self[upper - 1] == .tab { upper -= 1 }
        return lower..<upper
    }

    /// The members of a comma-separated list, trimmed, empty ones left out (RFC 9110 §5.6.1.2).
    func forEachListMember(in range: Range<Int>, _ body: (Range<Int>) -> Void) {
        var start = range.lowerBound
        for index in range.lowerBound...range.upperBound
        where index == range.upperBound || self[index] == UInt8(ascii: ",") {
            let member = trimmed(start..<index)
            if !member.isEmpty { body(member) }
            start = index + 1
        }
    }

    /// Whether this can be a field's value: nothing that could end the line or be read as two
    /// things.
    var isFieldValue: Bool {
        var index = 0
        while true {
            index = firstSpecial(in: index..<byteCount)
            if index == byteCount { return true }
            guard self[index] >= 0x80 else { return false }
            index += 1
        }
    }

    /// Whether this is a token (RFC 9110 §5.6.2).
    var isToken: Bool {
        for index in 0..<byteCount where !self[index].isTokenByte { return false }
        return byteCount > 0
    }

    /// Whether this is visible ASCII without `#`: fit for a request target.
    var isVisibleASCII: Bool {
        for index in 0..<byteCount
        where self[index] <= .space || self[index] >= 0x7f || self[index] == UInt8(ascii: "#") {
            return false
        }
        return true
    }

    /// All bytes as a decimal number without sign.
    var decimal: Int? {
        guard byteCount > 0, byteCount <= 18 else { return nil }
        var value = 0
        for index in 0..<byteCount {
            guard self[index].isDigit else { return nil }
            value = value * 10 + Int(self[index] & 15)
        }
        return value
    }
}
