import COpenSSL

/// The hash functions of FIPS 180-4 that this project uses.
public enum HashAlgorithm: String, Hashable, Sendable, CaseIterable {
    case sha256 = "SHA-256"
    case sha384 = "SHA-384"
    case sha512 = "SHA-512"

    /// The length of a digest, in bytes.
    public var digestByteCount: Int {
        switch self {
        case .sha256: 32
        case .sha384: 48
        case .sha512: 64
        }
    }

    /// Fetched once for the life of the process: a fetch by name costs as much as hashing 200
    /// bytes.
    var backend: OpaquePointer {
        switch self {
        case .sha256: Backend.sha256.pointer
        case .sha384: Backend.sha384.pointer
        case .sha512: Backend.sha512.pointer
        }
    }

    /// The name OpenSSL looks the algorithm up by.
    var backendName: String {
        switch self {
        case .sha256: "SHA2-256"
        case .sha384: "SHA2-384"
        case .sha512: "SHA2-512"
        }
    }

    /// An algorithm implementation; immutable and reference-counted with atomics once fetched.
    private struct Backend: @unchecked Sendable {
        let pointer: OpaquePointer

        init(_ algorithm: HashAlgorithm) {
            CryptographyPolicy.settle()
            guard let md = EVP_MD_fetch(nil, algorithm.backendName, nil) else {
                preconditionFailure("the crypto provider offers no \(algorithm.rawValue)")
            }
            pointer = md
        }

        static let sha256 = Backend(.sha256)
        static let sha384 = Backend(.sha384)
        static let sha512 = Backend(.sha512)
    }
}

/// A digest of fixed width, kept inline and compared as a value.
///
/// Digests of secrets that an attacker may probe are compared with ``constantTimeEqual(_:_:)``
/// instead of `==`.
public struct FixedDigest<let wordCount: Int>: Hashable, Sendable, CustomStringConvertible {
    @usableFromInline var words: InlineArray<wordCount, UInt64>

    /// The length in bytes.
    public static var byteCount: Int { wordCount * 8 }

    /// A digest computed elsewhere; `nil` when the length is another.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        self.init()
        bytes.withBytes { source in
            withUnsafeMutableBytes { $0.copyMemory(from: source) }
        }
    }

    @usableFromInline init() { words = InlineArray(repeating: 0) }

    /// Lends the bytes of the digest.
    @inlinable
    public func withUnsafeBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        let span = words.span
        return try span.withUnsafeBytes(body)
    }

    @usableFromInline
    mutating func withUnsafeMutableBytes<R, E: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        var span = words.mutableSpan
        return try span.withUnsafeMutableBytes(body)
    }

    /// The bytes as an array.
    public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

    /// Lower-case hexadecimal digits.
    public var description: String { withUnsafeBytes { Hex.encode(region: $0) } }

    /// Equality of all words.
    @inlinable
    public static func == (a: Self, b: Self) -> Bool {
        for index in a.words.indices where a.words[index] != b.words[index] { return false }
        return true
    }

    /// Hashes all words.
    @inlinable
    public func hash(into hasher: inout Swift.Hasher) {
        for index in words.indices { hasher.combine(words[index]) }
    }
}

/// A hash function as a type, for callers that fix it at compile time.
public protocol HashFunction: Sendable {
    /// The function's output.
    associatedtype Digest: Hashable & Sendable
    /// The function as a value.
    static var algorithm: HashAlgorithm { get }
    /// Digests a contiguous region at once.
    static func digest(of bytes: UnsafeRawBufferPointer) -> Digest
    /// The digest of everything fed to `stream`.
    static func finish(_ stream: consuming HashStream) -> Digest
}

extension HashFunction {
    /// Digests `bytes` at once.
    @inlinable
    public static func digest(of bytes: some Collection<UInt8>) -> Digest {
        bytes.withBytes { digest(of: $0) }
    }

    /// Digests the bytes of `text` in UTF-8.
    public static func digest(of text: String) -> Digest {
        digest(of: text.utf8)
    }

    /// A digest to be fed piece by piece; ended with ``HashFunction/finish(_:)``.
    public static func stream() -> HashStream { HashStream(algorithm) }
}

/// SHA-256 (FIPS 180-4).
public enum SHA256: HashFunction {
    /// 32 bytes.
    public typealias Digest = FixedDigest<4>

    /// The function as a value.
    public static var algorithm: HashAlgorithm { .sha256 }

    /// Digests a contiguous region at once.
    public static func digest(of bytes: UnsafeRawBufferPointer) -> Digest {
        var digest = Digest()
        digest.withUnsafeMutableBytes { hash(bytes, .sha256, into: $0) }
        return digest
    }

    /// The digest of everything fed to `stream`.
    public static func finish(_ stream: consuming HashStream) -> Digest {
        var digest = Digest()
        digest.withUnsafeMutableBytes { stream.finish(into: $0) }
        return digest
    }
}

/// SHA-384 (FIPS 180-4).
public enum SHA384: HashFunction {
    /// 48 bytes.
    public typealias Digest = FixedDigest<6>

    /// The function as a value.
    public static var algorithm: HashAlgorithm { .sha384 }

    /// Digests a contiguous region at once.
    public static func digest(of bytes: UnsafeRawBufferPointer) -> Digest {
        var digest = Digest()
        digest.withUnsafeMutableBytes { hash(bytes, .sha384, into: $0) }
        return digest
    }

    /// The digest of everything fed to `stream`.
    public static func finish(_ stream: consuming HashStream) -> Digest {
        var digest = Digest()
        digest.withUnsafeMutableBytes { stream.finish(into: $0) }
        return digest
    }
}

/// SHA-512 (FIPS 180-4).
public enum SHA512: HashFunction {
    /// 64 bytes.
    public typealias Digest = FixedDigest<8>

    /// The function as a value.
    public static var algorithm: HashAlgorithm { .sha512 }

    /// Digests a contiguous region at once.
    public static func digest(of bytes: UnsafeRawBufferPointer) -> Digest {
        var digest = Digest()
        digest.withUnsafeMutableBytes { hash(bytes, .sha512, into: $0) }
        return digest
    }

    /// The digest of everything fed to `stream`.
    public static func finish(_ stream: consuming HashStream) -> Digest {
        var digest = Digest()
        digest.withUnsafeMutableBytes { stream.finish(into: $0) }
        return digest
    }
}

/// A digest that is fed piece by piece.
///
///     var stream = SHA256.stream()
///     stream.update(header)
///     stream.update(body)
///     let digest = SHA256.finish(stream)
public struct HashStream: ~Copyable {
    @usableFromInline let context: OpaquePointer
    private let algorithm: HashAlgorithm

    init(_ algorithm: HashAlgorithm) {
        guard let context = EVP_MD_CTX_new(),
            EVP_DigestInit_ex2(context, algorithm.backend, nil) == 1
        else { preconditionFailure("no memory for a hash context") }
        self.context = context
        self.algorithm = algorithm
    }

    /// Feeds the next bytes.
    @inlinable
    public mutating func update(_ bytes: some Collection<UInt8>) {
        // Through a copy of the pointer: a closure cannot capture a noncopyable `self` inout.
        let context = context
        bytes.withBytes { Self.update(context, $0) }
    }

    @usableFromInline
    static func update(_ context: OpaquePointer, _ region: UnsafeRawBufferPointer) {
        let done = EVP_DigestUpdate(context, region.baseAddress, region.count)
        precondition(done == 1, "a hash in progress cannot fail")
    }

    fileprivate borrowing func finish(into output: UnsafeMutableRawBufferPointer) {
        precondition(output.count == algorithm.digestByteCount, "stream of another hash function")
        let target = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        precondition(EVP_DigestFinal_ex(context, target, nil) == 1, "a hash cannot fail at its end")
    }

    deinit { EVP_MD_CTX_free(context) }
}

private func hash(
    _ bytes: UnsafeRawBufferPointer,
    _ algorithm: HashAlgorithm,
    into output: UnsafeMutableRawBufferPointer
) {
    let target = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    let done = EVP_Digest(bytes.baseAddress, bytes.count, target, nil, algorithm.backend, nil)
    precondition(done == 1, "a one-shot hash cannot fail")
}
