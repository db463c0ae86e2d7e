//! Certificates as the actors see them.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::domain::file_access::FileAccess;
use crate::domain::time::Timestamp;

/// Which of the files of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// The server's certificate with its chain.
    Certificate,
    /// The server's private key.
    Key,
    /// The certificate authority to trust.
    Authority,
    /// The authority of a Satellite's database.
    DatabaseAuthority,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "private key",
            Self::Authority => "CA certificate",
            Self::DatabaseAuthority => "CA certificate of the database (db_sslrootcert, postgres.root_certificate)",
        })
    }
}

/// A day and time for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date(pub Timestamp);

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp(self.0.as_secs(), 0) {
            Some(time) => write!(formatter, "{}", time.format("%Y-%m-%d %H:%M UTC")),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// Why TLS material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no such file.
    #[error("{file} {path} does not exist: create it, or configure where it is", path = .path.display())]
    Missing {
        /// Which.
        file: TlsFile,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is there but cannot be read.
    #[error("cannot read {file} {path}: {error}: let the service's user read it", path = .path.display())]
    Unreadable {
        /// Which.
        file: TlsFile,
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is a directory at its place.
    #[error("{file} {path} is a directory: name the file in it", path = .path.display())]
    Directory {
        /// Which.
        file: TlsFile,
        /// Where.
        path: PathBuf,
    },
    /// The file is there but this program's user may not read it.
    #[error("cannot read {file} {path}: permission denied: {access}", path = .path.display())]
    Forbidden {
        /// Which.
        file: TlsFile,
        /// Where.
        path: PathBuf,
        /// Who may read it.
        access: Box<FileAccess>,
    },
    /// The file holds nothing of its kind.
    #[error("{path} holds no {file} in PEM format: name another file", path = .path.display())]
    NotPem {
        /// Which was looked for.
        file: TlsFile,
        /// Where.
        path: PathBuf,
    },
    /// It is PEM, but what is in it is damaged or of an unknown kind.
    #[error("{file} {path} cannot be used ({reason}): make a new one", path = .path.display())]
    Unusable {
        /// Which.
        file: TlsFile,
        /// Where.
        path: PathBuf,
        /// The TLS library's words.
        reason: String,
    },
    /// Its time is over.
    #[error("{file} {path} expired on {since}: renew it", path = .path.display())]
    Expired {
        /// Which.
        file: TlsFile,
        /// Where.
        path: PathBuf,
        /// Its end.
        since: Date,
    },
    /// Its time has not come.
    #[error("{file} {path} is not valid before {from}: check this machine's clock", path = .path.display())]
    NotYetValid {
        /// Which.
        file: TlsFile,
        /// Where.
        path: PathBuf,
        /// Its start.
        from: Date,
    },
    /// It is for another host.
    #[error(
        "certificate {path} is for {names}, not for {hostname}: make one for {hostname}, or configure the name that \
         clients use", path = .path.display(), names = listed(names)
    )]
    WrongName {
        /// Where.
        path: PathBuf,
        /// What clients connect to.
        hostname: String,
        /// What the certificate names.
        names: Vec<String>,
    },
    /// Certificate and key do not belong together.
    #[error("private key {key} does not belong to certificate {certificate}: name the pair's other half",
        key = .key.display(), certificate = .certificate.display())]
    KeyMismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no host at all".to_owned(),
        names => names.join(", "),
    }
}

/// What works but should not stay so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsWarning {
    /// Every user of the machine can read the key.
    #[error("private key {path} can be read by every user: chmod 600 it", path = .0.display())]
    KeyReadableByAll(PathBuf),
    /// New agents and every other modern client will refuse it.
    #[error("certificate has no subjectAltName for {0}: new agents refuse it; make one with both CN and SAN")]
    NoAltName(String),
    /// Existing agents will refuse it: compatibility contract, section 1.4.
    #[error("certificate has no common name for {0}: existing agents refuse it; make one with both CN and SAN")]
    NoCommonName(String),
    /// New agents are given a CA file that does not lead to the certificate.
    #[error(
        "certificate {certificate} is refused by agents that trust {authority} ({reason}): name the file of the authority \
         that signed it as tls.ca, and put intermediate certificates into the certificate's file",
        certificate = .certificate.display(), authority = .authority.display()
    )]
    OtherAuthority {
        /// The server's.
        certificate: PathBuf,
        /// The CA file.
        authority: PathBuf,
        /// The TLS library's words.
        reason: String,
    },
    /// One about the certificate of a further name.
    #[error("for {0}: {1}")]
    OfName(String, Box<TlsWarning>),
    /// It ends soon.
    #[error("certificate expires on {0}: renew it")]
    ExpiresSoon(Date),
}

impl TlsWarning {
    /// Whether new agents would be given a CA file that does not lead to the certificate.
    pub fn is_of_wrong_authority(&self) -> bool {
        match self {
            Self::OtherAuthority { .. } => true,
            Self::OfName(_, warning) => warning.is_of_wrong_authority(),
            Self::KeyReadableByAll(_) | Self::NoAltName(_) | Self::NoCommonName(_) | Self::ExpiresSoon(_) => false,
        }
    }
}

/// What is known of a certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// The DNS names of `subjectAltName`.
    pub alt_names: Vec<String>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid to.
    pub not_after: Timestamp,
    /// What should be mended.
    pub warnings: Vec<TlsWarning>,
}

/// The TLS material that listeners use.
pub trait Certificates: Send + Sync + 'static {
    /// Reads the files anew; connections made from now on use them. Connections that are open are untouched.
    ///
    /// # Errors
    /// What is wrong with the files; what was loaded before stays in use.
    fn reload(&self, now: Timestamp) -> Result<CertificateInfo, TlsError>;

    /// What is in use.
    fn in_use(&self) -> CertificateInfo;
}
