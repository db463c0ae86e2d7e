//! A Satellite's dispatcher at work, with a database server that may be hurt: what must hold whatever befalls the server.
#![expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::agents::{Home, Process};
use crate::beside_satellite::BesideSatellite;
use crate::deployment::{Deployment, HURRY};
use crate::existing::{Event, ExistingAgent, Identity};
use crate::existing_agents::{pushable, wait_until};
use crate::private_server::PrivateServer;
use crate::site::Ended;

/// Looks at the database ten times a second.
pub const LOOKING: (&[&str], &str) = (&["migrate"], "poll_interval = \"100ms\"");
/// Finds what is new by notification alone.
pub const TOLD: (&[&str], &str) = (
    &["migrate", "--install-notify"],
    "poll_interval = \"1h\"\nreconcile_interval = \"1h\"",
);

/// The systems whose agents stay: two existing ones and one new.
const STAYING: [&str; 3] = ["one", "two", "new"];
/// Lines at the levels warn and error that one fault may cost.
const LINES_MAX: usize = 12;

/// The parts; dropped in this order.
pub struct Scene {
    existing: Vec<ExistingAgent>,
    leaving: Option<ExistingAgent>,
    coming: Identity,
    come: Option<ExistingAgent>,
    osad: (Home, Process),
    pub beside: BesideSatellite,
    pub server: PrivateServer,
    /// Records of the log before this one came before the fault.
    calm: usize,
}

/// What is due, and since when.
pub struct Due {
    /// At once, when the fault began.
    at_once: i64,
    /// While it lasted, most likely.
    coming: i64,
}

/// Fetches what is due for a system and reports it done, as `rhn_check` does, with whatever comes of it.
fn check_sql(id: &str) -> String {
    format!(
        "UPDATE rhnServerAction sa SET status = 1 FROM rhnAction a WHERE a.id = sa.action_id \
           AND sa.server_id = {id} AND sa.status = 0 AND a.earliest_action <= current_timestamp; \
         UPDATE rhnServerAction SET status = 2 WHERE server_id = {id} AND status = 1"
    )
}

/// A system whose check fails while the database does.
fn added(beside: &BesideSatellite, name: &str) -> Identity {
    let identity = beside.add(name);
    let (database, text) = (Arc::clone(&beside.database), check_sql(&beside.id(name)));
    let check = move || {
        let output = database.psql().arg("-c").arg(&text).output().unwrap();
        i32::from(!output.status.success())
    };
    Identity {
        check: Arc::new(check),
        ..identity
    }
}

/// The home of a real `osad`, with the same check.
pub fn home(beside: &BesideSatellite, name: &str) -> Home {
    let home = beside.new_home(name);
    fs::write(home.path("check.sql"), check_sql(&beside.id(name))).unwrap();
    let psql = beside.database.psql();
    let quoted = std::iter::once(psql.get_program())
        .chain(psql.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()));
    let script = format!(
        "#!/bin/sh\necho started >> \"$1/runs\"\nif [ -p \"$1/gate\" ]; then read _ < \"$1/gate\"; fi\n\
         {} -f \"$1/check.sql\" && echo finished >> \"$1/runs\"\n",
        quoted.collect::<Vec<_>>().join(" ")
    );
    fs::write(home.path("check"), script).unwrap();
    home
}

impl Scene {
    /// All are connected and idle, and pushes work.
    pub fn begin(server: PrivateServer, host: &str, (migrate, push): (&[&str], &str)) -> Self {
        let mut beside = BesideSatellite::on(server.database("satellite"), host, migrate, push, HURRY);
        let agents = ["one", "two", "leaving"].map(|name| {
            let identity = added(&beside, name);
            pushable(&mut beside, identity)
        });
        let coming = added(&beside, "coming");
        let home = home(&beside, "new");
        let osad = home.start();
        beside.log.wait_for("step_recorded", "Online(true)");
        wait_until("its first check has ended", || home.runs().contains("finished"));
        let mut existing = Vec::from(agents);
        let mut scene = Self {
            leaving: existing.pop(),
            existing,
            coming,
            come: None,
            osad: (home, osad),
            beside,
            server,
            calm: 0,
        };
        let first = scene.schedule("current_timestamp");
        scene.is_carried_out(first);
        scene.is_settled();
        scene.calm = scene.beside.log.so_far().len();
        scene
    }

    /// An action for all that stay.
    pub fn schedule(&self, at: &str) -> i64 {
        self.beside.schedule_at(&STAYING, at)
    }

    /// One action that the fault catches under way, and one that comes while it lasts.
    pub fn schedule_before(&self) -> Due {
        Due {
            coming: self.schedule("current_timestamp + interval '2 s'"),
            at_once: self.schedule("current_timestamp"),
        }
    }

    /// A check of the new agent that goes on until [`Scene::run_ends`]; the action that it was started for.
    pub fn run_under_way(&mut self) -> i64 {
        self.osad.0.close_gate();
        let action = self.beside.schedule(&["new"]);
        self.beside.log.wait_for("step_recorded", "Started");
        action
    }

    /// While the database fails, a check ends, which it cannot do well.
    pub fn run_ends(&self) {
        self.osad.0.open_gate();
    }

    /// Each run of the new agent was reported, and counted once.
    pub fn runs_are_counted(&self) {
        let counted = format!(
            "SELECT count(*) FROM osa_run WHERE server_id = {}",
            self.beside.id("new")
        );
        wait_until("each run is counted", || {
            let runs = self.osad.0.runs().matches("started").count();
            self.query(&counted) == runs.to_string()
        });
    }

    /// Returns when the log tells of the fault with these words, and asserts that `status` does as well.
    pub fn is_told(&mut self, words: &str) {
        self.beside.log.wait_for("store_failed", words);
        let shown = self.beside.site.run(["status"]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        assert!(
            shown.out.contains("; requests wait, agents stay connected"),
            "{shown:?}"
        );
        let state = self.status()["running"]["database"].clone();
        assert!(state == "failing" || state == "stalled", "{state}");
    }

    /// A command that needs the database ends with this code and one line that says this, as without a dispatcher.
    pub fn is_told_by_commands(&self, code: i32, words: &str) {
        self.beside.site.run(["explain", "one"]).assert_failed(code, &[words]);
        self.beside.site.run(["accounts", "list"]).assert_failed(code, &[words]);
    }

    /// Returns when the log tells that the row could not be renewed.
    pub fn row_is_told_to_be_old(&mut self) {
        if self.said("dispatcher_row_failed") == 0 {
            self.beside.log.wait_for("dispatcher_row_failed", "");
        }
    }

    /// Returns when it was tried again and failed so many times.
    pub fn fails_again(&mut self, times: usize) {
        for _ in 0..times {
            self.beside.log.wait_for("store_operation_failed", "");
        }
    }

    fn status(&self) -> Value {
        let Ended { code, out, err } = self.beside.site.run(["status", "--json"]);
        assert_eq!(code, Some(0), "{out}{err}");
        serde_json::from_str(&out).unwrap()
    }

    /// The dispatcher's own tables are lost. It may have locked them in another order; then one of the two is told to try
    /// again.
    pub fn drop_tables(&self) {
        let tables = include_str!("../../migrations/postgres/0001_push_lifecycle/down.sql");
        let text = format!("{tables}; DROP TABLE IF EXISTS osa_schema");
        wait_until("the tables are dropped", || {
            let dropped = self.beside.database.psql().arg("-c").arg(&text).output();
            dropped.unwrap().status.success()
        });
    }

    /// They are made anew.
    pub fn make_tables(&self) {
        let made = self.beside.site.run(["migrate"]);
        assert_eq!(made.code, Some(0), "{made:?}");
    }

    /// While the database fails, an agent says goodbye.
    pub fn agent_leaves(&mut self) {
        self.leaving.take().unwrap().interrupt();
    }

    /// An agent comes, and may have to wait.
    pub fn agent_comes_in(&mut self) {
        self.come = Some(ExistingAgent::start(self.coming.clone()));
    }

    /// While the database fails, an agent comes, again and again; said once.
    pub fn agent_comes(&mut self) {
        let mut agent = ExistingAgent::start(self.coming.clone());
        for _ in 0..3 {
            agent.wait_for(|event| matches!(event, Event::Lost(_)));
        }
        self.come = Some(agent);
        let loud = self.loud();
        let lines = loud.lines().filter(|line| line.contains("account_read_failed"));
        assert_eq!(lines.count(), 1, "{loud}");
    }

    /// Until now nobody said that the fault is over. Ask before it is mended: the dispatcher may be quick to see that.
    pub fn still_fails(&mut self) {
        assert_eq!(self.said("store_recovered"), 0, "{}", self.loud());
    }

    /// After the fault: it is over, and all is well.
    pub fn is_well_again(&mut self, due: &Due, meanwhile: &[i64]) {
        // It may have been quicker than this thread.
        if self.said("store_recovered") == 0 {
            self.beside.log.wait_for("store_recovered", "");
        }
        self.is_well(due, meanwhile);
        self.little_was_said();
        self.row_is_told_to_be_right();
    }

    /// Nothing was lost, everything is as it should be, and pushes go on.
    pub fn is_well(&mut self, due: &Due, meanwhile: &[i64]) {
        self.is_done(due);
        meanwhile.iter().for_each(|action| self.is_carried_out(*action));
        self.is_settled();
        wait_until("who left is shown as offline", || {
            self.beside.state("leaving") == "offline"
        });
        if let Some(agent) = &mut self.come {
            agent.wait_for(|event| *event == Event::Available);
            let action = self.beside.schedule(&["coming"]);
            self.is_carried_out(action);
        }
        let after = self.schedule("current_timestamp");
        self.is_carried_out(after);
        self.is_settled();
        let open = "SELECT count(*) FROM osa_request WHERE ended_at IS NULL";
        wait_until("no request is open", || self.query(open) == "0");
        let status = self.status();
        assert_eq!(status["running"]["database"], "ok", "{status}");
        let online = STAYING.len() + usize::from(self.come.is_some());
        assert_eq!(status["online"], online, "{status}");
        self.nobody_reconnected();
    }

    /// What was due is carried out.
    pub fn is_done(&self, due: &Due) {
        self.is_carried_out(due.at_once);
        self.is_carried_out(due.coming);
    }

    fn is_carried_out(&self, action: i64) {
        wait_until("it is carried out", || self.beside.is_completed(action));
    }

    fn query(&self, text: &str) -> String {
        self.beside.database.query(text)
    }

    /// The rows of states are right, the Satellite's and our own.
    fn is_settled(&self) {
        for name in STAYING {
            wait_until("it is shown as online", || self.beside.state(name) == "online");
        }
        let online = "SELECT count(*) FROM osa_push WHERE online AND server_id IN \
             (SELECT id::bigint FROM rhnServer WHERE name NOT IN ('leaving', 'coming'))";
        assert_eq!(self.query(online), STAYING.len().to_string());
        let now = self.query("SELECT current_timestamp");
        let row = format!("SELECT jabber_id, hostname FROM rhnPushDispatcher WHERE last_checkin > '{now}'");
        wait_until("its row says that it is there", || {
            self.query(&row) == "rhn-dispatcher-sat@localhost/superclient|localhost"
        });
    }

    /// As often as it was told to be wrong.
    fn row_is_told_to_be_right(&mut self) {
        while self.said("dispatcher_row_recovered") < self.said("dispatcher_row_failed") {
            self.beside.log.wait_for("dispatcher_row_recovered", "");
        }
    }

    fn nobody_reconnected(&mut self) {
        for agent in &self.existing {
            let lost = agent.count(|event| matches!(event, Event::Lost(_)));
            assert_eq!(lost, 0, "{:?}", agent.events());
        }
        let log = fs::read_to_string(self.osad.0.path("log")).unwrap();
        assert!(!log.contains("connection_lost"), "{log}");
        let records = self.beside.log.so_far()[self.calm..].iter();
        // At debug, if it had not logged in.
        let sessions = records.filter(|record| record["event"] == "session_closed" && record["level"] == "INFO");
        assert_eq!(sessions.count(), 1, "only of the agent that left");
    }

    /// How often this was logged since the fault began.
    pub fn said(&mut self, event: &str) -> usize {
        let records = self.beside.log.so_far()[self.calm..].iter();
        records.filter(|record| record["event"] == event).count()
    }

    fn little_was_said(&mut self) {
        let loud = self.loud();
        assert!(loud.lines().count() <= LINES_MAX, "{loud}");
        assert_eq!(self.said("store_recovered"), 1, "{loud}");
    }

    /// What was said at the levels warn and error since the fault began.
    fn loud(&mut self) -> String {
        let records = &self.beside.log.so_far()[self.calm..];
        let is_loud = |record: &&Value| record["level"] == "ERROR" || record["level"] == "WARN";
        let loud: Vec<String> = records.iter().filter(is_loud).map(Value::to_string).collect();
        loud.join("\n")
    }
}

/// Longer than a use case may take.
pub fn outlast_deadlines() {
    std::thread::sleep(Duration::from_secs(13));
}
