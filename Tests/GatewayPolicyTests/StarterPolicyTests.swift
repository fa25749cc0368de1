import Cedar
import Foundation
import GatewayPolicy
import JSON
import Testing

@Suite struct StarterPolicyTests {
    static let folder: URL = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("deploy/policies")

    static func files(_ suffix: String) throws -> [URL] {
        try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.lastPathComponent.hasSuffix(suffix) }
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
    }

    static func release() throws -> PolicyRelease {
        let files = try [folder.appendingPathComponent("facts.json")] + files(".cedar")
        return try PolicyRelease(
            number: 1,
            documents: files.map {
                .init(
                    name: Text($0.lastPathComponent),
                    source: Text(try String(contentsOf: $0, encoding: .utf8))
                )
            }
        )
    }

    @Test func `every starter policy has cases, and they come out as stated`() throws {
        let release = try Self.release()
        let policies = try Self.files(".cedar").map { $0.deletingPathExtension().lastPathComponent }
        #expect(policies.count == 11)
        for policy in policies {
            let file = Self.folder.appendingPathComponent("\(policy).cases.json")
            let json = try JSONDocument(parsing: Array(Data(contentsOf: file))).root
            let document = try PolicyCases(json)
            #expect(document.cases.count >= 2)
            let layer = OutcomeLayer(
                release: release,
                entities: try EntitySnapshot(entities: document.entities)
            )
            for failure in document.run(on: layer) {
                Issue.record("\(policy): \(failure)")
            }
        }
    }

    @Test func `a case that comes out otherwise is told with what differs`() throws {
        let text = try String(
            contentsOf: Self.folder.appendingPathComponent("dual-authorization.cases.json"),
            encoding: .utf8
        )
        let wrong = text.replacingOccurrences(of: "approval sre:2", with: "approval sre:3")
        let document = try PolicyCases(JSONDocument(parsing: Array(wrong.utf8)).root)
        let layer = OutcomeLayer(
            release: try Self.release(),
            entities: try EntitySnapshot(entities: document.entities)
        )
        let failures = document.run(on: layer)
        #expect(failures.count == 2)
        #expect(failures.first?.description.contains("cures is") == true)
    }

    @Test func `the lint finds nothing in them`() throws {
        #expect(PolicyLint.findings(of: try Self.release()) == [])
    }
}
