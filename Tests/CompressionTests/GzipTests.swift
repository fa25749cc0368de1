import Compression
import Testing

@Suite struct GzipTests {
    @Test(arguments: [0, 1, 1000, 131_072, 131_073, 1_000_000])
    func `what was packed comes back`(count: Int) throws {
        var state: UInt32 = 7
        let bytes = (0..<count).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(truncatingIfNeeded: state >> 29)
        }
        let packed = try Gzip.compress(bytes)
        #expect(Gzip.isGzip(packed))
        #expect(try Gzip.decompress(packed, bytesMax: count) == bytes)
    }

    @Test func `members one behind the other are one value`() throws {
        let packed = try Gzip.compress(Array("one".utf8)) + Gzip.compress(Array(" two".utf8))
        #expect(try Gzip.decompress(packed, bytesMax: 100) == Array("one two".utf8))
    }

    /// `printf x | gzip -9n`: bytes of another implementation.
    private static let foreign: [UInt8] = [
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x00, 0x00, 0x83, 0x16,
        0xdc, 0x8c, 0x01, 0x00, 0x00, 0x00,
    ]

    @Test func `a file of gzip itself is read`() throws {
        #expect(try Gzip.decompress(Self.foreign, bytesMax: 1) == [0x78])
    }

    @Test func `a bomb stops at the limit`() throws {
        let packed = try Gzip.compress([UInt8](repeating: 0, count: 50_000_000), level: 9)
        #expect(packed.count < 60_000)
        #expect(throws: CompressionError.tooLong) {
            try Gzip.decompress(packed, bytesMax: 1_000_000)
        }
    }

    @Test func `every cut is truncated and every flipped bit of the data is seen`() throws {
        let foreign = Self.foreign
        for count in 0..<foreign.count {
            #expect(throws: CompressionError.truncated) {
                try Gzip.decompress(Array(foreign[..<count]), bytesMax: 100)
            }
        }
        // The data, its check sum and its length. The header has no check of its own, and the last six bits of
        // the data only fill its byte.
        for bit in (10 * 8)..<(foreign.count * 8) where !(98..<104).contains(bit) {
            var damaged = foreign
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: CompressionError.self, "bit \(bit)") {
                try Gzip.decompress(damaged, bytesMax: 100)
            }
        }
    }

    @Test func `what follows the last member is not ignored`() {
        #expect(throws: CompressionError.malformed) {
            try Gzip.decompress(Self.foreign + Array("rest".utf8), bytesMax: 100)
        }
    }
}
