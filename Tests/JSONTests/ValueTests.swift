import JSON
import Testing

struct ValueTests {
    @Test func `members are found by their unescaped bytes`() throws {
        let value = try parse(
            #"{"a":1,"\u0062\n":2,"":3,"e\u0301":4,"long name here":5,"\ud83d\ude00":6}"#
        )
        #expect(value["a"]?.int64 == 1)
        #expect(value["b\n"]?.int64 == 2)
        #expect(value[""]?.int64 == 3)
        #expect(value["long name here"]?.int64 == 5)
        #expect(value["😀"]?.int64 == 6)
        // Canonically equal, but other bytes.
        #expect(value.member(named: Text("\u{E9}")) == nil)
        #expect(value.member(named: Text("e\u{301}"))?.int64 == 4)
        #expect(value.member(named: Array("a".utf8))?.int64 == 1)
        #expect(value.member(named: "long name here".utf8.reversed().reversed())?.int64 == 5)
        for absent in ["b", "A", "long name her", "long name here ", "a\u{0}", "\u{1F600}x"] {
            #expect(value.member(named: Text(absent)) == nil)
        }
    }

    @Test func `a question of the wrong kind has an empty answer`() throws {
        for text in ["null", "true", "1", #""a""#, "[1]", #"{"a":1}"#] {
            let value = try parse(text)
            #expect((value.boolean != nil) == (value.kind == .boolean))
            #expect((value.int64 != nil) == (value.kind == .number))
            #expect((value.double != nil) == (value.kind == .number))
            #expect((value.numberLexeme != nil) == (value.kind == .number))
            #expect((value.string != nil) == (value.kind == .string))
            #expect(value.stringEquals("a") == (value.kind == .string))
            #expect((value["a"] != nil) == (value.kind == .object))
            #expect(value.members.isEmpty == (value.kind != .object))
            #expect(value.elements.isEmpty == (value.kind != .array))
            #expect(value.count == (value.kind == .object || value.kind == .array ? 1 : 0))
            #expect(value.isNull == (value.kind == .null))
        }
    }

    @Test func `members and elements come in document order with their positions`() throws {
        let text = #"{"b": [1, {"x": []}, "s"], "a": {"c": null}, "z": true}"#
        let value = try parse(text)
        #expect(value.members.map { $0.key.text } == ["b", "a", "z"])
        #expect(value.members.map { $0.value.kind } == [.array, .object, .boolean])
        let elements = try #require(value["b"]).elements
        #expect(elements.map { $0.kind } == [.number, .object, .string])
        #expect(elements.count == 3)
        let utf8 = Array(text.utf8)
        let ranges = value.members.map {
            String(decoding: utf8[$0.value.sourceRange], as: UTF8.self)
        }
        #expect(ranges == [#"[1, {"x": []}, "s"]"#, #"{"c": null}"#, "true"])
        #expect(value.sourceRange == 0..<utf8.count)
        #expect(value.members.map { $0.key.sourceRange.lowerBound } == [1, 27, 45])
        #expect(value["z"]?.boolean == true)
    }

    @Test func `strings are compared without decoding`() throws {
        let value = try parse(
            #"["tools/call","tools\/call","tools\u002fcall","tools/cal","\u0000","é"]"#
        )
        let elements = Array(value.elements)
        #expect(
            elements.map { $0.stringEquals("tools/call") } == [
                true, true, true, false, false, false,
            ]
        )
        #expect(
            elements.map { $0.jsonString?.equals(Text("tools/call")) } == [
                true, true, true, false, false, false,
            ]
        )
        #expect(elements[4].stringEquals("\0"))
        #expect(elements[5].stringEquals("é"))
        #expect(
            elements.map { $0.jsonString?.hasPrefix("tools/") } == [
                true, true, true, true, false, false,
            ]
        )
        #expect(elements[3].jsonString?.hasPrefix("tools/cally") == false)
        #expect(elements[1].jsonString?.isEscaped == true)
    }

    static let integers: [(lexeme: String, value: Int64?)] = [
        ("0", 0), ("-0", 0), ("0.0", 0), ("-0e99", 0), ("0e-99", 0), ("1", 1), ("-1", -1),
        ("1.0", 1),
        ("1.000000000000000000000000", 1), ("10e-1", 1), ("100e-2", 1), ("1e3", 1000),
        ("1E+3", 1000),
        ("12.5e1", 125), ("0.001e3", 1), ("0.0010e4", 10), ("1.5", nil), ("1e-1", nil),
        ("105e-2", nil),
        ("9223372036854775807", .max), ("9223372036854775808", nil), ("-9223372036854775808", .min),
        ("-9223372036854775809", nil), ("9223372036854775807.0", .max),
        ("922337203685477580.7e1", .max),
        ("1e18", 1_000_000_000_000_000_000), ("9e18", 9_000_000_000_000_000_000), ("1e19", nil),
        ("1e400", nil), ("1e-400", nil), ("123456789012345678901234567890", nil),
        ("18446744073709551616", nil), ("0e999999999999999999999999999999", 0),
        ("1e999999999999999999999999999999", nil), ("1e-999999999999999999999999999999", nil),
        ("1000000000000000000000000e-24", 1), ("9007199254740993", 9_007_199_254_740_993),
        ("1234567890123456789.5", nil), ("-1.20e1", -12),
    ]

    @Test(arguments: integers)
    func `a number is an integer only if it is one exactly`(lexeme: String, value: Int64?) throws {
        let number = try parse(lexeme)
        #expect(number.int64 == value)
        #expect(number.numberLexeme == Text(lexeme))
    }

    @Test func `a double is finite or nothing`() throws {
        #expect(try parse("1e400").double == nil)
        #expect(try parse("-1e400").double == nil)
        #expect(try parse("-1.5e-3").double == -0.0015)
        #expect(try parse("0.1").double == 0.1)
        #expect(try parse("-0").double?.sign == .minus)
    }
}

struct TextTests {
    @Test func `text is equal only byte for byte`() {
        let (composed, decomposed) = (Text("caf\u{E9}"), Text("cafe\u{301}"))
        #expect(composed.string == decomposed.string)
        #expect(composed != decomposed)
        #expect(composed == Text("caf\u{E9}"))
        #expect(Set([composed, decomposed, Text("café")]).count == 2)
        #expect(Text("a") != Text("a\0"))
        #expect(Text("a") != Text("A"))
        #expect(Text("") == Text(""))
        #expect(Text("0123456789abcdefX") != Text("0123456789abcdefY"))
        #expect(Text("0123456789abcdef\u{212B}") != Text("0123456789abcdef\u{C5}"))
    }

    @Test func `text is ordered by bytes`() {
        let sorted: [Text] = [
            "", "A", "a", "aa", "b", "e\u{301}", "\u{E9}", "\u{FFFF}", "\u{10000}",
        ]
        #expect(sorted.shuffled().sorted() == sorted)
    }

    @Test func `text is made only from valid UTF-8`() {
        #expect(Text(validating: Array("é".utf8)) == "é")
        #expect(Text(validating: [0xC0, 0xAF]) == nil)
        #expect(Text(validating: [0xED, 0xA0, 0x80]) == nil)
        #expect(Text(validating: [0xE6, 0x9D]) == nil)
        #expect(Text(validating: [])?.isEmpty == true)
        #expect(Text("é").byteCount == 2)
        #expect(Text("abc".dropFirst()).description == "bc")
    }
}
