/// How a gRPC call ended, as `grpc-status` and `grpc-message` carry it.
public struct GRPCStatus: Error, Sendable, Hashable {
    /// The status codes of gRPC; the names are the protocol's.
    public enum Code: Int, Sendable, Hashable, CaseIterable {
        case ok = 0
        case cancelled = 1
        case unknown = 2
        case invalidArgument = 3
        case deadlineExceeded = 4
        case notFound = 5
        case alreadyExists = 6
        case permissionDenied = 7
        case resourceExhausted = 8
        case failedPrecondition = 9
        case aborted = 10
        case outOfRange = 11
        case unimplemented = 12
        case `internal` = 13
        case unavailable = 14
        case dataLoss = 15
        case unauthenticated = 16
    }

    /// What kind of end.
    public var code: Code

    /// For people; must not contain anything secret.
    public var message: String

    /// A status.
    public init(_ code: Code, _ message: String = "") {
        self.code = code
        self.message = message
    }

    /// The good end.
    public static let ok = Self(.ok)

    /// What an error of the stream below means to a caller (gRPC over HTTP/2, "Errors").
    public init(_ error: HTTP2Error) {
        let code: Code =
            switch error {
            case .reset(.refusedStream), .goingAway, .connectionClosed, .keepAliveTimeout:
                .unavailable
            case .reset(.cancel), .resetLocally, .cancelled: .cancelled
            case .reset(.enhanceYourCalm), .tooManyStreams, .flood: .resourceExhausted
            case .reset(.inadequateSecurity), .applicationProtocol: .permissionDenied
            case .deadlineExceeded: .deadlineExceeded
            case .reset, .protocolViolation, .malformedMessage, .invalidUse: .internal
            }
        self.init(code, error.description)
    }

    /// What a response without `grpc-status` means (gRPC, "HTTP to gRPC Status Code Mapping").
    public init(httpStatus: Int) {
        let code: Code =
            switch httpStatus {
            case 400: .internal
            case 401: .unauthenticated
            case 403: .permissionDenied
            case 404: .unimplemented
            case 429, 502, 503, 504: .unavailable
            default: .unknown
            }
        self.init(code, "http status \(httpStatus) without grpc-status")
    }
}

extension GRPCStatus: CustomStringConvertible {
    /// The code only: the message was made for the other side.
    public var description: String { "grpc status \(code)" }
}

extension GRPCStatus {
    /// The status that trailers carry, or `nil` when they carry none.
    ///
    /// A code that is not a number is `unknown`, and so is one we do not know (gRPC over HTTP/2,
    /// "Status").
    init?(trailers: HTTP2Headers) {
        guard let digits = trailers.value("grpc-status") else { return nil }
        code = Self.number(digits).flatMap(Code.init(rawValue:)) ?? .unknown
        message = trailers.value("grpc-message").map(Self.decode) ?? ""
    }

    /// The fields that end a response.
    func append(to headers: inout HTTP2Headers) {
        headers.append("grpc-status", String(code.rawValue))
        if !message.isEmpty { headers.append("grpc-message".utf8, Self.encode(message)) }
    }

    private static func number(_ digits: some Collection<UInt8>) -> Int? {
        if digits.isEmpty || digits.count > 3 { return nil }
        var number = 0
        for digit in digits {
            guard digit >= 0x30, digit <= 0x39 else { return nil }
            number = number * 10 + Int(digit - 0x30)
        }
        return number
    }

    /// Percent-encodes everything but visible ASCII and space, and the percent sign itself.
    ///
    /// A message is cut at 1,024 bytes: peers bound their header lists, and a status that does not
    /// fit would be lost whole.
    static func encode(_ message: String) -> [UInt8] {
        let hex = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        for byte in message.utf8.prefix(1024) {
            if byte >= 0x20, byte <= 0x7e, byte != UInt8(ascii: "%") {
                encoded.append(byte)
            } else {
                encoded += [UInt8(ascii: "%"), hex[Int(byte >> 4)], hex[Int(byte & 0xf)]]
            }
        }
        // White space around a field value is not carried.
        if encoded.first == 0x20 { encoded.replaceSubrange(0..<1, with: "%20".utf8) }
        if encoded.last == 0x20 {
            encoded.replaceSubrange(encoded.count - 1..<encoded.count, with: "%20".utf8)
        }
        return encoded
    }

    /// Undoes ``encode(_:)``; what is not a valid escape stays as it is, and so nothing is lost.
    static func decode(_ value: some Collection<UInt8>) -> String {
        let bytes = Array(value)
        var decoded: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count,
                let high = nibble(bytes[index + 1]), let low = nibble(bytes[index + 2])
            {
                decoded.append(high << 4 | low)
                index += 3
            } else {
                decoded.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    private static func nibble(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}
