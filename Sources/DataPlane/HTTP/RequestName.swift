import Cryptography
import GatewayModel
import JSON
import NIOCore

/// Names messages: `req_` and a UUID version 7 in hexadecimal, so that names sort by time.
enum RequestName {
    static func make(_ now: Timestamp) -> Text {
        var bytes = CallRandomness.reserve.bytes(16)
        let milliseconds = UInt64(max(0, now.microseconds / 1000))
        for index in 0..<6 {
            bytes[index] = UInt8(truncatingIfNeeded: milliseconds >> UInt64(8 * (5 - index)))
        }
        bytes[6] = bytes[6] & 0x0F | 0x70
        bytes[8] = bytes[8] & 0x3F | 0x80
        return Text("req_" + Hex.encode(bytes))
    }
}

/// What names and salts of calls are drawn from.
enum CallRandomness {
    static let reserve = RandomReserve()
}

/// A peer as records name it: `127.0.0.1:5000`, `[::1]:5000`.
enum PeerName {
    static func text(_ address: SocketAddress) -> String {
        guard let host = address.ipAddress, let port = address.port else {
            return "local"
        }
        return host.utf8.contains(0x3A) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
