import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@Suite struct DecisionInputTests {
    static let full = """
        {"reference":"r1","time":"2026-11-25T10:00:00.000000Z","principal":{"type":"MCP::User","id":"alice"},\
        "action":{"type":"MCP::Action","id":"k8s/apply"},"resource":{"type":"MCP::Tool","id":"k8s/apply"},\
        "input":{"n":1.50,"z":[{"__entity":"data"}]},"source":"10.1.2.3","client":"desktop","facts":{"rates":{"a":3,"b":0},\
        "history":{"runbook_read_1h":true},"approvals":{"sre":2},"found":["personal","secret"],"stepUp":true,\
        "sessionAgeMs":120000,"inputFaithful":false,"definitionPinned":false},"snapshot":17,\
        "decision":{"answer":"requireApproval","ground":"policy","determining":["AC-3.2","CM-5"],"release":42}}
        """

    @Test func `a line that is written again is the same line`() throws {
        let input = try DecisionInput(parsing: Array(Self.full.utf8))
        #expect(input.reference == "r1")
        #expect(input.principal == EntityUID(type: "MCP::User", id: "alice"))
        #expect(input.facts.rates["a"]?.count == 3)
        #expect(input.facts.approvals == ["sre": 2])
        #expect(input.facts.found == ["personal", "secret"])
        #expect(input.snapshot == 17)
        #expect(input.recorded?.answer == .requireApproval)
        #expect(String(decoding: JSONFragment(input).bytes, as: UTF8.self) == Self.full)
    }

    @Test func `what is not said is what opens nothing, and is not written`() throws {
        let line = """
            {"time":"2026-11-25T10:00:00.000000Z","principal":{"type":"U","id":"a"},\
            "action":{"type":"Action","id":"v"},"resource":{"type":"R","id":"r"}}
            """
        let input = try DecisionInput(parsing: Array(line.utf8))
        #expect(!input.facts.hasRecordedForm)
        #expect(!input.facts.hasSteppedUp && input.facts.approvals.isEmpty)
        #expect(input.facts.definitionPinned && input.facts.inputFaithful)
        #expect(input.input == nil && input.snapshot == nil && input.recorded == nil)
        #expect(String(decoding: JSONFragment(input).bytes, as: UTF8.self) == line)
    }

    /// One line that is refused.
    struct Row: CustomStringConvertible, Sendable {
        var description: String
        var old: String
        var new: String
        var error: String

        init(_ description: String, _ old: String, _ new: String, _ error: String) {
            self.description = description
            (self.old, self.new, self.error) = (old, new, error)
        }
    }

    static let rows: [Row] = [
        Row("an unknown member", #""source""#, #""sauce""#, "/sauce: no such member"),
        Row("an unknown fact", #""stepUp""#, #""step/Up""#, "/facts/step~1Up: no such member"),
        Row(
            "an unknown member of the decision",
            #""ground""#,
            #""gr""#,
            "/decision/gr: no such member"
        ),
        Row(
            "a fact of another type",
            #""stepUp":true"#,
            #""stepUp":1"#,
            "/facts/stepUp: not true or false"
        ),
        Row("a negative count", #""a":3"#, #""a":-3"#, "/facts/rates/a: not a count"),
        Row(
            "a count with a fraction",
            #""sre":2"#,
            #""sre":2.5"#,
            "/facts/approvals/sre: not a count"
        ),
        Row(
            "a monitor that counts",
            #"1h":true"#,
            #"1h":3"#,
            "/facts/history/runbook_read_1h: not true or false"
        ),
        Row(
            "a class that is no name",
            #""secret"]"#,
            "7]",
            "/facts/found/1: not a string of at most 1024 bytes"
        ),
        Row(
            "arguments that are a list",
            #""input":{"#,
            #""input":[],"client2":{"#,
            "/input: not an object"
        ),
        Row("a range for an address", "10.1.2.3", "10.1.2", "/source: not an IP address"),
        Row(
            "an answer nobody gives",
            "requireApproval",
            "allow",
            "/decision/answer: no such answer"
        ),
        Row(
            "a ground nobody has",
            #""ground":"policy""#,
            #""ground":"x""#,
            "/decision/ground: no such ground"
        ),
        Row("no time", #""time":"2026-11-25T10:00:00.000000Z","#, "", "/time: is missing"),
        Row(
            "a time of another form",
            "10:00:00.000000Z",
            "10:00:00+01:00",
            "/time: not a time like 2026-11-25T10:00:00.000000Z"
        ),
        Row(
            "an entity with more than its name",
            #""id":"alice""#,
            #""id":"alice","x":1"#,
            "/principal: not an entity: {\"type\", \"id\"}"
        ),
        Row("no decision's release", #","release":42"#, "", "/decision/release: is missing"),
        Row(
            "a member twice",
            #""source""#,
            #""client":"","source""#,
            "byte 336: not JSON: duplicateKey"
        ),
        Row("half a line", #","release":42}}"#, "", "byte 701: not JSON: unexpectedEnd"),
    ]

    @Test(arguments: rows) func `a line is refused, with the place, for`(_ row: Row) throws {
        let line = Self.full.replacing(row.old, with: row.new, maxReplacements: 1)
        #expect(line != Self.full)
        let error = #expect(throws: DecisionInput.ReadingError.self) {
            try DecisionInput(parsing: Array(line.utf8))
        }
        // Where JSON breaks off is the reader's affair.
        let wanted = row.error.hasPrefix("byte") ? row.error.drop { $0 != ":" } : row.error[...]
        #expect(error?.description.hasSuffix(wanted) == true, "\(error?.description ?? "")")
    }

    @Test func `people may leave the fraction of a second out`() throws {
        let line = Self.full.replacing("10:00:00.000000Z", with: "10:00:00Z")
        let input = try DecisionInput(parsing: Array(line.utf8))
        #expect(input.facts.time.description == "2026-11-25T10:00:00.000000Z")
    }
}
