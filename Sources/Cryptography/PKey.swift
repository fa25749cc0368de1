import COpenSSL

/// One OpenSSL key, public or private.
///
/// `@unchecked`: an `EVP_PKEY` is never changed after it was loaded, and its reference count is
/// atomic; OpenSSL allows such keys to be used by several threads at once.
final class PKey: @unchecked Sendable {
    let pointer: OpaquePointer
    let kind: SignatureAlgorithm.KeyKind

    /// Takes ownership of `pointer`, and refuses what this project does not sign or verify with.
    init(owning pointer: OpaquePointer) throws(CryptographyError) {
        self.pointer = pointer
        // From here on `deinit` frees the key, also when this initialiser throws.
        kind = try Self.kind(of: pointer)
    }

    deinit { EVP_PKEY_free(pointer) }

    /// A public key from `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
    convenience init(spki: [UInt8]) throws(CryptographyError) {
        CryptographyPolicy.settle()
        OpenSSLErrorQueue.clear()
        let key: OpaquePointer? = spki.withUnsafeBufferPointer { buffer in
            var cursor = buffer.baseAddress
            guard let key = d2i_PUBKEY_ex(nil, &cursor, buffer.count, nil, nil) else { return nil }
            guard cursor == buffer.baseAddress.map({ $0 + buffer.count }) else {
                EVP_PKEY_free(key)
                return nil
            }
            return key
        }
        guard let key else {
            OpenSSLErrorQueue.clear()
            throw .malformed(what: "public key")
        }
        try self.init(owning: key)
        try checkPublicPart()
    }

    /// A private key from PKCS #8, or from the older forms that certificate tools still write.
    convenience init(privateKeyDER der: [UInt8]) throws(CryptographyError) {
        CryptographyPolicy.settle()
        OpenSSLErrorQueue.clear()
        let key: OpaquePointer? = der.withUnsafeBufferPointer { buffer in
            var cursor = buffer.baseAddress
            return d2i_AutoPrivateKey_ex(nil, &cursor, buffer.count, nil, nil)
        }
        guard let key else {
            OpenSSLErrorQueue.clear()
            throw .malformed(what: "private key")
        }
        try self.init(owning: key)
        try checkPublicPart()
    }

    convenience init(generating kind: SignatureAlgorithm.KeyKind) throws(CryptographyError) {
        CryptographyPolicy.settle()
        OpenSSLErrorQueue.clear()
        let (name, group): (String, String?) =
            switch kind {
            case .p256: ("EC", "P-256")
            case .p384: ("EC", "P-384")
            case .rsa: ("RSA", nil)
            case .ed25519: ("ED25519", nil)
            }
        guard let context = EVP_PKEY_CTX_new_from_name(nil, name, nil) else {
            throw .drained("generate a key")
        }
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        var isReady = EVP_PKEY_keygen_init(context) == 1
        if let group { isReady = isReady && EVP_PKEY_CTX_set_group_name(context, group) == 1 }
        if kind == .rsa {
            isReady = isReady && EVP_PKEY_CTX_set_rsa_keygen_bits(context, 3072) == 1
        }
        guard isReady, EVP_PKEY_generate(context, &key) == 1, let key else {
            throw .drained("generate a key")
        }
        try self.init(owning: key)
    }

    /// A public key from named components, as a JWK has them.
    convenience init(
        type: String,
        _ fill: (OpaquePointer) throws(CryptographyError) -> Void
    ) throws(CryptographyError) {
        CryptographyPolicy.settle()
        OpenSSLErrorQueue.clear()
        guard let builder = OSSL_PARAM_BLD_new() else { throw .drained("load a key") }
        defer { OSSL_PARAM_BLD_free(builder) }
        try fill(builder)
        guard let parameters = OSSL_PARAM_BLD_to_param(builder) else {
            throw .drained("load a key")
        }
        defer { OSSL_PARAM_free(parameters) }
        guard let context = EVP_PKEY_CTX_new_from_name(nil, type, nil) else {
            throw .drained("load a key")
        }
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        guard EVP_PKEY_fromdata_init(context) == 1,
            EVP_PKEY_fromdata(context, &key, ostiary_EVP_PKEY_PUBLIC_KEY(), parameters) == 1,
            let key
        else {
            // A point that is not on its curve ends here.
            OpenSSLErrorQueue.clear()
            throw .keyRefused(reason: "components do not form a public key")
        }
        try self.init(owning: key)
        try checkPublicPart()
    }

    /// `SubjectPublicKeyInfo` in DER.
    func spki() throws(CryptographyError) -> [UInt8] {
        var output: UnsafeMutablePointer<UInt8>?
        let count = i2d_PUBKEY(pointer, &output)
        guard count > 0, let output else { throw .drained("encode a public key") }
        defer { ostiaryFree(output) }
        return Array(UnsafeBufferPointer(start: output, count: Int(count)))
    }

    /// PKCS #8 in DER, unencrypted.
    func pkcs8() throws(CryptographyError) -> Secret {
        guard let info = EVP_PKEY2PKCS8(pointer) else { throw .drained("encode a private key") }
        defer { PKCS8_PRIV_KEY_INFO_free(info) }
        var output: UnsafeMutablePointer<UInt8>?
        let count = i2d_PKCS8_PRIV_KEY_INFO(info, &output)
        guard count > 0, let output else { throw .drained("encode a private key") }
        defer {
            OPENSSL_cleanse(output, Int(count))
            ostiaryFree(output)
        }
        return Secret(UnsafeBufferPointer(start: output, count: Int(count)))
    }

    private static func kind(
        of key: OpaquePointer
    ) throws(CryptographyError) -> SignatureAlgorithm.KeyKind {
        if EVP_PKEY_is_a(key, "RSA") == 1 {
            guard (2048...8192).contains(EVP_PKEY_get_bits(key)) else {
                throw .keyRefused(reason: "RSA modulus outside 2048 to 8192 bits")
            }
            return .rsa
        }
        if EVP_PKEY_is_a(key, "ED25519") == 1 { return .ed25519 }
        if EVP_PKEY_is_a(key, "EC") == 1 {
            // Parameters spelled out may describe a curve that only looks like the named one
            // (CVE-2020-0601).
            var isExplicit: Int32 = 0
            let name = OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS
            if EVP_PKEY_get_int_param(key, name, &isExplicit) == 1, isExplicit != 0 {
                throw .keyRefused(reason: "curve given by parameters")
            }
            var group = [CChar](repeating: 0, count: 32)
            if EVP_PKEY_get_group_name(key, &group, group.count, nil) == 1 {
                switch String(nulTerminated: group) {
                case "prime256v1", "P-256": return .p256
                case "secp384r1", "P-384": return .p384
                default: break
                }
            }
        }
        OpenSSLErrorQueue.clear()
        throw .keyRefused(reason: "key type not accepted")
    }

    /// Range, curve membership and exponent; costs microseconds, done once for each key.
    private func checkPublicPart() throws(CryptographyError) {
        if kind == .rsa { try checkExponent() }
        guard let context = EVP_PKEY_CTX_new_from_pkey(nil, pointer, nil) else {
            throw .drained("check a key")
        }
        defer { EVP_PKEY_CTX_free(context) }
        guard EVP_PKEY_public_check(context) == 1 else {
            OpenSSLErrorQueue.clear()
            throw .keyRefused(reason: "public key fails its check")
        }
    }

    private func checkExponent() throws(CryptographyError) {
        // FIPS 186-5 §5.1 wants an odd exponent above 2^16. The upper bound is ours: the cost of a
        // verification grows with the exponent, and it is chosen by whoever publishes the key.
        var exponent: OpaquePointer?
        guard EVP_PKEY_get_bn_param(pointer, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1, let exponent
        else { throw .drained("check a key") }
        defer { BN_free(exponent) }
        guard BN_is_odd(exponent) == 1, (17...64).contains(BN_num_bits(exponent)) else {
            throw .keyRefused(reason: "RSA exponent outside 2^16 to 2^64")
        }
    }
}

/// `OPENSSL_free` is a macro around this.
func ostiaryFree(_ pointer: UnsafeMutableRawPointer) { CRYPTO_free(pointer, "", 0) }

extension String {
    init(nulTerminated text: [CChar]) {
        self = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
