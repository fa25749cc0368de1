-- Releases are immutable and numbered; what changes is which one is active. New tables only.

CREATE TABLE policy_release (
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    number bigint NOT NULL,
    id text NOT NULL,
    digest bytea NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, number),
    CONSTRAINT policy_release_id_unique UNIQUE (id),
    CONSTRAINT policy_release_numbers_start_at_one CHECK (number > 0),
    CONSTRAINT policy_release_digest_is_sha256 CHECK (octet_length(digest) = 32)
);

CREATE TABLE policy_document (
    namespace_id uuid NOT NULL,
    release_number bigint NOT NULL,
    name text NOT NULL,
    source text NOT NULL,
    PRIMARY KEY (namespace_id, release_number, name),
    FOREIGN KEY (namespace_id, release_number) REFERENCES policy_release (namespace_id, number)
);

-- Every activation, rollbacks included; the newest row is in force.
CREATE TABLE policy_activation (
    namespace_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    release_number bigint NOT NULL,
    activated_by text NOT NULL,
    activated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, id),
    FOREIGN KEY (namespace_id, release_number) REFERENCES policy_release (namespace_id, number)
);
