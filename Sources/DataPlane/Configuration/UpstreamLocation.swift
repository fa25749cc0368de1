import Networking

/// Where a server is: `http://host:port/path` or `https://…`, and nothing more exotic.
///
/// An administrator writes it and control checks it first; this reader refuses what it does not understand instead of
/// guessing: no user information, no fragment, no escapes in the host.
struct UpstreamLocation: Equatable {
    let origin: HTTPOrigin
    /// Path and query, in origin form.
    let target: String

    init?(_ url: String) {
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
        guard !host.isEmpty, port > 0 else {
            return nil
        }
        origin = HTTPOrigin(isSecure: isSecure, host: String(host), port: port)
        self.target = target.isEmpty ? "/" : String(target)
    }
}
