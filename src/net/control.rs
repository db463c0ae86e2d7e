//! The control socket: who asks writes one line, who answers writes one line, and the connection is over.
//!
//! A Unix socket with mode 0600 in the data directory: whoever may use it could change the database as well. Still, what
//! one caller can take is bounded, so that a command gone wrong does no harm to the dispatcher that pushes.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::settings::access::process_user;

/// Longest request: an action for some 30 000 systems by name. Units: bytes.
pub const REQUEST_BYTES_MAX: u64 = 1 << 20;
/// Longest answer: a list of some 100 000 actions. Units: bytes.
pub const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How long a caller may take to send its request, and to take its answer.
pub const CALLER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the dispatcher may take to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Only the owner speaks to the dispatcher.
const MODE: u32 = 0o600;

/// What can go wrong on the control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket cannot be made.
    #[error("cannot make control socket {}: {source}; set control_socket to another path, a short one in the dispatcher's directory", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another dispatcher has it.
    #[error("another dispatcher runs with this data_dir or control_socket, and answers at {}; stop it, or give this one its own", .0.display())]
    Taken(PathBuf),
    /// Its directory may not be written.
    #[error(
        "cannot make control socket {}: permission denied; its directory must belong to the dispatcher's user: chown {user} {}", path.display(), path.parent().unwrap_or(path).display()
    )]
    Unwritable {
        /// Where.
        path: PathBuf,
        /// As whom this program runs.
        user: String,
    },
    /// There is something else than a socket at its place.
    #[error("{} is not a socket; set control_socket to another path", .0.display())]
    NotSocket(PathBuf),
    /// Nobody listens there.
    #[error("no dispatcher answers at {}; start osa-dispatcher, or name its configuration with --config", .0.display())]
    NoDispatcher(PathBuf),
    /// The socket belongs to somebody else.
    #[error("no permission to use {}; run this as root or as the dispatcher's user", .0.display())]
    Forbidden(PathBuf),
    /// The connection failed.
    #[error("control socket {}: {source}; try again", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The other side took too long.
    #[error("control socket: no {0} in time; try again")]
    TimedOut(&'static str),
    /// A line is too long.
    #[error("control socket: the {what} has more than {limit} bytes; ask for less at once")]
    TooLong {
        /// `request` or `answer`.
        what: &'static str,
        /// The limit. Units: bytes.
        limit: u64,
    },
    /// The connection ended before the end of a line.
    #[error("control socket: the {0} is cut off; try again")]
    CutOff(&'static str),
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its process, where the kernel knows it.
    pub pid: Option<i32>,
}

/// The dispatcher's end of the socket; its file goes with it.
#[derive(Debug)]
pub struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlListener {
    /// Makes the socket. One that an earlier dispatcher left is replaced. To be called within a runtime.
    ///
    /// # Errors
    /// [`ControlError::Bind`], [`ControlError::Taken`], [`ControlError::Unwritable`], [`ControlError::NotSocket`].
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| unmade(path, source);
        match fs::symlink_metadata(path) {
            // Another dispatcher: with a database of its own, or on a Satellite, where the lock of a file keeps nobody out.
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(ControlError::Taken(path.to_owned()));
            }
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
            Ok(_) => return Err(ControlError::NotSocket(path.to_owned())),
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// The next caller.
    ///
    /// # Errors
    /// What `accept` says, such as that no descriptors are left.
    pub async fn accept(&self) -> io::Result<ControlConnection> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred()?;
        Ok(ControlConnection {
            caller: Caller {
                uid: peer.uid(),
                pid: peer.pid(),
            },
            line: Line {
                stream: BufReader::new(stream),
                path: self.path.clone(),
            },
        })
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // A file that is left is replaced at the next start.
        fs::remove_file(&self.path).ok();
    }
}

/// One caller.
#[derive(Debug)]
pub struct ControlConnection {
    caller: Caller,
    line: Line,
}

impl ControlConnection {
    /// Who calls.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// What it asks.
    ///
    /// # Errors
    /// [`ControlError::TooLong`], [`ControlError::TimedOut`], [`ControlError::CutOff`], [`ControlError::Io`].
    pub async fn read_request(&mut self) -> Result<Vec<u8>, ControlError> {
        let read = self.line.read("request", REQUEST_BYTES_MAX);
        timeout(CALLER_TIMEOUT, read)
            .await
            .unwrap_or(Err(ControlError::TimedOut("request")))
    }

    /// Answers, and ends the connection.
    ///
    /// # Errors
    /// [`ControlError::TimedOut`], [`ControlError::Io`].
    pub async fn answer(mut self, answer: &[u8]) -> Result<(), ControlError> {
        timeout(CALLER_TIMEOUT, self.line.write(answer))
            .await
            .unwrap_or(Err(ControlError::TimedOut("reader of the answer")))
    }
}

fn unmade(path: &Path, source: io::Error) -> ControlError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            let user = process_user();
            ControlError::Unwritable { path, user }
        }
        // Not our enum.
        _ => ControlError::Bind { path, source },
    }
}

/// Asks the dispatcher behind a socket.
///
/// # Errors
/// [`ControlError::NoDispatcher`] if nobody listens there.
pub async fn ask(path: &Path, request: &[u8]) -> Result<Vec<u8>, ControlError> {
    if request.len() as u64 > REQUEST_BYTES_MAX {
        let (what, limit) = ("request", REQUEST_BYTES_MAX);
        return Err(ControlError::TooLong { what, limit });
    }
    let stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NoDispatcher(path.to_owned()),
        io::ErrorKind::PermissionDenied => ControlError::Forbidden(path.to_owned()),
        // Not our enum.
        _ => ControlError::Io {
            path: path.to_owned(),
            source,
        },
    })?;
    let mut line = Line {
        stream: BufReader::new(stream),
        path: path.to_owned(),
    };
    let exchange = async {
        line.write(request).await?;
        line.read("answer", ANSWER_BYTES_MAX).await
    };
    timeout(CALLER_TIMEOUT + ANSWER_TIMEOUT, exchange)
        .await
        .unwrap_or(Err(ControlError::TimedOut("answer")))
}

#[derive(Debug)]
struct Line {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Line {
    async fn read(&mut self, what: &'static str, limit: u64) -> Result<Vec<u8>, ControlError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(limit + 1);
        let read = limited.read_until(b'\n', &mut line).await;
        read.map_err(|source| ControlError::Io {
            path: self.path.clone(),
            source,
        })?;
        if line.pop_if(|last| *last == b'\n').is_some() {
            return Ok(line);
        }
        match line.len() as u64 > limit {
            true => Err(ControlError::TooLong { what, limit }),
            false => Err(ControlError::CutOff(what)),
        }
    }

    async fn write(&mut self, text: &[u8]) -> Result<(), ControlError> {
        let stream = self.stream.get_mut();
        let write = async {
            stream.write_all(text).await?;
            stream.write_all(b"\n").await?;
            stream.shutdown().await
        };
        write.await.map_err(|source| ControlError::Io {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_that_may_not_be_written_is_to_be_given_to_the_user() {
        let told = |kind: io::ErrorKind| unmade(Path::new("/var/lib/osa/control.sock"), kind.into()).to_string();

        let denied = told(io::ErrorKind::PermissionDenied);
        let remedy = format!("chown {} /var/lib/osa", process_user());
        assert!(
            denied.ends_with(&remedy) && !denied.contains("control_socket"),
            "{denied}"
        );
        let too_long = told(io::ErrorKind::InvalidInput);
        assert!(too_long.contains("set control_socket to another path"), "{too_long}");
    }
}
