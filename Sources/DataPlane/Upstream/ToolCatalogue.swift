import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import MCPProtocol

/// What a server's `tools/list` said last: the definitions, and the digests by which they are pinned.
struct ToolCatalogue: Sendable {
    /// One tool as the server defines it.
    struct Tool: Sendable {
        let name: ToolName
        let definition: JSONValue
        /// SHA-256 over the canonical bytes of the whole definition: name, texts, schemas, annotations.
        let digest: SHA256.Digest
        /// Which arguments are mirrored into headers (2026-07-28).
        let mirrored: ToolHeaderSchema
        /// Its arguments as policies see them.
        let input: ToolInputSchema
    }

    /// In the server's order.
    let tools: [Tool]
    let fetchedAt: MonotonicInstant
    private let index: [ToolName: Int]

    /// The most tools of one server that are kept; a server with more is refused as a whole.
    static let toolsMax = 2000

    /// Reads the pages of a list.
    ///
    /// A tool without a name, or whose header annotations are invalid, is left out, as clients must
    /// do; of two with one name none is kept, since nobody could tell which one is called.
    init(pages: [JSONValue], fetchedAt: MonotonicInstant) {
        var tools: [Tool] = []
        var count: [ToolName: Int] = [:]
        for page in pages {
            guard let list = page["tools"], list.kind == .array else {
                continue
            }
            for definition in list.elements {
                guard let name = definition["name"]?.string, !name.isEmpty, name.byteCount <= 256
                else {
                    continue
                }
                let mirrored: ToolHeaderSchema
                if let schema = definition["inputSchema"] {
                    guard let read = try? ToolHeaderSchema(inputSchema: schema) else {
                        continue
                    }
                    mirrored = read
                } else {
                    mirrored = .none
                }
                count[ToolName(name), default: 0] += 1
                tools.append(
                    Tool(
                        name: ToolName(name),
                        definition: definition,
                        digest: SHA256.digest(of: definition.canonicalBytes()),
                        mirrored: mirrored,
                        input: ToolInputSchema(definition["inputSchema"])
                    )
                )
            }
        }
        self.tools = tools.filter { count[$0.name] == 1 }
        self.fetchedAt = fetchedAt
        index = Dictionary(uniqueKeysWithValues: self.tools.enumerated().map { ($1.name, $0) })
    }

    subscript(name: ToolName) -> Tool? {
        index[name].map { tools[$0] }
    }
}
