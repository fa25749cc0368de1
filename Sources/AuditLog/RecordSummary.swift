public import GatewayModel
public import JSON

/// What control reads from a record's bytes to file it: the position, the kind, and the columns people
/// search by.
///
/// The bytes come from a proxy whose certificate names it, and are still not believed: whoever stores a record compares
/// the position in here with the stream it came on.
public struct RecordSummary: Hashable, Sendable {
    /// Where the record says it stands.
    public let position: RecordPosition
    /// What kind it is.
    public let kind: AuditRecord.Kind
    /// When it happened.
    public let time: Timestamp
    /// Of an outcome: the intent it closes.
    public let intent: UInt64?
    /// Of an outcome that control wrote for somebody else's intent: whose.
    public let owner: AuditRecord.Intent.Owner?
    /// Of an outcome: how the call ended.
    public let end: CallOutcome.End?
    /// Who.
    public let subject: Text?
    /// Which server.
    public let server: Text?
    /// Which tool.
    public let tool: Text?
    /// What was decided.
    public let answer: Text?
    /// Why it was stopped, or did not succeed.
    public let code: Text?
    /// What it says of its parts, in order; `nil` if it says nothing: a record of an older proxy, or one without any.
    public let parts: [PartClaim]?

    /// What a record says of one of its parts, well-formed or not.
    public struct PartClaim: Hashable, Sendable {
        /// The part's name.
        public let name: Text?
        /// The commitment to its salt and content.
        public let commitment: Text?

        /// What a record says of a part.
        public init(name: Text?, commitment: Text?) {
            self.name = name
            self.commitment = commitment
        }
    }

    /// Why bytes are not a record.
    public enum Refusal: String, Error, Hashable, Sendable {
        /// Longer than ``RecordFormat/bodyBytesMax``.
        case tooLong = "too_long"
        /// Not strict JSON.
        case notJSON = "not_json"
        /// Of a format version this build does not know.
        case unknownVersion = "unknown_version"
        /// A member is missing or has the wrong form.
        case malformed
    }

    /// Reads the bytes of a record.
    public init(reading body: [UInt8]) throws(Refusal) {
        guard body.count <= RecordFormat.bodyBytesMax else {
            throw .tooLong
        }
        let document: JSONDocument
        do {
            document = try JSONDocument(parsing: body)
        } catch {
            throw .notJSON
        }
        let root = document.root
        guard root["v"]?.int64 == RecordFormat.version else {
            throw .unknownVersion
        }
        guard let namespace = root["namespace"]?.string, let instance = root["instance"]?.string,
            let epoch = root["epoch"]?.number, let n = root["n"]?.number,
            let lane = root["lane"]?.string.flatMap({ RecordLane(rawValue: $0.string) }),
            let kind = root["kind"]?.string.flatMap({ AuditRecord.Kind(rawValue: $0.string) })
        else {
            throw .malformed
        }
        position = RecordPosition(
            namespace: NamespaceName(namespace),
            instance: InstanceID(instance),
            epoch: epoch,
            lane: lane,
            n: n
        )
        self.kind = kind
        intent = root["intent"]?.number
        owner = root["of"].flatMap(AuditRecord.Intent.Owner.init(reading:))
        end = root["end"]?.string.flatMap { CallOutcome.End(rawValue: $0.string) }
        guard (kind == .outcome) == (intent != nil && end != nil),
            let time = root["time"]?.string.flatMap({ Timestamp(rfc3339: $0.utf8) })
        else {
            throw .malformed
        }
        self.time = time
        subject = root["subject"]?.string
        server = root["server"]?.string
        tool = root["tool"]?.string
        answer = root["decision"]?["answer"]?.string
        code = root["code"]?.string
        parts = root["parts"].map { list in
            list.elements.map {
                PartClaim(name: $0["name"]?.string, commitment: $0["commitment"]?.string)
            }
        }
    }
}

extension AuditRecord.Intent.Owner {
    fileprivate init?(reading value: JSONValue) {
        guard let instance = value["instance"]?.string, let epoch = value["epoch"]?.number,
            let lane = value["lane"]?.string.flatMap({ RecordLane(rawValue: $0.string) })
        else {
            return nil
        }
        self.init(instance: InstanceID(instance), epoch: epoch, lane: lane)
    }
}

extension JSONValue {
    /// A non-negative integer.
    fileprivate var number: UInt64? {
        int64.flatMap { UInt64(exactly: $0) }
    }
}
