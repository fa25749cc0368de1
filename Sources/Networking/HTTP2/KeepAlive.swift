import NIOCore

/// Decides when a silent peer is asked whether it is there, and when it is given up.
///
///     listening ── silent for interval ──▶ asked ── silent for timeout ──▶ gone (terminal)
///         ▲                                  │
///         └────────── anything heard ────────┘
///
/// Any bytes prove life, not only the PING's acknowledgement: a peer busy sending a long message
/// may answer late.
struct KeepAlive: Equatable {
    enum State: Equatable {
        case listening(since: NIODeadline)
        case asked(at: NIODeadline)
        case gone
    }

    enum OnTick: Equatable {
        /// Nothing to do before then.
        case wait(until: NIODeadline)
        /// Send a PING and tick again then.
        case ping(tickAgain: NIODeadline)
        /// Close the connection.
        case giveUp
    }

    private(set) var state: State
    private let interval: TimeAmount
    private let timeout: TimeAmount

    init(interval: TimeAmount, timeout: TimeAmount, now: NIODeadline) {
        self.interval = interval
        self.timeout = timeout
        state = .listening(since: now)
    }

    mutating func heard(now: NIODeadline) {
        if state != .gone { state = .listening(since: now) }
    }

    mutating func tick(now: NIODeadline) -> OnTick {
        switch state {
        case .listening(let since):
            let quietUntil = since + interval
            if now < quietUntil { return .wait(until: quietUntil) }
            state = .asked(at: now)
            return .ping(tickAgain: now + timeout)
        case .asked(let at):
            if now < at + timeout { return .wait(until: at + timeout) }
            state = .gone
            return .giveUp
        case .gone:
            return .giveUp
        }
    }
}
