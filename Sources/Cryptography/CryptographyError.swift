import COpenSSL

/// Why an operation of this module was refused.
///
/// No case carries bytes of the caller: a description may be logged as it is.
public enum CryptographyError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The bytes are not what their format prescribes; `what` is a constant of this module.
    case malformed(what: String)
    /// The key is of a kind, size or origin that is not accepted.
    case keyRefused(reason: String)
    /// The algorithm asked for is not the one the key was loaded for.
    case algorithmRefused
    /// The signature does not fit the message and the key.
    case signatureInvalid
    /// The ciphertext, its associated data or its nonce was changed, or the key is another.
    case authenticationFailed
    /// The certificate chain does not lead to a trusted root, or not for this purpose or time.
    case chainRefused(reason: String)
    /// A FIPS-validated provider was asked for and cannot be had.
    case fipsUnavailable(reason: String)
    /// OpenSSL refused for a reason of its own, given in its fixed words.
    case backend(reason: String)

    /// The words for logs and people; nothing of the caller is in them.
    public var description: String {
        switch self {
        case .malformed(let what): "malformed \(what)"
        case .keyRefused(let reason): "key refused: \(reason)"
        case .algorithmRefused: "algorithm refused for this key"
        case .signatureInvalid: "signature invalid"
        case .authenticationFailed: "authentication failed"
        case .chainRefused(let reason): "certificate chain refused: \(reason)"
        case .fipsUnavailable(let reason): "no fips provider: \(reason)"
        case .backend(let reason): "openssl: \(reason)"
        }
    }

    /// The error for a failed OpenSSL call, with the thread's error queue drained into it.
    static func drained(_ operation: StaticString) -> CryptographyError {
        .backend(reason: "\(operation): \(OpenSSLErrorQueue.drain().reason)")
    }
}

/// The error queue that OpenSSL keeps for each thread.
///
/// Only reason strings leave it. They are constants of the library; the optional data of an entry
/// is never read, since it may quote what a peer sent.
enum OpenSSLErrorQueue {
    struct Drained {
        var reason: String
        /// The newest code, 0 when the queue was empty.
        var code: UInt
    }

    /// Empties the queue.
    ///
    /// Must follow every failed call: a stale entry makes `SSL_get_error` misreport a later one.
    static func drain() -> Drained {
        var reasons: [String] = []
        var last: UInt = 0
        while case let code = ERR_get_error(), code != 0 {
            last = UInt(code)
            // The newest entries are the least specific ones; three reasons are plenty for a
            // person.
            if reasons.count < 3, let text = ERR_reason_error_string(code) {
                let reason = String(cString: text)
                if reasons.last != reason { reasons.append(reason) }
            }
        }
        return Drained(
            reason: reasons.isEmpty ? "no reason given" : reasons.joined(separator: ", "),
            code: last
        )
    }

    static func clear() { ERR_clear_error() }
}
