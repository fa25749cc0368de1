import ControlPlane
import ControlStore
import Foundation
import GatewayModel
import JSON
import Postgres
import PostgresTestSupport
import Testing

/// What keeps reviews, shadows, simulations and activations from being asked for wrongly, each by itself.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(3)), .serialized)
struct ReleaseGuardTests {
    static let base = ReleaseLifeTests.base
    static let releases = ReleaseLifeTests.releases

    private static func made(_ id: String, _ client: RESTClient) async throws -> Int64 {
        let answer = try await client.post(releases, ReleaseLifeTests.draft(id))
        #expect(answer.status == 201)
        return try #require(answer.json?["number"]?.int64)
    }

    private static func activate(
        _ number: Int64,
        _ client: RESTClient,
        _ more: String = ""
    ) async throws -> RESTClient.Answer {
        try await client.post(base + "/activations", #"{"release": \#(number)\#(more)}"#)
    }

    /// A simulation that has ended, and what it found.
    private static func report(
        _ number: Int64,
        against other: Int64,
        widening: Int64,
        _ plane: Plane
    ) async throws {
        let id = "sim_\(number)_\(other)_\(widening)"
        try await plane.superuser { client in
            _ = try await client.query(
                """
                insert into policy_simulation (namespace_id, id, kind, release_number, against_number, range_to,
                    records_max, requested_by, finished_at)
                select id, \(id), 'replay', \(number), \(other), now(), 1, 'test', now()
                from namespace where name = 'sre'
                """
            )
            _ = try await client.query(
                """
                insert into policy_simulation_report (namespace_id, simulation_id, widening, report)
                select id, \(id), \(widening), '{"decided": 1, "truncated": false}'
                from namespace where name = 'sre'
                """
            )
        }
    }

    @Test func `a reviewer's other token is no other reviewer`() async throws {
        try await Plane.run { plane in
            let (ann, bob) = (try await plane.api(name: "ann"), try await plane.api(name: "bob"))
            try await plane.require(2, ann)
            let body = #"{"name": "carl", "role": "administrator"}"#
            let carl = bob.with(try await bob.post("/v1/api-tokens", body).text("token"))
            for pair in [[bob, carl], [carl, bob]] {
                let number = try await Self.made("p", ann)
                let path = ReleaseLifeTests.reviews(number)
                #expect(try await pair[0].post(path, ReleaseLifeTests.approve).status == 201)
                for verdict in [ReleaseLifeTests.approve, ReleaseLifeTests.reject] {
                    let second = try await pair[1].post(path, verdict)
                    #expect(second.status == 409 && second.problem == "/problems/already-exists")
                }
                let shown = try await ann.get("\(Self.releases)/\(number)")
                #expect(shown.json?["approvals"]?.int64 == 1)
                #expect(shown.text("state") == "draft")
                let dan = try await plane.api(name: "dan")
                #expect(try await dan.post(path, ReleaseLifeTests.approve).status == 201)
                #expect(
                    try await ann.get("\(Self.releases)/\(number)").text("state") == "approved"
                )
            }
        }
    }

    @Test func `what a simulation found is accepted by name, once for a pair`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let first = try await Self.made("p", ann)
            try await Self.report(first, against: 1, widening: 1, plane)
            let shown = try await ann.get("\(Self.releases)/\(first)")
            #expect(
                shown.json?["activationRefusals"]?.elements.map(\.string) == ["policy-widening"]
            )
            for more in ["", #", "acceptsWidening": false"#] {
                let refused = try await Self.activate(first, ann, more)
                #expect(refused.status == 409 && refused.problem == "/problems/policy-widening")
                #expect(
                    refused.text("detail")?.hasPrefix("1 recorded call goes on under it") == true
                )
            }
            #expect(try await plane.activeRelease() == 1)
            // The widest of all reports of the pair counts; what was found against another release does not.
            try await Self.report(first, against: 1, widening: 2, plane)
            try await Self.report(first, against: first, widening: 7, plane)
            let refused = try await Self.activate(first, ann)
            #expect(refused.text("detail")?.hasPrefix("2 recorded calls go on under it") == true)
            let accepted = try await Self.activate(first, ann, #", "acceptsWidening": true"#)
            #expect(accepted.status == 201 && accepted.json?["acceptsWidening"]?.boolean == true)
            // The way back needs no yes, and records none that was not said.
            try await Self.report(1, against: first, widening: 5, plane)
            let back = try await Self.activate(1, ann)
            #expect(back.status == 201 && back.text("kind") == "rollback")
            #expect(back.json?["acceptsWidening"]?.boolean == false)
        }
    }

    @Test func `a release that is activated as it is made is held to the same guards`() async throws
    {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            try await plane.require(1, ann)
            let answer = try await ann.post(
                Self.releases,
                ReleaseLifeTests.draft("p", activate: true)
            )
            #expect(answer.status == 409 && answer.problem == "/problems/policy-reviews-missing")
            #expect(try await ann.all(Self.releases).count == 1)
            #expect(try await plane.activeRelease() == 1)
        }
    }

    @Test func `a release that this build cannot compile is neither activated nor simulated`()
        async throws
    {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let number = try await Self.made("p", ann)
            // It was in force once, and then another build took its place.
            #expect(try await Self.activate(number, ann).status == 201)
            #expect(try await Self.activate(1, ann).status == 201)
            try await plane.superuser { client in
                for statement: Query in [
                    "alter table policy_release disable trigger user",
                    "alter table policy_document disable trigger user",
                    "update policy_release set maker = null, manifest = null, signature = null, key_id = null",
                    "update policy_document set source = 'permit' where release_number = \(number)",
                ] {
                    _ = try await client.query(statement)
                }
            }
            let back = try await Self.activate(number, ann)
            #expect(back.status == 422 && back.problem == "/problems/policy-invalid")
            let asked = try await ann.post("\(Self.releases)/\(number)/simulations", "{}")
            #expect(asked.status == 422 && asked.problem == "/problems/policy-invalid")
            #expect(try await ann.all("\(Self.releases)/\(number)/simulations").isEmpty)
            // Without a signature what was in force may come back, and nothing else may come into force.
            let never = try await Self.made("q", ann)
            try await plane.superuser { client in
                _ = try await client.query(
                    "update policy_release set maker = null, manifest = null, signature = null, key_id = null"
                )
            }
            let unsigned = try await Self.activate(never, ann)
            #expect(unsigned.problem == "/problems/policy-manifest-invalid")
            let bob = try await plane.api(name: "bob")
            let review = try await bob.post(
                ReleaseLifeTests.reviews(never),
                ReleaseLifeTests.approve
            )
            #expect(review.status == 403 && review.problem == "/problems/policy-review-own")
        }
    }

    @Test func `only a draft without errors runs in shadow, and one at a time`() async throws {
        try await Plane.run { plane in
            let (ann, bob) = (try await plane.api(name: "ann"), try await plane.api(name: "bob"))
            func put(_ number: Int64) async throws -> RESTClient.Answer {
                try await ann.send("PUT", "\(Self.releases)/\(number)/shadow")
            }
            func end(_ number: Int64) async throws -> Int {
                try await ann.delete("\(Self.releases)/\(number)/shadow").status
            }
            let unnamed =
                #"{"documents": [{"name": "p.cedar", "source": "permit (principal, action, resource);"}]}"#
            let wrong = try await ann.post(Self.releases, unnamed)
            let number = try #require(wrong.json?["number"]?.int64)
            let unchecked = try await put(number)
            #expect(
                unchecked.status == 422 && unchecked.problem == "/problems/policy-checks-failed"
            )
            let rejected = try await Self.made("r", ann)
            let review = ReleaseLifeTests.reviews(rejected)
            #expect(try await bob.post(review, ReleaseLifeTests.reject).status == 201)
            #expect(try await put(rejected).problem == "/problems/policy-rejected")
            #expect(try await put(1).problem == "/problems/policy-active")
            #expect(try await put(99).status == 404)
            #expect(try await ann.get(Self.base + "/shadow").status == 404)

            let (p, q) = (try await Self.made("p", ann), try await Self.made("q", ann))
            let started = try await put(p)
            #expect(started.status == 200 && started.json?["release"]?.int64 == p)
            #expect(try await put(p).bytes == started.bytes)
            let second = try await put(q)
            #expect(second.status == 409 && second.problem == "/problems/in-use")
            #expect(try await end(q) == 404)
            #expect(try await ann.get(Self.base + "/shadow").bytes == started.bytes)
            // It ends when its release comes into force, and then another may begin.
            #expect(try await Self.activate(p, ann).status == 201)
            #expect(try await ann.get(Self.base + "/shadow").status == 404)
            #expect(try await put(1).problem == "/problems/policy-retired")
            #expect(try await put(q).status == 200)
            #expect(try await end(q) == 204)
            #expect(try await end(q) == 404)
            #expect(
                try await plane.trail(ann).filter { $0.contains("Shadow") }
                    == ["startShadow \(p)", "startShadow \(q)", "endShadow \(q)"]
            )
        }
    }

    @Test func `a simulation is of releases and times that there are`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let number = try await Self.made("p", ann)
            let path = "\(Self.releases)/\(number)/simulations"
            for (body, error) in [
                (#"{"against": 99}"#, "/against reference"), (#"{"against": 0}"#, "/against range"),
                (#"{"limit": 0}"#, "/limit range"), (#"{"limit": 10000001}"#, "/limit range"),
                (#"{"from": "2026-01-01"}"#, "/from length"),
                (#"{"from": "2026-13-01T00:00:00Z"}"#, "/from form"),
                (
                    #"{"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}"#,
                    "/from combination"
                ),
                (
                    #"{"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}"#,
                    "/from combination"
                ),
                (#"{"from": "9999-01-01T00:00:00Z"}"#, "/from combination"),
                (#"{"kind": "guess"}"#, "/kind unknown_value"),
            ] {
                let answer = try await ann.post(path, body)
                #expect(answer.status == 422 && answer.errors == [error], "\(body)")
            }
            #expect(try await ann.all(path).isEmpty)
            #expect(
                try await ann.post("\(Self.releases)/99/simulations", "{}").status == 404
            )
            let asked = try await ann.simulate(number, #"{"limit": 10000000}"#)
            #expect(asked.json?["against"]?.int64 == 1 && asked.text("state") == "finished")
            // It is this release's, and no other's.
            let id = try #require(asked.text("id"))
            #expect(try await ann.get("\(Self.releases)/1/simulations/\(id)").status == 404)
            #expect(try await ann.all("\(Self.releases)/1/simulations").isEmpty)
            // A cursor is read like everything else that comes in.
            for microseconds in [Int64.min, -1, .max - 1, .max] {
                let cursor = Self.cursor("\(microseconds) \(id)")
                let answer = try await ann.get("\(path)?cursor=\(cursor)")
                #expect(answer.status == 400 && answer.errors == ["cursor form"])
            }

            _ = try await ann.post("/v1/namespaces", #"{"name": "new"}"#)
            let elsewhere = "/v1/namespaces/new/releases"
            let first = try await ann.post(elsewhere, ReleaseLifeTests.draft("p"))
            #expect(first.json?["number"]?.int64 == 1)
            let none = try await ann.post("\(elsewhere)/1/simulations", "{}")
            #expect(none.status == 422 && none.errors == ["/against missing"])
        }
    }

    /// As lists make them: a version byte and the key, base64url.
    private static func cursor(_ key: String) -> String {
        Data([1] + Array(key.utf8)).base64EncodedString()
            .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    @Test func `so many simulations of a namespace wait, and no more`() async throws {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            let number = try await Self.made("p", ann)
            let open = AdministrationStore.simulationsOpenMax
            // Somebody works on them, and will for long.
            try await plane.superuser { client in
                _ = try await client.query(
                    """
                    insert into policy_simulation (namespace_id, id, kind, release_number, against_number, range_to,
                        records_max, requested_by, claimed_by, claimed_until)
                    select id, 'sim_' || n, 'replay', \(number), 1, now(), 1, 'test', gen_random_uuid(),
                        now() + interval '1 hour'
                    from namespace, generate_series(1, \(open)) as n where name = 'sre'
                    """
                )
            }
            let path = "\(Self.releases)/\(number)/simulations"
            let refused = try await ann.post(path, "{}")
            #expect(refused.status == 409 && refused.problem == "/problems/in-use")
            #expect(try await ann.all(path).count == Int(open))
            try await plane.superuser { client in
                _ = try await client.query(
                    """
                    update policy_simulation set finished_at = now(), failure = 'abandoned', claimed_by = null,
                        claimed_until = null where id = 'sim_1'
                    """
                )
            }
            #expect(try await ann.simulate(number).text("state") == "finished")
        }
    }

    @Test func `no server begins the name of a method, and is in what proxies can read`()
        async throws
    {
        try await Plane.run { plane in
            let ann = try await plane.api(name: "ann")
            for name in ["tools", "resources", "prompts", "sampling", "data"] {
                let answer = try await ann.post(
                    Self.base + "/servers",
                    #"{"name": "\#(name)", "url": "http://127.0.0.1:1/mcp"}"#
                )
                #expect(answer.status == 422 && answer.errors == ["/name form"])
                let error = await #expect(throws: ImportError.self) {
                    try await plane.apply(
                        Array(
                            #"{"namespace": "sre", "servers": [{"name": "\#(name)", "url": "http://127.0.0.1:1/mcp"}]}"#
                                .utf8
                        )
                    )
                }
                #expect("\(try #require(error))".hasPrefix("servers[0].name: begins the names"))
            }
            let error = await #expect(throws: ImportError.self) {
                try await plane.apply(
                    Array(
                        #"{"namespace": "sre", "servers": [{"name": "x", "url": "http://127.0.0.1:1/mcp", "memberships": ["prod"]}]}"#
                            .utf8
                    )
                )
            }
            #expect("\(try #require(error))".hasPrefix("servers[0].memberships: must be like"))
            #expect(try await ann.all(Self.base + "/servers").count == 1)
        }
    }
}
