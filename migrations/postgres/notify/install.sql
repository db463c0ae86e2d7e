-- Tells a dispatcher at once what was committed. Only by `osa-dispatcher migrate --install-notify`; the one change that is
-- ever made to a Satellite's tables. Each function has the name of its trigger, and no trigger has a condition, by which
-- they are known as this version's.
--
-- They read no table and raise nothing, whoever fires them. PostgreSQL keeps one notification of each payload for a
-- transaction: however many rows it changed, that is one per action, and at most 4096 each for systems and clients.
--
-- A schema upgrade of the Satellite's must not meet them. PostgreSQL alters no type of a column that a trigger's condition
-- names: so the functions compare. And a function that a session has called expects the types of that time: where it finds
-- others, it tells that something has changed, and not what. Payloads are told outside of the block that sees to this, as
-- PostgreSQL before 13 keeps one of each for a subtransaction only.

CREATE FUNCTION osa_action_assigned() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payload text;
BEGIN
    BEGIN
        payload := 'a' || NEW.action_id;
    EXCEPTION WHEN OTHERS THEN
        payload := '';
    END;
    IF payload IS NOT NULL THEN
        PERFORM pg_catalog.pg_notify('osa_changed', payload);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION osa_action_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payload text;
BEGIN
    BEGIN
        IF NEW.status IS DISTINCT FROM OLD.status THEN
            payload := 's' || (NEW.server_id % 4096);
        END IF;
    EXCEPTION WHEN OTHERS THEN
        payload := '';
    END;
    IF payload IS NOT NULL THEN
        PERFORM pg_catalog.pg_notify('osa_changed', payload);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION osa_action_postponed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payload text;
BEGIN
    BEGIN
        IF NEW.earliest_action IS DISTINCT FROM OLD.earliest_action THEN
            payload := 'a' || NEW.id;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        payload := '';
    END;
    IF payload IS NOT NULL THEN
        PERFORM pg_catalog.pg_notify('osa_changed', payload);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION osa_client_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payload text;
BEGIN
    BEGIN
        IF NEW.name IS DISTINCT FROM OLD.name
        OR NEW.shared_key IS DISTINCT FROM OLD.shared_key
        OR NEW.jabber_id IS DISTINCT FROM OLD.jabber_id
        OR (NEW.last_ping_time IS NOT NULL AND NEW.next_action_time IS NULL
            AND NEW.last_ping_time IS DISTINCT FROM OLD.last_ping_time) THEN
            payload := 'c' || (NEW.server_id % 4096);
        END IF;
    EXCEPTION WHEN OTHERS THEN
        payload := '';
    END;
    IF payload IS NOT NULL THEN
        PERFORM pg_catalog.pg_notify('osa_changed', payload);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER osa_action_assigned AFTER INSERT ON rhnServerAction
    FOR EACH ROW EXECUTE PROCEDURE osa_action_assigned();

CREATE TRIGGER osa_action_moved AFTER UPDATE ON rhnServerAction
    FOR EACH ROW EXECUTE PROCEDURE osa_action_moved();

CREATE TRIGGER osa_action_postponed AFTER UPDATE ON rhnAction
    FOR EACH ROW EXECUTE PROCEDURE osa_action_postponed();

CREATE TRIGGER osa_client_changed AFTER UPDATE ON rhnPushClient
    FOR EACH ROW EXECUTE PROCEDURE osa_client_changed();

-- A role that may not do this must find out now, and not in the Satellite's transactions.
SELECT pg_catalog.pg_notify('osa_changed', '');
