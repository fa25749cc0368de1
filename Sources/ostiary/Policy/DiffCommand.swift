import ArgumentParser
import GatewayPolicy
import JSON

/// The command `ostiary policy diff`.
struct DiffCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Show what differs between two versions of policies, in text and in answers.",
        discussion: """
            Rules are compared by @id; layout, comments and order do not count, their layers do. With --inputs and --entities \
            recorded decisions are asked under both, as `ostiary policy simulate NEW --against OLD` does.

            With --release a release of a server is compared with the one in force, or the release that --against names; what \
            it changes in answers says `ostiary policy simulate --release`. \(ServerOptions.discussion)

            Example: ostiary policy diff deploy/policies/dual-authorization.cedar \
            deploy/policies/example/dual-authorization.cedar

            Example: ostiary policy diff --release 7
            """
    )

    @Argument(help: "The older policies: a file or a folder.")
    var old: String?
    @Argument(help: "The newer policies: a file or a folder.")
    var new: String?
    @Option(help: "The newer policies: the number of a server's release.")
    var release: Int64?
    @Option(help: "With --release: the older one's number; the release in force if not given.")
    var against: Int64?
    @OptionGroup var server: ServerOptions
    @Option(help: "Decision inputs, one JSON object a line; - for standard input.")
    var inputs: String?
    @Option(help: "The entities of the inputs, in Cedar's JSON form.")
    var entities: String?
    @Option(help: "A schema, for the groups that actions are in.")
    var schema: String?
    @Option(help: "How differences are printed: text or json.")
    var output = TextForm.text

    func validate() throws {
        guard (inputs == nil) == (entities == nil) else {
            throw ValidationError("--inputs and --entities go together")
        }
        guard release == nil else {
            guard old == nil, inputs == nil, schema == nil else {
                throw ValidationError("--release asks a server: no files, no --inputs, no --schema")
            }
            return
        }
        guard against == nil, server.namespace == nil else {
            throw ValidationError("--against and --namespace need --release")
        }
        guard new != nil else { throw ValidationError("name two files or folders, or a --release") }
    }

    func run() async throws {
        if let release {
            return try await APIClient.run { client in
                let namespace = try await Namespace(client, server.namespace)
                let (old, new) = try await ServerReleases(client, namespace)
                    .pair(release, against: against)
                show(ReleaseDiff(from: old, to: new), nil)
            }
        }
        guard let old, let new else { throw ValidationError("name two files or folders") }
        try await tellingFailures {
            let baseline = try ReleaseFiles([old]).release()
            let candidate = try ReleaseFiles([new]).release()
            let diff = ReleaseDiff(from: baseline, to: candidate)
            var simulation: Simulation?
            var isReadable = true
            if let inputs, let entities {
                var replay = ReplayOptions()
                (replay.inputs, replay.entities, replay.schema) = (inputs, entities, schema)
                let (result, readable) = try await replay.run(
                    candidate: candidate,
                    baseline: baseline,
                    coverage: false
                )
                (simulation, isReadable) = (result, readable)
            }
            show(diff, simulation)
            guard isReadable else { throw ExitCode.failure }
        }
    }

    private func show(_ diff: ReleaseDiff, _ simulation: Simulation?) {
        switch output {
        case .json:
            Console.data(
                json: JSONFragment(object: { writer in
                    writer.member("rules", diff)
                    writer.member("decisions", ifPresent: simulation)
                })
            )
        case .text:
            diff.show()
            if let simulation {
                if !diff.isEmpty { Console.data("") }
                simulation.diff.show()
            }
        }
    }
}

extension ReleaseDiff {
    /// Prints each change with its text; nothing where both say the same.
    fileprivate func show() {
        for (position, change) in changes.enumerated() {
            if position > 0 { Console.data("") }
            let name = change.policy?.string ?? "a rule without @id"
            Console.data("\(change.kind.rawValue) \(name) (\(change.document):\(change.line))")
            let old = change.old?.split(separator: "\n") ?? []
            let new = change.new?.split(separator: "\n") ?? []
            if let layer = change.oldLayer { Console.data("- layer \(layer)") }
            if let layer = change.newLayer { Console.data("+ layer \(layer)") }
            for line in Self.lines(old, new) { Console.data(line) }
        }
        if !facts.isEmpty {
            if !changes.isEmpty { Console.data("") }
            Console.data(
                "changed in facts.json: " + facts.map(\.string).joined(separator: ", ")
            )
        }
    }

    /// Lines of both, marked by where they stand.
    private static func lines(_ old: [Substring], _ new: [Substring]) -> [String] {
        let difference = new.difference(from: old) { $0.utf8.elementsEqual($1.utf8) }
        var (removed, added): (Set<Int>, Set<Int>) = ([], [])
        for change in difference {
            switch change {
            case .remove(let offset, _, _): removed.insert(offset)
            case .insert(let offset, _, _): added.insert(offset)
            }
        }
        var lines: [String] = []
        var (at, to) = (0, 0)
        while at < old.count || to < new.count {
            if at < old.count, removed.contains(at) {
                lines.append("- \(old[at])")
                at += 1
            } else if to < new.count, added.contains(to) {
                lines.append("+ \(new[to])")
                to += 1
            } else {
                lines.append("  \(new[to])")
                at += 1
                to += 1
            }
        }
        return lines
    }
}
