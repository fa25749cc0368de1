internal import CLibpq

/// The rows a statement returned, and how many it touched.
public struct Rows: Sendable, RandomAccessCollection {
    let result: QueryResult?
    /// How many rows the statement returned.
    public let count: Int
    /// How many rows were inserted, updated, deleted or selected; 0 for other statements.
    public let affected: Int

    init(_ result: consuming QueryResult) {
        count = result.rowCount
        affected = result.affected
        self.result = result
    }

    /// No rows.
    public init() {
        (result, count, affected) = (nil, 0, 0)
    }

    /// Always 0.
    public var startIndex: Int { 0 }
    /// The number of rows.
    public var endIndex: Int { count }

    /// The row at a position.
    public subscript(position: Int) -> Row {
        guard let result, indices.contains(position) else {
            preconditionFailure("row \(position) does not exist")
        }
        return Row(result: result, index: Int32(position))
    }

    /// The only row; throws ``PostgresError/unexpectedRowCount(_:)`` when there are none or more.
    public func one() throws(PostgresError) -> Row {
        guard count == 1 else { throw .unexpectedRowCount(count) }
        return self[0]
    }

    /// The only row, or nil; throws ``PostgresError/unexpectedRowCount(_:)`` when there are more.
    public func oneOrNone() throws(PostgresError) -> Row? {
        guard count <= 1 else { throw .unexpectedRowCount(count) }
        return first
    }
}

/// One row of a result.
public struct Row: Sendable {
    let result: QueryResult
    let index: Int32

    /// Reads the column with this name.
    public func decode<Value: PostgresDecodable>(
        _ name: String,
        as type: Value.Type = Value.self
    ) throws(PostgresError) -> Value {
        guard let column = result.column(named: name) else {
            throw .column(
                ColumnError(column: name, reason: .missing, expected: "\(Value.self)")
            )
        }
        return try read(column)
    }

    /// Reads the column at this position, from 0.
    public func decode<Value: PostgresDecodable>(
        at column: Int,
        as type: Value.Type = Value.self
    ) throws(PostgresError) -> Value {
        try read(Int32(column))
    }

    /// Reads the first columns in order: `let (id, name) = try row.decode(UUID.self, String.self)`.
    public func decode<each Value: PostgresDecodable>(
        _ types: repeat (each Value).Type
    ) throws(PostgresError) -> (repeat each Value) {
        var column: Int32 = -1
        func next<One: PostgresDecodable>(_ type: One.Type) throws(PostgresError) -> One {
            column += 1
            return try read(column)
        }
        return (repeat try next((each types)))
    }

    private func read<Value: PostgresDecodable>(_ column: Int32) throws(PostgresError) -> Value {
        func failure(_ reason: ColumnError.Reason) -> PostgresError {
            .column(
                ColumnError(
                    column: result.name(of: column) ?? "\(column)",
                    reason: reason,
                    expected: "\(Value.self)"
                )
            )
        }
        guard let type = result.type(of: column) else { throw failure(.missing) }
        guard Value.accepts(type) else { throw failure(.type(type)) }
        guard !result.isNull(index, column) else {
            guard let value = Value.whenNull else { throw failure(.null) }
            return value
        }
        do throws(ValueProblem) {
            return try result.withBytes(index, column) { bytes throws(ValueProblem) in
                try Value(decoding: bytes)
            }
        } catch {
            throw failure(.malformed)
        }
    }
}

/// Owner of one `PGresult`.
///
/// `@unchecked Sendable`: the result is complete before it gets here and is only read from then on, which libpq allows
/// from any thread; it is freed with the last reference.
final class QueryResult: @unchecked Sendable {
    private let result: OpaquePointer
    let rowCount: Int
    private let columnCount: Int32

    init(owning result: OpaquePointer) {
        self.result = result
        rowCount = Int(PQntuples(result))
        columnCount = PQnfields(result)
    }

    deinit {
        PQclear(result)
    }

    /// Digits, or nothing for statements that do not count.
    var affected: Int {
        Int(String(cString: PQcmdTuples(result))) ?? 0
    }

    /// `COMMIT` answers `ROLLBACK` when the transaction had failed.
    var isRollback: Bool {
        String(cString: PQcmdStatus(result)) == "ROLLBACK"
    }

    var isFailure: Bool {
        let status = PQresultStatus(result)
        return status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE
    }

    /// The connection ends with this error.
    var isFatal: Bool {
        // 'V' is the severity that is not translated.
        ["FATAL", "PANIC"].contains(field(Int32(UInt8(ascii: "V"))))
    }

    var isSkipped: Bool { PQresultStatus(result) == PGRES_PIPELINE_ABORTED }

    var isSync: Bool { PQresultStatus(result) == PGRES_PIPELINE_SYNC }

    func column(named name: String) -> Int32? {
        // Not PQfnumber: it folds case and reads quotes.
        (0..<columnCount).first { self.name(of: $0) == name }
    }

    func name(of column: Int32) -> String? {
        PQfname(result, column).map { String(cString: $0) }
    }

    func type(of column: Int32) -> PostgresType? {
        guard column >= 0, column < columnCount else { return nil }
        return PostgresType(oid: PQftype(result, column))
    }

    func isNull(_ row: Int32, _ column: Int32) -> Bool {
        PQgetisnull(result, row, column) == 1
    }

    /// The value's bytes, borrowed from the result.
    func withBytes<Value>(
        _ row: Int32,
        _ column: Int32,
        _ body: (RawSpan) throws(ValueProblem) -> Value
    ) throws(ValueProblem) -> Value {
        // libpq gives a pointer that lives as long as the result, which `self` keeps alive over the call.
        let bytes = UnsafeRawBufferPointer(
            start: PQgetvalue(result, row, column),
            count: Int(PQgetlength(result, row, column))
        )
        return try body(bytes.bytes)
    }

    func field(_ code: Int32) -> String? {
        PQresultErrorField(result, code).map { String(cString: $0) }
    }
}
