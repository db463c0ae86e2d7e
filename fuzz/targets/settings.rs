//! Readers of configuration: every reader gets every text.

use std::time::Duration;

use osa::settings::agent::AgentSettings;
use osa::settings::dispatcher::DispatcherSettings;
use osa::settings::layers::{Layer, Values};
use osa::settings::legacy::credentials::Credentials;
use osa::settings::legacy::ini::{Ini, VALUE_BYTES_MAX};
use osa::settings::legacy::osad::LegacyFiles;
use osa::settings::legacy::satellite::SatelliteFiles;
use osa::settings::legacy::up2date::Up2date;
use osa::settings::names::{DomainName, HostPort, ProxyAddress, ServerUrl};
use osa::settings::own_file;
use osa::settings::schema::Schema;
use osa::settings::units::{DURATION_MAX, format_duration, parse_duration};

/// Reads the bytes as a file of each kind. What is not UTF-8 never reaches a reader.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    read_ini(text);
    read_credentials(text);
    read_own(text);
    read_legacy(text);
    read_satellite(text);
    for line in text.lines() {
        read_value(line);
    }
}

fn read_ini(text: &str) {
    let Ok(ini) = Ini::parse(text) else {
        return;
    };
    for name in ["osad", "osad-auth"] {
        for key in ini.section(name).into_iter().flat_map(|section| section.keys()) {
            if let Ok(value) = ini.value(name, key) {
                assert!(value.is_some_and(|value| value.len() <= VALUE_BYTES_MAX));
            }
        }
    }
}

fn read_credentials(text: &str) {
    let Ok(Some(credentials)) = Credentials::parse(text) else {
        return;
    };
    if let Ok(written) = credentials.render() {
        let again = Credentials::parse(written.expose());
        assert!(
            matches!(again, Ok(Some(read)) if read == credentials),
            "what is written is read back"
        );
    }
}

fn read_own(text: &str) {
    let layer = own_file::parse::<AgentSettings>("osad.toml", text);
    if let Ok(layer) = layer {
        stack(layer);
    }
}

fn read_legacy(text: &str) {
    let osad = Some(("osad.conf".to_owned(), text.to_owned()));
    let up2date = Some(("up2date".to_owned(), text.to_owned()));
    let both = LegacyFiles {
        osad: osad.clone(),
        up2date: up2date.clone(),
    };
    let old = LegacyFiles { osad, up2date: None };
    let bare = LegacyFiles { osad: None, up2date };
    for files in [both, old, bare] {
        if let Ok((layer, _)) = files.layer() {
            stack(layer);
        }
    }
    let up2date = Up2date::parse(text);
    if let Some(value) = up2date.value("serverURL") {
        assert!(value.list().all(|item| !item.is_empty()));
    }
}

fn read_satellite(text: &str) {
    let file = |name: &str| Some((name.to_owned(), text.to_owned()));
    let files = SatelliteFiles {
        rhn_conf: file("rhn.conf"),
        own_defaults: file("defaults"),
        defaults: None,
        server_pem: "/etc/jabberd/server.pem".into(),
    };
    match files.read() {
        Ok(reading) => {
            let layers = vec![Layer::defaults::<DispatcherSettings>(), reading.layer];
            if let Err(error) = Values::stack::<DispatcherSettings>(layers, "osa-dispatcher.toml") {
                let text = error.to_string();
                let names_file = ["rhn.conf", "defaults"].iter().any(|file| text.contains(file));
                assert!(names_file, "{text}");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Lays the values over the defaults; an error names a file.
fn stack(layer: Layer) {
    match Values::stack::<AgentSettings>(vec![Layer::defaults::<AgentSettings>(), layer], "osad.toml") {
        Ok(values) => {
            assert!(values.shown().all(|(_, _, origin)| !origin.is_empty()));
            if let Ok(settings) = AgentSettings::from_values(&values) {
                assert!(settings.reconnect.min > Duration::ZERO);
                let _ = settings.servers();
            }
        }
        Err(error) => {
            let text = error.to_string();
            let names_file = ["osad.toml", "osad.conf", "up2date"]
                .iter()
                .any(|file| text.contains(file));
            assert!(names_file, "{text}");
        }
    }
}

fn read_value(line: &str) {
    if let Ok(name) = DomainName::parse(line) {
        assert_eq!(DomainName::parse(name.as_str()), Ok(name.clone()));
    }
    if let Ok(address) = HostPort::parse(line) {
        assert_eq!(HostPort::parse(&address.to_string()), Ok(address));
    }
    if let Ok(url) = ServerUrl::parse(line) {
        assert_eq!(ServerUrl::parse(&url.to_string()), Ok(url));
    }
    let _ = ProxyAddress::parse(line);
    if let Some(duration) = parse_duration(line) {
        assert!(duration <= DURATION_MAX);
        assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
    }
}
