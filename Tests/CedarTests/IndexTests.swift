import Cedar
import Foundation
import JSON
import Testing

/// The index is a way to be fast and never a way to answer otherwise: random sets with templates and links that come
/// and go, decided with it and one by one.
@Suite struct IndexTests {
    /// How many requests are decided both ways.
    ///
    /// `OSTIARY_INDEX_CASES` asks for more; a million is the gate before a release.
    static let caseCount =
        Int(ProcessInfo.processInfo.environment["OSTIARY_INDEX_CASES"] ?? "") ?? 20_000
    private static let casesPerSet = 200

    @Test func `the index changes no answer`() throws {
        var (cases, applying, failing) = (0, 0, 0)
        for seed in 0..<UInt64((Self.caseCount + Self.casesPerSet - 1) / Self.casesPerSet) {
            var world = World(seed: seed)
            var compiled = CompiledPolicySet(try world.policies())
            let snapshot = try EntitySnapshot(entities: world.entities())
            for round in 0..<4 {
                if round > 0 { try world.changeLinks(of: &compiled) }
                let indexed = Authorizer(policies: compiled, entities: snapshot)
                let plain = Authorizer(
                    policies: compiled,
                    entities: snapshot,
                    usesIndex: false
                )
                for _ in 0..<Self.casesPerSet / 4 {
                    let request = world.request()
                    let answer = indexed.decide(request)
                    try #require(answer == plain.decide(request), "seed \(seed), round \(round)")
                    cases += 1
                    applying += answer.determining.isEmpty ? 0 : 1
                    failing += answer.errors.isEmpty ? 0 : 1
                }
            }
        }
        SharedData.note(
            "index on and off: \(cases) cases, \(applying) with determining policies, \(failing) with errors"
        )
        #expect(applying > cases / 10 && failing > cases / 100)
    }

    @Test func `removed links are gone, and their memory comes back`() throws {
        var set = try PolicySet.parse(
            "permit(principal == ?principal, action, resource in ?resource);"
        )
        let room = EntityUID(type: "R", id: "r")
        for number in 0..<10_000 {
            let user = EntityUID(type: "U", id: Text("\(number)"))
            try set.link(template: "policy0", as: id(number), principal: user, resource: room)
        }
        // Far more than are left, so that the rows are written anew meanwhile.
        for number in 0..<10_000 where number % 100 != 7 { set.unlink(id(number)) }
        #expect(set.linkCount == 100)
        let isThereStill = set.unlink(id(8))
        #expect(!isThereStill && set.policy(id(8)) == nil && set.policy(id(7)) != nil)
        let authorizer = Authorizer(policies: CompiledPolicySet(set), entities: .empty)
        for number in 0..<300 {
            let answer = authorizer.decide(
                Request(
                    principal: EntityUID(type: "U", id: Text("\(number)")),
                    action: EntityUID(type: "Action", id: "v"),
                    resource: room
                )
            )
            #expect(answer.determining == (number % 100 == 7 ? [id(number)] : []))
        }
        // An id is free again.
        let user = EntityUID(type: "U", id: "8")
        try set.link(template: "policy0", as: id(8), principal: user, resource: room)
        #expect(throws: TemplateLinkError.duplicateID) {
            try set.link(template: "policy0", as: id(7), principal: user, resource: room)
        }
    }

    @Test func `a set in use does not see links that come later`() throws {
        var compiled = CompiledPolicySet(
            try PolicySet.parse("permit(principal == ?principal, action, resource);")
        )
        let user = EntityUID(type: "U", id: "a")
        let before = Authorizer(policies: compiled, entities: .empty)
        try compiled.link(template: "policy0", as: "l", principal: user)
        let after = Authorizer(policies: compiled, entities: .empty)
        let request = Request(
            principal: user,
            action: EntityUID(type: "Action", id: "v"),
            resource: EntityUID(type: "R", id: "r")
        )
        #expect(before.decide(request).decision == .deny)
        #expect(after.decide(request).determining == ["l"])
        let (first, second) = (compiled.unlink("l"), compiled.unlink("l"))
        #expect(first && !second)
    }

    /// The masks of so many policies are in other memory than those of few.
    @Test func `the index changes no answer where there are many policies`() throws {
        var world = World(seed: 77, names: 600)
        let compiled = CompiledPolicySet(try world.policies(count: 4_300))
        let snapshot = try EntitySnapshot(entities: world.entities())
        let indexed = Authorizer(policies: compiled, entities: snapshot)
        let plain = Authorizer(policies: compiled, entities: snapshot, usesIndex: false)
        var applying = 0
        for _ in 0..<20 {
            let request = world.request()
            let answer = indexed.decide(request)
            try #require(answer == plain.decide(request))
            applying += answer.determining.count
        }
        #expect(applying > 100)
    }

    private func id(_ number: Int) -> PolicyID { PolicyID(Text("link-\(number)")) }
}

/// A small world in which names meet often.
private struct World {
    private var random: SplitMix
    private var linkNumber = 0
    private var linked: [PolicyID] = []
    /// How many entities of each type there are.
    private let names: Int

    init(seed: UInt64, names: Int = 8) {
        random = SplitMix(seed: seed)
        self.names = names
    }

    private mutating func uid(_ type: Text) -> EntityUID {
        EntityUID(type: type, id: Text("\(random.next(names))"))
    }

    mutating func request() -> Request {
        let context: [Text: Value] = random.next(4) == 0 ? [:] : ["x": .bool(random.next(2) == 0)]
        return Request(
            principal: uid(random.next(8) == 0 ? "G" : "U"),
            action: uid("Action"),
            resource: uid(random.next(8) == 0 ? "U" : "R"),
            context: context
        )
    }

    mutating func entities() -> [Entity] {
        var entities: [Entity] = []
        for type in ["U", "G", "R", "Action"] as [Text] {
            for number in 0..<names where random.next(5) > 0 {
                let parents = (0..<random.next(4)).map { _ in
                    // Later names only, so that there are no cycles.
                    let upper = type == "U" ? random.next(names) : number + 1 + random.next(4)
                    return EntityUID(type: type == "U" ? "G" : type, id: Text("\(upper)"))
                }
                entities.append(
                    Entity(
                        uid: EntityUID(type: type, id: Text("\(number)")),
                        attributes: ["n": .long(Int64(number))],
                        parents: parents
                    )
                )
            }
        }
        return entities
    }

    mutating func policies() throws -> PolicySet { try policies(count: random.next(60) + 1) }

    mutating func policies(count: Int) throws -> PolicySet {
        let text = (0..<count).map { _ in policy() }.joined(separator: "\n")
        var set = try PolicySet.parse(text)
        for template in set.policies where template.isTemplate {
            for _ in 0..<random.next(12) { try link(template, &set) }
        }
        return set
    }

    mutating func changeLinks(of compiled: inout CompiledPolicySet) throws {
        let templates = compiled.templates
        for _ in 0..<random.next(10) {
            if random.next(2) == 0, !linked.isEmpty {
                let id = linked.remove(at: random.next(linked.count))
                let isGone = compiled.unlink(id)
                #expect(isGone)
            } else if !templates.isEmpty {
                let template = templates[random.next(templates.count)]
                let values = values(template.formatted())
                let id = nextID()
                try compiled.link(
                    template: template.id,
                    as: id,
                    principal: values.principal,
                    resource: values.resource
                )
            }
        }
    }

    private mutating func link(_ template: Policy, _ set: inout PolicySet) throws {
        let values = values(template.formatted())
        try set.link(
            template: template.id,
            as: nextID(),
            principal: values.principal,
            resource: values.resource
        )
    }

    private mutating func nextID() -> PolicyID {
        linkNumber += 1
        let id = PolicyID(Text("link\(linkNumber)"))
        linked.append(id)
        return id
    }

    private mutating func values(
        _ template: String
    ) -> (principal: EntityUID?, resource: EntityUID?) {
        (
            template.contains("?principal") ? uid(random.next(2) == 0 ? "U" : "G") : nil,
            template.contains("?resource") ? uid(random.next(4) == 0 ? "U" : "R") : nil
        )
    }

    private mutating func policy() -> String {
        let effect = random.next(4) == 0 ? "forbid" : "permit"
        let bodies = [
            "", "when { context.x }", "when { principal.n < 5 }",
            "unless { principal in G::\"3\" }", "when { resource in R::\"5\" || context.x }",
        ]
        return "\(effect)(\(scope("principal", ["U", "G"])), \(scope("action", ["Action"])), "
            + "\(scope("resource", ["R", "U"]))) \(bodies[random.next(bodies.count)]);"
    }

    private mutating func scope(_ variable: String, _ types: [String]) -> String {
        let type = types[random.next(types.count)]
        let isAction = variable == "action"
        let entity =
            !isAction && random.next(3) == 0
            ? "?\(variable)" : "\(type)::\"\(random.next(names + 2))\""
        switch random.next(isAction ? 4 : 6) {
        case 0: return variable
        case 1: return "\(variable) == \(entity)"
        case 2: return "\(variable) in \(entity)"
        case 3 where isAction: return "action in [\(entity), Action::\"2\"]"
        case 3, 4: return "\(variable) is \(type)"
        default: return "\(variable) is \(types[random.next(types.count)]) in \(entity)"
        }
    }
}
