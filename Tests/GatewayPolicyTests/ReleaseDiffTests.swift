import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@Suite struct ReleaseDiffTests {
    private func release(_ text: Text, facts: Text = "{}") throws -> PolicyRelease {
        try PolicyRelease(
            number: 1,
            documents: [
                .init(name: "facts.json", source: facts), .init(name: "p.cedar", source: text),
            ]
        )
    }

    static let old: Text = """
        @id("a") permit (principal, action, resource) when { context.facts.stepUp };
        @id("b") permit (principal == U::"u", action, resource);
        permit (principal == U::"v", action, resource);
        """

    @Test func `layout, comments and order do not count`() throws {
        let new: Text = """
            // Another order.
            permit(principal==U::"v",action,resource);
            @id("b") permit (principal == U::"u", action, resource);
            @id("a")
            permit (principal, action, resource)
            when { context.facts.stepUp }; // Fresh.
            """
        let diff = ReleaseDiff(from: try release(Self.old), to: try release(new))
        #expect(diff.isEmpty && diff.unchanged == 3)
    }

    @Test func `rules are told apart by id, and those without one by their text`() throws {
        let new: Text = """
            @id("c") permit (principal == U::"u", action, resource);
            @id("a") permit (principal, action, resource) when { !context.facts.stepUp };
            permit (principal == U::"w", action, resource);
            """
        let diff = ReleaseDiff(
            from: try release(Self.old),
            to: try release(new, facts: #"{"approvers": ["sre"], "timeZone": "+01:00"}"#)
        )
        #expect(diff.changes.map(\.kind) == [.added, .changed, .added, .removed, .removed])
        #expect(diff.changes.map(\.policy) == ["c", "a", nil, "b", nil])
        #expect(diff.changes[1].old?.contains("when { context.facts.stepUp }") == true)
        #expect(diff.changes[1].new?.contains("when { !context.facts.stepUp }") == true)
        #expect(diff.changes.map(\.line) == [1, 2, 3, 2, 3])
        #expect(diff.facts == ["approvers", "timeZone"])
        let json = try JSONDocument(parsing: JSONFragment(diff).bytes).root
        #expect(json["changes"]?.elements.map { $0["change"]?.string }.first == "added")
    }

    @Test func `entities that a caller lists are completed, not changed`() throws {
        var facts = FactDeclarations()
        facts.dataClasses = [.init(name: "secret")]
        let write = Entity(uid: MCPEntities.action("write"), parents: [MCPEntities.action("mine")])
        let completed = MCPEntities.completing([write], for: facts)
        let uids = completed.map(\.uid)
        #expect(Set(uids).count == uids.count)
        #expect(uids.contains(MCPEntities.dataClass("secret")))
        #expect(uids.contains(MCPEntities.action("cluster-admin")))
        #expect(uids.contains(MCPEntities.unregisteredClient))
        let own = try #require(completed.first { $0.uid == MCPEntities.action("write") })
        #expect(own.parents == [MCPEntities.action("mine")])
        _ = try EntitySnapshot(entities: completed)
    }
}
