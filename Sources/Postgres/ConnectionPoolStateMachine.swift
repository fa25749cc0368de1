/// Which connections a pool has, who waits for one, and when to stop asking a server that is away.
///
///     running ──connect fails──▶ failing ──for tripAfter──▶ circuitOpen
///        ▲                          │                            │
///        └──────── connected ───────┴──────── connected ─────────┘
///     any of them ──shutDown──▶ shuttingDown ──last connection closed──▶ shutDown (terminal)
///
/// - running: the server answers; connections are made as callers need them.
/// - failing: the last attempt failed; attempts go on, one at a time, with growing pauses; callers wait.
/// - circuitOpen: failing for so long that callers are refused at once; attempts go on and close the circuit.
/// - shuttingDown: callers are refused; leased connections are waited for.
///
/// Pure: identifiers instead of connections, time as an argument (a duration since the pool began).
/// Bad events: releasing what is not leased is our bug (assert); everything about an identifier that is already gone is a
/// race between the connection's thread and the pool, and ignored.
struct ConnectionPoolStateMachine: Equatable, Sendable {
    typealias Instant = Duration
    struct ConnectionID: Hashable, Sendable { let value: Int }
    struct WaiterID: Hashable, Sendable { let value: Int }

    enum State: Equatable, Sendable {
        case running
        case failing(since: Instant, attempts: Int, nextAttempt: Instant)
        case circuitOpen(attempts: Int, nextAttempt: Instant)
        case shuttingDown
        case shutDown
    }

    enum Refusal: Equatable, Sendable { case exhausted, serverAway, closed }

    enum OnLease: Equatable {
        case grant(ConnectionID)
        /// The caller waits; a connection is to be made if one is named.
        case wait(connect: ConnectionID?)
        case refuse(Refusal)
    }

    enum Action: Equatable {
        case connect(ConnectionID)
        case close(ConnectionID)
        /// Ask the server whether it is still there, then report `checked`.
        case check(ConnectionID)
        case grant(ConnectionID, WaiterID)
        case fail(WaiterID, Refusal)
    }

    private enum Use: Equatable, Sendable {
        case connecting
        case idle(since: Instant, checked: Instant)
        case leased
        case checking(idleSince: Instant)
    }

    private struct Entry: Equatable, Sendable {
        var use: Use
        var born: Instant
    }

    private struct Waiter: Equatable, Sendable {
        let id: WaiterID
        let deadline: Instant
    }

    let limits: PoolLimits
    private(set) var state = State.running
    private var connections: [ConnectionID: Entry] = [:]
    /// The most recently used last: taking from the end keeps a small pool warm and lets the rest grow old.
    private var idle: [ConnectionID] = []
    /// First come, first served.
    private var waiters: [Waiter] = []
    private var nextConnection = 0

    init(_ limits: PoolLimits) {
        self.limits = limits
    }

    // MARK: - Callers

    mutating func lease(_ waiter: WaiterID, now: Instant) -> OnLease {
        switch state {
        case .shuttingDown, .shutDown: return .refuse(.closed)
        case .circuitOpen: return .refuse(.serverAway)
        case .running, .failing: break
        }
        if let id = takeIdle(now: now) { return .grant(id) }
        guard waiters.count < limits.waitersMax else { return .refuse(.exhausted) }
        waiters.append(Waiter(id: waiter, deadline: now + limits.waitTimeout))
        guard case .running = state, connectingCount < waiters.count else {
            return .wait(connect: nil)
        }
        return .wait(connect: makeConnection(now: now))
    }

    /// The caller no longer waits; true if it still did.
    mutating func abandon(_ waiter: WaiterID) -> Bool {
        guard let index = waiters.firstIndex(where: { $0.id == waiter }) else { return false }
        waiters.remove(at: index)
        return true
    }

    mutating func release(_ id: ConnectionID, isUsable: Bool, now: Instant) -> [Action] {
        guard let entry = connections[id] else { return [] }
        guard entry.use == .leased else {
            assertionFailure("a connection was released that is not leased")
            return []
        }
        return putBack(id, entry, isUsable: isUsable, idleSince: now, now: now)
    }

    // MARK: - Connections

    mutating func connected(_ id: ConnectionID, now: Instant) -> [Action] {
        guard var entry = connections[id], entry.use == .connecting else { return [] }
        switch state {
        case .failing, .circuitOpen: state = .running
        case .running, .shuttingDown, .shutDown: break
        }
        entry.born = now
        connections[id] = entry
        var actions = putBack(id, entry, isUsable: true, idleSince: now, now: now)
        // The first to get through opens the way for all who wait.
        actions += connectForWaiters(now: now)
        return actions
    }

    mutating func connectFailed(_ id: ConnectionID, now: Instant) -> [Action] {
        guard connections[id]?.use == .connecting else { return [] }
        connections[id] = nil
        return [.close(id)] + attemptFailed(now: now)
    }

    private mutating func attemptFailed(now: Instant) -> [Action] {
        switch state {
        case .running:
            state = .failing(since: now, attempts: 1, nextAttempt: now + limits.backoff(after: 1))
            return []
        case .failing(let since, let attempts, let nextAttempt):
            // Several attempts may have been under way when the first failed: one failure, not many.
            guard now >= nextAttempt else { return [] }
            let next = now + limits.backoff(after: attempts + 1)
            guard now - since >= limits.tripAfter else {
                state = .failing(since: since, attempts: attempts + 1, nextAttempt: next)
                return []
            }
            state = .circuitOpen(attempts: attempts + 1, nextAttempt: next)
            return failAll(.serverAway)
        case .circuitOpen(let attempts, _):
            state = .circuitOpen(
                attempts: attempts + 1,
                nextAttempt: now + limits.backoff(after: attempts + 1)
            )
            return []
        case .shuttingDown:
            finishShutDown()
            return []
        case .shutDown:
            return []
        }
    }

    /// The connection ended, by whomever.
    mutating func closed(_ id: ConnectionID, now: Instant) -> [Action] {
        guard let entry = connections[id], entry.use != .leased else { return [] }
        return putBack(id, entry, isUsable: false, idleSince: now, now: now)
    }

    mutating func checked(_ id: ConnectionID, isUsable: Bool, now: Instant) -> [Action] {
        guard let entry = connections[id], case .checking(let since) = entry.use else { return [] }
        return putBack(id, entry, isUsable: isUsable, idleSince: since, now: now)
    }

    // MARK: - Time

    /// What is due: waiters whose time is over, attempts, checks, old connections, the minimum.
    mutating func tick(now: Instant) -> [Action] {
        if state == .shuttingDown || state == .shutDown { return [] }
        var actions: [Action] = []
        while let first = waiters.first, first.deadline <= now {
            waiters.removeFirst()
            actions.append(.fail(first.id, .exhausted))
        }
        switch state {
        case .failing(_, _, let next), .circuitOpen(_, let next):
            if next <= now, connectingCount == 0, let id = makeConnection(now: now) {
                actions.append(.connect(id))
            }
        case .running:
            while connections.count < limits.connectionsMin, let id = makeConnection(now: now) {
                actions.append(.connect(id))
            }
        case .shuttingDown, .shutDown:
            break
        }
        for id in idle {
            guard let entry = connections[id], case .idle(let since, let checked) = entry.use else {
                continue
            }
            let isSpare = connections.count > limits.connectionsMin
            if isTooOld(id, entry, now: now) || (isSpare && since + limits.idleTimeout <= now) {
                remove(id)
                actions.append(.close(id))
            } else if checked + limits.idleCheckAfter <= now {
                idle.removeAll { $0 == id }
                connections[id]?.use = .checking(idleSince: since)
                actions.append(.check(id))
            }
        }
        return actions
    }

    /// When `tick` has something to do next; nil for not before another event.
    var nextDeadline: Instant? {
        var deadlines: [Instant] = []
        if let first = waiters.first { deadlines.append(first.deadline) }
        switch state {
        case .failing(_, _, let next), .circuitOpen(_, let next):
            if connectingCount == 0 { deadlines.append(next) }
        case .running:
            if connections.count < limits.connectionsMin { deadlines.append(.zero) }
        case .shuttingDown, .shutDown:
            return nil
        }
        for id in idle {
            guard let entry = connections[id], case .idle(let since, let checked) = entry.use else {
                continue
            }
            deadlines.append(checked + limits.idleCheckAfter)
            deadlines.append(entry.born + lifetime(id))
            if connections.count > limits.connectionsMin {
                deadlines.append(since + limits.idleTimeout)
            }
        }
        return deadlines.min()
    }

    /// Refuses callers from now on; connections close as they come back.
    mutating func shutDown() -> [Action] {
        guard state != .shuttingDown, state != .shutDown else { return [] }
        state = .shuttingDown
        var actions = failAll(.closed)
        for id in idle {
            remove(id)
            actions.append(.close(id))
        }
        finishShutDown()
        return actions
    }

    // MARK: - Details

    /// What the pool holds, for metrics.
    var usage: PoolUsage {
        var usage = PoolUsage(waiting: waiters.count)
        for entry in connections.values {
            switch entry.use {
            case .connecting: break
            case .idle: usage.idle += 1
            case .leased, .checking: usage.used += 1
            }
        }
        return usage
    }

    private var connectingCount: Int {
        connections.values.count { $0.use == .connecting }
    }

    private mutating func takeIdle(now: Instant) -> ConnectionID? {
        guard let id = idle.popLast() else { return nil }
        connections[id]?.use = .leased
        return id
    }

    private mutating func makeConnection(now: Instant) -> ConnectionID? {
        guard connections.count < limits.connectionsMax else { return nil }
        nextConnection += 1
        let id = ConnectionID(value: nextConnection)
        connections[id] = Entry(use: .connecting, born: now)
        return id
    }

    private mutating func connectForWaiters(now: Instant) -> [Action] {
        guard case .running = state else { return [] }
        var actions: [Action] = []
        while connectingCount < waiters.count, let id = makeConnection(now: now) {
            actions.append(.connect(id))
        }
        return actions
    }

    private mutating func putBack(
        _ id: ConnectionID,
        _ entry: Entry,
        isUsable: Bool,
        idleSince: Instant,
        now: Instant
    ) -> [Action] {
        let isWelcome: Bool
        switch state {
        case .running, .failing, .circuitOpen:
            isWelcome = isUsable && !isTooOld(id, entry, now: now)
        case .shuttingDown, .shutDown:
            isWelcome = false
        }
        guard isWelcome else {
            remove(id)
            finishShutDown()
            return [.close(id)] + connectForWaiters(now: now)
        }
        if let waiter = waiters.first {
            waiters.removeFirst()
            connections[id]?.use = .leased
            return [.grant(id, waiter.id)]
        }
        connections[id]?.use = .idle(since: idleSince, checked: now)
        idle.append(id)
        return []
    }

    /// Spread over a tenth of the lifetime by number, so that connections made together do not end together.
    private func lifetime(_ id: ConnectionID) -> Duration {
        limits.lifetimeMax - limits.lifetimeMax / 160 * (id.value % 16)
    }

    private func isTooOld(_ id: ConnectionID, _ entry: Entry, now: Instant) -> Bool {
        now - entry.born >= lifetime(id)
    }

    private mutating func remove(_ id: ConnectionID) {
        connections[id] = nil
        idle.removeAll { $0 == id }
    }

    private mutating func failAll(_ refusal: Refusal) -> [Action] {
        defer { waiters = [] }
        return waiters.map { .fail($0.id, refusal) }
    }

    private mutating func finishShutDown() {
        if state == .shuttingDown, connections.isEmpty { state = .shutDown }
    }
}

/// The bounds of a pool.
public struct PoolLimits: Sendable, Equatable {
    /// How many connections are kept even when nobody needs them.
    ///
    /// Default 1.
    public var connectionsMin = 1
    /// How many connections there may be; PostgreSQL pays a process for each.
    ///
    /// Default 8.
    public var connectionsMax = 8
    /// How many callers may wait for a connection.
    ///
    /// Default 256; one more is refused at once.
    public var waitersMax = 256
    /// How long a caller waits for a connection.
    ///
    /// Default 1 s, the time budget of a durable record.
    public var waitTimeout: Duration = .seconds(1)
    /// How long a connection may rest before the server is asked whether it is still there.
    ///
    /// Default 30 s.
    public var idleCheckAfter: Duration = .seconds(30)
    /// How long a connection beyond the minimum may rest before it is closed.
    ///
    /// Default 5 min.
    public var idleTimeout: Duration = .seconds(300)
    /// How long a connection lives at most; the server's memory per connection only grows.
    ///
    /// Default 30 min.
    public var lifetimeMax: Duration = .seconds(1800)
    /// The pause after the first failed attempt to connect; it doubles with each.
    ///
    /// Default 50 ms.
    public var backoffFirst: Duration = .milliseconds(50)
    /// The longest pause between attempts.
    ///
    /// Default 2 s.
    public var backoffMax: Duration = .seconds(2)
    /// How long attempts may fail before callers are refused at once.
    ///
    /// Default 2 s.
    public var tripAfter: Duration = .seconds(2)

    /// The defaults.
    public init() {}

    func backoff(after attempts: Int) -> Duration {
        var pause = backoffFirst
        for _ in 1..<max(attempts, 1) {
            pause *= 2
            if pause >= backoffMax { return backoffMax }
        }
        return min(pause, backoffMax)
    }
}
