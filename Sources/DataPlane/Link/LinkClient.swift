import AuditLog
import ControlProtocol
import CoreMetrics
import Cryptography
import FoundationEssentials
import GatewayModel
import JSON
import Logging
import NIOCore
import Networking
import ServiceLifecycle
import ServiceRuntime
import SwiftProtobuf

/// What became of an intent that was offered for recording.
enum IntentVerdict: Sendable {
    /// It is in PostgreSQL.
    case durable(RecordedNumber)
    /// Control refused it, with its code; it is on record as refused, and nothing may be forwarded.
    case refused(code: String, RecordedNumber)
    /// It could not be made durable in time. It may become durable yet, so it is closed like any other.
    case overdue(RecordedNumber)
    /// It was not taken at all.
    case unavailable(reason: String)
}

/// Where a record stands: its epoch and its number there.
struct RecordedNumber: Hashable, Sendable {
    let epoch: UInt64
    let n: UInt64
}

/// The link to control: the shell around ``ProxySession``, an actor on one event loop.
///
/// The session says what to do and when; here are the socket, the clock and the waiting calls. One task connects, reads
/// and reconnects; another writes, so that records offered in one turn of the loop leave in one write.
actor LinkClient: Service {
    /// Where control is and who we are there.
    struct Settings: Sendable {
        var host: String
        var port: Int
        var identity: ProxyIdentity
        /// Where a renewed certificate is written.
        var stateDirectory: String
        /// How long before its end the certificate is renewed.
        var renewalSeconds: Int64
        var softwareVersion: String
    }

    nonisolated let executor: LoopExecutor
    nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    /// The configuration and its lease; this link alone renews it.
    nonisolated let state: GatewayState

    private let settings: Settings
    private let applier: SnapshotApplier
    private let logger: Logger
    private nonisolated let metrics = LinkMetrics()
    /// Ends what is at servers when the lease ends.
    private let abandonCalls: @Sendable () async -> Void
    private var identity: ProxyIdentity
    private var session: ProxySession
    /// Each is resumed once, by whoever takes it out.
    private var waiting: [UInt64: UnsafeContinuation<IntentVerdict, Never>] = [:]
    private var outbox: [WireProxyMessage] = []
    private var writerSignal: CheckedContinuation<Void, Never>?
    private var connectSignal: CheckedContinuation<Void, Never>?
    private var mayConnect = false
    private var isStopping = false
    private var connection: HTTP2ClientConnection?
    private var ticker: RepeatedTask?
    private var hasFlushTimer = false

    /// How often the session's clock ticks when nothing waits.
    private static let tickInterval: TimeAmount = .milliseconds(20)
    /// When it ticks because a record waits for company: `ProxySession.Limits.batchDelayMilliseconds`.
    private static let batchDelay: TimeAmount = .milliseconds(2)
    /// How often the certificate's end is looked at.
    private static let renewalPause: Duration = .seconds(60)
    /// How long a stopping process waits for what control has not acknowledged.
    private static let settlingMilliseconds: Int64 = 3000
    private static let sessionPath = "/ostiary.control.v1.Link/Session"

    init(
        settings: Settings,
        executor: LoopExecutor,
        state: GatewayState,
        applier: SnapshotApplier,
        logger: Logger,
        abandonCalls: @escaping @Sendable () async -> Void
    ) {
        self.abandonCalls = abandonCalls
        self.settings = settings
        self.executor = executor
        self.state = state
        self.applier = applier
        self.logger = logger
        identity = settings.identity
        session = ProxySession(
            bootID: SecureRandom.bytes(16),
            softwareVersion: settings.softwareVersion,
            now: SystemClock.monotonic()
        )
    }

    // MARK: - Records

    /// Records an intent and waits until it is durable, refused or overdue.
    ///
    /// - Parameter executor: Of the caller. On the link's own loop nothing is switched but the wait itself.
    nonisolated func recordIntent(
        _ draft: RecordDraft,
        from executor: LoopExecutor
    ) async -> IntentVerdict {
        let began = SystemClock.monotonic()
        let verdict: IntentVerdict
        if executor === self.executor {
            switch offerHere(draft, now: began) {
            case .refused(let reason):
                verdict = .unavailable(reason: reason)
            case .admitted(let n):
                verdict = await withUnsafeContinuation { continuation in
                    assumeIsolated { $0.waiting[n] = continuation }
                }
            }
        } else {
            verdict = await offerAndWait(draft, now: began)
        }
        metrics.record(
            verdict,
            nanoseconds: SystemClock.monotonic().nanoseconds - began.nanoseconds
        )
        return verdict
    }

    /// On the link's own loop.
    private nonisolated func offerHere(_ draft: RecordDraft, now: MonotonicInstant) -> OnOffer {
        assumeIsolated { $0.offer(draft, now: now) }
    }

    private enum OnOffer {
        case refused(reason: String)
        case admitted(UInt64)
    }

    private func offer(_ draft: RecordDraft, now: MonotonicInstant) -> OnOffer {
        let number = RecordedNumber(epoch: session.epoch, n: session.nextNumber)
        switch session.append(record(draft, numbered: number), gate: true, now: now) {
        case .refused(let reason):
            if reason == .full { Limit.owedBytes.reached() }
            return .refused(reason: reason.rawValue)
        case .admitted(let n, let batch):
            sendOrFlushLater(batch)
            return .admitted(n)
        }
    }

    private func offerAndWait(_ draft: RecordDraft, now: MonotonicInstant) async -> IntentVerdict {
        switch offer(draft, now: now) {
        case .refused(let reason): .unavailable(reason: reason)
        case .admitted(let n): await withUnsafeContinuation { waiting[n] = $0 }
        }
    }

    /// Records something that no call waits for.
    ///
    /// - Returns: `false` when it was not taken, because nothing was ever numbered or too much is owed already.
    @discardableResult
    func record(_ draft: RecordDraft) -> Bool {
        let number = RecordedNumber(epoch: session.epoch, n: session.nextNumber)
        guard number.epoch != 0 else {
            metrics.untaken.increment()
            return false
        }
        let record = record(draft, numbered: number)
        switch session.append(record, gate: false, now: SystemClock.monotonic()) {
        case .refused(let reason):
            metrics.untaken.increment()
            if reason == .full { Limit.owedBytes.reached() }
            return false
        case .admitted(_, let batch):
            sendOrFlushLater(batch)
            return true
        }
    }

    /// Records how the call of an intent ended.
    ///
    /// It is on its way when this returns; from another loop than the link's it goes there first.
    nonisolated func recordOutcome(
        _ outcome: CallOutcome,
        of intent: RecordedNumber,
        from executor: LoopExecutor
    ) {
        if executor === self.executor {
            assumeIsolated { $0.recordOutcome(outcome, of: intent) }
        } else {
            self.executor.loop.execute {
                self.assumeIsolated { $0.recordOutcome(outcome, of: intent) }
            }
        }
    }

    /// An intent of an epoch that is over is named by its owner.
    private func recordOutcome(_ outcome: CallOutcome, of intent: RecordedNumber) {
        let owner =
            intent.epoch == session.epoch
            ? nil
            : AuditRecord.Intent.Owner(
                instance: identity.instance,
                epoch: intent.epoch,
                lane: .committed
            )
        let taken = record(
            AuditRecord.outcome(of: .init(n: intent.n, owner: owner), outcome).draft()
        )
        if !taken {
            // Not lost: when the epoch is closed, control gives the intent the outcome `unknown`.
            logger.warning("outcome was not taken", metadata: ["ostiary.intent": "\(intent.n)"])
        }
    }

    /// Whether the arguments of a call that was stopped may go on record: until half of what may be owed is.
    var hasRoomForArguments: Bool {
        session.owed.byteCount < ProxySession.Limits().owedBytesMax / 2
    }

    private func record(_ draft: RecordDraft, numbered number: RecordedNumber) -> WireRecord {
        let position = RecordPosition(
            namespace: identity.namespace,
            instance: identity.instance,
            epoch: number.epoch,
            lane: .committed,
            n: number.n
        )
        var record = WireRecord()
        record.lane = .committed
        record.n = number.n
        record.body = Data(draft.sequenced(at: position))
        record.parts = draft.parts.map { part in
            var wire = WirePart()
            wire.name = part.name.rawValue
            wire.salt = Data(part.salt)
            wire.content = Data(part.content)
            return wire
        }
        return record
    }

    private func sendOrFlushLater(_ batch: WireAppend?) {
        if let batch {
            var message = WireProxyMessage()
            message.append = batch
            send(message)
        } else {
            flushLater()
        }
    }

    private func flushLater() {
        guard !hasFlushTimer else {
            return
        }
        hasFlushTimer = true
        executor.loop.scheduleTask(in: Self.batchDelay) {
            self.assumeIsolated { link in
                link.hasFlushTimer = false
                link.tick()
                // A record that came after the timer was set has not waited for so long yet.
                if link.session.isBatchWaiting {
                    link.flushLater()
                }
            }
        }
    }

    private func send(_ message: WireProxyMessage) {
        outbox.append(message)
        writerSignal?.resume()
        writerSignal = nil
    }

    private func settle(_ numbers: [UInt64], as verdict: (RecordedNumber) -> IntentVerdict) {
        for n in numbers {
            waiting.removeValue(forKey: n)?
                .resume(returning: verdict(RecordedNumber(epoch: session.epoch, n: n)))
        }
    }

    // MARK: - Reports

    /// Tells control what a server's tools are, or why there is no list.
    ///
    /// Answers whether there is a stream to say it on.
    func report(_ report: WireToolReport) -> Bool {
        guard case .live = session.state else {
            return false
        }
        var message = WireProxyMessage()
        message.toolReport = report
        send(message)
        return true
    }

    /// Asks for a key that a token named and the configuration does not have.
    func request(key: Text, of issuer: Text) {
        guard case .live = session.state else {
            return
        }
        var message = WireProxyMessage()
        message.keyRequest.issuer = issuer.string
        message.keyRequest.keyID = key.string
        send(message)
    }

    // MARK: - Life

    /// Connects and reconnects until the process stops.
    func run() async throws {
        startClock()
        defer { ticker?.cancel() }
        await withGracefulShutdownHandler {
            while !isStopping {
                await waitForConnect()
                guard !isStopping else {
                    break
                }
                await runStream()
            }
        } onGracefulShutdown: {
            self.executor.loop.execute {
                self.assumeIsolated { $0.stop() }
            }
        }
    }

    /// The listeners have drained by now: nothing new is coming.
    ///
    /// What is owed goes out, or stays owed to the closing of the epoch.
    private func stop() {
        isStopping = true
        connectSignal?.resume()
        connectSignal = nil
        var message = WireProxyMessage()
        message.draining = WireDraining()
        send(message)
        closeWhenSettled(
            by: SystemClock.monotonic().adding(milliseconds: Self.settlingMilliseconds)
        )
    }

    /// Closes once control has acknowledged everything, or after a while all the same: then what is owed is left to the
    /// closing of the epoch.
    private func closeWhenSettled(by deadline: MonotonicInstant) {
        executor.loop.scheduleTask(in: .milliseconds(50)) {
            self.assumeIsolated { link in
                if link.isLive, !link.session.owed.isEmpty, SystemClock.monotonic() < deadline {
                    link.closeWhenSettled(by: deadline)
                } else {
                    link.closeConnection()
                }
            }
        }
    }

    private func startClock() {
        ticker = executor.loop.scheduleRepeatedTask(
            initialDelay: .zero,
            delay: Self.tickInterval
        ) { _ in
            self.assumeIsolated { $0.tick() }
        }
    }

    private func tick() {
        let now = SystemClock.monotonic()
        let result = session.tick(now: now)
        show(now)
        for _ in result.overdue { Limit.intentTime.reached() }
        settle(result.overdue) { .overdue($0) }
        for message in result.send {
            send(message)
        }
        if result.leaseEnded {
            Limit.lease.reached()
            logger.error("configuration lease ended; every call is refused")
            // Control closes the epoch of this process by now: what is at a server must not go on under it.
            let abandonCalls = abandonCalls
            Task { await abandonCalls() }
        }
        if result.abandon {
            closeConnection()
        }
        if result.connect, !isStopping {
            mayConnect = true
            connectSignal?.resume()
            connectSignal = nil
        }
    }

    private func show(_ now: MonotonicInstant) {
        metrics.connected.record(isLive ? 1 : 0)
        metrics.leaseRemaining.record(state.leaseSeconds(at: now))
        metrics.owed.record(session.owed.count)
        metrics.owedSize.record(session.owed.byteCount)
        metrics.unsentSize.record(session.owed.unsentByteCount)
    }

    /// Whether records flow.
    var isLive: Bool {
        if case .live = session.state { true } else { false }
    }

    private func waitForConnect() async {
        if !mayConnect, !isStopping {
            await withCheckedContinuation { connectSignal = $0 }
        }
        mayConnect = false
    }

    private func closeConnection() {
        guard let open = connection else {
            return
        }
        connection = nil
        executor.loop.execute {
            open.assumeIsolated { $0.close() }
        }
    }

    private func runStream() async {
        metrics.attempts.increment()
        do {
            let open = try await HTTP2ClientConnection.connect(
                host: settings.host,
                port: settings.port,
                on: executor,
                tls: identity.tlsContext(),
                verifying: identity.controlName
            )
            connection = open
            let client = GRPCClient(open, authority: "ostiary-control", scheme: "https")
            let call = try await client.bidirectional(Self.sessionPath)
            outbox.removeAll()
            if let hello = session.opened(now: SystemClock.monotonic()) {
                send(hello)
                await withTaskGroup { group in
                    group.addTask(executorPreference: executor) { await self.write(to: call) }
                    group.addTask(executorPreference: executor) { await self.read(from: call) }
                    group.addTask(executorPreference: executor) {
                        await self.renew(through: client)
                    }
                    // Whichever ends first ends the stream.
                    await group.next()
                    group.cancelAll()
                    await open.close()
                    self.writerSignal?.resume()
                    self.writerSignal = nil
                    self.connection = nil
                    await group.waitForAll()
                }
            }
        } catch {
            logger.warning(
                "no link to control",
                metadata: ["error.type": "\(type(of: error))", "error.message": "\(error)"]
            )
        }
        connection = nil
        // What was waiting stops: the records stay owed, the calls do not wait for a new stream.
        settle(session.lost(now: SystemClock.monotonic())) { .overdue($0) }
    }

    /// Renews the certificate when its end comes near, as long as there is a stream; the next connection presents it.
    ///
    /// The key stays: it never left this machine, and control compares it with nothing.
    private func renew(through client: GRPCClient) async {
        while !Task.isCancelled {
            let left = identity.certificate.notAfter - SystemClock.now().seconds
            if left < settings.renewalSeconds {
                do {
                    identity = try await identity.renewed(
                        through: client,
                        stateDirectory: settings.stateDirectory
                    )
                    logger.info("certificate renewed")
                } catch {
                    logger.error(
                        "certificate was not renewed",
                        metadata: ["error.message": "\(error)"]
                    )
                }
            }
            try? await Task.sleep(for: Self.renewalPause)
        }
    }

    private func write(to call: GRPCClientCall) async {
        while connection != nil {
            guard !outbox.isEmpty else {
                await withCheckedContinuation { writerSignal = $0 }
                continue
            }
            let messages = outbox
            outbox = []
            do {
                for message in messages {
                    let bytes: [UInt8]
                    if case .append(let batch)? = message.message {
                        bytes = batch.proxyMessageBytes()
                    } else {
                        bytes = try message.serializedBytes()
                    }
                    try await call.send(bytes)
                }
            } catch {
                return
            }
        }
    }

    private func read(from call: GRPCClientCall) async {
        do {
            while let bytes = try await call.nextMessage() {
                guard let message = try? WireControlMessage(serializedBytes: bytes) else {
                    logger.error("control sent a message that cannot be read")
                    return
                }
                guard receive(message) else {
                    return
                }
            }
        } catch {
            logger.warning(
                "the link to control ended",
                metadata: ["error.message": "\(error)"]
            )
        }
    }

    /// Handles one message.
    ///
    /// Answers whether the stream goes on.
    private func receive(_ message: WireControlMessage) -> Bool {
        let now = SystemClock.monotonic()
        // Numbers belong to the epoch that was current when they were given out.
        let epochBefore = session.epoch
        let result = session.received(message, now: now)
        for n in result.abandoned {
            waiting.removeValue(forKey: n)?
                .resume(returning: .overdue(RecordedNumber(epoch: epochBefore, n: n)))
        }
        settle(result.durable) { .durable($0) }
        for refused in result.refused {
            settle([refused.n]) { .refused(code: refused.code, $0) }
        }
        for message in result.send {
            send(message)
        }
        if let credentials = result.credentials {
            applier.apply(credentials)
        }
        if let snapshot = result.snapshot {
            apply(snapshot)
        }
        if case .current(let until) = session.lease.state {
            state.renew(until: until, at: now)
        }
        if let violation = result.violation {
            logger.error(
                "control broke the link protocol",
                metadata: ["error.message": "\(violation)"]
            )
        }
        if case .closed(let code) = session.state {
            logger.error("control ended this instance", metadata: ["error.type": "\(code)"])
        }
        return !result.close
    }

    private func apply(_ snapshot: WireSnapshot) {
        var message = WireProxyMessage()
        message.snapshotReport.version = snapshot.version
        let digest = SHA256.digest(of: snapshot.payload)
        message.snapshotReport.digest = Data(digest.bytes)
        do {
            let shadowRefusal = try applier.apply(snapshot)
            session.applied(snapshotVersion: snapshot.version, digest: digest.bytes)
            metrics.snapshotVersion.record(Int64(clamping: snapshot.version))
            logger.info(
                "configuration applied",
                metadata: ["ostiary.snapshot.version": "\(snapshot.version)"]
            )
            if let shadowRefusal {
                message.snapshotReport.shadowRefusal = shadowRefusal
                metrics.shadowRefused.increment()
                logger.error(
                    "the release in shadow is not evaluated",
                    metadata: [
                        "ostiary.snapshot.version": "\(snapshot.version)",
                        "error.message": "\(shadowRefusal)",
                    ]
                )
            }
        } catch {
            message.snapshotReport.refusal = error.reason
            metrics.snapshotRefused.increment()
            logger.error(
                "configuration refused",
                metadata: [
                    "ostiary.snapshot.version": "\(snapshot.version)",
                    "error.message": "\(error.reason)",
                ]
            )
        }
        send(message)
    }
}
