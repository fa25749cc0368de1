/// Whether the database keeps what it says it has committed.
///
/// Evidence rests on COMMIT meaning "on disk". Three settings can take that meaning away, and whoever finds one off
/// refuses to start (ARCHITECTURE, "Durability").
public enum DurabilityCheck {
    /// Why this database is not to be trusted with evidence.
    public struct Refusal: Sendable, Equatable, CustomStringConvertible {
        /// The settings that are off, by name.
        public let settings: [String]

        /// The settings, in a sentence.
        public var description: String {
            "the database may lose committed transactions: "
                + settings.map { "\($0) is off" }.joined(separator: ", ")
        }
    }

    /// Asks the server as this connection's role sees it, since settings may differ by role and database.
    ///
    /// Returns nil when every commit is durable.
    public static func refusal(
        _ client: PostgresClient
    ) async throws(PostgresError) -> Refusal? {
        let rows = try await client.query(
            """
            select name
            from unnest(\(["fsync", "full_page_writes", "synchronous_commit"])) with ordinality as s (name, n)
            where current_setting(name) = 'off'
            order by n
            """
        )
        var settings: [String] = []
        for row in rows {
            settings.append(try row.decode(at: 0))
        }
        return settings.isEmpty ? nil : Refusal(settings: settings)
    }
}
