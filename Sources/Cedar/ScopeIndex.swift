/// Which policies can apply to a request, by their scopes alone.
///
/// A scope cannot fail, so leaving out a policy whose scope does not match changes neither the
/// decision, nor the determining policies, nor the errors (policy slicing by scope is proven sound
/// in Cedar's formal model). For each variable the candidates are the policies that accept
/// anything, those of its type, and those anchored at it or at something it is in; the answer is
/// the intersection of the three.
struct ScopeIndex: Sendable {
    let wordCount: Int
    let principal: Dimension
    let action: Dimension
    let resource: Dimension
    /// Policies that constrain type and place at once: their scope is tested again.
    private let inexact: [UInt64]

    struct Dimension: Sendable {
        let any: [UInt64]
        /// Policies per type constant.
        let types: [(type: UInt32, mask: [UInt64])]
        /// Policies whose anchor must be the entity itself.
        let equal: Postings
        /// Policies whose anchor may be the entity or an ancestor.
        let within: Postings
    }

    init(_ rows: [Program.Row], lists: [UInt32], entityCount: Int) {
        let wordCount = (rows.count + 63) / 64
        self.wordCount = wordCount
        func dimension(_ scope: (Program.Row) -> Program.Scope) -> Dimension {
            var any = Array(repeating: UInt64(0), count: wordCount)
            var types: [(type: UInt32, mask: [UInt64])] = []
            var equal: [(entity: UInt32, row: UInt32)] = []
            var within: [(entity: UInt32, row: UInt32)] = []
            for (number, row) in rows.enumerated() {
                let row32 = UInt32(number)
                switch scope(row) {
                case .any: any.set(number)
                case .equal(let entity): equal.append((entity, row32))
                case .in(let entity), .isTypeIn(_, let entity): within.append((entity, row32))
                case .inSet(let start, let count):
                    within += lists[Int(start)..<Int(start + count)].map { ($0, row32) }
                case .isType(let type):
                    if let known = types.firstIndex(where: { $0.type == type }) {
                        types[known].mask.set(number)
                    } else {
                        var mask = Array(repeating: UInt64(0), count: wordCount)
                        mask.set(number)
                        types.append((type, mask))
                    }
                }
            }
            return Dimension(
                any: any,
                types: types,
                equal: Postings(equal, entityCount: entityCount, wordCount: wordCount),
                within: Postings(within, entityCount: entityCount, wordCount: wordCount)
            )
        }
        principal = dimension(\.principal)
        action = dimension(\.action)
        resource = dimension(\.resource)
        var inexact = Array(repeating: UInt64(0), count: wordCount)
        for (number, row) in rows.enumerated() where row.hasTypeAndPlace { inexact.set(number) }
        self.inexact = inexact
    }

    @inline(__always) func isExact(_ row: Int) -> Bool {
        inexact[row >> 6] & (1 << UInt64(row & 63)) == 0
    }

    /// Policies per entity: a list where they are few, a mask where they are many.
    struct Postings: Sendable {
        private let starts: [UInt32]
        private let rows: [UInt32]
        private let masks: [UInt32: [UInt64]]

        init(_ pairs: [(entity: UInt32, row: UInt32)], entityCount: Int, wordCount: Int) {
            var lists: [[UInt32]] = Array(repeating: [], count: entityCount)
            for pair in pairs { lists[Int(pair.entity)].append(pair.row) }
            var starts: [UInt32] = [0]
            var rows: [UInt32] = []
            var masks: [UInt32: [UInt64]] = [:]
            starts.reserveCapacity(entityCount + 1)
            for (entity, list) in lists.enumerated() {
                // Uniting words costs less than setting bits one by one.
                if list.count > wordCount + 16 {
                    var mask = Array(repeating: UInt64(0), count: wordCount)
                    for row in list { mask.set(Int(row)) }
                    masks[UInt32(entity)] = mask
                } else {
                    rows += list
                }
                starts.append(UInt32(rows.count))
            }
            self.starts = starts
            self.rows = rows
            self.masks = masks
        }

        @inline(__always) func unite(_ entity: Int, into mask: BitMask) {
            for at in Int(starts[entity])..<Int(starts[entity + 1]) { mask.insert(Int(rows[at])) }
            if !masks.isEmpty, let dense = masks[UInt32(entity)] { mask.formUnion(dense[...]) }
        }
    }
}

extension Program.Row {
    fileprivate var hasTypeAndPlace: Bool {
        for scope in [principal, resource] {
            if case .isTypeIn = scope { return true }
        }
        return false
    }
}

extension [UInt64] {
    fileprivate mutating func set(_ bit: Int) { self[bit >> 6] |= 1 << UInt64(bit & 63) }
}
