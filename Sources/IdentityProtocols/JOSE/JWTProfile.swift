public import JSON

/// What one kind of token must look like: the rules that differ between access tokens, ID tokens
/// and assertions.
///
/// Kinds are kept apart by `typ` where issuers set it, and by claims where they do not: an ID token
/// that is taken for an access token gives every client of the issuer access (RFC 8725 §3.12).
public struct JWTProfile: Hashable, Sendable {
    /// What a caller wants to do with a token.
    public enum Use: Hashable, Sendable {
        /// To authenticate a request (RFC 6750).
        case accessToken
        /// To finish a login (OpenID Connect Core §3.1.3.7).
        case idToken
        /// To authenticate a client at the token endpoint (RFC 7523 §2.2).
        case clientAssertion
        /// To be exchanged for a token of ours (RFC 7523 §2.1, RFC 8693).
        case assertionGrant

        /// What the sender of a refused token is told.
        public var oauthCode: OAuthErrorCode {
            switch self {
            case .accessToken: .invalidToken
            case .idToken, .assertionGrant: .invalidGrant
            case .clientAssertion: .invalidClient
            }
        }
    }

    /// How the audience is compared with the expected one.
    public enum AudienceRule: Hashable, Sendable {
        /// The expected value is among the audiences.
        case contains
        /// The expected value is the audience, as a single string (RFC 7523bis: audience
        /// injection).
        case isExactlyString
    }

    /// A claim that must be there, whatever its value.
    public enum RequiredClaim: String, Hashable, Sendable {
        /// The subject.
        case subject = "sub"
        /// When it was issued.
        case issuedAt = "iat"
        /// The token's own id.
        case tokenID = "jti"
        /// The client it was issued to.
        case clientID = "client_id"
        /// The login it answers.
        case nonce
    }

    /// A name for the record.
    public let name: Text
    /// What such tokens are for.
    public let use: Use
    /// The types accepted, in lower case without `application/`.
    public let types: Set<Text>
    /// Whether `typ` may be absent.
    public let allowsAbsentType: Bool
    /// The claims beyond `iss`, `aud` and `exp`, which are always required.
    public let required: Set<RequiredClaim>
    /// Claims that show a token to be of another kind.
    public let foreignClaims: Set<Text>
    /// The longest time between `iat` and `exp`, in seconds.
    public let lifetimeSecondsMax: Int64
    /// How the audience is compared.
    public let audienceRule: AudienceRule

    /// A profile of its own; the ready-made ones are below.
    public init(
        name: Text,
        use: Use,
        types: Set<Text>,
        allowsAbsentType: Bool,
        required: Set<RequiredClaim>,
        foreignClaims: Set<Text> = [],
        lifetimeSecondsMax: Int64,
        audienceRule: AudienceRule = .contains
    ) {
        self.name = name
        self.use = use
        self.types = types
        self.allowsAbsentType = allowsAbsentType
        self.required = required
        self.foreignClaims = foreignClaims
        self.lifetimeSecondsMax = lifetimeSecondsMax
        self.audienceRule = audienceRule
    }

    /// JWT access tokens by RFC 9068: `at+jwt`, at most a day.
    public static let accessToken = JWTProfile(
        name: "at+jwt",
        use: .accessToken,
        types: ["at+jwt"],
        allowsAbsentType: false,
        required: [.subject, .issuedAt, .tokenID, .clientID],
        lifetimeSecondsMax: 86_400
    )

    /// Access tokens of issuers that call them `JWT` or nothing, at most a day.
    ///
    /// Such an issuer's ID tokens look the same, but for the claims that only a login needs.
    public static let plainAccessToken = JWTProfile(
        name: "jwt-access-token",
        use: .accessToken,
        types: ["jwt"],
        allowsAbsentType: true,
        required: [.subject],
        foreignClaims: ["nonce", "at_hash", "c_hash", "events"],
        lifetimeSecondsMax: 86_400
    )

    /// ID tokens of OpenID Connect, at most a day.
    public static let idToken = JWTProfile(
        name: "id-token",
        use: .idToken,
        types: ["jwt"],
        allowsAbsentType: true,
        required: [.subject, .issuedAt, .nonce],
        foreignClaims: ["events"],
        lifetimeSecondsMax: 86_400
    )

    /// Client assertions (`private_key_jwt`), at most five minutes, for us alone.
    public static let clientAssertion = JWTProfile(
        name: "client-assertion",
        use: .clientAssertion,
        types: ["jwt", "client-authentication+jwt"],
        allowsAbsentType: true,
        required: [.subject, .issuedAt, .tokenID],
        foreignClaims: ["nonce", "at_hash", "c_hash", "events"],
        lifetimeSecondsMax: 300,
        audienceRule: .isExactlyString
    )

    /// Identity tokens of workloads (Kubernetes, CI jobs, SPIFFE) to be exchanged, at most a day.
    ///
    /// The audience may be an array, since Kubernetes writes it so.
    public static let workloadToken = JWTProfile(
        name: "workload-token",
        use: .assertionGrant,
        types: ["jwt", "jose"],
        allowsAbsentType: true,
        required: [.subject, .issuedAt],
        foreignClaims: ["nonce", "at_hash", "c_hash", "events"],
        lifetimeSecondsMax: 86_400
    )

    func accepts(type: Text?) -> Bool {
        type.map(types.contains) ?? allowsAbsentType
    }
}

/// Where a claim is, as a JSON pointer (RFC 6901) through objects.
///
/// No wildcards and no array positions: which value is meant must not depend on the token.
public struct ClaimPointer: Hashable, Sendable {
    /// The names from the outside in.
    public let path: [Text]

    /// Reads `/realm_access/roles`; `nil` for anything that is no pointer, and for the whole
    /// document.
    public init?(_ pointer: Text) {
        let bytes = Array(pointer.utf8)
        guard bytes.first == UInt8(ascii: "/") else { return nil }
        var path: [Text] = []
        for token in bytes.dropFirst().split(
            separator: UInt8(ascii: "/"),
            omittingEmptySubsequences: false
        ) {
            guard let name = Self.unescape(token) else { return nil }
            path.append(name)
        }
        self.path = path
    }

    /// The value the pointer leads to in `root`.
    public func value(in root: JSONValue) -> JSONValue? {
        var value = root
        for name in path {
            guard let member = value.member(named: name) else { return nil }
            value = member
        }
        return value
    }

    private static func unescape(_ token: ArraySlice<UInt8>) -> Text? {
        var name: [UInt8] = []
        var rest = token
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "~") else {
                name.append(byte)
                continue
            }
            switch rest.popFirst() {
            case UInt8(ascii: "0"): name.append(UInt8(ascii: "~"))
            case UInt8(ascii: "1"): name.append(UInt8(ascii: "/"))
            default: return nil
            }
        }
        return Text(validating: name)
    }
}
