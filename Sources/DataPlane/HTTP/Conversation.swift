import AuditLog
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import MCPProtocol
import Networking
import ServiceRuntime

/// What an authenticated caller says to one server, message by message: the spines.
///
/// A method that has no spine here is refused. `tools/call` goes through ``ToolCallPipeline``; everything else that is
/// answered has no effect on a server, and is recorded without a gate.
struct Conversation {
    let endpoint: MCPEndpoint
    let view: GatewayState.View
    let caller: Caller
    let client: ClientAddress
    let server: UpstreamServer
    let exchange: HTTPExchange
    let headers: RequestHeaders

    private var link: LinkClient {
        endpoint.link
    }

    private var binding: SessionSeal.Binding {
        SessionSeal.Binding(
            namespace: view.snapshot.namespace,
            server: server.name,
            subject: caller.subject.id,
            client: caller.client
        )
    }

    func handle(
        _ message: InboundMessage,
        _ standing: consuming CallFacts,
        on connection: isolated HTTPServerConnection
    ) async {
        var facts = standing
        switch message {
        case .response:
            // The gateway asked nothing, so there is nothing to answer; the protocol says 202 all the same.
            exchange.answer(status: 202)
        case .notification(let notification):
            await handle(notification, facts, on: connection)
        case .request(let request):
            facts.method = request.known.map { Text($0.rawValue) } ?? "_OTHER"
            exchange.method = request.known
            facts.trace = TraceContext(params: request.params).parent
            do throws(Rejection) {
                let (revision, session) = try session(of: request, &facts)
                facts.revision = Text(revision.rawValue)
                await handle(request, revision, session, facts, on: connection)
            } catch {
                await endpoint.refuse(error, facts, exchange)
            }
        }
    }

    /// The revision the request is in, and the session it belongs to.
    ///
    /// A session that is not the caller's does not exist.
    private func session(
        of request: InboundRequest,
        _ facts: inout CallFacts
    ) throws(Rejection) -> (ProtocolRevision, SealedSession?) {
        switch request.context {
        case .modern(let revision, let envelope):
            facts.clientClaim = ClientClaim.text(envelope.clientInfo)
            return (revision, nil)
        case .legacy(let header, let id):
            if request.known == .initialize {
                return (header ?? .r2025_11_25, nil)
            }
            guard let id else {
                throw Rejection(.messageInvalid, "no session id")
            }
            let opened = try open(id)
            let session = opened.session
            facts.session = opened.name
            facts.clientClaim = session.clientClaim
            guard let revision = ProtocolRevision(session.revision),
                header == nil || header == revision
            else {
                throw Rejection(.messageInvalid, "the version header is not the session's")
            }
            return (revision, session)
        }
    }

    private func open(_ id: Text) throws(Rejection) -> OpenedSessions.Opened {
        guard let opened = endpoint.openedSessions.open(id, with: view.sessions, for: binding)
        else {
            throw Rejection(
                .sessionUnknown,
                "the session id does not open for this caller and server"
            )
        }
        return opened
    }

    // MARK: - Notifications

    private func handle(
        _ notification: InboundNotification,
        _ standing: CallFacts,
        on connection: isolated HTTPServerConnection
    ) async {
        var facts = standing
        facts.method = notification.known.map { Text($0.rawValue) } ?? "_OTHER"
        exchange.method = notification.known
        var session: SealedSession?
        if notification.era == .legacy {
            do throws(Rejection) {
                guard let id = notification.sessionID else {
                    throw Rejection(.messageInvalid, "no session id")
                }
                let opened = try open(id)
                session = opened.session
                facts.session = opened.name
            } catch {
                await endpoint.refuse(error, facts, exchange)
                return
            }
        }
        await link.record(AuditRecord.access(facts, nil).draft())
        exchange.answer(status: 202)
        guard notification.known == .cancelled, let session,
            let id = notification.params?["requestId"].flatMap({ RequestID($0) })
        else {
            return
        }
        if let digest = facts.session {
            await endpoint.calls.cancel(CallsInHand.Key(session: digest, id: id))
        }
        guard let upstream = session.upstreamSession else {
            return
        }
        // Ids on the way to the server are derived from the client's, so any replica can pass a cancel on.
        let dialect = UpstreamDialect(revision: .r2025_11_25, client: UpstreamServer.client)
        try? await server.notify(
            dialect.cancelled(HopID.derived(from: id)),
            session: upstream,
            on: connection.executor
        )
    }

    // MARK: - Requests

    private func handle(
        _ request: InboundRequest,
        _ revision: ProtocolRevision,
        _ session: SealedSession?,
        _ facts: consuming CallFacts,
        on connection: isolated HTTPServerConnection
    ) async {
        let answer = ResponseBuilder(
            revision: revision,
            id: request.id,
            server: MCPEndpoint.implementation
        )
        switch request.known {
        case .initialize:
            await initialize(request, facts, on: connection)
        case .discover:
            await discover(facts, answer, on: connection)
        case .ping:
            await link.record(AuditRecord.access(facts, nil).draft())
            exchange.answer(status: 200, json: answer.empty())
        case .listTools:
            await listTools(facts, answer, on: connection)
        case .callTool:
            await callTool(request, session, facts, answer, on: connection)
        default:
            let rejection = Rejection(.methodUnknown, "the method has no spine")
            exchange.ending = .stopped(rejection.code)
            await link.record(AuditRecord.refusal(facts, rejection).draft())
            let error = RPCError(.methodNotFound, "Method not found")
            exchange.answer(
                status: request.httpStatus(for: .methodNotFound),
                json: answer.error(error)
            )
        }
    }

    /// Opens the server's session and seals it into ours.
    private func initialize(
        _ request: InboundRequest,
        _ standing: CallFacts,
        on connection: isolated HTTPServerConnection
    ) async {
        var facts = standing
        // The client proposes; what is not served is answered with the newest that is.
        let proposed = InitializeParams(request)
        let revision = proposed?.negotiated(among: endpoint.ladder.served) ?? .r2025_11_25
        facts.revision = Text(revision.rawValue)
        facts.clientClaim = ClientClaim.text(request.params?["clientInfo"])
        let answer = ResponseBuilder(
            revision: revision,
            id: request.id,
            server: MCPEndpoint.implementation
        )
        do {
            let conversation = try await server.open(
                for: owner,
                on: connection.executor,
                now: SystemClock.monotonic()
            )
            let id = try view.sessions.seal(
                SealedSession(
                    revision: Text(revision.rawValue),
                    upstreamSession: conversation.session,
                    openedAt: facts.time.seconds,
                    clientClaim: facts.clientClaim
                ),
                for: binding
            )
            facts.session = Text(Hex.encode(SHA256.digest(of: id.utf8).bytes))
            await link.record(AuditRecord.access(facts, nil).draft())
            let body = answer.initialize(
                capabilities: ServerCapabilities.carried(
                    from: conversation.description.capabilities
                )
            )
            exchange.answer(status: 200, json: body, session: id)
        } catch let fault as UpstreamFault {
            await unavailable(fault.rejection, facts, answer)
        } catch {
            await unavailable(
                Rejection(.internalError, "a session id could not be sealed"),
                facts,
                answer
            )
        }
    }

    private func discover(
        _ facts: CallFacts,
        _ answer: ResponseBuilder,
        on connection: isolated HTTPServerConnection
    ) async {
        do throws(UpstreamFault) {
            let conversation = try await server.conversation(
                for: owner,
                on: connection.executor,
                now: SystemClock.monotonic()
            )
            await link.record(AuditRecord.access(facts, nil).draft())
            let body = answer.discover(
                served: endpoint.ladder.served,
                capabilities: ServerCapabilities.carried(
                    from: conversation.description.capabilities
                )
            )
            exchange.answer(status: 200, json: body)
        } catch {
            await unavailable(error.rejection, facts, answer)
        }
    }

    /// The tools that are accepted, unchanged, and not certain to be refused to this caller, from
    /// the gateway's own catalogue.
    ///
    /// One page; a cursor was never given out.
    private func listTools(
        _ facts: CallFacts,
        _ answer: ResponseBuilder,
        on connection: isolated HTTPServerConnection
    ) async {
        let now = SystemClock.monotonic()
        var catalogue = server.catalogue
        if catalogue.map({
            now.milliseconds(since: $0.fetchedAt) > server.limits.catalogueMilliseconds
        }) ?? true {
            do throws(UpstreamFault) {
                catalogue = try await server.refreshCatalogue(on: connection.executor, now: now)
            } catch {
                guard catalogue != nil else {
                    return await unavailable(error.rejection, facts, answer)
                }
            }
        }
        let pins = view.snapshot.servers[server.name]?.pins ?? [:]
        var policyFacts = PolicyFacts(
            time: facts.time,
            source: client.address,
            definitionPinned: true
        )
        policyFacts.client = caller.client
        let arguments = view.snapshot.openArguments(of: server.name, catalogue)
        var visible: [JSONValue] = []
        // By position: what has to happen before the tool can be used.
        var cures: [Int: [Decision.Cure]] = [:]
        for tool in catalogue?.tools ?? [] {
            guard let pin = pins[tool.name], pin.definition == tool.digest else {
                continue
            }
            let event = PolicyEvent(
                calling: tool.name,
                at: server.name,
                effect: pin.effect,
                by: caller.subject.id,
                through: caller.client
            )
            policyFacts.rates = view.memory.rates(for: event, at: now)
            policyFacts.history = view.memory.history(for: event, at: now)
            switch view.snapshot.decisionPoint.visibility(
                caller.subject,
                of: tool.name,
                at: server.name,
                facts: policyFacts,
                arguments: arguments
            ) {
            case .hidden:
                continue
            case .curable(let its):
                cures[visible.count] = its
            case .visible:
                break
            }
            visible.append(tool.definition)
        }
        await link.record(AuditRecord.access(facts, nil).draft())
        let body = answer.toolsList(visible) { position in
            cures[position].map { its in
                JSONFragment { $0.cures(its) }
            }
        }
        exchange.answer(status: 200, json: body)
    }

    private func callTool(
        _ request: InboundRequest,
        _ session: SealedSession?,
        _ standing: consuming CallFacts,
        _ answer: ResponseBuilder,
        on connection: isolated HTTPServerConnection
    ) async {
        // In the legacy era a dropped connection is not a cancel (§3.8).
        connection.cancelsWhenPeerCloses = request.era == .modern
        var facts = standing
        // The ladder has checked that there is a name.
        let tool = ToolName(request.params?["name"]?.string ?? "")
        facts.tool = tool
        exchange.streamIfSlow()
        let exchange = exchange
        let token = request.progressToken
        let call = ToolCallPipeline.Call(
            caller: caller,
            client: client,
            server: server,
            tool: tool,
            arguments: request.params?["arguments"],
            meta: request.params?["_meta"],
            id: request.id,
            progressToken: token,
            mirror: request.era == .modern ? headers : nil,
            session: session?.upstreamSession,
            facts: facts,
            answer: answer,
            onProgress: token.map { token in
                { params in
                    await exchange.event(
                        SSEWriter.message(answer.progress(params, token: token)),
                        on: connection
                    )
                }
            }
        )
        let pipeline = ToolCallPipeline(view: view, link: link, executor: connection.executor)
        let key =
            request.era == .legacy
            ? facts.session.map { CallsInHand.Key(session: $0, id: request.id) } : nil
        if let key { endpoint.calls.enter(key, on: connection) }
        let release = await pipeline.handle(call)
        if let key { endpoint.calls.leave(key, on: connection) }
        exchange.tool = release.timers
        exchange.ending = release.ending
        if key != nil, release.code == .cancelled {
            // A cancelled request has no response; the client has stopped to wait for one.
            exchange.finishWithoutAnswer()
        } else {
            exchange.finish(release.body, status: release.httpStatus)
        }
    }

    private var owner: UpstreamServer.SessionOwner {
        UpstreamServer.SessionOwner(subject: caller.subject.id, client: caller.client)
    }

    /// The server cannot be asked: in band, in words that say nothing about it.
    private func unavailable(
        _ rejection: Rejection,
        _ facts: CallFacts,
        _ answer: ResponseBuilder
    ) async {
        exchange.ending = .stopped(rejection.code)
        await link.record(AuditRecord.refusal(facts, rejection).draft())
        exchange.answer(status: 200, json: answer.error(RPCError(.upstreamUnavailable)))
    }
}

/// What a client calls itself, short enough for a record.
enum ClientClaim {
    static func text(_ info: JSONValue?) -> Text? {
        guard let name = info?["name"]?.string else {
            return nil
        }
        let version = info?["version"]?.string.map { "/" + $0.string } ?? ""
        return Text(String((name.string + version).unicodeScalars.prefix(64).map(Character.init)))
    }
}
