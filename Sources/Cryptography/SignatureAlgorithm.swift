/// The asymmetric signature algorithms accepted anywhere in this project, by their JOSE names.
///
/// There is no `none` and no HMAC here: a verifier that has no name for them cannot be talked into
/// them.
public enum SignatureAlgorithm: String, Hashable, Sendable, CaseIterable {
    /// ECDSA over P-256 with SHA-256 (RFC 7518 §3.4).
    case es256 = "ES256"
    /// ECDSA over P-384 with SHA-384.
    case es384 = "ES384"
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    case rs256 = "RS256"
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    case rs384 = "RS384"
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    case rs512 = "RS512"
    /// RSASSA-PSS with SHA-256, salt as long as the digest (RFC 7518 §3.5).
    case ps256 = "PS256"
    /// RSASSA-PSS with SHA-384.
    case ps384 = "PS384"
    /// RSASSA-PSS with SHA-512.
    case ps512 = "PS512"
    /// Ed25519 (RFC 8032, RFC 8037).
    case edDSA = "EdDSA"

    /// The kind of key the algorithm needs.
    public enum KeyKind: Hashable, Sendable {
        /// NIST P-256.
        case p256
        /// NIST P-384.
        case p384
        /// RSA with a modulus of 2048 to 8192 bits.
        case rsa
        /// Edwards curve 25519.
        case ed25519
    }

    /// The kind of key the algorithm needs.
    public var keyKind: KeyKind {
        switch self {
        case .es256: .p256
        case .es384: .p384
        case .rs256, .rs384, .rs512, .ps256, .ps384, .ps512: .rsa
        case .edDSA: .ed25519
        }
    }

    /// `nil` for Ed25519, which hashes on its own.
    var hash: HashAlgorithm? {
        switch self {
        case .es256, .rs256, .ps256: .sha256
        case .es384, .rs384, .ps384: .sha384
        case .rs512, .ps512: .sha512
        case .edDSA: nil
        }
    }

    var isPSS: Bool {
        switch self {
        case .ps256, .ps384, .ps512: true
        default: false
        }
    }

    /// The length of `r` and of `s` in the JOSE form of an ECDSA signature.
    var ecdsaFieldByteCount: Int? {
        switch keyKind {
        case .p256: 32
        case .p384: 48
        case .rsa, .ed25519: nil
        }
    }
}
