public import NIOCore

/// A timer that is set for every request and hardly ever rings.
///
/// Setting and clearing it only moves a field. One callback of the loop is armed for the earliest time it was ever set
/// to, and when that comes it looks again; so a request that is answered in time costs no timer of the loop (measured: a
/// scheduled task made and cancelled is 2 % of a call).
///
/// Owned by the event loop of its executor; everything here is called there.
public final class Alarm: NIOScheduledCallbackHandler, @unchecked Sendable {
    // Guard of the mutable state: it is touched only on `executor.loop`.

    private let executor: LoopExecutor
    private var deadline = NIODeadline.distantFuture
    private var armedAt = NIODeadline.distantFuture
    private var action: (() -> Void)?
    private var timer: NIOScheduledCallback?

    /// An alarm that is not set.
    public init(on executor: LoopExecutor) {
        self.executor = executor
    }

    deinit {
        timer?.cancel()
    }

    /// Calls `action` once after `delay`, unless the alarm is cleared or set again before.
    public func set(in delay: TimeAmount, _ action: @escaping () -> Void) {
        self.action = action
        deadline = executor.loop.now + delay
        arm()
    }

    /// Calls nothing.
    public func clear() {
        action = nil
        deadline = .distantFuture
    }

    private func arm() {
        guard deadline < armedAt else { return }
        timer?.cancel()
        armedAt = deadline
        // Fails only when the loop is being shut down, which ends the connections that would be rung for.
        timer = try? executor.loop.scheduleCallback(at: deadline, handler: self)
    }

    /// The loop's callback.
    public func handleScheduledCallback(eventLoop: some EventLoop) {
        armedAt = .distantFuture
        timer = nil
        guard deadline < .distantFuture else { return }
        guard deadline <= executor.loop.now else { return arm() }
        let action = action
        clear()
        action?()
        executor.drain()
    }
}
