//! Starts from what a Satellite has, `rhn.conf` and `server.pem`, and nothing else; and what keeps one from starting.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::agents::Logged;
use crate::beside_satellite::{BesideSatellite, online};
use crate::cluster::{Database, server_account};
use crate::deployment::{Deployment, HURRY};
use crate::existing_agents::{answered, wait_until};
use crate::private_server::PrivateServer;
use crate::satellite_faults::network_of_its_own;
use crate::site::{Ended, Site, command};

/// Of the role `rhnuser`; with signs that readers of files and of URLs stumble over.
const PASSWORD: &str = "s3cret'%40,#pass";

/// A Satellite's files and its database server, which takes TCP connections with a password.
struct Satellite {
    site: Site,
    server: PrivateServer,
    /// Authorities that may have signed the server's certificate: the right one, and another.
    roots: [PathBuf; 2],
}

fn authority(site: &Site, name: &str) -> (CertifiedIssuer<'static, KeyPair>, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let path = site.path(name);
    fs::write(&path, issuer.pem()).unwrap();
    (issuer, path)
}

/// A file that only the database server may read.
fn servers_file(site: &Site, name: &str, text: &str) -> String {
    let path = site.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    if let Some((uid, gid)) = server_account() {
        chown(&path, Some(uid), Some(gid)).unwrap();
    }
    path.display().to_string()
}

impl Satellite {
    /// With the role of `rhn.conf`, which may read and write the Satellite's tables, and make its own.
    fn installed() -> Self {
        let site = Site::initialised();
        fs::set_permissions(site.path(""), Permissions::from_mode(0o755)).unwrap();
        let part = |file: &str| fs::read(site.path("data/tls").join(file)).unwrap();
        let pem = [part("server.crt"), part("server.key")].concat();
        fs::create_dir(site.path("credentials")).unwrap();
        fs::write(site.path("credentials/server.pem"), pem).unwrap();
        fs::set_permissions(site.path("credentials/server.pem"), Permissions::from_mode(0o600)).unwrap();
        let hba = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        let hba = format!("hba_file={}", servers_file(&site, "pg_hba.conf", hba));
        let server = PrivateServer::start(&["-c", &hba]);
        let (issuer, right) = authority(&site, "right");
        let satellite = Self {
            roots: [right, authority(&site, "wrong").1],
            site,
            server,
        };
        let password = PASSWORD.replace('\'', "''");
        satellite
            .database()
            .sql(&format!("CREATE ROLE rhnuser LOGIN PASSWORD '{password}'"));
        satellite.database().sql(
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO rhnuser; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO rhnuser",
        );
        satellite.offer_tls(&issuer);
        satellite.configure(&[]);
        satellite
    }

    fn database(&self) -> Database {
        self.server.database("satellite")
    }

    /// From the next [`Satellite::switch_tls`] on; the certificate has a common name and no other, as a Satellite's has.
    fn offer_tls(&self, issuer: &CertifiedIssuer<'static, KeyPair>) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        for (setting, name, text) in [
            ("ssl_cert_file", "db.crt", certificate.pem()),
            ("ssl_key_file", "db.key", key.serialize_pem()),
        ] {
            let path = servers_file(&self.site, name, &text);
            self.database().sql(&format!("ALTER SYSTEM SET {setting} = '{path}'"));
        }
    }

    fn switch_tls(&self, on: bool) {
        self.database().sql(&format!("ALTER SYSTEM SET ssl = {on}"));
        self.database().sql("SELECT pg_reload_conf()");
        let is_on = if on { "on" } else { "off" };
        wait_until("it has read its configuration", || {
            self.database().query("SHOW ssl") == is_on
        });
    }

    /// Writes `rhn.conf`: as usual, but for these keys.
    fn configure(&self, other: &[(&str, &str)]) {
        let port = self.server.port().to_string();
        let usual = [
            ("db_backend", "postgresql"),
            ("db_host", "localhost"),
            ("db_port", &port),
            ("db_name", "satellite"),
            ("db_user", "rhnuser"),
            ("db_password", PASSWORD),
            ("server.jabber_server", "localhost"),
        ];
        let is_usual = |key: &str| other.iter().all(|(changed, _)| *changed != key);
        let lines = usual.iter().filter(|(key, _)| is_usual(key)).chain(other);
        let text: String = lines.map(|(key, value)| format!("{key} = {value}\n")).collect();
        fs::write(self.site.path("credentials/rhn.conf"), text).unwrap();
    }

    /// `osa-dispatcher` as its unit starts it.
    fn command(&self, subcommand: &str) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_osa-dispatcher"));
        command
            .arg(subcommand)
            .env("CREDENTIALS_DIRECTORY", self.site.path("credentials"))
            .env("OSA_DATA_DIR", self.site.path("var"));
        command
    }

    /// Runs it to its end, in which no password is told.
    fn ended(command: &mut Command) -> Ended {
        let output = command.output().unwrap();
        let ended = Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!format!("{ended:?}").contains("s3cret"), "{ended:?}");
        ended
    }

    fn serve_in_vain(&self) -> Ended {
        Self::ended(self.command("serve").arg("-N"))
    }

    fn migrate(&self) -> Ended {
        Self::ended(&mut self.command("migrate"))
    }

    fn let_migrate(&self) {
        self.database().sql("GRANT CREATE ON SCHEMA public TO rhnuser");
        let migrated = self.migrate();
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
    }

    /// Starts it; an action is carried out, and no password was told on the way.
    fn serves(self, mut serve: Command, said: &str) {
        let log = Logged::run(&mut serve, "dispatcher_started", "");
        let database = Arc::new(self.database());
        let usual = SocketAddr::from(([127, 0, 0, 1], 5222));
        let mut beside = BesideSatellite::around((self.site, log), database, usual, HURRY);
        let (_, mut agent) = online(&mut beside, "client");

        let action = beside.schedule(&["client"]);

        agent.wait_for(answered);
        wait_until("it is completed", || beside.is_completed(action));
        wait_until("it is shown as online", || beside.state("client") == "online");
        let log = format!("{:?}", beside.log.so_far());
        assert!(log.contains(said) && !log.contains("s3cret"), "{log}");
    }
}

/// Port 5222 is free in it.
#[test]
fn credentials_are_all_it_takes_to_carry_out_an_action() {
    network_of_its_own();
    let satellite = Satellite::installed();
    satellite.switch_tls(true);
    let root = satellite.roots[0].display().to_string();
    satellite.configure(&[("db_ssl_enabled", "1"), ("db_sslrootcert", &root)]);
    satellite.let_migrate();

    let serve = satellite.command("serve");
    satellite.serves(serve, "satellite_database_opened");
}

#[test]
fn named_rhn_conf_is_all_it_takes_to_carry_out_an_action() {
    network_of_its_own();
    let satellite = Satellite::installed();
    satellite.configure(&[("server.jabber_server", "LocalHost")]);
    satellite.let_migrate();
    let named = satellite.site.path("named.conf");
    fs::rename(satellite.site.path("credentials/rhn.conf"), &named).unwrap();
    satellite.serve_in_vain().assert_failed(78, &["hostname is not set"]);

    let mut serve = satellite.command("serve");
    serve.arg("--rhn-conf").arg(named);
    satellite.serves(serve, "has capitals");
}

#[test]
fn database_that_lets_nobody_in_is_one_line() {
    let satellite = Satellite::installed();
    satellite.let_migrate();
    let root = satellite.roots.each_ref().map(|root| root.display().to_string());
    for (other, code, words) in [
        (
            vec![("db_password", "s3cret-wrong")],
            77,
            ["password authentication failed", "correct user and password"],
        ),
        (
            vec![("db_user", "nobody")],
            77,
            ["password authentication failed for user \"nobody\"", "localhost"],
        ),
        (
            vec![("db_name", "nowhere")],
            77,
            ["database \"nowhere\" does not exist", "localhost"],
        ),
        (
            vec![("server.jabber_server", "")],
            78,
            ["hostname is not set", "server.jabber_server"],
        ),
        (
            vec![("db_ssl_enabled", "1"), ("db_sslrootcert", root[0].as_str())],
            77,
            ["no safe connection", "server does not support TLS"],
        ),
    ] {
        satellite.configure(&other);
        satellite.serve_in_vain().assert_failed(code, &words);
    }
    satellite.switch_tls(true);
    for (host, root, words) in [
        ("localhost", &root[1], ["no safe connection", "UnknownIssuer"]),
        ("127.0.0.1", &root[0], ["no safe connection", "127.0.0.1"]),
    ] {
        satellite.configure(&[("db_host", host), ("db_ssl_enabled", "1"), ("db_sslrootcert", root)]);
        satellite.serve_in_vain().assert_failed(77, &words);
    }
    satellite.configure(&[("db_password", "")]);
    let refused = satellite.serve_in_vain();
    assert_eq!(refused.code, Some(77), "{refused:?}");
    let lines: Vec<&str> = refused.err.lines().collect();
    let [warning, error] = lines[..] else {
        panic!("{refused:?}")
    };
    assert!(
        warning.contains("setting_questioned") && warning.contains("(db_host): the database"),
        "{warning}"
    );
    assert!(
        error.contains("it asks for a password, and db_password (postgres.password) is not set"),
        "{error}"
    );
}

#[test]
fn database_that_is_not_ready_is_one_line() {
    let satellite = Satellite::installed();

    satellite
        .serve_in_vain()
        .assert_failed(78, &["lacks tables", "run osa-dispatcher migrate"]);
    satellite
        .migrate()
        .assert_failed(77, &["permission denied for schema public", "grant what is missing"]);
    satellite.let_migrate();
    let database = satellite.database();
    database.sql("INSERT INTO osa_schema (version) VALUES ('9001_future')");
    for ended in [satellite.serve_in_vain(), satellite.migrate()] {
        ended.assert_failed(65, &["9001_future", "install a newer osa-dispatcher"]);
    }
    database.sql("DELETE FROM osa_schema WHERE version = '9001_future'");
    database.sql("ALTER ROLE rhnuser CONNECTION LIMIT 0");
    satellite
        .serve_in_vain()
        .assert_failed(69, &["too many connections for role", "cannot be reached"]);
    database.sql("ALTER ROLE rhnuser CONNECTION LIMIT -1");
}

/// The service manager tries again: 69 and 75 are not among the codes that keep it from that.
#[test]
fn database_that_is_down_at_the_start_is_worth_another_try() {
    network_of_its_own();
    let mut satellite = Satellite::installed();
    satellite.let_migrate();
    satellite.server.stop();

    satellite
        .serve_in_vain()
        .assert_failed(69, &["localhost:", "/satellite cannot be reached", "start it"]);
    assert!(
        !satellite.site.path("var/control.sock").exists(),
        "nothing is left of a start that failed"
    );

    satellite.server.launch();
    let serve = satellite.command("serve");
    satellite.serves(serve, "");
}

#[test]
fn unit_tries_again_for_as_long_as_a_database_may_need() {
    let unit = include_str!("../../config/systemd/osa-dispatcher.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{key} is not set"))
    };
    let seconds: u32 = value("RestartSec").trim_end_matches('s').parse().unwrap();

    // systemd gives up after five starts in ten seconds.
    assert!(seconds * 4 > 10, "{seconds}");
    let codes: Vec<&str> = value("RestartPreventExitStatus").split(' ').collect();
    for transient in ["69", "71", "74", "75"] {
        assert!(!codes.contains(&transient), "{codes:?}");
    }
}
