-- The dispatcher's own records. No own table has a foreign key to an rhn* table: in a Satellite's database it would
-- lock the Satellite's rows. Times are milliseconds since 1970-01-01 00:00:00 UTC.

-- One row per start of a node; the number grows over all nodes.
CREATE TABLE osa_node (
    incarnation INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL,
    started_at  INTEGER NOT NULL
);

-- Accounts of the embedded XMPP server.
CREATE TABLE osa_account (
    username  TEXT PRIMARY KEY,
    verifiers TEXT    NOT NULL,
    created   INTEGER NOT NULL
) WITHOUT ROWID;

-- What a system is between two requests.
CREATE TABLE osa_push (
    server_id      INTEGER PRIMARY KEY,
    last_number    INTEGER NOT NULL DEFAULT 0,
    wait_until     INTEGER,
    wait_reason    TEXT,
    wait_step      INTEGER,
    -- The client name under which a new agent announced itself; another name means: not yet.
    announced_name TEXT,
    -- When name and key were given last.
    registered_at  INTEGER,
    -- When an action was last picked up, completed or failed.
    last_change    INTEGER
);

-- Requests: Claimed -> Sent -> Answered -> (Started -> Finished) | Received | Refused | Lost.
CREATE TABLE osa_request (
    server_id   INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    state       TEXT    NOT NULL
        -- Not as a list, which SQLite would build anew, as a table, at each write.
        CHECK (state = 'claimed' OR state = 'sent' OR state = 'answered' OR state = 'started' OR state = 'finished'
            OR state = 'received' OR state = 'refused' OR state = 'lost'),
    -- Why it was refused or lost.
    reason      TEXT,
    incarnation INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    claimed_at  INTEGER NOT NULL,
    sent_at     INTEGER,
    answered_at INTEGER,
    started_at  INTEGER,
    ended_at    INTEGER,
    run_id      BLOB,
    run_covers  INTEGER,
    PRIMARY KEY (server_id, number)
) WITHOUT ROWID;

CREATE INDEX osa_request_open_idx ON osa_request (server_id, number) WHERE ended_at IS NULL;
-- What the report of a run can still finish.
CREATE INDEX osa_request_unreported_idx ON osa_request (server_id, number)
    WHERE state NOT IN ('finished', 'received', 'refused');
CREATE INDEX osa_request_ended_idx ON osa_request (ended_at) WHERE ended_at IS NOT NULL;

-- The actions a request covers, each at the version that was due.
CREATE TABLE osa_request_action (
    server_id       INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    action_id       INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    earliest_action INTEGER NOT NULL,
    PRIMARY KEY (server_id, number, action_id),
    FOREIGN KEY (server_id, number) REFERENCES osa_request (server_id, number) ON DELETE CASCADE
) WITHOUT ROWID;

CREATE INDEX osa_request_action_idx ON osa_request_action (server_id, action_id);

-- Reports that were counted; per system, so that no client can use up another's run id.
CREATE TABLE osa_run (
    server_id   INTEGER NOT NULL,
    run_id      BLOB    NOT NULL,
    covers      INTEGER NOT NULL,
    -- NULL: the run was lost.
    exit_status INTEGER,
    run_time_ms INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (server_id, run_id)
) WITHOUT ROWID;

CREATE INDEX osa_run_recorded_idx ON osa_run (recorded_at);

-- The last change of each system's actions, name, key or JID, by whatever program; ids only grow.
CREATE TABLE osa_change (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    server_id INTEGER NOT NULL UNIQUE
);

-- DELETE and INSERT, not REPLACE: the conflict clause of the statement that fires a trigger would override it.

CREATE TRIGGER osa_server_added AFTER INSERT ON rhnServer BEGIN
    INSERT INTO osa_push (server_id) VALUES (NEW.id);
END;

CREATE TRIGGER osa_server_removed AFTER DELETE ON rhnServer BEGIN
    DELETE FROM osa_request WHERE server_id = OLD.id;
    DELETE FROM osa_run WHERE server_id = OLD.id;
    DELETE FROM osa_push WHERE server_id = OLD.id;
    DELETE FROM osa_change WHERE server_id = OLD.id;
    INSERT INTO osa_change (server_id) VALUES (OLD.id);
END;

CREATE TRIGGER osa_action_assigned AFTER INSERT ON rhnServerAction BEGIN
    DELETE FROM osa_change WHERE server_id = NEW.server_id;
    INSERT INTO osa_change (server_id) VALUES (NEW.server_id);
END;

CREATE TRIGGER osa_action_taken_away AFTER DELETE ON rhnServerAction BEGIN
    DELETE FROM osa_change WHERE server_id = OLD.server_id;
    INSERT INTO osa_change (server_id) VALUES (OLD.server_id);
END;

CREATE TRIGGER osa_action_moved AFTER UPDATE OF status ON rhnServerAction WHEN NEW.status > 0 BEGIN
    UPDATE osa_push SET last_change = max(ifnull(last_change, 0), ifnull(NEW.pickup_time, 0), ifnull(NEW.completion_time, 0))
        WHERE server_id = NEW.server_id;
END;

-- Who moves an action on knows it; told are moves that make something due, or keep everything from being due: queued
-- anew, others depend on it, a reboot.
CREATE TRIGGER osa_action_status_matters AFTER UPDATE OF status ON rhnServerAction
    WHEN NEW.status <> OLD.status AND (
        NEW.status = 0
        OR EXISTS (SELECT 1 FROM rhnAction WHERE prerequisite = NEW.action_id)
        OR EXISTS (SELECT 1 FROM rhnAction a JOIN rhnActionType t ON t.id = a.action_type
                   WHERE a.id = NEW.action_id AND t.label = 'reboot.reboot')) BEGIN
    DELETE FROM osa_change WHERE server_id = NEW.server_id;
    INSERT INTO osa_change (server_id) VALUES (NEW.server_id);
END;

CREATE TRIGGER osa_action_queued_anew AFTER UPDATE OF status ON rhnServerAction
    WHEN OLD.status > 1 AND NEW.status < 2 BEGIN
    UPDATE rhnServerAction SET version = OLD.version + 1
        WHERE server_id = NEW.server_id AND action_id = NEW.action_id;
END;

CREATE TRIGGER osa_action_postponed AFTER UPDATE OF earliest_action ON rhnAction
    WHEN NEW.earliest_action <> OLD.earliest_action BEGIN
    DELETE FROM osa_change WHERE server_id IN
        (SELECT server_id FROM rhnServerAction WHERE action_id = NEW.id AND status < 2);
    INSERT INTO osa_change (server_id)
        SELECT server_id FROM rhnServerAction WHERE action_id = NEW.id AND status < 2;
END;

CREATE TRIGGER osa_client_added AFTER INSERT ON rhnPushClient BEGIN
    DELETE FROM osa_change WHERE server_id = NEW.server_id;
    INSERT INTO osa_change (server_id) VALUES (NEW.server_id);
END;

CREATE TRIGGER osa_client_changed AFTER UPDATE OF name, shared_key, jabber_id ON rhnPushClient BEGIN
    DELETE FROM osa_change WHERE server_id = NEW.server_id;
    INSERT INTO osa_change (server_id) VALUES (NEW.server_id);
END;

CREATE TRIGGER osa_client_removed AFTER DELETE ON rhnPushClient BEGIN
    DELETE FROM osa_change WHERE server_id = OLD.server_id;
    INSERT INTO osa_change (server_id) VALUES (OLD.server_id);
END;
