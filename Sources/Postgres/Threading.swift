internal import CLibpq
internal import Glibc

/// The two things the connection threads need from the system: a thread, and a way to wake it out of `poll`.

/// Starts a detached thread with all signals blocked.
///
/// libpq blocks, and a blocked thread of Swift's cooperative pool is one core lost to everybody; so connections have
/// threads of their own. Signals belong to the main thread.
func startThread(_ body: @escaping @Sendable () -> Void) {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    // TLS handshakes are the deepest thing that runs here.
    pthread_attr_setstacksize(&attributes, 512 << 10)
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(Box(body)).toOpaque()
    let code = pthread_create(
        &thread,
        &attributes,
        { argument in
            guard let argument else { return nil }
            Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        },
        argument
    )
    precondition(code == 0, "no thread could be started")
}

/// An event that ends a `poll`; set from any thread, cleared by the one that waits.
final class WakeUp: Sendable {
    let descriptor: Int32

    init() {
        descriptor = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
        precondition(descriptor >= 0, "no event descriptor could be made")
    }

    deinit {
        close(descriptor)
    }

    func signal() {
        _ = eventfd_write(descriptor, 1)
    }

    func clear() {
        var count: eventfd_t = 0
        _ = eventfd_read(descriptor, &count)
    }

    /// Waits for the event alone; false when the time ran out.
    func wait(atMost duration: Duration) -> Bool {
        let ready = Readiness.wait(socket: -1, writing: false, wake: self, until: .now + duration)
        return ready.isWoken
    }
}

/// What `poll` found.
struct Readiness {
    var isReadable = false
    var isWritable = false
    var isWoken = false

    /// Waits for the socket, the wake-up, or the deadline; a signal or a spurious return finds nothing.
    static func wait(
        socket: Int32,
        writing: Bool,
        wake: WakeUp?,
        until deadline: ContinuousClock.Instant?
    ) -> Readiness {
        var milliseconds: Int32 = -1
        if let deadline {
            let left = max(.zero, deadline - .now).components
            let rounded =
                left.seconds * 1000 + (left.attoseconds + 999_999_999_999_999)
                / 1_000_000_000_000_000
            milliseconds = Int32(min(rounded, 3_600_000))
        }
        let interest = writing ? POLLIN | POLLOUT : POLLIN
        // poll ignores negative descriptors.
        var descriptors = (
            pollfd(fd: socket, events: Int16(interest), revents: 0),
            pollfd(fd: wake?.descriptor ?? -1, events: Int16(POLLIN), revents: 0)
        )
        let found = withUnsafeMutableBytes(of: &descriptors) {
            poll($0.bindMemory(to: pollfd.self).baseAddress, 2, milliseconds)
        }
        guard found > 0 else { return Readiness() }
        let events = Int32(descriptors.0.revents)
        return Readiness(
            isReadable: events & (POLLIN | POLLERR | POLLHUP | POLLNVAL) != 0,
            isWritable: events & POLLOUT != 0,
            isWoken: descriptors.1.revents != 0
        )
    }
}
