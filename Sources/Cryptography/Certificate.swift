import COpenSSL

/// A name a certificate speaks for (`subjectAltName`, RFC 5280 §4.2.1.6).
public enum AlternativeName: Hashable, Sendable {
    /// A host name, in ASCII.
    case dns(String)
    /// A URI, as in `spiffe://example.org/ns/a/proxy/b`.
    case uri(String)
    /// An address of 4 or 16 bytes.
    case ip([UInt8])

    /// The address written as `text`; `nil` when it is none.
    public static func ip(text: String) -> AlternativeName? {
        guard let octets = a2i_IPADDRESS(text) else {
            OpenSSLErrorQueue.clear()
            return nil
        }
        defer { ASN1_STRING_free(octets) }
        return .ip(Array(asn1: octets))
    }
}

/// What a certificate may be used for in TLS (`extendedKeyUsage`).
public enum CertificatePurpose: Hashable, Sendable, CaseIterable {
    /// To authenticate a server to its clients.
    case server
    /// To authenticate a client to a server.
    case client
}

/// An X.509 certificate, read once into a value.
///
/// Nothing in it is trusted until it was verified.
public struct Certificate: Hashable, Sendable {
    /// The encoded certificate, byte for byte as received.
    public let der: [UInt8]
    /// The one common name of the subject; `nil` when there is none or more than one.
    public let subjectCommonName: String?
    /// DNS names, URIs and addresses; names of other kinds are left out.
    public let alternativeNames: [AlternativeName]
    /// First second of validity, in seconds since 1970.
    public let notBefore: Int64
    /// Last second of validity, in seconds since 1970.
    public let notAfter: Int64
    /// The serial number, big-endian without leading zeros.
    public let serial: [UInt8]
    /// `SubjectPublicKeyInfo` in DER.
    public let publicKeyInfo: [UInt8]
    /// Whether the certificate may sign others.
    public let isCA: Bool

    /// SHA-256 over ``publicKeyInfo``: names the key across renewals.
    public var publicKeyDigest: SHA256.Digest { SHA256.digest(of: publicKeyInfo) }
    /// SHA-256 over the certificate, as in `x5t#S256` (RFC 8705 §3.1).
    public var fingerprint: SHA256.Digest { SHA256.digest(of: der) }

    /// The URIs among the alternative names.
    public var uris: [String] {
        alternativeNames.compactMap { if case .uri(let uri) = $0 { uri } else { nil } }
    }

    /// Reads exactly one certificate.
    public init(der: [UInt8]) throws(CryptographyError) {
        try self.init(X509Handle(der: der), der: der)
    }

    /// Reads what OpenSSL has parsed already: its parser spends most of its time on the key.
    init(_ handle: X509Handle) throws(CryptographyError) {
        try self.init(handle, der: handle.der())
    }

    private init(_ handle: X509Handle, der: [UInt8]) throws(CryptographyError) {
        self.der = der
        subjectCommonName = try X509_get_subject_name(handle.pointer).commonName()
        alternativeNames = try Self.alternativeNames(of: handle.pointer)
        notBefore = try Int64(asn1Time: X509_get0_notBefore(handle.pointer))
        notAfter = try Int64(asn1Time: X509_get0_notAfter(handle.pointer))
        guard let number = X509_get0_serialNumber(handle.pointer) else {
            throw .malformed(what: "certificate serial")
        }
        serial = Array(Array(asn1: number).drop { $0 == 0 })
        isCA = X509_check_ca(handle.pointer) == 1
        var output: UnsafeMutablePointer<UInt8>?
        let count = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(handle.pointer), &output)
        guard count > 0, let output else { throw .malformed(what: "certificate key") }
        defer { ostiaryFree(output) }
        publicKeyInfo = Array(UnsafeBufferPointer(start: output, count: Int(count)))
    }

    /// Reads a PEM text with exactly one certificate.
    public init(pem: some Collection<UInt8>) throws(CryptographyError) {
        let all = try Certificate.all(inPEM: pem)
        guard all.count == 1 else { throw .malformed(what: "certificate PEM") }
        self = all[0]
    }

    /// All certificates of a PEM text, in order; other blocks are ignored.
    public static func all(
        inPEM text: some Collection<UInt8>
    ) throws(CryptographyError) -> [Certificate] {
        var certificates: [Certificate] = []
        for block in try PEM.decode(text) where block.label == "CERTIFICATE" {
            certificates.append(try Certificate(der: block.bytes))
        }
        return certificates
    }

    /// The certificate as a PEM text.
    public var pem: String { PEM.encode(PEM.Block(label: "CERTIFICATE", bytes: der)) }

    /// The certified key, to verify signatures with.
    public func verificationKey(
        _ algorithm: SignatureAlgorithm
    ) throws(CryptographyError) -> VerificationKey {
        try VerificationKey(spki: publicKeyInfo, algorithm: algorithm)
    }

    /// Throws unless the certificate leads to one of `roots`, for `purpose`, at `time`.
    ///
    /// Names are the caller's to compare. Keys and hashes below 112 bits of security are refused
    /// (SP 800-131A).
    public func verify(
        through intermediates: [Certificate] = [],
        to roots: [Certificate],
        for purpose: CertificatePurpose,
        at time: Int64
    ) throws(CryptographyError) {
        CryptographyPolicy.settle()
        OpenSSLErrorQueue.clear()
        let leaf = try X509Handle(der: der)
        guard let store = X509_STORE_new(), let context = X509_STORE_CTX_new(),
            let untrusted = ostiary_sk_X509_new()
        else { throw .drained("verify a chain") }
        defer {
            X509_STORE_CTX_free(context)
            X509_STORE_free(store)
            ostiary_sk_X509_pop_free(untrusted)
        }
        for root in roots {
            let handle = try X509Handle(der: root.der)
            guard X509_STORE_add_cert(store, handle.pointer) == 1 else {
                throw .drained("verify a chain")
            }
        }
        for intermediate in intermediates {
            let handle = try X509Handle(der: intermediate.der)
            X509_up_ref(handle.pointer)
            ostiary_sk_X509_push(untrusted, handle.pointer)
        }
        guard X509_STORE_CTX_init(context, store, leaf.pointer, untrusted) == 1,
            let parameters = X509_STORE_CTX_get0_param(context),
            X509_VERIFY_PARAM_set_purpose(parameters, purpose.backend) == 1
        else { throw .drained("verify a chain") }
        X509_VERIFY_PARAM_set_time(parameters, Int(time))
        X509_VERIFY_PARAM_set_auth_level(parameters, 2)
        guard X509_verify_cert(context) == 1 else {
            let code = Int(X509_STORE_CTX_get_error(context))
            OpenSSLErrorQueue.clear()
            throw .chainRefused(reason: String(cString: X509_verify_cert_error_string(code)))
        }
    }

    /// The names of kinds we know.
    ///
    /// A name with bytes outside printable ASCII ends the parsing: a NUL inside a host name reads
    /// differently in C (CVE-2009-2408).
    private static func alternativeNames(
        of certificate: OpaquePointer
    ) throws(CryptographyError) -> [AlternativeName] {
        var critical: Int32 = 0
        guard
            let names = X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, nil)
        else {
            // -1 is absence; anything else is an extension that does not parse, or is there twice.
            guard critical == -1 else {
                OpenSSLErrorQueue.clear()
                throw .malformed(what: "certificate names")
            }
            return []
        }
        return try AlternativeName.all(takingGeneralNames: OpaquePointer(names))
    }
}

extension CertificatePurpose {
    var backend: Int32 {
        switch self {
        case .server: X509_PURPOSE_SSL_SERVER
        case .client: X509_PURPOSE_SSL_CLIENT
        }
    }
}

extension AlternativeName {
    /// Reads and frees a `GENERAL_NAMES`.
    static func all(
        takingGeneralNames names: OpaquePointer
    ) throws(CryptographyError) -> [AlternativeName] {
        defer { GENERAL_NAMES_free(names) }
        var result: [AlternativeName] = []
        for index in 0..<ostiary_GENERAL_NAMES_num(names) {
            var type: Int32 = 0
            guard let name = ostiary_GENERAL_NAMES_value(names, index),
                let value = GENERAL_NAME_get0_value(name, &type)
            else { throw .malformed(what: "certificate names") }
            switch type {
            case GEN_DNS:
                let text = UnsafePointer<ASN1_STRING>(OpaquePointer(value))
                result.append(.dns(try String(asn1Name: text)))
            case GEN_URI:
                let text = UnsafePointer<ASN1_STRING>(OpaquePointer(value))
                result.append(.uri(try String(asn1Name: text)))
            case GEN_IPADD:
                let bytes = Array(asn1: UnsafePointer<ASN1_STRING>(OpaquePointer(value)))
                guard bytes.count == 4 || bytes.count == 16 else {
                    throw .malformed(what: "certificate address")
                }
                result.append(.ip(bytes))
            default: break
            }
        }
        return result
    }

    /// A `GENERAL_NAMES` that the caller frees.
    static func generalNames(
        _ names: [AlternativeName]
    ) throws(CryptographyError) -> OpaquePointer {
        guard let all = ostiary_GENERAL_NAMES_new() else { throw .drained("build names") }
        for name in names {
            let (type, bytes): (Int32, [UInt8]) =
                switch name {
                case .dns(let text): (GEN_DNS, Array(text.utf8))
                case .uri(let text): (GEN_URI, Array(text.utf8))
                case .ip(let bytes): (GEN_IPADD, bytes)
                }
            let isFit =
                type == GEN_IPADD
                ? bytes.count == 4 || bytes.count == 16
                : !bytes.isEmpty && bytes.allSatisfy { (0x21...0x7e).contains($0) }
            // Built value by value, not from OpenSSL's configuration syntax, in which a comma
            // starts the next name.
            guard isFit, let general = GENERAL_NAME_new(),
                let value = ASN1_STRING_type_new(
                    type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING
                )
            else {
                GENERAL_NAMES_free(all)
                throw .malformed(what: "alternative name")
            }
            ASN1_STRING_set(value, bytes, Int32(bytes.count))
            GENERAL_NAME_set0_value(general, type, value)
            ostiary_GENERAL_NAMES_push(all, general)
        }
        return all
    }
}

/// Owns one `X509` for the length of a function.
final class X509Handle {
    let pointer: OpaquePointer

    init(owning pointer: OpaquePointer) { self.pointer = pointer }

    convenience init(der: [UInt8]) throws(CryptographyError) {
        OpenSSLErrorQueue.clear()
        let certificate: OpaquePointer? = der.withUnsafeBufferPointer { buffer in
            var cursor = buffer.baseAddress
            guard let certificate = d2i_X509(nil, &cursor, buffer.count) else { return nil }
            guard cursor == buffer.baseAddress.map({ $0 + buffer.count }) else {
                X509_free(certificate)
                return nil
            }
            return certificate
        }
        guard let certificate else {
            OpenSSLErrorQueue.clear()
            throw .malformed(what: "certificate")
        }
        self.init(owning: certificate)
    }

    func der() throws(CryptographyError) -> [UInt8] {
        var output: UnsafeMutablePointer<UInt8>?
        let count = i2d_X509(pointer, &output)
        guard count > 0, let output else { throw .drained("encode a certificate") }
        defer { ostiaryFree(output) }
        return Array(UnsafeBufferPointer(start: output, count: Int(count)))
    }

    deinit { X509_free(pointer) }
}

extension OpaquePointer? {
    /// The common name of an `X509_NAME`, when there is exactly one.
    func commonName() throws(CryptographyError) -> String? {
        let first = X509_NAME_get_index_by_NID(self, NID_commonName, -1)
        guard first >= 0, X509_NAME_get_index_by_NID(self, NID_commonName, first) < 0 else {
            return nil
        }
        let value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(self, first))
        var output: UnsafeMutablePointer<UInt8>?
        let count = ASN1_STRING_to_UTF8(&output, value)
        guard count >= 0, let output else {
            OpenSSLErrorQueue.clear()
            throw .malformed(what: "certificate subject")
        }
        defer { ostiaryFree(output) }
        let bytes = UnsafeBufferPointer(start: output, count: Int(count))
        guard !bytes.contains(0), let name = String(validating: bytes, as: UTF8.self) else {
            throw .malformed(what: "certificate subject")
        }
        return name
    }
}

extension Array where Element == UInt8 {
    init(asn1 value: UnsafePointer<ASN1_STRING>) {
        let count = Int(ASN1_STRING_length(value))
        self = Array(UnsafeBufferPointer(start: ASN1_STRING_get0_data(value), count: count))
    }
}

extension String {
    fileprivate init(asn1Name value: UnsafePointer<ASN1_STRING>) throws(CryptographyError) {
        let bytes = Array(asn1: value)
        guard !bytes.isEmpty, bytes.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw .malformed(what: "certificate names")
        }
        self = String(decoding: bytes, as: UTF8.self)
    }
}

extension Int64 {
    /// Seconds since 1970.
    init(asn1Time time: UnsafePointer<ASN1_TIME>?) throws(CryptographyError) {
        var days: Int32 = 0
        var seconds: Int32 = 0
        guard let epoch = ASN1_TIME_set(nil, 0) else { throw .drained("read a time") }
        defer { ASN1_STRING_free(epoch) }
        guard let time, ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else {
            OpenSSLErrorQueue.clear()
            throw .malformed(what: "certificate time")
        }
        self = Int64(days) * 86_400 + Int64(seconds)
    }
}
