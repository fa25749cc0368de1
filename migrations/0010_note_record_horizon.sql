-- Makes pages of records final. Positions are handed out while a transaction writes and seen when it commits, so a page
-- could miss a smaller position that commits later. Each writer now shows, by an advisory lock, a position that all of
-- its own are above; a reader stops below the least one shown. Adds a trigger: a brief lock on `record`.

-- The key is the low half of the position before the next one. It is taken before any position is, and released
-- after the rows can be seen: whoever reads the sequence first and the locks second misses nothing.
CREATE FUNCTION note_record_horizon() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(
        1330859340, ((last_value - 1) & 4294967295)::bit(32)::int4) FROM record_position_seq;
    RETURN NULL;
END
$$;

CREATE TRIGGER record_horizon_is_noted BEFORE INSERT ON record
    FOR EACH STATEMENT EXECUTE FUNCTION note_record_horizon();

GRANT SELECT ON SEQUENCE record_position_seq TO ostiary_app;
