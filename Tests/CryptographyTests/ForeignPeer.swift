import Foundation
import Testing

/// Other implementations on this machine, as witnesses: the `openssl` command and Python's
/// `cryptography`.
///
/// Where one is missing its tests are skipped and counted as such; with `CI=true` they run and fail
/// instead.
enum ForeignPeer {
    static let hasOpenSSL = isRequired || (try? run("openssl", ["version"]))?.status == 0
    static let hasPythonCryptography =
        isRequired || (try? run("python3", ["-c", "import cryptography"]))?.status == 0

    private static let isRequired = ProcessInfo.processInfo.environment["CI"] == "true"

    struct Outcome: Sendable {
        let status: Int32
        let output: String
    }

    /// Runs a program to its end and returns what it printed, on both streams.
    static func run(_ name: String, _ arguments: [String], in folder: URL? = nil) throws -> Outcome
    {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [name] + arguments
        process.currentDirectoryURL = folder
        process.standardInput = FileHandle.nullDevice
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let printed = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return Outcome(
            status: process.terminationStatus,
            output: String(decoding: printed, as: UTF8.self)
        )
    }

    /// A folder of its own that is gone afterwards.
    static func withFolder(_ body: (URL) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("ostiary-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try body(folder)
    }
}

extension URL {
    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: appendingPathComponent(name))
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: appendingPathComponent(name))
    }

    func read(_ name: String) throws -> [UInt8] {
        try Array(Data(contentsOf: appendingPathComponent(name)))
    }
}
