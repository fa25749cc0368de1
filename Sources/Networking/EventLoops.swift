import NIOCore
import NIOPosix

/// The threads that all network I/O of a process runs on.
///
/// Made once by `assemble()` and handed to every server and client. A connection belongs to one
/// loop for its whole life, and so does everything a call over that connection touches.
public final class EventLoops: Sendable {
    /// One executor per loop, in a fixed order: ``LoopExecutor/index`` is the position here.
    public let executors: [LoopExecutor]

    let group: MultiThreadedEventLoopGroup

    /// Starts the threads.
    ///
    /// - Parameter count: Number of loops, at least 1. One per core that the process may use is a
    ///   good value.
    public init(count: Int) {
        precondition(count > 0, "a process needs at least one event loop")
        group = MultiThreadedEventLoopGroup(numberOfThreads: count)
        executors = group.makeIterator().enumerated().map { LoopExecutor($1, index: $0) }
    }

    /// Stops the threads.
    ///
    /// Everything that uses them must have ended.
    public func shutdown() async throws {
        try await group.shutdownGracefully()
    }

    /// The executor of a loop of this group.
    func executor(of loop: any EventLoop) -> LoopExecutor? {
        executors.first { $0.loop === loop }
    }
}
