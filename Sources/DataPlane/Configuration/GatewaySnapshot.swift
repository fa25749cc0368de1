import Cedar
import ControlProtocol
import Cryptography
import FoundationEssentials
import GatewayModel
import GatewayPolicy
import IdentityProtocols
import JSON
import MCPProtocol
import Networking
import Synchronization

/// One configuration of the namespace, compiled and immutable: everything a call is decided by.
///
/// It is built from bytes that control signed, as a whole or not at all: what one call sees never mixes two versions.
final class GatewaySnapshot: Sendable {
    /// Why a configuration is not applied; the one before stays in force.
    struct Refusal: Error {
        /// For control and the log.
        let reason: String
    }

    /// An upstream server as configured.
    struct Server: Sendable {
        let name: ServerName
        let origin: HTTPOrigin
        let target: String
        let pins: [ToolName: Pin]
        let timers: ServerTimers
    }

    /// A tool that was accepted.
    struct Pin: Sendable {
        let definition: SHA256.Digest
        let effect: ToolEffect
        let timers: OperationTimers
    }

    /// How tokens name a subject.
    struct SubjectKey: Hashable, Sendable {
        let issuer: Text
        let name: Text
    }

    let version: UInt64
    let namespace: NamespaceName
    let servers: [ServerName: Server]
    let issuers: TrustedIssuers
    /// Audiences that an issuer's tokens may name instead of the server's URL.
    let audiences: [Text: [Text]]
    let subjects: [SubjectKey: Subject]
    let decisionPoint: PolicyDecisionPoint
    /// The release in shadow, bound to the same subjects and servers: asked beside the other, never enforced.
    let shadow: PolicyDecisionPoint?
    /// Why there is none although the configuration names one.
    let shadowRefusal: String?
    /// By server, what calls of its tools can say, and the definitions that it was made of.
    private let prepared = Mutex<[ServerName: Prepared]>([:])

    private struct Prepared {
        let definitions: [SHA256.Digest]
        let arguments: OpenArguments?
    }

    /// Compiles a configuration for the namespace that the proxy's certificate names.
    init(
        compiling configuration: WireConfiguration,
        for namespace: NamespaceName
    ) throws(Refusal) {
        guard NamespaceName(configuration.namespace) == namespace else {
            throw Refusal(reason: "the configuration belongs to another namespace")
        }
        self.namespace = namespace
        version = configuration.version
        var servers: [ServerName: Server] = [:]
        var policyServers: [PolicyServer] = []
        for wire in configuration.servers where wire.enabled {
            let server = try Server(wire)
            servers[server.name] = server
            policyServers.append(try PolicyServer(wire, pins: server.pins))
        }
        self.servers = servers
        var issuers: [TrustedIssuer] = []
        var audiences: [Text: [Text]] = [:]
        for wire in configuration.issuers {
            issuers.append(try TrustedIssuer(wire))
            audiences[Text(wire.issuer)] = wire.audiences.map { Text($0) }
        }
        self.issuers = TrustedIssuers(issuers)
        self.audiences = audiences
        var subjects: [Subject] = []
        for wire in configuration.subjects {
            guard let subject = Subject(wire) else {
                throw Refusal(reason: "a subject has an unknown kind or status")
            }
            subjects.append(subject)
        }
        self.subjects = Dictionary(
            subjects.map { (SubjectKey(issuer: $0.issuer, name: $0.name), $0) },
            uniquingKeysWith: { first, _ in first }
        )
        func decisionPoint(of wire: WirePolicyRelease) throws -> PolicyDecisionPoint {
            try PolicyDecisionPoint(
                release: PolicyRelease(
                    number: wire.number,
                    documents: wire.documents.map(PolicyRelease.Document.init)
                ),
                subjects: subjects,
                servers: policyServers
            )
        }
        do {
            self.decisionPoint = try decisionPoint(of: configuration.policy)
        } catch {
            throw Refusal(reason: "the policies do not compile: \(error)")
        }
        guard configuration.hasShadow else {
            (shadow, shadowRefusal) = (nil, nil)
            return
        }
        // Nothing that is wrong with a release in shadow may reach what is enforced.
        do {
            (shadow, shadowRefusal) = (try decisionPoint(of: configuration.shadow), nil)
        } catch {
            (shadow, shadowRefusal) = (nil, "release \(configuration.shadow.number): \(error)")
        }
    }
}

extension GatewaySnapshot {
    /// What calls of a server's accepted tools can say, for what is decided before there is a call.
    ///
    /// Made once for each set of definitions, in milliseconds; nothing where the server has not been asked yet.
    func openArguments(of server: ServerName, _ catalogue: ToolCatalogue?) -> OpenArguments? {
        guard let catalogue, let pins = servers[server]?.pins else { return nil }
        let tools = catalogue.tools.filter { pins[$0.name]?.definition == $0.digest }
        let definitions = tools.map(\.digest)
        if let known = prepared.withLock({ $0[server] }), known.definitions == definitions {
            return known.arguments
        }
        let made = OpenArguments(
            decisionPoint,
            server: server,
            tools: tools.map { tool in
                SchemaGenerator.Tool(
                    name: tool.name,
                    effect: pins[tool.name]?.effect ?? .write,
                    input: tool.input
                )
            }
        )
        prepared.withLock { $0[server] = Prepared(definitions: definitions, arguments: made) }
        return made
    }
}

extension PolicyRelease.Document {
    /// Why a document is not read.
    private struct Obstacle: Error, CustomStringConvertible {
        let description: String
    }

    /// - Throws: for a layer that this build does not know: whatever it holds its documents to, nothing here would.
    fileprivate init(_ wire: WirePolicyDocument) throws {
        guard wire.hasLayered else {
            self.init(name: Text(wire.name), source: Text(wire.text))
            return
        }
        let layered = wire.layered
        let layer: PolicyLayer
        do throws(PolicyLayer.ReadingError) {
            layer = try PolicyLayer(
                rank: Text(layered.rank),
                name: Text(layered.name),
                owned: layered.hasOwned ? layered.owned.entities.map { Text($0) } : nil
            )
        } catch {
            throw Obstacle(description: "\(wire.name): layer\(error)")
        }
        self.init(name: Text(wire.name), source: Text(layered.text), layer: layer)
    }
}

extension GatewaySnapshot.Server {
    fileprivate init(_ wire: WireServer) throws(GatewaySnapshot.Refusal) {
        name = ServerName(wire.name)
        guard let location = HTTPLocation(wire.url) else {
            throw GatewaySnapshot.Refusal(reason: "server \(wire.name) has no usable URL")
        }
        origin = location.origin
        target = location.target
        var pins: [ToolName: GatewaySnapshot.Pin] = [:]
        for tool in wire.tools {
            guard let digest = SHA256.Digest(bytes: tool.definitionDigest) else {
                throw GatewaySnapshot.Refusal(
                    reason: "server \(wire.name) has a pin without a digest"
                )
            }
            // An effect that is not known counts as write.
            pins[ToolName(tool.name)] = GatewaySnapshot.Pin(
                definition: digest,
                effect: ToolEffect(rawValue: tool.effect) ?? .write,
                timers: OperationTimers(method: .callTool, server: name, tool: ToolName(tool.name))
            )
        }
        self.pins = pins
        timers = ServerTimers(name)
    }
}

extension PolicyServer {
    fileprivate init(
        _ wire: WireServer,
        pins: [ToolName: GatewaySnapshot.Pin]
    ) throws(GatewaySnapshot.Refusal) {
        var memberships: [EntityUID] = []
        for text in wire.memberships {
            guard let uid = MCPEntities.uid(cedarText: Text(text)) else {
                throw GatewaySnapshot.Refusal(
                    reason: "server \(wire.name) is in something unreadable"
                )
            }
            memberships.append(uid)
        }
        self.init(
            name: ServerName(wire.name),
            memberships: memberships,
            tools: pins.mapValues(\.effect)
        )
    }
}

extension TrustedIssuer {
    fileprivate init(_ wire: WireIssuer) throws(GatewaySnapshot.Refusal) {
        let keys: JWKSet
        do {
            keys = try JWKSet(parsing: Array(wire.jwks))
        } catch {
            throw GatewaySnapshot.Refusal(reason: "issuer \(wire.issuer) has no usable key set")
        }
        let types = wire.tokenTypes
        var profiles: [JWTProfile] = []
        if types.contains("at+jwt") {
            profiles.append(.accessToken)
        }
        if types.contains("JWT") || types.contains("") {
            profiles.append(.plainAccessToken)
        }
        guard !profiles.isEmpty else {
            throw GatewaySnapshot.Refusal(reason: "issuer \(wire.issuer) accepts no token type")
        }
        self.init(
            issuer: Text(wire.issuer),
            algorithms: Set(wire.algorithms.compactMap(SignatureAlgorithm.init(rawValue:))),
            keys: keys,
            profiles: profiles,
            subjectClaim: wire.subjectPointer.isEmpty
                ? "sub" : Text(String(wire.subjectPointer.dropFirst()))
        )
    }
}
