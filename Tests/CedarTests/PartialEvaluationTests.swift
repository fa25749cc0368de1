import Cedar
import Foundation
import JSON
import Testing

/// What partial evaluation says holds for every completion.
@Suite struct PartialEvaluationTests {
    // MARK: The published example

    @Test func `the example of the specification leaves what it leaves there`() throws {
        guard let records = try SharedData.records("cedar/misc.ndjson.gz") else { return }
        let record = try #require(records.first { $0["name"]?.string == "tpe_rfc" })
        let schema = try Schema(parsing: record["schema"]?.string?.string ?? "")
        let policies = try PolicySet.parse(record["policies"]?.string?.string ?? "")
        let request = PartialRequest(
            principal: PartialReference(EntityUID(type: "User", id: "Alice")),
            action: EntityUID(type: "Action", id: "View"),
            resource: PartialReference(someOf: "Document"),
            context: .record(["hasMFA": .known(.bool(false))])
        )
        let entities = PartialEntities(
            try Entity.list(cedarJSON: try #require(record["entities"])).map { PartialEntity($0) }
        )
        let response = PartialEvaluator(policies: policies, schema: schema)
            .evaluate(request, entities: entities)
        #expect(
            response.results.map(\.outcome) == [
                .residual(mayFail: true), .doesNotApply, .doesNotApply,
            ]
        )
        #expect(response.answer == .unknown)
        #expect(
            response.residuals.formatted() == """
                permit (principal, action == Action::"View", resource)
                when { resource.isPublic };

                """
        )
    }

    // MARK: Rows

    private static let schema = """
        entity Group in [Group];
        entity User in [Group] = { level: Long, nick?: String, boss?: User } tags Long;
        entity Tool in [Server]; entity Server;
        action any;
        action call in [any] appliesTo { principal: [User], resource: [Tool], context: {
          input: { name: String, force?: Bool }, approvals: { sre: Long }, mfa: Bool, at: datetime
        } };
        """

    struct Row: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let condition: String
        /// The residual condition; `true`, `false` or `fails`; `?` behind what may fail.
        let expected: String

        init(_ condition: String, _ expected: String) {
            (testDescription, self.condition, self.expected) = (condition, condition, expected)
        }
    }

    /// alice is known but for her nick and boss, the tool is not, of the context only `approvals`
    /// and `at` are.
    @Test(arguments: [
        Row("context.approvals.sre >= 2", "false"),
        Row("context.approvals.sre < 2", "true"),
        Row("context.mfa", "context.mfa"),
        Row("!context.mfa", "!context.mfa"),
        Row("context.approvals.sre < 2 && context.mfa", "context.mfa"),
        Row("context.mfa && context.approvals.sre < 2", "context.mfa"),
        Row("context.mfa && context.approvals.sre >= 2", "false"),
        Row("context.mfa || context.approvals.sre < 2", "true"),
        Row(
            "context.input.name == \"x\" && context.mfa",
            "context.input.name == \"x\" && context.mfa"
        ),
        Row("context.input has name", "true"),
        Row("context.input has force", "context.input has force"),
        Row("context has approvals.sre", "true"),
        Row("context.at < datetime(\"2000-01-01\")", "true"),
        Row("principal.level > 5", "true"),
        Row("principal has level", "true"),
        Row("principal has nick", "User::\"alice\" has nick"),
        Row(
            "principal has nick && principal.nick like \"a*\"",
            "User::\"alice\" has nick && User::\"alice\".nick like \"a*\""
        ),
        Row("principal in Group::\"staff\"", "true"),
        Row("principal in Group::\"root\"", "true"),
        Row("principal in Group::\"other\"", "false"),
        Row("principal.hasTag(\"a\") && principal.getTag(\"a\") == 1", "true"),
        Row("principal.hasTag(\"b\")", "false"),
        Row("principal.level * 9223372036854775807 > 0", "fails"),
        Row(
            "context.mfa && principal.level * 9223372036854775807 > 0",
            "context.mfa && principal.level * 9223372036854775807 > 0 ?"
        ),
        Row("resource == Tool::\"t\"", "resource == Tool::\"t\""),
        Row("resource in Server::\"s\"", "resource in Server::\"s\""),
        Row("resource is Tool", "true"),
        Row("resource is Server", "false"),
        Row("resource is Tool in Server::\"s\"", "resource in Server::\"s\""),
        Row("principal == resource", "false"),
        Row("action in Action::\"any\"", "true"),
        Row("action == Action::\"any\"", "false"),
        Row("if context.mfa then true else true", "true"),
        Row(
            "if context.mfa then 1 < 2 else resource in Server::\"s\"",
            "if context.mfa then true else resource in Server::\"s\""
        ),
        Row("if principal.level > 5 then context.mfa else 1 == 2", "context.mfa"),
        Row(
            "[context.input.name, \"a\"].contains(\"b\")",
            "[context.input.name, \"a\"].contains(\"b\")"
        ),
        Row(
            "{a: context.mfa, b: 1 + 1} == {a: true, b: 2}",
            "{a: context.mfa, b: 2} == {a: true, b: 2}"
        ),
        Row("User::\"bob\".level > 1", "User::\"bob\".level > 1 ?"),
        Row(
            "User::\"bob\".level > 1 && context.approvals.sre >= 2",
            "User::\"bob\".level > 1 && false ?"
        ),
        Row("context.at.offset(duration(\"1d\")) == context.at", "false"),
        Row("context.approvals == {sre: 1} && context.mfa", "context.mfa"),
        Row(
            "[context.at, datetime(\"2024-02-29T23:59:59.001-0100\")].contains(datetime(\"0000-03-01\").offset(duration(\"-1ms\")))",
            "false"
        ),
        Row(
            "(if context.mfa then context.at.offset(duration(\"-1ms\")) else datetime(\"2024-02-29T23:59:59.001-0100\")) == datetime(\"9999-12-31\").offset(duration(\"1d\"))",
            "(if context.mfa then datetime(\"1969-12-31T23:59:59.999Z\") else datetime(\"2024-03-01T00:59:59.001Z\")) == datetime(\"1970-01-01\").offset(duration(\"253402300800000ms\"))"
        ),
    ]) func `a condition is reduced to what is unknown`(_ row: Row) throws {
        let text = "permit(principal, action, resource) when { \(row.condition) };"
        let policies = try PolicySet.parse(text)
        let schema = try Schema(parsing: Self.schema)
        #expect(Validator(schema).validate(policies).isValid)
        let alice = PartialEntity(
            uid: EntityUID(type: "User", id: "alice"),
            attributes: ["level": .known(.long(7)), "nick": .unknown, "boss": .unknown],
            parents: [EntityUID(type: "Group", id: "staff")],
            tags: ["a": .known(.long(1))]
        )
        let staff = PartialEntity(
            Entity(
                uid: EntityUID(type: "Group", id: "staff"),
                parents: [EntityUID(type: "Group", id: "root")]
            )
        )
        let root = PartialEntity(Entity(uid: EntityUID(type: "Group", id: "root")))
        let response = PartialEvaluator(policies: policies, schema: schema).evaluate(
            PartialRequest(
                principal: PartialReference(alice.uid),
                action: EntityUID(type: "Action", id: "call"),
                resource: PartialReference(someOf: "Tool"),
                context: .record([
                    "input": .unknown, "mfa": .unknown,
                    "approvals": .record(["sre": .known(.long(1))]),
                    "at": .known(.datetime(CedarDatetime(milliseconds: 0))),
                ])
            ),
            entities: PartialEntities([alice, staff, root])
        )
        let found: String
        switch response.results.first?.outcome {
        case .applies: found = "true"
        case .doesNotApply: found = "false"
        case .fails: found = "fails"
        case .residual(let mayFail):
            let printed = response.residuals.formatted()
            let body = printed.split(separator: "when { ").last?.dropLast(4) ?? ""
            found = body + (mayFail ? " ?" : "")
        case nil: found = ""
        }
        #expect(found == row.expected)
    }

    @Test func `a scope keeps what is unknown of it`() throws {
        let policies = try PolicySet.parse(
            """
            @id("a") permit(principal in Group::"staff", action, resource in Server::"s");
            permit(principal == User::"bob", action, resource);
            forbid(principal is User in Group::"other", action in Action::"any", resource);
            permit(principal is Group, action, resource);
            permit(principal, action == Action::"other", resource);
            """
        )
        let schema = try Schema(parsing: Self.schema)
        let response = PartialEvaluator(policies: policies, schema: schema).evaluate(
            PartialRequest(
                principal: PartialReference(someOf: "User"),
                action: EntityUID(type: "Action", id: "call"),
                resource: PartialReference(EntityUID(type: "Tool", id: "t"))
            ),
            entities: PartialEntities(
                [
                    PartialEntity(
                        uid: EntityUID(type: "Tool", id: "t"),
                        parents: [EntityUID(type: "Server", id: "s")]
                    )
                ],
                others: .absent
            )
        )
        #expect(
            response.residuals.formatted() == """
                @id("a")
                permit (principal in Group::"staff", action, resource);

                permit (principal == User::"bob", action, resource);

                forbid (principal in Group::"other", action in Action::"any", resource);

                """
        )
        #expect(response.answer == .unknown)
    }

    @Test(arguments: [
        ("permit(principal, action, resource);", PartialResponse.Answer.allow),
        ("permit(principal, action, resource); forbid(principal, action, resource);", .deny),
        ("permit(principal, action, resource) when { false };", .deny),
        ("permit(principal, action, resource) when { context.mfa };", .unknown),
        (
            "permit(principal, action, resource); forbid(principal, action, resource) when { context.mfa };",
            .unknown
        ),
        ("forbid(principal, action, resource) when { context.mfa };", .deny),
        (
            "permit(principal, action, resource) when { context.mfa }; forbid(principal, action, resource);",
            .deny
        ),
        (
            "permit(principal, action, resource); forbid(principal, action, resource) when { 9223372036854775807 + 1 > 0 };",
            .allow
        ),
    ]) func `an answer is certain only if every completion agrees`(
        _ text: String,
        _ answer: PartialResponse.Answer
    ) throws {
        let request = PartialRequest(
            principal: PartialReference(someOf: "User"),
            action: EntityUID(type: "Action", id: "call"),
            resource: PartialReference(someOf: "Tool")
        )
        let response = PartialEvaluator(
            policies: try PolicySet.parse(text),
            schema: try Schema(parsing: Self.schema)
        ).evaluate(request)
        #expect(response.answer == answer)
    }

    @Test func `a guard is false below its quorum and gone at it`() throws {
        let policies = try PolicySet.parse(
            """
            @approval("sre:2")
            forbid(principal, action, resource) unless { context.approvals.sre >= 2 };
            """
        )
        let evaluator = PartialEvaluator(
            policies: policies,
            schema: try Schema(parsing: Self.schema)
        )
        func outcome(_ approvals: Int64) -> PartialResponse.Outcome? {
            evaluator.evaluate(
                PartialRequest(
                    principal: PartialReference(someOf: "User"),
                    action: EntityUID(type: "Action", id: "call"),
                    resource: PartialReference(someOf: "Tool"),
                    context: .record([
                        "approvals": .record(["sre": .known(.long(approvals))]),
                        "input": .unknown, "mfa": .unknown, "at": .unknown,
                    ])
                )
            ).results.first?.outcome
        }
        #expect(outcome(1) == .applies)
        #expect(outcome(2) == .doesNotApply)
    }

    // MARK: Random completions

    @Test func `for random completions residual and original agree`() throws {
        let environment = ProcessInfo.processInfo.environment
        let cases =
            Int(environment["OSTIARY_FUZZ_CASES"] ?? "") ?? (SharedData.isRelease ? 20_000 : 1500)
        let first = UInt64(environment["OSTIARY_FUZZ_SEED"] ?? "") ?? 1
        let schema = try Schema(parsing: WorldGenerator.schema)
        var (certain, valid, reduced) = (0, 0, 0)
        for seed in first..<first + UInt64(cases) {
            var generator = WorldGenerator(seed: seed)
            let world = generator.world()
            let policies = try PolicySet.parse(world.policies)
            valid += Validator(schema).validate(policies).isValid ? 1 : 0
            let response = PartialEvaluator(policies: policies, schema: schema)
                .evaluate(world.partialRequest, entities: world.partialEntities)
            let snapshot = try EntitySnapshot(entities: world.entities)
            let whole = CompiledPolicySet(policies).decide(world.request, entities: snapshot)
            let rest = CompiledPolicySet(response.residuals)
                .decide(world.request, entities: snapshot)
            #expect(
                whole.decision == rest.decision
                    && Set(whole.determining) == Set(rest.determining)
                    && Set(whole.errors.map(\.policy)) == Set(rest.errors.map(\.policy)),
                "seed \(seed): \(whole) \(rest)\n\(world)\n\(response.residuals.formatted())"
            )
            switch response.answer {
            case .allow: #expect(whole.decision == .allow, "seed \(seed)")
            case .deny: #expect(whole.decision == .deny, "seed \(seed)")
            case .unknown: break
            }
            certain += response.answer == .unknown ? 0 : 1
            for result in response.results {
                let applies = whole.determining.contains(result.policy)
                let fails = whole.errors.contains { $0.policy == result.policy }
                switch result.outcome {
                case .applies: #expect(!fails, "seed \(seed)")
                case .doesNotApply: #expect(!fails && !applies, "seed \(seed)")
                case .fails: #expect(fails, "seed \(seed)")
                case .residual(let mayFail): #expect(mayFail || !fails, "seed \(seed)")
                }
                if case .residual = result.outcome { continue }
                reduced += 1
            }
            // What is left reads as Cedar and means the same.
            let printed = response.residuals.formatted()
            let reread = try PolicySet.parse(printed)
            #expect(reread.formatted() == printed, "seed \(seed): \(printed)")
        }
        SharedData.note(
            "partial evaluation: \(cases) cases, \(valid) valid, \(certain) with a certain answer, "
                + "\(reduced) policies decided"
        )
        #expect(valid > cases / 3 && certain > cases / 20)
    }
}

/// Writes worlds that conform to one schema, and hides parts of them.
private struct WorldGenerator {
    static let schema = """
        entity Group in [Group];
        entity User in [Group] = {
          n: Long, s: String, o?: Long, r: { a: Long, b?: Long }, u?: User, g: Group,
          gs: Set<Group>, d: decimal, t: datetime, ip?: ipaddr
        } tags Long;
        entity Doc in [Group] = { owner: User, pub: Bool, n: Long } tags Long;
        action any;
        action view in [any] appliesTo { principal: [User], resource: [Doc], context: {
          n: Long, b: Bool, o?: Long, r: { a: Long, b?: Long }, u: User, ss: Set<String>,
          t: datetime, l: duration, ip: ipaddr
        } };
        """

    struct World: CustomStringConvertible {
        var policies: String
        var request: Request
        var entities: [Entity]
        var partialRequest: PartialRequest
        var partialEntities: PartialEntities

        var description: String {
            "\(policies)\n\(partialRequest)\n\(partialEntities)\n\(entities)"
        }
    }

    private var random: SplitMix

    init(seed: UInt64) {
        random = SplitMix(seed: seed)
    }

    private mutating func chance(_ one: Int) -> Bool { random.next(one) == 0 }
    private mutating func pick<T>(_ options: [T]) -> T { options[random.next(options.count)] }
    private mutating func id() -> Text { Text("\(random.next(3))") }
    private mutating func user() -> EntityUID { EntityUID(type: "User", id: id()) }
    private mutating func group() -> EntityUID { EntityUID(type: "Group", id: id()) }

    mutating func world() -> World {
        let entities = self.entities()
        let (principal, resource) = (user(), EntityUID(type: "Doc", id: id()))
        let action = EntityUID(type: "Action", id: "view")
        let context = self.context()
        let isComplete = chance(2)
        let partial = entities.filter { _ in isComplete || !chance(3) }.map { hidden($0) }
        let actionEntity = Entity(
            uid: action,
            parents: [EntityUID(type: "Action", id: "any")]
        )
        return World(
            policies: (0...random.next(3)).map { _ in policy() }.joined(separator: "\n"),
            request: Request(
                principal: principal,
                action: action,
                resource: resource,
                context: context
            ),
            entities: entities + [actionEntity],
            partialRequest: PartialRequest(
                principal: chance(3)
                    ? PartialReference(someOf: "User") : PartialReference(principal),
                action: action,
                resource: chance(2) ? PartialReference(someOf: "Doc") : PartialReference(resource),
                context: chance(4)
                    ? .unknown
                    : .record(hidden(context, optional: ["o"], one: pick([1, 2, 3, 100])))
            ),
            partialEntities: PartialEntities(partial, others: isComplete ? .absent : .unknown)
        )
    }

    private mutating func hidden(
        _ record: [Text: Value],
        optional: [Text],
        one: Int
    ) -> [Text: PartialValue] {
        var result: [Text: PartialValue] = [:]
        for (name, value) in record.sorted(by: { $0.key < $1.key }) {
            if chance(one) {
                result[name] = .unknown
            } else if case .record(let inner) = value {
                result[name] = .record(hidden(inner, optional: ["b"], one: 3))
            } else {
                result[name] = .known(value)
            }
        }
        // Also what is not there may be unknown.
        for name in optional where record[name] == nil && chance(3) { result[name] = .unknown }
        return result
    }

    private mutating func hidden(_ entity: Entity) -> PartialEntity {
        let optional: [Text] = entity.uid.type == "User" ? ["o", "u", "ip"] : []
        return PartialEntity(
            uid: entity.uid,
            attributes: chance(6)
                ? nil : hidden(entity.attributes, optional: optional, one: 4),
            parents: chance(4) ? nil : entity.parents,
            tags: chance(4) ? nil : hidden(entity.tags, optional: ["a", "b"], one: 4)
        )
    }

    private mutating func entities() -> [Entity] {
        var entities: [Entity] = []
        for number in 0..<3 {
            let id = Text("\(number)")
            let upper = (number + 1..<3).filter { _ in chance(2) }
                .map { EntityUID(type: "Group", id: Text("\($0)")) }
            if !chance(6) {
                entities.append(Entity(uid: EntityUID(type: "Group", id: id), parents: upper))
            }
            if !chance(6) {
                entities.append(
                    Entity(
                        uid: EntityUID(type: "User", id: id),
                        attributes: userAttributes(),
                        parents: chance(2) ? [group()] : [],
                        tags: tags()
                    )
                )
            }
            if !chance(6) {
                entities.append(
                    Entity(
                        uid: EntityUID(type: "Doc", id: id),
                        attributes: [
                            "owner": .entity(user()), "pub": .bool(chance(2)), "n": long(),
                        ],
                        parents: chance(2) ? [group()] : [],
                        tags: tags()
                    )
                )
            }
        }
        return entities
    }

    private mutating func tags() -> [Text: Value] {
        var tags: [Text: Value] = [:]
        for name: Text in ["a", "b"] where chance(2) { tags[name] = long() }
        return tags
    }

    private mutating func userAttributes() -> [Text: Value] {
        var attributes: [Text: Value] = [
            "n": long(), "s": .string(pick(["a", "b", "ab"])), "r": record(), "g": .entity(group()),
            "gs": .set((0..<random.next(3)).map { _ in .entity(group()) }),
            "d": .decimal(CedarDecimal(tenThousandths: pick([0, 15_000, -1]))),
            "t": .datetime(CedarDatetime(milliseconds: pick([0, -1, 86_400_000, .max]))),
        ]
        if chance(2) { attributes["o"] = long() }
        if chance(2) { attributes["u"] = .entity(user()) }
        if chance(2), let address = IPAddress("10.0.0.1".utf8) { attributes["ip"] = .ip(address) }
        return attributes
    }

    private mutating func context() -> [Text: Value] {
        var context: [Text: Value] = [
            "n": long(), "b": .bool(chance(2)), "r": record(), "u": .entity(user()),
            "ss": .set((0..<random.next(3)).map { _ in .string(pick(["a", "b"])) }),
            "t": .datetime(CedarDatetime(milliseconds: pick([0, 1000]))),
            "l": .duration(CedarDuration(milliseconds: pick([1, -86_400_000, .max]))),
        ]
        if let address = IPAddress("::1".utf8) { context["ip"] = .ip(address) }
        if chance(2) { context["o"] = long() }
        return context
    }

    private mutating func record() -> Value {
        chance(2) ? .record(["a": long()]) : .record(["a": long(), "b": long()])
    }

    private mutating func long() -> Value { .long(pick([0, 1, 2, -1, .max])) }

    // MARK: Policies

    private mutating func policy() -> String {
        let effect = chance(3) ? "forbid" : "permit"
        let conditions = (0..<random.next(3)).map { _ in
            "\(chance(4) ? "unless" : "when") { \(bool(3)) }"
        }
        let principal = pick([
            "principal", "principal", "principal", "principal == User::\"1\"",
            "principal in Group::\"2\"", "principal is User in Group::\"1\"", "principal is Doc",
        ])
        let action = pick(["action", "action in Action::\"any\"", "action == Action::\"view\""])
        let resource = pick([
            "resource", "resource", "resource in Group::\"2\"", "resource == Doc::\"0\"",
        ])
        return
            "\(effect)(\(principal), \(action), \(resource)) \(conditions.joined(separator: " "));"
    }

    private mutating func bool(_ depth: Int) -> String {
        guard depth > 0 else {
            return pick(["true", "false", "context.b", "resource.pub", "context.b"])
        }
        let d = depth - 1
        // Now and then something of another type.
        if chance(60) { return long(d) }
        switch random.next(24) {
        case 0, 1, 2: return "(\(bool(d)) && \(bool(d)))"
        case 3, 4, 5: return "(\(bool(d)) || \(bool(d)))"
        case 6: return "!(\(bool(d)))"
        case 7: return "(if \(bool(d)) then \(bool(d)) else \(bool(d)))"
        case 8, 9: return "\(long(d)) \(pick(["<", "<=", ">", ">=", "==", "!="])) \(long(d))"
        case 10: return "\(person(d)) == \(person(d))"
        case 11:
            return
                "\(person(d)) in \(pick([place(d), "\(person(d)).gs", "[\(place(d)), \(place(d))]"]))"
        case 12: return "resource in \(place(d))"
        case 13: return "\(person(d)) has \(pick(["o", "n", "r.b", "u.o", "u", "zz"]))"
        case 14: return "(\(person(0)) has o && \(person(0)).o > \(long(d)))"
        case 15: return "(principal has u.o && principal.u.o == \(long(d)))"
        case 16: return "(context has o && context.o < \(long(d)))"
        case 17: return "context has \(pick(["o", "n", "r.b", "u.o", "r.a"]))"
        case 18: return "(\(person(0)).hasTag(\"a\") && \(person(0)).getTag(\"a\") > \(long(d)))"
        case 19: return "\(person(d)).s like \(pick(["\"a*\"", "\"*b\""]))"
        case 20:
            return
                "context.ss.\(pick(["contains(\"a\")", "containsAll([\"a\"])", "containsAny([\"a\", principal.s])", "isEmpty()"]))"
        case 21: return "context.ip.isInRange(ip(\"\(pick(["::/8", "10.0.0.0/8"]))\"))"
        case 22: return "\(person(d)).d.lessThan(decimal(\"1.0\"))"
        default: return "\(person(d)).t.offset(context.l) \(pick(["<", ">="])) context.t.toDate()"
        }
    }

    private mutating func long(_ depth: Int) -> String {
        guard depth > 0 else { return pick(["0", "1", "2", "context.n", "context.r.a"]) }
        let d = depth - 1
        switch random.next(8) {
        case 0: return "(\(long(d)) \(pick(["+", "-", "*"])) \(long(d)))"
        case 1: return "(-(\(long(d))))"
        case 2: return "(if \(bool(d)) then \(long(d)) else \(long(d)))"
        case 3: return "\(person(d)).n"
        case 4: return "\(person(d)).r.a"
        case 5: return "{a: \(long(d)), b: \(long(d))}.a"
        case 6: return "context.l.toMilliseconds()"
        default: return long(0)
        }
    }

    private mutating func person(_ depth: Int) -> String {
        guard depth > 0 else {
            return pick(["principal", "principal", "context.u", "User::\"1\""])
        }
        switch random.next(4) {
        case 0: return "resource.owner"
        case 1: return "(if \(bool(0)) then \(person(depth - 1)) else \(person(depth - 1)))"
        default: return person(0)
        }
    }

    private mutating func place(_ depth: Int) -> String {
        depth > 0 && chance(3) ? "\(person(depth - 1)).g" : "Group::\"\(random.next(3))\""
    }
}
