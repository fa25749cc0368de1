public import JSON

/// Who acts: a person or a workload, as the directory knows it (SP 800-162, subject).
public struct Subject: Hashable, Sendable {
    /// What kind of actor a subject is.
    public enum Kind: String, Hashable, Sendable {
        /// A natural person.
        case user
        /// A service account, agent or job.
        case workload
    }

    /// Where the subject stands in its life (AC-2).
    public enum Status: String, Hashable, Sendable {
        /// May act, as far as policy allows.
        case active
        /// May not act for now.
        case suspended
        /// Has left; may never act again under this id.
        case leaver
    }

    /// The durable id, the only name that records carry.
    public let id: SubjectID
    /// The issuer whose tokens name this subject.
    public let issuer: Text
    /// The subject's name at that issuer.
    public let name: Text
    /// Person or workload.
    public let kind: Kind
    /// Whether it may act at all.
    public let status: Status
    /// Groups of the directory, sorted, without duplicates.
    public let groups: [Text]
    /// Attributes of the directory, for policies.
    public let attributes: [Text: Text]

    /// Assembles a subject; `groups` is sorted and freed of duplicates here.
    public init(
        id: SubjectID,
        issuer: Text,
        name: Text,
        kind: Kind,
        status: Status,
        groups: [Text],
        attributes: [Text: Text] = [:]
    ) {
        self.id = id
        self.issuer = issuer
        self.name = name
        self.kind = kind
        self.status = status
        self.groups = Array(Set(groups)).sorted()
        self.attributes = attributes
    }

    /// The same subject with more groups, those a token vouches for.
    public func adding(groups more: [Text]) -> Subject {
        Subject(
            id: id,
            issuer: issuer,
            name: name,
            kind: kind,
            status: status,
            groups: groups + more,
            attributes: attributes
        )
    }
}

/// What a tool can do to the world, as an administrator classed it (never as the server claims).
///
/// Source: reference model, action groups; an effect that is not known counts as ``write``.
public enum ToolEffect: String, Hashable, Sendable, CaseIterable {
    /// Only reads.
    case read
    /// Changes something that can be changed back.
    case write
    /// Destroys something.
    case destructive
    /// Can do anything to a system.
    case clusterAdmin = "cluster-admin"
}
