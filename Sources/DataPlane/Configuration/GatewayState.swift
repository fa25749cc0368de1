import GatewayModel
import GatewayPolicy
import Synchronization

/// What every call looks at first: the configuration in force and how long it may be enforced.
///
/// Written by the link, read by every connection; a reader gets one consistent view and keeps it for its call.
final class GatewayState: Sendable {
    /// One consistent view.
    struct View: Sendable {
        let snapshot: GatewaySnapshot
        let sessions: SessionSeal
        let servers: [ServerName: UpstreamServer]
        /// What this replica has counted and seen.
        let memory: PolicyMemory
        /// The same for the release in shadow; empty without one.
        let shadowMemory: PolicyMemory
        /// The lease's end, on the monotonic clock.
        let leaseUntil: MonotonicInstant
        /// When control last confirmed the configuration.
        let confirmedAt: MonotonicInstant
    }

    /// Why there is no view.
    enum Unready: String {
        /// No configuration has arrived yet.
        case noSnapshot = "no configuration has arrived yet"
        /// The lease is over.
        case leaseEnded = "the configuration lease has ended"
    }

    private struct Contents {
        var snapshot: GatewaySnapshot?
        var sessions: SessionSeal?
        var servers: [ServerName: UpstreamServer] = [:]
        var leaseUntil = MonotonicInstant(nanoseconds: .min)
        var confirmedAt = MonotonicInstant(nanoseconds: .min)
    }

    private let memory = PolicyMemory()
    private let shadowMemory = PolicyMemory()
    private let contents = Mutex(Contents())
    /// The lease's end again, for those who ask for nothing else.
    private let leaseUntil = Atomic<Int64>(.min)

    /// The view at `now`, or why there is none.
    func view(at now: MonotonicInstant) -> Result<View, UnreadyError> {
        contents.withLock { contents in
            guard let snapshot = contents.snapshot, let sessions = contents.sessions else {
                return .failure(UnreadyError(.noSnapshot))
            }
            guard now < contents.leaseUntil else {
                return .failure(UnreadyError(.leaseEnded))
            }
            return .success(
                View(
                    snapshot: snapshot,
                    sessions: sessions,
                    servers: contents.servers,
                    memory: memory,
                    shadowMemory: shadowMemory,
                    leaseUntil: contents.leaseUntil,
                    confirmedAt: contents.confirmedAt
                )
            )
        }
    }

    /// ``Unready`` as an error.
    struct UnreadyError: Error {
        let reason: Unready
        init(_ reason: Unready) {
            self.reason = reason
        }
    }

    /// A new configuration is in force, with the servers made for it.
    func install(_ snapshot: GatewaySnapshot, servers: [ServerName: UpstreamServer]) {
        memory.declare(snapshot.decisionPoint.declaredFacts)
        shadowMemory.declare(snapshot.shadow?.declaredFacts ?? FactDeclarations())
        contents.withLock {
            $0.snapshot = snapshot
            $0.servers = servers
        }
    }

    /// The keys of session ids changed.
    func install(_ sessions: SessionSeal) {
        contents.withLock { $0.sessions = sessions }
    }

    /// Control confirmed the configuration.
    func renew(until: MonotonicInstant, at now: MonotonicInstant) {
        contents.withLock {
            $0.leaseUntil = until
            $0.confirmedAt = now
        }
        leaseUntil.store(until.nanoseconds, ordering: .releasing)
    }

    /// Whether anything may be forwarded at `now`.
    func isLeaseCurrent(at now: MonotonicInstant) -> Bool {
        now.nanoseconds < leaseUntil.load(ordering: .acquiring)
    }

    /// How long the lease still runs, in seconds; 0 when it is over.
    func leaseSeconds(at now: MonotonicInstant) -> Double {
        let until = leaseUntil.load(ordering: .acquiring)
        return until > now.nanoseconds ? Double(until - now.nanoseconds) / 1e9 : 0
    }

    /// The configuration in force, whether or not it may be enforced.
    var snapshotVersion: UInt64? {
        contents.withLock { $0.snapshot?.version }
    }

    /// The servers of the configuration in force.
    var servers: [ServerName: UpstreamServer] {
        contents.withLock { $0.servers }
    }
}
