use std::path::{Path, PathBuf};
use std::time::Duration;

use osa::settings::Loaded;
use osa::settings::database::{DatabaseHost, Deployment, SslMode};
use osa::settings::dispatcher::{DispatcherFlags, DispatcherSettings};
use osa::settings::error::SettingsError;
use osa::settings::legacy::rhn_conf::RhnConf;
use osa::settings::legacy::satellite::{SatelliteFiles, SatelliteReading};
use osa::settings::log::LogLevel;
use osa::settings::value::Given;
use proptest::prelude::*;

use crate::{Files, variables};

/// As a Satellite's installer leaves it, with neighbours.
pub const RHN_CONF: &str = "# Satellite\nserver.satellite.http_proxy =\ndb_backend = postgresql\ndb_user = rhn\n\
    db_password = s3c,ret\"#\ndb_name = schema\ndb_host =\ndb_port = 5432\ndb_ssl_enabled = 0\n\
    server.jabber_server = sat.example\nosa-dispatcher.jabber_server = sat.example\n\
    osa-dispatcher.osa_ssl_cert = /var/www/html/pub/RHN-ORG-TRUSTED-SSL-CERT\n";
/// The packaged defaults of the dispatcher.
const OWN_DEFAULTS: &str = "log_file = /var/log/rhn/osa-dispatcher.log\nosa_ssl_cert = /usr/share/rhn/RHNS-OSA-CERT\n\
    jabber_server = jabberserver.example.org:5234\npoll_interval = 5\nnotify_threshold =\n";

pub fn load(rhn_conf: &str, own: &str) -> Result<Loaded<DispatcherSettings>, SettingsError> {
    let files = Files::new();
    let flags = DispatcherFlags {
        config: Some(files.write("osa.toml", own)),
        rhn_conf: Some(files.write("rhn.conf", rhn_conf)),
        ..DispatcherFlags::default()
    };
    DispatcherSettings::load(&flags, [])
}

fn read(rhn_conf: &str, own_defaults: &str, defaults: &str) -> SatelliteReading {
    let file = |name: &str, text: &str| Some((name.to_owned(), text.to_owned()));
    let files = SatelliteFiles {
        rhn_conf: file("rhn.conf", &format!("db_backend = postgresql\n{rhn_conf}")),
        own_defaults: file("own", own_defaults),
        defaults: file("all", defaults),
        server_pem: PathBuf::from("/pem"),
    };
    files.read().expect("usable")
}

fn value(reading: &SatelliteReading, key: &str) -> Option<(String, String)> {
    let entry = reading.layer.0.iter().find(|entry| entry.key == key)?;
    match &entry.given {
        Given::Text(text) => Some((text.clone(), entry.origin.clone())),
        Given::Number(_) | Given::Switch(_) | Given::List(_) | Given::Other => None,
    }
}

#[test]
fn rhn_conf_alone_is_a_satellite() {
    let loaded = load(RHN_CONF, "").expect("usable");
    let settings = &loaded.settings;

    assert_eq!(loaded.warnings, []);
    let marked = load(
        &format!(
            "\u{feff}{}",
            RHN_CONF.replace("# Satellite\nserver.satellite.http_proxy =\n", "")
        ),
        "\u{feff}[log]\n",
    )
    .expect("usable");
    assert_eq!(
        marked.settings, *settings,
        "an editor's byte order mark is no part of the first line"
    );
    assert_eq!(settings.deployment, Deployment::Satellite);
    assert_eq!(settings.hostname.as_str(), "sat.example");
    assert_eq!(
        (settings.postgres.name.as_deref(), settings.postgres.user.as_deref()),
        (Some("schema"), Some("rhn"))
    );
    assert_eq!(
        (settings.postgres.host.as_ref(), settings.postgres.port.get()),
        (None, 5432)
    );
    assert_eq!(settings.postgres.ssl_mode, SslMode::Prefer);
    let pem = Path::new("/etc/pki/spacewalk/jabberd/server.pem");
    assert_eq!(
        (settings.tls.certificate.as_path(), settings.tls.key.as_path()),
        (pem, pem)
    );
    assert_eq!(settings.tls.ca, Path::new("/var/www/html/pub/RHN-ORG-TRUSTED-SSL-CERT"));
}

#[test]
fn password_is_taken_as_it_stands_and_never_shown() {
    let loaded = load(RHN_CONF, "").expect("usable");

    let password = loaded.settings.postgres.password.as_ref().expect("a password");
    assert_eq!(password.expose(), "s3c,ret\"#");
    let shown: Vec<String> = loaded.values.shown().map(|row| format!("{row:?}")).collect();
    assert!(
        shown
            .iter()
            .any(|row| row.contains("postgres.password") && row.contains("***")),
        "{shown:?}"
    );
    assert!(!shown.concat().contains("s3c") && !format!("{loaded:?}").contains("s3c"));
}

#[test]
fn what_is_never_opened_beside_a_satellite_is_shown_only_where_it_is_set() {
    let shown = |own| {
        let loaded = load(RHN_CONF, own).expect("usable");
        let keys: Vec<&str> = loaded.values.shown().map(|(key, _, _)| key).collect();
        ["database", "registration.listen", "xmpp.listen"].map(|key| keys.contains(&key))
    };

    assert_eq!(shown(""), [false, false, true]);
    assert_eq!(shown("[registration]\nlisten = ['[::]:8443']\n"), [false, true, true]);
}

#[test]
fn origin_of_a_value_is_file_line_and_key() {
    let loaded = load(RHN_CONF, "[postgres]\nport = 6432\n").expect("usable");

    let origin = |key| loaded.values.origin(key).rsplit('/').next().map(str::to_owned);
    assert_eq!(origin("postgres.name").as_deref(), Some("rhn.conf:6 (db_name)"));
    assert_eq!(
        origin("hostname").as_deref(),
        Some("rhn.conf:11 (osa-dispatcher.jabber_server)")
    );
    assert_eq!(origin("postgres.port").as_deref(), Some("osa.toml:2"));
    assert_eq!(origin("tls.key").as_deref(), Some("usual place on a Satellite"));
    assert_eq!(origin("push.lease").as_deref(), Some("default"));
}

#[test]
fn own_file_wins_over_rhn_conf() {
    let own = "hostname = 'other.example'\ndeployment = 'standalone'\n";
    let loaded = load(RHN_CONF, own).expect("usable");

    assert_eq!(loaded.settings.deployment, Deployment::Standalone);
    assert_eq!(loaded.settings.hostname.as_str(), "other.example");
    assert_eq!(loaded.warnings, []);
}

#[test]
fn every_key_is_mapped() {
    let settings = load(
        "db_backend=PostgreSQL\nDB_HOST = db.example\ndb_port=5433\ndb_name=n\ndb_user=u\ndb_ssl_enabled=1\n\
         db_sslrootcert=/ca.crt\njabber_server=sat.example:5222\nserver.jabber_server=sat.example\n\
         osa-dispatcher.poll_interval=3\nosa-dispatcher.notify_threshold=100\n\
         osa-dispatcher.log_file=/var/log/rhn/osa-dispatcher.log\ndebug=3\n",
        "",
    );
    let settings = settings.expect("usable").settings;

    let postgres = &settings.postgres;
    assert_eq!(
        (postgres.host.as_ref(), postgres.port.get()),
        (Some(&DatabaseHost::Server("db.example".to_owned())), 5433)
    );
    assert_eq!(
        (postgres.ssl_mode, postgres.root_certificate.as_deref()),
        (SslMode::VerifyFull, Some(Path::new("/ca.crt")))
    );
    assert_eq!(settings.hostname.as_str(), "sat.example");
    assert_eq!(settings.push.poll_interval, Duration::from_secs(3));
    assert_eq!(settings.push.notify_threshold.map(|number| number.get()), Some(100));
    assert_eq!(
        settings.log.file.as_deref(),
        Some(Path::new("/var/log/rhn/osa-dispatcher.log"))
    );
    assert_eq!(settings.log.level, LogLevel::Debug);
}

#[test]
fn dispatchers_own_key_wins_in_a_file_and_every_file_over_its_defaults() {
    let origin = |rhn_conf: &str, own: &str, all: &str| value(&read(rhn_conf, own, all), "push.poll_interval");
    let found = |text: &str, origin: &str| Some((text.to_owned(), origin.to_owned()));
    let (own, all) = (
        "poll_interval = 3",
        "poll_interval = 4\nosa-dispatcher.poll_interval = 9",
    );

    assert_eq!(
        origin("osa-dispatcher.poll_interval = 1\npoll_interval = 2", own, all),
        found("1s", "rhn.conf:2 (osa-dispatcher.poll_interval)")
    );
    assert_eq!(
        origin("poll_interval = 2", own, all),
        found("2s", "rhn.conf:2 (poll_interval)")
    );
    assert_eq!(origin("", own, all), found("3s", "own:1 (poll_interval)"));
    assert_eq!(origin("", "", all), found("9s", "all:2 (osa-dispatcher.poll_interval)"));
    assert_eq!(origin("", "", ""), None);
    assert_eq!(origin("osa-dispatcher.poll_interval =", own, all), None);
}

#[test]
fn packaged_placeholders_are_not_taken() {
    let reading = read("server.jabber_server = sat.example", OWN_DEFAULTS, "");

    let name = value(&reading, "hostname");
    assert_eq!(
        name,
        Some(("sat.example".to_owned(), "rhn.conf:2 (server.jabber_server)".to_owned()))
    );
    assert_eq!(value(&reading, "log.file"), None);
    assert_eq!(value(&reading, "push.notify_threshold"), None);
    assert_eq!(
        value(&reading, "push.poll_interval").map(|(text, _)| text),
        Some("5s".to_owned())
    );
    assert_eq!(
        value(&reading, "tls.ca").map(|(text, _)| text),
        Some("/usr/share/rhn/RHNS-OSA-CERT".to_owned())
    );
}

#[test]
fn local_database_is_the_socket_and_checked_tls_has_a_usual_authority() {
    let reading = read("db_host = local\ndb_ssl_enabled = 1", "", "");

    assert_eq!(value(&reading, "postgres.host"), None);
    assert_eq!(
        value(&reading, "postgres.root_certificate").map(|(text, _)| text),
        Some("/etc/rhn/postgresql-db-root-ca.cert".to_owned())
    );
}

#[test]
fn rhn_conf_of_a_proxy_is_none_of_ours() {
    let proxy = "proxy.rhn_parent = sat.example\nosa-dispatcher.nonsense = 1\n";
    let own = "hostname = 'own.example'\ndeployment = 'standalone'";
    let loaded = load(proxy, own).expect("usable");

    assert_eq!(loaded.settings.deployment, Deployment::Standalone);
    assert_eq!(loaded.settings.hostname.as_str(), "own.example");
    assert_eq!(loaded.warnings, []);
}

#[test]
fn config_alone_leaves_the_satellites_files_unread() {
    let files = Files::new();
    let flags = DispatcherFlags {
        config: Some(files.write("osa.toml", "hostname = 'own.example'")),
        ..DispatcherFlags::default()
    };
    // A credential is for a dispatcher that is told nothing else.
    let directory = files
        .write("rhn.conf", RHN_CONF)
        .parent()
        .map(|path| path.display().to_string());
    let environment = variables(&[("CREDENTIALS_DIRECTORY", &directory.expect("a directory"))]);

    let loaded = DispatcherSettings::load(&flags, environment).expect("usable");

    assert_eq!(loaded.settings.deployment, Deployment::Standalone);
}

#[test]
fn files_handed_over_by_the_service_manager_go_first() {
    let files = Files::new();
    let rhn_conf = files.write("rhn.conf", RHN_CONF);
    let pem = files.write("server.pem", "");
    let directory = rhn_conf.parent().expect("a directory").display().to_string();

    let environment = variables(&[("CREDENTIALS_DIRECTORY", &directory)]);
    let loaded = DispatcherSettings::load(&DispatcherFlags::default(), environment).expect("usable");

    assert_eq!(loaded.settings.deployment, Deployment::Satellite);
    assert_eq!(
        loaded.values.origin("postgres.user"),
        format!("{}:4 (db_user)", rhn_conf.display())
    );
    assert_eq!(
        (&loaded.settings.tls.certificate, &loaded.settings.tls.key),
        (&pem, &pem)
    );
}

proptest! {
    #[test]
    fn written_values_are_read_back(
        entries in prop::collection::btree_map("[a-z][a-z_.-]{0,12}", "([!-~]([ -~]{0,20}[!-~])?)?", 0..8),
        noise in "#[ -~]{0,20}",
    ) {
        let mut text = format!("{noise}\n\n");
        for (key, value) in &entries {
            text.push_str(&format!("  {} = {value}  \n", key.to_uppercase()));
        }
        let file = RhnConf::parse(&text);
        for (index, (key, value)) in entries.iter().enumerate() {
            let read = file.value(key).expect("a value");
            prop_assert_eq!((&read.text, read.line), (value, index + 3));
        }
        prop_assert!(file.stray_lines().is_empty());
    }

    #[test]
    fn no_rhn_conf_makes_the_reader_panic(text in "([a-z=#. _,\n-]|db_backend=postgresql\n|osa-dispatcher\\.|.){0,120}") {
        let file = Some(("rhn.conf".to_owned(), text));
        let files = SatelliteFiles { rhn_conf: file.clone(), own_defaults: file.clone(), defaults: file, ..SatelliteFiles::default() };
        let _ = files.read();
    }
}
