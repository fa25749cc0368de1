import AdminAPI
import ControlStore
import Cryptography
import GatewayModel
import JSON
import Postgres

// Proxies and the tokens that enrol them.
extension RESTHandlers {
    func listProxies(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.proxies(
            of: try call.namespaceID,
            after: page.after,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func readProxy(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        .resource(try await proxy(call, transaction).json())
    }

    /// It keeps the name for good: records name it.
    func revokeProxy(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let row = try await proxy(call, transaction)
        if try await store.revokeProxy(row.name, of: namespace, in: transaction) {
            let after = try await proxy(call, transaction).json()
            try await call.entry(on: row.name.text, after: after, of: namespace)
                .insert(in: transaction)
        }
        return .nothing
    }

    private func proxy(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> ProxyRow {
        let rows = try await store.proxies(
            of: try call.namespaceID,
            named: InstanceID(call.parameters[1]),
            after: nil,
            limit: 1,
            in: transaction
        )
        guard let row = rows.first else { throw Problem(.notFound) }
        return row
    }

    // MARK: - Enrolment tokens

    func listEnrolmentTokens(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.enrolmentTokens(
            of: try call.namespaceID,
            after: try page.timeAndID,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createEnrolmentToken(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let name = InstanceID(try call.text("proxy"))
        guard name != EpochStore.control else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/proxy", .form, "the name belongs to control itself")]
            )
        }
        let present = try await store.proxies(
            of: namespace,
            named: name,
            after: nil,
            limit: 1,
            in: transaction
        )
        guard present.first?.revokedAt == nil else {
            throw Problem(.alreadyExists, "a proxy of this name was revoked, and stays so")
        }
        let token = EnrolmentToken.random()
        let id = try await store.addEnrolmentToken(
            Secret(token),
            for: name,
            of: namespace,
            lifetimeSeconds: call.body?["ttlSeconds"]?.int64 ?? 3600,
            in: transaction
        )
        let rows = try await store.enrolmentTokens(
            of: namespace,
            id: id,
            limit: 1,
            in: transaction
        )
        guard let row = rows.first else { throw Problem(.internalError) }
        try await call.entry(on: id, after: row.json(), of: namespace).insert(in: transaction)
        return RESTAnswer(status: 201, body: row.json(showing: token), location: call.location(id))
    }

    func withdrawEnrolmentToken(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let id = call.parameters[1]
        let rows = try await store.enrolmentTokens(
            of: namespace,
            id: id,
            limit: 1,
            in: transaction
        )
        guard rows.first != nil else { throw Problem(.notFound) }
        if try await store.withdrawEnrolmentToken(id, of: namespace, in: transaction) {
            try await call.entry(on: id, after: nil, of: namespace).insert(in: transaction)
        }
        return .nothing
    }
}

/// One-time tokens that enrol proxies: 256 random bits behind a prefix that secret scanners can know.
enum EnrolmentToken {
    static func random() -> [UInt8] {
        Array("ost_\(Base64.encode(SecureRandom.bytes(32), .url))".utf8)
    }
}

/// Tokens of the REST interface: 256 random bits behind a prefix that secret scanners can know.
enum APIToken {
    static func random() -> [UInt8] {
        Array("osa_\(Base64.encode(SecureRandom.bytes(32), .url))".utf8)
    }
}
