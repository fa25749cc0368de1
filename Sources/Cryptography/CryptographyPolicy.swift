import COpenSSL
import Synchronization

/// Which implementations of the algorithms this process may use.
///
/// The choice is made once, before the first algorithm is fetched: an implementation fetched
/// earlier would stay in use behind the operator's back.
public enum CryptographyPolicy {
    private enum Choice { case open, standard, fips }

    private static let choice = Mutex(Choice.open)

    /// Whether only FIPS-validated implementations are in use.
    public static var isFIPS: Bool { choice.withLock { $0 == .fips } }

    /// Restricts the process to the FIPS provider of OpenSSL (`fips=yes`), or throws.
    ///
    /// Call it first in `main`. Throws ``CryptographyError/fipsUnavailable(reason:)`` when the
    /// provider is not installed, fails its self-tests, or an algorithm is already in use; the
    /// process should then not start. Source: SP 800-53 SC-13.
    public static func requireFIPS() throws(CryptographyError) {
        let outcome: Result<Void, CryptographyError> = choice.withLock { choice in
            if choice == .fips { return .success(()) }
            return Result { () throws(CryptographyError) in
                let fips = try FIPSProvider()
                guard choice == .open else {
                    fips.unload()
                    throw .fipsUnavailable(reason: "algorithms are already in use")
                }
                try fips.enforce()
                choice = .fips
            }
        }
        try outcome.get()
    }

    /// Fixes the choice; called before the first fetch of anything.
    static func settle() {
        choice.withLock { if $0 == .open { $0 = .standard } }
    }
}

/// The loaded FIPS module of OpenSSL, and `base`, which holds encodings of keys and certificates
/// but no cryptography.
private struct FIPSProvider {
    private let fips: OpaquePointer
    private let base: OpaquePointer

    init() throws(CryptographyError) {
        OpenSSLErrorQueue.clear()
        // `try_load` with fallbacks kept: after a refusal the process is as it was.
        guard let fips = OSSL_PROVIDER_try_load(nil, "fips", 1) else {
            let reason = OpenSSLErrorQueue.drain().reason
            throw .fipsUnavailable(reason: "openssl module fips does not load (\(reason))")
        }
        guard let base = OSSL_PROVIDER_try_load(nil, "base", 1) else {
            _ = OSSL_PROVIDER_unload(fips)
            throw .fipsUnavailable(reason: OpenSSLErrorQueue.drain().reason)
        }
        self.fips = fips
        self.base = base
    }

    func enforce() throws(CryptographyError) {
        guard OSSL_PROVIDER_self_test(fips) == 1, EVP_default_properties_enable_fips(nil, 1) == 1
        else {
            unload()
            throw .fipsUnavailable(reason: OpenSSLErrorQueue.drain().reason)
        }
        // The proof that the property is in force: an algorithm no validated module offers is gone.
        if let md5 = EVP_MD_fetch(nil, "MD5", nil) {
            EVP_MD_free(md5)
            throw .fipsUnavailable(reason: "algorithms outside fips are still offered")
        }
        OpenSSLErrorQueue.clear()
    }

    func unload() {
        _ = OSSL_PROVIDER_unload(base)
        _ = OSSL_PROVIDER_unload(fips)
    }
}
