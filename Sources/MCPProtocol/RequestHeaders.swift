public import JSON

/// A header that may stand once, as it was found: the lines are counted, never joined.
public enum HeaderField: Hashable, Sendable {
    /// There is no such line.
    case absent
    /// There is one, with this value without blanks at its ends.
    case value(Text)
    /// There are several; whichever one is meant, somebody else may mean the other.
    case repeated
    /// There is one, but its bytes are not UTF-8 or contain control characters.
    case malformed

    /// The value, if there is exactly one.
    public var value: Text? {
        if case .value(let value) = self { value } else { nil }
    }

    /// Adds a line.
    mutating func add(_ value: Span<UInt8>) {
        guard self == .absent else { return self = .repeated }
        var (start, end) = (0, value.count)
        while start < end, isBlank(value[start]) { start += 1 }
        while end > start, isBlank(value[end - 1]) { end -= 1 }
        for index in start..<end where value[index] < 0x20 || value[index] == 0x7F {
            return self = .malformed
        }
        guard let text = Text(validating: value.extracting(start..<end)) else {
            return self = .malformed
        }
        self = .value(text)
    }
}

/// The headers of a request that mean something to the protocol, filled line by line from HTTP.
public struct RequestHeaders: Sendable {
    /// `Content-Type`.
    public var contentType = HeaderField.absent
    /// The lines of `Accept`; it is a list, so several lines are one longer list (RFC 9110 §5.3).
    public var accept: [Text] = []
    /// `MCP-Protocol-Version`.
    public var protocolVersion = HeaderField.absent
    /// `Mcp-Method`.
    public var method = HeaderField.absent
    /// `Mcp-Name`.
    public var name = HeaderField.absent
    /// `Mcp-Session-Id`; it means nothing since 2026-07-28.
    public var sessionID = HeaderField.absent
    /// `Last-Event-ID`; it means nothing since 2026-07-28.
    public var lastEventID = HeaderField.absent
    /// `Mcp-Param-*` by their token in small letters.
    public var parameters: [Text: HeaderField] = [:]

    /// The most different `Mcp-Param-*` headers; further ones mark the request as malformed.
    public static let parametersMax = 64
    /// Whether there were more parameters than can be right.
    public private(set) var hasTooManyParameters = false

    /// Starts without any header.
    public init() {}

    /// Takes a header line if it means something here.
    ///
    /// `name` may be in any case. Answers whether the line was taken; what is not taken is none of the
    /// protocol's business.
    @discardableResult
    public mutating func add(name: Span<UInt8>, value: Span<UInt8>) -> Bool {
        // Most headers of a request are none of ours: the length tells, before a byte is touched.
        switch name.count {
        case 6 where isName(name, "accept"):
            accept.append(Text(validating: value) ?? "")
        case 8 where isName(name, "mcp-name"):
            self.name.add(value)
        case 10 where isName(name, "mcp-method"):
            method.add(value)
        case 12 where isName(name, "content-type"):
            contentType.add(value)
        case 13 where isName(name, "last-event-id"):
            lastEventID.add(value)
        case 14 where isName(name, "mcp-session-id"):
            sessionID.add(value)
        case 20 where isName(name, "mcp-protocol-version"):
            protocolVersion.add(value)
        case 11... where isName(name.extracting(0..<10), "mcp-param-"):
            addParameter(token: name.extracting(10..<name.count), value)
        default:
            return false
        }
        return true
    }

    /// Takes a header line if it means something here.
    @discardableResult
    public mutating func add(name: [UInt8], value: [UInt8]) -> Bool {
        add(name: name.span, value: value.span)
    }

    private mutating func addParameter(token: Span<UInt8>, _ value: Span<UInt8>) {
        var bytes: [UInt8] = []
        for index in token.indices { bytes.append(lowercase(token[index])) }
        let token = Text(String(decoding: bytes, as: UTF8.self))
        guard parameters[token] != nil || parameters.count < Self.parametersMax else {
            hasTooManyParameters = true
            return
        }
        parameters[token, default: .absent].add(value)
    }

    private func isName(_ name: Span<UInt8>, _ expected: StaticString) -> Bool {
        expected.withUTF8Buffer { expected in
            guard expected.count == name.count else { return false }
            for index in name.indices where lowercase(name[index]) != expected[index] {
                return false
            }
            return true
        }
    }
}

private func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

/// Maps ASCII capitals to small letters and leaves every other byte alone.
func lowercase(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
}

/// What the two content headers promise (RFC 9110 §8.3 and §12.5.1).
enum ContentNegotiation {
    /// Whether the body is declared as JSON: `application/json`, in no other charset than UTF-8.
    static func isJSON(_ contentType: HeaderField) -> Bool {
        guard let value = contentType.value else { return false }
        if value == "application/json" { return true }
        let parts = pieces(value.string, at: ";")
        guard parts.first == "application/json" else { return false }
        return parts.dropFirst().allSatisfy { parameter in
            guard parameter.hasPrefix("charset=") else { return true }
            return ["charset=utf-8", "charset=\"utf-8\""].contains(parameter)
        }
    }

    /// Whether a media type is covered by the lines of `Accept`, wildcards included.
    static func accepts(_ type: String, _ lines: [Text]) -> Bool {
        // What every SDK sends.
        if lines.count == 1, lines[0] == "application/json, text/event-stream" { return true }
        let major = type.prefix { $0 != "/" }
        return lines.flatMap { pieces($0.string, at: ",") }.contains { range in
            let parts = pieces(range, at: ";")
            guard let name = parts.first, name == type || name == "\(major)/*" || name == "*/*"
            else {
                return false
            }
            return !parts.dropFirst().contains { isZeroQuality($0) }
        }
    }

    private static func isZeroQuality(_ parameter: String) -> Bool {
        guard parameter.hasPrefix("q=") else { return false }
        return parameter.dropFirst(2).allSatisfy { $0 == "0" || $0 == "." }
    }

    /// Splits, removes blanks at the ends, and maps ASCII capitals to small letters.
    private static func pieces(_ text: String, at separator: Character) -> [String] {
        text.split(separator: separator, omittingEmptySubsequences: false).map { piece in
            var bytes = Array(piece.utf8.map(lowercase))[...]
            bytes = bytes.drop { $0 == 0x20 || $0 == 0x09 }
            while let last = bytes.last, last == 0x20 || last == 0x09 { bytes.removeLast() }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}
