public import Cryptography
import Glibc

/// Whole small files: configuration, keys, certificates.
///
/// Not for data.
public enum Files {
    /// The longest file read, in bytes.
    public static let bytesMax = 4_194_304

    /// Reads a file.
    ///
    /// - Throws: what `failure` makes of the reason, which names no path.
    public static func read<E: Error>(
        _ path: String,
        orThrow failure: (String) -> E
    ) throws(E) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw failure("a file cannot be opened (\(reason()))")
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = chunk.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            guard count >= 0 else {
                throw failure("a file cannot be read (\(reason()))")
            }
            guard count > 0 else {
                return bytes
            }
            bytes += chunk[..<count]
            guard bytes.count <= bytesMax else {
                throw failure("a file is longer than \(bytesMax) bytes")
            }
        }
    }

    /// Reads a file that holds a secret, without a newline at its end.
    ///
    /// Only the file's owner may have access to it: anything else is refused instead of repaired, since whoever could
    /// read it may have read it already.
    public static func readSecret<E: Error>(
        _ path: String,
        orThrow failure: (String) -> E
    ) throws(E) -> Secret {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw failure("names a file that cannot be read (\(reason()))")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw failure("names a file that others may read (mode 0600)")
        }
        var bytes = try read(path, orThrow: failure)
        if bytes.last == 0x0A {
            bytes.removeLast()
        }
        return Secret(bytes)
    }

    /// Writes a file as a whole or not at all: into a neighbour that is synced and renamed.
    ///
    /// The mode is set before the first byte is written.
    public static func write<E: Error>(
        _ bytes: [UInt8],
        to path: String,
        mode: UInt32 = 0o600,
        orThrow failure: (String) -> E
    ) throws(E) {
        let neighbour = path + ".new"
        unlink(neighbour)
        let descriptor = open(neighbour, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(mode))
        guard descriptor >= 0 else {
            throw failure("a file cannot be created (\(reason()))")
        }
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            guard count > 0 else {
                let reason = reason()
                close(descriptor)
                unlink(neighbour)
                throw failure("a file cannot be written (\(reason))")
            }
            written += count
        }
        guard fsync(descriptor) == 0, close(descriptor) == 0, rename(neighbour, path) == 0 else {
            throw failure("a file cannot be put in place (\(reason()))")
        }
    }

    private static func reason() -> String {
        String(cString: strerror(errno))
    }
}
