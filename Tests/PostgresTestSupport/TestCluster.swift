import Glibc
import Logging
public import Postgres
import Synchronization

/// One private PostgreSQL cluster per test run, made by scripts/postgres in a temporary folder.
///
/// It starts with the first test that needs it. A watchdog process of its own session waits for the end of a pipe this
/// process holds: whether the process exits or is killed, the pipe ends, and the watchdog discards the cluster and its
/// folder. A normal exit waits for that.
///
///     @Suite(.enabled(if: TestCluster.isAvailable)) struct …
///     let database = try await TestCluster.shared.database(template: "audit") { try await migrate($0) }
public final class TestCluster: Sendable {
    /// What kept the cluster from starting.
    public struct Failure: Error, CustomStringConvertible {
        /// In a sentence.
        public let description: String
    }

    /// What the cluster promises about commits.
    public enum Durability: Sendable {
        /// As in production.
        case on
        /// Fast: a crash of the machine may lose everything.
        ///
        /// For tests of anything else.
        case off
    }

    /// Whether tests that need PostgreSQL are to run: it is installed, or its absence is to be a failure (`CI=true`).
    public static let isAvailable: Bool =
        getenv("CI").map { String(cString: $0) } == "true" || isInstalled

    private static let isInstalled = run([script, "bin", "/"]) == 0

    /// The run's cluster, fast and not durable.
    public static let shared = TestCluster(.off)

    /// Where scripts/postgres is, seen from this file.
    private static let script: String = {
        let here = #filePath
        let folder = String(here[..<(here.lastIndex(of: "/") ?? here.endIndex)])
        return folder + "/../../scripts/postgres"
    }()

    private struct State {
        var url: String?
        var templates: Set<String> = []
        var count = 0
    }

    private let folder: String
    private let settings: [String]
    private let watchdog: Watchdog
    private let state = Mutex(State())
    private let copying = AsyncLock()

    /// A cluster of its own, for tests that stop it or need its durability; they ``discard()`` it.
    public init(_ durability: Durability) {
        var template = Array("/tmp/ostiary-test.XXXXXX".utf8CString)
        precondition(mkdtemp(&template) != nil, "no temporary folder could be made")
        folder = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        settings =
            ["max_connections=200", "shared_buffers=64MB"]
            + (durability == .off
                ? ["fsync=off", "synchronous_commit=off", "full_page_writes=off"] : [])
        watchdog = Watchdog(of: folder, Self.script)
    }

    /// Stops it and removes its data.
    ///
    /// A test that made a cluster says so when it is done: dozens that wait for the end of the process take its time while
    /// it runs, and minutes when it ends.
    public func discard() {
        watchdog.release()
        watchdog.wait()
    }

    /// Starts it, if it does not run.
    public func start() throws {
        guard Self.run([Self.script, "start", folder] + settings) == 0 else {
            throw Failure(description: "PostgreSQL could not be started, see the output above")
        }
    }

    /// Stops it; its data stays.
    public func stop() throws {
        guard Self.run([Self.script, "stop", folder]) == 0 else {
            throw Failure(description: "PostgreSQL could not be stopped, see the output above")
        }
    }

    /// The connection string for a database, of the superuser unless another user is named.
    public func url(_ database: String = "postgres", user: String = "postgres") throws -> String {
        try state.withLock { state in
            if state.url == nil {
                try start()
                state.url = "host=\(folder)/run"
            }
            return (state.url ?? "") + " user=\(user) dbname=\(database)"
        }
    }

    /// A connection configuration for a database.
    public func configuration(
        _ database: String = "postgres",
        user: String = "postgres"
    ) throws -> Configuration {
        var configuration = try Configuration(
            try url(database, user: user),
            applicationName: "tests"
        )
        // Bounds are for what hangs; a test of one sets its own.
        configuration.connectTimeout = .seconds(60)
        configuration.statementTimeout = .seconds(120)
        configuration.cancelGrace = .seconds(60)
        return configuration
    }

    /// A fresh database, copied from the template of this name, which `prepare` fills the first time it is asked for.
    public func database(
        template: String = "empty",
        prepare: (Configuration) async throws -> Void = { _ in }
    ) async throws -> Configuration {
        try configuration(try await databaseName(template: template, prepare: prepare))
    }

    /// The name of a fresh database, for tests that connect to it as several users.
    public func databaseName(
        template: String = "empty",
        prepare: (Configuration) async throws -> Void = { _ in }
    ) async throws -> String {
        let logger = Logger(label: "tests", factory: { _ in SwiftLogNoOpLogHandler() })
        let admin = try await Connection.connect(try configuration(), logger: logger)
        // Copies of one template exclude each other, and its making.
        await copying.lock()
        defer { copying.unlock() }
        let original = Identifier("template_\(template)")
        if !state.withLock({ $0.templates.contains(template) }) {
            try await admin.query("create database \(original)")
            try await prepare(try configuration(original.name))
            // CREATE DATABASE … TEMPLATE wants nobody in there; a connection that was closed may take a moment.
            try await admin.query("alter database \(original) allow_connections false")
            try await admin.query(
                """
                select pg_terminate_backend(pid, 60000) from pg_stat_activity
                where datname = \(original.name)
                """
            )
            state.withLock { _ = $0.templates.insert(template) }
        }
        let name = state.withLock { state in
            state.count += 1
            return "test_\(state.count)"
        }
        try await admin.query("create database \(Identifier(name)) template \(original)")
        return name
    }

    /// Runs a program and waits for it; its output goes to ours.
    @discardableResult
    fileprivate static func run(_ arguments: [String]) -> Int32 {
        guard let child = spawn(arguments, input: nil) else { return -1 }
        return wait(child)
    }

    fileprivate static func wait(_ child: pid_t) -> Int32 {
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        // Exit code, or 128 + signal as in the shell.
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + status & 0x7f
    }

    fileprivate static func spawn(_ arguments: [String], input: Int32?) -> pid_t? {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let input { posix_spawn_file_actions_adddup2(&actions, input, 0) }
        var child = pid_t()
        let strings = arguments.map { strdup($0) } + [nil]
        defer { strings.forEach { free($0) } }
        let code = posix_spawnp(&child, arguments[0], &actions, nil, strings, environ)
        return code == 0 ? child : nil
    }
}

/// A process that outlives this one just long enough to clean up.
private final class Watchdog: Sendable {
    private struct State {
        var pipe: Int32?
        var child: pid_t?
    }

    private let state: Mutex<State>

    private static let all = Mutex<[Watchdog]>([])

    private static let atExit: Void = {
        atexit {
            // Told all at once, then waited for.
            let all = Watchdog.all.withLock { $0 }
            for watchdog in all { watchdog.release() }
            for watchdog in all { watchdog.wait() }
        }
    }()

    init(of folder: String, _ script: String) {
        _ = Self.atExit
        var ends: [Int32] = [0, 0]
        // Close-on-exec from the start: a server that inherited our end would keep the watchdog waiting for itself.
        // (A pipe would do, but only this call sets the flag without a moment in between.)
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        precondition(socketpair(AF_UNIX, type, 0, &ends) == 0, "no pipe could be made")
        guard
            let child = TestCluster.spawn(
                // A session of its own: what kills our process group does not reach it.
                ["setsid", "bash", "-c", #"read -r _; "$1" discard "$0""#, folder, script],
                input: ends[0]
            )
        else { preconditionFailure("no watchdog could be started") }
        close(ends[0])
        state = Mutex(State(pipe: ends[1], child: child))
        Self.all.withLock { $0.append(self) }
    }

    /// Lets it clean up now.
    func release() {
        let pipe = state.withLock { state in
            defer { state.pipe = nil }
            return state.pipe
        }
        if let pipe { close(pipe) }
    }

    /// Waits for its end.
    func wait() {
        let child = state.withLock { state in
            defer { state.child = nil }
            return state.child
        }
        if let child { _ = TestCluster.wait(child) }
    }
}

extension PoolLimits {
    /// Bounds under which nothing depends on how fast this machine is: the default gives up after the second that a
    /// durable record may take.
    public static let patient = {
        var limits = PoolLimits()
        limits.waitTimeout = .seconds(600)
        return limits
    }()
}

/// One task at a time, across suspensions.
private final class AsyncLock: Sendable {
    private struct State {
        var isLocked = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func lock() async {
        await withCheckedContinuation { continuation in
            let isMine = state.withLock { state in
                if state.isLocked { state.waiting.append(continuation) }
                defer { state.isLocked = true }
                return !state.isLocked
            }
            if isMine { continuation.resume() }
        }
    }

    func unlock() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
            state.isLocked = false
            return nil
        }
        next?.resume()
    }
}
