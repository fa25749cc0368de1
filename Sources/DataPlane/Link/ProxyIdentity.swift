import ControlProtocol
import Cryptography
import FoundationEssentials
import GatewayModel
import JSON
import NIOCore
import Networking
import ServiceRuntime
import SwiftProtobuf

/// Who this proxy is to control: a private key, a short-lived certificate that names instance and
/// namespace, the authority that issued it, and the key that signs configurations.
///
/// All four live in the state directory.
struct ProxyIdentity: Sendable {
    let namespace: NamespaceName
    let instance: InstanceID
    let certificate: Certificate
    let authority: Certificate
    let key: SigningKey
    let snapshotKey: VerificationKey

    /// The name that control's own certificate carries.
    static let controlURI = "spiffe://ostiary/control"
    private static let proxyPrefix = "spiffe://ostiary/ns/"

    /// What stands in the state directory.
    enum FileName: String, CaseIterable {
        case key = "proxy.key"
        case certificate = "proxy.crt"
        case authority = "authority.crt"
        case snapshotKey = "snapshot.pub"
    }

    /// Whether the state directory holds an identity: the certificate is written last.
    static func isPresent(in stateDirectory: String) -> Bool {
        (try? Files.read("\(stateDirectory)/\(FileName.certificate.rawValue)") {
            SettingsError("", $0)
        }) != nil
    }

    /// Reads the identity from a state directory.
    init(stateDirectory: String) throws {
        func bytes(_ name: FileName) throws -> [UInt8] {
            try Files.read("\(stateDirectory)/\(name.rawValue)") {
                SettingsError("OSTIARY_STATE_DIRECTORY", "\(name.rawValue): \($0)")
            }
        }
        try self.init(
            certificate: Certificate(pem: bytes(.certificate)),
            authority: Certificate(pem: bytes(.authority)),
            key: SigningKey(pem: bytes(.key), algorithm: .es256),
            snapshotKey: VerificationKey(pem: bytes(.snapshotKey), algorithm: .es256)
        )
    }

    init(
        certificate: Certificate,
        authority: Certificate,
        key: SigningKey,
        snapshotKey: VerificationKey
    ) throws {
        let uris = certificate.uris.filter { $0.hasPrefix(Self.proxyPrefix) }
        // spiffe://ostiary/ns/<namespace>/proxy/<instance>
        let parts = uris.first?.dropFirst(Self.proxyPrefix.count).split(separator: "/") ?? []
        guard uris.count == 1, parts.count == 3, parts[1] == "proxy" else {
            throw SettingsError(
                "OSTIARY_STATE_DIRECTORY",
                "proxy.crt does not name one proxy of one namespace"
            )
        }
        namespace = NamespaceName(String(parts[0]))
        instance = InstanceID(String(parts[2]))
        self.certificate = certificate
        self.authority = authority
        self.key = key
        self.snapshotKey = snapshotKey
    }

    /// Whom control's certificate must name.
    var controlName: TLSSession.ServerName {
        .uri(Self.controlURI, sni: nil)
    }

    /// The client's side of the link's TLS: our certificate, only our authority, only HTTP/2.
    func tlsContext() throws -> TLSContext {
        try TLSContext(
            TLSContext.Configuration(
                role: .client,
                identity: TLSIdentity(certificates: [certificate], key: key),
                trust: .roots([authority]),
                applicationProtocols: ["h2"]
            )
        )
    }

    /// The same identity with a fresh certificate, which is on disk when this returns.
    func renewed(through client: GRPCClient, stateDirectory: String) async throws -> ProxyIdentity {
        let request = try CertificateSigningRequest.create(
            commonName: "ostiary-proxy",
            alternativeNames: [],
            key: key
        )
        var renew = WireRenewRequest()
        renew.certificateRequest = Data(request.der)
        let answer = try await client.unary(
            "/ostiary.control.v1.Link/Renew",
            renew.serializedBytes(),
            timeout: .seconds(10)
        )
        let response = try WireRenewResponse(serializedBytes: answer)
        let renewed = try ProxyIdentity(
            certificate: Certificate(der: Array(response.certificate)),
            authority: authority,
            key: key,
            snapshotKey: snapshotKey
        )
        // Refuses a certificate that is not for our key, and one that names somebody else, before anything is written.
        _ = try renewed.tlsContext()
        guard renewed.namespace == namespace, renewed.instance == instance else {
            throw SettingsError(
                "OSTIARY_STATE_DIRECTORY",
                "the renewed certificate names another proxy"
            )
        }
        let path = "\(stateDirectory)/\(FileName.certificate.rawValue)"
        try Files.write(Array(renewed.certificate.pem.utf8), to: path, mode: 0o644) {
            SettingsError("OSTIARY_STATE_DIRECTORY", $0)
        }
        return renewed
    }
}
