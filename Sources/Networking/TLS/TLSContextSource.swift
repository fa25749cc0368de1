public import Cryptography
import Synchronization

/// The TLS context that new connections of a listener get.
///
/// A renewed certificate is installed here while the process runs; connections that live keep the one they began with.
public final class TLSContextSource: Sendable {
    private let held: Mutex<TLSContext>

    /// A source that begins with `context`.
    public init(_ context: TLSContext) {
        held = Mutex(context)
    }

    /// The context for a connection that begins now.
    public var current: TLSContext {
        held.withLock { $0 }
    }

    /// Gives `context` to the connections that begin from now on.
    public func install(_ context: TLSContext) {
        held.withLock { $0 = context }
    }
}
