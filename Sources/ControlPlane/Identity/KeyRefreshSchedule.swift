/// When an issuer's keys are fetched again.
///
/// Values in, values out: the draw is a parameter.
struct KeyRefreshSchedule: Sendable, Equatable {
    /// How often keys are fetched, in seconds.
    ///
    /// Default 900. A key that its issuer removed counts until then, so this bounds how long it does.
    var intervalSeconds: Int64 = 900
    /// How long keys stay in force when they cannot be fetched any more, in seconds.
    ///
    /// Default 86,400; after that the issuer's tokens are refused.
    var staleSeconds: Int64 = 86_400

    /// The pause after the first failure, in seconds; it doubles with each, up to the interval.
    static let firstPauseSeconds: Int64 = 30

    /// After a success: between 80 % and 100 % of the interval, so that issuers that were configured together are not
    /// asked together for ever.
    ///
    /// - Parameter draw: A number from 0 to 1.
    func secondsAfterSuccess(draw: Double) -> Int64 {
        Self.spread(intervalSeconds, draw)
    }

    /// After a failure, `failures` of them by now.
    ///
    /// - Parameter draw: A number from 0 to 1.
    func secondsAfterFailure(_ failures: Int, draw: Double) -> Int64 {
        let doublings = min(max(failures - 1, 0), 16)
        let pause = Self.firstPauseSeconds << Int64(doublings)
        return max(
            Self.firstPauseSeconds,
            Self.spread(min(pause, max(intervalSeconds, Self.firstPauseSeconds)), draw)
        )
    }

    /// Whether keys that were last fetched so long ago are not to be believed any longer.
    func isStale(secondsSinceSuccess: Int64?) -> Bool {
        secondsSinceSuccess.map { $0 > staleSeconds } ?? false
    }

    private static func spread(_ seconds: Int64, _ draw: Double) -> Int64 {
        seconds - Int64(Double(seconds) * 0.2 * min(max(draw, 0), 1))
    }
}
