-- The records. Insert only: no role gets UPDATE or DELETE, and a trigger refuses both for the owner too.
-- New tables only.

-- Partitioned by the time inside the record, so that a record that is sent again meets its twin whenever
-- it comes. Months exist ahead of time; the default partition takes what a wild clock dates elsewhere.
CREATE TABLE record (
    namespace_id uuid NOT NULL,
    instance text NOT NULL,
    epoch bigint NOT NULL,
    lane text NOT NULL,
    n bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- The order of arrival, for pages that never change.
    position bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    -- Of an outcome: the intent it closes.
    intent_n bigint,
    -- It came after its epoch was closed, or the intent had its outcome already: kept, and without effect.
    annotation boolean NOT NULL DEFAULT false,
    subject text,
    server text,
    tool text,
    answer text,
    code text,
    -- The exact bytes that the writer serialised and that digests are made of.
    body bytea NOT NULL,
    PRIMARY KEY (namespace_id, instance, epoch, lane, n, occurred_at),
    CONSTRAINT record_kind_known CHECK (kind IN ('intent', 'outcome', 'refusal', 'access', 'gap')),
    CONSTRAINT record_outcome_names_its_intent CHECK ((kind = 'outcome') = (intent_n IS NOT NULL)),
    CONSTRAINT record_lane_known CHECK (lane IN ('committed', 'spooled')),
    CONSTRAINT record_numbers_start_at_one CHECK (n > 0)
) PARTITION BY RANGE (occurred_at);

CREATE TABLE record_default PARTITION OF record DEFAULT;
CREATE INDEX record_page ON record (namespace_id, position);

-- Exactly one outcome for an intent: the primary key is the rule.
CREATE TABLE call_outcome (
    namespace_id uuid NOT NULL,
    instance text NOT NULL,
    epoch bigint NOT NULL,
    lane text NOT NULL,
    intent_n bigint NOT NULL,
    outcome text NOT NULL,
    -- Who wrote the outcome: the instance itself, or control when it closed the epoch.
    outcome_instance text NOT NULL,
    outcome_epoch bigint NOT NULL,
    outcome_n bigint NOT NULL,
    PRIMARY KEY (namespace_id, instance, epoch, lane, intent_n)
);

-- What records commit to, under a namespace key; the salt is inside, so that destroying the key leaves a
-- commitment nobody can guess from.
CREATE TABLE record_part (
    namespace_id uuid NOT NULL,
    instance text NOT NULL,
    epoch bigint NOT NULL,
    lane text NOT NULL,
    n bigint NOT NULL,
    name text NOT NULL,
    key_id text NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (namespace_id, instance, epoch, lane, n, name),
    CONSTRAINT record_part_name_known CHECK (name IN ('arguments', 'result'))
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER record_is_insert_only BEFORE UPDATE OR DELETE ON record
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
-- Statement triggers do not pass from a partitioned table to its partitions: each gets its own.
CREATE TRIGGER record_is_never_truncated BEFORE TRUNCATE ON record
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER record_is_never_truncated BEFORE TRUNCATE ON record_default
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER call_outcome_is_insert_only BEFORE UPDATE OR DELETE ON call_outcome
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER call_outcome_is_never_truncated BEFORE TRUNCATE ON call_outcome
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Makes the month of a point in time a partition of its own. Safe to call from several replicas at once.
CREATE FUNCTION ensure_record_month(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
    name text := 'record_' || to_char(month, 'YYYYMM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('ensure_record_month', 0));
    IF to_regclass(name) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF record FOR VALUES FROM (%L) TO (%L)',
            name, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format(
            'CREATE TRIGGER record_is_never_truncated BEFORE TRUNCATE ON %I '
            'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
    END IF;
END
$$;
