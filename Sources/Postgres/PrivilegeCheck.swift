/// Whether the user that a process works as is held by the database's own rules.
///
/// Grants, row-level security and triggers bind neither a superuser nor whoever can become the owner of the tables;
/// such a user is for migrations.
public enum PrivilegeCheck {
    /// What this user may do that a process at work must not.
    public struct Refusal: Sendable, Equatable, CustomStringConvertible {
        /// In words: `is a superuser`.
        public let privileges: [String]

        /// The privileges, in a sentence.
        public var description: String {
            "the database user " + privileges.joined(separator: ", ")
        }
    }

    /// Asks what the connected user is, and what it could become with SET ROLE.
    ///
    /// Returns nil when it is an ordinary user of somebody else's tables.
    public static func refusal(
        _ client: PostgresClient
    ) async throws(PostgresError) -> Refusal? {
        let rows = try await client.query(
            """
            with own as (
                select rolsuper from pg_roles where rolname = session_user
            ), role as (
                -- Of a superuser everything is true, and nothing needs to be said.
                select oid, rolsuper, rolbypassrls, rolcreaterole from pg_roles
                where pg_has_role(session_user, oid, 'member') and not (select rolsuper from own)
            )
            select p.privilege from (values
                (1, (select rolsuper from own), 'is a superuser'),
                (2, exists (select from role where rolsuper), 'may become a superuser'),
                (3, exists (select from role where rolbypassrls), 'may bypass row-level security'),
                (4, exists (select from role where rolcreaterole), 'may change roles'),
                (5, exists (
                    select from pg_class c join role r on r.oid = c.relowner
                    where c.relnamespace = to_regnamespace('public') and c.relkind in ('r', 'p')),
                    'owns tables')
            ) as p (n, applies, privilege)
            where p.applies order by p.n
            """
        )
        var privileges: [String] = []
        for row in rows {
            privileges.append(try row.decode(at: 0))
        }
        return privileges.isEmpty ? nil : Refusal(privileges: privileges)
    }
}
