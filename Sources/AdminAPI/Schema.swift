public import JSON

/// What a JSON value must be: the one description that requests are checked by, and that the OpenAPI
/// document shows.
///
/// It has only what the resources need, and every rule in it can be written as JSON Schema 2020-12, so that the
/// document promises exactly what the reader enforces.
public indirect enum Schema: Sendable {
    /// Text of a form.
    case string(TextForm)
    /// A whole number.
    case integer(ClosedRange<Int64>)
    /// `true` or `false`.
    case boolean
    /// A list of at most `max` values.
    case array(of: Schema, max: Int)
    /// An object with these members and no others.
    case object([Field])
    /// An object with names that callers choose, at most `max` of them.
    case map(of: Schema, max: Int)
    /// An object that another standard describes; it is checked by who reads it.
    case foreignObject(StaticString)
    /// The value, or `null`.
    case nullable(Schema)
    /// A schema with a name in the document.
    case named(StaticString, Schema)

    /// A member of an object.
    public struct Field: Sendable {
        let name: StaticString
        let schema: Schema
        let isRequired: Bool
        let summary: StaticString
        let isSecret: Bool

        static func required(
            _ name: StaticString,
            _ schema: Schema,
            _ summary: StaticString,
            isSecret: Bool = false
        ) -> Field {
            Field(
                name: name,
                schema: schema,
                isRequired: true,
                summary: summary,
                isSecret: isSecret
            )
        }

        static func optional(
            _ name: StaticString,
            _ schema: Schema,
            _ summary: StaticString,
            isSecret: Bool = false
        ) -> Field {
            Field(
                name: name,
                schema: schema,
                isRequired: false,
                summary: summary,
                isSecret: isSecret
            )
        }
    }
}

/// What is wrong with one place of a request.
public struct FieldError: Hashable, Sendable {
    /// Where: a JSON pointer (RFC 6901), or the name of a parameter.
    public var pointer: Text
    /// Stable, documented in docs/reference/problems.md.
    public var code: Code
    /// More, for people; never a value of the request.
    public var detail: String?
    /// Of a finding in a document of a release: the document's name.
    public var document: Text?
    /// Of a finding about one policy: its `@id`, or its number in the release.
    public var policy: Text?
    /// In a text inside the request: the line, from 1.
    public var line: Int?
    /// In a text inside the request: the column, from 1.
    public var column: Int?

    /// The kinds of mistakes.
    public enum Code: String, CaseIterable, Sendable {
        /// The member is not known here; a misspelt restriction is none, so nothing is ignored.
        case unknownMember = "unknown_member"
        /// A required member is missing.
        case missing
        /// The value has another type.
        case wrongType = "wrong_type"
        /// The text is shorter or longer than allowed.
        case length
        /// The number is outside its range.
        case range
        /// The text does not have the form that is asked for.
        case form
        /// The text is none of the known values.
        case unknownValue = "unknown_value"
        /// More elements or members than allowed.
        case tooMany = "too_many"
        /// Two elements name the same thing.
        case duplicate
        /// It names something that is not there.
        case reference
        /// A policy does not compile, or a check finds an error in it.
        case policy
        /// A member must not be given together with another one, or without it.
        case combination
    }

    /// An error at a place.
    public init(
        _ pointer: Text,
        _ code: Code,
        _ detail: String? = nil,
        document: Text? = nil,
        policy: Text? = nil,
        line: Int? = nil,
        column: Int? = nil
    ) {
        self.pointer = pointer
        self.code = code
        self.detail = detail
        self.document = document
        self.policy = policy
        self.line = line
        self.column = column
    }
}

extension Schema {
    /// Everything that is wrong with a value; at most ``errorsMax`` findings.
    public func errors(in value: JSONValue) -> [FieldError] {
        var errors: [FieldError] = []
        check(value, at: "", &errors)
        return errors
    }

    /// How many findings one answer names.
    public static let errorsMax = 100

    private func check(_ value: JSONValue, at place: Text, _ errors: inout [FieldError]) {
        guard errors.count < Self.errorsMax else { return }
        switch self {
        case .string(let form):
            guard let text = value.string else { return errors.append(.init(place, .wrongType)) }
            if let code = form.refusal(of: text) {
                errors.append(.init(place, code, form.summary))
            }
        case .integer(let range):
            guard value.kind == .number, let number = value.int64 else {
                return errors.append(.init(place, .wrongType, "must be a whole number"))
            }
            if !range.contains(number) {
                errors.append(
                    .init(place, .range, "must be \(range.lowerBound) to \(range.upperBound)")
                )
            }
        case .boolean:
            if value.boolean == nil { errors.append(.init(place, .wrongType)) }
        case .array(let element, let max):
            guard value.kind == .array else { return errors.append(.init(place, .wrongType)) }
            guard value.count <= max else {
                return errors.append(.init(place, .tooMany, "at most \(max)"))
            }
            for (index, item) in value.elements.enumerated() {
                element.check(item, at: Text("\(place)/\(index)"), &errors)
            }
        case .object(let fields):
            check(value, fields, at: place, &errors)
        case .map(let schema, let max):
            guard value.kind == .object else { return errors.append(.init(place, .wrongType)) }
            guard value.count <= max else {
                return errors.append(.init(place, .tooMany, "at most \(max)"))
            }
            for (key, item) in value.members { schema.check(item, at: place / key.text, &errors) }
        case .foreignObject:
            if value.kind != .object { errors.append(.init(place, .wrongType)) }
        case .nullable(let schema):
            if !value.isNull { schema.check(value, at: place, &errors) }
        case .named(_, let schema):
            schema.check(value, at: place, &errors)
        }
    }

    private func check(
        _ value: JSONValue,
        _ fields: [Field],
        at place: Text,
        _ errors: inout [FieldError]
    ) {
        guard value.kind == .object else { return errors.append(.init(place, .wrongType)) }
        for (key, _) in value.members where !fields.contains(where: { key.equals($0.name) }) {
            guard errors.count < Self.errorsMax else { return }
            errors.append(.init(place / key.text, .unknownMember))
        }
        for field in fields {
            let here = place / Text(field.name.description)
            if let member = value[field.name] {
                field.schema.check(member, at: here, &errors)
            } else if field.isRequired {
                errors.append(.init(here, .missing))
            }
        }
    }
}

/// A deeper JSON pointer (RFC 6901 §3).
func / (place: Text, name: Text) -> Text {
    var escaped = ""
    for scalar in name.string.unicodeScalars {
        switch scalar {
        case "~": escaped += "~0"
        case "/": escaped += "~1"
        default: escaped.unicodeScalars.append(scalar)
        }
    }
    return Text("\(place)/\(escaped)")
}
