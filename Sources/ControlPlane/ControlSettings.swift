import ControlStore
public import Cryptography
public import Logging
public import Postgres
public import ServiceRuntime

/// The settings of a control process, read once and checked (docs/reference/settings.md).
public struct ControlSettings: Sendable {
    /// Where PostgreSQL is: `OSTIARY_DATABASE_URL`, or a file with it, `OSTIARY_DATABASE_URL_FILE`,
    /// when it holds a password.
    public var databaseURL: Secret
    /// Where PostgreSQL is for `migrate`, whose user may make tables:
    /// `OSTIARY_MIGRATION_DATABASE_URL`, or a file with it, `OSTIARY_MIGRATION_DATABASE_URL_FILE`;
    /// default `databaseURL`.
    public var migrationDatabaseURL: Secret
    /// Whether to serve as a user whom the database's rules do not bind, a superuser or the owner
    /// of the tables: `OSTIARY_DATABASE_ALLOW_PRIVILEGED`, default `false`.
    public var allowsPrivilegedUser: Bool
    /// The bounds of the connections to PostgreSQL; no setting, tests wait longer.
    public var pool = PoolLimits()
    /// The key-encryption key: `OSTIARY_KEY_FILE`, mode 0600, 64 hexadecimal digits or 32 raw
    /// bytes.
    public var keyEncryptionKey: SymmetricKey
    /// Where proxies connect: `OSTIARY_LINK_LISTEN`, default `127.0.0.1:8443`; port 0 takes a free
    /// one.
    public var linkListen: (host: String, port: Int)
    /// The file that gets the port in use: `OSTIARY_LINK_PORT_FILE`.
    public var linkPortFile: String?
    /// Where proxies enrol: `OSTIARY_ENROLMENT_LISTEN`, default `127.0.0.1:8444`; port 0 takes a
    /// free one.
    public var enrolmentListen: (host: String, port: Int)
    /// The file that gets the port in use: `OSTIARY_ENROLMENT_PORT_FILE`.
    public var enrolmentPortFile: String?
    /// Where the REST interface is: `OSTIARY_API_LISTEN`, default `127.0.0.1:8445`; port 0 takes a
    /// free one.
    public var apiListen: (host: String, port: Int)
    /// The file that gets the port in use: `OSTIARY_API_PORT_FILE`.
    public var apiPortFile: String?
    /// The certificate and key of the REST interface: `OSTIARY_API_CERTIFICATE_FILE`,
    /// `OSTIARY_API_KEY_FILE`; without them it speaks plain HTTP, on loopback only.
    public var apiIdentity: TLSIdentity?
    /// Whether REST issues development tokens: `OSTIARY_DEVELOPMENT_TOKENS`, default `false`.
    public var issuesDevelopmentTokens: Bool
    /// A folder for what operators hand to proxies: `authority.pem`, `snapshot-key.pem`.
    ///
    /// `OSTIARY_STATE_DIRECTORY`.
    public var stateDirectory: String?
    /// Where the migrations are: `OSTIARY_MIGRATIONS`, default `migrations`.
    public var migrationsFolder: String
    /// The least severe level that is logged: `OSTIARY_LOG_LEVEL`, default `info`.
    public var logLevel: Logger.Level
    /// How long a proxy may enforce its configuration without word from control, in milliseconds:
    /// `OSTIARY_LEASE_MS`, default 30000.
    public var leaseMilliseconds: Int
    /// Where health and metrics are served: `OSTIARY_ADMIN_LISTEN`, default `127.0.0.1:8446`.
    public var admin: AdminSettings
    /// How long the process stays reachable after it said that it is not ready any more, in
    /// milliseconds: `OSTIARY_DRAIN_DELAY_MS`, default 0.
    public var drainDelayMilliseconds: Int
    /// How long an epoch outlives its lease, in milliseconds: `OSTIARY_LEASE_GRACE_MS`, default
    /// 5000.
    public var leaseGraceMilliseconds: Int64
    /// How long a configuration stays known after another took its place, in days:
    /// `OSTIARY_CONFIGURATION_DAYS`, default 400, range 30…3650.
    public var configurationDays: Int64

    /// How issuers are asked for their keys: `OSTIARY_IDENTITY_…`.
    var identity: IdentitySettings

    /// Settings for tests and tools; everything else has its default.
    public init(databaseURL: Secret, keyEncryptionKey: SymmetricKey) {
        self.databaseURL = databaseURL
        migrationDatabaseURL = databaseURL
        allowsPrivilegedUser = false
        self.keyEncryptionKey = keyEncryptionKey
        linkListen = ("127.0.0.1", 0)
        enrolmentListen = ("127.0.0.1", 0)
        apiListen = ("127.0.0.1", 0)
        issuesDevelopmentTokens = false
        migrationsFolder = "migrations"
        logLevel = .info
        leaseGraceMilliseconds = 5000
        configurationDays = 400
        identity = IdentitySettings()
        leaseMilliseconds = 30_000
        drainDelayMilliseconds = 0
        admin = AdminSettings()
    }

    /// Reads the settings.
    public init(_ reader: SettingsReader) throws(SettingsError) {
        func url(_ key: String) throws(SettingsError) -> Secret? {
            if reader.text(key + ".file") != nil { return try reader.secretFile(key + ".file") }
            return reader.text(key).map { Secret($0) }
        }
        let migrationURL = try url("migration.database.url")
        // Whoever only migrates needs no other.
        guard let databaseURL = try url("database.url") ?? migrationURL else {
            throw SettingsError("OSTIARY_DATABASE_URL", "is not set")
        }
        self.databaseURL = databaseURL
        migrationDatabaseURL = migrationURL ?? databaseURL
        allowsPrivilegedUser = try reader.flag("database.allow.privileged", default: false)
        keyEncryptionKey = try Self.key(try reader.secretFile("key.file"))
        linkListen = try reader.address("link.listen", default: ("127.0.0.1", 8443))
        linkPortFile = reader.text("link.port.file")
        enrolmentListen = try reader.address("enrolment.listen", default: ("127.0.0.1", 8444))
        enrolmentPortFile = reader.text("enrolment.port.file")
        apiListen = try reader.address("api.listen", default: ("127.0.0.1", 8445))
        apiPortFile = reader.text("api.port.file")
        apiIdentity = try Self.apiIdentity(reader)
        guard apiIdentity != nil || Self.isLoopback(apiListen.host) else {
            throw SettingsError(
                "OSTIARY_API_LISTEN",
                "must be a loopback address, unless OSTIARY_API_CERTIFICATE_FILE is set"
            )
        }
        issuesDevelopmentTokens = try reader.flag("development.tokens", default: false)
        stateDirectory = reader.text("state.directory")
        migrationsFolder = reader.text("migrations") ?? "migrations"
        guard let level = Logger.Level(rawValue: reader.text("log.level") ?? "info") else {
            throw SettingsError("OSTIARY_LOG_LEVEL", "is not a level")
        }
        logLevel = level
        leaseMilliseconds = try reader.integer("lease.ms", default: 30_000, in: 1000...600_000)
        drainDelayMilliseconds = try reader.integer("drain.delay.ms", default: 0, in: 0...60_000)
        admin = try AdminSettings(reader, port: 8446)
        leaseGraceMilliseconds = Int64(
            try reader.integer("lease.grace.ms", default: 5000, in: 0...600_000)
        )
        configurationDays = Int64(
            try reader.integer(
                "configuration.days",
                default: 400,
                in: Int(KeptConfigurationStore.keptDaysMin)...3650
            )
        )
        identity = try IdentitySettings(reader)
    }

    private static func apiIdentity(
        _ reader: SettingsReader
    ) throws(SettingsError) -> TLSIdentity? {
        guard let path = reader.text("api.certificate.file") else {
            guard reader.text("api.key.file") == nil else {
                throw SettingsError("OSTIARY_API_KEY_FILE", "is set without a certificate")
            }
            return nil
        }
        let chain = try Files.read(path) { SettingsError("OSTIARY_API_CERTIFICATE_FILE", $0) }
        let key = try reader.secretFile("api.key.file")
        do throws(CryptographyError) {
            return try TLSIdentity(certificatesPEM: chain, keyPEM: key)
        } catch {
            throw SettingsError("OSTIARY_API_CERTIFICATE_FILE", "\(error)")
        }
    }

    /// Names are not resolved here: `localhost` is what it says on every machine that matters.
    private static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    private static func key(_ secret: Secret) throws(SettingsError) -> SymmetricKey {
        let key = secret.withUnsafeBytes { bytes -> SymmetricKey? in
            if bytes.count == 32 { return SymmetricKey(bytes) }
            guard bytes.count == 64 else { return nil }
            var digits: [UInt8] = []
            for byte in bytes {
                guard let value = UInt8(String(UnicodeScalar(byte)), radix: 16) else { return nil }
                digits.append(value)
            }
            return SymmetricKey(
                stride(from: 0, to: 64, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
            )
        }
        guard let key else {
            throw SettingsError("OSTIARY_KEY_FILE", "must name 64 hexadecimal digits or 32 bytes")
        }
        return key
    }
}
