public import Cedar
public import JSON

extension IPAddress {
    /// A peer's address as policies compare it: without the port.
    ///
    /// Reads `127.0.0.1:5000` or `[::1]:5000`, as records write it; `nil` for a socket without an address.
    public init?(peer: Text) {
        let bytes = Array(peer.utf8)
        guard let colon = bytes.lastIndex(of: 0x3A) else { return nil }
        var host = bytes[..<colon]
        if host.first == 0x5B, host.last == 0x5D { host = host.dropFirst().dropLast() }
        self.init(host)
    }
}
