//! What is logged, how and where.

use std::path::PathBuf;

use super::error::Unfit;
use super::schema::settings;
use super::value::{Given, SettingValue};

settings! {
    /// What is logged, how and where.
    pub struct LogSettings in "log." {
        /// Least severe level that is logged. `-v` raises it to `debug`, `-vvv` to `trace`; the environment variable
        /// `OSA_LOG` sets a filter per module, such as `info,osa::net=debug`.
        level: LogLevel = Some("info"), Reload;
        /// `text` for people, `json` for programs: one object per line.
        format: LogFormat = Some("text"), Restart;
        /// File to append to, created with mode 0600 and opened again at SIGHUP, for logrotate. Without it: standard error.
        file: Option<PathBuf> = None, Restart;
    }
}

/// Severity of a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// A person must act.
    Error,
    /// Degraded, heals itself.
    Warn,
    /// Life of process, node and session.
    Info,
    /// The steps of a push.
    Debug,
    /// Lengths and states.
    Trace,
}

impl LogLevel {
    /// The level for a number of `-v` flags, or a legacy `debug_level`.
    pub const fn from_verbosity(count: u8) -> Self {
        match count {
            0 => Self::Info,
            1 | 2 => Self::Debug,
            3.. => Self::Trace,
        }
    }

    /// Its name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl SettingValue for LogLevel {
    const ACCEPTED: &'static str = "error, warn, info, debug or trace";

    fn read(given: &Given) -> Result<Self, Unfit> {
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        let is_meant = |level: &Self| matches!(given, Given::Text(text) if text.trim() == level.as_str());
        levels.into_iter().find(is_meant).ok_or(Unfit::Form(Self::ACCEPTED))
    }
}

/// Form of log records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line per record, for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl SettingValue for LogFormat {
    const ACCEPTED: &'static str = "text or json";

    fn read(given: &Given) -> Result<Self, Unfit> {
        match given {
            Given::Text(text) if text.trim() == "text" => Ok(Self::Text),
            Given::Text(text) if text.trim() == "json" => Ok(Self::Json),
            Given::Text(_) | Given::Number(_) | Given::Switch(_) | Given::List(_) | Given::Other => {
                Err(Unfit::Form(Self::ACCEPTED))
            }
        }
    }
}
