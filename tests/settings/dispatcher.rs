use std::path::{Path, PathBuf};
use std::time::Duration;

use osa::settings::Loaded;
use osa::settings::dispatcher::{DispatcherFlags, DispatcherSettings};
use osa::settings::error::SettingsError;
use osa::settings::log::{LogFormat, LogLevel};

use crate::{Files, variables};

fn load(text: &str) -> Result<Loaded<DispatcherSettings>, SettingsError> {
    let files = Files::new();
    let config = Some(files.write("osa.toml", text));
    DispatcherSettings::load(
        &DispatcherFlags {
            config,
            ..DispatcherFlags::default()
        },
        [],
    )
}

fn load_variables(pairs: &[(&str, &str)]) -> Result<Loaded<DispatcherSettings>, SettingsError> {
    let files = Files::new();
    let config = Some(files.write("osa.toml", ""));
    let flags = DispatcherFlags {
        config,
        ..DispatcherFlags::default()
    };
    DispatcherSettings::load(&flags, variables(pairs))
}

fn error(text: &str) -> String {
    let error = load(text).expect_err("an unusable configuration").to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn host_name_alone_is_a_configuration() {
    let settings = load("hostname = 'Sat.Example'").expect("usable").settings;

    assert_eq!(settings.hostname.as_str(), "sat.example");
    assert_eq!(settings.database, Path::new("/var/lib/osa/osa.sqlite3"));
    assert_eq!(settings.xmpp.listen.0, ["[::]:5222".parse().expect("address")]);
    assert_eq!(settings.push.poll_interval, Duration::from_secs(1));
    assert_eq!(settings.push.notify_threshold, None);
    assert_eq!(settings.accounts.expire_after, Duration::from_secs(86_400));
}

#[test]
fn every_form_of_value_is_read() {
    let settings = load(
        "hostname = 'sat.example'\ndata_dir = '/srv/osa'\ndatabase = '/db/osa.sqlite3'\n\
         xmpp.listen = ['127.0.0.1:0', '[::1]:0']\n[push]\nnotify_threshold = 100\nlease = '2min'\n\
         [accounts]\nregistration_open = false\n[log]\nformat = 'json'\nlevel = 'warn'\n",
    );
    let settings = settings.expect("usable").settings;

    assert_eq!(settings.database, Path::new("/db/osa.sqlite3"));
    assert_eq!(settings.tls.key, Path::new("/srv/osa/tls/server.key"));
    assert_eq!(settings.xmpp.listen.0.len(), 2);
    assert_eq!(settings.push.notify_threshold.map(|number| number.get()), Some(100));
    assert_eq!(settings.push.lease, Duration::from_secs(120));
    assert!(!settings.accounts.registration_open);
    assert_eq!(
        (settings.log.format, settings.log.level),
        (LogFormat::Json, LogLevel::Warn)
    );
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let files = Files::new();
    let flags = DispatcherFlags {
        config: Some(files.write(
            "osa.toml",
            "hostname = 'file.example'\n[push]\nlease = '30s'\n[xmpp]\nlisten = ['[::]:1', '[::]:2']",
        )),
        hostname: Some("flag.example".to_owned()),
        data_dir: Some(PathBuf::from("/flag")),
        verbose: 2,
        ..DispatcherFlags::default()
    };
    let environment = variables(&[
        ("OSA_HOSTNAME", "env.example"),
        ("OSA_PUSH_LEASE", "45s"),
        ("OSA_XMPP_LISTEN", "[::]:3"),
    ]);
    let loaded = DispatcherSettings::load(&flags, environment).expect("usable");

    assert_eq!(loaded.settings.hostname.as_str(), "flag.example");
    assert_eq!(loaded.settings.push.lease, Duration::from_secs(45));
    assert_eq!(loaded.settings.xmpp.listen.0, ["[::]:3".parse().expect("address")]);
    assert_eq!(loaded.settings.control_socket, Path::new("/flag/control.sock"));
    assert_eq!(loaded.settings.log.level, LogLevel::Debug);
    let origin = |key: &str| {
        loaded
            .values
            .shown()
            .find(|(shown, ..)| *shown == key)
            .map(|(.., origin)| origin)
    };
    assert_eq!(origin("push.lease"), Some("environment variable OSA_PUSH_LEASE"));
    assert_eq!(origin("data_dir"), Some("flag --data-dir"));
    assert_eq!(origin("push.max_tries"), Some("default"));
}

#[test]
fn unknown_key_is_named_with_file_and_line() {
    let typo = error("hostname = 'sat.example'\n\n[xmpp]\nlistn = ['[::]:5222']\n");
    assert!(
        typo.contains("osa.toml:4: unknown key xmpp.listn; known here: listen, names, keepalive_interval"),
        "{typo}"
    );

    assert!(
        error("hostname = 'a'\nhost = 'b'\n")
            .contains("osa.toml:2: unknown key host; known here: hostname, deployment")
    );
    assert!(error("xmpp = 5").contains(":1: unknown key xmpp;"));
    assert!(error("[log.level]\nx = 1").contains("log.level"));
    assert!(error("[[xmpp]]\nlisten = ['[::]:1']").contains("unknown key xmpp"));
}

#[test]
fn wrong_value_is_named_with_file_line_key_and_accepted_form() {
    let unit = error("hostname = 'sat.example'\n[push]\nlease = '60 seconds'\n");
    assert!(
        unit.contains("osa.toml:3: push.lease = \"60 seconds\": expected a number and a unit (ms, s, min, h, d)"),
        "{unit}"
    );

    for (text, part) in [
        ("push.lease = 60", "push.lease = 60: expected a number and a unit"),
        (
            "push.max_tries = 0",
            "push.max_tries = 0: expected a whole number from 1",
        ),
        ("push.max_tries = 'five'", "\"five\""),
        ("push.max_tries = 1.5", "expected a whole number"),
        ("accounts.registration_open = 'yes'", "expected true or false"),
        ("xmpp.listen = ['localhost:5222']", "expected 1 to 16 IP addresses"),
        ("xmpp.listen = []", "expected 1 to 16 IP addresses"),
        ("log.format = 'xml'", "expected text or json"),
        (
            "hostname = '10.0.0.1'",
            "hostname = \"10.0.0.1\": an IP address cannot be checked",
        ),
        ("hostname = ''", "expected a host name"),
    ] {
        assert!(error(text).contains(part), "{text}: {}", error(text));
    }
}

#[test]
fn wrong_value_is_refused_even_where_a_higher_layer_replaces_it() {
    let files = Files::new();
    let flags = DispatcherFlags {
        config: Some(files.write("osa.toml", "hostname = '::1'")),
        hostname: Some("sat.example".to_owned()),
        ..DispatcherFlags::default()
    };

    assert!(matches!(
        DispatcherSettings::load(&flags, []),
        Err(SettingsError::WrongValue { .. })
    ));
}

#[test]
fn wrong_variable_is_named() {
    let loaded = load_variables(&[("OSA_HOSTNAME", "sat.example"), ("OSA_PUSH_LEASE", "60")]);
    let error = loaded.expect_err("no unit").to_string();

    assert!(
        error.starts_with("environment variable OSA_PUSH_LEASE: push.lease = \"60\": expected"),
        "{error}"
    );
}

#[test]
fn text_that_is_not_toml_is_named_with_its_line_in_one_line() {
    assert!(error("hostname = 'a'\npush = {\n\nlease\n").contains("osa.toml:"));
    assert!(error("hostname = 'a'\nhostname = 'b'\n").contains("osa.toml:2: "));
}

#[test]
fn file_that_is_missing_too_large_or_not_utf8_is_refused() {
    let files = Files::new();
    let error = |config: PathBuf| {
        let flags = DispatcherFlags {
            config: Some(config),
            ..DispatcherFlags::default()
        };
        DispatcherSettings::load(&flags, []).expect_err("unusable")
    };

    let missing = error(PathBuf::from("/nonexistent/osa.toml"));
    assert!(
        missing.to_string().starts_with("/nonexistent/osa.toml: cannot read"),
        "{missing}"
    );
    assert_eq!(missing.exit_code(), 66);
    assert!(matches!(
        error(files.write("large", vec![b'#'; 2 << 20])),
        SettingsError::TooLarge { .. }
    ));
    assert!(
        error(files.write("latin1", b"# a\nhostname = '\xfc'"))
            .to_string()
            .contains("latin1:2: not UTF-8")
    );
}

#[test]
fn missing_host_name_says_where_to_set_it() {
    let error = error("# nothing\n");

    assert!(error.starts_with("hostname is not set; set it in /"), "{error}");
}

#[test]
fn only_unknown_variables_with_our_prefix_are_warned_about() {
    let loaded = load_variables(&[
        ("OSA_HOSTNAME", "sat.example"),
        ("OSA_LOG", "debug"),
        ("OSA_CHECK_COMMAND", "/bin/true"),
        ("OSA_PUSH_LEASES", "1s"),
        ("PATH", "/bin"),
    ]);
    let warnings = loaded.expect("usable").warnings;

    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().contains("OSA_PUSH_LEASES"));
}

#[test]
fn changed_keys_are_found_between_two_readings() {
    let before = load("hostname = 'sat.example'").expect("usable").values;
    let after = load("hostname = 'sat.example'\nlog.level = 'debug'\npush.lease = '61s'")
        .expect("usable")
        .values;

    let changed: Vec<&str> = before.changed(&after).map(|key| key.path).collect();
    assert_eq!(changed, ["push.lease", "log.level"]);
}
