import Cryptography
import IdentityProtocols
import JSON
import Testing

private let at = #"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#

@Suite struct JWTValidatorTests {
    @Test func `a token by RFC 9068 gives its claims`() throws {
        let forge = try Keys.forge()
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]))
        let payload = Forge.claims([
            "scope": #""files.read  files.write""#, "groups": #"["sre","dev"]"#, "sid": #""s-1""#,
            "auth_time": "1799999000", "acr": #""mfa""#,
            "aud": #"["https://other.test","\#(Forge.audience.string)"]"#,
        ])
        let token = try forge.token(header: at, payload: payload)
        let claims = try Forge.verdict(token, issuers).get()
        #expect(claims.issuer == Forge.issuerName)
        #expect(claims.profile == "at+jwt")
        #expect(claims.subject == "u-1")
        #expect(claims.audiences == ["https://other.test", Forge.audience])
        #expect(claims.clientID == "cli")
        #expect(claims.scopes == ["files.read", "files.write"])
        #expect(claims.tokenID == "t-1")
        #expect(claims.issuedAt == Forge.now)
        #expect(claims.expiresAt == Forge.now + 300)
        #expect(claims.groups == ["sre", "dev"])
        #expect(claims.sessionID == "s-1")
        #expect(claims.authenticatedAt == 1_799_999_000)
        #expect(claims.authenticationContext == "mfa")
        #expect(claims.document["acr"]?.string == "mfa")
    }

    @Test(arguments: SignatureAlgorithm.allCases)
    func `every algorithm verifies under its own name only`(algorithm: SignatureAlgorithm) throws {
        let forge = try Keys.forge(algorithm)
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]))
        for claimed in SignatureAlgorithm.allCases {
            let token = try forge.token(
                header: #"{"alg":"\#(claimed.rawValue)","kid":"k1","typ":"at+jwt"}"#,
                payload: Forge.claims()
            )
            let expected: JWTRefusal.Reason? = claimed == algorithm ? nil : .algorithmRefused
            #expect(Forge.verdict(token, issuers).reason == expected)
        }
    }

    @Test func `an algorithm outside the issuer's list is refused although the key has it`() throws
    {
        let forge = try Keys.forge()
        let set = try Forge.keySet([forge.jwk(kid: "k1")])
        let token = try forge.token(header: at, payload: Forge.claims())
        let narrow = Forge.issuers(set, algorithms: [.rs256])
        #expect(Forge.verdict(token, narrow).reason == .algorithmRefused)
    }

    struct HeaderRow: Sendable, CustomTestStringConvertible {
        let name: String
        let header: String
        let reason: JWTRefusal.Reason?
        var testDescription: String { name }

        init(_ name: String, _ header: String, _ reason: JWTRefusal.Reason?) {
            self.name = name
            self.header = header
            self.reason = reason
        }
    }

    /// Each of these was accepted, or worse, by a library in use (identity research, measured).
    @Test(arguments: [
        HeaderRow("as it should be", at, nil),
        HeaderRow("no signature", #"{"alg":"none","kid":"k1","typ":"at+jwt"}"#, .algorithmRefused),
        HeaderRow("None", #"{"alg":"None","kid":"k1","typ":"at+jwt"}"#, .algorithmRefused),
        HeaderRow("HMAC", #"{"alg":"HS256","kid":"k1","typ":"at+jwt"}"#, .algorithmRefused),
        HeaderRow("lower case", #"{"alg":"es256","kid":"k1","typ":"at+jwt"}"#, .algorithmRefused),
        HeaderRow("no algorithm", #"{"kid":"k1","typ":"at+jwt"}"#, .algorithmRefused),
        HeaderRow("algorithm null", #"{"alg":null,"kid":"k1","typ":"at+jwt"}"#, .headerMalformed),
        HeaderRow(
            "algorithm list",
            #"{"alg":["ES256"],"kid":"k1","typ":"at+jwt"}"#,
            .headerMalformed
        ),
        HeaderRow(
            "critical b64",
            #"{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":["b64"],"b64":false}"#,
            .headerForbidden
        ),
        HeaderRow(
            "critical, empty",
            #"{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":[]}"#,
            .headerForbidden
        ),
        HeaderRow(
            "b64 alone",
            #"{"alg":"ES256","kid":"k1","typ":"at+jwt","b64":false}"#,
            .headerForbidden
        ),
        HeaderRow(
            "compressed",
            #"{"alg":"ES256","kid":"k1","typ":"at+jwt","zip":"DEF"}"#,
            .headerForbidden
        ),
        HeaderRow(
            "its own key",
            #"{"alg":"ES256","kid":"k1","typ":"at+jwt","jwk":{}}"#,
            .headerForbidden
        ),
        HeaderRow(
            "a key to fetch",
            #"{"alg":"ES256","kid":"k1","typ":"at+jwt","jku":"https://evil.test"}"#,
            .headerForbidden
        ),
        HeaderRow(
            "its own certificate",
            #"{"alg":"ES256","kid":"k1","typ":"at+jwt","x5c":["MA"]}"#,
            .headerForbidden
        ),
        HeaderRow("no type", #"{"alg":"ES256","kid":"k1"}"#, .typeRefused),
        HeaderRow("an ID token's type", #"{"alg":"ES256","kid":"k1","typ":"JWT"}"#, .typeRefused),
        HeaderRow(
            "a logout token's type",
            #"{"alg":"ES256","kid":"k1","typ":"logout+jwt"}"#,
            .typeRefused
        ),
        HeaderRow(
            "the full media type, in capitals",
            #"{"alg":"ES256","kid":"k1","typ":"application/AT+JWT"}"#,
            nil
        ),
        HeaderRow("another key", #"{"alg":"ES256","kid":"k9","typ":"at+jwt"}"#, .keyUnknown),
        HeaderRow("kid in other bytes", #"{"alg":"ES256","kid":"K1","typ":"at+jwt"}"#, .keyUnknown),
        HeaderRow("no kid, several keys", #"{"alg":"ES256","typ":"at+jwt"}"#, .keyIDMissing),
        HeaderRow("empty kid", #"{"alg":"ES256","kid":"","typ":"at+jwt"}"#, .headerMalformed),
        HeaderRow("kid a number", #"{"alg":"ES256","kid":1,"typ":"at+jwt"}"#, .headerMalformed),
        HeaderRow(
            "kid of 129 bytes",
            #"{"alg":"ES256","kid":"\#(String(repeating: "k", count: 129))","typ":"at+jwt"}"#,
            .headerMalformed
        ),
        HeaderRow(
            "alg twice",
            #"{"alg":"ES256","alg":"ES256","kid":"k1","typ":"at+jwt"}"#,
            .headerMalformed
        ),
        HeaderRow("an array", #"["ES256"]"#, .headerMalformed),
        HeaderRow("not JSON", "alg=ES256", .headerMalformed),
        HeaderRow("a comment", #"{"alg":"ES256"/**/,"kid":"k1","typ":"at+jwt"}"#, .headerMalformed),
    ])
    func `the header keeps the rules`(row: HeaderRow) throws {
        let forge = try Keys.forge()
        let other = Forge(key: try SigningKey.generate(.es256))
        let set = try Forge.keySet([forge.jwk(kid: "k1"), other.jwk(kid: "k2")])
        let token = try forge.token(header: row.header, payload: Forge.claims())
        #expect(Forge.verdict(token, Forge.issuers(set)).reason == row.reason)
    }

    struct ClaimRow: Sendable, CustomTestStringConvertible {
        let name: String
        let payload: String
        let reason: JWTRefusal.Reason?
        var testDescription: String { name }

        init(
            _ name: String,
            _ changes: KeyValuePairs<String, String?>,
            _ reason: JWTRefusal.Reason?
        ) {
            self.name = name
            payload = Forge.claims(changes)
            self.reason = reason
        }

        init(_ name: String, payload: String, _ reason: JWTRefusal.Reason?) {
            self.name = name
            self.payload = payload
            self.reason = reason
        }
    }

    @Test(arguments: [
        ClaimRow("as they should be", [:], nil),
        ClaimRow("another issuer", ["iss": #""https://issuer.test/""#], .issuerUnknown),
        ClaimRow("no issuer", ["iss": nil], .issuerUnknown),
        ClaimRow("issuer a list", ["iss": #"["https://issuer.test"]"#], .issuerUnknown),
        ClaimRow("no audience", ["aud": nil], .audienceRefused),
        ClaimRow("empty list of audiences", ["aud": "[]"], .audienceRefused),
        ClaimRow(
            "another audience",
            ["aud": #""https://gateway.test/ns/a/fil""#],
            .audienceRefused
        ),
        ClaimRow("audience null", ["aud": "null"], .audienceRefused),
        ClaimRow("audience with a number", ["aud": "[1]"], .audienceRefused),
        ClaimRow(
            "audience among non-strings",
            ["aud": #"["\#(Forge.audience.string)",null]"#],
            .audienceRefused
        ),
        ClaimRow("no expiry", ["exp": nil], .claimMissing),
        ClaimRow("expiry beyond all numbers", ["exp": "1e300"], .claimMalformed),
        ClaimRow("expiry beyond all doubles", ["exp": "1e999"], .claimMalformed),
        ClaimRow("expiry at 2^53", ["exp": "9007199254740992"], .claimMalformed),
        ClaimRow("expiry below 2^53", ["exp": "9007199254740991"], .lifetimeTooLong),
        ClaimRow("expiry zero", ["exp": "0"], .claimMalformed),
        ClaimRow("expiry negative", ["exp": "-1"], .claimMalformed),
        ClaimRow("expiry a string", ["exp": #""1800000300""#], .claimMalformed),
        ClaimRow("expiry null", ["exp": "null"], .claimMalformed),
        ClaimRow("expiry with an exponent", ["exp": "18000003e2"], nil),
        ClaimRow("expiry with a fraction", ["exp": "1800000300.75"], nil),
        ClaimRow("expired at the skew", ["exp": "\(Forge.now - 60)"], .expired),
        ClaimRow(
            "expired within the skew",
            ["iat": "1799999000", "exp": "\(Forge.now - 59)"],
            nil
        ),
        ClaimRow("issued in the future", ["iat": "\(Forge.now + 61)"], .notYetValid),
        ClaimRow("issued within the skew", ["iat": "\(Forge.now + 60)"], nil),
        ClaimRow("valid in the future", ["nbf": "\(Forge.now + 61)"], .notYetValid),
        ClaimRow("valid since the past", ["nbf": "\(Forge.now - 1)"], nil),
        ClaimRow("valid since a string", ["nbf": #""0""#], .claimMalformed),
        ClaimRow("longer than a day", ["exp": "\(Forge.now + 86_401)"], .lifetimeTooLong),
        ClaimRow("not issued", ["iat": nil], .claimMissing),
        ClaimRow("no subject", ["sub": nil], .claimMissing),
        ClaimRow("empty subject", ["sub": #""""#], .subjectMalformed),
        ClaimRow("subject a number", ["sub": "7"], .subjectMalformed),
        ClaimRow("subject with a line break", ["sub": #""u\n1""#], .subjectMalformed),
        ClaimRow("subject beyond ASCII", ["sub": #""ü""#], .subjectMalformed),
        ClaimRow(
            "subject of 256 bytes",
            ["sub": #""\#(String(repeating: "u", count: 256))""#],
            .subjectMalformed
        ),
        ClaimRow(
            "subject of 255 bytes",
            ["sub": #""\#(String(repeating: "u", count: 255))""#],
            nil
        ),
        ClaimRow("no client", ["client_id": nil], .claimMissing),
        ClaimRow("client a number", ["client_id": "1"], .claimMalformed),
        ClaimRow("no id", ["jti": nil], .claimMissing),
        ClaimRow("empty id", ["jti": #""""#], .claimMalformed),
        ClaimRow("scope a number", ["scope": "1"], .claimMalformed),
        ClaimRow("groups a string", ["groups": #""sre""#], .groupsMalformed),
        ClaimRow("groups with a number", ["groups": #"["sre",1]"#], .groupsMalformed),
        ClaimRow("groups null", ["groups": "null"], .groupsMalformed),
        ClaimRow(
            "groups kept elsewhere",
            ["_claim_names": #"{"groups":"src1"}"#],
            .groupsOverage
        ),
        ClaimRow("groups said to exist", ["hasgroups": "true"], .groupsOverage),
        ClaimRow(
            "iss twice",
            payload: #"{"iss":"https://issuer.test","iss":"https://issuer.test"}"#,
            .payloadMalformed
        ),
        ClaimRow(
            "iss twice, once escaped",
            payload: #"{"iss":"https://issuer.test","\u0069ss":"https://other.test"}"#,
            .payloadMalformed
        ),
        ClaimRow("an array", payload: "[]", .payloadMalformed),
        ClaimRow("a string", payload: #""x""#, .payloadMalformed),
        ClaimRow("not JSON", payload: "{", .payloadMalformed),
        ClaimRow("a NUL", ["x": #""\u0000""#], .payloadMalformed),
        ClaimRow("eight levels", ["x": "[[[[[[[]]]]]]]"], nil),
        ClaimRow("nine levels", ["x": "[[[[[[[[]]]]]]]]"], .payloadMalformed),
    ])
    func `the claims keep the rules`(row: ClaimRow) throws {
        let forge = try Keys.forge()
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]))
        let token = try forge.token(header: at, payload: row.payload)
        #expect(Forge.verdict(token, issuers).reason == row.reason)
    }

    @Test func `a forged token does not spoil the key for genuine ones`() throws {
        // A key without alg was pinned by the first token's header in one library, for ever.
        let forge = try Keys.forge(.rs256)
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1", alg: false)]))
        let genuine = try forge.token(
            header: #"{"alg":"RS256","kid":"k1","typ":"at+jwt"}"#,
            payload: Forge.claims()
        )
        var forged = try forge.token(
            header: #"{"alg":"RS512","kid":"k1","typ":"at+jwt"}"#,
            payload: Forge.claims()
        )
        #expect(Forge.verdict(forged, issuers).reason == .signatureInvalid)
        forged[forged.count - 9] ^= 1
        _ = Forge.verdict(forged, issuers)
        #expect(Forge.verdict(genuine, issuers).reason == nil)
        let other = try Keys.forge(.ps384).token(
            header: #"{"alg":"PS384","kid":"k1","typ":"at+jwt"}"#,
            payload: Forge.claims()
        )
        #expect(Forge.verdict(other, issuers).reason == nil)
        let narrow = Forge.issuers(
            try Forge.keySet([forge.jwk(kid: "k1", alg: false)]),
            algorithms: [.rs256]
        )
        #expect(Forge.verdict(other, narrow).reason == .algorithmRefused)
    }

    @Test func `a key without kid serves alone only`() throws {
        let forge = try Keys.forge()
        let nameless = #"{"alg":"ES256","typ":"at+jwt"}"#
        let token = try forge.token(header: nameless, payload: Forge.claims())
        let alone = Forge.issuers(try Forge.keySet([forge.jwk(kid: nil)]))
        #expect(Forge.verdict(token, alone).reason == nil)
        let named = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]))
        #expect(Forge.verdict(token, named).reason == nil)
        let other = Forge(key: try SigningKey.generate(.es256))
        let two = Forge.issuers(try Forge.keySet([forge.jwk(kid: nil), other.jwk(kid: "k2")]))
        #expect(Forge.verdict(token, two).reason == .keyIDMissing)
        let addressed = try forge.token(header: at, payload: Forge.claims())
        #expect(Forge.verdict(addressed, alone).reason == .keyUnknown)
    }

    @Test func `the keys of one issuer are nothing to another`() throws {
        let forge = try Keys.forge()
        let other = Forge(key: try SigningKey.generate(.es256))
        let table = TrustedIssuers([
            TrustedIssuer(
                issuer: Forge.issuerName,
                algorithms: [.es256],
                keys: try Forge.keySet([forge.jwk(kid: "k1")]),
                profiles: [.accessToken]
            ),
            TrustedIssuer(
                issuer: "https://other.test",
                algorithms: [.es256],
                keys: try Forge.keySet([other.jwk(kid: "k1"), other.jwk(kid: "k1")]),
                profiles: [.accessToken]
            ),
        ])
        let crossed = try other.token(header: at, payload: Forge.claims())
        #expect(Forge.verdict(crossed, table).reason == .signatureInvalid)
        let own = try other.token(
            header: at,
            payload: Forge.claims(["iss": #""https://other.test""#])
        )
        #expect(Forge.verdict(own, table).reason == nil)
    }

    @Test func `an ID token is no access token, and the other way`() throws {
        let forge = try Keys.forge()
        let set = try Forge.keySet([forge.jwk(kid: "k1")])
        let issuers = Forge.issuers(
            set,
            profiles: [.accessToken, .plainAccessToken, .idToken, .clientAssertion]
        )
        let plain = #"{"alg":"ES256","kid":"k1","typ":"JWT"}"#
        let access = try forge.token(header: plain, payload: Forge.claims(["client_id": nil]))
        let id = try forge.token(header: plain, payload: Forge.claims(["nonce": #""n-1""#]))
        #expect(try Forge.verdict(access, issuers).get().profile == "jwt-access-token")
        #expect(Forge.verdict(id, issuers).reason == .wrongKind)
        #expect(Forge.verdict(access, issuers, for: .idToken, nonce: "n-1").reason == .claimMissing)
        #expect(Forge.verdict(id, issuers, for: .idToken, nonce: "n-1").reason == nil)
        #expect(Forge.verdict(id, issuers, for: .idToken, nonce: "n-2").reason == .nonceMismatch)
        #expect(Forge.verdict(id, issuers, for: .idToken).reason == .nonceMismatch)
        let at = try forge.token(header: at, payload: Forge.claims(["nonce": #""n-1""#]))
        #expect(Forge.verdict(at, issuers, for: .idToken, nonce: "n-1").reason == .typeRefused)
        let logout = try forge.token(header: plain, payload: Forge.claims(["events": "{}"]))
        #expect(Forge.verdict(logout, issuers).reason == .wrongKind)
    }

    @Test(
        arguments: [
            ("one audience, no azp", nil, false, nil),
            ("two audiences, no azp", nil, true, JWTRefusal.Reason.authorizedPartyMismatch),
            ("two audiences, our azp", #""https://gateway.test/ns/a/files""#, true, nil),
            ("another's azp", #""someone""#, false, JWTRefusal.Reason.authorizedPartyMismatch),
        ] as [(String, String?, Bool, JWTRefusal.Reason?)]
    )
    func `an ID token is for one client`(
        name: String,
        party: String?,
        hasTwo: Bool,
        reason: JWTRefusal.Reason?
    ) throws {
        let forge = try Keys.forge()
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]), profiles: [.idToken])
        let own = #""\#(Forge.audience.string)""#
        let token = try forge.token(
            header: #"{"alg":"ES256","kid":"k1"}"#,
            payload: Forge.claims([
                "nonce": #""n""#, "azp": party, "aud": hasTwo ? #"[\#(own),"b"]"# : own,
            ])
        )
        #expect(Forge.verdict(token, issuers, for: .idToken, nonce: "n").reason == reason)
    }

    @Test func `a client assertion is for us alone, and short`() throws {
        let forge = try Keys.forge()
        let issuers = Forge.issuers(
            try Forge.keySet([forge.jwk(kid: "k1")]),
            profiles: [.clientAssertion]
        )
        let header = #"{"alg":"ES256","kid":"k1"}"#
        let own = #""\#(Forge.issuerName.string)""#
        let rows: [(KeyValuePairs<String, String?>, JWTRefusal.Reason?)] = [
            (["sub": own], nil),
            (["sub": #""u-1""#], .subjectMalformed),
            (["sub": own, "aud": #"["\#(Forge.audience.string)"]"#], .audienceRefused),
            (["sub": own, "exp": "\(Forge.now + 301)"], .lifetimeTooLong),
            (["sub": own, "jti": nil], .claimMissing),
        ]
        for (changes, reason) in rows {
            let token = try forge.token(header: header, payload: Forge.claims(changes))
            let verdict = Forge.verdict(token, issuers, for: .clientAssertion)
            #expect(verdict.reason == reason)
            if case .failure(let refusal) = verdict {
                #expect(refusal.oauthCode == .invalidClient)
            }
        }
    }

    @Test(arguments: [
        "", ".", "..", "a.b", "a.b.c.d", "a..c", "e30.e30.", ".e30.e30", "e30=.e30.AA",
        "e30.e30.A", "e30.e31.AA", "e30 .e30.AA", "e30.e30.AA\n", "e30.e3+.AA",
    ])
    func `three canonical parts or nothing`(token: String) {
        #expect(Forge.verdict(Array(token.utf8), TrustedIssuers([])).reason == .malformed)
    }

    @Test func `no bit of a token may change`() throws {
        let forge = try Keys.forge()
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]))
        let token = try forge.token(header: at, payload: Forge.claims())
        #expect(Forge.verdict(token, issuers).reason == nil)
        for index in token.indices {
            for bit in 0..<8 {
                var changed = token
                changed[index] ^= 1 << bit
                #expect(Forge.verdict(changed, issuers).reason != nil)
            }
        }
    }

    @Test func `a token of 16 KiB and one byte is not looked at`() {
        let token = [UInt8](repeating: UInt8(ascii: "a"), count: 16_385)
        #expect(Forge.verdict(token, TrustedIssuers([])).reason == .tooLong)
        #expect(Forge.verdict(Array(token.dropLast()), TrustedIssuers([])).reason == .malformed)
    }

    @Test func `groups are where the pointer says`() throws {
        let forge = try Keys.forge()
        let set = try Forge.keySet([forge.jwk(kid: "k1")])
        let payload = Forge.claims([
            "realm_access": #"{"roles":["a"]}"#, "https://x.test/g": #"["b"]"#,
        ])
        let token = try forge.token(header: at, payload: payload)
        let rows: [(Text?, [Text])] = [
            ("/realm_access/roles", ["a"]), ("/https:~1~1x.test~1g", ["b"]), ("/groups", []),
            ("/realm_access/roles/0", []), (nil, []),
        ]
        for (pointer, groups) in rows {
            let claims = try Forge.verdict(token, Forge.issuers(set, groups: pointer)).get()
            #expect(claims.groups == groups)
        }
        for wrong: Text in ["", "groups", "/a~2b", "/a~"] { #expect(ClaimPointer(wrong) == nil) }
    }

    @Test func `names that Unicode calls equal are two`() throws {
        let forge = try Keys.forge()
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k\u{e9}")]))
        let token = try forge.token(
            header: "{\"alg\":\"ES256\",\"kid\":\"ke\u{301}\",\"typ\":\"at+jwt\"}",
            payload: Forge.claims()
        )
        #expect(Forge.verdict(token, issuers).reason == .keyUnknown)
    }

    @Test func `reasons and codes are stable`() {
        #expect(JWTRefusal.Reason.allCases.count == 23)
        #expect(Set(JWTRefusal.Reason.allCases.map(\.rawValue)).count == 23)
        #expect(JWTProfile.Use.accessToken.oauthCode == .invalidToken)
        #expect(JWTProfile.Use.assertionGrant.oauthCode == .invalidGrant)
        #expect(JWTRefusal(.expired).description == "token_expired")
    }
}
