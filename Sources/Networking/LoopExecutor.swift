public import NIOCore

/// An executor that runs Swift tasks on one event loop, inside the event that woke them.
///
/// SwiftNIO's loops are executors themselves, but a job enqueued on one waits for the loop's task
/// queue. Here an event (bytes arrived, a timer fired) resumes a continuation and then calls
/// ``drain()``: the task goes on at once, in the same loop iteration, without a lock, an allocation
/// or a closure. Actors that share a loop share this executor, so calls between them do not switch
/// either.
///
/// It is a task executor as well, and a connection's task prefers it. That is not decoration: the
/// runtime resumes a continuation on the task's preferred executor before it returns to the actor,
/// and without a preference that is the global pool, two thread switches for each wait (measured:
/// half of the throughput).
public final class LoopExecutor: SerialExecutor, TaskExecutor, @unchecked Sendable {
    // Guard of the mutable state below: it is touched only on `loop`.

    /// The event loop that jobs run on.
    public let loop: any EventLoop

    /// Position of the loop in its ``EventLoops``, for tables indexed by loop.
    public let index: Int

    private var jobs: [UnownedJob] = []
    private var isDraining = false
    private var isScheduled = false
    private var dateSecond: Int64 = .min
    private var dateText: [UInt8] = []

    /// How many jobs one event may run before the loop looks at its sockets again.
    private static let jobsPerDrainMax = 1024

    init(_ loop: any EventLoop, index: Int = 0) {
        self.loop = loop
        self.index = index
        jobs.reserveCapacity(64)
    }

    /// Takes a job from the Swift runtime; may be called on any thread.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if loop.inEventLoop {
            jobs.append(job)
            scheduleDrain()
        } else {
            loop.execute {
                self.jobs.append(job)
                self.drain()
            }
        }
    }

    /// This executor as the runtime wants it.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        UnownedSerialExecutor(ordinary: self)
    }

    /// This executor as a task's preference.
    public func asUnownedTaskExecutor() -> UnownedTaskExecutor {
        UnownedTaskExecutor(ordinary: self)
    }

    /// Stops the process when the current thread is not the loop's.
    public func checkIsolated() {
        loop.preconditionInEventLoop()
    }

    /// Whether the current thread is the loop's.
    public func isIsolatingCurrentContext() -> Bool? {
        loop.inEventLoop
    }

    /// Runs the jobs that became ready.
    ///
    /// Called at the end of every event handler of this module.
    func drain() {
        if isDraining || jobs.isEmpty { return }
        isDraining = true
        let serial = asUnownedSerialExecutor()
        let preferred = asUnownedTaskExecutor()
        var next = 0
        while next < jobs.count, next < Self.jobsPerDrainMax {
            let job = jobs[next]
            next += 1
            job.runSynchronously(isolatedTo: serial, taskExecutor: preferred)
        }
        jobs.removeFirst(next)
        isDraining = false
        // Tasks that keep each other busy must not starve the sockets.
        if !jobs.isEmpty { scheduleDrain() }
    }

    /// A job that was made outside of an event handler (a new task, a promise) runs in the loop's
    /// next turn.
    private func scheduleDrain() {
        if isDraining || isScheduled { return }
        isScheduled = true
        loop.execute {
            self.isScheduled = false
            self.drain()
        }
    }

    /// The value of a `Date` field, made once per second.
    func withDate(now: NIODeadline, _ body: (borrowing [UInt8]) -> Void) {
        let second = Int64(now.uptimeNanoseconds / 1_000_000_000)
        if second != dateSecond {
            dateSecond = second
            dateText = HTTPDate.now()
        }
        body(dateText)
    }
}
