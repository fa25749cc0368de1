import Testing

@testable import Postgres

struct ConnectionPoolStateMachineTests {
    typealias Machine = ConnectionPoolStateMachine

    enum Event: Sendable {
        case lease(Int)
        case abandon(Int)
        case release(Int, usable: Bool = true)
        case connected(Int)
        case connectFailed(Int)
        case closed(Int)
        case checked(Int, usable: Bool)
        case tick
        case shutDown
    }

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// Milliseconds, event, and what the machine answers, as text.
        let steps: [(Int, Event, String)]

        init(_ name: String, _ steps: [(Int, Event, String)]) {
            testDescription = name
            self.steps = steps
        }
    }

    static let limits = {
        var limits = PoolLimits()
        limits.connectionsMin = 0
        limits.connectionsMax = 2
        limits.waitersMax = 2
        limits.waitTimeout = .milliseconds(1000)
        limits.idleCheckAfter = .milliseconds(10_000)
        limits.idleTimeout = .milliseconds(35_000)
        limits.lifetimeMax = .milliseconds(160_000)
        limits.backoffFirst = .milliseconds(100)
        limits.backoffMax = .milliseconds(400)
        limits.tripAfter = .milliseconds(600)
        return limits
    }()

    static let rows = [
        Row(
            "a connection is made for the first caller and kept for the next",
            [
                (0, .lease(1), "wait connect 1"), (5, .connected(1), "grant 1 to 1"),
                (6, .release(1), ""), (7, .lease(2), "grant 1"),
            ]
        ),
        Row(
            "callers beyond the connections wait in order, beyond the bound are refused",
            [
                (0, .lease(1), "wait connect 1"), (0, .lease(2), "wait connect 2"),
                (0, .lease(3), "refuse exhausted"),
                (1, .connected(1), "grant 1 to 1"), (1, .lease(4), "wait"),
                (2, .connected(2), "grant 2 to 2"), (3, .release(2), "grant 2 to 4"),
            ]
        ),
        Row(
            "a caller waits only so long",
            [
                (0, .lease(1), "wait connect 1"), (1, .connected(1), "grant 1 to 1"),
                (1, .lease(2), "wait connect 2"), (999, .tick, ""),
                (1001, .tick, "fail 2 exhausted"),
                (1002, .connected(2), ""), (1003, .lease(3), "grant 2"),
            ]
        ),
        Row(
            "a caller who went away gets nothing",
            [
                (0, .lease(1), "wait connect 1"), (0, .abandon(1), "abandoned"),
                (0, .abandon(1), "unknown"), (1, .connected(1), ""), (2, .lease(2), "grant 1"),
            ]
        ),
        Row(
            "a broken connection is closed and another made for who waits",
            [
                (0, .lease(1), "wait connect 1"), (0, .lease(2), "wait connect 2"),
                (1, .connected(1), "grant 1 to 1"), (1, .connected(2), "grant 2 to 2"),
                (2, .lease(3), "wait"), (3, .release(1, usable: false), "close 1, connect 3"),
                (4, .connected(3), "grant 3 to 3"),
            ]
        ),
        Row(
            "the server away: pauses double, callers wait, then are refused, then it is back",
            [
                (0, .lease(1), "wait connect 1"), (0, .connectFailed(1), "close 1"),
                (50, .lease(2), "wait"), (99, .tick, ""), (100, .tick, "connect 2"),
                (100, .tick, ""), (101, .connectFailed(2), "close 2"), (300, .tick, ""),
                (301, .tick, "connect 3"), (302, .connectFailed(3), "close 3"), (701, .tick, ""),
                (702, .tick, "connect 4"),
                (703, .connectFailed(4), "close 4, fail 1 serverAway, fail 2 serverAway"),
                (704, .lease(3), "refuse serverAway"), (1102, .tick, ""),
                (1103, .tick, "connect 5"),
                (1104, .connected(5), ""), (1105, .lease(4), "grant 5"),
            ]
        ),
        Row(
            "attempts that fail together count once",
            [
                (0, .lease(1), "wait connect 1"), (0, .lease(2), "wait connect 2"),
                (1, .connectFailed(1), "close 1"), (2, .connectFailed(2), "close 2"),
                (101, .tick, "connect 3"), (102, .connected(3), "grant 3 to 1, connect 4"),
            ]
        ),
        Row(
            "an idle connection is checked, and closed when it is spare for long",
            [
                (0, .lease(1), "wait connect 1"), (0, .connected(1), "grant 1 to 1"),
                (0, .release(1), ""), (9_999, .tick, ""), (10_000, .tick, "check 1"),
                (10_001, .checked(1, usable: true), ""), (20_001, .tick, "check 1"),
                (20_002, .checked(1, usable: true), ""), (35_000, .tick, "close 1"),
                (35_001, .closed(1), ""), (35_002, .lease(2), "wait connect 2"),
            ]
        ),
        Row(
            "a connection under check is not lent, a failed check closes it",
            [
                (0, .lease(1), "wait connect 1"), (0, .connected(1), "grant 1 to 1"),
                (0, .release(1), ""), (10_000, .tick, "check 1"),
                (10_000, .lease(2), "wait connect 2"),
                (10_001, .checked(1, usable: false), "close 1"),
                (10_002, .connected(2), "grant 2 to 2"),
            ]
        ),
        Row(
            "an idle connection the server ended is forgotten at once",
            [
                (0, .lease(1), "wait connect 1"), (0, .connected(1), "grant 1 to 1"),
                (0, .release(1), ""), (1, .closed(1), "close 1"), (2, .lease(2), "wait connect 2"),
            ]
        ),
        Row(
            "a leased connection the server ended waits for its release",
            [
                (0, .lease(1), "wait connect 1"), (0, .connected(1), "grant 1 to 1"),
                (1, .closed(1), ""), (2, .release(1, usable: false), "close 1"),
                (3, .release(1), ""),
            ]
        ),
        Row(
            "an old connection is not lent again",
            [
                (0, .lease(1), "wait connect 1"), (0, .connected(1), "grant 1 to 1"),
                (160_000, .release(1), "close 1"), (160_001, .lease(2), "wait connect 2"),
            ]
        ),
        Row(
            "shutting down refuses callers and waits for what is lent",
            [
                (0, .lease(1), "wait connect 1"), (0, .lease(2), "wait connect 2"),
                (1, .connected(1), "grant 1 to 1"), (2, .shutDown, "fail 2 closed"),
                (3, .lease(3), "refuse closed"), (4, .connected(2), "close 2"),
                (5, .tick, ""), (6, .release(1), "close 1"), (7, .shutDown, ""),
            ]
        ),
    ]

    @Test(arguments: rows)
    func `history gives these actions`(row: Row) {
        var machine = Machine(Self.limits)
        for (index, (milliseconds, event, expected)) in row.steps.enumerated() {
            let answer = step(&machine, event, now: .milliseconds(milliseconds))
            #expect(answer == expected, "step \(index + 1): \(event)")
        }
    }

    @Test func `the minimum is kept, and made anew`() {
        var limits = Self.limits
        limits.connectionsMin = 2
        var machine = Machine(limits)
        #expect(machine.nextDeadline == .zero)
        #expect(step(&machine, .tick, now: .zero) == "connect 1, connect 2")
        _ = step(&machine, .connected(1), now: .zero)
        _ = step(&machine, .connected(2), now: .zero)
        // Checked, but never closed for being idle.
        #expect(step(&machine, .tick, now: .seconds(40)) == "check 1, check 2")
        _ = step(&machine, .checked(1, usable: true), now: .seconds(41))
        #expect(step(&machine, .checked(2, usable: false), now: .seconds(41)) == "close 2")
        #expect(step(&machine, .tick, now: .seconds(42)) == "connect 3")
    }

    /// A seeded walk over all events, with what must hold after each.
    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func `no walk lends twice, exceeds a bound or forgets a caller`(seed: UInt64) {
        var random = Seeded(state: seed)
        var machine = Machine(Self.limits)
        var now = Duration.zero
        var waiting: Set<Int> = []
        var (connecting, leased, checking, live): (Set<Int>, Set<Int>, Set<Int>, Set<Int>) =
            ([], [], [], [])
        var waiter = 0
        func apply(_ actions: [Machine.Action]) {
            for action in actions {
                switch action {
                case .connect(let id):
                    let isNew = live.insert(id.value).inserted
                    #expect(isNew)
                    connecting.insert(id.value)
                case .close(let id):
                    #expect(!leased.contains(id.value))
                    live.remove(id.value)
                    checking.remove(id.value)
                case .check(let id):
                    #expect(!leased.contains(id.value))
                    checking.insert(id.value)
                case .grant(let id, let waiter):
                    let isFree = live.contains(id.value) && leased.insert(id.value).inserted
                    let waited = waiting.remove(waiter.value) != nil
                    #expect(isFree && waited)
                case .fail(let waiter, _):
                    let waited = waiting.remove(waiter.value) != nil
                    #expect(waited)
                }
            }
        }
        for _ in 0..<5_000 {
            now += .milliseconds(Int(random.next() % 200))
            switch random.next() % 9 {
            case 0, 1:
                waiter += 1
                switch machine.lease(Machine.WaiterID(value: waiter), now: now) {
                case .grant(let id):
                    let isFree = live.contains(id.value) && leased.insert(id.value).inserted
                    #expect(isFree)
                    #expect(!checking.contains(id.value))
                case .wait(let connect):
                    waiting.insert(waiter)
                    if let connect { apply([.connect(connect)]) }
                case .refuse:
                    break
                }
            case 2:
                if let one = waiting.min() {
                    waiting.remove(one)
                    let didWait = machine.abandon(Machine.WaiterID(value: one))
                    #expect(didWait)
                }
            case 3, 4:
                if let id = leased.min() {
                    leased.remove(id)
                    let isUsable = random.next() % 4 != 0
                    apply(
                        machine.release(
                            Machine.ConnectionID(value: id),
                            isUsable: isUsable,
                            now: now
                        )
                    )
                }
            case 5:
                if let id = connecting.min() {
                    connecting.remove(id)
                    apply(machine.connected(Machine.ConnectionID(value: id), now: now))
                }
            case 6:
                if let id = connecting.min() {
                    connecting.remove(id)
                    apply(machine.connectFailed(Machine.ConnectionID(value: id), now: now))
                }
            case 7:
                if let id = checking.min() {
                    checking.remove(id)
                    let isUsable = random.next() % 2 == 0
                    apply(
                        machine.checked(
                            Machine.ConnectionID(value: id),
                            isUsable: isUsable,
                            now: now
                        )
                    )
                }
            default:
                apply(machine.tick(now: now))
            }
            #expect(live.count <= Self.limits.connectionsMax)
            #expect(waiting.count <= Self.limits.waitersMax)
            #expect(waiting.isEmpty || machine.nextDeadline != nil)
        }
        apply(machine.shutDown())
        #expect(waiting.isEmpty)
        for id in connecting { apply(machine.connected(Machine.ConnectionID(value: id), now: now)) }
        for id in checking {
            apply(machine.checked(Machine.ConnectionID(value: id), isUsable: true, now: now))
        }
        for id in leased {
            leased.remove(id)
            apply(machine.release(Machine.ConnectionID(value: id), isUsable: true, now: now))
        }
        #expect(live.isEmpty)
        #expect(machine.state == .shutDown)
    }

    private func step(_ machine: inout Machine, _ event: Event, now: Duration) -> String {
        func connection(_ id: Int) -> Machine.ConnectionID { Machine.ConnectionID(value: id) }
        let actions: [Machine.Action]
        switch event {
        case .lease(let id):
            switch machine.lease(Machine.WaiterID(value: id), now: now) {
            case .grant(let id): return "grant \(id.value)"
            case .wait(let connect): return "wait" + (connect.map { " connect \($0.value)" } ?? "")
            case .refuse(let refusal): return "refuse \(refusal)"
            }
        case .abandon(let id):
            return machine.abandon(Machine.WaiterID(value: id)) ? "abandoned" : "unknown"
        case .release(let id, let usable):
            actions = machine.release(connection(id), isUsable: usable, now: now)
        case .connected(let id): actions = machine.connected(connection(id), now: now)
        case .connectFailed(let id): actions = machine.connectFailed(connection(id), now: now)
        case .closed(let id): actions = machine.closed(connection(id), now: now)
        case .checked(let id, let usable):
            actions = machine.checked(connection(id), isUsable: usable, now: now)
        case .tick: actions = machine.tick(now: now)
        case .shutDown: actions = machine.shutDown()
        }
        return actions.map { action in
            switch action {
            case .connect(let id): "connect \(id.value)"
            case .close(let id): "close \(id.value)"
            case .check(let id): "check \(id.value)"
            case .grant(let id, let waiter): "grant \(id.value) to \(waiter.value)"
            case .fail(let waiter, let refusal): "fail \(waiter.value) \(refusal)"
            }
        }.joined(separator: ", ")
    }
}

/// SplitMix64, so that a seed in a failure's message repeats it.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
