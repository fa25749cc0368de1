import AdminAPI
import ControlStore
import CoreMetrics
import Cryptography
import GatewayModel
import HTTPTypes
import HummingbirdCore
import JSON
import Logging
import NIOCore
import Postgres
import ServiceRuntime

/// One request of the REST interface, from its head to its answer.
///
/// Read top to bottom: this is the order of checks.
///
/// A request is one transaction: token, namespace, change, administrative record and kept answer are of one moment,
/// and a request that is refused leaves nothing.
struct RESTService: Sendable {
    let handlers: RESTHandlers
    let logger: Logger
    private let routes = RouteTable()
    private let document = OpenAPIDocument.bytes()

    init(_ handlers: RESTHandlers, logger: Logger) {
        self.handlers = handlers
        self.logger = logger
    }

    /// Thrown to end a connection whose request was not read to its end.
    private struct Unread: Error {}

    /// Answers one request of Hummingbird's, whose writer lives where Hummingbird calls.
    @concurrent
    func respond(to request: Request, _ writer: consuming ResponseWriter) async throws {
        let began = SystemClock.monotonic()
        let id = Text("req_\(Base64.encode(SecureRandom.bytes(15), .url))")
        var fields = HTTPFields()
        fields[.requestID] = id.string
        fields[.cacheControl] = "no-store"
        var isUnread = false
        var errorType: String?
        let answer: RESTAnswer
        do {
            answer = try await self.answer(to: request, id: id)
            if answer.body != nil { fields[.contentType] = "application/json" }
        } catch {
            let problem = Problem(refusing: error)
            log(problem, error, request, id)
            isUnread = problem.type == .bodyTooLarge
            errorType = problem.type.rawValue
            let path = request.head.path ?? ""
            let instance = Text(path.prefix { $0 != "?" })
            answer = RESTAnswer(
                status: problem.type.status,
                body: problem.json(instance: instance, requestID: id)
            )
            fields[.contentType] = "application/problem+json"
            switch problem.type {
            case .unauthenticated: fields[.wwwAuthenticate] = "Bearer realm=\"ostiary\""
            case .methodNotAllowed: fields[.allow] = problem.detail
            case .unavailable, .idempotencyKeyRunning: fields[.retryAfter] = "1"
            default: break
            }
        }
        count(request, answer.status, errorType, since: began)
        fields[.eTag] = answer.etag?.string
        fields[.location] = answer.location?.string
        if isUnread { fields[.connection] = "close" }
        let body = answer.body ?? []
        if answer.status != 204 { fields[.contentLength] = "\(body.count)" }
        let head = HTTPResponse(status: .init(code: answer.status), headerFields: fields)
        if body.isEmpty {
            try await writer.writeResponse(head)
        } else {
            try await writer.write(response: head, body: .init(byteBuffer: ByteBuffer(bytes: body)))
        }
        if isUnread { throw Unread() }
    }

    private func answer(to request: Request, id: Text) async throws -> RESTAnswer {
        let target = request.head.path ?? ""
        guard target.utf8.count <= RESTLimits.targetBytesMax else {
            Limit.restTargetBytes.reached()
            throw Problem(.parameterInvalid, "the target is longer than 8192 bytes")
        }
        let path = target.prefix { $0 != "?" }
        let operation: Operation
        let parameters: [Text]
        switch routes.match(request.method.rawValue, String(path)) {
        case .found(let found, let its): (operation, parameters) = (found, its)
        case .otherMethods(let methods):
            throw Problem(.methodNotAllowed, methods.joined(separator: ", "))
        case .nothing: throw Problem(.notFound)
        }
        if operation.access == .open { return RESTAnswer(status: 200, body: document) }

        let token = try Self.bearerToken(request.headers)
        let store = handlers.store
        let known = try await store.transaction { try await store.valid(token, in: $0) }
        guard let caller = known else { throw Problem(.unauthenticated) }
        if let refusal = RESTAuthorization.refusal(
            of: operation,
            parameters: parameters,
            role: caller.role,
            reach: caller.namespace?.name
        ) {
            throw refusal
        }

        let query = try Self.query(target.dropFirst(path.count).dropFirst(), of: operation)
        let ifMatch = request.headers[.ifMatch].map { Text($0) }
        if operation.isConditional, ifMatch == nil { throw Problem(.preconditionRequired) }
        let key = try Self.idempotencyKey(request.headers, of: operation)
        let bytes = try await Self.body(of: request, for: operation)
        var call = RESTCall(
            operation: operation,
            parameters: parameters,
            query: query,
            body: try operation.body.map { try Self.parse(bytes, as: $0) },
            ifMatch: ifMatch,
            caller: caller,
            requestID: id
        )
        call.prepared = try await handlers.prepare(call)
        guard let key else {
            let call = call
            return try await store.transaction { try await handlers.perform(call, in: $0) }
        }
        let replay = Replay(key: key, token: token, caller: caller.id, target: target, body: bytes)
        return try await once(replay, call)
    }

    /// Performs a request once, and answers the same when it is sent again.
    private func once(_ replay: Replay, _ call: RESTCall) async throws -> RESTAnswer {
        let store = handlers.store
        return try await store.transaction { transaction in
            let known = try await store.replay(
                of: replay.caller,
                key: replay.key,
                digest: replay.digest,
                in: transaction
            )
            switch known {
            case .running: throw Problem(.idempotencyKeyRunning)
            case .otherRequest: throw Problem(.idempotencyKeyReused)
            case .answered(let sealed): return try replay.open(sealed)
            case .new:
                let answer = try await handlers.perform(call, in: transaction)
                try await store.keep(
                    try replay.seal(answer),
                    of: replay.caller,
                    key: replay.key,
                    digest: replay.digest,
                    in: transaction
                )
                return answer
            }
        }
    }

    // MARK: - Reading

    /// RFC 6750 §2.1; nothing else carries a token.
    private static func bearerToken(_ fields: HTTPFields) throws(Problem) -> Secret {
        let values = fields[values: .authorization]
        guard values.count == 1, let value = values.first, value.utf8.count <= 512 else {
            throw Problem(.unauthenticated)
        }
        let pieces = value.utf8.split(separator: UInt8(ascii: " "), maxSplits: 1)
        guard pieces.count == 2,
            String(decoding: pieces[0], as: UTF8.self).lowercased() == "bearer"
        else { throw Problem(.unauthenticated) }
        return Secret(Array(pieces[1]))
    }

    private static func query(
        _ text: Substring,
        of operation: Operation
    ) throws(Problem) -> [Text: Text] {
        var query: [Text: Text] = [:]
        var errors: [FieldError] = []
        for pair in text.utf8.split(separator: UInt8(ascii: "&")) {
            let pieces = pair.split(
                separator: UInt8(ascii: "="),
                maxSplits: 1,
                omittingEmptySubsequences: false
            )
            // Forms write a blank as a plus sign, and most clients write queries as forms do.
            let blank = pieces.map { $0.map { $0 == UInt8(ascii: "+") ? 0x20 : $0 } }
            guard let name = PercentCoding.decode(blank[0]),
                let value = PercentCoding.decode(blank.count > 1 ? blank[1] : [])
            else {
                throw Problem(.parameterInvalid, "the query is not well-formed")
            }
            guard
                let parameter = operation.query.first(where: {
                    Text($0.name.description) == name
                })
            else {
                errors.append(.init(name, .unknownMember))
                continue
            }
            if query.updateValue(value, forKey: name) != nil {
                errors.append(.init(name, .duplicate))
            } else if let code = parameter.form.refusal(of: value) {
                errors.append(.init(name, code, parameter.form.summary))
            }
        }
        guard errors.isEmpty else {
            if errors.count >= Schema.errorsMax { Limit.restErrors.reached() }
            throw Problem(
                .parameterInvalid,
                "see errors",
                errors: Array(errors.prefix(Schema.errorsMax))
            )
        }
        return query
    }

    private static func idempotencyKey(
        _ fields: HTTPFields,
        of operation: Operation
    ) throws(Problem) -> Text? {
        guard operation.method == .post else { return nil }
        let values = fields[values: .idempotencyKey]
        guard let value = values.first else { return nil }
        guard values.count == 1, (1...128).contains(value.utf8.count),
            value.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else {
            throw Problem(
                .parameterInvalid,
                "see errors",
                errors: [.init("Idempotency-Key", .form, "1 to 128 visible ASCII characters")]
            )
        }
        return Text(value)
    }

    private static func body(of request: Request, for operation: Operation) async throws -> [UInt8]
    {
        guard operation.body != nil else { return [] }
        let type = request.headers[.contentType]?.lowercased().prefix { $0 != ";" }
        guard type == "application/json" || type == "application/merge-patch+json" else {
            throw Problem(.mediaTypeUnsupported, "Content-Type: application/json")
        }
        var isTooLong =
            request.headers[.contentLength].flatMap { Int($0) } ?? 0 > RESTLimits.bodyBytesMax
        var bytes: [UInt8] = []
        var count = 0
        // One pass: Hummingbird gives a body once. What is too long is read on for a while and forgotten, since closing
        // on unread bytes would reset the connection and take the answer with it.
        for try await piece in request.body {
            count += piece.readableBytes
            isTooLong = isTooLong || count > RESTLimits.bodyBytesMax
            if count > RESTLimits.drainedBytesMax { break }
            if !isTooLong { bytes.append(contentsOf: piece.readableBytesView) }
        }
        guard !isTooLong else {
            Limit.restBodyBytes.reached()
            throw Problem(.bodyTooLarge, "at most \(RESTLimits.bodyBytesMax) bytes")
        }
        return bytes
    }

    private static func parse(_ bytes: [UInt8], as schema: Schema) throws(Problem) -> JSONValue {
        let document: JSONDocument
        do throws(JSONError) {
            // PostgreSQL's text knows no U+0000.
            document = try JSONDocument(
                parsing: bytes,
                limits: JSONLimits(
                    bytesMax: RESTLimits.bodyBytesMax,
                    depthMax: 16,
                    allowsNullCharacter: false
                )
            )
        } catch {
            if error.code.isLimit { Limit.json.reached() }
            let place = error.position(in: bytes)
            throw Problem(
                .bodyMalformed,
                "line \(place.line), column \(place.column): \(error.code.rawValue)"
            )
        }
        let errors = schema.errors(in: document.root)
        if errors.count == Schema.errorsMax { Limit.restErrors.reached() }
        guard errors.isEmpty else { throw Problem(.requestInvalid, "see errors", errors: errors) }
        return document.root
    }

    // MARK: - Telemetry

    /// Routes are those of the table, so that what a caller invents makes no series.
    private func count(
        _ request: Request,
        _ status: Int,
        _ errorType: String?,
        since began: MonotonicInstant
    ) {
        let path = (request.head.path ?? "").prefix { $0 != "?" }
        var (method, route) = ("_OTHER", "_OTHER")
        if case .found(let operation, _) = routes.match(request.method.rawValue, String(path)) {
            (method, route) = (operation.method.rawValue, operation.template)
        }
        var dimensions = [
            ("http.request.method", method), ("http.route", route),
            ("http.response.status_code", "\(status)"),
        ]
        if let errorType { dimensions.append(("error.type", errorType)) }
        Timer(label: "http.server.request.duration", dimensions: dimensions)
            .recordNanoseconds(SystemClock.monotonic().nanoseconds - began.nanoseconds)
    }

    private func log(_ problem: Problem, _ error: any Error, _ request: Request, _ id: Text) {
        let metadata: Logger.Metadata = [
            "ostiary.request.id": "\(id)",
            "http.request.method": "\(request.method.rawValue.prefix(16))",
            "http.response.status_code": "\(problem.type.status)",
            "error.type": "\(problem.type.rawValue)",
        ]
        switch problem.type {
        case .internalError, .unavailable:
            logger.error(
                "an administrative request failed",
                metadata: metadata.merging(["error.message": "\(error)"]) { $1 }
            )
        case .unauthenticated, .forbidden:
            logger.warning("an administrative request was refused", metadata: metadata)
        default:
            logger.debug("an administrative request was refused", metadata: metadata)
        }
    }
}

/// A request under an `Idempotency-Key`: what makes it what it is, and the lock on its answer.
private struct Replay {
    let key: Text
    let caller: Text
    let digest: SHA256.Digest
    private let secret: SHA256.Digest

    init(key: Text, token: Secret, caller: Text, target: String, body: [UInt8]) {
        self.key = key
        self.caller = caller
        var stream = SHA256.stream()
        stream.update("\(target.utf8.count):".utf8)
        stream.update(target.utf8)
        stream.update(body)
        digest = SHA256.finish(stream)
        // The token has 256 random bits and its own digest is what is stored, so a digest with a label of its own is
        // a key that only the caller can make again.
        var label = SHA256.stream()
        label.update("ostiary-idempotency-v1\n".utf8)
        token.withUnsafeBytes { label.update(Array($0)) }
        secret = SHA256.finish(label)
    }

    func seal(_ answer: RESTAnswer) throws -> [UInt8] {
        try aead.seal(answer.kept(), authenticating: place)
    }

    func open(_ sealed: [UInt8]) throws -> RESTAnswer {
        guard let answer = RESTAnswer(kept: try aead.open(sealed, authenticating: place)) else {
            throw Problem(.internalError)
        }
        return answer
    }

    private var aead: AEAD {
        get throws {
            guard let key = SymmetricKey(secret.bytes) else { throw Problem(.internalError) }
            return try AEAD(key)
        }
    }

    private var place: [UInt8] { Array("\(caller) \(key)".utf8) }
}

extension Problem {
    /// What a stranger is told of an error.
    init(refusing error: any Error) {
        switch error {
        case let problem as Problem: self = problem
        case StoreError.database(let error): self.init(refusing: error)
        case let error as PostgresError: self.init(refusing: error)
        case StoreError.cancelled, is CancellationError: self.init(.unavailable)
        default: self.init(.internalError)
        }
    }

    private init(refusing error: PostgresError) {
        switch error {
        case .connectFailed, .connectionLost, .poolExhausted, .serverAway, .closed, .cancelled,
            .outcomeUnknown:
            self.init(.unavailable)
        default: self.init(error.serverError?.isRetryable == true ? .unavailable : .internalError)
        }
    }
}

extension HTTPField.Name {
    fileprivate static let idempotencyKey = name("Idempotency-Key")
    fileprivate static let requestID = name("X-Request-Id")

    private static func name(_ text: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(text) else {
            preconditionFailure("the name of a field is a token")
        }
        return name
    }
}
