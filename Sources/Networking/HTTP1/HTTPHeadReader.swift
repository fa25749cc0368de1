import NIOCore

/// Takes a head apart into lines and field lines, across any split of the input.
///
/// Line ends are CRLF and nothing else; a byte is looked at once. Positions count from the buffer's
/// reader index, which the caller must not move until the head is complete.
struct HTTPHeadReader {
    /// Where the next line begins.
    private(set) var lineStart = 0
    /// Up to here the next line holds nothing special.
    private var scanned = 0
    /// The field lines so far.
    private(set) var lines: [HTTPFields.Line] = []

    /// Responses may carry bytes above ASCII in a value or a reason (obs-text); in requests they
    /// are refused, since the places that read them (logs, policies, other servers) would not agree
    /// on a charset.
    let allowsOpaqueBytes: Bool
    let limits: HTTPLimits

    init(allowsOpaqueBytes: Bool, limits: HTTPLimits) {
        self.allowsOpaqueBytes = allowsOpaqueBytes
        self.limits = limits
    }

    /// Forgets the head before, and gives its field lines away.
    mutating func finish() -> [HTTPFields.Line] {
        let taken = lines
        lineStart = 0
        scanned = 0
        lines = []
        return taken
    }

    /// The next line without its end; `nil` when the input does not hold all of it yet.
    mutating func nextLine(_ bytes: RawSpan) throws(HTTPFault) -> Range<Int>? {
        while true {
            let stop = bytes.firstSpecial(in: scanned..<bytes.byteCount)
            scanned = stop
            guard stop <= limits.headBytesMax else { throw .headTooLarge }
            guard stop < bytes.byteCount else { return nil }
            switch bytes[stop] {
            case .carriageReturn:
                guard stop + 1 < bytes.byteCount else { return nil }
                guard bytes[stop + 1] == .lineFeed else { throw .bareCarriageReturn }
                guard stop + 2 <= limits.headBytesMax else { throw .headTooLarge }
                let line = lineStart..<stop
                lineStart = stop + 2
                scanned = lineStart
                return line
            case .lineFeed:
                throw .bareLineFeed
            case 0x80...0xff:
                guard allowsOpaqueBytes else { throw .nonASCIIByte }
                scanned = stop + 1
            default:
                throw .controlByte
            }
        }
    }

    /// Reads `name ":" OWS value OWS` (RFC 9112 §5) and keeps it.
    mutating func readField(
        _ bytes: RawSpan,
        _ line: Range<Int>
    ) throws(HTTPFault) -> HTTPFields.Line {
        guard lines.count < limits.fieldsMax else { throw .tooManyFields }
        if lines.isEmpty { lines.reserveCapacity(16) }
        let field = try Self.field(bytes, line)
        lines.append(field)
        return field
    }

    static func field(_ bytes: RawSpan, _ line: Range<Int>) throws(HTTPFault) -> HTTPFields.Line {
        let first = bytes[line.lowerBound]
        guard first != .space, first != .tab else { throw .foldedField }
        var index = line.lowerBound
        while index < line.upperBound, bytes[index].isTokenByte { index += 1 }
        guard index < line.upperBound else { throw .fieldMalformed }
        guard bytes[index] == UInt8(ascii: ":") else { throw .fieldNameMalformed }
        guard index > line.lowerBound else { throw .fieldMalformed }
        let value = bytes.trimmed((index + 1)..<line.upperBound)
        return HTTPFields.Line(
            nameStart: UInt32(line.lowerBound),
            nameEnd: UInt32(index),
            valueStart: UInt32(value.lowerBound),
            valueEnd: UInt32(value.upperBound)
        )
    }
}

/// The fields that frame a message and keep or end its connection, collected line by line.
struct HTTPFraming {
    private(set) var length: Int?
    private(set) var isChunked = false
    private(set) var closes = false
    private(set) var keepsAlive = false

    /// Whether the line was one of those.
    mutating func take(_ bytes: RawSpan, _ line: HTTPFields.Line) throws(HTTPFault) -> Bool {
        let name = Int(line.nameStart)
        let value = Int(line.valueStart)..<Int(line.valueEnd)
        switch line.nameEnd - line.nameStart {
        case 14 where bytes.equalsLowercased("content-length", at: name):
            guard length == nil else { throw .lengthDuplicate }
            length = try Self.length(bytes, value)
        case 17 where bytes.equalsLowercased("transfer-encoding", at: name):
            // Exactly one line with exactly one coding: `chunked, chunked` and `gzip, chunked` are
            // where implementations part ways.
            guard !isChunked, value.count == 7,
                bytes.equalsLowercased("chunked", at: value.lowerBound)
            else { throw .transferEncodingUnknown }
            isChunked = true
        case 10 where bytes.equalsLowercased("connection", at: name):
            var closes = closes
            var keepsAlive = keepsAlive
            bytes.forEachListMember(in: value) { member in
                if member.count == 5, bytes.equalsLowercased("close", at: member.lowerBound) {
                    closes = true
                } else if member.count == 10,
                    bytes.equalsLowercased("keep-alive", at: member.lowerBound)
                {
                    keepsAlive = true
                }
            }
            self.closes = closes
            self.keepsAlive = keepsAlive
        default:
            return false
        }
        return true
    }

    func check(version: HTTPVersion) throws(HTTPFault) {
        guard isChunked else { return }
        guard length == nil else { throw .lengthAndTransferEncoding }
        guard version == .http11 else { throw .transferEncodingInOldVersion }
    }

    private static func length(_ bytes: RawSpan, _ range: Range<Int>) throws(HTTPFault) -> Int {
        for index in range where bytes[index] == UInt8(ascii: ",") { throw .lengthDuplicate }
        guard let length = bytes.extracting(range).decimal else { throw .lengthMalformed }
        return length
    }
}
