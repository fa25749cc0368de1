import Foundation
import Logging
import Networking
import ServiceLifecycle
import Synchronization
import Testing

@testable import ServiceRuntime

@Suite struct HealthTests {
    @Test func `one thing that is wrong makes the process not ready, and says what`() async {
        let health = Health(
            liveness: [],
            readiness: [
                HealthCheck("lease") { nil }, HealthCheck("link") { "there is no stream" },
            ],
            patience: .seconds(600)
        )
        let report = await health.ready()
        #expect(!report.isWell)
        #expect(
            String(decoding: AdminListener.document(report, "ready"), as: UTF8.self)
                == #"{"status":"not ready","checks":[{"name":"lease","status":"pass"},"#
                + #"{"name":"link","status":"fail","reason":"there is no stream"},"#
                + #"{"name":"draining","status":"pass"}]}"# + "\n"
        )
        #expect(await health.live().isWell)
    }

    @Test func `a process that is stopping is not ready, and lives`() async {
        let health = Health(
            liveness: [HealthCheck("x") { nil }],
            readiness: [],
            patience: .seconds(600)
        )
        #expect(await health.ready().isWell)
        health.beginDraining()
        #expect(await health.ready().checks.map(\.problem) == ["the process is stopping"])
        #expect(await health.live().isWell)
    }

    @Test func `a check that hangs is a problem, not a hang`() async {
        let health = Health(
            liveness: [
                HealthCheck("stuck") {
                    await withCheckedContinuation {
                        (forever: CheckedContinuation<String?, Never>) in
                        held.withLock { $0 = forever }
                    }
                }
            ],
            readiness: [],
            patience: .milliseconds(10)
        )
        #expect(await health.live().checks.map(\.problem) == ["did not answer in time"])
        held.withLock { $0?.resume(returning: nil) }
    }

    @Test func `the admin listener answers probes and scrapes, and nothing else`() async throws {
        let portFile = FileManager.default.temporaryDirectory
            .appending(path: "ostiary-admin-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: portFile) }
        var settings = AdminSettings()
        settings.portFile = portFile
        let isWell = Mutex(true)
        let health = Health(
            liveness: [],
            readiness: [HealthCheck("database") { isWell.withLock { $0 } ? nil : "away" }],
            patience: .seconds(600)
        )
        let exporter = PrometheusExporter()
        ProcessMetrics.install(in: exporter)
        let listener = AdminListener(
            settings,
            health: health,
            exporter: exporter,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let group = ServiceGroup(
            services: [listener],
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        async let running: Void = group.run()
        var port: String?
        while port == nil {
            port = (try? String(contentsOfFile: portFile, encoding: .utf8))?
                .trimmingCharacters(in: .newlines)
            try await Task.sleep(for: .milliseconds(5))
        }
        let url = "http://127.0.0.1:\(port ?? "")"
        #expect(try curl("\(url)/livez").status == 200)
        #expect(try curl("\(url)/readyz").status == 200)
        isWell.withLock { $0 = false }
        let away = try curl("\(url)/readyz")
        #expect(away.status == 503)
        #expect(away.body.contains(#""reason":"away""#))
        #expect(try curl("\(url)/metrics").body.contains("\nprocess_uptime_seconds "))
        #expect(try curl("\(url)/").status == 404)
        #expect(try curl("-X", "POST", "\(url)/readyz").status == 405)
        #expect(try curl("-d", "x", "\(url)/readyz").status == 413)
        await group.triggerGracefulShutdown()
        try await running
    }

    /// curl as a client that nobody here wrote.
    private func curl(_ arguments: String...) throws -> (status: Int, body: String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            ["curl", "--silent", "--max-time", "60", "-w", "%{http_code}"] + arguments
        process.standardOutput = output
        try process.run()
        let text = String(
            decoding: output.fileHandleForReading.readDataToEndOfFile(),
            as: UTF8.self
        )
        process.waitUntilExit()
        return (Int(text.suffix(3)) ?? 0, String(text.dropLast(3)))
    }
}

private let held = Mutex<CheckedContinuation<String?, Never>?>(nil)
