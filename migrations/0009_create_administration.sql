-- What administration over REST needs: tokens with a name for themselves, the trail of what administrators did,
-- and answers kept for requests that are sent again. New tables; `api_token` is empty until now, its lock an instant.

ALTER TABLE api_token ADD COLUMN id text NOT NULL;
ALTER TABLE api_token ADD COLUMN created_by text NOT NULL;
ALTER TABLE api_token ADD CONSTRAINT api_token_id_unique UNIQUE (id);

-- Insert only, written in the transaction that changes something. Numbered in the order of commits, under an
-- advisory lock, so that a page of it never changes.
CREATE TABLE admin_record (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- NULL: the installation.
    namespace_id uuid REFERENCES namespace (id),
    -- The id of an API token, or a command's name.
    actor text NOT NULL,
    actor_name text NOT NULL,
    request_id text NOT NULL,
    operation text NOT NULL,
    target text NOT NULL,
    -- What the target became, as REST shows it, without secrets; NULL: it is gone.
    after jsonb
);

CREATE INDEX admin_record_page ON admin_record (namespace_id, id);
CREATE TRIGGER admin_record_is_insert_only BEFORE UPDATE OR DELETE ON admin_record
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER admin_record_is_never_truncated BEFORE TRUNCATE ON admin_record
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Kept for a day. The answer is encrypted under a key made of the caller's token, which is not kept here: an answer
-- may show a token once, and its copy must not show it to anybody else.
CREATE TABLE idempotency_key (
    api_token text NOT NULL REFERENCES api_token (id),
    key text NOT NULL,
    request_digest bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (api_token, key),
    CONSTRAINT idempotency_key_digest_is_sha256 CHECK (octet_length(request_digest) = 32)
);

CREATE INDEX idempotency_key_age ON idempotency_key (created_at);

-- The rules of migration 0008, for what is new here.
ALTER TABLE admin_record ENABLE ROW LEVEL SECURITY;
ALTER TABLE admin_record FORCE ROW LEVEL SECURITY;
CREATE POLICY within_scope ON admin_record
    USING (namespace_id = ANY ((SELECT ostiary_namespaces())::uuid[]) OR (SELECT ostiary_is_installation()))
    WITH CHECK (namespace_id = ANY ((SELECT ostiary_namespaces())::uuid[]) OR (SELECT ostiary_is_installation()));
CREATE POLICY auditor_reads ON admin_record FOR SELECT TO ostiary_auditor
    USING ((SELECT ostiary_is_unscoped()));
ALTER TABLE idempotency_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_key FORCE ROW LEVEL SECURITY;
CREATE POLICY within_scope ON idempotency_key
    USING ((SELECT ostiary_is_installation())) WITH CHECK ((SELECT ostiary_is_installation()));

GRANT SELECT, INSERT ON admin_record TO ostiary_app;
GRANT SELECT, INSERT, DELETE ON idempotency_key TO ostiary_app;
GRANT SELECT ON admin_record TO ostiary_auditor;
GRANT SELECT (id, created_by) ON api_token TO ostiary_auditor;
