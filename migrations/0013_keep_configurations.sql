-- What a release would have answered: published configurations are kept, so that a record's `snapshot.version` finds the
-- entities of its decision again; a release may run in shadow; simulations are jobs whose reports stay. New tables, and
-- ACCESS EXCLUSIVE on policy_activation for an instant: a constant default rewrites nothing.

-- The payload that was signed and sent, packed, under the namespace's key for parts: it names people, and destroying that
-- key erases them here as in the records.
CREATE TABLE kept_configuration (
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    version bigint NOT NULL,
    key_id text NOT NULL,
    sealed bytea NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, version),
    CONSTRAINT kept_configuration_versions_are_not_negative CHECK (version >= 0)
);
-- Ciphertext does not compress.
ALTER TABLE kept_configuration ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX kept_configuration_age ON kept_configuration (published_at);

-- A version may be forgotten when another took its place at least 30 days ago; how much longer it stays is a setting.
CREATE FUNCTION refuse_early_forgetting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM kept_configuration k
        WHERE k.namespace_id = OLD.namespace_id AND k.version > OLD.version
            AND k.published_at < now() - interval '30 days'
    ) THEN
        RAISE EXCEPTION 'a configuration is kept until another took its place 30 days ago'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END
$$;
CREATE TRIGGER kept_configuration_is_never_changed BEFORE UPDATE ON kept_configuration
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER kept_configuration_is_not_forgotten_early BEFORE DELETE ON kept_configuration
    FOR EACH ROW EXECUTE FUNCTION refuse_early_forgetting();
CREATE TRIGGER kept_configuration_is_never_truncated BEFORE TRUNCATE ON kept_configuration
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Which release is evaluated beside the active one; the newest row says so, without a release: none.
CREATE TABLE policy_shadow (
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    id bigint GENERATED ALWAYS AS IDENTITY,
    release_number bigint,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, id),
    FOREIGN KEY (namespace_id, release_number) REFERENCES policy_release (namespace_id, number)
);
CREATE TRIGGER policy_shadow_is_insert_only BEFORE UPDATE OR DELETE ON policy_shadow
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_shadow_is_never_truncated BEFORE TRUNCATE ON policy_shadow
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Jobs. A row is taken under a claim that its worker keeps alive; when the worker is gone another takes the row up.
CREATE TABLE policy_simulation (
    namespace_id uuid NOT NULL REFERENCES namespace (id),
    id text NOT NULL,
    kind text NOT NULL,
    release_number bigint NOT NULL,
    against_number bigint NOT NULL,
    range_from timestamptz,
    range_to timestamptz NOT NULL,
    records_max bigint NOT NULL,
    requested_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_by uuid,
    claimed_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    records_read bigint NOT NULL DEFAULT 0,
    finished_at timestamptz,
    failure text,
    PRIMARY KEY (namespace_id, id),
    FOREIGN KEY (namespace_id, release_number) REFERENCES policy_release (namespace_id, number),
    FOREIGN KEY (namespace_id, against_number) REFERENCES policy_release (namespace_id, number),
    CONSTRAINT policy_simulation_kind_known CHECK (kind IN ('replay', 'shadow')),
    CONSTRAINT policy_simulation_claim_has_an_end CHECK ((claimed_by IS NULL) = (claimed_until IS NULL)),
    CONSTRAINT policy_simulation_failure_is_an_end CHECK (failure IS NULL OR finished_at IS NOT NULL)
);
CREATE INDEX policy_simulation_open ON policy_simulation (created_at) WHERE finished_at IS NULL;
CREATE INDEX policy_simulation_page ON policy_simulation (namespace_id, release_number, created_at, id);

-- What a simulation found: evidence, so insert-only. It names people and calls, and belongs to its namespace alone.
CREATE TABLE policy_simulation_report (
    namespace_id uuid NOT NULL,
    simulation_id text NOT NULL,
    widening bigint NOT NULL,
    report json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, simulation_id),
    FOREIGN KEY (namespace_id, simulation_id) REFERENCES policy_simulation (namespace_id, id)
);
CREATE TRIGGER policy_simulation_report_is_insert_only BEFORE UPDATE OR DELETE ON policy_simulation_report
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_simulation_report_is_never_truncated BEFORE TRUNCATE ON policy_simulation_report
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Whether whoever activated a release accepted that calls go on under it which did not before.
ALTER TABLE policy_activation ADD COLUMN accepts_widening boolean NOT NULL DEFAULT false;

-- The rules of migration 0008. Which jobs there are is the installation's to know, since a worker serves all namespaces; what
-- they found is not.
DO $$
DECLARE
    t text;
    scope text;
BEGIN
    FOREACH t IN ARRAY ARRAY['kept_configuration', 'policy_shadow', 'policy_simulation', 'policy_simulation_report'] LOOP
        scope := 'namespace_id = ANY ((SELECT ostiary_namespaces())::uuid[])';
        IF t = 'policy_simulation' THEN
            scope := scope || ' OR (SELECT ostiary_is_installation())';
        END IF;
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY within_scope ON %I USING (%s) WITH CHECK (%s)', t, scope, scope);
        EXECUTE format(
            'CREATE POLICY auditor_reads ON %I FOR SELECT TO ostiary_auditor USING ((SELECT ostiary_is_unscoped()))',
            t);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, DELETE ON kept_configuration TO ostiary_app;
GRANT SELECT, INSERT ON policy_shadow, policy_simulation_report TO ostiary_app;
GRANT SELECT, INSERT, UPDATE ON policy_simulation TO ostiary_app;
GRANT SELECT (namespace_id, version, key_id, published_at) ON kept_configuration TO ostiary_auditor;
GRANT SELECT ON policy_shadow, policy_simulation, policy_simulation_report TO ostiary_auditor;
