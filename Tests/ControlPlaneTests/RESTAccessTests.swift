import AdminAPI
import ControlPlane
import ControlStore
import Cryptography
import Foundation
import JSON
import Postgres
import PostgresTestSupport
import Testing

/// Every operation × every kind of caller.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)), .serialized)
struct RESTAccessTests {
    /// What a caller without a right sees; `nil`: it is let in.
    struct Rule {
        /// An auditor of the installation.
        var auditor: Int?
        /// An administrator of another namespace.
        var foreigner: Int?

        static let namespaceRead = Rule(auditor: nil, foreigner: 404)
        static let namespaceWrite = Rule(auditor: 403, foreigner: 404)
        static let ownRead = Rule(auditor: nil, foreigner: nil)
        static let ownWrite = Rule(auditor: 403, foreigner: nil)
    }

    static let rules: [OperationID: Rule] = [
        .readOpenAPI: .ownRead,
        .listNamespaces: .ownRead,
        .createNamespace: Rule(auditor: 403, foreigner: 403),
        .readNamespace: .namespaceRead,
        .updateNamespace: .namespaceWrite,
        .listServers: .namespaceRead,
        .createServer: .namespaceWrite,
        .readServer: .namespaceRead,
        .updateServer: .namespaceWrite,
        .deleteServer: .namespaceWrite,
        .listTools: .namespaceRead,
        .readTool: .namespaceRead,
        .updateTool: .namespaceWrite,
        .readToolImpact: .namespaceRead,
        .listIdentityProviders: .namespaceRead,
        .createIdentityProvider: .namespaceWrite,
        .readIdentityProvider: .namespaceRead,
        .updateIdentityProvider: .namespaceWrite,
        .deleteIdentityProvider: .namespaceWrite,
        .readIdentityProviderKeys: .namespaceRead,
        .listSubjects: .namespaceRead,
        .createSubject: .namespaceWrite,
        .readSubject: .namespaceRead,
        .updateSubject: .namespaceWrite,
        .listGroups: .namespaceRead,
        .addGroupMember: .namespaceWrite,
        .removeGroupMember: .namespaceWrite,
        .listReleases: .namespaceRead,
        .createRelease: .namespaceWrite,
        .readRelease: .namespaceRead,
        .readReleaseManifest: .namespaceRead,
        .listReviews: .namespaceRead,
        .createReview: .namespaceWrite,
        .listActivations: .namespaceRead,
        .createActivation: .namespaceWrite,
        .readShadow: .namespaceRead,
        .startShadow: .namespaceWrite,
        .endShadow: .namespaceWrite,
        .listSimulations: .namespaceRead,
        .createSimulation: .namespaceWrite,
        .readSimulation: .namespaceRead,
        .listProxies: .namespaceRead,
        .readProxy: .namespaceRead,
        .revokeProxy: .namespaceWrite,
        .listEnrolmentTokens: .namespaceRead,
        .createEnrolmentToken: .namespaceWrite,
        .withdrawEnrolmentToken: .namespaceWrite,
        .listRecords: .namespaceRead,
        .readRecord: .namespaceRead,
        .listAdminRecords: .ownRead,
        .listAPITokens: .ownRead,
        .createAPIToken: .ownWrite,
        .readAPIToken: .ownRead,
        .revokeAPIToken: .ownWrite,
        .createDevelopmentToken: .namespaceWrite,
    ]

    static func path(_ operation: AdminAPI.Operation) -> String {
        let values = [
            "{namespace}": "sre", "{server}": "demo", "{tool}": "t",
            "{identityProvider}": "idp_1", "{subject}": "sub_none", "{group}": "g",
            "{release}": "1", "{proxy}": "p", "{enrolmentToken}": "enr_1", "{position}": "7",
            "{apiToken}": "tok_1", "{simulation}": "sim_1",
        ]
        return values.reduce(operation.template) { path, pair in
            path.replacing(pair.key, with: pair.value)
        }
    }

    @Test func `who is not let in changes nothing and learns nothing`() async throws {
        #expect(Set(Self.rules.keys) == Set(OperationID.allCases))
        try await Plane.run(developmentTokens: true) { plane in
            let administrator = try await plane.api()
            let other = try await administrator.post("/v1/namespaces", #"{"name": "other"}"#)
            #expect(other.status == 201)
            let auditor = try await plane.api("auditor")
            let foreigner = try await plane.api(of: "other")
            let revoked = try await plane.api()
            let expired = try await plane.api()
            try await plane.retire(revoked, "revoked_at = now()")
            try await plane.retire(expired, "expires_at = now() - interval '1 second'")
            let strangers: [(String, RESTClient)] = [
                ("no token", administrator.with(nil)),
                ("empty token", administrator.with("")),
                ("wrong token", administrator.with("osa_" + String(repeating: "A", count: 43))),
                ("token with a byte more", administrator.with((administrator.token ?? "") + "A")),
                ("revoked", revoked), ("expired", expired),
            ]
            let before = try await plane.trail(administrator)
            for id in OperationID.allCases {
                let operation = id.operation
                let path = Self.path(operation)
                func ask(_ client: RESTClient) async throws -> Int {
                    try await client.send(operation.method.rawValue, path).status
                }
                for (name, client) in strangers {
                    let expected = id == .readOpenAPI ? 200 : 401
                    #expect(try await ask(client) == expected, "\(id): \(name)")
                }
                let rule = try #require(Self.rules[id])
                for (name, client, expected) in [
                    ("auditor", auditor, rule.auditor), ("foreigner", foreigner, rule.foreigner),
                ] {
                    let status = try await ask(client)
                    if let expected {
                        #expect(status == expected, "\(id): \(name)")
                    } else {
                        #expect(status != 401 && status != 403, "\(id): \(name) got \(status)")
                    }
                }
            }
            #expect(try await plane.trail(administrator) == before)
        }
    }

    @Test func `a namespace that is not there looks like one that is not reached`() async throws {
        try await Plane.run { plane in
            let administrator = try await plane.api()
            _ = try await administrator.post("/v1/namespaces", #"{"name": "other"}"#)
            let foreigner = try await plane.api(of: "other")
            func shown(_ path: String) async throws -> String {
                let answer = try await foreigner.get(path)
                let text = String(decoding: answer.bytes, as: UTF8.self)
                let id = answer.fields["x-request-id"] ?? ""
                return "\(answer.status) "
                    + text.replacing(id, with: "").replacing("/sre", with: "")
                    .replacing("/none", with: "")
            }
            #expect(
                try await shown("/v1/namespaces/sre") == shown("/v1/namespaces/none")
            )
            #expect(
                try await shown("/v1/namespaces/sre/servers")
                    == shown("/v1/namespaces/none/servers")
            )
            #expect(try await foreigner.get("/v1/admin-records?namespace=sre").status == 404)
            #expect(try await foreigner.get("/v1/admin-records?namespace=none").status == 404)
        }
    }

    @Test func `a namespace's token sees and makes only what is its namespace's`() async throws {
        try await Plane.run { plane in
            let administrator = try await plane.api()
            _ = try await administrator.post("/v1/namespaces", #"{"name": "other"}"#)
            let own = try await plane.api(of: "other")
            let names = try await own.all("/v1/namespaces").map { $0["name"]?.string }
            #expect(names == ["other"])
            #expect(try await own.all("/v1/api-tokens").count == 1)
            #expect(try await administrator.all("/v1/api-tokens").count == 2)
            let record = try await own.all("/v1/admin-records")
            #expect(record.allSatisfy { $0["namespace"]?.string == "other" } && !record.isEmpty)

            for body in [
                #"{"name": "x", "role": "auditor"}"#,
                #"{"name": "x", "role": "auditor", "namespace": "sre"}"#,
                #"{"name": "x", "role": "auditor", "namespace": "none"}"#,
            ] {
                #expect(try await own.post("/v1/api-tokens", body).status == 403)
            }
            let made = try await own.post(
                "/v1/api-tokens",
                #"{"name": "x", "role": "auditor", "namespace": "other", "ttlSeconds": 60}"#
            )
            #expect(made.status == 201)
            let auditor = own.with(made.text("token"))
            #expect(try await auditor.get("/v1/namespaces/other/servers").status == 200)
            let id = try #require(made.text("id"))
            // Somebody else's token cannot be revoked, and is not there.
            let all = try await administrator.all("/v1/api-tokens")
            let foreign = try #require(
                all.first { $0["namespace"]?.isNull == true }?["id"]?.string?.string
            )
            #expect(try await own.delete("/v1/api-tokens/\(foreign)").status == 404)
            #expect(try await own.delete("/v1/api-tokens/\(id)").status == 204)
            #expect(try await auditor.get("/v1/namespaces/other/servers").status == 401)
            #expect(try await own.get("/v1/api-tokens/\(id)").status == 200)
        }
    }

    @Test func `only one well-formed Authorization field is a token`() async throws {
        try await Plane.run { plane in
            let client = try await plane.api()
            func ask(_ value: String) async throws -> RESTClient.Answer {
                try await client.with(nil)
                    .send("GET", "/v1/namespaces", nil, ["Authorization": value])
            }
            let token = client.token ?? ""
            for value in [
                "Bearer", "Basic \(token)", "bearer  \(token)", "\(token) Bearer",
                "Bearer \(token), Bearer \(token)", "Token \(token)",
            ] {
                let answer = try await ask(value)
                #expect(answer.status == 401, "\(value.prefix(8))")
                #expect(answer.fields["www-authenticate"]?.hasPrefix("Bearer") == true)
            }
            #expect(try await ask("bearer \(token)").status == 200)
        }
    }
}

extension Plane {
    /// Changes the stored row of a token, as time or somebody would.
    func retire(_ client: RESTClient, _ change: String) async throws {
        let digest = [UInt8](try #require(client.token).utf8)
        try await superuser { client in
            _ = try await client.query(
                Query(
                    trusted: "update api_token set \(change) where digest = "
                        + "sha256(decode('\(Hex.encode(digest))', 'hex'))"
                )
            )
        }
    }

    /// Looks, and does harm, past the database's own rules.
    func superuser<Value: Sendable>(
        _ body: (PostgresClient) async throws -> Value
    ) async throws -> Value {
        let client = PostgresClient(
            try cluster.configuration(),
            limits: .patient,
            logger: silent
        )
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await client.run() }
            defer { group.cancelAll() }
            return try await body(client)
        }
    }
}
