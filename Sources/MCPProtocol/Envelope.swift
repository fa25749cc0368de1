public import JSON

/// Refers progress notifications to a request: a string or an integer, like the id of a request.
public typealias ProgressToken = RequestID

/// The levels of log messages (RFC 5424), least severe first.
public enum LogLevel: String, CaseIterable, Hashable, Sendable {
    case debug, info, notice, warning, error, critical, alert, emergency

    /// Finds a level by its name, byte for byte.
    public init?(_ text: Text) {
        guard let level = Self.allCases.first(where: { Text($0.rawValue) == text }) else {
            return nil
        }
        self = level
    }
}

/// What a request of 2026-07-28 says about itself in `params._meta`.
///
/// Nothing in it is verified: client and capabilities are claims, good for shaping answers and for logs.
public struct RequestEnvelope: Sendable {
    /// The version of this request, served or not.
    public let protocolVersion: Text
    /// An object; only what it lists may be used for this request.
    public let clientCapabilities: JSONValue
    /// Name and version of the client, if it says so.
    public let clientInfo: JSONValue?
    /// From which level on the client wants log messages on this answer; none if nil.
    public let logLevel: LogLevel?

    /// Why an envelope is refused.
    public enum Defect: Error, Hashable, Sendable {
        /// `params` or `_meta` is missing or no object, or lacks these keys.
        case missing([String])
        /// The value of this key has the wrong type or is out of its range.
        case invalid(String)
    }

    /// Whether parameters look like those of 2026-07-28, so that its rules and no others apply to them.
    ///
    /// Either of the two required keys is enough, whatever its value: half an envelope must not be the way to the
    /// path with fewer checks.
    public static func isPresent(in params: JSONValue?) -> Bool {
        guard let meta = params?["_meta"] else { return false }
        return meta[MetaKey.protocolVersion] != nil || meta[MetaKey.clientCapabilities] != nil
    }

    /// Reads the envelope of a request.
    public init(params: JSONValue?) throws(Defect) {
        let required = [MetaKey.protocolVersion, MetaKey.clientCapabilities]
        guard let meta = params?["_meta"], meta.kind == .object else {
            throw .missing(required.map { "\($0)" })
        }
        let missing = required.filter { meta[$0] == nil }
        guard let version = meta[MetaKey.protocolVersion],
            let capabilities = meta[MetaKey.clientCapabilities]
        else {
            throw .missing(missing.map { "\($0)" })
        }
        guard let version = version.string else { throw .invalid("\(MetaKey.protocolVersion)") }
        guard capabilities.kind == .object else {
            throw .invalid("\(MetaKey.clientCapabilities)")
        }
        protocolVersion = version
        clientCapabilities = capabilities
        clientInfo = meta[MetaKey.clientInfo]
        if let clientInfo, clientInfo.kind != .object { throw .invalid("\(MetaKey.clientInfo)") }
        if let level = meta[MetaKey.logLevel] {
            guard let known = level.string.flatMap({ LogLevel($0) }) else {
                throw .invalid("\(MetaKey.logLevel)")
            }
            logLevel = known
        } else {
            logLevel = nil
        }
    }
}

/// W3C trace context as it travels in `_meta` (traceparent, tracestate, baggage).
public struct TraceContext: Hashable, Sendable {
    /// `traceparent`, if well-formed.
    public let parent: Text?
    /// `tracestate`, as it came.
    public let state: Text?

    /// Reads the trace context of a request; a malformed parent counts as none.
    public init(params: JSONValue?) {
        let meta = params?["_meta"]
        parent = meta?["traceparent"]?.string.flatMap { Self.isParent($0) ? $0 : nil }
        state = parent == nil ? nil : meta?["tracestate"]?.string
    }

    /// `00-` + 32 + `-` + 16 + `-` + 2 hexadecimal digits in small letters (W3C Trace Context §3.2).
    private static func isParent(_ text: Text) -> Bool {
        let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard parts.count == 4, parts.map(\.count) == [2, 32, 16, 2] else { return false }
        let isHexadecimal = parts.joined().allSatisfy {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
        }
        let isZero = [parts[1], parts[2]].contains { $0.allSatisfy { $0 == UInt8(ascii: "0") } }
        return isHexadecimal && !isZero && !parts[0].elementsEqual("ff".utf8)
    }
}
