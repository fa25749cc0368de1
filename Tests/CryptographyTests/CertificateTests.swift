import Cryptography
import Testing

@Suite struct CertificateTests {
    private func leaf(
        of authority: TestAuthority,
        purposes: Set<CertificatePurpose> = [.client],
        names: [AlternativeName] = []
    ) throws -> Certificate {
        try authority.authority.issue(
            CertificateTemplate(
                commonName: "prüfung",
                alternativeNames: names,
                notBefore: TestAuthority.start,
                notAfter: TestAuthority.leafEnd,
                purposes: purposes
            ),
            for: SigningKey.generate().verificationKey.spki()
        )
    }

    @Test func `what was issued is what is read`() throws {
        let authority = try TestAuthority()
        let names: [AlternativeName] = [
            .dns("a.test"), .uri("spiffe://test/ns/a"), .ip([10, 0, 0, 1]),
            // In OpenSSL's own syntax this would be two names.
            .uri("spiffe://test/x,DNS:admin.test"),
        ]
        let certificate = try leaf(of: authority, names: names)
        #expect(certificate.subjectCommonName == "prüfung")
        #expect(certificate.alternativeNames == names)
        #expect(certificate.notBefore == TestAuthority.start)
        #expect(certificate.notAfter == TestAuthority.leafEnd)
        #expect(!certificate.isCA)
        #expect(authority.authority.certificate.isCA)
        #expect((14...16).contains(certificate.serial.count))
        #expect(try Certificate(pem: certificate.pem.utf8) == certificate)
        #expect(certificate.publicKeyDigest == SHA256.digest(of: certificate.publicKeyInfo))
        #expect(AlternativeName.ip(text: "::1") == .ip(Array(repeating: 0, count: 15) + [1]))
        #expect(AlternativeName.ip(text: "1.2.3.4.5") == nil)
    }

    @Test func `serial numbers do not repeat`() throws {
        let authority = try TestAuthority()
        let serials = try Set((0..<50).map { _ in try leaf(of: authority).serial })
        #expect(serials.count == 50)
    }

    @Test func `a chain holds for its purpose, time and root only`() throws {
        let authority = try TestAuthority()
        let other = try TestAuthority()
        let root = authority.authority.certificate
        let client = try leaf(of: authority)
        try client.verify(to: [root], for: .client, at: TestAuthority.now)
        try client.verify(
            to: [other.authority.certificate, root],
            for: .client,
            at: TestAuthority.now
        )
        let rows: [(String, [Certificate], CertificatePurpose, Int64)] = [
            ("another authority", [other.authority.certificate], .client, TestAuthority.now),
            ("no authority", [], .client, TestAuthority.now),
            ("the other purpose", [root], .server, TestAuthority.now),
            ("too early", [root], .client, TestAuthority.start - 1),
            ("too late", [root], .client, TestAuthority.leafEnd + 1),
            ("a leaf as root", [client], .client, TestAuthority.now),
        ]
        for (name, roots, purpose, time) in rows {
            do throws(CryptographyError) {
                try client.verify(to: roots, for: purpose, at: time)
                Issue.record("accepted: \(name)")
            } catch {
                guard case .chainRefused = error else {
                    Issue.record("\(name): \(error)")
                    continue
                }
            }
        }
    }

    @Test func `a leaf cannot issue`() throws {
        let authority = try TestAuthority()
        let key = try SigningKey.generate()
        let certificate = try authority.authority.issue(
            CertificateTemplate(
                commonName: "leaf",
                alternativeNames: [],
                notBefore: TestAuthority.start,
                notAfter: TestAuthority.leafEnd,
                purposes: [.server]
            ),
            for: key.verificationKey.spki()
        )
        #expect(throws: CryptographyError.keyRefused(reason: "not the key of this authority")) {
            _ = try CertificateAuthority(certificate: certificate, key: key)
        }
    }

    @Test func `an authority is restored from its files`() throws {
        let made = try TestAuthority().authority
        let key = try made.keyPEM().withUnsafeBytes { try SigningKey(pem: $0, algorithm: .es256) }
        let restored = try CertificateAuthority(
            certificate: Certificate(pem: made.certificate.pem.utf8),
            key: key
        )
        #expect(restored.certificate == made.certificate)
        let stranger = try SigningKey.generate()
        #expect(throws: CryptographyError.keyRefused(reason: "not the key of this authority")) {
            _ = try CertificateAuthority(certificate: made.certificate, key: stranger)
        }
    }

    @Test func `nothing is issued beyond the authority's own end, or for nothing`() throws {
        let authority = try TestAuthority().authority
        let spki = try SigningKey.generate().verificationKey.spki()
        var template = CertificateTemplate(
            commonName: "x",
            alternativeNames: [],
            notBefore: TestAuthority.start,
            notAfter: TestAuthority.end + 1,
            purposes: [.client]
        )
        #expect(throws: CryptographyError.self) { _ = try authority.issue(template, for: spki) }
        template.notAfter = TestAuthority.end
        _ = try authority.issue(template, for: spki)
        template.purposes = []
        #expect(throws: CryptographyError.self) { _ = try authority.issue(template, for: spki) }
        template.purposes = [.client]
        for name in ["", "a\u{0}b", String(repeating: "x", count: 65)] {
            template.commonName = name
            #expect(throws: CryptographyError.malformed(what: "common name")) {
                _ = try authority.issue(template, for: spki)
            }
        }
        template.commonName = "x"
        for name: AlternativeName in [.dns(""), .dns("a b"), .uri("ü"), .uri("a\u{0}"), .ip([1])] {
            template.alternativeNames = [name]
            #expect(throws: CryptographyError.malformed(what: "alternative name")) {
                _ = try authority.issue(template, for: spki)
            }
        }
    }

    @Test(arguments: [SignatureAlgorithm.es256, .es384, .edDSA, .rs256])
    func `a request proves possession of its key`(algorithm: SignatureAlgorithm) throws {
        let key = try TestKeys.key(algorithm)
        let names: [AlternativeName] = [.uri("spiffe://test/ns/a/proxy/1")]
        let request = try CertificateSigningRequest.create(
            commonName: "proxy 1",
            alternativeNames: names,
            key: key
        )
        #expect(request.commonName == "proxy 1")
        #expect(request.alternativeNames == names)
        #expect(try request.publicKeyInfo == key.verificationKey.spki())
        #expect(try CertificateSigningRequest(pem: request.pem.utf8) == request)
        // The last bytes are the signature; the key inside belongs to somebody else when they
        // change.
        var changed = request.der
        changed[changed.count - 5] ^= 1
        #expect(throws: CryptographyError.signatureInvalid) {
            _ = try CertificateSigningRequest(der: changed)
        }
        #expect(throws: CryptographyError.malformed(what: "certificate request")) {
            _ = try CertificateSigningRequest(der: request.der + [0])
        }
    }

    @Test func `changed certificates are refused or fail their chain`() throws {
        let authority = try TestAuthority()
        let root = authority.authority.certificate
        let original = try leaf(of: authority, names: [.dns("a.test")])
        for index in original.der.indices {
            var changed = original.der
            changed[index] ^= 0x01
            guard let certificate = try? Certificate(der: changed) else { continue }
            #expect(throws: CryptographyError.self, "byte \(index)") {
                try certificate.verify(to: [root], for: .client, at: TestAuthority.now)
            }
        }
    }
}
