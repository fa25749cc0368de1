import AdminAPI
import ControlStore
import GatewayModel
import GatewayPolicy
import JSON
import Postgres

// Releases of policies and their activations.
extension RESTHandlers {
    func listReleases(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.releases(
            of: try call.namespaceID,
            before: try page.numberOrMax,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createRelease(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let given = try documents(call)
        var documents = given
        if call.body?["basedOn"]?.stringEquals("active") == true {
            let active = try await store.activeRelease(of: namespace, in: transaction)
            documents += (active?.release.documents ?? []).filter { document in
                !given.contains { $0.name == document.name }
            }
        }
        try compile(documents, given: given)
        let number = try await store.makeRelease(
            documents,
            by: call.caller.id,
            in: namespace,
            in: transaction
        )
        let activation: [ConfigurationEdit] =
            call.body?["activate"]?.boolean == true
            ? [.activation(release: UInt64(number), by: call.caller.id)] : []
        var body: [UInt8]?
        _ = try await change(activation, call, target: Text("\(number)"), transaction) {
            let row = try await store.release(number, of: namespace, in: $0)
            body = row?.wholeJSON()
            // The trail names the release; its text stands beside it for good.
            return row?.json()
        }
        guard let body else { throw Problem(.internalError) }
        return .resource(body, status: 201, location: call.location(Text("\(number)")))
    }

    func readRelease(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        guard let number = Int64(call.parameters[1].string),
            let row = try await store.release(number, of: try call.namespaceID, in: transaction)
        else { throw Problem(.notFound) }
        return .resource(row.wholeJSON())
    }

    func listActivations(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.activations(
            of: try call.namespaceID,
            before: try page.numberOrMax,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createActivation(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        guard let number = call.body?["release"]?.int64 else { throw Problem(.internalError) }
        guard let row = try await store.release(number, of: namespace, in: transaction) else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/release", .reference, "no such release")]
            )
        }
        // Stored by another build, perhaps: what this one cannot enforce must not come into force.
        try compile(row.release.documents, given: [])
        let body = try await change(
            [.activation(release: UInt64(number), by: call.caller.id)],
            call,
            target: Text("\(number)"),
            transaction
        ) {
            try await store.activations(of: namespace, before: .max, limit: 1, in: $0).first?.json()
        }
        guard let body else { throw Problem(.internalError) }
        return RESTAnswer(status: 201, body: body)
    }

    private func documents(_ call: RESTCall) throws(Problem) -> [StoredRelease.Document] {
        var documents: [StoredRelease.Document] = []
        guard let given = call.body?["documents"] else { throw Problem(.internalError) }
        for (index, value) in given.elements.enumerated() {
            guard let name = value["name"]?.string, let source = value["source"]?.string else {
                throw Problem(.internalError)
            }
            guard !documents.contains(where: { $0.name == name }) else {
                throw Problem(
                    .requestInvalid,
                    "see errors",
                    errors: [.init(Text("/documents/\(index)/name"), .duplicate)]
                )
            }
            documents.append(.init(name: name, source: source))
        }
        return documents
    }

    /// What does not compile is never stored.
    private func compile(
        _ documents: [StoredRelease.Document],
        given: [StoredRelease.Document]
    ) throws(Problem) {
        do throws(PolicyRelease.Failure) {
            _ = try PolicyRelease(
                number: 1,
                documents: documents.map { .init(name: $0.name, source: $0.source) }
            )
        } catch {
            throw Problem(
                .policyInvalid,
                "see errors",
                errors: error.findings.prefix(Schema.errorsMax).map { finding in
                    let index = given.firstIndex { $0.name == finding.document }
                    return FieldError(
                        index.map { Text("/documents/\($0)/source") } ?? "/documents",
                        .policy,
                        finding.message,
                        line: finding.line,
                        column: finding.column
                    )
                }
            )
        }
    }
}

extension PageRequest {
    /// The key of the last item as a number; of the first page, one above all.
    var numberOrMax: Int64 {
        get throws(Problem) {
            guard let after else { return .max }
            return try number(after)
        }
    }

    /// The key of the last item as a number; of the first page, one below all.
    var numberOrZero: Int64 {
        get throws(Problem) {
            guard let after else { return 0 }
            return try number(after)
        }
    }

    /// The key of the last item as a time and an id.
    var timeAndID: (createdAt: GatewayModel.Timestamp, id: Text)? {
        get throws(Problem) {
            guard let after else { return nil }
            let pieces = after.utf8.split(separator: UInt8(ascii: " ")).map {
                String(decoding: $0, as: UTF8.self)
            }
            guard pieces.count == 2, let microseconds = Int64(pieces[0]) else { throw refusal }
            return (GatewayModel.Timestamp(microseconds: microseconds), Text(pieces[1]))
        }
    }

    private func number(_ text: Text) throws(Problem) -> Int64 {
        guard let number = Int64(text.string), number >= 0 else { throw refusal }
        return number
    }

    private var refusal: Problem {
        Problem(
            .parameterInvalid,
            "see errors",
            errors: [.init("cursor", .form, "is not a cursor of this list")]
        )
    }
}
