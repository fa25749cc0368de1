import GatewayModel
import JSON
import Synchronization

/// Which callers may wait for a key that their token names and the configuration does not have.
///
/// Anybody can write a token that names a key, so waiting is a favour in short supply: for each issuer one question to
/// control in 30 seconds, of whose answer all hear that ask in the first two, and never more than 64 that wait.
///
///     unasked ──ask──▶ asked, callers may join for 2 s ──▶ asked, refused until 30 s ──▶ unasked
///
/// Values in, values out.
struct KeyInquiryRules: Sendable, Equatable {
    /// How long a caller waits for the answer, in milliseconds.
    static let waitMilliseconds: Int64 = 2_000
    /// How long after one question the next may follow, in milliseconds; control asks the issuer no oftener.
    static let pauseMilliseconds: Int64 = 30_000
    /// How many callers wait at once.
    static let waitingMax = 64

    /// What a caller may do.
    enum Answer: Equatable {
        /// Ask, and wait until then.
        case ask(until: MonotonicInstant)
        /// Somebody asked a moment ago: wait until then.
        case join(until: MonotonicInstant)
        /// Be refused at once.
        case refuse
    }

    /// When each issuer was last asked about; as many as are configured.
    private var asked: [Text: MonotonicInstant] = [:]
    private(set) var waiting = 0

    /// A caller's token names an unknown key of `issuer`.
    ///
    /// Who may wait says ``done()`` afterwards.
    mutating func unknownKey(of issuer: Text, at now: MonotonicInstant) -> Answer {
        guard waiting < Self.waitingMax else { return .refuse }
        if let last = asked[issuer] {
            let until = last.adding(milliseconds: Self.waitMilliseconds)
            if now < until {
                waiting += 1
                return .join(until: until)
            }
            guard last.adding(milliseconds: Self.pauseMilliseconds) <= now else { return .refuse }
        }
        asked[issuer] = now
        waiting += 1
        return .ask(until: now.adding(milliseconds: Self.waitMilliseconds))
    }

    /// A caller that waited goes on.
    mutating func done() {
        waiting -= 1
    }
}
