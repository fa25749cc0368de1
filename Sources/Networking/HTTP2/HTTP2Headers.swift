/// A header list: fields in the order of the wire, pseudo-header fields first.
///
/// All names and values live in one array, so a list costs two allocations whatever its length.
/// Names are compared as bytes; HTTP/2 names are lower case (RFC 9113 §8.2.1).
public struct HTTP2Headers: Sendable, Equatable {
    struct Field: Sendable, Equatable {
        var start: Int32
        var nameBytes: Int32
        var valueBytes: Int32
        /// Never indexed by HPACK: credentials must not be guessable by compression (RFC 7541
        /// §7.1.3).
        var isSensitive: Bool
    }

    private(set) var bytes: [UInt8] = []
    private(set) var fields: [Field] = []

    /// An empty list.
    public init() {}

    /// Number of fields.
    public var count: Int { fields.count }

    /// Size as limits count it: bytes of names and values, and 32 per field (RFC 9113 §6.5.2).
    public var listBytes: Int { bytes.count + 32 * fields.count }

    /// Adds a field at the end.
    ///
    /// - Parameter isSensitive: true keeps the field out of compression state, for credentials.
    public mutating func append(_ name: String, _ value: String, isSensitive: Bool = false) {
        append(name.utf8, value.utf8, isSensitive: isSensitive)
    }

    /// Adds a field at the end.
    public mutating func append(
        _ name: some Collection<UInt8>,
        _ value: some Collection<UInt8>,
        isSensitive: Bool = false
    ) {
        fields.append(
            Field(
                start: Int32(bytes.count),
                nameBytes: Int32(name.count),
                valueBytes: Int32(value.count),
                isSensitive: isSensitive
            )
        )
        bytes.append(contentsOf: name)
        bytes.append(contentsOf: value)
    }

    /// Adds the fields of another list.
    public mutating func append(contentsOf other: HTTP2Headers) {
        for field in other.fields {
            append(other.name(of: field), other.value(of: field), isSensitive: field.isSensitive)
        }
    }

    /// The value of the first field of that name, as bytes.
    public func value(_ name: StaticString) -> ArraySlice<UInt8>? {
        for field in fields where matches(field, name) { return value(of: field) }
        return nil
    }

    /// The value of the first field of that name as text, or `nil` when it is absent or not UTF-8.
    public func string(_ name: StaticString) -> String? {
        value(name).flatMap { String(validating: $0, as: UTF8.self) }
    }

    /// How many fields have that name.
    public func count(of name: StaticString) -> Int {
        fields.count { matches($0, name) }
    }

    /// Calls `body` with every field, in order.
    public func forEach(_ body: (_ name: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>) -> Void) {
        for field in fields { body(name(of: field), value(of: field)) }
    }

    private func name(of field: Field) -> ArraySlice<UInt8> {
        let start = Int(field.start)
        return bytes[start..<start + Int(field.nameBytes)]
    }

    private func value(of field: Field) -> ArraySlice<UInt8> {
        let start = Int(field.start) + Int(field.nameBytes)
        return bytes[start..<start + Int(field.valueBytes)]
    }

    private func matches(_ field: Field, _ name: StaticString) -> Bool {
        guard Int(field.nameBytes) == name.utf8CodeUnitCount else { return false }
        return name.withUTF8Buffer { self.name(of: field).elementsEqual($0) }
    }
}

extension HTTP2Headers: ExpressibleByDictionaryLiteral {
    /// Fields in the order written.
    public init(dictionaryLiteral elements: (String, String)...) {
        for (name, value) in elements { append(name, value) }
    }
}
