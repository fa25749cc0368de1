import Cedar
import JSON
import Testing

@Suite struct ValueTests {
    private func json(_ text: String) throws -> JSONValue { try JSONDocument(parsing: text).root }

    private func holds(_ condition: String, _ context: [Text: Value]) throws -> Bool {
        let set = try PolicySet.parse("permit(principal, action, resource) when { \(condition) };")
        let uid = EntityUID(type: "U", id: "a")
        let request = Request(
            principal: uid,
            action: EntityUID(type: "Action", id: "v"),
            resource: uid,
            context: context
        )
        let answer = CompiledPolicySet(set).decide(request, entities: .empty)
        return answer.decision == .allow && answer.errors.isEmpty
    }

    @Test func `arguments of a caller are data and never references`() throws {
        var reader = ValueReader()
        let context = try reader.record(
            json(#"{"a": {"__entity": {"type": "U", "id": "root"}}, "b": [1, "x", true, 1e3, -0]}"#)
        )
        #expect(try holds(#"context.a == {"__entity": {type: "U", id: "root"}}"#, context))
        #expect(try holds(#"context.b == [0, 1000, true, "x", 1]"#, context))
        #expect(reader.droppedCount == 0)
    }

    @Test func `what Cedar cannot hold is refused, or dropped and counted`() throws {
        let object = try json(
            #"{"a": null, "b": 1.5, "c": [1, null, 2.5], "d": 9223372036854775808}"#
        )
        var strict = ValueReader()
        #expect(throws: ValueReadingError.null) { try strict.record(object) }
        var halfStrict = ValueReader(nulls: .drop)
        #expect(throws: ValueReadingError.fraction) { try halfStrict.record(object) }
        var lenient = ValueReader(nulls: .drop, fractions: .drop)
        let context = try lenient.record(object)
        #expect(try holds("context == {c: [1]}", context))
        #expect(lenient.droppedCount == 5)
        #expect(throws: ValueReadingError.null) { try lenient.value(json("null")) }
        #expect(throws: ValueReadingError.notARecord) { try lenient.record(json("[]")) }
        #expect(throws: ValueReadingError.integerTooLarge) {
            try strict.value(json("9223372036854775808"))
        }
    }

    @Test func `nesting is bounded`() throws {
        var reader = ValueReader(depthMax: 3)
        _ = try reader.value(json("[[[1]]]"))
        #expect(throws: ValueReadingError.tooDeep) { try reader.value(json("[[[[1]]]]")) }
        #expect(throws: ValueReadingError.tooDeep) {
            try reader.value(json(#"{"a":{"a":{"a":{}}}}"#))
        }
    }

    @Test(arguments: [
        ("null", ValueReadingError.null), ("1.0", .fraction), ("1e2", .fraction),
        ("9223372036854775808", .integerTooLarge),
        (#"{"__entity": 1}"#, .invalidEntity), (#"{"__entity": {"type": "U"}}"#, .invalidEntity),
        (#"{"__entity": {"type": "U U", "id": "a"}}"#, .invalidEntity),
        (#"{"__entity": {"type": "if", "id": "a"}}"#, .invalidEntity),
        (#"{"__entity": {"type": "A:B", "id": "a"}}"#, .invalidEntity),
        (#"{"__extn": {"fn": "ip", "arg": "x"}}"#, .invalidExtension),
        (#"{"__extn": {"fn": "isIpv4", "arg": "1.1.1.1"}}"#, .invalidExtension),
        (#"{"__expr": "1"}"#, .invalidExtension),
    ])
    func `entity data that is malformed is refused`(text: String, error: ValueReadingError) throws {
        let value = try json(text)
        #expect(throws: error) { try Value(cedarJSON: value) }
    }

    @Test func `entity data may hold every kind of value`() throws {
        let record = try Value.record(
            cedarJSON: json(
                #"""
                {"ip": {"__extn": {"fn": "ip", "arg": "10.0.0.0/8"}}, "e": {"__entity": {"type": "A::B", "id": ""}},
                 "d": {"__extn": {"fn": "decimal", "arg": "1.5"}}, "n": -9223372036854775808,
                 "t": {"__extn": {"fn": "offset", "args": [{"__extn": {"fn": "datetime", "arg": "2024-01-01"}},
                       {"__extn": {"fn": "duration", "arg": "1d"}}]}}}
                """#
            )
        )
        let condition = #"""
            context == {ip: ip("10.0.0.0/8"), e: A::B::"", d: decimal("1.5"), n: -9223372036854775808,
                        t: datetime("2024-01-02")}
            """#
        #expect(try holds(condition, record))
    }

    @Test(arguments: [
        "[]", #"[{"uid": {"type": "U", "id": "a"}, "attrs": {}}]"#,
        #"[{"uid": "U::\"a\"", "attrs": {}, "parents": []}]"#, #"{"a": 1}"#,
        #"[{"uid": {"type": "Action", "id": "a"}, "attrs": {}, "parents": [{"type": "U", "id": "a"}]}]"#,
    ])
    func `a list of entities is complete or refused`(text: String) throws {
        let value = try json(text)
        let isEmpty = value.kind == .array && value.count == 0
        #expect((try? Entity.list(cedarJSON: value).isEmpty) == (isEmpty ? true : nil))
    }

    @Test(arguments: [
        ("1.0", "1.0000"), ("-0.5", "-0.5000"), ("00.1", "0.1000"),
        ("-922337203685477.5808", "-922337203685477.5808"),
        ("922337203685477.5807", "922337203685477.5807"), ("-0.0", "0.0000"),
    ])
    func `decimals print with four places`(text: String, printed: String) {
        #expect(CedarDecimal(text.utf8)?.description == printed)
    }

    @Test(arguments: [
        "1", "1.", ".1", "-.1", "+1.0", "1.00000", "1_0.1", "1.1\n", "--1.0", "",
        "922337203685477.5808", "-922337203685477.5809", "999999999999999999999.1",
        "\u{661}.\u{661}",
    ])
    func `what is no decimal is refused`(text: String) {
        #expect(CedarDecimal(text.utf8) == nil)
    }

    @Test(arguments: [
        ":::", "1::2::3", "1:2:3:4::5:6:7:8", "1:2:3:4:5:6:7", "00001::", "::1/129", "::1/",
        "::1/00",
        "::1/001", "::1/+1", "1.2.3.4/00", "1.2.3.4/01", "1.2.3.4/33", "1.2.3", "1.2.3.256",
        "1.2.3.4 ",
        "01.2.3.4", "0.0.0.00", "::ffff:1.2.3.4", "fe80::1%eth0", "[::1]", "::-1", "::+1", "",
        "::-0",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0128",
    ])
    func `what is no address is refused`(text: String) {
        #expect(IPAddress(text.utf8) == nil)
    }

    @Test(arguments: [
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
        ("ABCD::/16", "abcd:0:0:0:0:0:0:0/16"), ("::", "0:0:0:0:0:0:0:0"),
        ("1.2.3.4/32", "1.2.3.4"), ("255.255.255.255/0", "255.255.255.255/0"),
    ])
    func `addresses keep their bits and prefix`(text: String, printed: String) {
        #expect(IPAddress(text.utf8)?.description == printed)
    }

    @Test(arguments: [
        "2024-1-01", "2024-01-01T00:00:00", "2024-01-01T00:00Z", "2024-01-01T00:00:00+00:00",
        "2024-01-01T00:00:00+0060", "2024-01-01T00:00:00+2400", "2024-01-01T00:60:00Z",
        "2024-13-01",
        "2024-00-01", "2024-01-00", "1900-02-29", "2023-02-29", "2024-04-31", "2024-01-01T",
        "-2024-01-01",
        "2024-01-01Z", "2024-01-01T00:00:00.5Z", "2024-01-01T00:00:00z", "10000-01-01",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:60Z", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00ZZ",
    ])
    func `what is no instant is refused`(text: String) {
        #expect(CedarDatetime(text.utf8) == nil)
    }

    @Test(arguments: [
        ("1970-01-01", 0), ("2000-02-29", 951_782_400_000), ("0000-01-01", -62_167_219_200_000),
        ("1969-12-31T23:59:59.999Z", -1), ("2024-01-01T00:00:00+2359", 1_703_980_860_000),
        ("9999-12-31T23:59:59.999-2359", 253_402_387_139_999),
    ])
    func `instants are milliseconds since the epoch`(text: String, milliseconds: Int64) {
        #expect(CedarDatetime(text.utf8)?.milliseconds == milliseconds)
    }

    @Test(arguments: [
        "", "-", "1", "1ms1s", "30m1h", "1 d", "1D", "+1d", "1.5h", "1d1d", "1h-1m",
        "9223372036854775808ms",
        "-106751991168d", "106751991167d7h12m55s808ms", "99999999999999999999d", "1m1m", "1mss",
    ])
    func `what is no duration is refused`(text: String) {
        #expect(CedarDuration(text.utf8) == nil)
    }

    @Test(arguments: [
        ("1d2h3m4s5ms", 93_784_005), ("-90s", -90_000), ("01d", 86_400_000), ("1m1ms", 60_001),
        ("-0ms", 0),
        ("-106751991167d7h12m55s808ms", Int64.min), ("106751991167d7h12m55s807ms", .max),
    ])
    func `durations are milliseconds`(text: String, milliseconds: Int64) {
        #expect(CedarDuration(text.utf8)?.milliseconds == milliseconds)
    }
}
