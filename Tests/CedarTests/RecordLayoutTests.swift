import Cedar
import JSON
import Testing

/// A context laid out straight from JSON is the one that values would have made.
@Suite struct RecordLayoutTests {
    static let documents = [
        "{}",
        #"{"a": 1, "b": true, "c": "text", "é": "é", "e": "\u00e9"}"#,
        #"{"z": {"y": {"x": [3, 1, 2, 2, {"k": "v"}, {"k": "v"}]}}, "a": [], "m": {}}"#,
        #"{"long": "a string that does not fit into a few words", "also long and escaped \n": "\ud83d\ude00"}"#,
        #"{"n": 9223372036854775807, "m": -9223372036854775808, "o": 1e3, "p": -0, "q": 1.0}"#,
        // What Cedar cannot hold.
        #"{"a": null, "b": 1.5, "c": [1, null, 2.5], "d": 9223372036854775808, "e": {"f": null}}"#,
        // Data, and never a reference.
        #"{"a": {"__entity": {"type": "U", "id": "root"}}, "b": {"__extn": {"fn": "ip", "arg": "::1"}}}"#,
        "{\"b\": 1, \"a\": 2, \"ab\": 3, \"aa\": 4, \"\": 5, \"B\": 6}",
    ]

    @Test(arguments: documents)
    func `JSON makes the same record as its values`(text: String) throws {
        let json = try JSONDocument(parsing: text).root
        var reader = ValueReader(nulls: .drop, fractions: .drop)
        let value = try Value.record(reader.record(json))
        var isFaithful = false
        let holds = try decide("context.input == context.expected") { context in
            isFaithful = context.add("input", json: json)
            context.add("expected", value)
        }
        #expect(holds)
        #expect(isFaithful == (reader.droppedCount == 0))
    }

    @Test func `another record is told apart`() throws {
        let json = try JSONDocument(parsing: #"{"a": 1}"#).root
        let holds = try decide("context.input == context.expected") { context in
            _ = context.add("input", json: json)
            context.add("expected", .record(["a": .long(2)]))
        }
        #expect(!holds)
    }

    @Test(arguments: [
        "[1]", "null", "\"a\"", "7",
        String(repeating: #"{"a":"#, count: 33) + "1" + String(repeating: "}", count: 33),
        #"{"a": 1, "b": "# + String(repeating: "[", count: 40) + String(repeating: "]", count: 40)
            + "}",
    ])
    func `what is no record, or too deep, is an empty one and said to be unfaithful`(
        text: String
    ) throws {
        let json = try JSONDocument(parsing: text).root
        var isFaithful = true
        let holds = try decide("context.input == {} && context.after == 1") { context in
            isFaithful = context.add("input", json: json)
            context.add("after", .long(1))
        }
        #expect(holds)
        #expect(!isFaithful)
    }

    @Test func `records stand in records`() throws {
        let holds = try decide(#"context == {system: {now: 1, inner: {}}, b: "x"}"#) { context in
            context.add("system") { system in
                system.add("now", .long(1))
                system.add("inner") { _ in }
            }
            context.add("b", .string("x"))
        }
        #expect(holds)
    }

    private func decide(
        _ condition: String,
        _ context: (inout RecordLayout) -> Void
    ) throws -> Bool {
        let set = try PolicySet.parse("permit(principal, action, resource) when { \(condition) };")
        let uid = EntityUID(type: "U", id: "a")
        let request = Request(
            principal: uid,
            action: EntityUID(type: "Action", id: "v"),
            resource: uid,
            layingOut: context
        )
        let answer = CompiledPolicySet(set).decide(request, entities: .empty)
        return answer.decision == .allow && answer.errors.isEmpty
    }
}
