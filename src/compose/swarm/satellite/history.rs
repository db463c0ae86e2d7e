//! Years of a Satellite: systems, what they have done, and what is still to do.

use tokio_postgres::Client;

use super::super::arguments::HistoryArguments;
use super::super::error::SwarmError;

/// The tables, with the Satellite's own indexes and no other.
const TABLES: &str = include_str!("../../../../tests/store/postgres/satellite.sql");

/// The first system; the Satellite's own sequence begins there.
const FIRST_SYSTEM: i64 = 1_000_010_000;

/// A prime, so that the actions of one system lie far from one another, as they do where years lie between them.
const STRIDE: i64 = 7_919;

/// Makes the tables and fills them. Every system has a registration; each action is for one system, the pending ones are
/// the newest, and a system's are as many as another's.
pub(super) async fn make(client: &Client, history: &HistoryArguments) -> Result<(), SwarmError> {
    client.batch_execute(TABLES).await?;
    // No foreign key is checked row by row, and indexes are made of what is there.
    client.batch_execute("SET session_replication_role = replica").await?;
    client.batch_execute(WITHOUT_INDEXES).await?;
    client.batch_execute(&systems(history.systems)).await?;
    client.batch_execute(&actions(history)).await?;
    client.batch_execute(WITH_INDEXES).await?;
    client.batch_execute("SET session_replication_role = DEFAULT").await?;
    client.batch_execute("VACUUM (FREEZE, ANALYZE)").await?;
    client.batch_execute("CHECKPOINT").await?;
    Ok(())
}

const WITHOUT_INDEXES: &str = "\
    CREATE TEMP TABLE index_to_come AS \
      SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index \
      WHERE indrelid IN ('rhnAction'::regclass, 'rhnServerAction'::regclass) \
        AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid); \
    DO $$ DECLARE name text; BEGIN \
      FOR name IN SELECT i.name FROM index_to_come i LOOP EXECUTE 'DROP INDEX ' || name; END LOOP; \
    END $$";

const WITH_INDEXES: &str = "\
    DO $$ DECLARE definition text; BEGIN \
      FOR definition IN SELECT i.definition FROM index_to_come i LOOP EXECUTE definition; END LOOP; \
    END $$";

fn systems(systems: i64) -> String {
    let last = FIRST_SYSTEM + systems - 1;
    let all = format!("generate_series({FIRST_SYSTEM}::bigint, {last}) AS id");
    format!(
        "INSERT INTO rhnServer (id, digital_server_id, secret, name) \
           SELECT id, 'ID-' || id, repeat(md5(id::text), 2), 'system-' || id FROM {all}; \
         INSERT INTO rhnServerInfo (server_id) SELECT id FROM {all}; \
         INSERT INTO rhnServerGroupMembers (server_id, server_group_id) SELECT id, 1 FROM {all}; \
         INSERT INTO rhnPushClient (id, name, server_id, jabber_id, shared_key, state_id) \
           SELECT nextval('rhn_pclient_id_seq'), md5('name' || id), id, 'osad-' || md5('jid' || id) || '@localhost/osad', \
             md5('key' || id), (SELECT s.id FROM rhnPushClientState s WHERE s.label = 'offline') FROM {all}; \
         SELECT setval('rhn_server_id_seq', {last})"
    )
}

fn actions(history: &HistoryArguments) -> String {
    let HistoryArguments {
        systems,
        finished,
        pending,
        ..
    } = *history;
    let all = finished + pending;
    format!(
        "INSERT INTO rhnAction (id, action_type, name, earliest_action, created, modified) \
           SELECT n, CASE n % 4 WHEN 0 THEN 3 WHEN 1 THEN 5 WHEN 2 THEN 30 ELSE 32 END, 'action', at, at, at \
           FROM (SELECT n, now() - ({all} - n) * interval '10 seconds' AS at FROM generate_series(1, {all}) n) v; \
         INSERT INTO rhnServerAction (server_id, action_id, status, result_code, result_msg, pickup_time, completion_time, \
             created, modified) \
           SELECT {FIRST_SYSTEM} + n * {STRIDE}::bigint % {systems}, n, CASE n % 50 WHEN 0 THEN 3 ELSE 2 END, 0, \
             'Update Succeeded', at + interval '1 hour', at + interval '2 hours', at, at + interval '2 hours' \
           FROM (SELECT n, now() - ({all} - n) * interval '10 seconds' AS at FROM generate_series(1, {finished}) n) v; \
         INSERT INTO rhnServerAction (server_id, action_id, status) \
           SELECT {FIRST_SYSTEM} + n * {STRIDE}::bigint % {systems}, n, 0 FROM generate_series({finished} + 1, {all}) n; \
         SELECT setval('rhn_event_id_seq', {all} + 1)"
    )
}
