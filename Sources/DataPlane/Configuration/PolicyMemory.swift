import GatewayModel
import GatewayPolicy
import JSON
import Synchronization

/// What this replica has counted and seen for the policies of its namespace.
///
/// Per replica: with n replicas a caller whose calls are spread evenly reaches up to n times a rate, and a monitor that is
/// fed on one replica is not seen on another. Neither survives a restart. Exact counts need the leased quota slices of
/// docs/ARCHITECTURE.md, and come with them.
final class PolicyMemory: Sendable {
    private struct Contents {
        var counters = RateCounters()
        var monitors = HistoryMonitors()
    }

    private let contents = Mutex(Contents())

    /// A configuration is in force; counters and monitors that stay the same keep what they know.
    func declare(_ facts: FactDeclarations) {
        contents.withLock {
            $0.counters.declare(facts.counters)
            $0.monitors.declare(facts.monitors)
        }
    }

    /// Counts a call as in flight, before it is decided.
    func reserve(_ event: PolicyEvent, at now: MonotonicInstant) -> RateCounters.Reservation {
        contents.withLock { $0.counters.reserve(event, at: now) }
    }

    /// The call is over: it counts if it was let through, and is remembered if it succeeded.
    func settle(
        _ reservation: consuming RateCounters.Reservation,
        _ event: PolicyEvent,
        wasForwarded: Bool,
        succeeded: Bool,
        at now: MonotonicInstant
    ) {
        var reservation: RateCounters.Reservation? = consume reservation
        contents.withLock { contents in
            guard let held = reservation.take() else {
                return
            }
            if wasForwarded {
                contents.counters.finish(held, at: now)
            } else {
                contents.counters.refund(held)
            }
            if succeeded {
                contents.monitors.note(event, at: now)
            }
        }
    }

    /// What the monitors say.
    func history(for event: PolicyEvent, at now: MonotonicInstant) -> [Text: Bool] {
        contents.withLock { $0.monitors.readings(for: event, at: now) }
    }

    /// What the counters say, without counting anything.
    func rates(for event: PolicyEvent, at now: MonotonicInstant) -> [Text: RateReading] {
        contents.withLock { $0.counters.readings(for: event, at: now) }
    }
}
