public import NIOCore

/// Where the tasks of a connection run: on its event loop.
///
/// Streams and connections are actors with this executor, so a task that runs there already uses
/// them without a switch of threads or executors. An executor that collects its jobs and wants to
/// run them at the end of the event that made them ready gives a `drain` closure; answers then
/// leave in the same write as the window updates.
public struct HTTP2Execution: Sendable {
    let loop: any EventLoop
    let executor: any SerialExecutor
    let drain: @Sendable () -> Void

    /// An executor other than the loop's own.
    ///
    /// - Parameters:
    ///   - executor: Must run jobs on `loop`.
    ///   - drain: Called on the loop at the end of each event; runs the jobs that became ready.
    public init(
        loop: any EventLoop,
        executor: any SerialExecutor,
        drain: @escaping @Sendable () -> Void
    ) {
        self.loop = loop
        self.executor = executor
        self.drain = drain
    }

    /// The loop itself as the executor: every job waits for the loop's next turn.
    public init(loop: any EventLoop) {
        self.init(loop: loop, executor: loop.executor, drain: {})
    }

    var unowned: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
}
