public import GatewayModel
public import JSON
public import Postgres

/// One act of an administrator, to go on record in the transaction that does it: `admin_record`.
public struct AdminEntry: Sendable {
    /// Where; `nil`: the installation.
    public var namespace: NamespaceID?
    /// Who: the id of an API token, or `command:` and the name of a command.
    public var actor: Text
    /// What people call the actor.
    public var actorName: Text
    /// The request that did it.
    public var requestID: Text
    /// What was done: the `operationId`, or the name of a command.
    public var operation: Text
    /// To what.
    public var target: Text
    /// What it became, as JSON without secrets; `nil`: it is gone.
    public var after: [UInt8]?

    /// An act.
    public init(
        namespace: NamespaceID?,
        actor: Text,
        actorName: Text,
        requestID: Text,
        operation: Text,
        target: Text,
        after: [UInt8]? = nil
    ) {
        self.namespace = namespace
        self.actor = actor
        self.actorName = actorName
        self.requestID = requestID
        self.operation = operation
        self.target = target
        self.after = after
    }

    /// An act of whoever runs a command on control's machine.
    public static func command(_ name: Text, on target: Text, of namespace: NamespaceID?) -> Self {
        Self(
            namespace: namespace,
            actor: Text("command:\(name)"),
            actorName: "operator",
            requestID: "none",
            operation: name,
            target: target
        )
    }

    /// Puts the act on record.
    ///
    /// The lock makes numbers follow the order of commits; nothing slow comes after it.
    public func insert(in transaction: borrowing Transaction) async throws(StoreError) {
        _ = try await transaction.run(
            "select pg_advisory_xact_lock(hashtextextended('admin_record', 0))"
        )
        _ = try await transaction.run(
            """
            insert into admin_record (namespace_id, actor, actor_name, request_id, operation,
                target, after)
            values (\(namespace), \(actor.string), \(actorName.string), \(requestID.string),
                \(operation.string), \(target.string),
                \(after.map { String(decoding: $0, as: UTF8.self) })::text::jsonb)
            """
        )
    }
}

/// An act on record.
public struct AdminRow: Sendable, Listed {
    /// Its number, in the order of commits.
    public let id: Int64
    /// When.
    public let at: GatewayModel.Timestamp
    /// The namespace's name; `nil`: the installation.
    public let namespace: NamespaceName?
    /// Who.
    public let actor: Text
    /// What people call the actor.
    public let actorName: Text
    /// The request that did it.
    public let requestID: Text
    /// What was done.
    public let operation: Text
    /// To what.
    public let target: Text
    /// What it became, JSON.
    public let after: Text?
    /// Its number.
    public var key: Text { Text("\(id)") }
}

extension AdministrationStore {
    /// Acts, oldest first.
    public func adminRecords(
        of namespace: NamespaceID?,
        after id: Int64,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [AdminRow] {
        let rows = try await transaction.run(
            """
            select a.id, a.at, n.name, a.actor, a.actor_name, a.request_id, a.operation, a.target,
                a.after::text
            from admin_record a left join namespace n on n.id = a.namespace_id
            where (\(namespace)::uuid is null or a.namespace_id = \(namespace)) and a.id > \(id)
            order by a.id limit \(Int64(limit))
            """
        )
        return try storing {
            try rows.map { row in
                AdminRow(
                    id: try row.decode(at: 0),
                    at: try row.time(at: 1),
                    namespace: try row.text(at: 2).map { NamespaceName($0) },
                    actor: try row.requiredText(at: 3),
                    actorName: try row.requiredText(at: 4),
                    requestID: try row.requiredText(at: 5),
                    operation: try row.requiredText(at: 6),
                    target: try row.requiredText(at: 7),
                    after: try row.text(at: 8)
                )
            }
        }
    }
}

// MARK: - Reading rows

extension Row {
    func time(at column: Int) throws(PostgresError) -> GatewayModel.Timestamp {
        .init(microseconds: try decode(at: column, as: Postgres.Timestamp.self).microseconds)
    }

    func timeOrNone(at column: Int) throws(PostgresError) -> GatewayModel.Timestamp? {
        try decode(at: column, as: Postgres.Timestamp?.self).map {
            .init(microseconds: $0.microseconds)
        }
    }

    func text(at column: Int) throws(PostgresError) -> Text? {
        try decode(at: column, as: String?.self).map { Text($0) }
    }

    func requiredText(at column: Int) throws(PostgresError) -> Text {
        Text(try decode(at: column, as: String.self))
    }

    func texts(at column: Int) throws(PostgresError) -> [Text] {
        try decode(at: column, as: [String].self).map { Text($0) }
    }
}

extension Transaction {
    /// One statement whose errors are the store's.
    borrowing func run(_ query: Query) async throws(StoreError) -> Rows {
        do throws(PostgresError) {
            return try await self.query(query)
        } catch {
            throw .database(error)
        }
    }
}
