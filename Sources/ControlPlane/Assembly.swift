import AuditLog
import ControlProtocol
public import ControlStore
import Cryptography
public import GatewayModel
import JSON
public import Logging
import Networking
public import Postgres
public import ServiceLifecycle
public import ServiceRuntime

/// The services of a control process, and the only place that chooses and connects them.
///
/// - Throws: When the database cannot be reached, is not migrated, or may lose what it committed;
///   then the process must not start.
public func assemble(
    _ settings: ControlSettings,
    exporter: PrometheusExporter = PrometheusExporter(),
    logger: Logger
) async throws -> ControlAssembly {
    let installation = try await withDatabase(settings, logger: logger) { database in
        try await check(database.client, settings, logger: logger)
        try await EpochStore(database.client).ensureMonths()
        return try await database.keys.installationKeys(now: SystemClock.now().seconds)
    }
    let client = try settings.client(logger: logger)
    let keys = try KeyStore(client, keyEncryptionKey: settings.keyEncryptionKey)
    let registry = SessionRegistry()
    let limits = ControlSession.Limits(leaseMilliseconds: settings.leaseMilliseconds)
    let epochs = EpochStore(client)
    let ingest = RecordIngest(RecordStore(client), logger: logger)
    let leases = LeaseKeeper(epochs, leaseMilliseconds: limits.leaseMilliseconds, logger: logger)
    let publisher = SnapshotPublisher(
        client,
        keys: keys,
        installation: installation,
        registry: registry,
        logger: logger
    )
    let loops = EventLoops(count: 1)
    let fetcher = KeySetFetcher(
        client: try GuardedClient(loops: loops, rules: settings.identity.rules),
        logger: logger
    )
    let refresher = KeyRefresher(
        IssuerKeyStore(client),
        fetcher: fetcher,
        schedule: settings.identity.schedule,
        logger: logger
    )
    let authority = LinkAuthority(installation.authority)
    let service = LinkService(
        services: LinkServices(
            limits: limits,
            namespaces: NamespaceStore(client),
            instances: InstanceStore(client),
            epochs: epochs,
            keys: keys,
            ingest: ingest,
            leases: leases,
            publisher: publisher,
            registry: registry,
            tools: ToolCatalogue(store: ConfigurationStore(client), logger: logger),
            issuers: refresher,
            authority: authority,
            logger: logger
        )
    )
    let watch = DatabaseWatch(
        client,
        migrations: (try? Migration.load(folder: settings.migrationsFolder).map(\.name)) ?? [],
        logger: logger
    )
    let health = Health(
        liveness: [.eventLoops(loops)],
        // The listeners are up before anybody can ask: they are bound before the services run.
        readiness: [HealthCheck("database") { watch.problem }]
    )
    let drainDelay = Duration.milliseconds(settings.drainDelayMilliseconds)
    let link = try await listening("OSTIARY_LINK_LISTEN") {
        try await LinkListener(
            host: settings.linkListen.host,
            port: settings.linkListen.port,
            loops: loops,
            admitting: .certified,
            authority: authority,
            server: service.sessionServer(),
            logger: logger
        ) {
            // Readiness first: whoever sends proxies here is to stop before the door closes.
            health.beginDraining()
            try? await Task.sleep(for: drainDelay)
            registry.tell(.end(code: "draining", retryAfterMilliseconds: 100))
        }
    }
    let enrolment = try await listening("OSTIARY_ENROLMENT_LISTEN") {
        try await LinkListener(
            host: settings.enrolmentListen.host,
            port: settings.enrolmentListen.port,
            loops: loops,
            admitting: .anybody,
            authority: authority,
            server: service.enrolmentServer(),
            logger: logger
        )
    }
    let releases = PolicyReleases(
        store: AdministrationStore(client),
        signer: ReleaseSigner(installation)
    )
    let rest = try settings.restListener(
        RESTHandlers(
            store: AdministrationStore(client),
            namespaces: NamespaceStore(client),
            records: RecordStore(client),
            keys: keys,
            releases: releases,
            keySets: fetcher,
            developmentIssuer: settings.issuesDevelopmentTokens
                ? DevelopmentIssuer(installation) : nil
        ),
        loops: loops,
        logger: logger
    )
    try settings.announce(link: link.port, enrolment: enrolment.port, installation)
    logger.info(
        "control is listening",
        metadata: [
            "ostiary.link.port": "\(link.port)", "ostiary.enrolment.port": "\(enrolment.port)",
        ]
    )
    return ControlAssembly(
        // Ended from the last to the first: listeners stop before what they need.
        services: [
            AdminListener(settings.admin, health: health, exporter: exporter, logger: logger),
            DatabaseService(client: client), watch, ingest, leases, publisher, refresher,
            ReleaseWatch(client, checker: releases.checker, logger: logger),
            EpochKeeper(
                store: epochs,
                graceMilliseconds: settings.leaseGraceMilliseconds,
                logger: logger
            ),
            SimulationWorker(client, keys: keys, logger: logger),
            ConfigurationKeeper(
                store: KeptConfigurationStore(client, keys: keys),
                namespaces: NamespaceStore(client),
                days: settings.configurationDays,
                logger: logger
            ),
            enrolment, link, rest,
        ],
        linkPort: link.port,
        enrolmentPort: enrolment.port,
        rest: rest,
        installation: installation
    )
}

/// Refuses a database that evidence cannot rest on, and one that this program does not fit.
private func check(
    _ client: PostgresClient,
    _ settings: ControlSettings,
    logger: Logger
) async throws {
    // Before the schema: nobody migrates a standby.
    if let refusal = try await WritabilityCheck.refusal(client) {
        throw StartError(description: refusal.description)
    }
    let pending = try await Migrator(
        try settings.configuration(settings.databaseURL),
        migrations: try Migration.load(folder: settings.migrationsFolder),
        logger: logger
    ) { SHA256.digest(of: $0).bytes }.plan().pending
    guard pending.isEmpty else {
        throw StartError(
            description: "the database lacks \(pending.count) migrations, from \(pending[0]) on: "
                + "run ostiary-control migrate first"
        )
    }
    if let refusal = try await DurabilityCheck.refusal(client) {
        throw StartError(description: refusal.description)
    }
    guard let refusal = try await PrivilegeCheck.refusal(client) else { return }
    guard settings.allowsPrivilegedUser else {
        throw StartError(
            description: "\(refusal): connect as ostiary_app or a member of it, or set "
                + "OSTIARY_DATABASE_ALLOW_PRIVILEGED=true (docs/reference/database.md)"
        )
    }
    logger.warning(
        "the database's own rules do not bind this process",
        metadata: ["error.message": "\(refusal)"]
    )
}

/// A control process before it runs.
public struct ControlAssembly: Sendable {
    /// In the order of their start.
    public let services: [any Service]
    /// Where proxies connect.
    public let linkPort: Int
    /// Where proxies enrol.
    public let enrolmentPort: Int
    let rest: RESTListener
    /// The keys it signs with.
    public let installation: InstallationKeys

    /// Where the REST interface is, once its services run.
    public var apiPort: Int { get async { await rest.port } }
}

/// Why a process refuses to start.
public struct StartError: Error, CustomStringConvertible {
    /// The reason, in a sentence.
    public let description: String
}

/// The connections to PostgreSQL as a service: the last to end.
private struct DatabaseService: Service {
    let client: PostgresClient

    func run() async throws {
        await cancelWhenGracefulShutdown { await client.run() }
    }
}

/// What commands do with the database of an installation.
public struct ControlDatabase: Sendable {
    /// Its connections.
    public let client: PostgresClient
    /// Its keys.
    public let keys: KeyStore

    /// Applies an import document, relative paths from `folder`.
    @discardableResult
    public func apply(document bytes: [UInt8], folder: String) async throws -> ImportOutcome {
        let installation = try await keys.installationKeys(now: SystemClock.now().seconds)
        let task = Import(
            client: client,
            keys: keys,
            releases: PolicyReleases(
                store: AdministrationStore(client),
                signer: ReleaseSigner(installation)
            ),
            developmentIssuer: try DevelopmentIssuer(installation),
            folder: folder
        )
        return try await task.apply(ImportDocument(parsing: bytes))
    }

    /// A token of the REST interface, for the installation or one namespace that is there.
    public func apiToken(
        name: String,
        role: String,
        namespace: String?,
        lifetimeSeconds: Int64
    ) async throws -> [UInt8] {
        guard let role = APITokenRow.Role(rawValue: role) else {
            throw StartError(description: "a role is administrator or auditor")
        }
        let reach: NamespaceID? =
            if let namespace { try await self.namespace(NamespaceName(namespace)).id } else { nil }
        let token = APIToken.random()
        let store = AdministrationStore(client)
        try await store.transaction { transaction in
            let id = try await store.addAPIToken(
                Secret(token),
                name: Text(name),
                role: role,
                namespace: reach,
                lifetimeSeconds: lifetimeSeconds,
                by: "command:api-token",
                in: transaction
            )
            try await AdminEntry.command("api-token", on: id, of: reach).insert(in: transaction)
        }
        return token
    }

    /// A one-time token, valid for an hour, that enrols `instance` into a namespace, which is made
    /// if need be.
    public func enrolmentToken(
        namespace: String,
        instance: String
    ) async throws -> [UInt8] {
        let namespace = try await NamespaceStore(client).ensure(NamespaceName(namespace))
        let token = EnrolmentToken.random()
        let store = AdministrationStore(client)
        try await store.transaction { transaction in
            let id = try await store.addEnrolmentToken(
                Secret(token),
                for: InstanceID(instance),
                of: namespace.id,
                lifetimeSeconds: 3600,
                in: transaction
            )
            try await AdminEntry.command("enrolment-token", on: id, of: namespace.id)
                .insert(in: transaction)
        }
        return token
    }

    /// A token of the development issuer, for a namespace that is there.
    public func developmentToken(
        namespace: String,
        subject: String,
        audience: String,
        lifetimeSeconds: Int64
    ) async throws -> [UInt8] {
        _ = try await self.namespace(NamespaceName(namespace))
        let now = SystemClock.now().seconds
        let issuer = try DevelopmentIssuer(try await keys.installationKeys(now: now))
        return try issuer.mint(
            subject: Text(subject),
            audience: Text(audience),
            lifetimeSeconds: lifetimeSeconds,
            now: now
        )
    }

    /// The namespace of this name, which must be there.
    public func namespace(_ name: NamespaceName) async throws -> Namespace {
        guard let namespace = try await NamespaceStore(client).find(name) else {
            throw StoreError.namespaceUnknown
        }
        return namespace
    }
}

/// Runs `body` with connections that end with it.
public func withDatabase<Value: Sendable>(
    _ settings: ControlSettings,
    logger: Logger,
    _ body: (ControlDatabase) async throws -> Value
) async throws -> Value {
    let client = try settings.client(logger: logger)
    let keys = try KeyStore(client, keyEncryptionKey: settings.keyEncryptionKey)
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await client.run() }
        defer { group.cancelAll() }
        return try await body(ControlDatabase(client: client, keys: keys))
    }
}

/// Applies what is pending of the migrations, as the owner of the tables; answers their names.
///
/// Any number of replicas may do so at once.
public func migrate(_ settings: ControlSettings, logger: Logger) async throws -> [String] {
    let script = try Migration.read(settings.migrationsFolder + "/roles/prepare.sql")
    let migrator = Migrator(
        try settings.configuration(settings.migrationDatabaseURL),
        migrations: try Migration.load(folder: settings.migrationsFolder),
        ownership: try DatabaseRoles.ownership(script: script),
        logger: logger
    ) { SHA256.digest(of: $0).bytes }
    return try await migrator.migrate().pending
}

extension ControlSettings {
    fileprivate func configuration(_ url: Secret) throws(PostgresError) -> Configuration {
        let url = url.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        return try Configuration(url, applicationName: "ostiary-control")
    }

    fileprivate func client(logger: Logger) throws -> PostgresClient {
        PostgresClient(try configuration(databaseURL), limits: pool, logger: logger)
    }

    /// Tells the outside what it cannot know: the ports, and what proxies are to trust.
    fileprivate func announce(
        link: Int,
        enrolment: Int,
        _ installation: InstallationKeys
    ) throws {
        func write(_ text: String, _ path: String) throws(StartError) {
            try Files.write(Array(text.utf8), to: path, mode: 0o644) { StartError(description: $0) }
        }
        if let stateDirectory {
            let key = try installation.snapshot.verificationKey.pem()
            try write(installation.authority.certificate.pem, stateDirectory + "/authority.pem")
            try write(key, stateDirectory + "/snapshot-key.pem")
        }
        if let linkPortFile { try write("\(link)\n", linkPortFile) }
        if let enrolmentPortFile { try write("\(enrolment)\n", enrolmentPortFile) }
    }

    fileprivate func restListener(
        _ handlers: RESTHandlers,
        loops: EventLoops,
        logger: Logger
    ) throws -> RESTListener {
        let tls = try apiIdentity.map { identity in
            try TLSContext(
                TLSContext.Configuration(
                    role: .server,
                    identity: identity,
                    trust: .nobody,
                    applicationProtocols: ["http/1.1"]
                )
            )
        }
        return RESTListener(
            host: apiListen.host,
            port: apiListen.port,
            portFile: apiPortFile,
            tls: tls,
            loops: loops,
            service: RESTService(handlers, logger: logger),
            logger: logger
        )
    }
}

extension ControlDatabase {
    /// A page of records as lines: their exact bytes, or a summary for people.
    public func lines(
        of name: String,
        after position: Int64,
        limit: Int,
        json: Bool
    ) async throws -> [String] {
        let page = try await RecordStore(client).page(
            of: try await namespace(NamespaceName(name)),
            after: position,
            limit: limit
        )
        return page.map { record in
            if json { return String(decoding: record.body, as: UTF8.self) }
            let at = record.position
            let place = "\(at.instance)/\(at.epoch)/\(at.lane.rawValue)/\(at.n)"
            let note = record.isAnnotation ? "\tannotation" : ""
            return "\(record.arrival)\t\(record.time)\t\(place)\t\(record.kind.rawValue)\(note)"
        }
    }
}
