-- Tokens for the REST interface; only their digest is kept. New table only.

CREATE TABLE api_token (
    digest bytea PRIMARY KEY,
    name text NOT NULL,
    -- NULL: the whole installation.
    namespace_id uuid REFERENCES namespace (id),
    role text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT api_token_digest_is_sha256 CHECK (octet_length(digest) = 32),
    CONSTRAINT api_token_role_known CHECK (role IN ('administrator', 'auditor'))
);
