import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import MCPProtocol
import Testing

@testable import DataPlane

/// From facts to the message a client gets, in process: decision point, counters, enforcement, wire.
@Suite struct OutcomeEnforcementTests {
    static let subject = Subject(
        id: "sub_a",
        issuer: "https://idp.example",
        name: "a",
        kind: .user,
        status: .active,
        groups: ["sre"]
    )

    static let policies: Text = """
        @id("AC-3.sre") @notify("oncall") permit (principal in MCP::Group::"sre",
            action in MCP::Action::"tools/call", resource in MCP::Server::"k8s");
        @id("AC-3.2") @tier("guard") @approval("sre:2,security:1")
        forbid (principal, action == MCP::Action::"k8s/apply", resource)
        unless { context.facts.approvals.sre >= 2 && context.facts.approvals.security >= 1 };
        @id("SC-5") @tier("guard") @limit("r")
        forbid (principal, action == MCP::Action::"k8s/delete_pod", resource)
        when { context.facts.rate.r >= 1 };
        @id("IA-11") @tier("guard") @stepup
        forbid (principal, action == MCP::Action::"k8s/exec", resource)
        unless { context.facts.stepUp };
        """

    static func point() throws -> PolicyDecisionPoint {
        try PolicyDecisionPoint(
            release: PolicyRelease(
                number: 3,
                documents: [
                    .init(
                        name: "facts.json",
                        source:
                            #"{"counters":[{"name":"r","action":"destructive","per":["subject"],"window":"1h"}]}"#
                    ),
                    .init(name: "a.cedar", source: policies),
                ]
            ),
            subjects: [subject],
            servers: [
                PolicyServer(
                    name: "k8s",
                    memberships: [],
                    tools: [
                        "get_pods": .read, "apply": .write, "delete_pod": .destructive,
                        "exec": .write,
                    ]
                )
            ]
        )
    }

    /// The decision on a tool, and the message that a client gets when the call stops; nothing when it goes on.
    static func call(
        _ tool: ToolName,
        _ change: (inout PolicyFacts) -> Void = { _ in }
    ) throws -> (decision: GatewayModel.Decision, message: JSONValue?) {
        var facts = PolicyFacts(
            time: Timestamp(seconds: 1_795_366_800),
            source: IPAddress("127.0.0.1".utf8),
            definitionPinned: true
        )
        facts.rates["r"] = RateReading(count: 0)
        change(&facts)
        let decision = try point().decide(
            subject,
            "k8s",
            tool,
            arguments: nil,
            schema: .empty,
            facts: facts
        )
        do throws(Rejection) {
            _ = try enforce(decision)
            return (decision, nil)
        } catch {
            let answer = ResponseBuilder(
                revision: .r2026_07_28,
                id: .integer(1),
                server: MCPEndpoint.implementation
            )
            return (decision, try JSONDocument(parsing: answer.rejection(error)).root["result"])
        }
    }

    static func said(_ message: JSONValue?) -> JSONValue? {
        message?["_meta"]?["ostiary/decision"]
    }

    static func text(_ message: JSONValue?) -> String {
        message?["content"]?.elements.first { _ in true }?["text"]?.string?.string ?? ""
    }

    @Test func `what is allowed goes on, with its duties`() throws {
        let (decision, message) = try Self.call("get_pods")
        #expect(message == nil)
        #expect(decision.duties == [.notify("oncall")])
    }

    @Test func `what needs approval is pending, and says whose`() throws {
        let (_, message) = try Self.call("apply") { $0.approvals = ["sre": 5] }
        #expect(Self.text(message).hasPrefix("Pending"))
        #expect(Self.text(message).contains("1 approval of security and 2 approvals of sre"))
        #expect(Self.said(message)?["code"]?.string == "approval_required")
        #expect(
            Self.said(message)?["cures"]?.elements.compactMap(\.string)
                == ["approval security:1", "approval sre:2"]
        )
        let approved = try Self.call("apply") { $0.approvals = ["sre": 2, "security": 1] }
        #expect(approved.message == nil)
    }

    @Test func `what is above a rate says when to come back`() throws {
        let (_, message) = try Self.call("delete_pod") {
            $0.rates["r"] = RateReading(
                count: 2,
                falls: [
                    .init(afterMilliseconds: 100, count: 1),
                    .init(afterMilliseconds: 4200, count: 0),
                ]
            )
        }
        #expect(Self.text(message).contains("Retry in 5 s"))
        #expect(Self.said(message)?["retryAfterMs"]?.int64 == 4200)
        #expect(Self.said(message)?["code"]?.string == "rate_limited")
    }

    @Test func `what needs a fresh sign-in says so`() throws {
        let (_, message) = try Self.call("exec")
        #expect(Self.said(message)?["code"]?.string == "step_up_required")
        #expect(try Self.call("exec") { $0.hasSteppedUp = true }.message == nil)
    }

    @Test func `a fact that is missing closes`() throws {
        let (decision, message) = try Self.call("delete_pod") { $0.rates = [:] }
        #expect(decision.ground == .policyError)
        #expect(Self.said(message)?["code"]?.string == "denied")
    }

    @Test func `a replica counts what it let through, and nothing that it refused`() throws {
        let memory = PolicyMemory()
        memory.declare(try Self.point().declaredFacts)
        let event = PolicyEvent(
            calling: "delete_pod",
            at: "k8s",
            effect: .destructive,
            by: Self.subject.id,
            through: "agent"
        )
        let now = MonotonicInstant(nanoseconds: 0)
        func settle(forwarded: Bool) -> Int64? {
            let held = memory.reserve(event, at: now)
            let count = held.readings["r"]?.count
            memory.settle(held, event, wasForwarded: forwarded, succeeded: forwarded, at: now)
            return count
        }
        #expect(settle(forwarded: false) == 0)
        #expect(settle(forwarded: true) == 0)
        #expect(settle(forwarded: false) == 1)
        #expect(memory.rates(for: event, at: now)["r"]?.count == 1)
    }
}
