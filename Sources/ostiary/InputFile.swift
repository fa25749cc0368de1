import Compression
import Glibc

/// A file named on the command line, or standard input for `-`.
struct InputFile {
    /// The longest file, packed or not, in bytes.
    static let bytesMax = 256 << 20

    let path: String

    /// What is shown for it in messages.
    var name: String { path == "-" ? "standard input" : path }

    /// Why a file cannot be read, for the person who named it.
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// The bytes, unpacked if they are gzip.
    func read() throws(Failure) -> [UInt8] {
        let bytes = try readAll()
        guard Gzip.isGzip(bytes) else { return bytes }
        do throws(CompressionError) {
            return try Gzip.decompress(bytes, bytesMax: Self.bytesMax)
        } catch { throw Failure(description: "\(name): \(error)") }
    }

    private func readAll() throws(Failure) -> [UInt8] {
        let descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot be opened") }
        defer { if descriptor != STDIN_FILENO { close(descriptor) } }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            let count = chunk.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("cannot be read") }
            guard count > 0 else { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= Self.bytesMax else {
                throw Failure(description: "\(name): longer than \(Self.bytesMax) bytes")
            }
        }
    }

    private func failure(_ what: String) -> Failure {
        Failure(description: "\(name): \(what): \(String(cString: strerror(errno)))")
    }

    /// Writes the file anew, as a whole or not at all, with the mode it had.
    func replace(with bytes: [UInt8]) throws(Failure) {
        var status = stat()
        guard stat(path, &status) == 0 else { throw failure("cannot be read") }
        let neighbour = path + ".ostiary-new"
        let descriptor = open(
            neighbour,
            O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
            status.st_mode & 0o777
        )
        guard descriptor >= 0 else { throw failure("cannot be written") }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            rest.removeFirst(count)
        }
        guard rest.isEmpty, fsync(descriptor) == 0, close(descriptor) == 0,
            rename(neighbour, path) == 0
        else {
            let failure = failure("cannot be written")
            unlink(neighbour)
            throw failure
        }
    }
}
