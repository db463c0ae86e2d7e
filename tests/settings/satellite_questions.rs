//! What is wrong or odd in a Satellite's files, and how that is said.

use osa::settings::dispatcher::{DispatcherFlags, DispatcherSettings};
use osa::settings::error::SettingsWarning;

use crate::Files;
use crate::satellite::{RHN_CONF, load};

fn error(rhn_conf: &str) -> String {
    let error = load(rhn_conf, "").expect_err("an unusable configuration");
    assert_eq!(error.exit_code(), 78, "{error}");
    let error = error.to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn warnings(more: &str) -> Vec<String> {
    let loaded = load(&format!("{RHN_CONF}{more}"), "").expect("usable");
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn oracle_is_refused_in_one_line() {
    let error = error("db_backend = oracle\ndb_user = rhn\n");

    assert!(
        error.contains("rhn.conf:1 (db_backend): db_backend = \"oracle\": only postgresql is supported"),
        "{error}"
    );
}

#[test]
fn what_is_missing_is_named_by_the_satellites_keys() {
    let no_name = error("db_backend=postgresql\ndb_name=n\ndb_user=u\nserver.jabber_server =\n");
    assert!(no_name.starts_with("hostname is not set; set it in /"), "{no_name}");
    assert!(
        no_name.contains("rhn.conf as server.jabber_server: expected") || no_name.contains("as server.jabber_server"),
        "{no_name}"
    );

    let no_user = error("db_backend=postgresql\ndb_name=n\nserver.jabber_server = sat.example\n");
    assert!(
        no_user.starts_with("postgres.user is not set") && no_user.contains("as db_user"),
        "{no_user}"
    );
    let own = load("", "hostname = 'a.example'\ndeployment = 'satellite'")
        .expect_err("no database")
        .to_string();
    assert!(
        own.starts_with("postgres.name is not set") && own.contains("osa.toml"),
        "{own}"
    );
}

#[test]
fn wrong_value_is_named_with_file_line_and_the_satellites_key() {
    for (line, part) in [
        (
            "osa-dispatcher.poll_interval = 0",
            "(osa-dispatcher.poll_interval): poll_interval = \"0\": expected a whole",
        ),
        ("osa-dispatcher.poll_interval = 5.5", "whole number of seconds"),
        (
            "osa-dispatcher.notify_threshold = many",
            "(osa-dispatcher.notify_threshold)",
        ),
        ("db_ssl_enabled = perhaps", "expected 0 or 1"),
        (
            "db_host = db.example:5432",
            "the port has a key of its own (db_port, postgres.port)",
        ),
        ("db_host = \"db.example\"", "expected a host name, an IP address or"),
        ("db_host = [::1]:5432", "(db_host): postgres.host"),
        (
            "db_backend = \"postgresql\"",
            "this file has no quotes around values; remove them",
        ),
        ("db_port = 70000", "expected a whole number from 1 to 65535"),
        ("debug = -1", "expected a number from 0 to 255"),
        (
            "osa-dispatcher.jabber_server = 10.0.0.1",
            "an IP address cannot be checked",
        ),
    ] {
        let error = error(&format!("{RHN_CONF}{line}\n"));
        assert!(
            error.contains("rhn.conf:13 (") && error.contains(part),
            "{line}: {error}"
        );
    }
}

#[test]
fn unknown_keys_of_the_dispatcher_and_stray_lines_are_warnings() {
    let warnings = warnings("osa-dispatcher.pol_interval = 5\nweb.unknown = 1\ntraceback_mail = root\nsecret words\n");

    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("rhn.conf:16: neither a comment nor") && !warnings[0].contains("secret"),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("rhn.conf:13: key osa-dispatcher.pol_interval is unknown"),
        "{warnings:?}"
    );
}

#[test]
fn empty_name_for_clients_is_told() {
    let warnings = warnings("server.jabber_server =\n");

    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("rhn.conf: server.jabber_server is not set, so the Satellite enrols no client"),
        "{warnings:?}"
    );
}

#[test]
fn capitals_in_names_are_told() {
    let warnings = warnings("server.jabber_server = Sat.Example\n");

    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("rhn.conf:13 (server.jabber_server): \"Sat.Example\" has capitals"),
        "{warnings:?}"
    );
}

#[test]
fn file_that_is_not_used_is_told_and_named_by_the_error_it_causes() {
    let without = RHN_CONF.replace("db_backend", "db_backened");

    let loaded = load(&without, "hostname = 'own.example'").expect("usable");
    let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("rhn.conf: db_backend is not set, so nothing in this file is used")
            && told[0].ends_with("osa.toml"),
        "{told:?}"
    );
    let error = error(&without);
    assert!(
        error.starts_with("hostname is not set; set it in /")
            && error.contains("osa.toml (/")
            && error.contains("rhn.conf has no db_backend, so it is not used)"),
        "{error}"
    );
    let own = "hostname = 'a.example'\ndeployment = 'satellite'\n[postgres]\nname = 'n'\nuser = 'u'\n";
    let loaded = load(&without, own).expect("usable");
    assert!(
        matches!(&loaded.warnings[..], [SettingsWarning::Unused { .. }]),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn quotes_are_told_and_kept() {
    let quoted = "db_name = 'schema'\ndb_password = \"s3cret\"\ndb_user = o'neil\n";

    let warnings = warnings(quoted);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (warning, origin) in warnings
        .iter()
        .zip(["rhn.conf:13 (db_name)", "rhn.conf:14 (db_password)"])
    {
        assert!(
            warning.contains(origin) && warning.contains("quotes") && !warning.contains("s3cret"),
            "{warning}"
        );
    }
    let settings = load(&format!("{RHN_CONF}{quoted}"), "").expect("usable").settings;
    assert_eq!(settings.postgres.name.as_deref(), Some("'schema'"));
}

#[test]
fn database_behind_the_network_without_a_password_is_told() {
    let host = "db_host = 192.0.2.7\n";
    assert_eq!(warnings(host), [""; 0]);
    assert_eq!(warnings("db_password =\n"), [""; 0], "the Unix socket needs none");

    let warnings = warnings(&format!("db_password =\n{host}"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("rhn.conf:14 (db_host)")
            && warnings[0].contains("db_password (postgres.password) is not set"),
        "{warnings:?}"
    );
}

#[test]
fn checked_tls_needs_an_authority() {
    let own = "hostname = 'a.example'\ndeployment = 'satellite'\n[postgres]\nname = 'n'\nuser = 'u'\nssl_mode = 'verify-ca'\n";

    let error = load("", own).expect_err("nothing to check with").to_string();
    assert!(error.starts_with("postgres.root_certificate is not set"), "{error}");
    assert!(load("", &format!("{own}root_certificate = '/ca.pem'\n")).is_ok());
}

#[test]
fn names_that_differ_are_told() {
    let loaded = load(&format!("{RHN_CONF}server.jabber_server = old.example\n"), "").expect("usable");
    assert!(
        matches!(&loaded.warnings[..], [SettingsWarning::OtherNameTold { told, hostname, from, .. }]
            if told == "old.example" && hostname == "sat.example" && from.contains("rhn.conf:11")),
        "{:?}",
        loaded.warnings
    );

    let loaded = load(RHN_CONF, "hostname = 'new.example'").expect("usable");
    let text = loaded.warnings.first().expect("a warning").to_string();
    assert!(
        text.contains("told \"sat.example\"") && text.contains("osa.toml:1"),
        "{text}"
    );
}

#[test]
fn bytes_that_are_no_text_matter_only_in_our_values() {
    let files = Files::new();
    let load = |line: &[u8]| {
        let flags = DispatcherFlags {
            config: Some(files.write("osa.toml", "")),
            rhn_conf: Some(files.write("rhn.conf", [RHN_CONF.as_bytes(), line].concat())),
            ..DispatcherFlags::default()
        };
        DispatcherSettings::load(&flags, [])
    };

    assert!(load(b"# f\xfcr\nweb.product = f\xfcr\n").is_ok());
    let error = load(b"db_password = f\xfcr\n").expect_err("no text").to_string();
    assert!(
        error.contains("rhn.conf:13 (db_password): the value of db_password is not UTF-8"),
        "{error}"
    );
}
