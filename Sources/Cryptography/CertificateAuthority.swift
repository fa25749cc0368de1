import COpenSSL

/// What a certificate to be issued says about its holder.
public struct CertificateTemplate: Hashable, Sendable {
    /// The subject's common name, 1 to 64 characters (RFC 5280, `ub-common-name`).
    public var commonName: String
    /// The names the holder may speak for.
    public var alternativeNames: [AlternativeName]
    /// First second of validity, in seconds since 1970.
    public var notBefore: Int64
    /// Last second of validity, in seconds since 1970.
    public var notAfter: Int64
    /// The sides of TLS the holder may be on.
    public var purposes: Set<CertificatePurpose>

    /// A template with all it needs.
    public init(
        commonName: String,
        alternativeNames: [AlternativeName],
        notBefore: Int64,
        notAfter: Int64,
        purposes: Set<CertificatePurpose>
    ) {
        self.commonName = commonName
        self.alternativeNames = alternativeNames
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.purposes = purposes
    }
}

/// A private certificate authority: one self-signed root that issues leaf certificates directly.
///
/// It exists so that proxies and the control plane can authenticate each other. It issues no
/// further authorities (`pathlen:0`), and nothing that outlives it.
public struct CertificateAuthority: Sendable {
    /// The root that peers trust.
    public let certificate: Certificate
    private let key: SigningKey

    /// A new authority with a new key.
    public static func create(
        commonName: String,
        notBefore: Int64,
        notAfter: Int64,
        algorithm: SignatureAlgorithm = .es256
    ) throws(CryptographyError) -> CertificateAuthority {
        let key = try SigningKey.generate(algorithm)
        let draft = try CertificateDraft(
            commonName: commonName,
            notBefore: notBefore,
            notAfter: notAfter,
            publicKeyInfo: key.key.spki()
        )
        try draft.setIssuer(of: nil)
        try draft.addBasicConstraints(isCA: true)
        try draft.addKeyUsage([.keyCertSign, .cRLSign])
        try draft.addKeyIdentifiers(issuerKeyInfo: nil)
        let certificate = try draft.sign(with: key)
        return CertificateAuthority(certificate: certificate, trusted: key)
    }

    /// An authority kept elsewhere; throws when key and certificate do not belong together.
    public init(certificate: Certificate, key: SigningKey) throws(CryptographyError) {
        guard certificate.isCA, try certificate.publicKeyInfo == key.key.spki() else {
            throw .keyRefused(reason: "not the key of this authority")
        }
        self.init(certificate: certificate, trusted: key)
    }

    private init(certificate: Certificate, trusted key: SigningKey) {
        self.certificate = certificate
        self.key = key
    }

    /// The authority's private key, as PEM to be kept secret.
    public func keyPEM() throws(CryptographyError) -> Secret { try key.pem() }

    /// A certificate over `publicKeyInfo` (`SubjectPublicKeyInfo` in DER) with a random serial of
    /// 127 bits.
    ///
    /// The names are taken from `template` alone; what a request asked for is the caller's to
    /// weigh.
    public func issue(
        _ template: CertificateTemplate,
        for publicKeyInfo: [UInt8]
    ) throws(CryptographyError) -> Certificate {
        guard template.notAfter <= certificate.notAfter else {
            throw .chainRefused(reason: "the certificate would outlive its authority")
        }
        guard !template.purposes.isEmpty else {
            throw .chainRefused(reason: "a certificate without a purpose")
        }
        // Reads the key through the same door as any other: no weak or malformed key is certified.
        _ = try PKey(spki: publicKeyInfo)
        let draft = try CertificateDraft(
            commonName: template.commonName,
            notBefore: template.notBefore,
            notAfter: template.notAfter,
            publicKeyInfo: publicKeyInfo
        )
        try draft.setIssuer(of: certificate)
        try draft.addBasicConstraints(isCA: false)
        try draft.addKeyUsage([.digitalSignature])
        try draft.addPurposes(template.purposes)
        try draft.addNames(template.alternativeNames)
        try draft.addKeyIdentifiers(issuerKeyInfo: certificate.publicKeyInfo)
        return try draft.sign(with: key)
    }
}

/// A request for a certificate (PKCS #10, RFC 2986) whose proof of possession was checked.
public struct CertificateSigningRequest: Hashable, Sendable {
    /// The encoded request.
    public let der: [UInt8]
    /// The common name asked for.
    public let commonName: String?
    /// The names asked for.
    public let alternativeNames: [AlternativeName]
    /// The key to be certified, `SubjectPublicKeyInfo` in DER.
    public let publicKeyInfo: [UInt8]

    /// A request for `key`, signed by it.
    public static func create(
        commonName: String,
        alternativeNames: [AlternativeName],
        key: SigningKey
    ) throws(CryptographyError) -> CertificateSigningRequest {
        OpenSSLErrorQueue.clear()
        guard let request = X509_REQ_new() else { throw .drained("build a request") }
        defer { X509_REQ_free(request) }
        guard let name = X509_REQ_get_subject_name(request) else {
            throw .drained("build a request")
        }
        try setCommonName(commonName, in: name)
        guard X509_REQ_set_version(request, 0) == 1,
            X509_REQ_set_pubkey(request, key.key.pointer) == 1
        else { throw .drained("build a request") }
        if !alternativeNames.isEmpty {
            let names = try AlternativeName.generalNames(alternativeNames)
            defer { GENERAL_NAMES_free(names) }
            guard let extensions = ostiary_sk_X509_EXTENSION_new() else {
                throw .drained("build a request")
            }
            var list: OpaquePointer? = extensions
            defer { ostiary_sk_X509_EXTENSION_pop_free(list) }
            guard
                X509V3_add1_i2d(&list, NID_subject_alt_name, UnsafeMutableRawPointer(names), 0, 0)
                    == 1,
                X509_REQ_add_extensions(request, list) == 1
            else { throw .drained("build a request") }
        }
        guard !key.algorithm.isPSS,
            X509_REQ_sign(request, key.key.pointer, key.algorithm.hash?.backend) > 0
        else { throw .drained("sign a request") }
        var output: UnsafeMutablePointer<UInt8>?
        let count = i2d_X509_REQ(request, &output)
        guard count > 0, let output else { throw .drained("encode a request") }
        defer { ostiaryFree(output) }
        return try CertificateSigningRequest(
            der: Array(UnsafeBufferPointer(start: output, count: Int(count)))
        )
    }

    /// Reads a request and verifies that its sender holds the private key.
    public init(der: [UInt8]) throws(CryptographyError) {
        CryptographyPolicy.settle()
        OpenSSLErrorQueue.clear()
        let parsed: OpaquePointer? = der.withUnsafeBufferPointer { buffer in
            var cursor = buffer.baseAddress
            guard let request = d2i_X509_REQ(nil, &cursor, buffer.count) else { return nil }
            guard cursor == buffer.baseAddress.map({ $0 + buffer.count }) else {
                X509_REQ_free(request)
                return nil
            }
            return request
        }
        guard let request = parsed else {
            OpenSSLErrorQueue.clear()
            throw .malformed(what: "certificate request")
        }
        defer { X509_REQ_free(request) }
        var output: UnsafeMutablePointer<UInt8>?
        let count = i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY(request), &output)
        guard count > 0, let output else { throw .malformed(what: "certificate request") }
        defer { ostiaryFree(output) }
        let keyInfo = Array(UnsafeBufferPointer(start: output, count: Int(count)))
        let key = try PKey(spki: keyInfo)
        guard X509_REQ_verify(request, key.pointer) == 1 else {
            OpenSSLErrorQueue.clear()
            throw .signatureInvalid
        }
        self.der = der
        publicKeyInfo = keyInfo
        commonName = try X509_REQ_get_subject_name(request).commonName()
        alternativeNames = try Self.alternativeNames(of: request)
    }

    /// Reads a PEM text with one `CERTIFICATE REQUEST` block.
    public init(pem: some Collection<UInt8>) throws(CryptographyError) {
        let blocks = try PEM.decode(pem)
        guard blocks.count == 1, blocks[0].label == "CERTIFICATE REQUEST" else {
            throw .malformed(what: "certificate request PEM")
        }
        try self.init(der: blocks[0].bytes)
    }

    /// The request as a PEM text.
    public var pem: String { PEM.encode(PEM.Block(label: "CERTIFICATE REQUEST", bytes: der)) }

    private static func alternativeNames(
        of request: OpaquePointer
    ) throws(CryptographyError) -> [AlternativeName] {
        guard let extensions = X509_REQ_get_extensions(request) else { return [] }
        defer { ostiary_sk_X509_EXTENSION_pop_free(extensions) }
        var critical: Int32 = 0
        guard let names = X509V3_get_d2i(extensions, NID_subject_alt_name, &critical, nil) else {
            guard critical == -1 else {
                OpenSSLErrorQueue.clear()
                throw .malformed(what: "certificate names")
            }
            return []
        }
        return try AlternativeName.all(takingGeneralNames: OpaquePointer(names))
    }
}

/// One certificate under construction.
private struct CertificateDraft {
    enum KeyUsage: Int32 {
        case digitalSignature = 0, keyCertSign = 5, cRLSign = 6
    }

    let handle: X509Handle
    let publicKeyInfo: [UInt8]

    init(
        commonName: String,
        notBefore: Int64,
        notAfter: Int64,
        publicKeyInfo: [UInt8]
    ) throws(CryptographyError) {
        CryptographyPolicy.settle()
        OpenSSLErrorQueue.clear()
        guard notBefore < notAfter else { throw .malformed(what: "validity") }
        guard let certificate = X509_new() else { throw .drained("build a certificate") }
        handle = X509Handle(owning: certificate)
        self.publicKeyInfo = publicKeyInfo
        let key = try PKey(spki: publicKeyInfo)
        let start = ASN1_TIME_set(nil, Int(notBefore))
        let end = ASN1_TIME_set(nil, Int(notAfter))
        // 128 random bits with the top one cleared: RFC 5280 wants a positive number.
        var serialBytes = SecureRandom.bytes(16)
        serialBytes[0] &= 0x7f
        let number = BN_bin2bn(serialBytes, 16, nil)
        let serial = BN_to_ASN1_INTEGER(number, nil)
        defer {
            ASN1_STRING_free(start)
            ASN1_STRING_free(end)
            BN_free(number)
            ASN1_STRING_free(serial)
        }
        guard start != nil, end != nil, serial != nil,
            X509_set_version(certificate, 2) == 1,
            X509_set_serialNumber(certificate, serial) == 1,
            X509_set1_notBefore(certificate, start) == 1,
            X509_set1_notAfter(certificate, end) == 1,
            X509_set_pubkey(certificate, key.pointer) == 1,
            let name = X509_get_subject_name(certificate)
        else { throw .drained("build a certificate") }
        try setCommonName(commonName, in: name)
    }

    /// `nil` issues to itself.
    func setIssuer(of issuer: Certificate?) throws(CryptographyError) {
        let source = try issuer.map { issuer throws(CryptographyError) in
            try X509Handle(der: issuer.der)
        }
        let name = X509_get_subject_name((source ?? handle).pointer)
        guard X509_set_issuer_name(handle.pointer, name) == 1 else {
            throw .drained("build a certificate")
        }
    }

    func addBasicConstraints(isCA: Bool) throws(CryptographyError) {
        guard let constraints = BASIC_CONSTRAINTS_new() else {
            throw .drained("build a certificate")
        }
        defer { BASIC_CONSTRAINTS_free(constraints) }
        if isCA {
            constraints.pointee.ca = 0xff
            constraints.pointee.pathlen = ASN1_INTEGER_new()
            ASN1_INTEGER_set(constraints.pointee.pathlen, 0)
        }
        try add(NID_basic_constraints, constraints, isCritical: true)
    }

    func addKeyUsage(_ usages: [KeyUsage]) throws(CryptographyError) {
        guard let bits = ASN1_BIT_STRING_new() else { throw .drained("build a certificate") }
        defer { ASN1_BIT_STRING_free(bits) }
        for usage in usages { ASN1_BIT_STRING_set_bit(bits, usage.rawValue, 1) }
        try add(NID_key_usage, bits, isCritical: true)
    }

    func addPurposes(_ purposes: Set<CertificatePurpose>) throws(CryptographyError) {
        guard let list = ostiary_EXTENDED_KEY_USAGE_new() else {
            throw .drained("build a certificate")
        }
        defer { EXTENDED_KEY_USAGE_free(list) }
        if purposes.contains(.server) { ostiary_EXTENDED_KEY_USAGE_push(list, NID_server_auth) }
        if purposes.contains(.client) { ostiary_EXTENDED_KEY_USAGE_push(list, NID_client_auth) }
        try add(NID_ext_key_usage, UnsafeMutableRawPointer(list), isCritical: false)
    }

    func addNames(_ names: [AlternativeName]) throws(CryptographyError) {
        guard !names.isEmpty else { return }
        let list = try AlternativeName.generalNames(names)
        defer { GENERAL_NAMES_free(list) }
        try add(NID_subject_alt_name, UnsafeMutableRawPointer(list), isCritical: false)
    }

    /// Key identifiers by RFC 7093 §2 method 1.
    ///
    /// The leftmost 160 bits of SHA-256. SHA-1 has no place here.
    func addKeyIdentifiers(issuerKeyInfo: [UInt8]?) throws(CryptographyError) {
        let own = SHA256.digest(of: publicKeyInfo).bytes.prefix(20)
        let issuer = issuerKeyInfo.map { SHA256.digest(of: $0).bytes.prefix(20) } ?? own
        guard let subjectID = octets(own), let authority = AUTHORITY_KEYID_new() else {
            throw .drained("build a certificate")
        }
        defer {
            ASN1_STRING_free(subjectID)
            AUTHORITY_KEYID_free(authority)
        }
        authority.pointee.keyid = octets(issuer)
        try add(NID_subject_key_identifier, subjectID, isCritical: false)
        try add(NID_authority_key_identifier, authority, isCritical: false)
    }

    func sign(with key: SigningKey) throws(CryptographyError) -> Certificate {
        guard !key.algorithm.isPSS,
            X509_sign(handle.pointer, key.key.pointer, key.algorithm.hash?.backend) > 0
        else { throw .drained("sign a certificate") }
        return try Certificate(der: handle.der())
    }

    private func add(
        _ nid: Int32,
        _ value: UnsafeMutableRawPointer,
        isCritical: Bool
    ) throws(CryptographyError) {
        guard X509_add1_ext_i2d(handle.pointer, nid, value, isCritical ? 1 : 0, 0) == 1 else {
            throw .drained("build a certificate")
        }
    }

    private func octets(_ bytes: ArraySlice<UInt8>) -> UnsafeMutablePointer<ASN1_STRING>? {
        guard let value = ASN1_STRING_type_new(V_ASN1_OCTET_STRING) else { return nil }
        let bytes = Array(bytes)
        ASN1_STRING_set(value, bytes, Int32(bytes.count))
        return value
    }
}

private func setCommonName(_ text: String, in name: OpaquePointer) throws(CryptographyError) {
    let bytes = Array(text.utf8)
    guard (1...64).contains(text.unicodeScalars.count), !bytes.contains(0),
        X509_NAME_add_entry_by_NID(
            name,
            NID_commonName,
            MBSTRING_UTF8,
            bytes,
            Int32(bytes.count),
            -1,
            0
        ) == 1
    else {
        OpenSSLErrorQueue.clear()
        throw .malformed(what: "common name")
    }
}
