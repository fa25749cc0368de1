import JSON

/// A byte string known by number within one symbol table.
struct Symbol: Hashable, Sendable {
    let index: UInt32
}

/// The byte strings of a policy set, each stored once.
///
/// Names, string literals and patterns are compared byte for byte (never as `String`: canonical
/// equivalence would merge two different users), and inside a set that comparison is one of
/// integers.
struct SymbolTable: Sendable {
    private var bytes: [UInt8] = []
    private var ends: [UInt32] = []
    private var hashes: [UInt32] = []
    /// Open addressing; a slot holds the symbol's index plus one.
    ///
    /// The size is a power of two.
    private var slots: [UInt32] = Array(repeating: 0, count: 64)

    var count: Int { ends.count }

    mutating func intern(_ string: String) -> Symbol {
        var string = string
        return string.withUTF8 { intern(UnsafeRawBufferPointer($0)) }
    }

    mutating func intern(_ string: [UInt8]) -> Symbol {
        string.withUnsafeBytes { intern($0) }
    }

    mutating func intern(_ string: UnsafeRawBufferPointer) -> Symbol {
        if let known = find(string) { return known }
        let hash = ByteHash.hash(string)
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
        let symbol = Symbol(index: UInt32(ends.count))
        bytes.append(contentsOf: string)
        ends.append(UInt32(bytes.count))
        hashes.append(hash)
        slots[slot] = symbol.index + 1
        if ends.count * 2 > slots.count { grow() }
        return symbol
    }

    /// The bytes of a symbol.
    subscript(_ symbol: Symbol) -> ArraySlice<UInt8> { bytes[range(Int(symbol.index))] }

    /// The hash of a symbol's bytes.
    func hash(_ symbol: Symbol) -> UInt32 { hashes[Int(symbol.index)] }

    /// The symbol with these bytes, if there is one.
    func find(_ string: UnsafeRawBufferPointer) -> Symbol? {
        let hash = ByteHash.hash(string)
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let candidate = Int(slots[slot]) - 1
            if hashes[candidate] == hash, equals(candidate, string) {
                return Symbol(index: UInt32(candidate))
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    func find(_ text: Text) -> Symbol? {
        text.string.utf8Span.span.withUnsafeBytes { find($0) }
    }

    @inline(__always) func equals(_ symbol: Symbol, _ string: UnsafeRawBufferPointer) -> Bool {
        equals(Int(symbol.index), string)
    }

    /// Forgets the symbols from this number on.
    mutating func truncate(to count: Int) {
        guard count < ends.count else { return }
        ends.removeSubrange(count...)
        hashes.removeSubrange(count...)
        bytes.removeSubrange((ends.last.map(Int.init) ?? 0)...)
        slots = Array(repeating: 0, count: slots.count / 2)
        grow()
    }

    func text(_ symbol: Symbol) -> Text {
        Text(String(decoding: self[symbol], as: UTF8.self))
    }

    private func range(_ index: Int) -> Range<Int> {
        let start = index == 0 ? 0 : Int(ends[index - 1])
        return start..<Int(ends[index])
    }

    private func equals(_ index: Int, _ string: UnsafeRawBufferPointer) -> Bool {
        let range = range(index)
        guard range.count == string.count else { return false }
        return bytes.withUnsafeBytes { bytes in
            UnsafeRawBufferPointer(rebasing: bytes[range]).holdsSameBytes(as: string)
        }
    }

    private mutating func grow() {
        slots = Array(repeating: 0, count: slots.count * 2)
        for (index, hash) in hashes.enumerated() {
            var slot = Int(hash) & (slots.count - 1)
            while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
            slots[slot] = UInt32(index) + 1
        }
    }
}
