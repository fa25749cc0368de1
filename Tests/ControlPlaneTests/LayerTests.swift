import ControlPlane
import ControlProtocol
import ControlStore
import Foundation
import GatewayModel
import JSON
import Postgres
import PostgresTestSupport
import SwiftProtobuf
import Testing

/// Layers of documents, from REST and imports to what proxies receive; on a real database.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(3)), .serialized)
struct LayerTests {
    static let base = ReleaseLifeTests.base
    static let releases = ReleaseLifeTests.releases
    static let web = #"{"rank": "team", "name": "web", "owned": ["MCP::Server::\"web\""]}"#
    static let acme = #"{"rank": "organisation", "name": "acme"}"#

    /// A document with a permit for a server.
    static func document(_ name: String, _ server: String, layer: String? = nil) -> String {
        let layer = layer.map { #", "layer": \#($0)"# } ?? ""
        return #"""
            {"name": "\#(name)", "source":
              "@id(\"\#(name)\") permit (principal in MCP::Group::\"a\", action, resource in MCP::Server::\"\#(server)\");"\#(layer)}
            """#
    }

    static func body(_ documents: [String], _ more: String = "") -> String {
        #"{"documents": [\#(documents.joined(separator: ", "))]\#(more)}"#
    }

    static func layers(_ answer: RESTClient.Answer) -> [String?] {
        answer.json?["documents"]?.elements.map { document in
            document["layer"].map { String(decoding: $0.canonicalBytes(), as: UTF8.self) }
        } ?? []
    }

    @Test func `documents name their layers, are signed with them, and reach proxies with them`()
        async throws
    {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let made = try await ann.post(
                Self.releases,
                Self.body(
                    [
                        Self.document("org.cedar", "db", layer: Self.acme),
                        Self.document("plain.cedar", "db"),
                        Self.document("web.cedar", "web", layer: Self.web),
                    ],
                    #", "activate": true"#
                )
            )
            #expect(made.status == 201)
            let web = #"{"name":"web","owned":["MCP::Server::\"web\""],"rank":"team"}"#
            let acme = #"{"name":"acme","rank":"organisation"}"#
            #expect(Self.layers(made) == [acme, nil, web])
            let number = try #require(made.json?["number"]?.int64)
            let shown = try await ann.get("\(Self.releases)/\(number)")
            #expect(Self.layers(shown) == [acme, nil, web])
            let manifest = try await ann.get("\(Self.releases)/\(number)/manifest")
            #expect(
                manifest.text("manifest")?.contains(#""layer":\#(web),"name":"web.cedar""#) == true
            )

            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { !proxy.snapshots.isEmpty }
            let snapshot = try #require(proxy.snapshots.last)
            let policy = try WireConfiguration(serializedBytes: snapshot.payload).policy
            #expect(policy.documents.map(\.name) == ["org.cedar", "plain.cedar", "web.cedar"])
            #expect(policy.documents.map(\.hasLayered) == [true, false, true])
            // A proxy that does not know layers has nothing that it could enforce without them.
            #expect(policy.documents[0].text == WirePolicyDocument.textOfLayered)
            #expect(policy.documents[2].text == WirePolicyDocument.textOfLayered)
            #expect(policy.documents[1].text.contains("plain.cedar"))
            let layered = policy.documents[2].layered
            #expect(layered.rank == "team" && layered.name == "web")
            #expect(layered.owned.entities == [#"MCP::Server::"web""#])
            #expect(layered.text.contains("web.cedar"))
            #expect(!policy.documents[0].layered.hasOwned)
            await proxy.drop()
        }
    }

    @Test
    func `a policy that reaches beyond its layer is refused with its place, and changes nothing`()
        async throws
    {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let (trail, before) = (try await plane.trail(ann), try await ann.all(Self.releases))
            for more in ["", #", "activate": true"#, #", "basedOn": "active""#] {
                let answer = try await ann.post(
                    Self.releases,
                    Self.body(
                        [
                            Self.document("plain.cedar", "db"),
                            Self.document("web.cedar", "db", layer: Self.web),
                        ],
                        more
                    )
                )
                #expect(answer.status == 422 && answer.problem == "/problems/policy-invalid")
                #expect(answer.errors == ["/documents/1/source policy"])
                let error = answer.json?["errors"]?.elements.first { _ in true }
                #expect(error?["document"]?.string == "web.cedar")
                #expect(error?["policy"]?.string == "web.cedar")
                #expect(error?["line"]?.int64 == 1 && error?["column"]?.int64 == 1)
                #expect(
                    error?["detail"]?.string
                        == "layer_exceeded: the layer web does not own MCP::Server::\"db\""
                )
            }
            #expect(try await ann.all(Self.releases).count == before.count)
            #expect(try await plane.trail(ann) == trail)
            #expect(try await plane.activeRelease() == 1)
        }
    }

    @Test func `a layer that is none is refused with its place`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let owned = (0..<257).map { #""A::\"\#($0)\"""# }.joined(separator: ", ")
            for (layer, error) in [
                ("1", "/documents/0/layer wrong_type"),
                (#"{"rank": "team", "name": "a"}"#, "/documents/0/layer/owned missing"),
                (#"{"rank": "galaxy", "name": "a"}"#, "/documents/0/layer/rank unknown_value"),
                (#"{"name": "a"}"#, "/documents/0/layer/rank missing"),
                (#"{"rank": "namespace", "name": ""}"#, "/documents/0/layer/name length"),
                (#"{"rank": "namespace", "name": "a\u0007"}"#, "/documents/0/layer/name form"),
                (
                    #"{"rank": "namespace", "name": "a", "owner": 1}"#,
                    "/documents/0/layer/owner unknown_member"
                ),
                (
                    #"{"rank": "team", "name": "a", "owned": ["A::\"b\"", "web"]}"#,
                    "/documents/0/layer/owned/1 form"
                ),
                (
                    #"{"rank": "team", "name": "a", "owned": ["A::\"b\"", "A::\"b\""]}"#,
                    "/documents/0/layer/owned/1 duplicate"
                ),
                (
                    #"{"rank": "team", "name": "a", "owned": [\#(owned)]}"#,
                    "/documents/0/layer/owned too_many"
                ),
            ] {
                let answer = try await ann.post(
                    Self.releases,
                    Self.body([Self.document("a.cedar", "web", layer: layer)])
                )
                #expect(answer.status == 422 && answer.problem == "/problems/request-invalid")
                #expect(answer.errors == [error], "\(layer)")
            }
            #expect(try await ann.all(Self.releases).count == 1)
        }
    }

    @Test func `an edit leaves a document in its layer unless it names another`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let rules =
                #"{"name": "r.rules.yaml", "source": "rules:\n- id: r\n  allow: {groups: [x], servers: [web]}\n", "layer": \#(Self.web)}"#
            let first = try await ann.post(
                Self.releases,
                Self.body(
                    [Self.document("web.cedar", "web", layer: Self.web), rules],
                    #", "activate": true"#
                )
            )
            #expect(first.status == 201)
            let web = #"{"name":"web","owned":["MCP::Server::\"web\""],"rank":"team"}"#
            // The policies of rules are of the layer of the rules.
            #expect(Self.layers(first) == [web, web, web])
            let based = #", "basedOn": "active""#
            let wider = try await ann.post(
                Self.releases,
                Self.body([Self.document("web.cedar", "db")], based)
            )
            #expect(wider.status == 422 && wider.problem == "/problems/policy-invalid")
            let again = try await ann.post(
                Self.releases,
                Self.body([Self.document("web.cedar", "web")], based)
            )
            #expect(Self.layers(again) == [web, web, web])
            #expect(again.text("digest") == first.text("digest"))
            for (layer, shown) in [
                ("null", nil), (Self.acme, #"{"name":"acme","rank":"organisation"}"#),
            ] {
                let moved = try await ann.post(
                    Self.releases,
                    Self.body([Self.document("web.cedar", "db", layer: layer)], based)
                )
                #expect(moved.status == 201 && Self.layers(moved) == [web, web, shown])
                #expect(moved.text("digest") != first.text("digest"))
            }
            // Based on nothing, what is not said is the namespace's.
            let plain = try await ann.post(
                Self.releases,
                Self.body([Self.document("web.cedar", "db")])
            )
            #expect(plain.status == 201 && Self.layers(plain) == [nil])
        }
    }

    @Test func `imports name layers too`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            func apply(_ document: String) async throws -> ImportOutcome {
                try await plane.apply(
                    Array(#"{"namespace": "sre", "policies": [\#(document)]}"#.utf8)
                )
            }
            let document = Self.document("web.cedar", "web", layer: Self.web)
            #expect(try await apply(document).isChanged)
            #expect(try await !apply(document).isChanged)
            let shown = try await ann.get("\(Self.releases)/2")
            #expect(shown.text("state") == "active" && Self.layers(shown).first != .some(nil))
            // The same text in another layer is another release.
            #expect(try await apply(Self.document("web.cedar", "web")).isChanged)
            #expect(try await plane.activeRelease() == 3)
            let named = Self.document("web.cedar", "web", layer: "null")
            #expect(try await !apply(named).isChanged)
            for (layer, place) in [
                (#"{"rank": "team", "name": "a"}"#, "policies[0].layer/owned: a team says"),
                (#"{"rank": "galaxy", "name": "a"}"#, "policies[0].layer/rank: must be one of"),
                (
                    #"{"rank": "namespace", "name": "a", "x": 1}"#,
                    "policies[0].layer/x: no such member"
                ),
                ("[]", "policies[0].layer: must be an object"),
            ] {
                let error = await #expect(throws: ImportError.self) {
                    try await apply(Self.document("web.cedar", "web", layer: layer))
                }
                #expect(error?.description.hasPrefix(place) == true, "\(error?.description ?? "")")
            }
            let beyond = await #expect(throws: ImportError.self) {
                try await apply(Self.document("web.cedar", "db", layer: Self.web))
            }
            #expect(
                beyond?.description
                    == "policies: web.cedar:1:1: the layer web does not own MCP::Server::\"db\" [layer_exceeded]"
            )
            #expect(try await plane.activeRelease() == 3)
        }
    }

    @Test func `a release is simulated and activated within its layers`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let made = try await ann.post(
                Self.releases,
                Self.body([Self.document("web.cedar", "web", layer: Self.web)])
            )
            let number = try #require(made.json?["number"]?.int64)
            #expect(try await ann.simulate(number).text("state") == "finished")
            // Edited past the application, so that the stored layer does not allow what the document says any more.
            try await plane.superuser { client in
                for statement: Query in [
                    "alter table policy_document disable trigger policy_document_is_insert_only",
                    "update policy_document set layer_owned = '{}' where release_number = \(number)",
                ] {
                    _ = try await client.query(statement)
                }
            }
            let asked = try await ann.post("\(Self.releases)/\(number)/simulations", "{}")
            #expect(asked.problem == "/problems/policy-invalid")
            let simulated = try await ann.simulate(1, #"{"against": \#(number)}"#)
            #expect(simulated.text("state") == "failed")
            #expect(simulated.text("failure") == "release_invalid")
            let shown = try await ann.get("\(Self.releases)/\(number)")
            let finding = shown.json?["checks"]?["findings"]?.elements.first { _ in true }
            #expect(finding?["code"]?.string == "layer_exceeded")
            #expect(finding?["policy"]?.string == "web.cedar")
            let activation = try await ann.post(
                Self.base + "/activations",
                #"{"release": \#(number)}"#
            )
            #expect(activation.problem == "/problems/policy-checks-failed")
        }
    }
}
