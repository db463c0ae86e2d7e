//! The keys of `rhn.conf` that mean something to the dispatcher: one table, from which the reader and `docs/config.md` come.

use super::switch;
use crate::settings::log::LogLevel;
use crate::settings::names::HostPort;

/// The dispatcher's prefix in files that all programs of a Satellite share.
pub const COMPONENT: &str = "osa-dispatcher";

/// Key of the dispatcher's own name; without it, it has the one that clients are told.
pub const OWN_NAME: &str = "jabber_server";

/// Keys of the component that are known and have no effect.
pub const IGNORED: [&str; 4] = [
    "traceback_mail",
    "jabber_username",
    "jabber_password",
    "osa_tickle_enabled",
];

/// Why a value of `rhn.conf` cannot be used: what would be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A back-end without a store.
    #[error(
        "only postgresql is supported; leave this Satellite to the dispatcher it came with, or name another configuration with --config"
    )]
    Backend,
    /// Something else, in quotes.
    #[error("this file has no quotes around values; remove them")]
    Quoted,
    /// Not a whole number of seconds.
    #[error("expected a whole number of seconds from 1 on")]
    Seconds,
    /// Not a switch.
    #[error("expected 0 or 1")]
    Switch,
    /// Not a level.
    #[error("expected a number from 0 to 255")]
    Level,
}

/// A key and what it means.
#[derive(Clone, Copy, Debug)]
pub struct LegacyKey {
    /// Its name, with or without the prefix of the component.
    pub name: &'static str,
    /// Our setting.
    pub sets: &'static str,
    /// Whether the packaged defaults count, too.
    pub from_defaults: bool,
    /// What becomes of the value; `None` if our own default stays.
    pub read: fn(&str) -> Result<Option<String>, Unusable>,
    /// What becomes of the value, for people.
    pub doc: &'static str,
}

/// All keys but those of names, which depend on each other.
pub const KEYS: [LegacyKey; 14] = [
    key(
        "db_backend",
        "deployment",
        backend,
        "`postgresql` is `satellite`; `oracle` is refused",
    ),
    key("db_host", "postgres.host", db_host, "`local` is the Unix socket"),
    key("db_port", "postgres.port", as_it_is, ""),
    key("db_name", "postgres.name", as_it_is, ""),
    key("db_user", "postgres.user", as_it_is, ""),
    key(
        "db_password",
        "postgres.password",
        as_it_is,
        "taken as it stands, quotes and commas included",
    ),
    key("db_ssl_enabled", "postgres.ssl_mode", ssl_mode, "`1` is `verify-full`"),
    key(
        "db_sslrootcert",
        "postgres.root_certificate",
        as_it_is,
        "with `db_ssl_enabled` `/etc/rhn/postgresql-db-root-ca.cert` if it is not set",
    ),
    key("poll_interval", "push.poll_interval", seconds, "seconds"),
    key(
        "notify_threshold",
        "push.notify_threshold",
        as_it_is,
        "empty is no limit",
    ),
    key("osa_ssl_cert", "tls.ca", as_it_is, "with `transport = \"embedded\"`"),
    key("osa_ssl_cert", "upstream.ca", as_it_is, "with another transport"),
    key(
        "debug",
        "log.level",
        level,
        "0 and 1 `info`, 2 and 3 `debug`, more `trace`",
    ),
    LegacyKey {
        from_defaults: false,
        ..key(
            "log_file",
            "log.file",
            as_it_is,
            "not from the packaged defaults: that file belongs to the web server's user",
        )
    },
];

const fn key(
    name: &'static str,
    sets: &'static str,
    read: fn(&str) -> Result<Option<String>, Unusable>,
    doc: &'static str,
) -> LegacyKey {
    LegacyKey {
        name,
        sets,
        from_defaults: true,
        read,
        doc,
    }
}

/// The host in `HOST` or `HOST:PORT`; a text that is neither is left for the setting to refuse.
pub fn host(text: &str) -> String {
    HostPort::parse(text).map_or_else(|_| text.to_owned(), |server| server.host.to_string())
}

/// `HOST:PORT`, where a port is written.
pub fn with_port(text: &str) -> Option<String> {
    let server = HostPort::parse(text).ok()?;
    let (_, port) = text.rsplit_once(':')?;
    port.parse::<u16>().is_ok().then(|| server.to_string())
}

#[expect(clippy::unnecessary_wraps, reason = "one type for all readers")]
fn as_it_is(text: &str) -> Result<Option<String>, Unusable> {
    Ok(Some(text.to_owned()))
}

fn backend(text: &str) -> Result<Option<String>, Unusable> {
    match text.eq_ignore_ascii_case("postgresql") {
        true => Ok(Some("satellite".to_owned())),
        false => Err(Unusable::Backend),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one type for all readers")]
fn db_host(text: &str) -> Result<Option<String>, Unusable> {
    Ok(Some(text.to_owned()).filter(|host| host != "local"))
}

fn ssl_mode(text: &str) -> Result<Option<String>, Unusable> {
    let is_on = switch(text).ok_or(Unusable::Switch)?;
    Ok(is_on.then(|| "verify-full".to_owned()))
}

fn seconds(text: &str) -> Result<Option<String>, Unusable> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Some(format!("{seconds}s"))),
        Ok(_) | Err(_) => Err(Unusable::Seconds),
    }
}

/// The packaged level is 1.
fn level(text: &str) -> Result<Option<String>, Unusable> {
    let level: u8 = text.parse().map_err(|_| Unusable::Level)?;
    Ok(Some(
        LogLevel::from_verbosity(level.saturating_sub(1)).as_str().to_owned(),
    ))
}
