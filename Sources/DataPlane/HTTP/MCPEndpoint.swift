import AuditLog
import GatewayModel
import JSON
import MCPProtocol
import NIOCore
import Networking
import ServiceRuntime

/// HTTP in, MCP out: the last place that knows HTTP on the way in, and the first on the way out.
///
///     /s/{server}/mcp                                          the endpoint of one server
///     /.well-known/oauth-protected-resource/s/{server}/mcp     what a client needs to get a token (RFC 9728)
///
/// The order of checks is the ladder of mcp-protocol.md §1.8.5: target, Origin, verb, token, body, message. A stranger
/// learns from each only what the protocol allows.
final class MCPEndpoint: Sendable {
    /// What the endpoint is told.
    struct Settings: Sendable {
        /// What clients type, without a slash at the end: scheme, host and port of the endpoints.
        var publicURL: String
        /// `Host` values that are served; anything else is a page that was made to resolve here (DNS rebinding).
        var allowedHosts: Set<Text>
        /// `Origin` values that are accepted besides none; pages of other origins are refused.
        var allowedOrigins: Set<Text> = []
        /// The issuer that clients are sent to for tokens, if there is one.
        var authorizationServer: String?
        /// The longest message from a client, in bytes.
        ///
        /// Default 1 MiB.
        var messageBytesMax = 1 << 20
        /// After how long a call that has no answer yet is answered with a stream.
        ///
        /// Default 2 s.
        var streamAfter: TimeAmount = .seconds(2)
        /// How often a stream without news gets a comment.
        ///
        /// Default 10 s.
        var heartbeat: TimeAmount = .seconds(10)
    }

    let settings: Settings
    let state: GatewayState
    let link: LinkClient
    let authenticator: Authenticator
    let openedSessions = OpenedSessions()
    let ladder: RequestLadder
    let calls = CallsInHand()

    static let implementation = Implementation(name: "ostiary", version: "0.1.0")

    init(settings: Settings, state: GatewayState, link: LinkClient, authenticator: Authenticator) {
        self.settings = settings
        self.state = state
        self.link = link
        self.authenticator = authenticator
        var limits = JSONLimits.default
        limits.bytesMax = settings.messageBytesMax
        ladder = RequestLadder(served: [.r2026_07_28, .r2025_11_25], limits: limits)
    }

    /// Answers one HTTP request.
    func handle(_ head: HTTPRequestHead, on connection: isolated HTTPServerConnection) async {
        let exchange = HTTPExchange(connection, settings)
        guard let route = Route(head.path) else {
            return exchange.answer(status: 404)
        }
        // The codec has seen to it that there is exactly one Host.
        guard let host = head.fields["host"], settings.allowedHosts.contains(Text(host.string))
        else {
            return exchange.answer(status: 421)
        }
        if let origin = head.fields["origin"] {
            guard settings.allowedOrigins.contains(Text(origin.string)) else {
                return exchange.answer(status: 403)
            }
        }
        switch route {
        case .metadata(let server):
            guard head.method == .get else {
                return exchange.answer(status: 405, allow: "GET")
            }
            exchange.answer(
                status: 200,
                json: ResourceMetadata.document(server, settings),
                isPublic: true
            )
        case .server(let server):
            let began = SystemClock.monotonic()
            await handle(head, server, exchange, at: began, on: connection)
            let nanoseconds = SystemClock.monotonic().nanoseconds - began.nanoseconds
            exchange.timers.record(exchange.ending, nanoseconds: nanoseconds)
        }
    }

    private func handle(
        _ head: HTTPRequestHead,
        _ server: ServerName,
        _ exchange: HTTPExchange,
        at began: MonotonicInstant,
        on connection: isolated HTTPServerConnection
    ) async {
        let now = SystemClock.now()
        let client = self.client(on: connection)
        var facts = CallFacts(
            time: now,
            request: RequestName.make(now),
            method: "_OTHER",
            source: client.source
        )
        var view: GatewayState.View
        switch state.view(at: began) {
        case .success(let found):
            view = found
        case .failure(let error):
            // Not 401: an outage must not start a login in every client.
            await refuse(Rejection(.leaseExpired, Text(error.reason.rawValue)), facts, exchange)
            return
        }
        facts.snapshot = view.facts(at: began)
        facts.server = server
        let caller: Caller
        do throws(Rejection) {
            let token = try token(of: head)
            do throws(Rejection) {
                caller = try authenticator.authenticate(
                    token,
                    at: server,
                    audience: ResourceMetadata.resource(server, settings),
                    in: view.snapshot,
                    now: now
                )
            } catch {
                (caller, view) = try await authenticator.waitForKey(
                    of: token,
                    refusedAs: error,
                    at: server,
                    audience: ResourceMetadata.resource(server, settings),
                    in: view,
                    of: state,
                    asking: link,
                    now: now
                )
            }
        } catch {
            // A stranger is told the same whether the server exists or not.
            await refuse(error, facts, exchange, resource: server)
            return
        }
        // It may be a newer one, when the token had to wait for its key.
        facts.snapshot = view.facts(at: SystemClock.monotonic())
        facts.subject = caller.subject.id
        facts.client = caller.client
        guard let upstream = view.servers[server] else {
            await refuse(Rejection(.serverUnknown, "no such server"), facts, exchange)
            return
        }
        exchange.server = view.snapshot.servers[server]?.timers ?? .unknown
        guard head.method == .post else {
            // No stream for unrelated messages and no end of a session: both are optional in every revision.
            return exchange.answer(status: 405, allow: "POST")
        }
        let body: [UInt8]
        do {
            var buffer = try await connection.collectBody(bytesMax: settings.messageBytesMax)
            body = buffer.readBytes(length: buffer.readableBytes) ?? []
        } catch {
            return  // The connection answers with the status that belongs to the fault.
        }
        var headers = RequestHeaders()
        head.fields.forEachLine { headers.add(name: $0, value: $1) }
        let message: InboundMessage
        do throws(LadderRefusal) {
            message = try ladder.accept(headers: headers, body: body)
        } catch {
            let code: Rejection.Code =
                error.reason == .unknownMethod ? .methodUnknown : .messageInvalid
            let rejection = Rejection(code, Text(error.reason.rawValue))
            exchange.ending = .stopped(code)
            if error.jsonError?.code.isLimit == true { Limit.json.reached() }
            await link.record(AuditRecord.refusal(facts, rejection).draft())
            return exchange.answer(status: error.httpStatus, json: error.body)
        }
        let conversation = Conversation(
            endpoint: self,
            view: view,
            caller: caller,
            client: client,
            server: upstream,
            exchange: exchange,
            headers: headers
        )
        await conversation.handle(message, facts, on: connection)
    }

    private func client(on connection: isolated HTTPServerConnection) -> ClientAddress {
        if let known = connection.keepsake as? ClientAddress {
            return known
        }
        let peer = connection.peerAddress.map(PeerName.text) ?? "unknown"
        let client = ClientAddress(source: Text(peer))
        connection.keepsake = client
        return client
    }

    private func token(of head: HTTPRequestHead) throws(Rejection) -> [UInt8] {
        let line: HTTPFieldValue?
        do throws(HTTPFault) {
            line = try head.fields.single("authorization")
        } catch {
            throw Rejection(.tokenInvalid, "the Authorization field is malformed")
        }
        guard let line else {
            throw Rejection(.tokenMissing, "no Authorization field")
        }
        guard let token = BearerToken.read(line) else {
            throw Rejection(.tokenInvalid, "the Authorization field is malformed")
        }
        return token
    }

    /// Records a refusal and answers it with its HTTP status.
    func refuse(
        _ rejection: Rejection,
        _ facts: CallFacts,
        _ exchange: HTTPExchange,
        resource: ServerName? = nil
    ) async {
        exchange.ending = .stopped(rejection.code)
        await link.record(AuditRecord.refusal(facts, rejection).draft())
        switch rejection.httpStatus {
        case 401:
            exchange.challenge(
                ResourceMetadata.challenge(
                    resource ?? "",
                    settings,
                    invalidToken: rejection.code != .tokenMissing
                )
            )
        case let status:
            exchange.answer(status: status)
        }
    }
}

/// Where a request goes.
enum Route: Equatable {
    case server(ServerName)
    case metadata(ServerName)

    private static let wellKnown = "/.well-known/oauth-protected-resource"

    init?(_ path: HTTPFieldValue) {
        let bytes = path.bytes.readableBytesView
        let isMetadata = bytes.starts(with: Self.wellKnown.utf8)
        let rest = bytes.dropFirst(isMetadata ? Self.wellKnown.utf8.count : 0)
        guard rest.count > 7, rest.starts(with: "/s/".utf8),
            rest.suffix(4).elementsEqual("/mcp".utf8)
        else {
            return nil
        }
        // A well-formed name needs no escapes, so an escaped path names nothing.
        guard let text = Text(validating: rest.dropFirst(3).dropLast(4)) else {
            return nil
        }
        let name = ServerName(text)
        guard name.isWellFormed else {
            return nil
        }
        self = isMetadata ? .metadata(name) : .server(name)
    }
}

/// `Bearer` and one token (RFC 6750 §2.1); nothing else in the field.
enum BearerToken {
    static func read(_ field: HTTPFieldValue) -> [UInt8]? {
        let bytes = field.bytes.readableBytesUInt8Span
        guard bytes.count > 7, bytes.count <= 16_384 + 7 else {
            return nil
        }
        for (index, letter) in "bearer ".utf8.enumerated() {
            guard bytes[index] == letter || bytes[index] | 0x20 == letter else {
                return nil
            }
        }
        for index in 7..<bytes.count {
            guard bytes[index] > 0x20, bytes[index] < 0x7F, bytes[index] != 0x2C else {
                return nil
            }
        }
        return field.bytes.getBytes(at: field.bytes.readerIndex + 7, length: bytes.count - 7)
    }
}

extension GatewayState.View {
    /// What a record says of the configuration.
    fileprivate func facts(at now: MonotonicInstant) -> CallFacts.SnapshotFacts {
        .init(
            version: snapshot.version,
            ageMilliseconds: UInt64(max(0, now.milliseconds(since: confirmedAt)))
        )
    }
}
