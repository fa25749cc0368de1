public import JSON

/// The error codes of JSON-RPC 2.0 and of the protocol revisions.
public enum RPCErrorCode: Int, Hashable, Sendable, CaseIterable {
    /// The body is not JSON.
    case parseError = -32700
    /// The body is JSON, but no message that is allowed here.
    case invalidRequest = -32600
    /// No such method in this revision.
    case methodNotFound = -32601
    /// The parameters do not fit the method; in 2026-07-28 also envelope defects and unknown resources.
    case invalidParams = -32602
    /// Something failed inside.
    case internalError = -32603
    /// No such resource, up to 2025-11-25.
    case resourceNotFound = -32002
    /// The server needs the user to visit a page first, only in 2025-11-25.
    case urlElicitationRequired = -32042
    /// Header and body disagree, since 2026-07-28.
    case headerMismatch = -32020
    /// The request needs a capability its client did not declare, since 2026-07-28.
    case missingRequiredClientCapability = -32021
    /// The version is not served here, since 2026-07-28.
    case unsupportedProtocolVersion = -32022
}

/// The gateway's own error codes.
///
/// They lie outside −32768…−32000, where JSON-RPC and the protocol allot codes, so that they can never mean
/// something else to a client.
public enum GatewayErrorCode: Int, Hashable, Sendable, CaseIterable {
    /// Policy does not allow this.
    case policyDenied = 31001
    /// Somebody else has to approve this first; the same request can succeed later.
    case approvalPending = 31002
    /// An approver said no.
    case approvalRejected = 31003
    /// Nobody decided in time, or the approval was not used in time.
    case approvalExpired = 31004
    /// The server behind the gateway cannot be reached or does not answer.
    case upstreamUnavailable = 31005
    /// A bound was reached; the same request can succeed later.
    case limitExceeded = 31006

    /// What clients are told when nothing more precise is to be said.
    public var meaning: String {
        switch self {
        case .policyDenied: "Denied by policy"
        case .approvalPending: "Approval is pending"
        case .approvalRejected: "Approval was rejected"
        case .approvalExpired: "Approval has expired"
        case .upstreamUnavailable: "The server is not available"
        case .limitExceeded: "Limit exceeded"
        }
    }

    /// Whether repeating the same request later can succeed.
    public var isRetryable: Bool {
        switch self {
        case .approvalPending, .upstreamUnavailable, .limitExceeded: true
        case .policyDenied, .approvalRejected, .approvalExpired: false
        }
    }
}

/// A JSON-RPC error object, to be written.
public struct RPCError: Hashable, Sendable, JSONWritable {
    /// The code; any integer, since upstream servers have their own.
    public var code: Int
    /// A short sentence for people.
    public var message: Text
    /// Details for programs.
    public var data: JSONFragment?

    /// Makes an error with any code.
    public init(code: Int, message: Text, data: JSONFragment? = nil) {
        (self.code, self.message, self.data) = (code, message, data)
    }

    /// Makes an error of the protocol.
    public init(_ code: RPCErrorCode, _ message: Text, data: JSONFragment? = nil) {
        self.init(code: code.rawValue, message: message, data: data)
    }

    /// Makes an error of the gateway, in its standard words unless others are given.
    public init(_ code: GatewayErrorCode, _ message: Text? = nil, data: JSONFragment? = nil) {
        self.init(code: code.rawValue, message: message ?? Text(code.meaning), data: data)
    }

    /// Writes the error object.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("code", code)
            writer.member("message", message)
            writer.member("data", ifPresent: data)
        }
    }
}
