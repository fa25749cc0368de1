public import NIOCore

/// Takes a body out of its framing, piece by piece, across any split of the input (RFC 9112 §6,
/// §7).
public struct HTTPBodyDecoder: Sendable {
    /// What became of a call to ``next(_:)``.
    public enum Step: Sendable, Hashable {
        /// More input is needed.
        case needsInput
        /// A piece of the body; a slice of the input.
        case data(ByteBuffer)
        /// The body is complete; what is left in the input belongs to the next message.
        case end
    }

    /// What to do with trailer fields.
    public enum Trailers: Sendable {
        /// Requests: nobody needs them, and a field that arrives after the decision was not decided
        /// on.
        case refuse
        /// Responses: checked for form, then dropped (RFC 9110 §6.5.1 lets an intermediary discard
        /// them).
        case drop
    }

    private enum State: Sendable {
        case end
        case length(Int)
        case untilClose
        case chunkSize
        case chunkData(Int)
        case chunkEnd
        case trailers
    }

    private var state: State
    private var trailerReader: HTTPHeadReader
    private var bytesLeft: Int
    private let trailers: Trailers

    /// A decoder for one body.
    ///
    /// - Parameter bytesMax: The largest body accepted. Beyond it, ``HTTPFault/bodyTooLarge``.
    public init(
        _ framing: HTTPBodyFraming,
        bytesMax: Int,
        trailers: Trailers,
        limits: HTTPLimits = HTTPLimits()
    ) {
        switch framing {
        case .none: state = .end
        case .length(let length): state = length == 0 ? .end : .length(length)
        case .chunked: state = .chunkSize
        case .untilClose: state = .untilClose
        }
        bytesLeft = bytesMax
        self.trailers = trailers
        trailerReader = HTTPHeadReader(allowsOpaqueBytes: true, limits: limits)
    }

    /// Whether the body was read to its end.
    public var isComplete: Bool {
        if case .end = state { true } else { false }
    }

    /// The declared length not read yet, when there is one.
    var lengthLeft: Int? {
        if case .length(let left) = state { left } else { nil }
    }

    /// Lowers or raises what may still come.
    mutating func limit(to bytesMax: Int) { bytesLeft = bytesMax }

    /// Takes the next piece from the front of `buffer`.
    public mutating func next(_ buffer: inout ByteBuffer) throws(HTTPFault) -> Step {
        while true {
            switch state {
            case .end:
                return .end
            case .length(let left):
                guard left <= bytesLeft else { throw .bodyTooLarge }
                guard let piece = take(left, from: &buffer) else { return .needsInput }
                let rest = left - piece.readableBytes
                state = rest == 0 ? .end : .length(rest)
                return .data(piece)
            case .untilClose:
                guard buffer.readableBytes <= bytesLeft else { throw .bodyTooLarge }
                guard let piece = take(.max, from: &buffer) else { return .needsInput }
                return .data(piece)
            case .chunkSize:
                guard let (size, lineBytes) = try Self.chunkSize(buffer.readableBytesSpan) else {
                    return .needsInput
                }
                buffer.moveReaderIndex(forwardBy: lineBytes)
                guard size <= bytesLeft else { throw .bodyTooLarge }
                state = size == 0 ? .trailers : .chunkData(size)
            case .chunkData(let left):
                guard let piece = take(left, from: &buffer) else { return .needsInput }
                let rest = left - piece.readableBytes
                state = rest == 0 ? .chunkEnd : .chunkData(rest)
                return .data(piece)
            case .chunkEnd:
                guard try Self.isLineEnd(buffer.readableBytesSpan) else { return .needsInput }
                buffer.moveReaderIndex(forwardBy: 2)
                state = .chunkSize
            case .trailers:
                guard let count = try trailerBytes(buffer.readableBytesSpan) else {
                    return .needsInput
                }
                buffer.moveReaderIndex(forwardBy: count)
                state = .end
            }
        }
    }

    /// The connection ended.
    ///
    /// - Throws: ``HTTPFault/truncated`` unless the body was complete or reaches to the end of the
    ///   connection.
    public mutating func connectionEnded() throws(HTTPFault) {
        switch state {
        case .end: break
        case .untilClose: state = .end
        default: throw .truncated
        }
    }

    private mutating func take(_ count: Int, from buffer: inout ByteBuffer) -> ByteBuffer? {
        let count = min(count, buffer.readableBytes)
        guard count > 0 else { return nil }
        bytesLeft -= count
        return buffer.readSlice(length: count)
    }

    /// The size in `1*8HEXDIG CRLF` and how many bytes that line has.
    ///
    /// Eight digits are more than any body may have.
    private static func chunkSize(
        _ bytes: RawSpan
    ) throws(HTTPFault) -> (size: Int, lineBytes: Int)? {
        var size = 0
        var index = 0
        while index < bytes.byteCount, let digit = bytes[index].hexValue {
            guard index < 8 else { throw .chunkSizeMalformed }
            size = size << 4 | Int(digit)
            index += 1
        }
        guard index < bytes.byteCount else { return nil }
        switch bytes[index] {
        case .carriageReturn where index > 0: break
        case UInt8(ascii: ";") where index > 0, .space where index > 0, .tab where index > 0:
            // An extension, or the "bad white space" that some parsers skip before one.
            throw .chunkExtension
        default: throw .chunkSizeMalformed
        }
        guard index + 1 < bytes.byteCount else { return nil }
        guard bytes[index + 1] == .lineFeed else { throw .bareCarriageReturn }
        return (size, index + 2)
    }

    private static func isLineEnd(_ bytes: RawSpan) throws(HTTPFault) -> Bool {
        guard bytes.byteCount > 0 else { return false }
        guard bytes[0] == .carriageReturn else { throw .chunkEndMissing }
        guard bytes.byteCount > 1 else { return false }
        guard bytes[1] == .lineFeed else { throw .chunkEndMissing }
        return true
    }

    /// Bytes of the trailer section with the empty line that ends it, once all of it is there.
    private mutating func trailerBytes(_ bytes: RawSpan) throws(HTTPFault) -> Int? {
        if trailers == .refuse, bytes.byteCount > 0, bytes[0] != .carriageReturn {
            throw .trailerField
        }
        while let line = try trailerReader.nextLine(bytes) {
            if line.isEmpty { return trailerReader.lineStart }
            _ = try trailerReader.readField(bytes, line)
        }
        return nil
    }
}
