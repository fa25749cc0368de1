import ControlStore
import Cryptography
import IdentityProtocols
public import JSON

/// Mints access tokens for development: an issuer whose key control itself holds.
///
/// A namespace believes it only if it has it as an identity provider (`"developmentIssuer": true`
/// in an import document).
public struct DevelopmentIssuer: Sendable {
    /// Its name, the `iss` of its tokens.
    public static let name: Text = "urn:ostiary:development"

    private let issuer: JWTIssuer

    init(_ keys: InstallationKeys) throws(CryptographyError) {
        issuer = try JWTIssuer(issuer: Self.name, key: keys.developmentIssuer)
    }

    /// A token for `subject` that `audience` accepts.
    func mint(
        subject: Text,
        audience: Text,
        lifetimeSeconds: Int64,
        now: Int64
    ) throws(CryptographyError) -> [UInt8] {
        try issuer.sign(
            JWTIssuer.AccessToken(
                subject: subject,
                audience: audience,
                clientID: "ostiary-development",
                tokenID: Text(Base64.encode(SecureRandom.bytes(16), .url)),
                lifetimeSeconds: lifetimeSeconds
            ),
            now: now
        )
    }

    /// It as an identity provider of a namespace.
    func provider(audiences: [Text]) throws(CryptographyError) -> IdentityProvider {
        IdentityProvider(
            issuer: Self.name,
            jwks: Text(String(decoding: try issuer.keySet(), as: UTF8.self)),
            audiences: audiences,
            algorithms: ["ES256"],
            tokenTypes: ["at+jwt"]
        )
    }
}
