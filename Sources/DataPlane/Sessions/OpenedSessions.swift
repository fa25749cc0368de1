import Cryptography
import JSON
import Synchronization

/// Remembers session ids that opened, since a client sends the same one with every message.
///
/// By the id's SHA-256, never the id. An entry counts only for the seal and the binding it was opened with, so that it
/// says nothing that ``SessionSeal/open(_:for:)`` would not say: keys that changed, and another caller's id, are looked
/// at anew.
final class OpenedSessions: Sendable {
    /// The most sessions remembered.
    ///
    /// When it is full all go: opening again is harmless.
    static let entriesMax = 20_000

    /// A session, and how records name it.
    struct Opened {
        let session: SealedSession
        /// SHA-256 of the id, in hexadecimal.
        let name: Text
    }

    private struct Entry {
        let opened: Opened
        let binding: SessionSeal.Binding
        let seal: SessionSeal
    }

    private let entries = Mutex<[SHA256.Digest: Entry]>([:])

    /// Opens an id; `nil` for anything that `seal` does not open for exactly this binding.
    func open(_ id: Text, with seal: SessionSeal, for binding: SessionSeal.Binding) -> Opened? {
        let digest = SHA256.digest(of: id.string)
        if let known = entries.withLock({ $0[digest] }), known.seal === seal,
            known.binding == binding
        {
            return known.opened
        }
        guard let session = seal.open(id, for: binding) else {
            return nil
        }
        let opened = Opened(session: session, name: Text(digest.description))
        entries.withLock { entries in
            if entries.count >= Self.entriesMax {
                entries = [:]
            }
            entries[digest] = Entry(opened: opened, binding: binding, seal: seal)
        }
        return opened
    }
}
