public import JSON

/// The keys of `_meta` that have a meaning of their own, and the rule for all others.
public enum MetaKey {
    /// The version of this request.
    public static let protocolVersion: StaticString = "io.modelcontextprotocol/protocolVersion"
    /// Who the client says it is.
    public static let clientInfo: StaticString = "io.modelcontextprotocol/clientInfo"
    /// What the client can do for this request.
    public static let clientCapabilities: StaticString =
        "io.modelcontextprotocol/clientCapabilities"
    /// From which level on the client wants log messages.
    public static let logLevel: StaticString = "io.modelcontextprotocol/logLevel"
    /// Who the server says it is.
    public static let serverInfo: StaticString = "io.modelcontextprotocol/serverInfo"
    /// The listen request that a message belongs to.
    public static let subscriptionID: StaticString = "io.modelcontextprotocol/subscriptionId"
    /// The task that a message belongs to.
    public static let relatedTask: StaticString = "io.modelcontextprotocol/related-task"
    /// The token that progress notifications refer to.
    public static let progressToken: StaticString = "progressToken"
    /// The gateway's decision on a call, for programs.
    public static let decision: StaticString = "ostiary/decision"

    /// Whether a key belongs to one hop and must be rebuilt, never passed.
    ///
    /// A prefix whose second label is `modelcontextprotocol` or `mcp` is reserved for the protocol; so is the
    /// progress token, whose value belongs to the id space of its hop. Our own prefix is held back as well, so
    /// that no server can speak for the gateway. Everything else passes, vendor keys and trace context included.
    public static func belongsToHop(_ key: Text) -> Bool {
        let bytes = key.utf8.map(lowercase)
        if bytes.elementsEqual("progresstoken".utf8) { return true }
        guard let slash = bytes.firstIndex(of: UInt8(ascii: "/")) else { return false }
        let labels = bytes[..<slash].split(
            separator: UInt8(ascii: "."),
            omittingEmptySubsequences: false
        )
        if labels.count == 1 { return labels[0].elementsEqual("ostiary".utf8) }
        return labels[1].elementsEqual("modelcontextprotocol".utf8)
            || labels[1].elementsEqual("mcp".utf8)
    }
}

extension JSONWriter {
    /// Writes the members of a `_meta` object that may pass from one hop to the next.
    mutating func passingMembers(of meta: JSONValue?) {
        guard let meta else { return }
        for (key, value) in meta.members where !MetaKey.belongsToHop(key.text) {
            self.key(key)
            self.value(value)
        }
    }

    /// Whether such an object would have any member.
    static func hasPassingMembers(_ meta: JSONValue?) -> Bool {
        meta?.members.contains { !MetaKey.belongsToHop($0.key.text) } ?? false
    }
}
