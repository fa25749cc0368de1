import AdminAPI
import Foundation
import JSON
import Testing

/// The table of operations, the routes and the committed document.
struct OperationTests {
    static let root = URL(filePath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    @Test func `the committed document is the one that is served`() throws {
        let file = Self.root.appending(path: "docs/reference/openapi.json")
        let served = OpenAPIDocument.bytes()
        if ProcessInfo.processInfo.environment["OSTIARY_UPDATE_GOLDEN"] != nil {
            try Data(served).write(to: file)
        }
        let committed = try [UInt8](Data(contentsOf: file))
        #expect(
            committed == served,
            "docs/reference/openapi.json is old; run again with OSTIARY_UPDATE_GOLDEN=1 and review the difference"
        )
    }

    @Test func `document and routes agree, both ways`() throws {
        let document = try JSONDocument(parsing: OpenAPIDocument.bytes()).root
        let routes = RouteTable()
        var documented: Set<String> = []
        let paths = try #require(document["paths"])
        for (template, operations) in paths.members {
            for (method, operation) in operations.members {
                let id = try #require(operation["operationId"]?.string)
                documented.insert(id.string)
                let path = Self.example(of: template.text.string)
                guard
                    case .found(let found, _) = routes.match(
                        method.text.string.uppercased(),
                        path
                    )
                else {
                    Issue.record("\(method.text) \(template.text) is documented and not served")
                    continue
                }
                #expect(found.id.rawValue == id.string)
                #expect(found.template == template.text.string)
                let body = operation["requestBody"] != nil
                #expect(body == (found.body != nil), "\(id)")
                let status = Text("\(found.status)")
                #expect(operation["responses"]?.member(named: status) != nil, "\(id)")
                for (status, _) in found.problems {
                    let response = operation["responses"]?.member(named: Text("\(status)"))
                    #expect(response?["$ref"] != nil, "\(id) \(status)")
                }
            }
        }
        #expect(documented == Set(OperationID.allCases.map(\.rawValue)))
    }

    /// A path of this form.
    static func example(of template: String) -> String {
        let values = [
            "namespace": "demo", "server": "s", "tool": "a%2Fb", "identityProvider": "idp_1",
            "subject": "sub_1", "group": "g", "release": "1", "proxy": "p",
            "enrolmentToken": "enr_1", "simulation": "sim_1", "position": "7", "apiToken": "tok_1",
        ]
        return values.reduce(template) { path, pair in
            path.replacing("{\(pair.key)}", with: pair.value)
        }
    }

    @Test func `every reference in the document leads somewhere`() throws {
        let text = String(decoding: OpenAPIDocument.bytes(), as: UTF8.self)
        let document = try JSONDocument(parsing: text).root
        let schemas = try #require(document["components"]?["schemas"])
        var count = 0
        for piece in text.split(separator: "\"#/components/schemas/").dropFirst() {
            let name = piece.prefix { $0 != "\"" }
            #expect(schemas.member(named: Text(name)) != nil, "\(name)")
            count += 1
        }
        #expect(count > 50)
        let responses = try #require(document["components"]?["responses"])
        for piece in text.split(separator: "\"#/components/responses/").dropFirst() {
            let name = piece.prefix { $0 != "\"" }
            #expect(responses.member(named: Text(name)) != nil, "\(name)")
        }
    }

    struct Route: CustomTestStringConvertible, Sendable {
        let method: String
        let path: String
        let outcome: String
        var testDescription: String { "\(method) \(path)" }

        init(_ method: String, _ path: String, _ outcome: String) {
            (self.method, self.path, self.outcome) = (method, path, outcome)
        }
    }

    static let routes: [Route] = [
        Route("GET", "/v1/namespaces", "listNamespaces []"),
        Route("GET", "/v1/namespaces/demo", "readNamespace [demo]"),
        Route("GET", "/v1/namespaces/demo/servers/s/tools/a%2Fb", "readTool [demo, s, a/b]"),
        Route("GET", "/v1/namespaces/demo/servers/s/tools/%C3%A4", "readTool [demo, s, ä]"),
        Route(
            "PUT",
            "/v1/namespaces/demo/groups/a%20b/members/sub_1",
            "addGroupMember [demo, a b, sub_1]"
        ),
        Route("POST", "/v1/namespaces/demo/servers/s/tools", "only GET"),
        Route("HEAD", "/v1/namespaces", "only GET POST"),
        Route("get", "/v1/namespaces", "only GET POST"),
        Route("GET", "/v1/namespaces/", "nothing"),
        Route("GET", "/v1//namespaces", "nothing"),
        Route("GET", "//v1/namespaces", "nothing"),
        Route("GET", "v1/namespaces", "nothing"),
        Route("GET", "", "nothing"),
        Route("GET", "/v1/namespaces/Demo", "nothing"),
        Route("GET", "/v1/namespaces/..", "nothing"),
        Route("GET", "/v1/namespaces/%00", "nothing"),
        Route("GET", "/v1/namespaces/%zz", "nothing"),
        Route("GET", "/v1/namespaces/%", "nothing"),
        Route("GET", "/v1/namespaces/demo/servers/s/tools/%FF", "nothing"),
        Route("GET", "/v1/namespaces/demo/releases/0", "nothing"),
        Route("GET", "/v1/namespaces/demo/releases/9223372036854775808", "nothing"),
        Route("GET", "/v2/namespaces", "nothing"),
    ]

    @Test(arguments: routes)
    func `a path leads to one operation or none`(route: Route) {
        let outcome =
            switch RouteTable().match(route.method, route.path) {
            case .found(let operation, let parameters):
                "\(operation.id.rawValue) [\(parameters.map(\.string).joined(separator: ", "))]"
            case .otherMethods(let methods): "only " + methods.joined(separator: " ")
            case .nothing: "nothing"
            }
        #expect(outcome == route.outcome)
    }

    @Test func `every change needs an administrator, and every edit a version`() {
        for id in OperationID.allCases {
            let operation = id.operation
            switch (operation.method, operation.access) {
            case (.get, .open), (.get, .reading): break
            case (.get, _), (_, .open), (_, .reading):
                Issue.record("\(id) has the wrong access")
            case (.patch, _): #expect(operation.isConditional, "\(id)")
            default: break
            }
        }
    }

    @Test func `problems and codes are documented`() throws {
        let file = Self.root.appending(path: "docs/reference/problems.md")
        let text = try String(contentsOf: file, encoding: .utf8)
        for type in ProblemType.allCases {
            #expect(text.contains("`/problems/\(type.rawValue)`"), "\(type.rawValue)")
            #expect(text.contains("| \(type.status) |"))
        }
        for code in FieldError.Code.allCases {
            #expect(text.contains("`\(code.rawValue)`"), "\(code.rawValue)")
        }
    }

    @Test func `a problem is written as RFC 9457 says, with the place of each mistake`() throws {
        let problem = Problem(
            .policyInvalid,
            "see errors",
            errors: [.init("/documents/0/source", .policy, "unexpected \"x\"", line: 4, column: 2)]
        )
        let bytes = problem.json(instance: "/v1/x", requestID: "req_1")
        let expected =
            #"{"type":"/problems/policy-invalid","title":"The policies do not compile","status":422,"#
            + #""detail":"see errors","instance":"/v1/x","requestId":"req_1","errors":[{"#
            + #""pointer":"/documents/0/source","code":"policy","detail":"unexpected \"x\"","#
            + #""line":4,"column":2}]}"#
        #expect(String(decoding: bytes, as: UTF8.self) == expected)
    }

    @Test(arguments: ["", "a", "ab", "abc", "ä€", "1790000000000000 tok_1", "x\n"])
    func `a cursor carries its key, and a changed one carries nothing`(key: String) {
        let cursor = Cursor.after(Text(key))
        #expect(Cursor.key(of: cursor) == Text(key))
        #expect(cursor.utf8.allSatisfy { $0 != 0x3D && $0 != 0x2B && $0 != 0x2F })
        for broken in ["", "A", "%", "x" + cursor.string, cursor.string + "A", cursor.string + "="]
        {
            let found = Cursor.key(of: Text(broken))
            #expect(found == nil || found != Text(key))
        }
    }

    @Test func `the size of a page has a bound`() throws {
        #expect(try PageRequest(limit: nil, cursor: nil).limit == 100)
        #expect(try PageRequest(limit: "500", cursor: nil).limit == 500)
        for limit in ["0", "501", "-1", "x", "99999999999999999999"] {
            #expect(throws: Problem.self) { try PageRequest(limit: Text(limit), cursor: nil) }
        }
        #expect(throws: Problem.self) { try PageRequest(limit: nil, cursor: "!") }
    }

    @Test func `no bytes from strangers stop the readers, and a name survives its path`() {
        var random = SystemRandomNumberGenerator()
        let routes = RouteTable()
        for _ in 0..<2_000 {
            let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let text = Text(String(decoding: bytes, as: UTF8.self))
            _ = routes.match("GET", text.string)
            _ = routes.match("GET", "/v1/namespaces/demo/servers/s/tools/" + text.string)
            _ = Cursor.key(of: text)
            for row in SchemaTests.forms { _ = row.form.refusal(of: text) }
            if !bytes.contains(0) {
                #expect(PercentCoding.decode(PercentCoding.encode(text).utf8) == text)
            }
        }
    }
}
