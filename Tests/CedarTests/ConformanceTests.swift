import Cedar
import JSON
import PolicyConformance
import Testing

/// Cedar's own published tests: the same answers, the same determining policies, the same failing policies, and
/// whatever else the data says about the engine.
@Suite struct ConformanceTests {
    /// The files, and how much of each a debug build runs: the whole corpus takes most of a minute without
    /// optimisation, a tenth does not.
    @Test(arguments: [
        ("corpus.ndjson.gz", 10), ("handwritten.ndjson.gz", 1), ("validator-cases.ndjson.gz", 1),
        ("examples-templates.ndjson.gz", 1), ("entity-parsing.ndjson.gz", 1),
        ("mcp-schema-generator.ndjson.gz", 1), ("misc.ndjson.gz", 1), ("edge-cases.json", 1),
    ])
    func `everything the published data says holds`(file: String, step: Int) throws {
        guard let bytes = try SharedData.bytes("cedar/\(file)") else { return }
        var run = ConformanceRun(every: SharedData.isRelease ? 1 : step)
        try run.run(bytes)
        let report = run.report
        for kind in ConformanceReport.Kind.allCases {
            guard let tally = report.tallies[kind] else { continue }
            SharedData.note(
                "\(file): \(kind.rawValue): checks \(tally.checks) passed \(tally.passed) failed \(tally.failed)"
                    + (tally.unsupported > 0 ? " unsupported \(tally.unsupported)" : "")
            )
        }
        #expect(report.total.passed > 0)
        for difference in report.differences { Issue.record("\(difference)") }
    }

    // MARK: The runner itself

    /// A record that says something wrong about the engine, in one place.
    @Test(arguments: [
        (#""decision": "deny""#, ConformanceReport.Kind.decision),
        (#""reason": ["policy1"]"#, .determiningPolicies),
        (#""errors": ["policy0"]"#, .failingPolicies),
    ])
    func `a wrong statement is counted and shown`(
        statement: String,
        kind: ConformanceReport.Kind
    ) throws {
        let record = """
            {"name": "n", "policies": "permit(principal, action, resource);", "entities": [], "requests": [
             {"principal": {"type": "U", "id": "a"}, "action": {"type": "Action", "id": "v"},
              "resource": {"type": "R", "id": "r"}, "context": {}, \(statement)}]}
            """
        var run = ConformanceRun()
        try run.run(Array(record.utf8))
        #expect(!run.report.agrees)
        #expect(run.report.total.failed == 1)
        #expect(run.report.tallies[kind]?.failed == 1)
        #expect(run.report.differences.map(\.record) == ["n request 0"])
    }

    @Test func `a schema that is made otherwise from tools is counted as a difference`() throws {
        guard let bytes = try SharedData.bytes("cedar/mcp-schema-generator.ndjson.gz") else {
            return
        }
        let line = try #require(
            bytes.split(separator: UInt8(ascii: "\n")).first {
                String(decoding: $0, as: UTF8.self).contains("simple/tool_tuple\"")
            }
        )
        let text = String(decoding: line, as: UTF8.self)
        func tally(_ text: String) throws -> ConformanceReport.Tally? {
            var run = ConformanceRun()
            try run.run(Array(text.utf8))
            return run.report.tallies[.toolSchema]
        }
        #expect(try tally(text).map { [$0.passed, $0.failed, $0.unsupported] } == [1, 0, 0])
        let other = text.replacing("Long", with: "Bool")
        #expect(other != text)
        #expect(try tally(other).map { [$0.passed, $0.failed, $0.unsupported] } == [0, 1, 0])
        // What is only its neighbours' shows nothing.
        let empty = text.replacing("tool_tuple.cedarschema", with: "other.cedarschema")
        #expect(try tally(empty).map { [$0.passed, $0.failed, $0.unsupported] } == [0, 0, 1])
    }

    @Test func `lines and one document over many lines are read alike`() throws {
        let document = """
            {"expressions": [{"expr": "1 == 1", "outcome": "true"}],
             "parsing": [], "entities": [],
             "request": {"principal": {"type": "U", "id": "a"}, "action": {"type": "Action", "id": "v"},
                         "resource": {"type": "R", "id": "r"}}}
            """
        var whole = ConformanceRun()
        try whole.run(Array(document.utf8))
        let line = document.replacing("\n", with: " ")
        var lines = ConformanceRun()
        try lines.run(Array("\(line)\n\n\(line)\n".utf8))
        #expect(whole.report.total.passed == 1 && whole.report.agrees)
        #expect(lines.report.total.passed == 2 && lines.report.agrees)
    }

    @Test func `what is no conformance data is refused, not passed over`() {
        var run = ConformanceRun()
        #expect(throws: ConformanceFileError.unknownRecord(number: 2)) {
            try run.run(
                Array(#"{"stub": "", "tools": {}}"#.utf8) + [0x0A]
                    + Array(#"{"policies": ""}"#.utf8)
            )
        }
        #expect(throws: ConformanceFileError.noRecords) { try run.run(Array(" \n".utf8)) }
        #expect(throws: ConformanceFileError.self) {
            try run.run(Array("{}\n{".utf8))
        }
        #expect(!run.report.agrees)
    }
}
