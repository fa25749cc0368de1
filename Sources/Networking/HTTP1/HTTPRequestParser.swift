public import NIOCore

/// Reads request heads, strictly, across any split of the input (RFC 9112 §3).
public struct HTTPRequestParser: Sendable {
    private var reader: HTTPHeadReader
    private var framing = HTTPFraming()
    private var line: RequestLine?
    private var hosts = 0
    private var expectsContinue = false
    private let limits: HTTPLimits

    private struct RequestLine {
        var method: HTTPMethod
        var version: HTTPVersion
        var target: Range<Int>
        var queryStart: Int
    }

    /// A parser for one connection.
    public init(limits: HTTPLimits = HTTPLimits()) {
        self.limits = limits
        reader = HTTPHeadReader(allowsOpaqueBytes: false, limits: limits)
    }

    /// Whether part of a head was read.
    var isInsideHead: Bool { line != nil }

    /// Takes one head from the front of `buffer`; `nil` when it is not complete, and then `buffer`
    /// keeps its bytes.
    ///
    /// - Throws: Why the request is refused. The parser and the connection are of no use after
    ///   that.
    public mutating func parse(_ buffer: inout ByteBuffer) throws(HTTPFault) -> HTTPRequestHead? {
        guard try readLines(buffer.readableBytesSpan), let line else { return nil }
        guard hosts == 1 else { throw .hostMissing }
        try framing.check(version: line.version)
        let body: HTTPBodyFraming
        if framing.isChunked {
            body = .chunked
        } else if let length = framing.length, length > 0 {
            guard length <= limits.bodyBytesMax else { throw .bodyTooLarge }
            body = .length(length)
        } else {
            body = .none
        }
        let headBytes = reader.lineStart
        let head = HTTPRequestHead(
            method: line.method,
            version: line.version,
            fields: HTTPFields(
                head: buffer.readSlice(length: headBytes) ?? ByteBuffer(),
                lines: reader.finish()
            ),
            framing: body,
            expectsContinue: expectsContinue && body != .none,
            keepsAlive: line.version == .http11 && !framing.closes,
            targetStart: line.target.lowerBound,
            targetEnd: line.target.upperBound,
            queryStart: line.queryStart
        )
        self.line = nil
        framing = HTTPFraming()
        hosts = 0
        expectsContinue = false
        return head
    }

    /// Reads complete lines; true after the empty one that ends the head.
    private mutating func readLines(_ bytes: RawSpan) throws(HTTPFault) -> Bool {
        if line == nil {
            guard let range = try firstLine(bytes) else { return false }
            line = try requestLine(bytes, range)
        }
        while let range = try reader.nextLine(bytes) {
            if range.isEmpty { return true }
            let field = try reader.readField(bytes, range)
            if try framing.take(bytes, field) { continue }
            let name = Int(field.nameStart)
            switch field.nameEnd - field.nameStart {
            case 4 where bytes.equalsLowercased("host", at: name):
                hosts += 1
                guard hosts == 1 else { throw .hostDuplicate }
                guard Self.isHost(bytes, Int(field.valueStart)..<Int(field.valueEnd)) else {
                    throw .hostMalformed
                }
            case 6 where bytes.equalsLowercased("expect", at: name):
                guard field.valueEnd - field.valueStart == 12,
                    bytes.equalsLowercased("100-continue", at: Int(field.valueStart))
                else { throw .expectationUnknown }
                expectsContinue = true
            default:
                break
            }
        }
        return false
    }

    private mutating func firstLine(_ bytes: RawSpan) throws(HTTPFault) -> Range<Int>? {
        // A head that is too long already in its first line has too long a target.
        let longest = limits.targetBytesMax + 32
        do throws(HTTPFault) {
            let range = try reader.nextLine(bytes)
            if range == nil, bytes.byteCount > longest { throw HTTPFault.targetTooLong }
            return range
        } catch HTTPFault.headTooLarge {
            throw .targetTooLong
        }
    }

    private func requestLine(
        _ bytes: RawSpan,
        _ range: Range<Int>
    ) throws(HTTPFault) -> RequestLine {
        guard !range.isEmpty else { throw .emptyLineBeforeRequest }
        var index = range.lowerBound
        while index < range.upperBound, bytes[index].isTokenByte { index += 1 }
        guard index > range.lowerBound else { throw .methodMalformed }
        guard index < range.upperBound else { throw .requestLineMalformed }
        guard bytes[index] == .space else { throw .methodMalformed }
        let methodEnd = index
        let targetStart = index + 1
        index = targetStart
        while index < range.upperBound, bytes[index] != .space { index += 1 }
        let target = targetStart..<index
        guard !target.isEmpty else { throw .requestLineMalformed }
        guard index < range.upperBound else { throw .versionMissing }
        let version = try Self.version(bytes, (index + 1)..<range.upperBound)
        let method = try Self.method(bytes, range.lowerBound..<methodEnd)
        guard target.count <= limits.targetBytesMax else { throw .targetTooLong }
        return RequestLine(
            method: method,
            version: version,
            target: target,
            queryStart: try Self.queryStart(bytes, target)
        )
    }

    private static func version(
        _ bytes: RawSpan,
        _ range: Range<Int>
    ) throws(HTTPFault) -> HTTPVersion {
        let start = range.lowerBound
        // The name is case-sensitive (RFC 9112 §2.3), and so the compare is by byte.
        guard range.count == 8, bytes.equals("HTTP/", at: start), bytes[start + 5].isDigit,
            bytes[start + 6] == UInt8(ascii: "."), bytes[start + 7].isDigit
        else { throw .requestLineMalformed }
        guard bytes[start + 5] == UInt8(ascii: "1") else { throw .versionUnsupported }
        switch bytes[start + 7] {
        case UInt8(ascii: "1"): return .http11
        case UInt8(ascii: "0"): return .http10
        default: throw .versionUnsupported
        }
    }

    private static func method(
        _ bytes: RawSpan,
        _ range: Range<Int>
    ) throws(HTTPFault) -> HTTPMethod {
        func matches(_ text: StaticString) -> Bool {
            range.count == text.utf8CodeUnitCount && bytes.equals(text, at: range.lowerBound)
        }
        if matches("POST") { return .post }
        if matches("GET") { return .get }
        if matches("DELETE") { return .delete }
        if matches("HEAD") { return .head }
        if matches("PUT") { return .put }
        if matches("PATCH") { return .patch }
        if matches("OPTIONS") { return .options }
        if matches("CONNECT") || matches("TRACE") { throw .methodForbidden }
        throw .methodUnknown
    }

    /// Checks `absolute-path [ "?" query ]` and finds the question mark, or the end.
    private static func queryStart(
        _ bytes: RawSpan,
        _ target: Range<Int>
    ) throws(HTTPFault) -> Int {
        guard bytes[target.lowerBound] == UInt8(ascii: "/") else { throw .targetForm }
        var query: Int?
        var index = target.lowerBound
        while index < target.upperBound {
            let byte = bytes[index]
            if byte.isTargetByte {
                if byte == UInt8(ascii: "?"), query == nil { query = index }
                index += 1
            } else if byte == UInt8(ascii: "%"), target.upperBound - index > 2,
                bytes[index + 1].hexValue != nil, bytes[index + 2].hexValue != nil
            {
                index += 3
            } else {
                throw .targetMalformed
            }
        }
        return query ?? target.upperBound
    }

    /// `uri-host [ ":" port ]`: a DNS name, an IPv4 address or a bracketed IPv6 address; no user,
    /// no escapes.
    static func isHost(_ bytes: RawSpan, _ range: Range<Int>) -> Bool {
        var index = range.lowerBound
        if index < range.upperBound, bytes[index] == UInt8(ascii: "[") {
            index += 1
            let start = index
            while index < range.upperBound,
                bytes[index].hexValue != nil || bytes[index] == UInt8(ascii: ":")
                    || bytes[index] == UInt8(ascii: ".")
            {
                index += 1
            }
            guard index > start + 1, index < range.upperBound, bytes[index] == UInt8(ascii: "]")
            else { return false }
            index += 1
        } else {
            let start = index
            while index < range.upperBound, bytes[index].isHostByte { index += 1 }
            guard index > start else { return false }
        }
        guard index < range.upperBound else { return true }
        guard bytes[index] == UInt8(ascii: ":"), range.upperBound - index <= 6,
            let port = bytes.extracting((index + 1)..<range.upperBound).decimal
        else { return false }
        return port > 0 && port < 65_536
    }
}
