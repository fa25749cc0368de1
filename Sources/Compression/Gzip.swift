import CZlib

/// Why compressed bytes could not be unpacked.
///
/// Retrying does not help.
public enum CompressionError: Error, Hashable, Sendable {
    /// Not of the format, or damaged: a header, a block or a check sum is wrong.
    case malformed
    /// The bytes end inside the data.
    case truncated
    /// Unpacked, the data is longer than the limit.
    case tooLong
    /// The library has no memory.
    case outOfMemory
}

extension CompressionError: CustomStringConvertible {
    /// The kind of the error.
    public var description: String {
        switch self {
        case .malformed: "the compressed data is malformed"
        case .truncated: "the compressed data ends too early"
        case .tooLong: "the data is too long when unpacked"
        case .outOfMemory: "there is no memory to unpack the data"
        }
    }
}

/// The gzip file format (RFC 1952), whole values at once.
///
/// Only zlib of the system is behind it. What is unpacked has a bound: a kilobyte can hold a megabyte, and the
/// size in the trailer is the word of a stranger.
public enum Gzip {
    /// Whether bytes begin like a gzip member: `1f 8b`, deflate.
    public static func isGzip(_ bytes: some Sequence<UInt8>) -> Bool {
        bytes.starts(with: [0x1F, 0x8B, 0x08])
    }

    /// Unpacks all members of a file, one behind the other as the format allows.
    ///
    /// - Parameter bytesMax: The most bytes there may be in the end; memory is taken as they come, never ahead.
    /// - Throws: a ``CompressionError``; bytes behind the last member that are no member are malformed.
    public static func decompress(
        _ bytes: [UInt8],
        bytesMax: Int
    ) throws(CompressionError) -> [UInt8] {
        var stream = z_stream()
        guard ostiary_inflate_init_gzip(&stream) == Z_OK else { throw .outOfMemory }
        defer { inflateEnd(&stream) }
        var output: [UInt8] = []
        var taken = 0
        var chunk = [UInt8](repeating: 0, count: 1 << 17)
        while true {
            let (status, consumed, produced) = step(&stream, bytes, from: taken, into: &chunk)
            taken += consumed
            guard output.count + produced <= bytesMax else { throw .tooLong }
            output.append(contentsOf: chunk[..<produced])
            switch status {
            case Z_STREAM_END:
                if taken == bytes.count { return output }
                guard inflateReset(&stream) == Z_OK else { throw .malformed }
            case Z_OK where consumed > 0 || produced > 0: continue
            case Z_OK, Z_BUF_ERROR: throw .truncated
            case Z_MEM_ERROR: throw .outOfMemory
            default: throw .malformed
            }
        }
    }

    /// Packs bytes into one member.
    ///
    /// - Parameter level: From 1 (fast) to 9 (small); default 6.
    public static func compress(
        _ bytes: [UInt8],
        level: Int32 = 6
    ) throws(CompressionError) -> [UInt8] {
        precondition((1...9).contains(level), "level must be within 1…9")
        precondition(bytes.count < Int(UInt32.max), "a value to pack must be below 4 GiB")
        var stream = z_stream()
        guard ostiary_deflate_init_gzip(&stream, level) == Z_OK else { throw .outOfMemory }
        defer { deflateEnd(&stream) }
        var output = [UInt8](repeating: 0, count: Int(deflateBound(&stream, uLong(bytes.count))))
        let status = output.withUnsafeMutableBufferPointer { room in
            withInput(&stream, bytes, from: 0) { stream in
                stream.next_out = room.baseAddress
                stream.avail_out = uInt(room.count)
                return deflate(&stream, Z_FINISH)
            }
        }
        // The bound covers every input, so one step ends the member.
        guard status == Z_STREAM_END else { throw .outOfMemory }
        output.removeLast(output.count - Int(stream.total_out))
        return output
    }

    /// One call into the library; all of its pointers live and die here.
    private static func step(
        _ stream: inout z_stream,
        _ bytes: [UInt8],
        from start: Int,
        into chunk: inout [UInt8]
    ) -> (status: Int32, consumed: Int, produced: Int) {
        chunk.withUnsafeMutableBufferPointer { room in
            withInput(&stream, bytes, from: start) { stream in
                stream.next_out = room.baseAddress
                stream.avail_out = uInt(room.count)
                let offered = stream.avail_in
                let status = inflate(&stream, Z_NO_FLUSH)
                return (
                    status, Int(offered - stream.avail_in), room.count - Int(stream.avail_out)
                )
            }
        }
    }

    private static func withInput<R>(
        _ stream: inout z_stream,
        _ bytes: [UInt8],
        from start: Int,
        _ body: (inout z_stream) -> R
    ) -> R {
        bytes.withUnsafeBufferPointer { input in
            // zlib does not write through next_in; the type is older than const. It counts in 32 bits.
            stream.next_in = input.baseAddress.map { UnsafeMutablePointer(mutating: $0 + start) }
            stream.avail_in = uInt(min(input.count - start, 1 << 30))
            defer {
                stream.next_in = nil
                stream.avail_in = 0
            }
            return body(&stream)
        }
    }
}
