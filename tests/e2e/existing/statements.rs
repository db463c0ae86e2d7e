//! What the existing dispatcher asks a Satellite's database: compatibility contract, section 3.4.

use super::hex;
use crate::cluster::Database;

/// The node of its JID.
pub const NODE: &str = "rhn-dispatcher-sat";

/// Statement D1: with no row, or several, a password is made up and stored nowhere.
pub fn password(database: &Database) -> String {
    let rows = database.query(&format!(
        "SELECT coalesce(password, '-') FROM rhnPushDispatcher WHERE jabber_id LIKE '{NODE}%'"
    ));
    let rows: Vec<&str> = rows.lines().collect();
    if let [password] = rows[..]
        && password != "-"
    {
        return password.to_owned();
    }
    let password = hex(16);
    if rows.len() == 1 {
        database.sql(&format!("UPDATE rhnPushDispatcher SET password = '{password}'"));
    }
    password
}

/// Statement D2: the password is not written if there is a row.
pub fn check_in(database: &Database, jid: &str, host: &str, password: &str) {
    database.sql(&format!(
        "INSERT INTO rhnPushDispatcher (id, jabber_id, hostname, password) \
         SELECT nextval('rhn_pushdispatch_id_seq'), '{jid}', '{host}', '{password}' \
         ON CONFLICT (jabber_id) DO UPDATE SET last_checkin = current_timestamp, hostname = '{host}'"
    ));
}

/// Statement D3: full JIDs.
pub fn clients(database: &Database) -> Vec<String> {
    lines(&database.query("SELECT jabber_id FROM rhnPushClient WHERE jabber_id IS NOT NULL"))
}

/// Statement D4.
pub fn set_state(database: &Database, jid: &str, online: bool) {
    let state = state(if online { "online" } else { "offline" });
    database.sql(&format!(
        "UPDATE rhnPushClient SET state_id = {state}, last_ping_time = NULL, next_action_time = NULL \
         WHERE jabber_id = {}",
        quoted(jid)
    ));
}

/// Statement D5.
pub fn note_answer(database: &Database, jid: &str) {
    database.sql(&format!(
        "UPDATE rhnPushClient SET state_id = {}, last_message_time = current_timestamp, last_ping_time = NULL, \
           next_action_time = NULL WHERE jabber_id = {}",
        state("online"),
        quoted(jid)
    ));
}

/// Statement D6: who has not answered a ping in time.
pub fn reap(database: &Database) {
    database.sql(&format!(
        "UPDATE rhnPushClient SET state_id = {} WHERE state_id = {} AND last_ping_time IS NOT NULL \
           AND current_timestamp > next_action_time",
        state("offline"),
        state("online")
    ));
}

/// Statement D7: full JIDs.
pub fn pings_wanted(database: &Database) -> Vec<String> {
    lines(&database.query(&format!(
        "UPDATE rhnPushClient SET next_action_time = current_timestamp + interval '20 s' WHERE state_id = {} \
           AND last_ping_time IS NOT NULL AND next_action_time IS NULL AND jabber_id IS NOT NULL RETURNING jabber_id",
        state("online")
    )))
}

/// Statements D9 and D10: a full JID for each action that is due, queued ones first.
pub fn due(database: &Database) -> Vec<String> {
    lines(&database.query(
        "SELECT c.jabber_id FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id \
           JOIN rhnPushClient c ON c.server_id = sa.server_id \
         WHERE sa.status IN (0, 1) AND a.earliest_action <= current_timestamp AND c.jabber_id IS NOT NULL \
           AND NOT EXISTS (SELECT 1 FROM rhnServerAction p WHERE p.server_id = sa.server_id \
             AND p.action_id = a.prerequisite AND p.status <> 2) \
           AND NOT EXISTS (SELECT 1 FROM rhnServerAction r JOIN rhnAction ra ON ra.id = r.action_id \
             JOIN rhnActionType t ON t.id = ra.action_type \
             WHERE r.server_id = sa.server_id AND r.status = 1 AND t.label = 'reboot.reboot') \
         ORDER BY sa.status, a.earliest_action, sa.server_id",
    ))
}

/// Statement D11, for verifying.
pub fn key_by_name(database: &Database, name: &str) -> Option<String> {
    key(database, "name", name)
}

/// Statement D11, for signing.
pub fn key_by_jid(database: &Database, jid: &str) -> Option<String> {
    key(database, "jabber_id", jid)
}

fn key(database: &Database, column: &str, value: &str) -> Option<String> {
    let value = quoted(value);
    let key = database.query(&format!(
        "SELECT shared_key FROM rhnPushClient WHERE {column} = {value} LIMIT 1"
    ));
    (!key.is_empty()).then_some(key)
}

fn state(label: &str) -> String {
    format!("(SELECT id FROM rhnPushClientState WHERE label = '{label}')")
}

/// As a text in SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn lines(rows: &str) -> Vec<String> {
    rows.lines().map(str::to_owned).collect()
}
