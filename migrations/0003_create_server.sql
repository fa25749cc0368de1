-- The MCP servers behind the door and what is known of their tools. New tables only.

CREATE TABLE server (
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    name text NOT NULL,
    url text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    -- Entity uids in Cedar text: environments and server groups.
    memberships text[] NOT NULL DEFAULT '{}',
    credential_header text,
    -- The upstream credential under a namespace key; never in a snapshot, a log or an answer.
    credential_sealed bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, name),
    CONSTRAINT server_name_is_a_label CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT server_credential_is_whole
        CHECK ((credential_header IS NULL) = (credential_sealed IS NULL))
);

-- One row for each definition of a tool that a proxy ever reported.
CREATE TABLE tool_definition (
    namespace_id uuid NOT NULL,
    server text NOT NULL,
    tool text NOT NULL,
    digest bytea NOT NULL,
    canonical bytea NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, server, tool, digest),
    CONSTRAINT tool_definition_digest_is_sha256 CHECK (octet_length(digest) = 32),
    FOREIGN KEY (namespace_id, server) REFERENCES server (namespace_id, name) ON DELETE CASCADE
);

-- The definition that may be called, and how a person classed the tool.
CREATE TABLE tool (
    namespace_id uuid NOT NULL,
    server text NOT NULL,
    name text NOT NULL,
    pinned_digest bytea,
    effect text NOT NULL DEFAULT 'write',
    accepted_by text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, server, name),
    CONSTRAINT tool_effect_known CHECK (effect IN ('read', 'write', 'destructive', 'cluster-admin')),
    CONSTRAINT tool_pin_was_seen
        FOREIGN KEY (namespace_id, server, name, pinned_digest)
        REFERENCES tool_definition (namespace_id, server, tool, digest)
);
