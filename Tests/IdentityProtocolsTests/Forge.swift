import Cryptography
import IdentityProtocols
import JSON

/// Makes tokens that an issuer would never make.
struct Forge {
    static let now: Int64 = 1_800_000_000
    static let audience: Text = "https://gateway.test/ns/a/files"
    static let issuerName: Text = "https://issuer.test"

    let key: SigningKey

    /// A token from texts as they are, signed by the forge's key.
    func token(header: String, payload: String) throws -> [UInt8] {
        let input = "\(Base64.encode(header.utf8, .url)).\(Base64.encode(payload.utf8, .url))"
        let signature = try key.sign(input.utf8)
        return Array("\(input).\(Base64.encode(signature, .url))".utf8)
    }

    /// Claims that every profile for access tokens accepts, with changes: `nil` leaves a claim out.
    static func claims(_ changes: KeyValuePairs<String, String?> = [:]) -> String {
        var claims: [(String, String)] = [
            ("iss", #""\#(issuerName.string)""#), ("sub", #""u-1""#),
            ("aud", #""\#(audience.string)""#), ("client_id", #""cli""#), ("jti", #""t-1""#),
            ("iat", "\(now)"), ("exp", "\(now + 300)"),
        ]
        for (name, value) in changes {
            claims.removeAll { $0.0 == name }
            if let value { claims.append((name, value)) }
        }
        return "{" + claims.map { #""\#($0.0)":\#($0.1)"# }.joined(separator: ",") + "}"
    }

    /// The published key, as an issuer would have it; `alg` only where wanted.
    func jwk(kid: String?, alg: Bool = true) throws -> String {
        let fragment = try JWK.published(key.verificationKey, keyID: Text(kid ?? "x"))
        var text = String(decoding: fragment.bytes, as: UTF8.self)
        if kid == nil { text = text.replacing(#""kid":"x","#, with: "") }
        if !alg { text = text.replacing(#""alg":"\#(key.algorithm.rawValue)","#, with: "") }
        return text
    }

    static func keySet(_ keys: [String]) throws -> JWKSet {
        try JWKSet(parsing: Array(#"{"keys":[\#(keys.joined(separator: ","))]}"#.utf8))
    }

    /// A trust table with one issuer.
    static func issuers(
        _ keys: JWKSet,
        algorithms: Set<SignatureAlgorithm> = Set(SignatureAlgorithm.allCases),
        profiles: [JWTProfile] = [.accessToken],
        groups: Text? = "/groups"
    ) -> TrustedIssuers {
        TrustedIssuers([
            TrustedIssuer(
                issuer: issuerName,
                algorithms: algorithms,
                keys: keys,
                profiles: profiles,
                groupsClaim: groups.flatMap { ClaimPointer($0) }
            )
        ])
    }

    static func verdict(
        _ token: [UInt8],
        _ issuers: TrustedIssuers,
        for use: JWTProfile.Use = .accessToken,
        audience: Text = audience,
        nonce: Text? = nil,
        at now: Int64 = now
    ) -> Result<VerifiedClaims, JWTRefusal> {
        Result { () throws(JWTRefusal) in
            try JWTValidator(for: use, expectedNonce: nonce)
                .validate(token, issuers: issuers, audience: audience, now: now)
        }
    }
}

extension Result where Failure == JWTRefusal {
    /// The reason of a refusal, `nil` for acceptance.
    var reason: JWTRefusal.Reason? {
        if case .failure(let refusal) = self { refusal.reason } else { nil }
    }
}

/// One key of each kind for the whole run: RSA keys take long to make.
enum Keys {
    private static let rsaPEM = Result { try SigningKey.generate(.rs256).pem() }
    private static let p256 = Result { try SigningKey.generate(.es256) }

    static func key(_ algorithm: SignatureAlgorithm) throws -> SigningKey {
        switch algorithm.keyKind {
        case .rsa:
            try rsaPEM.get().withUnsafeBytes { try SigningKey(pem: $0, algorithm: algorithm) }
        case .p256: try p256.get()
        case .p384, .ed25519: try SigningKey.generate(algorithm)
        }
    }

    static func forge(_ algorithm: SignatureAlgorithm = .es256) throws -> Forge {
        Forge(key: try key(algorithm))
    }
}

/// SplitMix64: the same numbers for the same seed, on every machine.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
