import Cedar
import Foundation
import Testing

/// One run reports everything that is wrong with a text, and nothing twice.
@Suite struct ParserRecoveryTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let name: String
        let text: String
        let findings: [String]
        var testDescription: String { name }

        init(_ name: String, _ text: String, _ findings: [String]) {
            self.name = name
            self.text = text
            self.findings = findings
        }
    }

    static let rows = [
        Row(
            "a missing semicolon costs no policy",
            "permit(principal, action, resource)\npermit(principal, action, foo);",
            ["1:36 missing_semicolon", "2:27 invalid_scope"]
        ),
        Row(
            "a missing semicolon before an annotation",
            "permit(principal, action, resource) when { true }\n@id(\"x\") forbid(principal, action);",
            ["1:50 missing_semicolon", "2:34 invalid_scope"]
        ),
        Row(
            "conditions are read one by one",
            "permit(principal, action, resource) when { 1 + } unless { foo } when { {a: ] };",
            ["1:48 unexpected_token", "1:59 unknown_variable", "1:76 unexpected_token"]
        ),
        Row(
            "a scope that is wrong does not hide a condition that is",
            "permit(principal = User::\"a\", action, resource) when { foo };",
            ["1:18 unsupported_operator", "1:56 unknown_variable"]
        ),
        Row(
            "a string without its quote ends with its line",
            """
            permit(principal == User::"alice, action, resource);
            permit(principal == User::"bob", action, resource);
            permit(principal, action, resource) when { context.a == "x };
            permit(principal, action, resource) when { bar && context.b == "y" };
            permit(principal == User::"eve, action, resource);
            """,
            [
                "1:27 unterminated_string", "3:57 unterminated_string", "4:44 unknown_variable",
                "5:27 unterminated_string",
            ]
        ),
        Row(
            "a string over several lines is none of that",
            "permit(principal, action, resource) when { context.a == \"x\ny\" && foo };",
            ["2:7 unknown_variable"]
        ),
        Row(
            "other quotes are one finding each",
            "permit(principal == User::'alice', action, resource);\npermit(principal == User::“bob”, action, resource);",
            ["1:27 invalid_token", "2:27 invalid_token", "2:31 invalid_token"]
        ),
        Row(
            "what is no policy is one finding",
            "hello world;\nallow(principal, action, resource);\n;\nforbid(principal, action, resource);",
            ["1:1 invalid_effect", "2:1 invalid_effect", "3:1 unexpected_token"]
        ),
        Row(
            "a comment of another language",
            "# policies\npermit(principal, action, resource);",
            ["1:1 invalid_token"]
        ),
        Row(
            "a condition with another word is read all the same",
            "permit(principal, action, resource) where { foo };",
            ["1:37 invalid_condition", "1:45 unknown_variable"]
        ),
        Row(
            "parentheses for braces",
            "permit(principal, action, resource) when (true);\npermit(principal, action, foo);",
            ["1:42 unexpected_token", "2:27 invalid_scope"]
        ),
        Row(
            "an expression that is not closed",
            "permit(principal, action, resource) when { (true };\nforbid(principal, action, resource) when { [1, 2 };\npermit(principal, action, resource) when { foo };",
            ["1:50 unexpected_token", "2:50 unexpected_token", "3:44 unknown_variable"]
        ),
        Row(
            "a brace that is not closed",
            "permit(principal, action, resource) when { true ;\npermit(principal, action, resource) when { foo };",
            ["1:49 unexpected_token", "2:44 unknown_variable"]
        ),
    ]

    @Test(arguments: rows) func `one run reports everything once`(row: Row) {
        #expect(
            findings(row.text).map { "\($0.line):\($0.column) \($0.code.rawValue)" } == row.findings
        )
    }

    @Test(arguments: [
        (
            "when { true and true }", "expected an operator or `}`, found `and`",
            "did you mean `&&`?"
        ),
        (
            "when { context.containsal([]) }", "there is no method `containsal`",
            "did you mean `containsAll`?"
        ),
        (
            "when { context.tags.contain(1) }", "there is no method `contain`",
            "did you mean `contains`?"
        ),
        (
            "when { decimel(\"1.0\") == 1 }", "there is no function `decimel`",
            "did you mean `decimal`?"
        ),
        ("when { isIpv4(1) }", "`isIpv4` is a method", "write it behind a value: x.isIpv4(…)"),
        (
            "when { \"1.2.3.4\".ip() == 1 }", "`ip` is a function",
            "write it before its argument: ip(\"…\")"
        ),
        (
            "when { Principal == 1 }", "there is no variable `Principal`",
            "did you mean `principal`?"
        ),
        ("when { user.age > 1 }", "there is no variable `user`", "did you mean `principal`?"),
        (
            "when { principal == User::alice }", "there is no variable `User::alice`",
            "an entity is written with its id in quotes: User::alice::\"…\""
        ),
        (
            "when { principal.name.startsWith(\"a\") }", "there is no method `startsWith`",
            "use `like \"…*\"`"
        ),
        ("when { 1 = 1 }", "`=` is no operator", "did you mean `==`?"),
        (
            "when { context.a / 2 == 1 }", "`/` is no operator",
            "there is no division; compare a product instead"
        ),
        ("if { true }", "expected `when`, `unless` or `;`, found `if`", "did you mean `when`?"),
        ("whne { true }", "expected `when`, `unless` or `;`, found `whne`", "did you mean `when`?"),
        (
            "when { context.a.contains(1, 2) }", "`contains` takes one argument, not 2",
            "did you mean `containsAll([…])`?"
        ),
        (
            "when { context.if == 1 }", "`if` is a reserved word",
            "as an attribute it is written in quotes: [\"if\"]"
        ),
    ])
    func `a finding says what is wrong and what would help`(
        conditions: String,
        message: String,
        hint: String
    ) throws {
        let finding = try #require(
            findings("permit(principal, action, resource) \(conditions);").first
        )
        #expect(finding.message == message)
        #expect(finding.hint == hint)
        #expect(finding.severity == .error)
    }

    @Test func `a message shows no control character of the text`() throws {
        let finding = try #require(
            findings("permit(principal, action, resource) when { \u{202E}\u{1B} };").first
        )
        #expect(finding.message == "`\\u{202e}\\u{1b}` is no part of the language")
    }

    @Test func `hostile texts cost little and their findings are bounded`() {
        // Each of these made some reader quadratic.
        let hostile = [
            String(repeating: "\\\"\n", count: 200_000), String(repeating: "'", count: 200_001),
            String(repeating: "\"\n;", count: 100_001), String(repeating: "permit(", count: 50_000),
            String(repeating: "permit(principal, action, resource) when { ", count: 9_000),
            String(repeating: "@", count: 200_000), String(repeating: "{", count: 200_000),
            String(repeating: "\u{202E}", count: 100_000),
        ]
        for text in hostile {
            let found = findings(text)
            #expect(!found.isEmpty && found.count <= 1001)
        }
        let long = String(repeating: " ", count: 16 << 20 + 1)
        #expect(findings(long + "x").map(\.code) == [.textTooLong])
    }

    /// Cuts and splices of good policies: whatever comes, it ends, findings are in order and inside the text.
    @Test func `every cut of a text is reported inside the text and in order`() {
        let text = """
            @id("a") permit(principal in G::"x", action in [Action::"a"], resource is R)
            when { context.a has b.c && "x" like "a*" } unless { [1, {a: 2}].contains(-3) };
            forbid(principal == ?principal, action, resource) when { if true then 1 == 2 else ip("::1").isIpv4() };
            """
        let scalars = Array(text.unicodeScalars)
        for cut in scalars.indices {
            for piece in [scalars[..<cut], scalars[cut...]] {
                var string = ""
                string.unicodeScalars.append(contentsOf: piece)
                let found = findings(string)
                #expect(found.allSatisfy { Int($0.span.end) <= string.utf8.count && $0.line > 0 })
                #expect(found.map(\.span.start) == found.map(\.span.start).sorted())
                #expect(found.count <= 3, "\(string): \(found)")
            }
        }
    }

    private func findings(_ text: String) -> [PolicyDiagnostic] {
        do throws(PolicyParseFailure) {
            _ = try PolicySet.parse(text)
            return []
        } catch { return error.diagnostics }
    }
}

/// Codes are for programs, and so for documents.
@Suite struct DiagnosticDocumentTests {
    @Test func `every code of a policy error is documented`() throws {
        let root = URL(filePath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let file = root.appending(path: "docs/reference/policy-errors.md")
        let text = try String(contentsOf: file, encoding: .utf8)
        for code in PolicyDiagnostic.Code.allCases {
            #expect(
                text.contains("`\(code.rawValue)`"),
                "policy-errors.md does not name \(code.rawValue)"
            )
        }
    }
}

/// What a reviewer would misread is legal, and not published.
@Suite struct PublishingRuleTests {
    @Test(arguments: [
        ("// safe \u{202E}\npermit(principal, action, resource);", ["1:9 bidirectional_control"]),
        (
            "permit(principal, action, resource) when { context.a == \"\\u{202e}\" };",
            ["1:57 bidirectional_control"]
        ),
        ("// a\rpermit(principal, action, resource);", ["1:5 bare_carriage_return"]),
        ("permit(principal == User::\"p\u{430}ul\", action, resource);", ["1:27 mixed_scripts"]),
        (
            "@id(\"a\") permit(principal, action, resource);\n@id(\"b\") permit(principal, action, resource);\n@id(\"a\") forbid(principal, action, resource);",
            ["3:1 duplicate_policy_id"]
        ),
        (
            "// r\u{e9}sum\u{e9}\r\npermit(principal == User::\"\u{43f}\u{430}\u{432}\u{435}\u{43b}\", action, resource);",
            []
        ),
    ])
    func `what would deceive a reviewer is refused for publishing only`(
        text: String,
        expected: [String]
    ) throws {
        _ = try PolicySet.parse(text)
        do throws(PolicyParseFailure) {
            _ = try PolicySet.parse(text, rules: .publishing)
            #expect(expected.isEmpty)
        } catch {
            #expect(
                error.diagnostics.map { "\($0.line):\($0.column) \($0.code.rawValue)" } == expected
            )
        }
    }
}
