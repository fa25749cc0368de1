/// Numbers found by hash: open addressing over somebody else's rows, four bytes a slot.
///
/// It holds numbers and nothing of what they stand for, so that each table says itself what is equal. Slots are kept
/// at most half full; removing moves what follows back, so that there are no dead slots.
struct HashSlots: Sendable {
    /// A slot holds the number plus one.
    ///
    /// The size is a power of two.
    private var slots: [UInt32] = Array(repeating: 0, count: 16)
    private(set) var count = 0

    /// The first number with this hash that is the one looked for.
    @inline(__always) func find(_ hash: UInt32, _ isWanted: (Int) -> Bool) -> Int? {
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let number = Int(slots[slot]) - 1
            if isWanted(number) { return number }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// Adds a number that is not there.
    mutating func insert(_ number: Int, _ hash: UInt32, hashOf: (Int) -> UInt32) {
        if (count + 1) * 2 > slots.count { grow(to: slots.count * 2, hashOf) }
        place(number, hash)
        count += 1
    }

    /// Makes room for so many numbers at once.
    mutating func reserve(_ capacity: Int, hashOf: (Int) -> UInt32) {
        var size = slots.count
        while size < capacity * 2 { size *= 2 }
        if size > slots.count { grow(to: size, hashOf) }
    }

    /// Puts another number in the place of one with the same hash.
    mutating func replace(_ number: Int, with other: Int, _ hash: UInt32) {
        guard let slot = slot(of: number, hash) else { return }
        slots[slot] = UInt32(other) + 1
    }

    mutating func remove(_ number: Int, _ hash: UInt32, hashOf: (Int) -> UInt32) {
        guard var free = slot(of: number, hash) else { return }
        count -= 1
        let mask = slots.count - 1
        var slot = free
        while true {
            slots[free] = 0
            while true {
                slot = (slot + 1) & mask
                guard slots[slot] != 0 else { return }
                // It may move back only as far as its own place.
                let home = Int(hashOf(Int(slots[slot]) - 1)) & mask
                if (slot - home) & mask >= (slot - free) & mask { break }
            }
            slots[free] = slots[slot]
            free = slot
        }
    }

    private func slot(of number: Int, _ hash: UInt32) -> Int? {
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            if Int(slots[slot]) - 1 == number { return slot }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    private mutating func grow(to size: Int, _ hashOf: (Int) -> UInt32) {
        let old = slots
        slots = Array(repeating: 0, count: size)
        for entry in old where entry != 0 { place(Int(entry) - 1, hashOf(Int(entry) - 1)) }
    }

    private mutating func place(_ number: Int, _ hash: UInt32) {
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = UInt32(number) + 1
    }
}
