import ArgumentParser
import ControlPlane
import Logging
import ServiceRuntime

/// The control plane's process, and the commands of whoever installs it.
@main
struct OstiaryControl: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ostiary-control",
        abstract: "The control plane of Ostiary.",
        discussion: "Settings come from environment variables: docs/reference/settings.md.",
        subcommands: [
            Serve.self, Migrate.self, Import.self, EnrolmentToken.self, DevelopmentToken.self,
            Records.self, APIToken.self,
        ]
    )
}

/// The settings, and a logger that writes to standard error.
func start() throws -> (ControlSettings, Logger) {
    let settings = try ControlSettings(SettingsReader())
    Daemon.bootstrapLogging(level: settings.logLevel)
    return (settings, Logger(label: "ostiary.control"))
}

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run the control plane.")

    func run() async throws {
        let (settings, logger) = try start()
        let exporter = Daemon.bootstrapMetrics()
        let assembly = try await assemble(settings, exporter: exporter, logger: logger)
        let drainDelay = Duration.milliseconds(settings.drainDelayMilliseconds)
        try await Daemon.run(
            assembly.services,
            logger: logger,
            grace: drainDelay + .seconds(25)
        )
    }
}

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Bring the database up to date.")

    func run() async throws {
        let (settings, logger) = try start()
        for name in try await migrate(settings, logger: logger) { Output.line(name) }
    }
}

struct Import: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Apply a configuration document; applying it again changes nothing."
    )

    @Argument(help: "The JSON document.")
    var file: String

    func run() async throws {
        let (settings, logger) = try start()
        let bytes = try Files.read(file) { ValidationError($0) }
        let folder = file.lastIndex(of: "/").map { String(file[..<$0]) } ?? "."
        let outcome = try await withDatabase(settings, logger: logger) {
            try await $0.apply(document: bytes, folder: folder.isEmpty ? "/" : folder)
        }
        logger.info(
            outcome.isChanged ? "the configuration was changed" : "the configuration was the same"
        )
        if let draft = outcome.draft {
            logger.warning(
                "the policies are not in force yet",
                metadata: [
                    "ostiary.policy.release": "\(draft.number)", "error.message": "\(draft.reason)",
                ]
            )
        }
    }
}

struct EnrolmentToken: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a one-time token that enrols a proxy."
    )

    @Option(help: "The namespace; made if it is not there.")
    var namespace: String
    @Option(help: "The proxy's name, a label.")
    var instance: String

    func run() async throws {
        let (settings, logger) = try start()
        let token = try await withDatabase(settings, logger: logger) {
            try await $0.enrolmentToken(
                namespace: namespace,
                instance: instance
            )
        }
        Output.line(token)
    }
}

struct DevelopmentToken: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print an access token of the development issuer."
    )

    @Option(help: "The namespace, which must be there.")
    var namespace: String
    @Option(help: "The subject's name at the issuer.")
    var subject: String
    @Option(help: "The audience of the token.")
    var audience: String
    @Option(help: "How long it is valid, in seconds.")
    var ttl: Int64 = 3600

    func run() async throws {
        let (settings, logger) = try start()
        let token = try await withDatabase(settings, logger: logger) {
            try await $0.developmentToken(
                namespace: namespace,
                subject: subject,
                audience: audience,
                lifetimeSeconds: ttl
            )
        }
        Output.line(token)
    }
}

struct APIToken: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "api-token",
        abstract: "Print a token of the REST interface: the first one; more come from REST itself.",
        discussion: """
            Example: ostiary-control api-token --role administrator --name ann --ttl 86400
            """
    )

    @Option(help: "administrator or auditor.")
    var role: String
    @Option(help: "Who has it, and what for.")
    var name: String
    @Option(help: "The one namespace it reaches; else the whole installation.")
    var namespace: String?
    @Option(help: "How long it is valid, in seconds.")
    var ttl: Int64 = 90 * 86_400

    func validate() throws {
        guard ["administrator", "auditor"].contains(role) else {
            throw ValidationError("--role is administrator or auditor")
        }
        guard (60...31_536_000).contains(ttl) else {
            throw ValidationError("--ttl is 60 to 31536000 seconds")
        }
        guard (1...128).contains(name.unicodeScalars.count) else {
            throw ValidationError("--name has 1 to 128 characters")
        }
    }

    func run() async throws {
        let (settings, logger) = try start()
        let token = try await withDatabase(settings, logger: logger) {
            try await $0.apiToken(
                name: name,
                role: role,
                namespace: namespace,
                lifetimeSeconds: ttl
            )
        }
        Output.line(token)
    }
}

struct Records: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List records in the order of their arrival."
    )

    @Option(help: "The namespace.")
    var namespace: String
    @Option(help: "How many at most.")
    var limit = 100
    @Option(help: "Only what arrived after this position.")
    var after: Int64 = 0
    @Flag(help: "The exact bytes of each record, one a line.")
    var json = false

    func run() async throws {
        let (settings, logger) = try start()
        let lines = try await withDatabase(settings, logger: logger) {
            try await $0.lines(of: namespace, after: after, limit: limit, json: json)
        }
        for line in lines { Output.line(line) }
    }
}
