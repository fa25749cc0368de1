import ControlStore
public import Cryptography
public import GatewayModel
import JSON

/// Who is at the other end of a link, by its certificate:
/// `spiffe://ostiary/ns/<namespace>/proxy/<instance>`.
public struct ProxyIdentity: Hashable, Sendable {
    /// What control's own certificate says.
    public static let controlURI = "spiffe://ostiary/control"

    /// The one namespace the proxy serves.
    public let namespace: NamespaceName
    /// The proxy.
    public let instance: InstanceID

    /// An identity to be certified.
    public init(namespace: NamespaceName, instance: InstanceID) {
        self.namespace = namespace
        self.instance = instance
    }

    /// The identity in a verified certificate: its only URI, of exactly this form.
    public init?(_ certificate: Certificate) {
        let uris = certificate.uris
        guard uris.count == 1, let uri = uris.first else { return nil }
        let pieces = uri.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            .map { Text(String(decoding: $0, as: UTF8.self)) }
        guard pieces.count == 7, pieces[0] == "spiffe:", pieces[1].isEmpty, pieces[2] == "ostiary",
            pieces[3] == "ns", pieces[5] == "proxy"
        else { return nil }
        (namespace, instance) = (NamespaceName(pieces[4]), InstanceID(pieces[6]))
        guard namespace.isWellFormed, InstanceStore.isWellFormed(instance) else { return nil }
    }

    /// What the certificate says.
    public var uri: String { "spiffe://ostiary/ns/\(namespace)/proxy/\(instance)" }
}

/// Issues the certificates of the link: 24 hours for a proxy, 24 hours for control itself.
public struct LinkAuthority: Sendable {
    /// How long a certificate is valid.
    public static let lifetimeSeconds: Int64 = 86_400

    /// What both ends trust.
    public let authority: CertificateAuthority

    /// Issues under `authority`.
    public init(_ authority: CertificateAuthority) {
        self.authority = authority
    }

    /// A certificate for the key of a request.
    ///
    /// What the request asks to be called is not looked at.
    public func certify(
        _ request: CertificateSigningRequest,
        as identity: ProxyIdentity,
        now: Int64
    ) throws(CryptographyError) -> Certificate {
        try authority.issue(
            CertificateTemplate(
                commonName: identity.instance.text.string,
                alternativeNames: [.uri(identity.uri)],
                // Clocks of two machines may differ a little.
                notBefore: now - 300,
                notAfter: now + Self.lifetimeSeconds,
                purposes: [.client]
            ),
            for: request.publicKeyInfo
        )
    }

    /// A fresh key and certificate for control's listeners.
    func ownIdentity(now: Int64) throws(CryptographyError) -> TLSIdentity {
        let key = try SigningKey.generate(.es256)
        let certificate = try authority.issue(
            CertificateTemplate(
                commonName: "ostiary-control",
                alternativeNames: [
                    .uri(ProxyIdentity.controlURI), .dns("ostiary-control"), .dns("localhost"),
                ],
                notBefore: now - 300,
                notAfter: now + Self.lifetimeSeconds,
                purposes: [.server]
            ),
            for: key.verificationKey.spki()
        )
        return try TLSIdentity(certificates: [certificate], key: key)
    }
}
