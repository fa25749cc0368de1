import AdminAPI
import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import Postgres

// Servers and their tools.
extension RESTHandlers {
    func listServers(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.servers(
            of: try call.namespaceID,
            after: page.after,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createServer(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let name = ServerName(try call.text("name"))
        guard !MCPEntities.isReserved(name) else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [
                    .init(
                        "/name",
                        .form,
                        "begins the names of methods: no tool could be told from one"
                    )
                ]
            )
        }
        guard try await store.server(name, of: namespace, in: transaction) == nil else {
            throw Problem(.alreadyExists)
        }
        let edit = ConfigurationEdit.ServerEdit(
            name: name,
            url: try call.text("url"),
            isEnabled: call.body?["enabled"]?.boolean ?? true,
            memberships: try memberships(call) ?? [],
            credential: try call.body?["credential"].map { try seal($0, name, call) }
        )
        let body = try await change([.server(edit)], call, target: name.text, transaction) {
            try await store.server(name, of: namespace, in: $0)?.json()
        }
        guard let body else { throw Problem(.internalError) }
        return .resource(body, status: 201, location: call.location(name.text))
    }

    func readServer(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        .resource(try await server(call, transaction).json())
    }

    func updateServer(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let row = try await server(call, transaction)
        try call.requireMatch(row.json())
        let server = row.server
        var edit = ConfigurationEdit.ServerEdit(
            name: server.name,
            url: call.body?["url"]?.string ?? server.url,
            isEnabled: call.body?["enabled"]?.boolean ?? server.isEnabled,
            memberships: try memberships(call) ?? server.memberships
        )
        if let given = call.body?["credential"] {
            edit.credential = given.isNull ? nil : try seal(given, server.name, call)
        } else if let header = server.credentialHeader, let sealed = server.credentialSealed {
            edit.credential = (header, sealed)
        }
        let isSame =
            edit.url == server.url && edit.isEnabled == server.isEnabled
            && edit.memberships == server.memberships
            && edit.credential?.header == server.credentialHeader
            && edit.credential?.sealed == server.credentialSealed
        guard !isSame else { return .resource(row.json()) }
        let body = try await change([.server(edit)], call, target: server.name.text, transaction) {
            try await store.server(server.name, of: namespace, in: $0)?.json()
        }
        guard let body else { throw Problem(.internalError) }
        return .resource(body)
    }

    func deleteServer(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let row = try await server(call, transaction)
        try call.requireMatch(row.json())
        let name = row.server.name
        _ = try await change([.serverRemoved(name)], call, target: name.text, transaction) { _ in
            nil
        }
        return .nothing
    }

    private func server(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> ServerRow {
        let name = ServerName(call.parameters[1])
        guard
            let row = try await store.server(name, of: try call.namespaceID, in: transaction)
        else { throw Problem(.notFound) }
        return row
    }

    /// What proxies could not read would stop them from taking the whole configuration.
    private func memberships(_ call: RESTCall) throws(Problem) -> [Text]? {
        guard let texts = call.texts("memberships") else { return nil }
        let errors = texts.enumerated()
            .filter { MCPEntities.uid(cedarText: $0.element) == nil }
            .map { FieldError(Text("/memberships/\($0.offset)"), .form, "must be Type::\"id\"") }
        guard errors.isEmpty else { throw Problem(.requestInvalid, "see errors", errors: errors) }
        return texts
    }

    private func seal(
        _ credential: JSONValue,
        _ server: ServerName,
        _ call: RESTCall
    ) throws -> (header: Text, sealed: [UInt8]) {
        guard let header = credential["header"]?.string, let value = credential["value"]?.string,
            let vault = call.prepared.vault
        else { throw Problem(.internalError) }
        return (header, try vault.seal(Secret(Array(value.utf8)), for: server))
    }

    // MARK: - Tools

    func listTools(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.tools(
            of: try await server(call, transaction).server.name,
            in: try call.namespaceID,
            after: page.after,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func readTool(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        .resource(try await tool(call, transaction).wholeJSON())
    }

    func updateTool(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let row = try await tool(call, transaction)
        try call.requireMatch(row.wholeJSON())
        var edits: [ConfigurationEdit] = []
        if let effect = call.body?["effect"]?.string.flatMap({ ToolEffect(rawValue: $0.string) }),
            Text(effect.rawValue) != row.effect
        {
            edits.append(
                .toolEffect(server: row.server, tool: row.name, effect, by: call.caller.id)
            )
        }
        if let pin = call.body?["pinnedDigest"] {
            if let digest = pin.string.flatMap({ Hex.decode($0.string) }) {
                edits += try self.pin(digest, row, call)
            } else if row.pinnedDigest != nil {
                edits.append(.unpin(server: row.server, tool: row.name, by: call.caller.id))
            }
        }
        guard !edits.isEmpty else { return .resource(row.wholeJSON()) }
        let target = Text("\(row.server)/\(row.name)")
        let body = try await change(edits, call, target: target, transaction) {
            try await store.tool(row.name, of: row.server, in: namespace, in: $0)?.wholeJSON()
        }
        guard let body else { throw Problem(.internalError) }
        return .resource(body)
    }

    /// Only what a proxy saw can be accepted.
    private func pin(
        _ digest: [UInt8],
        _ row: ToolRow,
        _ call: RESTCall
    ) throws(Problem) -> [ConfigurationEdit] {
        guard row.pinnedDigest != digest else { return [] }
        guard row.definitions.contains(where: { $0.digest == digest }),
            let digest = SHA256.Digest(bytes: digest)
        else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/pinnedDigest", .reference, "no proxy reported this definition")]
            )
        }
        return [.pin(server: row.server, tool: row.name, digest: digest, by: call.caller.id)]
    }

    func tool(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> ToolRow {
        guard
            let row = try await store.tool(
                ToolName(call.parameters[2]),
                of: ServerName(call.parameters[1]),
                in: try call.namespaceID,
                in: transaction
            )
        else { throw Problem(.notFound) }
        return row
    }
}

extension RESTCall {
    /// Where a member of the collection in the path is.
    func location(_ name: Text) -> Text {
        var place = ""
        var parameters = parameters[...]
        for segment in operation.path {
            switch segment {
            case .literal(let text): place += "/\(text)"
            case .parameter: place += "/" + PercentCoding.encode(parameters.popFirst() ?? "")
            }
        }
        return Text(place + "/" + PercentCoding.encode(name))
    }
}
