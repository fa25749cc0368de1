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

    /// Calls `body` with runs of whole lines of about `bytesMax` bytes, and the number of their first line, from 1.
    ///
    /// A file that is not packed is never held as a whole. The last line need not end.
    func readLines(
        bytesMax: Int,
        _ body: ([UInt8], Int) async throws -> Void
    ) async throws {
        let descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot be opened") }
        defer { if descriptor != STDIN_FILENO { close(descriptor) } }
        var held: [UInt8] = []
        var firstLine = 1
        var isFirst = true
        while true {
            let start = held.count
            held.append(contentsOf: repeatElement(0, count: bytesMax))
            let count = held.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress.map { $0 + start }, bytesMax)
            }
            held.removeLast(bytesMax - max(count, 0))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("cannot be read") }
            if isFirst, Gzip.isGzip(held) {
                guard path != "-" else {
                    throw Failure(description: "standard input: unpack it first")
                }
                let bytes = try read()
                return try await body(bytes, 1)
            }
            isFirst = false
            guard count > 0 else {
                if !held.isEmpty { try await body(held, firstLine) }
                return
            }
            guard let end = held.lastIndex(of: 0x0A) else {
                guard held.count <= Self.bytesMax else {
                    throw Failure(description: "\(name): a line longer than \(Self.bytesMax) bytes")
                }
                continue
            }
            let whole = Array(held[...end])
            held.removeFirst(end + 1)
            let lines = whole.count { $0 == 0x0A }
            try await body(whole, firstLine)
            firstLine += lines
        }
    }

    /// The files of a folder, sorted; `nil` if this is no folder.
    func children() throws(Failure) -> [InputFile]? {
        var status = stat()
        guard path != "-", stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            return nil
        }
        guard let folder = opendir(path) else { throw failure("cannot be opened") }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        let prefix = path.hasSuffix("/") ? path : path + "/"
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            .map { InputFile(path: prefix + $0) }
    }

    /// The part of the path behind the last slash.
    var lastComponent: Substring { path.split(separator: "/").last ?? "" }

    /// A file in the same folder.
    func sibling(_ name: String) -> InputFile {
        let slash = path.lastIndex(of: "/")
        return InputFile(path: slash.map { String(path[...$0]) + name } ?? name)
    }

    /// Whether there is such a file.
    var exists: Bool { access(path, F_OK) == 0 }

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
