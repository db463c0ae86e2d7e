//! Where log records go and which.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::log_file::LogFile;
use crate::settings::log::{LogFormat, LogLevel, LogSettings};

/// Environment variable with a filter per module, such as `info,osa::net=debug`. It wins over the level.
pub const FILTER_VARIABLE: &str = "OSA_LOG";

/// Logs that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The file cannot be opened. Exit code 73.
    #[error("log.file: cannot open {}: {source}; create its directory or choose another file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The variable holds no filter. Exit code 78.
    #[error("environment variable {FILTER_VARIABLE}: {0}; expected levels per module, such as \"info,osa::net=debug\"")]
    Filter(#[from] ParseError),
    /// Logs are set up already. Exit code 70.
    #[error("logs are set up twice: {0}")]
    Twice(#[from] TryInitError),
}

/// Whether a log file can be where the settings say, as far as that is seen without making it.
///
/// # Errors
/// [`LoggingError::File`]: its directory is not there.
pub fn check_place(settings: &LogSettings) -> Result<(), LoggingError> {
    let Some(path) = &settings.file else { return Ok(()) };
    let directory = path.parent().unwrap_or(path);
    let found = directory.metadata().map(|found| found.is_dir());
    let error = match found {
        Ok(true) => return Ok(()),
        Ok(false) => io::ErrorKind::NotADirectory.into(),
        Err(error) => error,
    };
    Err(LoggingError::File {
        path: path.clone(),
        source: error,
    })
}

impl LoggingError {
    /// Exit code of a program that ends with this error, by sysexits.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } => 73,
            Self::Filter(_) => 78,
            Self::Twice(_) => 70,
        }
    }
}

/// The running logs of a program; what SIGHUP acts on.
#[derive(Debug)]
pub struct Logging {
    filter: reload::Handle<Targets, Registry>,
    file: Option<LogFile>,
    filter_is_fixed: bool,
}

impl Logging {
    /// Sets up the logs of this process, those of dependencies included. `filter` is the value of
    /// [`FILTER_VARIABLE`].
    ///
    /// # Errors
    /// [`LoggingError`].
    pub fn start(settings: &LogSettings, filter: Option<&str>) -> Result<Self, LoggingError> {
        match &settings.file {
            Some(path) => {
                let source = |source| LoggingError::File {
                    path: path.clone(),
                    source,
                };
                let file = LogFile::open(path).map_err(source)?;
                let (logging, subscriber) = build(settings, filter, file.clone(), false)?;
                subscriber.try_init()?;
                Ok(Self {
                    file: Some(file),
                    ..logging
                })
            }
            None => {
                let (logging, subscriber) = build(settings, filter, io::stderr, io::stderr().is_terminal())?;
                subscriber.try_init()?;
                Ok(logging)
            }
        }
    }

    /// Changes the level, unless a filter is in force. Logs that no longer exist have no level to change.
    pub fn set_level(&self, level: LogLevel) {
        if !self.filter_is_fixed {
            // Fails only where the subscriber is gone, and with it everything that could be logged.
            self.filter.reload(of_level(level)).unwrap_or(());
        }
    }

    /// Opens the log file anew, if there is one.
    ///
    /// # Errors
    /// [`LoggingError::File`]; the old file stays in use.
    pub fn reopen(&self) -> Result<(), LoggingError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.reopen().map_err(|source| LoggingError::File {
            path: file.path().to_owned(),
            source,
        })
    }
}

/// The filter of a level. Dependencies are not followed below `info`: what they log there may show what peers sent.
fn of_level(level: LogLevel) -> Targets {
    let filter = Targets::new();
    match level {
        LogLevel::Error => filter.with_default(LevelFilter::ERROR),
        LogLevel::Warn => filter.with_default(LevelFilter::WARN),
        LogLevel::Info => filter.with_default(LevelFilter::INFO),
        LogLevel::Debug => filter
            .with_default(LevelFilter::INFO)
            .with_target("osa", LevelFilter::DEBUG),
        LogLevel::Trace => filter
            .with_default(LevelFilter::INFO)
            .with_target("osa", LevelFilter::TRACE),
    }
}

fn build<W>(
    settings: &LogSettings,
    filter: Option<&str>,
    writer: W,
    colour: bool,
) -> Result<(Logging, impl Subscriber + Send + Sync + use<W>), LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter.filter(|text| !text.trim().is_empty());
    let parsed = match filter {
        Some(text) => text.parse::<Targets>()?,
        None => of_level(settings.level),
    };
    let (parsed, handle) = reload::Layer::new(parsed);
    let subscriber = Registry::default()
        .with(parsed)
        .with(records(settings.format, writer, colour));
    let logging = Logging {
        filter: handle,
        file: None,
        filter_is_fixed: filter.is_some(),
    };
    Ok((logging, subscriber))
}

/// The layer that writes. A record that cannot be written (full disk) is lost: nothing waits for logs.
fn records<S, W>(format: LogFormat, writer: W, colour: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer()
        .with_writer(writer)
        .with_ansi(colour)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tracing::subscriber::with_default;

    fn logged(level: LogLevel, format: LogFormat, filter: Option<&str>, record: impl FnOnce(&Logging)) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let settings = LogSettings {
            level,
            format,
            file: None,
        };
        let file = LogFile::open(&path).expect("a log file");
        let (logging, subscriber) = build(&settings, filter, file, false).expect("logs");
        with_default(subscriber, || record(&logging));
        fs::read_to_string(path).expect("read")
    }

    #[test]
    fn json_record_is_one_object_per_line_with_its_fields_on_top() {
        let text = logged(LogLevel::Info, LogFormat::Json, None, |_| {
            tracing::info!(event = "test_happened", text = "a\nb", "two\nlines");
        });

        assert_eq!(text.lines().count(), 1);
        let record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&record["event"], &record["text"]),
            (&"test_happened".into(), &"a\nb".into())
        );
        assert_eq!(record["level"], "INFO");
    }

    #[test]
    fn dependencies_are_not_followed_below_info() {
        let text = logged(LogLevel::Trace, LogFormat::Text, None, |_| {
            tracing::trace!("ours");
            tracing::debug!(target: "hyper", "theirs");
            tracing::info!(target: "hyper", "known");
        });

        assert!(
            text.contains("ours") && text.contains("known") && !text.contains("theirs"),
            "{text}"
        );
    }

    #[test]
    fn level_changes_while_running_unless_a_filter_is_set() {
        let debug_after_change = |logging: &Logging| {
            tracing::debug!("before");
            logging.set_level(LogLevel::Debug);
            tracing::debug!("after");
        };

        let free = logged(LogLevel::Info, LogFormat::Text, None, debug_after_change);
        assert!(!free.contains("before") && free.contains("after"), "{free}");
        let fixed = logged(LogLevel::Info, LogFormat::Text, Some("osa=warn"), debug_after_change);
        assert_eq!(fixed, "");
    }

    #[test]
    fn text_that_is_no_filter_is_refused_by_name() {
        let settings = LogSettings {
            level: LogLevel::Info,
            format: LogFormat::Text,
            file: None,
        };
        let error = Logging::start(&settings, Some("osa=loud"))
            .expect_err("no level")
            .to_string();

        assert!(
            error.starts_with("environment variable OSA_LOG: ") && error.lines().count() == 1,
            "{error}"
        );
    }

    #[test]
    fn log_file_without_directory_is_refused_with_its_path() {
        let file = Some(PathBuf::from("/nonexistent/log"));
        let settings = LogSettings {
            level: LogLevel::Info,
            format: LogFormat::Text,
            file,
        };
        let error = Logging::start(&settings, None).expect_err("no directory");

        assert!(error.to_string().contains("cannot open /nonexistent/log"), "{error}");
        assert_eq!(error.exit_code(), 73);
    }
}
