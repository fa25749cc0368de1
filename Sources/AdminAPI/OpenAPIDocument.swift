import JSON

/// The OpenAPI 3.1 document of the REST interface, made of the table that requests are served by.
public enum OpenAPIDocument {
    /// The document, in a stable order and indented, so that a change can be read as a difference.
    public static func bytes() -> [UInt8] {
        var components = Components()
        components.collect(.problem)
        for id in OperationID.allCases {
            let operation = id.operation
            if let body = operation.body { components.collect(body) }
            if let answer = operation.answer { components.collect(answer) }
        }
        var writer = JSONWriter(capacity: 1 << 16)
        writer.object { writer in
            writer.member("openapi", "3.1.0" as Text)
            writer.object("info") { writer in
                writer.member("title", "Ostiary administration" as Text)
                writer.member("version", "1" as Text)
                writer.member("summary", "The REST interface of ostiary-control." as Text)
                writer.object("license") { writer in
                    writer.member("name", "Apache-2.0" as Text)
                    writer.member("identifier", "Apache-2.0" as Text)
                }
            }
            writer.array("servers") { writer in
                writer.object { $0.member("url", "/" as Text) }
            }
            writer.array("security") { writer in
                writer.object { writer in writer.array("apiToken") { _ in } }
            }
            writePaths(&writer)
            writer.object("components") { writer in
                writer.object("securitySchemes") { writer in
                    writer.object("apiToken") { writer in
                        writer.member("type", "http" as Text)
                        writer.member("scheme", "bearer" as Text)
                        writer.member("description", "A token of /v1/api-tokens." as Text)
                    }
                }
                writeProblems(&writer)
                writer.object("schemas") { writer in
                    for (name, schema) in components.schemas {
                        writer.key(Text(name))
                        schema.write(to: &writer, isComponent: true)
                    }
                }
            }
        }
        return Indentation.indented(writer.finish())
    }

    private static func writePaths(_ writer: inout JSONWriter) {
        var templates: [String] = []
        var operations: [String: [Operation]] = [:]
        for id in OperationID.allCases {
            let operation = id.operation
            if operations[operation.template] == nil { templates.append(operation.template) }
            operations[operation.template, default: []].append(operation)
        }
        writer.object("paths") { writer in
            for template in templates {
                writer.key(Text(template))
                writer.object { writer in
                    for operation in operations[template] ?? [] { write(operation, &writer) }
                }
            }
        }
    }

    private static func write(_ operation: Operation, _ writer: inout JSONWriter) {
        writer.key(Text(operation.method.rawValue.lowercased()))
        writer.object { writer in
            writer.member("operationId", Text(operation.id.rawValue))
            writer.member("summary", Text(operation.summary.description))
            if operation.access == .open { writer.array("security") { _ in } }
            writeParameters(operation, &writer)
            if let body = operation.body {
                writer.object("requestBody") { writer in
                    writer.member("required", true)
                    writeContent(body, "application/json", &writer)
                }
            }
            writeAnswers(operation, &writer)
        }
    }

    private static func writeParameters(_ operation: Operation, _ writer: inout JSONWriter) {
        writer.array("parameters") { writer in
            for case .parameter(let name, let form) in operation.path {
                writeParameter(name, "path", true, nil, .string(form), &writer)
            }
            for parameter in operation.query {
                let schema: Schema =
                    if case .number = parameter.form {
                        .integer(1...Int64(PageRequest.limitMax))
                    } else {
                        .string(parameter.form)
                    }
                writeParameter(parameter.name, "query", false, parameter.summary, schema, &writer)
            }
            if operation.isConditional {
                writeParameter(
                    "If-Match",
                    "header",
                    true,
                    "The ETag of the version that is changed, or *.",
                    .string(.free(1...256)),
                    &writer
                )
            }
            if operation.method == .post {
                writeParameter(
                    "Idempotency-Key",
                    "header",
                    false,
                    "1 to 128 visible characters. The same request with the same key is answered the same, for a day.",
                    .string(.fieldValue),
                    &writer
                )
            }
        }
    }

    private static func writeParameter(
        _ name: StaticString,
        _ place: Text,
        _ isRequired: Bool,
        _ summary: StaticString?,
        _ schema: Schema,
        _ writer: inout JSONWriter
    ) {
        writer.object { writer in
            writer.member("name", Text(name.description))
            writer.member("in", place)
            writer.member("required", isRequired)
            writer.member("description", ifPresent: summary.map { Text($0.description) })
            writer.key("schema")
            schema.write(to: &writer)
        }
    }

    private static func writeAnswers(_ operation: Operation, _ writer: inout JSONWriter) {
        writer.object("responses") { writer in
            writer.object(Text("\(operation.status)")) { writer in
                writer.member("description", "Done." as Text)
                writer.object("headers") { writer in
                    writeHeader("X-Request-Id", &writer)
                    if operation.hasETag { writeHeader("ETag", &writer) }
                    if operation.hasLocation { writeHeader("Location", &writer) }
                }
                if let answer = operation.answer {
                    writeContent(answer, "application/json", &writer)
                }
            }
            for (status, types) in operation.problems {
                writer.object(Text("\(status)")) { writer in
                    writer.member("$ref", Text("#/components/responses/\(name(of: types))"))
                }
            }
        }
    }

    /// A response for each set of problems that some operation has under one status.
    private static func writeProblems(_ writer: inout JSONWriter) {
        var responses: [String: [ProblemType]] = [:]
        for id in OperationID.allCases {
            for (_, types) in id.operation.problems { responses[name(of: types)] = types }
        }
        writer.object("responses") { writer in
            for (name, types) in responses.sorted(by: { $0.key < $1.key }) {
                writer.object(Text(name)) { writer in
                    let uris = types.map { "/problems/\($0.rawValue)" }
                    writer.member("description", Text(uris.joined(separator: ", ")))
                    writeContent(.problem, "application/problem+json", &writer)
                }
            }
        }
    }

    private static func name(of types: [ProblemType]) -> String {
        types.map(\.rawValue).joined(separator: ".")
    }

    private static func writeHeader(_ name: StaticString, _ writer: inout JSONWriter) {
        writer.object(name) { writer in
            writer.object("schema") { $0.member("type", "string" as Text) }
        }
    }

    private static func writeContent(
        _ schema: Schema,
        _ type: StaticString,
        _ writer: inout JSONWriter
    ) {
        writer.object("content") { writer in
            writer.object(type) { writer in
                writer.key("schema")
                schema.write(to: &writer)
            }
        }
    }
}

extension Operation {
    /// What it can refuse, by status.
    public var problems: [(status: Int, types: [ProblemType])] {
        var types: [ProblemType] = [.parameterInvalid, .internalError, .unavailable] + refusals
        if access != .open { types += [.unauthenticated, .forbidden, .notFound] }
        if body != nil {
            types += [.bodyMalformed, .bodyTooLarge, .mediaTypeUnsupported, .requestInvalid]
        }
        if isConditional { types += [.preconditionRequired, .preconditionFailed] }
        if method == .post { types += [.idempotencyKeyRunning, .idempotencyKeyReused] }
        var byStatus: [Int: [ProblemType]] = [:]
        for type in ProblemType.allCases where types.contains(type) {
            byStatus[type.status, default: []].append(type)
        }
        return byStatus.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
}

/// The named schemas, each once, by name.
private struct Components {
    var schemas: [(name: String, schema: Schema)] = []

    mutating func collect(_ schema: Schema) {
        switch schema {
        case .string, .integer, .boolean, .foreignObject: return
        case .array(let element, _), .map(let element, _), .nullable(let element):
            collect(element)
        case .object(let fields):
            for field in fields { collect(field.schema) }
        case .named(let name, let inner):
            let name = name.description
            guard !schemas.contains(where: { $0.name == name }) else { return }
            schemas.append((name, schema))
            schemas.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
            collect(inner)
        }
    }
}

extension Schema {
    /// As JSON Schema 2020-12.
    func write(to writer: inout JSONWriter, isComponent: Bool = false) {
        switch self {
        case .named(let name, let inner):
            guard !isComponent else { return inner.write(to: &writer) }
            writer.object { $0.member("$ref", Text("#/components/schemas/\(name)")) }
        case .nullable(let inner):
            writer.object { writer in
                writer.array("anyOf") { writer in
                    inner.write(to: &writer)
                    writer.object { $0.member("type", "null" as Text) }
                }
            }
        default:
            writer.object { writeMembers(&$0) }
        }
    }

    private func writeMembers(_ writer: inout JSONWriter) {
        switch self {
        case .string(let form):
            writer.member("type", "string" as Text)
            if case .choice(let values) = form {
                writer.array("enum") { writer in
                    for value in values { writer.value(Text(value.description)) }
                }
                return
            }
            writer.member("minLength", Int64(form.lengths.lowerBound))
            writer.member("maxLength", Int64(form.lengths.upperBound))
            writer.member("pattern", ifPresent: form.pattern.map { Text($0) })
        case .integer(let range):
            writer.member("type", "integer" as Text)
            writer.member("minimum", range.lowerBound)
            writer.member("maximum", range.upperBound)
        case .boolean:
            writer.member("type", "boolean" as Text)
        case .array(let element, let max):
            writer.member("type", "array" as Text)
            writer.member("maxItems", Int64(max))
            writer.key("items")
            element.write(to: &writer)
        case .map(let element, let max):
            writer.member("type", "object" as Text)
            writer.member("maxProperties", Int64(max))
            writer.key("additionalProperties")
            element.write(to: &writer)
        case .foreignObject(let summary):
            writer.member("type", "object" as Text)
            writer.member("description", Text(summary.description))
        case .object(let fields):
            writer.member("type", "object" as Text)
            writer.member("additionalProperties", false)
            let required = fields.filter(\.isRequired)
            if !required.isEmpty {
                writer.array("required") { writer in
                    for field in required { writer.value(Text(field.name.description)) }
                }
            }
            writer.object("properties") { writer in
                for field in fields { field.write(to: &writer) }
            }
        case .nullable, .named:
            preconditionFailure("written by the caller")
        }
    }
}

extension Schema.Field {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.key(name)
        // 2020-12 lets siblings stand beside $ref.
        writer.object { writer in
            writer.member("description", Text(summary.description))
            writer.array("allOf") { schema.write(to: &$0) }
        }
    }
}

extension JSONWriter {
    /// Writes a member that is an object, under a name that is made.
    mutating func object(_ name: Text, _ members: (inout JSONWriter) -> Void) {
        key(name)
        object(members)
    }
}

/// Line breaks and blanks for people, in JSON that has none.
enum Indentation {
    static func indented(_ json: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(json.count * 2)
        var depth = 0
        var isInString = false
        var isEscaped = false
        func breakLine() {
            out.append(0x0A)
            out.append(contentsOf: repeatElement(0x20, count: depth * 2))
        }
        for (index, byte) in json.enumerated() {
            if isInString {
                out.append(byte)
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isInString = false
                }
                continue
            }
            let next = index + 1 < json.count ? json[index + 1] : 0
            switch byte {
            case UInt8(ascii: "\""):
                isInString = true
                out.append(byte)
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                out.append(byte)
                depth += 1
                if next != UInt8(ascii: "}"), next != UInt8(ascii: "]") { breakLine() }
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth -= 1
                let before = json[index - 1]
                if before != UInt8(ascii: "{"), before != UInt8(ascii: "[") { breakLine() }
                out.append(byte)
            case UInt8(ascii: ","):
                out.append(byte)
                breakLine()
            case UInt8(ascii: ":"):
                out.append(byte)
                out.append(0x20)
            default:
                out.append(byte)
            }
        }
        out.append(0x0A)
        return out
    }
}
