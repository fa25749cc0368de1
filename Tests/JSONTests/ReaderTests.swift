import JSON
import Testing

/// What is read and what is refused, and where.
///
/// The public parsing suites sort their cases into must accept, must refuse and may differ; so do these tables. For us the third kind is decided: what readers may treat differently is refused.
struct ReaderTests {
    struct Refused: CustomTestStringConvertible {
        let name: String
        let bytes: [UInt8]
        let code: JSONError.Code
        let offset: Int

        init(_ name: String, _ text: String, _ code: JSONError.Code, at offset: Int) {
            self.init(name, bytes: Array(text.utf8), code, at: offset)
        }

        init(_ name: String, bytes: [UInt8], _ code: JSONError.Code, at offset: Int) {
            (self.name, self.bytes, self.code, self.offset) = (name, bytes, code, offset)
        }

        var testDescription: String { name }
    }

    static func quoted(_ bytes: [UInt8]) -> [UInt8] { [0x22] + bytes + [0x22] }

    static let refused: [Refused] = [
        Refused("nothing", "", .unexpectedEnd, at: 0),
        Refused("only blanks", " \n\t\r ", .unexpectedEnd, at: 5),
        Refused("byte order mark", "\u{FEFF}{}", .byteOrderMark, at: 0),
        Refused("UTF-16", bytes: [0x7B, 0x00, 0x7D, 0x00], .unexpectedByte, at: 1),
        Refused("two values", "1 2", .trailingBytes, at: 2),
        Refused("two objects", "{}{}", .trailingBytes, at: 2),
        Refused("closing bracket too many", "[1]]", .trailingBytes, at: 3),
        Refused("comment after", "{}//", .trailingBytes, at: 2),
        Refused("zero byte after", bytes: [0x31, 0x00], .trailingBytes, at: 1),
        Refused("vertical tab as blank", bytes: [0x0B, 0x31], .unexpectedByte, at: 0),
        Refused("no-break space as blank", "\u{A0}1", .unexpectedByte, at: 0),
        Refused("byte order mark inside", "[\u{FEFF}1]", .unexpectedByte, at: 1),

        Refused("line comment", "[1, // one\n2]", .unexpectedByte, at: 4),
        Refused("block comment", "/**/1", .unexpectedByte, at: 0),
        Refused("single quotes", "['a']", .unexpectedByte, at: 1),
        Refused("name without quotes", "{a:1}", .unexpectedByte, at: 1),
        Refused("number as name", "{1:1}", .unexpectedByte, at: 1),
        Refused("NaN", "NaN", .unexpectedByte, at: 0),
        Refused("Infinity", "[Infinity]", .unexpectedByte, at: 1),
        Refused("-Infinity", "-Infinity", .invalidNumber, at: 1),
        Refused("undefined", "undefined", .unexpectedByte, at: 0),
        Refused("True", "True", .unexpectedByte, at: 0),
        Refused("nul", "nul", .unexpectedEnd, at: 3),
        Refused("nulL", "nulL", .unexpectedByte, at: 3),
        Refused("truth", "[truth]", .unexpectedByte, at: 4),
        Refused("truefalse", "truefalse", .trailingBytes, at: 4),

        Refused("open array", "[", .unexpectedEnd, at: 1),
        Refused("open array after value", "[1", .unexpectedEnd, at: 2),
        Refused("open array after comma", "[1,", .unexpectedEnd, at: 3),
        Refused("open object", "{", .unexpectedEnd, at: 1),
        Refused("object ends after name", #"{"a""#, .unexpectedEnd, at: 4),
        Refused("object ends after colon", #"{"a":"#, .unexpectedEnd, at: 5),
        Refused("object without colon", #"{"a" 1}"#, .unexpectedByte, at: 5),
        Refused("object with two colons", #"{"a"::1}"#, .unexpectedByte, at: 5),
        Refused("object without value", #"{"a":}"#, .unexpectedByte, at: 5),
        Refused("wrong bracket", "[1}", .unexpectedByte, at: 2),
        Refused("wrong brace", #"{"a":1]"#, .unexpectedByte, at: 6),
        Refused("trailing comma in array", "[1 , ]", .trailingComma, at: 3),
        Refused("trailing comma in object", #"{"a":1,}"#, .trailingComma, at: 6),
        Refused("two commas", "[1,,2]", .unexpectedByte, at: 3),
        Refused("leading comma", "[,1]", .unexpectedByte, at: 1),
        Refused("only a comma", "{,}", .unexpectedByte, at: 1),
        Refused("missing comma", "[1 2]", .unexpectedByte, at: 3),
        Refused("semicolon", "[1;2]", .unexpectedByte, at: 2),
        Refused("member in array", #"["a":1]"#, .unexpectedByte, at: 4),

        Refused("leading zero", "[01]", .leadingZero, at: 1),
        Refused("negative leading zero", "-012", .leadingZero, at: 1),
        Refused("two zeros", "00", .leadingZero, at: 0),
        Refused("plus sign", "+1", .unexpectedByte, at: 0),
        Refused("only a minus", "[-]", .invalidNumber, at: 2),
        Refused("minus at the end", "-", .unexpectedEnd, at: 1),
        Refused("two minus", "--1", .invalidNumber, at: 1),
        Refused("no integer part", ".5", .unexpectedByte, at: 0),
        Refused("no fraction", "[1.]", .invalidNumber, at: 3),
        Refused("fraction at the end", "1.", .unexpectedEnd, at: 2),
        Refused("no exponent", "[1e]", .invalidNumber, at: 3),
        Refused("no exponent after the sign", "[1e+]", .invalidNumber, at: 4),
        Refused("fractional exponent", "[1e1.5]", .unexpectedByte, at: 4),
        Refused("two points", "[1.2.3]", .unexpectedByte, at: 4),
        Refused("hexadecimal", "[0x1F]", .unexpectedByte, at: 2),
        Refused("grouped digits", "[1_000]", .unexpectedByte, at: 2),
        Refused("full-width digit", "[１]", .unexpectedByte, at: 1),

        Refused("open string", #""abc"#, .unexpectedEnd, at: 4),
        Refused("escape at the end", #""abc\"#, .unexpectedEnd, at: 5),
        Refused("escaped quote at the end", #""abc\""#, .unexpectedEnd, at: 6),
        Refused("raw newline", "\"a\nb\"", .controlCharacter, at: 2),
        Refused("raw tab", "[\"\t\"]", .controlCharacter, at: 2),
        Refused("raw zero byte", bytes: quoted([0x00]), .controlCharacter, at: 1),
        Refused(
            "raw 1F after eight",
            bytes: quoted(Array("12345678".utf8) + [0x1F]),
            .controlCharacter,
            at: 9
        ),
        Refused("raw newline in a name", "{\"a\n\":1}", .controlCharacter, at: 3),
        Refused("escape x", #""\x41""#, .invalidEscape, at: 1),
        Refused("escape a", #""\a""#, .invalidEscape, at: 1),
        Refused("escape 0", #""\0""#, .invalidEscape, at: 1),
        Refused("escape '", #""\'""#, .invalidEscape, at: 1),
        Refused("escape U", #""\U0041""#, .invalidEscape, at: 1),
        Refused("escaped newline", "\"\\\n\"", .invalidEscape, at: 1),
        Refused("three digits", #""\u004""#, .invalidEscape, at: 1),
        Refused("digit g", #""\u00g1""#, .invalidEscape, at: 1),
        Refused("digits in braces", #""\u{41}""#, .invalidEscape, at: 1),
        Refused("sign among digits", #""\u+041""#, .invalidEscape, at: 1),

        Refused("high surrogate alone", #""\ud800""#, .loneSurrogate, at: 1),
        Refused("high surrogate, then text", #""ab\ud83dxyz""#, .loneSurrogate, at: 3),
        Refused("high surrogate, then newline", #""\ud83d\n0000""#, .loneSurrogate, at: 1),
        Refused("high, high", #""\ud800\ud800""#, .loneSurrogate, at: 1),
        Refused("high, scalar", #""\uDBFF\u0041""#, .loneSurrogate, at: 1),
        Refused("low surrogate alone", #""\udc00""#, .loneSurrogate, at: 1),
        Refused("low, high", #""\udc00\ud800""#, .loneSurrogate, at: 1),
        Refused("lone surrogate in a name", #"{"\udfff":1}"#, .loneSurrogate, at: 2),

        Refused("continuation alone", bytes: quoted([0x80]), .invalidUTF8, at: 1),
        Refused("overlong slash, two", bytes: quoted([0xC0, 0xAF]), .invalidUTF8, at: 1),
        Refused("overlong C1", bytes: quoted([0xC1, 0xBF]), .invalidUTF8, at: 1),
        Refused("overlong slash, three", bytes: quoted([0xE0, 0x80, 0xAF]), .invalidUTF8, at: 1),
        Refused("overlong E09F", bytes: quoted([0xE0, 0x9F, 0xBF]), .invalidUTF8, at: 1),
        Refused("overlong, four", bytes: quoted([0xF0, 0x8F, 0xBF, 0xBF]), .invalidUTF8, at: 1),
        Refused("surrogate D800", bytes: quoted([0xED, 0xA0, 0x80]), .invalidUTF8, at: 1),
        Refused("surrogate DFFF", bytes: quoted([0xED, 0xBF, 0xBF]), .invalidUTF8, at: 1),
        Refused("above 10FFFF", bytes: quoted([0xF4, 0x90, 0x80, 0x80]), .invalidUTF8, at: 1),
        Refused("five bytes", bytes: quoted([0xF8, 0x88, 0x80, 0x80, 0x80]), .invalidUTF8, at: 1),
        Refused("FF", bytes: quoted([0xFF]), .invalidUTF8, at: 1),
        Refused("Latin-1 é", bytes: quoted([0x61, 0xE9]), .invalidUTF8, at: 2),
        Refused("cut by the quote", bytes: quoted([0xE6, 0x9D]), .invalidUTF8, at: 1),
        Refused("cut by the end", bytes: [0x22, 0xE6, 0x9D], .invalidUTF8, at: 1),
        Refused("third byte bad", bytes: quoted([0xE6, 0x9D, 0x41]), .invalidUTF8, at: 1),
        Refused("fourth byte bad", bytes: quoted([0xF0, 0x9F, 0x98, 0x41]), .invalidUTF8, at: 1),
        Refused("bad after good", bytes: quoted([0xC3, 0xA9, 0xC3]), .invalidUTF8, at: 3),
        Refused("bad in a name", bytes: [0x7B, 0x22, 0xFF, 0x22], .invalidUTF8, at: 2),

        Refused("duplicate", #"{"a":1,"a":1}"#, .duplicateKey, at: 7),
        Refused("duplicate escaped", #"{"a":1,"\u0061":2}"#, .duplicateKey, at: 7),
        Refused("duplicate escaped first", #"{"\u0061":1,"a":2}"#, .duplicateKey, at: 12),
        Refused("both escaped differently", #"{"\u002f":1,"\/":2}"#, .duplicateKey, at: 12),
        Refused("duplicate surrogate pair", #"{"😀":1,"\ud83d\ude00":2}"#, .duplicateKey, at: 10),
        Refused("duplicate empty", #"{"":1,"":2}"#, .duplicateKey, at: 6),
        Refused("third time", #"{"a":1,"b":2,"c":3,"b":4}"#, .duplicateKey, at: 19),
        Refused("duplicate of seven bytes", #"{"abcdefg":1,"abcdefg":2}"#, .duplicateKey, at: 13),
        Refused(
            "duplicate of many bytes",
            #"{"abcdefghijkl":1,"abcdefghijkl":2}"#,
            .duplicateKey,
            at: 18
        ),
        Refused("duplicate inside", #"[{"x":{"a":1,"a":2}}]"#, .duplicateKey, at: 13),
    ]

    @Test(arguments: refused)
    func `a malformed document is refused where it goes wrong`(row: Refused) {
        #expect(refusal(of: row.bytes) == JSONError(row.code, at: row.offset))
    }

    static let accepted: [(text: String, rewritten: String)] = [
        ("null", "null"), ("true", "true"), ("false", "false"), (" \t\r\n1 \t\r\n", "1"),
        ("0", "0"), ("-0", "-0"), ("-0.0e-0", "-0.0e-0"), ("1E+2", "1E+2"), ("1e00", "1e00"),
        ("1e400", "1e400"), ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("0.1000", "0.1000"), ("[]", "[]"), ("[ ]", "[]"), ("{}", "{}"), ("{ \n}", "{}"),
        (#"[ 1 , "a" , [ ] ]"#, #"[1,"a",[]]"#), (#"{ "a" : { } }"#, #"{"a":{}}"#),
        (#""""#, #""""#), (#""\"\\\/\b\f\n\r\t""#, #""\"\\/\b\f\n\r\t""#),
        (#""\u0022\u005c\u0008\u000A""#, #""\"\\\b\n""#),
        (#""\u0000\u001F\u001f""#, #""\u0000\u001f\u001f""#),
        (#""\u007f""#, "\"\u{7F}\""), ("\"\u{7F}\"", "\"\u{7F}\""), (#""\u00e9""#, #""é""#),
        (#""\ud83d\uDE00""#, #""😀""#), (#""\udbff\udfff""#, "\"\u{10FFFF}\""),
        ("\"\u{FFFE}\u{FFFF}\"", "\"\u{FFFE}\u{FFFF}\""),
        ("\"\u{2028}\u{2029}\"", "\"\u{2028}\u{2029}\""),
        (#"{"a":1,"A":2," a":3,"":4}"#, #"{"a":1,"A":2," a":3,"":4}"#),
        // Canonically equivalent names are different bytes, so they are different names.
        ("{\"\u{E9}\":1,\"e\u{301}\":2}", "{\"\u{E9}\":1,\"e\u{301}\":2}"),
        (#"{"__proto__":{"x":1},"b":[{}]}"#, #"{"__proto__":{"x":1},"b":[{}]}"#),
        ("[[[[[]]]]]", "[[[[[]]]]]"),
        (
            "[\"\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{10000}\"]",
            "[\"\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{10000}\"]"
        ),
    ]

    @Test(arguments: accepted)
    func `a valid document is accepted and written canonically`(
        text: String,
        rewritten: String
    ) throws {
        let value = try parse(text)
        #expect(Array(rewritten.utf8) == value.serialized())
        // What the writer wrote is read again, and is already what the writer writes.
        #expect(try parse(rewritten).serialized() == Array(rewritten.utf8))
    }

    @Test(arguments: [2, 15, 16, 17, 18, 100, 5000])
    func `a duplicate is found at its second place in objects of every size`(count: Int) throws {
        let names = (0..<count).map { "name number \($0 * 7919 % count)" }
        let members = names.map { "\"\($0)\":0" }
        _ = try parse("{" + members.joined(separator: ",") + "}")
        for again in Set([0, count / 2, count - 1]) {
            let text = "{" + members.joined(separator: ",") + ","
            let duplicate = text + members[again] + ",\"z\":0," + members[again] + "}"
            #expect(
                refusal(of: Array(duplicate.utf8))
                    == JSONError(.duplicateKey, at: text.utf8.count)
            )
            let escaped = text + "\"\\u006e" + names[again].dropFirst() + "\":0}"
            #expect(
                refusal(of: Array(escaped.utf8)) == JSONError(.duplicateKey, at: text.utf8.count)
            )
        }
    }

    @Test func `names that differ only at the end are told apart in objects of every size`() throws
    {
        for count in [2, 16, 17, 300] {
            for prefix in ["", "abcdef", "abcdefg", "abcdefgh", String(repeating: "x", count: 100)]
            {
                let members = (0..<count).map { "\"\(prefix)\(100 + $0)\":\($0)" }
                let value = try parse("{" + members.joined(separator: ",") + "}")
                #expect(value.count == count)
                #expect(value.member(named: Text("\(prefix)101"))?.int64 == 1)
            }
        }
    }

    @Test func `every prefix of a valid document is refused`() {
        let text = #"{"a":[1.5e3,"é\u00e9\ud83d\ude00",true,null,false],"b":{}}"#
        let bytes = Array(text.utf8)
        #expect(refusal(of: bytes) == nil)
        for length in bytes.indices {
            #expect(refusal(of: Array(bytes[..<length])) != nil, "prefix of \(length) bytes")
        }
    }

    @Test func `nothing but the sixty-four valid continuations follows a lead byte`() {
        for lead in UInt8(0x80)...0xFF {
            for second in UInt8(0x80)...0xFF {
                for tail in [[], [UInt8(0x80)], [0x80, 0x80], [0xBF, 0xBF]] {
                    let sequence = [lead, second] + tail
                    let accepted = refusal(of: Self.quoted(sequence)) == nil
                    #expect(accepted == (String(validating: sequence, as: UTF8.self) != nil))
                }
            }
        }
    }

    // MARK: Limits

    static let limited: [(text: String, limits: JSONLimits, code: JSONError.Code?, offset: Int)] = [
        ("[1,2]", JSONLimits(bytesMax: 5), nil, 0),
        ("[1,2]", JSONLimits(bytesMax: 4), .tooManyBytes, 4),
        ("1", JSONLimits(depthMax: 0), nil, 0),
        ("[]", JSONLimits(depthMax: 0), .tooDeep, 0),
        ("[[],{}]", JSONLimits(depthMax: 2), nil, 0),
        ("[[],{\"a\":[]}]", JSONLimits(depthMax: 2), .tooDeep, 9),
        (#"["abc"]"#, JSONLimits(stringBytesMax: 3), nil, 0),
        (#"["abcd"]"#, JSONLimits(stringBytesMax: 3), .stringTooLong, 1),
        (#"["\u0041"]"#, JSONLimits(stringBytesMax: 5), .stringTooLong, 1),
        (#"{"abc":"abcde"}"#, JSONLimits(keyBytesMax: 3), nil, 0),
        (#"{"abcd":1}"#, JSONLimits(keyBytesMax: 3), .keyTooLong, 1),
        ("[1234]", JSONLimits(numberBytesMax: 4), nil, 0),
        ("[-1.2e3]", JSONLimits(numberBytesMax: 5), .numberTooLong, 1),
        (#"{"a":1,"b":2}"#, JSONLimits(membersMax: 2), nil, 0),
        (#"{"a":1,"b":2,"c":3}"#, JSONLimits(membersMax: 2), .tooManyMembers, 13),
        ("[1,2]", JSONLimits(elementsMax: 2), nil, 0),
        ("[1,2,3]", JSONLimits(elementsMax: 2), .tooManyElements, 5),
        ("[1]", JSONLimits(elementsMax: 0), .tooManyElements, 1),
        (#"{"a":1}"#, JSONLimits(valuesMax: 3), nil, 0),
        (#"{"a":1}"#, JSONLimits(valuesMax: 2), .tooManyValues, 5),
        (#"["\u0000"]"#, JSONLimits(allowsNullCharacter: false), .nullCharacter, 2),
        (#"["\u0001"]"#, JSONLimits(allowsNullCharacter: false), nil, 0),
    ]

    @Test(arguments: limited)
    func `a bound is kept exactly`(
        text: String,
        limits: JSONLimits,
        code: JSONError.Code?,
        offset: Int
    ) {
        #expect(refusal(of: Array(text.utf8), limits) == code.map { JSONError($0, at: offset) })
    }

    @Test func `default bounds stop deep nesting and long numbers`() {
        let deep = String(repeating: "[", count: 64) + String(repeating: "]", count: 64)
        #expect(refusal(of: Array(deep.utf8)) == nil)
        #expect(refusal(of: Array("[\(deep)]".utf8)) == JSONError(.tooDeep, at: 64))
        let endless = String(repeating: "[", count: 1 << 20)
        #expect(refusal(of: Array(endless.utf8)) == JSONError(.tooDeep, at: 64))
        let number = String(repeating: "9", count: 64)
        #expect(refusal(of: Array(number.utf8)) == nil)
        #expect(refusal(of: Array("\(number)9".utf8)) == JSONError(.numberTooLong, at: 0))
    }

    @Test func `the deepest nesting that can be configured is read and written`() throws {
        let depth = 512
        let spaced = String(repeating: "[ ", count: depth) + String(repeating: "]", count: depth)
        let value = try parse(spaced, JSONLimits(depthMax: depth))
        let expected = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        #expect(serialized(value) == expected)
        #expect(value.canonicalBytes() == Array(expected.utf8))
    }

    @Test func `a document of a mebibyte is read and written`() throws {
        let row = #"{"id":12345,"name":"Zürich \"north\"","tags":["a","b"],"on":true}"#
        let count = (1 << 20) / row.utf8.count
        let text = "[" + repeatElement(row, count: count).joined(separator: ",") + "]"
        let value = try parse(text)
        #expect(value.count == count)
        #expect(value.serialized() == Array(text.utf8))
        #expect(value.elements.allSatisfy { $0["id"]?.int64 == 12345 })
        let long = "\"" + String(repeating: "x", count: 1 << 20) + "\""
        #expect(try parse(long).string?.byteCount == 1 << 20)
    }

    @Test func `names made to collide cost no more than others`() {
        // 50,000 names of equal length and equal beginning: quadratic work would take minutes.
        let members = (0..<50_000).map {
            "\"\(String(repeating: "k", count: 12))\(100_000 + $0)\":0"
        }
        #expect(refusal(of: Array("{\(members.joined(separator: ","))}".utf8)) == nil)
    }

    @Test func `line and column are computed from the refused bytes`() {
        let bytes = Array("{\n  \"a\": 1,\n  \"é\": x\n}".utf8)
        let error = refusal(of: bytes)
        #expect(error?.position(in: bytes).line == 3)
        #expect(error?.position(in: bytes).column == 9)
        #expect(error?.description == "unexpectedByte at byte 20")
        #expect(JSONError(.unexpectedEnd, at: 0).position(in: []).line == 1)
        #expect(JSONError(.unexpectedEnd, at: 99).position(in: Array("\n\n".utf8)).line == 3)
    }
}
