/// Where something is: `http://host:port/path` or `https://…`, and nothing more exotic.
///
/// Administrators and issuers write it; this reader refuses what it does not understand instead of guessing: no user
/// information, no fragment, no escapes in the host.
public struct HTTPLocation: Equatable, Sendable {
    /// Scheme, host and port.
    public let origin: HTTPOrigin
    /// Path and query, in origin form.
    public let target: String

    /// Reads a URL; `nil` when it is not as plain as that.
    public init?(_ url: String) {
        let (isSecure, rest): (Bool, Substring)
        if url.hasPrefix("https://") {
            (isSecure, rest) = (true, url.dropFirst(8))
        } else if url.hasPrefix("http://") {
            (isSecure, rest) = (false, url.dropFirst(7))
        } else {
            return nil
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        let authority = rest[..<slash]
        let target = rest[slash...]
        guard !authority.contains("@"), !target.contains("#"),
            url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else {
            return nil
        }
        var host = authority
        var port = isSecure ? 443 : 80
        if authority.hasPrefix("[") {
            guard let bracket = authority.firstIndex(of: "]") else {
                return nil
            }
            host = authority[authority.index(after: authority.startIndex)..<bracket]
            let tail = authority[authority.index(after: bracket)...]
            guard tail.isEmpty || tail.hasPrefix(":") else {
                return nil
            }
            if tail.hasPrefix(":") {
                guard let number = UInt16(tail.dropFirst()) else {
                    return nil
                }
                port = Int(number)
            }
        } else if let colon = authority.lastIndex(of: ":") {
            guard let number = UInt16(authority[authority.index(after: colon)...]) else {
                return nil
            }
            host = authority[..<colon]
            port = Int(number)
        }
        let isAddress = authority.hasPrefix("[")
        guard !host.isEmpty, port > 0,
            host.utf8.allSatisfy({ Self.isHostByte($0) || isAddress && $0 == UInt8(ascii: ":") })
        else {
            return nil
        }
        origin = HTTPOrigin(isSecure: isSecure, host: String(host), port: port)
        self.target = target.isEmpty ? "/" : String(target)
    }

    /// Letters, digits, dots, hyphens, and the underscore that some networks have in names.
    private static func isHostByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"),
            UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
