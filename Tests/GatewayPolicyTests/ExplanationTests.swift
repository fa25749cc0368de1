import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@Suite struct ExplanationTests {
    static let source: Text = """
        @id("all")
        permit (principal in MCP::Group::"sre", action, resource);
        @id("apply") @tier("guard") @approval("sre:2")
        forbid (principal, action == MCP::Action::"k8s/apply", resource)
        unless {
          (context.facts.approvals.sre >= 2 && context.facts.stepUp) ||
          principal in MCP::Group::"break-glass-active"
        };
        @id("ns") @tier("absolute")
        forbid (principal, action, resource) when { context.input has ns && context.input.ns like "p*" };
        @id("other") @tier("absolute") forbid (principal is MCP::ServiceAccount, action, resource);
        """

    private func explain(_ arguments: String, approvals: Int64 = 1) throws -> Explanation {
        var input = try SimulationTests.input(arguments: arguments)
        input.facts.approvals = ["sre": approvals]
        return Explainer(try SimulationTests.point(1, Self.source)).explain(input)
    }

    @Test func `the part of a condition that decided is named with its place and what it read`()
        throws
    {
        let explanation = try explain(#"{"replicas": 3}"#)
        #expect(explanation.decision.answer == .deny)
        let text = explanation.description
        let wanted = """
            deny: MCP::User::"alice" MCP::Action::"k8s/apply" MCP::Tool::"k8s/apply"
              stopped by apply
              with approval sre:2: deny, by apply

            forbid apply (p.cedar:3:1) applies
              cure: approval sre:2
              unless false [6:3]
                any of: false [6:3]
                  all of: false [6:4]
                    false: context.facts.approvals.sre >= 2 [6:4]; context.facts.approvals.sre is 1
                    (1 more not looked at)
                  false: principal in MCP::Group::"break-glass-active" [7:3]

            permit all (p.cedar:1:1) applies

            forbid ns (p.cedar:9:1) does not apply: its condition is false
              when false [10:45]
                all of: false [10:45]
                  false: context.input has ns [10:45]; context.input is {"replicas": 3}
                  (1 more not looked at)

            about something else:
              forbid other (p.cedar:11:1): not this principal
            """
        #expect(text == wanted, "\(text)")
    }

    @Test func `what would be answered if the cures had worked is said`() throws {
        let explanation = try explain("{}", approvals: 2)
        #expect(explanation.cured?.cures == [.approval(group: "sre", count: 2)])
        #expect(explanation.cured?.decision.answer == .deny)
        var input = try SimulationTests.input(arguments: "{}")
        input.facts.hasSteppedUp = true
        let curable = Explainer(try SimulationTests.point(1, Self.source)).explain(input)
        #expect(curable.decision.answer == .requireApproval)
        #expect(curable.cured?.decision.answer == .permit)
        #expect(curable.description.contains("\n  with approval sre:2: permit, by all\n"))
        // A forbid that nothing lifts stands beside it.
        let absolute = try explain(#"{"ns": "prod"}"#)
        #expect(absolute.cured == nil)
        #expect(absolute.decision.determining == ["apply", "ns"])
    }

    @Test func `a condition without a value says why`() throws {
        let explanation = try explain(#"{"ns": 7}"#)
        #expect(explanation.decision.ground == .policyError)
        let text = explanation.description
        #expect(text.contains("forbid ns (p.cedar:9:1) cannot be evaluated: the gateway denies"))
        #expect(
            text.contains(
                #"error (type mismatch): context.input.ns like "p*" [10:69]; context.input.ns is 7"#
            ),
            "\(text)"
        )
    }

    @Test func `a subject that may not act is explained without policies`() throws {
        let input = try SimulationTests.input("r", "gone")
        let explanation = Explainer(try SimulationTests.point(1, Self.source)).explain(input)
        #expect(explanation.policies.isEmpty && explanation.cured == nil)
        #expect(explanation.description.contains("the subject is not active; no policy is asked"))
    }

    @Test func `the JSON form says the same, part by part`() throws {
        let bytes = JSONFragment(try explain(#"{"replicas": 3}"#)).bytes
        let json = try JSONDocument(parsing: bytes).root
        #expect(json["decision"]?["answer"]?.string == "deny")
        #expect(json["cured"]?["cures"]?.elements.map(\.string) == ["approval sre:2"])
        let policies = try #require(json["policies"]).elements.map { $0 }
        #expect(policies.map { $0["policy"]?.string } == ["apply", "all", "ns", "other"])
        #expect(
            policies.map { $0["result"]?.string } == [
                "applies", "applies", "conditionFalse", "scopeDiffers",
            ]
        )
        #expect(policies[3]["mismatches"]?.elements.map(\.string) == ["principal"])
        let unless = try #require(policies[0]["conditions"]?.elements.first { _ in true })
        #expect(unless["kind"]?.string == "unless")
        let any = try #require(unless["parts"]?.elements.first { _ in true })
        let all = try #require(any["parts"]?.elements.first { _ in true })
        let leaves = try #require(all["parts"]).elements.map { $0 }
        #expect(leaves.map { $0["result"]?.string } == ["false", "notReached"])
        #expect(leaves[0]["line"]?.int64 == 6)
    }

    /// Random conditions of leaves that are true, false, no truth value, or fail.
    private struct Generator {
        var random: SeededGenerator

        mutating func condition(_ depth: Int) -> String {
            let leaves = [
                "context.t", "context.f", "context.n > 3", "context.n < 3", "context.missing",
                "context.n", #"context.s like "a*""#, "context has t", "principal has t",
                #"resource in R::"r""#, "context.n * 9223372036854775807 > 0", "true", "false",
            ]
            guard depth > 0, Int.random(in: 0..<5, using: &random) > 0 else {
                return leaves.randomElement(using: &random) ?? "true"
            }
            let left = condition(depth - 1)
            let right = condition(depth - 1)
            switch Int.random(in: 0..<6, using: &random) {
            case 0, 1: return "(\(left)) && (\(right))"
            case 2, 3: return "(\(left)) || (\(right))"
            case 4: return "!(\(left))"
            default: return "if \(left) then \(right) else \(condition(depth - 1))"
            }
        }
    }

    @Test func `parts put together give what the engine gives, for random conditions`() throws {
        let seed = UInt64.random(in: 0 ... .max)
        SharedPolicyData.note("explanation seed \(seed)")
        var generator = Generator(random: SeededGenerator(seed: seed))
        var text = ""
        let count = 600
        for _ in 0..<count {
            let first = generator.condition(4)
            let second = generator.condition(2)
            text += "permit (principal, action, resource) when { \(first) } unless { \(second) };\n"
        }
        let set = CompiledPolicySet(try PolicySet.parse(text))
        let request = Request(
            principal: EntityUID(type: "U", id: "u"),
            action: EntityUID(type: "Action", id: "a"),
            resource: EntityUID(type: "R", id: "r"),
            context: ["t": .bool(true), "f": .bool(false), "n": .long(4), "s": .string("abc")]
        )
        var outcomes: [PolicyTracer.Outcome] = []
        PolicyTracer(policies: set, entities: .empty).trace(request) { outcomes.append($1) }
        let response = Authorizer(policies: set, entities: .empty).decide(request)
        let traces = PolicyExplainer(policies: set, entities: .empty).explain(request)
        #expect(outcomes.count == count && traces.count == count)
        var seen: Set<PolicyTracer.Outcome> = []
        for (trace, outcome) in zip(traces, outcomes) {
            #expect(trace.outcome == outcome)
            // The first condition that is not true decides.
            let decisive = trace.conditions.first { $0.result != .isTrue }?.result
            let derived: PolicyTracer.Outcome =
                switch decisive {
                case nil: .applies
                case .failed(let kind): .failed(kind)
                default: .doesNotApply
                }
            #expect(derived == outcome, "seed \(seed), \(trace.policy)")
            #expect(response.determining.contains(trace.policy) == (outcome == .applies))
            seen.insert(outcome)
        }
        #expect(seen.contains(.applies) && seen.contains(.doesNotApply) && seen.count > 3)
    }
}
