/// What can go wrong between this process and PostgreSQL.
///
/// No case carries a parameter's value. The server's message often does ("invalid input syntax for type integer:
/// …"), and its detail nearly always ("Key (id)=(…) already exists"), so both are dropped; what stays are codes and
/// names. A message is kept only when the server could not have known a value: see ``ServerError/message``.
public enum PostgresError: Error, Sendable, Equatable {
    /// The server refused a statement.
    ///
    /// See ``ServerError/isRetryable`` for whether a retry helps.
    case server(ServerError)
    /// No connection could be made.
    ///
    /// Retrying later may help.
    case connectFailed(ConnectFailure)
    /// The connection was lost and nothing of the operation took effect.
    ///
    /// Retrying is safe.
    case connectionLost
    /// The connection was lost after a statement that commits was sent: it may or may not have taken effect.
    ///
    /// Retry only what is idempotent, or look first.
    case outcomeUnknown
    /// A parameter cannot be sent.
    ///
    /// Retrying does not help.
    case parameter(position: Int, ValueProblem)
    /// The SQL text or an identifier in it cannot be sent.
    ///
    /// Retrying does not help.
    case invalidStatement(StatementProblem)
    /// A column cannot be read as the type asked for.
    ///
    /// Retrying does not help.
    case column(ColumnError)
    /// The number of rows was not the one the caller relies on.
    case unexpectedRowCount(Int)
    /// The transaction had already failed, so COMMIT rolled it back.
    case transactionRolledBack
    /// An earlier statement of the pipeline failed, so this one did not run.
    case skipped
    /// The task was cancelled before anything was committed.
    case cancelled
    /// No connection became free in time, or too many callers already wait.
    ///
    /// Retrying later may help.
    case poolExhausted
    /// The server has been away for a while and callers are refused at once.
    ///
    /// Retrying later may help.
    case serverAway
    /// The client or the connection was closed by its owner.
    case closed
}

/// Why SQL text cannot be sent.
public enum StatementProblem: Sendable, Equatable {
    /// A NUL byte, at which C would cut the text.
    case containsNUL
    /// An identifier that is empty or longer than PostgreSQL keeps (63 bytes), so that two could become one.
    case identifierLength
    /// More parameters than the protocol can number (65,535).
    case tooManyParameters
}

/// Why a connection could not be made.
public struct ConnectFailure: Error, Sendable, Equatable {
    /// The kind of failure.
    public enum Reason: Sendable, Equatable {
        /// The connection string or a setting in it is not understood.
        case badConfiguration
        /// The time allowed ran out.
        case timeout
        /// The server is not there, or refused us.
        case refused
    }

    /// The kind of failure.
    public let reason: Reason
    /// What libpq says, in one line; names hosts and roles, never passwords.
    public let message: String
}

/// Why a column cannot be read.
public struct ColumnError: Error, Sendable, Equatable {
    /// The kind of failure.
    public enum Reason: Sendable, Equatable {
        /// There is no such column.
        case missing
        /// The column is NULL and the type is not optional.
        case null
        /// The column has another type.
        case type(PostgresType)
        /// The bytes are not that type's binary form.
        case malformed
    }

    /// The column's name, or its number where it has none.
    public let column: String
    /// The kind of failure.
    public let reason: Reason
    /// The Swift type asked for.
    public let expected: String
}

/// The five characters PostgreSQL classifies errors by (appendix A of its manual).
public struct SQLState: Sendable, Hashable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// The code, for example `23505`.
    public let code: String

    /// A code by its five characters.
    public init(_ code: String) {
        self.code = code
    }

    /// A code by its five characters.
    public init(stringLiteral code: String) {
        self.code = code
    }

    /// The code itself.
    public var description: String { code }

    /// The first two characters, for example `23` for integrity constraints.
    public var `class`: Substring { code.prefix(2) }

    /// A serializable transaction met a concurrent one; run it again.
    public static let serializationFailure: SQLState = "40001"
    /// The deadlock detector chose this transaction; run it again.
    public static let deadlockDetected: SQLState = "40P01"
    /// A row with this key exists.
    public static let uniqueViolation: SQLState = "23505"
    /// A referenced row does not exist, or a referencing one does.
    public static let foreignKeyViolation: SQLState = "23503"
    /// A CHECK said no.
    public static let checkViolation: SQLState = "23514"
    /// A NOT NULL column got NULL.
    public static let notNullViolation: SQLState = "23502"
    /// The role has no right to do this.
    public static let insufficientPrivilege: SQLState = "42501"
    /// Cancelled by us or by `statement_timeout`.
    public static let queryCanceled: SQLState = "57014"
    /// The text is not SQL.
    public static let syntaxError: SQLState = "42601"
    /// There is no such table.
    public static let undefinedTable: SQLState = "42P01"
    /// A column does not exist.
    public static let undefinedColumn: SQLState = "42703"
    /// The lock was not free (NOWAIT, or `lock_timeout`).
    public static let lockNotAvailable: SQLState = "55P03"
}

/// What the server said about a failed statement, without any value in it.
public struct ServerError: Error, Sendable, Equatable {
    /// The error's class and condition.
    public let sqlState: SQLState
    /// The violated constraint, if one was.
    public let constraint: String?
    /// The schema, table, column and data type the error is about, where the server names them.
    public let schema: String?
    /// The table the error is about.
    public let table: String?
    /// The column the error is about.
    public let column: String?
    /// Where in the SQL text, in characters from 1.
    public let position: Int?
    /// The server's message, kept only for class 42 (syntax, names, rights) and only while no value was bound.
    ///
    /// That is what a mistaken statement yields when it is parsed, and all a developer needs; anything later may
    /// quote a parameter.
    public let message: String?

    /// Whether running the whole transaction again may succeed.
    public var isRetryable: Bool {
        sqlState == .serializationFailure || sqlState == .deadlockDetected
    }
}

extension PostgresError {
    /// The server's word, when it is one.
    public var serverError: ServerError? {
        if case .server(let error) = self { error } else { nil }
    }

    /// The server's code, when it gave one.
    public var sqlState: SQLState? { serverError?.sqlState }
}

extension PostgresError: CustomStringConvertible {
    /// What happened, in lower case, without any value.
    public var description: String {
        switch self {
        case .server(let error): error.description
        case .connectFailed(let failure): "could not connect: \(failure.message)"
        case .connectionLost: "connection lost, nothing took effect"
        case .outcomeUnknown: "connection lost, outcome unknown"
        case .parameter(let position, .containsNUL): "parameter \(position) contains a nul byte"
        case .parameter(let position, .outOfRange): "parameter \(position) is out of range"
        case .parameter(let position, .malformed): "parameter \(position) is malformed"
        case .invalidStatement(.containsNUL): "statement contains a nul byte"
        case .invalidStatement(.identifierLength): "identifier is empty or longer than 63 bytes"
        case .invalidStatement(.tooManyParameters): "statement has more than 65535 parameters"
        case .column(let error): error.description
        case .unexpectedRowCount(let count): "unexpected number of rows: \(count)"
        case .transactionRolledBack: "transaction had failed and was rolled back"
        case .skipped: "not run, an earlier statement of the pipeline failed"
        case .cancelled: "cancelled"
        case .poolExhausted: "no database connection became free"
        case .serverAway: "database server is away"
        case .closed: "closed"
        }
    }
}

extension ServerError: CustomStringConvertible {
    /// The code and the names that came with it.
    public var description: String {
        var text = "sqlstate \(sqlState.code)"
        if let constraint { text += ", constraint \(constraint)" }
        if let table { text += ", table \(table)" }
        if let column { text += ", column \(column)" }
        if let position { text += ", at character \(position)" }
        if let message { text += ": \(message)" }
        return text
    }
}

extension ColumnError: CustomStringConvertible {
    /// The column and what is wrong with it.
    public var description: String {
        switch reason {
        case .missing: "no column \(column)"
        case .null: "column \(column) is null, expected \(expected)"
        case .type(let type): "column \(column) has type oid \(type.oid), expected \(expected)"
        case .malformed: "column \(column) is not a well-formed \(expected)"
        }
    }
}
