public import Cedar
public import GatewayModel
public import JSON

/// What was answered, without what a caller is told besides.
public struct DecisionSummary: Hashable, Sendable {
    /// The answer.
    public var answer: GatewayModel.Decision.Answer
    /// What it rests on.
    public var ground: GatewayModel.Decision.Ground
    /// The `@id`s of the determining policies, sorted.
    public var determining: [Text]
    /// The release that answered, by number; 0 for one that has none.
    public var release: UInt64

    /// An answer.
    public init(
        answer: GatewayModel.Decision.Answer,
        ground: GatewayModel.Decision.Ground,
        determining: [Text],
        release: UInt64
    ) {
        self.answer = answer
        self.ground = ground
        self.determining = Array(Set(determining)).sorted()
        self.release = release
    }

    /// What of a decision is kept.
    public init(_ decision: GatewayModel.Decision) {
        answer = decision.answer
        ground = decision.ground
        determining = decision.determining
        release = decision.release
    }
}

/// One decision as it was asked: everything the answer depended on besides policies and entities, and what was answered.
///
/// This is what replay needs and no more (policy.md §4, "Simulation"): of the call only its arguments, and nothing of what
/// came back. Recorded traffic is turned into these; so may anybody who wants to know what a release would say.
///
/// The line form is one JSON object, and a file of them has one a line (docs/reference/policy-life.md):
///
/// ```json
/// {"reference":"r1","time":"2026-11-25T10:00:00.000000Z","principal":{"type":"MCP::User","id":"alice"},
///  "action":{"type":"MCP::Action","id":"k8s/apply"},"resource":{"type":"MCP::Tool","id":"k8s/apply"},
///  "input":{"namespace":"prod"},"source":"10.1.2.3","client":"desktop","facts":{"approvals":{"sre":2}},"snapshot":17,
///  "decision":{"answer":"permit","ground":"policy","determining":["AC-3.sre-k8s"],"release":42}}
/// ```
public struct DecisionInput: Sendable {
    /// Where this came from, for whoever looks it up: a record's reference, a line's number; empty for nowhere.
    public var reference: Text
    /// Who.
    public var principal: EntityUID
    /// Does what.
    public var action: EntityUID
    /// To what.
    public var resource: EntityUID
    /// The arguments of a tool as they were recorded, an object; `nil` if the call had none.
    public var input: JSONValue?
    /// In which circumstances.
    public var facts: PolicyFacts
    /// The version of the configuration that was in force; `nil` where nobody knows.
    public var snapshot: UInt64?
    /// What was answered; `nil` where nothing was.
    public var recorded: DecisionSummary?

    /// An input of its parts.
    public init(
        reference: Text,
        principal: EntityUID,
        action: EntityUID,
        resource: EntityUID,
        input: JSONValue?,
        facts: PolicyFacts,
        snapshot: UInt64?,
        recorded: DecisionSummary?
    ) {
        self.reference = reference
        self.principal = principal
        self.action = action
        self.resource = resource
        self.input = input
        self.facts = facts
        self.snapshot = snapshot
        self.recorded = recorded
    }

    /// Why an input could not be asked again.
    ///
    /// The raw value is stable and documented.
    public enum Obstacle: String, Hashable, Sendable, CaseIterable {
        /// The configuration it was decided in is no longer kept.
        case configurationMissing
        /// The arguments are gone: their part was erased, or never kept.
        case argumentsUnavailable
        /// The record, or the line, is not one that can be read.
        case unreadable
        /// What was recorded is the baseline, and nothing was.
        case nothingRecorded
        /// The entities of the configuration contradict each other under this release.
        case configurationInvalid
    }

    /// Why a line is no input; the contents are never repeated.
    public struct ReadingError: Error, Hashable, Sendable, CustomStringConvertible {
        /// Where in the line (RFC 6901).
        public let pointer: String
        /// What is wrong there.
        public let reason: String

        /// Place and reason.
        public var description: String { pointer.isEmpty ? reason : "\(pointer): \(reason)" }

        init(_ pointer: String, _ reason: String) {
            self.pointer = pointer
            self.reason = reason
        }
    }

    /// The longest line, in bytes: the longest message the gateway takes, and room for the rest.
    public static let lineBytesMax = 17 << 20
}

// MARK: - Reading

extension DecisionInput {
    /// Reads one line.
    ///
    /// - Throws: ``ReadingError`` with the first thing that is wrong: what is not known is refused, not ignored, since an
    ///   input of which half is overlooked is another input.
    public init(parsing line: [UInt8]) throws(ReadingError) {
        let root: JSONValue
        do {
            root = try JSONDocument(parsing: line, limits: Self.limits).root
        } catch {
            throw ReadingError("", "byte \(error.offset): not JSON: \(error.code.rawValue)")
        }
        try self.init(root)
    }

    private static let limits = JSONLimits(bytesMax: lineBytesMax, depthMax: 72)

    /// Reads one object.
    public init(_ json: JSONValue) throws(ReadingError) {
        guard json.kind == .object else { throw ReadingError("", "not an object") }
        var reference: Text = ""
        var (principal, action, resource): (EntityUID?, EntityUID?, EntityUID?)
        var time: Timestamp?
        var facts = PolicyFacts(
            time: Timestamp(microseconds: 0),
            source: nil,
            definitionPinned: true
        )
        var (input, snapshot, recorded): (JSONValue?, UInt64?, DecisionSummary?)
        for (key, value) in json.members {
            if key.equals("reference") {
                reference = try value.text("/reference", bytesMax: 1024)
            } else if key.equals("time") {
                time = value.timestamp
                guard time != nil else {
                    throw ReadingError("/time", "not a time like 2026-11-25T10:00:00.000000Z")
                }
            } else if key.equals("principal") {
                principal = try value.entity("/principal")
            } else if key.equals("action") {
                action = try value.entity("/action")
            } else if key.equals("resource") {
                resource = try value.entity("/resource")
            } else if key.equals("input") {
                guard value.kind == .object else { throw ReadingError("/input", "not an object") }
                input = value
            } else if key.equals("source") {
                facts.source = value.jsonString.flatMap { IPAddress($0.utf8Bytes) }
                guard facts.source != nil else {
                    throw ReadingError("/source", "not an IP address")
                }
            } else if key.equals("client") {
                facts.client = try value.text("/client", bytesMax: 1024)
            } else if key.equals("facts") {
                try facts.read(recorded: value, at: "/facts")
            } else if key.equals("snapshot") {
                guard let version = value.int64, version >= 0 else {
                    throw ReadingError("/snapshot", "not a version")
                }
                snapshot = UInt64(version)
            } else if key.equals("decision") {
                recorded = try DecisionSummary(value, at: "/decision")
            } else {
                throw ReadingError("/\(key.text.pointerEscaped)", "no such member")
            }
        }
        guard let time else { throw ReadingError("/time", "is missing") }
        guard let principal else { throw ReadingError("/principal", "is missing") }
        guard let action else { throw ReadingError("/action", "is missing") }
        guard let resource else { throw ReadingError("/resource", "is missing") }
        facts.time = time
        self.init(
            reference: reference,
            principal: principal,
            action: action,
            resource: resource,
            input: input,
            facts: facts,
            snapshot: snapshot,
            recorded: recorded
        )
    }
}

extension DecisionSummary {
    /// Reads the `decision` of a line.
    fileprivate init(
        _ json: JSONValue,
        at pointer: String
    ) throws(DecisionInput.ReadingError) {
        typealias Failure = DecisionInput.ReadingError
        guard json.kind == .object else { throw Failure(pointer, "not an object") }
        var answer: GatewayModel.Decision.Answer?
        var ground: GatewayModel.Decision.Ground?
        var determining: [Text] = []
        var release: UInt64?
        for (key, value) in json.members {
            if key.equals("answer") {
                answer = value.string.flatMap { .init(rawValue: $0.string) }
                guard answer != nil else { throw Failure("\(pointer)/answer", "no such answer") }
            } else if key.equals("ground") {
                ground = value.string.flatMap { .init(rawValue: $0.string) }
                guard ground != nil else { throw Failure("\(pointer)/ground", "no such ground") }
            } else if key.equals("determining") {
                guard value.kind == .array else {
                    throw Failure("\(pointer)/determining", "not a list")
                }
                for (position, item) in value.elements.enumerated() {
                    determining.append(
                        try item.text("\(pointer)/determining/\(position)", bytesMax: 1024)
                    )
                }
            } else if key.equals("release") {
                guard let number = value.int64, number >= 0 else {
                    throw Failure("\(pointer)/release", "not a number of a release")
                }
                release = UInt64(number)
            } else {
                throw Failure("\(pointer)/\(key.text.pointerEscaped)", "no such member")
            }
        }
        guard let answer else { throw Failure("\(pointer)/answer", "is missing") }
        guard let ground else { throw Failure("\(pointer)/ground", "is missing") }
        guard let release else { throw Failure("\(pointer)/release", "is missing") }
        self.init(answer: answer, ground: ground, determining: determining, release: release)
    }
}

extension PolicyFacts {
    /// Reads the facts of a record or of a line: an object that names what differs from nothing being known.
    ///
    /// `time`, `source` and `client` stand elsewhere.
    ///
    /// - Parameter pointer: Where the object stands, for errors.
    public mutating func read(
        recorded json: JSONValue,
        at pointer: String = ""
    ) throws(DecisionInput.ReadingError) {
        typealias Failure = DecisionInput.ReadingError
        guard json.kind == .object else { throw Failure(pointer, "not an object") }
        for (key, value) in json.members {
            if key.equals("rates") {
                for (key, value) in try value.membersOfObject("\(pointer)/rates") {
                    rates[key.text] = RateReading(count: try value.count("\(pointer)/rates", key))
                }
            } else if key.equals("history") {
                for (key, value) in try value.membersOfObject("\(pointer)/history") {
                    history[key.text] = try value.flag(
                        "\(pointer)/history/\(key.text.pointerEscaped)"
                    )
                }
            } else if key.equals("approvals") {
                for (key, value) in try value.membersOfObject("\(pointer)/approvals") {
                    approvals[key.text] = try value.count("\(pointer)/approvals", key)
                }
            } else if key.equals("found") {
                guard value.kind == .array else { throw Failure("\(pointer)/found", "not a list") }
                for (position, item) in value.elements.enumerated() {
                    found.insert(try item.text("\(pointer)/found/\(position)", bytesMax: 1024))
                }
            } else if key.equals("stepUp") {
                hasSteppedUp = try value.flag("\(pointer)/stepUp")
            } else if key.equals("sessionAgeMs") {
                guard let age = value.int64, age >= 0 else {
                    throw Failure("\(pointer)/sessionAgeMs", "not a number of milliseconds")
                }
                sessionAgeMilliseconds = age
            } else if key.equals("inputFaithful") {
                inputFaithful = try value.flag("\(pointer)/inputFaithful")
            } else if key.equals("definitionPinned") {
                definitionPinned = try value.flag("\(pointer)/definitionPinned")
            } else {
                throw Failure("\(pointer)/\(key.text.pointerEscaped)", "no such member")
            }
        }
    }
}

extension JSONValue {
    // Places are put together only where something is wrong: a million lines are read.

    fileprivate func text(
        _ pointer: @autoclosure () -> String,
        bytesMax: Int
    ) throws(DecisionInput.ReadingError) -> Text {
        guard let text = string, text.byteCount <= bytesMax else {
            throw DecisionInput.ReadingError(pointer(), "not a string of at most \(bytesMax) bytes")
        }
        return text
    }

    fileprivate func flag(
        _ pointer: @autoclosure () -> String
    ) throws(DecisionInput.ReadingError) -> Bool {
        guard let boolean else { throw DecisionInput.ReadingError(pointer(), "not true or false") }
        return boolean
    }

    fileprivate func entity(
        _ pointer: @autoclosure () -> String
    ) throws(DecisionInput.ReadingError) -> EntityUID {
        guard count == 2, let uid = try? EntityUID(cedarJSON: self), self["__entity"] == nil else {
            throw DecisionInput.ReadingError(pointer(), "not an entity: {\"type\", \"id\"}")
        }
        return uid
    }

    /// The form that records have, and the same without a fraction, which people write.
    fileprivate var timestamp: Timestamp? {
        guard let bytes = jsonString?.utf8Bytes else { return nil }
        guard bytes.count == 20, bytes.last == UInt8(ascii: "Z") else {
            return Timestamp(rfc3339: bytes)
        }
        return Timestamp(rfc3339: bytes.dropLast() + Array(".000000Z".utf8))
    }

    fileprivate func membersOfObject(
        _ pointer: @autoclosure () -> String
    ) throws(DecisionInput.ReadingError) -> JSONMembers {
        guard kind == .object else { throw DecisionInput.ReadingError(pointer(), "not an object") }
        return members
    }

    fileprivate func count(
        _ pointer: @autoclosure () -> String,
        _ key: JSONString
    ) throws(DecisionInput.ReadingError) -> Int64 {
        guard let count = int64, count >= 0 else {
            throw DecisionInput.ReadingError(
                "\(pointer())/\(key.text.pointerEscaped)",
                "not a count"
            )
        }
        return count
    }
}

extension Text {
    /// As one step of a JSON pointer (RFC 6901), cut to what a message can hold.
    fileprivate var pointerEscaped: String {
        var escaped = ""
        for character in string.unicodeScalars.prefix(64) {
            switch character {
            case "~": escaped += "~0"
            case "/": escaped += "~1"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}

// MARK: - Writing

extension DecisionInput: JSONWritable {
    /// Writes the line, without its end.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            if !reference.isEmpty { writer.member("reference", reference) }
            writer.member("time", facts.time.description)
            writer.member("principal", entity: principal)
            writer.member("action", entity: action)
            writer.member("resource", entity: resource)
            writer.member("input", ifPresent: input)
            writer.member("source", ifPresent: facts.source?.description)
            writer.member("client", ifPresent: facts.client)
            if facts.hasRecordedForm {
                writer.key("facts")
                facts.write(recorded: &writer)
            }
            writer.member("snapshot", ifPresent: snapshot)
            writer.member("decision", ifPresent: recorded)
        }
    }
}

extension DecisionSummary: JSONWritable {
    /// Writes an object.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("answer", answer.rawValue)
            writer.member("ground", ground.rawValue)
            writer.array("determining") { writer in
                for name in determining { writer.value(name) }
            }
            writer.member("release", release)
        }
    }
}

extension PolicyFacts {
    /// Whether anything differs from nothing being known; if not the object is left out.
    public var hasRecordedForm: Bool {
        !rates.isEmpty || !history.isEmpty || !approvals.isEmpty || !found.isEmpty || hasSteppedUp
            || sessionAgeMilliseconds != 0 || !inputFaithful || !definitionPinned
    }

    /// Writes what ``read(recorded:at:)`` reads: an object with what differs from nothing being known, in a fixed order.
    ///
    /// Of a counter only the count is kept: when it falls decides how long to wait, not what is answered.
    public func write(recorded writer: inout JSONWriter) {
        writer.object { writer in
            if !rates.isEmpty {
                writer.object("rates") { writer in
                    for (name, reading) in rates.sorted(by: { $0.key < $1.key }) {
                        writer.key(name)
                        writer.value(reading.count)
                    }
                }
            }
            if !history.isEmpty {
                writer.object("history") { writer in
                    for (name, happened) in history.sorted(by: { $0.key < $1.key }) {
                        writer.key(name)
                        writer.value(happened)
                    }
                }
            }
            if !approvals.isEmpty {
                writer.object("approvals") { writer in
                    for (group, count) in approvals.sorted(by: { $0.key < $1.key }) {
                        writer.key(group)
                        writer.value(count)
                    }
                }
            }
            if !found.isEmpty {
                writer.array("found") { writer in
                    for name in found.sorted() { writer.value(name) }
                }
            }
            if hasSteppedUp { writer.member("stepUp", true) }
            if sessionAgeMilliseconds != 0 {
                writer.member("sessionAgeMs", sessionAgeMilliseconds)
            }
            if !inputFaithful { writer.member("inputFaithful", false) }
            if !definitionPinned { writer.member("definitionPinned", false) }
        }
    }
}

extension JSONWriter {
    /// Writes a member `{"type", "id"}`.
    mutating func member(_ name: StaticString, entity: EntityUID) {
        object(name) { writer in
            writer.member("type", entity.type)
            writer.member("id", entity.id)
        }
    }
}
