public import Cryptography
public import GatewayModel
public import JSON

/// What happened, in the terms of SP 800-53 AU-3: what, when, where, from where, with what outcome, who.
///
/// Four kinds. An *intent* is durable before its call can reach a server, and is closed by exactly one *outcome*.
/// A *refusal* is a call that was stopped before it had an intent. An *access* is something that was answered
/// without an effect: discovery, lists, ping, the opening of a session. A *gap* is control's own finding that
/// numbers are missing.
public enum AuditRecord: Sendable {
    /// A call is about to be forwarded.
    case intent(CallFacts, Decision, parts: [RecordPart])
    /// How the call of an intent ended.
    case outcome(of: Intent, CallOutcome)
    /// A message was stopped; the arguments are a part of it when policy stopped a call, and they are not too long.
    case refusal(CallFacts, Rejection, parts: [RecordPart] = [])
    /// Something without an effect was answered.
    case access(CallFacts, Decision?)
    /// Numbers from `first` to `last` never arrived before their epoch was closed.
    case gap(Gap)

    /// The `kind` member.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// See ``AuditRecord/intent(_:_:parts:)``.
        case intent
        /// See ``AuditRecord/outcome(of:_:)``.
        case outcome
        /// See ``AuditRecord/refusal(_:_:)``.
        case refusal
        /// See ``AuditRecord/access(_:_:)``.
        case access
        /// See ``AuditRecord/gap(_:)``.
        case gap
    }

    /// The intent that an outcome closes: in the writer's own current epoch, unless control says whose it was.
    public struct Intent: Hashable, Sendable {
        /// The intent's number.
        public var n: UInt64
        /// Whose number it is, when control closes for another instance.
        public var owner: Owner?

        /// The instance and epoch of an intent that control closes.
        public struct Owner: Hashable, Sendable {
            /// The instance that wrote the intent.
            public var instance: InstanceID
            /// In which of its lives.
            public var epoch: UInt64
            /// In which lane.
            public var lane: RecordLane

            /// The writer of an intent.
            public init(instance: InstanceID, epoch: UInt64, lane: RecordLane) {
                self.instance = instance
                self.epoch = epoch
                self.lane = lane
            }
        }

        /// The intent numbered `n`.
        public init(n: UInt64, owner: Owner? = nil) {
            self.n = n
            self.owner = owner
        }
    }

    /// Numbers that are missing from a closed epoch.
    public struct Gap: Hashable, Sendable {
        /// When control found it.
        public var time: Timestamp
        /// Whose numbers they are.
        public var instance: InstanceID
        /// In which of its lives.
        public var epoch: UInt64
        /// In which lane.
        public var lane: RecordLane
        /// The first missing number.
        public var first: UInt64
        /// The last missing number.
        public var last: UInt64

        /// A gap.
        public init(
            time: Timestamp,
            instance: InstanceID,
            epoch: UInt64,
            lane: RecordLane,
            first: UInt64,
            last: UInt64
        ) {
            self.time = time
            self.instance = instance
            self.epoch = epoch
            self.lane = lane
            self.first = first
            self.last = last
        }
    }
}

/// The facts of one message that any record about it carries.
public struct CallFacts: Sendable {
    /// When the gateway had read the message.
    public var time: Timestamp
    /// The gateway's own name for the message, unique.
    public var request: Text
    /// The MCP method, when it is a known one; `_OTHER` otherwise.
    public var method: Text
    /// The MCP revision spoken by the client.
    public var revision: Text?
    /// The upstream server.
    public var server: ServerName?
    /// The tool.
    public var tool: ToolName?
    /// SHA-256 of the tool's pinned definition.
    public var definition: SHA256.Digest?
    /// Who: durable id.
    public var subject: SubjectID?
    /// Through which client, by the `client_id` of the verified token.
    public var client: Text?
    /// What the client calls itself; unverified.
    public var clientClaim: Text?
    /// The session, by the digest of its id.
    public var session: Text?
    /// From which network address.
    public var source: Text
    /// W3C trace id, if the client sent one that is well-formed.
    public var trace: Text?
    /// Which configuration was in force, and how old its lease was.
    public var snapshot: SnapshotFacts?
    /// What the decision rested on, if that differs from a plain call; goes on record with one.
    public var decided: DecisionFacts?
    /// What the release in shadow would have answered; goes on record beside a decision.
    public var shadow: Decision?

    /// The configuration a decision rested on.
    public struct SnapshotFacts: Hashable, Sendable {
        /// Its version.
        public var version: UInt64
        /// How long ago control confirmed it, in milliseconds.
        public var ageMilliseconds: UInt64

        /// The configuration's version and age.
        public init(version: UInt64, ageMilliseconds: UInt64) {
            self.version = version
            self.ageMilliseconds = ageMilliseconds
        }
    }

    /// Facts about a message from `source`, to be completed as the stages learn more.
    public init(time: Timestamp, request: Text, method: Text, source: Text) {
        self.time = time
        self.request = request
        self.method = method
        self.source = source
    }
}

/// How a forwarded call ended.
public struct CallOutcome: Sendable {
    /// The closed list of ends.
    public enum End: String, Hashable, Sendable, CaseIterable {
        /// The server answered with a result.
        case succeeded
        /// The server answered that its tool failed (`isError`).
        case toolFailed = "tool_failed"
        /// The server answered with a JSON-RPC error.
        case serverError = "server_error"
        /// The call was stopped after its intent and before anything was sent.
        case notForwarded = "not_forwarded"
        /// The call was sent, and no complete answer came back.
        case failed
        /// Nobody can say: the writer died between intent and outcome.
        case unknown
    }

    /// When it ended.
    public var time: Timestamp
    /// How it ended.
    public var end: End
    /// Why, when it did not succeed.
    public var code: Rejection.Code?
    /// How long the server took, in microseconds.
    public var upstreamMicroseconds: Int64?
    /// SHA-256 of the result as released.
    public var result: SHA256.Digest?
    /// How many bytes of result were released.
    public var resultBytes: Int?

    /// An outcome at `time`.
    public init(time: Timestamp, end: End, code: Rejection.Code? = nil) {
        self.time = time
        self.end = end
        self.code = code
    }
}

extension AuditRecord {
    /// Serialises everything but the position, in the fixed order of the format (docs/reference/records.md).
    public func draft() -> RecordDraft {
        var writer = JSONWriter(capacity: 640)
        writer.beginObject()
        var parts: [RecordPart] = []
        switch self {
        case .intent(let facts, let decision, let itsParts):
            return Self.draft(ofIntent: facts, decision, parts: itsParts)
        case .outcome(let intent, let outcome):
            writer.member("kind", Kind.outcome.rawValue)
            writer.member("intent", intent.n)
            if let owner = intent.owner {
                writer.key("of")
                writer.beginObject()
                writer.member("instance", owner.instance.text)
                writer.member("epoch", owner.epoch)
                writer.member("lane", owner.lane.rawValue)
                writer.endObject()
            }
            writer.members(of: outcome)
        case .refusal(let facts, let rejection, let itsParts):
            writer.member("kind", Kind.refusal.rawValue)
            writer.members(of: facts)
            writer.member("code", rejection.code.rawValue)
            writer.member("detail", rejection.detail)
            if let decision = rejection.decision {
                writer.members(of: decision, facts)
            }
            if !itsParts.isEmpty {
                writer.members(of: itsParts)
                parts = itsParts
            }
        case .access(let facts, let decision):
            writer.member("kind", Kind.access.rawValue)
            writer.members(of: facts)
            if let decision {
                writer.members(of: decision, facts)
            }
        case .gap(let gap):
            writer.member("kind", Kind.gap.rawValue)
            writer.member("time", gap.time.description)
            writer.key("of")
            writer.beginObject()
            writer.member("instance", gap.instance.text)
            writer.member("epoch", gap.epoch)
            writer.member("lane", gap.lane.rawValue)
            writer.member("first", gap.first)
            writer.member("last", gap.last)
            writer.endObject()
        }
        writer.endObject()
        return RecordDraft(continuing: writer.finish(), parts: parts)
    }

    /// An intent that is written without becoming a record first: there is one for every call, and its facts are many.
    public static func draft(
        ofIntent facts: CallFacts,
        _ decision: Decision,
        parts: [RecordPart]
    ) -> RecordDraft {
        var writer = JSONWriter(capacity: 1024)
        writer.beginObject()
        writer.member("kind", Kind.intent.rawValue)
        writer.members(of: facts)
        writer.members(of: decision, facts)
        writer.members(of: parts)
        writer.endObject()
        return RecordDraft(continuing: writer.finish(), parts: parts)
    }
}

extension RecordDraft {
    /// The position is an object left open; this continues it: a comma where its own brace was.
    fileprivate init(continuing object: consuming [UInt8], parts: [RecordPart]) {
        object[0] = 0x2C
        self.init(tail: object, parts: parts)
    }
}

/// SHA-256(salt || content), as `sha256:` and lower-case hex.
private func commitment(to part: RecordPart) -> String {
    var stream = SHA256.stream()
    stream.update(part.salt)
    stream.update(part.content)
    return digestText(SHA256.finish(stream))
}

private func digestText(_ digest: SHA256.Digest) -> String {
    "sha256:" + digest.description
}

extension JSONWriter {
    fileprivate mutating func members(of facts: CallFacts) {
        member("time", facts.time.description)
        member("request", facts.request)
        member("method", facts.method)
        member("revision", ifPresent: facts.revision)
        member("server", ifPresent: facts.server?.text)
        member("tool", ifPresent: facts.tool?.text)
        if let definition = facts.definition {
            member("definition", digestText(definition))
        }
        member("subject", ifPresent: facts.subject?.text)
        member("client", ifPresent: facts.client)
        member("clientClaim", ifPresent: facts.clientClaim)
        member("session", ifPresent: facts.session)
        member("source", facts.source)
        member("trace", ifPresent: facts.trace)
        if let snapshot = facts.snapshot {
            key("snapshot")
            beginObject()
            member("version", snapshot.version)
            member("ageMs", snapshot.ageMilliseconds)
            endObject()
        }
    }

    fileprivate mutating func members(of parts: [RecordPart]) {
        key("parts")
        beginArray()
        for part in parts {
            beginObject()
            member("name", part.name.rawValue)
            member("commitment", commitment(to: part))
            member("bytes", Int64(part.content.count))
            endObject()
        }
        endArray()
    }

    /// A decision, with what it rested on and what the release in shadow would have said.
    fileprivate mutating func members(of decision: Decision, _ facts: CallFacts) {
        members(of: decision)
        if let decided = facts.decided { member(of: decided) }
        if let shadow = facts.shadow {
            member(ofShadow: shadow)
        }
    }

    private mutating func members(of decision: Decision) {
        key("decision")
        beginObject()
        member("answer", decision.answer.rawValue)
        member("ground", decision.ground.rawValue)
        key("determining")
        beginArray()
        for id in decision.determining {
            value(id)
        }
        endArray()
        member("release", decision.release)
        list("cures", decision.cures.map(\.description))
        list("duties", decision.duties.map(\.description))
        if let retryAfter = decision.retryAfterMilliseconds {
            member("retryAfterMs", retryAfter)
        }
        endObject()
    }

    private mutating func list(_ name: StaticString, _ items: [String]) {
        guard !items.isEmpty else {
            return
        }
        key(name)
        beginArray()
        for item in items {
            value(item)
        }
        endArray()
    }

    fileprivate mutating func members(of outcome: CallOutcome) {
        member("time", outcome.time.description)
        member("end", outcome.end.rawValue)
        if let code = outcome.code {
            member("code", code.rawValue)
        }
        member("upstreamUs", ifPresent: outcome.upstreamMicroseconds)
        if let result = outcome.result {
            member("result", digestText(result))
        }
        member("resultBytes", ifPresent: outcome.resultBytes)
    }
}
