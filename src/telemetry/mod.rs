//! Logs: set up once, readable by people or programs, followed by `docs/logging.md`.

mod log_file;
mod logging;

pub use log_file::LogFile;
pub use logging::{FILTER_VARIABLE, Logging, LoggingError, check_place};
