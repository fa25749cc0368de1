import GatewayModel
public import Logging
public import ServiceRuntime

/// What a proxy is told at its start; docs/reference/settings.md has the variables.
public struct ProxySettings: Sendable {
    /// Where MCP is served.
    public var listen: (host: String, port: Int)
    /// The certificate of the address that is listened on; plain HTTP without it.
    public var tls: TLSFiles?
    /// What clients type: scheme, host and port; `nil` for the address that is listened on.
    public var publicURL: String?
    /// Where control's link is.
    public var control: (host: String, port: Int)
    /// Where key and certificate live.
    public var stateDirectory: String
    /// How long before its end the certificate is renewed, in seconds.
    public var renewalSeconds: Int
    /// How to come by key and certificate when there are none.
    var enrolment: Enrolment.Settings?
    /// Event loops, one core each.
    public var loops: Int
    /// The issuer that clients are sent to for tokens.
    public var authorizationServer: String?
    /// Where health and metrics are served.
    public var admin: AdminSettings
    /// How long one call may take at a server.
    public var callTimeout: Duration
    /// How long the process stays reachable after it said that it is not ready any more.
    public var drainDelay: Duration
    /// How long calls in hand may take once the listener has closed.
    public var drainTime: Duration
    /// A file that gets the port that is listened on, for port 0.
    public var portFile: String?
    /// The least severe level that is logged.
    public var logLevel: Logger.Level

    /// How long the process may take to stop: it says so, it drains, and what is owed goes out.
    public var grace: Duration { drainDelay + drainTime + .seconds(5) }

    /// Reads the settings of this process.
    public init(_ reader: SettingsReader) throws(SettingsError) {
        listen = try reader.address("listen", default: ("127.0.0.1", 8080))
        tls = try TLSFiles(reader)
        publicURL = reader.text("public.url")
        control = try reader.address("control.address", default: ("127.0.0.1", 8443))
        stateDirectory = try reader.requiredText("state.directory")
        renewalSeconds = try reader.integer("renewal.seconds", default: 43_200, in: 60...604_800)
        if let authorityFile = reader.text("authority.file"),
            reader.text("enrolment.token.file") != nil
        {
            let address = try reader.address("enrolment.address", default: ("127.0.0.1", 8444))
            enrolment = Enrolment.Settings(
                host: address.host,
                port: address.port,
                authorityFile: authorityFile,
                token: try reader.secretFile("enrolment.token.file")
            )
        }
        loops = try reader.integer("loops", default: 1, in: 1...64)
        authorizationServer = reader.text("authorization.server")
        admin = try AdminSettings(reader, port: 8081)
        callTimeout = .milliseconds(
            try reader.integer("call.timeout.ms", default: 60_000, in: 100...600_000)
        )
        drainDelay = .milliseconds(try reader.integer("drain.delay.ms", default: 0, in: 0...60_000))
        drainTime = .milliseconds(
            try reader.integer("drain.ms", default: 20_000, in: 0...600_000)
        )
        portFile = reader.text("port.file")
        let level = reader.text("log.level") ?? "info"
        guard let logLevel = Logger.Level(rawValue: level) else {
            throw SettingsError(
                "OSTIARY_LOG_LEVEL",
                "must be a level such as debug, info, warning or error"
            )
        }
        self.logLevel = logLevel
    }
}
