/// Which connection carries which request: the pool of one origin on one loop, as a pure value.
///
/// Connections are numbers here; whoever gets ``OnLease/open(_:)`` opens that one and uses it
/// first. A connection counts from the decision to open it until it is reported closed:
///
///     (open) ──▶ leased ──returned──▶ idle ──lease──▶ leased
///                  │                    │
///                  └──────closed────────┴──▶ gone; its place goes to the first waiter
///
/// Bad events: returning or closing a connection that is not leased is our bug (precondition),
/// except that an idle one may close at any time (a race with the peer), and a waiter may be gone
/// when it is cancelled (ignored).
struct HTTPConnectionPool: Equatable {
    typealias ConnectionNumber = Int
    typealias WaiterNumber = Int

    /// What a request that needs a connection does.
    enum OnLease: Equatable {
        /// Use this idle connection: the one used last, since the others are the likelier to be
        /// stale.
        case reuse(ConnectionNumber)
        /// Open a connection under this number.
        case open(ConnectionNumber)
        /// Wait under this number until told.
        case wait(WaiterNumber)
        /// The queue is full.
        case refuse
    }

    /// What the end of a lease or of a connection sets off.
    enum OnChange: Equatable {
        case nothing
        case wake(WaiterNumber, with: OnLease)
    }

    let connectionsMax: Int
    let waitersMax: Int
    private(set) var idle: [ConnectionNumber] = []
    private(set) var leased: Set<ConnectionNumber> = []
    private(set) var waiters: [WaiterNumber] = []
    private var lastConnection = 0
    private var lastWaiter = 0

    init(connectionsMax: Int, waitersMax: Int) {
        precondition(connectionsMax > 0, "a pool without connections serves nobody")
        self.connectionsMax = connectionsMax
        self.waitersMax = waitersMax
    }

    var connectionCount: Int { idle.count + leased.count }

    /// A request needs a connection.
    mutating func lease() -> OnLease {
        if let connection = idle.popLast() {
            leased.insert(connection)
            return .reuse(connection)
        }
        if connectionCount < connectionsMax { return .open(newConnection()) }
        guard waiters.count < waitersMax else { return .refuse }
        lastWaiter += 1
        waiters.append(lastWaiter)
        return .wait(lastWaiter)
    }

    /// A response was read to its clean end, and the connection may carry another request.
    mutating func returned(_ connection: ConnectionNumber) -> OnChange {
        precondition(leased.contains(connection), "only a leased connection is returned")
        if let waiter = nextWaiter() { return .wake(waiter, with: .reuse(connection)) }
        leased.remove(connection)
        idle.append(connection)
        return .nothing
    }

    /// A connection is gone, or was never made.
    mutating func closed(_ connection: ConnectionNumber) -> OnChange {
        if leased.remove(connection) == nil {
            guard let index = idle.firstIndex(of: connection) else { return .nothing }
            idle.remove(at: index)
        }
        guard let waiter = nextWaiter() else { return .nothing }
        return .wake(waiter, with: .open(newConnection()))
    }

    /// A waiting request gave up.
    ///
    /// - Returns: False when it had been given a connection already.
    mutating func gaveUp(_ waiter: WaiterNumber) -> Bool {
        guard let index = waiters.firstIndex(of: waiter) else { return false }
        waiters.remove(at: index)
        return true
    }

    private mutating func nextWaiter() -> WaiterNumber? {
        waiters.isEmpty ? nil : waiters.removeFirst()
    }

    private mutating func newConnection() -> ConnectionNumber {
        lastConnection += 1
        leased.insert(lastConnection)
        return lastConnection
    }
}
