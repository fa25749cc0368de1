import ControlProtocol
import ControlStore
import Cryptography
// Only for Data, the type of protobuf's bytes fields.
import FoundationEssentials
import GatewayModel
import JSON
import Logging
import Networking
import Postgres
import ServiceRuntime
import SwiftProtobuf

/// What sessions need of the process.
struct LinkServices: Sendable {
    let limits: ControlSession.Limits
    let namespaces: NamespaceStore
    let instances: InstanceStore
    let epochs: EpochStore
    let keys: KeyStore
    let ingest: RecordIngest
    let leases: LeaseKeeper
    let publisher: SnapshotPublisher
    let registry: SessionRegistry
    let tools: ToolCatalogue
    let issuers: KeyRefresher
    let authority: LinkAuthority
    let logger: Logger
}

/// The methods of `ostiary.control.v1.Link`.
struct LinkService: Sendable {
    let services: LinkServices

    /// What a proxy with a certificate may call.
    func sessionServer() -> GRPCServer {
        var server = GRPCServer(messageBytesMax: 16 * 1024 * 1024)
        server.bidirectional("/ostiary.control.v1.Link/Session") { call throws(GRPCStatus) in
            try await session(call)
        }
        server.unary("/ostiary.control.v1.Link/Renew") { request, call throws(GRPCStatus) in
            try await renew(request, call)
        }
        return server
    }

    /// What a stranger with a token may call.
    ///
    /// It has a listener of its own: the one for sessions completes no handshake without a
    /// certificate.
    func enrolmentServer() -> GRPCServer {
        var server = GRPCServer(messageBytesMax: 16 * 1024)
        server.unary("/ostiary.control.v1.Link/Enrol") { request, _ throws(GRPCStatus) in
            try await enrol(request)
        }
        return server
    }

    private func session(_ call: GRPCServerCall) async throws(GRPCStatus) {
        let (_, writer) = try await caller(call)
        try await LinkSession(call, writer, services).run()
    }

    /// Who calls: by certificate, in a namespace that is there, as an instance that is not revoked.
    private func caller(
        _ call: GRPCServerCall
    ) async throws(GRPCStatus) -> (ProxyIdentity, Writer) {
        guard let certificate = call.security?.peerIdentity as? Certificate,
            let identity = ProxyIdentity(certificate)
        else { throw GRPCStatus(.unauthenticated, "no certificate of a proxy") }
        let writer: Writer?
        do throws(StoreError) {
            writer = try await accepted(identity)
        } catch {
            throw unavailable(error)
        }
        guard let writer else { throw GRPCStatus(.permissionDenied, "unknown or revoked") }
        return (identity, writer)
    }

    private func accepted(_ identity: ProxyIdentity) async throws(StoreError) -> Writer? {
        guard let namespace = try await services.namespaces.find(identity.namespace),
            try await services.instances.isAccepted(identity.instance, of: namespace.id)
        else { return nil }
        return Writer(
            namespaceID: namespace.id,
            namespace: namespace.name,
            instance: identity.instance
        )
    }

    private func renew(
        _ bytes: [UInt8],
        _ call: GRPCServerCall
    ) async throws(GRPCStatus) -> [UInt8] {
        let (identity, _) = try await caller(call)
        guard let request = try? WireRenewRequest(serializedBytes: bytes) else {
            throw GRPCStatus(.invalidArgument, "the request is not protobuf")
        }
        var response = WireRenewResponse()
        response.certificate = Data(try certify(request.certificateRequest, as: identity).der)
        return try serialize(response)
    }

    private func enrol(_ bytes: [UInt8]) async throws(GRPCStatus) -> [UInt8] {
        guard let request = try? WireEnrolRequest(serializedBytes: bytes),
            case .oneTimeToken(let token)? = request.credential
        else { throw GRPCStatus(.invalidArgument, "the request names no credential") }
        // The request is read before the token is spent: a mistake must not cost the token.
        _ = try read(request.certificateRequest)
        let enrolment: InstanceStore.Enrolment?
        do throws(StoreError) {
            enrolment = try await services.instances.spendToken(Secret(token))
        } catch .instanceRefused {
            throw GRPCStatus(.permissionDenied, "the instance was revoked")
        } catch {
            throw unavailable(error)
        }
        guard let enrolment else {
            throw GRPCStatus(.unauthenticated, "the token is unknown, spent or expired")
        }
        let identity = ProxyIdentity(
            namespace: enrolment.namespace,
            instance: enrolment.instance
        )
        var response = WireEnrolResponse()
        response.certificate = Data(try certify(request.certificateRequest, as: identity).der)
        response.authority = Data(services.authority.authority.certificate.der)
        response.namespace = enrolment.namespace.text.string
        response.instance = enrolment.instance.text.string
        do {
            response.snapshotKey = Data(try services.publisher.verificationKey.spki())
        } catch {
            throw GRPCStatus(.internal, "the snapshot key cannot be written")
        }
        services.logger.info(
            "a proxy was enrolled",
            metadata: [
                "ostiary.namespace": "\(enrolment.namespace)",
                "ostiary.instance": "\(enrolment.instance)",
            ]
        )
        return try serialize(response)
    }

    private func read(_ request: Data) throws(GRPCStatus) -> CertificateSigningRequest {
        do throws(CryptographyError) {
            return try CertificateSigningRequest(der: Array(request))
        } catch {
            throw GRPCStatus(.invalidArgument, "the certificate request is refused")
        }
    }

    private func certify(
        _ request: Data,
        as identity: ProxyIdentity
    ) throws(GRPCStatus) -> Certificate {
        let request = try read(request)
        do throws(CryptographyError) {
            return try services.authority.certify(
                request,
                as: identity,
                now: SystemClock.now().seconds
            )
        } catch {
            throw GRPCStatus(.invalidArgument, "the key cannot be certified")
        }
    }

    private func serialize(_ message: some Message) throws(GRPCStatus) -> [UInt8] {
        guard let bytes: [UInt8] = try? message.serializedBytes() else {
            throw GRPCStatus(.internal, "a message cannot be serialised")
        }
        return bytes
    }

    private func unavailable(_ error: StoreError) -> GRPCStatus {
        services.logger.warning(
            "the store did not answer",
            metadata: ["error.message": "\(error)"]
        )
        return GRPCStatus(.unavailable, "the store did not answer")
    }
}
