import Cedar
public import GatewayModel
public import JSON

/// Something that happens through the gateway, as counters and monitors see it.
public struct PolicyEvent: Hashable, Sendable {
    /// The action and every group that it is in: `k8s/delete_pod`, `destructive`, `write`, `tools/call`, `any`.
    public var actions: Set<Text>
    /// Who acts.
    public var subject: SubjectID
    /// Through which client.
    public var client: Text
    /// On which server.
    public var server: ServerName
    /// `server/tool`, or the method.
    public var tool: Text

    /// An event.
    public init(
        actions: Set<Text>,
        subject: SubjectID,
        client: Text,
        server: ServerName,
        tool: Text
    ) {
        self.actions = actions
        self.subject = subject
        self.client = client
        self.server = server
        self.tool = tool
    }

    /// A tool call.
    public init(
        calling tool: ToolName,
        at server: ServerName,
        effect: ToolEffect,
        by subject: SubjectID,
        through client: Text
    ) {
        let action = MCPEntities.action(server, tool).id
        self.init(
            actions: Set(["tools/call", "any", action] + effect.withAllAbove),
            subject: subject,
            client: client,
            server: server,
            tool: action
        )
    }
}

/// What a counter says: how much is used up, and when it will be less.
public struct RateReading: Hashable, Sendable {
    /// How often it happened within the window, calls in flight included, the asking call not.
    public var count: Int64
    /// How the count falls if nothing else happens, soonest first.
    public var falls: [Fall]

    /// One step down.
    public struct Fall: Hashable, Sendable {
        /// In how many milliseconds.
        public var afterMilliseconds: Int64
        /// The count from then on.
        public var count: Int64

        /// A step down.
        public init(afterMilliseconds: Int64, count: Int64) {
            self.afterMilliseconds = afterMilliseconds
            self.count = count
        }
    }

    /// What a counter says.
    public init(count: Int64, falls: [Fall] = []) {
        self.count = count
        self.falls = falls
    }
}

/// The sliding counters of one place: how often what happened, per key, within a window.
///
/// Pure: time is a parameter. A call is counted in three steps. ``reserve(_:at:)`` before it is decided counts it as in
/// flight, so that of two calls at once the second sees the first; ``refund(_:)`` takes that back when it was refused;
/// ``finish(_:at:)`` turns it into an event of the window when it was let through.
///
/// A window has 60 steps. An event is counted for the whole window and at most one step longer, never shorter, and a
/// key needs the same few hundred bytes whatever its rate is.
public struct RateCounters: Sendable {
    /// The most keys held over all counters.
    ///
    /// Default 20,000. Keys that count nothing make room; where there is still none the counter reads as used up, so
    /// that a flood of keys refuses instead of forgetting.
    public static let keysMax = 20_000
    /// The steps of a window.
    static let steps = 60

    /// A call that is counted as in flight; to be refunded or finished, exactly once.
    public struct Reservation: ~Copyable, Sendable {
        /// What the counters said, this call not included.
        public let readings: [Text: RateReading]
        fileprivate let slots: [Slot]
    }

    fileprivate struct Slot: Hashable, Sendable {
        let counter: Text
        let key: [Text]
        let startedAt: MonotonicInstant
    }

    private struct Window {
        var inFlight: Int64 = 0
        /// By step modulo their number; one more than `steps`, since the window begins within a step.
        var buckets: [UInt32] = Array(repeating: 0, count: RateCounters.steps + 1)
        /// The newest step that `buckets` holds.
        var newest: Int64

        var isEmpty: Bool { inFlight == 0 && buckets.allSatisfy { $0 == 0 } }

        mutating func advance(to step: Int64) {
            guard step > newest else { return }
            let gone = min(step - newest, Int64(buckets.count))
            for offset in 0..<gone { buckets[index(step - offset)] = 0 }
            newest = step
        }

        mutating func add(at step: Int64) {
            guard newest - step < Int64(buckets.count) else { return }
            let at = index(step)
            if buckets[at] < .max { buckets[at] += 1 }
        }

        func reading(at now: Int64, stepNanoseconds: Int64) -> RateReading {
            var count = inFlight + buckets.reduce(0) { $0 + Int64($1) }
            var reading = RateReading(count: count)
            for step in (newest - Int64(buckets.count) + 1)...newest where buckets[index(step)] > 0
            {
                count -= Int64(buckets[index(step)])
                let end = (step + Int64(buckets.count)) * stepNanoseconds
                // Rounded up: whoever waits so long finds the count fallen.
                reading.falls.append(
                    .init(afterMilliseconds: (end - now + 999_999) / 1_000_000, count: count)
                )
            }
            return reading
        }

        private func index(_ step: Int64) -> Int {
            let remainder = Int(step % Int64(buckets.count))
            return remainder < 0 ? remainder + buckets.count : remainder
        }
    }

    private struct Place: Hashable {
        let counter: Text
        let key: [Text]
    }

    private var counters: [Text: FactDeclarations.Counter] = [:]
    private var windows: [Place: Window] = [:]
    private var sweptAt: MonotonicInstant?
    private let keysMax: Int

    /// Counters that have counted nothing.
    public init(_ declared: [FactDeclarations.Counter] = [], keysMax: Int = Self.keysMax) {
        self.keysMax = keysMax
        declare(declared)
    }

    /// Other counters are declared: what one that stays the same has counted stays, the rest goes.
    public mutating func declare(_ declared: [FactDeclarations.Counter]) {
        let new = Dictionary(
            declared.map { ($0.name, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        let old = counters
        windows = windows.filter { place, _ in
            old[place.counter] != nil && old[place.counter] == new[place.counter]
        }
        counters = new
    }

    /// Counts a call as in flight, in every counter whose filter it fits, and says what all counters said before.
    public mutating func reserve(_ event: PolicyEvent, at now: MonotonicInstant) -> Reservation {
        var slots: [Slot] = []
        var readings: [Text: RateReading] = [:]
        for counter in counters.values {
            let place = Place(counter: counter.name, key: counter.scope.key(of: event))
            guard counter.filter.matches(event) else {
                readings[counter.name] = reading(of: place, counter, at: now)
                continue
            }
            guard makeRoom(for: place, at: now) else {
                readings[counter.name] = RateReading(
                    count: .max,
                    falls: [.init(afterMilliseconds: counter.windowMilliseconds, count: 0)]
                )
                continue
            }
            let step = counter.step(at: now)
            var window = windows[place] ?? Window(newest: step)
            window.advance(to: step)
            readings[counter.name] = window.reading(
                at: now.nanoseconds,
                stepNanoseconds: counter.stepNanoseconds
            )
            window.inFlight += 1
            windows[place] = window
            slots.append(Slot(counter: place.counter, key: place.key, startedAt: now))
        }
        return Reservation(readings: readings, slots: slots)
    }

    /// What all counters say for an event, without counting it: for lists.
    public func readings(for event: PolicyEvent, at now: MonotonicInstant) -> [Text: RateReading] {
        counters.mapValues { counter in
            reading(
                of: Place(counter: counter.name, key: counter.scope.key(of: event)),
                counter,
                at: now
            )
        }
    }

    /// The call was refused: it never happened.
    public mutating func refund(_ reservation: consuming Reservation) {
        for slot in reservation.slots {
            let place = Place(counter: slot.counter, key: slot.key)
            guard var window = windows[place] else { continue }
            window.inFlight = max(0, window.inFlight - 1)
            windows[place] = window.isEmpty ? nil : window
        }
    }

    /// The call was let through and is over: it counts from its beginning.
    public mutating func finish(
        _ reservation: consuming Reservation,
        at now: MonotonicInstant
    ) {
        for slot in reservation.slots {
            let place = Place(counter: slot.counter, key: slot.key)
            guard let counter = counters[slot.counter], var window = windows[place] else {
                continue
            }
            window.inFlight = max(0, window.inFlight - 1)
            window.advance(to: counter.step(at: now))
            window.add(at: counter.step(at: slot.startedAt))
            windows[place] = window.isEmpty ? nil : window
        }
    }

    private func reading(
        of place: Place,
        _ counter: FactDeclarations.Counter,
        at now: MonotonicInstant
    ) -> RateReading {
        guard var window = windows[place] else { return RateReading(count: 0) }
        window.advance(to: counter.step(at: now))
        return window.reading(at: now.nanoseconds, stepNanoseconds: counter.stepNanoseconds)
    }

    private mutating func makeRoom(for place: Place, at now: MonotonicInstant) -> Bool {
        guard windows[place] == nil, windows.count >= keysMax else { return true }
        // A sweep costs as much as there are keys: at most once a second.
        guard sweptAt.map({ now.milliseconds(since: $0) >= 1000 }) ?? true else { return false }
        sweptAt = now
        windows = windows.filter { place, window in
            guard let counter = counters[place.counter] else { return false }
            var window = window
            window.advance(to: counter.step(at: now))
            return !window.isEmpty
        }
        return windows.count < keysMax
    }
}

extension FactDeclarations.Counter {
    fileprivate var stepNanoseconds: Int64 {
        max(1, windowMilliseconds * 1_000_000 / Int64(RateCounters.steps))
    }

    fileprivate func step(at now: MonotonicInstant) -> Int64 {
        now.nanoseconds / stepNanoseconds
    }
}

/// The history monitors of one place: whether something happened within a window.
///
/// Pure: time is a parameter. Only what succeeded is noted.
public struct HistoryMonitors: Sendable {
    /// The most keys held over all monitors.
    ///
    /// Default 20,000. The oldest make room: what is forgotten reads as not having happened, which is what most guards
    /// refuse by.
    public static let keysMax = 20_000

    private struct Place: Hashable {
        let monitor: Text
        let key: [Text]
    }

    private var monitors: [Text: FactDeclarations.Monitor] = [:]
    private var seen: [Place: MonotonicInstant] = [:]
    private let keysMax: Int

    /// Monitors that have seen nothing.
    public init(_ declared: [FactDeclarations.Monitor] = [], keysMax: Int = Self.keysMax) {
        self.keysMax = keysMax
        declare(declared)
    }

    /// Other monitors are declared: what one that stays the same has seen stays, the rest goes.
    public mutating func declare(_ declared: [FactDeclarations.Monitor]) {
        let new = Dictionary(
            declared.map { ($0.name, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        let old = monitors
        seen = seen.filter { place, _ in
            old[place.monitor] != nil && old[place.monitor] == new[place.monitor]
        }
        monitors = new
    }

    /// Something happened, and succeeded.
    public mutating func note(_ event: PolicyEvent, at now: MonotonicInstant) {
        for monitor in monitors.values where monitor.filter.matches(event) {
            let place = Place(monitor: monitor.name, key: monitor.scope.key(of: event))
            if seen[place] == nil, seen.count >= keysMax { forget(at: now) }
            seen[place] = now
        }
    }

    /// What all monitors say for an event.
    public func readings(for event: PolicyEvent, at now: MonotonicInstant) -> [Text: Bool] {
        monitors.mapValues { monitor in
            let place = Place(monitor: monitor.name, key: monitor.scope.key(of: event))
            return seen[place].map { now.milliseconds(since: $0) < monitor.windowMilliseconds }
                ?? false
        }
    }

    /// Drops what lies outside its window, and if that is not enough the older half.
    private mutating func forget(at now: MonotonicInstant) {
        seen = seen.filter { place, at in
            now.milliseconds(since: at) < monitors[place.monitor]?.windowMilliseconds ?? 0
        }
        guard seen.count >= keysMax else { return }
        let median = seen.values.sorted()[seen.count / 2]
        seen = seen.filter { $1 > median }
    }
}
