import AuditLog
import ControlPlane
import ControlProtocol
import ControlStore
import Cryptography
import Foundation
import GatewayModel
import JSON
import Postgres
import PostgresTestSupport
import Testing

/// Simulations by the worker of a running control, over records that went in through the store.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(30)), .serialized)
struct SimulationTests {
    /// How many calls are recorded: `OSTIARY_SIMULATION_RECORDS`, for whoever measures.
    static let recordCount =
        ProcessInfo.processInfo.environment["OSTIARY_SIMULATION_RECORDS"].flatMap { Int($0) }
        ?? 1200

    static let definition = Array(
        #"""
        {"inputSchema":{"properties":{"count":{"type":"integer"},"text":{"type":"string"}},"required":["text"],"type":"object"},"name":"echo"}
        """#.utf8
    )

    /// A hundred policies, of which one stops what says no.
    static let candidate: String = {
        var source =
            #"@id("all") permit (principal, action in MCP::Action::"tools/call", resource);"#
        for number in 0..<98 {
            source += """

                @id("p\(number)") permit (principal in MCP::Group::"g\(number)", action, resource)
                when { context.input.text like "*\(number)*" };
                """
        }
        return source + """

            @id("no") @tier("absolute") forbid (principal, action == MCP::Action::"demo/echo", resource)
            when { context.input.text == "no" };
            """
    }()

    /// Calls of one proxy, put on record as its link would.
    struct Recorder {
        let client: PostgresClient
        let records: RecordStore
        let writer: Writer
        let life: EpochStore.Opened
        let session: Postgres.UUID
        let sealer: PartSealer
        let version: UInt64
        let digest: SHA256.Digest
        var next: UInt64 = 1

        init(_ database: ControlDatabase, version: UInt64) async throws {
            self.version = version
            digest = SHA256.digest(of: SimulationTests.definition)
            client = database.client
            let namespace = try await database.namespace("sre")
            sealer = try PartSealer(try await database.keys.keys(of: namespace.id).parts)
            records = RecordStore(client)
            writer = Writer(namespaceID: namespace.id, namespace: "sre", instance: "proxy-z")
            try await InstanceStore(client).ensure("proxy-z", of: namespace.id)
            session = Postgres.UUID.random()
            let opening = try await EpochStore(client).open(
                writer,
                EpochStore.Hello(
                    bootID: Array(repeating: 9, count: 16),
                    resumeEpoch: 0,
                    softwareVersion: "test"
                ),
                session: session,
                leaseMilliseconds: 3_600_000,
                now: GatewayModel.Timestamp(microseconds: 0)
            )
            guard case .opened(let opened) = opening else {
                throw StoreError.instanceRefused
            }
            life = opened
        }

        func call(
            _ n: UInt64,
            _ arguments: String,
            _ change: (inout CallFacts) -> Void
        ) -> IncomingRecord {
            var facts = CallFacts(
                time: .init(microseconds: 1_790_000_000_000_000 + Int64(n)),
                request: Text("req_\(n)"),
                method: "tools/call",
                source: "192.0.2.1:5000"
            )
            facts.server = "demo"
            facts.tool = "echo"
            facts.definition = digest
            facts.subject = "sub_ann"
            facts.client = "agent"
            facts.snapshot = .init(version: version, ageMilliseconds: 12)
            change(&facts)
            let part = RecordPart(
                name: .arguments,
                salt: Array(repeating: 1, count: 32),
                content: Array(arguments.utf8)
            )
            let decision = Decision(
                answer: .permit,
                ground: .policy,
                determining: ["policy0"],
                release: 1
            )
            let draft = AuditRecord.intent(facts, decision, parts: [part]).draft()
            let position = RecordPosition(
                namespace: "sre",
                instance: writer.instance,
                epoch: life.epoch,
                lane: .committed,
                n: n
            )
            return IncomingRecord(
                lane: .committed,
                n: n,
                body: draft.sequenced(at: position),
                parts: [IncomingPart(name: "arguments", salt: part.salt, content: part.content)]
            )
        }

        mutating func record(
            _ arguments: [String],
            _ change: (inout CallFacts) -> Void = { _ in }
        ) async throws {
            var batch: [IncomingRecord] = []
            for its in arguments {
                batch.append(call(next, its, change))
                next += 1
            }
            let outcomes = try await records.commit([
                RecordBatch(
                    batch,
                    from: writer,
                    epoch: life.epoch,
                    session: session,
                    above: 0,
                    sealer: sealer
                )
            ])
            #expect(outcomes == [.committed(refused: [])])
        }
    }

    /// A control with a tool that proxies know, and the configuration that they decide by.
    static func run(_ body: (Plane, RESTClient, inout Recorder) async throws -> Void) async throws {
        try await Plane.run { plane in
            let api = try await plane.api()
            // Nothing is published, and so nothing kept, before a proxy asks for it.
            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { proxy.isLive }
            let tool = ConfigurationEdit.ReportedTool(name: "echo", canonical: Self.definition)
            let version = try await plane.database { database in
                try await ConfigurationStore(database.client).change(
                    database.namespace("sre").id,
                    [.toolsReported(server: "demo", [tool])]
                )
                return try await database.namespace("sre").configurationVersion
            }
            try await proxy.pump { proxy.snapshots.last?.version == version }
            await proxy.drop()
            try await plane.database { database in
                var recorder = try await Recorder(database, version: version)
                try await body(plane, api, &recorder)
            }
        }
    }

    static func release(_ source: String, _ api: RESTClient) async throws -> Int64 {
        let body = JSONFragment(object: { writer in
            writer.array("documents") { writer in
                writer.object { writer in
                    writer.member("name", "p.cedar" as Text)
                    writer.member("source", Text(source))
                }
            }
        })
        let made = try await api.post(
            "/v1/namespaces/sre/releases",
            String(decoding: body.bytes, as: UTF8.self)
        )
        #expect(made.status == 201, "\(String(decoding: made.bytes, as: UTF8.self).prefix(500))")
        return try #require(made.json?["number"]?.int64)
    }

    /// `permit→deny 3`, sorted.
    static func transitions(_ report: JSONValue?) -> [String] {
        (report?["transitions"]?.elements).map { elements in
            elements.map {
                "\($0["from"]?.string ?? "?")→\($0["to"]?.string ?? "?") \($0["count"]?.int64 ?? -1)"
            }.sorted()
        } ?? []
    }

    static func undecided(_ report: JSONValue?) -> [String] {
        (report?["undecided"]?.elements).map { elements in
            elements.map { "\($0["reason"]?.string ?? "?") \($0["count"]?.int64 ?? -1)" }
        } ?? []
    }

    @Test func `every recorded call is asked again, with its arguments and entities`() async throws
    {
        try await Self.run { plane, api, recorder in
            let count = Self.recordCount
            for start in stride(from: 0, to: count, by: 600) {
                let range = start..<min(start + 600, count)
                try await recorder.record(
                    range.map {
                        $0 % 3 == 0 ? #"{"text":"no"}"# : #"{"count":\#($0),"text":"yes \#($0)"}"#
                    }
                )
            }
            let number = try await Self.release(Self.candidate, api)
            let began = ContinuousClock.now
            let answer = try await api.simulate(number, #"{"limit": 10000000}"#)
            let took = ContinuousClock.now - began
            let report = answer.json?["report"]
            #expect(answer.text("state") == "finished")
            #expect(answer.json?["recordsRead"]?.int64 == Int64(count))
            let denied = (count + 2) / 3
            #expect(
                Self.transitions(report)
                    == ["permit→deny \(denied)", "permit→permit \(count - denied)"].sorted()
            )
            #expect(Self.undecided(report).isEmpty)
            #expect(report?["fidelity"]?["agreed"]?.int64 == Int64(count))
            #expect(report?["truncated"]?.boolean == false)
            #expect(report?["live"]?["decisions"]?.int64 == Int64(count))
            print("simulation: \(count) recorded decisions in \(took)")
        }
    }

    @Test func `the newest calls of a range are looked at, as many as were asked for`() async throws
    {
        try await Self.run { plane, api, recorder in
            try await recorder.record(
                (0..<700).map { $0 < 350 ? #"{"text":"yes"}"# : #"{"text":"no"}"# }
            )
            let number = try await Self.release(Self.candidate, api)
            let newest = try await api.simulate(number, #"{"limit": 600}"#).json?["report"]
            #expect(newest?["truncated"]?.boolean == true)
            #expect(Self.transitions(newest) == ["permit→deny 350", "permit→permit 250"])
            let exact = try await api.simulate(number, #"{"limit": 700}"#).json?["report"]
            #expect(exact?["truncated"]?.boolean == false)
            #expect(exact?["total"]?.int64 == 700)
            // The hundredth is the first of the range, the hundred and first microsecond its end.
            let times = ["2026-09-21T14:13:20.000100Z", "2026-09-21T14:13:20.000110Z"]
            let range = try await api.simulate(
                number,
                #"{"from": "\#(times[0])", "to": "\#(times[1])"}"#
            )
            #expect(range.json?["report"]?["total"]?.int64 == 10)
        }
    }

    @Test func `what cannot be asked again is counted with its reason`() async throws {
        try await Self.run { plane, api, recorder in
            try await recorder.record([#"{"text":"yes"}"#])
            try await recorder.record([#"{"text":"yes"}"#]) {
                $0.snapshot = .init(version: 99_999, ageMilliseconds: 1)
            }
            try await recorder.record([#"{"text":"yes"}"#]) { $0.snapshot = nil }
            try await recorder.record([#"{"text":"yes"}"#]) { $0.subject = "sub_nobody" }
            let number = try await Self.release(Self.candidate, api)
            let report = try await api.simulate(number).json?["report"]
            #expect(Self.transitions(report) == ["permit→permit 1"])
            #expect(Self.undecided(report) == ["configurationMissing 1", "unreadable 2"])

            // Erased with the key, the arguments are gone, and so is what was published.
            try await plane.superuser { client in
                _ = try await client.query("delete from namespace_key where purpose = 'parts'")
            }
            let after = try await api.simulate(number).json?["report"]
            #expect(Self.undecided(after) == ["configurationMissing 3", "unreadable 1"])
            // Another key gets the name of the one that is gone; what the old one sealed stays erased.
            let keys = try KeyStore(
                recorder.client,
                keyEncryptionKey: plane.settings.keyEncryptionKey
            )
            _ = try await keys.keys(of: recorder.writer.namespaceID)
            let again = try await api.simulate(number).json?["report"]
            #expect(Self.undecided(again) == ["configurationMissing 3", "unreadable 1"])
        }
    }

    @Test func `arguments too long for a page are asked again like all others`() async throws {
        try await Self.run { plane, api, recorder in
            let long = #"{"text":"\#(String(repeating: "x", count: 100_000))"}"#
            try await recorder.record([long, #"{"text":"no"}"#, long])
            let number = try await Self.release(Self.candidate, api)
            let report = try await api.simulate(number).json?["report"]
            #expect(Self.transitions(report) == ["permit→deny 1", "permit→permit 2"])
        }
    }

    @Test func `counters that were read are asked with what they said`() async throws {
        try await Self.run { plane, api, recorder in
            try await recorder.record([#"{"text":"a"}"#]) { $0.decided = counted(4) }
            try await recorder.record([#"{"text":"b"}"#]) { $0.decided = counted(5) }
            // Decided before the counter was declared: a policy that reads it fails, and the gateway closes.
            try await recorder.record([#"{"text":"c"}"#])
            let body = #"""
                {"documents": [
                  {"name": "facts.json", "source": "{\"counters\":[{\"name\":\"r\",\"action\":\"any\",\"window\":\"1h\"}]}"},
                  {"name": "p.cedar", "source": "@id(\"all\") permit (principal, action in MCP::Action::\"tools/call\", resource); @id(\"r\") @tier(\"guard\") @limit(\"r\") forbid (principal, action == MCP::Action::\"demo/echo\", resource) when { context.facts.rate.r >= 5 };"}]}
                """#
            let made = try await api.post("/v1/namespaces/sre/releases", body)
            let number = try #require(made.json?["number"]?.int64)
            let report = try await api.simulate(number).json?["report"]
            #expect(
                Self.transitions(report)
                    == ["permit→deny 1", "permit→permit 1", "permit→rateLimited 1"]
            )
        }
    }
}

/// What a call rested on for which the counter `r` said so much.
private func counted(_ count: Int64) -> DecisionFacts {
    var facts = DecisionFacts()
    facts.rates["r"] = count
    return facts
}
