public import JSON

/// One message towards a server: the body, and the headers that mirror it.
///
/// Both are made from the same values at the same place, so they cannot disagree.
public struct UpstreamRequest: Hashable, Sendable {
    /// A header line.
    public struct Header: Hashable, Sendable {
        /// The name, as the specification spells it.
        public let name: Text
        /// The encoded value: visible ASCII without blanks at its ends.
        public let value: Text
    }

    /// The JSON-RPC message.
    public let body: [UInt8]
    /// The headers of the protocol; content type, accept and credentials are the transport's.
    public let headers: [Header]

    /// The value of a header, for tests and logs.
    public func header(_ name: Text) -> Text? {
        headers.first { $0.name == name }?.value
    }
}

/// Writes messages to a server in the revision that it speaks.
public struct UpstreamDialect: Sendable {
    /// The revision the server speaks.
    public let revision: ProtocolRevision
    /// Who we say we are.
    public let client: Implementation
    /// What we can do: what the client declared, less what the gateway does not carry.
    public let capabilities: JSONFragment

    /// Prepares messages.
    public init(
        revision: ProtocolRevision,
        client: Implementation,
        capabilities: JSONFragment = JSONFragment { _ in }
    ) {
        (self.revision, self.client, self.capabilities) = (revision, client, capabilities)
    }

    // MARK: Opening

    /// The legacy handshake, proposing this dialect's revision.
    public func initialize(id: RequestID) -> UpstreamRequest {
        precondition(revision.era == .legacy, "there is no handshake in this revision")
        let body = RPCBody.request(id: id, method: "initialize") { writer in
            writer.member("protocolVersion", revision.rawValue)
            writer.member("capabilities", capabilities)
            writer.member("clientInfo", client)
        }
        // The version is what is being negotiated, so no header claims it yet.
        return UpstreamRequest(body: body, headers: [])
    }

    /// The end of the legacy handshake.
    public func initialized() -> UpstreamRequest {
        precondition(revision.era == .legacy, "there is no handshake in this revision")
        return UpstreamRequest(
            body: RPCBody.notification(method: "notifications/initialized"),
            headers: headers()
        )
    }

    /// The question what the server is, which also tells its era.
    public func discover(id: RequestID) -> UpstreamRequest {
        request(id: id, method: "server/discover") { _ in }
    }

    /// A sign of life.
    public func ping(id: RequestID) -> UpstreamRequest {
        request(id: id, method: "ping") { _ in }
    }

    // MARK: Tools

    /// A page of the tool list; the cursor is the server's own.
    public func listTools(id: RequestID, cursor: Text? = nil) -> UpstreamRequest {
        request(id: id, method: "tools/list") { writer in
            writer.member("cursor", ifPresent: cursor)
        }
    }

    /// A tool call.
    ///
    /// `meta` is the client's `_meta`, of which only what may pass does. `progressToken` and `logLevel` are this
    /// hop's. Anything else the client sent beside name and arguments stays behind: state of another hop
    /// (`requestState`, `inputResponses`), or tasks that the gateway does not carry.
    public func callTool(
        id: RequestID,
        name: Text,
        arguments: JSONValue?,
        meta: JSONValue? = nil,
        progressToken: ProgressToken? = nil,
        logLevel: LogLevel? = nil,
        mirroring schema: ToolHeaderSchema = .none
    ) -> UpstreamRequest {
        request(
            id: id,
            method: "tools/call",
            name: name,
            parameters: schema.headers(for: arguments),
            meta: meta,
            progressToken: progressToken,
            logLevel: logLevel,
            capacity: 512 + (arguments?.sourceRange.count ?? 0)
        ) { writer in
            writer.member("name", name)
            writer.member("arguments", ifPresent: arguments)
        }
    }

    /// Takes back a request of this hop.
    ///
    /// In 2026-07-28 over HTTP, closing the stream does that instead.
    public func cancelled(_ id: RequestID, reason: Text? = nil) -> UpstreamRequest {
        let body = RPCBody.notification(method: "notifications/cancelled") { writer in
            writer.member("requestId", id)
            writer.member("reason", ifPresent: reason)
        }
        return UpstreamRequest(body: body, headers: headers(method: "notifications/cancelled"))
    }

    // MARK: Parts

    private func request(
        id: RequestID,
        method: StaticString,
        name: Text? = nil,
        parameters: [(name: Text, value: Text)] = [],
        meta: JSONValue? = nil,
        progressToken: ProgressToken? = nil,
        logLevel: LogLevel? = nil,
        capacity: Int = 512,
        params: (inout JSONWriter) -> Void
    ) -> UpstreamRequest {
        let body = RPCBody.request(id: id, method: method, capacity: capacity) { writer in
            params(&writer)
            write(
                meta: meta,
                progressToken: progressToken,
                logLevel: logLevel,
                to: &writer
            )
        }
        return UpstreamRequest(
            body: body,
            headers: headers(method: Text("\(method)"), name: name, parameters: parameters)
        )
    }

    /// Rebuilds `_meta` for this hop: our envelope, what may pass of the client's, our token.
    private func write(
        meta: JSONValue?,
        progressToken: ProgressToken?,
        logLevel: LogLevel?,
        to writer: inout JSONWriter
    ) {
        let isModern = revision.era == .modern
        guard isModern || progressToken != nil || JSONWriter.hasPassingMembers(meta) else { return }
        writer.object("_meta") { writer in
            if isModern {
                writer.member(MetaKey.protocolVersion, revision.rawValue)
                writer.member(MetaKey.clientInfo, client)
                writer.member(MetaKey.clientCapabilities, capabilities)
                writer.member(MetaKey.logLevel, ifPresent: logLevel?.rawValue)
            }
            writer.passingMembers(of: meta)
            writer.member(MetaKey.progressToken, ifPresent: progressToken)
        }
    }

    private func headers(
        method: Text? = nil,
        name: Text? = nil,
        parameters: [(name: Text, value: Text)] = []
    ) -> [UpstreamRequest.Header] {
        guard revision.hasVersionHeader else { return [] }
        var headers = [
            UpstreamRequest.Header(name: "MCP-Protocol-Version", value: Text(revision.rawValue))
        ]
        guard revision.hasRoutingHeaders else { return headers }
        if let method { headers.append(UpstreamRequest.Header(name: "Mcp-Method", value: method)) }
        if let name {
            headers.append(
                UpstreamRequest.Header(name: "Mcp-Name", value: HeaderValueCodec.encode(name))
            )
        }
        for (name, value) in parameters {
            headers.append(UpstreamRequest.Header(name: name, value: value))
        }
        return headers
    }
}
