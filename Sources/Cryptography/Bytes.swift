extension Collection where Element == UInt8 {
    /// Lends the bytes as one contiguous region; copies only what is not contiguous already.
    @inlinable
    func withBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        let lent = withContiguousStorageIfAvailable { buffer in
            Result { () throws(E) -> R in try body(UnsafeRawBufferPointer(buffer)) }
        }
        if let lent { return try lent.get() }
        return try Array(self).withBytes(body)
    }
}

/// Compares two byte strings in a time that depends on their lengths only.
public func constantTimeEqual(
    _ a: some Collection<UInt8>,
    _ b: some Collection<UInt8>
) -> Bool {
    a.withBytes { a in
        b.withBytes { b in
            guard a.count == b.count else { return false }
            var difference: UInt8 = 0
            for index in 0..<a.count { difference |= a[index] ^ b[index] }
            return opaque(difference) == 0
        }
    }
}

/// Keeps the optimiser from turning the fold above into a comparison that stops early.
@inline(never) @_optimize(none)
private func opaque(_ byte: UInt8) -> UInt8 { byte }
