import Cedar
import Foundation
import JSON
import Testing

/// Validation against a schema: the published verdicts, and rows for what they do not cover.
@Suite struct ValidatorTests {
    // MARK: Published verdicts

    @Test func `every policy of the corpus is judged as published`() throws {
        let step = SharedData.isRelease ? 1 : 10
        try judge("cedar/corpus.ndjson.gz", every: step)
    }

    @Test func `every validator case is judged as published, with the same kinds of errors`() throws
    {
        try judge("cedar/validator-cases.ndjson.gz", every: 1)
    }

    private func judge(_ file: String, every step: Int) throws {
        guard let records = try SharedData.records(file, every: step) else { return }
        var (passed, failed) = (0, 0)
        for record in records {
            let policies = try PolicySet.parse(record["policies"]?.string?.string ?? "")
            let schema = try Schema(parsing: record["schema"]?.string?.string ?? "")
            let strict = Validator(schema).validate(policies)
            let permissive = Validator(schema, mode: .permissive).validate(policies)
            var differences: [String] = []
            if let expected = record["shouldValidate"]?.boolean, expected != strict.isValid {
                differences.append("shouldValidate \(expected)")
            }
            let verdicts = record["validation"]?["policyValidation"]?["perPolicy"]
            for policy in policies.policies {
                guard let verdict = verdicts?.member(named: policy.id.text) else { continue }
                for (mode, report) in [("strict", strict), ("permissive", permissive)] {
                    let expected = try #require(verdict.member(named: Text(mode))?.boolean as Bool?)
                    let published =
                        verdict.member(named: Text("\(mode)Errors")).map { Self.kinds($0) } ?? []
                    let found = kinds(report, policy.id)
                    guard expected != report.isValid(policy.id) || published != found else {
                        passed += 1
                        continue
                    }
                    differences.append(
                        "\(policy.id) \(mode): \(published.sorted()), found \(found.sorted())"
                    )
                }
            }
            guard !differences.isEmpty else { continue }
            failed += differences.count
            guard failed <= 10 else { continue }
            Issue.record("\(record["name"]?.string ?? "?"): \(differences.joined(separator: "; "))")
        }
        SharedData.note("\(file): verdicts and error kinds passed \(passed), failed \(failed)")
        #expect(failed == 0)
    }

    /// The codes of the errors, with the two about tags as one, since the messages are.
    private func kinds(_ report: ValidationReport, _ policy: PolicyID) -> Set<String> {
        let errors = report.findings.filter { $0.policy == policy && $0.severity == .error }
        return Set(errors.map { $0.code == .tagsNotAllowed ? "unsafe_tag" : $0.code.rawValue })
    }

    /// What the reference's messages are about; their wording differs between versions.
    private static func kinds(_ messages: JSONValue) -> Set<String> {
        let words: [(String, String)] = [
            ("unrecognized entity type", "unknown_entity_type"),
            ("unrecognized action", "unknown_action"),
            ("applicable action", "no_applicable_action"),
            ("optional attribute", "unsafe_optional_attribute"),
            ("access to tag", "unsafe_tag"),
            ("unexpected type", "unexpected_type"),
            ("not compatible", "incompatible_types"),
            ("empty set", "empty_set"),
            ("non-literal", "non_literal_constructor"),
            ("argument validation", "invalid_extension_literal"),
            ("number of arguments", "wrong_argument_count"),
            ("enumerated entity type", "invalid_enum_id"),
            ("not found", "attribute_not_found"),
        ]
        return Set(
            messages.elements.compactMap(\.string).map { message in
                words.first { message.string.contains($0.0) }?.1 ?? message.string
            }
        )
    }

    // MARK: Rows

    private static let schema = """
        entity Group in [Group];
        entity User in [Group] = {
          level: Long, nick?: String, manager?: User, group: Group, groups: Set<Group>,
          name: { first: String, last?: String }
        } tags Long;
        entity Photo in [Album] = { owner: User };
        entity Album;
        entity Color enum ["red", "green"];
        entity Stranger;
        action any;
        action view, edit in [any] appliesTo {
          principal: [User], resource: [Photo, Album], context: { mfa: Bool, from?: ipaddr, friend: User }
        };
        action paint in [any] appliesTo {
          principal: [User], resource: [Album], context: { color: Color, mfa: Bool }
        };
        """

    struct Row: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let policy: String
        /// `line:column code` of every finding.
        let findings: [String]

        init(_ name: String, _ policy: String, _ findings: [String] = []) {
            (testDescription, self.policy, self.findings) = (name, policy, findings)
        }
    }

    @Test(arguments: [
        Row("a policy without conditions is valid", "permit(principal, action, resource);"),
        Row(
            "an unknown entity type is found in the scope",
            "permit(principal == Usr::\"a\", action, resource);",
            ["1:8 no_applicable_action", "1:8 unknown_entity_type"]
        ),
        Row(
            "an unknown action is found with the actions it hides",
            "permit(principal, action == Action::\"vieW\", resource);",
            ["1:8 no_applicable_action", "1:19 unknown_action"]
        ),
        Row(
            "a group of actions applies through its members",
            "permit(principal, action in Action::\"any\", resource is Album);"
        ),
        Row(
            "a group alone applies to nothing",
            "permit(principal, action == Action::\"any\", resource);",
            ["1:8 no_applicable_action"]
        ),
        Row(
            "what differs by action is reported for the actions where it is wrong",
            "permit(principal, action, resource) when {\n  context.color == Color::\"red\" };",
            ["2:3 attribute_not_found"]
        ),
        Row(
            "an optional attribute needs a test",
            "permit(principal, action, resource) when { principal.nick == \"x\" };",
            ["1:44 unsafe_optional_attribute"]
        ),
        Row(
            "a test in one condition holds in the next",
            """
            permit(principal, action, resource)
            when { principal has nick } when { principal.nick == "x" };
            """
        ),
        Row(
            "a test in unless does not hold in the next",
            """
            permit(principal, action, resource)
            unless { principal has nick } when { principal.nick == "x" };
            """,
            ["2:38 unsafe_optional_attribute"]
        ),
        Row(
            "a tag needs a test of the same tag",
            "permit(principal, action, resource) when { principal.hasTag(\"a\") && principal.getTag(\"b\") > 1 };",
            ["1:69 unsafe_tag"]
        ),
        Row(
            "entities without tags have none",
            "permit(principal, action, resource is Album) when { resource.getTag(\"b\") == 1 };",
            ["1:53 tags_not_allowed"]
        ),
        Row(
            "an extended has tests the whole path",
            "permit(principal, action, resource) when { principal has name.last && principal.name.last like \"x*\" };"
        ),
        Row(
            "a type test prunes what does not concern the type",
            "permit(principal, action, resource) when { resource is Photo && resource.owner == principal };"
        ),
        Row(
            "an action test prunes what does not concern the action",
            "permit(principal, action, resource) when { action == Action::\"paint\" && context.color == Color::\"red\" };"
        ),
        Row(
            "a condition that is never true makes the policy impossible",
            "permit(principal, action, resource) when { principal is Album };",
            ["1:1 impossible_policy"]
        ),
        Row(
            "an id that an enumeration lacks is found",
            "permit(principal, action == Action::\"paint\", resource) when { context.color == Color::\"grean\" };",
            ["1:80 invalid_enum_id"]
        ),
        Row(
            "sets hold one type and are not empty",
            "permit(principal, action, resource) when { [1, true].isEmpty() || [] == principal.groups };",
            ["1:44 incompatible_types", "1:67 empty_set"]
        ),
        Row(
            "equality of types without a common value is a mistake",
            "permit(principal, action, resource) when { principal.level == \"1\" };",
            ["1:44 incompatible_types"]
        ),
        Row(
            "equality of different entity types is false",
            "permit(principal, action, resource) when { principal == resource };",
            ["1:1 impossible_policy"]
        ),
        Row(
            "extension values come from literals",
            "permit(principal, action == Action::\"view\", resource) when { ip(principal.name.first).isIpv4() || ip(\"1.2.3\").isIpv4() || ip(\"::1\").isInRange() };",
            [
                "1:62 non_literal_constructor", "1:102 invalid_extension_literal",
                "1:123 wrong_argument_count",
            ]
        ),
        Row(
            "actions of two types in one list are a mistake",
            "permit(principal, action in [Action::\"view\", Other::Action::\"view\"], resource);",
            ["1:8 no_applicable_action", "1:19 unknown_action", "1:19 incompatible_types"]
        ),
        Row(
            "checking goes on after a mistake",
            "permit(principal, action, resource) when { 1 && principal.levle > true };",
            ["1:44 unexpected_type", "1:49 attribute_not_found", "1:67 unexpected_type"]
        ),
    ]) func `a policy gets exactly its findings`(_ row: Row) throws {
        let schema = try Schema(parsing: Self.schema)
        let report = Validator(schema).validate(try PolicySet.parse(row.policy))
        let found = report.findings.map { "\($0.line):\($0.column) \($0.code.rawValue)" }
        #expect(found.sorted() == row.findings.sorted(), "\(report.findings)")
    }

    @Test(arguments: [
        ("principal.levle > 1", "did you mean `level`?"),
        ("principal in Gruop::\"a\"", "did you mean `Group`?"),
        ("action == Action::\"veiw\"", "did you mean `Action::\"view\"`?"),
        ("Color::\"gren\" == Color::\"red\"", "did you mean `green`?"),
    ]) func `a name that is nearly right is suggested`(_ condition: String, _ hint: String) throws {
        let text = "permit(principal, action == Action::\"view\", resource) when { \(condition) };"
        let schema = try Schema(parsing: Self.schema)
        let report = Validator(schema).validate(try PolicySet.parse(text))
        #expect(report.findings.contains { $0.hint == hint }, "\(report.findings)")
    }

    @Test func `a finding names the actions it concerns`() throws {
        let text = "permit(principal, action, resource) when { context.color == Color::\"red\" };"
        let schema = try Schema(parsing: Self.schema)
        let report = Validator(schema).validate(try PolicySet.parse(text))
        #expect(report.findings.first?.actions.map(\.id) == ["edit", "view"])
    }

    @Test func `a template is checked with its slots open, a link with them filled`() throws {
        let text = """
            permit(principal in ?principal, action == Action::"view", resource == ?resource)
            when { principal.level > 1 };
            """
        var policies = try PolicySet.parse(text)
        let schema = try Schema(parsing: Self.schema)
        #expect(Validator(schema).validate(policies).findings.isEmpty)
        let links: [(PolicyID, EntityUID, EntityUID)] = [
            ("good", EntityUID(type: "Group", id: "g"), EntityUID(type: "Photo", id: "p")),
            ("unrelated", EntityUID(type: "Album", id: "g"), EntityUID(type: "Photo", id: "p")),
            ("unknown", EntityUID(type: "Group", id: "g"), EntityUID(type: "Foto", id: "p")),
            ("enumerated", EntityUID(type: "Color", id: "blue"), EntityUID(type: "Photo", id: "p")),
        ]
        for (id, principal, resource) in links {
            try policies.link(
                template: "policy0",
                as: id,
                principal: principal,
                resource: resource
            )
        }
        let found = Validator(schema).validate(policies).findings
        #expect(
            found.map { "\($0.policy?.description ?? "") \($0.code.rawValue)" } == [
                "unrelated no_applicable_action", "unknown unknown_entity_type",
                "unknown no_applicable_action", "enumerated invalid_enum_id",
                "enumerated no_applicable_action",
            ]
        )
    }

    @Test func `every finding is documented, with its severity`() throws {
        let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let file = root.appendingPathComponent("docs/reference/policy-findings.md")
        let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
        for code in ValidationFinding.Code.allCases {
            let start = "| `\(code.rawValue)` | \(code.severity.rawValue) |"
            #expect(lines.contains { $0.hasPrefix(start) }, "\(code) is not in the table")
        }
    }

    // MARK: Levels

    @Test(arguments: [
        ("context.mfa", 0),
        ("principal == User::\"a\"", 0),
        ("resource is Photo", 0),
        ("principal.level > 1", 1),
        ("principal in Group::\"g\"", 1),
        ("action in Action::\"any\"", 1),
        ("context.friend.level > 1", 1),
        ("context.friend.group == Group::\"g\"", 1),
        ("Group::\"g\" == principal.group", 1),
        ("principal.group in Group::\"g\"", 2),
        ("principal has manager && principal.manager.level > 1", 2),
        ("principal has manager.manager.nick", 3),
        ("principal has name.last", 1),
        ("{a: principal.group, b: principal}.b.level > 1", 1),
        ("{a: principal.group, b: principal}.a in Group::\"g\"", 2),
        ("(if context.mfa then principal else context.friend).level > 1", 1),
        ("principal.hasTag(\"a\") && principal.getTag(\"a\") > 1", 1),
        ("false && principal.group in Group::\"g\"", 0),
    ]) func `a level is the longest chain of entities read`(
        _ condition: String,
        _ level: Int
    ) throws {
        let text =
            "permit(principal, action == Action::\"view\", resource is Photo) when { \(condition) };"
        let schema = try Schema(parsing: Self.schema)
        let policies = try PolicySet.parse(text)
        for allowed in 0...3 {
            let report = Validator(schema, levelMax: allowed).validate(policies)
            let exceeded = report.findings.filter { $0.code == .levelExceeded }
            #expect(exceeded.isEmpty == (allowed >= level), "level \(allowed): \(report.findings)")
        }
    }

    @Test func `an entity that is only named may not be read at any level`() throws {
        let text = """
            permit(principal, action == Action::"view", resource)
            when { User::"root".level > 1 };
            """
        let policies = try PolicySet.parse(text)
        let schema = try Schema(parsing: Self.schema)
        #expect(Validator(schema).validate(policies).isValid)
        let report = Validator(schema, levelMax: 100).validate(policies)
        #expect(report.findings.map(\.code) == [.levelExceeded])
        #expect(report.findings.map { "\($0.line):\($0.column)" } == ["2:8"])
    }

    @Test func `the published level examples validate at their level and at none below`() throws {
        guard let records = try SharedData.records("cedar/misc.ndjson.gz") else { return }
        var count = 0
        for record in records {
            guard let level = record["level"]?.int64.map({ Int($0) }) else { continue }
            count += 1
            let schema = try Schema(parsing: record["schema"]?.string?.string ?? "")
            let policies = try PolicySet.parse(record["policies"]?.string?.string ?? "")
            #expect(Validator(schema, levelMax: level).validate(policies).isValid)
            guard level > 0 else { continue }
            #expect(!Validator(schema, levelMax: level - 1).validate(policies).isValid)
        }
        SharedData.note("misc: \(count) level examples")
        #expect(count == 3)
    }

    // MARK: Text that deceives

    @Test(arguments: [
        ("// nothing to see\rpermit(principal, action, resource);", ["1:18 bare_carriage_return"]),
        ("// one\r\npermit(principal, action, resource);", []),
        ("permit(principal, action, resource); // \u{202E}evil", ["1:41 bidirectional_control"]),
        (
            "permit(principal == User::\"\u{2066}a\", action, resource);",
            ["1:28 bidirectional_control"]
        ),
        (
            "permit(principal == User::\"\u{430}dmin\", action, resource);",
            ["1:8 mixed_scripts"]
        ),
        (
            "permit(principal == User::\"\u{440}\u{430}\u{443}\", action, resource);",
            ["1:8 confusable_character"]
        ),
        (
            "permit(principal, action, resource) when { principal.name.first like \"\u{FF41}\u{FF42}*\" };",
            ["1:44 confusable_character"]
        ),
        (
            "permit(principal == User::\"ad\u{200B}min\", action, resource);",
            ["1:8 confusable_character"]
        ),
        ("permit(principal == User::\"Zo\u{EB}\", action, resource);", []),
        (
            "permit(principal == User::\"\u{41F}\u{440}\u{438}\u{432}\u{435}\u{442}\", action, resource);",
            []
        ),
        ("permit(principal == User::\"\u{6771}\u{4EAC}\", action, resource);", []),
    ]) func `text that reads as something else is warned of`(
        _ text: String,
        _ expected: [String]
    ) throws {
        let schema = try Schema(parsing: Self.schema)
        let report = Validator(schema).validate(try PolicySet.parse(text))
        let found = report.findings.map { "\($0.line):\($0.column) \($0.code.rawValue)" }
        #expect(found == expected)
        #expect(report.isValid)
    }
}
