import AuditLog
import Cryptography
import GatewayModel
import JSON
import Testing

@Suite struct AuditRecordTests {
    static let time = Timestamp(microseconds: 1_795_366_800_123_456)
    static let position = RecordPosition(
        namespace: "demo",
        instance: "demo-1",
        epoch: 7,
        lane: .committed,
        n: 42
    )

    static var facts: CallFacts {
        var facts = CallFacts(
            time: time,
            request: "req_1",
            method: "tools/call",
            source: "127.0.0.1:5000"
        )
        facts.revision = "2025-11-25"
        facts.server = "time"
        facts.tool = "get_current_time"
        facts.subject = "sub_1"
        facts.client = "agent"
        facts.snapshot = .init(version: 3, ageMilliseconds: 12)
        return facts
    }

    static let decision = Decision(
        answer: .permit,
        ground: .policy,
        determining: ["AC-3.b", "AC-3.a"],
        release: 5
    )

    @Test func `the bytes of an intent are these, member by member`() throws {
        let part = RecordPart(
            name: .arguments,
            salt: Array(repeating: 0, count: 32),
            content: Array(#"{"timezone":"UTC"}"#.utf8)
        )
        let draft = AuditRecord.intent(Self.facts, Self.decision, parts: [part]).draft()
        let expected = """
            {"v":1,"namespace":"demo","instance":"demo-1","epoch":7,"lane":"committed","n":42,\
            "kind":"intent","time":"2026-11-22T17:00:00.123456Z","request":"req_1",\
            "method":"tools/call","revision":"2025-11-25","server":"time",\
            "tool":"get_current_time","subject":"sub_1","client":"agent",\
            "source":"127.0.0.1:5000","snapshot":{"version":3,"ageMs":12},\
            "decision":{"answer":"permit","ground":"policy","determining":["AC-3.a","AC-3.b"],\
            "release":5},"parts":[{"name":"arguments","commitment":"sha256:\
            17be65f9fc3c3c193f3a2ab53ef5f7b55b6d9d7e4e4b46c2ba2e1ed8bbf5ba0d","bytes":18}]}
            """
        let bytes = draft.sequenced(at: Self.position)
        let text = String(decoding: bytes, as: UTF8.self)
        // The commitment is computed by itself here: SHA-256 over salt, then content.
        let commitment = SHA256.digest(of: part.salt + part.content)
        let golden = expected.replacing(
            "17be65f9fc3c3c193f3a2ab53ef5f7b55b6d9d7e4e4b46c2ba2e1ed8bbf5ba0d",
            with: commitment.description
        )
        #expect(text == golden)
    }

    @Test func `facts and shadow stand behind the decision, and only what is not plain`() throws {
        var facts = Self.facts
        var decided = DecisionFacts()
        decided.rates = ["b_1h": 3, "a_1h": 0]
        decided.history = ["runbook_read_1h": true]
        decided.approvals = ["sre": 2]
        decided.found = ["personal.email", "personal"]
        decided.stepUp = true
        decided.sessionAgeMilliseconds = 1500
        decided.inputFaithful = false
        decided.definitionPinned = false
        facts.decided = decided
        facts.shadow = Decision(answer: .deny, ground: .noGrant, determining: [], release: 6)
        let bytes = AuditRecord.refusal(facts, Rejection(.denied, "no", decision: Self.decision))
            .draft().sequenced(at: Self.position)
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(
            text.hasSuffix(
                #"""
                "release":5},"facts":{"rates":{"a_1h":0,"b_1h":3},"history":{"runbook_read_1h":true},\#
                "approvals":{"sre":2},"found":["personal","personal.email"],"stepUp":true,\#
                "sessionAgeMs":1500,"inputFaithful":false,"definitionPinned":false},\#
                "shadow":{"release":6,"answer":"deny","ground":"noGrant","determining":[]}}
                """#
            ),
            "\(text)"
        )
        // Nothing was decided, so nothing rested on anything.
        let undecided = AuditRecord.refusal(facts, Rejection(.toolUnknown, "no")).draft()
            .sequenced(at: Self.position)
        let rest = String(decoding: undecided, as: UTF8.self)
        #expect(!rest.contains("facts") && !rest.contains("shadow"))
    }

    @Test func `a refusal commits to the arguments that it keeps`() throws {
        let part = RecordPart(
            name: .arguments,
            salt: Array(repeating: 1, count: 32),
            content: Array("{}".utf8)
        )
        let rejection = Rejection(.denied, "no", decision: Self.decision)
        let draft = AuditRecord.refusal(Self.facts, rejection, parts: [part]).draft()
        #expect(draft.parts == [part])
        let summary = try RecordSummary(reading: draft.sequenced(at: Self.position))
        let commitment = "sha256:\(SHA256.digest(of: part.salt + part.content))"
        #expect(summary.parts == [.init(name: "arguments", commitment: Text(commitment))])
        // As proxies wrote it before there were any.
        let older = AuditRecord.refusal(Self.facts, rejection).draft()
        #expect(try RecordSummary(reading: older.sequenced(at: Self.position)).parts == nil)
    }

    @Test func `what control reads is what the writer wrote`() throws {
        let bytes = AuditRecord.intent(Self.facts, Self.decision, parts: []).draft()
            .sequenced(at: Self.position)
        let summary = try RecordSummary(reading: bytes)
        #expect(summary.position == Self.position)
        #expect(summary.kind == .intent)
        #expect(summary.time == Self.time)
        #expect(summary.subject == "sub_1")
        #expect(summary.tool == "get_current_time")
        #expect(summary.answer == "permit")
        #expect(summary.intent == nil)
    }

    @Test func `an outcome names its intent, and whose it is when control closes it`() throws {
        let owner = AuditRecord.Intent.Owner(instance: "demo-1", epoch: 6, lane: .committed)
        let outcome = CallOutcome(time: Self.time, end: .unknown)
        let bytes = AuditRecord.outcome(of: .init(n: 9, owner: owner), outcome).draft()
            .sequenced(at: Self.position)
        let summary = try RecordSummary(reading: bytes)
        #expect(summary.intent == 9)
        #expect(summary.owner == owner)
        #expect(summary.end == .unknown)
    }

    @Test(arguments: AuditRecord.Kind.allCases)
    func `every kind reads back as itself`(kind: AuditRecord.Kind) throws {
        let record: AuditRecord =
            switch kind {
            case .intent: .intent(Self.facts, Self.decision, parts: [])
            case .outcome: .outcome(of: .init(n: 1), CallOutcome(time: Self.time, end: .succeeded))
            case .refusal: .refusal(Self.facts, Rejection(.denied, "no", decision: Self.decision))
            case .access: .access(Self.facts, nil)
            case .gap:
                .gap(
                    .init(
                        time: Self.time,
                        instance: "demo-1",
                        epoch: 6,
                        lane: .committed,
                        first: 3,
                        last: 5
                    )
                )
            }
        let summary = try RecordSummary(reading: record.draft().sequenced(at: Self.position))
        #expect(summary.kind == kind)
        #expect(summary.position == Self.position)
    }

    @Test(arguments: [
        ("", RecordSummary.Refusal.notJSON), ("{}", .unknownVersion),
        (#"{"v":2}"#, .unknownVersion),
        (#"{"v":1}"#, .malformed), (#"{"v":1,"v":1}"#, .notJSON),
        (
            #"{"v":1,"namespace":"d","instance":"i","epoch":-1,"lane":"committed","n":1,"kind":"access","time":"2026-11-22T17:00:00.000000Z"}"#,
            .malformed
        ),
        (
            #"{"v":1,"namespace":"d","instance":"i","epoch":1,"lane":"committed","n":1,"kind":"outcome","time":"2026-11-22T17:00:00.000000Z"}"#,
            .malformed
        ),
        (
            #"{"v":1,"namespace":"d","instance":"i","epoch":1,"lane":"committed","n":1,"kind":"access","time":"2026-02-30T17:00:00.000000Z"}"#,
            .malformed
        ),
    ])
    func `bytes that are no record are refused with the reason`(
        body: String,
        refusal: RecordSummary.Refusal
    ) {
        #expect(throws: refusal) {
            try RecordSummary(reading: Array(body.utf8))
        }
    }

    @Test func `a body beyond the bound is refused before it is parsed`() {
        #expect(throws: RecordSummary.Refusal.tooLong) {
            try RecordSummary(reading: Array(repeating: 0x20, count: RecordFormat.bodyBytesMax + 1))
        }
    }
}

@Suite struct TimestampTests {
    @Test(arguments: [
        (Int64(0), "1970-01-01T00:00:00.000000Z"), (-1, "1969-12-31T23:59:59.999999Z"),
        (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
        (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
        (1_795_366_800_123_456, "2026-11-22T17:00:00.123456Z"),
    ])
    func `time is written and read as RFC 3339 with six digits`(microseconds: Int64, text: String) {
        #expect(Timestamp(microseconds: microseconds).description == text)
        #expect(Timestamp(rfc3339: text.utf8)?.microseconds == microseconds)
    }

    @Test(arguments: [
        "2026-11-22T17:00:00Z", "2026-11-22t17:00:00.000000Z", "2026-13-22T17:00:00.000000Z",
        "2026-11-31T17:00:00.000000Z", "2026-11-22T24:00:00.000000Z", "2026-11-22T17:00:60.000000Z",
        "",
    ])
    func `other spellings of time are refused`(text: String) {
        #expect(Timestamp(rfc3339: text.utf8) == nil)
    }
}
