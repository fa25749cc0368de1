import AdminAPI
import JSON
import Testing

/// What requests may say: the reader is held by tables.
struct SchemaTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let operation: OperationID
        let body: String
        let errors: [String]

        init(_ name: String, _ operation: OperationID, _ body: String, _ errors: [String] = []) {
            (testDescription, self.operation, self.body, self.errors) = (
                name, operation, body, errors
            )
        }
    }

    static let rows: [Row] = [
        Row(
            "a server with everything",
            .createServer,
            #"""
            {"name": "a", "url": "https://a.test:8443/mcp?x=1", "enabled": false,
             "memberships": ["MCP::Environment::\"prod\""],
             "credential": {"header": "Authorization", "value": "Bearer x"}}
            """#
        ),
        Row("nothing", .createServer, "{}", ["/name missing", "/url missing"]),
        Row("no object", .createServer, "[]", [" wrong_type"]),
        Row(
            "a misspelt member",
            .createServer,
            #"{"name": "a", "url": "http://a", "enabeld": false}"#,
            ["/enabeld unknown_member"]
        ),
        Row(
            "a member with a slash and a tilde",
            .updateServer,
            #"{"a/b~c": 1}"#,
            ["/a~1b~0c unknown_member"]
        ),
        Row(
            "wrong types",
            .createServer,
            #"{"name": 1, "url": null, "enabled": "yes", "memberships": {}, "credential": []}"#,
            [
                "/name wrong_type", "/url wrong_type", "/enabled wrong_type",
                "/memberships wrong_type", "/credential wrong_type",
            ]
        ),
        Row(
            "a credential without a value",
            .createServer,
            #"{"name": "a", "url": "http://a", "credential": {"header": "X-Key"}}"#,
            ["/credential/value missing"]
        ),
        Row("a credential is removed", .updateServer, #"{"credential": null}"#),
        Row(
            "a url is never null",
            .updateServer,
            #"{"url": null}"#,
            ["/url wrong_type"]
        ),
        Row(
            "an element of a list",
            .createSubject,
            #"{"issuer": "https://i", "name": "n", "groups": ["a", ""]}"#,
            ["/groups/1 length"]
        ),
        Row(
            "attributes are texts",
            .createSubject,
            #"{"issuer": "https://i", "name": "n", "attributes": {"a/b": 1}}"#,
            ["/attributes/a~1b wrong_type"]
        ),
        Row(
            "none of the known values",
            .createSubject,
            #"{"issuer": "https://i", "name": "n", "kind": "robot"}"#,
            ["/kind unknown_value"]
        ),
        Row(
            "a number with a fraction",
            .createActivation,
            #"{"release": 1.5}"#,
            ["/release wrong_type"]
        ),
        Row("a number as text", .createActivation, #"{"release": "1"}"#, ["/release wrong_type"]),
        Row("a number below its range", .createActivation, #"{"release": 0}"#, ["/release range"]),
        Row(
            "too many elements",
            .createServer,
            #"{"name": "a", "url": "http://a", "memberships": ["#
                + Array(repeating: "\"x\"", count: 65).joined(separator: ",") + "]}",
            ["/memberships too_many"]
        ),
    ]

    @Test(arguments: rows)
    func `a body is held against its schema`(row: Row) throws {
        let schema = try #require(row.operation.operation.body)
        let value = try JSONDocument(parsing: row.body).root
        let errors = schema.errors(in: value).map { "\($0.pointer) \($0.code.rawValue)" }
        #expect(errors == row.errors)
    }

    @Test func `an answer never names more than a hundred mistakes`() throws {
        let members = (0..<500).map { "\"m\($0)\": 1" }.joined(separator: ",")
        let value = try JSONDocument(parsing: "{\(members)}").root
        let schema = try #require(OperationID.updateServer.operation.body)
        #expect(schema.errors(in: value).count == Schema.errorsMax)
    }

    struct FormRow: CustomTestStringConvertible, Sendable {
        let form: TextForm
        let good: [Text]
        let bad: [Text]
        var testDescription: String { form.summary }
    }

    static let forms: [FormRow] = [
        FormRow(
            form: .label,
            good: ["a", "a-1", Text(String(repeating: "x", count: 63))],
            bad: ["", "-a", "a-", "A", "a.b", "ä", Text(String(repeating: "x", count: 64))]
        ),
        FormRow(
            form: .httpURL,
            good: [
                "http://a", "https://a.test/mcp", "http://127.0.0.1:9000/mcp?x=1",
                "http://[::1]:80/", "http://a:65535", "http://a_b/",
            ],
            bad: [
                "", "a", "ftp://a", "http://", "http:///x", "http://u@h/", "http://u:p@h/",
                "http://a/#f", "http://a:0/", "http://a:65536", "http://a:080", "http://a:/",
                "http://a b", "HTTP://a", "http://a?x", "http://[::1", "http://[]/", "http://ä",
                "http://a\n",
            ]
        ),
        FormRow(
            form: .issuer,
            good: ["https://issuer.test", "urn:ostiary:development"],
            bad: ["", "issuer", ":x", "https:", "https://a b", "1x:y"]
        ),
        FormRow(
            form: .fieldName,
            good: ["Authorization", "X-Api-Key"],
            bad: [
                "", "Host", "content-length", "Mcp-Session-Id", "a b", "a:b", "Transfer-Encoding",
            ]
        ),
        FormRow(
            form: .fieldValue,
            good: ["Bearer x", "a"],
            bad: ["", " a", "a ", "a\r\nX: y", "\u{7F}", "é"]
        ),
        FormRow(
            form: .digest,
            good: [Text(String(repeating: "0a", count: 32))],
            bad: [
                "", Text(String(repeating: "0A", count: 32)),
                Text(String(repeating: "0", count: 63)),
            ]
        ),
        FormRow(
            form: .time,
            good: [
                "2026-11-27T17:00:00Z", "2026-11-27T17:00:00.000001Z", "2026-11-27T17:00:00.5Z",
            ],
            bad: [
                "2026-11-27", "2026-11-27T17:00:00", "2026-11-27T17:00:00+00:00",
                "2026-11-27t17:00:00Z",
                "2026-11-27T17:00:00.Z",
            ]
        ),
        FormRow(
            form: .jsonPointer,
            good: ["", "/a", "/a~1b/~0"],
            bad: ["a", "/~", "/~2"]
        ),
        FormRow(
            form: .id("sub_"),
            good: ["sub_1", "sub_a-B_2"],
            bad: ["", "sub_", "sub", "pol_1", "sub_ä", "sub_a b"]
        ),
        FormRow(form: .number, good: ["1", "18"], bad: ["", "0", "01", "-1", "1.0", "x"]),
        FormRow(
            form: .choice(["a", "b"]),
            good: ["a", "b"],
            bad: ["", "A", "c"]
        ),
    ]

    @Test(arguments: forms)
    func `a text has its form or is refused`(row: FormRow) {
        for text in row.good { #expect(row.form.refusal(of: text) == nil, "\(text)") }
        for text in row.bad { #expect(row.form.refusal(of: text) != nil, "\(text)") }
    }

    @Test func `names that Unicode calls equal are two names`() throws {
        let composed = try JSONDocument(parsing: #"{"n\u00e4me": 1}"#).root
        let schema = try #require(OperationID.createServer.operation.body)
        #expect(schema.errors(in: composed).contains { $0.code == .unknownMember })
    }
}
