internal import CLibpq
internal import Synchronization

/// A caller's wish to stop one operation; the connection's thread looks at it whenever it wakes.
final class Cancellation: Sendable {
    private let flag = Atomic(false)

    var isRequested: Bool {
        flag.load(ordering: .acquiring)
    }

    func request() {
        flag.store(true, ordering: .releasing)
    }
}

/// One cancel request on its way to the server, over a connection of its own.
///
/// libpq's `PQcancel` blocks until the server has passed the request on, and for minutes when the server's host is
/// gone; so it runs on a thread of its own and is waited for only so long.
final class CancelRequest: Sendable {
    private let answered = Atomic(false)
    private let done = WakeUp()

    init(of handle: OpaquePointer) {
        guard let cancel = PQgetCancel(handle) else {
            answered.store(true, ordering: .releasing)
            done.signal()
            return
        }
        let request = Request(cancel: cancel)
        startThread { [self] in
            var message: [CChar] = Array(repeating: 0, count: 256)
            _ = PQcancel(request.cancel, &message, Int32(message.count))
            PQfreeCancel(request.cancel)
            answered.store(true, ordering: .releasing)
            done.signal()
        }
    }

    var isAnswered: Bool {
        answered.load(ordering: .acquiring)
    }

    /// Waits until the server has it; false when it takes too long.
    func wait(atMost duration: Duration) -> Bool {
        isAnswered || done.wait(atMost: duration)
    }

    /// `@unchecked Sendable`: made by one thread, then used and freed by exactly one other.
    private struct Request: @unchecked Sendable {
        let cancel: OpaquePointer
    }
}
