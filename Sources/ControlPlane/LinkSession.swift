import AuditLog
import ControlProtocol
import ControlStore
import Cryptography
// Only for Data, the type of protobuf's bytes fields.
import FoundationEssentials
import GatewayModel
import JSON
import Logging
import Networking
import Postgres
import ServiceRuntime
import SwiftProtobuf

/// The shell around one ``ControlProtocol/ControlSession``: an actor on the event loop of its
/// stream.
///
/// Two tasks. `read` takes messages, steps the machine and hands work to the services of the
/// process; `act` takes what they answer from the inbox, in order, steps the machine and is the
/// only one that sends. Neither waits for the other, but for one thing: `read` stops while more is
/// on its way to the store than the window allows.
actor LinkSession {
    nonisolated var unownedExecutor: UnownedSerialExecutor { call.stream.unownedExecutor }

    /// What a session is told.
    enum Event: Sendable {
        case opened(EpochStore.Opened, SnapshotPublisher.Publication)
        case committed(RecordBatch, Result<RecordStore.Outcome, StoreError>)
        case lease(sequence: UInt64, Result<EpochStore.Lease, StoreError>)
        case published(SnapshotPublisher.Publication)
        /// Say this and close; without a code just close.
        case end(code: String?, retryAfterMilliseconds: UInt32)
        case violation(String)
    }

    private let call: GRPCServerCall
    private let writer: Writer
    private let services: LinkServices
    private let id = Postgres.UUID.random()
    private let inbox: AsyncStream<Event>.Continuation
    private let events: AsyncStream<Event>
    private let logger: Logger

    private var machine: ControlSession
    private var sealer: PartSealer?
    /// Numbers above this one of the current epoch were never handed to a store.
    private var fresh: UInt64 = 0
    private var bytesOnTheirWay = 0
    private var reader: CheckedContinuation<Void, Never>?
    private var hasEnded = false

    init(_ call: GRPCServerCall, _ writer: Writer, _ services: LinkServices) {
        self.call = call
        self.writer = writer
        self.services = services
        machine = ControlSession(limits: services.limits)
        (events, inbox) = AsyncStream.makeStream()
        var logger = services.logger
        logger[metadataKey: "ostiary.namespace"] = "\(writer.namespace)"
        logger[metadataKey: "ostiary.instance"] = "\(writer.instance)"
        self.logger = logger
    }

    /// Serves until either end has had enough.
    func run() async throws(GRPCStatus) {
        let status = await withTaskGroup(of: GRPCStatus?.self) { group in
            group.addTask { await self.read() }
            group.addTask { await self.act() }
            let first = await group.next() ?? nil
            end()
            group.cancelAll()
            return first
        }
        services.registry.leave(id, for: writer)
        if let status { throw status }
    }

    private func end() {
        hasEnded = true
        inbox.finish()
        reader?.resume()
        reader = nil
    }

    // MARK: - Reading

    private func read() async -> GRPCStatus? {
        do throws(GRPCStatus) {
            while let bytes = try await call.nextMessage() {
                guard let message = try? WireProxyMessage(serializedBytes: bytes) else {
                    throw GRPCStatus(.invalidArgument, "a message is not protobuf")
                }
                await receive(message)
                await waitForRoom()
                if hasEnded { return nil }
            }
            return nil
        } catch {
            return error
        }
    }

    private func waitForRoom() async {
        guard bytesOnTheirWay > Int(services.limits.appendWindowBytes), !hasEnded else { return }
        await withCheckedContinuation { reader = $0 }
    }

    private func receive(_ message: WireProxyMessage) async {
        switch machine.received(message) {
        case .open(let opening): await open(opening)
        case .commit(let append): commit(append)
        case .storeLease(let sequence): askForLease(sequence)
        case .toolReport(let report): await services.tools.receive(report, in: writer.namespaceID)
        case .snapshotReport(let report): note(report)
        // Which key it was does not matter: the whole set is fetched, or was a moment ago.
        case .keyRequest(let request):
            services.issuers.asked(for: Text(request.issuer), in: writer.namespaceID)
        case .draining: logger.info("the proxy is draining")
        case .violation(let text):
            if message.append.records.count > services.limits.batchRecordsMax {
                Limit.batchRecords.reached()
            }
            inbox.yield(.violation(text))
        case .none: break
        }
    }

    private func open(_ opening: ControlSession.Opening) async {
        do {
            let keys = try await services.keys.keys(of: writer.namespaceID)
            sealer = try PartSealer(keys.parts)
            let result = try await services.epochs.open(
                writer,
                EpochStore.Hello(
                    bootID: opening.bootID,
                    resumeEpoch: opening.resumeEpoch,
                    softwareVersion: opening.softwareVersion
                ),
                session: id,
                leaseMilliseconds: services.limits.leaseMilliseconds,
                now: SystemClock.now()
            )
            switch result {
            case .refused:
                inbox.yield(.end(code: "certificate_revoked", retryAfterMilliseconds: 0))
            case .superseded:
                inbox.yield(.end(code: "superseded", retryAfterMilliseconds: 0))
            case .opened(let opened):
                fresh = opened.highest
                takeOver(opening.bootID)
                // After taking the place, so that no publication falls between.
                let publication = try await services.publisher.current(writer.namespaceID)
                inbox.yield(.opened(opened, publication))
            }
        } catch {
            logger.warning("a session was not opened", metadata: ["error.message": "\(error)"])
            inbox.yield(.end(code: "unavailable", retryAfterMilliseconds: 250))
        }
    }

    /// An older stream of the same process just ends.
    ///
    /// One of another process must not come back.
    private func takeOver(_ bootID: [UInt8]) {
        let entry = SessionRegistry.Entry(session: id, bootID: bootID, inbox: inbox)
        guard let older = services.registry.enter(entry, for: writer) else { return }
        let isSameProcess = older.bootID == bootID
        older.inbox.yield(
            .end(code: isSameProcess ? nil : "superseded", retryAfterMilliseconds: 0)
        )
    }

    private func commit(_ append: WireAppend) {
        guard let sealer, case .live(let live) = machine.state else { return }
        do {
            let batch = try RecordBatch(
                append.records.map(IncomingRecord.init),
                from: writer,
                epoch: append.epoch,
                session: id,
                above: append.epoch == live.epoch ? fresh : .max,
                sealer: sealer
            )
            if append.epoch == live.epoch { fresh = max(fresh, batch.upTo) }
            bytesOnTheirWay += batch.byteCount
            let isTaken = services.ingest.submit(batch) { [inbox] batch, result in
                inbox.yield(.committed(batch, result))
            }
            if !isTaken { inbox.yield(.end(code: "unavailable", retryAfterMilliseconds: 1000)) }
        } catch {
            logger.error("records were not sealed", metadata: ["error.message": "\(error)"])
            inbox.yield(.end(code: "unavailable", retryAfterMilliseconds: 1000))
        }
    }

    private func askForLease(_ sequence: UInt64) {
        guard case .live(let live) = machine.state else { return }
        let holder = EpochStore.Holder(writer: writer, epoch: live.epoch, session: id)
        // When too many wait there is no answer, which the proxy knows to read.
        _ = services.leases.ask(holder) { [inbox] result in
            inbox.yield(.lease(sequence: sequence, result))
        }
    }

    private func note(_ report: WireSnapshotReport) {
        if !report.shadowRefusal.isEmpty {
            // The proxy's log has the reason; here it is another machine's text.
            logger.error(
                "the proxy does not evaluate the release in shadow",
                metadata: ["ostiary.snapshot.version": "\(report.version)"]
            )
        }
        guard !report.refusal.isEmpty else { return }
        logger.error(
            "the proxy refused a snapshot",
            metadata: ["ostiary.snapshot.version": "\(report.version)"]
        )
    }

    // MARK: - Acting

    private func act() async -> GRPCStatus? {
        do throws(GRPCStatus) {
            for await event in events {
                guard try await act(on: event) else { return nil }
            }
            return nil
        } catch {
            return error
        }
    }

    /// Answers whether the session goes on.
    private func act(on event: Event) async throws(GRPCStatus) -> Bool {
        switch event {
        case .opened(let opened, let publication):
            try await send(
                machine.opened(
                    epoch: opened.epoch,
                    watermark: opened.watermark,
                    snapshot: publication.snapshot,
                    credentials: publication.credentials
                )
            )
            logger.info("a proxy is connected", metadata: ["ostiary.epoch": "\(opened.epoch)"])
            return true
        case .published(let publication):
            try await send(
                machine.published(publication.snapshot, credentials: publication.credentials)
            )
            return true
        case .committed(let batch, let result):
            return try await committed(batch, result)
        case .lease(let sequence, .success(.stored)):
            try await send(machine.leaseStored(sequence: sequence).map { [$0] } ?? [])
            return true
        case .lease(_, .success(.closed)):
            return try await close("epoch_closed", retryAfterMilliseconds: 100)
        case .lease(_, .success(.superseded)):
            // The process that holds the epoch may be this one, on another stream: it is told at
            // its next Hello.
            return try await close(nil, retryAfterMilliseconds: 0)
        case .lease(_, .success(.revoked)):
            return try await close("certificate_revoked", retryAfterMilliseconds: 0)
        case .lease(_, .failure):
            return true
        case .end(let code, let retryAfter):
            return try await close(code, retryAfterMilliseconds: retryAfter)
        case .violation(let text):
            logger.error("the proxy broke the protocol", metadata: ["error.message": "\(text)"])
            throw GRPCStatus(.invalidArgument, text)
        }
    }

    private func committed(
        _ batch: RecordBatch,
        _ result: Result<RecordStore.Outcome, StoreError>
    ) async throws(GRPCStatus) -> Bool {
        bytesOnTheirWay -= batch.byteCount
        if bytesOnTheirWay <= Int(services.limits.appendWindowBytes) {
            reader?.resume()
            reader = nil
        }
        switch result {
        case .success(.committed(let refused)):
            // The records are durable. A crash here costs an acknowledgement; the proxy sends them
            // again.
            let wire = refused.map { refusal in
                var wire = WireRefusedRecord()
                (wire.n, wire.code) = (refusal.n, refusal.code.rawValue)
                return wire
            }
            let answer = machine.committed(epoch: batch.epoch, upTo: batch.upTo, refused: wire)
            try await send(answer.map { [$0] } ?? [])
            return true
        case .success(.superseded):
            return try await close(nil, retryAfterMilliseconds: 0)
        case .success(.epochUnknown):
            throw GRPCStatus(.failedPrecondition, "the epoch was never assigned")
        case .failure:
            // Nothing is acknowledged. What is behind this batch must not be either, so the stream
            // ends here and the proxy sends everything it owes on the next.
            return try await close("unavailable", retryAfterMilliseconds: 250)
        }
    }

    private func close(
        _ code: String?,
        retryAfterMilliseconds: UInt32
    ) async throws(GRPCStatus) -> Bool {
        let closing = machine.close(
            code: code ?? "",
            retryAfterMilliseconds: retryAfterMilliseconds
        )
        if let code, let closing {
            logger.info("a session was closed", metadata: ["ostiary.reason": "\(code)"])
            try await send([closing])
        }
        return false
    }

    private func send(_ messages: [WireControlMessage]) async throws(GRPCStatus) {
        for message in messages {
            guard let bytes: [UInt8] = try? message.serializedBytes() else {
                throw GRPCStatus(.internal, "a message cannot be serialised")
            }
            try await call.send(bytes)
        }
    }
}

extension IncomingRecord {
    fileprivate init(_ record: WireRecord) {
        self.init(
            // ControlSession refuses every other lane.
            lane: record.lane == .spooled ? .spooled : .committed,
            n: record.n,
            body: Array(record.body),
            parts: record.parts.map {
                IncomingPart(name: $0.name, salt: Array($0.salt), content: Array($0.content))
            }
        )
    }
}
