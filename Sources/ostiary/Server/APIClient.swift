import ArgumentParser
import Cryptography
import Glibc
import JSON
import NIOCore
import Networking

/// The REST interface of a control plane, spoken with as one token's holder.
///
/// Where it is and who asks comes from the environment, never from arguments, which everybody on the machine can read:
/// `OSTIARY_API_URL`, `OSTIARY_API_TOKEN_FILE`, and `OSTIARY_CA_FILE` for an authority of one's own.
struct APIClient: Sendable {
    /// The largest answer, in bytes: the documents of the largest release, with room.
    static let answerBytesMax = 64 << 20
    /// How long one exchange may take.
    static let timeout: Duration = .seconds(60)

    private let location: HTTPLocation
    private let token: String
    private let client: HTTPClient
    private let executor: LoopExecutor

    /// Why the server did not do what it was asked; printed as it is.
    struct Failure: Error, CustomStringConvertible {
        let description: String
        /// The kind of problem, `policy-rejected`, if the server said one.
        var problem: String?
    }

    /// Does `body` with a client, whose connections end with it.
    ///
    /// What the server refuses is printed with every place it names, and ends the command with exit code 1.
    static func run(_ body: (APIClient) async throws -> Void) async throws {
        let loops = EventLoops(count: 1)
        let result: Result<Void, any Error>
        do {
            let client = try APIClient(loops: loops)
            result = await Result { try await body(client) }
            await client.client.shutdown()
        } catch {
            result = .failure(error)
        }
        try await loops.shutdown()
        do {
            try result.get()
        } catch let failure as Failure {
            Console.words("ostiary: \(failure)")
            throw ExitCode.failure
        }
    }

    private init(loops: EventLoops) throws {
        guard let url = Self.environment("OSTIARY_API_URL") else {
            throw Failure(
                description:
                    "OSTIARY_API_URL is not set: where the control plane's REST interface is"
            )
        }
        guard let location = HTTPLocation(url) else {
            throw Failure(description: "OSTIARY_API_URL is not a plain http or https URL")
        }
        guard let path = Self.environment("OSTIARY_API_TOKEN_FILE") else {
            throw Failure(
                description: "OSTIARY_API_TOKEN_FILE is not set: a file with an API token, "
                    + "from ostiary-control api-token"
            )
        }
        self.location = location
        token = try Self.token(in: path)
        executor = loops.executors[0]
        var configuration = HTTPClient.Configuration()
        configuration.limits.bodyBytesMax = Self.answerBytesMax
        if location.origin.isSecure {
            configuration.tls = try TLSContext(
                TLSContext.Configuration(
                    role: .client,
                    trust: try Self.trust(),
                    applicationProtocols: ["http/1.1"]
                )
            )
        } else {
            // In plain text a token goes no further than this machine.
            configuration.addressPolicy = { NetworkReach($0) == .loopback }
        }
        client = HTTPClient(loops: loops, configuration: configuration)
    }

    private static func environment(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }

    private static func token(in path: String) throws -> String {
        do throws(InputFile.Failure) {
            var bytes = try InputFile(path: path).read()
            while bytes.last == 0x0A || bytes.last == 0x0D { bytes.removeLast() }
            guard !bytes.isEmpty, bytes.allSatisfy({ (0x21...0x7E).contains($0) }) else {
                throw InputFile.Failure(description: "\(path): holds no token")
            }
            return String(decoding: bytes, as: UTF8.self)
        } catch {
            throw Failure(description: "OSTIARY_API_TOKEN_FILE: \(error)")
        }
    }

    private static func trust() throws -> TLSTrust {
        guard let path = environment("OSTIARY_CA_FILE") else { return .system }
        do {
            return .roots([try Certificate(pem: InputFile(path: path).read())])
        } catch {
            throw Failure(description: "OSTIARY_CA_FILE: \(error)")
        }
    }

    // MARK: - Requests

    /// A resource.
    ///
    /// - Parameter path: below `/v1`, encoded, with its query.
    func get(_ path: String) async throws -> JSONValue {
        try await send(.get, path, body: nil)
    }

    /// Makes something; sent again under the same key it would be made once.
    func post(_ path: String, _ body: JSONFragment) async throws -> JSONValue {
        try await send(.post, path, body: body.bytes)
    }

    private func send(
        _ method: HTTPMethod,
        _ path: String,
        body: [UInt8]?
    ) async throws -> JSONValue {
        let base = location.target == "/" ? "" : location.target
        let target = HTTPFieldValue("\(base)/v1/\(path)")
        let (status, bytes): (Int, [UInt8])
        do {
            (status, bytes) = try await LoopActor(executor).run { actor in
                let upstream = client.upstream(location.origin)
                var request = upstream.request(method, target, on: actor.executor)
                request.head.add("accept", "application/json")
                request.head.add("authorization", "Bearer \(token)")
                if let body {
                    request.head.add("content-type", "application/json")
                    request.head.add("idempotency-key", Hex.encode(SecureRandom.bytes(16)))
                    request.body = ByteBuffer(bytes: body)
                }
                request.timeout = Self.timeout
                var response = try await upstream.send(request, on: actor.executor)
                let status = response.head.status
                var answer = try await response.collect(bytesMax: Self.answerBytesMax)
                return (status, answer.readBytes(length: answer.readableBytes) ?? [])
            }
        } catch let error as HTTPClientError {
            throw Failure(description: "\(location.origin.host):\(location.origin.port): \(error)")
        }
        let limits = JSONLimits(bytesMax: Self.answerBytesMax)
        guard let answer = try? JSONDocument(parsing: bytes, limits: limits).root else {
            throw Failure(description: "the answer is not JSON, status \(status): is it Ostiary?")
        }
        guard (200...299).contains(status) else { throw Failure(problem: answer, status) }
        return answer
    }

    /// The namespace that is meant: the one that is named, or the only one that the token reaches.
    func namespace(_ named: String?) async throws -> String {
        if let named { return named }
        if let named = Self.environment("OSTIARY_NAMESPACE") { return named }
        let reached = try await get("namespaces?limit=2")["items"]?.elements.compactMap {
            $0["name"]?.string?.string
        }
        guard let reached, reached.count == 1 else {
            throw Failure(
                description: "which namespace? say --namespace, or set OSTIARY_NAMESPACE"
            )
        }
        return reached[0]
    }
}

extension APIClient.Failure {
    /// A refusal as RFC 9457 describes it: the sentence, each place, and the request's name in control's log.
    fileprivate init(problem: JSONValue, _ status: Int) {
        var lines = [problem["title"]?.string?.string ?? "refused with status \(status)"]
        if let detail = problem["detail"]?.string?.string, detail != "see errors" {
            lines[0] += ": \(detail)"
        }
        for error in problem["errors"]?.elements.map({ $0 }) ?? [] {
            var place = error["document"]?.string?.string ?? error["pointer"]?.string?.string ?? ""
            if let line = error["line"]?.int64, let column = error["column"]?.int64 {
                place += ":\(line):\(column)"
            }
            let words = error["detail"]?.string?.string ?? error["code"]?.string?.string ?? ""
            lines.append("  \(place): \(words)")
        }
        if let request = problem["requestId"]?.string?.string { lines.append("  (\(request))") }
        let type = problem["type"]?.string?.string.split(separator: "/").last.map(String.init)
        self.init(description: lines.joined(separator: "\n"), problem: type)
    }
}

extension Result where Failure == any Error {
    fileprivate init(_ body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}
