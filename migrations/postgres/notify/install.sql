-- Wakes a dispatcher the moment something of its business is committed. Only by `osa-dispatcher migrate
-- --install-notify`; the one change that is ever made to a Satellite's tables. The payload is constant, so that
-- PostgreSQL keeps one notification for each transaction, however many rows it changed.

CREATE FUNCTION osa_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY osa_changed;
    RETURN NULL;
END
$$;

CREATE TRIGGER osa_action_assigned AFTER INSERT ON rhnServerAction
    FOR EACH STATEMENT EXECUTE PROCEDURE osa_notify();

CREATE TRIGGER osa_action_moved AFTER UPDATE ON rhnServerAction
    FOR EACH ROW WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE PROCEDURE osa_notify();

CREATE TRIGGER osa_action_postponed AFTER UPDATE ON rhnAction
    FOR EACH ROW WHEN (NEW.earliest_action IS DISTINCT FROM OLD.earliest_action) EXECUTE PROCEDURE osa_notify();

CREATE TRIGGER osa_client_changed AFTER UPDATE ON rhnPushClient
    FOR EACH ROW WHEN (
        NEW.name IS DISTINCT FROM OLD.name
        OR NEW.shared_key IS DISTINCT FROM OLD.shared_key
        OR NEW.jabber_id IS DISTINCT FROM OLD.jabber_id
        OR (NEW.last_ping_time IS NOT NULL AND NEW.next_action_time IS NULL
            AND NEW.last_ping_time IS DISTINCT FROM OLD.last_ping_time)
    ) EXECUTE PROCEDURE osa_notify();
