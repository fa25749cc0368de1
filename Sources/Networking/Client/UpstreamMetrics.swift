import CoreMetrics

/// The handles that all pools count with, made once.
enum UpstreamMetrics {
    static let connections = Meter(label: "ostiary.upstream.connections")
    static let waiting = Meter(label: "ostiary.upstream.waiting")
    static let connectionsReached = LimitCounter.make("upstream_connections")
    static let waitingReached = LimitCounter.make("upstream_waiting")
    static let answerBytesReached = LimitCounter.make("answer_bytes")
}
