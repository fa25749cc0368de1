public import Cryptography
public import GatewayModel

/// Encrypts upstream credentials under the namespace's `credentials` key, each bound to its server.
public struct CredentialVault: Sendable {
    private let namespace: NamespaceID
    private let aead: AEAD

    /// The vault of a namespace.
    public init(_ keys: NamespaceKeys, of namespace: NamespaceID) throws(CryptographyError) {
        self.namespace = namespace
        aead = try AEAD(keys.credentials.key)
    }

    /// A credential as it may be stored.
    public func seal(
        _ credential: Secret,
        for server: ServerName
    ) throws(CryptographyError) -> [UInt8] {
        try credential.withUnsafeBytes { bytes throws(CryptographyError) in
            try aead.seal(bytes, authenticating: place(server))
        }
    }

    /// The credential that was stored for `server`.
    public func open(
        _ sealed: [UInt8],
        for server: ServerName
    ) throws(CryptographyError) -> Secret {
        Secret(try aead.open(sealed, authenticating: place(server)))
    }

    private func place(_ server: ServerName) -> [UInt8] {
        Array("ostiary-credential-v1\n\(namespace)/\(server)".utf8)
    }
}
