import COpenSSL
import Synchronization

/// Bytes that must not be printed, logged or left behind in memory.
///
/// Prints as `<redacted>` everywhere Swift prints, compares in constant time, and is overwritten
/// when the last copy goes away. What a caller copies out with ``withUnsafeBytes(_:)`` is the
/// caller's to clean.
public struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    private let storage: SecretStorage

    /// A copy of `bytes`.
    public init(_ bytes: some Collection<UInt8>) {
        storage = bytes.withBytes { SecretStorage(copying: $0) }
    }

    /// The bytes of `text` in UTF-8.
    public init(_ text: String) { self.init(text.utf8) }

    /// The length in bytes.
    public var count: Int { storage.region.count }

    /// Whether there are no bytes at all.
    public var isEmpty: Bool { storage.region.isEmpty }

    /// Lends the bytes.
    public func withUnsafeBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        defer { withExtendedLifetime(storage) {} }
        return try body(UnsafeRawBufferPointer(storage.region))
    }

    /// Equality in constant time for equal lengths.
    public static func == (a: Self, b: Self) -> Bool {
        a.withUnsafeBytes { a in b.withUnsafeBytes { b in constantTimeEqual(a, b) } }
    }

    /// What is printed in place of the content.
    public var description: String { "<redacted>" }
    /// What is printed in place of the content.
    public var debugDescription: String { "<redacted>" }
    /// Nothing to look into.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// The key of a symmetric algorithm, at least 128 bits.
public struct SymmetricKey: Sendable, Equatable, CustomStringConvertible,
    CustomDebugStringConvertible, CustomReflectable
{
    private let secret: Secret

    /// A key from existing bytes; `nil` below 16 bytes.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count >= 16 else { return nil }
        secret = Secret(bytes)
    }

    /// A key from a secret read elsewhere; `nil` below 16 bytes.
    public init?(_ secret: Secret) {
        guard secret.count >= 16 else { return nil }
        self.secret = secret
    }

    /// A fresh random key.
    public init(random size: Size = .bits256) {
        secret = Secret(SecureRandom.bytes(size.byteCount))
    }

    /// Sizes a fresh key may have.
    public enum Size: Sendable {
        case bits128, bits256, bits512

        var byteCount: Int {
            switch self {
            case .bits128: 16
            case .bits256: 32
            case .bits512: 64
            }
        }
    }

    /// The length in bytes.
    public var byteCount: Int { secret.count }

    /// Lends the key's bytes.
    public func withUnsafeBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try secret.withUnsafeBytes(body)
    }

    /// What is printed in place of the content.
    public var description: String { "<redacted>" }
    /// What is printed in place of the content.
    public var debugDescription: String { "<redacted>" }
    /// Nothing to look into.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Memory that is overwritten before it is freed.
///
/// `@unchecked`: written in `init` only, read-only until `deinit`.
private final class SecretStorage: @unchecked Sendable {
    let region: UnsafeMutableRawBufferPointer

    init(copying bytes: UnsafeRawBufferPointer) {
        region = .allocate(byteCount: bytes.count, alignment: 8)
        region.copyMemory(from: bytes)
    }

    deinit {
        // Not `memset`: a store to memory about to be freed may be optimised away.
        OPENSSL_cleanse(region.baseAddress, region.count)
        region.deallocate()
    }
}

/// Randomness drawn ahead from the same generator, for names and salts that every call needs.
///
/// A draw costs the same for 16 bytes as for a thousand (a lock, a check for a forked process, the generator's own step).
/// What was given out is overwritten. Keys are drawn directly.
public final class RandomReserve: Sendable {
    private struct State {
        var bytes = [UInt8](repeating: 0, count: 1024)
        var used = 1024
    }

    private let state = Mutex(State())

    /// A reserve that is filled when it is first asked.
    public init() {}

    /// `count` fresh random bytes, at most 1024.
    public func bytes(_ count: Int) -> [UInt8] {
        state.withLock { state in
            precondition(count <= state.bytes.count, "a reserve gives at most 1024 bytes at a time")
            if state.used + count > state.bytes.count {
                state.bytes.withUnsafeMutableBytes { SecureRandom.fill($0) }
                state.used = 0
            }
            let range = state.used..<state.used + count
            state.used = range.upperBound
            let taken = Array(state.bytes[range])
            for index in range { state.bytes[index] = 0 }
            return taken
        }
    }
}

/// Randomness from the provider's generator (SP 800-90A).
public enum SecureRandom {
    /// `count` fresh random bytes.
    public static func bytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            fill(UnsafeMutableRawBufferPointer(buffer))
            filled = count
        }
    }

    /// Overwrites `buffer` with random bytes.
    public static func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        guard buffer.count > 0 else { return }
        CryptographyPolicy.settle()
        let target = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
        // A process without randomness must not go on: everything after would be guessable.
        precondition(RAND_bytes_ex(nil, target, buffer.count, 0) == 1, "no randomness")
    }
}
