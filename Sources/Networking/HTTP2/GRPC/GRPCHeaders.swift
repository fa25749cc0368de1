import NIOCore

/// The header fields of gRPC over HTTP/2 as pure functions.
enum GRPCHeaders {
    /// `application/grpc`, alone or with `+proto`: what follows the `+` says how messages are
    /// encoded.
    static func isGRPC(_ contentType: some Collection<UInt8>) -> Bool {
        contentType.elementsEqual("application/grpc".utf8)
            || contentType.elementsEqual("application/grpc+proto".utf8)
    }

    /// `grpc-timeout`: one to eight digits and a unit (H, M, S, m, u, n); `nil` when malformed.
    ///
    /// A time of zero is legal, and has passed when it arrives.
    static func timeout(_ value: some Collection<UInt8>) -> TimeAmount? {
        guard value.count >= 2, value.count <= 9, let unit = Array(value).last else { return nil }
        var count: Int64 = 0
        for digit in value.dropLast() {
            guard digit >= 0x30, digit <= 0x39 else { return nil }
            count = count * 10 + Int64(digit - 0x30)
        }
        // The longest, 99,999,999 hours, is 3.6e20 ns: past what 64 bits hold, so hours and minutes
        // are capped at ten years, which nobody waits for.
        let cap: Int64 = 10 * 365 * 24
        return switch unit {
        case UInt8(ascii: "H"): .hours(min(count, cap))
        case UInt8(ascii: "M"): .minutes(min(count, cap * 60))
        case UInt8(ascii: "S"): .seconds(count)
        case UInt8(ascii: "m"): .milliseconds(count)
        case UInt8(ascii: "u"): .microseconds(count)
        case UInt8(ascii: "n"): .nanoseconds(count)
        default: nil
        }
    }

    /// The shortest spelling that is not less than `time` and fits eight digits.
    static func timeoutValue(_ time: TimeAmount) -> String {
        let limit: Int64 = 100_000_000
        var count = max(0, time.nanoseconds)
        for (unit, next) in [("n", Int64(1000)), ("u", 1000), ("m", 1000), ("S", 60), ("M", 60)] {
            if count < limit { return "\(count)\(unit)" }
            count = (count + next - 1) / next
        }
        return "\(min(count, limit - 1))H"
    }

    /// Whether a path has the form `/package.Service/Method`.
    static func isMethodPath(_ path: some Collection<UInt8>) -> Bool {
        let parts = path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        return parts.count == 3 && parts[0].isEmpty && !parts[1].isEmpty && !parts[2].isEmpty
    }

    static let responseHead: HTTP2Headers = [
        ":status": "200", "content-type": "application/grpc",
    ]

    static let okTrailers: HTTP2Headers = ["grpc-status": "0"]

    /// The end of a response whose head was sent before.
    static func trailers(_ status: GRPCStatus) -> HTTP2Headers {
        if status == .ok { return okTrailers }
        var trailers = HTTP2Headers()
        status.append(to: &trailers)
        return trailers
    }

    /// A whole response without messages ("Trailers-Only").
    static func trailersOnly(_ status: GRPCStatus) -> HTTP2Headers {
        var head = responseHead
        status.append(to: &head)
        return head
    }
}
