import Cedar
import Foundation
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@Suite struct CoverageTests {
    static let source: Text = """
        @id("all") permit (principal in MCP::Group::"sre", action, resource);
        @id("prod") @tier("absolute") forbid (principal, action, resource == MCP::Tool::"k8s/apply")
        when { context.input.ns == "prod" };
        @id("nobody") @tier("absolute") forbid (principal is MCP::ServiceAccount, action, resource);
        """

    private func covered(_ arguments: [String]) throws -> Coverage {
        let point = try SimulationTests.point(1, Self.source)
        let configuration = ReplayConfiguration(
            baseline: nil,
            candidate: point,
            tracesCandidate: true
        )
        var simulation = Simulation(
            coverage: Coverage(of: try SimulationTests.release(1, Self.source))
        )
        for arguments in arguments {
            simulation.replay(
                try SimulationTests.input(arguments: arguments, recorded: .permit),
                in: configuration
            )
        }
        return try #require(simulation.coverage)
    }

    @Test func `each rule counts what it did`() throws {
        let coverage = try covered([#"{"ns": "prod"}"#, #"{"ns": "dev"}"#, #"{"ns": "dev"}"#, "{}"])
        #expect(coverage.decisions == 4)
        let rules = coverage.rules
        #expect(rules.map(\.policy) == ["all", "prod", "nobody"])
        #expect(rules.map(\.scopeMatched) == [4, 4, 0])
        #expect(rules.map(\.conditionTrue) == [4, 1, 0])
        #expect(rules.map(\.conditionFalse) == [0, 2, 0])
        #expect(rules.map(\.errors) == [0, 1, 0])
        // The one that fails closes the gateway, and the answer rests on it.
        #expect(rules.map(\.determining) == [2, 2, 0])
        #expect(coverage.neverMatched == ["nobody"])
        #expect(coverage.neverDetermining == ["nobody"])
        #expect((rules[1].line, rules[1].column) == (2, 1))
    }

    @Test func `a forbid needs a test that it denies and one that it lets pass`() throws {
        let both = try covered([#"{"ns": "prod"}"#, #"{"ns": "dev"}"#]).untestedForbids
        #expect(both.map(\.policy) == ["nobody"])
        #expect(both.first?.code == "untested_forbid")
        #expect(both.first?.severity == .warning)
        #expect(both.first?.message == "add a test that it denies")
        let denied = try covered([#"{"ns": "prod"}"#]).untestedForbids
        #expect(denied.map(\.policy) == ["prod", "nobody"])
        #expect(denied.first?.message == "add a test in its scope that is permitted")
        let passed = try covered([#"{"ns": "dev"}"#]).untestedForbids
        #expect(passed.first?.message == "add a test that it denies")
    }

    @Test func `a test that another forbid denies lets no forbid pass`() throws {
        let source: Text = """
            @id("all") permit (principal, action, resource);
            @id("a") @tier("absolute") forbid (principal, action, resource) when { context.input.ns == "a" };
            @id("b") @tier("absolute") forbid (principal, action, resource) when { context.input.ns == "b" };
            """
        let configuration = ReplayConfiguration(
            baseline: nil,
            candidate: try SimulationTests.point(1, source),
            tracesCandidate: true
        )
        var simulation = Simulation(coverage: Coverage(of: try SimulationTests.release(1, source)))
        for ns in ["a", "b"] {
            simulation.replay(
                try SimulationTests.input(arguments: #"{"ns": "\#(ns)"}"#, recorded: .deny),
                in: configuration
            )
        }
        let findings = try #require(simulation.coverage).untestedForbids
        #expect(findings.map(\.policy) == ["a", "b"])
        #expect(Set(findings.map(\.message)) == ["add a test in its scope that is permitted"])
    }

    @Test func `what no policy is asked is not covered, and parts add up`() throws {
        let point = try SimulationTests.point(1, Self.source)
        let configuration = ReplayConfiguration(
            baseline: nil,
            candidate: point,
            tracesCandidate: true
        )
        let release = try SimulationTests.release(1, Self.source)
        var simulation = Simulation(coverage: Coverage(of: release))
        for name in ["gone", "stranger"] as [Text] {
            simulation.replay(
                try SimulationTests.input("r", name, recorded: .deny),
                in: configuration
            )
        }
        #expect(simulation.coverage?.decisions == 0)
        #expect(simulation.coverage?.neverMatched.count == 3)
        var sum = try covered([#"{"ns": "prod"}"#])
        sum.merge(try covered([#"{"ns": "dev"}"#, "{}"]))
        #expect(sum.rules == (try covered([#"{"ns": "prod"}"#, #"{"ns": "dev"}"#, "{}"])).rules)
    }

    @Test func `the cases of the starter policies test every forbid both ways`() throws {
        let release = try StarterPolicyTests.release()
        var coverage = Coverage(of: release)
        for file in try StarterPolicyTests.files(".cases.json") {
            let document = try PolicyCases(
                JSONDocument(parsing: Array(Data(contentsOf: file))).root
            )
            let layer = OutcomeLayer(
                release: release,
                entities: try EntitySnapshot(entities: document.entities)
            )
            #expect(document.run(on: layer, coverage: &coverage) == [])
        }
        #expect(coverage.untestedForbids == [])
        #expect(coverage.neverDetermining == [])
        #expect(coverage.decisions > 20)
    }
}
