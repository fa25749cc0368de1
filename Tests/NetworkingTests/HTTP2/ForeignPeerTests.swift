import Foundation
import NIOCore
import Testing

@testable import Networking

/// The same wire, seen by others: Python's grpcio on either side, and nghttp2's own clients.
///
/// `OSTIARY_PYTHON` names an interpreter that can import grpcio. What is not installed is skipped,
/// but not when `CI=true`: there everything must run.
@Suite(.timeLimit(.minutes(5)))
struct ForeignPeerTests {
    static let python = ProcessInfo.processInfo.environment["OSTIARY_PYTHON"] ?? "python3"
    static let mustRun = ProcessInfo.processInfo.environment["CI"] == "true"

    @Sendable static func hasPython() async -> Bool {
        if mustRun { return true }
        return await Tool.succeeds(python, ["-c", "import grpc"])
    }

    @Sendable static func hasTool(_ name: String) async -> Bool {
        if mustRun { return true }
        return await Tool.succeeds(name, ["--version"])
    }

    @Test(.enabled("grpcio cannot be imported; see OSTIARY_PYTHON") { await hasPython() })
    func `grpcio calls our server`() async throws {
        try await withListener(echoServer()) { listener in
            let output = try await Tool.run(
                Self.python,
                ["-c", Self.client, String(listener.port)]
            )
            #expect(output.hasSuffix("all good\n"), "\(output)")
        }
    }

    @Test(.enabled("grpcio cannot be imported; see OSTIARY_PYTHON") { await hasPython() })
    func `our client calls grpcio`() async throws {
        let peer = try Tool.Peer(Self.python, ["-u", "-c", Self.server])
        defer { peer.stop() }
        let port = try #require(await peer.firstLine().flatMap { Int($0) })
        let connection = try await HTTP2ClientConnection.connect(
            host: "127.0.0.1",
            port: port,
            on: loops
        )
        let client = GRPCClient(connection, authority: "localhost", scheme: "http")
        let large = [UInt8](repeating: 5, count: 3_000_000)
        let answers = try await [
            client.unary("/t.S/Unary", [1, 2]), client.unary("/t.S/Unary", large),
        ]
        #expect(answers == [[1, 2], large])
        await #expect(throws: GRPCStatus(.permissionDenied, "naïve: 100%")) {
            try await client.unary("/t.S/Refuse", [])
        }
        await #expect(throws: GRPCStatus.self) { try await client.unary("/t.S/Nothing", []) }
        // Either side may be the first to say so.
        let late = await #expect(throws: GRPCStatus.self) {
            try await client.unary("/t.S/Hang", [], timeout: .milliseconds(50))
        }
        #expect(late?.code == .deadlineExceeded)
        let call = try await client.bidirectional("/t.S/Echo")
        for index in 0..<500 {
            try await call.send([UInt8](repeating: 1, count: index))
            #expect(try await call.nextMessage()?.count == index)
        }
        try await call.finish()
        #expect(try await call.nextMessage() == nil)
        await connection.close()
    }

    @Test(.enabled("nghttp is not installed (package nghttp2-client)") { await hasTool("nghttp") })
    func `nghttp reads our trailers`() async throws {
        try await withListener(echoServer()) { listener in
            try await Tool.withFile([0, 0, 0, 0, 2, 104, 105]) { file in
                let output = try await Tool.run(
                    "nghttp",
                    ["-v", "-H:method: POST", "-Hcontent-type: application/grpc", "-d", file]
                        + ["http://127.0.0.1:\(listener.port)/t.S/Unary"]
                )
                #expect(output.contains(":status: 200"))
                #expect(output.contains("grpc-status: 0"))
                #expect(!output.contains("RST_STREAM"))
            }
        }
    }

    @Test(.enabled("h2load is not installed (package nghttp2-client)") { await hasTool("h2load") })
    func `h2load gets an answer to every request`() async throws {
        try await withListener(echoServer()) { listener in
            try await Tool.withFile([0, 0, 0, 0, 2, 104, 105]) { file in
                let output = try await Tool.run(
                    "h2load",
                    [
                        "-n", "2000", "-c", "4", "-m", "50", "-Hcontent-type: application/grpc",
                        "-d", file,
                    ]
                        + ["http://127.0.0.1:\(listener.port)/t.S/Unary"]
                )
                #expect(output.contains("2000 succeeded, 0 failed, 0 errored"), "\(output)")
                #expect(output.contains("2000 2xx"))
            }
        }
    }

    static let client = """
        import grpc, sys
        channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])
        unary = channel.unary_unary("/t.S/Unary")
        assert unary(b"abc") == b"abc"
        assert unary(b"") == b""
        assert unary(bytes(3_000_000)) == bytes(3_000_000)
        assert list(channel.stream_stream("/t.S/Echo")(iter([b"x" * n for n in range(2000)]))) \\
            == [b"x" * n for n in range(2000)]
        def code(call, *arguments, **options):
            try:
                call(*arguments, **options)
            except grpc.RpcError as error:
                return error.code(), error.details()
        assert code(channel.unary_unary("/t.S/Refuse"), b"") \\
            == (grpc.StatusCode.PERMISSION_DENIED, "na\\u00efve: 100%")
        assert code(channel.unary_unary("/t.S/Nothing"), b"")[0] == grpc.StatusCode.UNIMPLEMENTED
        assert code(unary, b"abc", compression=grpc.Compression.Gzip)[0] == grpc.StatusCode.UNIMPLEMENTED
        assert code(unary, bytes(5_000_000))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        import threading
        hold = threading.Event()
        def never():
            hold.wait()
            yield b""
        assert code(channel.stream_unary("/t.S/Unary"), never(), timeout=0.05)[0] \\
            == grpc.StatusCode.DEADLINE_EXCEEDED
        hold.set()
        assert unary(b"still there") == b"still there"
        print("all good")
        """

    static let server = """
        import grpc, threading
        from concurrent import futures
        def refuse(request, context):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "na\\u00efve: 100%")
        def hang(request, context):
            done = threading.Event()
            context.add_callback(done.set)
            done.wait()
            return b""
        handlers = grpc.method_handlers_generic_handler("t.S", {
            "Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
            "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
            "Hang": grpc.unary_unary_rpc_method_handler(hang),
            "Echo": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
        })
        server = grpc.server(futures.ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((handlers,))
        print(server.add_insecure_port("127.0.0.1:0"))
        server.start()
        server.wait_for_termination()
        """
}

/// Other people's programs.
enum Tool {
    static func succeeds(_ name: String, _ arguments: [String]) async -> Bool {
        (try? await run(name, arguments)) != nil
    }

    struct Failed: Error {
        let output: String
    }

    /// Runs to the end; what it printed on either stream.
    ///
    /// The output goes through a file: the end of a pipe is seen late or never when a child that
    /// was started at the same time has inherited the pipe's other end.
    static func run(_ name: String, _ arguments: [String]) async throws -> String {
        try await withFile([]) { file in
            let process = make(name, arguments)
            let output = try FileHandle(forWritingTo: URL(filePath: file))
            process.standardOutput = output
            process.standardError = output
            let status = try await withCheckedThrowingContinuation { continuation in
                process.terminationHandler = {
                    continuation.resume(returning: $0.terminationStatus)
                }
                do { try process.run() } catch { continuation.resume(throwing: error) }
            }
            try output.close()
            let text = String(decoding: try Data(contentsOf: URL(filePath: file)), as: UTF8.self)
            if status != 0 { throw Failed(output: text) }
            return text
        }
    }

    static func withFile<Value>(
        _ bytes: [UInt8],
        _ body: (String) async throws -> Value
    ) async throws -> Value {
        let name = "ostiary-\(UUID().uuidString)"
        let file = FileManager.default.temporaryDirectory.appending(path: name)
        try Data(bytes).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        return try await body(file.path)
    }

    /// A program that prints a line when it is ready, and runs until it is stopped.
    final class Peer: Sendable {
        private let output: AsyncStream<[UInt8]>
        private let process: Process

        init(_ name: String, _ arguments: [String]) throws {
            process = make(name, arguments)
            let pipe = Pipe()
            process.standardOutput = pipe
            let (output, continuation) = AsyncStream.makeStream(of: [UInt8].self)
            self.output = output
            pipe.fileHandleForReading.readabilityHandler = { handle in
                let data = handle.availableData
                if data.isEmpty {
                    handle.readabilityHandler = nil
                    continuation.finish()
                } else {
                    continuation.yield(Array(data))
                }
            }
            try process.run()
        }

        func firstLine() async -> String? {
            var line: [UInt8] = []
            for await part in output {
                line += part
                if let end = line.firstIndex(of: 10) {
                    return String(decoding: line[..<end], as: UTF8.self)
                }
            }
            return nil
        }

        func stop() {
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        }
    }

    fileprivate static func make(_ name: String, _ arguments: [String]) -> Process {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [name] + arguments
        process.standardInput = FileHandle.nullDevice
        return process
    }
}
