import AdminAPI
import ArgumentParser
import JSON

/// Which recorded calls of a server are asked again by `simulate --release`.
struct ServerSimulationOptions: ParsableArguments {
    @Option(help: "Ask the server's recorded calls under this release instead of inputs of a file.")
    var release: Int64?
    @Option(
        help: "With --release: calls not earlier than this, 2026-11-25T10:00:00Z; all if not given."
    )
    var from: String?
    @Option(help: "With --release: calls earlier than this; until now if not given.")
    var to: String?
    @Option(help: "With --release: the most calls, the newest; 1,000,000 if not given.")
    var limit: Int64?
    @Flag(help: "With --release: count what the release answered in shadow, instead of asking.")
    var shadow = false
    @OptionGroup var server: ServerOptions

    func validate() throws {
        guard release != nil || from == nil && to == nil && limit == nil && !shadow else {
            throw ValidationError("--from, --to, --limit and --shadow need --release")
        }
    }
}

/// A simulation that a server makes: asked for, waited for with words on standard error, and shown.
struct ServerSimulation {
    /// How often the server is asked how far it is, in milliseconds.
    private static let pauseMilliseconds = 500

    private let client: APIClient
    private let options: ServerSimulationOptions
    private let release: Int64
    private let against: Int64?

    /// Asks for a simulation, waits for it, and prints what it found.
    static func run(
        _ release: Int64,
        against: Int64?,
        _ options: ServerSimulationOptions,
        _ output: TextForm
    ) async throws {
        try await APIClient.run { client in
            let simulation = ServerSimulation(client, options, of: release, against: against)
            let report = try await simulation.report()
            switch output {
            case .json: Console.data(json: report)
            case .text: show(report)
            }
        }
    }

    private init(
        _ client: APIClient,
        _ options: ServerSimulationOptions,
        of release: Int64,
        against: Int64?
    ) {
        self.client = client
        self.options = options
        self.release = release
        self.against = against
    }

    /// The report.
    ///
    /// The simulation goes on at the server when this process ends; its path is told first.
    private func report() async throws -> JSONValue {
        let namespace = try await Namespace(client, options.server.namespace)
        let base = "\(namespace.path)/releases/\(release)/simulations"
        let body = JSONFragment(object: { writer in
            if options.shadow { writer.member("kind", "shadow" as Text) }
            writer.member("against", ifPresent: against)
            writer.member("from", ifPresent: options.from)
            writer.member("to", ifPresent: options.to)
            writer.member("limit", ifPresent: options.limit)
        })
        var row = try await client.post(base, body)
        let path = "\(base)/\(row.words("id"))"
        Console.words("/v1/\(path): release \(release) against \(row["against"]?.int64 ?? 0)")
        var told: Int64 = 0
        while ["queued", "running"].contains(row.words("state")) {
            try await Task.sleep(for: .milliseconds(Self.pauseMilliseconds))
            row = try await client.get(path)
            let read = row["recordsRead"]?.int64 ?? 0
            if read > told {
                Console.words(Console.count(read, "call", "calls"))
                told = read
            }
        }
        guard row.words("state") == "finished", let report = row["report"] else {
            throw APIClient.Failure(description: "the simulation failed: \(row.words("failure"))")
        }
        return report
    }

    /// Prints a report as the one of a file is printed, and what has to be done about it.
    private static func show(_ report: JSONValue) {
        func number(_ name: StaticString) -> Int64 { report[name]?.int64 ?? 0 }
        Console.data(
            "\(Console.count(number("total"), "call", "calls")), \(number("decided")) decided, \(number("changed")) answered otherwise, "
                + Console.count(number("widening"), "becomes permit", "become permit")
        )
        for reason in report["undecided"]?.elements.map({ $0 }) ?? [] {
            Console.data("  \(reason["count"]?.int64 ?? 0) not decided: \(reason.words("reason"))")
        }
        if let fidelity = report["fidelity"] {
            let agreed = fidelity["agreed"]?.int64 ?? 0
            let compared = agreed + (fidelity["differed"]?.int64 ?? 0)
            if compared > 0 {
                Console.data("  \(agreed) of \(compared) answered under the baseline as recorded")
            }
        }
        for group in report["groups"]?.elements.map({ $0 }) ?? [] {
            Console.data("")
            Console.data(
                "\(group["count"]?.int64 ?? 0) \(group.words("from"))→\(group.words("to")): "
                    + "\(names(group["baseline"])) → \(names(group["candidate"]))"
            )
            for example in group["examples"]?.elements.map({ $0 }) ?? [] {
                let who = example["principal"]?.words("id") ?? ""
                let what = example["action"]?.words("id") ?? ""
                Console.data("    record \(example.words("reference")): \(who) \(what)")
            }
        }
        let idle = (report["live"]?["policies"]?.elements.map { $0 } ?? [])
            .filter { $0["determining"]?.int64 == 0 }.map { $0.words("policy") }
        if !idle.isEmpty {
            Console.data("")
            Console.data("determined nothing in these calls: \(idle.joined(separator: ", "))")
        }
        if report["truncated"]?.boolean == true {
            Console.words("there were more calls than --limit: the oldest are not in here")
        }
        if number("widening") > 0 {
            Console.words(
                Console.count(number("widening"), "call goes", "calls go")
                    + " on under it that did not before: "
                    + "ostiary policy activate needs --accept-widening"
            )
        }
    }

    private static func names(_ list: JSONValue?) -> String {
        let names = list?.elements.compactMap { $0.string?.string } ?? []
        return names.isEmpty ? "no policy" : names.joined(separator: ", ")
    }
}
