-- A Satellite's tables as far as they matter to push, written from the compatibility contract, sections 3.1 to 3.5: the
-- schema of Spacewalk 2.10. Ids are NUMERIC, times TIMESTAMPTZ, and there are no indexes but the Satellite's.

CREATE SEQUENCE rhn_server_id_seq START 1000010000;
CREATE TABLE rhnServer (
    id                NUMERIC      NOT NULL CONSTRAINT rhn_server_id_pk PRIMARY KEY,
    org_id            NUMERIC      NOT NULL DEFAULT 1,
    digital_server_id VARCHAR(64)  NOT NULL,
    secret            VARCHAR(64)  NOT NULL,
    name              VARCHAR(128),
    info              VARCHAR(128),
    running_kernel    VARCHAR(64),
    last_boot         NUMERIC      NOT NULL DEFAULT 0,
    created           TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp,
    modified          TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp
);
CREATE UNIQUE INDEX rhn_server_dsid_uq ON rhnServer (digital_server_id);

CREATE TABLE rhnServerInfo (
    server_id       NUMERIC     NOT NULL REFERENCES rhnServer (id),
    checkin         TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    checkin_counter NUMERIC     NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX rhn_server_info_sid_unq ON rhnServerInfo (server_id);

CREATE TABLE rhnServerLock (
    server_id NUMERIC NOT NULL REFERENCES rhnServer (id),
    locker_id NUMERIC,
    reason    VARCHAR(4000),
    created   TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);
CREATE UNIQUE INDEX rhn_server_lock_sid_uq ON rhnServerLock (server_id);

CREATE TABLE rhnActionType (
    id               NUMERIC      NOT NULL CONSTRAINT rhn_action_type_pk PRIMARY KEY,
    label            VARCHAR(48)  NOT NULL UNIQUE,
    name             VARCHAR(100) NOT NULL UNIQUE,
    trigger_snapshot CHAR(1)      NOT NULL DEFAULT 'N',
    unlocked_only    CHAR(1)      NOT NULL DEFAULT 'N'
);
INSERT INTO rhnActionType (id, label, name, trigger_snapshot, unlocked_only) VALUES
    (3, 'packages.update', 'Package Install', 'Y', 'Y'),
    (5, 'errata.update', 'Errata Update', 'Y', 'Y'),
    (9, 'reboot.reboot', 'System reboot', 'N', 'Y'),
    (19, 'kickstart.initiate', 'Initiate a kickstart', 'N', 'Y'),
    (30, 'script.run', 'Run an arbitrary script', 'Y', 'N'),
    (32, 'rhnsd.configure', 'Spacewalk Network Daemon (rhnsd) configuration', 'N', 'N');

CREATE TABLE rhnActionStatus (
    id   NUMERIC     NOT NULL CONSTRAINT rhn_action_status_pk PRIMARY KEY,
    name VARCHAR(16) NOT NULL UNIQUE
);
INSERT INTO rhnActionStatus (id, name) VALUES (0, 'Queued'), (1, 'Picked Up'), (2, 'Completed'), (3, 'Failed');

CREATE SEQUENCE rhn_event_id_seq;
CREATE TABLE rhnAction (
    id              NUMERIC      NOT NULL CONSTRAINT rhn_action_pk PRIMARY KEY,
    org_id          NUMERIC      NOT NULL DEFAULT 1,
    action_type     NUMERIC      NOT NULL REFERENCES rhnActionType (id),
    name            VARCHAR(128),
    scheduler       NUMERIC,
    earliest_action TIMESTAMPTZ  NOT NULL,
    version         NUMERIC      NOT NULL DEFAULT 0,
    archived        NUMERIC      NOT NULL DEFAULT 0 CHECK (archived IN (0, 1)),
    prerequisite    NUMERIC      REFERENCES rhnAction (id) ON DELETE CASCADE,
    created         TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp,
    modified        TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp
);
CREATE INDEX rhn_action_oid_idx ON rhnAction (org_id);
CREATE INDEX rhn_action_scheduler_idx ON rhnAction (scheduler);
CREATE INDEX rhn_action_prereq_id_idx ON rhnAction (prerequisite, id);

CREATE TABLE rhnServerAction (
    server_id       NUMERIC     NOT NULL REFERENCES rhnServer (id),
    action_id       NUMERIC     NOT NULL REFERENCES rhnAction (id) ON DELETE CASCADE,
    status          NUMERIC     NOT NULL REFERENCES rhnActionStatus (id),
    result_code     NUMERIC,
    result_msg      VARCHAR(1024),
    pickup_time     TIMESTAMPTZ,
    remaining_tries NUMERIC     NOT NULL DEFAULT 5,
    completion_time TIMESTAMPTZ,
    created         TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    modified        TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);
CREATE UNIQUE INDEX rhn_server_action_sid_aid_uq ON rhnServerAction (server_id, action_id);
CREATE INDEX rhn_ser_act_sid_aid_s_idx ON rhnServerAction (server_id, action_id, status);
CREATE INDEX rhn_ser_act_aid_idx ON rhnServerAction (action_id);

CREATE SEQUENCE rhn_pclient_state_id_seq START 11;
CREATE TABLE rhnPushClientState (
    id       NUMERIC      NOT NULL CONSTRAINT rhn_pclient_state_id_pk PRIMARY KEY,
    label    VARCHAR(64)  NOT NULL,
    name     VARCHAR(256) NOT NULL,
    created  TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp,
    modified TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp
);
CREATE UNIQUE INDEX rhn_pclient_state_label_uq ON rhnPushClientState (label);
CREATE UNIQUE INDEX rhn_pclient_state_name_uq ON rhnPushClientState (name);
-- Not 1 and 2: the ids come from a sequence and must be looked up.
INSERT INTO rhnPushClientState (id, label, name) VALUES
    (nextval('rhn_pclient_state_id_seq'), 'online', 'online'),
    (nextval('rhn_pclient_state_id_seq'), 'offline', 'offline');

CREATE SEQUENCE rhn_pclient_id_seq;
CREATE TABLE rhnPushClient (
    id                NUMERIC      NOT NULL CONSTRAINT rhn_pclient_id_pk PRIMARY KEY,
    name              VARCHAR(64)  NOT NULL,
    server_id         NUMERIC      NOT NULL,
    jabber_id         VARCHAR(128),
    shared_key        VARCHAR(64)  NOT NULL,
    state_id          NUMERIC      NOT NULL REFERENCES rhnPushClientState (id),
    next_action_time  TIMESTAMPTZ,
    last_message_time TIMESTAMPTZ,
    last_ping_time    TIMESTAMPTZ,
    created           TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp,
    modified          TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp
);
CREATE UNIQUE INDEX rhn_pclient_name_uq ON rhnPushClient (name);
CREATE UNIQUE INDEX rhn_pclient_sid_uq ON rhnPushClient (server_id);

CREATE SEQUENCE rhn_pushdispatch_id_seq;
CREATE TABLE rhnPushDispatcher (
    id           NUMERIC      NOT NULL CONSTRAINT rhn_pushdispatch_id_pk PRIMARY KEY,
    jabber_id    VARCHAR(128) NOT NULL CONSTRAINT rhn_pushdispatch_jid_uq UNIQUE,
    last_checkin TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp,
    hostname     VARCHAR(256) NOT NULL,
    password     VARCHAR(32),
    created      TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp,
    modified     TIMESTAMPTZ  NOT NULL DEFAULT current_timestamp
);
CREATE INDEX rhn_pushdispatch_jid_id_idx ON rhnPushDispatcher (jabber_id, id);

CREATE TABLE rhnServerGroupType (
    id    NUMERIC     NOT NULL PRIMARY KEY,
    label VARCHAR(32) NOT NULL UNIQUE
);
CREATE TABLE rhnServerGroup (
    id         NUMERIC NOT NULL PRIMARY KEY,
    group_type NUMERIC REFERENCES rhnServerGroupType (id),
    org_id     NUMERIC NOT NULL DEFAULT 1
);
CREATE TABLE rhnServerGroupMembers (
    server_id       NUMERIC NOT NULL REFERENCES rhnServer (id),
    server_group_id NUMERIC NOT NULL REFERENCES rhnServerGroup (id),
    CONSTRAINT rhn_sg_sid_sgid_uq UNIQUE (server_id, server_group_id)
);
CREATE TABLE rhnFeature (
    id    NUMERIC     NOT NULL PRIMARY KEY,
    label VARCHAR(32) NOT NULL UNIQUE,
    name  VARCHAR(64) NOT NULL
);
CREATE TABLE rhnServerGroupTypeFeature (
    server_group_type_id NUMERIC NOT NULL REFERENCES rhnServerGroupType (id),
    feature_id           NUMERIC NOT NULL REFERENCES rhnFeature (id)
);
INSERT INTO rhnServerGroupType (id, label) VALUES (1, 'enterprise_entitled'), (2, 'virtualization_host');
INSERT INTO rhnServerGroup (id, group_type) VALUES (1, 1), (2, 2);
INSERT INTO rhnFeature (id, label, name) VALUES (1, 'ftr_osa_bus', 'OSA Bus');
INSERT INTO rhnServerGroupTypeFeature VALUES (1, 1);
CREATE VIEW rhnServerEntitlementView AS
    SELECT DISTINCT m.server_id, t.id AS server_group_type_id, t.label
    FROM rhnServerGroupMembers m JOIN rhnServerGroup g ON g.id = m.server_group_id
    JOIN rhnServerGroupType t ON t.id = g.group_type;
CREATE VIEW rhnServerFeaturesView AS
    SELECT DISTINCT m.server_id, f.label
    FROM rhnServerGroupMembers m JOIN rhnServerGroup g ON g.id = m.server_group_id
    JOIN rhnServerGroupTypeFeature tf ON tf.server_group_type_id = g.group_type JOIN rhnFeature f ON f.id = tf.feature_id;

CREATE FUNCTION rhn_mod_trig_fun() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    new.modified := current_timestamp;
    RETURN new;
END
$$;
CREATE TRIGGER rhn_pclient_mod_trig BEFORE INSERT OR UPDATE ON rhnPushClient
    FOR EACH ROW EXECUTE PROCEDURE rhn_mod_trig_fun();
CREATE TRIGGER rhn_pushdispatch_mod_trig BEFORE INSERT OR UPDATE ON rhnPushDispatcher
    FOR EACH ROW EXECUTE PROCEDURE rhn_mod_trig_fun();

CREATE FUNCTION rhn_server_action_mod_trig_fun() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    new.modified := current_timestamp;
    IF new.status <> old.status AND new.status = 1 AND new.pickup_time IS NULL THEN
        new.pickup_time := current_timestamp;
    END IF;
    IF new.status <> old.status AND new.status = 2 AND new.completion_time IS NULL THEN
        new.completion_time := current_timestamp;
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER rhn_server_action_mod_trig BEFORE UPDATE ON rhnServerAction
    FOR EACH ROW EXECUTE PROCEDURE rhn_server_action_mod_trig_fun();

CREATE FUNCTION delete_server(gone NUMERIC) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM rhnPushClient WHERE server_id = gone;
    DELETE FROM rhnServerAction WHERE server_id = gone;
    DELETE FROM rhnServerInfo WHERE server_id = gone;
    DELETE FROM rhnServerLock WHERE server_id = gone;
    DELETE FROM rhnServerGroupMembers WHERE server_id = gone;
    DELETE FROM rhnServer WHERE id = gone;
END
$$;
