import AuditLog
import ControlPlane
import ControlProtocol
import ControlStore
import Cryptography
import Foundation
import GatewayModel
import JSON
import Logging
import Networking
import Postgres
import PostgresTestSupport
import ServiceLifecycle
import SwiftProtobuf
import Synchronization
import Testing

let silent = Logger(label: "tests", factory: { _ in SwiftLogNoOpLogHandler() })

private let migrationsFolder: String = {
    let here = #filePath
    return here[..<(here.lastIndex(of: "/") ?? here.endIndex)] + "/../../migrations"
}()

let document = #"""
    {"namespace": "sre", "trustOnFirstUse": true, "policyReviewersRequired": 0,
     "identityProviders": [{"developmentIssuer": true, "audiences": ["http://door.test"]}],
     "subjects": [{"id": "sub_ann", "issuer": "urn:ostiary:development", "name": "ann"}],
     "servers": [{"name": "demo", "url": "http://127.0.0.1:1/mcp", "tools": {"echo": "read"}}],
     "policies": [{"name": "a.cedar", "source": "@id(\"all\") permit(principal, action, resource);"}]}
    """#

/// A control process on a cluster of its own, as durable as the real thing.
struct Plane: Sendable {
    let cluster: TestCluster
    let settings: ControlSettings
    let assembly: ControlAssembly
    let loops: EventLoops

    static func run(
        developmentTokens: Bool = false,
        _ body: (Plane) async throws -> Void
    ) async throws {
        let cluster = TestCluster(.on)
        defer { cluster.discard() }
        let key = try #require(SymmetricKey(Array(repeating: UInt8(7), count: 32)))
        var settings = ControlSettings(
            databaseURL: Secret(try cluster.url(user: "ostiary_app")),
            keyEncryptionKey: key
        )
        settings.migrationDatabaseURL = Secret(try cluster.url())
        settings.pool = .patient
        settings.migrationsFolder = migrationsFolder
        settings.issuesDevelopmentTokens = developmentTokens
        _ = try await migrate(settings, logger: silent)
        _ = try await withDatabase(settings, logger: silent) {
            try await $0.apply(document: Array(document.utf8), folder: "/")
        }
        let assembly = try await assemble(settings, logger: silent)
        let loops = EventLoops(count: 1)
        let plane = Plane(cluster: cluster, settings: settings, assembly: assembly, loops: loops)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for service in assembly.services { group.addTask { try await service.run() } }
            let result: Result<Void, any Error>
            do {
                result = .success(try await body(plane))
            } catch {
                result = .failure(error)
            }
            group.cancelAll()
            try result.get()
        }
        try await loops.shutdown()
    }

    func database<Value: Sendable>(
        _ body: (ControlDatabase) async throws -> Value
    ) async throws -> Value {
        try await withDatabase(settings, logger: silent, body)
    }

    /// A connection to one of the listeners.
    func connect(port: Int, _ identity: TLSIdentity?) async throws -> GRPCClient {
        let tls = try TLSContext(
            .init(
                role: .client,
                identity: identity,
                trust: .roots([assembly.installation.authority.certificate]),
                applicationProtocols: ["h2"]
            )
        )
        let connection = try await HTTP2ClientConnection.connect(
            host: "127.0.0.1",
            port: port,
            on: loops.executors[0],
            tls: tls,
            verifying: .uri("spiffe://ostiary/control", sni: nil)
        )
        return GRPCClient(connection, authority: "control", scheme: "https")
    }

    func token(_ instance: String) async throws -> String {
        let token = try await database {
            try await $0.enrolmentToken(namespace: "sre", instance: instance)
        }
        return String(decoding: token, as: UTF8.self)
    }

    /// Enrols with a token, as a fresh process would.
    func enrol(token: String) async throws -> TLSIdentity {
        let key = try SigningKey.generate(.es256)
        let request = try CertificateSigningRequest.create(
            commonName: "whatever",
            alternativeNames: [.uri("spiffe://ostiary/ns/other/proxy/admin")],
            key: key
        )
        var message = WireEnrolRequest()
        message.oneTimeToken = token
        message.certificateRequest = Data(request.der)
        let client = try await connect(port: assembly.enrolmentPort, nil)
        let answer = try await client.unary(
            "/ostiary.control.v1.Link/Enrol",
            try message.serializedBytes()
        )
        await client.connection.close()
        let response = try WireEnrolResponse(serializedBytes: answer)
        return try TLSIdentity(
            certificates: [Certificate(der: Array(response.certificate))],
            key: key
        )
    }

    func proxy(_ instance: String = "proxy-a") async throws -> TestProxy {
        TestProxy(self, try await enrol(token: try await token(instance)), instance)
    }

    func log() async throws -> [String] {
        try await database { database in
            let namespace = try await database.namespace("sre")
            return try await RecordStore(database.client).page(of: namespace, limit: 10_000).map {
                let note = $0.isAnnotation ? " annotation" : ""
                return "\($0.position.epoch)/\($0.position.n) \($0.kind.rawValue)\(note)"
            }
        }
    }
}

/// A proxy process: the real ``ControlProtocol/ProxySession`` with time as a number, and the
/// thinnest shell.
final class TestProxy {
    let plane: Plane
    let identity: TLSIdentity
    let instance: InstanceID
    var session: ProxySession
    var now = MonotonicInstant(nanoseconds: 0)
    var client: GRPCClient?
    var call: GRPCClientCall?
    var durable: [UInt64] = []
    var refused: [String] = []
    var snapshots: [WireSnapshot] = []
    var credentials: [WireCredentials] = []
    var closings: [String] = []

    init(_ plane: Plane, _ identity: TLSIdentity, _ instance: String, boot: UInt8 = 1) {
        self.plane = plane
        self.identity = identity
        self.instance = InstanceID(instance)
        session = ProxySession(
            bootID: Array(repeating: boot, count: 16),
            softwareVersion: "test",
            now: now
        )
    }

    /// A new process with the same certificate.
    func restarted(boot: UInt8) -> TestProxy {
        TestProxy(plane, identity, instance.text.string, boot: boot)
    }

    var isLive: Bool { if case .live = session.state { true } else { false } }

    /// Lets time pass until an attempt is due, and makes it.
    func connect() async throws {
        for _ in 0..<200 {
            now = now.adding(milliseconds: 50)
            guard session.tick(now: now).connect else { continue }
            let client = try await plane.connect(port: plane.assembly.linkPort, identity)
            let call = try await client.bidirectional("/ostiary.control.v1.Link/Session")
            (self.client, self.call) = (client, call)
            if let hello = session.opened(now: now) { try await send([hello]) }
            return
        }
        throw GRPCStatus(.internal, "no attempt became due")
    }

    func send(_ messages: [WireProxyMessage]) async throws {
        for message in messages { try await call?.send(try message.serializedBytes()) }
    }

    /// Reads messages until the condition holds; answers whether the stream is still there.
    @discardableResult
    func pump(until condition: () -> Bool) async throws -> Bool {
        while !condition() {
            do {
                guard let bytes = try await call?.nextMessage() else {
                    throw GRPCStatus(.unavailable)
                }
                let message = try WireControlMessage(serializedBytes: bytes)
                if case .closing(let closing)? = message.message { closings.append(closing.code) }
                let result = session.received(message, now: now)
                #expect(result.violation == nil)
                durable += result.durable
                refused += result.refused.map { "\($0.n) \($0.code)" }
                if let snapshot = result.snapshot {
                    snapshots.append(snapshot)
                    session.applied(
                        snapshotVersion: snapshot.version,
                        digest: SHA256.digest(of: snapshot.payload).bytes
                    )
                }
                if let its = result.credentials { credentials.append(its) }
                try await send(result.send)
                if result.close { throw GRPCStatus(.cancelled) }
            } catch let error as GRPCStatus {
                _ = error
                await drop()
                return condition()
            }
        }
        return true
    }

    /// The stream is gone.
    func drop() async {
        _ = session.lost(now: now)
        await client?.connection.close()
        (client, call) = (nil, nil)
    }

    func intent(gate: Bool = true) async throws -> UInt64 {
        let facts = CallFacts(
            time: .init(seconds: 1_790_000_000),
            request: "r",
            method: "tools/call",
            source: "s"
        )
        let decision = Decision(answer: .permit, ground: .policy, determining: [], release: 1)
        let part = RecordPart(
            name: .arguments,
            salt: SecureRandom.bytes(32),
            content: Array("{}".utf8)
        )
        return try await append(.intent(facts, decision, parts: [part]), gate: gate)
    }

    func outcome(of n: UInt64) async throws -> UInt64 {
        let end = CallOutcome(time: .init(seconds: 1_790_000_000), end: .succeeded)
        return try await append(.outcome(of: .init(n: n), end), gate: false)
    }

    func append(_ record: AuditRecord, gate: Bool) async throws -> UInt64 {
        let draft = record.draft()
        let position = RecordPosition(
            namespace: "sre",
            instance: instance,
            epoch: session.epoch,
            lane: .committed,
            n: session.nextNumber
        )
        var wire = WireRecord()
        wire.lane = .committed
        wire.n = position.n
        wire.body = Data(draft.sequenced(at: position))
        wire.parts = draft.parts.map { part in
            var wire = WirePart()
            wire.name = part.name.rawValue
            wire.salt = Data(part.salt)
            wire.content = Data(part.content)
            return wire
        }
        guard case .admitted(let n, let batch) = session.append(wire, gate: gate, now: now) else {
            throw GRPCStatus(.internal, "the session did not take a record")
        }
        if let batch {
            var message = WireProxyMessage()
            message.append = batch
            // A stream that is dying takes it or not; it stays owed.
            try? await send([message])
        } else {
            // Nobody waits for it: it goes when the batch delay is over.
            now = now.adding(milliseconds: 2)
            try? await send(session.tick(now: now).send)
        }
        return n
    }
}
