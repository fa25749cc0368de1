public import Cedar
public import GatewayModel
public import JSON

/// What happens to a class of data that was found in a payload (policy.md §3.6).
public enum DataHandling: String, Hashable, Sendable {
    /// It goes on in clear.
    case pass
    /// It goes on masked.
    case mask
    /// The message does not go on.
    case block
}

/// Which way a payload goes.
public enum DataDirection: String, Hashable, Sendable {
    /// Arguments, towards the server.
    case request
    /// A result, towards the client.
    case response
}

/// What happens to a message, class by class.
public struct DataDisclosure: Hashable, Sendable {
    /// What happens to each class that was found.
    public let handling: [Text: DataHandling]
    /// For each class, the two decisions it rests on; the second only where the first permits.
    public let decisions: [Text: [GatewayModel.Decision]]

    /// Whether the message as a whole must not go on.
    public var isBlocked: Bool { handling.values.contains(.block) }
    /// The classes to mask, sorted.
    public var masked: [Text] { handling.filter { $0.value == .mask }.keys.sorted() }
}

extension OutcomeLayer {
    /// Asks for every class found whether it may pass at all, and if so whether in clear.
    ///
    /// The class is the resource, so that default deny means "block unless allowed, mask unless allowed". A class that
    /// nobody declared is blocked: nothing is known of it. Only a clear permit counts: nobody waits for approvals here.
    public func disclose(
        _ found: Set<Text>,
        _ direction: DataDirection,
        principal: EntityUID,
        server: ServerName,
        facts: PolicyFacts
    ) -> DataDisclosure {
        var handling: [Text: DataHandling] = [:]
        var decisions: [Text: [GatewayModel.Decision]] = [:]
        var facts = facts
        facts.found.formUnion(found)
        for name in found {
            var question = Question(
                principal: principal,
                action: MCPEntities.action("data/transit"),
                resource: MCPEntities.dataClass(name),
                particulars: [
                    "direction": .string(Text(direction.rawValue)),
                    "server": .entity(MCPEntities.server(server)),
                ]
            )
            let transit = decide(question, facts: facts)
            guard transit.answer == .permit else {
                handling[name] = .block
                decisions[name] = [transit]
                continue
            }
            question.action = MCPEntities.action("data/reveal")
            let reveal = decide(question, facts: facts)
            handling[name] = reveal.answer == .permit ? .pass : .mask
            decisions[name] = [transit, reveal]
        }
        return DataDisclosure(handling: handling, decisions: decisions)
    }
}
