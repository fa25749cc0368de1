import COpenSSL

/// A certificate chain and the private key of its first certificate.
public struct TLSIdentity: Sendable {
    /// Leaf first, then the intermediates a peer needs.
    public let certificates: [Certificate]
    let key: PKey

    /// An identity as kept in files: a PEM chain and a PEM key.
    public init(
        certificatesPEM: some Collection<UInt8>,
        keyPEM: Secret
    ) throws(CryptographyError) {
        let key = try keyPEM.withUnsafeBytes { bytes throws(CryptographyError) in
            try PKey(privateKeyPEM: bytes)
        }
        try self.init(certificates: Certificate.all(inPEM: certificatesPEM), key)
    }

    /// An identity made in this process.
    public init(certificates: [Certificate], key: SigningKey) throws(CryptographyError) {
        try self.init(certificates: certificates, key.key)
    }

    private init(certificates: [Certificate], _ key: PKey) throws(CryptographyError) {
        guard let leaf = certificates.first else { throw .malformed(what: "certificate PEM") }
        guard try leaf.publicKeyInfo == key.spki() else {
            throw .keyRefused(reason: "not the key of the certificate")
        }
        self.certificates = certificates
        self.key = key
    }
}

/// Whom a side of a TLS connection believes.
public enum TLSTrust: Sendable {
    /// Nobody: a server that asks for no client certificate.
    case nobody
    /// Exactly these authorities.
    case roots([Certificate])
    /// The authorities of the operating system.
    case system
}

/// Everything that is equal for many TLS connections, prepared once.
///
/// TLS 1.2 with forward secrecy and AEAD at least, TLS 1.3 preferred; no renegotiation, no
/// compression, no early data (SP 800-52r2). Safe to share between threads.
public final class TLSContext: Sendable {
    /// Which end of a connection this is.
    public enum Role: Sendable {
        /// Answers connections. With trust in somebody it requires a client certificate (mTLS).
        case server
        /// Opens connections and always verifies the server.
        case client
    }

    /// The choices an operator has.
    public struct Configuration: Sendable {
        /// Which end this is.
        public var role: Role
        /// Who we are; a server must have one.
        public var identity: TLSIdentity?
        /// Whom we believe; a client must believe somebody.
        public var trust: TLSTrust
        /// ALPN names in order of preference, each 1 to 255 bytes (RFC 7301).
        ///
        /// A server refuses clients that offer none of them, and accepts clients that know no ALPN
        /// at all.
        public var applicationProtocols: [String]
        /// Whether a server hands out session tickets.
        ///
        /// Default off: a ticket outlives a revoked client certificate.
        public var sessionTickets: Bool

        /// A configuration; see the properties.
        public init(
            role: Role,
            identity: TLSIdentity? = nil,
            trust: TLSTrust = .nobody,
            applicationProtocols: [String] = [],
            sessionTickets: Bool = false
        ) {
            self.role = role
            self.identity = identity
            self.trust = trust
            self.applicationProtocols = applicationProtocols
            self.sessionTickets = sessionTickets
        }
    }

    /// Which end this is.
    public let role: Role
    let backend: Backend

    /// `@unchecked`: the `SSL_CTX` is configured before anybody else sees it and only read
    /// afterwards, by `SSL_new` and by handshakes, which OpenSSL allows from several threads.
    final class Backend: @unchecked Sendable {
        let pointer: OpaquePointer
        /// Names with length prefixes, as in the handshake.
        ///
        /// The ALPN callback reads them from here.
        let protocols: [UInt8]

        init(pointer: OpaquePointer, protocols: [UInt8]) {
            self.pointer = pointer
            self.protocols = protocols
        }

        deinit { SSL_CTX_free(pointer) }
    }

    /// Checks the configuration and prepares it.
    public init(_ configuration: Configuration) throws(TLSError) {
        CryptographyPolicy.settle()
        OpenSSLErrorQueue.clear()
        let method = configuration.role == .server ? TLS_server_method() : TLS_client_method()
        guard let pointer = SSL_CTX_new(method) else {
            throw .configuration(OpenSSLErrorQueue.drain().reason)
        }
        role = configuration.role
        backend = Backend(
            pointer: pointer,
            protocols: try Self.wireForm(configuration.applicationProtocols)
        )
        try Self.setProtocolBounds(pointer, tickets: configuration.sessionTickets)
        try Self.setIdentity(pointer, configuration)
        try Self.setTrust(pointer, configuration)
        Self.setALPN(backend, configuration.role)
    }

    private static func setProtocolBounds(
        _ context: OpaquePointer,
        tickets: Bool
    ) throws(TLSError) {
        let isFIPS = CryptographyPolicy.isFIPS
        let suites =
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
            + "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
            + (isFIPS ? "" : ":ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305")
        let suites13 =
            "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
            + (isFIPS ? "" : ":TLS_CHACHA20_POLY1305_SHA256")
        guard ostiary_SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1,
            ostiary_SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1,
            SSL_CTX_set_cipher_list(context, suites) == 1,
            SSL_CTX_set_ciphersuites(context, suites13) == 1,
            ostiary_SSL_CTX_set1_groups_list(context, isFIPS ? "P-256:P-384" : "X25519:P-256:P-384")
                == 1
        else { throw .configuration(OpenSSLErrorQueue.drain().reason) }
        SSL_CTX_set_security_level(context, 2)
        SSL_CTX_set_options(context, ostiary_SSL_options(tickets ? 1 : 0))
        SSL_CTX_set_num_tickets(context, tickets ? 2 : 0)
        ostiary_SSL_CTX_set_lean_mode(context)
        // Without a session id context a server that verifies clients refuses resumption with a
        // fatal alert.
        let label: StaticString = "ostiary"
        SSL_CTX_set_session_id_context(context, label.utf8Start, UInt32(label.utf8CodeUnitCount))
    }

    private static func setIdentity(
        _ context: OpaquePointer,
        _ configuration: Configuration
    ) throws(TLSError) {
        guard let identity = configuration.identity else {
            guard configuration.role == .client else {
                throw .configuration("a server needs a certificate")
            }
            return
        }
        for (index, certificate) in identity.certificates.enumerated() {
            let handle: X509Handle
            do throws(CryptographyError) { handle = try X509Handle(der: certificate.der) } catch {
                throw .configuration(error.description)
            }
            let done =
                index == 0
                ? SSL_CTX_use_certificate(context, handle.pointer)
                : ostiary_SSL_CTX_add1_chain_cert(context, handle.pointer)
            guard done == 1 else { throw .configuration(OpenSSLErrorQueue.drain().reason) }
        }
        guard SSL_CTX_use_PrivateKey(context, identity.key.pointer) == 1,
            SSL_CTX_check_private_key(context) == 1
        else { throw .configuration(OpenSSLErrorQueue.drain().reason) }
    }

    private static func setTrust(
        _ context: OpaquePointer,
        _ configuration: Configuration
    ) throws(TLSError) {
        switch configuration.trust {
        case .nobody:
            guard configuration.role == .server else {
                throw .configuration("a client must trust somebody")
            }
            SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nil)
            return
        case .system:
            guard SSL_CTX_set_default_verify_paths(context) == 1 else {
                throw .configuration(OpenSSLErrorQueue.drain().reason)
            }
        case .roots(let roots):
            guard !roots.isEmpty else { throw .configuration("no trusted authorities") }
            let store = SSL_CTX_get_cert_store(context)
            for root in roots {
                let handle: X509Handle
                do throws(CryptographyError) { handle = try X509Handle(der: root.der) } catch {
                    throw .configuration(error.description)
                }
                guard X509_STORE_add_cert(store, handle.pointer) == 1 else {
                    throw .configuration(OpenSSLErrorQueue.drain().reason)
                }
                // Tells clients which certificate is wanted.
                if configuration.role == .server { SSL_CTX_add_client_CA(context, handle.pointer) }
            }
        }
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        SSL_CTX_set_cert_verify_callback(context, verifyPeer, nil)
    }

    private static func setALPN(_ backend: Backend, _ role: Role) {
        guard !backend.protocols.isEmpty else { return }
        switch role {
        case .client:
            SSL_CTX_set_alpn_protos(
                backend.pointer,
                backend.protocols,
                UInt32(backend.protocols.count)
            )
        case .server:
            let owner = Unmanaged.passUnretained(backend).toOpaque()
            SSL_CTX_set_alpn_select_cb(backend.pointer, selectProtocol, owner)
        }
    }

    private static func wireForm(_ protocols: [String]) throws(TLSError) -> [UInt8] {
        var list: [UInt8] = []
        for name in protocols {
            guard (1...255).contains(name.utf8.count) else {
                throw .configuration("application protocol of a wrong length")
            }
            list.append(UInt8(name.utf8.count))
            list.append(contentsOf: name.utf8)
        }
        return list
    }
}

/// Chooses by the server's preference; no common protocol ends the handshake (RFC 7301 §3.2).
private let selectProtocol: SSL_CTX_alpn_select_cb_func = {
    _,
    selected,
    selectedCount,
    offered,
    offeredCount,
    owner in
    guard let owner, let selected else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    let backend = Unmanaged<TLSContext.Backend>.fromOpaque(owner).takeUnretainedValue()
    return backend.protocols.withUnsafeBufferPointer { ours in
        // The choice may point into `ours`: the array belongs to the context and does not move.
        var choice: UnsafeMutablePointer<UInt8>?
        let outcome = SSL_select_next_proto(
            &choice,
            selectedCount,
            ours.baseAddress,
            UInt32(ours.count),
            offered,
            offeredCount
        )
        guard outcome == OPENSSL_NPN_NEGOTIATED, let choice else {
            return SSL_TLSEXT_ERR_ALERT_FATAL
        }
        selected.pointee = UnsafePointer(choice)
        return SSL_TLSEXT_ERR_OK
    }
}

/// OpenSSL's chain and host name verification, then the URI of the server, which OpenSSL cannot
/// compare.
///
/// Inside the handshake, so that a server of another name gets an alert and never sees our
/// certificate's proof.
private let verifyPeer: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> Int32 = {
    store,
    _ in
    guard X509_verify_cert(store) == 1 else { return 0 }
    let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    guard let ssl, let owner = ostiary_SSL_get_app_data(OpaquePointer(ssl)) else { return 0 }
    let transport = Unmanaged<TLSTransport>.fromOpaque(owner).takeUnretainedValue()
    guard let expected = transport.expectedURI else { return 1 }
    if let leaf = X509_STORE_CTX_get0_cert(store),
        let certificate = try? Certificate(X509Handle(borrowing: leaf)),
        certificate.uris.contains(where: { $0.utf8.elementsEqual(expected.utf8) })
    {
        return 1
    }
    transport.isNameRefused = true
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION)
    return 0
}

extension X509Handle {
    fileprivate convenience init(borrowing pointer: OpaquePointer) {
        X509_up_ref(pointer)
        self.init(owning: pointer)
    }
}
