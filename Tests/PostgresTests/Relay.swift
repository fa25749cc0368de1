import Glibc
import PostgresTestSupport
import Synchronization

@testable import Postgres

/// Stands between a connection and the server, counts round trips and breaks the line where a test wants it.
final class Relay: Sendable {
    enum Line: Sendable {
        case open
        /// What the client sends next reaches the server; the answer never comes back, and the line is cut.
        case loseNextAnswer
        /// What the client sends next is lost, and the line is cut.
        case loseNextQuestion
        /// Both ends stay connected and nothing passes.
        case silent
    }

    private struct State {
        var line = Line.open
        var roundTrips = 0
    }

    private let state = Mutex(State())
    private let listener: Int32
    private let folder: String

    init() throws {
        var template = Array("/tmp/ostiary-relay.XXXXXX".utf8CString)
        _ = mkdtemp(&template)
        folder = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        let url = try TestCluster.shared.url()
        let server = url.split(separator: " ")[0].dropFirst("host=".count)
        let target = Self.address("\(server)/.s.PGSQL.5432")
        let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var own = Self.address("\(folder)/.s.PGSQL.5432")
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let code = withUnsafeBytes(of: &own) {
            bind(listener, $0.bindMemory(to: sockaddr.self).baseAddress, size)
        }
        precondition(code == 0 && listen(listener, 8) == 0, "the relay cannot listen")
        self.listener = listener
        startThread { [weak self] in
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0 else { return }
                startThread { [weak self] in self?.carry(client, target) }
            }
        }
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
        unlink("\(folder)/.s.PGSQL.5432")
        rmdir(folder)
    }

    func configuration(for database: Configuration) throws -> Configuration {
        let name = database.connectionString.split(separator: " ").last ?? ""
        return try Configuration("host=\(folder) user=postgres \(name)")
    }

    /// How often the client spoke after the server had.
    var roundTrips: Int { state.withLock { $0.roundTrips } }

    func set(_ line: Line) {
        state.withLock { $0.line = line }
    }

    private func carry(_ client: Int32, _ target: sockaddr_un) {
        let server = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer {
            close(client)
            close(server)
        }
        var target = target
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let code = withUnsafeBytes(of: &target) {
            connect(server, $0.bindMemory(to: sockaddr.self).baseAddress, size)
        }
        guard code == 0 else { return }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        var serverSpokeLast = true
        while true {
            var ends = [
                pollfd(fd: client, events: Int16(POLLIN), revents: 0),
                pollfd(fd: server, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&ends, 2, -1) > 0 else { return }
            if ends[0].revents != 0 {
                let count = read(client, &buffer, buffer.count)
                guard count > 0 else { return }
                let line = state.withLock { state in
                    if serverSpokeLast { state.roundTrips += 1 }
                    return state.line
                }
                serverSpokeLast = false
                switch line {
                case .open:
                    guard write(server, buffer, count) == count else { return }
                case .loseNextAnswer:
                    _ = write(server, buffer, count)
                    // Its answer says that it is done; nobody else learns.
                    _ = read(server, &buffer, buffer.count)
                    return
                case .loseNextQuestion:
                    return
                case .silent:
                    continue
                }
            } else {
                let count = read(server, &buffer, buffer.count)
                guard count > 0, write(client, buffer, count) == count else { return }
                serverSpokeLast = true
            }
        }
    }

    private static func address(_ path: String) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return address
    }
}
