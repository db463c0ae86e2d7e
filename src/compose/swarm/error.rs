//! Why a measurement failed.

use std::io;
use std::path::PathBuf;

use crate::net::ca::CaError;
use crate::net::control::ControlError;
use crate::ports::store::StoreError;
use crate::ports::tls::TlsError;

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SwarmError {
    #[error("cannot {doing} {path}: {error}", path = .path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Authority(#[from] CaError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("the dispatcher answered: {0}")]
    Rejected(String),
    #[error("{0} did not come about within {1} s; its log is in {2}")]
    TimedOut(&'static str, u64, PathBuf),
    #[error("{0} is not running any more; its log is in {1}")]
    Ended(&'static str, PathBuf),
    #[error("the Satellite's database: {}", told(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("{0} is missing: install PostgreSQL's server")]
    NoPostgres(&'static str),
    #[error("jabberd2 is missing: install it")]
    NoJabberd,
    #[error("the store of jabberd2: {0}")]
    NoStore(#[from] diesel::ConnectionError),
    #[error("the store of jabberd2: {0}")]
    Statement(#[from] diesel::result::Error),
    #[error("between two clients of the site's server: {0}")]
    Passage(std::io::Error),
    #[error("{0}")]
    Wrong(String),
    #[error("{0} failed: {1}")]
    Failed(PathBuf, String),
    #[error("the shared password cannot be used")]
    Password,
}

/// The server's own words, if it has any.
fn told(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

impl SwarmError {
    /// For `map_err`.
    pub(super) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { doing, path, error }
    }
}
