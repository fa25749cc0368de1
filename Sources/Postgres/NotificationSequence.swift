internal import Logging
internal import Synchronization

/// A message another connection sent with NOTIFY.
public struct Notification: Sendable, Hashable {
    /// The channel it was sent on.
    public let channel: String
    /// What the sender said, at most 8,000 bytes.
    public let payload: String
    /// The server process of the sender.
    public let processIdentifier: Int32
}

/// What a listener learns.
public enum NotificationSignal: Sendable, Hashable {
    /// From here on notifications arrive, and earlier ones may have been missed: read again what they are about.
    ///
    /// Comes first, after every reconnection, and in place of notifications that were not taken in time.
    case listening
    /// Someone sent this.
    case notification(Notification)
}

/// The notifications of one channel, over a connection of its own that is made again whenever it is lost.
///
/// PostgreSQL keeps no notification for an absent listener. So a lost connection is not an error here but a
/// ``NotificationSignal/listening`` after it: the listener reads its tables again and misses nothing.
/// The sequence ends when its task is cancelled. At most 1,024 notifications wait; more collapse into one `listening`.
public struct NotificationSequence: AsyncSequence, Sendable {
    /// What the sequence gives.
    public typealias Element = NotificationSignal
    /// Nothing is thrown.
    public typealias Failure = Never

    private let configuration: Configuration
    private let channel: Identifier
    private let logger: Logger

    init(_ configuration: Configuration, _ channel: Identifier, _ logger: Logger) {
        self.configuration = configuration
        self.channel = channel
        self.logger = logger
    }

    /// Starts listening; each iterator has its own connection.
    public func makeAsyncIterator() -> Iterator {
        let listener = Listener(configuration, channel, logger)
        startThread { listener.run() }
        return Iterator(owner: ListenerOwner(listener))
    }

    /// Listens until it is let go.
    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let owner: ListenerOwner

        /// The next signal, or nil once the task is cancelled.
        public mutating func next() async -> NotificationSignal? {
            await owner.listener.next()
        }

        /// The next signal, or nil once the task is cancelled.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async -> NotificationSignal? {
            await owner.listener.next()
        }
    }
}

/// Ends the listener's thread when the iterator is gone; the thread itself keeps the listener.
private final class ListenerOwner: Sendable {
    let listener: Listener

    init(_ listener: Listener) {
        self.listener = listener
    }

    deinit {
        listener.stop()
    }
}

/// What waits for a listener.
///
/// A backlog is worth no more than the advice to look, which is what it becomes.
struct NotificationBuffer: Equatable {
    static let signalsMax = 1024
    private var signals: [NotificationSignal] = []

    mutating func add(_ signal: NotificationSignal) {
        if signals.count >= Self.signalsMax {
            // Also in place of this one: whoever looks after it finds what it was about.
            signals = [.listening]
        } else if signal != .listening || signals.last != .listening {
            signals.append(signal)
        }
    }

    mutating func take() -> NotificationSignal? {
        signals.isEmpty ? nil : signals.removeFirst()
    }
}

private final class Listener: Sendable {
    private struct State {
        var waiting = NotificationBuffer()
        var isStopped = false
    }

    private let configuration: Configuration
    private let channel: Identifier
    private let logger: Logger
    private let state = Mutex(State())
    private let arrived = Signal()
    private let wakeUp = WakeUp()
    private let cancellation = Cancellation()

    init(_ configuration: Configuration, _ channel: Identifier, _ logger: Logger) {
        self.configuration = configuration
        self.channel = channel
        self.logger = logger
    }

    func stop() {
        state.withLock { $0.isStopped = true }
        cancellation.request()
        wakeUp.signal()
        arrived.set()
    }

    func next() async -> NotificationSignal? {
        while !Task.isCancelled {
            let (signal, isStopped) = state.withLock { state in
                (state.waiting.take(), state.isStopped)
            }
            if let signal { return signal }
            if isStopped { return nil }
            await arrived.wait()
        }
        stop()
        return nil
    }

    private func add(_ signal: NotificationSignal) {
        state.withLock { $0.waiting.add(signal) }
        arrived.set()
    }

    /// The thread: connect, listen, and again.
    func run() {
        var limits = PoolLimits()
        limits.backoffMax = .seconds(1)
        var attempts = 0
        while !cancellation.isRequested {
            do throws(PostgresError) {
                try listen { attempts = 0 }
            } catch {
                attempts += 1
                if case .invalidStatement = error { return stop() }
                if !cancellation.isRequested {
                    logger.warning(
                        "listening to the database was interrupted",
                        metadata: ["error.message": "\(error)"]
                    )
                }
            }
            if cancellation.isRequested { return }
            if wakeUp.wait(atMost: limits.backoff(after: attempts)) { wakeUp.clear() }
        }
    }

    private func listen(_ onListening: () -> Void) throws(PostgresError) {
        let connection = try SynchronousConnection(
            configuration,
            logger: logger,
            wakeUp: wakeUp,
            cancellation: cancellation
        )
        try connection.query("listen \(channel)")
        onListening()
        add(.listening)
        repeat {
            while let notification = connection.nextNotification() {
                add(.notification(notification))
            }
        } while connection.waitIdle() && !cancellation.isRequested
        guard cancellation.isRequested else { throw .connectionLost }
    }
}
