import AuditLog
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import MCPProtocol
import Networking
import ServiceRuntime

/// One `tools/call`, from parsed request to recorded outcome.
///
/// Read top to bottom: this is the order of execution.
///
/// Every stage returns its product or stops the call with a ``Rejection``. Only `forward` can reach a server, it needs a
/// ``RecordedIntent``, which only `recordIntent` makes, from a ``Permit``, which only `enforce` makes. No stage
/// records, counts or logs: ``handle(_:)`` does, once, whatever end the call comes to.
struct ToolCallPipeline {
    let view: GatewayState.View
    let link: LinkClient
    let executor: LoopExecutor

    /// A call that was authenticated and parsed.
    struct Call: ~Copyable {
        let caller: Caller
        let client: ClientAddress
        let server: UpstreamServer
        let tool: ToolName
        let arguments: JSONValue?
        let meta: JSONValue?
        /// The client's id, as this hop's id is derived from it.
        let id: RequestID
        /// What the client asked progress to be reported under.
        let progressToken: ProgressToken?
        /// The headers that mirror arguments, in the revision that has them.
        let mirror: RequestHeaders?
        /// The server's session that the client's own session holds.
        let session: Text?
        var facts: CallFacts
        /// Set once the tool turned out to be an accepted one.
        var timers: OperationTimers?
        /// Writes the answer in the client's revision.
        let answer: ResponseBuilder
        /// What the server says while the call runs, towards the client.
        let onProgress: ((JSONValue) async -> Void)?

        /// The call as counters and monitors see it.
        func event(_ effect: ToolEffect) -> PolicyEvent {
            PolicyEvent(
                calling: tool,
                at: server.name,
                effect: effect,
                by: caller.subject.id,
                through: caller.client
            )
        }
    }

    /// The message that ends a call for the client, and what it means for the record.
    struct Release {
        let body: [UInt8]
        let end: CallOutcome.End
        let code: Rejection.Code?
        /// The metrics of the tool, when it is an accepted one.
        var timers: OperationTimers?

        /// What HTTP says, unless a stream has begun: a message that contradicts itself is 400, everything else is in band.
        var httpStatus: Int {
            code == .messageInvalid ? 400 : 200
        }

        /// What metrics call it.
        var ending: MessageEnding {
            if let code { return .stopped(code) }
            switch end {
            case .toolFailed: return .toolFailed
            case .serverError: return .serverError
            default: return .succeeded
            }
        }
    }

    /// An intent that is durable and has no outcome yet, and since when: the server's time is counted from here.
    private struct OpenIntent {
        let number: RecordedNumber
        let since: MonotonicInstant
    }

    /// Runs the call and records it: a refusal when it stopped before its intent, else exactly one outcome.
    func handle(_ call: consuming Call) async -> Release {
        var call = call
        var intent: OpenIntent?
        var counted: Counted?
        let release = await end(&call, intent: &intent, counted: &counted)
        if let counted = counted.take() {
            counted.settle(
                in: view,
                wasForwarded: intent != nil && release.end != .notForwarded,
                succeeded: release.end == .succeeded,
                at: SystemClock.monotonic()
            )
        }
        return release
    }

    /// A call that the counters of policy hold as in flight.
    private struct Counted: ~Copyable {
        let event: PolicyEvent
        let reservation: RateCounters.Reservation
        /// The same for the release in shadow, which may count other things; what counts is what really happened.
        let shadow: RateCounters.Reservation?

        consuming func settle(
            in view: GatewayState.View,
            wasForwarded: Bool,
            succeeded: Bool,
            at now: MonotonicInstant
        ) {
            view.memory.settle(
                reservation,
                event,
                wasForwarded: wasForwarded,
                succeeded: succeeded,
                at: now
            )
            if let shadow {
                view.shadowMemory.settle(
                    shadow,
                    event,
                    wasForwarded: wasForwarded,
                    succeeded: succeeded,
                    at: now
                )
            }
        }
    }

    private func end(
        _ call: inout Call,
        intent: inout OpenIntent?,
        counted: inout Counted?
    ) async -> Release {
        var release: Release
        do throws(Rejection) {
            release = try await run(&call, intent: &intent, counted: &counted)
        } catch {
            // Whether the server acted is known only where nothing was sent.
            let isUnsent =
                intent == nil || error.code == .upstreamUnreachable
                || error.code == .leaseExpired
            release = Release(
                body: call.answer.rejection(error),
                end: isUnsent ? .notForwarded : .failed,
                code: error.code
            )
            if intent == nil {
                let parts = await arguments(of: call, stoppedBy: error)
                await link.record(AuditRecord.refusal(call.facts, error, parts: parts).draft())
            }
        }
        if let intent {
            close(intent, with: release)
        }
        release.timers = call.timers
        return release
    }

    private func run(
        _ call: inout Call,
        intent: inout OpenIntent?,
        counted: inout Counted?
    ) async throws(Rejection) -> Release {
        let effect = try pin(&call).effect
        if call.server.catalogue == nil { try await readCatalogue(of: call.server) }
        let tool = try resolve(call)
        // Counted before it is decided, so that of two calls at once the second sees the first.
        let now = SystemClock.monotonic()
        let event = call.event(effect)
        let reservation = view.memory.reserve(event, at: now)
        let known = Known(
            rates: reservation.readings,
            history: view.memory.history(for: event, at: now)
        )
        var shadowKnown = Known()
        var shadowReservation: RateCounters.Reservation?
        if view.snapshot.shadow != nil {
            let reservation = view.shadowMemory.reserve(event, at: now)
            shadowKnown.rates = reservation.readings
            shadowKnown.history = view.shadowMemory.history(for: event, at: now)
            shadowReservation = consume reservation
        }
        counted = Counted(event: event, reservation: reservation, shadow: shadowReservation)
        let decision = try decide(&call, tool, known, shadow: shadowKnown)
        try agree(call, tool)
        let permit = try enforce(decision)
        let draft = intentDraft(
            permit,
            call.facts,
            arguments: call.arguments?.canonicalBytes() ?? Array("{}".utf8),
            salt: CallRandomness.reserve.bytes(RecordFormat.saltByteCount)
        )
        let recorded = try await recordIntent(
            permit,
            as: draft,
            through: link,
            from: executor,
            now: SystemClock.now
        )
        // Point of no return: from here on the intent has exactly one outcome, and `handle` writes it.
        let since = SystemClock.monotonic()
        intent = OpenIntent(number: recorded.number, since: since)
        // The lease may have ended while the call waited; what is at a server when it ends is abandoned by the link.
        guard link.state.isLeaseCurrent(at: since) else {
            throw Rejection(.leaseExpired, "the lease ended while the intent was recorded")
        }
        let ending = try await forward(call, tool, spending: recorded)
        return release(ending, for: call)
    }

    // MARK: - Stages

    /// What was accepted under the tool's name.
    ///
    /// Before the server is asked for anything: a name that means nothing moves nothing.
    private func pin(_ call: inout Call) throws(Rejection) -> GatewaySnapshot.Pin {
        guard let pin = view.snapshot.servers[call.server.name]?.pins[call.tool] else {
            throw Rejection(.toolUnknown, "no such tool is accepted")
        }
        call.facts.definition = pin.definition
        call.timers = pin.timers
        return pin
    }

    private func readCatalogue(of server: UpstreamServer) async throws(Rejection) {
        do throws(UpstreamFault) {
            _ = try await server.refreshCatalogue(on: executor, now: SystemClock.monotonic())
        } catch {
            throw error.rejection
        }
    }

    /// The pinned tool.
    ///
    /// What is not there, not accepted, or hidden from the caller looks the same.
    private func resolve(_ call: borrowing Call) throws(Rejection) -> ToolCatalogue.Tool {
        guard let tool = call.server.catalogue?[call.tool] else {
            throw Rejection(.toolUnknown, "the server has no such tool")
        }
        return tool
    }

    /// What this replica has counted and seen, for one release.
    private struct Known {
        var rates: [Text: RateReading] = [:]
        var history: [Text: Bool] = [:]
    }

    /// The policy decision point, and beside it the release in shadow, if there is one.
    ///
    /// Pure. A refused caller who may not even know the tool is told that there is none. What the shadow says is noted
    /// for the record and has no other effect.
    private func decide(
        _ call: inout Call,
        _ tool: ToolCatalogue.Tool,
        _ known: Known,
        shadow shadowKnown: Known
    ) throws(Rejection) -> Decision {
        let point = view.snapshot.decisionPoint
        let reading = PolicyDecisionPoint.read(call.arguments, tool.input)
        var facts = PolicyFacts(
            time: call.facts.time,
            source: call.client.address,
            definitionPinned: tool.digest == call.facts.definition
        )
        facts.client = call.caller.client
        facts.rates = known.rates
        facts.history = known.history
        call.facts.decided = DecisionFacts(facts, isInputFaithful: reading.isFaithful).unlessPlain
        let decision = point.decide(
            call.caller.subject,
            call.server.name,
            call.tool,
            reading: reading,
            facts: facts
        )
        if let shadow = view.snapshot.shadow {
            var facts = facts
            facts.rates = shadowKnown.rates
            facts.history = shadowKnown.history
            call.facts.shadow = shadow.decide(
                call.caller.subject,
                call.server.name,
                call.tool,
                reading: reading,
                facts: facts
            )
        }
        guard
            decision.answer == .permit
                || point.mayKnow(
                    call.caller.subject,
                    of: call.tool,
                    at: call.server.name,
                    facts: facts,
                    arguments: view.snapshot.openArguments(
                        of: call.server.name,
                        call.server.catalogue
                    )
                )
        else {
            throw Rejection(.toolUnknown, "the tool is hidden from the caller", decision: decision)
        }
        return decision
    }

    /// The headers that mirror arguments say what the arguments say (row 13 of the ladder).
    ///
    /// Only here, since whoever may not know a tool must not learn its schema from a mismatch.
    private func agree(_ call: borrowing Call, _ tool: ToolCatalogue.Tool) throws(Rejection) {
        guard let mirror = call.mirror else {
            return
        }
        do throws(LadderRefusal) {
            try tool.mirrored.check(mirror, arguments: call.arguments, id: call.id)
        } catch {
            throw Rejection(.messageInvalid, Text(error.reason.rawValue))
        }
    }

    /// What a server answered.
    private enum Ending {
        case result(JSONValue)
        case serverError(Message.ReceivedError)
    }

    /// The only way to a server.
    ///
    /// The intent is spent; what comes back, or does not, is its outcome.
    private func forward(
        _ call: borrowing Call,
        _ tool: ToolCatalogue.Tool,
        spending intent: consuming RecordedIntent
    ) async throws(Rejection) -> Ending {
        let owner = UpstreamServer.SessionOwner(
            subject: call.caller.subject.id,
            client: call.caller.client
        )
        var mayReopen = true
        var held = call.session
        while true {
            do throws(UpstreamFault) {
                let now = SystemClock.monotonic()
                let conversation: UpstreamServer.Conversation
                if let standing = call.server.standingConversation(
                    for: owner,
                    holding: held,
                    now: now
                ) {
                    conversation = standing
                } else {
                    conversation = try await call.server.open(
                        for: owner,
                        inPlaceOf: held,
                        on: executor,
                        now: now
                    )
                }
                let answer = try await exchange(call, tool, conversation)
                switch answer.answer {
                case .complete(let result)?:
                    return .result(result)
                case .error(let error)? where !answer.isSessionGone:
                    return .serverError(error)
                case .inputRequired?:
                    throw UpstreamFault(.invalid, mayHaveActed: true, "the server asks for input")
                default:
                    throw answer.fault
                }
            } catch {
                // A forgotten session did nothing: once, a new one may take its place under the same intent.
                guard error.kind == .sessionEnded, mayReopen else {
                    throw error.rejection
                }
                mayReopen = false
                if let session = held {
                    call.server.forget(session, of: owner)
                }
                do throws(UpstreamFault) {
                    let reopened = try await call.server.open(
                        for: owner,
                        inPlaceOf: held,
                        on: executor,
                        now: SystemClock.monotonic()
                    )
                    held = held ?? reopened.session
                } catch {
                    throw error.rejection
                }
            }
        }
    }

    private func exchange(
        _ call: borrowing Call,
        _ tool: ToolCatalogue.Tool,
        _ conversation: UpstreamServer.Conversation
    ) async throws(UpstreamFault) -> UpstreamServer.Answer {
        let id = HopID.derived(from: call.id)
        do throws(UpstreamFault) {
            return try await exchange(call, tool, conversation, as: id)
        } catch {
            // In the legacy era a dropped connection is no cancel: the server has to be told.
            if let session = conversation.session, error.mayHaveActed,
                error.kind == .cancelled || error.kind == .abandoned
            {
                call.server.tell(conversation.dialect.cancelled(id), session, on: executor)
            }
            throw error
        }
    }

    private func exchange(
        _ call: borrowing Call,
        _ tool: ToolCatalogue.Tool,
        _ conversation: UpstreamServer.Conversation,
        as id: RequestID
    ) async throws(UpstreamFault) -> UpstreamServer.Answer {
        let onProgress = call.onProgress
        return try await call.server.exchange(
            conversation.dialect.callTool(
                id: id,
                name: call.tool.text,
                arguments: call.arguments,
                meta: call.meta,
                // The client's token may equal another client's: this hop has its own.
                progressToken: call.progressToken == nil ? nil : id,
                mirroring: tool.mirrored
            ),
            answering: id,
            revision: conversation.dialect.revision,
            session: conversation.session,
            timeout: call.server.limits.callTimeout,
            on: executor
        ) { notification, known in
            if known == .progress, let params = notification.params {
                await onProgress?(params)
            }
        }
    }

    /// What the client is shown. (Inspection of answers takes its place here.)
    private func release(_ ending: Ending, for call: borrowing Call) -> Release {
        switch ending {
        case .result(let result):
            let failed = result["isError"]?.boolean == true
            return Release(
                body: call.answer.toolCall(from: result),
                end: failed ? .toolFailed : .succeeded,
                code: nil
            )
        case .serverError(let error):
            let bridged = BridgedError(error, method: .callTool, for: call.answer.revision)
            let body =
                switch bridged {
                case .toolError(let text): call.answer.toolError(text)
                case .error(let error): call.answer.error(error)
                case .gatewayFault: call.answer.error(RPCError(.internalError, "Internal error"))
                }
            return Release(body: body, end: .serverError, code: nil)
        }
    }

    /// What a record keeps of a call that policy stopped: its arguments, as an intent does, so that the call can be
    /// decided again under another release.
    ///
    /// Nothing waits for a refusal, so nothing holds back whoever makes many: long arguments are left out, and all of them
    /// once half of what may be owed is. The rest of that room belongs to calls that go on.
    private func arguments(
        of call: borrowing Call,
        stoppedBy rejection: Rejection
    ) async -> [RecordPart] {
        guard rejection.decision != nil else {
            return []
        }
        let content = call.arguments?.canonicalBytes() ?? Array("{}".utf8)
        guard content.count <= Self.refusedArgumentsBytesMax, await link.hasRoomForArguments else {
            Limit.refusedArguments.reached()
            return []
        }
        let salt = CallRandomness.reserve.bytes(RecordFormat.saltByteCount)
        return [RecordPart(name: .arguments, salt: salt, content: content)]
    }

    /// The longest arguments kept of a call that was stopped, in bytes of canonical JSON.
    private static let refusedArgumentsBytesMax = 65_536

    private func close(_ intent: OpenIntent, with release: Release) {
        var outcome = CallOutcome(time: SystemClock.now(), end: release.end, code: release.code)
        outcome.upstreamMicroseconds = SystemClock.monotonic().microseconds(since: intent.since)
        outcome.result = SHA256.digest(of: release.body)
        outcome.resultBytes = release.body.count
        link.recordOutcome(outcome, of: intent.number, from: executor)
    }
}

extension DecisionFacts {
    /// What goes on record of the facts; nothing is made where no counter and no monitor is declared.
    init(_ facts: PolicyFacts, isInputFaithful: Bool) {
        self.init()
        if !facts.rates.isEmpty { rates = facts.rates.mapValues(\.count) }
        history = facts.history
        approvals = facts.approvals
        found = facts.found
        stepUp = facts.hasSteppedUp
        sessionAgeMilliseconds = facts.sessionAgeMilliseconds
        inputFaithful = isInputFaithful
        definitionPinned = facts.definitionPinned
    }
}

/// The id of a request on the way to a server, derived from the client's: a cancel that lands on
/// another replica finds the same id.
///
/// Strings and integers stay apart.
enum HopID {
    static func derived(from id: RequestID) -> RequestID {
        switch id {
        case .integer(let number): .string(Text("i\(number)"))
        case .string(let text): .string(Text("s" + text.string))
        }
    }
}
