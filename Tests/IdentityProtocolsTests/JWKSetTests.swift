import Cryptography
import IdentityProtocols
import JSON
import Testing

@Suite struct JWKSetTests {
    struct KeyRow: Sendable, CustomTestStringConvertible {
        let name: String
        let jwk: String
        let reason: JWKSet.SkippedKey.Reason
        var testDescription: String { name }

        init(_ name: String, _ jwk: String, _ reason: JWKSet.SkippedKey.Reason) {
            self.name = name
            self.jwk = jwk
            self.reason = reason
        }
    }

    /// Each of these made one library refuse the whole set, and so every token of the issuer.
    @Test(arguments: [
        KeyRow(
            "ML-DSA",
            #"{"kty":"AKP","alg":"ML-DSA-65","pub":"AA","kid":"j"}"#,
            .algorithmUnknown
        ),
        KeyRow("ML-DSA without alg", #"{"kty":"AKP","pub":"AA","kid":"j"}"#, .kindUnknown),
        KeyRow(
            "for encryption, by alg",
            #"{"kty":"RSA","alg":"RSA-OAEP-256","n":"AA","e":"AQAB","kid":"j"}"#,
            .algorithmUnknown
        ),
        KeyRow(
            "for encryption, by use",
            #"{"kty":"RSA","use":"enc","kid":"j"}"#,
            .notForVerification
        ),
        KeyRow(
            "for signing only, by key_ops",
            #"{"kty":"EC","crv":"P-256","key_ops":["sign"],"kid":"j"}"#,
            .notForVerification
        ),
        KeyRow("key_ops a string", #"{"kty":"EC","key_ops":"verify","kid":"j"}"#, .malformed),
        KeyRow("X25519", #"{"kty":"OKP","crv":"X25519","x":"AA","kid":"j"}"#, .kindUnknown),
        KeyRow(
            "secp256k1",
            #"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA","kid":"j"}"#,
            .kindUnknown
        ),
        KeyRow("symmetric", #"{"kty":"oct","k":"AAAA","kid":"j"}"#, .privateMembers),
        KeyRow(
            "a published private key",
            #"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA","kid":"j"}"#,
            .privateMembers
        ),
        KeyRow(
            "another kind's algorithm",
            #"{"kty":"EC","crv":"P-256","alg":"RS256","kid":"j"}"#,
            .algorithmUnknown
        ),
        KeyRow(
            "another curve's algorithm",
            #"{"kty":"EC","crv":"P-256","alg":"ES384","kid":"j"}"#,
            .algorithmUnknown
        ),
        KeyRow(
            "EC algorithm on RSA",
            #"{"kty":"RSA","alg":"ES256","n":"AA","e":"AQAB","kid":"j"}"#,
            .algorithmUnknown
        ),
        KeyRow("no kty", #"{"kid":"j"}"#, .malformed),
        KeyRow("kty a number", #"{"kty":1,"kid":"j"}"#, .malformed),
        KeyRow("not an object", "7", .malformed),
        KeyRow("no modulus", #"{"kty":"RSA","e":"AQAB","kid":"j"}"#, .malformed),
        KeyRow("padded modulus", #"{"kty":"RSA","n":"AA==","e":"AQAB","kid":"j"}"#, .malformed),
        KeyRow(
            "a weak modulus",
            #"{"kty":"RSA","n":"\#(modulus(bytes: 128))","e":"AQAB","kid":"j"}"#,
            .keyRefused
        ),
        KeyRow(
            "exponent 3",
            #"{"kty":"RSA","n":"\#(modulus(bytes: 256))","e":"Aw","kid":"j"}"#,
            .keyRefused
        ),
        KeyRow(
            "a point off the curve",
            #"{"kty":"EC","crv":"P-256","x":"\#(zeros)","y":"\#(zeros)","kid":"j"}"#,
            .keyRefused
        ),
        KeyRow(
            "a short point",
            #"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"j"}"#,
            .keyRefused
        ),
        KeyRow(
            "a short Ed25519 key",
            #"{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"j"}"#,
            .keyRefused
        ),
        KeyRow("kid a number", #"{"kty":"EC","crv":"P-256","kid":7}"#, .malformed),
    ])
    func `a key we cannot use is skipped, and the others stay`(row: KeyRow) throws {
        let forge = try Keys.forge()
        let set = try Forge.keySet([row.jwk, forge.jwk(kid: "k1")])
        #expect(set.keys.map(\.keyID) == ["k1"])
        #expect(set.skipped.map(\.reason) == [row.reason])
        #expect(set.skipped.first?.index == 0)
        #expect(set.skipped.first?.isAlarm == (row.reason == .privateMembers))
        let token = try forge.token(
            header: #"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#,
            payload: Forge.claims()
        )
        #expect(Forge.verdict(token, Forge.issuers(set)).reason == nil)
    }

    private static let zeros = Base64.encode([UInt8](repeating: 0, count: 32), .url)

    private static func modulus(bytes: Int) -> String {
        Base64.encode([UInt8](repeating: 0xff, count: bytes), .url)
    }

    @Test func `of two keys with one name the first counts`() throws {
        let one = try Keys.forge()
        let two = Forge(key: try SigningKey.generate(.es256))
        let set = try Forge.keySet([one.jwk(kid: "k1"), two.jwk(kid: "k1")])
        #expect(set.keys.count == 1)
        #expect(set.skipped.map(\.reason) == [.duplicate])
        // Another kind under the same name is another key.
        let rsa = try Keys.forge(.rs256)
        #expect(try Forge.keySet([one.jwk(kid: "k1"), rsa.jwk(kid: "k1")]).keys.count == 2)
    }

    @Test func `an RSA key without alg serves each RSA algorithm`() throws {
        let set = try Forge.keySet([Keys.forge(.rs256).jwk(kid: "k1", alg: false)])
        #expect(
            set.keys.first?.keys.map(\.algorithm) == [
                .rs256, .rs384, .rs512, .ps256, .ps384, .ps512,
            ]
        )
    }

    @Test(arguments: [
        ("", JWKSet.SetError.malformed), ("[]", .malformed), ("{}", .malformed),
        (#"{"keys":{}}"#, .malformed), (#"{"keys":[],"keys":[]}"#, .malformed),
        (#"{"keys":[]} x"#, .malformed),
        (#"{"keys":[\#(Array(repeating: "1", count: 65).joined(separator: ","))]}"#, .tooManyKeys),
        (String(repeating: " ", count: 262_145), .tooLong),
    ])
    func `a set that is none is refused as a whole`(text: String, error: JWKSet.SetError) {
        #expect(throws: error) { _ = try JWKSet(parsing: Array(text.utf8)) }
    }

    @Test func `an empty set knows no key`() throws {
        let token = try Keys.forge().token(
            header: #"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#,
            payload: Forge.claims()
        )
        #expect(Forge.verdict(token, Forge.issuers(try Forge.keySet([]))).reason == .keyUnknown)
    }

    /// RFC 7638 §3.1 and RFC 8037 A.3.
    @Test func `thumbprints are those of the RFCs`() throws {
        let set = try Forge.keySet([
            #"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#,
            #"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        ])
        let thumbprints = try set.keys.compactMap {
            try $0.keys.first.map { try JWK.thumbprint($0) }
        }
        #expect(
            thumbprints == [
                "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
                "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            ]
        )
    }
}
