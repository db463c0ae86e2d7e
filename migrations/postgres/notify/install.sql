-- Tells a dispatcher at once what was committed. Only by `osa-dispatcher migrate --install-notify`; the one change that is
-- ever made to a Satellite's tables. Each function has the name of its trigger, by which it is known as this version's.
--
-- They read no table and raise nothing, whoever fires them. PostgreSQL keeps one notification of each payload for a
-- transaction: however many rows it changed, that is one per action, and at most 4096 each for systems and clients.

CREATE FUNCTION osa_action_assigned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('osa_changed', 'a' || NEW.action_id);
    RETURN NULL;
END
$$;

CREATE FUNCTION osa_action_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('osa_changed', 's' || (NEW.server_id % 4096));
    RETURN NULL;
END
$$;

CREATE FUNCTION osa_action_postponed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('osa_changed', 'a' || NEW.id);
    RETURN NULL;
END
$$;

CREATE FUNCTION osa_client_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('osa_changed', 'c' || (NEW.server_id % 4096));
    RETURN NULL;
END
$$;

CREATE TRIGGER osa_action_assigned AFTER INSERT ON rhnServerAction
    FOR EACH ROW EXECUTE PROCEDURE osa_action_assigned();

CREATE TRIGGER osa_action_moved AFTER UPDATE ON rhnServerAction
    FOR EACH ROW WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE PROCEDURE osa_action_moved();

CREATE TRIGGER osa_action_postponed AFTER UPDATE ON rhnAction
    FOR EACH ROW WHEN (NEW.earliest_action IS DISTINCT FROM OLD.earliest_action)
    EXECUTE PROCEDURE osa_action_postponed();

CREATE TRIGGER osa_client_changed AFTER UPDATE ON rhnPushClient
    FOR EACH ROW WHEN (
        NEW.name IS DISTINCT FROM OLD.name
        OR NEW.shared_key IS DISTINCT FROM OLD.shared_key
        OR NEW.jabber_id IS DISTINCT FROM OLD.jabber_id
        OR (NEW.last_ping_time IS NOT NULL AND NEW.next_action_time IS NULL
            AND NEW.last_ping_time IS DISTINCT FROM OLD.last_ping_time)
    ) EXECUTE PROCEDURE osa_client_changed();

-- A role that may not do this must find out now, and not in the Satellite's transactions.
SELECT pg_catalog.pg_notify('osa_changed', '');
