import Cryptography
public import GatewayModel
public import JSON
public import Postgres

/// A server as it is stored, for administrators.
public struct ServerRow: Sendable, Listed {
    /// What proxies are told of it.
    public let server: NamespaceConfiguration.Server
    /// When it was registered.
    public let createdAt: GatewayModel.Timestamp
    /// When it was changed.
    public let updatedAt: GatewayModel.Timestamp
    /// Its name.
    public var key: Text { server.name.text }
}

/// A tool and what was seen of it.
public struct ToolRow: Sendable, Listed {
    /// Its server.
    public let server: ServerName
    /// Its bare name.
    public let name: ToolName
    /// The accepted definition.
    public let pinnedDigest: [UInt8]?
    /// How it was classed.
    public let effect: Text
    /// Who classed or accepted last.
    public let acceptedBy: Text?
    /// When.
    public let updatedAt: GatewayModel.Timestamp
    /// Newest first.
    public var definitions: [Definition] = []
    /// Its name.
    public var key: Text { name.text }

    /// One definition that proxies reported.
    public struct Definition: Sendable {
        /// SHA-256 of the canonical bytes.
        public let digest: [UInt8]
        /// When it was first reported.
        public let firstSeenAt: GatewayModel.Timestamp
        /// The canonical bytes, JSON.
        public let canonical: [UInt8]
    }
}

// Servers and tools: `server`, `tool`, `tool_definition`.
extension AdministrationStore {
    /// Servers by name.
    public func servers(
        of namespace: NamespaceID,
        after: Text?,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [ServerRow] {
        let rows = try await transaction.run(
            """
            select name, url, enabled, memberships, credential_header, credential_sealed,
                created_at, updated_at
            from server where namespace_id = \(namespace) and name > \(after?.string ?? "")
            order by name limit \(Int64(limit))
            """
        )
        return try storing { try rows.map(ServerRow.init) }
    }

    /// One server.
    public func server(
        _ name: ServerName,
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> ServerRow? {
        let rows = try await transaction.run(
            """
            select name, url, enabled, memberships, credential_header, credential_sealed,
                created_at, updated_at
            from server where namespace_id = \(namespace) and name = \(name.text.string)
            """
        )
        return try storing { try rows.oneOrNone().map(ServerRow.init) }
    }

    /// Tools by name, each with its newest hundred definitions.
    public func tools(
        of server: ServerName,
        in namespace: NamespaceID,
        after: Text?,
        limit: Int,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> [ToolRow] {
        let rows = try await transaction.run(
            """
            select server, name, pinned_digest, effect, accepted_by, updated_at from tool
            where namespace_id = \(namespace) and server = \(server.text.string)
                and name collate "C" > \(after?.string ?? "")
            order by name collate "C" limit \(Int64(limit))
            """
        )
        let tools = try storing { try rows.map(ToolRow.init) }
        let names = tools.map(\.name.text.string)
        let definitions = try await transaction.run(
            """
            select t.name, d.digest, d.first_seen_at, d.canonical
            from unnest(\(names)) as t (name), lateral (
                select digest, first_seen_at, canonical from tool_definition
                where namespace_id = \(namespace) and server = \(server.text.string)
                    and tool = t.name
                order by first_seen_at desc, digest limit 100) d
            """
        )
        return try storing {
            var byTool: [Text: [ToolRow.Definition]] = [:]
            for row in definitions {
                byTool[try row.requiredText(at: 0), default: []].append(
                    .init(
                        digest: try row.decode(at: 1),
                        firstSeenAt: try row.time(at: 2),
                        canonical: try row.decode(at: 3)
                    )
                )
            }
            return tools.map { tool in
                var tool = tool
                tool.definitions = byTool[tool.name.text] ?? []
                return tool
            }
        }
    }

    /// One tool.
    public func tool(
        _ name: ToolName,
        of server: ServerName,
        in namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> ToolRow? {
        let rows = try await transaction.run(
            """
            select server, name, pinned_digest, effect, accepted_by, updated_at from tool
            where namespace_id = \(namespace) and server = \(server.text.string)
                and name = \(name.text.string)
            """
        )
        guard var tool = try storing({ try rows.oneOrNone().map(ToolRow.init) }) else { return nil }
        let definitions = try await transaction.run(
            """
            select digest, first_seen_at, canonical from tool_definition
            where namespace_id = \(namespace) and server = \(server.text.string)
                and tool = \(name.text.string)
            order by first_seen_at desc, digest limit 100
            """
        )
        tool.definitions = try storing {
            try definitions.map { row in
                ToolRow.Definition(
                    digest: try row.decode(at: 0),
                    firstSeenAt: try row.time(at: 1),
                    canonical: try row.decode(at: 2)
                )
            }
        }
        return tool
    }
}

extension ServerRow {
    init(_ row: Row) throws(PostgresError) {
        server = try NamespaceConfiguration.Server(row)
        createdAt = try row.time(at: 6)
        updatedAt = try row.time(at: 7)
    }
}

extension ToolRow {
    init(_ row: Row) throws(PostgresError) {
        server = ServerName(try row.requiredText(at: 0))
        name = ToolName(try row.requiredText(at: 1))
        pinnedDigest = try row.decode(at: 2)
        effect = try row.requiredText(at: 3)
        acceptedBy = try row.text(at: 4)
        updatedAt = try row.time(at: 5)
    }
}

/// The tools that may be called, with what policies can see of them: what releases are checked against.
public struct StoredCatalogue: Sendable, Hashable {
    /// The servers, by name.
    public var servers: [Server]

    /// A server.
    public struct Server: Sendable, Hashable {
        /// Its name.
        public var name: ServerName
        /// Entity uids it is `in`, as Cedar text.
        public var memberships: [Text]
        /// Its tools, by name.
        public var tools: [Tool]
    }

    /// A tool with an accepted definition.
    public struct Tool: Sendable, Hashable {
        /// Its bare name.
        public var name: ToolName
        /// How a person classed it.
        public var effect: Text
        /// SHA-256 of ``definition``.
        public var digest: [UInt8]
        /// The canonical definition, JSON.
        public var definition: [UInt8]

        /// A tool whose accepted definition is this one.
        public init(name: ToolName, effect: Text, digest: [UInt8], definition: [UInt8]) {
            self.name = name
            self.effect = effect
            self.digest = digest
            self.definition = definition
        }
    }

    /// A catalogue.
    public init(servers: [Server]) {
        self.servers = servers
    }

    /// SHA-256 over servers, memberships, tools, definitions and effects; the same for the same catalogue.
    public var digest: [UInt8] {
        var bytes: [UInt8] = []
        func add(_ piece: some Collection<UInt8>) {
            // Lengths before contents, so that no two catalogues give the same bytes.
            bytes += Array("\(piece.count):".utf8)
            bytes += piece
        }
        for server in servers {
            add(server.name.text.utf8)
            add("\(server.memberships.count)".utf8)
            for membership in server.memberships { add(membership.utf8) }
            add("\(server.tools.count)".utf8)
            for tool in server.tools {
                add(tool.name.text.utf8)
                add(tool.effect.utf8)
                add(tool.digest)
            }
        }
        return SHA256.digest(of: bytes).bytes
    }
}

extension AdministrationStore {
    /// The catalogue of a namespace, as of this statement.
    public func catalogue(
        of namespace: NamespaceID,
        in transaction: borrowing Transaction
    ) async throws(StoreError) -> StoredCatalogue {
        let rows = try await transaction.run(
            """
            select s.name, s.memberships, t.name, t.effect, t.pinned_digest, d.canonical
            from server s
            left join tool t on t.namespace_id = s.namespace_id and t.server = s.name
                and t.pinned_digest is not null
            left join tool_definition d on d.namespace_id = t.namespace_id and d.server = t.server
                and d.tool = t.name and d.digest = t.pinned_digest
            where s.namespace_id = \(namespace)
            order by s.name collate "C", t.name collate "C"
            """
        )
        return try storing {
            var servers: [StoredCatalogue.Server] = []
            for row in rows {
                let name = ServerName(try row.requiredText(at: 0))
                if servers.last?.name != name {
                    let memberships = try row.decode(at: 1, as: [String].self).map { Text($0) }
                    servers.append(.init(name: name, memberships: memberships, tools: []))
                }
                guard let tool = try row.text(at: 2) else { continue }
                servers[servers.count - 1].tools.append(
                    .init(
                        name: ToolName(tool),
                        effect: try row.requiredText(at: 3),
                        digest: try row.decode(at: 4),
                        definition: try row.decode(at: 5)
                    )
                )
            }
            return StoredCatalogue(servers: servers)
        }
    }
}
