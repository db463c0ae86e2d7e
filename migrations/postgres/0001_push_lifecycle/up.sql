-- The dispatcher's own records in a Satellite's database. No own table has a foreign key to an rhn* table: it would lock
-- the Satellite's rows. Times are milliseconds since 1970-01-01 00:00:00 UTC. PostgreSQL 9.2 understands all of it.

-- One row per start of a node; the number grows over all nodes.
CREATE TABLE osa_node (
    incarnation BIGSERIAL PRIMARY KEY,
    name        TEXT      NOT NULL,
    started_at  BIGINT    NOT NULL,
    -- When the node last said that it lives.
    alive_at    BIGINT    NOT NULL
);

-- Accounts of the embedded XMPP server.
CREATE TABLE osa_account (
    username  TEXT   PRIMARY KEY,
    verifiers TEXT   NOT NULL,
    created   BIGINT NOT NULL
);

-- What a system is between two requests.
CREATE TABLE osa_push (
    server_id      BIGINT  PRIMARY KEY,
    last_number    BIGINT  NOT NULL DEFAULT 0,
    wait_until     BIGINT,
    wait_reason    TEXT,
    wait_step      BIGINT,
    -- The client name under which a new agent announced itself; another name means: not yet.
    announced_name TEXT,
    -- The JID over which its client last signed validly; another one means: not yet.
    heard_jid      TEXT,
    -- The JID as it was seen last: where to look, as rhnPushClient has no index on it.
    jabber_id      TEXT,
    online         BOOLEAN NOT NULL DEFAULT FALSE,
    -- The start of a node that the system is, or was last, connected to.
    incarnation    BIGINT
);

CREATE INDEX osa_push_jid_idx ON osa_push (jabber_id) WHERE jabber_id IS NOT NULL;
-- The node part of the JID: whether an account is linked.
CREATE INDEX osa_push_account_idx ON osa_push (split_part(jabber_id, '@', 1)) WHERE jabber_id IS NOT NULL;
CREATE INDEX osa_push_online_idx ON osa_push (incarnation) WHERE online;

-- Requests: Claimed -> Sent -> Answered -> (Started -> Finished) | Received | Refused | Lost.
CREATE TABLE osa_request (
    server_id   BIGINT NOT NULL,
    number      BIGINT NOT NULL,
    state       TEXT   NOT NULL
        CHECK (state IN ('claimed', 'sent', 'answered', 'started', 'finished', 'received', 'refused', 'lost')),
    -- Why it was refused or lost.
    reason      TEXT,
    incarnation BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    claimed_at  BIGINT NOT NULL,
    sent_at     BIGINT,
    answered_at BIGINT,
    started_at  BIGINT,
    ended_at    BIGINT,
    run_id      BYTEA,
    run_covers  BIGINT,
    PRIMARY KEY (server_id, number)
);

CREATE INDEX osa_request_open_idx ON osa_request (server_id, number) WHERE ended_at IS NULL;
-- What the report of a run can still finish.
CREATE INDEX osa_request_unreported_idx ON osa_request (server_id, number)
    WHERE state NOT IN ('finished', 'received', 'refused');
CREATE INDEX osa_request_ended_idx ON osa_request (ended_at) WHERE ended_at IS NOT NULL;

-- The actions a request covers, each at the version that was due: the row's xmin and its earliest_action.
CREATE TABLE osa_request_action (
    server_id       BIGINT NOT NULL,
    number          BIGINT NOT NULL,
    action_id       BIGINT NOT NULL,
    version         BIGINT NOT NULL,
    earliest_action BIGINT NOT NULL,
    PRIMARY KEY (server_id, number, action_id),
    FOREIGN KEY (server_id, number) REFERENCES osa_request (server_id, number) ON DELETE CASCADE
);

CREATE INDEX osa_request_action_idx ON osa_request_action (server_id, action_id);

-- Reports that were counted; per system, so that no client can use up another's run id.
CREATE TABLE osa_run (
    server_id   BIGINT NOT NULL,
    run_id      BYTEA  NOT NULL,
    covers      BIGINT NOT NULL,
    -- NULL: the run was lost.
    exit_status BIGINT,
    run_time_ms BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (server_id, run_id)
);

CREATE INDEX osa_run_recorded_idx ON osa_run (recorded_at);
