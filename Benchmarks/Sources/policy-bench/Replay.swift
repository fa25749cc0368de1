import Cedar
import GatewayModel
import GatewayPolicy
import Glibc
import JSON

// Recorded decisions asked again under two releases of 1,000 policies each, from their NDJSON lines: what
// `ostiary policy simulate --against` does once a file is in memory, in chunks on all cores.

/// A release, the world it decides about, and what was asked of it.
struct ReplayWorld {
    static let (users, groups, servers, toolsPerServer) = (2_000, 200, 50, 10)
    var random = Random(state: 21)

    func release(_ number: UInt64, changed: Bool) throws -> PolicyRelease {
        var random = Random(state: 7)
        var text = ""
        for policy in 0..<1_000 {
            let server = random.next(Self.servers)
            let tool = "server\(server)/tool\(random.next(Self.toolsPerServer))"
            let group = "MCP::Group::\"group\(random.next(Self.groups))\""
            text += "@id(\"rule-\(policy)\") "
            switch policy % 100 {
            case 0 where policy < 500:
                // The candidate asks for one approver more.
                let count = changed && policy % 200 == 0 ? 2 : 1
                text += """
                    @tier("guard") @approval("sre:\(count)")
                    forbid (principal, action in MCP::Action::"destructive", resource in MCP::Server::"server\(server)")
                    unless { context.facts.approvals.sre >= \(count) };

                    """
            case 1..<20:
                text += """
                    @tier("absolute")
                    forbid (principal, action == MCP::Action::"\(tool)", resource)
                    when { context.input has namespace && context.input.namespace like "\(changed ? "kube" : "kube-system")*" };

                    """
            case 20..<30:
                text += """
                    permit (principal in \(group), action in MCP::Action::"read", resource in MCP::Server::"server\(server)");

                    """
            default:
                text += """
                    permit (principal in \(group), action == MCP::Action::"\(tool)", resource)
                    when { context.input.namespace == "ns-\(random.next(20))" || context.facts.rate.calls_1m < 50 };

                    """
            }
        }
        let facts = """
            {"approvers": ["sre"],
             "counters": [{"name": "calls_1m", "action": "any", "per": ["subject"], "window": "1m"}],
             "monitors": [{"name": "runbook_1h", "action": "wiki/read", "per": ["subject"], "window": "1h"}]}
            """
        return try PolicyRelease(
            number: number,
            documents: [
                .init(name: "facts.json", source: Text(facts)),
                .init(name: "policies.cedar", source: Text(text)),
            ]
        )
    }

    func point(_ release: PolicyRelease) throws -> PolicyDecisionPoint {
        var random = Random(state: 42)
        var subjects: [Subject] = []
        for user in 0..<Self.users {
            var groups: Set<Text> = []
            while groups.count < 20 { groups.insert(Text("group\(random.next(Self.groups))")) }
            subjects.append(
                Subject(
                    id: SubjectID("sub_\(user)"),
                    issuer: "https://idp.example",
                    name: Text("User \(user)"),
                    kind: .user,
                    status: .active,
                    groups: Array(groups),
                    attributes: [:]
                )
            )
        }
        let servers = (0..<Self.servers).map { server in
            PolicyServer(
                name: ServerName("server\(server)"),
                memberships: [EntityUID(type: "MCP::Environment", id: "prod")],
                tools: Dictionary(
                    uniqueKeysWithValues: (0..<Self.toolsPerServer).map {
                        (ToolName("tool\($0)"), $0 < 7 ? ToolEffect.read : .destructive)
                    }
                )
            )
        }
        return try PolicyDecisionPoint(release: release, subjects: subjects, servers: servers)
    }

    /// One line as records make it: 12 arguments, counters and monitors read, the answer of the day.
    mutating func line(_ number: Int) -> String {
        let tool = "server\(random.next(Self.servers))/tool\(random.next(Self.toolsPerServer))"
        var input =
            "\"namespace\":\"\(random.next(10) == 0 ? "kube-public" : "ns-\(random.next(20))")\""
        for argument in 0..<11 {
            input += ",\"argument\(argument)\":\"value \(random.next(1000)) of some length\""
        }
        return """
            {"reference":"rec_\(number)","time":"2026-11-25T10:00:00.000000Z","principal":{"type":"MCP::User","id":"sub_\(random.next(Self.users))"},\
            "action":{"type":"MCP::Action","id":"\(tool)"},"resource":{"type":"MCP::Tool","id":"\(tool)"},"input":{\(input)},\
            "source":"10.1.2.3","client":"desktop","facts":{"rates":{"calls_1m":\(random.next(60))},"history":{"runbook_1h":false}},\
            "snapshot":17,"decision":{"answer":"permit","ground":"policy","determining":["rule-1"],"release":1}}

            """
    }
}

func processSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func measureReplay(_ inputs: Int) async throws {
    var world = ReplayWorld()
    let (old, new) = (try world.release(1, changed: false), try world.release(2, changed: true))
    let start = now()
    let configuration = ReplayConfiguration(
        baseline: try world.point(old),
        candidate: try world.point(new)
    )
    let binding = now() - start
    // As many different lines as fit a reasonable memory, over and over.
    let distinct = min(inputs, 100_000)
    let chunks: [[UInt8]] = stride(from: 0, to: distinct, by: 1_000).map { first in
        Array((first..<min(first + 1_000, distinct)).map { world.line($0) }.joined().utf8)
    }
    let bytes = chunks.reduce(0) { $0 + $1.count }
    let cores = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))

    func replay(_ total: Int, tasks: Int) async -> (Simulation, seconds: Double, cpu: Double) {
        let (before, cpu) = (now(), processSeconds())
        var merged = Simulation()
        await withTaskGroup(of: Simulation.self) { group in
            var started = 0
            var running = 0
            func start() {
                let chunk = chunks[(started / 1_000) % chunks.count]
                started += 1_000
                running += 1
                group.addTask {
                    var part = Simulation()
                    part.replay(lines: chunk, in: configuration) { _, _ in }
                    return part
                }
            }
            while started < total, running < tasks { start() }
            while let part = await group.next() {
                merged.merge(part)
                running -= 1
                if started < total { start() }
            }
        }
        return (merged, (now() - before) / 1e6, processSeconds() - cpu)
    }

    _ = await replay(distinct / 10, tasks: 1)
    let one = await replay(distinct, tasks: 1)
    let all = await replay(inputs, tasks: cores)

    // The parts, one core.
    let lines = chunks.flatMap { $0.split(separator: 0x0A).map { Array($0) } }
    var at = now()
    var parsed: [DecisionInput] = []
    parsed.reserveCapacity(lines.count)
    for line in lines { parsed.append(try DecisionInput(parsing: line)) }
    let parsing = (now() - at) / Double(lines.count)
    at = now()
    var permitted = 0
    for input in parsed {
        permitted += configuration.candidate.decide(input).answer == .permit ? 1 : 0
    }
    let deciding = (now() - at) / Double(parsed.count)

    print("")
    row(["replay under two releases of 1,000 policies", "value"])
    row(["---", "---"])
    row([
        "\(inputs) lines of \(bytes / distinct) bytes, \(cores) cores",
        "\(fixed(all.seconds, 2)) s (goal for a million: 60 s)",
    ])
    row([
        "processor time per input, both releases, line to report",
        "\(fixed(all.cpu * 1e6 / Double(inputs), 2)) µs",
    ])
    row(["the same on one core, wall time", "\(fixed(one.seconds * 1e6 / Double(distinct), 2)) µs"])
    row(["of that: reading the line", "\(fixed(parsing, 2)) µs"])
    row(["of that: reading arguments and one decision, one release", "\(fixed(deciding, 2)) µs"])
    row([
        "binding both releases to \(ReplayWorld.users) subjects and their tools, once",
        "\(fixed(binding / 1e3, 2)) ms",
    ])
    row([
        "inputs answered otherwise, of them now permitted",
        "\(all.0.diff.changed), \(all.0.diff.widening)",
    ])
    row(["inputs permitted by the candidate", "\(permitted * 100 / parsed.count) %"])
}
