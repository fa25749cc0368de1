public import JSON

/// A dated revision of the Model Context Protocol, and what differs in it.
///
/// Everything else in this module asks these properties instead of comparing dates, so that a revision is added
/// here, and then wherever the compiler or a table test complains.
public enum ProtocolRevision: String, CaseIterable, Hashable, Sendable {
    // Newest first.

    /// The stateless protocol: every request carries its envelope.
    case r2026_07_28 = "2026-07-28"
    /// URL elicitation, stream polling, experimental tasks.
    case r2025_11_25 = "2025-11-25"
    /// Elicitation, structured output, the version header; batches removed.
    case r2025_06_18 = "2025-06-18"
    /// Streamable HTTP and batches.
    case r2025_03_26 = "2025-03-26"
    /// HTTP with two endpoints.
    case r2024_11_05 = "2024-11-05"

    /// The two ways a conversation can begin.
    public enum Era: Hashable, Sendable {
        /// No handshake, no session: version, identity and capabilities in each request.
        case modern
        /// `initialize` first; later messages belong to that session.
        case legacy
    }

    /// Finds a revision by its date, byte for byte.
    public init?(_ text: Text) {
        guard let revision = Self.allCases.first(where: { Text($0.rawValue) == text }) else {
            return nil
        }
        self = revision
    }

    /// How a conversation begins.
    public var era: Era { self == .r2026_07_28 ? .modern : .legacy }

    /// Whether a POST may carry an array of messages.
    public var allowsBatches: Bool { self == .r2025_03_26 }

    /// Whether every HTTP request after `initialize` names its version in a header.
    public var hasVersionHeader: Bool { self >= .r2025_06_18 }

    /// Whether `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` mirror the body.
    public var hasRoutingHeaders: Bool { era == .modern }

    /// Whether results carry `resultType`, `serverInfo` and caching hints.
    public var hasResultEnvelope: Bool { era == .modern }

    /// Whether tools may have an `outputSchema` and results `structuredContent`.
    public var hasStructuredContent: Bool { self >= .r2025_06_18 }

    /// Whether structured content may be something other than an object.
    public var allowsAnyStructuredContent: Bool { era == .modern }

    /// Whether a tool says with `execution` how it wants to be run as a task.
    public var hasToolExecution: Bool { self == .r2025_11_25 }

    /// The error for a resource that does not exist.
    public var resourceNotFoundCode: RPCErrorCode {
        era == .modern ? .invalidParams : .resourceNotFound
    }
}

extension ProtocolRevision: Comparable {
    /// Orders by date.
    public static func < (left: ProtocolRevision, right: ProtocolRevision) -> Bool {
        Text(left.rawValue) < Text(right.rawValue)
    }
}

extension ProtocolRevision: CustomStringConvertible {
    /// The date.
    public var description: String { rawValue }
}
