/// Why a token is not accepted.
///
/// Two audiences: the sender gets ``oauthCode`` and nothing else, the record gets ``reason``.
/// Neither holds a byte of the token.
public struct JWTRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The precise cause; raw values are stable and documented.
    public enum Reason: String, Hashable, Sendable, CaseIterable {
        /// Longer than 16 KiB.
        case tooLong = "token_too_long"
        /// Not three parts of canonical base64url.
        case malformed = "token_malformed"
        /// The header is not strict JSON, or a member has the wrong type.
        case headerMalformed = "header_malformed"
        /// The header asks for an extension (`crit`, `b64`, `zip`) or brings its own key (`jwk`,
        /// `jku`, `x5c`, `x5u`).
        case headerForbidden = "header_forbidden"
        /// `alg` is missing, unknown, not allowed for the issuer, or not the algorithm of the key.
        case algorithmRefused = "algorithm_refused"
        /// The payload is not strict JSON.
        case payloadMalformed = "payload_malformed"
        /// `iss` names nobody who is trusted here.
        case issuerUnknown = "issuer_unknown"
        /// `typ` is not one of those the issuer's profiles accept for this use.
        case typeRefused = "type_refused"
        /// `kid` is missing although the issuer has several keys.
        case keyIDMissing = "key_id_missing"
        /// The issuer has no such key; a refresh of the key set may help.
        case keyUnknown = "key_unknown"
        /// The signature is not the key's.
        case signatureInvalid = "signature_invalid"
        /// `aud` is missing, empty, of the wrong type, or for somebody else.
        case audienceRefused = "audience_refused"
        /// `exp` has passed.
        case expired = "token_expired"
        /// `nbf` or `iat` lies in the future.
        case notYetValid = "token_not_yet_valid"
        /// `exp` lies farther from `iat` than the profile allows.
        case lifetimeTooLong = "lifetime_too_long"
        /// A claim the profile requires is missing.
        case claimMissing = "claim_missing"
        /// A claim has the wrong type or an impossible value.
        case claimMalformed = "claim_malformed"
        /// The subject is empty, longer than 255 bytes, not printable ASCII, or (in a client
        /// assertion) not the issuer.
        case subjectMalformed = "subject_malformed"
        /// The groups claim is not an array of strings.
        case groupsMalformed = "groups_malformed"
        /// The groups are too many for the token and kept elsewhere (`_claim_names`).
        case groupsOverage = "groups_overage"
        /// The token carries claims of another kind of token.
        case wrongKind = "wrong_kind"
        /// `nonce` is not the one of the login.
        case nonceMismatch = "nonce_mismatch"
        /// `azp` is not the client.
        case authorizedPartyMismatch = "azp_mismatch"
    }

    /// The precise cause, for the record.
    public let reason: Reason
    /// What the sender is told (RFC 6750 §3.1, RFC 6749 §5.2).
    public let oauthCode: OAuthErrorCode

    /// A refusal.
    public init(_ reason: Reason, _ oauthCode: OAuthErrorCode = .invalidToken) {
        self.reason = reason
        self.oauthCode = oauthCode
    }

    /// The stable reason code.
    public var description: String { reason.rawValue }
}

/// The error codes of OAuth that a refused token can become.
public enum OAuthErrorCode: String, Hashable, Sendable {
    /// A resource server does not accept the access token.
    case invalidToken = "invalid_token"
    /// A token endpoint does not accept the assertion.
    case invalidGrant = "invalid_grant"
    /// A token endpoint does not know the client.
    case invalidClient = "invalid_client"
}
