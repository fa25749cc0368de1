import Cedar
import JSON
import Testing

@Suite struct AuthorizerTests {
    private func uid(_ type: Text, _ id: Text) -> EntityUID { EntityUID(type: type, id: id) }

    private func decide(
        _ text: String,
        principal: EntityUID = EntityUID(type: "U", id: "a"),
        context: [Text: Value] = [:],
        entities: [Entity] = []
    ) throws -> Response {
        let request = Request(
            principal: principal,
            action: uid("Action", "v"),
            resource: uid("R", "r"),
            context: context
        )
        return CompiledPolicySet(try PolicySet.parse(text))
            .decide(request, entities: try EntitySnapshot(entities: entities))
    }

    @Test func `forbids override permits and both report all that apply`() throws {
        let permits =
            "permit(principal, action, resource); permit(principal is U, action, resource);"
        let allowed = try decide(permits + "permit(principal is V, action, resource);")
        #expect(allowed.decision == .allow)
        #expect(allowed.determining == ["policy0", "policy1"])
        let denied = try decide(
            permits + "forbid(principal, action, resource); forbid(principal, action, resource);"
        )
        #expect(denied.decision == .deny)
        #expect(denied.determining == ["policy2", "policy3"])
        let nothing = try decide("")
        #expect(nothing.decision == .deny)
        #expect(nothing.determining == [])
    }

    @Test func `a policy in error is left out and reported with kind and place`() throws {
        let text =
            "permit(principal, action, resource); forbid(principal, action, resource) when { context.x };"
        let answer = try decide(text)
        #expect(answer.decision == .allow)
        let error = try #require(answer.errors.first)
        #expect(error.policy == "policy1")
        #expect(error.kind == .missingAttribute)
        let bytes = Array(text.utf8)[Int(error.span.start)..<Int(error.span.end)]
        #expect(String(decoding: bytes, as: UTF8.self) == "context.x")
    }

    @Test(arguments: [
        ("1 + 9223372036854775807 == 0", EvaluationError.Kind.integerOverflow),
        ("1 == 1 && 1", .typeMismatch), ("principal.a == 1", .missingAttribute),
        ("U::\"none\".a == 1", .missingEntity), ("principal.getTag(\"none\") == 1", .missingTag),
        ("ip().isIpv4()", .wrongArgumentCount), ("ip(\"x\").isIpv4()", .invalidExtensionValue),
        ("ip(context.text).isIpv4()", .invalidExtensionValue),
    ])
    func `each failure has its kind`(expression: String, kind: EvaluationError.Kind) throws {
        let answer = try decide(
            "permit(principal, action, resource) when { \(expression) };",
            context: ["text": .string("1.2.3.4.5")],
            entities: [Entity(uid: uid("U", "a"))]
        )
        #expect(answer.errors.map(\.kind) == [kind])
    }

    @Test func `names that look alike are different`() throws {
        // "é" as one scalar and as two: equal to String, different to every other system.
        let (one, two): (Text, Text) = ("\u{e9}", "e\u{301}")
        #expect(one.string == two.string)
        let text = "permit(principal == U::\"\\u{e9}\", action, resource);"
        #expect(try decide(text, principal: uid("U", one)).decision == .allow)
        #expect(try decide(text, principal: uid("U", two)).decision == .deny)
        let group = "permit(principal in G::\"\\u{e9}\", action, resource);"
        for (id, decision) in [(one, Decision.allow), (two, .deny)] {
            let member = Entity(uid: uid("U", "a"), parents: [uid("G", id)])
            #expect(try decide(group, entities: [member]).decision == decision)
        }
        let keys =
            "permit(principal, action, resource) when { context[\"\\u{e9}\"] == 1 && context[\"e\\u{301}\"] == 2 };"
        #expect(try decide(keys, context: [one: .long(1), two: .long(2)]).decision == .allow)
    }

    @Test func `membership reaches through parents that have no data`() throws {
        let entities = [
            Entity(uid: uid("U", "a"), parents: [uid("G", "1")]),
            Entity(uid: uid("G", "1"), parents: [uid("G", "2"), uid("G", "ghost")]),
            Entity(uid: uid("G", "2"), parents: [uid("G", "3")]),
        ]
        for (group, decision) in [("3", Decision.allow), ("ghost", .allow), ("4", .deny)] {
            let text = "permit(principal in G::\"\(group)\", action, resource);"
            #expect(try decide(text, entities: entities).decision == decision, "\(group)")
        }
    }

    @Test func `a hierarchy with a cycle or two definitions is refused`() throws {
        let a = Entity(uid: uid("G", "a"), parents: [uid("G", "b")])
        let b = Entity(uid: uid("G", "b"), parents: [uid("G", "a")])
        #expect(throws: EntitySnapshotError.self) { try EntitySnapshot(entities: [a, b]) }
        #expect(throws: EntitySnapshotError.cycle(uid("G", "s"))) {
            try EntitySnapshot(entities: [Entity(uid: uid("G", "s"), parents: [uid("G", "s")])])
        }
        var other = a
        other.attributes = ["x": .long(1)]
        #expect(throws: EntitySnapshotError.duplicate(uid("G", "a"))) {
            try EntitySnapshot(entities: [a, other])
        }
        #expect(try EntitySnapshot(entities: [a, a]).count == 1)
        // Deep, to show that the closure does not use the thread's stack.
        let chain = (0..<5000).map { number in
            Entity(uid: uid("N", Text("\(number)")), parents: [uid("N", Text("\(number + 1)"))])
        }
        _ = try EntitySnapshot(entities: Array(chain.prefix(1500)))
    }

    @Test func `sets and records are compared by content`() throws {
        let context: [Text: Value] = [
            "big": .set((0..<200).map { .long(Int64(199 - $0)) } + [.long(7)]),
            "record": .record(
                Dictionary(uniqueKeysWithValues: (0..<40).map { (Text("k\($0)"), .long($0)) })
            ),
            "nested": .set([.set([.long(1), .long(2)]), .set([.long(2), .long(1), .long(1)])]),
        ]
        let conditions = [
            "context.big.contains(150)", "!context.big.contains(200)",
            "context.big.containsAll([0, 199])",
            "context.record.k39 == 39", "context.record has k0 && !(context.record has k40)",
            "context.nested == [[1, 2]]", "[context.big, [1]] == [[1], context.big]",
            "{a: context.big, b: 1} == {b: 1, a: context.big}",
            "[context.record.k1, 1] == [1]", "context.nested.contains([2, 1])",
        ]
        for condition in conditions {
            let answer = try decide(
                "permit(principal, action, resource) when { \(condition) };",
                context: context
            )
            #expect(answer.decision == .allow && answer.errors.isEmpty, "\(condition)")
        }
    }

    /// A seeded walk: the same sets, entities and requests with the index on and off.
    @Test(arguments: 0..<60) func `the scope index changes no answer`(seed: UInt64) throws {
        var random = SplitMix(seed: seed)
        func name(_ type: Text) -> EntityUID { uid(type, Text("\(random.next(8))")) }
        var entities: [Entity] = []
        for type in ["U", "G", "R", "Action"] as [Text] {
            for number in 0..<8 where random.next(5) > 0 {
                let parents = (0..<random.next(4)).map { _ in
                    // Later names only, so that there are no cycles.
                    uid(
                        type == "U" ? "G" : type,
                        Text("\(type == "U" ? 0 : number + 1 + random.next(4))")
                    )
                }
                entities.append(Entity(uid: uid(type, Text("\(number)")), parents: parents))
            }
        }
        func scope(_ variable: String, _ types: [String]) -> String {
            let type = types[random.next(types.count)]
            let entity = "\(type)::\"\(random.next(10))\""
            switch random.next(variable == "action" ? 4 : 6) {
            case 0: return variable
            case 1: return "\(variable) == \(entity)"
            case 2: return "\(variable) in \(entity)"
            case 3 where variable == "action": return "action in [\(entity), Action::\"2\"]"
            case 3, 4: return "\(variable) is \(type)"
            default: return "\(variable) is \(types[random.next(types.count)]) in \(entity)"
            }
        }
        let bodies = [
            "", "when { context.x }", "when { true }", "unless { principal in G::\"3\" }",
        ]
        let text = (0..<200).map { _ in
            "\(random.next(4) == 0 ? "forbid" : "permit")(\(scope("principal", ["U", "G"])), "
                + "\(scope("action", ["Action"])), \(scope("resource", ["R", "G"]))) "
                + "\(bodies[random.next(bodies.count)]);"
        }.joined(separator: "\n")
        let compiled = CompiledPolicySet(try PolicySet.parse(text))
        let snapshot = try EntitySnapshot(entities: entities)
        let indexed = Authorizer(policies: compiled, entities: snapshot)
        let plain = Authorizer(policies: compiled, entities: snapshot, usesIndex: false)
        for _ in 0..<200 {
            let request = Request(principal: name("U"), action: name("Action"), resource: name("R"))
            let answer = indexed.decide(request)
            #expect(answer == plain.decide(request))
        }
    }

    @Test func `one authorizer answers many tasks alike`() async throws {
        let set = try PolicySet.parse(
            "permit(principal, action, resource) when { [context.n, 1].contains(1) && context.n * 2 > 0 };"
        )
        let authorizer = Authorizer(policies: CompiledPolicySet(set), entities: .empty)
        let answers = await withTaskGroup(of: Bool.self) { group in
            for number in 0..<64 {
                group.addTask {
                    let request = Request(
                        principal: EntityUID(type: "U", id: "a"),
                        action: EntityUID(type: "Action", id: "v"),
                        resource: EntityUID(type: "R", id: "r"),
                        context: ["n": .long(Int64(number % 2))]
                    )
                    return (authorizer.decide(request).decision == .allow) == (number % 2 == 1)
                }
            }
            return await group.reduce(true) { $0 && $1 }
        }
        #expect(answers)
    }
}

/// A small generator with a seed that can be printed.
struct SplitMix {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((z ^ (z >> 31)) % UInt64(bound))
    }
}
