import Cryptography
import JSON
import NIOCore
import Networking

/// Fetches documents from places that somebody else named: issuers' metadata and keys.
///
/// Everything that is fetched by a URL from configuration or from a document goes through here. An administrator of one
/// namespace, or an issuer, must not make control ask what only control can reach: so addresses are judged when they are
/// connected to (a name cannot resolve to one thing for the check and another for the connection), redirects are not
/// followed, and a document is JSON of bounded size that came in bounded time, or nothing.
struct GuardedClient: Sendable {
    /// What this installation allows.
    struct Rules: Sendable {
        /// Whether `http` may be used within this machine, for trials and tests.
        var allowsLoopbackHTTP = false
        /// Whether every issuer may be at a private address, and not only those that are marked.
        var allowsPrivateAddresses = false
        /// Who vouches for servers.
        var trust: TLSTrust = .system
    }

    /// Why there is no document; raw values are stable and documented (docs/reference/identity-providers.md).
    struct Refusal: Error, Hashable, CustomStringConvertible {
        let code: String

        init(_ code: String) { self.code = code }

        var description: String { code }

        static let urlRefused = Refusal("url_refused")
        static let addressRefused = Refusal("address_refused")
        static let connectFailed = Refusal("connect_failed")
        static let tlsFailed = Refusal("tls_failed")
        static let timedOut = Refusal("timed_out")
        static let redirected = Refusal("redirected")
        static let notFound = Refusal("not_found")
        static let statusRefused = Refusal("status_refused")
        static let typeRefused = Refusal("media_type_refused")
        static let tooLong = Refusal("too_long")
        static let messageRefused = Refusal("message_refused")
    }

    /// The longest document, in bytes.
    static let bytesMax = 262_144
    /// How long one document may take, from the look-up of the name to the last byte.
    static let timeout: Duration = .seconds(5)
    /// Of it, the look-up with the TCP connection, and the TLS handshake, each.
    static let connectTimeout: Duration = .milliseconds(2_500)

    private let loops: EventLoops
    private let rules: Rules
    private let tls: TLSContext

    /// A client on these loops.
    init(loops: EventLoops, rules: Rules) throws(TLSError) {
        self.loops = loops
        self.rules = rules
        tls = try TLSContext(
            TLSContext.Configuration(
                role: .client,
                trust: rules.trust,
                applicationProtocols: ["http/1.1"]
            )
        )
    }

    /// The JSON document at a URL.
    func document(
        at url: Text,
        allowingPrivateAddresses: Bool
    ) async throws(Refusal) -> [UInt8] {
        guard url.byteCount <= 2_048, let location = HTTPLocation(url.string) else {
            throw .urlRefused
        }
        let policy = try policy(for: location.origin, allowingPrivateAddresses)
        var configuration = HTTPClient.Configuration()
        configuration.tls = tls
        configuration.addressPolicy = policy
        configuration.connectTimeout = Self.connectTimeout
        configuration.limits.bodyBytesMax = Self.bytesMax
        // One client for one document: no connection is used again under other rules, and nothing of a place that is
        // asked twice an hour is kept.
        let client = HTTPClient(loops: loops, configuration: configuration)
        let result: Result<[UInt8], Refusal>
        do {
            result = .success(try await exchange(location, through: client))
        } catch {
            result = .failure(error)
        }
        await client.shutdown()
        return try result.get()
    }

    /// `https` anywhere that is allowed; `http` only within this machine and only where that is allowed.
    private func policy(
        for origin: HTTPOrigin,
        _ allowingPrivateAddresses: Bool
    ) throws(Refusal) -> AddressPolicy {
        let allowsPrivate = allowingPrivateAddresses || rules.allowsPrivateAddresses
        let allowsLoopback = allowsPrivate || rules.allowsLoopbackHTTP
        guard origin.isSecure || rules.allowsLoopbackHTTP else { throw .urlRefused }
        return { address in
            switch NetworkReach(address) {
            case .global: origin.isSecure
            case .private: origin.isSecure && allowsPrivate
            case .loopback: allowsLoopback
            case .special: false
            }
        }
    }

    private func exchange(
        _ location: HTTPLocation,
        through client: HTTPClient
    ) async throws(Refusal) -> [UInt8] {
        let place = LoopActor(loops.executors[0])
        do {
            return try await place.run { actor in
                let upstream = client.upstream(location.origin)
                var request = upstream.request(
                    .get,
                    HTTPFieldValue(location.target),
                    on: actor.executor
                )
                request.head.add("accept", "application/json")
                request.timeout = Self.timeout
                var response = try await upstream.send(request, on: actor.executor)
                try Self.check(response.head)
                var body = try await response.collect(bytesMax: Self.bytesMax)
                return body.readBytes(length: body.readableBytes) ?? []
            }
        } catch let refusal as Refusal {
            throw refusal
        } catch let error as HTTPClientError {
            throw Refusal(error)
        } catch {
            throw .messageRefused
        }
    }

    private static func check(_ head: HTTPResponseHead) throws(Refusal) {
        switch head.status {
        case 200: break
        case 300...399: throw .redirected
        case 404, 410: throw .notFound
        default: throw .statusRefused
        }
        // RFC 8414 §3.2, RFC 7517 §8.5.2.
        guard let type = head.fields["content-type"],
            type.isMediaType("application/json") || type.isMediaType("application/jwk-set+json")
        else { throw .typeRefused }
    }
}

extension GuardedClient.Refusal {
    fileprivate init(_ error: HTTPClientError) {
        self =
            switch error.reason {
            case .addressRefused: .addressRefused
            case .connectFailed, .closedBeforeResponse: .connectFailed
            case .connectTimedOut, .timedOut: .timedOut
            case .tlsFailed: .tlsFailed
            case .responseRefused(.bodyTooLarge): .tooLong
            default: .messageRefused
            }
    }
}
