//! What the owner of TLS is told.

use actix::Message;

use crate::actors::session::Audience;
use crate::domain::admission::AdmissionLimits;
use crate::ports::tls::{CertificateInfo, TlsError};

/// Have every session say again who it is, because this actor is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct AnnounceSessions(pub Audience);

/// Read the certificate files anew. On an error the old ones stay in use. `None` is the answer where no certificate is
/// used: nothing is wrong then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<Option<CertificateInfo>, TlsError>")]
pub struct ReloadTls;

/// Admit by these limits from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct SetAdmissionLimits(pub AdmissionLimits);
