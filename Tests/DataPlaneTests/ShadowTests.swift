import AuditLog
import ControlProtocol
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@testable import DataPlane

/// A release in shadow, as a proxy compiles it: beside the one in force, and never in its way.
@Suite struct ShadowTests {
    static let permits: String = """
        @id("all") permit (principal, action in MCP::Action::"tools/call", resource);
        """
    static let forbids: String =
        permits + """

            @id("none") @tier("absolute") forbid (principal, action, resource) when { context.facts.rate.r >= 0 };
            """
    static let counter =
        #"{"counters":[{"name":"r","action":"any","per":["subject"],"window":"1h"}]}"#

    static func configuration(
        shadow documents: [(String, String)]?
    ) -> WireConfiguration {
        var configuration = WireConfiguration()
        configuration.namespace = "sre"
        configuration.version = 7
        configuration.policy = release(3, [("a.cedar", permits)])
        if let documents { configuration.shadow = release(4, documents) }
        var server = WireServer()
        server.name = "k8s"
        server.url = "http://127.0.0.1:1/mcp"
        server.enabled = true
        var tool = WirePinnedTool()
        tool.name = "get_pods"
        tool.definitionDigest = .init(repeating: 1, count: 32)
        tool.effect = "read"
        server.tools = [tool]
        configuration.servers = [server]
        var subject = WireSubject()
        subject.issuer = "https://idp.example"
        subject.subject = "a"
        subject.id = "sub_a"
        subject.kind = "user"
        subject.status = "active"
        configuration.subjects = [subject]
        return configuration
    }

    static func release(_ number: UInt64, _ documents: [(String, String)]) -> WirePolicyRelease {
        var release = WirePolicyRelease()
        release.number = number
        release.documents = documents.map { name, text in
            var document = WirePolicyDocument()
            (document.name, document.text) = (name, text)
            return document
        }
        return release
    }

    static func answer(
        of point: PolicyDecisionPoint?,
        in snapshot: GatewaySnapshot,
        rates: [Text: RateReading] = [:]
    ) throws -> Decision {
        let subject = try #require(
            snapshot.subjects[.init(issuer: "https://idp.example", name: "a")]
        )
        var facts = PolicyFacts(time: Timestamp(seconds: 0), source: nil, definitionPinned: true)
        facts.rates = rates
        return try #require(point).decide(
            subject,
            "k8s",
            "get_pods",
            reading: PolicyDecisionPoint.read(nil, .empty),
            facts: facts
        )
    }

    @Test func `a release in shadow is asked the same, and answers for itself`() throws {
        let documents = [("facts.json", Self.counter), ("b.cedar", Self.forbids)]
        let snapshot = try GatewaySnapshot(
            compiling: Self.configuration(shadow: documents),
            for: "sre"
        )
        #expect(snapshot.shadowRefusal == nil)
        let enforced = try Self.answer(of: snapshot.decisionPoint, in: snapshot)
        #expect(enforced.answer == .permit && enforced.release == 3)
        let shadow = try Self.answer(
            of: snapshot.shadow,
            in: snapshot,
            rates: ["r": RateReading(count: 0)]
        )
        #expect(shadow.answer == .deny && shadow.determining == ["none"] && shadow.release == 4)
    }

    @Test func `a release in shadow counts by its own declarations`() throws {
        let documents = [("facts.json", Self.counter), ("b.cedar", Self.forbids)]
        let state = GatewayState()
        state.install(
            try GatewaySnapshot(compiling: Self.configuration(shadow: documents), for: "sre"),
            servers: [:]
        )
        state.install(try SessionSealTests.seal())
        let now = MonotonicInstant(nanoseconds: 0)
        state.renew(until: now.adding(milliseconds: 1000), at: now)
        let view = try state.view(at: now).get()
        let event = PolicyEvent(
            calling: "get_pods",
            at: "k8s",
            effect: .read,
            by: "sub_a",
            through: "agent"
        )
        #expect(view.memory.rates(for: event, at: now).isEmpty)
        #expect(view.shadowMemory.rates(for: event, at: now) == ["r": RateReading(count: 0)])
        // Gone with the shadow.
        state.install(
            try GatewaySnapshot(compiling: Self.configuration(shadow: nil), for: "sre"),
            servers: [:]
        )
        #expect(view.shadowMemory.rates(for: event, at: now).isEmpty)
    }

    @Test func `a release in shadow that does not compile is named and ignored`() throws {
        let snapshot = try GatewaySnapshot(
            compiling: Self.configuration(shadow: [("b.cedar", "permit (")]),
            for: "sre"
        )
        #expect(snapshot.shadow == nil)
        #expect(snapshot.shadowRefusal?.contains("release 4") == true)
        #expect(try Self.answer(of: snapshot.decisionPoint, in: snapshot).answer == .permit)
        // What is in force is another matter: without it nothing is.
        var broken = Self.configuration(shadow: nil)
        broken.policy = Self.release(3, [("a.cedar", "permit (")])
        #expect(throws: GatewaySnapshot.Refusal.self) {
            try GatewaySnapshot(compiling: broken, for: "sre")
        }
    }

    @Test func `without one there is nothing`() throws {
        let snapshot = try GatewaySnapshot(compiling: Self.configuration(shadow: nil), for: "sre")
        #expect(snapshot.shadow == nil && snapshot.shadowRefusal == nil)
    }

    @Test func `what goes on record of the facts is what the decision had`() {
        var facts = PolicyFacts(time: Timestamp(seconds: 0), source: nil, definitionPinned: false)
        #expect(DecisionFacts(facts, isInputFaithful: true).definitionPinned == false)
        facts.definitionPinned = true
        #expect(DecisionFacts(facts, isInputFaithful: true) == DecisionFacts())
        facts.rates["r"] = RateReading(count: 2, falls: [.init(afterMilliseconds: 1, count: 1)])
        facts.history["h"] = false
        facts.approvals["sre"] = 1
        facts.found = ["personal"]
        facts.hasSteppedUp = true
        facts.sessionAgeMilliseconds = 9
        let recorded = DecisionFacts(facts, isInputFaithful: false)
        #expect(recorded.rates == ["r": 2] && recorded.history == ["h": false])
        #expect(recorded.approvals == ["sre": 1] && recorded.found == ["personal"])
        #expect(recorded.stepUp && recorded.sessionAgeMilliseconds == 9 && !recorded.inputFaithful)
    }
}
