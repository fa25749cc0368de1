import CoreMetrics
import GatewayModel
import JSON
import MCPProtocol
import ServiceRuntime
import Synchronization

// What the metrics of a message cost: one reading of the clock, one load and two additions. Everything that has a name is
// made when a configuration is compiled, or when an end happens for the first time.

/// How a message ended: the values of `error.type`, and success.
enum MessageEnding: Hashable {
    case succeeded
    /// The tool said so itself.
    case toolFailed
    /// The server answered with a protocol error.
    case serverError
    case stopped(Rejection.Code)

    static let count = 3 + Rejection.Code.allCases.count

    /// Where it stands in a table.
    var position: Int {
        switch self {
        case .succeeded: 0
        case .toolFailed: 1
        case .serverError: 2
        case .stopped(let code): 3 + (Self.positions[code] ?? 0)
        }
    }

    var errorType: String? {
        switch self {
        case .succeeded: nil
        case .toolFailed: "tool_error"
        case .serverError: "server_error"
        case .stopped(let code): code.rawValue
        }
    }

    private static let positions = Dictionary(
        uniqueKeysWithValues: Rejection.Code.allCases.enumerated().map { ($1, $0) }
    )
}

/// `mcp.server.operation.duration` of one method, server and tool: a series for each way it ended so far.
final class OperationTimers: Sendable {
    private static let capacity = 32

    private let dimensions: [(String, String)]
    private let made = InlineArray<32, AtomicLazyReference<Timer>> { _ in AtomicLazyReference() }

    /// - Parameters:
    ///   - server: a configured server, or `nil` when none was found.
    ///   - tool: an accepted tool; a name that a caller chose is never one.
    init(method: MCPMethod?, server: ServerName?, tool: ToolName? = nil) {
        precondition(MessageEnding.count <= Self.capacity, "every ending has its place")
        var dimensions = [
            ("mcp.method.name", method?.rawValue ?? "_OTHER"),
            ("ostiary.server", server?.text.string ?? "_OTHER"),
        ]
        if method == .callTool {
            dimensions.append(("gen_ai.tool.name", tool?.text.string ?? "_OTHER"))
        }
        self.dimensions = dimensions
    }

    func record(_ ending: MessageEnding, nanoseconds: Int64) {
        timer(ending).recordNanoseconds(nanoseconds)
    }

    private func timer(_ ending: MessageEnding) -> Timer {
        let position = ending.position
        if let known = made[position].load() { return known }
        let error = ending.errorType.map { [("error.type", $0)] } ?? []
        let timer = Timer(
            label: "mcp.server.operation.duration",
            dimensions: dimensions + error
        )
        return made[position].storeIfNil(timer)
    }
}

/// The timers of one configured server, by method; a tool's are with its pin.
struct ServerTimers: Sendable {
    /// Of messages that named no server, or none that is configured.
    static let unknown = ServerTimers(nil)

    private let methods: [MCPMethod: OperationTimers]
    private let other: OperationTimers

    init(_ server: ServerName?) {
        methods = Dictionary(
            uniqueKeysWithValues: MCPMethod.allCases.map {
                ($0, OperationTimers(method: $0, server: server))
            }
        )
        other = OperationTimers(method: nil, server: server)
    }

    subscript(method: MCPMethod?) -> OperationTimers {
        method.flatMap { methods[$0] } ?? other
    }
}

/// `http.client.request.duration` of one server: a series for each status and each way to fail.
final class ExchangeTimers: Sendable {
    /// The statuses that are told apart; a server can answer with any.
    private static let statuses = [
        200, 202, 400, 401, 403, 404, 405, 406, 415, 429, 500, 502, 503, 504,
    ]

    private let answered: [Int: Timer]
    private let answeredOther: Timer
    private let failed: [UpstreamFault.Kind: Timer]

    init(_ server: ServerName) {
        func timer(_ dimension: (String, String)) -> Timer {
            Timer(
                label: "http.client.request.duration",
                dimensions: [
                    ("http.request.method", "POST"), ("ostiary.server", server.text.string),
                    dimension,
                ]
            )
        }
        answered = Dictionary(
            uniqueKeysWithValues: Self.statuses.map {
                ($0, timer(("http.response.status_code", "\($0)")))
            }
        )
        answeredOther = timer(("http.response.status_code", "_OTHER"))
        failed = Dictionary(
            uniqueKeysWithValues: UpstreamFault.Kind.allCases.map {
                ($0, timer(("error.type", $0.rawValue)))
            }
        )
    }

    func answered(_ status: Int, nanoseconds: Int64) {
        (answered[status] ?? answeredOther).recordNanoseconds(nanoseconds)
    }

    func failed(_ kind: UpstreamFault.Kind, nanoseconds: Int64) {
        failed[kind]?.recordNanoseconds(nanoseconds)
    }
}

/// What the link counts, made once.
struct LinkMetrics: Sendable {
    let connected = Gauge(label: "ostiary.link.connected")
    let attempts = Counter(label: "ostiary.link.attempts")
    let leaseRemaining = Gauge(label: "ostiary.lease.remaining")
    let snapshotVersion = Gauge(label: "ostiary.snapshot.version")
    let snapshotRefused = Counter(label: "ostiary.snapshot.refused")
    let shadowRefused = Counter(label: "ostiary.shadow.refused")
    let owed = Gauge(label: "ostiary.record.owed")
    let owedSize = Gauge(label: "ostiary.record.owed.size")
    let unsentSize = Gauge(label: "ostiary.record.unsent.size")
    let untaken = Counter(label: "ostiary.record.untaken")
    let durable = Self.intent(nil)
    let refused = Self.intent(.recordRefused)
    let unavailable = Self.intent(.recordUnavailable)

    /// Counts what became of an intent, and how long that took.
    func record(_ verdict: IntentVerdict, nanoseconds: Int64) {
        let timer =
            switch verdict {
            case .durable: durable
            case .refused: refused
            case .overdue, .unavailable: unavailable
            }
        timer.recordNanoseconds(nanoseconds)
    }

    private static func intent(_ code: Rejection.Code?) -> Timer {
        Timer(
            label: "ostiary.intent.duration",
            dimensions: code.map { [("error.type", $0.rawValue)] } ?? []
        )
    }
}
