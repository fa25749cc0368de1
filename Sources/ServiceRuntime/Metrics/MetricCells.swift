import CoreMetrics
import Synchronization

// What a metric's handle writes to. Any thread, no lock: an addition or a store. Reading while others write may see a sum
// without its last addition, which the next reading has.

/// Counts up.
final class CounterCell: CounterHandler {
    private let count = Atomic<Int64>(0)

    var value: Int64 { count.load(ordering: .relaxed) }

    func increment(by amount: Int64) {
        count.add(amount, ordering: .relaxed)
    }

    func reset() {
        count.store(0, ordering: .relaxed)
    }
}

/// Goes up and down, or counts in fractions.
final class GaugeCell: RecorderHandler, MeterHandler, FloatingPointCounterHandler {
    private let bits = Atomic<UInt64>(Double(0).bitPattern)

    var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

    func record(_ value: Int64) { set(Double(value)) }
    func record(_ value: Double) { set(value) }
    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    func decrement(by amount: Double) { increment(by: -amount) }
    func reset() { set(0.0) }

    func increment(by amount: Double) {
        var standing = bits.load(ordering: .relaxed)
        while true {
            let next = (Double(bitPattern: standing) + amount).bitPattern
            let (exchanged, original) = bits.weakCompareExchange(
                expected: standing,
                desired: next,
                ordering: .relaxed
            )
            if exchanged { return }
            standing = original
        }
    }
}

/// Durations in buckets.
final class HistogramCell: TimerHandler {
    /// Upper bounds, in nanoseconds: from what a gateway adds to what a slow tool takes.
    static let bounds: [Int64] = [
        250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000,
        100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 5_000_000_000,
        10_000_000_000, 30_000_000_000, 60_000_000_000,
    ]

    /// One for each bound, and one for what is longer.
    private let counts = InlineArray<18, Atomic<Int64>> { _ in Atomic(0) }
    private let sum = Atomic<Int64>(0)

    func recordNanoseconds(_ duration: Int64) {
        var index = 0
        while index < Self.bounds.count, duration > Self.bounds[index] { index += 1 }
        counts[index].add(1, ordering: .relaxed)
        sum.add(max(0, duration), ordering: .relaxed)
    }

    /// How many took no longer than each bound, then all of them.
    var cumulative: [Int64] {
        var total: Int64 = 0
        return (0...Self.bounds.count).map { index in
            total += counts[index].load(ordering: .relaxed)
            return total
        }
    }

    var sumSeconds: Double {
        Double(sum.load(ordering: .relaxed)) / 1e9
    }
}
