import AdminAPI
import ControlStore
import Cryptography
import GatewayModel
import JSON
import Postgres

/// What the operations do, each in the transaction of its request.
struct RESTHandlers: Sendable {
    let store: AdministrationStore
    let namespaces: NamespaceStore
    let records: RecordStore
    let keys: KeyStore
    let releases: PolicyReleases
    /// Fetches what an issuer publishes; absent: key sets are given with the request.
    let keySets: (any KeySetSource)?
    /// Absent: development tokens are off.
    let developmentIssuer: DevelopmentIssuer?

    /// What an operation needs that takes its time, or a connection of its own.
    func prepare(_ call: RESTCall) async throws -> RESTCall.Prepared {
        var prepared = RESTCall.Prepared()
        switch call.operation.id {
        case .createServer, .updateServer:
            if let name = call.parameters.first,
                let namespace = try await namespaces.find(NamespaceName(name))
            {
                let keys = try await keys.keys(of: namespace.id)
                prepared.vault = try CredentialVault(keys, of: namespace.id)
            }
        case .createIdentityProvider:
            let issuer = try call.text("issuer")
            if call.body?["jwks"] == nil, call.body?["jwksUrl"] == nil,
                issuer != DevelopmentIssuer.name
            {
                prepared.keySet = try await fetchKeySet(of: issuer)
            }
        default: break
        }
        return prepared
    }

    /// Performs an operation; what it throws undoes everything.
    func perform(_ call: RESTCall, in transaction: borrowing Transaction) async throws -> RESTAnswer
    {
        var call = call
        let operation = call.operation
        if operation.access == .reading(.namespace) || operation.access == .writing(.namespace) {
            let isChanging = operation.access == .writing(.namespace)
            let row = try await namespace(of: call, locking: isChanging, in: transaction)
            // From here on the database itself shows nothing of any other namespace.
            try await store.enter(row.namespace.id, in: transaction)
            call.namespace = row
        }
        return switch operation.id {
        case .readOpenAPI: throw Problem(.internalError)
        case .listNamespaces: try await listNamespaces(call, transaction)
        case .createNamespace: try await createNamespace(call, transaction)
        case .readNamespace: try readNamespace(call)
        case .updateNamespace: try await updateNamespace(call, transaction)
        case .listServers: try await listServers(call, transaction)
        case .createServer: try await createServer(call, transaction)
        case .readServer: try await readServer(call, transaction)
        case .updateServer: try await updateServer(call, transaction)
        case .deleteServer: try await deleteServer(call, transaction)
        case .listTools: try await listTools(call, transaction)
        case .readTool: try await readTool(call, transaction)
        case .updateTool: try await updateTool(call, transaction)
        case .readToolImpact: try await readToolImpact(call, transaction)
        case .listIdentityProviders: try await listIdentityProviders(call, transaction)
        case .createIdentityProvider: try await createIdentityProvider(call, transaction)
        case .readIdentityProvider: try await readIdentityProvider(call, transaction)
        case .updateIdentityProvider: try await updateIdentityProvider(call, transaction)
        case .deleteIdentityProvider: try await deleteIdentityProvider(call, transaction)
        case .readIdentityProviderKeys: try await readIdentityProviderKeys(call, transaction)
        case .listSubjects: try await listSubjects(call, transaction)
        case .createSubject: try await createSubject(call, transaction)
        case .readSubject: try await readSubject(call, transaction)
        case .updateSubject: try await updateSubject(call, transaction)
        case .listGroups: try await listGroups(call, transaction)
        case .addGroupMember: try await changeMembership(call, isMember: true, transaction)
        case .removeGroupMember: try await changeMembership(call, isMember: false, transaction)
        case .listReleases: try await listReleases(call, transaction)
        case .createRelease: try await createRelease(call, transaction)
        case .readRelease: try await readRelease(call, transaction)
        case .readReleaseManifest: try await readReleaseManifest(call, transaction)
        case .listReviews: try await listReviews(call, transaction)
        case .createReview: try await createReview(call, transaction)
        case .listActivations: try await listActivations(call, transaction)
        case .createActivation: try await createActivation(call, transaction)
        case .readShadow: try await readShadow(call, transaction)
        case .startShadow: try await startShadow(call, transaction)
        case .endShadow: try await endShadow(call, transaction)
        case .listSimulations: try await listSimulations(call, transaction)
        case .createSimulation: try await createSimulation(call, transaction)
        case .readSimulation: try await readSimulation(call, transaction)
        case .listProxies: try await listProxies(call, transaction)
        case .readProxy: try await readProxy(call, transaction)
        case .revokeProxy: try await revokeProxy(call, transaction)
        case .listEnrolmentTokens: try await listEnrolmentTokens(call, transaction)
        case .createEnrolmentToken: try await createEnrolmentToken(call, transaction)
        case .withdrawEnrolmentToken: try await withdrawEnrolmentToken(call, transaction)
        case .listRecords: try await listRecords(call, transaction)
        case .readRecord: try await readRecord(call, transaction)
        case .listAdminRecords: try await listAdminRecords(call, transaction)
        case .listAPITokens: try await listAPITokens(call, transaction)
        case .createAPIToken: try await createAPIToken(call, transaction)
        case .readAPIToken: try await readAPIToken(call, transaction)
        case .revokeAPIToken: try await revokeAPIToken(call, transaction)
        case .createDevelopmentToken: try await createDevelopmentToken(call, transaction)
        }
    }

    private func namespace(
        of call: RESTCall,
        locking: Bool,
        in transaction: borrowing Transaction
    ) async throws -> NamespaceRow {
        guard
            let row = try await store.namespace(
                NamespaceName(call.parameters[0]),
                in: transaction,
                locking: locking
            )
        else { throw Problem(.notFound) }
        return row
    }

    // MARK: - Lists and changes

    /// A page, given one row more than it may have.
    func list<Row: Listed>(
        _ rows: [Row],
        _ page: PageRequest,
        _ write: (Row, inout JSONWriter) -> Void
    ) -> RESTAnswer {
        var writer = JSONWriter(capacity: 4096)
        writer.object { writer in
            writer.array("items") { writer in
                for row in rows.prefix(page.limit) { write(row, &writer) }
            }
            if rows.count > page.limit {
                writer.member("nextCursor", Cursor.after(rows[page.limit - 1].key))
            } else {
                writer.key("nextCursor")
                writer.null()
            }
        }
        return RESTAnswer(status: 200, body: writer.finish())
    }

    /// Applies edits, and puts the act on record, with what the resource became.
    func change(
        _ edits: [ConfigurationEdit],
        _ call: RESTCall,
        target: Text,
        _ transaction: borrowing Transaction,
        reading after: (borrowing Transaction) async throws -> [UInt8]?
    ) async throws -> [UInt8]? {
        let namespace = try call.namespaceID
        try await ConfigurationStore.apply(edits, to: namespace, in: transaction)
        let body = try await after(transaction)
        try await call.entry(on: target, after: body, of: namespace).insert(in: transaction)
        return body
    }

    // MARK: - Namespaces

    private func listNamespaces(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.namespaces(
            reachable: call.caller.namespace?.id,
            after: page.after,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    private func createNamespace(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let name = NamespaceName(try call.text("name"))
        let isNew = try await store.makeNamespace(
            name,
            trustsOnFirstUse: call.body?["trustOnFirstUse"]?.boolean ?? false,
            policyReviewersRequired: call.body?["policyReviewersRequired"]?.int64.map(Int.init)
                ?? 1,
            in: transaction
        )
        guard isNew else { throw Problem(.alreadyExists) }
        guard let row = try await store.namespace(name, in: transaction, locking: false) else {
            throw Problem(.internalError)
        }
        let body = row.json()
        try await call.entry(on: name.text, after: body, of: row.namespace.id)
            .insert(in: transaction)
        return .resource(body, status: 201, location: Text("/v1/namespaces/\(name)"))
    }

    private func readNamespace(_ call: RESTCall) throws -> RESTAnswer {
        guard let row = call.namespace else { throw Problem(.internalError) }
        return .resource(row.json())
    }

    private func updateNamespace(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        guard let row = call.namespace else { throw Problem(.internalError) }
        let before = row.json()
        try call.requireMatch(before)
        var edits: [ConfigurationEdit] = []
        if let trusts = call.body?["trustOnFirstUse"]?.boolean,
            trusts != row.namespace.trustsOnFirstUse
        {
            edits.append(.namespace(trustsOnFirstUse: trusts))
        }
        if let count = call.body?["policyReviewersRequired"]?.int64.map(Int.init),
            count != row.namespace.policyReviewersRequired
        {
            // Whoever could lower it for a moment would need no second person.
            guard count > row.namespace.policyReviewersRequired || call.caller.namespace == nil
            else {
                throw Problem(.forbidden, "fewer reviewers need the installation's token")
            }
            edits.append(.policyReviewersRequired(count))
        }
        guard !edits.isEmpty else { return .resource(before) }
        let name = row.namespace.name
        let body = try await change(
            edits,
            call,
            target: name.text,
            transaction
        ) { transaction in
            try await store.namespace(name, in: transaction, locking: false)?.json()
        }
        guard let body else { throw Problem(.internalError) }
        return .resource(body)
    }
}

/// Where key sets of issuers come from.
///
/// The one implementation fetches over the network, through the guarded client, and answers only what it has checked.
protocol KeySetSource: Sendable {
    /// The key set that an issuer publishes, JSON.
    ///
    /// - Throws: `KeySetUnavailable` with what an administrator can do something about.
    func keySet(of issuer: Text) async throws -> Text
}

/// Why an issuer's keys were not fetched.
struct KeySetUnavailable: Error {
    /// For an administrator; nothing of what a stranger's server said.
    let description: String
}

extension RESTHandlers {
    fileprivate func fetchKeySet(of issuer: Text) async throws -> Text {
        guard let keySets else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/jwks", .missing, "key sets are not fetched here")]
            )
        }
        do {
            return try await keySets.keySet(of: issuer)
        } catch let error as KeySetUnavailable {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/issuer", .reference, error.description)]
            )
        }
    }
}
