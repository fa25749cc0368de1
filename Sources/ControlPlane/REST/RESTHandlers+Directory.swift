import AdminAPI
import ControlStore
import GatewayModel
import IdentityProtocols
import JSON
import Postgres

// Identity providers, subjects, groups.
extension RESTHandlers {
    func listIdentityProviders(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.identityProviders(
            of: try call.namespaceID,
            after: page.after,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createIdentityProvider(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let issuer = try call.text("issuer")
        let known = try await store.identityProvider(
            issuer: issuer,
            of: namespace,
            in: transaction
        )
        guard known == nil else { throw Problem(.alreadyExists) }
        let audiences = call.texts("audiences") ?? []
        let provider: IdentityProvider
        if issuer == DevelopmentIssuer.name {
            guard let developmentIssuer else { throw Problem(.developmentTokensOff) }
            provider = try developmentIssuer.provider(audiences: audiences)
        } else {
            let (source, keySet) = try newKeys(call)
            provider = IdentityProvider(
                issuer: issuer,
                jwks: keySet,
                keySource: source,
                allowsPrivateAddresses: try privateAddresses(call) ?? false,
                audiences: audiences,
                algorithms: try listed("algorithms", call) ?? ["ES256", "RS256"],
                tokenTypes: try listed("tokenTypes", call) ?? ["at+jwt"],
                groupsPointer: call.body?["groupsPointer"]?.string ?? "",
                subjectPointer: call.body?["subjectPointer"]?.string ?? ""
            )
        }
        return try await write(provider, call, status: 201, transaction)
    }

    func readIdentityProvider(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        .resource(try await identityProvider(call, transaction).json())
    }

    func updateIdentityProvider(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let row = try await identityProvider(call, transaction)
        try call.requireMatch(row.json())
        var provider = row.provider
        if let keySet = try givenKeySet(call) {
            guard provider.issuer != DevelopmentIssuer.name else {
                throw Problem(
                    .requestInvalid,
                    "see errors",
                    errors: [.init("/jwks", .combination, "this issuer's keys are control's own")]
                )
            }
            (provider.jwks, provider.keySource) = (keySet, .uploaded)
        }
        if let url = call.body?["jwksUrl"] {
            guard provider.issuer != DevelopmentIssuer.name, call.body?["jwks"] == nil else {
                throw Self.oneSource
            }
            let source = url.string.map { IdentityProvider.KeySource.url($0) } ?? .discovery
            // What comes from another place is not trusted before it has come.
            if source != provider.keySource { provider.jwks = IdentityProvider.noKeys }
            provider.keySource = source
        }
        provider.allowsPrivateAddresses =
            try privateAddresses(call) ?? provider.allowsPrivateAddresses
        provider.audiences = call.texts("audiences") ?? provider.audiences
        provider.algorithms = try listed("algorithms", call) ?? provider.algorithms
        provider.tokenTypes = try listed("tokenTypes", call) ?? provider.tokenTypes
        provider.groupsPointer = call.body?["groupsPointer"]?.string ?? provider.groupsPointer
        provider.subjectPointer = call.body?["subjectPointer"]?.string ?? provider.subjectPointer
        guard provider != row.provider else { return .resource(row.json()) }
        return try await write(provider, call, status: 200, transaction)
    }

    func deleteIdentityProvider(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let row = try await identityProvider(call, transaction)
        try call.requireMatch(row.json())
        let count = try await store.subjectCount(
            issuer: row.provider.issuer,
            of: try call.namespaceID,
            in: transaction
        )
        guard count == 0 else { throw Problem(.inUse, "it has \(count) subjects") }
        _ = try await change(
            [.identityProviderRemoved(issuer: row.provider.issuer)],
            call,
            target: row.provider.issuer,
            transaction
        ) { _ in nil }
        return .nothing
    }

    /// The keys as they are, which is nobody's version: they change when their issuer changes them.
    func readIdentityProviderKeys(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let provider = try await identityProvider(call, transaction).provider
        let status = try await store.keyStatus(
            of: provider.issuer,
            in: try call.namespaceID,
            in: transaction
        )
        let body = JSONFragment(object: { writer in
            writer.key("jwks")
            writer.keySet(provider.jwks)
            writer.time("attemptedAt", orNull: status?.attemptedAt)
            writer.time("fetchedAt", orNull: status?.fetchedAt)
            writer.time("dueAt", orNull: status?.dueAt)
            writer.text("failure", orNull: status?.failure)
        })
        return RESTAnswer(status: 200, body: body.bytes)
    }

    /// Where the keys of a new issuer come from, and those that are known.
    private func newKeys(
        _ call: RESTCall
    ) throws(Problem) -> (IdentityProvider.KeySource, Text) {
        let url = call.body?["jwksUrl"]?.string
        switch (try givenKeySet(call), url, call.prepared.keySet) {
        case (let given?, nil, _): return (.uploaded, given)
        case (nil, let url?, _): return (.url(url), IdentityProvider.noKeys)
        case (nil, nil, let fetched?): return (.discovery, fetched)
        case (.some, .some, _): throw Self.oneSource
        case (nil, nil, nil): throw Problem(.internalError)
        }
    }

    private static let oneSource = Problem(
        .requestInvalid,
        "see errors",
        errors: [.init("/jwksUrl", .combination, "not together with other keys")]
    )

    /// What control can reach is the installation's to decide, not a namespace's.
    private func privateAddresses(_ call: RESTCall) throws(Problem) -> Bool? {
        guard let allows = call.body?["allowPrivateAddresses"]?.boolean else { return nil }
        guard !allows || call.caller.namespace == nil else {
            throw Problem(.forbidden, "allowPrivateAddresses needs a token of the installation")
        }
        return allows
    }

    private func write(
        _ provider: IdentityProvider,
        _ call: RESTCall,
        status: Int,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        var id: Text?
        let body = try await change(
            [.identityProvider(provider)],
            call,
            target: provider.issuer,
            transaction
        ) { transaction in
            let row = try await store.identityProvider(
                issuer: provider.issuer,
                of: namespace,
                in: transaction
            )
            id = row?.id
            return row?.json()
        }
        guard let body, let id else { throw Problem(.internalError) }
        let location = status == 201 ? call.location(id) : nil
        return .resource(body, status: status, location: location)
    }

    private func identityProvider(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> IdentityProviderRow {
        guard
            let row = try await store.identityProvider(
                call.parameters[1],
                of: try call.namespaceID,
                in: transaction
            )
        else { throw Problem(.notFound) }
        return row
    }

    /// A key set that can verify something and betrays nothing.
    private func givenKeySet(_ call: RESTCall) throws(Problem) -> Text? {
        guard let given = call.body?["jwks"] else { return nil }
        let bytes = given.serialized()
        let error: FieldError
        do throws(JWKSet.SetError) {
            let set = try JWKSet(parsing: bytes)
            if let leaked = set.skipped.first(where: \.isAlarm) {
                error = .init(
                    Text("/jwks/keys/\(leaked.index)"),
                    .form,
                    "has private members: it must be replaced at its owner"
                )
            } else if set.keys.isEmpty {
                error = .init("/jwks/keys", .form, "no key that can verify a signature")
            } else {
                return Text(String(decoding: bytes, as: UTF8.self))
            }
        } catch let refusal {
            error = .init("/jwks", .form, refusal.rawValue)
        }
        throw Problem(.requestInvalid, "see errors", errors: [error])
    }

    /// A list of which nothing may be left.
    private func listed(_ name: StaticString, _ call: RESTCall) throws(Problem) -> [Text]? {
        guard let texts = call.texts(name) else { return nil }
        guard !texts.isEmpty else {
            let error = FieldError(Text("/\(name)"), .length, "at least one")
            throw Problem(.requestInvalid, "see errors", errors: [error])
        }
        return texts
    }

    // MARK: - Subjects

    func listSubjects(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.subjects(
            of: try call.namespaceID,
            group: call.query["group"],
            status: call.query["status"],
            after: page.after,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createSubject(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let subject = Subject(
            id: SubjectID(call.body?["id"]?.string ?? Text("sub_\(Postgres.UUID.random())")),
            issuer: try call.text("issuer"),
            name: try call.text("name"),
            kind: call.choice("kind") ?? .user,
            status: call.choice("status") ?? .active,
            groups: call.texts("groups") ?? [],
            attributes: call.attributes ?? [:]
        )
        let provider = try await store.identityProvider(
            issuer: subject.issuer,
            of: namespace,
            in: transaction
        )
        guard provider != nil else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/issuer", .reference, "no identity provider has this issuer")]
            )
        }
        let named = try await store.subject(
            named: subject.name,
            issuer: subject.issuer,
            of: namespace,
            in: transaction
        )
        let sameID = try await store.subject(subject.id, of: namespace, in: transaction)
        guard named == nil, sameID == nil else { throw Problem(.alreadyExists) }
        return try await write(subject, call, status: 201, transaction)
    }

    func readSubject(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        .resource(try await subject(call.parameters[1], call, transaction).json())
    }

    func updateSubject(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let row = try await subject(call.parameters[1], call, transaction)
        try call.requireMatch(row.json())
        let old = row.subject
        let new = Subject(
            id: old.id,
            issuer: old.issuer,
            name: old.name,
            kind: call.choice("kind") ?? old.kind,
            status: call.choice("status") ?? old.status,
            groups: call.texts("groups") ?? old.groups,
            attributes: call.attributes ?? old.attributes
        )
        guard new != old else { return .resource(row.json()) }
        guard old.status != .leaver || new.status == .leaver else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/status", .combination, "a leaver never returns under this id")]
            )
        }
        return try await write(new, call, status: 200, transaction)
    }

    private func write(
        _ subject: Subject,
        _ call: RESTCall,
        status: Int,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let id = subject.id
        let body = try await change([.subject(subject)], call, target: id.text, transaction) {
            try await store.subject(id, of: namespace, in: $0)?.json()
        }
        guard let body else { throw Problem(.internalError) }
        return .resource(
            body,
            status: status,
            location: status == 201 ? call.location(id.text) : nil
        )
    }

    private func subject(
        _ id: Text,
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> SubjectRow {
        let namespace = try call.namespaceID
        guard
            let row = try await store.subject(SubjectID(id), of: namespace, in: transaction)
        else { throw Problem(.notFound) }
        return row
    }

    // MARK: - Groups

    func listGroups(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.groups(
            of: try call.namespaceID,
            after: page.after,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    /// Says how things are to be, so that it needs no version and can be said again.
    func changeMembership(
        _ call: RESTCall,
        isMember: Bool,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let group = call.parameters[1]
        let old = try await subject(call.parameters[2], call, transaction).subject
        guard old.groups.contains(group) != isMember else { return .nothing }
        let rest = old.groups.filter { $0 != group }
        let new = Subject(
            id: old.id,
            issuer: old.issuer,
            name: old.name,
            kind: old.kind,
            status: old.status,
            groups: isMember ? rest + [group] : rest,
            attributes: old.attributes
        )
        guard new.groups.count <= 256 else {
            throw Problem(.inUse, "a subject is in at most 256 groups")
        }
        _ = try await write(new, call, status: 200, transaction)
        return .nothing
    }
}

extension RESTCall {
    fileprivate func choice<Value: RawRepresentable<String>>(_ name: StaticString) -> Value? {
        body?[name]?.string.flatMap { Value(rawValue: $0.string) }
    }

    fileprivate var attributes: [Text: Text]? {
        guard let given = body?["attributes"] else { return nil }
        var attributes: [Text: Text] = [:]
        for (key, value) in given.members { attributes[key.text] = value.string }
        return attributes
    }
}
