public import Postgres

/// The roles of an installation in PostgreSQL (docs/reference/database.md).
///
/// | role | who | may |
/// |---|---|---|
/// | `ostiary_owner` | nobody logs in | owns every table |
/// | `ostiary_migrator` | `ostiary-control migrate` | become the owner |
/// | `ostiary_app` | `ostiary-control` at work | what migration 0008 grants, within the scope of its transaction |
/// | `ostiary_auditor` | people with psql | read what is not secret |
public enum DatabaseRoles {
    /// Who migrations run as.
    public static let owner = Postgres.Identifier("ostiary_owner")
    /// Who control works as.
    public static let app = Postgres.Identifier("ostiary_app")

    /// Migrations run as the owner; `script` is migrations/roles/prepare.sql, and runs when something is missing.
    public static func ownership(script: [UInt8]) throws(MigrationError) -> Migrator.Ownership {
        try Migrator.Ownership(role: owner, isReady: isReady, script: script)
    }

    /// `case`, since pg_has_role and has_schema_privilege are errors for roles that are not there.
    private static let isReady: Query = """
        select case
            when (select count(*) from pg_roles where rolname in
                    ('ostiary_owner', 'ostiary_migrator', 'ostiary_app', 'ostiary_auditor')) < 4
                then false
            else pg_has_role(current_user, 'ostiary_owner', 'member')
                and pg_has_role('ostiary_migrator', 'ostiary_owner', 'member')
                and has_schema_privilege('ostiary_owner', 'public', 'create')
                and not exists (
                    select from pg_class where oid = to_regclass('public.schema_migration')
                        and pg_get_userbyid(relowner) <> 'ostiary_owner')
        end
        """
}
