import AdminAPI
import AuditLog
import ControlStore
import GatewayModel
import JSON
import Postgres

// Records of calls, and records of what administrators did.
extension RESTHandlers {
    func listRecords(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        guard let namespace = call.namespace?.namespace else { throw Problem(.internalError) }
        let page = try call.page
        let filter = RecordFilter(
            kind: call.query["kind"].flatMap { AuditRecord.Kind(rawValue: $0.string) },
            subject: call.query["subject"].map { SubjectID($0) },
            server: call.query["server"].map { ServerName($0) },
            tool: call.query["tool"].map { ToolName($0) },
            answer: call.query["answer"],
            from: try call.time("from"),
            to: try call.time("to")
        )
        let rows = try await records.page(
            of: namespace,
            after: try page.numberOrZero,
            limit: page.limit + 1,
            filter: filter,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func readRecord(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        guard let namespace = call.namespace?.namespace,
            let position = Int64(call.parameters[1].string)
        else { throw Problem(.internalError) }
        let rows = try await records.page(
            of: namespace,
            after: position - 1,
            limit: 1,
            in: transaction
        )
        guard let row = rows.first, row.arrival == position else { throw Problem(.notFound) }
        return .resource(row.json())
    }

    func listAdminRecords(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.adminRecords(
            of: try await namespaceOfQuery(call, transaction),
            after: try page.numberOrZero,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    /// The namespace that a list is narrowed to: the token's own, or the one that is asked for.
    private func namespaceOfQuery(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> NamespaceID? {
        let own = call.caller.namespace
        guard let name = call.query["namespace"] else { return own?.id }
        guard own == nil || own?.name.text == name,
            let row = try await store.namespace(
                NamespaceName(name),
                in: transaction,
                locking: false
            )
        else { throw Problem(.notFound) }
        return row.namespace.id
    }
}

extension RESTCall {
    /// A time of the query.
    fileprivate func time(_ name: Text) throws(Problem) -> GatewayModel.Timestamp? {
        guard let text = query[name] else { return nil }
        guard let time = GatewayModel.Timestamp(requested: text) else {
            throw Problem(
                .parameterInvalid,
                "see errors",
                errors: [.init(name, .form, "is not a time")]
            )
        }
        return time
    }
}

extension GatewayModel.Timestamp {
    /// A time of a request, which may leave out fractions.
    init?(requested text: Text) {
        var digits = Array(text.utf8.dropLast())
        if !digits.contains(UInt8(ascii: ".")) { digits.append(UInt8(ascii: ".")) }
        while digits.count < 26 { digits.append(UInt8(ascii: "0")) }
        self.init(rfc3339: digits + [UInt8(ascii: "Z")])
    }
}
