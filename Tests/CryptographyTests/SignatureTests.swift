import Cryptography
import Testing

@Suite struct SignatureTests {
    private let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

    private func decoded(_ text: String) throws -> [UInt8] {
        try #require(Base64.decode(text, .url))
    }

    static let modulus =
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Ql"
        + "L-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdb"
        + "BYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK"
        + "-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"

    @Test func `RFC 7515 A.2 verifies: RS256`() throws {
        let signature = try decoded(
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
                + "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQB"
                + "MHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6I"
                + "eYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
        )
        let key = try VerificationKey(
            rsaModulus: decoded(Self.modulus),
            exponent: decoded("AQAB"),
            algorithm: .rs256
        )
        let message = Array("eyJhbGciOiJSUzI1NiJ9.\(payload)".utf8)
        try key.verify(signature, over: message, with: .rs256)
        for other in SignatureAlgorithm.allCases where other != .rs256 {
            #expect(throws: CryptographyError.algorithmRefused) {
                try key.verify(signature, over: message, with: other)
            }
        }
        #expect(throws: CryptographyError.signatureInvalid) {
            try key.verify(signature, over: message + [0], with: .rs256)
        }
    }

    @Test func `RFC 7515 A.3 verifies: ES256`() throws {
        let signature = try decoded(
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        )
        let key = try VerificationKey(
            x: decoded("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
            y: decoded("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
            algorithm: .es256
        )
        let message = Array("eyJhbGciOiJFUzI1NiJ9.\(payload)".utf8)
        try key.verify(signature, over: message, with: .es256)
        for bit in 0..<(signature.count * 8) {
            var changed = signature
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: CryptographyError.signatureInvalid) {
                try key.verify(changed, over: message, with: .es256)
            }
        }
    }

    /// RFC 8032 §7.1 tests 1 and 2, and RFC 8037 A.4.
    @Test(arguments: [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
                + "b46bd25bf5f0595bbe24655141438e7a100b"
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "r",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
                + "1d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "860c98d2297f3060a33f42739672d61b53cf3adefed3d3c672f320dc021b411e9d59b8628dc351e248b88b29468e"
                + "0e41855b0fb7d83bb15be902bfccb8cd0a02"
        ),
    ])
    func `Ed25519 verifies published signatures`(
        key: String,
        message: String,
        signature: String
    ) throws {
        let key = try VerificationKey(ed25519: #require(Hex.decode(key)))
        let signature = try #require(Hex.decode(signature))
        try key.verify(signature, over: message.utf8, with: .edDSA)
        #expect(throws: CryptographyError.signatureInvalid) {
            try key.verify(signature, over: "\(message) ".utf8, with: .edDSA)
        }
    }

    @Test(arguments: SignatureAlgorithm.allCases)
    func `what is signed verifies, and nothing else does`(algorithm: SignatureAlgorithm) throws {
        let key = try TestKeys.key(algorithm)
        let message = Array("the message".utf8)
        let signature = try key.sign(message)
        let verifier = try key.verificationKey
        try verifier.verify(signature, over: message, with: algorithm)
        #expect(throws: CryptographyError.signatureInvalid) {
            try verifier.verify(signature, over: "another".utf8, with: algorithm)
        }
        for wrong in [
            [], [0], signature + [0], Array(signature.dropLast()), signature.map { _ in 0 },
        ] {
            #expect(throws: CryptographyError.signatureInvalid) {
                try verifier.verify(wrong, over: message, with: algorithm)
            }
        }
        // Through each of its written forms the key stays the same.
        let copies = [
            try VerificationKey(spki: verifier.spki(), algorithm: algorithm),
            try VerificationKey(pem: verifier.pem().utf8, algorithm: algorithm),
            try fromComponents(verifier),
        ]
        for copy in copies { try copy.verify(signature, over: message, with: algorithm) }
        let pem = try key.pem()
        let restored = try pem.withUnsafeBytes { try SigningKey(pem: $0, algorithm: algorithm) }
        try verifier.verify(restored.sign(message), over: message, with: algorithm)
    }

    private func fromComponents(_ key: VerificationKey) throws -> VerificationKey {
        switch try key.components() {
        case .rsa(let modulus, let exponent):
            try VerificationKey(rsaModulus: modulus, exponent: exponent, algorithm: key.algorithm)
        case .ec(let x, let y): try VerificationKey(x: x, y: y, algorithm: key.algorithm)
        case .ed25519(let x): try VerificationKey(ed25519: x)
        }
    }

    @Test func `many ECDSA signatures keep their fixed width`() throws {
        // Every 128th integer is a byte shorter in DER: the padding matters.
        let key = try TestKeys.key(.es256)
        let verifier = try key.verificationKey
        for round in 0..<400 {
            let message = Array("\(round)".utf8)
            let signature = try key.sign(message)
            #expect(signature.count == 64)
            try verifier.verify(signature, over: message, with: .es256)
        }
    }

    @Test func `a key serves the algorithm of its kind only`() throws {
        let spki = try TestKeys.key(.es256).verificationKey.spki()
        for algorithm in SignatureAlgorithm.allCases where algorithm != .es256 {
            #expect(throws: CryptographyError.algorithmRefused) {
                _ = try VerificationKey(spki: spki, algorithm: algorithm)
            }
        }
    }

    @Test func `weak and malformed RSA keys are refused`() throws {
        let n = try decoded(Self.modulus)
        func load(_ n: [UInt8], _ e: [UInt8]) throws(CryptographyError) {
            _ = try VerificationKey(rsaModulus: n, exponent: e, algorithm: .rs256)
        }
        try load(n, [1, 0, 1])
        try load([0] + n, [1, 0, 1])
        let size = CryptographyError.keyRefused(reason: "RSA modulus outside 2048 to 8192 bits")
        let exponent = CryptographyError.keyRefused(reason: "RSA exponent outside 2^16 to 2^64")
        #expect(throws: size) { try load(Array(n.dropLast()), [1, 0, 1]) }
        #expect(throws: size) { try load([], [1, 0, 1]) }
        #expect(throws: size) { try load(Array(repeating: 0xff, count: 1_025), [1, 0, 1]) }
        #expect(throws: size) { try load(Array(repeating: 0xff, count: 1_000_000), [1, 0, 1]) }
        // 2041 bits in 256 bytes.
        #expect(throws: size) { try load([0x01] + n.dropFirst(), [1, 0, 1]) }
        #expect(throws: exponent) { try load(n, [3]) }
        #expect(throws: exponent) { try load(n, [1, 0, 2]) }
        #expect(throws: exponent) { try load(n, []) }
        #expect(throws: exponent) { try load(n, Array(repeating: 0xff, count: 9)) }
    }

    @Test func `a point off its curve is refused`() throws {
        let components = try TestKeys.key(.es256).verificationKey.components()
        guard case .ec(let x, var y) = components else {
            Issue.record("not an EC key")
            return
        }
        y[31] ^= 1
        let zero = [UInt8](repeating: 0, count: 32)
        let refused = CryptographyError.keyRefused(reason: "components do not form a public key")
        #expect(throws: refused) { _ = try VerificationKey(x: x, y: y, algorithm: .es256) }
        #expect(throws: refused) { _ = try VerificationKey(x: zero, y: zero, algorithm: .es256) }
        let width = CryptographyError.keyRefused(reason: "coordinate of the wrong length")
        #expect(throws: width) {
            _ = try VerificationKey(x: Array(x.dropLast()), y: y, algorithm: .es256)
        }
        #expect(throws: width) { _ = try VerificationKey(x: [0] + x, y: y, algorithm: .es256) }
        #expect(throws: width) { _ = try VerificationKey(x: x, y: y, algorithm: .es384) }
    }

    @Test func `trailing bytes and foreign blocks are refused`() throws {
        let key = try TestKeys.key(.es256)
        let spki = try key.verificationKey.spki()
        #expect(throws: CryptographyError.malformed(what: "public key")) {
            _ = try VerificationKey(spki: spki + [0], algorithm: .es256)
        }
        for count in stride(from: 0, to: spki.count, by: 7) {
            #expect(throws: CryptographyError.self) {
                _ = try VerificationKey(spki: Array(spki.prefix(count)), algorithm: .es256)
            }
        }
        let pem = PEM.encode(PEM.Block(label: "CERTIFICATE", bytes: spki))
        #expect(throws: CryptographyError.malformed(what: "public key PEM")) {
            _ = try VerificationKey(pem: pem.utf8, algorithm: .es256)
        }
    }
}

/// One key for each algorithm; RSA keys take seconds to make in a debug build.
enum TestKeys {
    private static let rsa = Result { try SigningKey.generate(.rs256) }

    static func key(_ algorithm: SignatureAlgorithm) throws -> SigningKey {
        guard algorithm.keyKind == .rsa else { return try SigningKey.generate(algorithm) }
        return try rsa.get().pem().withUnsafeBytes { try SigningKey(pem: $0, algorithm: algorithm) }
    }
}
