internal import Synchronization

/// An event one task waits for and anyone sets; set before the wait, it is remembered, once.
///
/// Not an `AsyncStream`: that one ends for good when the waiting task is cancelled.
final class Signal: Sendable {
    private enum State {
        case clear
        case set
        case waiting(CheckedContinuation<Void, Never>)
    }

    private let state = Mutex(State.clear)

    func set() {
        let waiting = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if case .waiting(let continuation) = state {
                state = .clear
                return continuation
            }
            state = .set
            return nil
        }
        waiting?.resume()
    }

    /// Returns when the event is set or the task is cancelled, whichever is first.
    func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isSet = state.withLock { state -> Bool in
                    switch state {
                    case .set:
                        state = .clear
                        return true
                    case .clear where Task.isCancelled:
                        return true
                    case .clear:
                        state = .waiting(continuation)
                        return false
                    case .waiting:
                        preconditionFailure("two tasks wait for one signal")
                    }
                }
                if isSet { continuation.resume() }
            }
        } onCancel: {
            set()
        }
    }
}
