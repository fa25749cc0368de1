import CoreMetrics

/// The bounds that are reported when they are reached: the values of the attribute `ostiary.limit`.
///
/// docs/reference/limits.md has a row for each. `Networking`, which lies beside this module, writes its own as literals;
/// TidyTests holds both against this list.
public enum Limit: String, CaseIterable, Sendable {
    // HTTP, counted by Networking.
    case headBytes = "head_bytes"
    case headFields = "head_fields"
    case targetBytes = "target_bytes"
    case messageBytes = "message_bytes"
    case headTime = "head_time"
    case bodyTime = "body_time"
    case idleTime = "idle_time"
    case connections
    case answerBytes = "answer_bytes"
    case upstreamConnections = "upstream_connections"
    case upstreamWaiting = "upstream_waiting"
    // The proxy.
    case json
    case callTime = "call_time"
    case openTime = "open_time"
    case tools
    case tokens
    case sessions
    case intentTime = "intent_time"
    case owedBytes = "owed_bytes"
    case lease
    case refusedArguments = "refused_arguments"
    // Control.
    case recordBytes = "record_bytes"
    case batchRecords = "batch_records"
    case ingestWaiting = "ingest_waiting"
    case leasesWaiting = "leases_waiting"
    case simulationsOpen = "simulations_open"
    case simulationRecords = "simulation_records"
    case simulationAttempts = "simulation_attempts"
    case issuerBytes = "issuer_bytes"
    case issuerTime = "issuer_time"
    case issuerKeys = "issuer_keys"
    case issuersWaiting = "issuers_waiting"
    case restBodyBytes = "rest_body_bytes"
    case restTargetBytes = "rest_target_bytes"
    case restHeadBytes = "rest_head_bytes"
    case restConnections = "rest_connections"
    case restPageItems = "rest_page_items"
    case restErrors = "rest_errors"
    // Every process.
    case drainTime = "drain_time"
    case metricSeries = "metric_series"

    /// Made once, so that counting is one addition.
    private static let counters: [Counter] = allCases.map {
        Counter(label: "ostiary.limit.reached", dimensions: [("ostiary.limit", $0.rawValue)])
    }
    private static let positions: [Limit: Int] = Dictionary(
        uniqueKeysWithValues: allCases.enumerated().map { ($1, $0) }
    )

    /// Counts that it was reached.
    public func reached() {
        guard let position = Self.positions[self] else { return }
        Self.counters[position].increment()
    }
}
