public import JSON

/// A request that passed every check that needs no knowledge of the caller or the server.
public struct InboundRequest: Sendable {
    /// The client's id; the answer carries it.
    public let id: RequestID
    /// The method as sent.
    public let method: Text
    /// The method, if the protocol knows it; nil only for methods that configuration let in.
    public let known: MCPMethod?
    /// The parameters; an object, if there are any.
    public let params: JSONValue?
    /// How this conversation works.
    public let context: Context

    /// What era and version a message belongs to.
    public enum Context: Sendable {
        /// The message stands for itself.
        case modern(ProtocolRevision, RequestEnvelope)
        /// The message belongs to a session, whose sealed revision decides; the header may only agree with it.
        case legacy(header: ProtocolRevision?, sessionID: Text?)
    }

    /// The progress token, if the request asks for progress.
    public var progressToken: ProgressToken? {
        params?["_meta"]?[MetaKey.progressToken].flatMap { ProgressToken($0) }
    }

    /// The era of the message.
    public var era: ProtocolRevision.Era {
        if case .modern = context { .modern } else { .legacy }
    }

    /// The revision to answer in, once the session's own is known; modern requests have theirs.
    ///
    /// A legacy header may be missing, but not contradict the session, and the method must be one of its revision.
    public func revision(
        inSession sealed: ProtocolRevision
    ) throws(LadderRefusal) -> ProtocolRevision {
        guard case .legacy(let header, _) = context else {
            if case .modern(let revision, _) = context { return revision }
            return sealed
        }
        if let header, header != sealed {
            throw LadderRefusal(
                .versionMismatch,
                400,
                .invalidRequest,
                "MCP-Protocol-Version is not the negotiated version",
                id: id
            )
        }
        if let known, !known.exists(in: sealed) {
            throw LadderRefusal(.unknownMethod, 200, .methodNotFound, "Method not found", id: id)
        }
        return sealed
    }

    /// The HTTP status for a JSON-RPC error that is found after the ladder.
    ///
    /// Legacy errors are in band. In 2026-07-28 an unknown method is 404, a defect of envelope, headers or state 400
    /// (the ladder's own refusals), and everything else in band too: TypeScript clients lose the message of any other.
    public func httpStatus(for code: RPCErrorCode) -> Int {
        guard era == .modern else { return 200 }
        return switch code {
        case .methodNotFound: 404
        case .parseError, .invalidRequest, .headerMismatch, .missingRequiredClientCapability,
            .unsupportedProtocolVersion:
            400
        default: 200
        }
    }
}

/// A message that passed the ladder.
public enum InboundMessage: Sendable {
    /// To be decided and answered.
    case request(InboundRequest)
    /// To be answered with 202 and no body.
    case notification(InboundNotification)
    /// A legacy client's answer to a request of the server; 202 and no body.
    case response(Message.Response, sessionID: Text?)
}

/// A notification that passed the ladder.
public struct InboundNotification: Sendable {
    /// The method as sent.
    public let method: Text
    /// The method, if the protocol knows it as a notification of that era.
    ///
    /// Nil is recorded and dropped. A request method without an id arrives here as nil: there is no way from a
    /// notification to a server.
    public let known: MCPMethod?
    /// The parameters; an object, if there are any.
    public let params: JSONValue?
    /// The era it belongs to; a modern one has no effect on HTTP.
    public let era: ProtocolRevision.Era
    /// The session, in the legacy era.
    public let sessionID: Text?
}

/// The answer to a message that does not pass.
public struct LadderRefusal: Error, Sendable {
    /// Why, in closed words for metrics and records.
    public enum Reason: String, Hashable, Sendable, CaseIterable {
        case contentType, notAcceptable, bodyTooLarge, malformedJSON, malformedMessage, batch
        case postedResponse, verb
        case repeatedHeader, malformedHeader, versionMismatch, methodMismatch, nameMismatch
        case parameterMismatch, eraMismatch, envelope, unsupportedVersion, unknownMethod
        case invalidParams, missingCapability
    }

    /// Why.
    public let reason: Reason
    /// The HTTP status.
    public let httpStatus: Int
    /// The id of the refused request, if it could be read.
    public let id: RequestID?
    /// The JSON-RPC error.
    public let error: RPCError
    /// Where the bytes went wrong, if they are no JSON; for the log, never for the client.
    public let jsonError: JSONError?

    init(
        _ reason: Reason,
        _ httpStatus: Int,
        _ code: RPCErrorCode,
        _ message: Text,
        id: RequestID? = nil,
        data: JSONFragment? = nil,
        jsonError: JSONError? = nil
    ) {
        self.reason = reason
        self.httpStatus = httpStatus
        self.id = id
        self.error = RPCError(code, message, data: data)
        self.jsonError = jsonError
    }

    /// The body of the HTTP answer.
    public var body: [UInt8] { RPCBody.error(id: id, error) }
}

/// The checks between an HTTP POST and a message worth deciding on, in the order of the 2026-07-28 revision.
///
/// One function for both eras, body first and headers as cross-check: a client that says two things is refused
/// instead of being sorted by whichever of the two a reader happens to look at. What is checked is what headers and
/// body alone can tell; mirrored parameters need the tool's schema (``ToolHeaderSchema``), sessions their key.
public struct RequestLadder: Sendable {
    /// The revisions this endpoint serves, newest first.
    public let served: [ProtocolRevision]
    /// Bounds for reading bodies.
    public let limits: JSONLimits
    /// Methods outside the protocol that this endpoint lets through to policy.
    public let extraMethods: Set<Text>

    /// Makes a ladder.
    public init(
        served: [ProtocolRevision] = [.r2026_07_28, .r2025_11_25],
        limits: JSONLimits = .default,
        extraMethods: Set<Text> = []
    ) {
        self.served = served.sorted(by: >)
        self.limits = limits
        self.extraMethods = extraMethods
    }

    /// Reads one POST, or says how to refuse it.
    public func accept(
        headers: RequestHeaders,
        body: [UInt8]
    ) throws(LadderRefusal) -> InboundMessage {
        try checkContent(headers)  // row 3
        let root = try read(body)  // row 5
        let message: Message
        do throws(Message.Refusal) {
            message = try Message(root)
        } catch {
            throw Self.refusal(for: error)
        }
        switch message {
        case .request(let request):
            return .request(try accept(request, headers))
        case .notification(let notification):
            return .notification(try accept(notification, headers))
        case .response(let response):
            if let revision = try headerRevision(headers, id: nil), revision.era == .modern {
                throw LadderRefusal(
                    .postedResponse,
                    400,
                    .invalidRequest,
                    "Clients send no responses in this revision"
                )
            }
            return .response(response, sessionID: try session(headers, id: nil))
        }
    }

    // MARK: Row 3

    private func checkContent(_ headers: RequestHeaders) throws(LadderRefusal) {
        guard ContentNegotiation.isJSON(headers.contentType) else {
            throw LadderRefusal(
                .contentType,
                415,
                .invalidRequest,
                "Content-Type must be application/json"
            )
        }
        guard ContentNegotiation.accepts("application/json", headers.accept),
            ContentNegotiation.accepts("text/event-stream", headers.accept)
        else {
            throw LadderRefusal(
                .notAcceptable,
                406,
                .invalidRequest,
                "Accept must cover application/json and text/event-stream"
            )
        }
    }

    // MARK: Row 5

    private func read(_ body: [UInt8]) throws(LadderRefusal) -> JSONValue {
        do throws(JSONError) {
            return try JSONDocument(parsing: body, limits: limits).root
        } catch {
            switch error.code {
            case .tooManyBytes:
                throw LadderRefusal(
                    .bodyTooLarge,
                    413,
                    .invalidRequest,
                    "Body is too large",
                    jsonError: error
                )
            default:
                throw LadderRefusal(
                    .malformedJSON,
                    400,
                    .parseError,
                    "Parse error",
                    jsonError: error
                )
            }
        }
    }

    private static func refusal(for refusal: Message.Refusal) -> LadderRefusal {
        let sentence: Text =
            switch refusal {
            case .batch: "Batches are not supported"
            case .notAnObject: "Body is not an object"
            case .versionMissing: "jsonrpc must be \"2.0\""
            case .invalidID: "id must be a string or an integer"
            case .invalidMethod: "method must be a string"
            case .methodWithOutcome: "method beside result or error"
            case .resultWithError: "result beside error"
            case .shapeless: "Neither request nor response"
            case .invalidResult: "result must be an object with an id"
            case .invalidError: "error must have code and message"
            }
        let reason: LadderRefusal.Reason = refusal == .batch ? .batch : .malformedMessage
        return LadderRefusal(reason, 400, .invalidRequest, sentence)
    }

    // MARK: Row 6

    private func accept(
        _ notification: Message.Notification,
        _ headers: RequestHeaders
    ) throws(LadderRefusal) -> InboundNotification {
        let declared = try headerRevision(headers, id: nil)
        if let meta = notification.params?["_meta"]?[MetaKey.protocolVersion] {
            guard let version = meta.string, headers.protocolVersion == .value(version) else {
                throw LadderRefusal(
                    .versionMismatch,
                    400,
                    .headerMismatch,
                    "Header mismatch: MCP-Protocol-Version does not equal the envelope"
                )
            }
        }
        let era = declared?.era ?? .legacy
        let method = MCPMethod(notification.method).flatMap { method in
            let isKnown = served.contains { $0.era == era && method.exists(in: $0) }
            return method.kind == .notification && isKnown ? method : nil
        }
        if let params = notification.params, params.kind != .object {
            throw LadderRefusal(.invalidParams, 400, .invalidParams, "params must be an object")
        }
        return InboundNotification(
            method: notification.method,
            known: method,
            params: notification.params,
            era: era,
            sessionID: era == .legacy ? try session(headers, id: nil) : nil
        )
    }

    // MARK: Eras

    private func accept(
        _ request: Message.Request,
        _ headers: RequestHeaders
    ) throws(LadderRefusal) -> InboundRequest {
        if RequestEnvelope.isPresent(in: request.params) {
            return try acceptModern(request, headers)
        }
        let id = request.id
        if request.method == "initialize" {
            // Without an envelope this is a handshake, whatever legacy version it starts from.
            let revision = try headerVersion(headers, id: id).map { (text) throws(LadderRefusal) in
                try known(text, id: id)
            }
            guard revision?.era != .modern else {
                throw LadderRefusal(
                    .eraMismatch,
                    400,
                    .headerMismatch,
                    "Header mismatch: initialize does not exist in this revision",
                    id: id
                )
            }
            return try acceptLegacy(request, headers, revision)
        }
        let revision = try headerRevision(headers, id: id)
        // A modern header without an envelope gets the modern answer: which keys are missing.
        if revision?.era == .modern { return try acceptModern(request, headers) }
        return try acceptLegacy(request, headers, revision)
    }

    private func acceptLegacy(
        _ request: Message.Request,
        _ headers: RequestHeaders,
        _ revision: ProtocolRevision?
    ) throws(LadderRefusal) -> InboundRequest {
        let method = MCPMethod(request.method).flatMap { method in
            let revisions = revision.map { [$0] } ?? served.filter { $0.era == .legacy }
            let exists = method == .initialize || revisions.contains { method.exists(in: $0) }
            return method.kind == .request && exists ? method : nil
        }
        guard method != nil || extraMethods.contains(request.method) else {
            throw LadderRefusal(
                .unknownMethod,
                200,
                .methodNotFound,
                "Method not found",
                id: request.id
            )
        }
        try checkParams(request, method, httpStatus: 200)
        return InboundRequest(
            id: request.id,
            method: request.method,
            known: method,
            params: request.params,
            context: .legacy(header: revision, sessionID: try session(headers, id: request.id))
        )
    }

    // MARK: Rows 7 to 12, 14 and 15

    private func acceptModern(
        _ request: Message.Request,
        _ headers: RequestHeaders
    ) throws(LadderRefusal) -> InboundRequest {
        let id = request.id
        try checkLines(headers, id: id)  // row 7

        let envelope: RequestEnvelope  // row 8
        do throws(RequestEnvelope.Defect) {
            envelope = try RequestEnvelope(params: request.params)
        } catch {
            throw Self.refusal(for: error, id: id)
        }

        guard let version = headers.protocolVersion.value, version == envelope.protocolVersion
        else {
            throw LadderRefusal(  // row 9, before support: a self-contradicting client is told so
                .versionMismatch,
                400,
                .headerMismatch,
                "Header mismatch: MCP-Protocol-Version does not equal the envelope",
                id: id
            )
        }
        guard headers.method.value == request.method else {  // row 10
            throw LadderRefusal(
                .methodMismatch,
                400,
                .headerMismatch,
                "Header mismatch: Mcp-Method does not equal method",
                id: id
            )
        }
        let method = MCPMethod(request.method)
        try checkName(request, method, headers)  // row 11

        guard let revision = ProtocolRevision(version), revision.era == .modern,
            served.contains(revision)
        else {
            throw unsupported(version, id: id)  // row 12
        }
        let known = method.flatMap { $0.kind == .request && $0.exists(in: revision) ? $0 : nil }
        guard known != nil || extraMethods.contains(request.method) else {  // row 14
            throw LadderRefusal(.unknownMethod, 404, .methodNotFound, "Method not found", id: id)
        }
        try checkParams(request, known, httpStatus: 400)  // row 15
        return InboundRequest(
            id: id,
            method: request.method,
            known: known,
            params: request.params,
            context: .modern(revision, envelope)
        )
    }

    private func checkLines(
        _ headers: RequestHeaders,
        id: RequestID
    ) throws(LadderRefusal) {
        let fields: [(name: Text, field: HeaderField)] = [
            ("MCP-Protocol-Version", headers.protocolVersion), ("Mcp-Method", headers.method),
            ("Mcp-Name", headers.name),
        ]
        for (name, field) in fields {
            try checkLine(name, field, id: id)
        }
        if headers.hasTooManyParameters {
            throw LadderRefusal(
                .parameterMismatch,
                400,
                .headerMismatch,
                "Header mismatch: too many Mcp-Param headers",
                id: id
            )
        }
    }

    private func checkLine(
        _ name: Text,
        _ field: HeaderField,
        id: RequestID?
    ) throws(LadderRefusal) {
        let (reason, sentence): (LadderRefusal.Reason, String)
        switch field {
        case .repeated: (reason, sentence) = (.repeatedHeader, "appears more than once")
        case .malformed: (reason, sentence) = (.malformedHeader, "is malformed")
        case .absent, .value: return
        }
        throw LadderRefusal(
            reason,
            400,
            .headerMismatch,
            Text("Header mismatch: \(name) \(sentence)"),
            id: id
        )
    }

    private static func refusal(
        for defect: RequestEnvelope.Defect,
        id: RequestID
    ) -> LadderRefusal {
        let sentence =
            switch defect {
            case .missing(let keys): "params._meta lacks \(keys.joined(separator: ", "))"
            case .invalid(let key): "params._meta has an invalid \(key)"
            }
        return LadderRefusal(.envelope, 400, .invalidParams, Text(sentence), id: id)
    }

    private func checkName(
        _ request: Message.Request,
        _ method: MCPMethod?,
        _ headers: RequestHeaders
    ) throws(LadderRefusal) {
        guard let method, let member = method.nameMember else { return }
        let header = headers.name.value
        let body = request.params?[member]?.string
        // Neither there nor there: no mismatch, but parameters that row 15 refuses.
        if header == nil, body == nil { return }
        guard let header, let body, HeaderValueCodec.decode(header) == body else {
            throw LadderRefusal(
                .nameMismatch,
                400,
                .headerMismatch,
                Text("Header mismatch: Mcp-Name does not equal params.\(member)"),
                id: request.id
            )
        }
    }

    private func checkParams(
        _ request: Message.Request,
        _ method: MCPMethod?,
        httpStatus: Int
    ) throws(LadderRefusal) {
        if let defect = ParameterRules.defect(of: request.params, for: method) {
            throw LadderRefusal(.invalidParams, httpStatus, .invalidParams, defect, id: request.id)
        }
    }

    // MARK: Versions and sessions

    private func headerVersion(
        _ headers: RequestHeaders,
        id: RequestID?
    ) throws(LadderRefusal) -> Text? {
        try checkLine("MCP-Protocol-Version", headers.protocolVersion, id: id)
        return headers.protocolVersion.value
    }

    private func known(_ version: Text, id: RequestID?) throws(LadderRefusal) -> ProtocolRevision {
        guard let revision = ProtocolRevision(version) else { throw unsupported(version, id: id) }
        return revision
    }

    /// The revision that the header names: nil if there is none, refused if it is not served.
    private func headerRevision(
        _ headers: RequestHeaders,
        id: RequestID?
    ) throws(LadderRefusal) -> ProtocolRevision? {
        guard let version = try headerVersion(headers, id: id) else { return nil }
        let revision = try known(version, id: id)
        guard served.contains(revision) else { throw unsupported(version, id: id) }
        return revision
    }

    /// Names every version of this endpoint, legacy ones too: clients that find one there fall back to it.
    private func unsupported(_ version: Text, id: RequestID?) -> LadderRefusal {
        let data = JSONFragment { writer in
            writer.array("supported") { writer in
                for revision in served { writer.value(revision.rawValue) }
            }
            writer.member("requested", version)
        }
        return LadderRefusal(
            .unsupportedVersion,
            400,
            .unsupportedProtocolVersion,
            "Unsupported protocol version",
            id: id,
            data: data
        )
    }

    private func session(
        _ headers: RequestHeaders,
        id: RequestID?
    ) throws(LadderRefusal) -> Text? {
        switch headers.sessionID {
        case .absent: return nil
        case .value(let session): return session
        case .repeated, .malformed:
            throw LadderRefusal(
                headers.sessionID == .repeated ? .repeatedHeader : .malformedHeader,
                400,
                .invalidRequest,
                "Mcp-Session-Id must stand once",
                id: id
            )
        }
    }
}

// MARK: GET and DELETE

extension RequestLadder {
    /// What a GET or DELETE asks for.
    public enum SessionOperation: Hashable, Sendable {
        /// A legacy stream for messages of the server, resumed after an event if one is named.
        case openStream(sessionID: Text?, lastEventID: Text?)
        /// The end of a legacy session.
        case endSession(sessionID: Text?)
    }

    /// The verbs besides POST that a legacy session knows.
    public enum SessionVerb: Hashable, Sendable {
        case get, delete
    }

    /// Reads a GET or DELETE; refused with 405 (and `Allow: POST`) where there are no sessions.
    public func accept(
        _ verb: SessionVerb,
        headers: RequestHeaders
    ) throws(LadderRefusal) -> SessionOperation {
        let revision = try headerRevision(headers, id: nil)
        guard revision?.era != .modern, served.contains(where: { $0.era == .legacy }) else {
            throw LadderRefusal(.verb, 405, .invalidRequest, "Method not allowed")
        }
        let session = try session(headers, id: nil)
        guard verb == .get else { return .endSession(sessionID: session) }
        guard ContentNegotiation.accepts("text/event-stream", headers.accept) else {
            throw LadderRefusal(
                .notAcceptable,
                406,
                .invalidRequest,
                "Accept must cover text/event-stream"
            )
        }
        return .openStream(sessionID: session, lastEventID: headers.lastEventID.value)
    }
}

// MARK: Row 16

extension InboundRequest {
    /// Refuses a request whose client did not declare a capability that answering it needs.
    ///
    /// `path` leads through the capability object, for example `["elicitation", "url"]`.
    public func require(capability path: [Text]) throws(LadderRefusal) {
        guard case .modern(_, let envelope) = context else { return }
        var value: JSONValue? = envelope.clientCapabilities
        for name in path { value = value?.member(named: name) }
        guard value == nil || value?.isNull == true else { return }
        let data = JSONFragment { writer in
            writer.object("requiredCapabilities") { writer in
                for (depth, name) in path.enumerated() {
                    writer.key(name)
                    writer.beginObject()
                    if depth == path.count - 1 { for _ in path { writer.endObject() } }
                }
            }
        }
        throw LadderRefusal(
            .missingCapability,
            400,
            .missingRequiredClientCapability,
            "Missing required client capability",
            id: id,
            data: data
        )
    }
}
