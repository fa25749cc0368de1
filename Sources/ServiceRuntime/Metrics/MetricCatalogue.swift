/// What one metric is: the facts that an exporter and docs/reference/metrics.md need of it.
///
/// Names and units are those of the OpenTelemetry semantic conventions where there are any; ours stand under `ostiary.`. No
/// name says a unit or `total`: the exporter adds what its format wants.
public struct MetricDefinition: Sendable, Hashable {
    /// How values become a series.
    public enum Kind: String, Sendable {
        /// Counts up.
        case counter
        /// Goes up and down.
        case gauge
        /// Durations, counted in buckets.
        case histogram
    }

    /// The name, with dots.
    public let name: String
    /// How values become a series.
    public let kind: Kind
    /// UCUM: `s`, `By`, or an annotation such as `{record}`.
    public let unit: String
    /// What it says, in a sentence.
    public let summary: String

    init(_ name: String, _ kind: Kind, _ unit: String, _ summary: String) {
        self.name = name
        self.kind = kind
        self.unit = unit
        self.summary = summary
    }
}

/// Every metric of Ostiary's processes.
///
/// TidyTests holds this table against the names in Sources/ and against docs/reference/metrics.md.
public enum MetricCatalogue {
    /// In the order of the documentation.
    public static let all: [MetricDefinition] = [
        // Calls.
        .init(
            "mcp.server.operation.duration",
            .histogram,
            "s",
            "How long a client's message took, from its head to its answer."
        ),
        .init(
            "http.client.request.duration",
            .histogram,
            "s",
            "How long an exchange with an MCP server took, from the request to the end of its answer."
        ),
        .init(
            "ostiary.intent.duration",
            .histogram,
            "s",
            "How long a call waited for its intent to be durable."
        ),
        // The proxy's link and configuration.
        .init("ostiary.link.connected", .gauge, "{stream}", "Whether records flow to control."),
        .init("ostiary.link.attempts", .counter, "{attempt}", "Attempts to reach control."),
        .init(
            "ostiary.lease.remaining",
            .gauge,
            "s",
            "How long the configuration may be enforced."
        ),
        .init("ostiary.snapshot.version", .gauge, "{version}", "The configuration in force."),
        .init("ostiary.snapshot.refused", .counter, "{snapshot}", "Configurations not applied."),
        .init(
            "ostiary.shadow.refused",
            .counter,
            "{snapshot}",
            "Configurations whose release in shadow does not compile here."
        ),
        .init("ostiary.record.owed", .gauge, "{record}", "Records control has not acknowledged."),
        .init("ostiary.record.owed.size", .gauge, "By", "Their bytes."),
        .init("ostiary.record.unsent.size", .gauge, "By", "Bytes that wait for the next batch."),
        .init("ostiary.record.untaken", .counter, "{record}", "Records that could not be taken."),
        .init("ostiary.token.cached", .gauge, "{token}", "Verified tokens that are remembered."),
        .init(
            "ostiary.upstream.connections",
            .gauge,
            "{connection}",
            "Connections to MCP servers."
        ),
        .init("ostiary.upstream.waiting", .gauge, "{request}", "Requests that wait for one."),
        // Control.
        .init("ostiary.link.sessions", .gauge, "{session}", "Proxies that are connected."),
        .init(
            "http.server.request.duration",
            .histogram,
            "s",
            "How long a request of the REST interface took, from its head to its answer."
        ),
        .init("ostiary.ingest.duration", .histogram, "s", "How long a commit of records took."),
        .init("ostiary.ingest.records", .counter, "{record}", "Records that were looked at."),
        .init("ostiary.ingest.waiting", .gauge, "{batch}", "Batches that wait for their commit."),
        .init("ostiary.lease.waiting", .gauge, "{lease}", "Leases that wait to be stored."),
        .init("ostiary.epoch.closed", .counter, "{epoch}", "Epochs closed after lease and grace."),
        .init("ostiary.snapshot.published", .counter, "{snapshot}", "Configurations published."),
        .init(
            "ostiary.release.revalidated",
            .counter,
            "{release}",
            "Releases in force that were checked again, since they or the tools changed."
        ),
        .init(
            "ostiary.policy.invalid",
            .gauge,
            "{policy}",
            "Policies in force that do not fit the tools there are."
        ),
        .init(
            "ostiary.simulation.duration",
            .histogram,
            "s",
            "How long a worker had a simulation."
        ),
        .init(
            "ostiary.simulation.records",
            .counter,
            "{record}",
            "Records that simulations looked at."
        ),
        .init("db.client.connection.count", .gauge, "{connection}", "Connections to PostgreSQL."),
        .init(
            "db.client.connection.pending_requests",
            .gauge,
            "{request}",
            "Requests that wait for one."
        ),
        // Every process.
        .init("ostiary.limit.reached", .counter, "{event}", "A documented limit was reached."),
        .init("ostiary.listener.connections", .gauge, "{connection}", "Open connections."),
        .init(
            "ostiary.listener.refused",
            .counter,
            "{request}",
            "Requests that HTTP itself refused: malformed, too large, too slow."
        ),
        .init("process.cpu.time", .counter, "s", "Processor time used."),
        .init("process.memory.usage", .gauge, "By", "Resident memory."),
        .init(
            "process.unix.file_descriptor.count",
            .gauge,
            "{file_descriptor}",
            "Open file descriptors."
        ),
        .init("process.uptime", .gauge, "s", "Time since the start."),
    ]

    static let byName: [String: MetricDefinition] = Dictionary(
        uniqueKeysWithValues: all.map { ($0.name, $0) }
    )
}
