import Cryptography
import GatewayModel
import IdentityProtocols
import JSON
import MCPProtocol
import NIOCore
import Networking
import ServiceRuntime
import Synchronization

/// One MCP server behind the gateway: what era it speaks, its sessions, its tools, and the only way to it.
///
/// Shared by all connections; the little it remembers is guarded by one lock and can be lost at any time.
final class UpstreamServer: Sendable {
    /// The bounds of the way to a server.
    struct Limits: Sendable {
        /// The longest answer, in bytes.
        ///
        /// Default 8 MiB.
        var answerBytesMax = 8 << 20
        /// How long a call may take.
        ///
        /// Default 60 s.
        var callTimeout: Duration = .seconds(60)
        /// How long opening a session or reading the tools may take.
        ///
        /// Default 10 s.
        var openTimeout: Duration = .seconds(10)
        /// How long a verdict on the era is believed: a stale `legacy` never fails visibly.
        ///
        /// Default 5 min.
        var eraMilliseconds: Int64 = 300_000
        /// How old a catalogue may be when a list is asked for.
        ///
        /// Default 10 s.
        var catalogueMilliseconds: Int64 = 10_000
        /// The most pages of a tool list.
        ///
        /// Default 100.
        var pagesMax = 100
        /// The most sessions kept for modern clients of a legacy server.
        ///
        /// Default 10,000.
        var sessionsMax = 10_000

        /// The defaults.
        init() {}
    }

    /// Who opens a session: sessions are never shared between subjects or clients.
    struct SessionOwner: Hashable, Sendable {
        let subject: SubjectID
        let client: Text
    }

    /// A way to speak with the server: its revision, and a session if its era has them.
    struct Conversation: Sendable {
        fileprivate let era: Era
        let session: Text?

        var dialect: UpstreamDialect { era.dialect }
        var description: ServerDescription { era.description }
    }

    /// What the server turned out to be; shared by the conversations of that time.
    fileprivate final class Era: Sendable {
        let description: ServerDescription
        let dialect: UpstreamDialect
        let until: MonotonicInstant

        init(_ description: ServerDescription, until: MonotonicInstant) {
            self.description = description
            dialect = UpstreamDialect(
                revision: description.revision,
                client: UpstreamServer.client
            )
            self.until = until
        }
    }

    private struct Memory {
        var credential: UpstreamCredential?
        var era: Era?
        var sessions: [SessionOwner: Text] = [:]
        /// Whether the last legacy handshake gave no session: then none is needed, and nobody has to repeat it.
        var isSessionless = false
        /// Sessions that the server forgot, and what was opened in their place.
        var replaced: [Text: Text] = [:]
        var catalogue: ToolCatalogue?
    }

    let name: ServerName
    let limits: Limits
    private let configured: GatewaySnapshot.Server
    private let target: HTTPFieldValue
    private let upstream: HTTPUpstream
    private let timers: ExchangeTimers
    private let memory = Mutex(Memory())

    static let client = Implementation(name: "ostiary", version: "0.1.0")
    static let spoken: [ProtocolRevision] = [
        .r2026_07_28, .r2025_11_25, .r2025_06_18, .r2025_03_26,
    ]

    init(_ server: GatewaySnapshot.Server, upstream: HTTPUpstream, limits: Limits = Limits()) {
        name = server.name
        configured = server
        target = HTTPFieldValue(server.target)
        self.upstream = upstream
        self.limits = limits
        timers = ExchangeTimers(server.name)
    }

    /// Whether this is the way to the server as configured now.
    func serves(_ server: GatewaySnapshot.Server) -> Bool {
        server.name == configured.name && server.origin == configured.origin
            && server.target == configured.target
    }

    func install(_ credential: UpstreamCredential?) {
        memory.withLock { $0.credential = credential }
    }

    /// The catalogue as last read.
    var catalogue: ToolCatalogue? {
        memory.withLock { $0.catalogue }
    }

    // MARK: - Conversations

    /// A conversation for an owner: opens what has to be opened.
    ///
    /// - Parameter session: the server's session that a legacy client's own session holds, if it does.
    func conversation(
        for owner: SessionOwner,
        holding session: Text? = nil,
        on executor: LoopExecutor,
        now: MonotonicInstant
    ) async throws(UpstreamFault) -> Conversation {
        if let standing = standingConversation(for: owner, holding: session, now: now) {
            return standing
        }
        return try await open(for: owner, inPlaceOf: session, on: executor, now: now)
    }

    /// The conversation with an owner, if nothing has to be opened for it.
    func standingConversation(
        for owner: SessionOwner,
        holding session: Text?,
        now: MonotonicInstant
    ) -> Conversation? {
        memory.withLock { memory in
            guard let era = memory.era, now < era.until else {
                return nil
            }
            if era.description.revision.era == .modern {
                return Conversation(era: era, session: nil)
            }
            let held = session.map { memory.replaced[$0] ?? $0 } ?? memory.sessions[owner]
            guard held != nil || memory.isSessionless else {
                return nil
            }
            return Conversation(era: era, session: held)
        }
    }

    /// Forgets a session that the server does not know any more.
    func forget(_ session: Text, of owner: SessionOwner) {
        memory.withLock { memory in
            if memory.sessions[owner] == session {
                memory.sessions[owner] = nil
            }
            for (old, new) in memory.replaced where new == session {
                memory.replaced[old] = nil
            }
        }
    }

    /// Asks a server what it is (§1.8.17): a modern question first, the legacy handshake if it does not understand.
    func open(
        for owner: SessionOwner,
        inPlaceOf old: Text? = nil,
        on executor: LoopExecutor,
        now: MonotonicInstant
    ) async throws(UpstreamFault) -> Conversation {
        let known = memory.withLock { memory in
            memory.era.flatMap { now < $0.until ? $0.description.revision.era : nil }
        }
        if known != .legacy {
            let modern = UpstreamDialect(revision: .r2026_07_28, client: Self.client)
            let answer = try await exchange(
                modern.discover(id: .string("discover")),
                answering: .string("discover"),
                revision: .r2026_07_28,
                session: nil,
                timeout: limits.openTimeout,
                on: executor
            )
            switch EraEvidence(
                httpStatus: answer.status,
                message: answer.answer,
                spoken: Self.spoken
            ) {
            case .modern:
                guard case .complete(let result)? = answer.answer,
                    let description = ServerDescription(discoverResult: result, spoken: Self.spoken)
                else {
                    throw UpstreamFault(
                        .invalid,
                        mayHaveActed: false,
                        "the server's discovery is not usable"
                    )
                }
                return Conversation(era: remember(description, now: now), session: nil)
            case .legacy:
                break
            case .none:
                throw answer.fault
            }
        }
        let legacy = UpstreamDialect(revision: .r2025_11_25, client: Self.client)
        let answer = try await exchange(
            legacy.initialize(id: .string("initialize")),
            answering: .string("initialize"),
            revision: .r2025_11_25,
            session: nil,
            timeout: limits.openTimeout,
            on: executor
        )
        guard case .complete(let result)? = answer.answer,
            let description = ServerDescription(initializeResult: result, spoken: Self.spoken)
        else {
            throw answer.fault
        }
        let era = remember(description, now: now)
        // The id is taken from the answer that carries the result, and from no other.
        let session = answer.session
        try await notify(era.dialect.initialized(), session: session, on: executor)
        memory.withLock { memory in
            memory.isSessionless = session == nil
            guard let session else {
                return
            }
            if memory.sessions.count >= limits.sessionsMax {
                Limit.sessions.reached()
                memory.sessions.removeAll()
            }
            if memory.replaced.count >= limits.sessionsMax {
                memory.replaced.removeAll()
            }
            if let old {
                memory.replaced[old] = session
            } else {
                memory.sessions[owner] = session
            }
        }
        return Conversation(era: era, session: session)
    }

    private func remember(_ description: ServerDescription, now: MonotonicInstant) -> Era {
        let era = Era(description, until: now.adding(milliseconds: limits.eraMilliseconds))
        memory.withLock { $0.era = era }
        return era
    }

    // MARK: - Tools

    /// Reads the server's tools, all pages, and keeps them.
    func refreshCatalogue(
        on executor: LoopExecutor,
        now: MonotonicInstant
    ) async throws(UpstreamFault) -> ToolCatalogue {
        // The gateway's own session, apart from any caller's.
        let owner = SessionOwner(subject: "gateway", client: "catalogue")
        var conversation = try await conversation(for: owner, on: executor, now: now)
        var pages: [JSONValue] = []
        var cursor: Text?
        var mayReopen = true
        repeat {
            let id = RequestID.string(Text("list-\(pages.count)"))
            let answer = try await exchange(
                conversation.dialect.listTools(id: id, cursor: cursor),
                answering: id,
                revision: conversation.dialect.revision,
                session: conversation.session,
                timeout: limits.openTimeout,
                on: executor
            )
            guard case .complete(let result)? = answer.answer else {
                if answer.isSessionGone, mayReopen, let session = conversation.session {
                    mayReopen = false
                    forget(session, of: owner)
                    conversation = try await open(for: owner, on: executor, now: now)
                    pages = []
                    cursor = nil
                    continue
                }
                throw answer.fault
            }
            pages.append(result)
            cursor = result["nextCursor"]?.string
        } while cursor != nil && pages.count < limits.pagesMax || pages.isEmpty
        let catalogue = ToolCatalogue(pages: pages, fetchedAt: now)
        guard catalogue.tools.count <= ToolCatalogue.toolsMax else {
            Limit.tools.reached()
            throw UpstreamFault(.invalid, mayHaveActed: false, "the server has too many tools")
        }
        memory.withLock { $0.catalogue = catalogue }
        return catalogue
    }

    // MARK: - Exchanges

    /// What came back for one message.
    struct Answer {
        let status: Int
        let answer: UpstreamAnswer?
        let session: Text?
        let hadSession: Bool
        let detail: Text

        /// A 404 to a message with a session: the server forgot the session and did not act.
        var isSessionGone: Bool {
            status == 404 && hadSession
        }

        /// The fault that an unusable answer is.
        var fault: UpstreamFault {
            switch status {
            case 401, 403:
                UpstreamFault(
                    .unauthorized,
                    mayHaveActed: false,
                    "the server refused the gateway's credential"
                )
            case _ where isSessionGone:
                UpstreamFault(.sessionEnded, mayHaveActed: false, "the server ended the session")
            default:
                UpstreamFault(.invalid, mayHaveActed: true, detail)
            }
        }
    }

    /// Sends one message and reads until its answer.
    ///
    /// - Parameter onNotification: what the server says in between, in order.
    func exchange(
        _ message: UpstreamRequest,
        answering id: RequestID,
        revision: ProtocolRevision,
        session: Text?,
        timeout: Duration,
        on executor: LoopExecutor,
        onNotification: ((Message.Notification, ServerMethod?) async -> Void)? = nil
    ) async throws(UpstreamFault) -> Answer {
        let began = SystemClock.monotonic().nanoseconds
        do throws(UpstreamFault) {
            let answer = try await askAndRead(
                message,
                answering: id,
                revision: revision,
                session: session,
                timeout: timeout,
                on: executor,
                onNotification: onNotification
            )
            timers.answered(
                answer.status,
                nanoseconds: SystemClock.monotonic().nanoseconds - began
            )
            return answer
        } catch {
            if error.kind == .timedOut {
                (timeout == limits.callTimeout ? Limit.callTime : .openTime).reached()
            }
            timers.failed(error.kind, nanoseconds: SystemClock.monotonic().nanoseconds - began)
            throw error
        }
    }

    private func askAndRead(
        _ message: UpstreamRequest,
        answering id: RequestID,
        revision: ProtocolRevision,
        session: Text?,
        timeout: Duration,
        on executor: LoopExecutor,
        onNotification: ((Message.Notification, ServerMethod?) async -> Void)?
    ) async throws(UpstreamFault) -> Answer {
        var response = try await post(message, session: session, timeout: timeout, on: executor)
        let status = response.head.status
        if session == nil, status != 200 {
            // It may have come to want sessions: whoever comes next asks it again.
            memory.withLock { $0.isSessionless = false }
        }
        let granted = response.head.fields["mcp-session-id"].flatMap {
            Text(validating: $0.bytes.readableBytesView)
        }
        let type = response.head.fields["content-type"]
        func answer(_ answer: UpstreamAnswer?, _ detail: Text) -> Answer {
            Answer(
                status: status,
                answer: answer,
                session: granted,
                hadSession: session != nil,
                detail: detail
            )
        }
        if status == 200, let type, type.isMediaType("text/event-stream") {
            var parser = SSEParser(
                lineBytesMax: limits.answerBytesMax,
                eventBytesMax: limits.answerBytesMax
            )
            while let chunk = try await next(&response) {
                let events: [SSEEvent]
                do {
                    events = try parser.push(chunk.readableBytesView)
                } catch {
                    throw UpstreamFault(
                        .invalid,
                        mayHaveActed: true,
                        "the server's event stream is malformed"
                    )
                }
                for event in events where !event.data.isEmpty {
                    switch try read(event.data, answering: id, revision: revision) {
                    case .answer(let found):
                        return answer(found, "")
                    case .notification(let notification, let known):
                        await onNotification?(notification, known)
                    case .request(let request, let known):
                        let dialect = UpstreamDialect(revision: revision, client: Self.client)
                        try await notify(
                            dialect.answer(to: request, known: known),
                            session: session,
                            on: executor
                        )
                    }
                }
            }
            throw UpstreamFault(
                .lost,
                mayHaveActed: true,
                "the server's event stream ended without an answer"
            )
        }
        guard let type, type.isMediaType("application/json") else {
            return answer(nil, Text("the server answered \(status) without a message"))
        }
        var body: ByteBuffer
        do {
            body = try await response.collect(bytesMax: limits.answerBytesMax)
        } catch {
            throw UpstreamFault(error)
        }
        let bytes = body.readBytes(length: body.readableBytes) ?? []
        guard status == 200 else {
            // Errors may come with any status; one that cannot be read is as good as none.
            let message = try? read(bytes, answering: id, revision: revision)
            if case .answer(let found)? = message {
                return answer(found, Text("the server answered \(status)"))
            }
            return answer(nil, Text("the server answered \(status)"))
        }
        guard case .answer(let found) = try read(bytes, answering: id, revision: revision) else {
            throw UpstreamFault(
                .invalid,
                mayHaveActed: true,
                "the server's answer is not a response"
            )
        }
        return answer(found, "")
    }

    /// Sends a notification for which nobody waits, from a task whose own work was cancelled.
    func tell(_ message: UpstreamRequest, _ session: Text, on executor: LoopExecutor) {
        // Ends by itself within the time to open a session.
        Task(executorPreference: executor) {
            try? await self.notify(message, session: session, on: executor)
        }
    }

    /// Sends a notification; what the server thinks of it does not matter.
    func notify(
        _ message: UpstreamRequest,
        session: Text?,
        on executor: LoopExecutor
    ) async throws(UpstreamFault) {
        var response = try await post(
            message,
            session: session,
            timeout: limits.openTimeout,
            on: executor
        )
        _ = try? await response.collect(bytesMax: 65_536)
    }

    private func post(
        _ message: UpstreamRequest,
        session: Text?,
        timeout: Duration,
        on executor: LoopExecutor
    ) async throws(UpstreamFault) -> HTTPClientResponse {
        var request = upstream.request(.post, target, on: executor)
        request.head.add("content-type", "application/json")
        request.head.add("accept", "application/json, text/event-stream")
        for header in message.headers {
            request.head.add(name: header.name.string, header.value.string)
        }
        if let session {
            request.head.add("mcp-session-id", session.string)
        }
        let credential = memory.withLock { $0.credential }
        if let credential {
            credential.value.withUnsafeBytes { bytes in
                request.head.add(
                    name: credential.header.string,
                    String(decoding: bytes, as: UTF8.self)
                )
            }
        }
        request.body = ByteBuffer(bytes: message.body)
        request.timeout = timeout
        do {
            return try await upstream.send(request, on: executor)
        } catch {
            throw UpstreamFault(error)
        }
    }

    private func next(
        _ response: inout HTTPClientResponse
    ) async throws(UpstreamFault) -> ByteBuffer? {
        do {
            return try await response.nextChunk()
        } catch {
            throw UpstreamFault(error)
        }
    }

    private func read(
        _ bytes: [UInt8],
        answering id: RequestID,
        revision: ProtocolRevision
    ) throws(UpstreamFault) -> UpstreamMessage {
        do {
            return try UpstreamMessage(
                parsing: bytes,
                answering: id,
                revision: revision,
                limits: answerLimits
            )
        } catch {
            throw UpstreamFault(.invalid, mayHaveActed: true, "the server's message is malformed")
        }
    }

    private var answerLimits: JSONLimits {
        var limits = JSONLimits.default
        limits.bytesMax = self.limits.answerBytesMax
        limits.stringBytesMax = self.limits.answerBytesMax
        return limits
    }
}
