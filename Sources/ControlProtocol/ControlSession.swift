import GatewayModel

/// The control plane's end of the link with one proxy process.
///
///     awaitingHello ─Hello─▶ opening ─epoch assigned─▶ live ─▶ closed
///
/// - `awaitingHello`: the stream is open, the certificate has named instance and namespace.
/// - `opening`: the store is assigning an epoch.
/// - `live`: records are committed and acknowledged in order; leases are granted.
/// - `closed`: terminal; what the store still reports is ignored.
///
/// The session never acknowledges what the store has not committed, and never grants a lease that the store does not
/// know of: closing an epoch on any replica must see both. It holds no records; a lost stream costs nothing, because
/// the proxy owes what was not acknowledged and sends it again.
public struct ControlSession: Sendable {
    /// The bounds of a session.
    public struct Limits: Equatable, Sendable {
        /// What a proxy may enforce without word from control.
        ///
        /// Default 30 s.
        public var leaseMilliseconds: UInt32 = 30_000
        /// How often it asks.
        ///
        /// Default 1 s.
        public var heartbeatMilliseconds: UInt32 = 1000
        /// How many bytes of records may be on their way.
        ///
        /// Default 4 MiB.
        public var appendWindowBytes: UInt32 = 4_194_304
        /// How many records may be in one batch.
        ///
        /// Default 4096.
        public var batchRecordsMax = 4096

        /// The defaults.
        public init() {}

        /// The defaults, but for the lease.
        ///
        /// A proxy asks at least four times within it, so that one lost answer does not end it.
        public init(leaseMilliseconds: Int) {
            self.leaseMilliseconds = UInt32(clamping: leaseMilliseconds)
            heartbeatMilliseconds = min(heartbeatMilliseconds, self.leaseMilliseconds / 4)
        }
    }

    /// Where the session stands.
    public enum State: Equatable, Sendable {
        /// Nothing has arrived.
        case awaitingHello
        /// The store is assigning an epoch.
        case opening(Opening)
        /// Records flow.
        case live(Live)
        /// Over.
        case closed
    }

    /// What Hello said.
    public struct Opening: Equatable, Sendable {
        /// 16 random bytes of the process.
        public var bootID: [UInt8]
        /// The epoch it wants to go on in; 0 for none.
        public var resumeEpoch: UInt64
        /// The snapshot it holds.
        public var snapshotVersion: UInt64
        /// The digest of the snapshot it holds.
        public var snapshotDigest: [UInt8]
        /// What it runs.
        public var softwareVersion: String
    }

    /// What is known while records flow.
    public struct Live: Equatable, Sendable {
        /// The epoch of this process.
        public var epoch: UInt64
        /// The last number that was handed to the store in the current epoch.
        public var handedOver: UInt64
        /// The last number that was acknowledged in the current epoch.
        public var acknowledged: UInt64
        /// The newest snapshot that was sent.
        public var snapshotVersion: UInt64
    }

    /// Where the session stands.
    public private(set) var state: State = .awaitingHello

    private let limits: Limits

    /// A session on a stream that was just accepted.
    public init(limits: Limits = Limits()) {
        self.limits = limits
    }

    /// What a message asks of the shell.
    public enum OnMessage: Equatable, Sendable {
        /// Assign an epoch, then call ``opened(epoch:watermark:snapshot:credentials:)``.
        case open(Opening)
        /// Commit the batch, then call ``committed(epoch:upTo:refused:)``.
        case commit(WireAppend)
        /// Store the lease, then call ``leaseStored(sequence:)``.
        case storeLease(sequence: UInt64)
        /// The proxy applied, or refused, a snapshot.
        case snapshotReport(WireSnapshotReport)
        /// What a server's tools are now.
        case toolReport(WireToolReport)
        /// A token named a key that the snapshot does not have.
        case keyRequest(WireKeyRequest)
        /// The proxy takes no more calls.
        case draining
        /// Nothing to do.
        case none
        /// The peer broke the protocol, in these words: close the stream.
        case violation(String)
    }

    /// A message arrived from the proxy.
    public mutating func received(_ message: WireProxyMessage) -> OnMessage {
        switch (message.message, state) {
        case (_, .closed):
            return .none
        case (.hello(let hello), .awaitingHello):
            guard hello.revision == CompatibilityHistory.current else {
                return violate("the peer speaks another link revision")
            }
            guard hello.bootID.count == 16 else {
                return violate("Hello carries no boot id")
            }
            let opening = Opening(
                bootID: Array(hello.bootID),
                resumeEpoch: hello.resumeEpoch,
                snapshotVersion: hello.snapshotVersion,
                snapshotDigest: Array(hello.snapshotDigest),
                softwareVersion: String(hello.softwareVersion.prefix(64))
            )
            state = .opening(opening)
            return .open(opening)
        case (.append(let append), .live(let live)):
            return receivedAppend(append, live)
        case (.heartbeat(let heartbeat), .live):
            return .storeLease(sequence: heartbeat.sequence)
        case (.snapshotReport(let report), .live):
            return .snapshotReport(report)
        case (.toolReport(let report), .live):
            return .toolReport(report)
        case (.keyRequest(let request), .live):
            return .keyRequest(request)
        case (.draining, .live):
            return .draining
        case (nil, _):
            return .none  // A message kind from a newer revision.
        default:
            return violate("a message came in the wrong order")
        }
    }

    private mutating func receivedAppend(_ append: WireAppend, _ standing: Live) -> OnMessage {
        guard !append.records.isEmpty, append.records.count <= limits.batchRecordsMax else {
            return violate("a batch is empty or too large")
        }
        guard append.records.allSatisfy({ $0.lane == .committed && $0.n > 0 }) else {
            return violate("a record names an unknown lane or no number")
        }
        for (record, following) in zip(append.records, append.records.dropFirst())
        where following.n != record.n + 1 {
            return violate("the numbers of a batch are not dense")
        }
        guard append.epoch == standing.epoch else {
            // Of a closed epoch: the store files them as annotations.
            return append.epoch < standing.epoch && append.epoch != 0
                ? .commit(append) : violate("a batch names an epoch that was never assigned")
        }
        var live = standing
        // Records may come again after a reconnect, never with a hole in front.
        guard let first = append.records.first, first.n <= live.handedOver + 1 else {
            return violate("a batch leaves a hole in the numbers")
        }
        live.handedOver = max(live.handedOver, append.records.last?.n ?? 0)
        state = .live(live)
        return .commit(append)
    }

    /// The store assigned the epoch.
    ///
    /// Answers what to send.
    ///
    /// - Parameters:
    ///   - epoch: the epoch of this process, resumed or new.
    ///   - watermark: everything up to this number is durable in it.
    ///   - snapshot: the configuration in force, if there is one.
    ///   - credentials: the secrets that belong to it.
    public mutating func opened(
        epoch: UInt64,
        watermark: UInt64,
        snapshot: WireSnapshot?,
        credentials: WireCredentials
    ) -> [WireControlMessage] {
        guard case .opening(let opening) = state else {
            return []
        }
        state = .live(
            Live(
                epoch: epoch,
                handedOver: watermark,
                acknowledged: watermark,
                snapshotVersion: max(opening.snapshotVersion, snapshot?.version ?? 0)
            )
        )
        var welcome = WireControlMessage()
        welcome.welcome.revision = CompatibilityHistory.current
        welcome.welcome.epoch = epoch
        welcome.welcome.leaseMs = limits.leaseMilliseconds
        welcome.welcome.heartbeatMs = limits.heartbeatMilliseconds
        welcome.welcome.appendWindowBytes = limits.appendWindowBytes
        var mark = WireWatermark()
        mark.lane = .committed
        mark.upTo = watermark
        welcome.welcome.watermarks = [mark]
        var messages = [welcome]
        messages.append(.credentials(credentials))
        if let snapshot, snapshot.version != opening.snapshotVersion {
            messages.append(.snapshot(snapshot))
        }
        return messages
    }

    /// The store committed a batch.
    ///
    /// Answers the acknowledgement to send.
    public mutating func committed(
        epoch: UInt64,
        upTo n: UInt64,
        refused: [WireRefusedRecord]
    ) -> WireControlMessage? {
        guard case .live(var live) = state else {
            return nil
        }
        if epoch == live.epoch {
            live.acknowledged = max(live.acknowledged, n)
            state = .live(live)
        }
        var message = WireControlMessage()
        message.acknowledge.epoch = epoch
        message.acknowledge.lane = .committed
        message.acknowledge.upTo = n
        message.acknowledge.refused = refused
        return message
    }

    /// The store knows the lease.
    ///
    /// Answers the grant to send.
    public func leaseStored(sequence: UInt64) -> WireControlMessage? {
        guard case .live(let live) = state else {
            return nil
        }
        var message = WireControlMessage()
        message.lease.heartbeatSequence = sequence
        message.lease.leaseMs = limits.leaseMilliseconds
        message.lease.snapshotVersion = live.snapshotVersion
        return message
    }

    /// A configuration was published.
    ///
    /// Answers what to send, credentials first: a server must not be enabled before its credential
    /// is there.
    public mutating func published(
        _ snapshot: WireSnapshot,
        credentials: WireCredentials
    ) -> [WireControlMessage] {
        guard case .live(var live) = state, snapshot.version > live.snapshotVersion else {
            return []
        }
        live.snapshotVersion = snapshot.version
        state = .live(live)
        return [.credentials(credentials), .snapshot(snapshot)]
    }

    /// Control ends the session.
    ///
    /// Answers the message to send before the stream closes.
    ///
    /// - Parameters:
    ///   - code: one of the codes in control.proto.
    ///   - retryAfterMilliseconds: 0 tells the process never to come back.
    public mutating func close(
        code: String,
        retryAfterMilliseconds: UInt32
    ) -> WireControlMessage? {
        guard state != .closed else {
            return nil
        }
        state = .closed
        var message = WireControlMessage()
        message.closing.code = code
        message.closing.retryAfterMs = retryAfterMilliseconds
        return message
    }

    private mutating func violate(_ text: String) -> OnMessage {
        state = .closed
        return .violation(text)
    }
}

extension WireControlMessage {
    static func credentials(_ credentials: WireCredentials) -> Self {
        var message = Self()
        message.credentials = credentials
        return message
    }

    static func snapshot(_ snapshot: WireSnapshot) -> Self {
        var message = Self()
        message.snapshot = snapshot
        return message
    }
}
