import Cryptography
import IdentityProtocols
import JSON
import Testing

@Suite struct JWTIssuerTests {
    @Test(arguments: [SignatureAlgorithm.es256, .edDSA])
    func `what we sign we accept, with the keys we publish`(algorithm: SignatureAlgorithm) throws {
        let issuer = try JWTIssuer(
            issuer: Forge.issuerName,
            key: SigningKey.generate(algorithm)
        )
        var token = JWTIssuer.AccessToken(
            subject: "u-1",
            audience: Forge.audience,
            clientID: "cli \"quoted\"",
            tokenID: "t-1",
            lifetimeSeconds: 300
        )
        token.scopes = ["a", "b"]
        token.groups = ["sre", "ä\u{301}"]
        token.sessionID = "s"
        token.authenticatedAt = Forge.now - 10
        token.authenticationContext = "mfa"
        let issuers = Forge.issuers(try JWKSet(parsing: issuer.keySet()), algorithms: [algorithm])
        let claims = try Forge.verdict(issuer.sign(token, now: Forge.now), issuers).get()
        #expect(claims.clientID == "cli \"quoted\"")
        #expect(claims.scopes == token.scopes)
        #expect(claims.groups == token.groups)
        #expect(claims.sessionID == "s")
        #expect(claims.authenticatedAt == Forge.now - 10)
        #expect(claims.authenticationContext == "mfa")
        #expect(claims.expiresAt == Forge.now + 300)
    }

    @Test func `we sign with short keys only`() throws {
        for algorithm: SignatureAlgorithm in [.rs256, .ps256, .es384] {
            #expect(throws: CryptographyError.algorithmRefused) {
                _ = try JWTIssuer(issuer: "x", key: Keys.key(algorithm))
            }
        }
    }
}
