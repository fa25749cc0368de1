/// Decoding of string content that the scanner has already found valid.

/// Appends the unescaped bytes of string content.
func appendUnescaped(_ source: Span<UInt8>, _ content: Range<Int>, to output: inout [UInt8]) {
    var at = content.lowerBound
    while at < content.upperBound {
        // A run ends at a backslash or at the closing quote: nothing else is left to stop it.
        let end = min(endOfUnescaped(source, from: at), content.upperBound)
        output.append(source, at..<end)
        at = end
        if at < content.upperBound {
            output.append(contentsOf: unescape(source, &at).utf8)
        }
    }
}

/// Whether the unescaped content of a string node equals `other`.
func namesEqual(_ node: Node, _ source: Span<UInt8>, _ other: Span<UInt8>) -> Bool {
    let content = node.content
    if !node.isEscaped {
        return content.count == other.count
            && bytesEqual(source, content.lowerBound, other, 0, count: other.count)
    }
    var at = content.lowerBound
    var matched = 0
    while at < content.upperBound {
        guard source[at] == UInt8(ascii: "\\") else {
            guard matched < other.count, source[at] == other[matched] else { return false }
            at += 1
            matched += 1
            continue
        }
        for byte in unescape(source, &at).utf8 {
            guard matched < other.count, byte == other[matched] else { return false }
            matched += 1
        }
    }
    return matched == other.count
}

/// Decodes the escape at `at`, a surrogate pair as one, and moves past it.
private func unescape(_ source: Span<UInt8>, _ at: inout Int) -> Unicode.Scalar {
    let letter = source[at + 1]
    at += 2
    switch letter {
    case UInt8(ascii: "b"): return "\u{08}"
    case UInt8(ascii: "f"): return "\u{0C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
        var value = unit(source, at)
        at += 4
        if 0xD800..<0xDC00 ~= value {
            value = 0x1_0000 + (value - 0xD800) << 10 + (unit(source, at + 2) - 0xDC00)
            at += 6
        }
        // The scanner refused everything that is no scalar.
        return Unicode.Scalar(value) ?? "\u{FFFD}"
    default: return Unicode.Scalar(letter)
    }
}

private func unit(_ source: Span<UInt8>, _ at: Int) -> UInt32 {
    var unit: UInt32 = 0
    for index in at..<at + 4 {
        unit = unit << 4 | (hexadecimalDigit(source[index]) ?? 0)
    }
    return unit
}
