//! What the dispatcher asks the database, in the server's own words: `auto_explain` tells each statement that is run with
//! its text, its time and its plan.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::super::error::SwarmError;
use super::super::numbers::{Report, Samples};
use super::plan::Run;

/// How long the server may take to write down what it said.
const LOG_DELAY: Duration = Duration::from_millis(300);
/// Longest text of a statement that is shown. Units: characters.
const TEXT_MAX: usize = 240;

/// What everybody would ask first, though nothing is due: status 0 and 1 of all systems that are online.
pub(in super::super) const NATURAL_JOIN: &str = "\
    SELECT sa.action_id, sa.server_id, c.jabber_id, a.earliest_action FROM rhnServerAction sa \
      JOIN rhnAction a ON a.id = sa.action_id JOIN rhnPushClient c ON c.server_id = sa.server_id \
    WHERE sa.status IN (0, 1) AND a.earliest_action <= now() \
      AND c.state_id = (SELECT s.id FROM rhnPushClientState s WHERE s.label = 'online') \
      AND NOT EXISTS (SELECT 1 FROM rhnServerAction first WHERE first.server_id = sa.server_id \
        AND first.action_id = a.prerequisite AND first.status <> 2) \
    ORDER BY sa.status, a.earliest_action, sa.server_id";

/// Listens to what the server says.
pub(in super::super) struct Statements {
    client: Client,
    log: PathBuf,
    from: usize,
}

impl Statements {
    /// Has every statement explained from now on. The time of each node is not taken: it would cost most.
    pub(super) async fn listen(client: Client, log: PathBuf) -> Result<Self, SwarmError> {
        let from = read(&log)?.len();
        for (key, value) in [
            ("log_min_duration", "0"),
            ("log_analyze", "on"),
            ("log_buffers", "on"),
            ("log_timing", "off"),
            ("log_format", "json"),
        ] {
            let text = format!("ALTER SYSTEM SET auto_explain.{key} = '{value}'");
            client.batch_execute(&text).await?;
        }
        client.batch_execute("SELECT pg_reload_conf()").await?;
        Ok(Self { client, log, from })
    }

    /// What was asked meanwhile.
    pub(in super::super) async fn heard(self) -> Result<Heard, SwarmError> {
        self.client.batch_execute("ALTER SYSTEM RESET ALL").await?;
        self.client.batch_execute("SELECT pg_reload_conf()").await?;
        tokio::time::sleep(LOG_DELAY).await;
        let log = read(&self.log)?;
        let said = log.get(self.from..).unwrap_or_default();
        Ok(Heard::from(said))
    }
}

/// As long as nothing was logged there is no file.
fn read(log: &Path) -> Result<String, SwarmError> {
    match log.exists() {
        true => fs::read_to_string(log).map_err(SwarmError::file("read", log)),
        false => Ok(String::new()),
    }
}

/// Statements by their text.
#[derive(Debug, Default)]
pub(in super::super) struct Heard(BTreeMap<String, Vec<Run>>);

impl From<&str> for Heard {
    fn from(log: &str) -> Self {
        let mut heard = Self::default();
        for line in log.lines() {
            if let Some((text, run)) = explained(line) {
                heard.0.entry(text).or_default().push(run);
            }
        }
        heard
    }
}

/// A line in which the server explains a statement of the dispatcher's.
fn explained(line: &str) -> Option<(String, Run)> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line.get("application_name")?.as_str()? != "osa-dispatcher" {
        return None;
    }
    let message = line.get("message")?.as_str()?.strip_prefix("duration: ")?;
    let (millis, plan) = message.split_once(" ms  plan:\n")?;
    let plan: Value = serde_json::from_str(plan).ok()?;
    let text = plan.get("Query Text")?.as_str()?.to_owned();
    Some((text, Run::new(millis.parse().ok()?, &plan)?))
}

impl Heard {
    /// Adds a statement of another's, as it takes now.
    pub(in super::super) async fn compare(
        &mut self,
        client: &Client,
        text: &str,
        repeats: usize,
    ) -> Result<(), SwarmError> {
        for _ in 0..repeats {
            let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {text}");
            let told = client.simple_query(&explain).await?;
            let told = told.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            let told: Value = serde_json::from_str(told.unwrap_or_default()).unwrap_or_default();
            let told = told.get(0).cloned().unwrap_or_default();
            let millis = told.get("Execution Time").and_then(Value::as_f64).unwrap_or(f64::NAN);
            if let Some(run) = Run::new(millis, &told) {
                self.0.entry(text.to_owned()).or_default().push(run);
            }
        }
        Ok(())
    }

    /// Tells each statement, the one that took most time in all first.
    pub(in super::super) fn tell(&self, report: &mut Report, name: &str) {
        let mut statements: Vec<_> = self.0.iter().collect();
        let total = |runs: &[Run]| runs.iter().map(|run| run.millis).sum::<f64>();
        statements.sort_by(|(_, a), (_, b)| total(b).total_cmp(&total(a)));
        for (text, runs) in statements {
            let mut times = Samples::default();
            runs.iter().for_each(|run| times.push(run.millis));
            let median = times.quantile(0.5);
            let Some(typical) = runs.iter().find(|run| run.millis.total_cmp(&median).is_eq()) else {
                continue;
            };
            let (calls, spread, pages) = (runs.len(), times.spread(), typical.pages);
            let short: String = text.chars().take(TEXT_MAX).collect();
            report.progress(format_args!("{name}: {calls} × {spread} ms, {pages} pages: {short}"));
            for line in &typical.plan {
                report.progress(format_args!("    {line}"));
            }
            report.collect(
                name,
                serde_json::json!({
                    "text": text, "calls": calls, "ms": [median, times.quantile(0.0), times.quantile(1.0)],
                    "total_ms": total(runs), "pages": pages, "plan": typical.plan,
                }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(application: &str, message: &str) -> String {
        serde_json::json!({ "application_name": application, "message": message }).to_string()
    }

    #[test]
    fn only_explained_statements_of_the_dispatcher_are_heard() {
        let plan =
            r#"{ "Query Text": "SELECT 1", "Plan": { "Node Type": "Result", "Actual Rows": 1, "Actual Loops": 1 } }"#;
        let explained = format!("duration: 0.250 ms  plan:\n{plan}");
        let log = [
            line("osa-dispatcher", &explained),
            line("satellite", &explained),
            line("osa-dispatcher", "checkpoint starting"),
            "half a li".to_owned(),
        ];

        let heard = Heard::from(log.join("\n").as_str());

        let [(text, runs)] = heard.0.into_iter().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((text.as_str(), runs.len()), ("SELECT 1", 1));
        assert_eq!(runs[0].millis.to_bits(), 0.25_f64.to_bits());
    }
}
