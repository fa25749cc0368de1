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
    /// How many cases share their entities, and how many worlds go to the peer at once.
    private static let (casesOfWorld, worldsOfBatch) = (64, 8)
    private static let differencesMax = 10

    @Test func `random cases are answered as by an independent engine`() throws {
        guard let python = Self.environment["OSTIARY_CEDARPY"] ?? Self.environment["OSTIARY_PYTHON"]
        else {
            SharedData.note("skipped: 1 differential run: OSTIARY_PYTHON is not set")
            #expect(Self.environment["CI"] == nil, "the peer is absent")
            return
        }
        let cases = Int(Self.environment["OSTIARY_FUZZ_CASES"] ?? "") ?? 500
        let seed = UInt64(Self.environment["OSTIARY_FUZZ_SEED"] ?? "") ?? 1
        let isLong = Self.environment["OSTIARY_FUZZ_CASES"] != nil
        var generator = CaseGenerator(seed: seed)
        let peer = try Peer(python)
        defer { peer.stop() }
        var tally = Tally()
        let start = ContinuousClock.now
        func summary() -> String {
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            return
                "differential, seed \(seed): \(tally), \(Int(Double(tally.cases) / seconds)) cases/s"
        }
        func makeBatch(_ made: Int) -> [CaseGenerator.World] {
            var worlds: [CaseGenerator.World] = []
            var left = cases - made
            while left > 0, worlds.count < Self.worldsOfBatch {
                let count = min(left, Self.casesOfWorld)
                worlds.append(generator.makeWorld(cases: count))
                left -= count
            }
            return worlds
        }
        var noted = 0
        var batch = makeBatch(0)
        while !batch.isEmpty, tally.differences < Self.differencesMax {
            // While the peer answers we do, and think of the next questions.
            try peer.ask(batch.map { $0.line() })
            let ours = try batch.map { try Answer.ours($0.line()) }
            let next = makeBatch(tally.cases + ours.reduce(0) { $0 + $1.count })
            let theirs = try peer.answers(ours.reduce(0) { $0 + $1.count })
            var position = 0
            for (world, answers) in zip(batch, ours) {
                for (number, answer) in answers.enumerated() {
                    tally.count(answer, theirs[position]) { world.line(only: number) }
                    position += 1
                }
            }
            if isLong, tally.cases - noted >= 20_000 {
                noted = tally.cases
                SharedData.note(summary())
            }
            batch = next
        }
        SharedData.note(summary())
        #expect(tally.differences == 0)
    }

    /// Differences that were found, and cases whose answers once needed thought.
    ///
    /// Each is a case as the generator writes it, with the peer's answer.
    @Test func `what once differed is answered as elsewhere`() throws {
        for (test, answer) in DifferentialCases.rows {
            #expect(try Answer.ours(Array(test.utf8)) == [answer], "\(test)")
        }
    }

    private struct Tally: CustomStringConvertible {
        var cases = 0
        private var (requests, refused, allowed, failing) = (0, 0, 0, 0)
        private(set) var differences = 0

        mutating func count(_ our: String, _ their: String, _ test: () -> [UInt8]) {
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
            Issue.record(
                "ours   \(our)\ntheirs \(their)\n\(String(decoding: test(), as: UTF8.self))"
            )
        }

        var description: String {
            "\(cases) cases, \(refused) refused, \(requests) requests decided, \(allowed) allowed, \(failing) with errors, \(differences) differ"
        }
    }
}

/// What an engine says to a case, in one line: for each request `allow policy0 link1 !policy2`, or `refused`.
private enum Answer {
    /// The answers to the cases of one world.
    static func ours(_ line: [UInt8]) throws -> [String] {
        let world = try SharedData.json(line)
        let text = try #require(world["entities"]?.string)
        let list = try Entity.list(cedarJSON: try SharedData.json(Array(text.utf8)))
        let snapshot = try EntitySnapshot(entities: list)
        return try (world["cases"]?.elements.map(\.self) ?? []).map { test in
            try answer(test, snapshot)
        }
    }

    private static func answer(_ test: JSONValue, _ snapshot: EntitySnapshot) throws -> String {
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
                context: try Value.record(
                    cedarJSON: try SharedData.json(
                        Array(try #require(request["context"]?.string).utf8)
                    )
                )
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

    /// Hands over a batch, which the peer reads as a whole before it answers.
    func ask(_ worlds: [[UInt8]]) throws {
        var bytes = Array("\(worlds.count)\n".utf8)
        for world in worlds { bytes += world + [0x0A] }
        try input.fileHandleForWriting.write(contentsOf: Data(bytes))
    }

    /// Reads the answers to a batch, a line for each case.
    func answers(_ count: Int) throws -> [String] {
        var lines: [String] = []
        var start = 0
        while lines.count < count {
            while lines.count < count, let end = rest[start...].firstIndex(of: 0x0A) {
                lines.append(String(decoding: rest[start..<end], as: UTF8.self))
                start = end + 1
            }
            guard lines.count < count else { break }
            let more = output.fileHandleForReading.availableData
            try #require(!more.isEmpty, "the peer has ended")
            rest += more
        }
        rest.removeFirst(start)
        return lines
    }

    private static let program = """
        import json, re, sys, cedarpy
        sys.stdin.reconfigure(encoding="utf-8", newline="\\n")
        sys.stdout.reconfigure(encoding="utf-8")
        name = re.compile("error while evaluating policy `(.*?)`: ", re.S)
        def answer(case, entities):
            try:
                policies = cedarpy.PolicySet.from_str(case["policies"])
            except Exception:
                return "refused"
            if case["links"]:
                policies = policies.with_linked_batch(case["links"])
            said = []
            for a in cedarpy.is_authorized_batch(case["requests"], policies, entities):
                found = [name.match(e) for e in a.diagnostics.errors]
                errors = sorted((m.group(1) if m else "?") for m in found)
                said.append(" ".join([a.decision.value.lower()] + sorted(a.diagnostics.reasons) + ["!" + e for e in errors]))
            return "|".join(said)
        while True:
            head = sys.stdin.readline()
            if not head: break
            batch = [json.loads(sys.stdin.readline()) for _ in range(int(head))]
            said = []
            for world in batch:
                entities = cedarpy.Entities.from_json_str(world["entities"])
                said += [answer(case, entities).replace("\\n", " ") + "\\n" for case in world["cases"]]
            sys.stdout.write("".join(said))
            sys.stdout.flush()
        """
}
