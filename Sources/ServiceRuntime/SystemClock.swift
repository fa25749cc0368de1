public import GatewayModel
import Glibc

/// The two clocks of the machine; the only place that reads them for the services.
public enum SystemClock {
    /// The wall clock, for records and token lifetimes.
    public static func now() -> Timestamp {
        let time = read(CLOCK_REALTIME)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }

    /// The monotonic clock, for deadlines and leases.
    public static func monotonic() -> MonotonicInstant {
        let time = read(CLOCK_MONOTONIC)
        return MonotonicInstant(
            nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
        )
    }

    private static func read(_ clock: clockid_t) -> timespec {
        var time = timespec()
        let status = clock_gettime(clock, &time)
        precondition(status == 0, "the machine has its two clocks")
        return time
    }
}
