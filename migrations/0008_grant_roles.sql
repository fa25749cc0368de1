-- Who may do what, and within which namespace. Until now one role owned and used everything; from here on control works
-- as `ostiary_app`, which sees the rows of the namespaces its transaction names and cannot change what is on record.
--
-- Takes ACCESS EXCLUSIVE on every table for an instant (row-level security, triggers), in one transaction.

-- The namespaces that a transaction works for: what it said with set_config('ostiary.namespace', …, true), as ids
-- separated by commas. Nothing said: none. An id that is none is an error, never everything.
--
-- These three have a body and no settings of their own, so that the planner puts the body in their place: a call would
-- cost each statement 80 µs (measured). Names in a body are bound here and for good.
CREATE FUNCTION ostiary_namespaces() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE current_setting('ostiary.namespace', true)
    WHEN '*' THEN '{}'::uuid[]
    ELSE coalesce(
        string_to_array(nullif(current_setting('ostiary.namespace', true), ''), ',')::uuid[], '{}'::uuid[])
END;

-- Whether a transaction works for the installation ('*'): it may see who there is, and no namespace's content.
CREATE FUNCTION ostiary_is_installation() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(current_setting('ostiary.namespace', true) = '*', false);

-- Whether an auditor is to see a namespace: all while none is named.
CREATE FUNCTION ostiary_is_unscoped() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(current_setting('ostiary.namespace', true), '') IN ('', '*');

-- Row-level security holds everybody but superusers, the owner included (FORCE). The functions stand in subqueries, so
-- that they run once a statement and not once a row.
DO $$
DECLARE
    t text;
    key text;
    scope text;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'namespace', 'namespace_key', 'identity_provider', 'subject', 'server', 'tool_definition', 'tool',
        'policy_release', 'policy_document', 'policy_activation', 'instance', 'epoch', 'enrolment_token',
        'api_token', 'record', 'call_outcome', 'record_part']
    LOOP
        key := CASE t WHEN 'namespace' THEN 'id' ELSE 'namespace_id' END;
        scope := format('%I = ANY ((SELECT ostiary_namespaces())::uuid[])', key);
        -- Who there is, is the installation's to know: proxies and their lives, tokens to enrol and to administer,
        -- issuers whose keys are fetched.
        IF t IN ('namespace', 'identity_provider', 'instance', 'epoch', 'enrolment_token', 'api_token') THEN
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

ALTER TABLE installation_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE installation_key FORCE ROW LEVEL SECURITY;
CREATE POLICY within_scope ON installation_key
    USING ((SELECT ostiary_is_installation())) WITH CHECK ((SELECT ostiary_is_installation()));
CREATE POLICY auditor_reads ON installation_key FOR SELECT TO ostiary_auditor
    USING ((SELECT ostiary_is_unscoped()));

-- A partition is reached through its table; by itself it shows nothing to anybody.
ALTER TABLE record_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE record_default FORCE ROW LEVEL SECURITY;
DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'record'::regclass LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', partition);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', partition);
    END LOOP;
END
$$;

-- Months are made by the owner on the application's behalf: making a partition is no right to own one.
CREATE OR REPLACE FUNCTION ensure_record_month(at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    month timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
    name text := 'record_' || to_char(month, 'YYYYMM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('ensure_record_month', 0));
    IF to_regclass(name) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF record FOR VALUES FROM (%L) TO (%L)',
            name, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE TRIGGER record_is_never_truncated BEFORE TRUNCATE ON %I '
            'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION ensure_record_month(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_record_month(timestamptz) TO ostiary_app;

-- The second lock, where only `record` and `call_outcome` had one.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['record_part', 'policy_release', 'policy_document', 'policy_activation'] LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()',
            t || '_is_insert_only', t);
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
            t || '_is_never_truncated', t);
    END LOOP;
END
$$;

-- The application. What is on record, and what a policy said when it was in force, is added and never changed.
GRANT SELECT ON schema_migration TO ostiary_app, ostiary_auditor;
GRANT SELECT, INSERT ON
    record, call_outcome, record_part, policy_release, policy_document, policy_activation, tool_definition,
    installation_key TO ostiary_app;
-- A namespace's keys may be destroyed, which is how personal data is erased; never exchanged.
GRANT SELECT, INSERT, DELETE ON namespace_key TO ostiary_app;
-- Kept for ever, since records name them.
GRANT SELECT, INSERT, UPDATE ON namespace, instance, epoch, api_token TO ostiary_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity_provider, subject, server, tool, enrolment_token TO ostiary_app;

-- The auditor reads everything but what is secret: keys, digests of tokens, sealed credentials and parts.
GRANT SELECT ON
    namespace, instance, epoch, record, call_outcome, policy_release, policy_document, policy_activation,
    identity_provider, subject, tool, tool_definition TO ostiary_auditor;
GRANT SELECT (namespace_id, name, url, enabled, memberships, credential_header, created_at, updated_at)
    ON server TO ostiary_auditor;
GRANT SELECT (namespace_id, instance, epoch, lane, n, name, key_id) ON record_part TO ostiary_auditor;
GRANT SELECT (namespace_id, id, purpose, created_at) ON namespace_key TO ostiary_auditor;
GRANT SELECT (id, purpose, public, created_at) ON installation_key TO ostiary_auditor;
GRANT SELECT (namespace_id, instance, expires_at, spent_at, created_at) ON enrolment_token TO ostiary_auditor;
GRANT SELECT (name, namespace_id, role, created_at, expires_at, revoked_at) ON api_token TO ostiary_auditor;
