//! Steps of requests: what is written to the dispatcher's own tables.
//!
//! Steps of one system are applied in their order; those of different systems do not depend on each other. So a batch
//! is applied in waves, the n-th of which holds each system's n-th step, and a wave in one statement per kind of step.
//! A step of a request that is not in a state the step starts from changes nothing: steps may come late or twice. Action
//! rows are the Satellite's, and none is touched.

use std::collections::{BTreeMap, HashMap};

use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::failure::Failure;
use super::statement::statement;
use crate::domain::ids::Incarnation;
use crate::domain::push::client::{RunEnd, RunReport};
use crate::domain::push::request::{Entry, Step, Wait};
use crate::store::label;

/// Applies a batch.
pub(super) async fn apply(
    connection: &mut AsyncPgConnection,
    entries: &[Entry],
    node: Incarnation,
) -> Result<(), Failure> {
    for wave in waves(entries) {
        for (kind, steps) in by_kind(&wave) {
            perform(connection, kind, &steps, node).await?;
        }
    }
    Ok(())
}

fn waves(entries: &[Entry]) -> Vec<Vec<&Entry>> {
    let mut waves: Vec<Vec<&Entry>> = Vec::new();
    let mut depth: HashMap<_, usize> = HashMap::new();
    for entry in entries {
        let wave = depth.entry(entry.system).or_default();
        if waves.len() == *wave {
            waves.push(Vec::new());
        }
        if let Some(steps) = waves.get_mut(*wave) {
            steps.push(entry);
        }
        *wave += 1;
    }
    waves
}

/// Steps that one statement can apply together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Sent,
    Answered,
    Ended,
    Started,
    Finished,
    Waiting,
    Announced,
    Online,
    Offline,
    Heard,
}

const fn kind(step: &Step) -> Kind {
    match step {
        Step::Sent(_) => Kind::Sent,
        Step::Answered(_) => Kind::Answered,
        Step::Received(_) | Step::Refused(..) | Step::Lost(..) | Step::Delivered(..) => Kind::Ended,
        Step::Started(_) => Kind::Started,
        Step::Finished(_) => Kind::Finished,
        Step::Waiting(_) => Kind::Waiting,
        Step::AgentAnnounced => Kind::Announced,
        Step::Online(true) => Kind::Online,
        Step::Online(false) => Kind::Offline,
        Step::Heard => Kind::Heard,
    }
}

fn by_kind<'a>(wave: &[&'a Entry]) -> BTreeMap<Kind, Vec<&'a Entry>> {
    let mut kinds: BTreeMap<Kind, Vec<&Entry>> = BTreeMap::new();
    for entry in wave {
        kinds.entry(kind(&entry.step)).or_default().push(entry);
    }
    kinds
}

async fn perform(
    connection: &mut AsyncPgConnection,
    kind: Kind,
    steps: &[&Entry],
    node: Incarnation,
) -> Result<(), Failure> {
    match kind {
        Kind::Sent => moved(connection, steps, "state = 'sent', sent_at = v.at", "'claimed'").await,
        Kind::Answered => {
            let set = "state = 'answered', answered_at = v.at";
            moved(connection, steps, set, "'claimed', 'sent'").await
        }
        Kind::Ended => ended(connection, steps).await,
        Kind::Started => started(connection, steps).await,
        Kind::Finished => finished(connection, steps).await,
        Kind::Waiting => waiting(connection, steps).await,
        Kind::Announced => noted(connection, steps, "announced_name", "name").await,
        Kind::Heard => noted(connection, steps, "heard_jid", "jabber_id").await,
        Kind::Online => {
            statement::<()>("UPDATE osa_push SET online = TRUE, incarnation = ? WHERE server_id = ANY(?)")
                .bind(node)
                .bind(systems(steps))
                .execute(connection)
                .await?;
            Ok(())
        }
        // One that is connected to another node by now is online there.
        Kind::Offline => {
            statement::<()>("UPDATE osa_push SET online = FALSE WHERE incarnation = ? AND server_id = ANY(?)")
                .bind(node)
                .bind(systems(steps))
                .execute(connection)
                .await?;
            Ok(())
        }
    }
}

fn systems(steps: &[&Entry]) -> Vec<i64> {
    steps.iter().map(|entry| entry.system.0).collect()
}

fn times(steps: &[&Entry]) -> Vec<i64> {
    steps.iter().map(|entry| entry.at.as_millis()).collect()
}

/// The number of the request, or the highest one, that a step is about.
fn numbers(steps: &[&Entry]) -> Vec<i64> {
    let number = |entry: &&Entry| match &entry.step {
        Step::Sent(number)
        | Step::Answered(number)
        | Step::Received(number)
        | Step::Refused(number, _)
        | Step::Lost(number, _)
        | Step::Delivered(number, _) => number.0,
        Step::Started(run) => run.covers.0,
        Step::Finished(report) => report.covers.0,
        Step::Waiting(_) | Step::AgentAnnounced | Step::Online(_) | Step::Heard => 0,
    };
    steps.iter().map(number).collect()
}

async fn moved(
    connection: &mut AsyncPgConnection,
    steps: &[&Entry],
    set: &'static str,
    from: &'static str,
) -> Result<(), Failure> {
    statement::<()>(format!(
        "UPDATE osa_request r SET {set} \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS number, unnest(?) AS at) v \
         WHERE r.server_id = v.server_id AND r.number = v.number AND r.state IN ({from})"
    ))
    .bind(systems(steps))
    .bind(numbers(steps))
    .bind(times(steps))
    .execute(connection)
    .await?;
    Ok(())
}

async fn ended(connection: &mut AsyncPgConnection, steps: &[&Entry]) -> Result<(), Failure> {
    let end = |entry: &&Entry| match &entry.step {
        Step::Refused(_, refusal) => ("refused", label::of_refusal(*refusal), true),
        Step::Lost(_, reason) => ("lost", label::of_loss(*reason), false),
        Step::Delivered(..) => ("finished", "", true),
        Step::Received(_)
        | Step::Sent(_)
        | Step::Answered(_)
        | Step::Started(_)
        | Step::Finished(_)
        | Step::Waiting(_)
        | Step::AgentAnnounced
        | Step::Online(_)
        | Step::Heard => ("received", "", true),
    };
    let ends: Vec<_> = steps.iter().map(end).collect();
    let answered = steps.iter().zip(&ends);
    let answered = answered.map(|(entry, end)| end.2.then_some(entry.at.as_millis()));
    statement::<()>(
        "UPDATE osa_request r SET state = v.state, reason = nullif(v.reason, ''), ended_at = v.at, \
           answered_at = coalesce(r.answered_at, v.answered) \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS number, unnest(?) AS at, unnest(?) AS state, \
           unnest(?) AS reason, unnest(?) AS answered) v \
         WHERE r.server_id = v.server_id AND r.number = v.number AND r.ended_at IS NULL",
    )
    .bind(systems(steps))
    .bind(numbers(steps))
    .bind(times(steps))
    .bind(ends.iter().map(|end| end.0.to_owned()).collect::<Vec<_>>())
    .bind(ends.iter().map(|end| end.1.to_owned()).collect::<Vec<_>>())
    .bind(answered.collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// The run of each step, in hexadecimal.
fn runs(steps: &[&Entry]) -> Vec<String> {
    let run = |entry: &&Entry| match &entry.step {
        Step::Started(run) => run.run.to_string(),
        Step::Finished(report) => report.run.to_string(),
        Step::Sent(_)
        | Step::Answered(_)
        | Step::Received(_)
        | Step::Refused(..)
        | Step::Lost(..)
        | Step::Delivered(..)
        | Step::Waiting(_)
        | Step::AgentAnnounced
        | Step::Online(_)
        | Step::Heard => String::new(),
    };
    steps.iter().map(run).collect()
}

async fn started(connection: &mut AsyncPgConnection, steps: &[&Entry]) -> Result<(), Failure> {
    statement::<()>(
        "UPDATE osa_request r SET state = 'started', started_at = v.at, run_id = decode(v.run, 'hex'), \
           run_covers = v.covers \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS covers, unnest(?) AS at, unnest(?) AS run) v \
         WHERE r.server_id = v.server_id AND r.number <= v.covers AND r.ended_at IS NULL AND r.state = 'answered'",
    )
    .bind(systems(steps))
    .bind(numbers(steps))
    .bind(times(steps))
    .bind(runs(steps))
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores the runs' ids, and finishes the requests of those that are new: a report counts exactly once.
async fn finished(connection: &mut AsyncPgConnection, steps: &[&Entry]) -> Result<(), Failure> {
    let reports: Vec<&RunReport> = steps
        .iter()
        .filter_map(|entry| {
            let Step::Finished(report) = &entry.step else {
                return None;
            };
            Some(report)
        })
        .collect();
    let exit = |report: &&RunReport| match report.end {
        RunEnd::Exited(status) => Some(i64::from(status)),
        RunEnd::Lost => None,
    };
    let millis = |report: &&RunReport| i64::try_from(report.run_time.as_millis()).unwrap_or(i64::MAX);
    // Nothing to record for a system that is gone.
    let new: Vec<(i64,)> = statement::<(BigInt,)>(
        "INSERT INTO osa_run (server_id, run_id, covers, exit_status, run_time_ms, recorded_at) \
         SELECT v.server_id, decode(v.run, 'hex'), v.covers, v.exit_status, v.millis, v.at \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS covers, unnest(?) AS at, unnest(?) AS run, \
           unnest(?) AS exit_status, unnest(?) AS millis) v JOIN osa_push p ON p.server_id = v.server_id \
         WHERE NOT EXISTS (SELECT 1 FROM osa_run known \
           WHERE known.server_id = v.server_id AND known.run_id = decode(v.run, 'hex')) RETURNING server_id",
    )
    .bind(systems(steps))
    .bind(numbers(steps))
    .bind(times(steps))
    .bind(runs(steps))
    .bind(reports.iter().map(exit).collect::<Vec<_>>())
    .bind(reports.iter().map(millis).collect::<Vec<_>>())
    .load(connection)
    .await?;
    let new: Vec<&Entry> = steps
        .iter()
        .filter(|entry| new.contains(&(entry.system.0,)))
        .copied()
        .collect();
    finish_requests(connection, &new).await
}

async fn finish_requests(connection: &mut AsyncPgConnection, steps: &[&Entry]) -> Result<(), Failure> {
    if steps.is_empty() {
        return Ok(());
    }
    statement::<()>(
        "UPDATE osa_request r SET state = 'finished', reason = NULL, ended_at = v.at, \
           run_id = decode(v.run, 'hex'), run_covers = v.covers \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS covers, unnest(?) AS at, unnest(?) AS run) v \
         WHERE r.server_id = v.server_id AND r.number <= v.covers \
           AND r.state NOT IN ('finished', 'received', 'refused')",
    )
    .bind(systems(steps))
    .bind(numbers(steps))
    .bind(times(steps))
    .bind(runs(steps))
    .execute(connection)
    .await?;
    Ok(())
}

async fn waiting(connection: &mut AsyncPgConnection, steps: &[&Entry]) -> Result<(), Failure> {
    let wait = |entry: &&Entry| -> Option<Wait> {
        let Step::Waiting(wait) = entry.step else { return None };
        wait
    };
    let waits: Vec<Option<Wait>> = steps.iter().map(wait).collect();
    let reason = |wait: &Option<Wait>| wait.map_or("", |wait| label::of_wait(wait.reason)).to_owned();
    statement::<()>(
        "UPDATE osa_push p SET wait_until = v.until, wait_reason = nullif(v.reason, ''), wait_step = v.step \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS until, unnest(?) AS reason, unnest(?) AS step) v \
         WHERE p.server_id = v.server_id",
    )
    .bind(systems(steps))
    .bind(
        waits
            .iter()
            .map(|wait| wait.map(|wait| wait.until.as_millis()))
            .collect::<Vec<_>>(),
    )
    .bind(waits.iter().map(reason).collect::<Vec<_>>())
    .bind(
        waits
            .iter()
            .map(|wait| wait.map(|wait| i64::from(wait.step)))
            .collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes what the clients are called at present.
async fn noted(
    connection: &mut AsyncPgConnection,
    steps: &[&Entry],
    column: &'static str,
    of: &'static str,
) -> Result<(), Failure> {
    statement::<()>(format!(
        "UPDATE osa_push p SET {column} = c.{of} FROM rhnPushClient c \
         WHERE p.server_id = ANY(?) AND c.server_id = ANY(?::numeric[]) AND c.server_id = p.server_id::numeric \
           AND p.{column} IS DISTINCT FROM c.{of}"
    ))
    .bind(systems(steps))
    .bind(systems(steps))
    .execute(connection)
    .await?;
    Ok(())
}
