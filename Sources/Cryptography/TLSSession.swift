import COpenSSL

/// Why a TLS connection was not made or ended badly.
public enum TLSError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The context cannot be used as configured.
    case configuration(String)
    /// The peer's certificate does not lead to an authority we trust, or not now, or not for this
    /// purpose.
    case certificateRefused(String)
    /// The server proved to be somebody, but not whom we called.
    case peerNameMismatch
    /// The client sent no certificate where one is required.
    case clientCertificateMissing
    /// The two sides share no application protocol.
    case noApplicationProtocol
    /// The peer ended the connection with this alert.
    case peerAlert(String)
    /// The peer does not speak TLS as we require it.
    case protocolViolation(String)
    /// Plaintext was offered before the handshake ended, or after the connection was closed.
    case notEstablished

    /// The words for logs and people; nothing of the caller is in them.
    public var description: String {
        switch self {
        case .configuration(let reason): "tls configuration: \(reason)"
        case .certificateRefused(let reason): "peer certificate refused: \(reason)"
        case .peerNameMismatch: "peer certificate is for another name"
        case .clientCertificateMissing: "client certificate missing"
        case .noApplicationProtocol: "no common application protocol"
        case .peerAlert(let reason): "peer sent an alert: \(reason)"
        case .protocolViolation(let reason): "tls protocol violation: \(reason)"
        case .notEstablished: "tls connection is not established"
        }
    }
}

/// One TLS connection without a socket: ciphertext in, plaintext out, and the other way.
///
///     transport bytes ─▶ receive ─▶ read ─▶ plaintext
///     plaintext ─▶ send ─▶ takeCiphertext ─▶ transport bytes
///
/// After every ``receive(_:)``, call ``read(into:)`` until it returns 0, then flush what
/// ``takeCiphertext(_:)`` has: the handshake, alerts and key updates travel there too, also after a
/// call that threw. The caller bounds what it lets pile up on either side.
///
/// States: `handshaking` can become `established` or `closed`; `established` can become `closed`;
/// `closed` is final. A session belongs to one task or event loop at a time. It can be sent between
/// them since it cannot be copied.
public struct TLSSession: ~Copyable, @unchecked Sendable {
    // `@unchecked`: the type is not copyable and every use of the `SSL` needs exclusive access to
    // the one value.

    /// What a server must prove to be.
    public enum ServerName: Hashable, Sendable {
        /// A DNS name; also sent as SNI.
        case host(String)
        /// An IPv4 or IPv6 address as text.
        case address(String)
        /// A URI among the certificate's names, byte for byte. `sni` is sent when given.
        case uri(String, sni: String?)

        fileprivate var texts: [String] {
            switch self {
            case .host(let text), .address(let text), .uri(let text, nil): [text]
            case .uri(let text, .some(let sni)): [text, sni]
            }
        }
    }

    /// What both sides agreed on.
    public struct Agreement: Hashable, Sendable {
        /// The ALPN name, `nil` when a side offered none.
        public var applicationProtocol: String?
        /// The verified certificate of the peer; `nil` for an anonymous client.
        public var peerCertificate: Certificate?
        /// The host name a client asked a server for (SNI), as sent.
        public var serverName: String?
        /// Whether TLS 1.3 is spoken, and not 1.2.
        public var isTLS13: Bool
    }

    /// How a connection ended.
    public enum Closure: Hashable, Sendable {
        /// The peer said that it is done; nothing is missing.
        case closeNotify
        /// The transport ended without a word: what was received may be cut off.
        case truncated
        /// An error of either side; it was thrown.
        case failed
        /// We closed before the handshake was done.
        case abandoned
    }

    /// Where the connection is.
    public enum State: Hashable, Sendable {
        /// Nothing is proved yet.
        case handshaking
        /// The handshake is complete and verified.
        case established(Agreement)
        /// Nothing more will be read.
        case closed(Closure)
    }

    /// Where the connection is.
    public private(set) var state: State = .handshaking

    private let transport: TLSTransport
    /// Keeps the callbacks' data alive.
    private let context: TLSContext
    private var hasSentClose = false
    private var canSend = false

    private var ssl: OpaquePointer { transport.ssl }

    /// A connection to be answered.
    ///
    /// `now` replaces the system's clock when certificates are verified, in seconds since 1970.
    public init(server context: TLSContext, now: Int64? = nil) throws(TLSError) {
        precondition(context.role == .server, "a server session needs a server context")
        let transport = try TLSTransport(context, expectedURI: nil, now: now)
        SSL_set_accept_state(transport.ssl)
        self.init(context, transport)
    }

    /// A connection to be opened to `name`.
    ///
    /// Its first bytes are ready in ``takeCiphertext(_:)``.
    ///
    /// `now` replaces the system's clock when certificates are verified, in seconds since 1970.
    public init(
        client context: TLSContext,
        to name: ServerName,
        now: Int64? = nil
    ) throws(TLSError) {
        precondition(context.role == .client, "a client session needs a client context")
        var expectedURI: String?
        if case .uri(let uri, _) = name { expectedURI = uri }
        let transport = try TLSTransport(context, expectedURI: expectedURI, now: now)
        SSL_set_connect_state(transport.ssl)
        try Self.expect(name, on: transport.ssl)
        let outcome = SSL_do_handshake(transport.ssl)
        guard SSL_get_error(transport.ssl, outcome) == SSL_ERROR_WANT_READ else {
            throw .configuration(OpenSSLErrorQueue.drain().reason)
        }
        self.init(context, transport)
    }

    private init(_ context: TLSContext, _ transport: TLSTransport) {
        self.context = context
        self.transport = transport
    }

    /// The agreement, once there is one.
    public var agreement: Agreement? {
        if case .established(let agreement) = state { agreement } else { nil }
    }

    /// Takes bytes from the transport, and goes on with the handshake if it is not complete.
    ///
    /// Throws when the handshake fails; an alert for the peer is then ready to be sent.
    public mutating func receive(_ ciphertext: UnsafeRawBufferPointer) throws(TLSError) {
        if case .closed = state { return }
        transport.input.append(ciphertext)
        if state == .handshaking { try advanceHandshake() }
    }

    /// Takes bytes from the transport.
    public mutating func receive(_ ciphertext: some Collection<UInt8>) throws(TLSError) {
        // Through a local copy of the array's reference: a closure cannot capture a noncopyable
        // `self` inout.
        let bytes = Array(ciphertext)
        try bytes.withBytes { bytes throws(TLSError) in try receive(bytes) }
    }

    /// Writes plaintext into `buffer` and returns how many bytes; 0 when more ciphertext is needed
    /// or the peer is done.
    ///
    /// A record holds up to 16 KiB; a smaller buffer gets it in pieces. Throws when the peer fails
    /// or cheats.
    public mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(TLSError) -> Int {
        guard case .established = state, buffer.count > 0 else { return 0 }
        OpenSSLErrorQueue.clear()
        var count = 0
        if SSL_read_ex(ssl, buffer.baseAddress, buffer.count, &count) == 1 { return count }
        switch SSL_get_error(ssl, 0) {
        case SSL_ERROR_WANT_READ:
            return 0
        case SSL_ERROR_ZERO_RETURN:
            state = .closed(.closeNotify)
            return 0
        default:
            throw fail()
        }
    }

    /// Up to `countMax` bytes of plaintext in an array of their own, empty in the cases of
    /// ``read(into:)``.
    public mutating func read(upTo countMax: Int = 16_384) throws(TLSError) -> [UInt8] {
        var failure: TLSError?
        let plaintext = [UInt8](unsafeUninitializedCapacity: countMax) { buffer, filled in
            do throws(TLSError) {
                filled = try read(into: UnsafeMutableRawBufferPointer(buffer))
            } catch { failure = error }
        }
        if let failure { throw failure }
        return plaintext
    }

    /// Encrypts `plaintext`; the records wait in ``takeCiphertext(_:)``.
    ///
    /// Allowed after the peer closed its side, until ``close()``.
    public mutating func send(_ plaintext: UnsafeRawBufferPointer) throws(TLSError) {
        guard canSend else { throw .notEstablished }
        guard plaintext.count > 0 else { return }
        OpenSSLErrorQueue.clear()
        var count = 0
        // The transport takes everything, so that a write is never partial.
        guard SSL_write_ex(ssl, plaintext.baseAddress, plaintext.count, &count) == 1 else {
            throw fail()
        }
    }

    /// Encrypts `plaintext`.
    public mutating func send(_ plaintext: some Collection<UInt8>) throws(TLSError) {
        let bytes = Array(plaintext)
        try bytes.withBytes { bytes throws(TLSError) in try send(bytes) }
    }

    /// How many bytes wait for the transport.
    public var pendingCiphertextByteCount: Int { transport.output.count }

    /// Lends all bytes that wait for the transport, and forgets them.
    ///
    /// They are valid inside `body` only.
    public mutating func takeCiphertext<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        defer { transport.output.removeAll() }
        return try transport.output.withBytes(body)
    }

    /// All bytes that wait for the transport, as an array.
    public mutating func takeCiphertext() -> [UInt8] { takeCiphertext { Array($0) } }

    /// Says that we are done (`close_notify`).
    ///
    /// Plaintext of the peer can still be read.
    public mutating func close() {
        guard !hasSentClose else { return }
        hasSentClose = true
        canSend = false
        switch state {
        case .handshaking: state = .closed(.abandoned)
        case .closed(.failed), .closed(.abandoned): break
        case .established, .closed:
            SSL_shutdown(ssl)
            OpenSSLErrorQueue.clear()
        }
    }

    /// The transport has ended: no more ciphertext will come.
    public mutating func transportClosed() {
        canSend = false
        if case .closed = state { return }
        state = .closed(.truncated)
    }

    private mutating func advanceHandshake() throws(TLSError) {
        OpenSSLErrorQueue.clear()
        let outcome = SSL_do_handshake(ssl)
        if outcome == 1 {
            state = .established(try readAgreement())
            canSend = true
            return
        }
        guard SSL_get_error(ssl, outcome) == SSL_ERROR_WANT_READ else { throw fail() }
    }

    private mutating func readAgreement() throws(TLSError) -> Agreement {
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &name, &count)
        let selected = UnsafeBufferPointer(start: name, count: Int(count))
        var certificate: Certificate?
        if let peer = SSL_get1_peer_certificate(ssl) {
            do throws(CryptographyError) {
                certificate = try Certificate(X509Handle(owning: peer))
            } catch {
                state = .closed(.failed)
                throw .certificateRefused(error.description)
            }
        }
        var serverName: String?
        if context.role == .server, let sent = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) {
            serverName = String(cString: sent)
        }
        return Agreement(
            applicationProtocol: selected.isEmpty ? nil : String(decoding: selected, as: UTF8.self),
            peerCertificate: certificate,
            serverName: serverName,
            isTLS13: SSL_version(ssl) == TLS1_3_VERSION
        )
    }

    /// Ends the session and names the cause.
    ///
    /// Our alert, if any, is already in the output.
    private mutating func fail() -> TLSError {
        state = .closed(.failed)
        canSend = false
        transport.input.removeAll()
        let verification = SSL_get_verify_result(ssl)
        let drained = OpenSSLErrorQueue.drain()
        guard ostiary_ERR_is_ssl(drained.code) == 1 else {
            return .protocolViolation(drained.reason)
        }
        let reason = ostiary_ERR_reason(drained.code)
        switch reason {
        case SSL_R_CERTIFICATE_VERIFY_FAILED:
            let isName =
                transport.isNameRefused || verification == Int(X509_V_ERR_HOSTNAME_MISMATCH)
                || verification == Int(X509_V_ERR_IP_ADDRESS_MISMATCH)
            if isName { return .peerNameMismatch }
            return .certificateRefused(String(cString: X509_verify_cert_error_string(verification)))
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return .clientCertificateMissing
        case SSL_R_NO_APPLICATION_PROTOCOL: return .noApplicationProtocol
        case SSL_AD_REASON_OFFSET...: return .peerAlert(drained.reason)
        default: return .protocolViolation(drained.reason)
        }
    }

    private static func expect(_ name: ServerName, on ssl: OpaquePointer) throws(TLSError) {
        var sni: String?
        var isSet: Int32 = 1
        // C reads a name up to its first NUL, and would compare another one than the caller meant.
        guard !name.texts.contains(where: { $0.utf8.contains(0) }) else {
            throw .configuration("server name not usable")
        }
        switch name {
        case .host(let host):
            sni = host
            SSL_set_hostflags(
                ssl,
                UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
            )
            // An empty name would switch the comparison off.
            isSet = host.isEmpty ? 0 : SSL_set1_host(ssl, host)
        case .address(let address):
            isSet = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), address)
        case .uri(_, let hint):
            sni = hint
        }
        if let sni { isSet &= ostiary_SSL_set_tlsext_host_name(ssl, sni) }
        guard isSet == 1 else {
            OpenSSLErrorQueue.clear()
            throw .configuration("server name not usable")
        }
    }
}

/// OpenSSL's side of a session, the two byte queues to its caller, and the BIO through which
/// OpenSSL sees them.
///
/// Owned by one `TLSSession`; OpenSSL reaches it without a reference count, and only while the
/// session makes a call.
final class TLSTransport {
    var input = ByteQueue()
    var output = ByteQueue()
    let expectedURI: String?
    var isNameRefused = false

    let ssl: OpaquePointer

    init(_ context: TLSContext, expectedURI: String?, now: Int64?) throws(TLSError) {
        OpenSSLErrorQueue.clear()
        guard let ssl = SSL_new(context.backend.pointer) else {
            throw .configuration(OpenSSLErrorQueue.drain().reason)
        }
        self.ssl = ssl
        self.expectedURI = expectedURI
        guard let bio = BIO_new(Self.method.pointer) else {
            throw .configuration(OpenSSLErrorQueue.drain().reason)
        }
        let me = Unmanaged.passUnretained(self).toOpaque()
        BIO_set_data(bio, me)
        BIO_set_init(bio, 1)
        // One BIO for both directions; the session takes its only reference.
        SSL_set_bio(ssl, bio, bio)
        ostiary_SSL_set_app_data(ssl, me)
        if let now { X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl), Int(now)) }
    }

    deinit { SSL_free(ssl) }

    /// Made once and never changed.
    ///
    /// `@unchecked` for that reason.
    private struct Method: @unchecked Sendable {
        let pointer: OpaquePointer
    }

    /// OpenSSL's own memory BIO would do, but keeps its largest size for ever: 16 KiB for each idle
    /// connection.
    private static let method: Method = {
        guard let method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ostiary")
        else {
            preconditionFailure("no memory for a BIO method")
        }
        BIO_meth_set_read(method) { bio, target, capacity in
            guard let target, capacity > 0 else { return 0 }
            ostiary_BIO_clear_retry_flags(bio)
            let transport = Unmanaged<TLSTransport>.fromOpaque(BIO_get_data(bio))
                .takeUnretainedValue()
            let buffer = UnsafeMutableRawBufferPointer(start: target, count: Int(capacity))
            let count = transport.input.popFirst(into: buffer)
            if count == 0 {
                ostiary_BIO_set_retry_read(bio)
                return -1
            }
            return Int32(count)
        }
        BIO_meth_set_write(method) { bio, source, count in
            guard let source, count > 0 else { return 0 }
            ostiary_BIO_clear_retry_flags(bio)
            let transport = Unmanaged<TLSTransport>.fromOpaque(BIO_get_data(bio))
                .takeUnretainedValue()
            transport.output.append(UnsafeRawBufferPointer(start: source, count: Int(count)))
            return count
        }
        BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
        return Method(pointer: method)
    }()
}

/// Bytes in order, kept in one array; gives its memory back when it runs empty after a large
/// transfer.
struct ByteQueue {
    private var storage: [UInt8] = []
    private var start = 0
    /// What an idle session may hold on to, for each direction.
    private static let idleByteCountMax = 2048

    var count: Int { storage.count - start }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        // Move to the front before growing, so that a slow reader does not make the array grow for
        // ever.
        if start > 0, storage.count + bytes.count > storage.capacity {
            storage.removeFirst(start)
            start = 0
        }
        storage.append(contentsOf: bytes)
    }

    mutating func popFirst(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let taken = min(buffer.count, count)
        guard taken > 0 else { return 0 }
        storage.withUnsafeBytes { bytes in
            buffer.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: bytes[start..<(start + taken)])
            )
        }
        start += taken
        if start == storage.count { removeAll() }
        return taken
    }

    func withBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try storage[start...].withBytes(body)
    }

    mutating func removeAll() {
        storage.removeAll(keepingCapacity: storage.capacity <= Self.idleByteCountMax)
        start = 0
    }
}
