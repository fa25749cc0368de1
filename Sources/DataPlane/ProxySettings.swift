import GatewayModel
public import Logging
public import ServiceRuntime

/// What a proxy is told at its start; docs/reference/settings.md has the variables.
public struct ProxySettings: Sendable {
    /// Where MCP is served.
    public var listen: (host: String, port: Int)
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
    /// A file that gets the port that is listened on, for port 0.
    public var portFile: String?
    /// The least severe level that is logged.
    public var logLevel: Logger.Level

    /// Reads the settings of this process.
    public init(_ reader: SettingsReader) throws(SettingsError) {
        listen = try reader.address("listen", default: ("127.0.0.1", 8080))
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
