/// The Swift types PostgreSQL takes as parameters and gives back in columns, all in its binary format.
///
/// Binary both ways: no digits to print and parse, no quoting, and bytea is the bytes themselves.
/// Source: the `*_send` and `*_recv` functions of PostgreSQL; integers are big-endian.

/// A PostgreSQL type, named by its object identifier.
public struct PostgresType: Sendable, Hashable {
    /// The object identifier in `pg_type`; built-in ones never change.
    public let oid: UInt32

    /// A type by its object identifier.
    public init(oid: UInt32) {
        self.oid = oid
    }

    /// Lets the server infer the type from where the parameter stands.
    public static let unspecified = PostgresType(oid: 0)
    /// `boolean`.
    public static let bool = PostgresType(oid: 16)
    /// `bytea`.
    public static let bytea = PostgresType(oid: 17)
    /// `bigint`.
    public static let int8 = PostgresType(oid: 20)
    /// `smallint`.
    public static let int2 = PostgresType(oid: 21)
    /// `integer`.
    public static let int4 = PostgresType(oid: 23)
    /// `text`.
    public static let text = PostgresType(oid: 25)
    /// `double precision`.
    public static let float8 = PostgresType(oid: 701)
    /// `timestamp with time zone`.
    public static let timestamptz = PostgresType(oid: 1184)
    /// `uuid`.
    public static let uuid = PostgresType(oid: 2950)

    static let name = PostgresType(oid: 19)
    static let varchar = PostgresType(oid: 1043)
    static let bpchar = PostgresType(oid: 1042)
    static let json = PostgresType(oid: 114)
    static let unknown = PostgresType(oid: 705)
}

/// Why a value has no PostgreSQL form, or a column no Swift form.
public enum ValueProblem: Error, Sendable, Equatable {
    /// Text with a NUL byte, which PostgreSQL cannot store and C would cut short.
    case containsNUL
    /// An instant outside PostgreSQL's range, or a value too long for one message.
    case outOfRange
    /// Bytes that are not this type's binary format.
    case malformed
}

/// A value that can be bound to a parameter.
public protocol PostgresEncodable: Sendable {
    /// The type the parameter is declared with.
    static var postgresType: PostgresType { get }
    /// Appends the binary form.
    func encode(into bytes: inout [UInt8]) throws(ValueProblem)
}

/// A value that can be read from a column.
public protocol PostgresDecodable: Sendable {
    /// Whether a column of this type can be read as `Self`.
    static func accepts(_ type: PostgresType) -> Bool
    /// Reads the binary form.
    init(decoding bytes: RawSpan) throws(ValueProblem)
    /// What NULL becomes; nil where NULL is an error.
    static var whenNull: Self? { get }
}

extension PostgresDecodable {
    /// NULL is an error unless the type is optional.
    public static var whenNull: Self? { nil }
}

/// A value that can be an element of an array; what `[Self]` is in PostgreSQL is said here.
///
/// The indirection exists because `[UInt8]` is `bytea`, not an array of anything.
public protocol PostgresElement: Sendable {
    /// The type of `[Self]`.
    static var postgresArrayType: PostgresType { get }
    /// Appends the binary form of `[Self]`.
    static func encodeArray(_ array: [Self], into bytes: inout [UInt8]) throws(ValueProblem)
    /// Reads the binary form of `[Self]`.
    static func decodeArray(_ bytes: RawSpan) throws(ValueProblem) -> [Self]
}

/// A scalar that is also an array element.
public protocol PostgresScalar: PostgresEncodable, PostgresDecodable, PostgresElement {}

extension PostgresScalar {
    /// A column of exactly the declared type.
    public static func accepts(_ type: PostgresType) -> Bool {
        type == postgresType
    }

    /// One dimension, lower bound 1, no NULL.
    public static func encodeArray(
        _ array: [Self],
        into bytes: inout [UInt8]
    ) throws(ValueProblem) {
        let start = ArrayFormat.begin(of: postgresType, in: &bytes)
        for element in array {
            try ArrayFormat.append(element, to: &bytes)
        }
        try ArrayFormat.finish(count: array.count, hasNull: false, from: start, in: &bytes)
    }

    /// Reads one dimension; a NULL element is malformed here.
    public static func decodeArray(_ bytes: RawSpan) throws(ValueProblem) -> [Self] {
        var array: [Self] = []
        var reader = try ArrayFormat.Reader(bytes, accepting: { accepts($0) })
        array.reserveCapacity(reader.remaining)
        while reader.remaining > 0 {
            guard let range = try reader.next(in: bytes) else { throw .malformed }
            array.append(try Self(decoding: bytes.extracting(range)))
        }
        return array
    }
}

// MARK: - Scalars

extension Bool: PostgresScalar {
    /// The type in PostgreSQL.
    public static var postgresType: PostgresType { .bool }
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { PostgresType(oid: 1000) }

    /// Appends the binary form.
    public func encode(into bytes: inout [UInt8]) {
        bytes.append(self ? 1 : 0)
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        guard bytes.byteCount == 1 else { throw .malformed }
        self = bytes.byte(at: 0) != 0
    }
}

extension Int16: PostgresScalar {
    /// The type in PostgreSQL.
    public static var postgresType: PostgresType { .int2 }
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { PostgresType(oid: 1005) }

    /// Appends the binary form.
    public func encode(into bytes: inout [UInt8]) {
        bytes.append(bigEndian: self)
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        self = try bytes.bigEndian()
    }
}

extension Int32: PostgresScalar {
    /// The type in PostgreSQL.
    public static var postgresType: PostgresType { .int4 }
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { PostgresType(oid: 1007) }

    /// `smallint` widens.
    public static func accepts(_ type: PostgresType) -> Bool {
        type == .int4 || type == .int2
    }

    /// Appends the binary form.
    public func encode(into bytes: inout [UInt8]) {
        bytes.append(bigEndian: self)
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        self =
            bytes.byteCount == 2
            ? Int32(try bytes.bigEndian(as: Int16.self)) : try bytes.bigEndian()
    }
}

extension Int64: PostgresScalar {
    /// The type in PostgreSQL.
    public static var postgresType: PostgresType { .int8 }
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { PostgresType(oid: 1016) }

    /// `smallint` and `integer` widen.
    public static func accepts(_ type: PostgresType) -> Bool {
        type == .int8 || type == .int4 || type == .int2
    }

    /// Appends the binary form.
    public func encode(into bytes: inout [UInt8]) {
        bytes.append(bigEndian: self)
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        switch bytes.byteCount {
        case 2: self = Int64(try bytes.bigEndian(as: Int16.self))
        case 4: self = Int64(try bytes.bigEndian(as: Int32.self))
        default: self = try bytes.bigEndian()
        }
    }
}

extension Double: PostgresScalar {
    /// The type in PostgreSQL.
    public static var postgresType: PostgresType { .float8 }
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { PostgresType(oid: 1022) }

    /// Appends the binary form.
    public func encode(into bytes: inout [UInt8]) {
        bytes.append(bigEndian: bitPattern)
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        self.init(bitPattern: try bytes.bigEndian())
    }
}

extension String: PostgresScalar {
    /// The type in PostgreSQL.
    public static var postgresType: PostgresType { .text }
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { PostgresType(oid: 1009) }

    /// Every type whose binary form is its UTF-8 text.
    public static func accepts(_ type: PostgresType) -> Bool {
        type == .text || type == .varchar || type == .name || type == .bpchar || type == .json
            || type == .unknown
    }

    /// Appends the binary form.
    public func encode(into bytes: inout [UInt8]) throws(ValueProblem) {
        let start = bytes.count
        bytes.append(contentsOf: utf8)
        guard !bytes[start...].contains(0) else { throw .containsNUL }
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        // The client encoding is UTF8 and the server checked it on the way in; checked again, because a
        // repaired string would no longer be the stored one.
        let text = bytes.withUnsafeBytes { String(validating: $0, as: UTF8.self) }
        guard let text else { throw .malformed }
        self = text
    }
}

/// `bytea`, and its arrays.
extension Array: PostgresElement where Element == UInt8 {
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { PostgresType(oid: 1001) }

    /// Appends the binary form of an array.
    public static func encodeArray(
        _ array: [[UInt8]],
        into bytes: inout [UInt8]
    ) throws(ValueProblem) {
        let start = ArrayFormat.begin(of: .bytea, in: &bytes)
        for element in array {
            try ArrayFormat.append(element, to: &bytes)
        }
        try ArrayFormat.finish(count: array.count, hasNull: false, from: start, in: &bytes)
    }

    /// Reads the binary form of an array.
    public static func decodeArray(_ bytes: RawSpan) throws(ValueProblem) -> [[UInt8]] {
        var array: [[UInt8]] = []
        var reader = try ArrayFormat.Reader(bytes, accepting: { $0 == .bytea })
        array.reserveCapacity(reader.remaining)
        while reader.remaining > 0 {
            guard let range = try reader.next(in: bytes) else { throw .malformed }
            array.append(bytes.extracting(range).array())
        }
        return array
    }
}

extension UInt8: PostgresElement {
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { .bytea }

    /// Appends the binary form of an array.
    public static func encodeArray(_ array: [UInt8], into bytes: inout [UInt8]) {
        bytes.append(contentsOf: array)
    }

    /// Reads the binary form of an array.
    public static func decodeArray(_ bytes: RawSpan) -> [UInt8] {
        bytes.array()
    }
}

extension Array: PostgresEncodable where Element: PostgresElement {
    /// The type in PostgreSQL.
    public static var postgresType: PostgresType { Element.postgresArrayType }

    /// Appends the binary form.
    public func encode(into bytes: inout [UInt8]) throws(ValueProblem) {
        try Element.encodeArray(self, into: &bytes)
    }
}

extension Array: PostgresDecodable where Element: PostgresElement {
    /// A column of this type.
    public static func accepts(_ type: PostgresType) -> Bool {
        type == Element.postgresArrayType
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        self = try Element.decodeArray(bytes)
    }
}

/// NULL as nil, for columns; parameters take optionals through ``Query/StringInterpolation``.
extension Optional: PostgresDecodable where Wrapped: PostgresDecodable {
    /// A column of this type.
    public static func accepts(_ type: PostgresType) -> Bool {
        Wrapped.accepts(type)
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        self = .some(try Wrapped(decoding: bytes))
    }

    /// NULL is nil.
    public static var whenNull: Wrapped?? { .some(nil) }
}

/// Arrays with NULL elements.
extension Optional: PostgresElement where Wrapped: PostgresScalar {
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { Wrapped.postgresArrayType }

    /// Appends the binary form of an array.
    public static func encodeArray(
        _ array: [Wrapped?],
        into bytes: inout [UInt8]
    ) throws(ValueProblem) {
        let start = ArrayFormat.begin(of: Wrapped.postgresType, in: &bytes)
        var hasNull = false
        for element in array {
            if let element {
                try ArrayFormat.append(element, to: &bytes)
            } else {
                ArrayFormat.appendNull(to: &bytes)
                hasNull = true
            }
        }
        try ArrayFormat.finish(count: array.count, hasNull: hasNull, from: start, in: &bytes)
    }

    /// Reads the binary form of an array.
    public static func decodeArray(_ bytes: RawSpan) throws(ValueProblem) -> [Wrapped?] {
        var array: [Wrapped?] = []
        var reader = try ArrayFormat.Reader(bytes, accepting: { Wrapped.accepts($0) })
        array.reserveCapacity(reader.remaining)
        while reader.remaining > 0 {
            if let range = try reader.next(in: bytes) {
                array.append(try Wrapped(decoding: bytes.extracting(range)))
            } else {
                array.append(nil)
            }
        }
        return array
    }
}

/// A UUID as its sixteen bytes.
public struct UUID: PostgresScalar, Hashable, Comparable, CustomStringConvertible {
    /// The first eight bytes, big-endian.
    public let high: UInt64
    /// The last eight bytes, big-endian.
    public let low: UInt64

    /// From its two halves, big-endian.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The type in PostgreSQL.
    public static var postgresType: PostgresType { .uuid }
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { PostgresType(oid: 2951) }

    /// Appends the binary form.
    public func encode(into bytes: inout [UInt8]) {
        bytes.append(bigEndian: high)
        bytes.append(bigEndian: low)
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        guard bytes.byteCount == 16 else { throw .malformed }
        high = try bytes.extracting(0..<8).bigEndian()
        low = try bytes.extracting(8..<16).bigEndian()
    }

    /// The order PostgreSQL sorts by.
    public static func < (left: UUID, right: UUID) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }

    /// The hyphenated lower-case form of RFC 9562 §4.
    public var description: String {
        var text = ""
        text.reserveCapacity(36)
        for index in 0..<32 {
            if index == 8 || index == 12 || index == 16 || index == 20 { text.append("-") }
            let half = index < 16 ? high : low
            let digit = UInt8(truncatingIfNeeded: half >> UInt64(60 - 4 * (index % 16))) & 15
            text.unicodeScalars.append(Unicode.Scalar(digit < 10 ? 48 + digit : 87 + digit))
        }
        return text
    }
}

/// A `timestamptz`: microseconds since the Unix epoch, UTC.
public struct Timestamp: PostgresScalar, Hashable, Comparable {
    /// Microseconds since 1970-01-01T00:00:00Z.
    public let microseconds: Int64

    /// An instant in microseconds since 1970-01-01T00:00:00Z.
    public init(microseconds: Int64) {
        self.microseconds = microseconds
    }

    /// Later than every instant: PostgreSQL's `infinity`.
    public static let distantFuture = Timestamp(microseconds: .max)
    /// Earlier than every instant: PostgreSQL's `-infinity`.
    public static let distantPast = Timestamp(microseconds: .min)

    /// PostgreSQL counts from 2000-01-01.
    private static let epoch: Int64 = 946_684_800_000_000

    /// The type in PostgreSQL.
    public static var postgresType: PostgresType { .timestamptz }
    /// The type of an array of these in PostgreSQL.
    public static var postgresArrayType: PostgresType { PostgresType(oid: 1185) }

    /// Appends the binary form.
    public func encode(into bytes: inout [UInt8]) throws(ValueProblem) {
        if self == .distantFuture || self == .distantPast {
            bytes.append(bigEndian: microseconds)
            return
        }
        let (value, overflow) = microseconds.subtractingReportingOverflow(Self.epoch)
        guard !overflow, value != .min else { throw .outOfRange }
        bytes.append(bigEndian: value)
    }

    /// Reads the binary form.
    public init(decoding bytes: RawSpan) throws(ValueProblem) {
        let value: Int64 = try bytes.bigEndian()
        if value == .max || value == .min {
            microseconds = value
            return
        }
        let (sum, overflow) = value.addingReportingOverflow(Self.epoch)
        guard !overflow, sum != .max else { throw .outOfRange }
        microseconds = sum
    }

    /// Chronological order.
    public static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.microseconds < right.microseconds
    }
}

// MARK: - Arrays built element by element

/// An array parameter written element by element into one buffer: the columns of a batch insert.
///
/// `unnest($1::bytea[], $2::int8[])` takes one array per column. Building `[[UInt8]]` first would cost an
/// allocation per record; here a record's bytes are copied once and nothing is allocated per element.
public struct ArrayParameter<Element: Sendable>: Sendable {
    var bytes: [UInt8] = []
    /// How many elements were appended.
    public private(set) var count = 0
    private var hasNull = false
    private(set) var problem: ValueProblem?
    let type: PostgresType

    private init(type: PostgresType, elementType: PostgresType, capacity: Int) {
        self.type = type
        bytes.reserveCapacity(capacity)
        _ = ArrayFormat.begin(of: elementType, in: &bytes)
    }

    /// Appends NULL.
    public mutating func appendNull() {
        ArrayFormat.appendNull(to: &bytes)
        hasNull = true
        count += 1
    }

    /// Empties the array and keeps its memory, for the next batch.
    public mutating func removeAll() {
        bytes.removeSubrange(ArrayFormat.headerSize...)
        (count, hasNull, problem) = (0, false, nil)
    }

    private mutating func append(_ body: (inout [UInt8]) throws(ValueProblem) -> Void) {
        do throws(ValueProblem) {
            try body(&bytes)
            count += 1
        } catch {
            problem = problem ?? error
        }
    }

    func encode(into target: inout [UInt8]) throws(ValueProblem) {
        if let problem { throw problem }
        let start = target.count
        target.append(contentsOf: bytes)
        try ArrayFormat.finish(count: count, hasNull: hasNull, from: start, in: &target)
    }
}

extension ArrayParameter where Element: PostgresScalar {
    /// An empty array; `capacity` is in bytes of binary form, four more per element than its values.
    public init(of element: Element.Type = Element.self, capacity: Int = 0) {
        self.init(
            type: Element.postgresArrayType,
            elementType: Element.postgresType,
            capacity: capacity
        )
    }

    /// Appends one element.
    ///
    /// A value without a binary form is reported when the query runs.
    public mutating func append(_ element: Element) {
        append { bytes throws(ValueProblem) in try ArrayFormat.append(element, to: &bytes) }
    }
}

extension ArrayParameter where Element == [UInt8] {
    /// An empty `bytea[]`; `capacity` is in bytes of binary form, four more per element than its values.
    public init(of element: [UInt8].Type = [UInt8].self, capacity: Int = 0) {
        self.init(type: [UInt8].postgresArrayType, elementType: .bytea, capacity: capacity)
    }

    /// Appends one `bytea`.
    public mutating func append(_ element: [UInt8]) {
        append { bytes throws(ValueProblem) in try ArrayFormat.append(element, to: &bytes) }
    }

    /// Appends one `bytea`, from bytes that need not be an array of their own.
    public mutating func append(_ element: RawSpan) {
        append { bytes throws(ValueProblem) in
            guard let length = Int32(exactly: element.byteCount) else { throw .outOfRange }
            bytes.append(bigEndian: length)
            element.withUnsafeBytes { bytes.append(contentsOf: $0) }
        }
    }
}

/// The binary form of arrays (`array_send`): dimensions, NULL flag, element type, then per
/// dimension its size and lower bound, then length-prefixed elements with -1 for NULL.
///
/// One dimension here.
enum ArrayFormat {
    static let headerSize = 20
    /// A message, and so a parameter, is at most 1 GiB - 1.
    private static let bytesMax = 0x3fff_ffff

    static func begin(of element: PostgresType, in bytes: inout [UInt8]) -> Int {
        let start = bytes.count
        bytes.append(bigEndian: Int32(1))
        bytes.append(bigEndian: Int32(0))
        bytes.append(bigEndian: element.oid)
        bytes.append(bigEndian: Int32(0))
        bytes.append(bigEndian: Int32(1))
        return start
    }

    static func append(
        _ element: some PostgresEncodable,
        to bytes: inout [UInt8]
    ) throws(ValueProblem) {
        let start = bytes.count
        bytes.append(bigEndian: Int32(0))
        try element.encode(into: &bytes)
        guard let length = Int32(exactly: bytes.count - start - 4) else { throw .outOfRange }
        bytes.patch(bigEndian: length, at: start)
    }

    static func appendNull(to bytes: inout [UInt8]) {
        bytes.append(bigEndian: Int32(-1))
    }

    /// Fills in what `begin` could not know.
    static func finish(
        count: Int,
        hasNull: Bool,
        from start: Int,
        in bytes: inout [UInt8]
    ) throws(ValueProblem) {
        guard bytes.count - start <= bytesMax, let count = Int32(exactly: count) else {
            throw .outOfRange
        }
        bytes.patch(bigEndian: Int32(hasNull ? 1 : 0), at: start + 4)
        bytes.patch(bigEndian: count, at: start + 12)
    }

    /// Walks the elements, giving the range of each, or nil for NULL.
    struct Reader {
        private(set) var remaining: Int
        private var offset: Int

        init(_ bytes: RawSpan, accepting: (PostgresType) -> Bool) throws(ValueProblem) {
            let dimensions: Int32 = try bytes.bigEndian(at: 0)
            guard accepting(PostgresType(oid: try bytes.bigEndian(at: 8))) else { throw .malformed }
            guard dimensions != 0 else {
                // An empty array has no dimension at all.
                (remaining, offset) = (0, 12)
                return
            }
            let count: Int32 = try bytes.bigEndian(at: 12)
            // Each element takes at least its length word, which bounds what we reserve.
            guard dimensions == 1, count >= 0, bytes.byteCount >= headerSize,
                Int(count) <= (bytes.byteCount - headerSize) / 4
            else { throw .malformed }
            (remaining, offset) = (Int(count), headerSize)
        }

        mutating func next(in bytes: RawSpan) throws(ValueProblem) -> Range<Int>? {
            let length = Int(try bytes.bigEndian(at: offset, as: Int32.self))
            offset += 4
            remaining -= 1
            guard length != -1 else { return nil }
            guard length >= 0, length <= bytes.byteCount - offset else { throw .malformed }
            defer { offset += length }
            return offset..<offset + length
        }
    }
}

// MARK: - Bytes

extension [UInt8] {
    @inline(__always)
    mutating func append<Value: FixedWidthInteger>(bigEndian value: Value) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }

    @inline(__always)
    mutating func patch(bigEndian value: Int32, at offset: Int) {
        let value = UInt32(bitPattern: value)
        self[offset] = UInt8(truncatingIfNeeded: value >> 24)
        self[offset + 1] = UInt8(truncatingIfNeeded: value >> 16)
        self[offset + 2] = UInt8(truncatingIfNeeded: value >> 8)
        self[offset + 3] = UInt8(truncatingIfNeeded: value)
    }
}

extension RawSpan {
    /// The whole span as one big-endian integer; any other length is malformed.
    func bigEndian<Value: FixedWidthInteger & BitwiseCopyable>(
        as type: Value.Type = Value.self
    ) throws(ValueProblem) -> Value {
        guard byteCount == MemoryLayout<Value>.size else { throw .malformed }
        return try bigEndian(at: 0)
    }

    func bigEndian<Value: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int,
        as type: Value.Type = Value.self
    ) throws(ValueProblem) -> Value {
        guard offset >= 0, offset + MemoryLayout<Value>.size <= byteCount else { throw .malformed }
        // Safe: in bounds, and every bit pattern of an integer is a value.
        return Value(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: Value.self))
    }

    func byte(at offset: Int) -> UInt8 {
        unsafeLoadUnaligned(fromByteOffset: offset, as: UInt8.self)
    }

    func array() -> [UInt8] {
        withUnsafeBytes { [UInt8]($0) }
    }
}
