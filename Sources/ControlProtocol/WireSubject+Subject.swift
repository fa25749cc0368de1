public import GatewayModel
import JSON

extension Subject {
    /// A subject as a configuration carries it: read alike by the proxy that decides by it and by control, which asks the same
    /// again later.
    ///
    /// - Returns: `nil` for a kind or status that this build does not know.
    public init?(_ wire: WireSubject) {
        guard let kind = Kind(rawValue: wire.kind), let status = Status(rawValue: wire.status)
        else { return nil }
        self.init(
            id: SubjectID(wire.id),
            issuer: Text(wire.issuer),
            name: Text(wire.subject),
            kind: kind,
            status: status,
            groups: wire.groups.map { Text($0) },
            attributes: Dictionary(
                wire.attributes.map { (Text($0.key), Text($0.value)) },
                uniquingKeysWith: { first, _ in first }
            )
        )
    }
}
