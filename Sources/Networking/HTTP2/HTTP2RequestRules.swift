/// What a request head must be, beyond what nghttp2 checks itself.
///
/// nghttp2 refuses: missing, repeated or misplaced pseudo-header fields, upper case and illegal
/// bytes in names, illegal bytes and surrounding white space in values, connection-specific fields,
/// `te` other than `trailers`, a body that differs from `content-length`. What is left are heads
/// that two readers could take for different requests.
enum HTTP2RequestRules {
    /// Whether the request may be given to a handler.
    ///
    /// False: reset the stream with PROTOCOL_ERROR.
    static func accept(_ head: HTTP2Headers) -> Bool {
        guard let method = head.value(":method"), let path = head.value(":path"),
            let scheme = head.value(":scheme")
        else { return false }
        // A tunnel has no place behind this door.
        if method.elementsEqual("CONNECT".utf8) || head.value(":protocol") != nil { return false }
        if !scheme.elementsEqual("https".utf8) && !scheme.elementsEqual("http".utf8) {
            return false
        }
        // Origin form only (RFC 9112 §3.2.1); a fragment never belongs on the wire.
        if path.first != UInt8(ascii: "/") { return false }
        if path.contains(where: { $0 <= 0x20 || $0 >= 0x7f || $0 == UInt8(ascii: "#") }) {
            return false
        }
        return acceptAuthority(head)
    }

    /// One authority, without user information (RFC 9113 §8.3.1), and the same wherever it is said.
    private static func acceptAuthority(_ head: HTTP2Headers) -> Bool {
        let host = head.value("host")
        if head.count(of: "host") > 1 { return false }
        guard let authority = head.value(":authority") ?? host, !authority.isEmpty else {
            return false
        }
        if let host, !host.elementsEqual(authority) { return false }
        return !authority.contains {
            $0 <= 0x20 || $0 >= 0x7f || $0 == UInt8(ascii: "@") || $0 == UInt8(ascii: "/")
        }
    }
}
