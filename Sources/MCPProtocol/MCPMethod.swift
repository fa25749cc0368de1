public import JSON

/// The methods of the protocol that a client may send, and what each is.
///
/// Methods that a server sends are in ``ServerMethod``. A name that is in neither stays representable as `Text`
/// in its message; nothing here makes an unknown method usable.
public enum MCPMethod: String, CaseIterable, Hashable, Sendable {
    case initialize
    case ping
    case setLogLevel = "logging/setLevel"
    case discover = "server/discover"
    case listTools = "tools/list"
    case callTool = "tools/call"
    case listPrompts = "prompts/list"
    case getPrompt = "prompts/get"
    case listResources = "resources/list"
    case listResourceTemplates = "resources/templates/list"
    case readResource = "resources/read"
    case subscribeResource = "resources/subscribe"
    case unsubscribeResource = "resources/unsubscribe"
    case complete = "completion/complete"
    case listen = "subscriptions/listen"
    case getTask = "tasks/get"
    case taskResult = "tasks/result"
    case listTasks = "tasks/list"
    case updateTask = "tasks/update"
    case cancelTask = "tasks/cancel"
    case initialized = "notifications/initialized"
    case cancelled = "notifications/cancelled"
    case progress = "notifications/progress"
    case rootsListChanged = "notifications/roots/list_changed"

    /// Whether an answer is expected.
    public enum Kind: Hashable, Sendable {
        /// Yes: the message has an id.
        case request
        /// No: it has none.
        case notification
    }

    /// What has to be durable before the message may have an effect.
    public enum Gate: Hashable, Sendable {
        /// The intent: it reaches a server, and may change something or reveal content there.
        case gated
        /// Nothing: lists, handshakes, pings; recorded, but not waited for.
        case discovery
    }

    /// Finds a method by its name, byte for byte.
    public init?(_ name: Text) {
        guard let method = Self.byName[name] else { return nil }
        self = method
    }

    private static let byName = Dictionary(
        uniqueKeysWithValues: allCases.map { (Text($0.rawValue), $0) }
    )

    /// Whether an answer is expected.
    public var kind: Kind {
        switch self {
        case .initialized, .cancelled, .progress, .rootsListChanged: .notification
        default: .request
        }
    }

    /// What has to be durable first; an unknown method counts as gated.
    public var gate: Gate {
        switch self {
        case .callTool, .getPrompt, .readResource, .subscribeResource, .unsubscribeResource,
            .complete, .listen, .getTask, .taskResult, .updateTask, .cancelTask, .listTasks:
            .gated
        case .initialize, .ping, .setLogLevel, .discover, .listTools, .listPrompts,
            .listResources, .listResourceTemplates, .initialized, .cancelled, .progress,
            .rootsListChanged:
            .discovery
        }
    }

    /// Whether a client of this revision may send it.
    public func exists(in revision: ProtocolRevision) -> Bool {
        switch self {
        case .listTools, .callTool, .listPrompts, .getPrompt, .listResources,
            .listResourceTemplates, .readResource, .complete, .cancelled:
            true
        case .initialize, .ping, .setLogLevel, .subscribeResource, .unsubscribeResource,
            .initialized, .progress, .rootsListChanged:
            revision.era == .legacy
        case .discover, .listen:
            revision.era == .modern
        case .taskResult, .listTasks:
            revision == .r2025_11_25
        case .getTask, .cancelTask:
            // In 2026-07-28 through the tasks extension.
            revision >= .r2025_11_25
        case .updateTask:
            revision.era == .modern
        }
    }

    /// The member of `params` that `Mcp-Name` mirrors.
    public var nameMember: StaticString? {
        switch self {
        case .callTool, .getPrompt: "name"
        case .readResource: "uri"
        case .getTask, .updateTask, .cancelTask: "taskId"
        default: nil
        }
    }

    /// Whether a complete result must carry caching hints since 2026-07-28.
    public var hasCachingHints: Bool {
        switch self {
        case .discover, .listTools, .listPrompts, .listResources, .listResourceTemplates,
            .readResource:
            true
        default:
            false
        }
    }
}

/// The methods that a server may send.
public enum ServerMethod: String, CaseIterable, Hashable, Sendable {
    case ping
    case createMessage = "sampling/createMessage"
    case listRoots = "roots/list"
    case elicit = "elicitation/create"
    case cancelled = "notifications/cancelled"
    case progress = "notifications/progress"
    case message = "notifications/message"
    case toolsListChanged = "notifications/tools/list_changed"
    case promptsListChanged = "notifications/prompts/list_changed"
    case resourcesListChanged = "notifications/resources/list_changed"
    case resourceUpdated = "notifications/resources/updated"
    case elicitationComplete = "notifications/elicitation/complete"
    case taskStatus = "notifications/tasks/status"
    case subscriptionsAcknowledged = "notifications/subscriptions/acknowledged"

    /// Finds a method by its name, byte for byte.
    public init?(_ name: Text) {
        guard let method = Self.byName[name] else { return nil }
        self = method
    }

    private static let byName = Dictionary(
        uniqueKeysWithValues: allCases.map { (Text($0.rawValue), $0) }
    )

    /// Whether a server of this revision may send it.
    public func exists(in revision: ProtocolRevision) -> Bool {
        switch self {
        case .ping, .createMessage, .listRoots: revision.era == .legacy
        case .elicit: revision.era == .legacy && revision >= .r2025_06_18
        case .elicitationComplete, .taskStatus: revision == .r2025_11_25
        case .subscriptionsAcknowledged: revision.era == .modern
        case .cancelled, .progress, .message, .toolsListChanged, .promptsListChanged,
            .resourcesListChanged, .resourceUpdated:
            true
        }
    }
}
