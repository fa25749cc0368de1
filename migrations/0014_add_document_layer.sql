-- Whose a document of a release is: the organisation's, the namespace's or a team's, and what they own. Documents that are
-- there, and those that name no layer, are the namespace's own: NULL.
--
-- ACCESS EXCLUSIVE on policy_document for an instant: columns without a default rewrite nothing, and the checks read few
-- rows.

ALTER TABLE policy_document
    ADD COLUMN layer_rank text,
    ADD COLUMN layer_name text,
    -- Entity uids as Cedar text; NULL: everything.
    ADD COLUMN layer_owned text[],
    ADD CONSTRAINT policy_document_layer_rank_known
        CHECK (layer_rank IN ('organisation', 'namespace', 'team')),
    ADD CONSTRAINT policy_document_layer_is_named
        CHECK ((layer_rank IS NULL) = (layer_name IS NULL) AND char_length(layer_name) BETWEEN 1 AND 128),
    ADD CONSTRAINT policy_document_team_says_what_it_owns
        CHECK (layer_rank <> 'team' OR layer_owned IS NOT NULL),
    ADD CONSTRAINT policy_document_only_layers_own
        CHECK (layer_rank IS NOT NULL OR layer_owned IS NULL),
    ADD CONSTRAINT policy_document_layer_owns_few
        CHECK (cardinality(layer_owned) <= 256 AND array_position(layer_owned, NULL) IS NULL);
