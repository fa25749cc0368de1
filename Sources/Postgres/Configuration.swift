internal import CLibpq

/// How to reach one PostgreSQL database, and how long to wait for it.
///
/// The connection string is libpq's own (`postgresql://user@host/database?sslmode=verify-full&sslrootcert=…`, or
/// `host=… dbname=…`), so every setting libpq knows is available under its documented name. It may hold a password and
/// is never printed; better, name a `passfile` in it.
public struct Configuration: Sendable {
    let connectionString: String
    /// What `pg_stat_activity` calls these connections, unless the connection string says otherwise.
    public var applicationName: String
    /// How long a connection may take to be made, over all hosts.
    ///
    /// Default 5 s.
    public var connectTimeout: Duration = .seconds(5)
    /// How long the server works on one statement, `statement_timeout`; nil for ever.
    ///
    /// Default 30 s.
    ///
    /// If a server stays silent for longer than this and ``cancelGrace``, the connection is given up.
    public var statementTimeout: Duration? = .seconds(30)
    /// How long a transaction may wait for its client, `idle_in_transaction_session_timeout`.
    ///
    /// Default 60 s.
    public var idleTransactionTimeout: Duration? = .seconds(60)
    /// How long a cancelled statement may take to end before the connection is given up.
    ///
    /// Default 5 s.
    public var cancelGrace: Duration = .seconds(5)
    /// How many operations may wait for one connection.
    ///
    /// Default 16; one more throws ``PostgresError/poolExhausted``.
    public var waitingOperationsMax = 16
    /// How many prepared statements a connection keeps.
    ///
    /// Default 256; one more starts over.
    public var preparedStatementsMax = 256

    /// Checks the connection string without connecting.
    public init(
        _ connectionString: String,
        applicationName: String = "ostiary"
    ) throws(PostgresError) {
        // What libpq would say about a broken string quotes it, password and all.
        let failure = PostgresError.connectFailed(
            ConnectFailure(
                reason: .badConfiguration,
                message: "the connection string is not understood"
            )
        )
        guard !connectionString.utf8.contains(0) else { throw failure }
        guard let options = PQconninfoParse(connectionString, nil) else { throw failure }
        PQconninfoFree(options)
        self.connectionString = connectionString
        self.applicationName = applicationName
    }

    /// The keywords libpq gets, in order: of two that are equal the later one wins.
    var keywords: [(String, String)] {
        [
            // A peer that vanished without a word is noticed in about half a minute instead of two hours.
            ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
            ("tcp_user_timeout", "25000"),
            ("application_name", applicationName),
            ("dbname", connectionString),
            ("client_encoding", "UTF8"),
        ]
    }
}

extension Configuration: CustomStringConvertible, CustomReflectable {
    /// Without the connection string, which may hold a password.
    public var description: String { "postgres configuration <redacted>" }

    /// Empty, so that `dump` shows nothing either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
