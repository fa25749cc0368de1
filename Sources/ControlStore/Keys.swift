public import Cryptography
import GatewayModel
import JSON
public import Postgres

/// A key of a namespace, unwrapped.
public struct NamespaceKey: Sendable {
    /// What a key is for.
    public enum Purpose: String, Sendable, CaseIterable {
        /// Encrypts the parts of records.
        case parts
        /// Seals session ids and other handles; every proxy of the namespace gets it.
        case sealing
        /// Encrypts upstream credentials at rest.
        case credentials
    }

    /// Its name within the namespace, stored beside everything it encrypts.
    public let id: String
    /// What it is for.
    public let purpose: Purpose
    /// The key itself.
    public let key: SymmetricKey
}

/// The keys in force of one namespace.
public struct NamespaceKeys: Sendable {
    /// Encrypts the parts of records.
    public let parts: NamespaceKey
    /// Seals handles.
    public let sealing: NamespaceKey
    /// Encrypts upstream credentials.
    public let credentials: NamespaceKey
}

/// The keys of the installation, unwrapped.
public struct InstallationKeys: Sendable {
    /// Signs configuration snapshots.
    public let snapshot: SigningKey
    /// Names the snapshot key: the first 16 hex digits of SHA-256 over its public half.
    public let snapshotKeyID: String
    /// Issues the certificates of proxies and of control.
    public let authority: CertificateAuthority
    /// Signs development tokens.
    public let developmentIssuer: SigningKey
}

/// Keys wrapped by the key-encryption key: `namespace_key`, `installation_key`.
///
/// Keys are created on first use. Several replicas may do so at once: each offers its own, one
/// insert wins, and all read what won. A wrapped key is bound to its place, so that rows cannot be
/// exchanged.
public struct KeyStore: Sendable {
    private let client: PostgresClient
    private let wrapping: AEAD

    /// Keys in this database under `keyEncryptionKey`, which must have 32 bytes.
    public init(
        _ client: PostgresClient,
        keyEncryptionKey: SymmetricKey
    ) throws(CryptographyError) {
        self.client = client
        wrapping = try AEAD(keyEncryptionKey)
    }

    // MARK: - Namespace keys

    /// The keys of a namespace, made when they are missing.
    public func keys(of namespace: NamespaceID) async throws(StoreError) -> NamespaceKeys {
        var found = try await existing(namespace)
        let missing = NamespaceKey.Purpose.allCases.filter { found[$0] == nil }
        for purpose in missing {
            let id = "\(purpose.rawValue)-1"
            let wrapped = try wrap(SymmetricKey(random: .bits256), at: "\(namespace)/\(id)")
            _ = try await client.run(
                """
                insert into namespace_key (namespace_id, id, purpose, wrapped)
                values (\(namespace), \(id), \(purpose.rawValue), \(wrapped))
                on conflict do nothing
                """,
                in: .namespace(namespace)
            )
        }
        if !missing.isEmpty { found = try await existing(namespace) }
        guard let parts = found[.parts], let sealing = found[.sealing],
            let credentials = found[.credentials]
        else { throw .malformed(what: "namespace_key") }
        return NamespaceKeys(parts: parts, sealing: sealing, credentials: credentials)
    }

    /// The newest key of each purpose.
    private func existing(
        _ namespace: NamespaceID
    ) async throws(StoreError) -> [NamespaceKey.Purpose: NamespaceKey] {
        let rows = try await client.run(
            """
            select id, purpose, wrapped from namespace_key
            where namespace_id = \(namespace) order by created_at, id
            """,
            in: .namespace(namespace)
        )
        return try storing {
            var keys: [NamespaceKey.Purpose: NamespaceKey] = [:]
            for row in rows {
                let (id, name, wrapped) = try row.decode(String.self, String.self, [UInt8].self)
                guard let purpose = NamespaceKey.Purpose(rawValue: name) else { continue }
                keys[purpose] = NamespaceKey(
                    id: id,
                    purpose: purpose,
                    key: try unwrapKey(wrapped, at: "\(namespace)/\(id)")
                )
            }
            return keys
        }
    }

    /// A namespace key by its name, for what it encrypted in the past.
    public func key(
        _ id: String,
        of namespace: NamespaceID
    ) async throws(StoreError) -> SymmetricKey? {
        let rows = try await client.run(
            "select wrapped from namespace_key where namespace_id = \(namespace) and id = \(id)",
            in: .namespace(namespace)
        )
        return try storing {
            guard let row = try rows.oneOrNone() else { return nil }
            return try unwrapKey(row.decode(at: 0), at: "\(namespace)/\(id)")
        }
    }

    // MARK: - Installation keys

    /// The keys of the installation, made when they are missing.
    ///
    /// - Parameter now: seconds since 1970; a new authority is valid from five minutes
    ///   before, for ten years.
    public func installationKeys(now: Int64) async throws(StoreError) -> InstallationKeys {
        var found = try await existingInstallationKeys()
        var isNew = false
        for purpose in ["snapshot", "authority", "development-issuer"] where found[purpose] == nil {
            isNew = true
            let (secret, shown) = try storing { try Self.make(purpose, now: now) }
            let wrapped = try wrap(secret, at: "installation/\(purpose)")
            _ = try await client.run(
                """
                insert into installation_key (id, purpose, wrapped, public)
                values (\(purpose + "-1"), \(purpose), \(wrapped), \(shown))
                on conflict do nothing
                """,
                in: .installation
            )
        }
        if isNew { found = try await existingInstallationKeys() }
        guard let snapshot = found["snapshot"], let authority = found["authority"],
            let issuer = found["development-issuer"]
        else { throw .malformed(what: "installation_key") }
        return try storing {
            InstallationKeys(
                snapshot: snapshot.key,
                snapshotKeyID: Self.keyID(of: snapshot.shown),
                authority: try CertificateAuthority(
                    certificate: Certificate(der: authority.shown),
                    key: authority.key
                ),
                developmentIssuer: issuer.key
            )
        }
    }

    /// The name of a public key given as `SubjectPublicKeyInfo`.
    public static func keyID(of publicKeyInfo: [UInt8]) -> String {
        String(SHA256.digest(of: publicKeyInfo).description.prefix(16))
    }

    /// A fresh private key as PEM, and what is public of it: the certificate of an authority, else
    /// the key.
    private static func make(
        _ purpose: String,
        now: Int64
    ) throws(CryptographyError) -> (Secret, [UInt8]) {
        if purpose == "authority" {
            let authority = try CertificateAuthority.create(
                commonName: "Ostiary authority",
                notBefore: now - 300,
                notAfter: now + 10 * 365 * 86_400
            )
            return (try authority.keyPEM(), authority.certificate.der)
        }
        let key = try SigningKey.generate(.es256)
        return (try key.pem(), try key.verificationKey.spki())
    }

    private func existingInstallationKeys() async throws(StoreError) -> [String: (
        key: SigningKey, shown: [UInt8]
    )] {
        let rows = try await client.run(
            "select purpose, wrapped, public from installation_key",
            in: .installation
        )
        return try storing {
            var keys: [String: (key: SigningKey, shown: [UInt8])] = [:]
            for row in rows {
                let (purpose, wrapped, shown) = try row.decode(
                    String.self,
                    [UInt8].self,
                    [UInt8].self
                )
                let pem = try wrapping.open(
                    wrapped,
                    authenticating: Self.place("installation/\(purpose)")
                )
                keys[purpose] = (try SigningKey(pem: pem, algorithm: .es256), shown)
            }
            return keys
        }
    }

    // MARK: - Wrapping

    private func wrap(_ key: SymmetricKey, at place: String) throws(StoreError) -> [UInt8] {
        try storing {
            try key.withUnsafeBytes { try wrapping.seal($0, authenticating: Self.place(place)) }
        }
    }

    private func wrap(_ secret: Secret, at place: String) throws(StoreError) -> [UInt8] {
        try storing {
            try secret.withUnsafeBytes { try wrapping.seal($0, authenticating: Self.place(place)) }
        }
    }

    private func unwrapKey(_ wrapped: [UInt8], at place: String) throws -> SymmetricKey {
        let bytes = try wrapping.open(wrapped, authenticating: Self.place(place))
        guard let key = SymmetricKey(bytes) else {
            throw StoreError.malformed(what: "namespace_key")
        }
        return key
    }

    private static func place(_ text: String) -> [UInt8] {
        Array("ostiary-key-v1\n\(text)".utf8)
    }
}
