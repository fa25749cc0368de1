-- Who may act, and whose tokens are believed. New tables only.

CREATE TABLE identity_provider (
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    issuer text NOT NULL,
    -- The key set as control fetched and checked it, or as an administrator uploaded it.
    jwks jsonb NOT NULL,
    -- Which audiences a token may name; empty: the URL of the server that is called.
    audiences text[] NOT NULL DEFAULT '{}',
    algorithms text[] NOT NULL,
    token_types text[] NOT NULL,
    groups_pointer text NOT NULL DEFAULT '',
    subject_pointer text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, issuer),
    CONSTRAINT identity_provider_names_an_algorithm CHECK (cardinality(algorithms) > 0),
    CONSTRAINT identity_provider_names_a_token_type CHECK (cardinality(token_types) > 0)
);

CREATE TABLE subject (
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    id text NOT NULL,
    issuer text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'active',
    groups text[] NOT NULL DEFAULT '{}',
    attributes jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, id),
    -- Never an e-mail address, never used again for somebody else (IA-4).
    CONSTRAINT subject_name_unique_at_issuer UNIQUE (namespace_id, issuer, name),
    CONSTRAINT subject_kind_known CHECK (kind IN ('user', 'workload')),
    CONSTRAINT subject_status_known CHECK (status IN ('active', 'suspended', 'leaver')),
    CONSTRAINT subject_belongs_to_a_provider
        FOREIGN KEY (namespace_id, issuer) REFERENCES identity_provider (namespace_id, issuer)
);
