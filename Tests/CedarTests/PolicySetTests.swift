import Cedar
import JSON
import Testing

@Suite struct PolicySetTests {
    private func findings(_ text: String) -> [String] {
        do throws(PolicyParseFailure) {
            _ = try PolicySet.parse(text)
            return []
        } catch {
            return error.diagnostics.map { "\($0.line):\($0.column) \($0.code.rawValue)" }
        }
    }

    @Test func `one run reports every mistake of a text with its position`() {
        let text = """
            permit(principal, action, resource) when { foo && 1 / 2 };
            @a @a forbid(principal, action, resource) when { {x: 1, x: 2}.if };
            // é counts as one column
            permit(principal == "é", action, resource);
            permit(principal, action, resource) when { "\\q" == "" && "" like 1 };
            permit(principal, action);
            permit(principal, action, resource) unless { };
            permit(principal, action, resource)
            """
        #expect(
            findings(text) == [
                "1:44 unknown_variable", "1:53 unsupported_operator",
                "2:5 duplicate_annotation", "2:57 duplicate_record_key", "2:63 reserved_identifier",
                "4:21 invalid_scope_constraint",
                "5:44 invalid_escape", "5:66 invalid_pattern",
                "6:25 invalid_scope",
                "7:37 empty_condition",
                "8:36 unexpected_end",
            ]
        )
    }

    @Test(arguments: [
        ("true and true", "1:49 unexpected_token"),
        ("a::b(1)", "1:44 unknown_function"),
        ("isIpv4(1)", "1:44 method_called_as_function"),
        ("\"1\".ip()", "1:48 function_called_as_method"),
        ("context.foo()", "1:52 unknown_method"),
        ("context.contains()", "1:52 wrong_argument_count"),
        ("1 < 2 < 3", "1:50 chained_relation"),
        ("!!!!!true", "1:44 too_many_unary_operators"),
        ("?principal == 1", "1:44 invalid_slot"),
        ("9223372036854775808 == 1", "1:44 integer_too_large"),
        ("-9223372036854775808.a == 1", "1:45 integer_too_large"),
        ("context[a]", "1:52 invalid_index"),
        ("context has 1", "1:56 invalid_attribute_path"),
        ("principal is \"U\"", "1:57 invalid_type_name"),
        ("1 = 1", "1:46 unsupported_operator"),
        ("__cedar::f()", "1:44 reserved_identifier"),
        ("# == 1", "1:44 invalid_token"),
    ])
    func `a mistake in an expression has its own code and position`(
        expression: String,
        first: String
    ) {
        let text = "permit(principal, action, resource) when { \(expression) };"
        #expect(findings(text).first == first, "\(findings(text))")
    }

    @Test func `limits hold for size, depth and number`() {
        let deep = String(repeating: "[", count: 70) + String(repeating: "]", count: 70)
        #expect(findings("permit(principal,action,resource) when { \(deep).isEmpty() };") != [])
        let parentheses = String(repeating: "(", count: 3000) + "true"
        #expect(
            findings("permit(principal,action,resource) when { \(parentheses)")[0].hasSuffix(
                "too_deep"
            )
        )
        let members = "context" + String(repeating: ".a", count: 2000)
        #expect(
            findings("permit(principal,action,resource) when { \(members) };")[0].hasSuffix(
                "too_deep"
            )
        )
        // A long chain of one operator is no depth.
        let chain = Array(repeating: "true", count: 5000).joined(separator: " && ")
        #expect(findings("permit(principal,action,resource) when { \(chain) };") == [])
        let long = "\"" + String(repeating: "x", count: 65 << 10) + "\""
        #expect(
            findings("permit(principal,action,resource) when { \(long) == \"\" };")
                == ["1:1 policy_too_long"]
        )
        let many = String(repeating: "permit(principal,action,resource);", count: 10_001)
        #expect(findings(many) == ["1:340001 too_many_policies"])
    }

    @Test func `a bare carriage return ends a comment and cannot hide a policy`() throws {
        let text = "// harmless\rpermit(principal, action, resource);"
        #expect(try PolicySet.parse(text).policies.count == 1)
    }

    @Test func `annotations, ids and templates are accessible`() throws {
        let set = try PolicySet.parse(
            """
            @id("AC-3") @tier @if("x") permit(principal, action, resource);
            forbid(principal == ?principal, action, resource is T in ?resource);
            """
        )
        let (first, second) = (set.policies[0], set.policies[1])
        #expect(first.id == "policy0")
        #expect(first.annotation("id") == "AC-3")
        #expect(first.annotation("tier") == "")
        #expect(first.annotation("if") == "x")
        #expect(first.annotation("none") == nil)
        #expect(!first.isTemplate && second.isTemplate)
        #expect(second.effect == .forbid)
        #expect(set.policy("policy1")?.span.start == 64)
    }

    @Test(arguments: [
        "permit (principal, action, resource);\n",
        "permit (principal, action, resource)\nwhen { 1 - (2 - 3) == 2 && (true && true) };\n",
        "@a\n@b(\"x\")\nforbid (principal == ?principal, action in [A::Action::\"x\"], resource is R in ?resource)\nwhen { true }\nunless { context[\"a b\"].c has d.e };\n",
        "permit (principal, action, resource)\nwhen { 1 - (2 - 3) * -4 - 5 == -(5) && !(1 < 2) && --context.a == 1 };\n",
        "permit (principal, action, resource)\nwhen { (if true then 1 else 2) + 1 == 2 || (true && (false || true)) };\n",
        "permit (principal, action, resource)\nwhen { (-5).a == 1 && (1 + 2).b == 1 && -(-5) == 5 && \"a\" like \"*\\**\" };\n",
        "permit (principal, action, resource)\nwhen { {a: 1, \"b c\": [], \"if\": ip(\"::1\")}.a in principal && (1 == 1) == true };\n",
    ])
    func `printing keeps what the grammar needs and nothing more`(text: String) throws {
        // Redundant parentheses around `&&` inside `||` are dropped.
        let expected = text.replacing(
            "|| (true && (false || true))",
            with: "|| true && (false || true)"
        )
        #expect(try PolicySet.parse(text).formatted() == expected)
    }

    @Test func `JSON keeps ids, templates and links`() throws {
        var set = try PolicySet.parse(
            """
            @id("x") @a permit(principal is U in ?principal, action in [Action::"a"], resource == R::"r")
            when { true } unless { -5 == --5 };
            forbid(principal, action == Action::"x", resource is A::B in R::"r")
            when { context has a.b && "x" like "x*y\\*z" && [1].containsAny([]) && {a: 1}.a == 1 };
            """
        )
        try set.link(template: "policy0", as: "link", principal: EntityUID(type: "U", id: "\u{e9}"))
        var writer = JSONWriter()
        set.write(to: &writer)
        let bytes = writer.finish()
        let document = try JSONDocument(parsing: bytes)
        let again = try PolicySet(json: document)
        var second = JSONWriter()
        again.write(to: &second)
        #expect(second.finish() == bytes)
        #expect(
            Set(again.policies.map { $0.formatted() }) == Set(set.policies.map { $0.formatted() })
        )
        let template = try #require(document.root["templates"]?["policy0"])
        #expect(template["principal"]?["in"]?["slot"]?.string == "?principal")
        #expect(template["annotations"]?["a"]?.isNull == true)
    }

    @Test(arguments: [
        (#"{"Value": 1.5}"#, "integer_too_large"), (#"{"Value": null}"#, "invalid_json"),
        (#"{"Var": "foo"}"#, "unknown_variable"), (#"{"Slot": "?principal"}"#, "invalid_slot"),
        (#"{"has": {"left": {"Var": "context"}, "attr": []}}"#, "invalid_attribute_path"),
        (#"{"foo": [{"Value": "1"}]}"#, "unknown_function"),
        (#"{"is": {"left": {"Var": "principal"}, "entity_type": "if"}}"#, "invalid_type_name"),
        (#"{"Value": true, "Var": "principal"}"#, "invalid_json"), (#"{}"#, "invalid_json"),
        (#"{"isEmpty": {"arg": {"Value": 1}, "x": 1}}"#, "invalid_json"),
        (#"{"Value": {"__expr": "1"}}"#, "invalid_json"),
        (#"{"Unknown": [{"Value": "a"}]}"#, "unknown_function"),
    ])
    func `JSON that is no policy is refused with its kind`(body: String, code: String) throws {
        let text = """
            {"staticPolicies": {"p": {"effect": "permit", "principal": {"op": "All"}, "action": {"op": "All"},
             "resource": {"op": "All"}, "conditions": [{"kind": "when", "body": \(body)}]}}}
            """
        let document = try JSONDocument(parsing: text)
        let failure = #expect(throws: PolicyParseFailure.self) { try PolicySet(json: document) }
        #expect(failure?.diagnostics.map(\.code.rawValue) == [code])
    }

    @Test func `a link fills exactly the slots of its template`() throws {
        var set = try PolicySet.parse(
            "permit(principal == ?principal, action, resource); permit(principal, action, resource);"
        )
        let uid = EntityUID(type: "U", id: "a")
        #expect(throws: TemplateLinkError.slotMismatch) {
            try set.link(template: "policy0", as: "l")
        }
        #expect(throws: TemplateLinkError.slotMismatch) {
            try set.link(template: "policy0", as: "l", principal: uid, resource: uid)
        }
        #expect(throws: TemplateLinkError.unknownTemplate) {
            try set.link(template: "policy1", as: "l", principal: uid)
        }
        #expect(throws: TemplateLinkError.duplicateID) {
            try set.link(template: "policy0", as: "policy1", principal: uid)
        }
        try set.link(template: "policy0", as: "l", principal: uid)
        #expect(throws: TemplateLinkError.duplicateID) {
            try set.link(template: "policy0", as: "l", principal: uid)
        }
    }
}
