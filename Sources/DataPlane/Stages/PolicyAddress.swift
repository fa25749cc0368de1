import Cedar
import JSON

/// The client's address as policies compare it: without the port.
enum PolicyAddress {
    /// Reads `127.0.0.1:5000` or `[::1]:5000`; `nil` for a socket without an address.
    static func read(_ source: Text) -> IPAddress? {
        let bytes = Array(source.utf8)
        guard let colon = bytes.lastIndex(of: 0x3A) else {
            return nil
        }
        var host = bytes[..<colon]
        if host.first == 0x5B, host.last == 0x5D {
            host = host.dropFirst().dropLast()
        }
        return IPAddress(host)
    }
}

/// Where a client connects from, as records and as policies name it; read once for each connection.
final class ClientAddress: Sendable {
    /// With the port: `127.0.0.1:5000`.
    let source: Text
    /// Without it; `nil` for a socket without an address.
    let address: IPAddress?

    init(source: Text) {
        self.source = source
        address = PolicyAddress.read(source)
    }
}
