import Cedar
import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import Synchronization

/// What the checks say about the documents of a release, and against what they were checked.
struct ReleaseCheck: Sendable {
    /// Findings, results of cases, and the generated schema.
    let checks: ReleaseChecks
    /// Digests of what the documents were checked against.
    let basis: ReleaseManifest.Basis

    /// Whether it is a release at all: what does not compile is never stored.
    var compiles: Bool { checks.release != nil }

    fileprivate init(
        _ documents: [StoredRelease.Document],
        against catalogue: StoredCatalogue,
        digest: [UInt8],
        reusing memo: inout ReleaseChecks.Memo
    ) {
        checks = ReleaseChecks(
            documents.map(\.forPolicies),
            against: catalogue.servers.map(\.forPolicies),
            reusing: &memo
        )
        let facts = documents.first { $0.forPolicies.kind == .facts }?.source ?? ""
        basis = ReleaseManifest.Basis(
            facts: SHA256.digest(of: facts.utf8).bytes,
            schema: SHA256.digest(of: (checks.schema ?? "").utf8).bytes,
            catalogue: digest
        )
    }
}

/// Checks releases, and keeps what it found: documents and catalogue decide everything, so the same two are checked once.
///
/// One per process.
final class ReleaseChecker: Sendable {
    /// How many checks are kept, and for how many namespaces the verdicts that the next check starts from.
    static let keptMax = 64

    private struct Key: Hashable {
        let release: [UInt8]
        let catalogue: [UInt8]
    }

    private struct Kept {
        var checks: [Key: ReleaseCheck] = [:]
        /// The keys of `checks`, oldest first.
        var order: [Key] = []
        var memos: [NamespaceID: ReleaseChecks.Memo] = [:]

        mutating func keep(_ memo: ReleaseChecks.Memo, of namespace: NamespaceID) {
            if memos.count >= ReleaseChecker.keptMax { memos.removeAll() }
            memos[namespace] = memo
        }
    }

    private let kept = Mutex(Kept())

    /// What the checks say about documents of a namespace.
    func check(
        _ documents: [StoredRelease.Document],
        against catalogue: StoredCatalogue,
        in namespace: NamespaceID
    ) -> ReleaseCheck {
        let key = Key(
            release: StoredRelease.digest(of: documents),
            catalogue: catalogue.digest
        )
        // A memo belongs to one task at a time: taken out here, put back below. Who comes in between starts anew.
        let (known, memo) = kept.withLock { kept in
            kept.checks[key].map { ($0, nil) }
                ?? (nil, kept.memos.removeValue(forKey: namespace))
        }
        if let known { return known }
        var own = memo ?? ReleaseChecks.Memo()
        let check = ReleaseCheck(
            documents,
            against: catalogue,
            digest: key.catalogue,
            reusing: &own
        )
        kept.withLock { [own] kept in
            kept.keep(own, of: namespace)
            guard kept.checks.updateValue(check, forKey: key) == nil else { return }
            kept.order.append(key)
            if kept.order.count > Self.keptMax {
                kept.checks[kept.order.removeFirst()] = nil
            }
        }
        return check
    }

    /// What another catalogue would mean for documents of a namespace.
    func impact(
        of candidate: StoredCatalogue,
        on documents: [StoredRelease.Document],
        checkedAgainst catalogue: StoredCatalogue,
        in namespace: NamespaceID
    ) -> CatalogueImpact {
        let check = check(documents, against: catalogue, in: namespace)
        var own =
            kept.withLock { $0.memos.removeValue(forKey: namespace) } ?? ReleaseChecks.Memo()
        let impact = check.checks.impact(
            of: candidate.servers.map(\.forPolicies),
            reusing: &own
        )
        kept.withLock { [own] in $0.keep(own, of: namespace) }
        return impact
    }
}

extension StoredRelease.Document {
    /// As policies see it.
    var forPolicies: PolicyRelease.Document {
        .init(name: name, source: source, layer: layer?.forPolicies ?? .namespace)
    }

    /// A document of a layer, which is not stored where it is the namespace's own.
    init(name: Text, source: Text, layer: PolicyLayer) {
        self.init(name: name, source: source, layer: StoredRelease.Layer(layer))
    }
}

extension StoredRelease.Layer {
    /// As policies see it; one that this build cannot read owns nothing, so that nothing in it compiles.
    fileprivate var forPolicies: PolicyLayer {
        (try? PolicyLayer(rank: rank, name: name, owned: owned))
            ?? PolicyLayer(rank: .team, name: name, owned: [])
    }

    fileprivate init?(_ layer: PolicyLayer) {
        guard layer != .namespace else { return nil }
        self.init(rank: Text(layer.rank.rawValue), name: layer.name, owned: layer.ownedTexts)
    }
}

extension StoredCatalogue.Server {
    /// As the schema describes it; a definition that is no JSON any more has no arguments that policies can see.
    fileprivate var forPolicies: SchemaGenerator.Server {
        SchemaGenerator.Server(
            name: name,
            memberships: memberships.compactMap { MCPEntities.uid(cedarText: $0) },
            tools: tools.map { tool in
                let definition = try? JSONDocument(parsing: tool.definition)
                return SchemaGenerator.Tool(
                    name: tool.name,
                    effect: ToolEffect(rawValue: tool.effect.string) ?? .write,
                    inputSchema: definition?.root["inputSchema"]
                )
            }
        )
    }
}
