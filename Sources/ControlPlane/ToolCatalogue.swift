import ControlProtocol
import ControlStore
import GatewayModel
import JSON
import Logging

/// Keeps what proxies report of their servers' tools.
///
/// What is pinned by it is decided in the store, by the namespace.
struct ToolCatalogue: Sendable {
    /// How many tools of one report are looked at.
    static let toolsMax = 2048

    let store: ConfigurationStore
    let logger: Logger

    /// Stores a report; a definition that is not what it says it is, is left out.
    func receive(_ report: WireToolReport, in namespace: NamespaceID) async {
        let tools = report.tools.prefix(Self.toolsMax).compactMap(Self.reported)
        guard report.failure.isEmpty, !tools.isEmpty else { return }
        do throws(StoreError) {
            try await store.change(
                namespace,
                [.toolsReported(server: ServerName(report.server), tools)]
            )
        } catch {
            // The proxy reports again when it reads the list again.
            logger.warning("a tool report was not stored", metadata: ["error.message": "\(error)"])
        }
    }

    /// The digest is made of these bytes, so they must be the canonical ones, of a tool of this
    /// name.
    static func reported(_ tool: WireToolDefinition) -> ConfigurationEdit.ReportedTool? {
        let canonical = Array(tool.canonical)
        guard let document = try? JSONDocument(parsing: canonical),
            document.root["name"]?.string == Text(tool.name),
            document.root.canonicalBytes() == canonical
        else { return nil }
        return .init(name: ToolName(tool.name), canonical: canonical)
    }
}
