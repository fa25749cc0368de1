public import NIOCore

/// Reads response heads, strictly, across any split of the input (RFC 9112 §4).
public struct HTTPResponseParser: Sendable {
    private var reader: HTTPHeadReader
    private var framing = HTTPFraming()
    private var line: StatusLine?

    private struct StatusLine {
        var version: HTTPVersion
        var status: Int
    }

    /// A parser for one connection.
    public init(limits: HTTPLimits = HTTPLimits()) {
        reader = HTTPHeadReader(allowsOpaqueBytes: true, limits: limits)
    }

    /// Takes one head from the front of `buffer`; `nil` when it is not complete, and then `buffer`
    /// keeps its bytes.
    ///
    /// - Parameter method: The method of the request; a response to HEAD has no body whatever its
    ///   fields say.
    /// - Throws: Why the response is refused. The parser and the connection are of no use after
    ///   that.
    public mutating func parse(
        _ buffer: inout ByteBuffer,
        to method: HTTPMethod
    ) throws(HTTPFault) -> HTTPResponseHead? {
        guard try readLines(buffer.readableBytesSpan), let line else { return nil }
        try framing.check(version: line.version)
        let closes =
            line.version == .http10 ? !framing.keepsAlive || framing.closes : framing.closes
        let body = try bodyFraming(line.status, closes: closes, to: method)
        let headBytes = reader.lineStart
        let head = HTTPResponseHead(
            status: line.status,
            version: line.version,
            fields: HTTPFields(
                head: buffer.readSlice(length: headBytes) ?? ByteBuffer(),
                lines: reader.finish()
            ),
            framing: body,
            keepsAlive: !closes && line.version == .http11
        )
        self.line = nil
        framing = HTTPFraming()
        return head
    }

    /// RFC 9112 §6.3, without its leniencies.
    private func bodyFraming(
        _ status: Int,
        closes: Bool,
        to method: HTTPMethod
    ) throws(HTTPFault) -> HTTPBodyFraming {
        if status < 200 || status == 204 {
            guard !framing.isChunked, framing.length ?? 0 == 0 else { throw .bodyNotAllowed }
            return .none
        }
        if status == 304 || method == .head { return .none }
        if framing.isChunked { return .chunked }
        if let length = framing.length { return length == 0 ? .none : .length(length) }
        // Without a length the end of the connection is the end of the body, and a cut looks like
        // an end. Acceptable only where the response announces it.
        guard closes else { throw .bodyUnframed }
        return .untilClose
    }

    private mutating func readLines(_ bytes: RawSpan) throws(HTTPFault) -> Bool {
        if line == nil {
            guard let range = try reader.nextLine(bytes) else { return false }
            line = try Self.statusLine(bytes, range)
        }
        while let range = try reader.nextLine(bytes) {
            if range.isEmpty { return true }
            let field = try reader.readField(bytes, range)
            _ = try framing.take(bytes, field)
        }
        return false
    }

    private static func statusLine(
        _ bytes: RawSpan,
        _ range: Range<Int>
    ) throws(HTTPFault) -> StatusLine {
        let start = range.lowerBound
        guard range.count >= 12, bytes.equals("HTTP/", at: start), bytes[start + 8] == .space,
            bytes[start + 6] == UInt8(ascii: "."), bytes[start + 5].isDigit,
            bytes[start + 7].isDigit,
            range.count == 12 || bytes[start + 12] == .space
        else { throw .statusLineMalformed }
        let version: HTTPVersion
        switch (bytes[start + 5], bytes[start + 7]) {
        case (UInt8(ascii: "1"), UInt8(ascii: "1")): version = .http11
        case (UInt8(ascii: "1"), UInt8(ascii: "0")): version = .http10
        default: throw .versionUnsupported
        }
        guard let status = bytes.extracting((start + 9)..<(start + 12)).decimal,
            (100...599).contains(status)
        else { throw .statusLineMalformed }
        guard status != 101 else { throw .unexpectedUpgrade }
        return StatusLine(version: version, status: status)
    }
}
