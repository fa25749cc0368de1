import JSON
import Testing

struct WriterTests {
    private func written(_ body: (inout JSONWriter) -> Void) -> String {
        var writer = JSONWriter()
        body(&writer)
        return String(decoding: writer.finish(), as: UTF8.self)
    }

    @Test func `commas stand between values and nowhere else`() {
        let text = written { writer in
            writer.object { writer in
                writer.member("a", 1)
                writer.object("b") { _ in }
                writer.member("none", ifPresent: Text?.none)
                writer.member("c", ifPresent: Text("x"))
                writer.array("d") { writer in
                    writer.value(true)
                    writer.null()
                    writer.array { _ in }
                    writer.object { $0.member("x", "y") }
                    writer.value(Int64.min)
                    writer.value(UInt64.max)
                    writer.value("s")
                }
                writer.key(Text("e\""))
                writer.value(0)
                writer.member("f", JSONFragment { $0.member("x", false) })
                writer.member("g", JSONFragment(Text("t")))
            }
        }
        #expect(
            text == #"{"a":1,"b":{},"c":"x","d":[true,null,[],{"x":"y"},"#
                + #"-9223372036854775808,18446744073709551615,"s"],"e\"":0,"f":{"x":false},"g":"t"}"#
        )
    }

    @Test func `a string escapes what it must and nothing else`() throws {
        for scalar in (0...0x2FF).compactMap(Unicode.Scalar.init) {
            // At every distance from the beginning, since the writer looks at eight bytes at once.
            for padding in 0...9 {
                let string = String(repeating: "p", count: padding) + String(scalar) + "tail"
                let text = written { $0.value(string) }
                #expect(try parse(text).string == Text(string))
                let isEscaped = scalar.value < 0x20 || scalar == "\"" || scalar == "\\"
                #expect(text.contains("\\") == isEscaped)
            }
        }
        #expect(
            written { $0.value("\0\u{1F}\u{8}\t\n\u{C}\r\"\\/") }
                == #""\u0000\u001f\b\t\n\f\r\"\\/""#
        )
    }

    @Test func `a copied object loses, changes and gains members`() throws {
        let value = try parse(
            #"{ "id" : 1e2, "_m\u0065ta": {"x":1}, "name":"\u0061", "list":[ 1 , 2 ] }"#
        )
        #expect(
            written { $0.object(copying: value, except: ["_meta", "absent"]) }
                == #"{"id":1e2,"name":"a","list":[1,2]}"#
        )
        #expect(
            written { writer in
                writer.object(copying: value, except: ["_meta", "id"]) { $0.member("id", 7) }
            } == #"{"name":"a","list":[1,2],"id":7}"#
        )
        #expect(
            written { writer in
                writer.object(copying: value) { writer, key, _ in
                    if key.equals("_meta") { return .drop }
                    guard key.equals("id") else { return .keep }
                    writer.member("id", "new")
                    return .replaced
                } adding: { writer in
                    writer.member("last", true)
                }
            } == #"{"id":"new","name":"a","list":[1,2],"last":true}"#
        )
        let empty = try parse("{}")
        #expect(written { $0.object(copying: empty, except: []) } == "{}")
        #expect(
            written { writer in
                writer.object { writer in
                    writer.member("a", 1)
                    writer.members(of: value, except: ["list", "_meta"])
                    writer.member("b", 2)
                }
            } == #"{"a":1,"id":1e2,"name":"a","b":2}"#
        )
    }

    @Test func `a value is written the same wherever it stands`() throws {
        let text = #"[{"a":"x"},{"a": "x"},{"a":"\u0078"},[{"b":{"c":[1 ]}}],"\n","\u000a"]"#
        let elements = try parse(text).elements.map(serialized)
        let expected = [
            #"{"a":"x"}"#, #"{"a":"x"}"#, #"{"a":"x"}"#, #"[{"b":{"c":[1]}}]"#, #""\n""#, #""\n""#,
        ]
        #expect(elements == expected)
    }
}

struct CanonicalBytesTests {
    private func canonical(_ text: String) throws -> String {
        String(decoding: try parse(text).canonicalBytes(), as: UTF8.self)
    }

    @Test func `order, blanks and escapes do not change the bytes`() throws {
        let spellings = [
            #"{"b":[1,{"d":"é","c":null}],"a":"/"}"#,
            #"{ "a" : "\/" , "b" : [ 1 , { "c" : null , "d" : "\u00e9" } ] }"#,
            #"{"\u0062":[1,{"\u0063":null,"d":"\u00E9"}],"\u0061":"\u002F"}"#,
        ]
        for spelling in spellings {
            #expect(try canonical(spelling) == #"{"a":"/","b":[1,{"c":null,"d":"é"}]}"#)
        }
    }

    @Test func `members are sorted by UTF-16 code units`() throws {
        // The example of RFC 8785 §3.2.3.
        let text = """
            {"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh",\
            "1":"One","\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control",\
            "\\u00f6":"Latin Small Letter O With Diaeresis"}
            """
        let order = try parse(canonical(text)).members.compactMap { $0.value.string }
        #expect(
            order == [
                "Carriage Return", "One", "Control", "Latin Small Letter O With Diaeresis",
                "Euro Sign",
                "Emoji: Grinning Face", "Hebrew Letter Dalet With Dagesh",
            ]
        )
        let many = (0..<40).map { "\"\((0..<40 - $0).map { _ in "k" }.joined())\":\($0)" }
        let sorted = try parse(canonical("{\(many.joined(separator: ","))}")).members.map {
            $0.key.text
        }
        #expect(sorted == sorted.sorted())
    }

    @Test func `different values and different lexemes have different bytes`() throws {
        let texts = [
            "1", "1.0", "1e0", "-0", "0", "9007199254740993", "9007199254740992", #""1""#, "[1]",
            #"{"a":1}"#, #"{"a":"1"}"#, #"{"A":1}"#, "\"\u{E9}\"", "\"e\u{301}\"", #""""#, "null",
        ]
        #expect(Set(try texts.map { try parse($0).canonicalBytes() }).count == texts.count)
    }
}
