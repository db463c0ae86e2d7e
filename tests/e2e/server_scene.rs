//! A Satellite over its own jabberd2, to which anything may happen: what must hold whatever it is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::agents::{Home, Logged, Process};
use crate::beside_satellite::BesideSatellite;
use crate::deployment::{Deployment, HURRY};
use crate::detour::{Detour, Fault, Place};
use crate::existing::{Event, ExistingAgent};
use crate::existing_agents::{pushable, wait_until};
use crate::satellite_httpd;
use crate::satellite_scene::home;
use crate::servers::{Jabberd2, XmppServer};
use crate::site::Site;

/// The systems: an existing agent, and an `osad`.
const SYSTEMS: [&str; 2] = ["existing", "new"];
/// Until the web interface must show what is so.
const SHOWN_WITHIN: Duration = Duration::from_secs(90);
/// More checks of `osad` for one action are no accident any more.
const CHECKS_MAX: usize = 10;
/// Notes each time that an action is fetched.
const FETCHED: &str = "CREATE TABLE fetched (action_id numeric, server_id numeric); \
     CREATE FUNCTION note_fetched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
       INSERT INTO fetched VALUES (NEW.action_id, NEW.server_id); RETURN NULL; END $$; \
     CREATE TRIGGER fetched AFTER UPDATE ON rhnServerAction FOR EACH ROW WHEN (OLD.status <> 1 AND NEW.status = 1) \
       EXECUTE FUNCTION note_fetched()";
/// More attempts than this in the short life of a test are no pauses.
const ATTEMPTS_MAX: usize = 25;

/// The parts; dropped in this order.
pub struct ServerScene {
    existing: ExistingAgent,
    osad: (Home, Process),
    pub beside: BesideSatellite,
    pub detour: Detour,
    pub server: Jabberd2,
    /// Records of the log before this one came before the fault.
    calm: usize,
    /// The number of the connection of that time, by the detour: each that begins is lost once.
    calm_connection: usize,
}

/// An action that the fault must neither lose nor double.
pub struct Due {
    action: i64,
    /// Checks that `osad` had started before.
    checks: usize,
}

impl ServerScene {
    /// Both agents can be pushed; the dispatcher finds the server by itself.
    pub fn begin() -> Self {
        Self::over(|server, _| server.address(), |_| ())
    }

    /// The dispatcher finds it by the detour.
    pub fn by_detour() -> Self {
        Self::over(|_, detour| detour.address(), |_| ())
    }

    /// The same with another configuration.
    pub fn over(place: impl FnOnce(&Jabberd2, &Detour) -> SocketAddr, configure: impl FnOnce(&Site)) -> Self {
        let site = Site::initialised();
        let server = Jabberd2::start_under(Some(&site.path("data/tls")), "localhost");
        let detour = Detour::to(&server);
        let mut beside = BesideSatellite::over_one_of(site, &server, &[place(&server, &detour)], HURRY);
        beside.log.process.kill();
        configure(&beside.site);
        beside.log = Logged::start(&beside.site);
        beside.log.wait_for("upstream_logged_in", "");
        beside.https = satellite_httpd::serve_who_is_there(&beside.database, &beside.site.path("data/tls"));
        beside.database.sql(FETCHED);
        let identity = beside.add("existing");
        let existing = pushable(&mut beside, identity);
        let home = home(&beside, "new");
        let osad = home.start();
        beside.log.wait_for("step_recorded", "Online(true)");
        wait_until("its first check has ended", || home.runs().contains("finished"));
        let mut scene = Self {
            existing,
            osad: (home, osad),
            beside,
            detour,
            server,
            calm: 0,
            calm_connection: 0,
        };
        scene.are_shown("online");
        scene.beside.becomes_quiet(&SYSTEMS);
        scene.calm = scene.beside.log.so_far().len();
        scene.calm_connection = scene.detour.accepted();
        scene
    }

    /// An action for both systems.
    pub fn schedule(&self) -> Due {
        Due {
            checks: self.checks(),
            action: self.beside.schedule(&SYSTEMS),
        }
    }

    fn checks(&self) -> usize {
        self.osad.0.runs().matches("started").count()
    }

    /// Why the dispatcher is not logged in, in one line of the log, and in `status` for programs and for people. Both systems
    /// are shown as offline in time.
    pub fn is_lost_because(&mut self, words: &str) {
        let began = Instant::now();
        let lost = self.beside.log.wait_for("upstream_lost", words);
        let reason = lost["reason"].as_str().unwrap();
        assert!(!reason.contains('\n'), "{reason}");
        let upstream = self.status();
        let shown = self.beside.site.run(["status"]);
        // There may be another by now.
        let losses = self.losses();
        let told = |told: &dyn Fn(&str) -> bool| losses.iter().any(|reason| told(reason));
        assert!(told(&|reason| upstream["error"] == reason), "{upstream} {losses:?}");
        assert!(upstream["jid"].is_null(), "{upstream}");
        let is_line = |reason: &str| shown.out.lines().any(|line| line.contains(reason));
        assert!(told(&is_line), "{shown:?}");
        self.are_shown("offline");
        assert!(began.elapsed() < SHOWN_WITHIN, "{:?}", began.elapsed());
    }

    /// Returns when this has befallen a connection here, and the dispatcher has told, if only for those who look closely, that
    /// it is not logged in for that reason.
    pub fn is_befallen(&mut self, place: Place, fault: Fault, words: &str) {
        let before = self.detour.befallen().len();
        self.detour.order(place, fault);
        wait_until("it befalls", || self.detour.befallen().len() > before);
        let connection = self.detour.befallen()[before] - self.calm_connection;
        wait_until("it is told", || self.losses().len() > connection);
        let reason = &self.losses()[connection];
        assert!(reason.contains(words), "{place:?} {fault:?}: {reason}");
    }

    /// Why there was no login, each time since the fault began.
    pub fn losses(&mut self) -> Vec<String> {
        let records = self.beside.log.so_far()[self.calm..].iter();
        let lost =
            records.filter(|record| record["event"] == "upstream_lost" || record["event"] == "upstream_still_lost");
        lost.map(|record| record["reason"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What was logged.
    pub fn since_the_fault(&mut self) -> impl Iterator<Item = &Value> {
        self.beside.log.so_far()[self.calm..].iter()
    }

    /// Returns when it was tried again, so often.
    pub fn is_tried_again(&mut self, times: usize) {
        for _ in 0..times {
            self.beside.log.wait_for("upstream_still_lost", "");
        }
    }

    pub fn status(&self) -> Value {
        self.beside.site.run(["status", "--json"]).json()["running"]["upstream"].clone()
    }

    pub fn is_logged_in(&mut self) {
        self.beside.log.wait_for("upstream_logged_in", "");
    }

    fn are_shown(&self, state: &str) {
        for system in SYSTEMS {
            wait_until(state, || self.beside.state(system) == state);
        }
    }

    /// The dispatcher is logged in again, and shows who is there; what was due was done once, and pushes go on.
    pub fn is_well_again(&mut self, due: &Due) {
        self.is_logged_in();
        let began = Instant::now();
        self.are_shown("online");
        assert!(began.elapsed() < SHOWN_WITHIN, "{:?}", began.elapsed());
        self.is_done_once(due);
        let next = self.schedule();
        self.is_done_once(&next);
        let upstream = self.status();
        assert!(upstream["jid"].is_string() && upstream["error"].is_null(), "{upstream}");
        let losses = self.losses();
        assert!(losses.len() <= ATTEMPTS_MAX, "{losses:?}");
        self.each_reason_is_said_once();
    }

    /// However often it is found, until there is another or a login.
    fn each_reason_is_said_once(&mut self) {
        let mut before = &Value::Null;
        for record in self.since_the_fault() {
            match record["event"].as_str() {
                Some("upstream_logged_in") => before = &Value::Null,
                Some("upstream_lost") => {
                    assert_ne!(&record["reason"], before, "{record}");
                    before = &record["reason"];
                }
                _ => {}
            }
        }
    }

    fn is_done_once(&self, due: &Due) {
        wait_until("it is completed", || self.beside.is_completed(due.action));
        self.beside.becomes_quiet(&SYSTEMS);
        let fetched = format!("SELECT count(*) FROM fetched WHERE action_id = {}", due.action);
        assert_eq!(self.beside.database.query(&fetched), "2", "once by each system");
        // Where an answer is late, or a report is cut off, it is asked for again, and finds nothing.
        let checks = self.checks() - due.checks;
        assert!((1..=CHECKS_MAX).contains(&checks), "{checks}");
    }

    /// The existing agent hears nothing, and tries nothing: it would end for good at a certificate that does not fit.
    pub fn stop_existing(&self, stopped: bool) {
        self.existing.stop(stopped);
    }

    /// The row of the dispatcher's account: JID and password.
    pub fn account(&self) -> String {
        self.beside
            .database
            .query("SELECT jabber_id, password FROM rhnPushDispatcher")
    }

    /// The most memory that the dispatcher ever had. Units: KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.beside.log.process.0.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What the existing agent met with since it began.
    pub fn existing_was_cut_off(&self) -> bool {
        self.existing.count(|event| matches!(event, Event::Lost(_))) > 0
    }
}

/// Changes the configuration, for the next start.
pub fn configure(site: &Site, from: &str, to: &str) {
    let text = std::fs::read_to_string(site.config()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(site.config(), text.replace(from, to)).unwrap();
}
