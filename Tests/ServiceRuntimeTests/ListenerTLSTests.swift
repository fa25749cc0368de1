import Cryptography
import Foundation
import Logging
import Networking
import ServiceLifecycle
import Testing

@testable import ServiceRuntime

@Suite struct ListenerTLSTests {
    /// A folder with a certificate that is its own authority.
    private struct Pair {
        let folder: URL
        var files: TLSFiles {
            TLSFiles(
                certificate: folder.appending(path: "chain.pem").path,
                key: folder.appending(path: "key.pem").path
            )
        }

        init() throws {
            folder = FileManager.default.temporaryDirectory
                .appending(path: "ostiary-tls-\(UUID().uuidString)")
            try FileManager.default.createDirectory(
                at: folder,
                withIntermediateDirectories: true
            )
        }

        func write(certificate: Bool = true, key: Bool = true) throws {
            let authority = try CertificateAuthority.create(
                commonName: "test \(UUID().uuidString)",
                notBefore: 0,
                notAfter: 4_000_000_000
            )
            if certificate {
                try Files.write(
                    Array(authority.certificate.pem.utf8),
                    to: files.certificate,
                    orThrow: Failure.init
                )
            }
            if key {
                let pem = try authority.keyPEM().withUnsafeBytes { Array($0) }
                try Files.write(pem, to: files.key, orThrow: Failure.init)
            }
        }

        struct Failure: Error {
            let reason: String
        }
    }

    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test func `one file without the other stops the start`() throws {
        for (variable, missing) in [
            ("OSTIARY_TLS_KEY_FILE", "OSTIARY_TLS_CERTIFICATE_FILE"),
            ("OSTIARY_TLS_CERTIFICATE_FILE", "OSTIARY_TLS_KEY_FILE"),
        ] {
            let error = #expect(throws: SettingsError.self) {
                _ = try TLSFiles(SettingsReader(environment: [variable: "/x"]))
            }
            #expect(error?.description.hasPrefix(missing + ": is not set") == true)
        }
        #expect(try TLSFiles(SettingsReader(environment: [:])) == nil)
    }

    @Test func `a key that others may read, or of another certificate, is refused`() throws {
        let pair = try Pair()
        defer { try? FileManager.default.removeItem(at: pair.folder) }
        try pair.write()
        _ = try pair.files.context(applicationProtocols: [])
        chmod(pair.files.key, 0o640)
        let error = #expect(throws: SettingsError.self) {
            _ = try pair.files.context(applicationProtocols: [])
        }
        #expect(error?.description.contains("others may read") == true)
        try pair.write(certificate: false)
        #expect(throws: SettingsError.self) {
            _ = try pair.files.context(applicationProtocols: [])
        }
    }

    @Test func `a renewed pair is used without a restart, half of one is not`() async throws {
        let pair = try Pair()
        defer { try? FileManager.default.removeItem(at: pair.folder) }
        try pair.write()
        let (lines, line) = AsyncStream<String>.makeStream()
        let telling = Logger(label: "test") { _ in TellingHandler(line: line) }
        let tls = try ListenerTLS(pair.files, pause: .milliseconds(5), logger: telling)
        let first = tls.source.current
        let group = ServiceGroup(services: [tls], logger: logger)
        async let running: Void = group.run()
        try pair.write(key: false)
        for await line in lines where line.contains("is not used") { break }
        #expect(tls.source.current === first)
        try pair.write()
        while tls.source.current === first { try await Task.sleep(for: .milliseconds(5)) }
        await group.triggerGracefulShutdown()
        try await running
    }
}

/// Tells a test what is logged.
private struct TellingHandler: LogHandler {
    let line: AsyncStream<String>.Continuation
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { line.yield("\(event.message)") }
}
