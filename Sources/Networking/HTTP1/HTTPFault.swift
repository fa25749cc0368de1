/// Why a message was refused: the rule of RFC 9110 or RFC 9112 it broke, or the limit it passed.
///
/// A gateway refuses what two parsers could read differently, also where a server may be lenient. A
/// fault in the framing leaves no trustworthy next message on the connection, so the connection
/// closes after the answer.
public enum HTTPFault: String, Error, Hashable, Sendable, CaseIterable {
    // Lines (RFC 9112 §2.2)
    /// LF without CR before it.
    case bareLineFeed
    /// CR without LF after it.
    case bareCarriageReturn
    /// NUL or another control byte in a head.
    case controlByte
    /// A byte outside ASCII in a request head. Responses may carry such bytes in field values, as
    /// opaque data.
    case nonASCIIByte

    // Request line (RFC 9112 §3)
    /// Not exactly `method SP target SP version`.
    case requestLineMalformed
    /// An empty line where a request line must be. RFC 9112 §2.2 lets a server skip it; a gateway
    /// need not.
    case emptyLineBeforeRequest
    /// No version: HTTP/0.9.
    case versionMissing
    /// A version other than HTTP/1.1 and HTTP/1.0; includes the preface of HTTP/2.
    case versionUnsupported
    /// A method that is not a token.
    case methodMalformed
    /// A method this gateway does not know.
    case methodUnknown
    /// CONNECT or TRACE.
    case methodForbidden
    /// A target that is not in origin form: absolute, authority or asterisk form.
    case targetForm
    /// A byte that may not stand in a path or query (RFC 3986 §3.3, §3.4), or a broken percent
    /// escape.
    case targetMalformed
    /// A longer target than ``HTTPLimits/targetBytesMax``.
    case targetTooLong

    // Status line (RFC 9112 §4)
    /// Not `HTTP/1.x SP 3DIGIT [SP reason]`.
    case statusLineMalformed
    /// 101, which is never asked for.
    case unexpectedUpgrade
    /// More interim (1xx) responses than ``HTTPLimits/interimResponsesMax``.
    case tooManyInterimResponses

    // Fields (RFC 9110 §5, RFC 9112 §5)
    /// A line without a colon, or a line that begins with one.
    case fieldMalformed
    /// A name that is not a token; includes white space before the colon.
    case fieldNameMalformed
    /// A line that continues the one before (obs-fold).
    case foldedField
    /// A longer head than ``HTTPLimits/headBytesMax``.
    case headTooLarge
    /// More fields than ``HTTPLimits/fieldsMax``.
    case tooManyFields
    /// No `Host`.
    case hostMissing
    /// More than one `Host`.
    case hostDuplicate
    /// A `Host` that is not `uri-host [":" port]` in plain ASCII.
    case hostMalformed
    /// An `Expect` other than `100-continue`.
    case expectationUnknown

    // Framing (RFC 9112 §6, §7)
    /// `Content-Length` and `Transfer-Encoding` together.
    case lengthAndTransferEncoding
    /// More than one `Content-Length` line or a list in one, equal or not.
    case lengthDuplicate
    /// A `Content-Length` that is not 1*DIGIT, or does not fit.
    case lengthMalformed
    /// A `Transfer-Encoding` other than exactly one `chunked`.
    case transferEncodingUnknown
    /// `Transfer-Encoding` in HTTP/1.0.
    case transferEncodingInOldVersion
    /// A body where the status allows none.
    case bodyNotAllowed
    /// A response with neither a length nor `chunked` that does not announce to close.
    case bodyUnframed
    /// A larger body than allowed.
    case bodyTooLarge
    /// A chunk size that is not 1*8HEXDIG followed by CRLF.
    case chunkSizeMalformed
    /// A chunk extension.
    case chunkExtension
    /// Data of a chunk that is not followed by CRLF.
    case chunkEndMissing
    /// Trailer fields in a request.
    case trailerField
    /// The connection ended within a message.
    case truncated

    /// The status that a server answers with.
    public var status: Int {
        switch self {
        case .methodForbidden: 405
        case .methodUnknown: 501
        case .targetTooLong: 414
        case .expectationUnknown: 417
        case .headTooLarge, .tooManyFields: 431
        case .versionUnsupported, .versionMissing: 505
        case .bodyTooLarge: 413
        case .transferEncodingUnknown: 501
        default: 400
        }
    }
}

extension HTTPFault: CustomStringConvertible {
    /// The rule, without anything of the message.
    public var description: String {
        var text = "http message refused: "
        for scalar in rawValue.unicodeScalars {
            if scalar.properties.isUppercase {
                text += " " + scalar.properties.lowercaseMapping
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
        return text
    }
}
