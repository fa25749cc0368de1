import AdminAPI
import ControlPlane
import ControlProtocol
import ControlStore
import Cryptography
import Foundation
import GatewayModel
import IdentityProtocols
import JSON
import Postgres
import PostgresTestSupport
import Testing

/// The REST interface of one control process, over real sockets, on a real database.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)), .serialized)
struct RESTTests {
    @Test func `a server is registered, read, changed under its version and removed`() async throws
    {
        try await Plane.run { plane in
            let api = try await plane.api()
            let servers = "/v1/namespaces/sre/servers"
            let made = try await api.post(
                servers,
                #"""
                {"name": "mine", "url": "http://127.0.0.1:9/mcp",
                 "credential": {"header": "X-Key", "value": "hunter2"}}
                """#
            )
            #expect(made.status == 201)
            #expect(made.fields["location"] == servers + "/mine")
            #expect(made.text("credentialHeader") == "X-Key")
            #expect(
                try await api.post(servers, #"{"name": "mine", "url": "http://a"}"#).status == 409
            )

            let read = try await api.get(servers + "/mine")
            #expect(read.bytes == made.bytes && read.etag == made.etag)
            let unconditional = try await api.patch(servers + "/mine", "{}", match: nil)
            #expect(unconditional.status == 428)
            for stale in ["\"x\"", "W/" + read.etag, read.etag.replacing("\"", with: "")] {
                let answer = try await api.patch(
                    servers + "/mine",
                    #"{"enabled": false}"#,
                    match: stale
                )
                #expect(answer.status == 412, "\(stale)")
            }
            let changed = try await api.patch(
                servers + "/mine",
                #"{"enabled": false}"#,
                match: "\"x\", \(read.etag)"
            )
            #expect(changed.status == 200 && changed.etag != read.etag)
            #expect(changed.json?["enabled"]?.boolean == false)
            #expect(changed.text("credentialHeader") == "X-Key")
            // The same again changes nothing, not even the version.
            let same = try await api.patch(
                servers + "/mine",
                #"{"enabled": false}"#,
                match: changed.etag
            )
            #expect(same.bytes == changed.bytes)

            let credentials = try await plane.credentials()
            #expect(credentials["mine"] == "hunter2")
            let bare = try await api.patch(
                servers + "/mine",
                #"{"credential": null}"#,
                match: changed.etag
            )
            #expect(bare.json?["credentialHeader"]?.isNull == true)
            #expect(try await plane.credentials()["mine"] == nil)

            #expect(try await api.delete(servers + "/mine", match: read.etag).status == 412)
            #expect(try await api.delete(servers + "/mine", match: bare.etag).status == 204)
            #expect(try await api.get(servers + "/mine").status == 404)
            #expect(
                try await plane.trail(api).filter { $0.hasSuffix(" mine") } == [
                    "createServer mine", "updateServer mine", "updateServer mine",
                    "deleteServer mine",
                ]
            )
            let trail = try await api.get("/v1/admin-records")
            #expect(!String(decoding: trail.bytes, as: UTF8.self).contains("hunter2"))
        }
    }

    @Test func `what is wrong with a request is named place by place`() async throws {
        try await Plane.run { plane in
            let api = try await plane.api()
            let servers = "/v1/namespaces/sre/servers"
            let before = try await plane.trail(api)
            let invalid = try await api.post(
                servers,
                #"{"name": "Bad", "url": "ftp://a", "colour": 1, "memberships": ["x"]}"#
            )
            #expect(invalid.status == 422 && invalid.problem == "/problems/request-invalid")
            #expect(
                invalid.errors == ["/colour unknown_member", "/name form", "/url form"]
            )
            let member = try await api.post(
                servers,
                #"{"name": "a", "url": "http://a", "memberships": ["MCP::A::\"b\"", "x"]}"#
            )
            #expect(member.errors == ["/memberships/1 form"])
            let malformed = try await api.post(servers, "{\"name\": \"a\",\n  \"name\": \"b\"}")
            #expect(malformed.status == 400 && malformed.text("detail")?.contains("line 2") == true)
            #expect(try await api.post(servers, #"{"name": "a\u0000"}"#).status == 400)
            #expect(try await api.post(servers, "").status == 400)
            let text = try await api.send("POST", servers, "{}", ["Content-Type": "text/plain"])
            #expect(text.status == 415)
            let query = try await api.get(servers + "?limit=0&sort=name&limit=2&cursor=%00")
            #expect(query.status == 400)
            #expect(try await api.get(servers + "?limit=501").errors == ["limit range"])
            #expect(
                try await api.get(servers + "?sort=name&limit=1&limit=2").errors
                    == ["sort unknown_member", "limit duplicate"]
            )
            #expect(try await api.get(servers + "?cursor=AXg").status == 200)
            #expect(try await api.get(servers + "?cursor=x").errors == ["cursor form"])
            let method = try await api.send("PUT", servers, "{}")
            #expect(method.status == 405 && method.fields["allow"] == "GET, POST")
            #expect(try await api.get("/v1/nothing").status == 404)
            let large = String(repeating: " ", count: 1 << 20) + "{}"
            #expect(try await api.post(servers, large).status == 413)
            #expect(try await api.get(servers).status == 200)
            #expect(try await plane.trail(api) == before)
        }
    }

    @Test func `a request that is sent again is done once and answered the same`() async throws {
        try await Plane.run { plane in
            let api = try await plane.api()
            let body = #"{"name": "ci", "role": "auditor"}"#
            let first = try await api.post("/v1/api-tokens", body, key: "k1")
            let again = try await api.post("/v1/api-tokens", body, key: "k1")
            #expect(first.status == 201 && again.status == 201)
            #expect(first.bytes == again.bytes)
            #expect(first.fields["location"] == again.fields["location"])
            #expect(try await api.all("/v1/api-tokens").count == 2)
            // The answer is kept encrypted: the token is nowhere in the database.
            let token = try #require(first.text("token"))
            let kept = try await plane.superuser {
                try await $0.query("select sealed from idempotency_key").map {
                    try $0.decode(at: 0, as: [UInt8].self)
                }
            }
            #expect(kept.count == 1)
            #expect(!kept.contains { String(decoding: $0, as: UTF8.self).contains(token) })

            let other = #"{"name": "cd", "role": "auditor"}"#
            let reused = try await api.post("/v1/api-tokens", other, key: "k1")
            #expect(reused.problem == "/problems/idempotency-key-reused")
            let elsewhere = try await api.post("/v1/namespaces", body, key: "k1")
            #expect(elsewhere.status == 422)
            // A key belongs to one caller.
            let second = try await plane.api()
            #expect(try await second.post("/v1/api-tokens", other, key: "k1").status == 201)
            // What is refused is not kept: the corrected request may use the key.
            let wrong = #"{"name": "ci", "role": "auditor", "namespace": "none"}"#
            #expect(try await api.post("/v1/api-tokens", wrong, key: "k2").status == 422)
            #expect(try await api.post("/v1/api-tokens", other, key: "k2").status == 201)
            for key in ["a b", String(repeating: "x", count: 129)] {
                #expect(try await api.post("/v1/api-tokens", body, key: key).status == 400)
            }

            let count = try await api.all("/v1/api-tokens").count
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<8 {
                    group.addTask { try await api.post("/v1/api-tokens", body, key: "k3").status }
                }
                return try await group.reduce(into: [Int]()) { $0.append($1) }
            }
            #expect(Set(statuses).isSubset(of: [201, 409]) && statuses.contains(201))
            #expect(try await api.all("/v1/api-tokens").count == count + 1)
        }
    }

    @Test func `releases are immutable and numbered, and an older one comes back`() async throws {
        try await Plane.run { plane in
            let api = try await plane.api()
            let base = "/v1/namespaces/sre"
            // Number 1 came with the import.
            let second = try await api.post(
                base + "/releases",
                #"{"documents": [{"name": "b.cedar", "source": "@id(\"none\") @tier(\"absolute\") forbid (principal, action, resource);"}]}"#
            )
            #expect(second.json?["number"]?.int64 == 2)
            #expect(second.json?["active"]?.boolean == false)
            let broken = try await api.post(
                base + "/releases",
                #"{"documents": [{"name": "ok", "source": ""}, {"name": "b", "source": "\npermit (x);"}]}"#
            )
            #expect(broken.problem == "/problems/policy-invalid")
            let error = broken.json?["errors"]?.elements.first { _ in true }
            #expect(error?["pointer"]?.string == "/documents/1/source")
            #expect(error?["line"]?.int64 == 2)
            #expect(error?["column"]?.int64 != nil)
            let twice = try await api.post(
                base + "/releases",
                #"{"documents": [{"name": "b", "source": ""}, {"name": "b", "source": ""}]}"#
            )
            #expect(twice.errors == ["/documents/1/name duplicate"])

            let added = try await api.post(
                base + "/releases",
                #"""
                {"basedOn": "active", "activate": true,
                 "documents": [{"name": "c.cedar", "source": "@id(\"c\") permit (principal, action, resource);"}]}
                """#
            )
            #expect(added.json?["number"]?.int64 == 3)
            #expect(added.json?["active"]?.boolean == true)
            #expect(
                added.json?["documents"]?.elements.map { $0["name"]?.string }
                    == ["a.cedar", "c.cedar"]
            )
            #expect(try await plane.activeRelease() == 3)
            #expect(try await api.post(base + "/activations", #"{"release": 9}"#).status == 422)
            let back = try await api.post(base + "/activations", #"{"release": 1}"#)
            #expect(back.status == 201)
            #expect(try await plane.activeRelease() == 1)
            let read = try await api.get(base + "/releases/2")
            #expect(read.bytes == second.bytes)
            let numbers = try await api.all(base + "/releases", limit: 1)
                .map { $0["number"]?.int64 }
            #expect(numbers == [3, 2, 1])
            let activations = try await api.all(base + "/activations", limit: 2)
                .map { $0["release"]?.int64 }
            #expect(activations == [1, 3, 1])
            #expect(try await api.get(base + "/releases/4").status == 404)
        }
    }

    @Test func `tools are classed, accepted and withdrawn`() async throws {
        try await Plane.run { plane in
            let api = try await plane.api()
            func report(_ canonical: String) async throws {
                try await plane.database { database in
                    let namespace = try await database.namespace("sre")
                    let tool = ConfigurationEdit.ReportedTool(
                        name: "a/b",
                        canonical: Array(canonical.utf8)
                    )
                    try await ConfigurationStore(database.client).change(
                        namespace.id,
                        [
                            .namespace(trustsOnFirstUse: false),
                            .toolsReported(server: "demo", [tool]),
                        ]
                    )
                }
            }
            try await report(#"{"name":"a/b"}"#)
            let path = "/v1/namespaces/sre/servers/demo/tools/a%2Fb"
            let seen = try await api.get(path)
            #expect(seen.json?["pinnedDigest"]?.isNull == true)
            let digest = SHA256.digest(of: #"{"name":"a/b"}"#).description
            let definition = seen.json?["definitions"]?.elements.first { _ in true }
            #expect(definition?["digest"]?.string == Text(digest))
            #expect(definition?["definition"]?["name"]?.string == "a/b")

            let never = String(repeating: "0", count: 64)
            let unknown = try await api.patch(
                path,
                #"{"pinnedDigest": "\#(never)"}"#,
                match: seen.etag
            )
            #expect(unknown.errors == ["/pinnedDigest reference"])
            // What was seen in between must be looked at first.
            try await report(#"{"name":"a/b","x":1}"#)
            let accept = #"{"pinnedDigest": "\#(digest)", "effect": "read"}"#
            #expect(try await api.patch(path, accept, match: seen.etag).status == 412)
            let now = try await api.get(path)
            let accepted = try await api.patch(path, accept, match: now.etag)
            #expect(accepted.text("pinnedDigest") == digest && accepted.text("effect") == "read")
            #expect(accepted.text("acceptedBy")?.hasPrefix("tok_") == true)
            let withdrawn = try await api.patch(
                path,
                #"{"pinnedDigest": null}"#,
                match: accepted.etag
            )
            #expect(withdrawn.json?["pinnedDigest"]?.isNull == true)
            let listed = try await api.all("/v1/namespaces/sre/servers/demo/tools", limit: 1)
            #expect(listed.map { $0["name"]?.string } == ["a/b", "echo"])
            // A server goes with its tools, and may come back without them.
            let server = try await api.get("/v1/namespaces/sre/servers/demo")
            #expect(
                try await api.delete("/v1/namespaces/sre/servers/demo", match: server.etag).status
                    == 204
            )
            #expect(try await api.get(path).status == 404)
        }
    }

    @Test func `the directory is kept: issuers, subjects, groups`() async throws {
        try await Plane.run { plane in
            let api = try await plane.api()
            let base = "/v1/namespaces/sre"
            let jwks = try plane.keySet()
            let made = try await api.post(
                base + "/identity-providers",
                #"{"issuer": "https://issuer.test", "jwks": \#(jwks), "algorithms": ["ES256"]}"#
            )
            #expect(made.status == 201)
            let provider = base + "/identity-providers/" + (made.text("id") ?? "")
            #expect(made.fields["location"] == provider)
            for (jwks, error) in [
                (#"{"keys": []}"#, "/jwks/keys form"), (#"{}"#, "/jwks form"),
                (#"{"keys": [{"kty": "oct", "k": "AA"}]}"#, "/jwks/keys/0 form"),
            ] {
                let answer = try await api.patch(provider, #"{"jwks": \#(jwks)}"#, match: "*")
                #expect(answer.errors == [error])
            }
            let off = try await api.post(
                base + "/identity-providers",
                #"{"issuer": "https://127.0.0.1:1"}"#
            )
            // No keys given: they are looked for at the issuer, and an address of this machine is not asked.
            #expect(off.errors == ["/issuer reference"])
            let both = try await api.patch(
                provider,
                #"{"jwks": \#(jwks), "jwksUrl": "https://127.0.0.1:1/jwks"}"#,
                match: "*"
            )
            #expect(both.errors == ["/jwksUrl combination"])
            let fetched = try await api.patch(
                provider,
                #"{"jwksUrl": "https://127.0.0.1:1/jwks"}"#,
                match: made.etag
            )
            #expect(fetched.text("keySource") == "url" && fetched.json?["jwks"]?.isNull == true)
            // What comes from another place is not trusted before it has come.
            let keys = try await api.get(provider + "/keys")
            #expect(keys.json?["jwks"]?["keys"]?.count == 0)
            let own = try await plane.api(of: "sre")
            let walled = try await own.patch(
                provider,
                #"{"allowPrivateAddresses": true}"#,
                match: "*"
            )
            #expect(walled.status == 403)
            let uploaded = try await api.patch(
                provider,
                #"{"jwks": \#(jwks)}"#,
                match: fetched.etag
            )
            #expect(uploaded.text("keySource") == "uploaded")
            #expect(try await api.get(provider + "/keys").json?["jwks"]?["keys"]?.count == 1)

            let subject =
                #"{"issuer": "https://issuer.test", "name": "bob", "groups": ["b", "a", "a"]}"#
            let bob = try await api.post(base + "/subjects", subject)
            #expect(bob.status == 201)
            #expect(bob.json?["groups"]?.elements.map(\.string) == ["a", "b"])
            let id = try #require(bob.text("id"))
            #expect(try await api.post(base + "/subjects", subject).status == 409)
            let lost = try await api.post(
                base + "/subjects",
                #"{"issuer": "https://none.test", "name": "x"}"#
            )
            #expect(lost.errors == ["/issuer reference"])
            #expect(
                try await api.delete(provider, match: "*").problem == "/problems/in-use"
            )

            let member = base + "/groups/on%20call/members/\(id)"
            #expect(try await api.send("PUT", member).status == 204)
            #expect(try await api.send("PUT", member).status == 204)
            let groups = try await api.all(base + "/groups", limit: 2)
                .map { "\($0["name"]?.string ?? "") \($0["members"]?.int64 ?? 0)" }
            #expect(groups == ["a 1", "b 1", "on call 1"])
            #expect(try await api.all(base + "/subjects?group=on+call").count == 1)
            #expect(try await api.all(base + "/subjects?group=none").isEmpty)
            #expect(try await api.delete(member).status == 204)
            let now = try await api.get(base + "/subjects/\(id)")
            #expect(now.json?["groups"]?.elements.map(\.string) == ["a", "b"])

            let left = try await api.patch(
                base + "/subjects/\(id)",
                #"{"status": "leaver"}"#,
                match: now.etag
            )
            #expect(left.text("status") == "leaver")
            let back = try await api.patch(
                base + "/subjects/\(id)",
                #"{"status": "active"}"#,
                match: left.etag
            )
            #expect(back.errors == ["/status combination"])
            #expect(try await api.delete(base + "/subjects/\(id)", match: "*").status == 405)
            #expect(
                try await plane.trail(api).filter { $0.hasSuffix(id) } == [
                    "createSubject \(id)", "addGroupMember \(id)", "removeGroupMember \(id)",
                    "updateSubject \(id)",
                ]
            )
        }
    }

    @Test func `proxies enrol by REST's tokens, and a revoked one is out`() async throws {
        try await Plane.run { plane in
            let api = try await plane.api()
            let base = "/v1/namespaces/sre"
            let made = try await api.post(base + "/enrolment-tokens", #"{"proxy": "p1"}"#)
            let token = try #require(made.text("token"))
            let proxy = TestProxy(plane, try await plane.enrol(token: token), "p1")
            await #expect(throws: (any Error).self) { try await plane.enrol(token: token) }
            try await proxy.connect()
            try await proxy.pump { proxy.isLive }
            let shown = try await api.get(base + "/proxies/p1")
            #expect(shown.json?["connected"]?.boolean == true)
            #expect(shown.text("softwareVersion") == "test")
            await proxy.drop()

            let second = try await api.post(base + "/enrolment-tokens", #"{"proxy": "p2"}"#)
            let id = try #require(second.text("id"))
            #expect(try await api.delete(base + "/enrolment-tokens/\(id)").status == 204)
            #expect(try await api.delete(base + "/enrolment-tokens/\(id)").status == 204)
            let withdrawn = try #require(second.text("token"))
            await #expect(throws: (any Error).self) { try await plane.enrol(token: withdrawn) }
            let tokens = try await api.all(base + "/enrolment-tokens", limit: 1)
            #expect(tokens.map { $0["proxy"]?.string } == ["p2", "p1"])
            #expect(tokens.allSatisfy { $0["spentAt"]?.isNull == false })

            #expect(try await api.delete(base + "/proxies/p1").status == 204)
            #expect(try await api.get(base + "/proxies/p1").json?["revokedAt"]?.isNull == false)
            let again = try await api.post(base + "/enrolment-tokens", #"{"proxy": "p1"}"#)
            #expect(again.status == 409)
            let control = try await api.post(base + "/enrolment-tokens", #"{"proxy": "control"}"#)
            #expect(control.status == 422)
            #expect(try await api.delete(base + "/proxies/none").status == 404)
        }
    }

    @Test func `records come in pages that never change, filtered as asked`() async throws {
        try await Plane.run { plane in
            let api = try await plane.api("auditor")
            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { proxy.isLive }
            for _ in 0..<3 {
                let n = try await proxy.intent()
                try await proxy.pump { proxy.durable.contains(n) }
                _ = try await proxy.outcome(of: n)
                try await proxy.pump { proxy.session.owed.isEmpty }
            }
            await proxy.drop()
            let path = "/v1/namespaces/sre/records"
            func kinds(_ query: String) async throws -> [String] {
                try await api.all(path + query, limit: 2).map {
                    $0["record"]?["kind"]?.string?.string ?? ""
                }
            }
            #expect(
                try await kinds("")
                    == ["intent", "outcome", "intent", "outcome", "intent", "outcome"]
            )
            #expect(try await kinds("?kind=intent").count == 3)
            #expect(try await kinds("?kind=intent&answer=permit").count == 3)
            #expect(try await kinds("?answer=deny").isEmpty)
            #expect(try await kinds("?from=2026-09-21T14:13:20Z").isEmpty == false)
            #expect(try await kinds("?to=2020-01-01T00:00:00Z").isEmpty)
            #expect(try await api.get(path + "?from=2026-13-01T00:00:00Z").status == 400)
            let first = try await api.get(path + "?limit=1")
            let position = try #require(
                first.json?["items"]?.elements.first { _ in true }?["position"]?.int64
            )
            let one = try await api.get(path + "/\(position)")
            #expect(one.status == 200)
            #expect(try await api.get(path + "/999999").status == 404)
            let again = try await api.get(path + "?limit=1")
            #expect(first.bytes == again.bytes)
        }
    }

    @Test func `development tokens are off unless a setting turns them on`() async throws {
        let body =
            #"{"subject": "eve", "audience": "http://door.test/s/demo/mcp", "groups": ["g"]}"#
        let path = "/v1/namespaces/lab/development-tokens"
        try await Plane.run { plane in
            let api = try await plane.api()
            _ = try await api.post("/v1/namespaces", #"{"name": "lab"}"#)
            #expect(try await api.post(path, body).problem == "/problems/development-tokens-off")
            let provider = try await api.post(
                "/v1/namespaces/lab/identity-providers",
                #"{"issuer": "urn:ostiary:development"}"#
            )
            #expect(provider.problem == "/problems/development-tokens-off")
        }
        try await Plane.run(developmentTokens: true) { plane in
            let api = try await plane.api()
            _ = try await api.post("/v1/namespaces", #"{"name": "lab"}"#)
            let made = try await api.post(path, body)
            #expect(made.status == 201)
            let subject = try await api.get(
                "/v1/namespaces/lab/subjects/" + (made.text("subject") ?? "")
            )
            #expect(subject.json?["groups"]?.elements.map(\.string) == ["g"])
            let again = try await api.post(path, body)
            #expect(again.text("subject") == made.text("subject"))
            #expect(try await api.all("/v1/namespaces/lab/subjects").count == 1)
            #expect(try await api.all("/v1/namespaces/lab/identity-providers").count == 1)
            let trail = try await api.get("/v1/admin-records?namespace=lab")
            let text = String(decoding: trail.bytes, as: UTF8.self)
            #expect(text.contains("createDevelopmentToken"))
            #expect(!text.contains(made.text("token") ?? "?"))
        }
    }

    @Test func `the trail of administrators cannot be changed`() async throws {
        try await Plane.run { plane in
            let api = try await plane.api()
            let page = try await api.get("/v1/admin-records?limit=1")
            for statement: Query in [
                "update admin_record set actor = 'x'", "delete from admin_record",
                "truncate admin_record",
            ] {
                await #expect(throws: (any Error).self) {
                    try await plane.superuser { _ = try await $0.query(statement) }
                }
            }
            #expect(try await api.get("/v1/admin-records?limit=1").bytes == page.bytes)
            let record = page.json?["items"]?.elements.first { _ in true }
            #expect(record?["actor"]?.string == "command:import")
            #expect(record?["target"]?.string == "sre")
        }
    }

    @Test func `while PostgreSQL is away requests are answered as unavailable`() async throws {
        try await Plane.run { plane in
            let api = try await plane.api()
            #expect(try await api.get("/v1/namespaces").status == 200)
            try plane.cluster.stop()
            let away = try await api.get("/v1/namespaces")
            #expect(away.status == 503 && away.fields["retry-after"] == "1")
            #expect(try await api.with(nil).get("/v1/openapi.json").status == 200)
            try plane.cluster.start()
            var status = 0
            while status != 200 {
                status = try await api.get("/v1/namespaces").status
                #expect(status == 200 || status == 503)
            }
        }
    }
}

extension Plane {
    /// Upstream credentials as proxies would get them, by server.
    func credentials() async throws -> [String: String] {
        try await database { database in
            let namespace = try await database.namespace("sre")
            let vault = try CredentialVault(
                try await database.keys.keys(of: namespace.id),
                of: namespace.id
            )
            var found: [String: String] = [:]
            let servers = try await ConfigurationStore(database.client).load(namespace.id).servers
            for server in servers {
                guard let sealed = server.credentialSealed else { continue }
                found[server.name.text.string] = try vault.open(sealed, for: server.name)
                    .withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
            }
            return found
        }
    }

    func activeRelease() async throws -> UInt64? {
        try await database { database in
            let namespace = try await database.namespace("sre")
            return try await ConfigurationStore(database.client).load(namespace.id).release?.number
        }
    }

    /// The public half of a fresh key, as an issuer publishes it.
    func keySet() throws -> String {
        let key = try SigningKey.generate(.es256)
        let published = try JWK.published(key.verificationKey, keyID: "k1")
        return "{\"keys\": [\(String(decoding: published.bytes, as: UTF8.self))]}"
    }
}
