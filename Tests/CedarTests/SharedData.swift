import Compression
import Foundation
import JSON
import Testing

/// The published conformance data, which lives beside the checkout and is not part of it.
enum SharedData {
    /// The folder from `OSTIARY_SHARED`, or the nearest folder named `shared` above this file.
    static let folder: URL? = {
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

    /// The bytes of a file under `data`, unpacked; nothing, with a visible note, if the data is
    /// absent.
    ///
    /// Where `CI` is set absence is a failure: a gate that silently skips is none.
    static func bytes(_ path: String) throws -> [UInt8]? {
        let file = folder?.appendingPathComponent("data").appendingPathComponent(path)
        guard let file, FileManager.default.fileExists(atPath: file.path) else {
            note("skipped 1 data file that is absent: \(path)")
            if ProcessInfo.processInfo.environment["CI"] != nil {
                Issue.record("conformance data is absent: \(path)")
            }
            return nil
        }
        let bytes = Array(try Data(contentsOf: file))
        return Gzip.isGzip(bytes) ? try Gzip.decompress(bytes, bytesMax: 256 << 20) : bytes
    }

    /// The records of a file with one JSON object per line.
    static func records(_ path: String, every step: Int = 1) throws -> [JSONValue]? {
        guard let bytes = try bytes(path) else { return nil }
        let lines = bytes.split(separator: UInt8(ascii: "\n"))
        return try stride(from: 0, to: lines.count, by: step).map { try json(Array(lines[$0])) }
    }

    static func json(_ bytes: [UInt8]) throws -> JSONValue {
        let limits = JSONLimits(bytesMax: 256 << 20, depthMax: 512)
        return try JSONDocument(parsing: bytes, limits: limits).root
    }

    static func note(_ text: String) {
        FileHandle.standardError.write(Data("[conformance] \(text)\n".utf8))
    }

    static var isRelease: Bool {
        #if DEBUG
        false
        #else
        true
        #endif
    }
}

/// What a run over a file of conformance data found.
struct Count {
    private(set) var passed = 0
    private(set) var failed = 0
    private var first: [String] = []

    mutating func check(_ condition: Bool, _ name: @autoclosure () -> String) {
        if condition {
            passed += 1
        } else {
            failed += 1
            if first.count < 10 { first.append(name()) }
        }
    }

    func report(_ file: String) {
        SharedData.note("\(file): checks passed \(passed), failed \(failed)")
        #expect(failed == 0, "\(first.joined(separator: "\n"))")
    }
}
