import ControlProtocol
import Cryptography
import FoundationEssentials
import GatewayModel
import Logging
import NIOCore
import Networking
import ServiceRuntime
import SwiftProtobuf

/// How a proxy comes by its identity: it makes a key, which never leaves the machine, and spends a one-time token on a
/// certificate for it.
///
/// Control's authority must be known beforehand: it is pinned from a file, and nobody else is asked.
struct Enrolment {
    /// Where enrolment is served, and what is shown there.
    struct Settings: Sendable {
        var host: String
        var port: Int
        var authorityFile: String
        var token: Secret
    }

    private static let path = "/ostiary.control.v1.Link/Enrol"

    /// Enrols and writes the identity's files into the state directory; the key first, so that a certificate is never
    /// there without it.
    static func run(
        _ settings: Settings,
        stateDirectory: String,
        executor: LoopExecutor
    ) async throws {
        let pem = try Files.read(settings.authorityFile) {
            SettingsError("OSTIARY_AUTHORITY_FILE", $0)
        }
        let authority = try Certificate(pem: pem)
        let key = try SigningKey.generate(.es256)
        let request = try CertificateSigningRequest.create(
            commonName: "ostiary-proxy",
            alternativeNames: [],
            key: key
        )
        var enrol = WireEnrolRequest()
        enrol.oneTimeToken = settings.token.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        enrol.certificateRequest = Data(request.der)
        let response = try await exchange(enrol, settings, authority, executor)
        guard Array(response.authority) == authority.der else {
            throw SettingsError(
                "OSTIARY_AUTHORITY_FILE",
                "is not the authority that control answers for"
            )
        }
        let certificate = try Certificate(der: Array(response.certificate))
        let snapshotKey = try VerificationKey(spki: Array(response.snapshotKey), algorithm: .es256)
        // Refuses a certificate that is not for our key, or names no proxy, before anything is written.
        _ = try ProxyIdentity(
            certificate: certificate,
            authority: authority,
            key: key,
            snapshotKey: snapshotKey
        ).tlsContext()
        let keyPEM = try key.pem().withUnsafeBytes { Array($0) }
        for (name, bytes, mode) in [
            (ProxyIdentity.FileName.key, keyPEM, UInt32(0o600)),
            (.authority, Array(authority.pem.utf8), 0o644),
            (.snapshotKey, Array(try snapshotKey.pem().utf8), 0o644),
            (.certificate, Array(certificate.pem.utf8), 0o644),
        ] {
            try Files.write(bytes, to: "\(stateDirectory)/\(name.rawValue)", mode: mode) {
                SettingsError("OSTIARY_STATE_DIRECTORY", "\(name.rawValue): \($0)")
            }
        }
    }

    private static func exchange(
        _ request: WireEnrolRequest,
        _ settings: Settings,
        _ authority: Certificate,
        _ executor: LoopExecutor
    ) async throws -> WireEnrolResponse {
        let tls = try TLSContext(
            TLSContext.Configuration(
                role: .client,
                trust: .roots([authority]),
                applicationProtocols: ["h2"]
            )
        )
        let connection = try await HTTP2ClientConnection.connect(
            host: settings.host,
            port: settings.port,
            on: executor,
            tls: tls,
            verifying: .uri(ProxyIdentity.controlURI, sni: nil)
        )
        defer {
            executor.loop.execute {
                connection.assumeIsolated { $0.close() }
            }
        }
        let client = GRPCClient(connection, authority: "ostiary-control", scheme: "https")
        let answer = try await client.unary(
            path,
            request.serializedBytes(),
            timeout: .seconds(10)
        )
        return try WireEnrolResponse(serializedBytes: answer)
    }
}
