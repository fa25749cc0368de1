import Cedar
import Compression
import ControlProtocol
import FoundationEssentials
import GatewayModel
import GatewayPolicy
import JSON
import SwiftProtobuf

/// A configuration as it was published once, for whoever decides again what was decided by it.
///
/// The proxy reads the same message for itself (`GatewaySnapshot`); here only what policies see is of interest.
struct KeptConfiguration: Sendable {
    /// The longest configuration that is unpacked, in bytes.
    private static let bytesMax = 1 << 28

    /// Everybody who could act.
    let subjects: [Subject]
    /// Every server that could be called, with its accepted tools.
    let servers: [PolicyServer]
    /// The principals, by the id that records carry.
    let principals: [Text: EntityUID]
    /// The digest of the accepted definition of each tool, by the id of its action.
    let definitions: [Text: [UInt8]]

    /// Reads what was kept; `nil` when it is not what this build can read.
    init?(packed: [UInt8]) {
        guard let payload = try? Gzip.decompress(packed, bytesMax: Self.bytesMax),
            let wire = try? WireConfiguration(serializedBytes: payload)
        else { return nil }
        var subjects: [Subject] = []
        var principals: [Text: EntityUID] = [:]
        for wire in wire.subjects {
            guard let subject = Subject(wire) else { return nil }
            subjects.append(subject)
            principals[subject.id.text] = MCPEntities.principal(subject)
        }
        var servers: [PolicyServer] = []
        var definitions: [Text: [UInt8]] = [:]
        for wire in wire.servers where wire.enabled {
            let memberships = wire.memberships.compactMap { MCPEntities.uid(cedarText: Text($0)) }
            guard memberships.count == wire.memberships.count else { return nil }
            var tools: [ToolName: ToolEffect] = [:]
            for tool in wire.tools {
                // An effect that is not known counts as write, as on the proxy.
                tools[ToolName(tool.name)] = ToolEffect(rawValue: tool.effect) ?? .write
                let action = MCPEntities.action(ServerName(wire.name), ToolName(tool.name))
                definitions[action.id] = Array(tool.definitionDigest)
            }
            servers.append(
                PolicyServer(name: ServerName(wire.name), memberships: memberships, tools: tools)
            )
        }
        (self.subjects, self.servers) = (subjects, servers)
        (self.principals, self.definitions) = (principals, definitions)
    }
}
