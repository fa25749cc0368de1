import Cryptography
import GatewayModel
import JSON

/// What the gateway must remember about a legacy session, and does not: it travels sealed in the session id.
struct SealedSession: Equatable, Sendable {
    /// The revision agreed on with the client.
    var revision: Text
    /// The session at the server, if it gave one.
    var upstreamSession: Text?
    /// When the session was opened, in seconds since 1970.
    var openedAt: Int64
    /// What the client calls itself, cut to 64 bytes; unverified.
    var clientClaim: Text?
}

/// Seals session ids with the namespace's keys (AES-256-GCM), bound to whom and what they were made for.
///
/// An id is `s1.<key id>.<base64url>`. Subject, client and server are authenticated and not contained, so an id that
/// somebody else presents, or that is presented for another server, does not open: it is not told apart from an id
/// that never existed. Any replica with the namespace's keys opens it.
final class SessionSeal: Sendable {
    /// The longest id that is looked at, in bytes.
    static let idBytesMax = 2048

    private let keys: [Text: AEAD]
    private let sealingKey: (id: Text, aead: AEAD)

    /// A seal that makes ids under one key and opens those of all.
    init?(keys: [Text: AEAD], sealingKeyID: Text) {
        guard let aead = keys[sealingKeyID] else {
            return nil
        }
        self.keys = keys
        sealingKey = (sealingKeyID, aead)
    }

    /// What an id belongs to.
    struct Binding: Equatable {
        let namespace: NamespaceName
        let server: ServerName
        let subject: SubjectID
        let client: Text

        /// Each part with its length in front, so that no two bindings have the same bytes.
        var bytes: [UInt8] {
            var bytes = Array("ostiary-session-v1".utf8)
            for part in [namespace.text, server.text, subject.text, client] {
                bytes.append(UInt8(truncatingIfNeeded: part.byteCount >> 8))
                bytes.append(UInt8(truncatingIfNeeded: part.byteCount))
                bytes.append(contentsOf: part.utf8)
            }
            return bytes
        }
    }

    /// Makes an id.
    func seal(_ session: SealedSession, for binding: Binding) throws(CryptographyError) -> Text {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("r", session.revision)
        writer.member("u", ifPresent: session.upstreamSession)
        writer.member("t", session.openedAt)
        writer.member("c", ifPresent: session.clientClaim)
        writer.endObject()
        let sealed = try sealingKey.aead.seal(writer.bytes, authenticating: binding.bytes)
        return Text("s1.\(sealingKey.id).\(Base64.encode(sealed, .url))")
    }

    /// Opens an id; `nil` for anything that is not ours for exactly this binding.
    func open(_ id: Text, for binding: Binding) -> SealedSession? {
        guard id.byteCount <= Self.idBytesMax else {
            return nil
        }
        let parts = id.utf8.split(separator: 0x2E, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0].elementsEqual("s1".utf8),
            let keyID = Text(validating: parts[1]),
            let aead = keys[keyID], let sealed = Base64.decode(parts[2], .url),
            let opened = try? aead.open(sealed, authenticating: binding.bytes),
            let root = try? JSONDocument(parsing: opened).root,
            let revision = root["r"]?.string, let openedAt = root["t"]?.int64
        else {
            return nil
        }
        return SealedSession(
            revision: revision,
            upstreamSession: root["u"]?.string,
            openedAt: openedAt,
            clientClaim: root["c"]?.string
        )
    }
}
