import Logging
import PostgresTestSupport
import Synchronization

@testable import Postgres

let silent = Logger(label: "tests", factory: { _ in SwiftLogNoOpLogHandler() })

/// A connection to a fresh, empty database.
func freshConnection() async throws -> Connection {
    try await Connection.connect(try await TestCluster.shared.database(), logger: silent)
}

/// A running client for the length of a closure.
func withClient<Value>(
    _ configuration: Configuration,
    limits: PoolLimits = .patient,
    clock: some Clock<Duration> = ContinuousClock(),
    _ body: (PostgresClient) async throws -> Value
) async throws -> Value {
    let client = PostgresClient(configuration, limits: limits, logger: silent, clock: clock)
    return try await withThrowingTaskGroup { group in
        group.addTask { await client.run() }
        defer { group.cancelAll() }
        return try await body(client)
    }
}

/// A clock that stands still until it is turned.
final class ManualClock: Clock, Sendable {
    struct Instant: InstantProtocol {
        var offset: Duration = .zero
        func advanced(by duration: Duration) -> Instant { Instant(offset: offset + duration) }
        func duration(to other: Instant) -> Duration { other.offset - offset }
        static func < (left: Instant, right: Instant) -> Bool { left.offset < right.offset }
    }

    private struct State {
        var now = Instant()
        var sleepers: [Int: (deadline: Instant, continuation: CheckedContinuation<Void, Never>)] =
            [:]
        var count = 0
    }

    private let state = Mutex(State())

    var now: Instant { state.withLock { $0.now } }
    var minimumResolution: Duration { .zero }

    func advance(by duration: Duration) {
        let due = state.withLock { state in
            state.now = state.now.advanced(by: duration)
            let due = state.sleepers.filter { $0.value.deadline <= state.now }
            for key in due.keys { state.sleepers[key] = nil }
            return due.values.map(\.continuation)
        }
        for continuation in due { continuation.resume() }
    }

    func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        let id = state.withLock { state in
            state.count += 1
            return state.count
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if deadline <= state.now || Task.isCancelled { return true }
                    state.sleepers[id] = (deadline, continuation)
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.sleepers.removeValue(forKey: id) }?.continuation.resume()
        }
        try Task.checkCancellation()
    }
}

/// The error a closure throws, if it is one of ours.
func failure<Value>(_ body: () async throws -> Value) async -> PostgresError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? PostgresError
    }
}

/// Asks until the answer is yes.
///
/// Each question is a round trip to the server, which is the wait.
func until(_ condition: () async throws -> Bool) async throws {
    while try await !condition() {
        try Task.checkCancellation()
        await Task.yield()
    }
}

/// What a task reports and a test waits for.
struct Gate: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() {
        (stream, continuation) = AsyncStream.makeStream()
    }

    func open() {
        continuation.yield()
    }

    func wait() async {
        for await _ in stream { return }
    }
}

/// Counts across tasks.
final class Counter: Sendable {
    private let value = Atomic(0)
    var count: Int { value.load(ordering: .relaxed) }
    /// Counts one more, and answers how many that makes.
    @discardableResult
    func increment() -> Int { value.add(1, ordering: .relaxed).newValue }
}

/// Where tasks wait until so many of them are there.
actor Meeting {
    private var missing: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(of count: Int) { missing = count }

    func arrive() async {
        missing -= 1
        guard missing <= 0 else { return await withCheckedContinuation { waiting.append($0) } }
        for continuation in waiting { continuation.resume() }
        waiting = []
    }
}

/// A logger whose lines a test can read.
func recordingLogger() -> (Logger, @Sendable () -> [String]) {
    let handler = RecordingHandler()
    let lines = handler.lines
    return (Logger(label: "tests", factory: { _ in handler }), { lines.get() })
}

private final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    func get() -> [String] { lines.withLock { $0 } }
    func add(_ line: String) { lines.withLock { $0.append(line) } }
}

private struct RecordingHandler: LogHandler {
    let lines = Lines()
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        lines.add("\(event.level) \(event.message) \(event.metadata ?? [:])")
    }
}
