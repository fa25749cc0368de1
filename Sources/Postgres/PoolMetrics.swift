import CoreMetrics

/// How many connections a pool has, and how many callers wait for one.
struct PoolUsage: Equatable, Sendable {
    var idle = 0
    var used = 0
    var waiting: Int
}

/// Shows what a pool holds; the pools of one process add up.
struct PoolMetrics: Sendable {
    private static let idle = Meter(
        label: "db.client.connection.count",
        dimensions: [("db.client.connection.state", "idle")]
    )
    private static let used = Meter(
        label: "db.client.connection.count",
        dimensions: [("db.client.connection.state", "used")]
    )
    private static let waiting = Meter(label: "db.client.connection.pending_requests")

    private var shown = PoolUsage(waiting: 0)

    mutating func show(_ usage: PoolUsage) {
        guard usage != shown else { return }
        Self.move(Self.idle, by: usage.idle - shown.idle)
        Self.move(Self.used, by: usage.used - shown.used)
        Self.move(Self.waiting, by: usage.waiting - shown.waiting)
        shown = usage
    }

    private static func move(_ meter: Meter, by amount: Int) {
        if amount != 0 { meter.increment(by: Double(amount)) }
    }
}
