import Cryptography
import Testing

@Suite struct SealTests {
    @Test func `every changed bit of a sealed message is noticed`() throws {
        let aead = try AEAD(SymmetricKey())
        let sealed = try aead.seal("attack at dawn".utf8, authenticating: "session 7".utf8)
        #expect(
            try aead.open(sealed, authenticating: "session 7".utf8) == Array("attack at dawn".utf8)
        )
        for bit in 0..<(sealed.count * 8) {
            var changed = sealed
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: CryptographyError.authenticationFailed) {
                _ = try aead.open(changed, authenticating: "session 7".utf8)
            }
        }
        for count in 0..<sealed.count {
            #expect(throws: CryptographyError.authenticationFailed) {
                _ = try aead.open(sealed.prefix(count), authenticating: "session 7".utf8)
            }
        }
        #expect(throws: CryptographyError.authenticationFailed) {
            _ = try aead.open(sealed, authenticating: "session 8".utf8)
        }
        #expect(throws: CryptographyError.authenticationFailed) { _ = try aead.open(sealed) }
        #expect(throws: CryptographyError.authenticationFailed) {
            _ = try AEAD(SymmetricKey()).open(sealed, authenticating: "session 7".utf8)
        }
        // A refusal leaves the pooled context usable.
        #expect(try aead.open(sealed, authenticating: "session 7".utf8).count == 14)
    }

    @Test func `one key seals from many tasks at once`() async throws {
        let aead = try AEAD(SymmetricKey())
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for round in 0..<500 {
                        let message = Array("\(task) \(round)".utf8)
                        let sealed = try aead.seal(message, authenticating: [UInt8(task)])
                        let opened = try aead.open(sealed, authenticating: [UInt8(task)])
                        #expect(opened == message)
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    @Test func `nonces do not repeat`() throws {
        let aead = try AEAD(SymmetricKey())
        var seen: Set<[UInt8]> = []
        for _ in 0..<2_000 { seen.insert(Array(try aead.seal([]).prefix(AEAD.nonceByteCount))) }
        #expect(seen.count == 2_000)
    }

    @Test func `AES-256 takes a key of 256 bits only`() throws {
        #expect(throws: CryptographyError.keyRefused(reason: "AES-256 needs 32 bytes")) {
            _ = try AEAD(SymmetricKey(random: .bits128))
        }
        #expect(SymmetricKey([1, 2, 3]) == nil)
    }

    @Test func `secrets do not print`() throws {
        let secret = Secret("hunter2")
        let key = SymmetricKey(random: .bits256)
        let signingKey = try SigningKey.generate()
        var dumped = ""
        dump(secret, to: &dumped)
        dump(key, to: &dumped)
        dump(["k": signingKey], to: &dumped)
        let printed =
            "\(secret) \(String(reflecting: secret)) \(key) \(signingKey) \([secret])" + dumped
        #expect(printed.contains("<redacted"))
        #expect(!printed.contains("hunter2"))
        #expect(!printed.contains("0x"))
        #expect(secret == Secret("hunter2"))
        #expect(secret != Secret("hunter3"))
    }

    @Test func `constant time comparison compares`() {
        #expect(constantTimeEqual([1, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEqual([1, 2, 3], [1, 2, 4]))
        #expect(!constantTimeEqual([1, 2, 3], [1, 2]))
        #expect(constantTimeEqual([UInt8](), [UInt8]()))
    }

    @Test func `random bytes differ`() {
        #expect(SecureRandom.bytes(32) != SecureRandom.bytes(32))
        #expect(SecureRandom.bytes(0) == [])
        #expect(SecureRandom.bytes(33).count == 33)
    }

    @Test func `without a FIPS module, or too late, FIPS is refused`() {
        do throws(CryptographyError) {
            _ = SHA256.digest(of: "in use")
            try CryptographyPolicy.requireFIPS()
            Issue.record("FIPS was claimed for algorithms fetched before")
        } catch {
            guard case .fipsUnavailable(let reason) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(reason.contains("fips does not load") || reason.contains("already in use"))
        }
        #expect(!CryptographyPolicy.isFIPS)
        // The refusal leaves a working process.
        #expect(SHA256.digest(of: "abc").bytes.first == 0xba)
    }
}
