public import JSON

/// Why JSON is no value, entity or context.
public enum ValueReadingError: String, Error, Hashable, Sendable {
    /// `null`, which Cedar does not have.
    case null
    /// A number that is no integer.
    case fraction
    /// An integer beyond 64 bits.
    case integerTooLarge = "integer_too_large"
    /// Nested deeper than the limit.
    case tooDeep = "too_deep"
    /// No record where one is needed.
    case notARecord = "not_a_record"
    /// An entity reference without type or id, or with a type that is no path of names.
    case invalidEntity = "invalid_entity"
    /// An extension value that does not exist or is malformed.
    case invalidExtension = "invalid_extension"
    /// An entity without `uid`, `attrs` or `parents`, or a list of entities that is none.
    case invalidStructure = "invalid_structure"
    /// An action that is in something else than actions.
    case invalidActionParent = "invalid_action_parent"
}

extension ValueReadingError: CustomStringConvertible {
    /// The kind of the error, without the data.
    public var description: String { "the value cannot be read: \(rawValue)" }
}

/// Makes values of JSON from callers, such as the arguments of a tool.
///
/// Everything is data here: a member named `__entity` is a member named `__entity`, so that a
/// caller cannot write a reference into a context. Objects become records and arrays sets. What
/// Cedar cannot hold is refused, or left out and counted where the options say so: a condition must
/// be able to tell that it does not see all.
public struct ValueReader: Sendable {
    /// What to do with something Cedar cannot hold.
    public enum Handling: Hashable, Sendable {
        /// Throw.
        case refuse
        /// Leave the member or element out and count it.
        case drop
    }

    /// For `null` members and elements.
    ///
    /// Default: refuse.
    public var nulls: Handling
    /// For numbers that are no 64-bit integers.
    ///
    /// `1.0` and `1e3` are integers. Default: refuse.
    public var fractions: Handling
    /// The deepest nesting of objects and arrays.
    ///
    /// Default 32; more is always refused.
    public var depthMax: Int
    /// How many members and elements were left out so far.
    public private(set) var droppedCount = 0

    /// Makes a reader; what is not named keeps its default.
    public init(nulls: Handling = .refuse, fractions: Handling = .refuse, depthMax: Int = 32) {
        self.nulls = nulls
        self.fractions = fractions
        self.depthMax = depthMax
    }

    /// The members of an object.
    public mutating func record(_ json: JSONValue) throws(ValueReadingError) -> [Text: Value] {
        guard case .record(let members)? = try value(json, depth: 0) else { throw .notARecord }
        return members
    }

    /// One value.
    ///
    /// A value that is itself to be left out throws: there is nothing it could be left out of.
    public mutating func value(_ json: JSONValue) throws(ValueReadingError) -> Value {
        guard let value = try value(json, depth: 0) else { throw json.isNull ? .null : .fraction }
        return value
    }

    private mutating func value(
        _ json: JSONValue,
        depth: Int
    ) throws(ValueReadingError) -> Value? {
        switch json.kind {
        case .null:
            guard nulls == .drop else { throw .null }
            droppedCount += 1
            return nil
        case .boolean: return .bool(json.boolean ?? false)
        case .number:
            if let value = json.int64 { return .long(value) }
            guard fractions == .drop else { throw json.integerError }
            droppedCount += 1
            return nil
        case .string: return .string(json.string ?? "")
        case .array:
            guard depth < depthMax else { throw .tooDeep }
            var elements: [Value] = []
            elements.reserveCapacity(json.count)
            for element in json.elements {
                if let value = try value(element, depth: depth + 1) { elements.append(value) }
            }
            return .set(elements)
        case .object:
            guard depth < depthMax else { throw .tooDeep }
            var members: [Text: Value] = [:]
            members.reserveCapacity(json.count)
            for (key, element) in json.members {
                if let value = try value(element, depth: depth + 1) { members[key.text] = value }
            }
            return .record(members)
        }
    }
}

extension Value {
    /// Reads Cedar's JSON form, for entities and contexts from trusted sources.
    ///
    /// `{"__entity": {"type", "id"}}` is a reference and `{"__extn": {"fn", "arg"}}` an extension
    /// value. Numbers must be written as integers. A malformed escape is refused, not taken for a
    /// record.
    public init(cedarJSON json: JSONValue) throws(ValueReadingError) {
        switch json.kind {
        case .null: throw .null
        case .boolean: self = .bool(json.boolean ?? false)
        case .number:
            guard let lexeme = json.numberLexeme, let value = Int64(lexeme.string) else {
                throw json.integerError
            }
            self = .long(value)
        case .string: self = .string(json.string ?? "")
        case .array:
            var elements: [Value] = []
            for element in json.elements { elements.append(try Value(cedarJSON: element)) }
            self = .set(elements)
        case .object:
            if let reference = json["__entity"] {
                self = .entity(try EntityUID(cedarJSON: reference))
            } else if let call = json["__extn"] {
                self = try Value(cedarExtensionJSON: call)
            } else if json["__expr"] != nil {
                throw .invalidExtension
            } else {
                self = .record(try Self.record(cedarJSON: json))
            }
        }
    }

    /// Reads the members of an object in Cedar's JSON form.
    public static func record(
        cedarJSON json: JSONValue
    ) throws(ValueReadingError) -> [Text: Value] {
        guard json.kind == .object else { throw .notARecord }
        var members: [Text: Value] = [:]
        members.reserveCapacity(json.count)
        for (key, value) in json.members { members[key.text] = try Value(cedarJSON: value) }
        return members
    }

    /// Reads `{"fn", "arg"}` or `{"fn", "args"}`.
    ///
    /// `offset` of an instant and a span is how other engines write an instant that has no text of
    /// its own; what is given to it may be written as text.
    init(cedarExtensionJSON call: JSONValue) throws(ValueReadingError) {
        guard let name = call["fn"]?.string else { throw .invalidExtension }
        let arguments = call["args"].map { Array($0.elements) } ?? call["arg"].map { [$0] } ?? []
        if name == "offset", arguments.count == 2 {
            let start = try Self.argument(arguments[0], "datetime")
            let length = try Self.argument(arguments[1], "duration")
            guard case .datetime(let start) = start, case .duration(let length) = length else {
                throw .invalidExtension
            }
            let (sum, overflow) = start.milliseconds.addingReportingOverflow(length.milliseconds)
            guard !overflow else { throw .invalidExtension }
            self = .datetime(CedarDatetime(milliseconds: sum))
            return
        }
        guard arguments.count == 1, let text = arguments[0].jsonString?.utf8Bytes,
            let value = Self.extensionValue(name, text)
        else { throw .invalidExtension }
        self = value
    }

    private static func argument(
        _ json: JSONValue,
        _ name: Text
    ) throws(ValueReadingError) -> Value {
        guard let text = json.jsonString?.utf8Bytes else { return try Value(cedarJSON: json) }
        guard let value = extensionValue(name, text) else { throw .invalidExtension }
        return value
    }

    /// What a constructor makes of a text.
    private static func extensionValue(_ name: Text, _ text: [UInt8]) -> Value? {
        switch name {
        case "ip": IPAddress(text).map(Value.ip)
        case "decimal": CedarDecimal(text).map(Value.decimal)
        case "datetime": CedarDatetime(text).map(Value.datetime)
        case "duration": CedarDuration(text).map(Value.duration)
        default: nil
        }
    }
}

extension EntityUID {
    /// Reads `{"type", "id"}`, bare or inside `__entity`.
    public init(cedarJSON json: JSONValue) throws(ValueReadingError) {
        let object = json["__entity"] ?? json
        guard let type = object["type"]?.string, let id = object["id"]?.string,
            ReservedWords.isPath(Array(type.utf8)[...])
        else { throw .invalidEntity }
        self.init(type: type, id: id)
    }
}

extension Entity {
    /// Reads `{"uid", "attrs", "parents", "tags"?}`.
    public init(cedarJSON json: JSONValue) throws(ValueReadingError) {
        guard let uid = json["uid"], let attributes = json["attrs"], let parents = json["parents"],
            parents.kind == .array
        else { throw .invalidStructure }
        var uids: [EntityUID] = []
        for parent in parents.elements { uids.append(try EntityUID(cedarJSON: parent)) }
        let name = try EntityUID(cedarJSON: uid)
        if name.isAction, !uids.allSatisfy(\.isAction) { throw .invalidActionParent }
        self.init(
            uid: name,
            attributes: try Value.record(cedarJSON: attributes),
            parents: uids,
            tags: try json["tags"].map { json throws(ValueReadingError) in
                try Value.record(cedarJSON: json)
            } ?? [:]
        )
    }

    /// Reads a list of entities.
    public static func list(cedarJSON json: JSONValue) throws(ValueReadingError) -> [Entity] {
        guard json.kind == .array else { throw .invalidStructure }
        var entities: [Entity] = []
        entities.reserveCapacity(json.count)
        for entity in json.elements { entities.append(try Entity(cedarJSON: entity)) }
        return entities
    }
}

extension EntityUID {
    /// Whether the last part of the type is `Action`.
    var isAction: Bool {
        type == "Action" || type.string.utf8.suffix(8).elementsEqual("::Action".utf8)
    }
}

extension JSONValue {
    fileprivate var integerError: ValueReadingError {
        guard let lexeme = numberLexeme else { return .fraction }
        let isInteger = lexeme.utf8.allSatisfy { isDigit($0) || $0 == UInt8(ascii: "-") }
        return isInteger ? .integerTooLarge : .fraction
    }
}
