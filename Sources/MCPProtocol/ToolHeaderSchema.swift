public import JSON

/// Which arguments of a tool are mirrored in `Mcp-Param-*` headers (`x-mcp-header` in its input schema).
public struct ToolHeaderSchema: Hashable, Sendable {
    /// One mirrored argument.
    public struct Parameter: Hashable, Sendable {
        /// The header's name after `Mcp-Param-`, as annotated.
        public let token: Text
        /// The property names from the root of the arguments.
        public let path: [Text]
        /// The type of the property.
        public let type: ParameterType
    }

    /// The types that may be mirrored.
    ///
    /// Numbers may not: their spellings differ between languages.
    public enum ParameterType: String, Hashable, Sendable {
        case string, integer, boolean
    }

    /// Why an annotation makes a tool unusable (2026-07-28: clients must drop such a tool).
    public enum Defect: String, Error, Hashable, Sendable, CaseIterable {
        /// The annotation is no header token (RFC 9110 §5.6.2).
        case invalidToken
        /// Two annotations differ only in case, or not at all.
        case repeatedToken
        /// The property is not a plain string, integer or boolean.
        case invalidType
        /// The property is not reachable through `properties` alone.
        case unreachable
    }

    /// The mirrored arguments in schema order.
    public let parameters: [Parameter]

    /// A tool that mirrors nothing.
    public static let none = ToolHeaderSchema(parameters: [])

    private init(parameters: [Parameter]) { self.parameters = parameters }

    /// Reads the annotations of an input schema.
    public init(inputSchema: JSONValue) throws(Defect) {
        var found: [Parameter] = []
        try Self.collect(inputSchema, path: [], isReachable: true, into: &found)
        let tokens = found.map { $0.token.utf8.map(lowercase) }
        guard Set(tokens).count == tokens.count else { throw .repeatedToken }
        parameters = found
    }

    // MARK: Reading a schema

    private static let annotation: StaticString = "x-mcp-header"

    private static func collect(
        _ schema: JSONValue,
        path: [Text],
        isReachable: Bool,
        into found: inout [Parameter]
    ) throws(Defect) {
        for (key, value) in schema.members {
            if key.equals(annotation) {
                guard isReachable, !path.isEmpty else { throw .unreachable }
                guard let token = value.string, isToken(token) else { throw .invalidToken }
                guard
                    let type = schema["type"]?.string.flatMap({ ParameterType(rawValue: $0.string) }
                    )
                else { throw .invalidType }
                found.append(Parameter(token: token, path: path, type: type))
            } else if key.equals("properties") {
                for (name, property) in value.members {
                    try collect(
                        property,
                        path: path + [name.text],
                        isReachable: isReachable,
                        into: &found
                    )
                }
            } else if ["patternProperties", "$defs", "definitions", "dependentSchemas"]
                .contains(where: { key.equals($0) })
            {
                // Maps from names to schemas; a name may look like the annotation.
                for (_, schema) in value.members {
                    try collect(schema, path: path, isReachable: false, into: &found)
                }
            } else if !["default", "const", "enum", "examples"].contains(where: { key.equals($0) })
            {
                try collect(value, path: path, isReachable: false, into: &found)
            }
        }
        for element in schema.elements {
            try collect(element, path: path, isReachable: false, into: &found)
        }
    }

    private static func isToken(_ text: Text) -> Bool {
        let symbols = Array("!#$%&'*+-.^_`|~".utf8)
        return !text.isEmpty && text.byteCount <= 64
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(lowercase(byte))
                    || symbols.contains(byte)
            }
    }

    // MARK: Rendering, towards a server

    /// The headers for these arguments: full name and encoded value.
    ///
    /// Rendered from the body that is sent, never copied from the request that came in.
    public func headers(for arguments: JSONValue?) -> [(name: Text, value: Text)] {
        parameters.compactMap { parameter in
            guard let value = value(of: parameter, in: arguments), let text = Self.render(value)
            else { return nil }
            return (Text("Mcp-Param-\(parameter.token)"), HeaderValueCodec.encode(text))
        }
    }

    private func value(of parameter: Parameter, in arguments: JSONValue?) -> JSONValue? {
        var value = arguments
        for name in parameter.path { value = value?.member(named: name) }
        guard let value, !value.isNull else { return nil }
        return value
    }

    private static func render(_ value: JSONValue) -> Text? {
        switch value.kind {
        case .string: return value.string
        case .boolean: return value.boolean == true ? "true" : "false"
        case .number:
            if let integer = value.int64 { return Text(String(integer)) }
            // Beyond 64 bits: the digits as they stand, if they are only digits.
            return value.numberLexeme.flatMap { isInteger($0) ? $0 : nil }
        case .null, .array, .object: return nil
        }
    }

    private static func isInteger(_ lexeme: Text) -> Bool {
        let digits = lexeme.string.hasPrefix("-") ? lexeme.utf8.dropFirst() : lexeme.utf8[...]
        return !digits.isEmpty
            && digits.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    // MARK: Checking, row 13

    /// Checks the mirrored headers of a call against its arguments.
    ///
    /// The schema is the one this caller was shown. Headers that it does not know are not looked at.
    public func check(
        _ headers: RequestHeaders,
        arguments: JSONValue?,
        id: RequestID
    ) throws(LadderRefusal) {
        for parameter in parameters {
            let token = Text(
                String(decoding: parameter.token.utf8.map(lowercase), as: UTF8.self)
            )
            let field = headers.parameters[token] ?? .absent
            let value = value(of: parameter, in: arguments)
            if field == .absent, value == nil { continue }
            guard let header = field.value, let value, Self.agrees(header, value, parameter.type)
            else {
                throw LadderRefusal(
                    .parameterMismatch,
                    400,
                    .headerMismatch,
                    Text(
                        "Header mismatch: Mcp-Param-\(parameter.token) does not equal the argument"
                    ),
                    id: id
                )
            }
        }
    }

    private static func agrees(_ header: Text, _ value: JSONValue, _ type: ParameterType) -> Bool {
        guard let decoded = HeaderValueCodec.decode(header) else { return false }
        if type == .integer, value.kind == .number, let integer = value.int64 {
            // Numerically, since languages spell integers differently; but no exponents.
            guard !decoded.utf8.contains(where: { lowercase($0) == UInt8(ascii: "e") }),
                let number = try? JSONDocument(parsing: Array(decoded.utf8)).root
            else { return false }
            return number.int64 == integer
        }
        return render(value) == decoded
    }
}
