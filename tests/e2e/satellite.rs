//! A dispatcher that is given a Satellite's `rhn.conf` and nothing else.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::{Ended, Site, command};

/// Nobody, on every system.
const NOBODY: u32 = 65_534;

/// What the service manager hands over.
struct Satellite(Site);

impl Satellite {
    /// With a certificate for `certified`, in one file as a Satellite has it.
    fn certified_for(certified: &str) -> Self {
        let site = Site::initialised();
        site.issue(certified, 0);
        let part = |file: &str| fs::read(site.path("data/tls").join(file)).unwrap();
        let pem = [part("server.crt"), part("server.key")].concat();
        fs::create_dir(site.path("credentials")).unwrap();
        fs::write(site.path("credentials/server.pem"), pem).unwrap();
        fs::set_permissions(site.path("credentials/server.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        let satellite = Self(site);
        satellite.configure("server.jabber_server = localhost\n");
        satellite
    }

    fn rhn_conf(&self) -> PathBuf {
        self.0.path("credentials/rhn.conf")
    }

    fn configure(&self, more: &str) {
        let text = format!("db_backend = postgresql\ndb_name = schema\ndb_user = rhn\ndb_password = hunter2\n{more}");
        fs::write(self.rhn_conf(), text).unwrap();
        fs::set_permissions(self.rhn_conf(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Configures it as a client of the site's own XMPP server; its own file, and that of the server's authority.
    fn over_another_server(&self) -> (PathBuf, PathBuf) {
        let (own, authority) = (self.0.path("own.toml"), self.0.path("authority.crt"));
        fs::copy(self.0.path("data/tls/ca.crt"), &authority).unwrap();
        let upstream = format!("[upstream]\nserver = [\"127.0.0.1:5299\"]\nca = {authority:?}\n");
        fs::write(
            &own,
            format!("transport = \"client\"\nhostname = \"localhost\"\n{upstream}"),
        )
        .unwrap();
        (own, authority)
    }

    fn named(&self, own: &Path) -> [OsString; 4] {
        [
            "--config".into(),
            own.into(),
            "--rhn-conf".into(),
            self.rhn_conf().into(),
        ]
    }

    fn over(&self, own: &Path, arguments: &[&str]) -> Ended {
        let mut command = command(env!("CARGO_BIN_EXE_osa-dispatcher"));
        self.ended(command.args(arguments).args(self.named(own)))
    }

    fn run<const N: usize>(&self, arguments: [&str; N]) -> Ended {
        let mut command = command(env!("CARGO_BIN_EXE_osa-dispatcher"));
        self.ended(
            command
                .args(arguments)
                .env("CREDENTIALS_DIRECTORY", self.0.path("credentials")),
        )
    }

    fn ended(&self, command: &mut Command) -> Ended {
        let output = command.env("OSA_DATA_DIR", self.0.path("data")).output().unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn check_config_shows_where_each_value_comes_from_and_no_secret() {
    let satellite = Satellite::certified_for("localhost");

    let shown = satellite.run(["check-config"]);

    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""), "{shown:?}");
    let line = |key: &str| shown.out.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(
        line("hostname").ends_with("rhn.conf:5 (server.jabber_server)"),
        "{shown:?}"
    );
    assert!(line("postgres.password").contains("***"), "{shown:?}");
    assert!(
        line("postgres.password").ends_with("rhn.conf:4 (db_password)"),
        "{shown:?}"
    );
    assert!(line("tls.key").contains("credentials/server.pem"), "{shown:?}");
    assert!(line("push.lease").ends_with("default"), "{shown:?}");
    assert!(!shown.out.contains("hunter2"));
}

#[test]
fn renamed_host_is_told_from_its_certificate() {
    let satellite = Satellite::certified_for("old.example.com");

    satellite
        .run(["check-config"])
        .assert_failed(78, &["server.pem", "is for old.example.com", "not for localhost"]);
}

#[test]
fn odd_names_are_remarks_of_check_config() {
    let satellite = Satellite::certified_for("localhost");
    satellite.configure("server.jabber_server = LocalHost\n");

    let shown = satellite.run(["check-config"]);

    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(
        shown
            .err
            .contains("rhn.conf:5 (server.jabber_server): \"LocalHost\" has capitals"),
        "{shown:?}"
    );
}

#[test]
fn oracle_is_refused() {
    let satellite = Satellite::certified_for("localhost");
    fs::write(satellite.rhn_conf(), "db_backend = oracle\n").unwrap();

    satellite
        .run(["serve", "-N"])
        .assert_failed(78, &["rhn.conf:1 (db_backend)", "\"oracle\"", "only postgresql"]);
}

#[test]
fn init_makes_nothing_for_a_satellite() {
    let satellite = Satellite::certified_for("localhost");

    satellite.run(["init"]).assert_failed(
        78,
        &["this is a Satellite", "rhn.conf", "osa-dispatcher serve", "--config"],
    );
}

/// A copy of the program in this directory, as somebody else if the test is root, who may read everything; and the mode
/// that then keeps a file from it.
fn unprivileged(directory: &Path) -> (Command, u32) {
    let program = directory.join("osa-dispatcher");
    fs::copy(env!("CARGO_BIN_EXE_osa-dispatcher"), &program).unwrap();
    let mut command = command(&program);
    command.arg("check-config");
    if !nix::unistd::geteuid().is_root() {
        return (command, 0);
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    command.uid(NOBODY).gid(NOBODY);
    (command, 0o640)
}

fn assert_forbidden(mut command: Command, file: &Path, mode: u32, remedy: &str) {
    let output = command.output().unwrap();

    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(77), 1), "{said}");
    let place = format!("{} has owner", file.display());
    for part in [place.as_str(), &format!("mode {mode:04o}"), remedy] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("group root ("), "nobody joins it for a file: {said}");
}

#[test]
fn rhn_conf_that_may_not_be_read_is_named_with_owner_mode_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let rhn_conf = dir.path().join("rhn.conf");
    fs::write(&rhn_conf, "db_backend = postgresql\n").unwrap();
    let (mut command, mode) = unprivileged(dir.path());
    fs::set_permissions(&rhn_conf, fs::Permissions::from_mode(mode)).unwrap();
    command.arg("--rhn-conf").arg(&rhn_conf);

    assert_forbidden(command, &rhn_conf, mode, "LoadCredential=");
}

#[test]
fn certificate_that_may_not_be_read_is_named_with_owner_mode_and_remedy() {
    let satellite = Satellite::certified_for("localhost");
    let (mut command, mode) = unprivileged(&satellite.0.path(""));
    fs::set_permissions(satellite.rhn_conf(), fs::Permissions::from_mode(0o644)).unwrap();
    let pem = satellite.0.path("credentials/server.pem");
    fs::set_permissions(&pem, fs::Permissions::from_mode(mode)).unwrap();
    command.env("CREDENTIALS_DIRECTORY", satellite.0.path("credentials"));

    assert_forbidden(command, &pem, mode, "LoadCredential=");
}

#[test]
fn file_that_is_no_credential_is_made_readable() {
    let satellite = Satellite::certified_for("localhost");
    let (own, authority) = satellite.over_another_server();
    for (file, remedy) in [(&authority, "chmod o+r"), (&own, "chown ")] {
        let (mut command, mode) = unprivileged(&satellite.0.path(""));
        for place in [&own, &authority, &satellite.rhn_conf()] {
            fs::set_permissions(place, fs::Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        command.args(satellite.named(&own));

        assert_forbidden(command, file, mode, remedy);
    }
}

#[test]
fn directory_in_the_place_of_an_authority_is_told_as_such() {
    let satellite = Satellite::certified_for("localhost");
    let (own, authority) = satellite.over_another_server();
    fs::remove_file(&authority).unwrap();
    fs::create_dir(&authority).unwrap();

    satellite.over(&own, &["check-config"]).assert_failed(
        78,
        &["CA certificate", "authority.crt is a directory", "name the file in it"],
    );
}

#[test]
fn accounts_at_another_server_are_left_to_it() {
    let satellite = Satellite::certified_for("localhost");
    let (own, _) = satellite.over_another_server();

    for arguments in [&["accounts", "list"][..], &["accounts", "reset", "osad-1"]] {
        satellite
            .over(&own, arguments)
            .assert_failed(69, &["accounts are on the XMPP server localhost", "with its own tools"]);
    }
    let made = satellite.over(&own, &["accounts", "make", "1"]);
    assert_eq!((made.code, made.out.lines().count()), (Some(0), 1), "{made:?}");
}

#[test]
fn port_held_by_jabberd_says_what_to_stop() {
    let site = Site::initialised();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    site.configure(&taken.local_addr().unwrap().to_string(), "");
    // This test is its own process, and now it is called like the part of jabberd that listens.
    fs::write(format!("/proc/{}/comm", std::process::id()), "c2s").unwrap();

    site.run(["serve", "-N"]).assert_failed(
        71,
        &[
            "c2s",
            "most likely jabberd",
            "systemctl mask jabberd",
            "transport = \"client\"",
        ],
    );
}
