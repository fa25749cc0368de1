/// Byte work shared by reader and writer. Everything here is bounds-checked; speed comes from looking at
/// eight bytes at a time, not from leaving checks out.

/// Whether two runs of `count` bytes are equal.
func bytesEqual(
    _ left: Span<UInt8>,
    _ leftStart: Int,
    _ right: Span<UInt8>,
    _ rightStart: Int,
    count: Int
) -> Bool {
    var index = 0
    while index + 8 <= count {
        guard word(left, at: leftStart + index) == word(right, at: rightStart + index) else {
            return false
        }
        index += 8
    }
    while index < count {
        guard left[leftStart + index] == right[rightStart + index] else { return false }
        index += 1
    }
    return true
}

/// The eight bytes at `offset` as one little-endian number.
@inline(__always)
func word(_ bytes: Span<UInt8>, at offset: Int) -> UInt64 {
    UInt64(littleEndian: bytes.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
}

private let lowBits: UInt64 = 0x0101_0101_0101_0101
private let highBits: UInt64 = 0x8080_8080_8080_8080

/// Marks the bytes of a word that end a run inside a JSON string: `"`, `\`, control characters and, if
/// wanted, everything that is not ASCII.
///
/// The lowest mark is exact, later ones may be borrowed from it; so look at the lowest and go on from there.
@inline(__always)
private func runEnds(in word: UInt64, nonASCII: Bool) -> UInt64 {
    let quote = word ^ (lowBits &* 0x22)
    let backslash = word ^ (lowBits &* 0x5C)
    let control = (word &- (lowBits &* 0x20)) & ~word
    let marks = control | ((quote &- lowBits) & ~quote) | ((backslash &- lowBits) & ~backslash)
    return (nonASCII ? marks | word : marks) & highBits
}

/// The first position at or after `offset` that is not plain ASCII string content; the end if there is none.
@inline(__always)
func endOfPlainASCII(_ bytes: Span<UInt8>, from offset: Int) -> Int {
    var at = offset
    while at + 8 <= bytes.count {
        let marks = runEnds(in: word(bytes, at: at), nonASCII: true)
        guard marks == 0 else { return at + marks.trailingZeroBitCount / 8 }
        at += 8
    }
    while at < bytes.count {
        let byte = bytes[at]
        if byte < 0x20 || byte >= 0x80 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
            break
        }
        at += 1
    }
    return at
}

/// The first position at or after `offset` that a JSON string must escape; the end if there is none.
func endOfUnescaped(_ bytes: Span<UInt8>, from offset: Int) -> Int {
    var at = offset
    while at + 8 <= bytes.count {
        let marks = runEnds(in: word(bytes, at: at), nonASCII: false)
        guard marks == 0 else { return at + marks.trailingZeroBitCount / 8 }
        at += 8
    }
    while at < bytes.count {
        let byte = bytes[at]
        if byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { break }
        at += 1
    }
    return at
}

extension [UInt8] {
    /// Appends a part of a span.
    mutating func append(_ bytes: Span<UInt8>, _ range: Range<Int>) {
        bytes.extracting(range).withUnsafeBufferPointer { append(contentsOf: $0) }
    }
}

extension OutputSpan<UInt8> {
    /// Appends a part of a span, for which there must be room.
    @inline(__always)
    mutating func append(_ bytes: Span<UInt8>, _ range: Range<Int>) {
        let part = bytes.extracting(range)
        precondition(part.count <= freeCapacity, "there is room for what was counted")
        part.withUnsafeBufferPointer { source in
            withUnsafeMutableBufferPointer { buffer, count in
                let end = buffer[count...].initialize(fromContentsOf: source)
                count = end
            }
        }
    }
}
