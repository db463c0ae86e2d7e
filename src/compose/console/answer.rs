//! Standard output.

use std::io::{self, ErrorKind, Write};

/// An answer did not reach its reader.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}; what was asked is done, so ask for its result anew")]
pub struct OutputError(#[from] io::Error);

impl OutputError {
    /// Exit code: as by SIGPIPE if the reader went away (`| head`), else `EX_IOERR`.
    pub fn exit_code(&self) -> u8 {
        if self.is_unread() { 141 } else { 74 }
    }

    /// Whether the reader went away by itself, and so need not be told.
    pub fn is_unread(&self) -> bool {
        self.0.kind() == ErrorKind::BrokenPipe
    }
}

/// Prints text as it is.
///
/// # Errors
/// [`OutputError`].
pub fn print(text: &str) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints one line.
///
/// # Errors
/// [`OutputError`].
pub fn line(text: impl AsRef<str>) -> Result<(), OutputError> {
    print(&format!("{}\n", text.as_ref()))
}

/// Prints a line of this program's beside the answer: for people, even if a program reads the answer.
pub fn remark(program: &str, text: &str) {
    // Nobody can be told if standard error is closed.
    writeln!(io::stderr().lock(), "{program}: {text}").ok();
}
