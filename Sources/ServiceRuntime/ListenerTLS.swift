public import Cryptography
import Glibc
public import Logging
public import Networking
public import ServiceLifecycle

/// The files that a listener's certificate comes from: `OSTIARY_TLS_CERTIFICATE_FILE` (a PEM chain, the listener's own
/// certificate first) and `OSTIARY_TLS_KEY_FILE` (a PEM key that only its owner may read).
public struct TLSFiles: Sendable, Equatable {
    /// The chain.
    public let certificate: String
    /// The key of the chain's first certificate.
    public let key: String

    /// Files known by name, for tests and tools.
    public init(certificate: String, key: String) {
        self.certificate = certificate
        self.key = key
    }

    /// The files that the settings name, or `nil` when they name none: then the listener speaks plain TCP.
    ///
    /// One without the other is refused: a listener that was meant to speak TLS must not speak plain TCP by mistake.
    public init?(_ reader: SettingsReader) throws(SettingsError) {
        switch (reader.text("tls.certificate.file"), reader.text("tls.key.file")) {
        case (nil, nil):
            return nil
        case (let certificate?, let key?):
            self.init(certificate: certificate, key: key)
        case (nil, _):
            throw SettingsError("OSTIARY_TLS_CERTIFICATE_FILE", "is not set, but the key file is")
        case (_, nil):
            throw SettingsError("OSTIARY_TLS_KEY_FILE", "is not set, but the certificate file is")
        }
    }

    /// Reads both files.
    ///
    /// - Throws: When one cannot be read, others may read the key, or the two do not belong together.
    public func context(applicationProtocols: [String]) throws(SettingsError) -> TLSContext {
        let chain = try Files.read(certificate) {
            SettingsError("OSTIARY_TLS_CERTIFICATE_FILE", $0)
        }
        let key = try Files.readSecret(self.key) { SettingsError("OSTIARY_TLS_KEY_FILE", $0) }
        let identity: TLSIdentity
        do throws(CryptographyError) {
            identity = try TLSIdentity(certificatesPEM: chain, keyPEM: key)
        } catch {
            throw SettingsError("OSTIARY_TLS_CERTIFICATE_FILE", "\(error)")
        }
        do throws(TLSError) {
            return try TLSContext(
                TLSContext.Configuration(
                    role: .server,
                    identity: identity,
                    applicationProtocols: applicationProtocols
                )
            )
        } catch {
            throw SettingsError("OSTIARY_TLS_CERTIFICATE_FILE", "\(error)")
        }
    }
}

/// A listener's TLS, which follows its files: a renewed certificate is used by the connections that begin after it was
/// written, without a restart.
///
/// The two files are not written at one moment. A pair that does not fit together, or cannot be read, changes nothing:
/// it is logged once and looked at again.
public final class ListenerTLS: Service {
    /// What new connections get; for `HTTPServer.Configuration.tls`.
    public let source: TLSContextSource

    private let files: TLSFiles
    private let applicationProtocols: [String]
    private let logger: Logger
    private let pause: Duration
    private let first: [FileStamp?]

    /// Reads the files for the first time.
    ///
    /// - Parameters:
    ///   - applicationProtocols: ALPN names in order of preference.
    ///   - pause: how often the files are looked at. Default 10 s.
    /// - Throws: What ``TLSFiles/context(applicationProtocols:)`` throws; the process must not start.
    public init(
        _ files: TLSFiles,
        applicationProtocols: [String] = ["http/1.1"],
        pause: Duration = .seconds(10),
        logger: Logger
    ) throws(SettingsError) {
        self.files = files
        self.applicationProtocols = applicationProtocols
        self.pause = pause
        self.logger = logger
        // Before the content: a change in between is seen as one.
        first = Self.stamps(files)
        source = TLSContextSource(try files.context(applicationProtocols: applicationProtocols))
    }

    /// Follows the files until the process stops.
    public func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            var used = first
            var refused: [FileStamp?]?
            while (try? await Task.sleep(for: pause)) != nil {
                let found = Self.stamps(files)
                guard found != used else { continue }
                do throws(SettingsError) {
                    source.install(try files.context(applicationProtocols: applicationProtocols))
                    used = found
                    refused = nil
                    logger.info("the certificate of the listener was renewed")
                } catch {
                    if refused != found {
                        logger.error(
                            "the new certificate of the listener is not used",
                            metadata: ["error.message": "\(error)"]
                        )
                    }
                    refused = found
                }
            }
        }
    }

    private static func stamps(_ files: TLSFiles) -> [FileStamp?] {
        [FileStamp(files.certificate), FileStamp(files.key)]
    }
}

/// What tells one state of a file from another, without reading it.
private struct FileStamp: Equatable {
    let device: UInt64
    let inode: UInt64
    let size: Int64
    let seconds: Int
    let nanoseconds: Int

    init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        seconds = status.st_mtim.tv_sec
        nanoseconds = status.st_mtim.tv_nsec
    }
}
