import PostgresTestSupport
import Testing

@testable import Postgres

@Suite(.enabled(if: TestCluster.isAvailable))
struct ValueTests {
    private func roundTrip<Value: PostgresEncodable & PostgresDecodable & Equatable>(
        _ values: [Value]
    ) async throws {
        let connection = try await freshConnection()
        for value in values {
            let row = try await connection.query("select \(value), \(Value?.none)").one()
            #expect(try row.decode(at: 0, as: Value.self) == value)
            #expect(try row.decode(at: 1, as: Value?.self) == nil)
        }
    }

    @Test func `every scalar comes back as it went`() async throws {
        try await roundTrip([true, false])
        try await roundTrip([Int16.min, -1, 0, .max])
        try await roundTrip([Int32.min, -1, 0, .max])
        try await roundTrip([Int64.min, -1, 0, .max])
        try await roundTrip([0.0, -0.0, .pi, .infinity, -.infinity, .leastNonzeroMagnitude])
        try await roundTrip(["", "é\u{301}🔑", "'; drop table x; --", "\\", "\n"])
        try await roundTrip([[], [0], [UInt8](0...255)] as [[UInt8]])
        try await roundTrip([UUID(high: 0, low: 0), UUID(high: .max, low: 0x0123_4567_89ab_cdef)])
        try await roundTrip([
            Timestamp(microseconds: 0), Timestamp(microseconds: 1_790_000_000_123_456),
            Timestamp(microseconds: -1), .distantPast, .distantFuture,
        ])
    }

    @Test func `every array comes back as it went`() async throws {
        try await roundTrip([[], [true, false]] as [[Bool]])
        try await roundTrip([[], [.min, 0, .max]] as [[Int16]])
        try await roundTrip([[], [.min, 0, .max]] as [[Int32]])
        try await roundTrip([[], [.min, 0, .max]] as [[Int64]])
        try await roundTrip([[], [0.5, -.infinity]] as [[Double]])
        try await roundTrip([[], ["", "a,b", "{}", "\"", "NULL"]] as [[String]])
        try await roundTrip([[], [[]], [[0], [1, 2, 3]]] as [[[UInt8]]])
        try await roundTrip([[UUID(high: 1, low: 2)]])
        try await roundTrip([[Timestamp(microseconds: 1), .distantFuture]])
        try await roundTrip([[nil, 1, nil, 2], [], [nil]] as [[Int64?]])
        try await roundTrip([["a", nil]] as [[String?]])
    }

    @Test func `what the server prints is what was meant`() async throws {
        let connection = try await freshConnection()
        let row = try await connection.query(
            """
            select (\(UUID(high: 0x0190_a1b2_c3d4_7e5f, low: 0x8899_aabb_ccdd_eeff)))::text,
                (\(Timestamp(microseconds: 1_000_000)) at time zone 'UTC')::text,
                encode(\([0xde, 0xad] as [UInt8]), 'hex'), (\(1.5))::text, (\([1, 2] as [Int64]))::text
            """
        ).one()
        let (uuid, time, bytes, double, array) = try row.decode(
            String.self,
            String.self,
            String.self,
            String.self,
            String.self
        )
        #expect(uuid == "0190a1b2-c3d4-7e5f-8899-aabbccddeeff")
        #expect(UUID(high: 0x0190_a1b2_c3d4_7e5f, low: 0x8899_aabb_ccdd_eeff).description == uuid)
        #expect(time == "1970-01-01 00:00:01")
        #expect(bytes == "dead")
        #expect(double == "1.5")
        #expect(array == "{1,2}")
    }

    @Test func `ten thousand rows go in as columns and come back in order`() async throws {
        let connection = try await freshConnection()
        try await connection.query(
            "create table item (n bigint primary key, body bytea, note text)"
        )
        let count = 10_000
        var numbers = ArrayParameter(of: Int64.self)
        var bodies = ArrayParameter(of: [UInt8].self, capacity: count * 604)
        var notes = ArrayParameter(of: String.self)
        for n in 0..<count {
            numbers.append(Int64(n))
            bodies.append([UInt8](repeating: UInt8(truncatingIfNeeded: n), count: 600).span.bytes)
            if n % 2 == 0 { notes.append("note \(n)") } else { notes.appendNull() }
        }
        let rows = try await connection.query(
            """
            insert into item select * from unnest(\(numbers), \(bodies), \(notes))
            on conflict do nothing
            """
        )
        #expect(rows.affected == count)
        let back = try await connection.query("select n, body, note from item order by n")
        #expect(back.count == count)
        for (index, row) in back.enumerated() {
            let (n, body, note) = try row.decode(Int64.self, [UInt8].self, String?.self)
            guard n == Int64(index), body.count == 600,
                body.allSatisfy({ $0 == UInt8(truncatingIfNeeded: index) }),
                note == (index % 2 == 0 ? "note \(index)" : nil)
            else {
                Issue.record("row \(index) differs")
                return
            }
        }
        let again = try await connection.query(
            "insert into item select * from unnest(\(numbers), \(bodies), \(notes)) on conflict do nothing"
        )
        #expect(again.affected == 0)
    }

    @Test func `a reused array parameter forgets what it held`() async throws {
        let connection = try await freshConnection()
        var array = ArrayParameter(of: Int64.self)
        array.append(1)
        array.appendNull()
        array.removeAll()
        array.append(7)
        let row = try await connection.query("select \(array)").one()
        #expect(try row.decode(at: 0, as: [Int64].self) == [7])
    }

    @Test func `text parameters take the type of their place`() async throws {
        let connection = try await freshConnection()
        try await connection.query("create table setting (value jsonb, period interval)")
        try await connection.query(
            "insert into setting values (\(text: #"{"a": 1}"#), \(text: "2 hours"))"
        )
        let row = try await connection.query(
            "select value->>'a', period = interval '120 minutes' from setting"
        ).one()
        #expect(try row.decode(String.self, Bool.self) == ("1", true))
    }

    @Test func `a column read as something else names the column and both types`() async throws {
        let connection = try await freshConnection()
        let row = try await connection.query(
            "select 1::int8 as n, null::text as t, array[1, null]::int8[] as a, 'x'::text as s"
        ).one()
        func column(_ reason: ColumnError.Reason, _ name: String, _ type: String) -> PostgresError {
            .column(ColumnError(column: name, reason: reason, expected: type))
        }
        #expect(
            await failure { try row.decode("n", as: String.self) }
                == column(.type(.int8), "n", "String")
        )
        // Narrowing would lose values one day.
        #expect(
            await failure { try row.decode("n", as: Int32.self) }
                == column(.type(.int8), "n", "Int32")
        )
        #expect(
            await failure { try row.decode("t", as: String.self) } == column(.null, "t", "String")
        )
        #expect(
            await failure { try row.decode("a", as: [Int64].self) }
                == column(.malformed, "a", "Array<Int64>")
        )
        #expect(
            await failure { try row.decode("none", as: Int64.self) }
                == column(.missing, "none", "Int64")
        )
        #expect(
            await failure { try row.decode(at: 4, as: Int64.self) }
                == column(.missing, "4", "Int64")
        )
        #expect(try row.decode("t", as: String?.self) == nil)
        #expect(try row.decode("s", as: String?.self) == "x")
        #expect(try row.decode("a", as: [Int64?].self) == [1, nil])
    }

    @Test func `integers widen`() async throws {
        let connection = try await freshConnection()
        let row = try await connection.query("select 7::int2 as s, -7::int4 as i").one()
        #expect(try row.decode("s", as: Int64.self) == 7)
        #expect(try row.decode("s", as: Int32.self) == 7)
        #expect(try row.decode("i", as: Int64.self) == -7)
    }
}
