/// A statement with its parameters: `"select name from server where id = \(id)"`.
///
/// An interpolation is always a bound parameter, never text, so that no value can change what a statement means.
/// The one exception has a type of its own, ``Identifier``. A `String` cannot become a `Query` by accident;
/// ``init(trusted:)`` says aloud that its text is the program's own.
///
/// Values are encoded when they are interpolated, all into one buffer; a value that has no binary form is reported
/// when the query runs.
public struct Query: Sendable, ExpressibleByStringInterpolation {
    /// The text, with `$1`… where values were.
    public internal(set) var sql: String
    var bindings = Bindings()
    var problem: PostgresError?

    /// A statement without values.
    public init(stringLiteral sql: String) {
        self.init(trusted: sql)
    }

    /// A statement from text that is known to be the program's own, such as one read from its migrations.
    public init(trusted sql: String) {
        self.sql = sql
        if sql.utf8.contains(0) { problem = .invalidStatement(.containsNUL) }
    }

    /// A statement from an interpolated literal.
    public init(stringInterpolation: StringInterpolation) {
        sql = stringInterpolation.sql
        bindings = stringInterpolation.bindings
        problem = stringInterpolation.problem
        if problem == nil, sql.utf8.contains(0) { problem = .invalidStatement(.containsNUL) }
    }

    /// Builds the text and the parameters side by side.
    public struct StringInterpolation: StringInterpolationProtocol {
        var sql = ""
        var bindings = Bindings()
        var problem: PostgresError?

        /// An empty statement.
        public init(literalCapacity: Int, interpolationCount: Int) {
            sql.reserveCapacity(literalCapacity + interpolationCount * 3)
            bindings.slots.reserveCapacity(interpolationCount)
        }

        /// Text of the program.
        public mutating func appendLiteral(_ literal: String) {
            sql += literal
        }

        /// A parameter.
        public mutating func appendInterpolation<Value: PostgresEncodable>(_ value: Value) {
            bind(Value.postgresType) { bytes throws(ValueProblem) in
                try value.encode(into: &bytes)
            }
        }

        /// A parameter that may be NULL.
        public mutating func appendInterpolation<Value: PostgresEncodable>(_ value: Value?) {
            if let value {
                appendInterpolation(value)
            } else {
                bindings.slots.append(.null(Value.postgresType))
                placeholder()
            }
        }

        /// An array parameter that was built element by element.
        public mutating func appendInterpolation<Element>(_ array: ArrayParameter<Element>) {
            bind(array.type) { bytes throws(ValueProblem) in try array.encode(into: &bytes) }
        }

        /// A parameter in text form whose type the server infers, as for a quoted literal: for types without a
        /// binary form here (`jsonb`, `interval`, `numeric`, enums).
        public mutating func appendInterpolation(text value: String) {
            bind(.unspecified, isText: true) { bytes throws(ValueProblem) in
                try value.encode(into: &bytes)
                // libpq reads a text parameter up to its NUL.
                bytes.append(0)
            }
        }

        /// Text of the program that several statements share; nothing that comes at run time fits in here.
        public mutating func appendInterpolation(shared text: StaticString) {
            sql += text.description
        }

        /// A name, quoted.
        public mutating func appendInterpolation(_ identifier: Identifier) {
            if let found = identifier.problem { problem = problem ?? .invalidStatement(found) }
            sql += identifier.quoted
        }

        private mutating func bind(
            _ type: PostgresType,
            isText: Bool = false,
            _ encode: (inout [UInt8]) throws(ValueProblem) -> Void
        ) {
            let start = bindings.bytes.count
            do throws(ValueProblem) {
                try encode(&bindings.bytes)
                guard Int32(exactly: bindings.bytes.count - start) != nil else { throw .outOfRange }
            } catch {
                problem = problem ?? .parameter(position: bindings.slots.count + 1, error)
            }
            bindings.slots.append(
                Bindings.Slot(
                    type: type,
                    offset: start,
                    length: bindings.bytes.count - start,
                    isText: isText
                )
            )
            placeholder()
        }

        private mutating func placeholder() {
            if bindings.slots.count > 65_535 {
                problem = problem ?? .invalidStatement(.tooManyParameters)
            }
            sql += "$\(bindings.slots.count)"
        }
    }
}

/// A name of a table, column, role, channel…, to be quoted into SQL text.
public struct Identifier: Sendable, Hashable {
    /// The name as it is in the catalogue.
    public let name: String

    /// A name as it is in the catalogue, in its exact case.
    public init(_ name: String) {
        self.name = name
    }

    var quoted: String {
        var text = "\""
        for scalar in name.unicodeScalars {
            if scalar == "\"" { text += "\"" }
            text.unicodeScalars.append(scalar)
        }
        return text + "\""
    }

    var problem: StatementProblem? {
        if name.utf8.contains(0) { return .containsNUL }
        // NAMEDATALEN - 1; PostgreSQL would cut a longer name, with only a notice.
        return (1...63).contains(name.utf8.count) ? nil : .identifierLength
    }
}

/// The parameters of a statement: one buffer, and where in it each value lies.
struct Bindings: Sendable {
    struct Slot: Sendable {
        let type: PostgresType
        let offset: Int
        /// -1 for NULL.
        let length: Int
        let isText: Bool

        static func null(_ type: PostgresType) -> Slot {
            Slot(type: type, offset: 0, length: -1, isText: false)
        }
    }

    var bytes: [UInt8] = []
    var slots: [Slot] = []
}
