import Cryptography
import Testing

/// Published answers: FIPS 180-4, RFC 4231, RFC 5869, the GCM specification.
@Suite struct VectorTests {
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func `SHA-256 gives the published digests`(message: String, digest: String) {
        #expect(SHA256.digest(of: message).description == digest)
        var stream = SHA256.stream()
        for byte in message.utf8 { stream.update([byte]) }
        let streamed = SHA256.finish(stream)
        #expect(streamed.description == digest)
    }

    @Test func `SHA-384 and SHA-512 give the published digests`() {
        #expect(
            SHA384.digest(of: "abc").description
                == "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                + "8086072ba1e7cc2358baeca134c825a7"
        )
        #expect(
            SHA512.digest(of: "abc").description
                == "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                + "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        )
    }

    @Test func `a digest is a value`() {
        let digest = SHA256.digest(of: "abc")
        #expect(SHA256.Digest(bytes: digest.bytes) == digest)
        #expect(SHA256.Digest(bytes: digest.bytes.dropLast()) == nil)
        #expect(Set([digest, SHA256.digest(of: "abc"), SHA256.digest(of: "abd")]).count == 2)
    }

    struct MACRow: Sendable {
        let key: [UInt8]
        let message: [UInt8]
        let codes: [HashAlgorithm: String]
    }

    @Test(arguments: [
        MACRow(
            key: Array(repeating: 0x0b, count: 20),
            message: Array("Hi There".utf8),
            codes: [
                .sha256: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
                .sha384: "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c"
                    + "faea9ea9076ede7f4af152e8b2fa9cb6",
                .sha512: "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
                    + "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
            ]
        ),
        MACRow(
            key: Array(repeating: 0xaa, count: 20),
            message: Array(repeating: 0xdd, count: 50),
            codes: [.sha256: "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"]
        ),
        MACRow(
            key: Array(1...25),
            message: Array(repeating: 0xcd, count: 50),
            codes: [.sha256: "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"]
        ),
        MACRow(
            key: Array(repeating: 0xaa, count: 131),
            message: Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
            codes: [
                .sha256: "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
                .sha384: "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c6"
                    + "0c2ef6ab4030fe8296248df163f44952",
                .sha512: "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
                    + "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
            ]
        ),
    ])
    func `HMAC gives the codes of RFC 4231`(row: MACRow) throws {
        let key = try #require(SymmetricKey(row.key))
        for (hash, expected) in row.codes {
            let code = HMAC.code(for: row.message, key: key, using: hash)
            #expect(Hex.encode(code) == expected)
            #expect(HMAC.isValid(code, for: row.message, key: key, using: hash))
            #expect(!HMAC.isValid(code.dropLast(), for: row.message, key: key, using: hash))
            #expect(!HMAC.isValid(code, for: row.message + [0], key: key, using: hash))
        }
    }

    @Test(arguments: [
        (
            Array(repeating: UInt8(0x0b), count: 22), Array(UInt8(0)...0x0c),
            Array(UInt8(0xf0)...0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        ),
        (
            Array(UInt8(0)...0x4f), Array(UInt8(0x60)...0xaf), Array(UInt8(0xb0)...0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6"
                + "5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
        (
            Array(repeating: UInt8(0x0b), count: 22), [], [],
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        ),
    ])
    func `HKDF gives the keys of RFC 5869`(
        secret: [UInt8],
        salt: [UInt8],
        info: [UInt8],
        output: String
    ) throws {
        let count = output.utf8.count / 2
        let derived = try HKDF.derive(from: Secret(secret), salt: salt, info: info, count: count)
        #expect(derived.withUnsafeBytes { Hex.encode($0) } == output)
        let extracted = try HKDF.extract(from: Secret(secret), salt: salt)
        #expect(try HKDF.expand(extracted, info: info, count: count) == derived)
    }

    @Test func `HKDF knows the limit of its output`() throws {
        let key = Secret([1, 2, 3])
        #expect(try HKDF.derive(from: key, info: [], count: 255 * 32).count == 255 * 32)
        #expect(throws: CryptographyError.malformed(what: "length of derived key")) {
            _ = try HKDF.derive(from: key, info: [], count: 255 * 32 + 1)
        }
        #expect(throws: CryptographyError.keyRefused(reason: "empty secret")) {
            _ = try HKDF.derive(from: Secret([]), info: [1], count: 32)
        }
    }

    /// Test cases 13, 14 and 16 of the GCM specification (McGrew, Viega).
    @Test(arguments: [
        (
            String(repeating: "00", count: 32), String(repeating: "00", count: 12), "", "",
            "530f8afbc74536b9a963b4f1c4cb738b"
        ),
        (
            String(repeating: "00", count: 32), String(repeating: "00", count: 12),
            String(repeating: "00", count: 16), "",
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
        ),
        (
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                + "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                + "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
                + "76fc6ece0f4e1768cddf8853bb2d551b"
        ),
    ])
    func `AES-256-GCM gives the published ciphertexts`(
        key: String,
        nonce: String,
        plaintext: String,
        data: String,
        sealed: String
    ) throws {
        let keyBytes = try #require(Hex.decode(key))
        let aead = try AEAD(#require(SymmetricKey(keyBytes)))
        let nonce = try #require(Hex.decode(nonce))
        let plaintext = try #require(Hex.decode(plaintext))
        let data = try #require(Hex.decode(data))
        for _ in 0..<3 {
            let result = try aead.seal(plaintext, nonce: nonce, authenticating: data)
            #expect(Hex.encode(result) == sealed)
            let opened = try aead.open(nonce: nonce, sealed: result, authenticating: data)
            #expect(opened == plaintext)
        }
    }
}
