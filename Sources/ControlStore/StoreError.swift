public import Cryptography
public import Postgres

/// Why the store did not do what it was asked.
public enum StoreError: Error, Sendable, CustomStringConvertible {
    /// The database said no, or nothing; ``PostgresError`` says whether trying again helps.
    case database(PostgresError)
    /// A key could not be made, or what is stored under it could not be opened. Trying again does
    /// not help.
    case cryptography(CryptographyError)
    /// No such namespace.
    case namespaceUnknown
    /// No such instance, or its certificate was revoked.
    case instanceRefused
    /// The name belongs to control itself, or is no label.
    case nameRefused
    /// What is stored does not have the form this build writes; `what` is a table's name.
    case malformed(what: StaticString)
    /// The task was cancelled before anything was committed.
    case cancelled

    /// What happened, without any value.
    public var description: String {
        switch self {
        case .database(let error): "database: \(error)"
        case .cryptography(let error): "cryptography: \(error)"
        case .namespaceUnknown: "no such namespace"
        case .instanceRefused: "no such instance, or revoked"
        case .nameRefused: "a name is reserved or not well-formed"
        case .malformed(let what): "a stored row is malformed: \(what)"
        case .cancelled: "cancelled"
        }
    }
}

extension StoreError {
    /// The store's name for an error from inside a transaction.
    init(_ error: any Error) {
        switch error {
        case let error as StoreError: self = error
        case let error as PostgresError: self = .database(error)
        case let error as CryptographyError: self = .cryptography(error)
        case is CancellationError: self = .cancelled
        default: preconditionFailure("the store threw an error it does not know")
        }
    }
}

/// Does `body` under the store's names for errors.
func storing<Value>(_ body: () throws -> Value) throws(StoreError) -> Value {
    do {
        return try body()
    } catch {
        throw StoreError(error)
    }
}
