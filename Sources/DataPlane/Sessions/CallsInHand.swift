import GatewayModel
import JSON
import MCPProtocol
import Networking
import Synchronization

/// The calls of this process that their clients can cancel by name: those of legacy revisions, where a lost connection is
/// no cancel and `notifications/cancelled` is (mcp-protocol.md §3.8).
///
/// A cancel that lands on another replica finds nothing here; it reaches the server all the same, and the server's answer
/// ends the call.
final class CallsInHand: Sendable {
    /// A call as its client names it.
    struct Key: Hashable, Sendable {
        /// The digest of the session id.
        let session: Text
        let id: RequestID
    }

    private struct Entry {
        let connection: HTTPServerConnection
        let request: Int
    }

    private let entries = Mutex<[Key: Entry]>([:])

    /// A call begins, as the request in hand of `connection`.
    func enter(_ key: Key, on connection: isolated HTTPServerConnection) {
        let entry = Entry(connection: connection, request: connection.requestNumber)
        entries.withLock { $0[key] = entry }
    }

    /// The call has ended.
    ///
    /// A client that used the id twice has the later call there.
    func leave(_ key: Key, on connection: isolated HTTPServerConnection) {
        let number = connection.requestNumber
        entries.withLock { entries in
            if let entry = entries[key], entry.connection === connection, entry.request == number {
                entries[key] = nil
            }
        }
    }

    /// The client does not want the call any more.
    func cancel(_ key: Key) async {
        guard let entry = entries.withLock({ $0[key] }) else { return }
        await entry.connection.cancelRequest(entry.request)
    }
}
