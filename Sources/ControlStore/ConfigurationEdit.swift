public import Cryptography
public import GatewayModel
public import JSON
import Postgres

/// One change of a namespace's configuration, applied by ``ConfigurationStore/change(_:_:)``.
///
/// Every edit says how something is to be, so that applying it again changes nothing.
public enum ConfigurationEdit: Sendable {
    /// How the namespace treats what is new to it.
    case namespace(trustsOnFirstUse: Bool)
    /// So many people who did not make a release must approve it, 0…5.
    case policyReviewersRequired(Int)
    /// An identity provider is as given.
    case identityProvider(IdentityProvider)
    /// The keys of an issuer were fetched, if they still come from there.
    case issuerKeys(issuer: Text, from: IdentityProvider.KeySource, jwks: Text)
    /// A subject is as given. Its issuer must be there.
    case subject(Subject)
    /// A server is as given; its tools are left alone.
    case server(ServerEdit)
    /// A tool is classed. Its server must be there.
    case toolEffect(server: ServerName, tool: ToolName, ToolEffect, by: Text)
    /// A definition that was reported before is accepted.
    case pin(server: ServerName, tool: ToolName, digest: SHA256.Digest, by: Text)
    /// A proxy read these definitions from a server. Pins what has no pin, if the namespace trusts
    /// on first use.
    case toolsReported(server: ServerName, [ReportedTool])
    /// A server is gone, with what is known of its tools.
    case serverRemoved(ServerName)
    /// An issuer is believed no longer. None of its subjects may be left.
    case identityProviderRemoved(issuer: Text)
    /// No definition of the tool is accepted.
    case unpin(server: ServerName, tool: ToolName, by: Text)
    /// A release that is there is in force.
    case activation(release: UInt64, by: Text, acceptsWidening: Bool = false)
    /// This release is evaluated beside the one in force; `nil`: none is.
    case shadow(release: UInt64?, by: Text)

    /// A server to be written.
    public struct ServerEdit: Sendable {
        /// Its name.
        public var name: ServerName
        /// Where it is.
        public var url: Text
        /// Whether calls may reach it.
        public var isEnabled: Bool
        /// Entity uids it is `in`, as Cedar text.
        public var memberships: [Text]
        /// Its credential, sealed by ``CredentialVault``.
        public var credential: (header: Text, sealed: [UInt8])?

        /// A server as it is to be.
        public init(
            name: ServerName,
            url: Text,
            isEnabled: Bool = true,
            memberships: [Text] = [],
            credential: (header: Text, sealed: [UInt8])? = nil
        ) {
            self.name = name
            self.url = url
            self.isEnabled = isEnabled
            self.memberships = memberships
            self.credential = credential
        }
    }

    /// A definition as a proxy read it.
    public struct ReportedTool: Sendable {
        /// The tool's bare name.
        public var name: ToolName
        /// Canonical JSON of the definition.
        public var canonical: [UInt8]

        /// A definition of a tool.
        public init(name: ToolName, canonical: [UInt8]) {
            self.name = name
            self.canonical = canonical
        }
    }

    struct Step: Sendable {
        let query: Query
        /// Whether a row it touches changes the snapshot.
        var isSeenByProxies = true
    }

    func steps(in namespace: NamespaceID) -> [Step] {
        switch self {
        case .namespace(let trusts):
            [
                // No proxy sees this setting.
                Step(
                    query: """
                        update namespace set trust_on_first_use = \(trusts)
                        where id = \(namespace) and trust_on_first_use <> \(trusts)
                        """,
                    isSeenByProxies: false
                )
            ]
        case .policyReviewersRequired(let count):
            [
                Step(
                    query: """
                        update namespace set policy_reviewers_required = \(Int64(count))
                        where id = \(namespace) and policy_reviewers_required <> \(Int64(count))
                        """,
                    isSeenByProxies: false
                )
            ]
        case .identityProvider(let provider):
            [Step(query: provider.upsert(in: namespace))]
        case .issuerKeys(let issuer, let source, let jwks):
            [
                // Not an edit of the provider: `updated_at` stays.
                Step(
                    query: """
                        update identity_provider set jwks = \(text: jwks.string)
                        where namespace_id = \(namespace) and issuer = \(issuer.string)
                            and key_source = \(source.stored.word)
                            and jwks_url is not distinct from \(source.stored.url)
                            and jwks <> \(text: jwks.string)
                        """
                )
            ]
        case .subject(let subject):
            [Step(query: subject.upsert(in: namespace))]
        case .server(let server):
            [Step(query: server.upsert(in: namespace))]
        case .toolEffect(let server, let tool, let effect, let by):
            [
                Step(
                    query: """
                        insert into tool (namespace_id, server, name, effect, accepted_by)
                        values (\(namespace), \(server.text.string), \(tool.text.string),
                            \(effect.rawValue), \(by.string))
                        on conflict (namespace_id, server, name) do update
                        set effect = excluded.effect, updated_at = now()
                        where tool.effect <> excluded.effect
                        """
                )
            ]
        case .pin(let server, let tool, let digest, let by):
            [
                Step(
                    query: """
                        update tool set pinned_digest = \(digest.bytes), accepted_by = \(by.string),
                            updated_at = now()
                        where namespace_id = \(namespace) and server = \(server.text.string)
                            and name = \(tool.text.string)
                            and pinned_digest is distinct from \(digest.bytes)
                        """
                )
            ]
        case .toolsReported(let server, let tools):
            Self.report(tools, of: server, in: namespace)
        case .serverRemoved, .identityProviderRemoved, .unpin, .activation, .shadow:
            removalOrActivation(in: namespace)
        }
    }

    private func removalOrActivation(in namespace: NamespaceID) -> [Step] {
        switch self {
        case .serverRemoved(let server):
            [
                // Pins point at definitions, definitions at their server, which takes them along.
                Step(
                    query: """
                        delete from tool where namespace_id = \(namespace)
                            and server = \(server.text.string)
                        """
                ),
                Step(
                    query: """
                        delete from server where namespace_id = \(namespace)
                            and name = \(server.text.string)
                        """
                ),
            ]
        case .identityProviderRemoved(let issuer):
            [
                Step(
                    query: """
                        delete from identity_provider where namespace_id = \(namespace)
                            and issuer = \(issuer.string)
                        """
                )
            ]
        case .unpin(let server, let tool, let by):
            [
                Step(
                    query: """
                        update tool set pinned_digest = null, accepted_by = \(by.string),
                            updated_at = now()
                        where namespace_id = \(namespace) and server = \(server.text.string)
                            and name = \(tool.text.string) and pinned_digest is not null
                        """
                )
            ]
        case .activation(let release, let by, let acceptsWidening):
            [
                Step(
                    query: """
                        insert into policy_activation (namespace_id, release_number, activated_by,
                            accepts_widening)
                        values (\(namespace), \(Int64(release)), \(by.string), \(acceptsWidening))
                        """
                )
            ]
        case .shadow(let release, let by):
            [
                Step(
                    query: """
                        insert into policy_shadow (namespace_id, release_number, changed_by)
                        values (\(namespace), \(release.map { Int64($0) }), \(by.string))
                        """
                )
            ]
        default: []
        }
    }

    private static func report(
        _ tools: [ReportedTool],
        of server: ServerName,
        in namespace: NamespaceID
    ) -> [Step] {
        let server = server.text.string
        let names = tools.map(\.name.text.string)
        let digests = tools.map { SHA256.digest(of: $0.canonical).bytes }
        return [
            Step(
                query: """
                    insert into tool_definition (namespace_id, server, tool, digest, canonical)
                    select s.namespace_id, s.name, t.name, t.digest, t.canonical
                    from unnest(\(names), \(digests), \(tools.map(\.canonical)))
                        as t (name, digest, canonical)
                    join server s on s.namespace_id = \(namespace) and s.name = \(server)
                    on conflict do nothing
                    """,
                isSeenByProxies: false
            ),
            Step(
                query: """
                    insert into tool (namespace_id, server, name)
                    select s.namespace_id, s.name, t.name from unnest(\(names)) as t (name)
                    join server s on s.namespace_id = \(namespace) and s.name = \(server)
                    on conflict do nothing
                    """,
                isSeenByProxies: false
            ),
            Step(
                query: """
                    update tool set pinned_digest = t.digest, accepted_by = 'first-use',
                        updated_at = now()
                    from unnest(\(names), \(digests)) as t (name, digest), namespace s
                    where tool.namespace_id = \(namespace) and tool.server = \(server)
                        and tool.name = t.name and tool.pinned_digest is null
                        and s.id = tool.namespace_id and s.trust_on_first_use
                    """
            ),
        ]
    }
}

extension IdentityProvider {
    /// Fetched keys stay while they come from the same place; from another place they are not trusted before they are
    /// fetched.
    fileprivate func upsert(in namespace: NamespaceID) -> Query {
        """
        insert into identity_provider as p (namespace_id, issuer, jwks, audiences, algorithms,
            token_types, groups_pointer, subject_pointer, key_source, jwks_url,
            private_addresses_allowed)
        values (\(namespace), \(issuer.string), \(text: jwks.string), \(audiences.map(\.string)),
            \(algorithms.map(\.string)), \(tokenTypes.map(\.string)), \(groupsPointer.string),
            \(subjectPointer.string), \(keySource.stored.word), \(keySource.stored.url),
            \(allowsPrivateAddresses))
        on conflict (namespace_id, issuer) do update
        set jwks = case
                when excluded.key_source <> 'uploaded' and p.key_source = excluded.key_source
                    and p.jwks_url is not distinct from excluded.jwks_url then p.jwks
                else excluded.jwks
            end,
            audiences = excluded.audiences, algorithms = excluded.algorithms,
            token_types = excluded.token_types, groups_pointer = excluded.groups_pointer,
            subject_pointer = excluded.subject_pointer, key_source = excluded.key_source,
            jwks_url = excluded.jwks_url,
            private_addresses_allowed = excluded.private_addresses_allowed, updated_at = now()
        where (excluded.key_source = 'uploaded' and p.jwks <> excluded.jwks)
            or (p.audiences, p.algorithms, p.token_types, p.groups_pointer, p.subject_pointer,
                p.key_source, p.jwks_url, p.private_addresses_allowed)
            is distinct from (excluded.audiences, excluded.algorithms, excluded.token_types,
                excluded.groups_pointer, excluded.subject_pointer, excluded.key_source,
                excluded.jwks_url, excluded.private_addresses_allowed)
        """
    }
}

extension Subject {
    fileprivate func upsert(in namespace: NamespaceID) -> Query {
        let attributes = JSONFragment(object: { writer in
            for (key, value) in self.attributes.sorted(by: { $0.key < $1.key }) {
                writer.key(key)
                writer.value(value)
            }
        })
        return """
            insert into subject (namespace_id, id, issuer, name, kind, status, groups, attributes)
            values (\(namespace), \(id.text.string), \(issuer.string), \(name.string),
                \(kind.rawValue), \(status.rawValue), \(groups.map(\.string)),
                \(text: String(decoding: attributes.bytes, as: UTF8.self)))
            on conflict (namespace_id, id) do update
            set issuer = excluded.issuer, name = excluded.name, kind = excluded.kind,
                status = excluded.status, groups = excluded.groups,
                attributes = excluded.attributes, updated_at = now()
            where (subject.issuer, subject.name, subject.kind, subject.status, subject.groups,
                    subject.attributes)
                is distinct from (excluded.issuer, excluded.name, excluded.kind, excluded.status,
                    excluded.groups, excluded.attributes)
            """
    }
}

extension ConfigurationEdit.ServerEdit {
    fileprivate func upsert(in namespace: NamespaceID) -> Query {
        """
        insert into server (namespace_id, name, url, enabled, memberships, credential_header,
            credential_sealed)
        values (\(namespace), \(name.text.string), \(url.string), \(isEnabled),
            \(memberships.map(\.string)), \(credential?.header.string), \(credential?.sealed))
        on conflict (namespace_id, name) do update
        set url = excluded.url, enabled = excluded.enabled, memberships = excluded.memberships,
            credential_header = excluded.credential_header,
            credential_sealed = excluded.credential_sealed, updated_at = now()
        where (server.url, server.enabled, server.memberships, server.credential_header,
                server.credential_sealed)
            is distinct from (excluded.url, excluded.enabled, excluded.memberships,
                excluded.credential_header, excluded.credential_sealed)
        """
    }
}
