public import JSON

/// The forms of text in requests, each with a check and the same rule as JSON Schema.
public enum TextForm: Sendable {
    /// An RFC 1123 label: a name that stands in URLs and certificates.
    case label
    /// Any text of so many characters (Unicode scalars).
    case free(ClosedRange<Int>)
    /// One of these.
    case choice([StaticString])
    /// An absolute `http` or `https` URL without user information or fragment.
    case httpURL
    /// An absolute URI, or a URN: the name of an issuer.
    case issuer
    /// SHA-256 in 64 small hexadecimal digits.
    case digest
    /// The name of a header field (RFC 9110 §5.1) that does not steer the connection.
    case fieldName
    /// The value of a header field: visible ASCII and blanks inside.
    case fieldValue
    /// RFC 3339 in UTC.
    case time
    /// A JSON pointer, or nothing.
    case jsonPointer
    /// An opaque id with this prefix.
    case id(StaticString)
    /// A positive number in decimal digits, in a path.
    case number

    /// The rule in words, for people.
    public var summary: String {
        switch self {
        case .label:
            "1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
        case .free(let range): "\(range.lowerBound) to \(range.upperBound) characters"
        case .choice(let values):
            "one of " + values.map(\.description).joined(separator: ", ")
        case .httpURL: "an absolute http or https URL without user information or fragment"
        case .issuer: "an absolute URI, as it stands in iss"
        case .digest: "64 hexadecimal digits in small letters"
        case .fieldName: "a header field that does not steer the connection or the protocol"
        case .fieldValue: "visible ASCII characters, blanks only inside"
        case .time: "a time as RFC 3339 in UTC, ending in Z"
        case .jsonPointer: "a JSON pointer, or empty"
        case .id(let prefix): "an id that begins with \(prefix)"
        case .number: "a positive whole number"
        }
    }

    /// What is wrong with a text, if anything.
    public func refusal(of text: Text) -> FieldError.Code? {
        let length = text.string.unicodeScalars.count
        guard lengths.contains(length) else { return .length }
        if case .choice(let values) = self {
            return values.contains { Text($0.description) == text } ? nil : .unknownValue
        }
        return isFormed(Array(text.utf8)) ? nil : .form
    }

    /// The lengths, in Unicode scalars.
    var lengths: ClosedRange<Int> {
        switch self {
        case .label: 1...63
        case .free(let range): range
        case .choice: 0...128
        case .httpURL, .issuer: 1...2048
        case .digest: 64...64
        case .fieldName: 1...64
        case .fieldValue: 1...8192
        case .time: 20...27
        case .jsonPointer: 0...256
        case .id: 5...128
        case .number: 1...18
        }
    }

    /// The rule as a regular expression that JSON Schema readers understand (ECMA-262).
    var pattern: String? {
        switch self {
        case .label: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
        case .free, .choice: nil
        case .httpURL:
            "^https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]{2,}\\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}"
                + "|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[!\"$-~]*)?$"
        case .issuer: "^[a-z][a-z0-9+.-]*:[!-~]+$"
        case .digest: "^[0-9a-f]{64}$"
        case .fieldName: "^[A-Za-z0-9-]+$"
        case .fieldValue: "^[!-~]([ -~]*[!-~])?$"
        case .time: "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,6})?Z$"
        case .jsonPointer: "^(/([^/~]|~[01])*)*$"
        case .id(let prefix): "^\(prefix)[0-9a-zA-Z_-]+$"
        case .number: "^[1-9][0-9]*$"
        }
    }

    private func isFormed(_ bytes: [UInt8]) -> Bool {
        switch self {
        case .free, .choice: true
        case .label: Self.isLabel(bytes)
        case .httpURL: Self.isHTTPURL(bytes)
        case .issuer: Self.isIssuer(bytes)
        case .digest: bytes.allSatisfy { $0.isDigit || (0x61...0x66).contains($0) }
        case .fieldName: Self.isFieldName(bytes)
        case .fieldValue:
            bytes.allSatisfy { (0x20...0x7E).contains($0) } && bytes.first != 0x20
                && bytes.last != 0x20
        case .time: Self.isTime(bytes)
        case .jsonPointer: Self.isPointer(bytes)
        case .id(let prefix):
            bytes.starts(with: prefix.description.utf8)
                && bytes.dropFirst(prefix.utf8CodeUnitCount)
                    .allSatisfy { $0.isLetterOrDigit || $0 == 0x5F || $0 == 0x2D }
                && bytes.count > prefix.utf8CodeUnitCount
        case .number: bytes.allSatisfy(\.isDigit) && bytes.first != 0x30
        }
    }

    private static func isLabel(_ bytes: [UInt8]) -> Bool {
        bytes.first != 0x2D && bytes.last != 0x2D
            && bytes.allSatisfy { (0x61...0x7A).contains($0) || $0.isDigit || $0 == 0x2D }
    }

    /// What the proxy's own reader accepts: scheme, host, port, path and query in visible ASCII.
    private static func isHTTPURL(_ bytes: [UInt8]) -> Bool {
        guard bytes.allSatisfy({ (0x21...0x7E).contains($0) }), !bytes.contains(0x23) else {
            return false
        }
        let rest: ArraySlice<UInt8>
        if bytes.starts(with: "https://".utf8) {
            rest = bytes.dropFirst(8)
        } else if bytes.starts(with: "http://".utf8) {
            rest = bytes.dropFirst(7)
        } else {
            return false
        }
        var authority = rest.prefix { $0 != 0x2F && $0 != 0x3F }
        guard rest.dropFirst(authority.count).first != 0x3F else { return false }
        if authority.first == 0x5B {
            guard let bracket = authority.firstIndex(of: 0x5D), bracket > authority.startIndex + 2
            else { return false }
            let address = authority[authority.startIndex + 1..<bracket]
            guard address.allSatisfy({ $0.isHex || $0 == 0x3A || $0 == 0x2E }) else { return false }
            authority = authority[(bracket + 1)...]
            return authority.isEmpty || isPort(authority)
        }
        let host = authority.prefix { $0 != 0x3A }
        authority = authority.dropFirst(host.count)
        return !host.isEmpty
            && host.allSatisfy { $0.isLetterOrDigit || $0 == 0x2E || $0 == 0x2D || $0 == 0x5F }
            && (authority.isEmpty || isPort(authority))
    }

    /// `:` and a number from 1 to 65535.
    private static func isPort(_ bytes: ArraySlice<UInt8>) -> Bool {
        let digits = bytes.dropFirst()
        guard bytes.first == 0x3A, digits.first != 0x30, digits.allSatisfy(\.isDigit),
            digits.count <= 5, let port = Int(String(decoding: digits, as: UTF8.self))
        else { return false }
        return (1...65535).contains(port)
    }

    private static func isIssuer(_ bytes: [UInt8]) -> Bool {
        guard let colon = bytes.firstIndex(of: 0x3A), colon > 0, colon + 1 < bytes.count,
            (0x61...0x7A).contains(bytes[0])
        else { return false }
        let scheme = bytes[..<colon].allSatisfy {
            (0x61...0x7A).contains($0) || $0.isDigit || $0 == 0x2B || $0 == 0x2D || $0 == 0x2E
        }
        return scheme && bytes.allSatisfy { (0x21...0x7E).contains($0) }
    }

    /// The fields that only the gateway itself may set.
    private static let reserved: Set<Text> = [
        "accept", "connection", "content-length", "content-type", "expect", "host", "keep-alive",
        "last-event-id", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "via",
    ]

    private static func isFieldName(_ bytes: [UInt8]) -> Bool {
        let name = Text(String(decoding: bytes, as: UTF8.self).lowercased())
        return bytes.allSatisfy { $0.isLetterOrDigit || $0 == 0x2D } && !reserved.contains(name)
            && !name.string.hasPrefix("mcp-")
    }

    private static func isTime(_ bytes: [UInt8]) -> Bool {
        let form = Array("0000-00-00T00:00:00".utf8)
        guard bytes.last == 0x5A, bytes.count >= form.count + 1 else { return false }
        for (byte, expected) in zip(bytes, form) {
            guard expected == 0x30 ? byte.isDigit : byte == expected else { return false }
        }
        let fraction = bytes[form.count..<(bytes.count - 1)]
        return fraction.isEmpty
            || (fraction.first == 0x2E && (2...7).contains(fraction.count)
                && fraction.dropFirst().allSatisfy(\.isDigit))
    }

    private static func isPointer(_ bytes: [UInt8]) -> Bool {
        guard let first = bytes.first else { return true }
        guard first == 0x2F else { return false }
        return bytes.indices.allSatisfy { index in
            bytes[index] != 0x7E
                || (index + 1 < bytes.count
                    && (bytes[index + 1] == 0x30 || bytes[index + 1] == 0x31))
        }
    }
}

extension UInt8 {
    var isDigit: Bool { (0x30...0x39).contains(self) }
    var isHex: Bool {
        isDigit || (0x61...0x66).contains(self) || (0x41...0x46).contains(self)
    }
    var isLetterOrDigit: Bool {
        isDigit || (0x61...0x7A).contains(self) || (0x41...0x5A).contains(self)
    }
}
