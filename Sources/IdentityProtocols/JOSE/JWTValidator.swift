import Cryptography
public import JSON

/// Decides whether a token is genuine, from somebody we trust, for us, and still good.
///
/// The order is part of the contract: cheap and unambiguous checks come before the signature,
/// everything the payload says is believed only after it. The one exception is `iss`, which is read
/// early as a key for the trust table and compared again. Without state and without a clock, so
/// that any replica gives the same answer.
public struct JWTValidator: Sendable {
    /// What the tokens are for; decides which profiles count and what a sender is told.
    public let use: JWTProfile.Use
    /// How far clocks may be apart, in seconds.
    ///
    /// Default 60.
    public let skewSeconds: Int64
    /// The `nonce` of the login an ID token answers.
    public let expectedNonce: Text?

    /// A validator for one use.
    public init(
        for use: JWTProfile.Use = .accessToken,
        skewSeconds: Int64 = 60,
        expectedNonce: Text? = nil
    ) {
        self.use = use
        self.skewSeconds = skewSeconds
        self.expectedNonce = expectedNonce
    }

    /// The claims of `token`, or the reason why it is refused.
    ///
    /// `audience` is who we are in the issuer's words; `now` in seconds since 1970. Single use of
    /// `jti` is the caller's to keep, since it needs memory. A retry helps only after
    /// ``JWTRefusal/Reason/keyUnknown``, with a fresh key set.
    public func validate(
        _ token: [UInt8],
        issuers: TrustedIssuers,
        audience: Text,
        now: Int64
    ) throws(JWTRefusal) -> VerifiedClaims {
        do throws(JWTRefusal) {
            let jws = try JWSCompact(token)
            let payload = try joseObject(jws.payload, else: .payloadMalformed)
            let issuer = try issuer(of: payload, in: issuers)
            let profile = try profile(for: jws.header, of: issuer)
            try verify(jws, with: issuer.key(for: jws.header))
            // From here on the payload is the issuer's word.
            return try claims(payload, of: issuer, as: profile, for: audience, at: now)
        } catch {
            throw JWTRefusal(error.reason, use.oauthCode)
        }
    }

    /// The issuer and the key that a token names, by its own word alone.
    ///
    /// Good for asking whether there is such a key, after ``JWTRefusal/Reason/keyUnknown``, and for nothing else.
    public static func claimedKey(in token: [UInt8]) -> (issuer: Text, keyID: Text)? {
        guard let jws = try? JWSCompact(token),
            let payload = try? joseObject(jws.payload, else: .payloadMalformed),
            let issuer = payload["iss"]?.string, let keyID = jws.header.keyID
        else { return nil }
        return (issuer, keyID)
    }

    private func issuer(
        of payload: JSONValue,
        in issuers: TrustedIssuers
    ) throws(JWTRefusal) -> TrustedIssuer {
        guard let name = payload["iss"]?.string, let issuer = issuers[name] else {
            throw JWTRefusal(.issuerUnknown)
        }
        return issuer
    }

    private func profile(
        for header: JWTHeader,
        of issuer: TrustedIssuer
    ) throws(JWTRefusal) -> JWTProfile {
        let fit = issuer.profiles.first { $0.use == use && $0.accepts(type: header.type) }
        guard let fit else { throw JWTRefusal(.typeRefused) }
        return fit
    }

    private func verify(_ jws: JWSCompact, with key: VerificationKey) throws(JWTRefusal) {
        do throws(CryptographyError) {
            try key.verify(jws.signature, over: jws.signingInput, with: jws.header.algorithm)
        } catch {
            throw JWTRefusal(.signatureInvalid)
        }
    }

    private func claims(
        _ payload: JSONValue,
        of issuer: TrustedIssuer,
        as profile: JWTProfile,
        for audience: Text,
        at now: Int64
    ) throws(JWTRefusal) -> VerifiedClaims {
        guard payload["iss"]?.string == issuer.issuer else { throw JWTRefusal(.issuerUnknown) }
        let audiences = try Self.audiences(payload, profile.audienceRule, expected: audience)
        let (issuedAt, expiresAt) = try lifetime(payload, profile, now)
        for name in profile.required where payload.member(named: name.rawValue.utf8) == nil {
            throw JWTRefusal(.claimMissing)
        }
        for name in profile.foreignClaims where payload.member(named: name) != nil {
            throw JWTRefusal(.wrongKind)
        }
        let tokenID = try Self.text(payload, "jti")
        if let tokenID, !(1...256).contains(tokenID.byteCount) { throw JWTRefusal(.claimMalformed) }
        let subject = try Self.subject(payload, issuer)
        // RFC 7523 §3: a client vouches for nobody but itself.
        if profile.use == .clientAssertion, subject != issuer.issuer {
            throw JWTRefusal(.subjectMalformed)
        }
        let clientID = try Self.text(payload, "client_id")
        let authorizedParty = try Self.text(payload, "azp")
        if profile.use == .idToken {
            try checkLogin(payload, audiences, authorizedParty, audience)
        }
        return VerifiedClaims(
            issuer: issuer.issuer,
            profile: profile.name,
            subject: subject,
            audiences: audiences,
            clientID: clientID ?? authorizedParty,
            scopes: try Self.scopes(payload),
            tokenID: tokenID,
            issuedAt: issuedAt,
            expiresAt: expiresAt,
            groups: try Self.groups(payload, issuer),
            sessionID: try Self.text(payload, "sid"),
            authenticatedAt: try Self.time(payload, "auth_time"),
            authenticationContext: try Self.text(payload, "acr"),
            document: payload
        )
    }

    private static func audiences(
        _ payload: JSONValue,
        _ rule: JWTProfile.AudienceRule,
        expected: Text
    ) throws(JWTRefusal) -> [Text] {
        guard let claim = payload["aud"] else { throw JWTRefusal(.audienceRefused) }
        if let single = claim.string {
            guard single == expected else { throw JWTRefusal(.audienceRefused) }
            return [single]
        }
        guard rule == .contains, let list = strings(claim), list.contains(expected) else {
            throw JWTRefusal(.audienceRefused)
        }
        return list
    }

    private func lifetime(
        _ payload: JSONValue,
        _ profile: JWTProfile,
        _ now: Int64
    ) throws(JWTRefusal) -> (issuedAt: Int64?, expiresAt: Int64) {
        guard let expiresAt = try Self.time(payload, "exp") else { throw JWTRefusal(.claimMissing) }
        let issuedAt = try Self.time(payload, "iat")
        let notBefore = try Self.time(payload, "nbf")
        // All values are below 2^53, so that no sum overflows.
        guard expiresAt > now - skewSeconds else { throw JWTRefusal(.expired) }
        for start in [issuedAt, notBefore] {
            guard start ?? now <= now + skewSeconds else { throw JWTRefusal(.notYetValid) }
        }
        guard expiresAt - (issuedAt ?? now) <= profile.lifetimeSecondsMax else {
            throw JWTRefusal(.lifetimeTooLong)
        }
        return (issuedAt, expiresAt)
    }

    /// OpenID Connect Core §3.1.3.7 points 4, 5 and 11.
    private func checkLogin(
        _ payload: JSONValue,
        _ audiences: [Text],
        _ party: Text?,
        _ clientID: Text
    ) throws(JWTRefusal) {
        guard let expectedNonce, payload["nonce"]?.string == expectedNonce else {
            throw JWTRefusal(.nonceMismatch)
        }
        guard party == clientID || (party == nil && audiences.count == 1) else {
            throw JWTRefusal(.authorizedPartyMismatch)
        }
    }

    private static func subject(
        _ payload: JSONValue,
        _ issuer: TrustedIssuer
    ) throws(JWTRefusal) -> Text {
        guard let claim = payload.member(named: issuer.subjectClaim) else {
            throw JWTRefusal(.claimMissing)
        }
        guard let subject = claim.string, (1...255).contains(subject.byteCount),
            subject.utf8.allSatisfy({ (0x20...0x7e).contains($0) })
        else { throw JWTRefusal(.subjectMalformed) }
        return subject
    }

    /// Groups that could not be read are a refusal, never "no groups": a policy may forbid by
    /// group.
    private static func groups(
        _ payload: JSONValue,
        _ issuer: TrustedIssuer
    ) throws(JWTRefusal) -> [Text] {
        guard let pointer = issuer.groupsClaim else { return [] }
        guard payload["_claim_names"] == nil, payload["hasgroups"] == nil else {
            throw JWTRefusal(.groupsOverage)
        }
        guard let claim = pointer.value(in: payload) else { return [] }
        guard let groups = strings(claim) else { throw JWTRefusal(.groupsMalformed) }
        return groups
    }

    /// RFC 8693 §4.2 writes one string; `scp` is what two large issuers write, as a string or an
    /// array.
    private static func scopes(_ payload: JSONValue) throws(JWTRefusal) -> [Text] {
        guard let claim = payload["scope"] ?? payload["scp"] else { return [] }
        if let text = claim.string {
            return text.string.utf8.split(separator: UInt8(ascii: " "))
                .map { Text(String(decoding: $0, as: UTF8.self)) }
        }
        guard let list = strings(claim) else { throw JWTRefusal(.claimMalformed) }
        return list
    }

    private static func text(
        _ payload: JSONValue,
        _ name: StaticString
    ) throws(JWTRefusal) -> Text? {
        guard let claim = payload[name] else { return nil }
        guard let text = claim.string else { throw JWTRefusal(.claimMalformed) }
        return text
    }

    /// A NumericDate within 0 < x < 2^53; fractions are cut off.
    private static func time(
        _ payload: JSONValue,
        _ name: StaticString
    ) throws(JWTRefusal) -> Int64? {
        guard let claim = payload[name] else { return nil }
        let limit: Int64 = 1 << 53
        if let seconds = claim.int64 {
            guard 0 < seconds, seconds < limit else { throw JWTRefusal(.claimMalformed) }
            return seconds
        }
        guard claim.kind == .number, let seconds = claim.double, seconds >= 1,
            seconds < Double(limit)
        else { throw JWTRefusal(.claimMalformed) }
        return Int64(seconds.rounded(.down))
    }

    /// The elements of an array of strings; `nil` for anything else.
    private static func strings(_ value: JSONValue) -> [Text]? {
        guard value.kind == .array else { return nil }
        var list: [Text] = []
        list.reserveCapacity(value.count)
        for element in value.elements {
            guard let text = element.string else { return nil }
            list.append(text)
        }
        return list
    }
}
