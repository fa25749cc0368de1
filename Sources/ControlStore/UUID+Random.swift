import Cryptography
public import Postgres

extension Postgres.UUID {
    /// A random UUID (RFC 9562 §5.4, version 4): for keys that need no order, such as sessions and
    /// namespaces.
    public static func random() -> Postgres.UUID {
        let bytes = SecureRandom.bytes(16)
        func half(_ range: Range<Int>) -> UInt64 {
            bytes[range].reduce(0) { $0 << 8 | UInt64($1) }
        }
        return Postgres.UUID(
            high: half(0..<8) & ~0xF000 | 0x4000,
            low: half(8..<16) & ~(0b11 << 62) | (0b10 << 62)
        )
    }
}
