import NIOCore

/// Finds the frame headers in received bytes, for the flood guard.
///
/// nghttp2 has a callback for frames that begin, but says nothing about those it ignores (unknown
/// types, frames of closed streams), and those are what a flood is made of. This reads nine bytes
/// per frame and skips the rest.
struct FrameScanner: Equatable {
    /// Bytes before the next frame header: the rest of a payload, or of the client's preface.
    private var skip: Int

    /// A header that arrived in pieces.
    private var partial: UInt64 = 0
    private var partialBytes = 0

    /// - Parameter prefaceBytes: What comes before the first frame: 24 at a server,
    ///   nothing at a client.
    init(prefaceBytes: Int) {
        skip = prefaceBytes
    }

    /// Calls `body` with each frame header that is complete with these bytes, until it answers
    /// false.
    mutating func scan(
        _ buffer: ByteBuffer,
        _ body: (_ type: UInt8, _ flags: UInt8, _ payloadBytes: Int) -> Bool
    ) {
        var index = buffer.readerIndex
        while index < buffer.writerIndex {
            if skip > 0 {
                let count = min(skip, buffer.writerIndex - index)
                skip -= count
                index += count
                continue
            }
            guard let byte: UInt8 = buffer.getInteger(at: index) else { return }
            index += 1
            // Length (24 bits), type and flags: five bytes that matter. The stream follows in four.
            partial = partial << 8 | UInt64(byte)
            partialBytes += 1
            if partialBytes < 5 { continue }
            let payloadBytes = Int(partial >> 16)
            let (type, flags) = (UInt8(partial >> 8 & 0xff), UInt8(partial & 0xff))
            (partial, partialBytes) = (0, 0)
            skip = 4 + payloadBytes
            if !body(type, flags, payloadBytes) { return }
        }
    }
}
