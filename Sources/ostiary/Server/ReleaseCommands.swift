import AdminAPI
import ArgumentParser
import Glibc
import JSON

/// What commands that ask a server have in common.
struct ServerOptions: ParsableArguments {
    @Option(help: "The namespace; if not given OSTIARY_NAMESPACE, or the only one there is.")
    var namespace: String?

    static let discussion = """
        The server and the token come from OSTIARY_API_URL and OSTIARY_API_TOKEN_FILE, an authority of your own from \
        OSTIARY_CA_FILE (scripts/up writes all of them to .ostiary/env).
        """
}

/// The command `ostiary policy releases`.
struct ReleasesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "releases",
        abstract: "List releases of a namespace, newest first.",
        discussion: "\(ServerOptions.discussion)\n\nExample: ostiary policy releases --limit 5"
    )

    @OptionGroup var server: ServerOptions
    @Option(help: "How many at most, 1 to 500.")
    var limit = 20
    @Option(help: "How the list is printed: table or json.")
    var output = OutputForm.table

    func validate() throws {
        guard (1...500).contains(limit) else { throw ValidationError("--limit is 1 to 500") }
    }

    func run() async throws {
        try await APIClient.run { client in
            let base = try await Namespace(client, server.namespace)
            let list = try await client.get("\(base.path)/releases?limit=\(limit)")
            guard output == .table else { return Console.data(json: list) }
            let items = list["items"]?.elements.map { $0 } ?? []
            guard !items.isEmpty else { return }
            Console.table(
                [["release", "state", "approvals", "rejections", "maker", "created"]]
                    + items.map { item in
                        [
                            "\(item["number"]?.int64 ?? 0)", item.words("state"),
                            "\(item["approvals"]?.int64 ?? 0)", "\(item["rejections"]?.int64 ?? 0)",
                            item["maker"]?.string?.string ?? item.words("createdBy"),
                            item.words("createdAt"),
                        ]
                    }
            )
        }
    }
}

/// The command `ostiary policy review`.
struct ReviewCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "review",
        abstract: "Approve or reject a release that somebody else made.",
        discussion: """
            The review binds what the release says at this moment. A rejection is for good. \(ServerOptions.discussion)

            Example: ostiary policy review 7 --approve --comment "reads well"
            """
    )

    @Argument(help: "The number of the release.")
    var release: Int64
    @Flag(help: "It may come into force.")
    var approve = false
    @Flag(help: "It may not, for good.")
    var reject = false
    @Option(help: "Why, for whoever reads it later.")
    var comment = ""
    @OptionGroup var server: ServerOptions
    @Option(help: "How the review is printed: table or json.")
    var output = OutputForm.table

    func validate() throws {
        guard approve != reject else { throw ValidationError("say --approve or --reject") }
    }

    func run() async throws {
        try await APIClient.run { client in
            let base = try await Namespace(client, server.namespace)
            let shown = try await client.get("\(base.path)/releases/\(release)")
            let body = JSONFragment(object: { writer in
                writer.member("verdict", (approve ? "approved" : "rejected") as Text)
                writer.member("comment", Text(comment))
                writer.member("digest", ifPresent: shown["digest"]?.string)
            })
            let review = try await client.post("\(base.path)/releases/\(release)/reviews", body)
            switch output {
            case .json: Console.data(json: review)
            case .table:
                Console.words(
                    "release \(release) \(review.words("verdict")) by \(review.words("reviewer"))"
                )
            }
        }
    }
}

/// The command `ostiary policy activate`.
struct ActivateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "activate",
        abstract: "Put a release in force; shows what changes, and asks.",
        discussion: """
            Nothing happens if another release came into force since the plan was made. Where a simulation or a shadow \
            has found calls that go on under this release and did not before, that must be accepted by name. \
            \(ServerOptions.discussion)

            Example: ostiary policy activate 7 --yes
            """
    )

    @Argument(help: "The number of the release.")
    var release: Int64
    @Flag(help: "Accept that calls go on which did not before.")
    var acceptWidening = false
    @OptionGroup var activation: ActivationOptions

    func run() async throws {
        try await APIClient.run { client in
            let plan = try await ActivationPlan(
                client,
                try await Namespace(client, activation.server.namespace),
                to: release
            )
            try await plan.carryOut(activation, acceptingWidening: acceptWidening)
        }
    }
}

/// The command `ostiary policy rollback`.
struct RollbackCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollback",
        abstract: "Put a release in force that was before; shows what changes, and asks.",
        discussion: """
            Without a number it is the one before the one in force. A rollback needs no review. \
            \(ServerOptions.discussion)

            Example: ostiary policy rollback --yes
            """
    )

    @Argument(help: "The number of the release; if not given, the one before.")
    var release: Int64?
    @OptionGroup var activation: ActivationOptions

    func run() async throws {
        try await APIClient.run { client in
            let base = try await Namespace(client, activation.server.namespace)
            let number =
                if let release { release } else { try await Self.previous(client, base) }
            let plan = try await ActivationPlan(client, base, to: number)
            guard plan.isRollback else {
                throw APIClient.Failure(
                    description: "release \(number) is \(plan.state) and was not in force before: "
                        + "see ostiary policy activate"
                )
            }
            try await plan.carryOut(activation)
        }
    }

    /// The release that was in force before the one that is.
    private static func previous(_ client: APIClient, _ base: Namespace) async throws -> Int64 {
        let list = try await client.get("\(base.path)/activations?limit=500")
        let numbers = list["items"]?.elements.compactMap { $0["release"]?.int64 } ?? []
        guard let previous = numbers.first(where: { $0 != numbers.first }) else {
            throw APIClient.Failure(description: "no other release was in force before")
        }
        return previous
    }
}

/// How an activation is confirmed and printed.
struct ActivationOptions: ParsableArguments {
    @Flag(help: "Do not ask.")
    var yes = false
    @OptionGroup var server: ServerOptions
    @Option(help: "How the activation is printed: table or json.")
    var output = OutputForm.table
}

/// The path of a namespace.
struct Namespace {
    let name: String
    let path: String

    init(_ client: APIClient, _ named: String?) async throws {
        name = try await client.namespace(named)
        path = "namespaces/\(PercentCoding.encode(Text(name)))"
    }
}

extension JSONValue {
    /// A text member; nothing if there is none.
    func words(_ name: StaticString) -> String { self[name]?.string?.string ?? "" }
}
