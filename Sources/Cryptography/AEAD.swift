import COpenSSL
import Synchronization

/// Authenticated encryption with AES-256-GCM (SP 800-38D) under one key.
///
/// Keeps prepared contexts, so that a seal costs no key schedule and no allocation inside OpenSSL.
/// Safe to share between threads. With random nonces one key may seal 2^32 times (SP 800-38D §8.3);
/// rotate well before.
public final class AEAD: Sendable {
    /// The length of a nonce, in bytes.
    public static let nonceByteCount = 12
    /// The length of an authentication tag, in bytes.
    public static let tagByteCount = 16
    /// What sealing adds to a message in the combined form.
    public static let overheadByteCount = nonceByteCount + tagByteCount

    private let sealing: ContextPool
    private let opening: ContextPool

    /// An AES-256-GCM for `key`; throws for a key that is not 32 bytes.
    public init(_ key: SymmetricKey) throws(CryptographyError) {
        guard key.byteCount == 32 else { throw .keyRefused(reason: "AES-256 needs 32 bytes") }
        sealing = try ContextPool(key, isSealing: true)
        opening = try ContextPool(key, isSealing: false)
    }

    /// Seals under a fresh random nonce: `nonce || ciphertext || tag`.
    public func seal(
        _ plaintext: some Collection<UInt8>,
        authenticating data: some Collection<UInt8> = EmptyCollection()
    ) throws(CryptographyError) -> [UInt8] {
        var nonce = (UInt64(0), UInt32(0))
        let total = plaintext.count + Self.overheadByteCount
        return try [UInt8](build: total) { output throws(CryptographyError) in
            Swift.withUnsafeMutableBytes(of: &nonce) { nonce in
                let nonce = UnsafeMutableRawBufferPointer(rebasing: nonce[..<Self.nonceByteCount])
                SecureRandom.fill(nonce)
                output.copyMemory(from: UnsafeRawBufferPointer(nonce))
            }
            try sealing.seal(
                plaintext,
                data,
                nonce: UnsafeRawBufferPointer(rebasing: output[..<Self.nonceByteCount]),
                into: UnsafeMutableRawBufferPointer(rebasing: output[Self.nonceByteCount...])
            )
        }
    }

    /// Opens what ``seal(_:authenticating:)`` made; throws
    /// ``CryptographyError/authenticationFailed`` on any change.
    public func open(
        _ sealed: some Collection<UInt8>,
        authenticating data: some Collection<UInt8> = EmptyCollection()
    ) throws(CryptographyError) -> [UInt8] {
        guard sealed.count >= Self.overheadByteCount else { throw .authenticationFailed }
        return try sealed.withBytes { sealed throws(CryptographyError) in
            try open(
                nonce: UnsafeRawBufferPointer(rebasing: sealed[..<Self.nonceByteCount]),
                sealed: UnsafeRawBufferPointer(rebasing: sealed[Self.nonceByteCount...]),
                authenticating: data
            )
        }
    }

    /// Seals under a nonce of the caller: `ciphertext || tag`.
    ///
    /// A nonce used twice under one key gives both messages and the authentication key away.
    public func seal(
        _ plaintext: some Collection<UInt8>,
        nonce: some Collection<UInt8>,
        authenticating data: some Collection<UInt8> = EmptyCollection()
    ) throws(CryptographyError) -> [UInt8] {
        guard nonce.count == Self.nonceByteCount else { throw .malformed(what: "nonce") }
        return try [UInt8](build: plaintext.count + Self.tagByteCount) {
            output throws(CryptographyError) in
            try nonce.withBytes { nonce throws(CryptographyError) in
                try sealing.seal(plaintext, data, nonce: nonce, into: output)
            }
        }
    }

    /// Opens `ciphertext || tag` sealed under `nonce`.
    public func open(
        nonce: some Collection<UInt8>,
        sealed: some Collection<UInt8>,
        authenticating data: some Collection<UInt8> = EmptyCollection()
    ) throws(CryptographyError) -> [UInt8] {
        guard nonce.count == Self.nonceByteCount else { throw .malformed(what: "nonce") }
        guard sealed.count >= Self.tagByteCount else { throw .authenticationFailed }
        return try sealed.withBytes { sealed throws(CryptographyError) in
            try [UInt8](build: sealed.count - Self.tagByteCount) {
                output throws(CryptographyError) in
                try nonce.withBytes { nonce throws(CryptographyError) in
                    try opening.open(sealed, data, nonce: nonce, into: output)
                }
            }
        }
    }
}

/// Cipher contexts that carry the key schedule of one key and direction.
private final class ContextPool: Sendable {
    /// Guarded by the mutex.
    ///
    /// A context belongs to whoever took it out. `@unchecked` for that reason.
    private struct Idle: @unchecked Sendable {
        var contexts: [OpaquePointer] = []

        mutating func takeLast() -> Context? { contexts.popLast().map(Context.init) }
    }

    /// One context on its way in or out of the pool.
    ///
    /// `@unchecked`: it has one owner.
    private struct Context: @unchecked Sendable {
        let context: OpaquePointer
    }

    private let idle = Mutex(Idle())
    private let key: SymmetricKey
    private let isSealing: Bool
    private static let idleCountMax = 16

    /// Makes the first context at once, so that a provider without the cipher shows here and not at
    /// the first message.
    init(_ key: SymmetricKey, isSealing: Bool) throws(CryptographyError) {
        self.key = key
        self.isSealing = isSealing
        putBack(try makeContext())
    }

    deinit { idle.withLock { for context in $0.contexts { EVP_CIPHER_CTX_free(context) } } }

    func seal(
        _ plaintext: some Collection<UInt8>,
        _ data: some Collection<UInt8>,
        nonce: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) throws(CryptographyError) {
        let context = try take()
        defer { putBack(context) }
        let ciphertextCount = output.count - AEAD.tagByteCount
        let tag = output.baseAddress?.advanced(by: ciphertextCount)
        guard start(context, nonce), authenticate(context, data),
            transform(context, plaintext, into: output),
            finish(context),
            EVP_CIPHER_CTX_ctrl(
                context,
                ostiary_EVP_CTRL_AEAD_GET_TAG(),
                Int32(AEAD.tagByteCount),
                tag
            ) == 1
        else { throw .drained("seal") }
    }

    func open(
        _ sealed: UnsafeRawBufferPointer,
        _ data: some Collection<UInt8>,
        nonce: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) throws(CryptographyError) {
        let context = try take()
        defer { putBack(context) }
        let ciphertext = UnsafeRawBufferPointer(
            rebasing: sealed[..<(sealed.count - AEAD.tagByteCount)]
        )
        let tag = UnsafeMutableRawPointer(
            mutating: sealed.baseAddress?.advanced(by: ciphertext.count)
        )
        guard start(context, nonce),
            EVP_CIPHER_CTX_ctrl(
                context,
                ostiary_EVP_CTRL_AEAD_SET_TAG(),
                Int32(AEAD.tagByteCount),
                tag
            ) == 1,
            authenticate(context, data),
            transform(context, ciphertext, into: output),
            finish(context)
        else {
            OpenSSLErrorQueue.clear()
            // What was decrypted before the tag was compared must not be seen by anyone.
            OPENSSL_cleanse(output.baseAddress, output.count)
            throw .authenticationFailed
        }
    }

    private func take() throws(CryptographyError) -> OpaquePointer {
        OpenSSLErrorQueue.clear()
        if let taken = idle.withLock({ $0.takeLast() }) { return taken.context }
        return try makeContext()
    }

    private func makeContext() throws(CryptographyError) -> OpaquePointer {
        CryptographyPolicy.settle()
        OpenSSLErrorQueue.clear()
        guard let cipher = EVP_CIPHER_fetch(nil, "AES-256-GCM", nil) else {
            throw .drained("load AES-256-GCM")
        }
        // The context takes a reference of its own.
        defer { EVP_CIPHER_free(cipher) }
        guard let context = EVP_CIPHER_CTX_new() else { throw .drained("load AES-256-GCM") }
        let done = key.withUnsafeBytes { key in
            let bytes = key.baseAddress?.assumingMemoryBound(to: UInt8.self)
            return EVP_CipherInit_ex2(context, cipher, bytes, nil, isSealing ? 1 : 0, nil)
        }
        guard done == 1 else {
            EVP_CIPHER_CTX_free(context)
            throw .drained("load AES-256-GCM")
        }
        return context
    }

    private func putBack(_ context: OpaquePointer) {
        let returned = Context(context: context)
        let isKept = idle.withLock { idle in
            guard idle.contexts.count < Self.idleCountMax else { return false }
            idle.contexts.append(returned.context)
            return true
        }
        if !isKept { EVP_CIPHER_CTX_free(context) }
    }

    private func start(_ context: OpaquePointer, _ nonce: UnsafeRawBufferPointer) -> Bool {
        let bytes = nonce.baseAddress?.assumingMemoryBound(to: UInt8.self)
        return EVP_CipherInit_ex2(context, nil, nil, bytes, -1, nil) == 1
    }

    private func authenticate(_ context: OpaquePointer, _ data: some Collection<UInt8>) -> Bool {
        data.withBytes { data in
            guard data.count > 0 else { return true }
            var count: Int32 = 0
            let bytes = data.baseAddress?.assumingMemoryBound(to: UInt8.self)
            return EVP_CipherUpdate(context, nil, &count, bytes, Int32(data.count)) == 1
        }
    }

    private func transform(
        _ context: OpaquePointer,
        _ input: some Collection<UInt8>,
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        input.withBytes { input in
            guard input.count > 0 else { return true }
            guard input.count <= Int32.max else { return false }
            var count: Int32 = 0
            let target = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
            let source = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
            return EVP_CipherUpdate(context, target, &count, source, Int32(input.count)) == 1
                && Int(count) == input.count
        }
    }

    /// GCM has nothing left to write at its end, but wants a place for it.
    private func finish(_ context: OpaquePointer) -> Bool {
        var rest: (UInt64, UInt64) = (0, 0)
        var count: Int32 = 0
        return Swift.withUnsafeMutableBytes(of: &rest) { rest in
            let target = rest.baseAddress?.assumingMemoryBound(to: UInt8.self)
            return EVP_CipherFinal_ex(context, target, &count) == 1
        }
    }
}

extension Array where Element == UInt8 {
    /// An array of `count` bytes, all of them written by `body`.
    init<E: Error>(
        build count: Int,
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> Void
    ) throws(E) {
        var failure: E?
        self.init(unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(E) {
                try body(
                    UnsafeMutableRawBufferPointer(
                        rebasing: UnsafeMutableRawBufferPointer(buffer)[..<count]
                    )
                )
                filled = count
            } catch { failure = error }
        }
        if let failure { throw failure }
    }
}
