import IdentityProtocols
import JSON
import Testing

@Suite struct ProviderMetadataTests {
    @Test(arguments: [
        (
            "https://idp.example",
            [
                "https://idp.example/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server",
            ]
        ),
        (
            "https://idp.example/",
            [
                "https://idp.example/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server",
            ]
        ),
        (
            "https://idp.example:8443/realms/a",
            [
                "https://idp.example:8443/realms/a/.well-known/openid-configuration",
                "https://idp.example:8443/.well-known/oauth-authorization-server/realms/a",
            ]
        ),
        ("https://idp.example/?tenant=a", []), ("https://idp.example/#a", []), ("https:///a", []),
        ("urn:ostiary:development", []), ("idp.example", []), ("", []),
    ])
    func `metadata is where the two specifications put it`(issuer: String, places: [String]) {
        #expect(ProviderMetadata.locations(of: Text(issuer)) == places.map { Text($0) })
    }

    static let good = #"{"issuer":"https://idp.example","jwks_uri":"https://idp.example/keys"}"#

    @Test func `metadata names the keys of exactly the issuer it was asked for`() throws {
        let read = try ProviderMetadata(parsing: Array(Self.good.utf8), of: "https://idp.example")
        #expect(read.keysURL == "https://idp.example/keys")
    }

    @Test(
        arguments: [
            (
                #"{"issuer":"https://idp.example/","jwks_uri":"https://idp.example/keys"}"#,
                .issuerMismatch
            ),
            (
                #"{"issuer":"https://IDP.example","jwks_uri":"https://idp.example/keys"}"#,
                .issuerMismatch
            ),
            // The same letters in another form of Unicode are other bytes.
            (
                #"{"issuer":"https://idp\u002eexample\u0301","jwks_uri":"https://idp.example/keys"}"#,
                .issuerMismatch
            ),
            (#"{"jwks_uri":"https://idp.example/keys"}"#, .malformed),
            (
                #"{"issuer":["https://idp.example"],"jwks_uri":"https://idp.example/keys"}"#,
                .malformed
            ),
            (
                #"{"issuer":"https://evil.example","issuer":"https://idp.example","jwks_uri":"https://a/b"}"#,
                .malformed
            ),
            (#"{"issuer":"https://idp.example"}"#, .keysMissing),
            (#"{"issuer":"https://idp.example","jwks_uri":7}"#, .malformed),
            (#"{"issuer":"https://idp.example","jwks_uri":""}"#, .malformed),
            (
                #"{"issuer":"https://idp.example","jwks_uri":"https://idp.example/keys"} x"#,
                .malformed
            ),
            ("[]", .malformed), ("", .malformed), ("<html></html>", .malformed),
        ] as [(String, ProviderMetadata.Refusal)]
    )
    func `hostile metadata is refused`(document: String, why: ProviderMetadata.Refusal) {
        #expect(throws: why) {
            try ProviderMetadata(parsing: Array(document.utf8), of: "https://idp.example")
        }
    }

    @Test func `a document that is too long is not read`() {
        let long = Array(Self.good.utf8) + Array(repeating: UInt8(ascii: " "), count: 262_144)
        #expect(throws: ProviderMetadata.Refusal.tooLong) {
            try ProviderMetadata(parsing: long, of: "https://idp.example")
        }
    }

    @Test func `only keys that verify go on, and only what is public of them`() throws {
        let ec =
            #""kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM""#
        let set = """
            {"keys":[{\(ec),"kid":"a","alg":"ES256","use":"sig","x5u":"https://evil.example","extra":{"deep":[]}},
            {\(ec),"kid":"private","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"},
            {"kty":"oct","kid":"secret","k":"AAAA"},{\(ec),"kid":"enc","use":"enc"},{"kty":"AKP","kid":"new"}],
            "more":1}
            """
        let (jwks, skipped) = try #require(try JWKSet.usableKeys(parsing: Array(set.utf8)))
        #expect(
            jwks.string
                == #"{"keys":[{"kty":"EC","kid":"a","use":"sig","alg":"ES256","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#
        )
        #expect(
            skipped.map(\.reason) == [
                .privateMembers, .privateMembers, .notForVerification, .kindUnknown,
            ]
        )
        #expect(try JWKSet.usableKeys(parsing: Array(#"{"keys":[]}"#.utf8)) == nil)
    }
}
