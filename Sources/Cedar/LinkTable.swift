/// The links of a policy set as rows, found by whom and what they are for.
///
/// A million grants cost a decision no scan: a link can apply only if its principal is the request's or something
/// that is in, and its resource likewise, so that at most one probe for each pair of those is needed, and
/// far fewer where an entity has few links or none. Adding and removing take constant time while the table is not
/// shared; the first change of a shared one copies it.
struct LinkTable: Sendable {
    /// No row.
    static let none = UInt32.max

    struct Row: Sendable {
        /// The template among the sources, or ``LinkTable/none`` for a row that was removed.
        var template: UInt32
        let id: Symbol
        /// Entities of the syntax by number plus one; 0 where the template has no slot.
        let principal: UInt32
        let resource: UInt32
        /// Rows of the same principal, in both directions.
        var next: UInt32
        var previous: UInt32
        /// Rows of the same principal and resource.
        var nextOfPair: UInt32
    }

    /// What is known of an entity, or of there being no slot.
    private struct Anchor: Sendable {
        var first = LinkTable.none
        var principalCount: UInt32 = 0
        var resourceCount: UInt32 = 0
    }

    private(set) var rows: [Row] = []
    /// The rows that were not removed.
    private(set) var count = 0
    private var anchors: [Anchor] = [Anchor()]
    /// The newest row of each pair of principal and resource.
    private var pairs = HashSlots()
    /// The row of each symbol that is an id.
    private var rowsByID: [UInt32] = []

    var removedCount: Int { rows.count - count }

    // MARK: Finding

    func row(withID id: Symbol) -> Int? {
        guard Int(id.index) < rowsByID.count, rowsByID[Int(id.index)] != Self.none else {
            return nil
        }
        return Int(rowsByID[Int(id.index)])
    }

    @inline(__always) func hasPrincipal(_ entity: UInt32) -> Bool {
        Int(entity) < anchors.count && anchors[Int(entity)].principalCount > 0
    }

    @inline(__always) func hasResource(_ entity: UInt32) -> Bool {
        Int(entity) < anchors.count && anchors[Int(entity)].resourceCount > 0
    }

    /// Calls `body` with each row for one of the principals and one of the resources.
    ///
    /// Both hold distinct entities that have such links.
    func forEach(
        principals: UnsafeMutableBufferPointer<UInt32>,
        resources: UnsafeMutableBufferPointer<UInt32>,
        _ body: (Int) -> Void
    ) {
        for principal in principals {
            let anchor = anchors[Int(principal)]
            if principal > 0, anchor.principalCount <= resources.count {
                var at = anchor.first
                while at != Self.none {
                    if resources.contains(rows[Int(at)].resource) { body(Int(at)) }
                    at = rows[Int(at)].next
                }
                continue
            }
            for resource in resources {
                var at = newest(principal, resource)
                while at != Self.none {
                    body(Int(at))
                    at = rows[Int(at)].nextOfPair
                }
            }
        }
    }

    private func newest(_ principal: UInt32, _ resource: UInt32) -> UInt32 {
        let found = pairs.find(ByteHash.combine(principal, resource)) {
            rows[$0].principal == principal && rows[$0].resource == resource
        }
        return found.map(UInt32.init) ?? Self.none
    }

    // MARK: Changing

    /// Adds a row whose id is not taken.
    mutating func add(
        template: Int,
        id: Symbol,
        principal: EntityIndex?,
        resource: EntityIndex?
    ) {
        let number = UInt32(rows.count)
        let (principal, resource) = (
            (principal?.index ?? .max) &+ 1, (resource?.index ?? .max) &+ 1
        )
        while anchors.count <= max(principal, resource) { anchors.append(Anchor()) }
        while rowsByID.count <= id.index { rowsByID.append(Self.none) }
        rowsByID[Int(id.index)] = number
        let sibling = newest(principal, resource)
        // Rows without a principal are never walked one by one.
        let next = principal == 0 ? Self.none : anchors[Int(principal)].first
        rows.append(
            Row(
                template: UInt32(template),
                id: id,
                principal: principal,
                resource: resource,
                next: next,
                previous: Self.none,
                nextOfPair: sibling
            )
        )
        if next != Self.none { rows[Int(next)].previous = number }
        anchors[Int(principal)].first = number
        anchors[Int(principal)].principalCount += 1
        anchors[Int(resource)].resourceCount += 1
        count += 1
        let hash = ByteHash.combine(principal, resource)
        if sibling == Self.none {
            pairs.insert(Int(number), hash)
        } else {
            pairs.replace(Int(sibling), with: Int(number), hash)
        }
    }

    mutating func remove(_ number: Int) {
        let row = rows[number]
        rows[number].template = Self.none
        rowsByID[Int(row.id.index)] = Self.none
        if row.principal > 0 {
            if row.next != Self.none { rows[Int(row.next)].previous = row.previous }
            if row.previous != Self.none {
                rows[Int(row.previous)].next = row.next
            } else {
                anchors[Int(row.principal)].first = row.next
            }
        }
        anchors[Int(row.principal)].principalCount -= 1
        anchors[Int(row.resource)].resourceCount -= 1
        count -= 1
        let hash = Self.hash(row)
        let newest = newest(row.principal, row.resource)
        guard newest == UInt32(number) else {
            var at = Int(newest)
            while rows[at].nextOfPair != UInt32(number) { at = Int(rows[at].nextOfPair) }
            rows[at].nextOfPair = row.nextOfPair
            return
        }
        if row.nextOfPair == Self.none {
            pairs.remove(number, hash)
        } else {
            pairs.replace(number, with: Int(row.nextOfPair), hash)
        }
    }

    private static func hash(_ row: Row) -> UInt32 {
        ByteHash.combine(row.principal, row.resource)
    }
}
