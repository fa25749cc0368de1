extension JSONValue {
    /// The bytes that stand for this value in a digest.
    ///
    /// RFC 8785 (JSON Canonicalization Scheme) with one difference. As there: no blanks, members sorted by the
    /// UTF-16 code units of their names, strings unescaped and minimally escaped, no Unicode normalisation. The
    /// difference: numbers keep their lexeme. RFC 8785 rewrites them as binary64, so that 9007199254740993 and
    /// 9007199254740992 would have one digest although servers with 64-bit integers tell them apart; an approval
    /// for one amount would then cover another. The price is that `1` and `1.0` differ.
    ///
    /// So: equal members with equal strings and equal number lexemes give equal bytes, whatever their order,
    /// blanks and escapes; values that any reader could tell apart by text or lexeme give different bytes. For a
    /// document whose numbers are written as RFC 8785 writes them the result is exactly that of RFC 8785.
    public func canonicalBytes() -> [UInt8] {
        var writer = JSONWriter(capacity: sourceRange.count)
        writer.canonical(storage, index)
        return writer.finish()
    }
}

extension JSONWriter {
    fileprivate mutating func canonical(_ storage: JSONDocument.Storage, _ index: Int) {
        let node = storage.nodes[index]
        switch node.kind {
        case .object:
            beginObject()
            for name in sortedNames(storage, index) {
                key(JSONString(storage: storage, index: name))
                canonical(storage, name + 1)
            }
            endObject()
        case .array:
            beginArray()
            var element = index + 1
            for _ in 0..<node.count {
                canonical(storage, element)
                element = Int(storage.nodes[element].next)
            }
            endArray()
        default:
            copy(JSONValue(storage: storage, index: index))
        }
    }

    /// The tape positions of an object's names, in canonical order.
    private func sortedNames(_ storage: JSONDocument.Storage, _ index: Int) -> [Int] {
        let count = storage.nodes[index].count
        var names: [Int] = []
        names.reserveCapacity(count)
        var name = index + 1
        var isSorted = true
        for _ in 0..<count {
            if let last = names.last, !precedesInUTF16(storage, last, name) { isSorted = false }
            names.append(name)
            name = Int(storage.nodes[name + 1].next)
        }
        if !isSorted { names.sort { precedesInUTF16(storage, $0, $1) } }
        return names
    }
}

/// Whether one name comes before another in the order of UTF-16 code units.
///
/// UTF-8 orders by code point. UTF-16 differs only in that surrogates (U+10000 and above, lead bytes F0…F4) come
/// before U+E000…U+FFFF (lead bytes EE and EF), so it is enough to move those lead bytes.
private func precedesInUTF16(_ storage: JSONDocument.Storage, _ left: Int, _ right: Int) -> Bool {
    let (a, b) = (storage.nodes[left], storage.nodes[right])
    guard !a.isEscaped, !b.isEscaped else {
        let (a, b) = (
            JSONString(storage: storage, index: left).utf8Bytes,
            JSONString(storage: storage, index: right).utf8Bytes
        )
        return precedesInUTF16(a.span, 0..<a.count, b.span, 0..<b.count)
    }
    let source = storage.bytes
    return precedesInUTF16(source.span, a.content, source.span, b.content)
}

private func precedesInUTF16(
    _ left: Span<UInt8>,
    _ leftRange: Range<Int>,
    _ right: Span<UInt8>,
    _ rightRange: Range<Int>
) -> Bool {
    for offset in 0..<min(leftRange.count, rightRange.count) {
        let x = left[leftRange.lowerBound + offset]
        let y = right[rightRange.lowerBound + offset]
        guard x == y else { return rankInUTF16(x) < rankInUTF16(y) }
    }
    return leftRange.count < rightRange.count
}

private func rankInUTF16(_ byte: UInt8) -> UInt8 {
    byte == 0xEE || byte == 0xEF ? byte + 8 : byte
}
