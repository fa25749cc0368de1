import Cryptography
import Testing

/// Two engines of this module talk through byte arrays.
///
/// What a foreign engine says is in `ForeignPeerTests`.
@Suite struct TLSTests {
    static let authority = try? TestAuthority()

    private func authority() throws -> TestAuthority { try #require(Self.authority) }

    @Test(arguments: [1, 2, 3, 5, 7, 64, 333, 1_400, 16_384, 1_000_000])
    func `a mutual handshake and an exchange survive any cut of the bytes`(cut: Int) throws {
        let authority = try authority()
        let link = try Link(
            client: authority.client(as: "proxy-a", protocols: ["h2"]),
            server: authority.server(trust: true, protocols: ["h2", "http/1.1"]),
            cut: cut
        )
        try link.pump()
        let client = try #require(link.clientAgreement)
        let server = try #require(link.serverAgreement)
        #expect(client.applicationProtocol == "h2")
        #expect(server.applicationProtocol == "h2")
        #expect(client.isTLS13 && server.isTLS13)
        #expect(server.peerCertificate?.subjectCommonName == "proxy-a")
        #expect(client.peerCertificate?.alternativeNames.contains(.dns("gateway.test")) == true)
        #expect(server.serverName == "gateway.test")

        try link.client.send("ping".utf8)
        try link.server.send(Array(repeating: 7, count: 40_000))
        try link.pump()
        #expect(link.serverReceived == Array("ping".utf8))
        #expect(link.clientReceived == Array(repeating: 7, count: 40_000))
    }

    @Test func `every single cut point of a conversation gives the same conversation`() throws {
        let authority = try authority()
        for cut in stride(from: 8, through: 2_000, by: 41) {
            let link = try Link(client: authority.client(), server: authority.server(), cut: cut)
            try link.pump()
            try link.client.send("question".utf8)
            try link.pump()
            link.client.close()
            try link.pump()
            let (state, received) = (link.server.state, link.serverReceived)
            #expect(state == .closed(.closeNotify))
            #expect(received == Array("question".utf8))
        }
    }

    @Test func `ten megabytes arrive unchanged`() throws {
        let authority = try authority()
        let link = try Link(client: authority.client(), server: authority.server(), cut: 65_536)
        try link.pump()
        let body = (0..<10_485_760).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
        try link.client.send(body)
        try link.pump()
        #expect(SHA256.digest(of: link.serverReceived) == SHA256.digest(of: body))
    }

    @Test func `a client without a certificate is refused where one is required`() throws {
        let authority = try authority()
        let link = try Link(client: authority.client(), server: authority.server(trust: true))
        let failure = link.pumpToFailure()
        #expect(failure.server == .clientCertificateMissing)
        guard case .peerAlert(let alert)? = failure.client else {
            Issue.record("the client saw \(String(describing: failure.client))")
            return
        }
        #expect(alert.contains("certificate required"))
    }

    @Test func `a client certificate of another authority is refused`() throws {
        let authority = try authority()
        let other = try TestAuthority()
        var configuration = try authority.clientConfiguration()
        configuration.identity = try other.identity(commonName: "intruder", purposes: [.client])
        let link = try Link(
            client: TLSContext(configuration),
            server: authority.server(trust: true)
        )
        let failure = link.pumpToFailure()
        guard case .certificateRefused? = failure.server else {
            Issue.record("the server saw \(String(describing: failure.server))")
            return
        }
    }

    @Test func `a server certificate may not be used by a client`() throws {
        let authority = try authority()
        var configuration = try authority.clientConfiguration()
        configuration.identity = try authority.identity(commonName: "server", purposes: [.server])
        let link = try Link(
            client: TLSContext(configuration),
            server: authority.server(trust: true)
        )
        guard case .certificateRefused? = link.pumpToFailure().server else {
            Issue.record("the purpose was not checked")
            return
        }
    }

    @Test func `a server of an unknown authority is refused`() throws {
        let authority = try authority()
        let other = try TestAuthority()
        let link = try Link(client: other.client(), server: authority.server())
        let failure = link.pumpToFailure()
        guard case .certificateRefused? = failure.client else {
            Issue.record("the client saw \(String(describing: failure.client))")
            return
        }
        guard case .peerAlert? = failure.server else {
            Issue.record("the server saw \(String(describing: failure.server))")
            return
        }
    }

    @Test(arguments: [
        (TestAuthority.start - 10, "certificate is not yet valid"),
        (TestAuthority.leafEnd + 10, "certificate has expired"),
    ])
    func `a certificate outside its validity is refused`(now: Int64, reason: String) throws {
        let authority = try authority()
        let link = try Link(client: authority.client(), server: authority.server(), now: now)
        #expect(link.pumpToFailure().client == .certificateRefused(reason))
    }

    @Test(arguments: [
        (TLSSession.ServerName.host("gateway.test"), true),
        (.host("GATEWAY.test"), true),
        (.host("other.test"), false),
        (.host("leaf-name"), false),
        (.host("a.wild.test"), true),
        (.host("a.b.wild.test"), false),
        (.address("127.0.0.1"), true),
        (.address("127.0.0.2"), false),
        (.address("::1"), true),
        (.uri("spiffe://test/ns/a/control", sni: nil), true),
        (.uri("spiffe://test/ns/a/control", sni: "gateway.test"), true),
        (.uri("spiffe://test/ns/A/control", sni: nil), false),
        (.uri("spiffe://test/ns/a/control2", sni: nil), false),
    ])
    func `a server proves the name that was called`(
        name: TLSSession.ServerName,
        isAccepted: Bool
    ) throws {
        let authority = try authority()
        let link = try Link(client: authority.client(), server: authority.server(), to: name)
        let failure = link.pumpToFailure()
        #expect(failure.client == (isAccepted ? nil : .peerNameMismatch))
        let isEstablished = link.client.agreement != nil
        #expect(isEstablished == isAccepted)
        let wasServerAccepted = failure.server == nil
        #expect(wasServerAccepted == isAccepted)
    }

    @Test(arguments: ["", "a\u{0}b"])
    func `a server name that cannot be compared is no reason to compare nothing`(
        name: String
    ) throws {
        let context = try authority().client()
        do throws(TLSError) {
            _ = try TLSSession(client: context, to: .host(name), now: TestAuthority.now)
            Issue.record("the name was taken")
        } catch {
            #expect(error == .configuration("server name not usable"))
        }
    }

    @Test func `two sides without a common application protocol do not talk`() throws {
        let authority = try authority()
        let link = try Link(
            client: authority.client(protocols: ["h2"]),
            server: authority.server(protocols: ["http/1.1"])
        )
        let failure = link.pumpToFailure()
        #expect(failure.server == .noApplicationProtocol)
        #expect(failure.client != nil)
    }

    @Test func `a side that offers no application protocol agrees on none`() throws {
        let authority = try authority()
        let link = try Link(
            client: authority.client(),
            server: authority.server(protocols: ["h2"])
        )
        try link.pump()
        let agreement = try #require(link.serverAgreement)
        #expect(agreement.applicationProtocol == nil)
    }

    @Test func `an end without close_notify is a truncation`() throws {
        let authority = try authority()
        let link = try Link(client: authority.client(), server: authority.server())
        try link.pump()
        try link.client.send("half a".utf8)
        try link.pump()
        link.server.transportClosed()
        let state = link.server.state
        #expect(state == .closed(.truncated))
        do throws(TLSError) {
            try link.server.send("too late".utf8)
            Issue.record("sent into a closed transport")
        } catch {
            #expect(error == .notEstablished)
        }
    }

    @Test func `an end after close_notify is complete, and the answer can still be sent`() throws {
        let authority = try authority()
        let link = try Link(client: authority.client(), server: authority.server())
        try link.pump()
        try link.client.send("all".utf8)
        link.client.close()
        try link.pump()
        let state = link.server.state
        #expect(state == .closed(.closeNotify))
        try link.server.send("answer".utf8)
        link.server.close()
        try link.pump()
        #expect(link.clientReceived == Array("answer".utf8))
        link.server.transportClosed()
        let final = (link.server.state, link.client.state)
        #expect(final == (.closed(.closeNotify), .closed(.closeNotify)))
    }

    @Test func `nothing is sent before the handshake is done`() throws {
        let context = try authority().client()
        var session = try TLSSession(client: context, to: .host("gateway.test"))
        do throws(TLSError) {
            try session.send("early".utf8)
            Issue.record("plaintext left before the handshake")
        } catch {
            #expect(error == .notEstablished)
        }
        session.close()
        let state = session.state
        #expect(state == .closed(.abandoned))
    }

    @Test func `a changed record ends the connection`() throws {
        let authority = try authority()
        let link = try Link(client: authority.client(), server: authority.server())
        try link.pump()
        try link.client.send("pay 10".utf8)
        var record = link.client.takeCiphertext()
        record[record.count - 3] ^= 1
        try link.server.receive(record)
        do throws(TLSError) {
            _ = try link.server.read()
            Issue.record("a changed record was read")
        } catch {
            guard case .protocolViolation = error else {
                Issue.record("\(error)")
                return
            }
        }
        let (state, pending) = (link.server.state, link.server.pendingCiphertextByteCount)
        #expect(state == .closed(.failed))
        #expect(pending > 0, "an alert should wait for the peer")
    }

    @Test(arguments: ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\u{16}\u{3}\u{1}\u{0}\u{5}hello"])
    func `what is not TLS ends the handshake`(text: String) throws {
        let context = try authority().server()
        var session = try TLSSession(server: context)
        do throws(TLSError) {
            try session.receive(text.utf8)
            Issue.record("taken for a handshake")
        } catch {
            guard case .protocolViolation = error else {
                Issue.record("\(error)")
                return
            }
        }
    }

    @Test func `a configuration that would trust nobody is no client`() throws {
        #expect(throws: TLSError.configuration("a client must trust somebody")) {
            _ = try TLSContext(.init(role: .client))
        }
        #expect(throws: TLSError.configuration("no trusted authorities")) {
            _ = try TLSContext(.init(role: .client, trust: .roots([])))
        }
        #expect(throws: TLSError.configuration("a server needs a certificate")) {
            _ = try TLSContext(.init(role: .server))
        }
    }

    @Test func `an identity keeps certificate and key together`() throws {
        let authority = try authority()
        let one = try authority.identity(commonName: "one", purposes: [.client])
        let stranger = try SigningKey.generate()
        #expect(throws: CryptographyError.keyRefused(reason: "not the key of the certificate")) {
            _ = try TLSIdentity(certificates: one.certificates, key: stranger)
        }
    }

    @Test func `random bytes never crash a session and never establish one`() throws {
        let server = try authority().server()
        var random = SeededGenerator(seed: 7)
        for _ in 0..<500 {
            var session = try TLSSession(server: server)
            var noise = (0..<Int.random(in: 1...300, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            noise.replaceSubrange(0..<1, with: [22, 3, 1, 0])
            try? session.receive(noise)
            let isEstablished = session.agreement != nil
            #expect(!isEstablished)
        }
    }
}

/// A client and a server with a wire of byte arrays between them.
final class Link {
    var client: TLSSession
    var server: TLSSession
    var clientReceived: [UInt8] = []
    var serverReceived: [UInt8] = []
    let cut: Int

    var clientAgreement: TLSSession.Agreement? { client.agreement }
    var serverAgreement: TLSSession.Agreement? { server.agreement }

    init(
        client: TLSContext,
        server: TLSContext,
        to name: TLSSession.ServerName = .host("gateway.test"),
        cut: Int = 4_096,
        now: Int64 = TestAuthority.now
    ) throws {
        self.client = try TLSSession(client: client, to: name, now: now)
        self.server = try TLSSession(server: server, now: now)
        self.cut = cut
    }

    /// Carries bytes until both sides are silent.
    func pump() throws(TLSError) {
        while client.pendingCiphertextByteCount + server.pendingCiphertextByteCount > 0 {
            try Self.carry(client.takeCiphertext(), cut, to: &server, &serverReceived)
            try Self.carry(server.takeCiphertext(), cut, to: &client, &clientReceived)
        }
    }

    /// The same, when an end is expected to throw; both ends get what the other still says.
    func pumpToFailure() -> (client: TLSError?, server: TLSError?) {
        var failure: (client: TLSError?, server: TLSError?)
        while client.pendingCiphertextByteCount + server.pendingCiphertextByteCount > 0 {
            do throws(TLSError) {
                try Self.carry(client.takeCiphertext(), cut, to: &server, &serverReceived)
            } catch { failure.server = failure.server ?? error }
            do throws(TLSError) {
                try Self.carry(server.takeCiphertext(), cut, to: &client, &clientReceived)
            } catch { failure.client = failure.client ?? error }
        }
        return failure
    }

    private static func carry(
        _ bytes: [UInt8],
        _ cut: Int,
        to session: inout TLSSession,
        _ received: inout [UInt8]
    ) throws(TLSError) {
        var start = 0
        while start < bytes.count {
            let end = min(start + cut, bytes.count)
            try session.receive(bytes[start..<end])
            start = end
            while true {
                let plaintext = try session.read()
                if plaintext.isEmpty { break }
                received.append(contentsOf: plaintext)
            }
        }
    }
}

/// An authority with fixed times, so that no test depends on the day it runs.
struct TestAuthority: Sendable {
    static let start: Int64 = 1_800_000_000
    static let now: Int64 = start + 1_000
    static let leafEnd: Int64 = start + 86_400
    static let end: Int64 = start + 8_640_000

    let authority: CertificateAuthority

    init() throws {
        authority = try CertificateAuthority.create(
            commonName: "test authority",
            notBefore: Self.start,
            notAfter: Self.end
        )
    }

    func identity(
        commonName: String,
        names: [AlternativeName] = [],
        purposes: Set<CertificatePurpose>
    ) throws -> TLSIdentity {
        let key = try SigningKey.generate()
        let certificate = try authority.issue(
            CertificateTemplate(
                commonName: commonName,
                alternativeNames: names,
                notBefore: Self.start,
                notAfter: Self.leafEnd,
                purposes: purposes
            ),
            for: key.verificationKey.spki()
        )
        // Through PEM, as an operator's files would come.
        return try TLSIdentity(certificatesPEM: certificate.pem.utf8, keyPEM: key.pem())
    }

    func server(trust: Bool = false, protocols: [String] = []) throws -> TLSContext {
        let names: [AlternativeName] = [
            .dns("gateway.test"), .dns("*.wild.test"), .ip([127, 0, 0, 1]),
            .ip(Array(repeating: 0, count: 15) + [1]), .uri("spiffe://test/ns/a/control"),
        ]
        return try TLSContext(
            .init(
                role: .server,
                identity: identity(commonName: "leaf-name", names: names, purposes: [.server]),
                trust: trust ? .roots([authority.certificate]) : .nobody,
                applicationProtocols: protocols
            )
        )
    }

    func clientConfiguration(protocols: [String] = []) throws -> TLSContext.Configuration {
        .init(
            role: .client,
            trust: .roots([authority.certificate]),
            applicationProtocols: protocols
        )
    }

    func client(as name: String? = nil, protocols: [String] = []) throws -> TLSContext {
        var configuration = try clientConfiguration(protocols: protocols)
        if let name {
            configuration.identity = try identity(commonName: name, purposes: [.client])
        }
        return try TLSContext(configuration)
    }
}

/// SplitMix64: the same numbers for the same seed, on every machine.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
