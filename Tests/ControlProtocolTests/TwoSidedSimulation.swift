import ControlProtocol
import Foundation
import GatewayModel
import Testing

/// Both ends of the link against each other, one seed, one history.
///
/// The network delays, cuts, repeats and loses; processes die; time is a number. What must hold, whatever happened:
///
/// - a gated record is released only if its store has it, in an epoch that was open when it was stored;
/// - an epoch is never closed under a lease that its proxy still believes in;
/// - nothing a living process was promised is lost, and nothing is stored twice;
/// - each stored intent ends with exactly one outcome once its epoch is closed.
struct TwoSidedSimulation {
    struct Random: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
    }

    /// What control's database would hold.
    struct Store {
        struct Epoch {
            var boot: [UInt8]
            var closed = false
            var leaseUntil: Int64
            var records: [UInt64: String] = [:]
            var outcomes: [UInt64: String] = [:]
            var annotations = 0
        }
        var epochs: [UInt64: Epoch] = [:]
        var last: UInt64 = 0

        mutating func open(
            boot: [UInt8],
            resume: UInt64,
            now: Int64,
            lease: Int64
        ) -> (UInt64, UInt64) {
            if resume != 0, let epoch = epochs[resume], !epoch.closed, epoch.boot == boot {
                epochs[resume]?.leaseUntil = max(epoch.leaseUntil, now + lease)
                return (resume, watermark(of: resume))
            }
            for (number, epoch) in epochs where !epoch.closed {
                close(number)
                _ = epoch
            }
            last += 1
            epochs[last] = Epoch(boot: boot, leaseUntil: now + lease)
            return (last, 0)
        }

        func watermark(of epoch: UInt64) -> UInt64 {
            var n: UInt64 = 0
            while epochs[epoch]?.records[n + 1] != nil {
                n += 1
            }
            return n
        }

        mutating func commit(_ append: WireAppend) {
            for record in append.records {
                let body = String(decoding: record.body, as: UTF8.self)
                guard var epoch = epochs[append.epoch] else {
                    Issue.record("a batch for an epoch that was never assigned")
                    return
                }
                if let twin = epoch.records[record.n] {
                    #expect(twin == body, "a number came again with other bytes")
                    continue
                }
                if epoch.closed {
                    epoch.annotations += 1
                } else {
                    epoch.records[record.n] = body
                    if body.hasPrefix("outcome "), let intent = UInt64(body.dropFirst(8)) {
                        #expect(epoch.outcomes[intent] == nil, "a second outcome for \(intent)")
                        epoch.outcomes[intent] = "own"
                    }
                }
                epochs[append.epoch] = epoch
            }
        }

        mutating func close(_ number: UInt64) {
            guard var epoch = epochs[number], !epoch.closed else {
                return
            }
            epoch.closed = true
            for (n, body) in epoch.records
            where body.hasPrefix("intent") && epoch.outcomes[n] == nil {
                epoch.outcomes[n] = "unknown"
            }
            epochs[number] = epoch
        }
    }

    enum Flight {
        case up(WireProxyMessage, stream: Int)
        case down(WireControlMessage, stream: Int)
        case opened(stream: Int)
        case lost(stream: Int)
        case stored(WireAppend, stream: Int)
        case epoch(ControlSession.Opening, stream: Int)
        case leaseStored(UInt64, stream: Int)
    }

    var random: Random
    var now: Int64 = 0
    var flights: [(at: Int64, order: Int, flight: Flight)] = []
    var order = 0
    var store = Store()
    var proxy: ProxySession
    var boots: UInt8 = 0
    var stream = 0
    var control: [Int: ControlSession] = [:]
    /// The earliest time at which the next thing may arrive, per direction: a stream keeps its order.
    var upFree: Int64 = 0
    var downFree: Int64 = 0
    var storeFree: Int64 = 0
    var waiting: Set<UInt64> = []
    var released: [(epoch: UInt64, n: UInt64, at: Int64)] = []
    /// Intents of the living process whose outcome is due: n.
    var running: [UInt64] = []
    /// The network is well.
    var calm = false
    /// Nobody calls any more.
    var quiet = false
    /// Until when every message is lost, silently.
    var partitionedUntil: Int64 = 0
    var partitions = 0
    /// Streams that lost a message.
    var silent: Set<Int> = []
    var refusals = 0
    var restarts = 0
    var renewals = 0
    var cuts = 0
    static let lease: Int64 = 3000

    init(seed: UInt64) {
        random = Random(state: seed)
        proxy = ProxySession(
            bootID: Array(repeating: 1, count: 16),
            softwareVersion: "sim",
            now: .init(nanoseconds: 0)
        )
    }

    var instant: MonotonicInstant {
        MonotonicInstant(nanoseconds: now * 1_000_000)
    }

    mutating func chance(_ percent: Int) -> Bool {
        !calm && Int.random(in: 0..<1000, using: &random) < percent
    }

    mutating func schedule(_ flight: Flight, after delay: Int64) {
        order += 1
        flights.append((now + delay, order, flight))
    }

    mutating func sendUp(_ message: WireProxyMessage) {
        upFree = max(upFree, now + Int64.random(in: 1...(calm ? 2 : 60), using: &random))
        schedule(.up(message, stream: stream), after: upFree - now)
    }

    mutating func sendDown(_ message: WireControlMessage, stream: Int) {
        downFree = max(downFree, now + Int64.random(in: 1...(calm ? 2 : 60), using: &random))
        schedule(.down(message, stream: stream), after: downFree - now)
    }

    mutating func cut() {
        cuts += 1
        schedule(.lost(stream: stream), after: 0)
        control[stream] = nil
    }

    mutating func run(milliseconds: Int64) {
        let end = now + milliseconds
        while now < end {
            now += 1
            step()
        }
    }

    mutating func step() {
        // The network and the store.
        let due = flights.filter { $0.at <= now }.sorted { ($0.at, $0.order) < ($1.at, $1.order) }
        if !due.isEmpty {
            flights.removeAll { $0.at <= now }
        }
        for (_, _, flight) in due {
            arrive(flight)
        }
        // Control closes what has outlived its lease.
        for (number, epoch) in store.epochs where !epoch.closed && epoch.leaseUntil + 500 < now {
            store.close(number)
            for (stream, session) in control {
                if case .live(let live) = session.state, live.epoch == number {
                    control[stream] = nil
                    schedule(.lost(stream: stream), after: 1)
                }
            }
        }
        // Misfortune.
        if chance(2) {
            cut()
        }
        if chance(1), Int.random(in: 0..<5, using: &random) == 0 {
            restart()
        }
        if now > partitionedUntil, chance(1), Int.random(in: 0..<3, using: &random) == 0 {
            partitions += 1
            partitionedUntil = now + Int64.random(in: 500...9000, using: &random)
        }
        if calm {
            partitionedUntil = 0
        }
        // The lease ends here before control's books say so.
        if proxy.lease.isCurrent(at: instant), let epoch = store.epochs[proxy.epoch] {
            #expect(!epoch.closed, "an epoch was closed under a standing lease")
        }
        // Calls.
        if !quiet, Int.random(in: 0..<3, using: &random) == 0 {
            call()
        }
        if !running.isEmpty, Int.random(in: 0..<3, using: &random) == 0 {
            finish(running.removeFirst())
        }
        // The proxy's clock.
        if now % 2 == 0 {
            let result = proxy.tick(now: instant)
            for n in result.overdue {
                stop(n)
            }
            for message in result.send {
                sendUp(message)
            }
            if result.abandon {
                control[stream] = nil
                for n in proxy.lost(now: instant) {
                    stop(n)
                }
            }
            if result.connect {
                stream += 1
                upFree = 0
                downFree = 0
                schedule(.opened(stream: stream), after: Int64.random(in: 1...20, using: &random))
            }
        }
    }

    mutating func restart() {
        restarts += 1
        boots += 1
        proxy = ProxySession(
            bootID: Array(repeating: boots &+ 1, count: 16),
            softwareVersion: "sim",
            now: instant
        )
        control[stream] = nil
        stream += 1
        waiting = []
        running = []
    }

    mutating func record(_ body: String, gate: Bool) -> UInt64? {
        var record = WireRecord()
        record.lane = .committed
        record.n = proxy.nextNumber
        record.body = Data(body.utf8)
        switch proxy.append(record, gate: gate, now: instant) {
        case .admitted(let n, let send):
            if let send {
                var message = WireProxyMessage()
                message.append = send
                sendUp(message)
            }
            return n
        case .refused:
            refusals += 1
            return nil
        }
    }

    mutating func call() {
        guard proxy.lease.isCurrent(at: instant), let n = record("intent", gate: true) else {
            return
        }
        waiting.insert(n)
    }

    /// The call of intent `n` may go to its server.
    mutating func release(_ n: UInt64) {
        #expect(waiting.remove(n) != nil, "a release that nobody waits for")
        let epoch = proxy.epoch
        #expect(store.epochs[epoch]?.records[n] == "intent", "released, but not stored")
        if proxy.lease.isCurrent(at: instant) {
            #expect(store.epochs[epoch].map { !$0.closed } == true, "released into a closed epoch")
            released.append((epoch, n, now))
        }
        running.append(n)
    }

    /// The call of intent `n` stops before it was forwarded.
    mutating func stop(_ n: UInt64) {
        #expect(waiting.remove(n) != nil, "a stop that nobody waits for")
        finish(n)
    }

    mutating func finish(_ n: UInt64) {
        _ = record("outcome \(n)", gate: false)
    }

    mutating func arrive(_ flight: Flight) {
        switch flight {
        case .up(_, let its), .down(_, let its), .opened(let its), .lost(let its):
            // A stream that lost one message delivers no other: neither end hears of it, it just falls silent.
            if now < partitionedUntil {
                silent.insert(its)
            }
            if silent.contains(its) {
                return
            }
        case .stored, .epoch, .leaseStored:
            break
        }
        switch flight {
        case .opened(let its):
            guard its == stream, let hello = proxy.opened(now: instant) else {
                return
            }
            control[its] = ControlSession(
                limits: {
                    var limits = ControlSession.Limits()
                    limits.leaseMilliseconds = UInt32(Self.lease)
                    limits.heartbeatMilliseconds = 200
                    return limits
                }()
            )
            sendUp(hello)
        case .lost(let its):
            guard its == stream else {
                return
            }
            control[its] = nil
            for n in proxy.lost(now: instant) {
                stop(n)
            }
        case .up(let message, let its):
            guard var session = control[its] else {
                return
            }
            let result = session.received(message)
            control[its] = session
            switch result {
            case .open(let opening):
                schedule(
                    .epoch(opening, stream: its),
                    after: Int64.random(in: 1...30, using: &random)
                )
            case .commit(let append):
                storeFree = max(storeFree, now) + Int64.random(in: 1...5, using: &random)
                schedule(.stored(append, stream: its), after: storeFree - now)
            case .storeLease(let sequence):
                schedule(
                    .leaseStored(sequence, stream: its),
                    after: Int64.random(in: 1...10, using: &random)
                )
            case .violation(let text):
                Issue.record("control saw a violation: \(text)")
            default:
                break
            }
        case .epoch(let opening, let its):
            guard var session = control[its] else {
                return
            }
            let (epoch, watermark) = store.open(
                boot: opening.bootID,
                resume: opening.resumeEpoch,
                now: now,
                lease: Self.lease
            )
            for message in session.opened(
                epoch: epoch,
                watermark: watermark,
                snapshot: nil,
                credentials: .init()
            ) {
                sendDown(message, stream: its)
            }
            control[its] = session
        case .stored(let append, let its):
            // A commit happens whether or not anybody is left to hear of it; now and then it does not happen.
            if chance(5) {
                cut()
                return
            }
            store.commit(append)
            guard var session = control[its] else {
                return
            }
            if let last = append.records.last?.n,
                let message = session.committed(epoch: append.epoch, upTo: last, refused: [])
            {
                sendDown(message, stream: its)
                if chance(20) {
                    sendDown(message, stream: its)  // Said twice.
                }
            }
            control[its] = session
        case .leaseStored(let sequence, let its):
            guard let session = control[its], case .live(let live) = session.state,
                store.epochs[live.epoch]?.closed == false
            else {
                return
            }
            store.epochs[live.epoch]?.leaseUntil = now + Self.lease
            if let message = session.leaseStored(sequence: sequence) {
                sendDown(message, stream: its)
            }
        case .down(let message, let its):
            guard its == stream else {
                return
            }
            let result = proxy.received(message, now: instant)
            #expect(result.violation == nil, "the proxy saw a violation: \(result.violation ?? "")")
            for n in result.abandoned {
                waiting.remove(n)
            }
            if result.epochChanged {
                renewals += 1
                running = []
            }
            for n in result.durable {
                release(n)
            }
            for message in result.send {
                sendUp(message)
            }
        }
    }

    /// The network heals; everything owed arrives.
    mutating func recover() {
        calm = true
        // Longer than an attempt that went out into the silence takes to be given up.
        run(milliseconds: 9000)
        quiet = true
        while !running.isEmpty {
            run(milliseconds: 100)
        }
        run(milliseconds: 1000)
    }
}

@Suite struct LinkSimulationTests {
    /// Fixed seeds, and as many more as `OSTIARY_FUZZ_SECONDS` asks for (one takes about half a second).
    static let seeds: [UInt64] = {
        let more =
            ProcessInfo.processInfo.environment["OSTIARY_FUZZ_SECONDS"].flatMap(Int.init) ?? 0
        return Array(1...UInt64(12 + 2 * more))
    }()

    @Test(arguments: seeds)
    func `nothing is lost, doubled or released unrecorded, whatever the link does`(seed: UInt64) {
        var world = TwoSidedSimulation(seed: seed)
        world.run(milliseconds: 30_000)
        world.recover()

        if seed <= 12 {
            #expect(world.released.count > 100, "the history is too quiet to prove anything")
            #expect(world.cuts > 0 && world.partitions > 0 && world.renewals > 1)
        }
        #expect(world.proxy.owed.isEmpty, "something is still owed after the network healed")
        #expect(world.proxy.late.isEmpty, "something late is still owed after the network healed")

        // The process dies for good; its epoch is closed.
        for number in world.store.epochs.keys {
            world.store.close(number)
        }
        for (number, epoch) in world.store.epochs {
            let intents = epoch.records.filter { $0.value == "intent" }.keys
            #expect(
                Set(intents) == Set(epoch.outcomes.keys),
                "epoch \(number): an intent without exactly one outcome"
            )
        }
        for release in world.released {
            #expect(world.store.epochs[release.epoch]?.records[release.n] == "intent")
        }
    }
}
