use std::path::Path;
use std::time::Duration;

use osa::settings::Loaded;
use osa::settings::agent::{AgentFlags, AgentSettings};
use osa::settings::error::{SettingsError, SettingsWarning};

use crate::{Files, variables};

/// What the package of existing agents installs.
const PACKAGED: &str = "[osad]\nsystemid = /etc/sysconfig/rhn/systemid\ndebug_level = 0\nserver_handler = /XMLRPC\n\
    proto = https\nserver_url = %(proto)s://%(server_name)s%(server_handler)s\n#enableProxy = \nosa_ssl_cert = \n\
    logfile = /var/log/osad\nmax_time_drift = 120\nrun_rhn_check = 1\nrhn_check_command = /usr/sbin/rhn_check\n\
    enable_failover = 0\ntcp_keepalive_timeout = 1800\ntcp_keepalive_count = 3\n";
const UP2DATE: &str = "# comment\nserverURL[comment]=Remote server URL\nserverURL=https://sat.example/XMLRPC;\n\
    sslCACert=/ca/one;/ca/two\nenableProxy=0\nhttpProxy=http://squid.example:3128\nenableProxyAuth=0\n";

fn load(osad: &str, up2date: &str, own: &str) -> Result<Loaded<AgentSettings>, SettingsError> {
    let files = Files::new();
    let flags = AgentFlags {
        config: Some(files.write("osad.toml", own)),
        cfg: Some(files.write("osad.conf", osad)),
        up2date: Some(files.write("up2date", up2date)),
        ..AgentFlags::default()
    };
    AgentSettings::load(&flags, [])
}

fn settings(osad: &str, up2date: &str, own: &str) -> AgentSettings {
    load(osad, up2date, own).expect("usable").settings
}

fn urls(settings: &AgentSettings) -> Vec<String> {
    settings.server_url.iter().map(ToString::to_string).collect()
}

#[test]
fn packaged_files_are_a_configuration_without_warnings() {
    let loaded = load(PACKAGED, UP2DATE, "").expect("usable");

    assert_eq!(loaded.warnings, []);
    assert_eq!(urls(&loaded.settings), ["https://sat.example/XMLRPC"]);
    assert_eq!(loaded.settings.tls.ca, Path::new("/ca/one"));
    assert_eq!(loaded.settings.proxy.server, None);
    assert_eq!(loaded.settings.log.file.as_deref(), Some(Path::new("/var/log/osad")));
    assert_eq!(loaded.settings.keepalive.timeout, Duration::from_secs(1800));
    assert_eq!(loaded.settings.max_time_drift, Duration::from_secs(120));
    assert_eq!(loaded.settings.check.command.program, Path::new("/usr/sbin/rhn_check"));
}

#[test]
fn server_name_completes_the_url_of_osad_conf() {
    let osad = format!("{PACKAGED}SERVER_NAME = other.example\n");

    assert_eq!(urls(&settings(&osad, UP2DATE, "")), ["https://other.example/XMLRPC"]);
}

#[test]
fn osad_conf_wins_over_up2date_and_our_file_over_both() {
    let osad = "[osad]\nserver_url = https://a.example/XMLRPC ; https://b.example/XMLRPC\nosa_ssl_cert=/ca/osad\n";

    assert_eq!(
        urls(&settings(osad, UP2DATE, "")),
        ["https://a.example/XMLRPC", "https://b.example/XMLRPC"]
    );
    assert_eq!(settings(osad, UP2DATE, "").tls.ca, Path::new("/ca/osad"));
    assert_eq!(
        urls(&settings(osad, UP2DATE, "server_url = ['https://c.example']")),
        ["https://c.example/XMLRPC"]
    );
}

#[test]
fn legacy_switches_mean_what_they_say() {
    let proxy =
        |osad: &str, up2date: &str| settings(&format!("[osad]\n{osad}"), &format!("{UP2DATE}{up2date}"), "").proxy;

    assert_eq!(proxy("enableProxy = 0", "enableProxy=1").server, None);
    assert_eq!(
        proxy("enableProxy = ", "enableProxy=1").server.map(|proxy| proxy.port),
        Some(3128)
    );
    assert_eq!(
        proxy("enableProxy = please", "").server.map(|proxy| proxy.host),
        Some("squid.example".to_owned())
    );
    assert_eq!(
        proxy("enableProxy = 1\nhttpProxy = p.example:8080", "")
            .server
            .map(|proxy| proxy.port),
        Some(8080)
    );
    assert_eq!(proxy("enableProxy = 1", "proxyUser=u\nproxyPassword=p").user, None);
    let with_login = proxy(
        "enableProxy = 1\nenableProxyAuth = 1",
        "proxyUser=u\nproxyPassword=p;\\q",
    );
    assert_eq!(with_login.user.as_deref(), Some("u"));
    assert_eq!(
        with_login.password.as_ref().map(|secret| secret.expose()),
        Some("p;\\q")
    );
    assert!(!settings("[osad]\nenable_failover = yes", UP2DATE, "").enable_failover);
    assert!(settings("[osad]\nenable_failover = 1", UP2DATE, "").enable_failover);
    assert!(!settings("[osad]\nrun_rhn_check = 0", UP2DATE, "").check.enabled);
}

#[test]
fn proxy_that_is_switched_on_but_not_named_is_questioned() {
    let loaded = load(
        "[osad]\nenableProxy = 1",
        "serverURL=https://sat.example/XMLRPC\nhttpProxy=\n",
        "",
    )
    .expect("usable");

    assert_eq!(loaded.settings.proxy.server, None);
    let [warning] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    let said = warning.to_string();
    assert!(
        said.contains("osad.conf:2 (enableProxy): no httpProxy is set"),
        "{said}"
    );
}

#[test]
fn password_inside_a_proxy_address_is_refused_and_not_shown() {
    let up2date = format!("{UP2DATE}enableProxy=1\nhttpProxy=http://me:hunter2@squid.example:3128\n");

    let error = load("", &up2date, "").expect_err("refused").to_string();

    assert!(error.contains("up2date") && error.contains("(httpProxy)"), "{error}");
    assert!(error.contains("*** ") || error.contains("***:"), "{error}");
    assert!(
        error.contains("the password in proxyPassword") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn our_file_takes_back_a_proxy_of_the_legacy_files() {
    let own = "[proxy]\nserver = ''\n";

    assert_eq!(settings("[osad]\nenableProxy = 1", UP2DATE, own).proxy.server, None);
}

#[test]
fn unknown_legacy_key_is_a_warning_with_file_and_line() {
    let loaded = load(
        "[osad]\nsite = a.example\nserver_url = https://%(site)s/XMLRPC\nloogfile = /x\n",
        UP2DATE,
        "",
    );
    let loaded = loaded.expect("usable");

    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(
        loaded.warnings[0]
            .to_string()
            .contains("osad.conf:4: key loogfile is unknown"),
        "{}",
        loaded.warnings[0]
    );
    let warnings = load("", UP2DATE, "").expect("usable").warnings;
    assert!(matches!(warnings[..], [SettingsWarning::MissingSection { .. }]));
}

#[test]
fn wrong_legacy_value_is_named_as_the_operator_wrote_it() {
    let error = |osad: &str| {
        load(&format!("[osad]\n{osad}"), UP2DATE, "")
            .expect_err("unusable")
            .to_string()
    };

    let number = error("\ntcp_keepalive_timeout = abc");
    assert!(
        number.contains("osad.conf:3 (tcp_keepalive_timeout): tcp_keepalive_timeout = \"abc\": expected"),
        "{number}"
    );
    assert!(error("server_url = https://10.0.0.1/XMLRPC").contains("osad.conf:2 (server_url): server_url = "));
    assert!(error("server_url = https://10.0.0.1/XMLRPC").contains("give the host name in that certificate"));
    assert!(error("server_url = http://sat.example/XMLRPC").contains("HTTPS"));
    assert!(
        error("logfile = %(nowhere)s").contains("osad.conf:2 (logfile): %(nowhere)s refers to a key that is not set")
    );
    assert!(error("enableProxy=1\nhttpProxy=https://squid:3128").contains("host:port"));
    assert!(error("no equals sign").contains("osad.conf:2: expected"));
    assert!(error("rhn_check_command = rhn_check").contains("absolute path"));
}

#[test]
fn password_is_never_shown() {
    let own = "[proxy]\npassword = 'hunter2'\n";
    let loaded = load(PACKAGED, UP2DATE, own).expect("usable");

    let shown: Vec<String> = loaded
        .values
        .shown()
        .map(|(key, value, _)| format!("{key}={value}"))
        .collect();
    assert!(shown.contains(&"proxy.password=***".to_owned()));
    assert!(!format!("{:?}", loaded.settings).contains("hunter2"));
    let error = load(PACKAGED, UP2DATE, "[proxy]\npassword = ['hunter2']")
        .expect_err("a list")
        .to_string();
    assert!(error.contains("***") && !error.contains("hunter2"), "{error}");
    let error = load(PACKAGED, UP2DATE, "[proxy]\npassword = 'hunter2")
        .expect_err("open quote")
        .to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn named_own_file_alone_decides() {
    let files = Files::new();
    let config = Some(files.write("osad.toml", "server_url = ['https://sat.example']"));
    let flags = AgentFlags {
        config,
        ..AgentFlags::default()
    };
    let loaded = AgentSettings::load(&flags, variables(&[("OSA_STATE_DIR", "/env")])).expect("usable");

    assert_eq!(loaded.settings.log.file, None);
    assert_eq!(loaded.settings.state_dir, Path::new("/env"));
}

#[test]
fn missing_server_and_crossed_bounds_are_refused() {
    let error = |own: &str| load("[osad]\n", "", own).expect_err("unusable").to_string();

    assert!(
        error("").starts_with("server_url is not set; set it in "),
        "{}",
        error("")
    );
    let crossed = error("server_url = ['https://a.example']\n[reconnect]\nmin = '10min'\n");
    let (_, crossed) = crossed.split_once(": ").expect("a place");
    assert_eq!(crossed, "reconnect.min = 10min must be at most reconnect.max = 5min");
}

#[test]
fn servers_are_tried_in_order_and_only_the_first_without_failover() {
    let two = "server_url = ['https://a.example:8443', 'https://b.example']\n";
    let tried = |own: String, jabber: Option<&str>| {
        let files = Files::new();
        let jabber_server = jabber.map(str::to_owned);
        let flags = AgentFlags {
            config: Some(files.write("osad.toml", own)),
            jabber_server,
            ..AgentFlags::default()
        };
        let settings = AgentSettings::load(&flags, []).expect("usable").settings;
        settings
            .servers()
            .iter()
            .map(|server| format!("{} {}", server.jabber, server.url.host))
            .collect::<Vec<_>>()
    };
    let failover = format!("{two}enable_failover = true\n");

    assert_eq!(tried(two.to_owned(), None), ["a.example:5222 a.example"]);
    assert_eq!(
        tried(failover.clone(), None),
        ["a.example:5222 a.example", "b.example:5222 b.example"]
    );
    assert_eq!(
        tried(two.to_owned(), Some("b.example:5333")),
        ["b.example:5333 b.example"]
    );
    assert_eq!(tried(two.to_owned(), Some("c.example")), ["c.example:5222 a.example"]);
    assert_eq!(
        tried(failover, Some("b.example")),
        ["b.example:5222 b.example", "a.example:5222 a.example"]
    );
}
