import NIOCore

/// The request methods this gateway carries (RFC 9110 §9, RFC 5789).
public enum HTTPMethod: String, Sendable, Hashable, CaseIterable {
    case get = "GET"
    case head = "HEAD"
    case post = "POST"
    case put = "PUT"
    case patch = "PATCH"
    case delete = "DELETE"
    case options = "OPTIONS"

    /// The value of an `Allow` field: every method the codec accepts.
    static let allowed: StaticString = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

    /// The name as it stands in a request line.
    var token: StaticString {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .patch: "PATCH"
        case .delete: "DELETE"
        case .options: "OPTIONS"
        }
    }
}

/// The two versions of HTTP that this codec reads; it writes HTTP/1.1.
public enum HTTPVersion: Sendable, Hashable {
    case http10
    case http11
}

/// How the end of a body is found (RFC 9112 §6.3).
public enum HTTPBodyFraming: Sendable, Hashable {
    /// There is no body.
    case none
    /// So many bytes, at least one.
    case length(Int)
    /// In chunks, the last of length zero.
    case chunked
    /// Up to the end of the connection; in responses only.
    case untilClose
}

/// A request's line and fields, checked.
public struct HTTPRequestHead: Sendable {
    /// The method.
    public let method: HTTPMethod
    /// The version in the request line.
    public let version: HTTPVersion
    /// The field lines.
    public let fields: HTTPFields
    /// How the body is delimited.
    public let framing: HTTPBodyFraming
    /// Whether the client waits for `100 Continue` before it sends the body.
    public let expectsContinue: Bool
    /// Whether the client wants the connection to stay open.
    public let keepsAlive: Bool

    let targetStart: Int
    let targetEnd: Int
    let queryStart: Int

    /// The request target in origin form, ASCII, with its percent escapes.
    public var target: HTTPFieldValue { slice(targetStart, targetEnd) }

    /// The target up to the question mark.
    public var path: HTTPFieldValue { slice(targetStart, queryStart) }

    /// What follows the question mark, `nil` when there is none.
    public var query: HTTPFieldValue? {
        queryStart == targetEnd ? nil : slice(queryStart + 1, targetEnd)
    }

    private func slice(_ start: Int, _ end: Int) -> HTTPFieldValue {
        HTTPFieldValue(bytes: fields.head.getSlice(at: start, length: end - start) ?? ByteBuffer())
    }
}

/// A response's status line and fields, checked.
public struct HTTPResponseHead: Sendable {
    /// The status, 100 to 599.
    public let status: Int
    /// The version in the status line.
    public let version: HTTPVersion
    /// The field lines.
    public let fields: HTTPFields
    /// How the body is delimited.
    public let framing: HTTPBodyFraming
    /// Whether the connection can carry another request after this response.
    public let keepsAlive: Bool

    /// Whether another response to the same request follows (1xx).
    public var isInterim: Bool { status < 200 }
}
