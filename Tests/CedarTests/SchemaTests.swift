import Cedar
import Foundation
import JSON
import Testing

/// Both schema syntaxes, against what Cedar 4.12 says.
@Suite struct SchemaTests {
    private func findings(_ text: String) -> [String] {
        do throws(SchemaFailure) {
            _ = try Schema(parsing: text)
            return []
        } catch {
            return error.diagnostics.map { "\($0.line):\($0.column) \($0.code.rawValue)" }
        }
    }

    private func findings(json: String) throws -> [String] {
        let document = try JSONDocument(parsing: json)
        do throws(SchemaFailure) {
            _ = try Schema(json: document)
            return []
        } catch {
            return error.diagnostics.map { "\($0.pointer ?? "?") \($0.code.rawValue)" }
        }
    }

    private func schema(_ text: String) throws -> Schema { try Schema(parsing: text) }

    // MARK: Cedar syntax

    @Test func `one run reports every mistake of a text with its position`() {
        let text = """
            entity User in [Group] = { name: String name2: Long };
            entity "User";
            type Long = Long;
            namespace N {
              entity if;
              action view appliesTo { principal: [] };
              action "\\q" in [];
            }
            @a @a type é = Long;
            entity E enum [];
            }
            action x
            """
        #expect(
            findings(text) == [
                "1:41 unexpected_token",
                "2:8 unexpected_token",
                "3:6 reserved_name",
                "5:10 reserved_identifier",
                "6:25 missing_scope", "6:38 empty_list",
                "7:10 invalid_escape", "7:18 empty_list",
                "9:5 duplicate_annotation", "9:12 invalid_token",
                "10:15 empty_list",
                "11:1 unexpected_token",
                "12:9 unexpected_end",
            ]
        )
    }

    @Test func `every unresolved name is reported, with what was probably meant`() throws {
        let text = """
            entity User in [Gruop] = { manager: user, age: Lnog, ip: ip_addr };
            entity Group;
            namespace Photos {
              entity Album in [Alubm];
              action view appliesTo { principal: [Usr], resource: [Album] };
              action edit in [veiw, Action::"nothing"];
            }
            """
        let failure = #expect(throws: SchemaFailure.self) { try Schema(parsing: text) }
        let found = try #require(failure).diagnostics
        #expect(
            found.map { "\($0.line):\($0.column) \($0.name ?? "-") \($0.suggestion ?? "-")" } == [
                "1:17 Gruop Group", "1:37 user User", "1:48 Lnog Long", "1:58 ip_addr ipaddr",
                "4:20 Alubm Album", "5:39 Usr User", "6:19 veiw view", "6:25 nothing -",
            ]
        )
        #expect(
            found.first?.description
                == "line 1:17: unknown type \"Gruop\", did you mean \"Group\"?"
        )
    }

    @Test(arguments: [
        "", " // nothing", "entity E, F in [E, F] {} tags Set<Set<{x?: Long}>>;",
        "entity E in [];", "entity E = {a: Long,};", "entity E {__cedar: Long, \"if\": Long};",
        "entity E {a: Missing, a: String};", "entity E enum [\"a\", \"a\"];",
        "entity Long; entity Set {a: Set, b: Set<Set>}; entity enum, type, tags, entity;",
        "entity tags tags Long;", "type E = Long; entity E;", "type EntityOrCommon = Long;",
        "type a = ipaddr; entity ipaddr {x: a};", "type ipaddr = Long;",
        "entity E {a: Action}; action x;", "type Action = Long; entity E {a: Action}; action x;",
        "namespace N {entity E {a: Action};} action x;",
        "entity E in F; entity F in E;", "namespace N {} namespace M::O { entity E; }",
        "namespace N { entity String; entity F {a: String}; }",
        "namespace N { entity E in [N::F, F, G]; entity F; } entity G;",
        "namespace N { action a in [b, Action::\"c\", M::Action::\"d\"]; action b; }"
            + "action c; namespace M { action d; }",
        "namespace Action { entity E; }", "action __cedar in \"in\"; action \"in\" attributes {};",
        "action a in Action :: \"b\"; action b;", "action a, \"b c\", \"\";",
        "entity E; action a appliesTo { resource: E, principal: [E, E], };",
        "type C = {}; entity E; action a appliesTo { context: C, resource: E, principal: E };",
        "@if @x(\"\") namespace N { @y entity E { @z @if(\"a\") a?: Long }; }",
        "entity E;\u{a0}entity F; // x\rentity G;", "entity E {\"a\nb\": Long, x ? : Long};",
        "entity E tags __cedar::String;",
    ])
    func `what the language allows is read`(text: String) {
        #expect(findings(text) == [])
    }

    @Test(arguments: [
        ("entity E", "1:9 unexpected_end"), ("entity E;;", "1:10 unexpected_token"),
        ("entity E in [E,];", "1:16 unexpected_token"),
        ("entity E {a: Long,,};", "1:19 unexpected_token"),
        ("entity E {if: Long};", "1:11 reserved_identifier"),
        ("entity E = Long;", "1:12 unexpected_token"),
        ("entity E tags {} {};", "1:18 unexpected_token"),
        ("entity E enum [\"a\",];", "1:20 unexpected_token"),
        ("entity E in E enum [\"a\"];", "1:15 unexpected_token"),
        ("entity __cedar;", "1:8 reserved_name"), ("entity Action;", "1:8 reserved_name"),
        ("entity __cedar::E;", "1:8 reserved_name"),
        ("namespace N::__cedar {}", "1:11 reserved_name"),
        ("namespace N {} namespace N {}", "1:26 duplicate_namespace"),
        ("namespace N { namespace M {} }", "1:15 unexpected_token"),
        ("namespace N {};", "1:15 unexpected_token"),
        ("entity E, E;", "1:11 duplicate_declaration"),
        ("action \"a\"; action a;", "1:20 duplicate_declaration"),
        ("type T = Long; type T = Long;", "1:21 duplicate_declaration"),
        ("type Boolean = Long;", "1:6 reserved_name"),
        ("type T = Boolean;", "1:10 unknown_type"), ("type T = Set;", "1:10 unknown_type"),
        ("type T = __cedar::Boolean;", "1:10 unknown_type"),
        ("type T = __cedar::Set<Long>;", "1:22 unexpected_token"),
        ("type T = T;", "1:6 common_type_cycle"),
        ("type T = {a: Set<U>}; type U = T;", "1:6 common_type_cycle"),
        ("type E = E; entity E;", "1:6 common_type_cycle"),
        ("entity E in F; type F = {};", "1:13 unknown_type"),
        ("entity E in Action; action x;", "1:13 unknown_type"),
        ("entity E {a: Action};", "1:14 unknown_type"),
        ("namespace N {type a = b;} namespace M {type b = Long;}", "1:23 unknown_type"),
        ("namespace N {entity A;} namespace N::M {entity F in A;}", "1:53 unknown_type"),
        ("namespace N {entity E;} type E = Long;", "1:21 shadowed_name"),
        ("namespace N {type E = Long;} entity E;", "1:19 shadowed_name"),
        ("namespace N {action \"a\";} action a;", "1:21 shadowed_name"),
        ("action a in a;", "1:8 action_cycle"), ("action a in b;", "1:13 unknown_action"),
        ("action a in Action::b; action b;", "1:22 unexpected_token"),
        ("entity E; action a appliesTo {principal: E};", "1:30 missing_scope"),
        (
            "entity E; action a appliesTo {principal: E, principal: E, resource: E};",
            "1:45 duplicate_scope"
        ),
        (
            "entity E; action a appliesTo {principal: E, resource: E, context: E};",
            "1:67 unknown_type"
        ),
        (
            "entity E; action a appliesTo {principal: E, resource: E, context: Long};",
            "1:67 not_a_record"
        ),
        ("action if;", "1:8 reserved_identifier"),
        ("action a attributes {x: Long};", "1:22 unexpected_token"),
        ("@x() entity E;", "1:4 unexpected_token"), ("@x", "1:3 unexpected_end"),
        ("entity E {\"a\rb\": Long};", "1:11 invalid_escape"),
        ("\u{feff}entity E;", "1:1 invalid_token"), ("entity E; /* c */", "1:11 unexpected_token"),
        ("action \"a\\*b\";", "1:8 invalid_escape"),
    ])
    func `a mistake has its own code and position`(text: String, first: String) {
        #expect(findings(text).first == first)
    }

    // MARK: Meaning

    @Test func `a resolved schema says who may do what to whom`() throws {
        let schema = try schema(
            """
            namespace MCP {
              type Facts = { now: datetime, tags?: Set<String> };
              entity Group in [Tenant];
              entity Tenant;
              @doc("a person") entity User in Group = { manager?: User, net: __cedar::ipaddr } tags Long;
              entity Mode enum ["fast", "slow"];
              action any; action read in any;
              action "tools/call" in ["read"] appliesTo {
                principal: [User, User], resource: Mode, context: Facts
              };
            }
            """
        )
        let user = try #require(schema.entityTypes["MCP::User"])
        #expect(user.memberOf == ["MCP::Group"] && user.ancestors == ["MCP::Group", "MCP::Tenant"])
        #expect(user.tags == .long && user.ids == nil)
        let manager = user.attributes.attributes["manager"]
        #expect(manager?.type == .entity("MCP::User") && manager?.isRequired == false)
        #expect(user.attributes.attributes["net"]?.type == .ipaddr)
        #expect(schema.entityTypes["MCP::Mode"]?.ids == ["fast", "slow"])
        let read = EntityUID(type: "MCP::Action", id: "read")
        let any = EntityUID(type: "MCP::Action", id: "any")
        // All that are declared together are in the parent, also the parent.
        #expect(throws: SchemaFailure.self) { try self.schema("action any, read in any;") }
        let call = try #require(schema.actions[EntityUID(type: "MCP::Action", id: "tools/call")])
        #expect(call.memberOf == [read] && call.ancestors == [read, any])
        #expect(call.principalTypes == ["MCP::User"] && call.resourceTypes == ["MCP::Mode"])
        #expect(call.context.attributes["now"]?.type == .datetime)
        #expect(call.context.attributes["tags"]?.type == .set(.string))
    }

    @Test(arguments: [
        ("entity String; entity E {a: String};", SchemaType.entity("String")),
        ("entity E {a: String};", .string),
        ("namespace N {entity String; entity F {a: E};} type E = String;", nil),
        ("entity A; type A = String; entity E {a: A};", .string),
        ("entity String; entity E {a: __cedar::String};", .string),
        ("type ipaddr = Long; entity E {a: ipaddr};", .long),
        ("type Action = Long; action x; entity E {a: Action};", .long),
        ("action x; entity E {a: Action};", .entity("Action")),
        ("entity E {a: Long, a?: String};", .string),
        ("type A = {x: B}; type B = Set<A2>; type A2 = Bool; entity E {a: B};", .set(.bool)),
    ])
    func `a name means what is nearest`(text: String, expected: SchemaType?) throws {
        let type = try schema(text).entityTypes["E"]?.attributes.attributes["a"]?.type
        #expect(type == expected)
    }

    @Test func `an action that applies to nobody applies to nothing`() throws {
        let document = try JSONDocument(
            parsing: #"""
                {"": {"entityTypes": {"E": {}}, "actions": {"a": {"appliesTo":
                {"principalTypes": ["E"], "resourceTypes": []}}}}}
                """#
        )
        let action = try Schema(json: document).actions[EntityUID(type: "Action", id: "a")]
        #expect(action?.principalTypes == [] && action?.resourceTypes == [])
    }

    // MARK: JSON

    /// `…` in a row stands for what surrounds it here.
    private static let jsonFrames: [String: String] = [
        "schema": "…",
        "namespace": #"{"": {"entityTypes": {}, "actions": {}, …}}"#,
        "entity": #"{"": {"entityTypes": {"E": …}, "actions": {"x": {}}}}"#,
        "type":
            #"{"": {"entityTypes": {"E": {"shape": {"type": "Record", "attributes": {"x": …}}}}, "actions": {"x": {}}, "commonTypes": {"T": {"type": "Long"}}}}"#,
        "action": #"{"": {"entityTypes": {"E": {}}, "actions": {"a": …, "b": {}}}}"#,
    ]

    @Test(arguments: [
        ("schema", "{}"), ("schema", #"{"N::M": {"entityTypes": {}, "actions": {}}}"#),
        ("namespace", #""commonTypes": {}"#), ("namespace", #""annotations": {}"#),
        (
            "schema",
            #"{"N": {"entityTypes": {}, "actions": {}, "annotations": {"if": "", "a": null}}}"#
        ),
        ("entity", #"{"memberOfTypes": ["E", "E"], "tags": {"type": "Long"}}"#),
        ("entity", #"{"enum": ["a", "a"], "annotations": {"x": "y"}}"#),
        ("type", #"{"type": "Record", "attributes": {}, "additionalAttributes": false}"#),
        ("type", #"{"type": "Bool"}"#), ("type", #"{"type": "ipaddr", "required": false}"#),
        ("type", #"{"type": "__cedar::ipaddr", "annotations": {"a": null}}"#),
        ("type", #"{"type": "EntityOrCommon", "name": "__cedar::Bool"}"#),
        ("type", #"{"type": "Entity", "name": "Action"}"#), ("type", #"{"type": "T"}"#),
        ("action", #"{"appliesTo": null, "memberOf": null, "attributes": null}"#),
        ("action", #"{"memberOf": [{"id": "b", "type": null}, {"id": "b", "type": "Action"}]}"#),
        ("action", #"{"appliesTo": {"principalTypes": [], "resourceTypes": ["E"]}}"#),
    ])
    func `what the JSON form allows is read`(frame: String, json: String) throws {
        let text = try #require(Self.jsonFrames[frame]).split(separator: "…").joined(
            separator: json
        )
        #expect(try findings(json: frame == "schema" ? json : text) == [])
    }

    @Test(arguments: [
        ("schema", "[]", " invalid_kind"), ("schema", #"{"": {}}"#, "/ missing_member"),
        ("schema", #"{"N :: M": {"entityTypes": {}, "actions": {}}}"#, "/N :: M invalid_name"),
        ("schema", #"{"__cedar": {"entityTypes": {}, "actions": {}}}"#, "/__cedar reserved_name"),
        ("namespace", #""extra": 1"#, "//extra unknown_member"),
        ("namespace", #""annotations": {"a": "b"}"#, "//annotations misplaced_annotation"),
        (
            "namespace", #""commonTypes": {"Long": {"type": "Long"}}"#,
            "//commonTypes/Long reserved_name"
        ),
        (
            "namespace", #""commonTypes": {"if": {"type": "Long"}}"#,
            "//commonTypes/if reserved_identifier"
        ),
        (
            "namespace", #""commonTypes": {"A::B": {"type": "Long"}}"#,
            "//commonTypes/A::B invalid_name"
        ),
        ("namespace", #""commonTypes": {"T": {"type": "T"}}"#, "//commonTypes/T common_type_cycle"),
        (
            "namespace", #""commonTypes": {"T": {"type": "Long", "required": true}}"#,
            "//commonTypes/T/required unknown_member"
        ),
        ("entity", "null", "//entityTypes/E invalid_kind"),
        ("entity", #"{"foo": 1}"#, "//entityTypes/E/foo unknown_member"),
        ("entity", #"{"enum": []}"#, "//entityTypes/E/enum empty_list"),
        (
            "entity", #"{"enum": ["a"], "tags": {"type": "Long"}}"#,
            "//entityTypes/E/tags unknown_member"
        ),
        ("entity", #"{"memberOfTypes": ["F"]}"#, "//entityTypes/E/memberOfTypes/0 unknown_type"),
        (
            "entity", #"{"memberOfTypes": ["Action"]}"#,
            "//entityTypes/E/memberOfTypes/0 unknown_type"
        ),
        ("entity", #"{"memberOfTypes": "E"}"#, "//entityTypes/E/memberOfTypes invalid_kind"),
        ("entity", #"{"shape": {"type": "Long"}}"#, "//entityTypes/E/shape not_a_record"),
        ("entity", #"{"shape": {"type": "Record"}}"#, "//entityTypes/E/shape missing_member"),
        (
            "entity",
            #"{"shape": {"type": "Record", "attributes": {}, "additionalAttributes": true}}"#,
            "//entityTypes/E/shape/additionalAttributes unsupported_feature"
        ),
        ("type", #"{"type": "Boolean2"}"#, "//entityTypes/E/shape/attributes/x/type unknown_type"),
        ("type", #"{"type": "E"}"#, "//entityTypes/E/shape/attributes/x/type unknown_type"),
        ("type", #"{"type": "Set"}"#, "//entityTypes/E/shape/attributes/x missing_member"),
        (
            "type", #"{"type": "Long", "element": 1}"#,
            "//entityTypes/E/shape/attributes/x/element unknown_member"
        ),
        (
            "type", #"{"type": "Long", "required": "x"}"#,
            "//entityTypes/E/shape/attributes/x/required invalid_kind"
        ),
        (
            "type", #"{"type": "Entity", "name": "T"}"#,
            "//entityTypes/E/shape/attributes/x/name unknown_type"
        ),
        (
            "type", #"{"type": "Extension", "name": "ip"}"#,
            "//entityTypes/E/shape/attributes/x/name unknown_extension"
        ),
        ("type", #"{"type": "a b"}"#, "//entityTypes/E/shape/attributes/x/type invalid_name"),
        ("action", #"{"attributes": {}}"#, "//actions/a/attributes unsupported_feature"),
        ("action", #"{"appliesTo": {}}"#, "//actions/a/appliesTo missing_member"),
        ("action", #"{"memberOf": [{"id": "c"}]}"#, "//actions/a/memberOf/0 unknown_action"),
        ("action", #"{"memberOf": [{"id": "a"}]}"#, "//actions/a action_cycle"),
        ("action", #"{"memberOf": ["b"]}"#, "//actions/a/memberOf/0 invalid_kind"),
        ("action", #"{"annotations": null}"#, "//actions/a/annotations invalid_kind"),
    ])
    func `a mistake in JSON has its own code and pointer`(
        frame: String,
        json: String,
        first: String
    ) throws {
        let text = try #require(Self.jsonFrames[frame]).split(separator: "…").joined(
            separator: json
        )
        #expect(try findings(json: frame == "schema" ? json : text).first == first)
    }

    @Test func `a duplicate key in JSON is refused before anything is read`() {
        let text = #"{"": {"entityTypes": {"E": {}, "E": {}}, "actions": {}}}"#
        #expect(throws: JSONError.self) { try JSONDocument(parsing: text) }
    }

    @Test(arguments: [
        (#"{"type": "ipaddr"}"#, "__cedar::ipaddr"),
        (#"{"type": "Long"}"#, "__cedar::Long"),
        (#"{"type": "Extension", "name": "ipaddr"}"#, "__cedar::ipaddr"),
        (#"{"type": "Entity", "name": "Long"}"#, "Long"),
        (#"{"type": "C"}"#, "C"),
    ])
    func `text means what JSON means where names collide`(type: String, written: String) throws {
        let document = try JSONDocument(
            parsing: """
                {"N": {"entityTypes": {"Long": {}, "ipaddr": {}, "E": {"shape": {"type": "S"}}},
                "actions": {}, "commonTypes": {"C": {"type": "Long"},
                "S": {"type": "Record", "attributes": {"x": \(type)}}}}}
                """
        )
        let syntax = try SchemaSyntax(json: document)
        let text = try syntax.formatted()
        #expect(text.contains("x: \(written),"), "\(text)")
        #expect(try Schema(parsing: text) == syntax.resolved())
    }

    @Test func `what Cedar syntax cannot say is not written as something else`() throws {
        let document = try JSONDocument(
            parsing: #"""
                {"": {"commonTypes": {"A": {"type": "Long"}}, "actions": {}, "entityTypes":
                {"A": {}, "E": {"tags": {"type": "Entity", "name": "A"}}}}}
                """#
        )
        let syntax = try SchemaSyntax(json: document)
        #expect(try syntax.resolved().entityTypes["E"]?.tags == .entity("A"))
        let failure = #expect(throws: SchemaFailure.self) { try syntax.formatted() }
        #expect(failure?.diagnostics.map(\.code) == [.notExpressible])
    }

    // MARK: What is refused for people, and for machines

    @Test(arguments: [
        ("entity E; // \u{202e}", "1:14 bidirectional_control"),
        ("entity E {\"a\u{2066}\": Long};", "1:11 bidirectional_control"),
        ("entity E {\"\\u{202e}\": Long};", "1:11 bidirectional_control"),
        ("@a(\"\\u{200f}\") entity E;", "1:23 bidirectional_control"),
        ("entity E; // x\rentity F;", "1:15 bare_carriage_return"),
        ("action \"p\u{0430}y\";", "1:8 mixed_scripts"),
        ("entity E enum [\"\u{03bf}k\"];", "1:8 mixed_scripts"),
        ("entity E {x: Set<{a: Long, a?: String}>};", "1:28 repeated_attribute"),
        ("action \"\u{043e}\u{043f}/get\", \"APIを\", \"µm\", \"café\";", nil),
        ("entity E;\r\n// \u{e9}\r\n", nil),
    ])
    func `what a reviewer would misread is not published`(text: String, first: String?) throws {
        #expect(findings(text) == [])
        do throws(SchemaFailure) {
            _ = try Schema(parsing: text, rules: .publishing)
            #expect(first == nil)
        } catch {
            let found = error.diagnostics.map { "\($0.line):\($0.column) \($0.code.rawValue)" }
            #expect(found.first == first)
        }
    }

    private static func nested(_ depth: Int) -> String {
        String(repeating: "Set<", count: depth) + "Long" + String(repeating: ">", count: depth)
    }

    /// Each type twice the size of the one before.
    private static func doubling(_ count: Int) -> String {
        (1...count).map { "type T\($0) = {a: T\($0 - 1), b: T\($0 - 1)};" }.joined()
            + "type T0 = Long;"
    }

    /// A chain of entity types, each with all later ones as ancestors.
    private static func chain(_ count: Int) -> String {
        (0..<count).map { "entity E\($0) in E\($0 + 1);" }.joined() + "entity E\(count);"
    }

    @Test(
        arguments: [
            ("type T = \(nested(62));", nil), ("type T = \(nested(64));", "too_deep"),
            ("type T = \(nested(100_000));", "too_deep"),
            (
                (1...100).map { "type T\($0) = Set<T\($0 - 1)>;" }.joined() + "type T0 = Long;",
                "too_deep"
            ),
            (doubling(15), nil), (doubling(30), "type_too_large"),
            (chain(1_000), nil), (chain(1_500), "too_many_ancestors"),
            (String(repeating: " ", count: SchemaLimits.bytesMax + 1), "too_long"),
            (
                (0...SchemaLimits.declarationsMax).map { "entity E\($0);" }.joined(),
                "too_many_declarations"
            ),
            (String(repeating: "#", count: 100_000), "invalid_token"),
            (String(repeating: "entity E {", count: 100_000), "unexpected_token"),
        ] as [(String, String?)]
    )
    func `what exceeds a limit is refused`(text: String, code: String?) {
        do throws(SchemaFailure) {
            _ = try Schema(parsing: text)
            #expect(code == nil)
        } catch {
            #expect(error.diagnostics.first?.code.rawValue == code)
            #expect(error.diagnostics.count <= SchemaLimits.findingsMax + 1)
        }
    }

    @Test func `every code is documented`() throws {
        let checkout = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let text = try String(
            contentsOf: checkout.appendingPathComponent("docs/reference/schemas.md"),
            encoding: .utf8
        )
        let codes =
            SchemaDiagnostic.Code.allCases.map(\.rawValue)
            + ConformanceViolation.Code.allCases.map(\.rawValue)
        for code in codes { #expect(text.contains("`\(code)`"), "\(code)") }
    }
}
