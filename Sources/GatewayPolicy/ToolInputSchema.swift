import Cedar
public import JSON

/// The arguments of a tool as policies see them: the tool's `inputSchema`, mapped to types of Cedar (policy.md §3.3).
///
/// One mapping serves three things, so that they cannot disagree: the text of the schema that policies are validated
/// against, the values that a call's arguments become, and the comparison of two definitions. What has no counterpart in
/// Cedar is left out and listed; arguments that use it are not *faithful*, and the baseline refuses those.
public struct ToolInputSchema: Hashable, Sendable {
    /// A type of Cedar that a part of the arguments has.
    public indirect enum InputType: Hashable, Sendable {
        case bool
        case long
        case string
        /// A string of which the schema lists all values; policies see a string.
        case choice([Text])
        case decimal
        case datetime
        case duration
        case ipaddr
        /// Order and number of elements are lost.
        case set(InputType)
        case record(Fields)
        /// One of several types: a record with one optional attribute for each, `asString`, `asLong`.
        case union(Fields)
        /// A list of fixed length: a record of `item0`, `item1`, ….
        case tuple(Fields)
    }

    /// The attributes of a record; no others exist.
    public struct Fields: Hashable, Sendable {
        /// By name.
        public var attributes: [Text: Field] = [:]
    }

    /// One attribute.
    public struct Field: Hashable, Sendable {
        /// The type of its value.
        public var type: InputType
        /// Whether calls always have it.
        public var isRequired: Bool
    }

    /// Something that has no counterpart in Cedar.
    public struct Omission: Hashable, Sendable {
        /// Where in the `inputSchema` (RFC 6901).
        public var pointer: Text
        /// Why.
        public var reason: Reason

        /// Why something is left out.
        public enum Reason: String, Hashable, Sendable {
            /// `$ref`, `allOf`, `not`, `if` and the like.
            case unsupportedKeyword = "unsupported_keyword"
            /// A map with names of the caller's choosing.
            case openMap = "open_map"
            /// Nothing says what it is.
            case untyped
            /// Nested deeper than ``ToolInputSchema/depthMax``.
            case tooDeep = "too_deep"
            /// A type that is none of JSON Schema's.
            case unknownType = "unknown_type"
            /// Only `null` is allowed.
            case onlyNull = "only_null"
            /// Two types that policies could not tell apart.
            case ambiguousUnion = "ambiguous_union"
            /// More than ``ToolInputSchema/partsMax`` parts.
            case tooLarge = "too_large"
        }
    }

    /// How deep types nest before they are left out.
    public static let depthMax = 8
    /// The most parts of one schema.
    public static let partsMax = 4096

    /// The arguments.
    public let fields: Fields
    /// What was left out, in the order of the schema.
    public let omissions: [Omission]

    /// A tool whose arguments are not described: none is visible to policies.
    public static let empty = ToolInputSchema(fields: Fields(), omissions: [])

    private init(fields: Fields, omissions: [Omission]) {
        self.fields = fields
        self.omissions = omissions
    }

    /// Maps an `inputSchema`; what is no schema at all describes no arguments.
    public init(_ schema: JSONValue?) {
        guard let schema, schema.kind == .object else {
            self = .empty
            return
        }
        var mapper = Mapper()
        fields = mapper.fields(of: schema, "", depth: 1)
        omissions = mapper.omissions
    }
}

/// Walks a JSON Schema.
private struct Mapper {
    typealias InputType = ToolInputSchema.InputType
    typealias Fields = ToolInputSchema.Fields

    var omissions: [ToolInputSchema.Omission] = []
    private var parts = 0

    private mutating func omit(_ pointer: String, _ reason: ToolInputSchema.Omission.Reason) {
        omissions.append(.init(pointer: Text(pointer), reason: reason))
    }

    mutating func fields(of schema: JSONValue, _ pointer: String, depth: Int) -> Fields {
        var fields = Fields()
        let required = schema["required"]?.elements.compactMap(\.string) ?? []
        for (key, property) in schema["properties"].allMembers {
            let name = key.text
            let place = "\(pointer)/properties/\(escaped(name))"
            var isNullable = false
            guard let type = type(of: property, place, depth: depth + 1, &isNullable) else {
                continue
            }
            fields.attributes[name] = .init(
                type: type,
                isRequired: required.contains(name) && !isNullable
            )
        }
        if schema["additionalProperties"]?.kind == .object || schema["patternProperties"] != nil {
            omit(pointer + "/additionalProperties", .openMap)
        }
        return fields
    }

    private static let unsupported: [StaticString] = [
        "$ref", "$dynamicRef", "allOf", "not", "if", "dependentSchemas",
    ]

    private mutating func type(
        of schema: JSONValue,
        _ pointer: String,
        depth: Int,
        _ isNullable: inout Bool
    ) -> InputType? {
        parts += 1
        guard parts <= ToolInputSchema.partsMax else {
            if parts == ToolInputSchema.partsMax + 1 { omit(pointer, .tooLarge) }
            return nil
        }
        guard depth <= ToolInputSchema.depthMax else {
            omit(pointer, .tooDeep)
            return nil
        }
        guard schema.kind == .object else {
            omit(pointer, .untyped)
            return nil
        }
        if let keyword = Self.unsupported.first(where: { schema[$0] != nil }) {
            omit("\(pointer)/\(keyword)", .unsupportedKeyword)
            return nil
        }
        for keyword in ["anyOf", "oneOf"] as [StaticString] {
            guard let choices = schema[keyword], choices.kind == .array else { continue }
            return union(
                of: choices.elements.enumerated().map { ($1, "\(pointer)/\(keyword)/\($0)", nil) },
                pointer,
                depth: depth,
                &isNullable
            )
        }
        guard let type = schema["type"] else {
            return untyped(schema, pointer, depth: depth)
        }
        if type.kind == .array {
            return union(
                of: type.elements.map { (schema, pointer, $0.string ?? "") },
                pointer,
                depth: depth,
                &isNullable
            )
        }
        return self.type(named: type.string ?? "", of: schema, pointer, depth: depth, &isNullable)
    }

    private mutating func untyped(_ schema: JSONValue, _ pointer: String, depth: Int) -> InputType?
    {
        if schema["properties"] != nil {
            return .record(fields(of: schema, pointer, depth: depth))
        }
        if let choices = choices(schema) { return .choice(choices) }
        omit(pointer, .untyped)
        return nil
    }

    private func choices(_ schema: JSONValue) -> [Text]? {
        if let only = schema["const"]?.string { return [only] }
        guard let list = schema["enum"], list.count > 0 else { return nil }
        let texts = list.elements.compactMap(\.string)
        return texts.count == list.count ? texts : nil
    }

    private mutating func type(
        named name: Text,
        of schema: JSONValue,
        _ pointer: String,
        depth: Int,
        _ isNullable: inout Bool
    ) -> InputType? {
        switch name.string {
        case "boolean": return .bool
        case "integer": return .long
        case "number": return .decimal
        case "string":
            if let choices = choices(schema) { return .choice(choices) }
            switch schema["format"]?.string?.string {
            case "date-time", "date": return .datetime
            case "duration": return .duration
            case "ipv4", "ipv6": return .ipaddr
            case "decimal": return .decimal
            default: return .string
            }
        case "array": return array(schema, pointer, depth: depth)
        case "object":
            if schema["properties"] == nil, schema["additionalProperties"]?.boolean != false {
                omit(pointer, .openMap)
                return nil
            }
            return .record(fields(of: schema, pointer, depth: depth))
        case "null":
            isNullable = true
            omit(pointer, .onlyNull)
            return nil
        default:
            omit(pointer, .unknownType)
            return nil
        }
    }

    private mutating func array(_ schema: JSONValue, _ pointer: String, depth: Int) -> InputType? {
        let items = schema["items"]
        if let prefix = schema["prefixItems"] ?? (items?.kind == .array ? items : nil) {
            var fields = Fields()
            for (index, item) in prefix.elements.enumerated() {
                var isNullable = false
                let place = "\(pointer)/prefixItems/\(index)"
                guard let type = type(of: item, place, depth: depth + 1, &isNullable) else {
                    continue
                }
                fields.attributes[Text("item\(index)")] = .init(type: type, isRequired: false)
            }
            return .tuple(fields)
        }
        guard let items else {
            omit(pointer, .untyped)
            return nil
        }
        var isNullable = false
        return type(of: items, pointer + "/items", depth: depth + 1, &isNullable).map { .set($0) }
    }

    /// One type is itself, `null` besides makes it optional; of several each gets a name.
    private mutating func union(
        of choices: [(schema: JSONValue, pointer: String, name: Text?)],
        _ pointer: String,
        depth: Int,
        _ isNullable: inout Bool
    ) -> InputType? {
        var types: [InputType] = []
        for choice in choices {
            let name = choice.name ?? choice.schema["type"]?.string
            if name == "null" {
                isNullable = true
                continue
            }
            var ignored = false
            let type =
                choice.name.map {
                    self.type(named: $0, of: choice.schema, choice.pointer, depth: depth, &ignored)
                } ?? self.type(of: choice.schema, choice.pointer, depth: depth + 1, &ignored)
            // A choice that cannot be seen spoils the whole: a value might be of it.
            guard let type else { return nil }
            isNullable = isNullable || ignored
            types.append(type)
        }
        guard types.count > 1 else {
            if types.isEmpty { omit(pointer, .onlyNull) }
            return types.first
        }
        var fields = Fields()
        for type in types {
            let name = type.unionName
            guard fields.attributes[name] == nil else {
                omit(pointer, .ambiguousUnion)
                return nil
            }
            fields.attributes[name] = .init(type: type, isRequired: false)
        }
        return .union(fields)
    }

    private func escaped(_ name: Text) -> String {
        var out = ""
        for scalar in name.string.unicodeScalars {
            switch scalar {
            case "~": out += "~0"
            case "/": out += "~1"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }
}

extension JSONValue? {
    /// The members of an object, none of anything else.
    var allMembers: [(key: JSONString, value: JSONValue)] {
        self.map { Array($0.members) } ?? []
    }
}

extension ToolInputSchema.InputType {
    /// The attribute of a union that holds a value of this type.
    ///
    /// Types that JSON writes alike have one name, so that no value could be read as either.
    fileprivate var unionName: Text {
        switch self {
        case .bool: "asBool"
        case .long: "asLong"
        case .string, .choice, .datetime, .duration, .ipaddr: "asString"
        case .decimal: "asDecimal"
        case .set, .tuple: "asSet"
        case .record, .union: "asRecord"
        }
    }
}

// MARK: - Reading arguments

extension ToolInputSchema {
    /// The arguments of a call as policies see them.
    public struct Reading: Sendable {
        /// What can be seen.
        var values: [Text: Value]
        /// Whether that is everything, exactly.
        public internal(set) var isFaithful: Bool
    }

    /// Reads the arguments of a call.
    ///
    /// What is not declared, does not fit its type, or was left out of the mapping is absent, and makes the reading
    /// unfaithful; nothing is rounded and nothing is guessed. `null` is absence where the argument may be absent.
    func read(_ arguments: JSONValue?) -> Reading {
        guard let arguments else { return Reading(values: [:], isFaithful: fields.isOptional) }
        guard arguments.kind == .object else { return Reading(values: [:], isFaithful: false) }
        var isFaithful = true
        let values = Self.read(arguments, fields, &isFaithful)
        return Reading(values: values, isFaithful: isFaithful)
    }

    private static func read(
        _ object: JSONValue,
        _ fields: Fields,
        _ isFaithful: inout Bool
    ) -> [Text: Value] {
        var values: [Text: Value] = [:]
        values.reserveCapacity(object.count)
        for (key, json) in object.members {
            let name = key.text
            guard let field = fields.attributes[name] else {
                isFaithful = false
                continue
            }
            if json.isNull, !field.isRequired { continue }
            guard let value = read(json, field.type, &isFaithful) else {
                isFaithful = false
                continue
            }
            values[name] = value
        }
        if fields.attributes.contains(where: { $1.isRequired && values[$0] == nil }) {
            isFaithful = false
        }
        return values
    }

    private static func read(
        _ json: JSONValue,
        _ type: InputType,
        _ isFaithful: inout Bool
    ) -> Value? {
        switch type {
        case .bool: return json.boolean.map { .bool($0) }
        case .long: return json.int64.map { .long($0) }
        case .string: return json.string.map { .string($0) }
        case .choice(let allowed):
            guard let text = json.string else { return nil }
            if !allowed.contains(text) { isFaithful = false }
            return .string(text)
        case .decimal:
            let text = json.kind == .string ? json.string : json.numberLexeme
            return text.flatMap { ExactDecimal.read($0) }.map { .decimal($0) }
        case .datetime:
            return json.string.flatMap { CedarDatetime(Array($0.utf8)) }.map { .datetime($0) }
        case .duration:
            return json.string.flatMap { CedarDuration(Array($0.utf8)) }.map { .duration($0) }
        case .ipaddr:
            return json.string.flatMap { IPAddress(Array($0.utf8)) }.map { .ip($0) }
        case .set(let element):
            guard json.kind == .array else { return nil }
            var elements: [Value] = []
            for item in json.elements {
                guard let value = read(item, element, &isFaithful) else {
                    isFaithful = false
                    continue
                }
                elements.append(value)
            }
            return .set(elements)
        case .record(let fields):
            guard json.kind == .object else { return nil }
            return .record(read(json, fields, &isFaithful))
        case .tuple(let fields):
            guard json.kind == .array else { return nil }
            var values: [Text: Value] = [:]
            for (index, item) in json.elements.enumerated() {
                let name = Text("item\(index)")
                guard let type = fields.attributes[name]?.type,
                    let value = read(item, type, &isFaithful)
                else {
                    isFaithful = false
                    continue
                }
                values[name] = value
            }
            return .record(values)
        case .union(let fields):
            for name in fields.attributes.keys.sorted() {
                guard let type = fields.attributes[name]?.type else { continue }
                var fits = true
                // An integer is a number too: the narrower comes last and wins.
                if name == "asDecimal", json.int64 != nil, fields.attributes["asLong"] != nil {
                    continue
                }
                if name == "asDecimal", json.kind == .string,
                    fields.attributes["asString"] != nil
                {
                    continue
                }
                if let value = read(json, type, &fits) {
                    isFaithful = isFaithful && fits
                    return .record([name: value])
                }
            }
            return nil
        }
    }
}

extension ToolInputSchema.Fields {
    fileprivate var isOptional: Bool { attributes.values.allSatisfy { !$0.isRequired } }
}

/// Reads a number of JSON as a decimal of Cedar, or not at all.
enum ExactDecimal {
    static func read(_ lexeme: Text) -> CedarDecimal? {
        var digits: [UInt8] = []
        var exponent = 0
        var rest = Array(lexeme.utf8)[...]
        let isNegative = rest.first == UInt8(ascii: "-")
        if isNegative { rest = rest.dropFirst() }
        var isFraction = false
        while let byte = rest.first {
            rest = rest.dropFirst()
            switch byte {
            case UInt8(ascii: "."):
                guard !isFraction else { return nil }
                isFraction = true
            case 0x30...0x39:
                digits.append(byte & 0xF)
                if isFraction { exponent -= 1 }
            case UInt8(ascii: "e"), UInt8(ascii: "E"):
                guard let power = Int(String(decoding: rest, as: UTF8.self)), abs(power) < 100
                else { return nil }
                exponent += power
                rest = []
            default: return nil
            }
        }
        guard !digits.isEmpty, digits.count <= 64 else { return nil }
        // In ten-thousandths, counted downwards, since the range reaches one further below zero.
        exponent += 4
        while exponent < 0 {
            guard let last = digits.popLast() else { break }
            guard last == 0 else { return nil }
            exponent += 1
        }
        var value: Int64 = 0
        for digit in digits + Array(repeating: 0, count: max(0, exponent)) {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.subtractingReportingOverflow(Int64(digit))
            guard !overflow, !carry else { return nil }
            value = sum
        }
        guard isNegative || value != .min else { return nil }
        return CedarDecimal(tenThousandths: isNegative ? value : -value)
    }
}
