/// Whether a database takes writes at all.
///
/// A standby and a database that an administrator made read-only answer every question, and refuse the first record.
public enum WritabilityCheck {
    static let question: Query =
        "select pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'"

    /// Why nothing can be written.
    public enum Refusal: String, Sendable, Equatable, CustomStringConvertible {
        /// The server follows another one, which is where writes belong, or is still in recovery.
        case standby = "the database is a standby, which takes no writes"
        /// Transactions of this user in this database are read-only by default: `default_transaction_read_only` is on.
        case readOnly = "the database is read-only: default_transaction_read_only is on"

        /// The reason, in a sentence.
        public var description: String { rawValue }
    }

    /// Asks the server as this connection's role sees it, since settings may differ by role and database.
    ///
    /// Returns nil when transactions may write.
    public static func refusal(
        _ client: PostgresClient
    ) async throws(PostgresError) -> Refusal? {
        try await refusal(client.query(question))
    }

    static func refusal(_ answer: Rows) throws(PostgresError) -> Refusal? {
        let (isStandby, isReadOnly) = try answer.one().decode(Bool.self, Bool.self)
        return isStandby ? .standby : isReadOnly ? .readOnly : nil
    }
}
