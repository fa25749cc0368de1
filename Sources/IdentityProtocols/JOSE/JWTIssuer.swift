public import Cryptography
public import JSON

/// Signs tokens in our own name: access tokens of the development issuer, and session identities.
public struct JWTIssuer: Sendable {
    /// Written as `iss`.
    public let issuer: Text
    /// Written as `kid`, the key's thumbprint (RFC 7638).
    public let keyID: Text

    private let key: SigningKey
    private let publicKey: VerificationKey

    /// An issuer with one key, ES256 or EdDSA: RSA signatures cost ten times as much and are ten
    /// times as long.
    public init(issuer: Text, key: SigningKey) throws(CryptographyError) {
        guard key.algorithm == .es256 || key.algorithm == .edDSA else { throw .algorithmRefused }
        self.issuer = issuer
        self.key = key
        publicKey = try key.verificationKey
        keyID = try JWK.thumbprint(publicKey)
    }

    /// What an access token is to say (RFC 9068 §2.2).
    public struct AccessToken: Sendable {
        /// `sub`.
        public var subject: Text
        /// `aud`, written as a string.
        public var audience: Text
        /// `client_id`.
        public var clientID: Text
        /// `jti`; unique for the issuer.
        public var tokenID: Text
        /// The time until `exp`, in seconds.
        public var lifetimeSeconds: Int64
        /// `scope`; each without blanks.
        public var scopes: [Text] = []
        /// `groups`.
        public var groups: [Text] = []
        /// `sid`.
        public var sessionID: Text?
        /// `auth_time`, in seconds since 1970.
        public var authenticatedAt: Int64?
        /// `acr`.
        public var authenticationContext: Text?

        /// What every access token says.
        public init(
            subject: Text,
            audience: Text,
            clientID: Text,
            tokenID: Text,
            lifetimeSeconds: Int64
        ) {
            self.subject = subject
            self.audience = audience
            self.clientID = clientID
            self.tokenID = tokenID
            self.lifetimeSeconds = lifetimeSeconds
        }
    }

    /// A signed access token of type `at+jwt`; `now` in seconds since 1970.
    public func sign(_ token: AccessToken, now: Int64) throws(CryptographyError) -> [UInt8] {
        let claims = JSONFragment(object: { writer in
            writer.member("iss", issuer)
            writer.member("sub", token.subject)
            writer.member("aud", token.audience)
            writer.member("client_id", token.clientID)
            writer.member("jti", token.tokenID)
            writer.member("iat", now)
            writer.member("exp", now + token.lifetimeSeconds)
            if !token.scopes.isEmpty {
                let scope = token.scopes.map(\.string).joined(separator: " ")
                writer.member("scope", scope)
            }
            if !token.groups.isEmpty {
                writer.array("groups") { writer in
                    for group in token.groups { writer.value(group) }
                }
            }
            writer.member("sid", ifPresent: token.sessionID)
            writer.member("auth_time", ifPresent: token.authenticatedAt)
            writer.member("acr", ifPresent: token.authenticationContext)
        })
        return try sign(claims.bytes, type: "at+jwt")
    }

    /// A signed token of any type over `payload`, which must be a JSON object.
    public func sign(_ payload: [UInt8], type: Text) throws(CryptographyError) -> [UInt8] {
        let header = JSONFragment(object: { writer in
            writer.member("alg", key.algorithm.rawValue)
            writer.member("kid", keyID)
            writer.member("typ", type)
        })
        var token = Base64.encodeToBytes(header.bytes, .url)
        token.append(UInt8(ascii: "."))
        token.append(contentsOf: Base64.encodeToBytes(payload, .url))
        let signature = try key.sign(token)
        token.append(UInt8(ascii: "."))
        token.append(contentsOf: Base64.encodeToBytes(signature, .url))
        return token
    }

    /// The set to publish at `jwks_uri`.
    public func keySet() throws(CryptographyError) -> [UInt8] {
        let published = try JWK.published(publicKey, keyID: keyID)
        return JSONFragment(object: { writer in
            writer.array("keys") { writer in writer.value(published) }
        }).bytes
    }
}
