//! A dispatcher on a Satellite's database; the Satellite is played by SQL.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use osa::domain::ids::SystemId;
use osa::domain::secret::Secret;
use osa::protocol::systemid::{Profile, mint};

use crate::agents::{Home, Logged, states};
use crate::cluster::{Database, OWNER};
use crate::deployment::{Deployment, HURRY, USUAL, pace};
use crate::existing::{Credentials, Event, ExistingAgent, Identity};
use crate::existing_agents::{answered, pushable, wait_until};
use crate::ports::free_port;
use crate::satellite_httpd;
use crate::servers::XmppServer;
use crate::site::Site;

/// 64 digits: then systemids are signed with SHA-256.
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A Satellite with its dispatcher.
pub struct BesideSatellite {
    pub site: Site,
    pub database: Arc<Database>,
    pub log: Logged,
    pub xmpp: SocketAddr,
    pub https: SocketAddr,
    hurry: u32,
}

/// A site that knows a Satellite's database, in which nothing is ours yet; and where agents connect.
pub fn configured(database: &Database, push: &str, hurry: u32) -> (Site, SocketAddr) {
    configured_with(database, database.socket.to_str().unwrap(), push, hurry)
}

fn configured_with(database: &Database, host: &str, push: &str, hurry: u32) -> (Site, SocketAddr) {
    let site = Site::initialised();
    let xmpp = SocketAddr::from(([127, 0, 0, 1], free_port()));
    configure(
        &site,
        (database, host),
        &format!("[xmpp]\nlisten = [\"{xmpp}\"]\n"),
        (push, hurry),
    );
    (site, xmpp)
}

/// Writes the configuration; `transport` is about how agents are reached, and begins with a key or a table.
fn configure(site: &Site, (database, host): (&Database, &str), transport: &str, (push, hurry): (&str, u32)) {
    let (data, name, port) = (site.path("data"), &database.name, database.port);
    let pace = pace(hurry, push);
    let text = format!(
        "hostname = \"localhost\"\ndata_dir = {data:?}\ndeployment = \"satellite\"\n\
         [postgres]\nhost = {host:?}\nport = {port}\nname = {name:?}\nuser = {OWNER:?}\n{transport}\
         [push]\n{pace}"
    );
    fs::write(site.config(), text).unwrap();
}

impl BesideSatellite {
    /// Looks at the database ten times a second.
    pub fn usual() -> Self {
        Self::start(&["migrate"], USUAL)
    }

    pub fn start(migrate: &[&str], push: &str) -> Self {
        Self::paced(migrate, push, HURRY)
    }

    /// With all pauses divided by this.
    pub fn paced(migrate: &[&str], push: &str, hurry: u32) -> Self {
        let database = Database::satellite();
        let host = database.socket.display().to_string();
        Self::on(database, &host, migrate, push, hurry)
    }

    /// Over this server of the site's, which is under the same authority as the Satellite.
    pub fn over(site: Site, server: &dyn XmppServer, hurry: u32) -> Self {
        Self::over_one_of(site, server, &[server.address()], hurry)
    }

    /// The same over a server that is found at several places.
    pub fn over_one_of(site: Site, server: &dyn XmppServer, addresses: &[SocketAddr], hurry: u32) -> Self {
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let upstream = format!("server = {addresses:?}\nca = {:?}\n", server.ca());
        Self::over_by(site, server, ("client", &upstream), hurry)
    }

    /// The same by this transport, with these settings of it.
    pub fn over_by(site: Site, server: &dyn XmppServer, (transport, upstream): (&str, &str), hurry: u32) -> Self {
        let database = Database::satellite();
        configure(
            &site,
            (&database, database.socket.to_str().unwrap()),
            &format!("[upstream]\n{upstream}"),
            (USUAL, hurry),
        );
        let text = fs::read_to_string(site.config()).unwrap();
        let text = text.replace("hostname = \"localhost\"", &format!("hostname = {:?}", server.domain()));
        fs::write(site.config(), format!("transport = {transport:?}\n{text}")).unwrap();
        let migrated = site.run(["migrate"]);
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        let log = Logged::start(&site);
        Self::around((site, log), Arc::new(database), server.address(), hurry)
    }

    /// On this database, which the dispatcher finds at this host.
    pub fn on(database: Database, host: &str, migrate: &[&str], push: &str, hurry: u32) -> Self {
        let database = Arc::new(database);
        let (site, xmpp) = configured_with(&database, host, push, hurry);
        let config = site.config();
        let line = migrate.iter().copied().chain(["--config", config.to_str().unwrap()]);
        let migrated = crate::site::run(line);
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        let log = Logged::start(&site);
        Self::around((site, log), database, xmpp, hurry)
    }

    /// With a dispatcher that runs.
    pub fn around((site, log): (Site, Logged), database: Arc<Database>, xmpp: SocketAddr, hurry: u32) -> Self {
        let https = satellite_httpd::serve(&database, &site.path("data/tls"));
        Self {
            site,
            database,
            log,
            xmpp,
            https,
            hurry,
        }
    }

    /// However slow its dispatcher is, its agents are in a hurry.
    pub fn with_quick_agents(self) -> Self {
        Self { hurry: HURRY, ..self }
    }

    pub fn id(&self, system: &str) -> String {
        self.database
            .query(&format!("SELECT id FROM rhnServer WHERE name = '{system}'"))
    }

    /// What the web interface shows as OSA status.
    pub fn state(&self, system: &str) -> String {
        self.database.query(&format!(
            "SELECT s.label FROM rhnPushClient c JOIN rhnPushClientState s ON s.id = c.state_id \
               JOIN rhnServer r ON r.id = c.server_id WHERE r.name = '{system}'"
        ))
    }

    /// Adds systems; the number of each, and what its agent is given.
    pub fn add_all(&self, names: &[String]) -> Vec<(String, Identity)> {
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        let ids = self.database.query(&format!(
            "WITH next AS (SELECT nextval('rhn_server_id_seq') AS id, name FROM unnest(ARRAY[{}]) name), \
             added AS (INSERT INTO rhnServer (id, digital_server_id, secret, name) \
               SELECT id, 'ID-' || id, '{SECRET}', name FROM next RETURNING id, name) SELECT name, id FROM added",
            quoted.join(", ")
        ));
        let ids: BTreeMap<&str, &str> = ids.lines().filter_map(|line| line.split_once('|')).collect();
        let added = names.iter().map(|name| (name, ids[name.as_str()].to_owned()));
        added.map(|(name, id)| (id.clone(), self.identity(name, id))).collect()
    }

    /// What a machine is given that is registered under this secret.
    pub fn systemid(name: &str, id: &str, secret: &str) -> String {
        let profile = Profile {
            name,
            username: "admin",
            os_release: "6Server",
            operating_system: "redhat-release",
            architecture: "x86_64",
        };
        let systemid = mint(SystemId(id.parse().unwrap()), &Secret::new(secret), profile);
        systemid.unwrap().expose().to_owned()
    }

    fn identity(&self, name: &str, id: String) -> Identity {
        let systemid = Self::systemid(name, &id, SECRET);
        let database = Arc::clone(&self.database);
        let check = move || {
            database.sql(&format!(
                "UPDATE rhnServerAction sa SET status = 1 FROM rhnAction a WHERE a.id = sa.action_id \
                   AND sa.server_id = {id} AND sa.status = 0 AND a.earliest_action <= current_timestamp; \
                 UPDATE rhnServerAction SET status = 2 WHERE server_id = {id} AND status = 1"
            ));
            0
        };
        Identity {
            host: "localhost".into(),
            xmpp: self.xmpp,
            https: self.https,
            ca: self.site.path("data/tls/ca.crt"),
            systemid: Arc::new(Mutex::new(systemid)),
            credentials: Arc::new(Mutex::new(Credentials::random())),
            subscribes: false,
            clock_ahead: 0,
            hurry: self.hurry,
            check: Arc::new(check),
        }
    }

    /// Adds a system; the home of an agent of our own for it.
    pub fn new_home(&self, name: &str) -> Home {
        Home::of(&self.add(name), self.site.path(name), name)
    }

    pub fn is_completed(&self, action: i64) -> bool {
        let left = format!("SELECT count(*) FROM rhnServerAction WHERE action_id = {action} AND status <> 2");
        self.database.query(&left) == "0"
    }
}

impl Deployment for BesideSatellite {
    fn site(&self) -> &Site {
        &self.site
    }

    fn log(&mut self) -> &mut Logged {
        &mut self.log
    }

    /// Its check fetches what is due and reports it done.
    fn add(&self, name: &str) -> Identity {
        self.add_all(&[name.to_owned()]).remove(0).1
    }

    fn schedule(&self, systems: &[&str]) -> i64 {
        self.schedule_at(systems, "current_timestamp")
    }

    fn states(&self, action: i64) -> Vec<String> {
        states(&self.site, action)
    }
}

impl BesideSatellite {
    /// Makes an action due on these systems at this SQL expression; its number.
    pub fn schedule_at(&self, systems: &[&str], at: &str) -> i64 {
        let names: Vec<String> = systems.iter().map(|name| format!("'{name}'")).collect();
        let id = self.database.query(&format!(
            "WITH added AS (INSERT INTO rhnAction (id, action_type, name, earliest_action) \
               VALUES (nextval('rhn_event_id_seq'), 30, 'check', {at}) RETURNING id), \
             rows AS (INSERT INTO rhnServerAction (server_id, action_id, status) \
               SELECT s.id, added.id, 0 FROM added, rhnServer s WHERE s.name IN ({}) RETURNING action_id) \
             SELECT id FROM added",
            names.join(", ")
        ));
        id.parse().unwrap()
    }
}

pub fn online(beside: &mut BesideSatellite, name: &str) -> (Identity, ExistingAgent) {
    let identity = beside.add(name);
    let agent = pushable(beside, identity.clone());
    (identity, agent)
}

/// An action that the Satellite schedules is fetched by the check that its system is woken for.
fn action_is_carried_out(mut beside: BesideSatellite) {
    let (_, mut agent) = online(&mut beside, "client");
    wait_until("it is shown as online", || beside.state("client") == "online");

    let action = beside.schedule(&["client"]);
    agent.wait_for(answered);
    agent.wait_for(|event| matches!(event, Event::CheckEnded(_)));

    wait_until("it is completed", || beside.is_completed(action));
    assert_eq!(beside.states(action), ["completed"]);
    beside.becomes_quiet(&["client"]);
    agent.interrupt();
    beside.log.wait_for("step_recorded", "Online(false)");
    wait_until("it is shown as offline", || beside.state("client") == "offline");
}

#[test]
fn action_of_a_satellite_is_found_by_looking() {
    action_is_carried_out(BesideSatellite::usual());
}

#[test]
fn action_of_a_satellite_is_told_by_triggers() {
    action_is_carried_out(BesideSatellite::start(
        &["migrate", "--install-notify"],
        "poll_interval = \"1h\"\nreconcile_interval = \"1h\"",
    ));
}

#[test]
fn nothing_is_lost_with_a_dispatcher_that_is_killed() {
    let mut beside = BesideSatellite::usual();
    let (_, mut stays) = online(&mut beside, "stays");
    let (_, goes) = online(&mut beside, "goes");
    wait_until("both are shown as online", || {
        beside.state("stays") == "online" && beside.state("goes") == "online"
    });

    let before = beside.schedule(&["stays", "goes"]);
    beside.log.process.kill();
    goes.kill();
    let meanwhile = beside.schedule(&["stays"]);
    beside.log = Logged::start(&beside.site);

    stays.wait_for(|event| *event == Event::Available);
    wait_until("what was due is completed", || {
        beside.is_completed(meanwhile)
            && beside.database.query(&format!(
                "SELECT status FROM rhnServerAction WHERE action_id = {before} AND server_id = {}",
                beside.id("stays")
            )) == "2"
    });
    wait_until("who has gone is shown as offline", || beside.state("goes") == "offline");
    wait_until("who stayed is shown as online", || beside.state("stays") == "online");
    let after = beside.schedule(&["stays"]);
    wait_until("pushes go on", || beside.is_completed(after));
}

#[test]
fn row_tells_clients_of_the_dispatcher_and_keeps_its_password() {
    let mut beside = BesideSatellite::usual();
    let row = "SELECT jabber_id, hostname, password FROM rhnPushDispatcher";
    let first = beside.database.query(row);
    assert!(
        first.starts_with("rhn-dispatcher-sat@localhost/superclient|localhost|"),
        "{first}"
    );
    assert_eq!(first.rsplit('|').next().unwrap().len(), 32, "{first}");
    beside.log.process.kill();
    beside.database.sql(
        "UPDATE rhnPushDispatcher SET password = 'old', hostname = 'elsewhere', last_checkin = '2020-01-01'; \
         INSERT INTO rhnPushDispatcher (id, jabber_id, hostname) \
         VALUES (nextval('rhn_pushdispatch_id_seq'), 'rhn-dispatcher-sat@renamed/superclient', 'renamed')",
    );

    let mut log = Logged::start_until(&beside.site, "dispatcher_row_questioned", "renamed");
    log.wait_for("dispatcher_started", "");

    let again = beside
        .database
        .query(&format!("{row} WHERE last_checkin > '2021-01-01' ORDER BY id LIMIT 1"));
    assert_eq!(again, "rhn-dispatcher-sat@localhost/superclient|localhost|old");
}

#[test]
fn database_without_our_tables_is_refused_with_the_remedy() {
    let database = Database::satellite();
    let (site, _) = configured(&database, "", HURRY);

    site.run(["serve", "-N"])
        .assert_failed(78, &["lacks tables", "run osa-dispatcher migrate"]);
    let made = site.run(["migrate", "--json"]).json();
    assert_eq!(
        (&made["applied"], &made["triggers"]),
        (&1.into(), &serde_json::Value::Null)
    );
    let again = site.run(["migrate", "--install-notify", "--json"]).json();
    assert_eq!(
        (&again["applied"], &again["triggers"]),
        (&0.into(), &"installed".into())
    );
    database.sql("ALTER TABLE rhnAction DISABLE TRIGGER osa_action_postponed");
    let told = site.run(["migrate"]).out;
    assert!(told.contains("run osa-dispatcher migrate --install-notify"), "{told}");
    let removed = site.run(["migrate", "--remove-notify"]);
    assert!(removed.out.ends_with(": triggers are removed\n"), "{removed:?}");
}

#[test]
fn missing_certificate_of_a_satellite_is_not_made_by_init() {
    let (site, _) = configured(&Database::satellite(), "", HURRY);
    fs::remove_file(site.path("data/tls/server.crt")).unwrap();

    let ended = site.run(["serve", "-N"]);

    ended.assert_failed(66, &["server.crt does not exist"]);
    assert!(!ended.err.contains("osa-dispatcher init"), "{ended:?}");
}

#[test]
fn migrate_is_for_satellites() {
    Site::initialised()
        .run(["migrate"])
        .assert_failed(78, &["there is no Satellite here", "--rhn-conf"]);
}

#[test]
fn satellite_that_cannot_be_reached_is_one_line() {
    let database = Database::satellite();
    let (site, _) = configured(&database, "", HURRY);
    let config = fs::read_to_string(site.config()).unwrap();
    fs::write(
        site.config(),
        config.replace(database.socket.to_str().unwrap(), "/nowhere"),
    )
    .unwrap();

    site.run(["serve", "-N"])
        .assert_failed(69, &["/nowhere", "cannot be reached"]);
    site.run(["migrate"])
        .assert_failed(69, &["/nowhere", "cannot be reached"]);
}

#[test]
fn commands_read_the_satellites_database_and_leave_its_business_to_it() {
    let mut beside = BesideSatellite::usual();
    let (_, _agent) = online(&mut beside, "client");
    let action = beside.schedule(&["client"]);
    wait_until("it is completed", || beside.is_completed(action));
    let refusal = "belongs to the Satellite: use its web interface";

    for is_running in [true, false] {
        if !is_running {
            beside.log.process.kill();
        }
        let systems = beside.site.run(["systems", "list", "--json"]).json();
        assert_eq!(systems[0]["name"], "client");
        let status = beside.site.run(["status"]);
        assert_eq!(status.code, Some(if is_running { 0 } else { 69 }), "{status:?}");
        assert!(status.out.contains("1, 1 online"), "{status:?}");
        assert_eq!(beside.states(action), ["completed"]);
        let explained = beside.site.run(["explain", "client", "--json"]).json();
        assert_eq!(explained["system"]["name"], "client");
        beside.site.run(["schedule", "client"]).assert_failed(69, &[refusal]);
        beside
            .site
            .run(["systems", "add", "more"])
            .assert_failed(69, &[refusal]);
        beside
            .site
            .run(["systems", "remove", "client"])
            .assert_failed(69, &[refusal]);
    }
}
