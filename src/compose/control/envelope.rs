//! One line of JSON each way, with the version of the language.

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::answers::Answer;
use super::requests::Request;
use crate::ports::store::StoreError;

/// Version of requests and answers; grows with every change that an older program would misread.
pub const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestLine {
    version: u32,
    request: Request,
}

#[derive(Serialize, Deserialize)]
struct AnswerLine {
    version: u32,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Answer(Answer),
    Rejection(Rejection),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// Who is to blame.
    pub kind: RejectionKind,
    /// What, where and the remedy, in one line.
    pub message: String,
}

/// Who is to blame for a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionKind {
    /// The request cannot be understood.
    BadRequest,
    /// What it names does not exist.
    NotFound,
    /// What it would make exists.
    Exists,
    /// The system is not connected, or does not answer; or no dispatcher runs; or no database.
    Unavailable,
    /// The dispatcher cannot at the moment.
    Busy,
    /// A disk is full, or fails.
    Io,
    /// A file is not there.
    NoInput,
    /// The database does not let it in.
    Denied,
    /// The database is damaged, or of another version.
    Damaged,
    /// The database is not one that this program can use, or not yet.
    Unconfigured,
    /// The operating system refused.
    System,
    /// The dispatcher's own fault.
    Internal,
}

impl RejectionKind {
    /// Exit code of the command, by sysexits.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::BadRequest | Self::NotFound | Self::Damaged => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::System => 71,
            Self::Exists => 73,
            Self::Io => 74,
            Self::Busy => 75,
            Self::Denied => 77,
            Self::Unconfigured => 78,
        }
    }
}

impl Rejection {
    /// A rejection with these words.
    pub fn new(kind: RejectionKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        Self::new(RejectionKind::from(&error), error.to_string())
    }
}

impl From<&StoreError> for RejectionKind {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::NotFound,
            StoreError::Exists { .. } => Self::Exists,
            StoreError::Full(_) | StoreError::Io(_) => Self::Io,
            StoreError::Inaccessible { source, .. } => match source.kind() {
                ErrorKind::NotFound => Self::NoInput,
                ErrorKind::AlreadyExists => Self::Exists,
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::Denied,
                // Not our enum.
                _ => Self::Io,
            },
            StoreError::Locked(_)
            | StoreError::Saturated
            | StoreError::InUse(_)
            | StoreError::Stalled { .. }
            | StoreError::ReadOnly(_) => Self::Busy,
            StoreError::Unreachable { .. } | StoreError::Satellites(_) => Self::Unavailable,
            StoreError::Denied { .. } | StoreError::Unsafe { .. } => Self::Denied,
            StoreError::NotSatellite { .. }
            | StoreError::UnknownEntitlement { .. }
            | StoreError::NoEntitlements { .. }
            | StoreError::Pooled { .. }
            | StoreError::Misled { .. }
            | StoreError::Unmigrated(_) => Self::Unconfigured,
            StoreError::Damaged(_)
            | StoreError::Empty(_)
            | StoreError::StrangeLog { .. }
            | StoreError::Newer { .. }
            | StoreError::Incomplete { .. } => Self::Damaged,
            StoreError::OutOfThreads(_) => Self::System,
            StoreError::WorkerPanicked | StoreError::Other { .. } => Self::Internal,
        }
    }
}

/// Reads a request.
///
/// # Errors
/// [`RejectionKind::BadRequest`], saying what is wrong with it.
pub fn read_request(line: &[u8]) -> Result<Request, Rejection> {
    let bad = |error: serde_json::Error| {
        Rejection::new(
            RejectionKind::BadRequest,
            format!("control request is not understood: {error}"),
        )
    };
    let Versioned { version } = serde_json::from_slice(line).map_err(bad)?;
    if version != VERSION {
        let message = format!(
            "control request has version {version}, this dispatcher speaks {VERSION}: use the osa-dispatcher program \
             that the dispatcher was started from"
        );
        return Err(Rejection::new(RejectionKind::BadRequest, message));
    }
    let line: RequestLine = serde_json::from_slice(line).map_err(bad)?;
    Ok(line.request)
}

/// Writes a request.
pub fn write_request(request: Request) -> Vec<u8> {
    to_json(&RequestLine {
        version: VERSION,
        request,
    })
}

/// Reads an answer.
///
/// # Errors
/// The dispatcher's rejection, or [`RejectionKind::Internal`] if the answer is not understood.
pub fn read_answer(line: &[u8]) -> Result<Answer, Rejection> {
    let line: AnswerLine = serde_json::from_slice(line).map_err(|error| {
        let message = format!(
            "the dispatcher's answer is not understood ({error}): use the osa-dispatcher program that it was started from"
        );
        Rejection::new(RejectionKind::Internal, message)
    })?;
    match line.outcome {
        Outcome::Answer(answer) => Ok(answer),
        Outcome::Rejection(rejection) => Err(rejection),
    }
}

/// Writes an answer.
pub fn write_answer(outcome: Result<Answer, Rejection>) -> Vec<u8> {
    to_json(&AnswerLine {
        version: VERSION,
        outcome: match outcome {
            Ok(answer) => Outcome::Answer(answer),
            Err(rejection) => Outcome::Rejection(rejection),
        },
    })
}

#[expect(
    clippy::expect_used,
    reason = "our own types: no map with keys that are no text, and a vector takes every byte"
)]
fn to_json(line: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(line).expect("a value that JSON can hold")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::cli::error::{self as codes, CliError};
    use crate::compose::control::requests::{ActionQuery, Schedule, Selection};
    use crate::ports::store::DatabaseLabel;

    #[test]
    fn requests_survive_the_line() {
        let schedule = Schedule {
            name: "update".to_owned(),
            systems: Selection::Named(vec!["web-1\n".to_owned()]),
            at: crate::compose::time::Time::parse("2026-11-22T22:00:00Z"),
            after: Some(7),
        };
        for request in [
            Request::Status,
            Request::Schedule(schedule),
            Request::ListActions(ActionQuery::default()),
        ] {
            let line = write_request(request.clone());

            assert!(!line.contains(&b'\n'));
            assert_eq!(read_request(&line), Ok(request));
        }
    }

    #[test]
    fn request_of_another_version_is_refused_whatever_it_holds() {
        let rejection = read_request(br#"{"version":2,"ask":["anything"]}"#).expect_err("version 2");

        assert_eq!(rejection.kind, RejectionKind::BadRequest);
        assert!(
            rejection.message.contains("version 2, this dispatcher speaks 1"),
            "{rejection}"
        );
    }

    #[test]
    fn request_that_is_not_understood_is_refused() {
        for line in [
            &b""[..],
            b"\xff",
            b"[]",
            b"{\"version\":1}",
            b"{\"version\":1,\"request\":\"explode\"}",
            b"{\"version\":1,\"request\":\"status\",\"sudo\":true}",
            b"{\"version\":1,\"request\":{\"ping\":{\"system\":\"a\",\"b\":1}}}",
        ] {
            let kind = read_request(line).map_err(|rejection| rejection.kind);
            assert_eq!(
                kind,
                Err(RejectionKind::BadRequest),
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn error_of_the_database_ends_a_command_alike_whoever_met_it() {
        let database = DatabaseLabel::new("db.example:5432/rhnschema");
        let reason = "x".to_owned();
        let unreachable = StoreError::Unreachable {
            database: database.clone(),
            reason: reason.clone(),
        };
        let denied = StoreError::Denied {
            database: database.clone(),
            reason,
        };
        for (error, code) in [
            (StoreError::Damaged(database.clone()), 65),
            (unreachable, 69),
            (StoreError::WorkerPanicked, 70),
            (StoreError::Full(database.clone()), 74),
            (StoreError::ReadOnly(database.clone()), 75),
            (denied, 77),
            (StoreError::Unmigrated(database.clone()), 78),
        ] {
            let words = error.to_string();
            let directly = codes::store(&error);
            let told = read_answer(&write_answer(Err(error.into()))).expect_err("an error");

            assert_eq!((directly, told.kind.exit_code()), (code, code), "{words}");
            assert_eq!(CliError::from(told).to_string(), words);
        }
    }

    #[test]
    fn answers_and_rejections_survive_the_line() {
        let answer = Answer::AccountReset {
            username: "osad-1".to_owned(),
        };
        let rejection = Rejection::new(RejectionKind::NotFound, "system \"a\" does not exist");

        assert_eq!(read_answer(&write_answer(Ok(answer.clone()))), Ok(answer));
        assert_eq!(read_answer(&write_answer(Err(rejection.clone()))), Err(rejection));
    }
}
