import Cedar
import GatewayPolicy
import JSON

/// Where a client connects from, as records and as policies name it; read once for each connection.
final class ClientAddress: Sendable {
    /// With the port: `127.0.0.1:5000`.
    let source: Text
    /// Without it; `nil` for a socket without an address.
    let address: IPAddress?

    init(source: Text) {
        self.source = source
        address = IPAddress(peer: source)
    }
}
