//! Settings of a dispatcher over the site's own XMPP server.

use std::path::Path;

use osa::settings::Loaded;
use osa::settings::dispatcher::DispatcherSettings;
use osa::settings::error::SettingsError;
use osa::settings::upstream::Transport;

use crate::satellite::{RHN_CONF, load};

const CLIENT: &str = "transport = 'client'\n";
const COMPONENT: &str = "transport = 'component'\n[upstream]\ncomponent = 'osa.sat.example'\nsecret = 'hunter2'\n";

fn servers(loaded: &Loaded<DispatcherSettings>) -> Vec<String> {
    let servers = loaded.settings.upstream_servers();
    servers.iter().map(ToString::to_string).collect()
}

fn refused(rhn_conf: &str, own: &str) -> String {
    let error = load(rhn_conf, own).expect_err("an unusable configuration");
    assert_eq!(error.exit_code(), 78);
    error.to_string()
}

#[test]
fn one_line_beside_rhn_conf_is_enough() {
    let loaded = load(RHN_CONF, CLIENT).expect("usable");

    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings.transport, Transport::Client);
    assert_eq!(servers(&loaded), ["sat.example:5222"]);
    let authority = Path::new("/var/www/html/pub/RHN-ORG-TRUSTED-SSL-CERT");
    assert_eq!(loaded.settings.upstream.ca.as_deref(), Some(authority));
    assert!(!loaded.settings.upstream.common_name);
}

#[test]
fn port_of_the_dispatchers_own_server_in_rhn_conf_counts() {
    let with_port = RHN_CONF.replace(
        "osa-dispatcher.jabber_server = sat.example",
        "osa-dispatcher.jabber_server = sat.example:5299",
    );
    let loaded = load(&with_port, CLIENT).expect("usable");

    assert_eq!(servers(&loaded), ["sat.example:5299"]);
    assert_eq!(loaded.settings.hostname.as_str(), "sat.example");
    let own = "transport = 'client'\n[upstream]\nserver = ['192.0.2.1', 'node2.example:5223']\n";
    let loaded = load(&with_port, own).expect("usable");
    assert_eq!(servers(&loaded), ["192.0.2.1:5222", "node2.example:5223"]);
}

#[test]
fn each_transport_shows_only_what_it_uses() {
    let shown = |own| {
        let loaded = load(&RHN_CONF.replace("sat.example\nosa", "sat.example:5222\nosa"), own).expect("usable");
        let keys: Vec<&str> = loaded.values.shown().map(|(key, _, _)| key).collect();
        let of = |prefix: &str| keys.iter().any(|key| key.starts_with(prefix));
        (of("upstream."), of("tls."), of("xmpp.listen"), of("accounts."))
    };

    assert_eq!(shown(""), (false, true, true, true));
    assert_eq!(shown(CLIENT), (true, false, false, false));
    assert_eq!(shown(COMPONENT), (true, false, false, false));
    let leftovers = "transport = 'client'\n[xmpp]\nlisten = ['[::]:5223']\n[tls]\nca = '/ca'\n";
    assert_eq!(
        shown(leftovers),
        (true, true, true, false),
        "what somebody set is shown, and harmless"
    );
}

#[test]
fn what_the_transport_does_not_use_is_told_where_it_stands() {
    let told = |own: &str| -> Vec<String> {
        let warnings = load(RHN_CONF, own).expect("usable").warnings;
        let words = warnings.iter().map(ToString::to_string);
        words
            .map(|words| {
                words
                    .split_once("osa.toml:")
                    .map_or(words.clone(), |(_, said)| said.to_owned())
            })
            .collect()
    };

    assert_eq!(told(""), [""; 0]);
    assert_eq!(told(CLIENT), [""; 0]);
    assert_eq!(
        told("[upstream]\nserver = ['sat.example']\nca = '/ca'\n"),
        [
            "2: no effect with transport = \"embedded\": upstream.server, upstream.ca; remove what is not meant, or change transport"
        ]
    );
    assert_eq!(
        told(
            "transport = 'client'\n[xmpp]\nlisten = ['[::]:5223']\n[tls]\ncertificate = '/a'\nkey = '/b'\nca = '/c'\n"
        ),
        [
            "5: no effect with transport = \"client\": tls.certificate, tls.key, tls.ca; remove what is not meant, or change transport",
            "3: no effect with transport = \"client\": xmpp.listen; remove what is not meant, or change transport"
        ]
    );
}

#[test]
fn change_of_transport_is_one_change() {
    let changed = |older: &str, newer: &str| -> Vec<&str> {
        let [older, newer] = [older, newer].map(|own| load(RHN_CONF, own).expect("usable"));
        older.changed_to(&newer).map(|key| key.path).collect()
    };

    assert_eq!(changed("", CLIENT), ["transport"]);
    assert_eq!(changed(CLIENT, ""), ["transport"]);
    assert_eq!(changed(CLIENT, COMPONENT), ["transport"]);
    assert_eq!(
        changed("", "transport = 'client'\ndrain_timeout = '9s'\n"),
        ["transport", "drain_timeout"]
    );
    assert_eq!(
        changed(
            CLIENT,
            "transport = 'client'\n[upstream]\nserver = ['sat.example:5223']\n"
        ),
        ["upstream.server"]
    );
}

#[test]
fn other_server_needs_a_satellite() {
    let error = refused(RHN_CONF, "transport = 'client'\ndeployment = 'standalone'\n");

    let (place, error) = error.split_once("osa.toml:1: ").expect("file and line");
    assert!(!place.contains(' '), "{place}");
    assert_eq!(
        error,
        "transport = \"client\" must be used with deployment = \"satellite\"; a standalone dispatcher is the server itself, \
         with transport = \"embedded\""
    );
    let component = refused(RHN_CONF, "transport = 'component'\ndeployment = 'standalone'\n");
    assert!(
        component.ends_with(&error.replace("client", "component")),
        "{component}"
    );
    let other = load(RHN_CONF, "transport = 'server'\n").expect_err("not there");
    assert!(matches!(other, SettingsError::WrongValue { .. }), "{other}");
    assert!(other.to_string().contains("embedded, client or component"), "{other}");
}

#[test]
fn missing_authority_is_to_be_named_where_the_satellite_has_it() {
    let without = RHN_CONF.replace("osa-dispatcher.osa_ssl_cert =", "osa-dispatcher.osa_ssl_cert = \n#");
    let error = refused(&without, CLIENT);

    assert!(
        error.starts_with("upstream.ca is not set; set it in ") && error.contains("rhn.conf as osa_ssl_cert: "),
        "{error}"
    );
    load(&without, "").expect("the embedded server has its own");
}

#[test]
fn acceptance_of_common_names_is_warned_of_where_it_counts() {
    let warnings = |own| load(RHN_CONF, own).expect("usable").warnings;

    let unused = warnings("[upstream]\ncommon_name = true\n");
    assert!(
        !unused.iter().any(|warning| warning.to_string().contains("accepted")),
        "{unused:?}"
    );
    let warned = warnings("transport = 'client'\n[upstream]\ncommon_name = true\n");
    assert_eq!(warned.len(), 1);
    assert!(
        warned[0]
            .to_string()
            .contains("osa.toml:3: the XMPP server is accepted by the common name"),
        "{}",
        warned[0]
    );
}

#[test]
fn component_needs_a_name_and_a_secret_and_finds_its_server_on_this_machine() {
    let loaded = load(
        &RHN_CONF.replace("sat.example\nosa", "sat.example:5299\nosa"),
        COMPONENT,
    )
    .expect("usable");

    assert_eq!(loaded.warnings, []);
    assert_eq!(servers(&loaded), ["127.0.0.1:5347"], "5299 is for clients");
    assert_eq!(loaded.settings.dispatcher_domain().as_str(), "osa.sat.example");
    assert_eq!(loaded.settings.hostname.as_str(), "sat.example");
    assert_eq!(loaded.settings.upstream_authority(), None);
    let secret = loaded.values.shown().find(|(key, _, _)| *key == "upstream.secret");
    assert_eq!(secret.map(|(_, value, _)| value), Some("***".to_owned()));
    for (key, line) in [
        ("upstream.component", "component = 'osa.sat.example'\n"),
        ("upstream.secret", "secret = 'hunter2'\n"),
    ] {
        let error = refused(RHN_CONF, &COMPONENT.replace(line, ""));
        assert!(error.starts_with(&format!("{key} is not set; set it in ")), "{error}");
        assert!(!error.contains("rhn.conf"), "{error}");
    }
    let same = refused(RHN_CONF, &COMPONENT.replace("osa.sat.example", "sat.example"));
    assert!(
        same.ends_with(
            "osa.toml:3: upstream.component = \"sat.example\" must be another name than hostname = \"sat.example\""
        ),
        "{same}"
    );
}

#[test]
fn component_of_a_server_elsewhere_must_know_whom_to_trust() {
    let without = RHN_CONF.replace("osa-dispatcher.osa_ssl_cert =", "osa-dispatcher.osa_ssl_cert = \n#");
    let at = |server: &str| format!("{COMPONENT}server = ['{server}']\n");

    for here in ["127.0.0.1", "127.0.0.2:5348", "::1", "localhost"] {
        let loaded = load(&without, &at(here)).unwrap_or_else(|error| panic!("{here}: {error}"));
        assert_eq!(loaded.settings.upstream_authority(), None, "{here}");
    }
    for elsewhere in ["192.0.2.1", "sat.example:5348", "127.0.0.1.example", "2001:db8::1"] {
        let error = refused(&without, &at(elsewhere));
        assert!(error.starts_with("upstream.ca is not set"), "{elsewhere}: {error}");
        let loaded = load(RHN_CONF, &at(elsewhere)).expect("usable");
        assert!(loaded.settings.upstream_authority().is_some(), "{elsewhere}");
    }
    let one_of_two = format!("{COMPONENT}server = ['127.0.0.1', 'sat.example']\n");
    refused(&without, &one_of_two);
}
