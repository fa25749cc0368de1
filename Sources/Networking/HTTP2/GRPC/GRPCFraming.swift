import NIOCore

/// The framing of gRPC messages: one byte of flags, four of length, then the message.
///
/// Compression is not offered, so a message that says it is compressed is refused: a decompressor
/// is an amplifier in the peer's hands, and our messages are small.
enum GRPCFraming {
    static let prefixBytes = 5

    /// Default bound of one message, the one gRPC implementations share.
    static let messageBytesMax = 4 * 1024 * 1024

    enum Failure: Error, Equatable {
        case tooLarge
        case compressed
        case badFlags

        var status: GRPCStatus {
            switch self {
            case .tooLarge: GRPCStatus(.resourceExhausted, "message too large")
            case .compressed: GRPCStatus(.unimplemented, "compression is not supported")
            case .badFlags: GRPCStatus(.internal, "malformed message prefix")
            }
        }
    }

    /// Takes one message from the start of `buffer`; `nil` when it is not complete yet.
    ///
    /// The length is judged as soon as it is there: nothing is gathered for a message that would be
    /// refused.
    static func next(
        from buffer: inout ByteBuffer,
        bytesMax: Int
    ) throws(Failure) -> [UInt8]? {
        guard let flags: UInt8 = buffer.getInteger(at: buffer.readerIndex) else { return nil }
        if flags == 1 { throw .compressed }
        if flags != 0 { throw .badFlags }
        guard let length: UInt32 = buffer.getInteger(at: buffer.readerIndex + 1) else { return nil }
        if length > bytesMax { throw .tooLarge }
        guard buffer.readableBytes >= prefixBytes + Int(length) else { return nil }
        buffer.moveReaderIndex(forwardBy: prefixBytes)
        return buffer.readBytes(length: Int(length))
    }

    /// Adds one message at the end of `buffer`.
    static func write(_ message: [UInt8], to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(0))
        buffer.writeInteger(UInt32(message.count))
        buffer.writeBytes(message)
    }
}
