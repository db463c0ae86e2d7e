//! What keeps a dispatcher from starting: one line with what, where and the remedy, an exit code, and nothing lost.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use diesel::{Connection, RunQueryDsl, SqliteConnection, sql_query};
use osa::host::clock::SystemClock;
use osa::net::ca::{AuthorityFiles, issue_server};
use osa::net::tls::ServerFiles;
use osa::ports::clock::Clock;
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::site::{Site, run};

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Site {
    /// Starts it, to its end.
    pub fn serve_in_vain(&self) -> crate::site::Ended {
        self.run(["serve", "-N"])
    }

    fn database(&self) -> SqliteConnection {
        SqliteConnection::establish(self.path("data/osa.sqlite3").to_str().unwrap()).unwrap()
    }
}

#[test]
fn init_makes_everything_once_and_keeps_it() {
    let site = Site::initialised();
    let out = site.path("").display().to_string();
    assert_eq!(site.run(["systems", "add", "web-1", "--out", &out]).code, Some(0));
    let files = [
        "data/tls/ca.key",
        "data/tls/ca.crt",
        "data/tls/server.crt",
        "data/tls/server.key",
    ];
    let contents = || files.map(|file| fs::read(site.path(file)).unwrap());
    let before = contents();

    let again = site.run(["init"]);

    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.out.contains("kept") && !again.out.contains("made"), "{again:?}");
    assert!(contents() == before, "init changed a file");
    assert_eq!(site.run(["systems", "list", "--json"]).json()[0]["name"], "web-1");
    let mode = |file: &str| fs::metadata(site.path(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode("data"), mode("data/tls/ca.key"), mode("data/tls/server.key")),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(mode("data/osa.sqlite3"), 0o600);
}

#[test]
fn unknown_command_or_flag_is_a_usage_error() {
    assert_eq!(run(["explode"]).code, Some(64));
    assert_eq!(run(["status", "--loud"]).code, Some(64));
    assert_eq!(run(["--help"]).code, Some(0));
}

#[test]
fn configuration_that_is_not_there_is_named() {
    run(["serve", "-N", "--config", "/nonexistent/osa.toml"])
        .assert_failed(66, &["/nonexistent/osa.toml", "name a readable file"]);
}

#[test]
fn unknown_key_is_named_with_its_line() {
    let site = Site::configured();
    site.configure("127.0.0.1:0", "[push]\npol_interval = \"1s\"\n");

    site.serve_in_vain()
        .assert_failed(78, &["osa.toml:8", "unknown key", "pol_interval", "poll_interval"]);
}

#[test]
fn value_without_unit_is_refused() {
    let site = Site::configured();
    site.configure("127.0.0.1:0", "[push]\npoll_interval = 5\n");

    site.serve_in_vain()
        .assert_failed(78, &["osa.toml:8", "push.poll_interval", "5"]);
}

#[test]
fn missing_certificate_points_to_init_and_makes_nothing() {
    let site = Site::configured();

    site.serve_in_vain()
        .assert_failed(66, &["server.crt", "osa-dispatcher init"]);
    assert!(!site.path("data").exists());
}

#[test]
fn expired_certificate_is_refused() {
    let site = Site::initialised();
    site.issue("localhost", 500);

    site.serve_in_vain()
        .assert_failed(78, &["server.crt", "expired on", "renew it"]);
}

#[test]
fn certificate_for_another_name_is_refused() {
    let site = Site::initialised();
    site.issue("other.example.com", 0);

    site.serve_in_vain()
        .assert_failed(78, &["server.crt", "other.example.com", "localhost"]);
}

#[test]
fn name_that_stands_in_a_certificate_twice_is_told_once() {
    let site = Site::initialised();
    let name = "other.example.com";
    let mut params = CertificateParams::new(vec![name.to_owned(), name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    fs::write(
        site.path("data/tls/server.crt"),
        params.self_signed(&key).unwrap().pem(),
    )
    .unwrap();
    fs::write(site.path("data/tls/server.key"), key.serialize_pem()).unwrap();

    site.serve_in_vain()
        .assert_failed(78, &["is for other.example.com, not for localhost"]);
}

#[test]
fn what_every_user_can_read_or_replace_is_told() {
    let site = Site::initialised();
    let chmod = |file: &str, mode| fs::set_permissions(site.path(file), Permissions::from_mode(mode)).unwrap();
    assert_eq!(site.run(["check-config"]).err, "");
    chmod("data/tls/ca.key", 0o644);
    chmod("data", 0o777);

    let checked = site.run(["check-config"]);

    assert_eq!(checked.code, Some(0), "{checked:?}");
    let dispatcher = site.serve();
    let log = fs::read_to_string(site.path("log")).unwrap();
    for (told, lines) in [(&checked.err, 2), (&log, log.lines().count())] {
        assert_eq!(told.lines().count(), lines, "{told}");
        for words in [
            "tls/ca.key holds a secret and can be read by every user (mode 0644)",
            "data can be written by",
        ] {
            assert_eq!(told.matches(words).count(), 1, "{told}");
        }
    }
    assert_eq!(log.matches("secret_exposed").count(), 2, "{log}");
    assert!(dispatcher.stop().success());
}

#[test]
fn certificate_that_is_none_is_refused() {
    let site = Site::initialised();
    fs::write(site.path("data/tls/server.crt"), "not a certificate").unwrap();

    site.serve_in_vain().assert_failed(78, &["server.crt", "PEM"]);
}

#[test]
fn half_of_a_pair_is_refused_by_init_and_left_as_it_is() {
    let site = Site::initialised();
    let key = site.path("data/tls/server.key");
    let before = fs::read(&key).unwrap();
    fs::remove_file(site.path("data/tls/server.crt")).unwrap();

    site.run(["init"])
        .assert_failed(66, &["server.crt is missing", "server.key", "restore"]);
    assert_eq!(fs::read(&key).unwrap(), before);
}

#[test]
fn authority_that_did_not_sign_the_certificate_goes_into_no_bundle() {
    let (site, other) = (Site::initialised(), Site::initialised());
    fs::copy(other.path("data/tls/ca.crt"), site.path("data/tls/ca.crt")).unwrap();

    let checked = site.run(["check-config"]);
    assert!(checked.err.contains("refused by agents that trust"), "{checked:?}");
    let out = site.path("out");
    site.run(["systems", "add", "web-1", "--out", out.to_str().unwrap()])
        .assert_failed(78, &["ca.crt", "tls.ca"]);
    assert_eq!(site.run(["systems", "list", "--json"]).json(), serde_json::json!([]));
}

#[test]
fn key_of_another_certificate_is_refused() {
    let site = Site::initialised();
    let other = Site::initialised();
    fs::copy(other.path("data/tls/server.key"), site.path("data/tls/server.key")).unwrap();

    site.serve_in_vain()
        .assert_failed(78, &["server.key", "does not belong"]);
}

#[test]
fn port_that_is_taken_names_address_and_holder() {
    let site = Site::initialised();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    site.configure(&address, "");

    let pid = format!("process {}", std::process::id());
    site.serve_in_vain()
        .assert_failed(71, &[&address, &pid, "another address or port"]);
}

#[test]
fn log_file_without_a_directory_is_found_before_a_start() {
    let site = Site::initialised();
    site.configure("127.0.0.1:0", "[log]\nfile = \"/nonexistent/osa.log\"\n");
    let words = ["/nonexistent/osa.log", "create its directory"];

    site.run(["check-config"]).assert_failed(73, &words);
    site.serve_in_vain().assert_failed(73, &words);
    let osad = crate::site::command(env!("CARGO_BIN_EXE_osad"))
        .args(["check-config", "--config", "/dev/null"])
        .env("OSA_SERVER_URL", "https://localhost/X")
        .env("OSA_LOG_FILE", "/nonexistent/osa.log")
        .env("OSA_RUN_BESIDE_DISPATCHER", "true")
        .output()
        .unwrap();
    let said = String::from_utf8(osad.stderr).unwrap();
    assert!(osad.status.code() == Some(73) && said.contains(words[0]), "{said}");
}

#[test]
fn pid_file_that_cannot_be_made_is_named_with_its_flag() {
    let site = Site::initialised();

    site.run(["serve", "-N", "--pid-file", "/nonexistent/x.pid"])
        .assert_failed(73, &["/nonexistent/x.pid", "--pid-file"]);
}

#[test]
fn damaged_database_is_refused_and_kept() {
    let site = Site::initialised();
    let garbage = "this is no database".repeat(1_000);
    fs::write(site.path("data/osa.sqlite3"), &garbage).unwrap();

    site.serve_in_vain()
        .assert_failed(65, &["osa.sqlite3", "damaged", "restore it from a backup"]);
    assert_eq!(fs::read_to_string(site.path("data/osa.sqlite3")).unwrap(), garbage);
}

#[test]
fn newer_database_is_refused() {
    let site = Site::initialised();
    sql_query("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')")
        .execute(&mut site.database())
        .unwrap();

    site.serve_in_vain()
        .assert_failed(65, &["osa.sqlite3", "9999", "install a newer osa-dispatcher"]);
}

#[test]
fn locked_database_is_worth_another_try() {
    let site = Site::initialised();
    let mut holder = site.database();
    sql_query("BEGIN EXCLUSIVE").execute(&mut holder).unwrap();

    site.serve_in_vain()
        .assert_failed(75, &["osa.sqlite3", "locked", "wait"]);
}

#[test]
fn second_dispatcher_is_refused_and_the_first_goes_on() {
    let site = Site::initialised();
    let first = site.serve();
    let socket = fs::metadata(site.path("data/control.sock")).unwrap().ino();

    site.serve_in_vain()
        .assert_failed(75, &["osa.sqlite3", "another osa-dispatcher"]);

    assert_eq!(fs::metadata(site.path("data/control.sock")).unwrap().ino(), socket);
    assert_eq!(site.run(["status"]).code, Some(0));
    assert!(first.stop().success());
}

#[test]
fn control_socket_does_not_replace_a_file() {
    let site = Site::initialised();
    fs::write(site.path("data/control.sock"), "precious").unwrap();

    site.serve_in_vain()
        .assert_failed(73, &["control.sock", "not a socket"]);
    assert_eq!(fs::read_to_string(site.path("data/control.sock")).unwrap(), "precious");
}

#[test]
fn control_socket_of_another_dispatcher_is_left_to_it() {
    let (site, other) = (Site::initialised(), Site::initialised());
    let first = other.serve();
    let socket = other.path("data/control.sock");
    let text = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), format!("control_socket = {socket:?}\n{text}")).unwrap();

    site.serve_in_vain()
        .assert_failed(75, &["another dispatcher runs", "control.sock", "data_dir"]);

    assert_eq!(other.run(["status"]).code, Some(0));
    assert!(first.stop().success());
}

#[test]
fn start_in_the_background_fails_as_loudly() {
    let site = Site::initialised();
    site.issue("other.example.com", 0);

    let ended = site.run(["serve"]);

    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.err.contains("other.example.com"), "{ended:?}");
}

impl Site {
    /// Replaces the server's certificate with one for this name, issued so many days ago.
    pub fn issue(&self, hostname: &str, days_ago: u32) {
        let tls = |file: &str| self.path("data/tls").join(file);
        let authority = AuthorityFiles {
            certificate: tls("ca.crt"),
            key: tls("ca.key"),
        };
        let server = ServerFiles {
            certificate: tls("server.crt"),
            key: tls("server.key"),
            hostname: hostname.to_owned(),
            authority: None,
        };
        issue_server(&authority, &server, SystemClock.now() - DAY * days_ago).unwrap();
    }
}

#[test]
fn client_of_another_server_needs_its_authority_and_no_certificate_of_its_own() {
    let site = Site::initialised();
    fs::remove_file(site.path("data/tls/server.crt")).unwrap();
    let (config, ca) = (site.path("client.toml"), site.path("data/tls/ca.crt"));
    let check = |authority: &str| {
        let data = site.path("data").display().to_string();
        let text = format!(
            "hostname = 'localhost'\ndata_dir = '{data}'\ndeployment = 'satellite'\ntransport = 'client'\n{authority}\n\
             [postgres]\nname = 'x'\nuser = 'x'\n"
        );
        fs::write(&config, text).unwrap();
        crate::site::run(["check-config", "--config", &config.display().to_string()])
    };

    check("").assert_failed(78, &["upstream.ca is not set", "client.toml"]);
    check("[upstream]\nca = '/nonexistent/ca.crt'").assert_failed(66, &["/nonexistent/ca.crt does not exist"]);
    let named = format!("[upstream]\nca = '{}'\ncommon_name = true", ca.display());
    let checked = check(&named);

    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.out.contains("upstream.ca") && !checked.out.contains("xmpp."),
        "{checked:?}"
    );
    assert!(checked.err.contains("remove upstream.common_name"), "{checked:?}");
    let without_init = check("[upstream]\nca = '/nonexistent/ca.crt'").err;
    assert!(!without_init.contains("osa-dispatcher init"), "{without_init}");
}
