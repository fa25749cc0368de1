/// Why a document was refused, and where.
///
/// Reading again does not help. The error never contains a byte of the document.
public struct JSONError: Error, Hashable, Sendable {
    /// The reasons, stable enough to be counted and shown.
    public enum Code: String, CaseIterable, Hashable, Sendable {
        /// The document starts with U+FEFF, which RFC 8259 §8.1 forbids to send.
        case byteOrderMark
        /// A string contains bytes that are not UTF-8: overlong, surrogate, cut or out of range.
        case invalidUTF8
        /// A byte that the grammar does not allow here: also comments, NaN, Infinity and single quotes.
        case unexpectedByte
        /// The document ends inside a value.
        case unexpectedEnd
        /// Something other than blanks follows the value.
        case trailingBytes
        /// A comma is followed by the end of its array or object.
        case trailingComma
        /// A number does not follow RFC 8259 §6.
        case invalidNumber
        /// A number starts with a superfluous zero.
        case leadingZero
        /// A backslash is followed by something that is no escape.
        case invalidEscape
        /// An escape names half of a surrogate pair.
        case loneSurrogate
        /// A string contains an unescaped control character.
        case controlCharacter
        /// A string contains U+0000 where the limits forbid it.
        case nullCharacter
        /// An object names a member twice, compared after unescaping.
        case duplicateKey
        /// The document is longer than `bytesMax`.
        case tooManyBytes
        /// The nesting is deeper than `depthMax`.
        case tooDeep
        /// A string is longer than `stringBytesMax`.
        case stringTooLong
        /// A member name is longer than `keyBytesMax`.
        case keyTooLong
        /// A number is longer than `numberBytesMax`.
        case numberTooLong
        /// An object has more members than `membersMax`.
        case tooManyMembers
        /// An array has more elements than `elementsMax`.
        case tooManyElements
        /// The document has more values than `valuesMax`.
        case tooManyValues

        /// Whether a bound was passed, rather than the grammar broken.
        public var isLimit: Bool {
            switch self {
            case .tooManyBytes, .tooDeep, .stringTooLong, .keyTooLong, .numberTooLong,
                .tooManyMembers, .tooManyElements, .tooManyValues:
                true
            default: false
            }
        }
    }

    /// The reason.
    public let code: Code
    /// The byte position, from 0, of what was refused.
    public let offset: Int

    /// Makes an error.
    public init(_ code: Code, at offset: Int) {
        self.code = code
        self.offset = offset
    }

    /// Line and column, both from 1, of the refused byte; the column counts bytes.
    ///
    /// Computed on demand from the document that was refused, because only people want to know.
    public func position(in bytes: [UInt8]) -> (line: Int, column: Int) {
        let before = bytes.prefix(offset)
        let line = before.count { $0 == UInt8(ascii: "\n") } + 1
        let lineStart = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        return (line, before.count - lineStart + 1)
    }
}

extension JSONError: CustomStringConvertible {
    /// The reason and the position, without the caller's data.
    public var description: String { "\(code.rawValue) at byte \(offset)" }
}
