//! The calls of `registration.*` that push needs, for the endpoint and for the agent. Compatibility contract, section 2.
//!
//! The agent makes a [`Request`], writes [`Request::to_call`] and reads the answer with [`OsadReply::from_value`]; the
//! endpoint reads [`Request::from_call`] and answers with [`Reply::to_value`] or a [`Failure`].

use super::value::{Call, Fault, Struct, Value};
use crate::domain::ids::ClientName;
use crate::domain::secret::Secret;

const WELCOME: &str = "registration.welcome_message";
const REGISTER: &str = "registration.register_osad";
const REGISTER_JID: &str = "registration.register_osad_jid";
/// Longest JID that is accepted. Units: characters; the width of `rhnPushClient.jabber_id`.
pub const JID_LEN_MAX: usize = 128;
/// How many dispatchers of a reply are kept; the rest are old rows.
const DISPATCHERS_MAX: usize = 64;

/// A call of a client. The systemid is the file's text, verbatim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Asks for a greeting, and so for the capability headers.
    WelcomeMessage,
    /// Asks for a new name and key.
    RegisterOsad {
        /// The systemid.
        systemid: Secret,
        /// The client's clock, Unix seconds.
        client_timestamp: Option<i64>,
    },
    /// Reports the client's full JID.
    RegisterOsadJid {
        /// The systemid.
        systemid: Secret,
        /// The full JID.
        jabber_id: String,
    },
}

/// Why a call fails; the codes are the original server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Failure {
    /// The systemid is damaged, unknown, or its checksum is wrong.
    #[error("Invalid System Credentials")]
    InvalidCredentials,
    /// The systemid belongs to no system.
    #[error("Anonymous certificates are not accepted here")]
    AnonymousCertificate,
    /// `register_osad_jid` without a usable `jabber-id`.
    #[error("No usable jabber-id was given")]
    JabberIdMissing,
    /// There is no such method, or the server takes no calls now.
    #[error("No such method")]
    UnknownMethod,
    /// The arguments are not those of the method.
    #[error("Wrong number or type of arguments")]
    WrongArguments,
    /// The server's fault; the client may try again.
    #[error("Internal error, try again later")]
    Internal,
}

impl Failure {
    const ALL: [Self; 6] = [
        Self::InvalidCredentials,
        Self::AnonymousCertificate,
        Self::JabberIdMissing,
        Self::UnknownMethod,
        Self::WrongArguments,
        Self::Internal,
    ];

    /// The code on the wire.
    pub const fn code(self) -> i64 {
        match self {
            Self::InvalidCredentials => -9,
            Self::AnonymousCertificate => -28,
            Self::JabberIdMissing => -160,
            Self::UnknownMethod => -1,
            Self::WrongArguments | Self::Internal => 1,
        }
    }

    /// What a code means to a client: its own credentials, or something of the server's.
    pub fn from_code(code: i64) -> Self {
        let known = Self::ALL
            .into_iter()
            .find(|failure| failure.code() == code && code != 1);
        known.unwrap_or(Self::Internal)
    }

    /// The fault to send.
    pub fn to_fault(self) -> Fault {
        Fault {
            code: self.code(),
            text: self.to_string(),
        }
    }
}

impl Request {
    /// Reads a call. `welcome_message` may have arguments (a language); they are ignored.
    ///
    /// # Errors
    /// The [`Failure`] to answer with.
    pub fn from_call(call: Call) -> Result<Self, Failure> {
        match call.method.as_str() {
            WELCOME => Ok(Self::WelcomeMessage),
            REGISTER => {
                let (systemid, members) = systemid_and_struct(call.params)?;
                let client_timestamp = members.get("client-timestamp").and_then(Value::as_int);
                Ok(Self::RegisterOsad {
                    systemid,
                    client_timestamp,
                })
            }
            REGISTER_JID => {
                let (systemid, members) = systemid_and_struct(call.params)?;
                let jabber_id = members.get("jabber-id").and_then(Value::as_str);
                let jabber_id = jabber_id.filter(|jid| !jid.is_empty() && jid.chars().count() <= JID_LEN_MAX);
                let jabber_id = jabber_id.ok_or(Failure::JabberIdMissing)?.to_owned();
                Ok(Self::RegisterOsadJid { systemid, jabber_id })
            }
            _ => Err(Failure::UnknownMethod),
        }
    }

    /// Writes the call.
    pub fn to_call(&self) -> Call {
        let (method, params) = match self {
            Self::WelcomeMessage => (WELCOME, Vec::new()),
            Self::RegisterOsad {
                systemid,
                client_timestamp,
            } => {
                let timestamp = client_timestamp.map(|time| ("client-timestamp".to_owned(), Value::Int(time)));
                let members = timestamp.into_iter().collect();
                (REGISTER, vec![systemid.expose().into(), Value::Struct(members)])
            }
            Self::RegisterOsadJid { systemid, jabber_id } => {
                let members = Struct::from([("jabber-id".to_owned(), jabber_id.as_str().into())]);
                (REGISTER_JID, vec![systemid.expose().into(), Value::Struct(members)])
            }
        };
        Call {
            method: method.to_owned(),
            params,
        }
    }
}

fn systemid_and_struct(params: Vec<Value>) -> Result<(Secret, Struct), Failure> {
    match <[Value; 2]>::try_from(params) {
        Ok([Value::String(systemid), Value::Struct(members)]) => Ok((Secret::new(systemid), members)),
        _ => Err(Failure::WrongArguments),
    }
}

/// What an endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `welcome_message`.
    Welcome(String),
    /// To `register_osad`; `None` is the empty struct: no push here.
    Osad(Option<OsadReply>),
    /// To `register_osad_jid`.
    JidRecorded,
}

impl Reply {
    /// The result to write.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Welcome(message) => Value::String(message.clone()),
            Self::Osad(Some(reply)) => reply.to_value(),
            Self::Osad(None) | Self::JidRecorded => Value::Struct(Struct::new()),
        }
    }
}

/// What `register_osad` gives a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsadReply {
    /// The name to sign with.
    pub client_name: ClientName,
    /// The key to sign with.
    pub shared_key: Secret,
    /// The server's clock, Unix seconds.
    pub server_timestamp: i64,
    /// The server's host name.
    pub jabber_server: String,
    /// The full JIDs of the dispatchers.
    pub dispatchers: Vec<String>,
    /// The client's clock as it was sent.
    pub client_timestamp: Option<i64>,
}

/// An answer to `register_osad` that cannot be used. The server is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not a struct.
    #[error("answer of register_osad is not a struct")]
    NotAStruct,
    /// A member is absent or of another type.
    #[error("answer of register_osad has no usable {0:?}")]
    Member(&'static str),
}

impl OsadReply {
    /// Reads the result of `register_osad`; `None` if the server has no push.
    ///
    /// # Errors
    /// [`ReplyError`] names the member that is missing.
    pub fn from_value(value: &Value) -> Result<Option<Self>, ReplyError> {
        let members = value.as_struct().ok_or(ReplyError::NotAStruct)?;
        if members.is_empty() {
            return Ok(None);
        }
        let text = |name: &'static str| {
            let text = members.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).ok_or(ReplyError::Member(name))
        };
        let dispatchers = members.get("dispatchers").and_then(Value::as_array);
        let dispatchers = dispatchers.ok_or(ReplyError::Member("dispatchers"))?;
        let server_timestamp = members.get("server-timestamp").and_then(Value::as_int);
        Ok(Some(Self {
            client_name: ClientName(text("client-name")?.to_owned()),
            shared_key: Secret::new(text("shared-key")?),
            server_timestamp: server_timestamp.ok_or(ReplyError::Member("server-timestamp"))?,
            jabber_server: text("jabber-server")?.to_owned(),
            dispatchers: dispatchers
                .iter()
                .filter_map(Value::as_str)
                .take(DISPATCHERS_MAX)
                .map(str::to_owned)
                .collect(),
            client_timestamp: members.get("client-timestamp").and_then(Value::as_int),
        }))
    }

    fn to_value(&self) -> Value {
        let dispatchers = self.dispatchers.iter().map(|jid| jid.as_str().into()).collect();
        let mut members = Struct::from([
            ("client-name".to_owned(), self.client_name.0.as_str().into()),
            ("shared-key".to_owned(), self.shared_key.expose().into()),
            ("server-timestamp".to_owned(), Value::Int(self.server_timestamp)),
            ("jabber-server".to_owned(), self.jabber_server.as_str().into()),
            ("dispatchers".to_owned(), Value::Array(dispatchers)),
        ]);
        if let Some(time) = self.client_timestamp {
            members.insert("client-timestamp".to_owned(), Value::Int(time));
        }
        Value::Struct(members)
    }
}
