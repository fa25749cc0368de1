import COpenSSL

/// Keyed hashing (FIPS 198-1, RFC 2104).
public enum HMAC {
    /// The authentication code of `message` under `key`, as long as the hash's digest.
    public static func code(
        for message: some Collection<UInt8>,
        key: SymmetricKey,
        using hash: HashAlgorithm = .sha256
    ) -> [UInt8] {
        key.withUnsafeBytes { key in code(for: message, rawKey: key, using: hash) }
    }

    /// Whether `code` belongs to `message`, in constant time.
    public static func isValid(
        _ code: some Collection<UInt8>,
        for message: some Collection<UInt8>,
        key: SymmetricKey,
        using hash: HashAlgorithm = .sha256
    ) -> Bool {
        constantTimeEqual(code, self.code(for: message, key: key, using: hash))
    }

    /// Takes the key as it is lent, so that no second copy of it is made.
    static func code(
        for message: some Collection<UInt8>,
        rawKey key: UnsafeRawBufferPointer,
        using hash: HashAlgorithm
    ) -> [UInt8] {
        guard let context = EVP_MAC_CTX_new(algorithm.pointer) else {
            preconditionFailure("no memory for HMAC")
        }
        defer { EVP_MAC_CTX_free(context) }
        var code = [UInt8](repeating: 0, count: hash.digestByteCount)
        var isDone = hash.withDigestParameter { parameters in
            // A key of no bytes still has to be a key, and not "the one from before", which is what
            // nil means.
            withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 1) { empty in
                let bytes = key.baseAddress?.assumingMemoryBound(to: UInt8.self)
                let start = key.count > 0 ? bytes : UnsafePointer(empty.baseAddress)
                return EVP_MAC_init(context, start, key.count, parameters) == 1
            }
        }
        message.withBytes { message in
            let bytes = message.baseAddress?.assumingMemoryBound(to: UInt8.self)
            isDone = isDone && EVP_MAC_update(context, bytes, message.count) == 1
        }
        var count = 0
        isDone = isDone && EVP_MAC_final(context, &code, &count, code.count) == 1
        precondition(isDone && count == code.count, "HMAC cannot fail")
        return code
    }

    /// Fetched once.
    ///
    /// `@unchecked`: immutable, reference-counted with atomics.
    private struct Algorithm: @unchecked Sendable {
        let pointer: OpaquePointer
    }

    private static let algorithm: Algorithm = {
        CryptographyPolicy.settle()
        guard let mac = EVP_MAC_fetch(nil, "HMAC", nil) else {
            preconditionFailure("the crypto provider offers no HMAC")
        }
        return Algorithm(pointer: mac)
    }()
}

/// Key derivation from a secret that is already strong (RFC 5869, SP 800-56C).
///
/// The provider's own HKDF and not a composition of HMACs: a validation covers it as a whole.
public enum HKDF {
    /// `count` bytes that only holders of `secret` can compute, bound to `info`.
    ///
    /// Throws for an empty secret and for more than 255 digests of output.
    public static func derive(
        from secret: Secret,
        salt: some Collection<UInt8> = EmptyCollection(),
        info: some Collection<UInt8>,
        count: Int,
        using hash: HashAlgorithm = .sha256
    ) throws(CryptographyError) -> Secret {
        try run(EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND, secret, salt, info, count, hash)
    }

    /// A key of 256 bits for one purpose, named by `info`.
    public static func deriveKey(
        from key: SymmetricKey,
        salt: some Collection<UInt8> = EmptyCollection(),
        info: String
    ) throws(CryptographyError) -> SymmetricKey {
        let secret = key.withUnsafeBytes { Secret($0) }
        let derived = try derive(from: secret, salt: salt, info: info.utf8, count: 32)
        guard let key = SymmetricKey(derived) else {
            throw .keyRefused(reason: "derived key too short")
        }
        return key
    }

    /// The first step: concentrates a secret into one pseudorandom key, as long as a digest.
    public static func extract(
        from secret: Secret,
        salt: some Collection<UInt8> = EmptyCollection(),
        using hash: HashAlgorithm = .sha256
    ) throws(CryptographyError) -> Secret {
        let nothing = EmptyCollection<UInt8>()
        let count = hash.digestByteCount
        return try run(EVP_KDF_HKDF_MODE_EXTRACT_ONLY, secret, salt, nothing, count, hash)
    }

    /// The second step: spreads a pseudorandom key to `count` bytes.
    public static func expand(
        _ key: Secret,
        info: some Collection<UInt8>,
        count: Int,
        using hash: HashAlgorithm = .sha256
    ) throws(CryptographyError) -> Secret {
        let nothing = EmptyCollection<UInt8>()
        return try run(EVP_KDF_HKDF_MODE_EXPAND_ONLY, key, nothing, info, count, hash)
    }

    private static func run(
        _ mode: Int32,
        _ secret: Secret,
        _ salt: some Collection<UInt8>,
        _ info: some Collection<UInt8>,
        _ count: Int,
        _ hash: HashAlgorithm
    ) throws(CryptographyError) -> Secret {
        guard (1...(255 * hash.digestByteCount)).contains(count) else {
            throw .malformed(what: "length of derived key")
        }
        guard !secret.isEmpty else { throw .keyRefused(reason: "empty secret") }
        OpenSSLErrorQueue.clear()
        var name = Array(hash.backendName.utf8CString)
        var output = [UInt8](repeating: 0, count: count)
        defer { output.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) } }
        let done = secret.withUnsafeBytes { secret in
            salt.withBytes { salt in
                info.withBytes { info in
                    ostiary_hkdf(
                        algorithm.pointer,
                        mode,
                        &name,
                        secret.baseAddress,
                        secret.count,
                        salt.baseAddress,
                        salt.count,
                        info.baseAddress,
                        info.count,
                        &output,
                        count
                    )
                }
            }
        }
        guard done == 1 else { throw .drained("derive a key") }
        return Secret(output)
    }

    /// Fetched once.
    ///
    /// `@unchecked`: immutable, reference-counted with atomics.
    private struct Algorithm: @unchecked Sendable {
        let pointer: OpaquePointer
    }

    private static let algorithm: Algorithm = {
        CryptographyPolicy.settle()
        guard let kdf = EVP_KDF_fetch(nil, "HKDF", nil) else {
            preconditionFailure("the crypto provider offers no HKDF")
        }
        return Algorithm(pointer: kdf)
    }()
}

extension HashAlgorithm {
    /// Lends the parameter list that tells a MAC which digest to use.
    fileprivate func withDigestParameter<R>(_ body: (UnsafePointer<OSSL_PARAM>) -> R) -> R {
        var name = Array(backendName.utf8CString)
        return name.withUnsafeMutableBufferPointer { name in
            var parameters = (
                ostiary_mac_digest(name.baseAddress),
                OSSL_PARAM_construct_end()
            )
            return withUnsafePointer(to: &parameters) { parameters in
                parameters.withMemoryRebound(to: OSSL_PARAM.self, capacity: 2, body)
            }
        }
    }
}
