import CAllocationCounter
import Cedar
import Glibc
import JSON

// One decision at 100, 1,000 and 10,000 policies and at a million template links: time, allocations, memory. Then replay
// of recorded decisions, and validation.
//
//     policy-bench [DECISIONS] [INPUTS]        default 200000 per line, 1000000 replayed; 0 leaves a part out
//
// The principal is in 20 groups, the resource in 4 things, the context holds 2 KB of arguments in 40 members. Each
// decision is timed by itself, with its full list of reasons; requests are laid out before. One core.

struct Random {
    var state: UInt64
    mutating func next(_ bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((state >> 33) % UInt64(bound))
    }
}

func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
}

func residentKilobytes() -> Int {
    var text = [CChar](repeating: 0, count: 128)
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    fgets(&text, 128, file)
    let pages = String(
        decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) },
        as: UTF8.self
    )
    .split(separator: " ")
    return (Int(pages[1]) ?? 0) * 4
}

func uid(_ type: Text, _ number: Int) -> EntityUID {
    EntityUID(type: type, id: Text("\(type)-\(number)"))
}

// MARK: Entities

let (userCount, groupCount, toolCount, serverCount, actionCount) = (2_000, 400, 2_000, 100, 50)
var random = Random(state: 42)
var entities: [Entity] = []
for group in 0..<groupCount {
    // Five chains of four: five direct groups make twenty ancestors.
    let parents = group % 4 == 3 ? [] : [uid("Group", group + 1)]
    entities.append(Entity(uid: uid("Group", group), parents: parents))
}
for user in 0..<userCount {
    var chains: Set<Int> = []
    while chains.count < 5 { chains.insert(random.next(groupCount / 4)) }
    let level: Text = user % 3 == 0 ? "high" : "low"
    entities.append(
        Entity(
            uid: uid("User", user),
            attributes: ["level": .string(level), "age": .long(Int64(user % 70))],
            parents: chains.map { uid("Group", $0 * 4) }
        )
    )
}
for server in 0..<serverCount {
    entities.append(Entity(uid: uid("Server", server), parents: [uid("Environment", server % 5)]))
}
for environment in 0..<5 {
    entities.append(Entity(uid: uid("Environment", environment), parents: [uid("Namespace", 0)]))
}
for tool in 0..<toolCount {
    entities.append(
        Entity(
            uid: uid("Tool", tool),
            attributes: ["owner": .entity(uid("User", tool % userCount))],
            parents: [uid("Server", tool % serverCount)]
        )
    )
}
for action in 0..<actionCount {
    entities.append(
        Entity(uid: uid("Action", action), parents: [EntityUID(type: "Action", id: "all")])
    )
}
let snapshot = try EntitySnapshot(entities: entities)

let requests: [Request] = (0..<1_000).map { _ in
    var input: [Text: Value] = [:]
    for argument in 0..<40 {
        input[Text("argument\(argument)")] = .string(
            Text("value \(random.next(100)) " + String(repeating: "x", count: 32))
        )
    }
    input["namespace"] = .string(Text("ns-\(random.next(20))"))
    return Request(
        principal: uid("User", random.next(userCount)),
        action: uid("Action", random.next(actionCount)),
        resource: uid("Tool", random.next(toolCount)),
        context: ["input": .record(input), "mfa": .bool(random.next(2) == 0)]
    )
}

// MARK: Policies

/// Policies as a team writes them: most for a group, an action and a server; some broad; a few guards over all.
func policies(_ count: Int) throws -> PolicySet {
    var random = Random(state: 7)
    var text = ""
    for number in 0..<count {
        let group = "Group::\"Group-\(random.next(groupCount))\""
        let action = "Action::\"Action-\(random.next(actionCount))\""
        let server = "Server::\"Server-\(random.next(serverCount))\""
        switch number % 100 {
        case 0 where number < 500:
            text +=
                "forbid(principal, action in Action::\"all\", resource) unless { context.mfa || principal.age < \(60 + number % 10) };\n"
        case 1..<5:
            text +=
                "permit(principal in \(group), action, resource in \(server)) when { principal.level == \"high\" };\n"
        case 5..<10:
            text +=
                "permit(principal, action == \(action), resource) when { resource.owner == principal };\n"
        case 10..<20:
            text +=
                "forbid(principal is User, action == \(action), resource in \(server)) when { context.input.namespace like \"ns-1*\" };\n"
        default:
            text +=
                "permit(principal in \(group), action == \(action), resource in \(server)) when { context.input.namespace == \"ns-\(random.next(20))\" && context.mfa };\n"
        }
    }
    return try PolicySet.parse(text)
}

/// Fifty templates, as grants of a role on a thing; half for one action, half for all.
func templates() throws -> PolicySet {
    var text = ""
    for number in 0..<50 {
        let action =
            number % 2 == 0 ? "action == Action::\"Action-\(number)\"" : "action in Action::\"all\""
        let (principal, resource) =
            number % 5 == 0 ? ("== ?principal", "in ?resource") : ("in ?principal", "in ?resource")
        text +=
            "permit(principal \(principal), \(action), resource \(resource)) when { context.mfa };\n"
    }
    text += "forbid(principal, action, resource) unless { principal.age < 69 };\n"
    return try PolicySet.parse(text)
}

/// Grants: most to a person on one thing, some to a group on a server.
func grant(
    _ number: Int,
    _ random: inout Random
) -> (template: Int, principal: EntityUID, resource: EntityUID) {
    // A person beyond the snapshot is one who is not connected.
    let isPerson = random.next(10) < 8
    let principal =
        isPerson ? uid("User", random.next(100_000)) : uid("Group", random.next(groupCount))
    let resource =
        isPerson ? uid("Tool", random.next(50_000)) : uid("Server", random.next(serverCount * 20))
    return (random.next(50), principal, resource)
}

// MARK: Measuring

let numbers = CommandLine.arguments.dropFirst().map { Int($0) }
let decisions = (numbers.first ?? nil) ?? 200_000
let inputs = (numbers.dropFirst().first ?? nil) ?? 1_000_000

if inputs > 0 {
    try await measureReplay(inputs)
    try measureValidation()
    print("")
}
guard decisions > 0 else { exit(0) }

func measure(_ name: String, _ compiled: CompiledPolicySet, target: String) {
    let authorizer = Authorizer(policies: compiled, entities: snapshot)
    var (allowed, reasons) = (0, 0)
    for request in requests { allowed += authorizer.decide(request).decision == .allow ? 1 : 0 }
    for request in requests { reasons += authorizer.decide(request).determining.count }
    var times = [Double](repeating: 0, count: decisions)
    let allocations = ostiary_allocation_count()
    for number in 0..<decisions {
        let request = requests[number % requests.count]
        let start = now()
        _ = authorizer.decide(request)
        times[number] = now() - start
    }
    let perDecision = Double(ostiary_allocation_count() - allocations) / Double(decisions)
    times.sort()
    func at(_ share: Double) -> String {
        fixed(times[min(decisions - 1, Int(share * Double(decisions)))], 2)
    }
    row([
        name, at(0.5), at(0.99), target, fixed(perDecision, 1),
        fixed(Double(reasons) / Double(requests.count), 1),
        "\(allowed * 100 / requests.count) %",
    ])
}

func fixed(_ value: Double, _ digits: Int) -> String {
    let scale = digits == 2 ? 100.0 : 10.0
    let scaled = Int((value * scale).rounded())
    let fraction = String(scaled % Int(scale))
    return
        "\(scaled / Int(scale)).\(String(repeating: "0", count: digits - fraction.count))\(fraction)"
}

func row(_ cells: [String]) { print("| \(cells.joined(separator: " | ")) |") }

row(["policies", "p50 µs", "p99 µs", "target p50 / p99", "allocations", "reasons", "allowed"])
row(["---", "---", "---", "---", "---", "---", "---"])
for (count, target) in [(100, "2 / 8"), (1_000, "3 / 12"), (10_000, "6 / 25")] {
    measure("\(count)", CompiledPolicySet(try policies(count)), target: target)
}

var set = try templates()
var links = Random(state: 11)
let grants = (0..<1_000_000).map { grant($0, &links) }
let beforeLinks = residentKilobytes()
var start = now()
for (number, grant) in grants.enumerated() {
    try set.link(
        template: PolicyID(Text("policy\(grant.template)")),
        as: PolicyID(Text("grant-\(number)")),
        principal: grant.principal,
        resource: grant.resource
    )
}
let linking = now() - start
let afterLinks = residentKilobytes()
start = now()
var compiled = CompiledPolicySet(set)
let compiling = now() - start
set = try PolicySet.parse("")
measure("1,000,000 links", compiled, target: "6 / 30")

start = now()
let authorizer = Authorizer(policies: compiled, entities: snapshot)
let binding = now() - start
func add(_ id: Text, to set: inout CompiledPolicySet) throws {
    try set.link(
        template: "policy1",
        as: PolicyID(id),
        principal: uid("User", 1),
        resource: uid("Tool", 1)
    )
}
start = now()
try add("first", to: &compiled)
let first = now() - start
start = now()
for number in 0..<1_000 { try add(Text("next-\(number)"), to: &compiled) }
let next = (now() - start) / 1_000
start = now()
for number in 0..<1_000 { compiled.unlink(PolicyID(Text("next-\(number)"))) }
let unlink = (now() - start) / 1_000
_ = authorizer.decide(requests[0])

print("")
row(["links", "value"])
row(["---", "---"])
row(["a million links made", "\(fixed(linking / 1e6, 2)) s"])
row(["compiled behind 51 sources", "\(fixed(compiling / 1e3, 2)) ms"])
row(["bound to a snapshot of \(snapshot.count) entities", "\(fixed(binding / 1e3, 2)) ms"])
row(["memory per link, resident", "\((afterLinks - beforeLinks) * 1024 / 1_000_000) bytes"])
row(["first change while an authorizer uses the set", "\(fixed(first / 1e3, 2)) ms"])
row(["each change after it: link, unlink", "\(fixed(next, 2)), \(fixed(unlink, 2)) µs"])
