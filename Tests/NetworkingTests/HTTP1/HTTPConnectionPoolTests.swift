import Testing

@testable import Networking

@Suite("HTTP connection pool")
struct HTTPConnectionPoolTests {
    @Test func `the connection used last is used first`() {
        var pool = HTTPConnectionPool(connectionsMax: 3, waitersMax: 1)
        #expect(pool.lease() == .open(1))
        #expect(pool.lease() == .open(2))
        #expect(pool.returned(1) == .nothing)
        #expect(pool.returned(2) == .nothing)
        #expect(pool.lease() == .reuse(2))
        #expect(pool.lease() == .reuse(1))
        #expect(pool.lease() == .open(3))
    }

    @Test func `a full pool makes requests wait in order, and a full queue refuses`() {
        var pool = HTTPConnectionPool(connectionsMax: 1, waitersMax: 2)
        #expect(pool.lease() == .open(1))
        #expect(pool.lease() == .wait(1))
        #expect(pool.lease() == .wait(2))
        #expect(pool.lease() == .refuse)
        #expect(pool.returned(1) == .wake(1, with: .reuse(1)))
        #expect(pool.closed(1) == .wake(2, with: .open(2)))
        #expect(pool.returned(2) == .nothing)
        #expect(pool.connectionCount == 1)
    }

    @Test func `a waiter that gave up gets nothing`() {
        var pool = HTTPConnectionPool(connectionsMax: 1, waitersMax: 2)
        _ = pool.lease()
        #expect(pool.lease() == .wait(1))
        #expect(pool.lease() == .wait(2))
        let gaveUp = [pool.gaveUp(1), pool.gaveUp(1)]
        #expect(gaveUp == [true, false])
        #expect(pool.returned(1) == .wake(2, with: .reuse(1)))
        let late = pool.gaveUp(2)
        #expect(!late)
    }

    @Test func `a death in idleness frees its place once`() {
        var pool = HTTPConnectionPool(connectionsMax: 1, waitersMax: 1)
        _ = pool.lease()
        _ = pool.returned(1)
        #expect(pool.closed(1) == .nothing)
        #expect(pool.closed(1) == .nothing)
        #expect(pool.connectionCount == 0)
        #expect(pool.lease() == .open(2))
    }

    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func `a random walk never exceeds the bounds nor loses a waiter`(_ seed: UInt64) {
        var random = HTTPCodecFuzzTests.Random(state: seed)
        var pool = HTTPConnectionPool(connectionsMax: 4, waitersMax: 3)
        var leased: Set<Int> = []
        var waiting: [Int] = []
        func take(_ lease: HTTPConnectionPool.OnLease) {
            switch lease {
            case .open(let number), .reuse(let number): #expect(leased.insert(number).inserted)
            case .wait(let number): waiting.append(number)
            case .refuse: #expect(waiting.count == 3)
            }
        }
        func apply(_ change: HTTPConnectionPool.OnChange) {
            guard case .wake(let waiter, let lease) = change else { return }
            #expect(waiting.first == waiter)
            waiting.removeFirst()
            take(lease)
        }
        for _ in 0..<5000 {
            switch Int.random(in: 0..<5, using: &random) {
            case 0, 1: take(pool.lease())
            case 2:
                if let number = leased.randomElement(using: &random) {
                    leased.remove(number)
                    apply(pool.returned(number))
                }
            case 3:
                if let number = (Array(leased) + pool.idle).randomElement(using: &random) {
                    leased.remove(number)
                    apply(pool.closed(number))
                }
            default:
                if let number = waiting.randomElement(using: &random) {
                    let gaveUp = pool.gaveUp(number)
                    #expect(gaveUp)
                    waiting.removeAll { $0 == number }
                }
            }
            #expect(pool.leased == leased)
            #expect(pool.connectionCount <= 4)
            #expect(pool.waiters == waiting)
            #expect(waiting.isEmpty || pool.connectionCount == 4)
        }
    }
}
