// Only for Data, the type of protobuf's bytes fields.
import FoundationEssentials
public import GatewayModel

/// The data plane's end of the link: what to send, what is still owed, and when to stop.
///
///     disconnected ─attempt─▶ connecting ─opened─▶ greeting ─Welcome─▶ live
///          ▲                      │                   │                 │
///          └──────── lost ────────┴───────────────────┴─────────────────┤
///                                                                closed ◀┘  Closing without retry
///
/// - `disconnected`: no stream; another attempt is due at an instant.
/// - `connecting`: the shell is opening a stream.
/// - `greeting`: Hello is out; nothing else may be sent before Welcome.
/// - `live`: records flow. Only here are records admitted.
/// - `closed`: terminal. Control does not want this process back (superseded by a newer one, namespace gone).
///
/// Every admitted record stays *owed* until it is acknowledged, through any number of disconnects. What is owed
/// when control assigns a new epoch belongs to a closed one: it is sent under its own epoch and number, and control
/// files it as an annotation, since the closing already gave each open intent its outcome.
///
/// Three kinds of bad event. Our bug: an event that the shell cannot produce in the state (assertion, then ignored).
/// The peer's fault: a message that breaks the protocol (the session answers `.violation` and the shell
/// closes the stream). A race, ignored: messages or a loss that belong to a stream already given up.
public struct ProxySession: Sendable {
    /// The bounds of a session; every one has a name in docs/reference/limits.md.
    public struct Limits: Equatable, Sendable {
        /// Ceiling on how long a record waits for company.
        ///
        /// Default 2 ms.
        public var batchDelayMilliseconds: Int64 = 2
        /// Ceiling on how many bytes wait for company.
        ///
        /// Default 64 KiB.
        public var batchBytesMax = 65_536
        /// How many bytes may be owed before nothing more is admitted.
        ///
        /// Default 16 MiB.
        public var owedBytesMax = 16_777_216
        /// How long a call waits for its intent.
        ///
        /// Default 1 s.
        public var gateMilliseconds: Int64 = 1000
        /// The first pause after a lost stream; it doubles up to ``reconnectMillisecondsMax``.
        ///
        /// Default 50 ms.
        public var reconnectMilliseconds: Int64 = 50
        /// The longest pause between attempts.
        ///
        /// Default 2 s.
        public var reconnectMillisecondsMax: Int64 = 2000
        /// How long an attempt, or a Hello, may stay unanswered.
        ///
        /// Default 5 s.
        public var greetingMilliseconds: Int64 = 5000

        /// The defaults.
        public init() {}
    }

    /// Where the session stands.
    public enum State: Equatable, Sendable {
        /// No stream; the next attempt is due at the instant.
        case disconnected(retryAt: MonotonicInstant, attempt: Int)
        /// A stream is being opened, since the instant.
        case connecting(since: MonotonicInstant, attempt: Int)
        /// Hello was sent at the instant.
        case greeting(sentAt: MonotonicInstant, attempt: Int)
        /// Records flow.
        case live(Live)
        /// Control does not want this process back.
        case closed(code: String)
    }

    /// What is known only while records flow.
    public struct Live: Equatable, Sendable {
        /// How often to send a heartbeat.
        public var heartbeatMilliseconds: Int64
        /// When the next heartbeat is due.
        public var heartbeatDue: MonotonicInstant
        /// Heartbeats that have not been answered: sequence and when they were sent, oldest first.
        public var unanswered: [Beat]
        /// Since when the oldest unsent record has been waiting.
        public var waitingSince: MonotonicInstant?
        /// Whether a call waits for one of the unsent records.
        public var isGateWaiting = false
    }

    /// One heartbeat on its way.
    public struct Beat: Equatable, Sendable {
        /// Its number.
        public var sequence: UInt64
        /// When it was sent.
        public var sentAt: MonotonicInstant
    }

    /// Where the session stands.
    public private(set) var state: State
    /// How long the configuration in force may be enforced.
    public private(set) var lease = SnapshotLease()
    /// The epoch records are numbered in; 0 before the first Welcome.
    public private(set) var epoch: UInt64 = 0
    /// What control has not acknowledged, in the current epoch.
    public private(set) var owed = RecordWindow()
    /// What was owed when its epoch ended, oldest epoch first.
    public private(set) var late: [LateRecords] = []

    private let bootID: [UInt8]
    private let softwareVersion: String
    private let limits: Limits
    private var held: (version: UInt64, digest: [UInt8]) = (0, [])
    private var beatSequence: UInt64 = 0
    private var gated: GatedRecords = .init()

    /// A session of a process that has just started.
    ///
    /// - Parameters:
    ///   - bootID: 16 random bytes drawn by the process at start.
    ///   - softwareVersion: what control is told.
    ///   - limits: bounds.
    ///   - now: the first attempt is due at once.
    public init(
        bootID: [UInt8],
        softwareVersion: String,
        limits: Limits = Limits(),
        now: MonotonicInstant
    ) {
        self.bootID = bootID
        self.softwareVersion = softwareVersion
        self.limits = limits
        state = .disconnected(retryAt: now, attempt: 0)
    }

    // MARK: - Records

    /// What came of offering a record.
    public enum OnAppend: Equatable, Sendable {
        /// It has its number, and is owed. Send the batch, if there is one, now.
        case admitted(n: UInt64, send: WireAppend?)
        /// It was not taken, for the reason named; nothing is owed.
        case refused(AppendRefusal)
    }

    /// Why a record was not admitted.
    public enum AppendRefusal: String, Equatable, Sendable {
        /// No stream to control.
        case disconnected
        /// Too much is owed already.
        case full
        /// The session is over.
        case closed
    }

    /// The number the next record will get, so that the shell can put it into the bytes.
    public var nextNumber: UInt64 {
        owed.nextNumber
    }

    /// Offers a record whose bytes already carry ``epoch`` and ``nextNumber``.
    ///
    /// - Parameters:
    ///   - record: the record as it will travel.
    ///   - gate: whether a call waits for it; if so it is reported by `On…` results exactly once.
    ///   - now: the time.
    public mutating func append(
        _ record: WireRecord,
        gate: Bool,
        now: MonotonicInstant
    ) -> OnAppend {
        switch state {
        case .closed:
            return .refused(.closed)
        case .disconnected, .connecting, .greeting:
            // A gate is refused at once while control is away; an outcome or a refusal is owed all the same,
            // as long as there is an epoch to number it in.
            guard !gate, epoch != 0 else {
                return .refused(.disconnected)
            }
            guard owed.byteCount < limits.owedBytesMax else {
                return .refused(.full)
            }
            return .admitted(n: owed.append(record), send: nil)
        case .live(var live):
            guard owed.byteCount < limits.owedBytesMax else {
                return .refused(.full)
            }
            let n = owed.append(record)
            if gate {
                gated.add(n, deadline: now.adding(milliseconds: limits.gateMilliseconds))
                live.isGateWaiting = true
            }
            // Natural batching: alone it goes at once, in company when the batch before is acknowledged. What no call
            // waits for travels with the next that does: alone it would cost a transaction, and keep that one waiting.
            var send: WireAppend?
            if live.isGateWaiting && owed.batchesInFlight == 0
                || owed.unsentByteCount >= limits.batchBytesMax
            {
                send = takeBatch(&live)
            } else if live.waitingSince == nil {
                live.waitingSince = now
            }
            state = .live(live)
            return .admitted(n: n, send: send)
        }
    }

    /// Whether a record waits for company, so that ``tick(now:)`` is due within the batch delay.
    public var isBatchWaiting: Bool {
        if case .live(let live) = state { live.waitingSince != nil } else { false }
    }

    private mutating func takeBatch(_ live: inout Live) -> WireAppend? {
        live.waitingSince = nil
        live.isGateWaiting = false
        let records = owed.takeUnsent()
        guard !records.isEmpty else {
            return nil
        }
        var append = WireAppend()
        append.epoch = epoch
        append.records = records
        return append
    }

    // MARK: - The stream

    /// What to do when time has passed.
    public struct OnTick: Equatable, Sendable {
        /// Open a stream.
        public var connect = false
        /// Give the present stream up: it did not answer in time.
        public var abandon = false
        /// Send these.
        public var send: [WireProxyMessage] = []
        /// These gated records were not acknowledged in time; their calls stop.
        ///
        /// They stay owed.
        public var overdue: [UInt64] = []
        /// The lease ended just now: abort what is in flight.
        public var leaseEnded = false

        /// Nothing to do.
        public init() {}
    }

    /// Time passed; the shell calls this often (every 2 ms while something waits, else every 100 ms).
    public mutating func tick(now: MonotonicInstant) -> OnTick {
        var result = OnTick()
        result.leaseEnded = lease.tick(now: now)
        result.overdue = gated.takeOverdue(now: now)
        switch state {
        case .disconnected(let retryAt, let attempt) where retryAt <= now:
            state = .connecting(since: now, attempt: attempt + 1)
            result.connect = true
        case .connecting(let since, let attempt), .greeting(let since, let attempt):
            if now >= since.adding(milliseconds: limits.greetingMilliseconds) {
                state = .disconnected(retryAt: pause(after: attempt, now: now), attempt: attempt)
                result.abandon = true
            }
        case .live(var live):
            if let since = live.waitingSince,
                now >= since.adding(milliseconds: limits.batchDelayMilliseconds),
                let batch = takeBatch(&live)
            {
                result.send.append(.append(batch))
            }
            if live.heartbeatDue <= now {
                beatSequence += 1
                live.unanswered.append(Beat(sequence: beatSequence, sentAt: now))
                live.heartbeatDue = now.adding(milliseconds: live.heartbeatMilliseconds)
                result.send.append(.heartbeat(sequence: beatSequence))
            }
            // Control answers each heartbeat; five unanswered ones mean that the stream is dead whatever TCP says.
            if live.unanswered.count > 5 {
                state = .disconnected(retryAt: now, attempt: 0)
                result.send = []
                result.abandon = true
            } else {
                state = .live(live)
            }
        default:
            break
        }
        return result
    }

    /// The stream is open: this is the first message to send.
    public mutating func opened(now: MonotonicInstant) -> WireProxyMessage? {
        guard case .connecting(_, let attempt) = state else {
            return nil  // Given up meanwhile: a race.
        }
        state = .greeting(sentAt: now, attempt: attempt)
        var hello = WireHello()
        hello.revision = CompatibilityHistory.current
        hello.softwareVersion = softwareVersion
        hello.bootID = .init(bootID)
        hello.resumeEpoch = epoch
        hello.snapshotVersion = held.version
        hello.snapshotDigest = .init(held.digest)
        var message = WireProxyMessage()
        message.hello = hello
        return message
    }

    /// The stream is gone, or never came to be.
    ///
    /// Answers the gated records whose calls stop now: without a stream they cannot be acknowledged
    /// in their time with any likelihood, and a clear no beats a slow one.
    public mutating func lost(now: MonotonicInstant) -> [UInt64] {
        switch state {
        case .closed, .disconnected:
            return []
        case .connecting(_, let attempt), .greeting(_, let attempt):
            state = .disconnected(retryAt: pause(after: attempt, now: now), attempt: attempt)
        case .live:
            state = .disconnected(retryAt: now, attempt: 0)
        }
        owed.resetSent()
        return gated.takeAll()
    }

    private func pause(after attempt: Int, now: MonotonicInstant) -> MonotonicInstant {
        let doublings = min(max(attempt - 1, 0), 16)
        let pause = limits.reconnectMilliseconds << Int64(doublings)
        return now.adding(milliseconds: min(pause, limits.reconnectMillisecondsMax))
    }

    // MARK: - Messages from control

    /// What to do on a message.
    public struct OnMessage: Equatable, Sendable {
        /// Send these.
        public var send: [WireProxyMessage] = []
        /// These gated records are durable: their calls go on.
        public var durable: [UInt64] = []
        /// These gated records were refused by control, with its codes.
        public var refused: [WireRefusedRecord] = []
        /// A configuration to verify and apply.
        public var snapshot: WireSnapshot?
        /// Secrets to hold in memory.
        public var credentials: WireCredentials?
        /// These gated records belong to an epoch that is over; their calls stop.
        public var abandoned: [UInt64] = []
        /// The epoch records belong to changed.
        public var epochChanged = false
        /// Close the stream.
        public var close = false
        /// The peer broke the protocol; close the stream and say this.
        public var violation: String?

        /// Nothing to do.
        public init() {}
    }

    /// A message arrived.
    public mutating func received(
        _ message: WireControlMessage,
        now: MonotonicInstant
    ) -> OnMessage {
        var result = OnMessage()
        switch (message.message, state) {
        case (_, .closed), (_, .disconnected):
            break  // From a stream that was given up: a race.
        case (.welcome(let welcome), .greeting(let sentAt, _)):
            receivedWelcome(welcome, helloSentAt: sentAt, now: now, into: &result)
        case (.closing(let closing), _):
            receivedClosing(closing, now: now, into: &result)
        case (.acknowledge(let acknowledge), .live(let live)):
            receivedAcknowledge(acknowledge, live, now: now, into: &result)
        case (.lease(let grant), .live(var live)):
            guard
                let beat = live.unanswered.first(where: { $0.sequence == grant.heartbeatSequence })
            else {
                violate("a lease answers a heartbeat that was not sent", into: &result)
                return result
            }
            live.unanswered.removeAll { $0.sequence <= beat.sequence }
            lease.granted(
                sentAt: beat.sentAt,
                leaseMilliseconds: Int64(grant.leaseMs),
                now: now
            )
            state = .live(live)
        case (.snapshot(let snapshot), .live):
            if snapshot.version > held.version {
                result.snapshot = snapshot
            }
        case (.credentials(let credentials), .live):
            result.credentials = credentials
        case (nil, _):
            break  // A message kind from a newer revision: ignored, as the compatibility rule says.
        default:
            violate("a message came before Welcome", into: &result)
        }
        return result
    }

    /// The configuration was verified and applied; the next Hello says so.
    public mutating func applied(snapshotVersion: UInt64, digest: [UInt8]) {
        held = (snapshotVersion, digest)
    }

    private mutating func receivedWelcome(
        _ welcome: WireWelcome,
        helloSentAt: MonotonicInstant,
        now: MonotonicInstant,
        into result: inout OnMessage
    ) {
        guard welcome.revision == CompatibilityHistory.current, welcome.epoch != 0,
            welcome.heartbeatMs > 0
        else {
            violate("Welcome names no epoch, no heartbeat, or another revision", into: &result)
            return
        }
        if welcome.epoch != epoch {
            if !owed.isEmpty {
                late.append(LateRecords(epoch: epoch, window: owed))
            }
            result.abandoned = gated.takeAll()
            result.epochChanged = true
            epoch = welcome.epoch
            owed = RecordWindow()
        }
        for watermark in welcome.watermarks where watermark.lane == .committed {
            guard watermark.upTo < owed.nextNumber else {
                // Control holds numbers this process never gave out: another process writes as this instance.
                violate("the watermark lies beyond what was sent", into: &result)
                return
            }
            owed.acknowledge(upTo: watermark.upTo)
        }
        lease.granted(
            sentAt: helloSentAt,
            leaseMilliseconds: Int64(welcome.leaseMs),
            now: now
        )
        var live = Live(
            heartbeatMilliseconds: Int64(welcome.heartbeatMs),
            heartbeatDue: now.adding(milliseconds: Int64(welcome.heartbeatMs)),
            unanswered: [],
            waitingSince: nil
        )
        for index in late.indices {
            late[index].window.resetSent()
            var append = WireAppend()
            append.epoch = late[index].epoch
            append.records = late[index].window.takeUnsent()
            result.send.append(.append(append))
        }
        owed.resetSent()
        if let batch = takeBatch(&live) {
            result.send.append(.append(batch))
        }
        state = .live(live)
    }

    private mutating func receivedClosing(
        _ closing: WireClosing,
        now: MonotonicInstant,
        into result: inout OnMessage
    ) {
        result.close = true
        result.abandoned = gated.takeAll()
        owed.resetSent()
        if closing.retryAfterMs == 0 {
            state = .closed(code: closing.code)
        } else {
            let retryAt = now.adding(milliseconds: Int64(closing.retryAfterMs))
            state = .disconnected(retryAt: retryAt, attempt: 0)
        }
    }

    private mutating func receivedAcknowledge(
        _ acknowledge: WireAcknowledge,
        _ standing: Live,
        now: MonotonicInstant,
        into result: inout OnMessage
    ) {
        var live = standing
        if acknowledge.epoch != epoch {
            for index in late.indices where late[index].epoch == acknowledge.epoch {
                late[index].window.acknowledge(upTo: acknowledge.upTo)
            }
            late.removeAll { $0.window.isEmpty }
            return
        }
        guard acknowledge.upTo < owed.nextUnsentNumber else {
            violate("an acknowledgement names a record that was not sent", into: &result)
            return
        }
        owed.acknowledge(upTo: acknowledge.upTo)
        let refusedNumbers = Set(acknowledge.refused.map(\.n))
        for n in gated.take(upTo: acknowledge.upTo) {
            if refusedNumbers.contains(n) {
                result.refused += acknowledge.refused.filter { $0.n == n }
            } else {
                result.durable.append(n)
            }
        }
        if owed.batchesInFlight == 0, live.isGateWaiting, let batch = takeBatch(&live) {
            result.send.append(.append(batch))
        }
        state = .live(live)
    }

    private mutating func violate(_ text: String, into result: inout OnMessage) {
        result.violation = text
        result.close = true
    }
}

extension WireProxyMessage {
    static func append(_ append: WireAppend) -> Self {
        var message = Self()
        message.append = append
        return message
    }

    static func heartbeat(sequence: UInt64) -> Self {
        var message = Self()
        message.heartbeat.sequence = sequence
        return message
    }
}
