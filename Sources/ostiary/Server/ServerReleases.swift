import GatewayPolicy
import JSON

/// Releases of a server, compiled here.
struct ServerReleases {
    private let client: APIClient
    private let namespace: Namespace

    init(_ client: APIClient, _ namespace: Namespace) {
        self.client = client
        self.namespace = namespace
    }

    /// A release, and what it is compared with: the release of that number, or the one in force; without one, nothing.
    func pair(
        _ number: Int64,
        against: Int64?
    ) async throws -> (old: PolicyRelease, new: PolicyRelease) {
        let new = try await release(number)
        if let against { return (try await release(against), new) }
        let newest = try await client.get("\(namespace.path)/activations?limit=1")
        guard let item = newest["items"]?.elements.first(where: { _ in true }),
            let active = item["release"]?.int64
        else { return (.empty, new) }
        return (try await release(active), new)
    }

    private func release(_ number: Int64) async throws -> PolicyRelease {
        let json = try await client.get("\(namespace.path)/releases/\(number)")
        do {
            return try PolicyRelease(
                number: UInt64(clamping: number),
                documents: (json["documents"]?.elements.map { $0 } ?? []).map(Self.document)
            )
        } catch {
            throw APIClient.Failure(
                description: "release \(number) does not compile in this build:\n\(error)"
            )
        }
    }

    private static func document(
        _ json: JSONValue
    ) throws(PolicyLayer.ReadingError) -> PolicyRelease.Document {
        var document = PolicyRelease.Document(
            name: json["name"]?.string ?? "",
            source: json["source"]?.string ?? ""
        )
        if let layer = json["layer"], !layer.isNull { document.layer = try PolicyLayer(layer) }
        return document
    }
}
