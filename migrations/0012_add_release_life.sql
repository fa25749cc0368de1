-- The life of a release: who made it, a signed manifest of what it is, and what people said about it. Its state is derived
-- from these rows and from activations, and stored nowhere (ADR 0009).
--
-- ACCESS EXCLUSIVE on namespace and policy_release for an instant: constant defaults rewrite nothing, and the new unique
-- constraint is built over few rows.

-- How many people who did not make a release must approve it before it comes into force. Namespaces that are there go on as
-- they did; new ones have a second person look.
ALTER TABLE namespace
    ADD COLUMN policy_reviewers_required integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT namespace_policy_reviewers_are_few CHECK (policy_reviewers_required BETWEEN 0 AND 5);
ALTER TABLE namespace ALTER COLUMN policy_reviewers_required SET DEFAULT 1;

-- Releases from before have none of these.
ALTER TABLE policy_release
    -- The person who made it, and the people whose tokens made that person's token.
    ADD COLUMN maker text,
    ADD COLUMN maker_issued_by text[] NOT NULL DEFAULT '{}',
    -- Canonical JSON, exactly the bytes that are signed.
    ADD COLUMN manifest bytea,
    ADD COLUMN signature bytea,
    ADD COLUMN key_id text,
    ADD CONSTRAINT policy_release_is_signed_as_a_whole
        CHECK (num_nonnulls(maker, manifest, signature, key_id) IN (0, 4)),
    ADD CONSTRAINT policy_release_content_unique UNIQUE (namespace_id, number, digest);

-- What a person said about exactly these contents, once.
CREATE TABLE policy_review (
    namespace_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    release_number bigint NOT NULL,
    release_digest bytea NOT NULL,
    verdict text NOT NULL,
    comment text NOT NULL,
    -- The person, and the API token that was used.
    reviewer text COLLATE "C" NOT NULL,
    reviewed_by text NOT NULL,
    reviewed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, id),
    CONSTRAINT policy_review_is_of_these_contents FOREIGN KEY (namespace_id, release_number, release_digest)
        REFERENCES policy_release (namespace_id, number, digest),
    CONSTRAINT policy_review_once_a_person UNIQUE (namespace_id, release_number, reviewer),
    CONSTRAINT policy_review_verdict_known CHECK (verdict IN ('approved', 'rejected'))
);

-- Whether a release was in force before is asked for every release that is shown.
CREATE INDEX policy_activation_release ON policy_activation (namespace_id, release_number, id);

CREATE TRIGGER policy_review_is_insert_only BEFORE UPDATE OR DELETE ON policy_review
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_review_is_never_truncated BEFORE TRUNCATE ON policy_review
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE policy_review ENABLE ROW LEVEL SECURITY;
ALTER TABLE policy_review FORCE ROW LEVEL SECURITY;
CREATE POLICY within_scope ON policy_review
    USING (namespace_id = ANY ((SELECT ostiary_namespaces())::uuid[]))
    WITH CHECK (namespace_id = ANY ((SELECT ostiary_namespaces())::uuid[]));
CREATE POLICY auditor_reads ON policy_review FOR SELECT TO ostiary_auditor
    USING ((SELECT ostiary_is_unscoped()));
GRANT SELECT, INSERT ON policy_review TO ostiary_app;
GRANT SELECT ON policy_review TO ostiary_auditor;
