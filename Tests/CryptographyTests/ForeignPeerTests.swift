import Cryptography
import Foundation
import Glibc
import Testing

@Suite struct ForeignPeerTests {
    @Test(
        .enabled(if: ForeignPeer.hasPythonCryptography, "python3 with cryptography is missing"),
        arguments: SignatureAlgorithm.allCases
    )
    func `Python verifies our signatures, and we verify Python's`(
        algorithm: SignatureAlgorithm
    ) throws {
        try ForeignPeer.withFolder { folder in
            let key = try TestKeys.key(algorithm)
            let message = Array("signed on both sides".utf8)
            try folder.write("message", message)
            try folder.write("public.pem", key.verificationKey.pem())
            try folder.write("signature", key.sign(message))
            let outcome = try ForeignPeer.run(
                "python3",
                ["-c", Self.signatureScript, algorithm.rawValue],
                in: folder
            )
            #expect(outcome.status == 0, "\(outcome.output)")
            let theirs = try VerificationKey(
                pem: folder.read("their-public.pem"),
                algorithm: algorithm
            )
            try theirs.verify(folder.read("their-signature"), over: message, with: algorithm)
            let restored = try SigningKey(
                pem: folder.read("their-private.pem"),
                algorithm: algorithm
            )
            try theirs.verify(restored.sign(message), over: message, with: algorithm)
        }
    }

    private static let signatureScript = """
        import sys
        from cryptography.hazmat.primitives import hashes, serialization as s
        from cryptography.hazmat.primitives.asymmetric import ec, rsa, ed25519, padding, utils
        alg = sys.argv[1]
        read = lambda n: open(n, 'rb').read()
        key = s.load_pem_public_key(read('public.pem'))
        msg, sig = read('message'), read('signature')
        h = {'256': hashes.SHA256(), '384': hashes.SHA384(), '512': hashes.SHA512()}.get(alg[2:])
        pad = padding.PKCS1v15() if alg[0] == 'R' else padding.PSS(padding.MGF1(h), h.digest_size) if h else None
        if alg[0] == 'E' and h:
            w = len(sig) // 2
            der = utils.encode_dss_signature(int.from_bytes(sig[:w], 'big'), int.from_bytes(sig[w:], 'big'))
            key.verify(der, msg, ec.ECDSA(h))
            mine = ec.generate_private_key(ec.SECP256R1() if w == 32 else ec.SECP384R1())
            r, t = utils.decode_dss_signature(mine.sign(msg, ec.ECDSA(h)))
            out = r.to_bytes(w, 'big') + t.to_bytes(w, 'big')
        elif alg == 'EdDSA':
            key.verify(sig, msg)
            mine = ed25519.Ed25519PrivateKey.generate()
            out = mine.sign(msg)
        else:
            key.verify(sig, msg, pad, h)
            mine = rsa.generate_private_key(65537, 2048)
            out = mine.sign(msg, pad, h)
        open('their-signature', 'wb').write(out)
        open('their-public.pem', 'wb').write(mine.public_key().public_bytes(
            s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
        open('their-private.pem', 'wb').write(mine.private_bytes(
            s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
        """

    @Test(.enabled(if: ForeignPeer.hasPythonCryptography, "python3 with cryptography is missing"))
    func `Python reads our certificates and requests as we meant them`() throws {
        try ForeignPeer.withFolder { folder in
            let authority = try TestAuthority().authority
            let key = try SigningKey.generate()
            let names: [AlternativeName] = [
                .dns("a.test"), .uri("spiffe://test/ns/a"), .ip([10, 0, 0, 1]),
            ]
            let leaf = try authority.issue(
                CertificateTemplate(
                    commonName: "leaf",
                    alternativeNames: names,
                    notBefore: TestAuthority.start,
                    notAfter: TestAuthority.leafEnd,
                    purposes: [.server, .client]
                ),
                for: key.verificationKey.spki()
            )
            let request = try CertificateSigningRequest.create(
                commonName: "asker",
                alternativeNames: names,
                key: key
            )
            try folder.write("ca.pem", authority.certificate.pem)
            try folder.write("leaf.pem", leaf.pem)
            try folder.write("request.pem", request.pem)
            let script = """
                import datetime, ipaddress
                from cryptography import x509
                from cryptography.hazmat.primitives.asymmetric import ec
                ca = x509.load_pem_x509_certificate(open('ca.pem', 'rb').read())
                leaf = x509.load_pem_x509_certificate(open('leaf.pem', 'rb').read())
                leaf.verify_directly_issued_by(ca)
                ca.verify_directly_issued_by(ca)
                at = datetime.datetime.fromtimestamp(\(TestAuthority.now), datetime.timezone.utc)
                store = x509.verification.Store([ca])
                v = x509.verification.PolicyBuilder().store(store).time(at)
                v.build_server_verifier(x509.DNSName('a.test')).verify(leaf, [])
                client = v.build_client_verifier().verify(leaf, [])
                san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                assert san.get_values_for_type(x509.DNSName) == ['a.test']
                assert san.get_values_for_type(x509.UniformResourceIdentifier) == ['spiffe://test/ns/a']
                assert san.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address('10.0.0.1')]
                assert leaf.not_valid_before_utc.timestamp() == \(TestAuthority.start)
                assert leaf.not_valid_after_utc.timestamp() == \(TestAuthority.leafEnd)
                ku = leaf.extensions.get_extension_for_class(x509.KeyUsage)
                assert ku.critical and ku.value.digital_signature and not ku.value.key_cert_sign
                bc = ca.extensions.get_extension_for_class(x509.BasicConstraints)
                assert bc.critical and bc.value.ca and bc.value.path_length == 0
                assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
                csr = x509.load_pem_x509_csr(open('request.pem', 'rb').read())
                assert csr.is_signature_valid
                csan = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                assert list(csan) == list(san)
                """
            let outcome = try ForeignPeer.run("python3", ["-c", script], in: folder)
            #expect(outcome.status == 0, "\(outcome.output)")
        }
    }

    @Test(.enabled(if: ForeignPeer.hasPythonCryptography, "python3 with cryptography is missing"))
    func `names that C would read differently make a certificate unreadable`() throws {
        try ForeignPeer.withFolder { folder in
            let script = """
                import datetime
                from cryptography import x509
                from cryptography.hazmat.primitives import hashes, serialization as s
                from cryptography.hazmat.primitives.asymmetric import ec
                from cryptography.x509.oid import NameOID
                key = ec.generate_private_key(ec.SECP256R1())
                def san(tag, data):
                    inner = bytes([tag, len(data)]) + data
                    return x509.UnrecognizedExtension(x509.ObjectIdentifier('2.5.29.17'), bytes([0x30, len(inner)]) + inner)
                day = datetime.datetime(2027, 1, 1)
                name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'x')])
                def make(file, ext):
                    b = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                    b = b.serial_number(5).not_valid_before(day).not_valid_after(day + datetime.timedelta(days=9))
                    c = b.add_extension(ext, False).sign(key, hashes.SHA256())
                    open(file, 'wb').write(c.public_bytes(s.Encoding.DER))
                make('good', san(0x82, b'a.test'))
                make('nul', san(0x82, b'a.test\\x00.evil.test'))
                make('blank', san(0x82, b'a test'))
                make('high', san(0x86, b'spiffe://\\xff'))
                make('ip', san(0x87, b'\\x01\\x02\\x03'))
                """
            let outcome = try ForeignPeer.run("python3", ["-c", script], in: folder)
            #expect(outcome.status == 0, "\(outcome.output)")
            let good = try Certificate(der: folder.read("good"))
            #expect(good.alternativeNames == [.dns("a.test")])
            #expect(good.serial == [5])
            for name in ["nul", "blank", "high", "ip"] {
                #expect(throws: CryptographyError.self, "\(name)") {
                    _ = try Certificate(der: folder.read(name))
                }
            }
        }
    }

    @Test(.enabled(if: ForeignPeer.hasOpenSSL, "the openssl command is missing"))
    func `the openssl command accepts our chain, and we read what it makes`() throws {
        try ForeignPeer.withFolder { folder in
            let authority = try TestAuthority().authority
            let make = try ForeignPeer.run(
                "openssl",
                [
                    "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout",
                    "key.pem", "-out", "request.pem", "-subj", "/CN=foreign", "-addext",
                    "subjectAltName=DNS:b.test",
                ],
                in: folder
            )
            #expect(make.status == 0, "\(make.output)")
            let request = try CertificateSigningRequest(pem: folder.read("request.pem"))
            #expect(request.commonName == "foreign")
            #expect(request.alternativeNames == [.dns("b.test")])
            let leaf = try authority.issue(
                CertificateTemplate(
                    commonName: "foreign",
                    alternativeNames: request.alternativeNames,
                    notBefore: TestAuthority.start,
                    notAfter: TestAuthority.leafEnd,
                    purposes: [.server]
                ),
                for: request.publicKeyInfo
            )
            _ = try TLSIdentity(
                certificatesPEM: leaf.pem.utf8,
                keyPEM: Secret(folder.read("key.pem"))
            )
            try folder.write("ca.pem", authority.certificate.pem)
            try folder.write("leaf.pem", leaf.pem)
            let verify = try ForeignPeer.run(
                "openssl",
                [
                    "verify", "-x509_strict", "-purpose", "sslserver", "-attime",
                    "\(TestAuthority.now)", "-CAfile", "ca.pem", "leaf.pem",
                ],
                in: folder
            )
            #expect(verify.status == 0, "\(verify.output)")
        }
    }

    @Test(
        .enabled(if: ForeignPeer.hasOpenSSL, "the openssl command is missing"),
        arguments: ["-tls1_2", "-tls1_3"]
    )
    func `openssl s_client talks to our server`(version: String) throws {
        let said = try conversation(options: [version, "-ign_eof"], input: "hello from outside\n")
        #expect(said.received.contains("hello from outside"))
        #expect(said.agreement?.isTLS13 == (version == "-tls1_3"))
        #expect(said.printed.contains("Verify return code: 0 (ok)"))
        #expect(said.printed.contains("welcome"))
    }

    @Test(.enabled(if: ForeignPeer.hasOpenSSL, "the openssl command is missing"))
    func `TLS 1_1 is refused`() throws {
        // Security level 0 lets the foreign side offer what its own configuration forbids.
        let said = try conversation(
            options: ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            input: ""
        )
        #expect(said.agreement == nil)
        guard case .protocolViolation? = said.failure else {
            Issue.record("\(String(describing: said.failure)) \(said.printed)")
            return
        }
    }

    @Test(.enabled(if: ForeignPeer.hasOpenSSL, "the openssl command is missing"))
    func `a client that renegotiates is refused`() throws {
        // A line of a single R makes s_client ask for a new handshake on the open connection.
        let said = try conversation(options: ["-tls1_2"], input: "R\n")
        #expect(said.agreement?.isTLS13 == false)
        #expect(said.printed.contains("RENEGOTIATING"))
        #expect(said.printed.contains("no renegotiation"))
    }

    private struct Conversation {
        var agreement: TLSSession.Agreement?
        var received = ""
        var failure: TLSError?
        var printed = ""
    }

    /// One foreign client on a loopback connection: our side says "welcome", and closes on the
    /// first line it gets.
    private func conversation(options: [String], input: String) throws -> Conversation {
        let authority = try TestAuthority()
        let context = try authority.server()
        let listener = try LoopbackListener()
        var result = Conversation()
        try ForeignPeer.withFolder { folder in
            try folder.write("ca.pem", authority.authority.certificate.pem)
            let client = Process()
            client.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            client.arguments =
                [
                    "openssl", "s_client", "-connect", "127.0.0.1:\(listener.port)", "-servername",
                    "gateway.test", "-verify_hostname", "gateway.test", "-verify_return_error",
                    "-attime", "\(TestAuthority.now)", "-CAfile", "ca.pem",
                ] + options
            client.currentDirectoryURL = folder
            let (stdin, stdout) = (Pipe(), Pipe())
            client.standardInput = stdin
            client.standardOutput = stdout
            client.standardError = stdout
            try client.run()
            let connection = try listener.accept()
            let session = try TLSSession(server: context, now: TestAuthority.now)
            result = converse(consume session, over: connection) {
                try? stdin.fileHandleForWriting.write(contentsOf: Data(input.utf8))
            }
            connection.close()
            try? stdin.fileHandleForWriting.close()
            let printed = try stdout.fileHandleForReading.readToEnd() ?? Data()
            client.waitUntilExit()
            result.printed = String(decoding: printed, as: UTF8.self)
        }
        return result
    }

    private func converse(
        _ session: consuming TLSSession,
        over connection: LoopbackConnection,
        whenEstablished speak: () -> Void
    ) -> Conversation {
        var result = Conversation()
        do throws(TLSError) {
            while let bytes = connection.receive() {
                try session.receive(bytes)
                if result.agreement == nil, let agreement = session.agreement {
                    result.agreement = agreement
                    try session.send("welcome\n".utf8)
                    speak()
                }
                while case let plaintext = try session.read(), !plaintext.isEmpty {
                    result.received += String(decoding: plaintext, as: UTF8.self)
                }
                if result.received.contains("\n") { session.close() }
                connection.send(session.takeCiphertext())
                if case .closed = session.state { break }
                if result.received.contains("\n") { break }
            }
        } catch {
            result.failure = error
            connection.send(session.takeCiphertext())
        }
        return result
    }
}

/// A listener on an address nobody else can reach, at a port the system chooses.
private struct LoopbackListener {
    private let handle: Int32
    let port: UInt16

    init() throws {
        let handle = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        var (bound, found) = (Int32(-1), Int32(-1))
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bound = bind(handle, pointer, length)
                _ = listen(handle, 1)
                found = getsockname(handle, pointer, &length)
            }
        }
        try #require(bound == 0 && found == 0)
        self.handle = handle
        port = UInt16(bigEndian: address.sin_port)
        bound10Seconds(handle)
    }

    func accept() throws -> LoopbackConnection {
        let accepted = Glibc.accept(handle, nil, nil)
        close(handle)
        try #require(accepted >= 0)
        bound10Seconds(accepted)
        return LoopbackConnection(handle: accepted)
    }
}

/// A blocking connection whose waits end after ten seconds.
private struct LoopbackConnection {
    let handle: Int32

    func receive() -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        let count = recv(handle, &buffer, buffer.count, 0)
        return count > 0 ? Array(buffer[..<count]) : nil
    }

    func send(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(handle, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    func close() { Glibc.close(handle) }
}

private func bound10Seconds(_ handle: Int32) {
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(handle, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
}
