import Foundation
import GatewayPolicy
import JSON
import Testing

/// The worked model and the published schemas, which live beside the checkout and are not part of it.
enum SharedPolicyData {
    /// The bytes of a file under `data`, unpacked; nothing, with a visible note, if the data is absent.
    ///
    /// Where `CI` is set absence is a failure: a gate that silently skips is none.
    static func bytes(_ path: String) throws -> [UInt8]? {
        let file = folder?.appendingPathComponent("data").appendingPathComponent(path)
        guard let file, FileManager.default.fileExists(atPath: file.path) else {
            note("skipped: 1 data file is absent: \(path)")
            if ProcessInfo.processInfo.environment["CI"] != nil {
                Issue.record("data is absent: \(path)")
            }
            return nil
        }
        guard path.hasSuffix(".gz") else { return Array(try Data(contentsOf: file)) }
        let gzip = Process()
        gzip.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        gzip.arguments = ["gzip", "-dc", file.path]
        let output = Pipe()
        gzip.standardOutput = output
        try gzip.run()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        gzip.waitUntilExit()
        try #require(gzip.terminationStatus == 0)
        return Array(data)
    }

    static func text(_ path: String) throws -> Text? {
        try bytes(path).map { try #require(Text(validating: $0)) }
    }

    static func json(_ bytes: [UInt8]) throws -> JSONValue {
        try JSONDocument(parsing: bytes, limits: JSONLimits(bytesMax: 64 << 20, depthMax: 256)).root
    }

    static func note(_ text: String) {
        FileHandle.standardError.write(Data("[policy model] \(text)\n".utf8))
    }

    private static let folder: URL? = {
        if let path = ProcessInfo.processInfo.environment["OSTIARY_SHARED"] {
            return URL(fileURLWithPath: path)
        }
        var folder = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        while folder.path != "/" {
            folder.deleteLastPathComponent()
            let candidate = folder.appendingPathComponent("shared")
            if FileManager.default.fileExists(atPath: candidate.appendingPathComponent("data").path)
            {
                return candidate
            }
        }
        return nil
    }()
}
