public import GatewayModel

/// How long a configuration may be enforced without word from control.
///
///     none ──granted──▶ current ──time──▶ ended
///                          ▲                │
///                          └────granted─────┘
///
/// - `none`: nothing was ever granted; everything is refused.
/// - `current`: the configuration may be enforced until the given instant.
/// - `ended`: the instant has passed; everything is refused, and what is in flight is aborted.
///
/// A lease runs from the moment the proxy *sent* the heartbeat that control answered, so it ends here before
/// it ends in control's books, without comparing two clocks. A grant that would shorten the lease is ignored:
/// answers may overtake each other.
public struct SnapshotLease: Equatable, Sendable {
    /// Where a lease can stand.
    public enum State: Equatable, Sendable {
        /// Nothing was granted yet.
        case none
        /// Enforceable until the instant.
        case current(until: MonotonicInstant)
        /// Over since the instant.
        case ended(since: MonotonicInstant)
    }

    /// Where it stands, as of the last event.
    public private(set) var state: State = .none

    /// A lease that has not been granted.
    public init() {}

    /// Control answered the heartbeat that was sent at `sentAt`.
    public mutating func granted(
        sentAt: MonotonicInstant,
        leaseMilliseconds: Int64,
        now: MonotonicInstant
    ) {
        let until = sentAt.adding(milliseconds: leaseMilliseconds)
        if case .current(let standing) = state, standing >= until {
            return
        }
        state = until > now ? .current(until: until) : .ended(since: until)
    }

    /// Time passed.
    ///
    /// Answers whether the lease ended just now, which is when calls in flight are aborted.
    public mutating func tick(now: MonotonicInstant) -> Bool {
        guard case .current(let until) = state, until <= now else {
            return false
        }
        state = .ended(since: until)
        return true
    }

    /// Whether the configuration may be enforced at `now`, whatever the last event was.
    public func isCurrent(at now: MonotonicInstant) -> Bool {
        guard case .current(let until) = state else {
            return false
        }
        return now < until
    }
}
