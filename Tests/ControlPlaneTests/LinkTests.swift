import ControlPlane
import ControlProtocol
import ControlStore
import Cryptography
import Foundation
import GatewayModel
import JSON
import Networking
import Postgres
import PostgresTestSupport
import SwiftProtobuf
import Testing

/// One control process, real sockets, a real database; the proxy's end is the real machine.
@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)), .serialized)
struct LinkTests {
    @Test func `a proxy enrols, connects, verifies its snapshot and gets its records acknowledged`()
        async throws
    {
        try await Plane.run { plane in
            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { !proxy.snapshots.isEmpty }
            #expect(proxy.session.epoch == 1)
            let snapshot = try #require(proxy.snapshots.first)
            try plane.assembly.installation.snapshot.verificationKey.verify(
                snapshot.signature,
                over: Array("ostiary-snapshot-v1\n".utf8) + Array(snapshot.payload),
                with: .es256
            )
            let configuration = try WireConfiguration(serializedBytes: snapshot.payload)
            #expect(configuration.namespace == "sre")
            #expect(configuration.version == snapshot.version)
            #expect(configuration.servers.map(\.name) == ["demo"])
            #expect(configuration.policy.documents.count == 1)
            #expect(configuration.issuers.first?.issuer == "urn:ostiary:development")
            #expect(proxy.credentials.first?.sealingKeys.first?.key.count == 32)

            let n = try await proxy.intent()
            try await proxy.pump { proxy.durable == [n] }
            _ = try await proxy.outcome(of: n)
            try await proxy.pump { proxy.session.owed.isEmpty }
            #expect(try await plane.log() == ["1/1 intent", "1/2 outcome"])
            await proxy.drop()
        }
    }

    @Test func `a killed stream resumes its epoch and nothing is doubled`() async throws {
        try await Plane.run { plane in
            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { proxy.isLive }
            for _ in 0..<20 {
                // Sent, and the stream cut before the answer can have been read.
                _ = try await proxy.intent()
                _ = try await proxy.intent(gate: false)
                await proxy.drop()
                try await proxy.connect()
                try await proxy.pump { proxy.isLive && proxy.session.owed.isEmpty }
            }
            #expect(proxy.session.epoch == 1)
            #expect(try await plane.log() == (1...40).map { "1/\($0) intent" })
            await proxy.drop()
        }
    }

    @Test func `while PostgreSQL is away nothing is acknowledged, and everything is after`()
        async throws
    {
        try await Plane.run { plane in
            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { proxy.isLive }
            let first = try await proxy.intent()
            try await proxy.pump { proxy.durable == [first] }
            try plane.cluster.stop()
            _ = try await proxy.intent()
            try await proxy.pump { proxy.session.owed.isEmpty }
            #expect(proxy.closings == ["unavailable"])
            #expect(proxy.session.owed.count == 1)
            #expect(proxy.durable == [first])
            try plane.cluster.start()
            while !proxy.session.owed.isEmpty {
                if proxy.call == nil { try? await proxy.connect() }
                try await proxy.pump { proxy.isLive && proxy.session.owed.isEmpty }
            }
            #expect(proxy.session.epoch == 1)
            #expect(try await plane.log() == ["1/1 intent", "1/2 intent"])
            await proxy.drop()
        }
    }

    @Test
    func `a restarted process closes the old epoch, and the older process must not come back`()
        async throws
    {
        try await Plane.run { plane in
            let old = try await plane.proxy()
            try await old.connect()
            try await old.pump { old.isLive }
            let n = try await old.intent()
            try await old.pump { old.durable == [n] }
            let new = old.restarted(boot: 2)
            try await new.connect()
            try await new.pump { new.isLive }
            #expect(new.session.epoch == 2)
            try await old.pump { false }
            #expect(old.closings == ["superseded"])
            #expect(old.session.state == .closed(code: "superseded"))
            #expect(try await plane.log() == ["1/1 intent", "1/1 outcome"])
            await new.drop()
        }
    }

    @Test func `a bad record is refused by number and its neighbours are durable`() async throws {
        try await Plane.run { plane in
            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { proxy.isLive }
            var wire = WireRecord()
            wire.lane = .committed
            wire.n = proxy.session.nextNumber
            wire.body = Data("{}".utf8)
            guard
                case .admitted(_, let batch?) = proxy.session.append(
                    wire,
                    gate: true,
                    now: proxy.now
                )
            else {
                Issue.record("not admitted")
                return
            }
            var message = WireProxyMessage()
            message.append = batch
            try await proxy.send([message])
            let n = try await proxy.intent()
            try await proxy.pump { proxy.session.owed.isEmpty }
            #expect(proxy.refused == ["1 unknown_version"])
            #expect(proxy.durable == [n])
            #expect(try await plane.log() == ["1/2 intent"])
            await proxy.drop()
        }
    }

    @Test func `a change is pushed, and a reported tool is pinned and pushed`() async throws {
        try await Plane.run { plane in
            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { proxy.snapshots.count == 1 }
            var report = WireProxyMessage()
            report.toolReport.server = "demo"
            var tool = WireToolDefinition()
            tool.name = "echo"
            tool.canonical = Data(#"{"inputSchema":{},"name":"echo"}"#.utf8)
            var lie = tool
            lie.name = "other"
            report.toolReport.tools = [tool, lie]
            try await proxy.send([report])
            try await proxy.pump { proxy.snapshots.count == 2 }
            let configuration = try WireConfiguration(
                serializedBytes: try #require(proxy.snapshots.last).payload
            )
            let pinned = try #require(configuration.servers.first?.tools)
            #expect(pinned.map(\.name) == ["echo"])
            #expect(pinned.map(\.effect) == ["read"])
            #expect(Array(pinned[0].definitionDigest) == SHA256.digest(of: tool.canonical).bytes)
            let changed = document.replacing("127.0.0.1:1/", with: "127.0.0.1:2/")
            let first = try await plane.database {
                try await $0.apply(document: Array(changed.utf8), folder: "/")
            }
            #expect(first.isChanged)
            try await proxy.pump { proxy.snapshots.count == 3 }
            let again = try await plane.database {
                try await $0.apply(document: Array(changed.utf8), folder: "/")
            }
            #expect(!again.isChanged)
            await proxy.drop()
        }
    }

    @Test func `heartbeats are answered with leases, and a revoked instance is sent away`()
        async throws
    {
        try await Plane.run { plane in
            let proxy = try await plane.proxy()
            try await proxy.connect()
            try await proxy.pump { proxy.isLive }
            func beat() async throws {
                proxy.now = proxy.now.adding(milliseconds: 1000)
                try await proxy.send(proxy.session.tick(now: proxy.now).send)
            }
            func unanswered() -> Int {
                if case .live(let live) = proxy.session.state { live.unanswered.count } else { 0 }
            }
            try await beat()
            #expect(unanswered() == 1)
            try await proxy.pump { unanswered() == 0 && proxy.isLive }
            try await plane.database { database in
                let namespace = try await database.namespace("sre")
                try await InstanceStore(database.client).revoke("proxy-a", of: namespace.id)
            }
            try await beat()
            try await proxy.pump { false }
            #expect(proxy.session.state == .closed(code: "certificate_revoked"))
            // And does not get in again.
            let client = try await plane.connect(port: plane.assembly.linkPort, proxy.identity)
            let call = try await client.bidirectional("/ostiary.control.v1.Link/Session")
            let status = await #expect(throws: GRPCStatus.self) { try await call.nextMessage() }
            #expect(status?.code == .permissionDenied)
            await client.connection.close()
        }
    }

    @Test func `a token enrols once, and nobody gets a session without a certificate`() async throws
    {
        try await Plane.run { plane in
            let token = try await plane.token("proxy-b")
            let identity = try await plane.enrol(token: token)
            let names = identity.certificates[0].alternativeNames
            #expect(names == [.uri("spiffe://ostiary/ns/sre/proxy/proxy-b")])
            let second = await #expect(throws: GRPCStatus.self) {
                try await plane.enrol(token: token)
            }
            #expect(second?.code == .unauthenticated)
            await #expect(throws: (any Error).self) {
                let client = try await plane.connect(port: plane.assembly.linkPort, nil)
                let call = try await client.bidirectional("/ostiary.control.v1.Link/Session")
                _ = try await call.nextMessage()
            }
            // Renewal keeps the name, whatever is asked for.
            let key = try SigningKey.generate(.es256)
            let request = try CertificateSigningRequest.create(
                commonName: "x",
                alternativeNames: [],
                key: key
            )
            var renew = WireRenewRequest()
            renew.certificateRequest = Data(request.der)
            let client = try await plane.connect(port: plane.assembly.linkPort, identity)
            let answer = try await client.unary(
                "/ostiary.control.v1.Link/Renew",
                try renew.serializedBytes()
            )
            await client.connection.close()
            let renewed = try Certificate(
                der: Array(try WireRenewResponse(serializedBytes: answer).certificate)
            )
            #expect(renewed.alternativeNames == names)
        }
    }
}

@Suite(.enabled(if: TestCluster.isAvailable), .timeLimit(.minutes(10)))
struct StartTests {
    @Test func `control refuses to start on a database that may lose what it committed`()
        async throws
    {
        let configuration = try TestCluster.shared.url()
        let key = try #require(SymmetricKey(Array(repeating: UInt8(7), count: 32)))
        let settings = ControlSettings(databaseURL: Secret(configuration), keyEncryptionKey: key)
        await #expect(throws: StartError.self) { try await assemble(settings, logger: silent) }
    }
}
