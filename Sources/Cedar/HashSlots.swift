/// Numbers found by hash: open addressing over somebody else's rows, eight bytes a slot.
///
/// It holds numbers and their hashes, and nothing of what they stand for, so that each table says itself what is equal. With
/// the hash beside the number a miss touches no row: in a table of a million that is the difference between one
/// cache line and two for each probe. Slots are kept at most half full; removing moves what follows back, so that there are
/// no dead slots.
struct HashSlots: Sendable {
    /// A slot holds the number plus one, and the hash in the upper half; 0 is free.
    ///
    /// The size is a power of two.
    private var slots: [UInt64] = Array(repeating: 0, count: 16)
    private(set) var count = 0

    /// The first number with this hash that is the one looked for.
    @inline(__always) func find(_ hash: UInt32, _ isWanted: (Int) -> Bool) -> Int? {
        var at = Int(hash) & (slots.count - 1)
        while slots[at] != 0 {
            let slot = slots[at]
            if Self.hash(slot) == hash, isWanted(Self.number(slot)) { return Self.number(slot) }
            at = (at + 1) & (slots.count - 1)
        }
        return nil
    }

    /// Adds a number that is not there.
    mutating func insert(_ number: Int, _ hash: UInt32) {
        if (count + 1) * 2 > slots.count { grow() }
        place(Self.slot(number, hash))
        count += 1
    }

    /// Puts another number in the place of one with the same hash.
    mutating func replace(_ number: Int, with other: Int, _ hash: UInt32) {
        guard let at = position(of: number, hash) else { return }
        slots[at] = Self.slot(other, hash)
    }

    /// Takes a number away.
    mutating func remove(_ number: Int, _ hash: UInt32) {
        guard var free = position(of: number, hash) else { return }
        count -= 1
        let mask = slots.count - 1
        var at = free
        while true {
            slots[free] = 0
            while true {
                at = (at + 1) & mask
                guard slots[at] != 0 else { return }
                // It may move back only as far as its own place.
                let home = Int(Self.hash(slots[at])) & mask
                if (at - home) & mask >= (at - free) & mask { break }
            }
            slots[free] = slots[at]
            free = at
        }
    }

    private static func slot(_ number: Int, _ hash: UInt32) -> UInt64 {
        UInt64(hash) << 32 | UInt64(UInt32(number) + 1)
    }

    @inline(__always) private static func number(_ slot: UInt64) -> Int {
        Int(truncatingIfNeeded: slot & 0xFFFF_FFFF) - 1
    }

    @inline(__always) private static func hash(_ slot: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: slot >> 32)
    }

    private func position(of number: Int, _ hash: UInt32) -> Int? {
        let wanted = Self.slot(number, hash)
        var at = Int(hash) & (slots.count - 1)
        while slots[at] != 0 {
            if slots[at] == wanted { return at }
            at = (at + 1) & (slots.count - 1)
        }
        return nil
    }

    private mutating func grow() {
        let old = slots
        slots = Array(repeating: 0, count: old.count * 2)
        for slot in old where slot != 0 { place(slot) }
    }

    private mutating func place(_ slot: UInt64) {
        var at = Int(Self.hash(slot)) & (slots.count - 1)
        while slots[at] != 0 { at = (at + 1) & (slots.count - 1) }
        slots[at] = slot
    }
}
