/// A place on an event loop for code that comes from elsewhere: a control-plane task that calls a
/// server now and then.
///
/// A connection's handler needs none; it is on its loop already.
public actor LoopActor {
    /// The loop.
    public nonisolated let executor: LoopExecutor

    /// The actor runs on its event loop.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    /// An actor on this loop.
    public init(_ executor: LoopExecutor) { self.executor = executor }

    /// Runs `body` on the loop.
    public nonisolated func run<Value: Sendable>(
        _ body: @Sendable (isolated LoopActor) async throws -> Value
    ) async rethrows -> Value {
        try await withTaskExecutorPreference(executor) { try await body(self) }
    }
}
