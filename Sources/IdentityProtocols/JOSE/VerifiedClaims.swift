public import JSON

/// What a verified token says.
///
/// Only ``JWTValidator`` makes one.
public struct VerifiedClaims: Sendable {
    /// `iss`, the issuer's configured name.
    public let issuer: Text
    /// The kind of token, by the name of its profile.
    public let profile: Text
    /// The subject, from the claim configured for the issuer.
    public let subject: Text
    /// `aud`, never empty.
    public let audiences: [Text]
    /// `client_id`, else `azp`.
    public let clientID: Text?
    /// `scope` at its blanks, else `scp`; in the order of the token.
    public let scopes: [Text]
    /// `jti`.
    public let tokenID: Text?
    /// `iat`, in seconds since 1970.
    public let issuedAt: Int64?
    /// `exp`, in seconds since 1970.
    ///
    /// The token may have been accepted up to the skew after it.
    public let expiresAt: Int64
    /// The groups at the issuer's groups claim; empty without one.
    public let groups: [Text]
    /// `sid`, the session at the issuer.
    public let sessionID: Text?
    /// `auth_time`, in seconds since 1970.
    public let authenticatedAt: Int64?
    /// `acr`.
    public let authenticationContext: Text?
    /// All claims as sent.
    public let document: JSONValue
}
