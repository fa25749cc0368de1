public import JSON

/// One message from a server, on the answer to a request of ours.
public enum UpstreamMessage: Sendable {
    /// The request is done.
    case answer(UpstreamAnswer)
    /// The server says something about it: progress, a log line, a change.
    case notification(Message.Notification, known: ServerMethod?)
    /// The server asks something in between, which only legacy servers may.
    case request(Message.Request, known: ServerMethod?)

    /// Why a message is of no use; the call fails as `upstream`.
    public enum Fault: Error, Hashable, Sendable {
        /// The bytes are not JSON that we read.
        case malformed(JSONError)
        /// The JSON is no message.
        case notAMessage(Message.Refusal)
        /// It answers something else than what was asked.
        case foreignID
        /// A server of 2026-07-28 sent a request.
        case requestNotAllowed
        /// A result type that was not negotiated; unknown ones are invalid, not complete.
        case unknownResultType
    }

    /// Reads a body or the data of one event, sent in answer to the request with this id.
    public init(
        parsing bytes: [UInt8],
        answering id: RequestID,
        revision: ProtocolRevision,
        limits: JSONLimits = .default
    ) throws(Fault) {
        let root: JSONValue
        do throws(JSONError) {
            root = try JSONDocument(parsing: bytes, limits: limits).root
        } catch {
            throw .malformed(error)
        }
        let message: Message
        do throws(Message.Refusal) {
            message = try Message(root)
        } catch {
            throw .notAMessage(error)
        }
        switch message {
        case .response(let response):
            // An error without id is the server's word that it could not read ours; nothing else may lack it.
            if let answered = response.id, answered != id { throw .foreignID }
            self = .answer(try UpstreamAnswer(response.outcome, revision: revision))
        case .notification(let notification):
            let known = ServerMethod(notification.method)
            self = .notification(notification, known: known)
        case .request(let request):
            guard revision.era == .legacy else { throw .requestNotAllowed }
            self = .request(request, known: ServerMethod(request.method))
        }
    }
}

/// What a server answered.
public enum UpstreamAnswer: Sendable {
    /// A result that ends the call.
    case complete(JSONValue)
    /// The server wants input first (2026-07-28); the result names it.
    case inputRequired(JSONValue)
    /// A JSON-RPC error.
    case error(Message.ReceivedError)

    init(
        _ outcome: Message.Outcome,
        revision: ProtocolRevision
    ) throws(UpstreamMessage.Fault) {
        switch outcome {
        case .error(let error):
            self = .error(error)
        case .result(let result):
            guard revision.hasResultEnvelope, let type = result["resultType"] else {
                // Without the member the result is complete: so older servers say it.
                self = .complete(result)
                return
            }
            if type.stringEquals("complete") {
                self = .complete(result)
            } else if type.stringEquals("input_required") {
                self = .inputRequired(result)
            } else {
                throw .unknownResultType
            }
        }
    }
}

/// How a server's error is told to the client.
public enum BridgedError: Hashable, Sendable {
    /// As a JSON-RPC error.
    case error(RPCError)
    /// As a tool result with `isError`, because the client's revision has no such error.
    case toolError(Text)
    /// As an internal error: the server complains about what the gateway made, or speaks in the gateway's name.
    case gatewayFault(code: Int64)

    /// Translates an error for a client of this revision.
    ///
    /// Message and data still have to be masked.
    public init(
        _ error: Message.ReceivedError,
        method: MCPMethod?,
        for revision: ProtocolRevision
    ) {
        guard let code = Int(exactly: error.code), GatewayErrorCode(rawValue: code) == nil else {
            self = .gatewayFault(code: error.code)
            return
        }
        let data = error.data.map { JSONFragment($0) }
        switch RPCErrorCode(rawValue: code) {
        case .headerMismatch, .missingRequiredClientCapability, .unsupportedProtocolVersion,
            .parseError, .invalidRequest:
            self = .gatewayFault(code: error.code)
        case .resourceNotFound:
            self = .error(RPCError(revision.resourceNotFoundCode, error.message, data: data))
        case .urlElicitationRequired where revision != .r2025_11_25:
            let urls = error.data?["elicitations"]?.elements.compactMap { $0["url"]?.string } ?? []
            let lines = [error.message.string] + urls.map(\.string)
            self =
                method == .callTool
                ? .toolError(Text(lines.joined(separator: "\n")))
                : .error(RPCError(.internalError, error.message))
        default:
            self = .error(RPCError(code: code, message: error.message, data: data))
        }
    }

    /// The JSON-RPC error to send, where it is one.
    public var rpcError: RPCError? {
        switch self {
        case .error(let error): error
        case .gatewayFault: RPCError(.internalError, "Internal error")
        case .toolError: nil
        }
    }
}

/// What the answer to a handshake or a discovery says about a server.
public struct ServerDescription: Sendable {
    /// The revision to speak with it.
    public let revision: ProtocolRevision
    /// What it can do; an object.
    public let capabilities: JSONValue
    /// Who it says it is.
    public let serverInfo: JSONValue?
    /// A text for the model; untrusted like any description.
    public let instructions: Text?

    /// Reads the result of `initialize`; nil if it is none, or names a version that we do not speak.
    public init?(initializeResult result: JSONValue, spoken: [ProtocolRevision]) {
        guard let version = result["protocolVersion"]?.string.flatMap({ ProtocolRevision($0) }),
            version.era == .legacy, spoken.contains(version),
            let capabilities = result["capabilities"], capabilities.kind == .object
        else { return nil }
        revision = version
        self.capabilities = capabilities
        serverInfo = result["serverInfo"]
        instructions = result["instructions"]?.string
    }

    /// Reads the result of `server/discover`; nil if it is none, or shares no modern version with us.
    public init?(discoverResult result: JSONValue, spoken: [ProtocolRevision]) {
        let offered = result["supportedVersions"]?.elements.compactMap {
            $0.string.flatMap { ProtocolRevision($0) }
        }
        let shared = (offered ?? []).filter { $0.era == .modern && spoken.contains($0) }
        guard let newest = shared.max(), let capabilities = result["capabilities"],
            capabilities.kind == .object
        else { return nil }
        revision = newest
        self.capabilities = capabilities
        serverInfo = result["_meta"]?[MetaKey.serverInfo]
        instructions = result["instructions"]?.string
    }
}

/// What the answer to a `server/discover` probe proves about a server's era.
public enum EraEvidence: Hashable, Sendable {
    /// It speaks a modern revision that we speak too.
    case modern(ProtocolRevision)
    /// It does not know the question: go on with `initialize`.
    case legacy
    /// Nothing: 401, 403, 5xx, a broken connection or a timeout say nothing about the era.
    case none

    /// Judges an HTTP answer; `message` is its JSON-RPC content, if it had any.
    public init(httpStatus: Int, message: UpstreamAnswer?, spoken: [ProtocolRevision]) {
        if httpStatus == 401 || httpStatus == 403 || httpStatus == 429 || httpStatus >= 500 {
            self = .none
            return
        }
        switch message {
        case .complete(let result):
            let description = ServerDescription(discoverResult: result, spoken: spoken)
            self = description.map { .modern($0.revision) } ?? .legacy
        case .error(let error) where error.code == RPCErrorCode.unsupportedProtocolVersion.rawValue:
            let supported = error.data?["supported"]?.elements.compactMap {
                $0.string.flatMap { ProtocolRevision($0) }
            }
            let shared = (supported ?? []).filter { $0.era == .modern && spoken.contains($0) }
            self = shared.max().map { .modern($0) } ?? .legacy
        case .error:
            self = .legacy
        case .inputRequired:
            self = .none
        case nil:
            self = (400..<500).contains(httpStatus) ? .legacy : .none
        }
    }
}
