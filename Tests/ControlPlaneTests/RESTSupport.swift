import AdminAPI
import ControlPlane
import ControlStore
import Foundation
import JSON
import Testing

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// A client of the REST interface with one token.
///
/// It holds every answer against the schema that the OpenAPI document promises for it.
struct RESTClient: Sendable {
    let port: Int
    var token: String?

    struct Answer {
        let status: Int
        let fields: [String: String]
        let bytes: [UInt8]
        let json: JSONValue?

        var etag: String { fields["etag"] ?? "" }
        var problem: String { json?["type"]?.string?.string ?? "" }
        /// `pointer code` of each mistake.
        var errors: [String] {
            (json?["errors"]?.elements).map { elements in
                elements.map {
                    "\($0["pointer"]?.string ?? "?") \($0["code"]?.string ?? "?")"
                }
            } ?? []
        }

        func text(_ name: StaticString) -> String? { json?[name]?.string?.string }
    }

    func with(_ token: String?) -> RESTClient { RESTClient(port: port, token: token) }

    func get(_ path: String) async throws -> Answer { try await send("GET", path) }

    func post(_ path: String, _ body: String, key: String? = nil) async throws -> Answer {
        try await send("POST", path, body, ["Idempotency-Key": key])
    }

    func patch(_ path: String, _ body: String, match: String?) async throws -> Answer {
        try await send("PATCH", path, body, ["If-Match": match])
    }

    func delete(_ path: String, match: String? = nil) async throws -> Answer {
        try await send("DELETE", path, nil, ["If-Match": match])
    }

    /// Asks what a release of `sre` would answer, and waits until that is known.
    func simulate(_ number: Int64, _ body: String = "{}") async throws -> Answer {
        let asked = try await post("/v1/namespaces/sre/releases/\(number)/simulations", body)
        #expect(asked.status == 202)
        let place = try #require(asked.fields["location"])
        while true {
            let answer = try await get(place)
            guard ["queued", "running"].contains(answer.text("state")) else { return answer }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    func send(
        _ method: String,
        _ path: String,
        _ body: String? = nil,
        _ fields: [String: String?] = [:]
    ) async throws -> Answer {
        let url = try #require(URL(string: "http://127.0.0.1:\(port)\(path)"))
        var request = URLRequest(url: url)
        request.httpMethod = method
        request.httpBody = body.map { Data($0.utf8) }
        if body != nil { request.setValue("application/json", forHTTPHeaderField: "Content-Type") }
        if let token { request.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization") }
        for (name, value) in fields {
            if let value { request.setValue(value, forHTTPHeaderField: name) }
        }
        let (data, response) = try await URLSession.shared.data(for: request)
        let http = try #require(response as? HTTPURLResponse)
        var its: [String: String] = [:]
        for (name, value) in http.allHeaderFields {
            its["\(name)".lowercased()] = "\(value)"
        }
        let answer = Answer(
            status: http.statusCode,
            fields: its,
            bytes: [UInt8](data),
            json: data.isEmpty ? nil : try JSONDocument(parsing: [UInt8](data)).root
        )
        try check(answer, method, path)
        return answer
    }

    /// An answer is what the document says it is.
    private func check(_ answer: Answer, _ method: String, _ path: String) throws {
        #expect(answer.fields["x-request-id"]?.hasPrefix("req_") == true)
        let route = RouteTable().match(method, String(path.prefix { $0 != "?" }))
        if answer.status >= 400 {
            #expect(answer.fields["content-type"] == "application/problem+json")
            let json = try #require(answer.json)
            #expect(Problem.schema.errors(in: json) == [], "\(method) \(path)")
            #expect(json["requestId"]?.string?.string == answer.fields["x-request-id"])
            guard case .found(let operation, _) = route else { return }
            let documented = operation.problems.contains { status, types in
                status == answer.status
                    && types.contains { "/problems/\($0.rawValue)" == answer.problem }
            }
            #expect(documented, "\(operation.id) answers \(answer.problem), undocumented")
        } else if case .found(let operation, _) = route {
            #expect(answer.status == operation.status, "\(method) \(path)")
            #expect((answer.json != nil) == (operation.answer != nil), "\(method) \(path)")
            if let schema = operation.answer, let json = answer.json {
                #expect(schema.errors(in: json) == [], "\(method) \(path)")
            }
            #expect((answer.fields["etag"] != nil) == operation.hasETag, "\(method) \(path)")
            #expect(
                (answer.fields["location"] != nil) == operation.hasLocation,
                "\(method) \(path)"
            )
        }
    }

    /// The items of a list, page by page, all of them.
    func all(_ path: String, limit: Int = 500) async throws -> [JSONValue] {
        var items: [JSONValue] = []
        var cursor: String? = ""
        while let at = cursor {
            let mark = path.contains("?") ? "&" : "?"
            let rest = at.isEmpty ? "" : "&cursor=\(at)"
            let answer = try await get("\(path)\(mark)limit=\(limit)\(rest)")
            #expect(answer.status == 200)
            items += answer.json?["items"]?.elements.map { $0 } ?? []
            cursor = answer.json?["nextCursor"]?.string?.string
        }
        return items
    }
}

extension Plane {
    /// A client with a fresh token.
    func api(
        _ role: String = "administrator",
        of namespace: String? = nil,
        name: String? = nil,
        ttl: Int64 = 3600
    ) async throws -> RESTClient {
        let token = try await database {
            try await $0.apiToken(
                name: name ?? "\(role) of \(namespace ?? "all")",
                role: role,
                namespace: namespace,
                lifetimeSeconds: ttl
            )
        }
        return RESTClient(
            port: await assembly.apiPort,
            token: String(decoding: token, as: UTF8.self)
        )
    }

    /// What administrators did: `operation target`.
    func trail(_ client: RESTClient) async throws -> [String] {
        try await client.all("/v1/admin-records").map {
            "\($0["operation"]?.string ?? "") \($0["target"]?.string ?? "")"
        }
    }
}
