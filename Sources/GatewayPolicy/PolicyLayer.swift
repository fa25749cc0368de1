public import Cedar
public import JSON

/// Who wrote a document of a release, and over what their permits may reach (policy.md §3.8).
///
/// The documents of all layers are one policy set: forbids of every layer bind, and nothing that a lower layer writes can
/// widen what an upper one forbids, which is a property of Cedar and not of this code. What this code adds is that a
/// layer which owns only something writes only about that.
public struct PolicyLayer: Hashable, Sendable {
    /// How far up.
    public enum Rank: String, Hashable, Sendable, CaseIterable {
        /// The baseline of everybody.
        case organisation
        /// One namespace.
        case namespace
        /// One team within a namespace.
        case team
    }

    /// How far up.
    public var rank: Rank
    /// Who: the organisation's, namespace's or team's name.
    public var name: Text
    /// What its policies may be about, servers, tools, groups of them; `nil` for everything.
    public var owned: [EntityUID]?

    /// A layer.
    public init(rank: Rank, name: Text, owned: [EntityUID]?) {
        self.rank = rank
        self.name = name
        self.owned = owned
    }

    /// The layer of a namespace that has no others.
    public static let namespace = PolicyLayer(rank: .namespace, name: "", owned: nil)

    /// Why a policy may not stand in this layer; `nil` if it may.
    ///
    /// - Parameter meaning: What its annotations say.
    func refusal(of tree: PolicyTree?, isPermit: Bool, tier: PolicyTier?) -> String? {
        guard let owned else { return nil }
        guard let tree else { return "cannot be checked" }
        guard isPermit || tier == .guard else {
            return "the layer \(name) may only permit and guard; this forbid is no guard"
        }
        guard let resource = tree.scopeEntity("resource") else {
            return "the layer \(name) must say in the scope which of its resources this is about"
        }
        guard owned.contains(where: { $0 == resource || Self.isTool(resource, of: $0) }) else {
            return "the layer \(name) does not own \(resource.type)::\"\(resource.id)\""
        }
        return nil
    }

    /// Why declarations of facts may not stand in this layer; `nil` if they may.
    ///
    /// Counters, approvers and the group that breaks the glass are read by the policies of all layers.
    var refusalOfFacts: String? {
        owned == nil ? nil : "the layer \(name) owns only something, and facts are everybody's"
    }

    /// `MCP::Tool::"k8s/get_pods"` is in `MCP::Server::"k8s"`: a server's name has no slash.
    private static func isTool(_ resource: EntityUID, of server: EntityUID) -> Bool {
        guard resource.type == "MCP::Tool", server.type == "MCP::Server" else { return false }
        let bytes = resource.id.utf8
        guard let slash = bytes.firstIndex(of: UInt8(ascii: "/")) else { return false }
        return bytes[..<slash].elementsEqual(server.id.utf8)
    }
}
