import ControlPlane
import ControlProtocol
import ControlStore
import Cryptography
import Foundation
import GatewayModel
import JSON
import Postgres
import PostgresTestSupport
import SwiftProtobuf
import Testing

/// The life of a release over REST: made, reviewed, put in force, brought back; on a real database.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)), .serialized)
struct ReleaseLifeTests {
    static let base = "/v1/namespaces/sre"
    static let releases = base + "/releases"

    /// A request body with one policy of this id.
    static func draft(_ id: String, activate: Bool = false) -> String {
        #"""
        {"documents": [{"name": "p.cedar", "source":
          "@id(\"\#(id)\") permit (principal in MCP::Group::\"a\", action, resource);"}],
         "activate": \#(activate)}
        """#
    }

    static let approve = #"{"verdict": "approved", "comment": "looks right"}"#
    static let reject = #"{"verdict": "rejected", "comment": "no"}"#

    static func reviews(_ number: Int64) -> String { "\(releases)/\(number)/reviews" }

    @Test func `a second person approves, and then the release comes into force`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let bob = try await plane.api(name: "bob")
            try await plane.require(1, ann)
            let made = try await ann.post(Self.releases, Self.draft("p"))
            #expect(made.status == 201 && made.text("state") == "draft")
            #expect(
                made.text("maker") == "ann" && made.text("createdBy")?.hasPrefix("tok_") == true
            )
            #expect(
                made.json?["activationRefusals"]?.elements.map(\.string)
                    == ["policy-reviews-missing", "policy-simulation-missing"]
            )
            let number = try #require(made.json?["number"]?.int64)
            let activation = #"{"release": \#(number)}"#
            let early = try await ann.post(Self.base + "/activations", activation)
            #expect(early.status == 409 && early.problem == "/problems/policy-reviews-missing")
            #expect(early.text("detail") == "0 of 1 people approved it")
            // Nobody reviews what they made, whatever the token.
            let second = try await plane.api(of: "sre", name: "ann")
            for client in [ann, second] {
                for verdict in [Self.approve, Self.reject] {
                    let own = try await client.post(Self.reviews(number), verdict)
                    #expect(own.status == 403 && own.problem == "/problems/policy-review-own")
                }
            }
            #expect(try await ann.all(Self.reviews(number)).isEmpty)

            let wrong =
                #"{"verdict": "approved", "digest": "\#(String(repeating: "0", count: 64))"}"#
            #expect(try await bob.post(Self.reviews(number), wrong).status == 412)
            let review = try await bob.post(Self.reviews(number), Self.approve)
            #expect(review.status == 201 && review.text("reviewer") == "bob")
            #expect(review.text("digest") == made.text("digest"))
            let twice = try await plane.api(of: "sre", name: "bob")
                .post(Self.reviews(number), Self.reject)
            #expect(twice.status == 409 && twice.problem == "/problems/already-exists")
            let approved = try await ann.get("\(Self.releases)/\(number)")
            #expect(approved.text("state") == "approved" && approved.etag != made.etag)
            #expect(
                approved.json?["activationRefusals"]?.elements.map(\.string)
                    == ["policy-simulation-missing"]
            )
            let unseen = try await ann.post(Self.base + "/activations", activation)
            #expect(unseen.status == 409 && unseen.problem == "/problems/policy-simulation-missing")
            // Nor has anybody looked who looked where nothing happened.
            for nowhere in [
                #"{"to": "2020-01-01T00:00:00Z"}"#, #"{"from": "2020-01-01T00:00:00Z"}"#,
                #"{"kind": "shadow"}"#,
            ] {
                #expect(try await ann.simulate(number, nowhere).text("state") == "finished")
                let again = try await ann.post(Self.base + "/activations", activation)
                #expect(again.problem == "/problems/policy-simulation-missing", "\(nowhere)")
            }
            #expect(try await ann.simulate(number).text("state") == "finished")
            let seen = try await ann.get("\(Self.releases)/\(number)")
            #expect(seen.json?["activationRefusals"]?.count == 0)

            let active = try await ann.post(Self.base + "/activations", activation)
            #expect(active.status == 201 && active.text("kind") == "activation")
            #expect(try await plane.activeRelease() == UInt64(number))
            #expect(try await ann.get("\(Self.releases)/\(number)").text("state") == "active")
            #expect(try await ann.get("\(Self.releases)/1").text("state") == "retired")
            let again = try await ann.post(Self.base + "/activations", activation)
            #expect(again.status == 409 && again.problem == "/problems/policy-active")
            let late = try await plane.api(name: "eve").post(Self.reviews(number), Self.reject)
            #expect(late.problem == "/problems/policy-active")

            // The way back needs nobody.
            let back = try await ann.post(Self.base + "/activations", #"{"release": 1}"#)
            #expect(back.status == 201 && back.text("kind") == "rollback")
            #expect(try await plane.activeRelease() == 1)
            #expect(
                try await plane.trail(ann).filter { !$0.hasPrefix("api-token ") }.suffix(9).map {
                    $0.hasPrefix("createSimulation sim_") ? "createSimulation" : $0
                } == [
                    "updateNamespace sre", "createRelease \(number)", "createReview \(number)",
                    "createSimulation", "createSimulation", "createSimulation", "createSimulation",
                    "createActivation \(number)", "createActivation 1",
                ]
            )
        }
    }

    @Test func `a rejection is for good`() async throws {
        try await Plane.run { plane in
            let (ann, bob) = (try await plane.api(name: "ann"), try await plane.api(name: "bob"))
            let made = try await ann.post(Self.releases, Self.draft("p"))
            let number = try #require(made.json?["number"]?.int64)
            #expect(try await bob.post(Self.reviews(number), Self.reject).status == 201)
            let eve = try await plane.api(name: "eve").post(Self.reviews(number), Self.approve)
            #expect(eve.problem == "/problems/policy-rejected")
            let activation = try await ann.post(
                Self.base + "/activations",
                #"{"release": \#(number)}"#
            )
            #expect(activation.status == 409 && activation.problem == "/problems/policy-rejected")
            #expect(try await ann.get("\(Self.releases)/\(number)").text("state") == "rejected")
            let states = try await ann.all(Self.releases).map { $0["state"]?.string }
            #expect(states == ["rejected", "active"])
            let reviews = try await ann.all(Self.reviews(number))
            #expect(reviews.map { $0["verdict"]?.string } == ["rejected"])
            #expect(reviews.map { $0["comment"]?.string } == ["no"])
            #expect(try await ann.get(Self.reviews(99)).status == 404)
        }
    }

    @Test func `a token that the maker made, or made the maker's, is no second person`()
        async throws
    {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            func token(_ name: String, by client: RESTClient) async throws -> RESTClient {
                let body = #"{"name": "\#(name)", "role": "administrator"}"#
                return client.with(try await client.post("/v1/api-tokens", body).text("token"))
            }
            let bob = try await token("bob", by: ann)
            let carl = try await token("carl", by: bob)
            let made = try await ann.post(Self.releases, Self.draft("p"))
            let number = try #require(made.json?["number"]?.int64)
            for client in [bob, carl] {
                let answer = try await client.post(Self.reviews(number), Self.approve)
                #expect(answer.problem == "/problems/policy-review-own")
            }
            let theirs = try await carl.post(Self.releases, Self.draft("q"))
            let other = try #require(theirs.json?["number"]?.int64)
            let answer = try await ann.post(Self.reviews(other), Self.approve)
            #expect(answer.problem == "/problems/policy-review-own")
            // Two that a third one made are two.
            let dan = try await token("dan", by: ann)
            #expect(try await dan.post(Self.reviews(other), Self.approve).status == 201)
        }
    }

    @Test func `what the checks find keeps a release from being approved and activated`()
        async throws
    {
        try await Plane.run { plane in
            let (ann, bob) = (try await plane.api(name: "ann"), try await plane.api(name: "bob"))
            let documents =
                #"[{"name": "ok.cedar", "source": "// nothing"}, {"name": "p.cedar", "source": "\n permit (principal in MCP::Group::\"a\", action, resource);"}]"#
            let made = try await ann.post(Self.releases, #"{"documents": \#(documents)}"#)
            #expect(made.status == 201)
            let checks = made.json?["checks"]
            #expect(checks?["errors"]?.int64 == 1)
            let finding = checks?["findings"]?.elements.first { _ in true }
            #expect(finding?["code"]?.string == "id_missing")
            #expect(finding?["document"]?.string == "p.cedar")
            #expect(finding?["line"]?.int64 == 2 && finding?["column"]?.int64 == 2)
            let number = try #require(made.json?["number"]?.int64)
            func expectFailed(_ answer: RESTClient.Answer, at pointer: String) {
                #expect(answer.status == 422)
                #expect(answer.problem == "/problems/policy-checks-failed")
                #expect(answer.errors == ["\(pointer) policy"])
                let error = answer.json?["errors"]?.elements.first { _ in true }
                #expect(error?["document"]?.string == "p.cedar" && error?["line"]?.int64 == 2)
                #expect(error?["detail"]?.string?.string.hasPrefix("id_missing: ") == true)
            }
            expectFailed(try await bob.post(Self.reviews(number), Self.approve), at: "/documents")
            expectFailed(
                try await ann.post(Self.base + "/activations", #"{"release": \#(number)}"#),
                at: "/documents"
            )
            let before = try await plane.trail(ann)
            expectFailed(
                try await ann.post(
                    Self.releases,
                    #"{"documents": \#(documents), "activate": true}"#
                ),
                at: "/documents/1/source"
            )
            // Refused as a whole: the release was not made either.
            #expect(try await ann.all(Self.releases).count == 2)
            #expect(try await plane.trail(ann) == before)
            #expect(try await bob.post(Self.reviews(number), Self.reject).status == 201)
        }
    }

    @Test func `the manifest shows what was signed, and an edited row does not come into force`()
        async throws
    {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let made = try await ann.post(Self.releases, Self.draft("p"))
            let number = try #require(made.json?["number"]?.int64)
            let path = "\(Self.releases)/\(number)/manifest"
            let shown = try await ann.get(path)
            let manifest = try #require(shown.text("manifest").map { Array($0.utf8) })
            let root = try JSONDocument(parsing: manifest).root
            #expect(root["digest"]?.string?.string == made.text("digest"))
            let key = plane.assembly.installation
            #expect(shown.text("keyId") == key.snapshotKeyID)
            let signature = try #require(shown.text("signature"))
            try key.snapshot.verificationKey.verify(
                try #require(Base64.decode(signature, .url)),
                over: Array("ostiary-release-v1\n".utf8) + manifest,
                with: .es256
            )
            #expect(try await ann.get("\(Self.releases)/99/manifest").status == 404)

            try await plane.superuser { client in
                for statement: Query in [
                    "alter table policy_document disable trigger policy_document_is_insert_only",
                    "update policy_document set source = '' where release_number = \(number)",
                ] {
                    _ = try await client.query(statement)
                }
            }
            let activation = try await ann.post(
                Self.base + "/activations",
                #"{"release": \#(number)}"#
            )
            #expect(activation.status == 409)
            #expect(activation.problem == "/problems/policy-manifest-invalid")
            #expect(try await plane.activeRelease() == 1)
        }
    }

    @Test func `fewer reviewers need the installation's token`() async throws {
        try await Plane.run { plane in
            let (ann, own) = (try await plane.api(), try await plane.api(of: "sre"))
            let read = try await own.get(Self.base)
            #expect(read.json?["policyReviewersRequired"]?.int64 == 0)
            let two = #"{"policyReviewersRequired": 2}"#
            let raised = try await own.patch(Self.base, two, match: read.etag)
            #expect(raised.json?["policyReviewersRequired"]?.int64 == 2)
            for count in [0, 1] {
                let body = #"{"policyReviewersRequired": \#(count), "trustOnFirstUse": false}"#
                #expect(try await own.patch(Self.base, body, match: raised.etag).status == 403)
            }
            #expect(try await own.get(Self.base).bytes == raised.bytes)
            let one = #"{"policyReviewersRequired": 1}"#
            #expect(try await ann.patch(Self.base, one, match: raised.etag).status == 200)
            for count in ["-1", "6", "1.5", "\"1\""] {
                let body = #"{"policyReviewersRequired": \#(count)}"#
                #expect(try await ann.patch(Self.base, body, match: "*").status == 422)
            }
            let made = try await ann.post("/v1/namespaces", #"{"name": "new"}"#)
            #expect(made.json?["policyReviewersRequired"]?.int64 == 1)
            let open = #"{"name": "open", "policyReviewersRequired": 0}"#
            let other = try await ann.post("/v1/namespaces", open)
            #expect(other.json?["policyReviewersRequired"]?.int64 == 0)
        }
    }

    @Test func `of two activations that saw the same release in force, one happens`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            var numbers: [Int64] = []
            for id in ["p", "q", "r"] {
                let made = try await ann.post(Self.releases, Self.draft(id))
                numbers.append(try #require(made.json?["number"]?.int64))
            }
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for number in numbers {
                    group.addTask {
                        try await ann.post(
                            Self.base + "/activations",
                            #"{"release": \#(number), "replaces": 1}"#
                        ).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.sorted() == [201, 412, 412])
            #expect(try await ann.all(Self.base + "/activations").count == 2)
            let none = try await ann.post(
                Self.base + "/activations",
                #"{"release": 1, "replaces": null}"#
            )
            #expect(none.status == 412)
        }
    }

    @Test func `a rejection and an activation at once end in one order, never in both`()
        async throws
    {
        try await Plane.run { plane in
            let (ann, bob) = (try await plane.api(name: "ann"), try await plane.api(name: "bob"))
            for round in 0..<8 {
                let made = try await ann.post(Self.releases, Self.draft("p\(round)"))
                let number = try #require(made.json?["number"]?.int64)
                async let activated = ann.post(
                    Self.base + "/activations",
                    #"{"release": \#(number)}"#
                )
                async let rejected = bob.post(Self.reviews(number), Self.reject)
                let (activation, rejection) = (try await activated, try await rejected)
                let state = try await ann.get("\(Self.releases)/\(number)").text("state")
                if activation.status == 201 {
                    #expect(rejection.problem == "/problems/policy-active" && state == "active")
                } else {
                    #expect(activation.problem == "/problems/policy-rejected")
                    #expect(rejection.status == 201 && state == "rejected")
                }
            }
        }
    }

    @Test func `two people who review at once are both heard`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            try await plane.require(3, ann)
            let made = try await ann.post(Self.releases, Self.draft("p"))
            let number = try #require(made.json?["number"]?.int64)
            var reviewers: [RESTClient] = []
            for name in ["bob", "carl", "dan", "bob"] {
                reviewers.append(try await plane.api(name: name))
            }
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for reviewer in reviewers {
                    group.addTask {
                        try await reviewer.post(Self.reviews(number), Self.approve).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.sorted() == [201, 201, 201, 409])
            let release = try await ann.get("\(Self.releases)/\(number)")
            #expect(release.json?["approvals"]?.int64 == 3)
            #expect(release.text("state") == "approved")
        }
    }

    @Test func `an import leaves a draft where somebody else has to look`() async throws {
        try await Plane.run { plane in
            let (ann, bob) = (try await plane.api(name: "ann"), try await plane.api(name: "bob"))
            try await plane.require(1, ann)
            func document(_ source: String, _ more: String = "") -> [UInt8] {
                Array(
                    #"{"namespace": "sre"\#(more), "policies": [{"name": "a.cedar", "source": "\#(source)"}]}"#
                        .utf8
                )
            }
            let source = #"@id(\"x\") permit (principal in MCP::Group::\"a\", action, resource);"#
            for isFirst in [true, false] {
                let outcome = try await plane.apply(document(source))
                #expect(outcome.draft?.number == 2)
                #expect(outcome.draft?.reason.contains("0 of 1") == true)
                #expect(outcome.isChanged == isFirst)
                #expect(try await plane.activeRelease() == 1)
            }
            // Applied twice, it is one draft; approved and simulated, the same import puts it in force.
            #expect(try await ann.all(Self.releases).count == 2)
            #expect(try await bob.post(Self.reviews(2), Self.approve).status == 201)
            #expect(try await plane.apply(document(source)).draft != nil)
            #expect(try await ann.simulate(2).text("state") == "finished")
            #expect(try await plane.apply(document(source)).draft == nil)
            #expect(try await plane.activeRelease() == 2)
            #expect(try await !plane.apply(document(source)).isChanged)

            // An operator on control's machine may say that nobody has to look.
            let open = try await plane.apply(
                document(
                    #"@id(\"y\") \#(source.dropFirst(11))"#,
                    #", "policyReviewersRequired": 0"#
                )
            )
            #expect(open.draft == nil)
            #expect(try await plane.activeRelease() == 3)
            let error = await #expect(throws: ImportError.self) {
                try await plane.apply(document("permit (principal, action, resource);"))
            }
            #expect("\(try #require(error))".contains("a.cedar:1:1: give it an @id"))
            #expect(try await ann.all(Self.releases).count == 3)
        }
    }

    @Test func `the first release of a namespace comes with its import`() async throws {
        try await Plane.run { plane in
            let first = #"""
                {"namespace": "new", "policies": [{"name": "a.cedar", "source": ""}]}
                """#
            #expect(try await plane.apply(Array(first.utf8)).draft == nil)
            let ann = try await plane.api(name: "ann")
            #expect(try await ann.get("/v1/namespaces/new/releases/1").text("state") == "active")
            let second = #"""
                {"namespace": "new", "policies": [{"name": "b.cedar", "source": ""}]}
                """#
            #expect(try await plane.apply(Array(second.utf8)).draft?.number == 2)
        }
    }
}

extension Plane {
    /// Sets how many reviewers a release of the namespace needs.
    func require(_ reviewers: Int, _ client: RESTClient) async throws {
        let body = #"{"policyReviewersRequired": \#(reviewers)}"#
        let answer = try await client.patch(ReleaseLifeTests.base, body, match: "*")
        #expect(answer.status == 200)
    }

    func apply(_ document: [UInt8]) async throws -> ImportOutcome {
        try await database { try await $0.apply(document: document, folder: "/") }
    }
}

/// Checks of a release against the tools that proxies have reported, and its own cases.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)), .serialized)
struct ReleaseCheckTests {
    private static let releases = ReleaseLifeTests.releases

    private static func body(_ documents: [(name: String, source: String)]) throws -> String {
        let list = documents.map { ["name": $0.name, "source": $0.source] }
        return String(
            decoding: try JSONSerialization.data(withJSONObject: ["documents": list]),
            as: UTF8.self
        )
    }

    @Test func `policies are typed by the tools that are there, and wait for those that are not`()
        async throws
    {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let typed = #"""
                @id("sums") @tier("absolute")
                forbid (principal, action == MCP::Action::"demo/add", resource)
                unless { context.input.sum < 1000 };
                """#
            let body = try Self.body([("p.cedar", typed)])
            let early = try await ann.post(Self.releases, body)
            let number = try #require(early.json?["number"]?.int64)
            let warning = early.json?["checks"]?["findings"]?.elements.first { _ in true }
            #expect(early.json?["checks"]?["errors"]?.int64 == 0)
            #expect(warning?["code"]?.string == "unknown_tool")
            #expect(warning?["severity"]?.string == "warning" && warning?["line"]?.int64 == 2)
            #expect(early.json?["activationRefusals"]?.count == 0)

            // The tool comes, and has another idea of its arguments.
            let tool =
                #"{"inputSchema":{"properties":{"total":{"type":"integer"}},"required":["total"],"type":"object"},"name":"add"}"#
            try await plane.report(tool, "add")
            let late = try await ann.get("\(Self.releases)/\(number)")
            let error = late.json?["checks"]?["findings"]?.elements.first { _ in true }
            #expect(late.json?["checks"]?["errors"]?.int64 == 1)
            #expect(error?["code"]?.string == "attribute_not_found" && error?["line"]?.int64 == 3)
            #expect(error?["actions"]?.elements.map(\.string) == ["demo/add"])
            #expect(
                late.json?["activationRefusals"]?.elements.map(\.string)
                    == ["policy-checks-failed"]
            )
            let refused = try await ann.post(
                ReleaseLifeTests.base + "/activations",
                #"{"release": \#(number)}"#
            )
            #expect(refused.problem == "/problems/policy-checks-failed")
            // The manifest still says against what it was made; a release made now says otherwise.
            let again = try await ann.post(Self.releases, body)
            let second = try #require(again.json?["number"]?.int64)
            func basis(_ number: Int64) async throws -> [Text?] {
                let manifest = try await ann.get("\(Self.releases)/\(number)/manifest")
                let root = try JSONDocument(parsing: manifest.text("manifest") ?? "").root
                return [root["schema"]?.string, root["catalogue"]?.string, root["digest"]?.string]
            }
            let (first, now) = (try await basis(number), try await basis(second))
            #expect(first[0] != now[0] && first[1] != now[1] && first[2] == now[2])
        }
    }

    @Test func `what a changed tool means for policies is known before it is accepted`()
        async throws
    {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            func tool(_ argument: String) -> String {
                #"{"inputSchema":{"properties":{"\#(argument)":{"type":"integer"}},"required":["\#(argument)"],"type":"object"},"name":"add"}"#
            }
            try await plane.report(tool("sum"), "add")
            let policies = #"""
                @id("sums") @tier("absolute")
                forbid (principal, action == MCP::Action::"demo/add", resource)
                unless { context.input.sum < 1000 };
                @id("a") permit (principal in MCP::Group::"a", action, resource);
                """#
            let made = try await ann.post(
                Self.releases,
                String(try Self.body([("p.cedar", policies)]).dropLast()) + #", "activate": true}"#
            )
            #expect(made.status == 201, "\(String(decoding: made.bytes, as: UTF8.self))")
            let path = "/v1/namespaces/sre/servers/demo/tools/add"
            let same = try await ann.get(path + "/impact")
            #expect(same.json?["affected"]?.int64 == 0 && same.json?["changes"]?.count == 0)
            #expect(same.json?["unaffected"]?.int64 == 2)

            // Another definition, which nobody has accepted yet.
            try await plane.report(tool("total"), "add")
            let impact = try await ann.get(path + "/impact")
            let changes = impact.json?["changes"]?.elements.map {
                "\($0["change"]?.string ?? "") \($0["argument"]?.string ?? "")"
            }
            #expect(changes == ["argumentAdded total", "argumentRemoved sum"])
            #expect(impact.json?["release"]?.int64 == 2)
            #expect(impact.json?["unaffected"]?.int64 == 1 && impact.json?["affected"]?.int64 == 1)
            let policy = impact.json?["policies"]?.elements.first { _ in true }
            #expect(policy?["policy"]?.string == "sums" && policy?["verdict"]?.string == "invalid")
            #expect(policy?["document"]?.string == "p.cedar" && policy?["line"]?.int64 == 1)
            let finding = policy?["findings"]?.elements.first { _ in true }
            #expect(
                finding?["code"]?.string == "attribute_not_found" && finding?["line"]?.int64 == 3
            )
            // The release is as it was; accepted, it shows what it has come to.
            #expect(try await ann.get("\(Self.releases)/2").json?["checks"]?["errors"]?.int64 == 0)
            let digest = try #require(impact.text("digest"))
            let accepted = try await ann.patch(path, #"{"pinnedDigest": "\#(digest)"}"#, match: "*")
            #expect(accepted.status == 200)
            #expect(try await ann.get("\(Self.releases)/2").json?["checks"]?["errors"]?.int64 == 1)

            let effect = try await ann.get(path + "/impact?effect=destructive")
            #expect(
                effect.json?["changes"]?.elements.map { $0["change"]?.string } == ["effectChanged"]
            )
            #expect(try await ann.get(path + "/impact?release=1").json?["release"]?.int64 == 1)
            #expect(try await ann.get(path + "/impact?release=99").errors == ["release reference"])
            let never = String(repeating: "0", count: 64)
            #expect(
                try await ann.get(path + "/impact?digest=\(never)").errors == ["digest reference"]
            )
            #expect(
                try await ann.get("/v1/namespaces/sre/servers/demo/tools/none/impact").status == 404
            )
        }
    }

    @Test func `quick rules are stored with the Cedar text that they say`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            func rules(_ group: String) -> (name: String, source: String) {
                (
                    "sre.rules.yaml",
                    "rules:\n  - id: AC-3.sre\n    allow: {groups: [\(group)], servers: [demo]}\n"
                )
            }
            let made = try await ann.post(Self.releases, try Self.body([rules("sre")]))
            #expect(made.status == 201 && made.json?["checks"]?["errors"]?.int64 == 0)
            let documents = made.json?["documents"]?.elements.map { $0 } ?? []
            try #require(
                documents.map { $0["name"]?.string } == ["sre.rules.cedar", "sre.rules.yaml"]
            )
            let text = documents[0]["source"]?.string?.string ?? ""
            #expect(text.contains(#"@id("AC-3.sre")"#) && text.contains(#"MCP::Group::"sre""#))
            let number = try #require(made.json?["number"]?.int64)
            _ = try await ann.post(
                ReleaseLifeTests.base + "/activations",
                #"{"release": \#(number)}"#
            )
            // Other rules take the place of the text that was made of the old ones.
            let changed = try await ann.post(
                Self.releases,
                String(try Self.body([rules("ops")]).dropLast()) + #", "basedOn": "active"}"#
            )
            #expect(changed.status == 201 && changed.json?["documents"]?.count == 2)
            let other = changed.json?["documents"]?.elements.first { _ in true }
            #expect(other?["source"]?.string?.string.contains(#"MCP::Group::"ops""#) == true)

            let broken = try await ann.post(
                Self.releases,
                try Self.body([("x.rules.yaml", "rules:\n  - id: a\n    alow: {groups: [a]}\n")])
            )
            #expect(broken.status == 422 && broken.problem == "/problems/policy-invalid")
            let error = broken.json?["errors"]?.elements.first { _ in true }
            #expect(error?["document"]?.string == "x.rules.yaml" && error?["line"]?.int64 == 3)
            let stale = try await ann.post(
                Self.releases,
                try Self.body([rules("sre"), ("sre.rules.cedar", "")])
            )
            #expect(stale.status == 422 && stale.problem == "/problems/policy-invalid")
        }
    }

    @Test func `a release brings its cases, which are run and not sent to proxies`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let policy =
                #"@id("sre") permit (principal in MCP::Group::"sre", action in MCP::Action::"tools/call", resource);"#
            func cases(_ decision: String) -> String {
                #"""
                {"entities": [{"uid": {"type": "MCP::User", "id": "alice"}, "attrs": {},
                               "parents": [{"type": "MCP::Group", "id": "sre"}]},
                              {"uid": {"type": "MCP::Group", "id": "sre"}, "attrs": {}, "parents": []},
                              {"uid": {"type": "MCP::Tool", "id": "demo/echo"}, "attrs": {}, "parents": []},
                              {"uid": {"type": "MCP::Action", "id": "demo/echo"}, "attrs": {},
                               "parents": [{"type": "MCP::Action", "id": "tools/call"}]},
                              {"uid": {"type": "MCP::Action", "id": "tools/call"}, "attrs": {}, "parents": []}],
                 "context": {"system": {"now": {"__extn": {"fn": "datetime", "arg": "2026-11-25T10:00:00Z"}}},
                             "facts": {"definitionPinned": true}},
                 "cases": [{"description": "an SRE echoes", "principal": {"type": "MCP::User", "id": "alice"},
                            "action": {"type": "MCP::Action", "id": "demo/echo"},
                            "resource": {"type": "MCP::Tool", "id": "demo/echo"},
                            "context": {"input": {}}, "decision": "\#(decision)", "reason": ["sre"], "errors": []}]}
                """#
            }
            let good = try await ann.post(
                Self.releases,
                try Self.body([("p.cedar", policy), ("p.cases.json", cases("allow"))])
            )
            try #require(
                good.json?["cases"]?["passed"]?.int64 == 1,
                "\(String(decoding: good.bytes.prefix(1000), as: UTF8.self))"
            )
            #expect(good.json?["checks"]?["errors"]?.int64 == 0)
            let bad = try await ann.post(
                Self.releases,
                try Self.body([("p.cedar", policy), ("p.cases.json", cases("deny"))])
            )
            #expect(bad.json?["cases"]?["failed"]?.int64 == 1)
            let findings = bad.json?["checks"]?["findings"]?.elements.map {
                "\($0["document"]?.string ?? "") \($0["code"]?.string ?? "")"
            }
            #expect(findings?.contains("p.cases.json case_failed") == true)

            let number = try #require(good.json?["number"]?.int64)
            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { proxy.isLive && !proxy.snapshots.isEmpty }
            let active = try await ann.post(
                ReleaseLifeTests.base + "/activations",
                #"{"release": \#(number)}"#
            )
            try #require(active.status == 201)
            let before = proxy.snapshots.count
            try await proxy.pump { proxy.snapshots.count > before }
            let newest = try #require(proxy.snapshots.last)
            let configuration = try WireConfiguration(serializedBytes: newest.payload)
            #expect(configuration.policy.number == UInt64(number))
            #expect(configuration.policy.documents.map(\.name) == ["p.cedar"])
            await proxy.drop()
        }
    }
}

extension Plane {
    /// A proxy has read this definition of a tool of the server demo.
    func report(_ canonical: String, _ name: Text) async throws {
        try await database { database in
            let namespace = try await database.namespace("sre")
            let tool = ConfigurationEdit.ReportedTool(
                name: ToolName(name),
                canonical: Array(canonical.utf8)
            )
            try await ConfigurationStore(database.client).change(
                namespace.id,
                [.toolsReported(server: "demo", [tool])]
            )
        }
    }
}
