import ControlStore
import CoreMetrics
import GatewayModel
import Postgres
import Synchronization

/// The live sessions of this process, one for each instance.
final class SessionRegistry: Sendable {
    struct Entry: Sendable {
        let session: Postgres.UUID
        let bootID: [UInt8]
        let inbox: AsyncStream<LinkSession.Event>.Continuation
    }

    private let entries = Mutex<[Writer: Entry]>([:])
    private let sessions = Gauge(label: "ostiary.link.sessions")

    /// Enters a session, and answers the one whose place it takes.
    func enter(_ entry: Entry, for writer: Writer) -> Entry? {
        entries.withLock { entries in
            defer { sessions.record(entries.count) }
            return entries.updateValue(entry, forKey: writer)
        }
    }

    /// Forgets a session, unless another has taken its place.
    func leave(_ session: Postgres.UUID, for writer: Writer) {
        entries.withLock { entries in
            if entries[writer]?.session == session { entries[writer] = nil }
            sessions.record(entries.count)
        }
    }

    /// Tells every session, or every session of a namespace.
    func tell(_ event: LinkSession.Event, namespace: NamespaceID? = nil) {
        let inboxes = entries.withLock { entries in
            entries.filter { namespace == nil || $0.key.namespaceID == namespace }.map(
                \.value.inbox
            )
        }
        for inbox in inboxes { inbox.yield(event) }
    }

    /// The namespaces that have a session here.
    var namespaces: Set<NamespaceID> {
        entries.withLock { Set($0.keys.map(\.namespaceID)) }
    }

    /// How many sessions there are.
    var count: Int { entries.withLock { $0.count } }
}
