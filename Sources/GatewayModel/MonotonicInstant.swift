/// A point on the monotonic clock of this process; it means nothing elsewhere and never goes back.
public struct MonotonicInstant: Hashable, Comparable, Sendable {
    /// Nanoseconds since an arbitrary start.
    public let nanoseconds: Int64

    /// A point from nanoseconds since the clock's start.
    public init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    /// Earlier is less.
    public static func < (left: Self, right: Self) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    /// The point that lies `milliseconds` later.
    public func adding(milliseconds: Int64) -> Self {
        Self(nanoseconds: nanoseconds + milliseconds * 1_000_000)
    }

    /// Whole milliseconds from `earlier` to here; negative when it lies later.
    public func milliseconds(since earlier: Self) -> Int64 {
        (nanoseconds - earlier.nanoseconds) / 1_000_000
    }

    /// Whole microseconds from `earlier` to here; negative when it lies later.
    public func microseconds(since earlier: Self) -> Int64 {
        (nanoseconds - earlier.nanoseconds) / 1000
    }
}
