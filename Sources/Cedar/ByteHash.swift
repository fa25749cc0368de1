/// A fast hash of byte strings, keyed per process.
///
/// It finds buckets and tells most unequal strings apart without touching their bytes; equality is
/// always decided on the bytes. The key comes from the seed of the standard library's hasher, so
/// that names chosen by a stranger cannot be aimed at one bucket.
enum ByteHash {
    private static let key: UInt64 = {
        var hasher = Hasher()
        hasher.combine(0x6365_6461 as UInt32)
        return UInt64(bitPattern: Int64(hasher.finalize())) | 1
    }()

    static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var state = key ^ UInt64(truncatingIfNeeded: bytes.count)
        var at = 0
        while at + 8 <= bytes.count {
            state = mix(state ^ bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
            at += 8
        }
        var tail: UInt64 = 0
        while at < bytes.count {
            tail = tail << 8 | UInt64(bytes[at])
            at += 1
        }
        state = mix(state ^ tail)
        return UInt32(truncatingIfNeeded: state ^ state >> 32)
    }

    static func combine(_ left: UInt32, _ right: UInt32) -> UInt32 {
        let state = mix(key ^ (UInt64(left) << 32 | UInt64(right)))
        return UInt32(truncatingIfNeeded: state ^ state >> 32)
    }

    private static func mix(_ value: UInt64) -> UInt64 {
        let product = (value ^ key).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return product.high ^ product.low
    }
}

extension UnsafeRawBufferPointer {
    /// Whether two byte strings are equal; eight bytes at a time.
    ///
    /// Not constant in time: for names, never for secrets.
    @inline(__always) func holdsSameBytes(as other: UnsafeRawBufferPointer) -> Bool {
        guard count == other.count else { return false }
        var at = 0
        while at + 8 <= count {
            guard
                loadUnaligned(fromByteOffset: at, as: UInt64.self)
                    == other.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            else { return false }
            at += 8
        }
        while at < count {
            guard self[at] == other[at] else { return false }
            at += 1
        }
        return true
    }
}
