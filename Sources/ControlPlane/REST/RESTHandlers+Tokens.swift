import AdminAPI
import ControlStore
import Cryptography
import GatewayModel
import JSON
import Postgres
import ServiceRuntime

// Tokens of the REST interface, and access tokens for trials.
extension RESTHandlers {
    func listAPITokens(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.apiTokens(
            of: call.caller.namespace?.id,
            after: try page.timeAndID,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createAPIToken(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        guard let role = APITokenRow.Role(rawValue: try call.text("role").string) else {
            throw Problem(.internalError)
        }
        let namespace = call.body?["namespace"]?.string
        if let own = call.caller.namespace, namespace != own.name.text {
            throw Problem(.forbidden, "a token makes tokens for its own namespace only")
        }
        var namespaceID: NamespaceID?
        if let namespace {
            let row = try await store.namespace(
                NamespaceName(namespace),
                in: transaction,
                locking: false
            )
            guard let row else {
                throw Problem(
                    .requestInvalid,
                    "see errors",
                    errors: [.init("/namespace", .reference, "no such namespace")]
                )
            }
            namespaceID = row.namespace.id
        }
        let token = APIToken.random()
        let id = try await store.addAPIToken(
            Secret(token),
            name: try call.text("name"),
            role: role,
            namespace: namespaceID,
            lifetimeSeconds: call.body?["ttlSeconds"]?.int64 ?? 90 * 86_400,
            by: call.caller.id,
            in: transaction
        )
        let row = try await apiToken(id, call, transaction)
        try await call.entry(on: id, after: row.json(), of: namespaceID).insert(in: transaction)
        return RESTAnswer(status: 201, body: row.json(showing: token), location: call.location(id))
    }

    func readAPIToken(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        .resource(try await apiToken(call.parameters[0], call, transaction).json())
    }

    func revokeAPIToken(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let row = try await apiToken(call.parameters[0], call, transaction)
        if try await store.revokeAPIToken(row.id, in: transaction) {
            let after = try await apiToken(row.id, call, transaction).json()
            try await call.entry(on: row.id, after: after, of: row.namespace?.id)
                .insert(in: transaction)
        }
        return .nothing
    }

    private func apiToken(
        _ id: Text,
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> APITokenRow {
        let rows = try await store.apiTokens(
            of: call.caller.namespace?.id,
            id: id,
            limit: 1,
            in: transaction
        )
        guard let row = rows.first else { throw Problem(.notFound) }
        return row
    }

    // MARK: - Development tokens

    /// Makes the issuer and the subject where they are missing, so that one request leads to a first call.
    func createDevelopmentToken(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        guard let developmentIssuer else { throw Problem(.developmentTokensOff) }
        let namespace = try call.namespaceID
        let issuer = DevelopmentIssuer.name
        let name = try call.text("subject")
        var edits: [ConfigurationEdit] = []
        if try await store.identityProvider(issuer: issuer, of: namespace, in: transaction) == nil {
            edits.append(.identityProvider(try developmentIssuer.provider(audiences: [])))
        }
        let known = try await store.subject(
            named: name,
            issuer: issuer,
            of: namespace,
            in: transaction
        )
        let subject =
            known?.subject
            ?? Subject(
                id: SubjectID("sub_\(Postgres.UUID.random())"),
                issuer: issuer,
                name: name,
                kind: .user,
                status: .active,
                groups: call.texts("groups") ?? []
            )
        if known == nil { edits.append(.subject(subject)) }
        let lifetime = call.body?["ttlSeconds"]?.int64 ?? 3600
        let now = SystemClock.now()
        let token = try developmentIssuer.mint(
            subject: name,
            audience: try call.text("audience"),
            lifetimeSeconds: lifetime,
            now: now.seconds
        )
        let expiry = GatewayModel.Timestamp(seconds: now.seconds + lifetime)
        func facts(_ writer: inout JSONWriter) {
            writer.member("subject", subject.id.text)
            writer.time("expiresAt", expiry)
        }
        let after = JSONFragment(object: { facts(&$0) }).bytes
        _ = try await change(edits, call, target: subject.id.text, transaction) { _ in after }
        let body = JSONFragment(object: { writer in
            writer.member("token", Text(String(decoding: token, as: UTF8.self)))
            facts(&writer)
        })
        return RESTAnswer(status: 201, body: body.bytes)
    }
}
