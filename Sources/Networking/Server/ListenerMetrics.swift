import CoreMetrics

/// The handles a listener counts with, made once.
final class ListenerMetrics: Sendable {
    let connections: Meter
    let connectionsReached = LimitCounter.make("connections")
    let headTime = LimitCounter.make("head_time")
    let bodyTime = LimitCounter.make("body_time")
    let idleTime = LimitCounter.make("idle_time")
    let drainTime = LimitCounter.make("drain_time")
    private let headBytes = LimitCounter.make("head_bytes")
    private let headFields = LimitCounter.make("head_fields")
    private let targetBytes = LimitCounter.make("target_bytes")
    private let messageBytes = LimitCounter.make("message_bytes")
    private let refusals: [Int: Counter]
    private let otherRefusals: Counter

    /// - Parameter name: which listener.
    init(_ name: String) {
        connections = Meter(
            label: "ostiary.listener.connections",
            dimensions: [("ostiary.listener", name)]
        )
        func refused(_ status: String) -> Counter {
            Counter(
                label: "ostiary.listener.refused",
                dimensions: [
                    ("ostiary.listener", name), ("http.response.status_code", status),
                ]
            )
        }
        let statuses = Set(HTTPFault.allCases.map(\.status) + [408, 500])
        refusals = Dictionary(uniqueKeysWithValues: statuses.map { ($0, refused("\($0)")) })
        otherRefusals = refused("_OTHER")
    }

    /// Requests that the codec answered itself.
    func refused(with status: Int) -> Counter { refusals[status] ?? otherRefusals }

    /// The limit a fault is about, if it is about one.
    func reached(by fault: HTTPFault) -> Counter? {
        switch fault {
        case .headTooLarge: headBytes
        case .tooManyFields: headFields
        case .targetTooLong: targetBytes
        case .bodyTooLarge: messageBytes
        default: nil
        }
    }
}

/// Counts when a documented limit is reached (docs/reference/limits.md).
enum LimitCounter {
    static func make(_ limit: String) -> Counter {
        Counter(label: "ostiary.limit.reached", dimensions: [("ostiary.limit", limit)])
    }
}
