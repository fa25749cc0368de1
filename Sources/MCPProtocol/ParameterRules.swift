public import JSON

/// What the parameters of each method must look like before anybody decides on them.
///
/// Only shapes that the gateway itself relies on: names, arguments, cursors. What a tool makes of its arguments is
/// the server's to judge.
enum ParameterRules {
    /// A sentence on what is wrong, or nil.
    static func defect(of params: JSONValue?, for method: MCPMethod?) -> Text? {
        if let params, params.kind != .object { return "params must be an object" }
        if let meta = params?["_meta"] {
            guard meta.kind == .object else { return "params._meta must be an object" }
            if let token = meta[MetaKey.progressToken], ProgressToken(token) == nil {
                return "params._meta.progressToken must be a string or an integer"
            }
        }
        guard let method else { return nil }
        for rule in rules(of: method) {
            let value = params?[rule.member]
            if value == nil, rule.isOptional { continue }
            if value?.kind != rule.kind {
                return Text("params.\(rule.member) is missing or invalid")
            }
        }
        if method == .setLogLevel, params?["level"]?.string.flatMap({ LogLevel($0) }) == nil {
            return "params.level is not a log level"
        }
        return nil
    }

    private struct Rule {
        let member: StaticString
        let kind: JSONValue.Kind
        var isOptional = false
    }

    private static func rules(of method: MCPMethod) -> [Rule] {
        switch method {
        case .callTool: toolCall
        case .getPrompt: prompt
        case .readResource, .subscribeResource, .unsubscribeResource: resource
        case .listTools, .listPrompts, .listResources, .listResourceTemplates, .listTasks: list
        case .complete: completion
        case .initialize: handshake
        case .listen: listen
        case .getTask, .taskResult, .updateTask, .cancelTask: task
        case .ping, .setLogLevel, .discover, .initialized, .cancelled, .progress,
            .rootsListChanged:
            []
        }
    }

    private static let state = [
        Rule(member: "inputResponses", kind: .object, isOptional: true),
        Rule(member: "requestState", kind: .string, isOptional: true),
    ]
    private static let toolCall =
        [
            Rule(member: "name", kind: .string),
            Rule(member: "arguments", kind: .object, isOptional: true),
        ] + state
    private static let prompt =
        [
            Rule(member: "name", kind: .string),
            Rule(member: "arguments", kind: .object, isOptional: true),
        ] + state
    private static let resource = [Rule(member: "uri", kind: .string)] + state
    private static let list = [Rule(member: "cursor", kind: .string, isOptional: true)]
    private static let completion = [
        Rule(member: "ref", kind: .object), Rule(member: "argument", kind: .object),
    ]
    private static let handshake = [
        Rule(member: "protocolVersion", kind: .string),
        Rule(member: "capabilities", kind: .object),
        Rule(member: "clientInfo", kind: .object),
    ]
    private static let listen = [Rule(member: "notifications", kind: .object)]
    private static let task = [Rule(member: "taskId", kind: .string)]
}

/// The parameters of `tools/call`.
public struct ToolCallParams: Sendable {
    /// The tool's name as the client knows it.
    public let name: Text
    /// The arguments; an object, or nil if there are none.
    public let arguments: JSONValue?
    /// `_meta`, with the envelope still in it.
    public let meta: JSONValue?

    /// Reads the parameters of a request, or nothing if it is no tool call.
    public init?(_ request: InboundRequest) {
        guard request.known == .callTool, let name = request.params?["name"]?.string else {
            return nil
        }
        self.name = name
        arguments = request.params?["arguments"]
        meta = request.params?["_meta"]
    }
}

/// The parameters of `initialize`.
public struct InitializeParams: Sendable {
    /// The version the client proposes, known or not.
    public let protocolVersion: Text
    /// What the client can do; an object.
    public let capabilities: JSONValue
    /// Who the client says it is; an object.
    public let clientInfo: JSONValue

    /// Reads the parameters of a request, or nothing if it is no handshake.
    public init?(_ request: InboundRequest) {
        guard request.known == .initialize, let params = request.params,
            let version = params["protocolVersion"]?.string,
            let capabilities = params["capabilities"], let clientInfo = params["clientInfo"]
        else { return nil }
        self.protocolVersion = version
        self.capabilities = capabilities
        self.clientInfo = clientInfo
    }

    /// The version that both will speak: the proposed one if it is served, else the newest legacy one.
    ///
    /// Nil if no legacy revision is served at all.
    public func negotiated(among served: [ProtocolRevision]) -> ProtocolRevision? {
        let legacy = served.filter { $0.era == .legacy }
        if let proposed = ProtocolRevision(protocolVersion), legacy.contains(proposed) {
            return proposed
        }
        return legacy.max()
    }
}
