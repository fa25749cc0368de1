import COpenSSL

/// A public key that verifies signatures of exactly one algorithm.
///
/// The algorithm is chosen by whoever loads the key, never by whoever sends a signature.
public struct VerificationKey: Sendable {
    let key: PKey
    /// The only algorithm the key is used with.
    public let algorithm: SignatureAlgorithm

    init(_ key: PKey, algorithm: SignatureAlgorithm) throws(CryptographyError) {
        guard key.kind == algorithm.keyKind else { throw .algorithmRefused }
        self.key = key
        self.algorithm = algorithm
    }

    /// A key from `SubjectPublicKeyInfo` in DER.
    public init(spki: [UInt8], algorithm: SignatureAlgorithm) throws(CryptographyError) {
        try self.init(PKey(spki: spki), algorithm: algorithm)
    }

    /// A key from a PEM text with one `PUBLIC KEY` block.
    public init(
        pem: some Collection<UInt8>,
        algorithm: SignatureAlgorithm
    ) throws(CryptographyError) {
        let blocks = try PEM.decode(pem)
        guard blocks.count == 1, blocks[0].label == "PUBLIC KEY" else {
            throw .malformed(what: "public key PEM")
        }
        try self.init(spki: blocks[0].bytes, algorithm: algorithm)
    }

    /// An RSA key from big-endian modulus and exponent, as in a JWK.
    public init(
        rsaModulus n: [UInt8],
        exponent e: [UInt8],
        algorithm: SignatureAlgorithm
    ) throws(CryptographyError) {
        // Bounds first: OpenSSL would happily build a number of a megabyte.
        guard (256...1024).contains(n.drop { $0 == 0 }.count), n.count <= 1025 else {
            throw .keyRefused(reason: "RSA modulus outside 2048 to 8192 bits")
        }
        guard e.count <= 8 else { throw .keyRefused(reason: "RSA exponent outside 2^16 to 2^64") }
        // The builder keeps pointers until it is turned into parameters, inside the call that
        // follows.
        let numbers = (BN_bin2bn(n, Int32(n.count), nil), BN_bin2bn(e, Int32(e.count), nil))
        defer {
            BN_free(numbers.0)
            BN_free(numbers.1)
        }
        let key = try PKey(type: "RSA") { builder throws(CryptographyError) in
            guard ostiary_push_rsa(builder, numbers.0, numbers.1) == 1 else {
                throw .drained("load an RSA key")
            }
        }
        try self.init(key, algorithm: algorithm)
    }

    /// An elliptic-curve key from its affine coordinates, each as long as the field (RFC 7518
    /// §6.2.1).
    public init(x: [UInt8], y: [UInt8], algorithm: SignatureAlgorithm) throws(CryptographyError) {
        guard let width = algorithm.ecdsaFieldByteCount else { throw .algorithmRefused }
        guard x.count == width, y.count == width else {
            throw .keyRefused(reason: "coordinate of the wrong length")
        }
        let isP384: Int32 = algorithm.keyKind == .p384 ? 1 : 0
        let point: [UInt8] = [4] + x + y
        let key = try point.withBytes { point throws(CryptographyError) in
            try PKey(type: "EC") { builder throws(CryptographyError) in
                guard ostiary_push_ec(builder, isP384, point.baseAddress, point.count) == 1 else {
                    throw .drained("load an EC key")
                }
            }
        }
        try self.init(key, algorithm: algorithm)
    }

    /// An Ed25519 key from its 32 bytes (RFC 8037 §2).
    public init(ed25519 x: [UInt8]) throws(CryptographyError) {
        CryptographyPolicy.settle()
        guard x.count == 32 else { throw .keyRefused(reason: "Ed25519 key of the wrong length") }
        OpenSSLErrorQueue.clear()
        guard let pointer = EVP_PKEY_new_raw_public_key_ex(nil, "ED25519", nil, x, x.count) else {
            throw .drained("load an Ed25519 key")
        }
        try self.init(PKey(owning: pointer), algorithm: .edDSA)
    }

    /// The same key for another algorithm of its kind, as a key set without `alg` allows.
    ///
    /// A choice of whoever loads the key. Throws ``CryptographyError/algorithmRefused`` for another
    /// kind.
    public func serving(
        _ algorithm: SignatureAlgorithm
    ) throws(CryptographyError) -> VerificationKey {
        try VerificationKey(key, algorithm: algorithm)
    }

    /// `SubjectPublicKeyInfo` in DER.
    public func spki() throws(CryptographyError) -> [UInt8] { try key.spki() }

    /// A PEM text with one `PUBLIC KEY` block.
    public func pem() throws(CryptographyError) -> String {
        PEM.encode(PEM.Block(label: "PUBLIC KEY", bytes: try spki()))
    }

    /// The public components, for a JWK.
    public func components() throws(CryptographyError) -> PublicKeyComponents {
        switch algorithm.keyKind {
        case .rsa:
            return .rsa(
                modulus: try number(OSSL_PKEY_PARAM_RSA_N, width: nil),
                exponent: try number(OSSL_PKEY_PARAM_RSA_E, width: nil)
            )
        case .p256, .p384:
            let width = algorithm.ecdsaFieldByteCount
            return .ec(
                x: try number(OSSL_PKEY_PARAM_EC_PUB_X, width: width),
                y: try number(OSSL_PKEY_PARAM_EC_PUB_Y, width: width)
            )
        case .ed25519:
            var count = 32
            var bytes = [UInt8](repeating: 0, count: 32)
            guard EVP_PKEY_get_raw_public_key(key.pointer, &bytes, &count) == 1, count == 32 else {
                throw .drained("read an Ed25519 key")
            }
            return .ed25519(x: bytes)
        }
    }

    /// Throws unless `signature` is this key's signature over `message`.
    ///
    /// ECDSA signatures have the JOSE form, `r` and `s` side by side. `algorithm` is what the
    /// message claims; another than the key's own throws ``CryptographyError/algorithmRefused``
    /// before anything is computed.
    public func verify(
        _ signature: some Collection<UInt8>,
        over message: some Collection<UInt8>,
        with algorithm: SignatureAlgorithm
    ) throws(CryptographyError) {
        guard algorithm == self.algorithm else { throw .algorithmRefused }
        if let width = algorithm.ecdsaFieldByteCount {
            guard signature.count == 2 * width else { throw .signatureInvalid }
            try verifyDER(ECDSASignature.der(fromJOSE: Array(signature)), over: message)
        } else {
            try verifyDER(signature, over: message)
        }
    }

    /// The same for a signature in the form OpenSSL and X.509 use (ECDSA in DER).
    func verifyDER(
        _ signature: some Collection<UInt8>,
        over message: some Collection<UInt8>
    ) throws(CryptographyError) {
        OpenSSLErrorQueue.clear()
        guard let context = EVP_MD_CTX_new() else { throw .drained("verify") }
        defer { EVP_MD_CTX_free(context) }
        var settings: OpaquePointer?
        let hash = algorithm.hash?.backendName
        guard EVP_DigestVerifyInit_ex(context, &settings, hash, nil, nil, key.pointer, nil) == 1
        else { throw .drained("verify") }
        if algorithm.isPSS { try settings.usePSS() }
        let verdict = signature.withBytes { signature in
            message.withBytes { message in
                EVP_DigestVerify(
                    context,
                    signature.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    signature.count,
                    message.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    message.count
                )
            }
        }
        // 0 is a signature of something else, negative a malformed one; both are the same answer.
        guard verdict == 1 else {
            OpenSSLErrorQueue.clear()
            throw .signatureInvalid
        }
    }

    private func number(_ name: String, width: Int?) throws(CryptographyError) -> [UInt8] {
        var number: OpaquePointer?
        guard EVP_PKEY_get_bn_param(key.pointer, name, &number) == 1, let number else {
            throw .drained("read a key")
        }
        defer { BN_free(number) }
        let count = width ?? Int(BN_num_bits(number) + 7) / 8
        var bytes = [UInt8](repeating: 0, count: count)
        guard BN_bn2binpad(number, &bytes, Int32(count)) == Int32(count) else {
            throw .drained("read a key")
        }
        return bytes
    }
}

/// What a public key consists of, big-endian.
public enum PublicKeyComponents: Hashable, Sendable {
    /// `n` and `e`, without leading zeros.
    case rsa(modulus: [UInt8], exponent: [UInt8])
    /// Affine coordinates, as long as the field.
    case ec(x: [UInt8], y: [UInt8])
    /// The encoded point.
    case ed25519(x: [UInt8])
}

/// A private key that signs with exactly one algorithm.
public struct SigningKey: Sendable, CustomStringConvertible, CustomReflectable {
    let key: PKey
    /// The only algorithm the key is used with.
    public let algorithm: SignatureAlgorithm

    /// A fresh key: P-256, P-384, Ed25519, or RSA of 3072 bits.
    public static func generate(
        _ algorithm: SignatureAlgorithm = .es256
    ) throws(CryptographyError) -> SigningKey {
        try SigningKey(PKey(generating: algorithm.keyKind), algorithm: algorithm)
    }

    /// A key from a PEM text: one `PRIVATE KEY` block (PKCS #8), or the older `EC` or `RSA PRIVATE
    /// KEY`.
    ///
    /// Other blocks of the text are ignored, since key files often carry parameters or the
    /// certificate too.
    public init(
        pem: some Collection<UInt8>,
        algorithm: SignatureAlgorithm
    ) throws(CryptographyError) {
        try self.init(PKey(privateKeyPEM: pem), algorithm: algorithm)
    }

    private init(_ key: PKey, algorithm: SignatureAlgorithm) throws(CryptographyError) {
        guard key.kind == algorithm.keyKind else { throw .algorithmRefused }
        self.key = key
        self.algorithm = algorithm
    }

    /// PKCS #8 as PEM, unencrypted: a secret to be written to a file that only its owner reads.
    public func pem() throws(CryptographyError) -> Secret {
        let text = try key.pkcs8().withUnsafeBytes { bytes in
            PEM.encode(PEM.Block(label: "PRIVATE KEY", bytes: Array(bytes)))
        }
        return Secret(text)
    }

    /// The public half.
    public var verificationKey: VerificationKey {
        get throws(CryptographyError) {
            // Through its encoding, so that the value holds no private part.
            try VerificationKey(spki: key.spki(), algorithm: algorithm)
        }
    }

    /// The signature over `message`; ECDSA in the JOSE form, `r` and `s` side by side.
    public func sign(_ message: some Collection<UInt8>) throws(CryptographyError) -> [UInt8] {
        let signature = try signDER(message)
        guard let width = algorithm.ecdsaFieldByteCount else { return signature }
        return try ECDSASignature.jose(fromDER: signature, fieldByteCount: width)
    }

    /// The signature in the form OpenSSL and X.509 use (ECDSA in DER).
    func signDER(_ message: some Collection<UInt8>) throws(CryptographyError) -> [UInt8] {
        OpenSSLErrorQueue.clear()
        guard let context = EVP_MD_CTX_new() else { throw .drained("sign") }
        defer { EVP_MD_CTX_free(context) }
        var settings: OpaquePointer?
        let hash = algorithm.hash?.backendName
        guard EVP_DigestSignInit_ex(context, &settings, hash, nil, nil, key.pointer, nil) == 1
        else { throw .drained("sign") }
        if algorithm.isPSS { try settings.usePSS() }
        var count = Int(EVP_PKEY_get_size(key.pointer))
        var signature = [UInt8](repeating: 0, count: count)
        let done = message.withBytes { message in
            EVP_DigestSign(
                context,
                &signature,
                &count,
                message.baseAddress?.assumingMemoryBound(to: UInt8.self),
                message.count
            )
        }
        guard done == 1 else { throw .drained("sign") }
        signature.removeLast(signature.count - count)
        return signature
    }

    /// What is printed in place of the content.
    public var description: String { "<redacted \(algorithm.rawValue) key>" }
    /// Nothing to look into.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension PKey {
    /// The one private key of a PEM text.
    convenience init(privateKeyPEM text: some Collection<UInt8>) throws(CryptographyError) {
        let keys = try PEM.decode(text).filter { $0.label.hasSuffix("PRIVATE KEY") }
        let accepted: Set = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"]
        guard keys.count == 1, accepted.contains(keys[0].label) else {
            throw .malformed(what: "private key PEM")
        }
        try self.init(privateKeyDER: keys[0].bytes)
    }
}

extension OpaquePointer? {
    /// RFC 7518 §3.5: MGF1 with the same hash (OpenSSL's default), salt as long as the digest.
    fileprivate func usePSS() throws(CryptographyError) {
        guard EVP_PKEY_CTX_set_rsa_padding(self, RSA_PKCS1_PSS_PADDING) == 1,
            EVP_PKEY_CTX_set_rsa_pss_saltlen(self, RSA_PSS_SALTLEN_DIGEST) == 1
        else { throw .drained("set PSS") }
    }
}

/// The two forms of an ECDSA signature: `r || s` of RFC 7515, and the DER sequence of X9.62.
enum ECDSASignature {
    static func der(fromJOSE signature: [UInt8]) -> [UInt8] {
        let width = signature.count / 2
        let body = integer(signature[..<width]) + integer(signature[width...])
        // At most 2 * (2 + 49) = 102 bytes: the short form of a length is enough.
        return [0x30, UInt8(body.count)] + body
    }

    static func jose(
        fromDER signature: [UInt8],
        fieldByteCount width: Int
    ) throws(CryptographyError) -> [UInt8] {
        guard signature.count > 2, signature[0] == 0x30, Int(signature[1]) == signature.count - 2
        else { throw .malformed(what: "ECDSA signature") }
        var rest = signature[2...]
        var fields: [UInt8] = []
        fields.reserveCapacity(2 * width)
        for _ in 0..<2 {
            guard rest.count > 2, rest.removeFirst() == 0x02 else {
                throw .malformed(what: "ECDSA signature")
            }
            let count = Int(rest.removeFirst())
            guard count <= rest.count else { throw .malformed(what: "ECDSA signature") }
            let digits = rest.prefix(count).drop { $0 == 0 }
            rest = rest.dropFirst(count)
            guard digits.count <= width else { throw .malformed(what: "ECDSA signature") }
            fields.append(contentsOf: repeatElement(0, count: width - digits.count))
            fields.append(contentsOf: digits)
        }
        return fields
    }

    private static func integer(_ field: ArraySlice<UInt8>) -> [UInt8] {
        let digits = field.drop { $0 == 0 }
        // A set top bit would read as negative; zero keeps one digit.
        let pad = digits.first.map { $0 >= 0x80 } ?? true
        return [0x02, UInt8(digits.count + (pad ? 1 : 0))] + (pad ? [0] : []) + digits
    }
}
