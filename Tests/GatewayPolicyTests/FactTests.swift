import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@Suite struct FactTests {
    // MARK: Time zones

    @Test(arguments: [
        ("UTC", 0, 0, 4), ("+01:00", 0, 1, 4), ("-03:30", 0, 20, 3), ("EST5", 0, 19, 3),
        ("<+0530>-5:30", 0, 5, 4),
        // 2026-03-29: Berlin's clocks go forward at 01:00 UTC.
        ("CET-1CEST,M3.5.0,M10.5.0/3", 1_774_745_999, 1, 7),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 1_774_746_000, 3, 7),
        // 2026-10-25: and back at 01:00 UTC.
        ("CET-1CEST,M3.5.0,M10.5.0/3", 1_792_889_999, 2, 7),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 1_792_890_000, 2, 7),
        // Sydney's summer spans the turn of the year.
        ("AEST-10AEDT,M10.1.0,M4.1.0/3", 1_767_225_600, 11, 4),
        ("AEST-10AEDT,M10.1.0,M4.1.0/3", 1_782_864_000, 10, 3),
        ("EST5EDT,M3.2.0,M11.1.0", 1_795_366_800, 12, 7),
    ])
    func `the clock on the wall shows`(
        rule: String,
        seconds: Int,
        hour: Int,
        weekday: Int
    ) throws {
        let zone = try #require(TimeZoneRule(Text(rule)))
        let local = zone.localTime(at: Timestamp(seconds: Int64(seconds)))
        #expect(local == LocalTime(hour: hour, weekday: weekday))
    }

    @Test(arguments: [
        "", "CET", "Europe/Berlin", "+1:00", "+15:00", "+01:60", "CET-1CEST", "CET-1CEST,M3.5.0",
        "CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M3.0.0,M10.5.0", "CET-1CEST,J60,J300", "UTC0x",
        "CET-25", "<+03-3",
    ])
    func `what is no rule is refused`(rule: String) {
        #expect(TimeZoneRule(Text(rule)) == nil)
    }

    // MARK: Declarations

    @Test(arguments: [
        ("[]", ""), (#"{"x":1}"#, "/x"), (#"{"approvers":"sre"}"#, "/approvers"),
        (#"{"approvers":["a:b"]}"#, "/approvers/0"),
        (#"{"approvers":["a","a"]}"#, "/approvers"),
        (#"{"counters":[{"name":"a b","action":"any","window":"1h"}]}"#, "/counters/0/name"),
        (#"{"counters":[{"name":"a","window":"1h"}]}"#, "/counters/0/action"),
        (#"{"counters":[{"name":"a","action":"any","window":"1 hour"}]}"#, "/counters/0/window"),
        (#"{"counters":[{"name":"a","action":"any","window":"32d"}]}"#, "/counters/0/window"),
        (
            #"{"counters":[{"name":"a","action":"any","window":"1h","per":["moon"]}]}"#,
            "/counters/0/per/0"
        ),
        (
            #"{"counters":[{"name":"a","action":"any","window":"1h","per":["tool","tool"]}]}"#,
            "/counters/0/per/1"
        ),
        (#"{"monitors":[{"name":"if","action":"any","window":"1h"}]}"#, "/monitors/0/name"),
        (
            #"{"dataClasses":[{"name":"a","in":["b"]},{"name":"b","in":["a"]}]}"#,
            "/dataClasses/0/in"
        ),
        (#"{"timeZone":"Mars"}"#, "/timeZone"), (#"{"approvers":["a"],"approvers":[]}"#, ""),
    ])
    func `a declaration that is wrong is refused at its place`(document: String, place: String) {
        let error = #expect(throws: FactDeclarations.ReadingError.self) {
            try FactDeclarations(parsing: Text(document))
        }
        #expect(error?.pointer == place)
    }

    @Test func `found classes count with all that contain them`() throws {
        let declared = try FactDeclarations(parsing: WorkedModel.facts)
        #expect(
            declared.closure(of: ["personal.email", "other"])
                == ["personal.email", "personal", "other"]
        )
    }

    // MARK: Counters

    static let hourly = FactDeclarations.Counter(
        name: "r",
        filter: .init(action: "destructive"),
        scope: .init([.subject]),
        windowMilliseconds: 60_000
    )

    static func event(
        _ effect: ToolEffect = .destructive,
        _ subject: SubjectID = "a"
    )
        -> PolicyEvent
    {
        PolicyEvent(calling: "t", at: "s", effect: effect, by: subject, through: "c")
    }

    static func at(_ milliseconds: Int64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: milliseconds * 1_000_000)
    }

    @Test func `calls in flight count, refused ones do not, and finished ones do for the window`() {
        var counters = RateCounters([Self.hourly])
        let first = counters.reserve(Self.event(), at: Self.at(0))
        #expect(first.readings["r"]?.count == 0)
        let second = counters.reserve(Self.event(.clusterAdmin), at: Self.at(0))
        #expect(second.readings["r"]?.count == 1)
        #expect(counters.readings(for: Self.event(.read, "b"), at: Self.at(0))["r"]?.count == 0)
        counters.refund(second)
        #expect(counters.readings(for: Self.event(), at: Self.at(0))["r"]?.count == 1)
        counters.finish(first, at: Self.at(500))
        let reading = counters.readings(for: Self.event(), at: Self.at(500))["r"]
        #expect(reading?.count == 1)
        // Never shorter than the window, at most one step longer.
        #expect(counters.readings(for: Self.event(), at: Self.at(60_000))["r"]?.count == 1)
        #expect(counters.readings(for: Self.event(), at: Self.at(61_000))["r"]?.count == 0)
        #expect(reading?.falls == [.init(afterMilliseconds: 60_500, count: 0)])
    }

    @Test func `what does not match the filter is read but not counted`() {
        var counters = RateCounters([Self.hourly])
        let read = counters.reserve(Self.event(.read), at: Self.at(0))
        #expect(read.readings["r"]?.count == 0)
        counters.finish(read, at: Self.at(0))
        #expect(counters.readings(for: Self.event(), at: Self.at(1))["r"]?.count == 0)
    }

    @Test func `a counter agrees with counting by hand`() {
        var generator = SeededGenerator(seed: 7)
        var counters = RateCounters([Self.hourly])
        var events: [Int64] = []
        var now: Int64 = 0
        for _ in 0..<3000 {
            now += Int64.random(in: 0...3000, using: &generator)
            let reading = counters.readings(for: Self.event(), at: Self.at(now))["r"]
            let least = events.count { $0 > now - 60_000 }
            let most = events.count { $0 > now - 61_000 }
            #expect((Int64(least)...Int64(most)).contains(reading?.count ?? -1))
            // The announced falls come true.
            if let fall = reading?.falls.first {
                let then = counters.readings(
                    for: Self.event(),
                    at: Self.at(now + fall.afterMilliseconds)
                )["r"]
                #expect((then?.count ?? .max) <= fall.count)
            }
            if Bool.random(using: &generator) {
                counters.finish(counters.reserve(Self.event(), at: Self.at(now)), at: Self.at(now))
                events.append(now)
            }
        }
    }

    @Test func `a full table refuses, and makes room when windows have passed`() {
        var counters = RateCounters([Self.hourly], keysMax: 2)
        for subject: SubjectID in ["a", "b"] {
            counters.finish(
                counters.reserve(Self.event(.destructive, subject), at: Self.at(0)),
                at: Self.at(0)
            )
        }
        let third = counters.reserve(Self.event(.destructive, "c"), at: Self.at(1000))
        #expect(third.readings["r"]?.count == .max)
        counters.refund(third)
        let later = counters.reserve(Self.event(.destructive, "c"), at: Self.at(62_000))
        #expect(later.readings["r"]?.count == 0)
        counters.refund(later)
    }

    @Test func `a counter that is declared anew keeps its count only if it is the same`() {
        var counters = RateCounters([Self.hourly])
        counters.finish(counters.reserve(Self.event(), at: Self.at(0)), at: Self.at(0))
        counters.declare([Self.hourly])
        #expect(counters.readings(for: Self.event(), at: Self.at(1))["r"]?.count == 1)
        let open = counters.reserve(Self.event(), at: Self.at(1))
        var other = Self.hourly
        other.windowMilliseconds = 1000
        counters.declare([other])
        #expect(counters.readings(for: Self.event(), at: Self.at(1))["r"]?.count == 0)
        counters.finish(open, at: Self.at(2))
        counters.declare([])
        #expect(counters.readings(for: Self.event(), at: Self.at(3)).isEmpty)
    }

    @Test func `a monitor remembers what succeeded for its window`() {
        let monitor = FactDeclarations.Monitor(
            name: "h",
            filter: .init(action: "s/t", server: "s"),
            scope: .init([.subject]),
            windowMilliseconds: 1000
        )
        var monitors = HistoryMonitors([monitor], keysMax: 2)
        #expect(monitors.readings(for: Self.event(), at: Self.at(0)) == ["h": false])
        monitors.note(Self.event(), at: Self.at(0))
        #expect(monitors.readings(for: Self.event(), at: Self.at(999)) == ["h": true])
        #expect(monitors.readings(for: Self.event(.read, "b"), at: Self.at(1)) == ["h": false])
        #expect(monitors.readings(for: Self.event(), at: Self.at(1000)) == ["h": false])
        // Bounded: the older make room.
        for (index, subject) in (["x", "y", "z"] as [SubjectID]).enumerated() {
            monitors.note(Self.event(.read, subject), at: Self.at(2000 + Int64(index)))
        }
        #expect(monitors.readings(for: Self.event(.read, "z"), at: Self.at(2100)) == ["h": true])
    }
}

/// A generator that repeats itself (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
