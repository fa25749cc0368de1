-- Keys of issuers are fetched by control instead of being uploaded: from where, and how it went.
-- ACCESS EXCLUSIVE on identity_provider for an instant: constant defaults rewrite nothing.

ALTER TABLE identity_provider
    -- Where `jwks` comes from: an administrator, the issuer's metadata, or `jwks_url`.
    ADD COLUMN key_source text NOT NULL DEFAULT 'uploaded',
    ADD COLUMN jwks_url text,
    -- Whether keys may be fetched from addresses that only this network knows.
    ADD COLUMN private_addresses_allowed boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT identity_provider_key_source_known CHECK (key_source IN ('uploaded', 'discovery', 'url')),
    ADD CONSTRAINT identity_provider_url_belongs_to_source CHECK ((key_source = 'url') = (jwks_url IS NOT NULL));

-- Beside the configuration, not in it: an attempt changes nothing that proxies enforce. All replicas take their turns
-- here, so that an issuer is asked by one of them.
CREATE TABLE identity_provider_fetch (
    namespace_id uuid NOT NULL,
    issuer text NOT NULL,
    -- What the keys were fetched from, so that another source is noticed.
    source text NOT NULL,
    attempted_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    fetched_at timestamptz,
    -- Since the last success.
    failures integer NOT NULL DEFAULT 0,
    failure text,
    PRIMARY KEY (namespace_id, issuer),
    CONSTRAINT identity_provider_fetch_counts_failures CHECK ((failures > 0) = (failure IS NOT NULL)),
    CONSTRAINT identity_provider_fetch_belongs_to_a_provider
        FOREIGN KEY (namespace_id, issuer) REFERENCES identity_provider (namespace_id, issuer) ON DELETE CASCADE
);

ALTER TABLE identity_provider_fetch ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity_provider_fetch FORCE ROW LEVEL SECURITY;
CREATE POLICY within_scope ON identity_provider_fetch
    USING (namespace_id = ANY ((SELECT ostiary_namespaces())::uuid[]) OR (SELECT ostiary_is_installation()))
    WITH CHECK (namespace_id = ANY ((SELECT ostiary_namespaces())::uuid[]) OR (SELECT ostiary_is_installation()));
CREATE POLICY auditor_reads ON identity_provider_fetch FOR SELECT TO ostiary_auditor
    USING ((SELECT ostiary_is_unscoped()));
GRANT SELECT, INSERT, UPDATE, DELETE ON identity_provider_fetch TO ostiary_app;
GRANT SELECT ON identity_provider_fetch TO ostiary_auditor;
