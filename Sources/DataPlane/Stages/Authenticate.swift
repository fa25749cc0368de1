import CoreMetrics
import Cryptography
import GatewayModel
import IdentityProtocols
import JSON
import ServiceRuntime
import Synchronization

/// Who is asking, as far as this call is concerned.
///
/// Made once for each verified token and shared by its calls.
final class Caller: Sendable {
    let subject: Subject
    /// `client_id` of the token, or `azp`; the token's issuer vouches for it.
    let client: Text

    init(subject: Subject, client: Text) {
        self.subject = subject
        self.client = client
    }
}

/// Verifies bearer tokens, and remembers those that verified.
///
/// The memory holds what a token says, by the token's SHA-256, never the token. An entry counts only for the
/// configuration it was verified under: a new one may have taken a key or an issuer away.
final class Authenticator: Sendable {
    /// The most tokens remembered.
    ///
    /// When it is full the expired ones go, or else all: verifying again is harmless.
    static let entriesMax = 20_000

    private struct Entry {
        /// `nil` when the token's subject is not in the directory of that configuration.
        let caller: Caller?
        let expiresAt: Int64
        let snapshotVersion: UInt64
        let server: ServerName
    }

    private static let cached = Gauge(label: "ostiary.token.cached")

    /// How often a caller that waits for a key looks for a new configuration.
    private static let pollInterval: Duration = .milliseconds(20)

    private let inquiries = Mutex(KeyInquiryRules())
    private let validator = JWTValidator(for: .accessToken)
    private let entries = Mutex<[SHA256.Digest: Entry]>([:])

    /// The caller of a token that was refused in `view`, if that was for want of its key, and the view it was verified in.
    ///
    /// An issuer may have begun to sign with a key that came after the configuration: then control is asked, and the
    /// token waits a moment for a configuration that has the key (``KeyInquiryRules``).
    func waitForKey(
        of token: [UInt8],
        refusedAs unknown: Rejection,
        at server: ServerName,
        audience: @autoclosure () -> Text,
        in view: GatewayState.View,
        of state: GatewayState,
        asking link: LinkClient,
        now: Timestamp
    ) async throws(Rejection) -> (Caller, GatewayState.View) {
        var view = view
        guard unknown.detail == Text(JWTRefusal.Reason.keyUnknown.rawValue),
            let key = JWTValidator.claimedKey(in: token)
        else { throw unknown }
        let until: MonotonicInstant
        switch inquiries.withLock({
            $0.unknownKey(of: key.issuer, at: SystemClock.monotonic())
        }) {
        case .refuse: throw unknown
        case .join(let time): until = time
        case .ask(let time):
            until = time
            await link.request(key: key.keyID, of: key.issuer)
        }
        defer { inquiries.withLock { $0.done() } }
        while SystemClock.monotonic() < until,
            (try? await Task.sleep(for: Self.pollInterval)) != nil
        {
            guard case .success(let newer) = state.view(at: SystemClock.monotonic()),
                newer.snapshot.version != view.snapshot.version
            else { continue }
            view = newer
            do throws(Rejection) {
                let caller = try authenticate(
                    token,
                    at: server,
                    audience: audience(),
                    in: view.snapshot,
                    now: now
                )
                return (caller, view)
            } catch {
                // Another change came first; or the token has more wrong with it.
                guard error.detail == unknown.detail else { throw error }
            }
        }
        throw unknown
    }

    /// The caller that `token` names, at `server`, whose resource name is `audience`.
    ///
    /// - Throws: ``Rejection`` with a code that becomes 401, and the precise reason as its detail.
    func authenticate(
        _ token: [UInt8],
        at server: ServerName,
        audience: @autoclosure () -> Text,
        in snapshot: GatewaySnapshot,
        now: Timestamp
    ) throws(Rejection) -> Caller {
        let digest = SHA256.digest(of: token)
        let entry: Entry
        if let known = entries.withLock({ $0[digest] }), known.snapshotVersion == snapshot.version,
            known.server == server, now.seconds < known.expiresAt
        {
            entry = known
        } else {
            entry = try verify(token, at: server, audience: audience(), in: snapshot, now: now)
            remember(entry, as: digest, now: now)
        }
        guard let caller = entry.caller else {
            throw Rejection(.subjectUnknown, "the token's subject is not in the directory")
        }
        return caller
    }

    private func verify(
        _ token: [UInt8],
        at server: ServerName,
        audience: Text,
        in snapshot: GatewaySnapshot,
        now: Timestamp
    ) throws(Rejection) -> Entry {
        var refusal = JWTRefusal(.audienceRefused)
        // The server's own URL first; then what the issuer is configured to write instead.
        var candidates = [audience]
        while let candidate = candidates.first {
            candidates.removeFirst()
            do {
                let claims = try validator.validate(
                    token,
                    issuers: snapshot.issuers,
                    audience: candidate,
                    now: now.seconds
                )
                let key = GatewaySnapshot.SubjectKey(issuer: claims.issuer, name: claims.subject)
                return Entry(
                    caller: snapshot.subjects[key].map {
                        Caller(subject: $0, client: claims.clientID ?? "")
                    },
                    expiresAt: claims.expiresAt,
                    snapshotVersion: snapshot.version,
                    server: server
                )
            } catch {
                refusal = error
                if error.reason == .audienceRefused, candidate == audience {
                    candidates = Set(snapshot.audiences.values.joined()).sorted()
                }
            }
        }
        throw Rejection(.tokenInvalid, Text(refusal.reason.rawValue))
    }

    private func remember(_ entry: Entry, as digest: SHA256.Digest, now: Timestamp) {
        entries.withLock { entries in
            if entries.count >= Self.entriesMax {
                Limit.tokens.reached()
                entries = entries.filter { $0.value.expiresAt > now.seconds }
                if entries.count >= Self.entriesMax {
                    entries = [:]
                }
            }
            entries[digest] = entry
            Self.cached.record(entries.count)
        }
    }
}
