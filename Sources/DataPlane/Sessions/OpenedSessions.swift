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

    /// A session, and how records name it; shared by the calls of the session.
    final class Opened: Sendable {
        let session: SealedSession
        /// SHA-256 of the id, in hexadecimal.
        let name: Text
        /// What it was opened with.
        fileprivate let binding: SessionSeal.Binding
        fileprivate let seal: SessionSeal

        fileprivate init(
            _ session: SealedSession,
            name: Text,
            binding: SessionSeal.Binding,
            seal: SessionSeal
        ) {
            (self.session, self.name, self.binding, self.seal) = (session, name, binding, seal)
        }
    }

    private let entries = Mutex<[SHA256.Digest: Opened]>([:])

    /// Opens an id; `nil` for anything that `seal` does not open for exactly this binding.
    func open(_ id: Text, with seal: SessionSeal, for binding: SessionSeal.Binding) -> Opened? {
        let digest = SHA256.digest(of: id.string)
        if let known = entries.withLock({ $0[digest] }), known.seal === seal,
            known.binding == binding
        {
            return known
        }
        guard let session = seal.open(id, for: binding) else {
            return nil
        }
        let opened = Opened(
            session,
            name: Text(digest.description),
            binding: binding,
            seal: seal
        )
        entries.withLock { entries in
            if entries.count >= Self.entriesMax {
                entries = [:]
            }
            entries[digest] = opened
        }
        return opened
    }
}
