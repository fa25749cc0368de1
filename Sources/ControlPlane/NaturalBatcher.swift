import CoreMetrics
import ServiceRuntime
import Synchronization

/// Work that waits while the work before it is being done: alone it goes at once, in company
/// together.
///
/// No timer and no minimum: the batch is whatever gathered during the last one.
final class NaturalBatcher<Item: Sendable>: Sendable {
    private let waiting = Mutex<[Item]>([])
    private let itemsMax: Int
    private let limit: Limit
    private let size: Gauge
    private let arrivals: AsyncStream<Void>
    private let arrived: AsyncStream<Void>.Continuation

    /// - Parameters:
    ///   - itemsMax: how many items may wait; one more is refused.
    ///   - limit: what that bound is called.
    ///   - metric: the gauge that shows how many wait.
    init(itemsMax: Int, limit: Limit, metric: String) {
        self.itemsMax = itemsMax
        self.limit = limit
        size = Gauge(label: metric)
        (arrivals, arrived) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Adds an item; `false` when too many wait.
    func add(_ item: Item) -> Bool {
        let isTaken = waiting.withLock { waiting in
            guard waiting.count < itemsMax else { return false }
            waiting.append(item)
            size.record(waiting.count)
            return true
        }
        if isTaken { arrived.yield() } else { limit.reached() }
        return isTaken
    }

    /// Serves until the task is cancelled, one batch at a time.
    ///
    /// - Parameters:
    ///   - share: how many of the waiting items, from the front and at least one, make the next
    ///     batch.
    ///   - process: does the work, and tells the items' owners.
    func run(share: ([Item]) -> Int, process: ([Item]) async -> Void) async {
        for await _ in arrivals {
            while !Task.isCancelled {
                let batch = waiting.withLock { waiting -> [Item] in
                    guard !waiting.isEmpty else { return [] }
                    let count = share(waiting)
                    defer { size.record(waiting.count) }
                    guard count < waiting.count else {
                        let batch = waiting
                        waiting = []
                        return batch
                    }
                    let batch = Array(waiting[..<count])
                    waiting.removeFirst(count)
                    return batch
                }
                if batch.isEmpty { break }
                await process(batch)
            }
        }
    }
}
