import Cedar
import Foundation
import JSON
import Testing

/// Random policies, templates, links, entities and requests, answered by us and by an independent engine.
///
/// The peer is the Python package `cedarpy` 4.12.2; `OSTIARY_PYTHON` names an interpreter that has it, and without it
/// the test is skipped with a note. `OSTIARY_FUZZ_CASES` and `OSTIARY_FUZZ_SEED` choose how much and what; a case
/// is a policy set with four requests. `scripts/fuzz` runs it for long.
@Suite struct DifferentialTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let batchSize = 500

    @Test func `random cases are answered as by an independent engine`() throws {
        guard let python = Self.environment["OSTIARY_CEDARPY"] ?? Self.environment["OSTIARY_PYTHON"]
        else {
            SharedData.note("skipped: 1 differential run: OSTIARY_PYTHON is not set")
            #expect(Self.environment["CI"] == nil, "the peer is absent")
            return
        }
        let cases = Int(Self.environment["OSTIARY_FUZZ_CASES"] ?? "") ?? 500
        let seed = UInt64(Self.environment["OSTIARY_FUZZ_SEED"] ?? "") ?? 1
        var generator = CaseGenerator(seed: seed)
        let peer = try Peer(python)
        defer { peer.stop() }
        var tally = Tally()
        while tally.cases < cases, tally.differences < 10 {
            let batch = (0..<min(Self.batchSize, cases - tally.cases)).map { _ in
                generator.makeCase()
            }
            let theirs = try peer.answers(batch)
            for (test, their) in zip(batch, theirs) {
                tally.count(try Answer.ours(test), their, test)
            }
            if Self.environment["OSTIARY_FUZZ_CASES"] != nil, tally.cases % 20_000 < Self.batchSize
            {
                SharedData.note("differential, seed \(seed): \(tally)")
            }
        }
        SharedData.note("differential, seed \(seed): \(tally)")
        #expect(tally.differences == 0)
    }

    /// Differences that were found, and cases whose answers once needed thought.
    ///
    /// Each is a case as the generator writes it, with the peer's answer.
    @Test func `what once differed is answered as elsewhere`() throws {
        for (test, answer) in DifferentialCases.rows {
            #expect(try Answer.ours(Array(test.utf8)) == answer, "\(test)")
        }
    }

    private struct Tally: CustomStringConvertible {
        var cases = 0
        private var (requests, refused, allowed, failing) = (0, 0, 0, 0)
        private(set) var differences = 0

        mutating func count(_ our: String, _ their: String, _ test: [UInt8]) {
            cases += 1
            if our == "refused" {
                refused += 1
            } else {
                for answer in our.split(separator: "|") {
                    requests += 1
                    allowed += answer.hasPrefix("allow") ? 1 : 0
                    failing += answer.contains("!") ? 1 : 0
                }
            }
            guard our != their else { return }
            differences += 1
            Issue.record("ours   \(our)\ntheirs \(their)\n\(String(decoding: test, as: UTF8.self))")
        }

        var description: String {
            "\(cases) cases, \(refused) refused, \(requests) requests decided, \(allowed) allowed, \(failing) with errors, \(differences) differ"
        }
    }
}

/// What an engine says to a case, in one line: for each request `allow policy0 link1 !policy2`, or `refused`.
private enum Answer {
    static func ours(_ line: [UInt8]) throws -> String {
        let test = try SharedData.json(line)
        guard var set = try? PolicySet.parse(test["policies"]?.string?.string ?? "") else {
            return "refused"
        }
        for link in test["links"]?.elements.map(\.self) ?? [] {
            try set.link(
                template: PolicyID(try #require(link["template_id"]?.string)),
                as: PolicyID(try #require(link["new_id"]?.string)),
                principal: try link["values"]?["?principal"].map { try EntityUID(cedarJSON: $0) },
                resource: try link["values"]?["?resource"].map { try EntityUID(cedarJSON: $0) }
            )
        }
        let list = try Entity.list(cedarJSON: try #require(test["entities"]))
        let snapshot = try EntitySnapshot(entities: list)
        let compiled = CompiledPolicySet(set)
        let indexed = Authorizer(policies: compiled, entities: snapshot)
        let plain = Authorizer(policies: compiled, entities: snapshot, usesIndex: false)
        var writer = JSONWriter()
        set.write(to: &writer)
        let limits = JSONLimits(depthMax: 512)
        let again = try PolicySet(json: JSONDocument(parsing: writer.finish(), limits: limits))
        let reread = Authorizer(policies: CompiledPolicySet(again), entities: snapshot)
        var answers: [String] = []
        for request in test["requests"]?.elements.map(\.self) ?? [] {
            let question = Request(
                principal: try EntityUID(cedarJSON: try #require(request["principal"])),
                action: try EntityUID(cedarJSON: try #require(request["action"])),
                resource: try EntityUID(cedarJSON: try #require(request["resource"])),
                context: try Value.record(cedarJSON: try #require(request["context"]))
            )
            let answer = indexed.decide(question)
            guard plain.decide(question) == answer else { return "the index changes the answer" }
            let words = words(answer)
            guard self.words(reread.decide(question)) == words else {
                return "JSON changes the answer"
            }
            answers.append(words)
        }
        return answers.joined(separator: "|")
    }

    private static func words(_ answer: Response) -> String {
        let words =
            [answer.decision == .allow ? "allow" : "deny"]
            + answer.determining.map(\.text).sorted().map(\.string)
            + answer.errors.map(\.policy.text).sorted().map { "!" + $0.string }
        return words.joined(separator: " ")
    }
}

/// The other engine in a process of its own, asked batch by batch.
private final class Peer {
    private let process = Process()
    private let (input, output) = (Pipe(), Pipe())
    private var rest: [UInt8] = []

    init(_ python: String) throws {
        process.executableURL = URL(fileURLWithPath: python)
        process.arguments = ["-c", Self.program]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
    }

    func stop() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    /// Writes a batch and reads as many lines.
    func answers(_ cases: [[UInt8]]) throws -> [String] {
        // One line first that says how many follow: the peer reads all of them before it answers.
        var bytes = Array("\(cases.count)\n".utf8)
        for test in cases { bytes += test + [0x0A] }
        try input.fileHandleForWriting.write(contentsOf: Data(bytes))
        var lines: [String] = []
        while lines.count < cases.count {
            while let end = rest.firstIndex(of: 0x0A) {
                lines.append(String(decoding: rest[..<end], as: UTF8.self))
                rest.removeFirst(end + 1)
            }
            guard lines.count < cases.count else { break }
            let more = output.fileHandleForReading.availableData
            try #require(!more.isEmpty, "the peer has ended")
            rest += more
        }
        return lines
    }

    private static let program = """
        import json, re, sys, cedarpy
        sys.stdin.reconfigure(encoding="utf-8", newline="\\n")
        sys.stdout.reconfigure(encoding="utf-8")
        name = re.compile("error while evaluating policy `(.*?)`: ", re.S)
        def answer(case):
            try:
                policies = cedarpy.PolicySet.from_str(case["policies"])
            except Exception:
                return "refused"
            if case["links"]:
                policies = policies.with_linked_batch(case["links"])
            entities = cedarpy.Entities.from_json_str(json.dumps(case["entities"]))
            said = []
            for a in cedarpy.is_authorized_batch(case["requests"], policies, entities):
                found = [name.match(e) for e in a.diagnostics.errors]
                errors = sorted((m.group(1) if m else "?") for m in found)
                said.append(" ".join([a.decision.value.lower()] + sorted(a.diagnostics.reasons) + ["!" + e for e in errors]))
            return "|".join(said)
        while True:
            head = sys.stdin.readline()
            if not head: break
            batch = [sys.stdin.readline() for _ in range(int(head))]
            sys.stdout.write("".join(answer(json.loads(line)).replace("\\n", " ") + "\\n" for line in batch))
            sys.stdout.flush()
        """
}
