-- The roles of an installation, and what they need in this database before the first migration runs as the owner.
--
-- Roles belong to the whole cluster, so this is no migration: it may run any number of times, in any database of the
-- cluster, also in several at once, and changes only what is missing. `ostiary-control migrate` runs it by itself when
-- something is missing and its user may; where it may not, an administrator of the database runs it once with
-- `psql -v ON_ERROR_STOP=1 -f migrations/roles/prepare.sql` (docs/reference/database.md).
--
-- It needs CREATEROLE for roles that are missing, and the rights of the database's owner for the rest.

DO $$
DECLARE
    wanted record;
    found record;
BEGIN
    -- Without passwords: they log in by what pg_hba.conf and the administrator say, or through a member role.
    FOR wanted IN
        SELECT * FROM (VALUES
            ('ostiary_owner', 'NOLOGIN'), ('ostiary_migrator', 'LOGIN'),
            ('ostiary_app', 'LOGIN'), ('ostiary_auditor', 'LOGIN')) AS w (name, login)
        WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = w.name)
    LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I %s', wanted.name, wanted.login);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- Another database of the cluster was quicker.
        END;
    END LOOP;
    FOR wanted IN
        SELECT * FROM (VALUES ('ostiary_migrator'), (current_user)) AS w (name)
        WHERE NOT pg_has_role(w.name, 'ostiary_owner', 'MEMBER')
    LOOP
        BEGIN
            EXECUTE format('GRANT ostiary_owner TO %I', wanted.name);
        EXCEPTION WHEN unique_violation THEN
            NULL;
        END;
    END LOOP;
    IF has_schema_privilege('public', 'public', 'CREATE') THEN
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    END IF;
    IF NOT has_schema_privilege('ostiary_owner', 'public', 'CREATE') THEN
        GRANT USAGE, CREATE ON SCHEMA public TO ostiary_owner;
        GRANT USAGE ON SCHEMA public TO ostiary_app, ostiary_auditor;
    END IF;
    -- A database from before there were roles: what this program made becomes the owner's.
    FOR found IN
        SELECT c.oid::regclass AS name FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
            AND c.relowner <> 'ostiary_owner'::regrole
            AND (c.relname ~ '^record_([0-9]{6}|default)$' OR c.relname IN (
                'schema_migration', 'namespace', 'namespace_key', 'installation_key', 'identity_provider',
                'subject', 'server', 'tool_definition', 'tool', 'policy_release', 'policy_document',
                'policy_activation', 'instance', 'epoch', 'enrolment_token', 'record', 'call_outcome',
                'record_part', 'api_token'))
            AND to_regclass('public.schema_migration') IS NOT NULL
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO ostiary_owner', found.name);
    END LOOP;
    FOR found IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proowner <> 'ostiary_owner'::regrole
            AND p.proname IN ('refuse_change', 'ensure_record_month')
            AND to_regclass('public.schema_migration') IS NOT NULL
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO ostiary_owner', found.name);
    END LOOP;
END
$$;
