-- The namespace is the unit of tenancy: its id stands in the key of everything that belongs to it.
-- New tables only; no lock on anything that exists.

CREATE TABLE namespace (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    -- Whether the first definition of a tool that a proxy reports is accepted without a person looking at it.
    trust_on_first_use boolean NOT NULL DEFAULT false,
    spooled_reads_allowed boolean NOT NULL DEFAULT false,
    -- The version of the newest configuration snapshot. Counted up in every transaction that changes what
    -- proxies enforce, so that a change and its version cannot come apart.
    configuration_version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT namespace_name_unique UNIQUE (name),
    CONSTRAINT namespace_name_is_a_label CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')
);

-- Keys of a namespace, wrapped by the key-encryption key that only control processes hold.
CREATE TABLE namespace_key (
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    id text NOT NULL,
    purpose text NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, id),
    CONSTRAINT namespace_key_purpose_known CHECK (purpose IN ('parts', 'sealing', 'credentials'))
);

-- Keys of the installation: snapshot signing, the private certificate authority, the development issuer.
CREATE TABLE installation_key (
    id text PRIMARY KEY,
    purpose text NOT NULL,
    wrapped bytea NOT NULL,
    public bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT installation_key_purpose_unique UNIQUE (purpose),
    CONSTRAINT installation_key_purpose_known
        CHECK (purpose IN ('snapshot', 'authority', 'development-issuer'))
);
