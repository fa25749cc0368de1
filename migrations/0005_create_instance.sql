-- The writers of records and their lives. New tables only.

-- A proxy that was enrolled, or a control replica.
CREATE TABLE instance (
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    name text NOT NULL,
    kind text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    last_epoch bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace_id, name),
    CONSTRAINT instance_kind_known CHECK (kind IN ('proxy', 'control'))
);

-- One life of one writer: from its connection until its books are closed.
CREATE TABLE epoch (
    namespace_id uuid NOT NULL,
    instance text NOT NULL,
    epoch bigint NOT NULL,
    boot_id bytea NOT NULL,
    software_version text NOT NULL,
    -- Which control replica holds the stream; another value fences a stream that is still open elsewhere.
    session_id uuid NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now(),
    -- No grant of a lease reaches beyond this.
    lease_until timestamptz NOT NULL,
    closed_at timestamptz,
    -- Only for control's own epoch, which is numbered inside the transaction that writes.
    next_n bigint NOT NULL DEFAULT 1,
    -- Up to here every number of the lane 'committed' is stored and every intent has its outcome: where closing
    -- and resuming begin to look. It may lag behind, never run ahead.
    settled_n bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace_id, instance, epoch),
    CONSTRAINT epoch_starts_at_one CHECK (epoch > 0),
    CONSTRAINT epoch_boot_id_is_16_bytes CHECK (octet_length(boot_id) = 16),
    FOREIGN KEY (namespace_id, instance) REFERENCES instance (namespace_id, name)
);

CREATE INDEX epoch_open ON epoch (lease_until) WHERE closed_at IS NULL;

-- One-time tokens that turn a key into a certificate; only their digest is kept.
CREATE TABLE enrolment_token (
    digest bytea PRIMARY KEY,
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    instance text NOT NULL,
    expires_at timestamptz NOT NULL,
    spent_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT enrolment_token_digest_is_sha256 CHECK (octet_length(digest) = 32)
);
