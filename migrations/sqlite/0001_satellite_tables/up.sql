-- The Satellite's tables as far as a standalone dispatcher needs them, under the Satellite's names.
-- Times are milliseconds since 1970-01-01 00:00:00 UTC. No STRICT tables: sqlite3 of RHEL 9 (3.34) could not read them.

CREATE TABLE rhnServer (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT    NOT NULL UNIQUE,
    secret   TEXT    NOT NULL,
    created  INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    modified INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
);

CREATE TABLE rhnServerInfo (
    server_id       INTEGER PRIMARY KEY REFERENCES rhnServer (id) ON DELETE CASCADE,
    checkin         INTEGER NOT NULL,
    checkin_counter INTEGER NOT NULL
);

CREATE TABLE rhnActionType (
    id               INTEGER PRIMARY KEY,
    label            TEXT NOT NULL UNIQUE,
    name             TEXT NOT NULL UNIQUE,
    trigger_snapshot TEXT NOT NULL DEFAULT 'N' CHECK (trigger_snapshot IN ('Y', 'N')),
    unlocked_only    TEXT NOT NULL DEFAULT 'N' CHECK (unlocked_only IN ('Y', 'N'))
);

INSERT INTO rhnActionType (id, label, name, trigger_snapshot, unlocked_only) VALUES
    (9, 'reboot.reboot', 'System reboot', 'N', 'Y'),
    (30, 'script.run', 'Run an arbitrary script', 'Y', 'N');

CREATE TABLE rhnActionStatus (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

INSERT INTO rhnActionStatus (id, name) VALUES (0, 'Queued'), (1, 'Picked Up'), (2, 'Completed'), (3, 'Failed');

CREATE TABLE rhnAction (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    action_type     INTEGER NOT NULL REFERENCES rhnActionType (id),
    name            TEXT    NOT NULL,
    earliest_action INTEGER NOT NULL,
    archived        INTEGER NOT NULL DEFAULT 0 CHECK (archived IN (0, 1)),
    prerequisite    INTEGER REFERENCES rhnAction (id) ON DELETE CASCADE,
    created         INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    modified        INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
);

CREATE INDEX rhn_action_prereq_id_idx ON rhnAction (prerequisite, id) WHERE prerequisite IS NOT NULL;

-- `version` is ours: it grows when an action is queued anew under its id, and stays when its status moves on.
CREATE TABLE rhnServerAction (
    server_id       INTEGER NOT NULL REFERENCES rhnServer (id) ON DELETE CASCADE,
    action_id       INTEGER NOT NULL REFERENCES rhnAction (id) ON DELETE CASCADE,
    status          INTEGER NOT NULL DEFAULT 0 REFERENCES rhnActionStatus (id),
    result_code     INTEGER,
    result_msg      TEXT,
    pickup_time     INTEGER,
    completion_time INTEGER,
    remaining_tries INTEGER NOT NULL DEFAULT 5,
    version         INTEGER NOT NULL DEFAULT 1,
    created         INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    modified        INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    PRIMARY KEY (server_id, action_id)
) WITHOUT ROWID;

CREATE INDEX rhn_ser_act_aid_idx ON rhnServerAction (action_id);
-- Histories are long, pending actions are few: what is due is found without reading the history.
CREATE INDEX osa_server_action_pending_idx ON rhnServerAction (server_id, action_id) WHERE status < 2;

CREATE TABLE rhnPushClientState (
    id    INTEGER PRIMARY KEY,
    label TEXT NOT NULL UNIQUE,
    name  TEXT NOT NULL UNIQUE
);

INSERT INTO rhnPushClientState (id, label, name) VALUES (1, 'online', 'online'), (2, 'offline', 'offline');

-- As in the Satellite's schema, nothing makes jabber_id unique.
CREATE TABLE rhnPushClient (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    name              TEXT    NOT NULL UNIQUE,
    server_id         INTEGER NOT NULL UNIQUE REFERENCES rhnServer (id) ON DELETE CASCADE,
    jabber_id         TEXT,
    shared_key        TEXT    NOT NULL,
    state_id          INTEGER NOT NULL REFERENCES rhnPushClientState (id),
    next_action_time  INTEGER,
    last_message_time INTEGER,
    last_ping_time    INTEGER,
    created           INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    modified          INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
);

CREATE INDEX osa_push_client_jid_idx ON rhnPushClient (jabber_id) WHERE jabber_id IS NOT NULL;
-- The node part of the JID: whether an account is linked.
CREATE INDEX osa_push_client_account_idx ON rhnPushClient (substr(jabber_id, 1, instr(jabber_id, '@') - 1));
