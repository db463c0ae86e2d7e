-- The Satellite's end of rhn_check: compatibility contract, section 7.3. In one thing it is stricter: of what is queued it
-- hands out only what an answered request covers at this very version. A check that merely runs, as at each start of an
-- existing agent, so completes nothing, and what is completed was asked for.

CREATE FUNCTION was_asked_for(me NUMERIC, what NUMERIC, row_version BIGINT, earliest TIMESTAMPTZ) RETURNS BOOLEAN
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM osa_request_action c
        JOIN osa_request r ON r.server_id = c.server_id AND r.number = c.number
        WHERE c.server_id = me::bigint AND c.action_id = what::bigint AND c.version = row_version
          AND c.earliest_action = floor(extract(epoch FROM earliest) * 1000)::bigint AND r.answered_at IS NOT NULL)
$$;

-- One action, picked up by this; NULL if there is none.
CREATE FUNCTION queue_get(me NUMERIC) RETURNS NUMERIC LANGUAGE plpgsql AS $$
DECLARE
    chosen NUMERIC;
BEGIN
    UPDATE rhnServerAction sa SET status = 3, result_code = -100 FROM rhnAction a, rhnServerAction first
    WHERE sa.server_id = me AND sa.status IN (0, 1) AND a.id = sa.action_id
      AND first.server_id = me AND first.action_id = a.prerequisite AND first.status = 3;
    UPDATE rhnServerAction SET status = 3 WHERE server_id = me AND status IN (0, 1) AND remaining_tries < 1;
    SELECT sa.action_id INTO chosen FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id
    WHERE sa.server_id = me AND a.earliest_action <= current_timestamp
      AND (sa.status = 1 OR (sa.status = 0 AND was_asked_for(me, a.id, sa.xmin::text::bigint, a.earliest_action)))
      AND NOT EXISTS (SELECT 1 FROM rhnServerAction first
        WHERE first.server_id = me AND first.action_id = a.prerequisite AND first.status <> 2)
    ORDER BY a.earliest_action, a.prerequisite NULLS FIRST, a.id LIMIT 1;
    UPDATE rhnServerAction SET status = 1, pickup_time = current_timestamp, remaining_tries = remaining_tries - 1
    WHERE server_id = me AND action_id = chosen;
    RETURN chosen;
END
$$;

CREATE FUNCTION queue_submit(me NUMERIC, what NUMERIC, went_well BOOLEAN) RETURNS void LANGUAGE sql AS $$
    UPDATE rhnServerAction SET status = CASE WHEN went_well THEN 2 ELSE 3 END
    WHERE server_id = me AND action_id = what AND status = 1
$$;

-- A check to its end, for a client that is a process of its own; how many actions it ran.
CREATE FUNCTION rhn_check(me NUMERIC) RETURNS INTEGER LANGUAGE plpgsql AS $$
DECLARE
    chosen NUMERIC;
    ran INTEGER := 0;
BEGIN
    LOOP
        chosen := queue_get(me);
        EXIT WHEN chosen IS NULL;
        PERFORM queue_submit(me, chosen, TRUE);
        ran := ran + 1;
    END LOOP;
    RETURN ran;
END
$$;

-- What an administrator does with failed actions: each again, under its id; how many there were.
CREATE FUNCTION reschedule_failed() RETURNS BIGINT LANGUAGE sql AS $$
    WITH again AS (UPDATE rhnServerAction SET status = 0, remaining_tries = 5, pickup_time = NULL, result_code = NULL
                   WHERE status = 3 RETURNING action_id),
         moved AS (UPDATE rhnAction SET earliest_action = current_timestamp WHERE id IN (SELECT action_id FROM again))
    SELECT count(*) FROM again
$$;

-- Actions for these systems, each the prerequisite of the next, due in so many seconds; the last one's id.
CREATE FUNCTION schedule(systems TEXT[], chain INTEGER, delay DOUBLE PRECISION) RETURNS NUMERIC LANGUAGE plpgsql AS $$
DECLARE
    before NUMERIC;
    added NUMERIC;
BEGIN
    FOR link IN 1 .. chain LOOP
        added := nextval('rhn_event_id_seq');
        INSERT INTO rhnAction (id, action_type, name, prerequisite, earliest_action)
        VALUES (added, 30, 'check', before, current_timestamp + delay * interval '1 second');
        INSERT INTO rhnServerAction (server_id, action_id, status)
        SELECT s.id, added, 0 FROM rhnServer s WHERE s.name = ANY(systems);
        before := added;
    END LOOP;
    RETURN added;
END
$$;
