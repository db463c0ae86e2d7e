//! The registration service of a Satellite, or of a standalone dispatcher (compatibility contract, section 2).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::https::{HttpsClient, Reply};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::net::access::Access;
use crate::ports::clock::Clock;
use crate::ports::registrar::{Registrar, RegistrarError, Registration};
use crate::protocol::xmlrpc::capability::{Capability, REGISTER_OSAD};
use crate::protocol::xmlrpc::reader::read_response;
use crate::protocol::xmlrpc::registration::{OsadReply, Request};
use crate::protocol::xmlrpc::value::Value;
use crate::protocol::xmlrpc::writer::write_call;
use crate::settings::names::ServerUrl;

/// Of the original's headers those that a server reads. The client version makes it send binary instead of base64.
const HEADERS: [(&str, &str); 4] = [
    ("user-agent", concat!("osad/", env!("CARGO_PKG_VERSION"))),
    ("content-type", "text/xml"),
    ("x-client-version", "1"),
    ("x-rhn-transport-capability", "follow-redirects=3"),
];
/// A fault's text in errors. Units: characters.
const FAULT_TEXT_MAX: usize = 300;
/// A server's timestamp has whole seconds, cut off: on average it is half a second late. Units: milliseconds.
const TIMESTAMP_LAG_MILLIS: i64 = 500;

/// Calls the methods of `registration` at one URL.
pub struct XmlRpcClient {
    access: Arc<Access>,
    url: ServerUrl,
    clock: Arc<dyn Clock>,
    /// The connection of one registration: its calls follow each other closely, then long nothing.
    connection: Mutex<Option<HttpsClient>>,
}

impl XmlRpcClient {
    /// A client of the service at `url`.
    pub fn new(access: Arc<Access>, url: ServerUrl, clock: Arc<dyn Clock>) -> Self {
        Self {
            access,
            url,
            clock,
            connection: Mutex::new(None),
        }
    }

    fn connect(&self) -> HttpsClient {
        HttpsClient::new(Arc::clone(&self.access), self.url.clone())
    }
}

#[async_trait]
impl Registrar for XmlRpcClient {
    async fn register(&self, systemid: &Secret) -> Result<Registration, RegistrarError> {
        let mut connection = self.connection.lock().await;
        let mut https = self.connect();
        let (_, welcome) = call(&mut https, &Request::WelcomeMessage).await?;
        let capabilities = welcome
            .capabilities
            .iter()
            .flat_map(|line| Capability::parse_list(line));
        if !capabilities
            .into_iter()
            .any(|capability| capability.name == REGISTER_OSAD)
        {
            return Err(RegistrarError::NoPush(https.server()));
        }
        let before = self.clock.now();
        let request = Request::RegisterOsad {
            systemid: systemid.clone(),
            client_timestamp: Some(before.as_secs()),
        };
        let (value, _) = call(&mut https, &request).await?;
        let after = self.clock.now();
        let reply = OsadReply::from_value(&value)
            .map_err(|error| unreadable(&https, &error))?
            .ok_or_else(|| RegistrarError::NoPush(https.server()))?;
        *connection = Some(https);
        Ok(Registration {
            drift_millis: drift_millis(reply.server_timestamp, before, after),
            client: reply.client_name,
            key: reply.shared_key,
            dispatchers: reply.dispatchers,
        })
    }

    async fn register_jid(&self, systemid: &Secret, jid: &str) -> Result<(), RegistrarError> {
        let mut https = self.connection.lock().await.take().unwrap_or_else(|| self.connect());
        let request = Request::RegisterOsadJid {
            systemid: systemid.clone(),
            jabber_id: jid.to_owned(),
        };
        call(&mut https, &request).await.map(|_| ())
    }
}

async fn call(https: &mut HttpsClient, request: &Request) -> Result<(Value, Reply), RegistrarError> {
    let call = request.to_call();
    let reply = https.post(&HEADERS, Bytes::from(write_call(&call))).await?;
    match read_response(&reply.body) {
        Ok(Ok(value)) => Ok((value, reply)),
        Ok(Err(fault)) => Err(RegistrarError::Fault {
            server: https.server(),
            method: call.method,
            code: fault.code,
            text: in_one_line(&fault.text),
        }),
        Err(_) if !is_of_xmlrpc(&reply.content_type) => Err(RegistrarError::OtherContent {
            server: https.server(),
            content_type: reply.content_type,
        }),
        Err(error) => Err(unreadable(https, &error)),
    }
}

/// Whether a server may say this of an XML-RPC answer: compatibility contract, section 2.1.
fn is_of_xmlrpc(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim();
    let known = ["", "text/xml", "application/xml", "application/binary", "text/base64"];
    known.iter().any(|known| known.eq_ignore_ascii_case(kind))
}

/// A fault's text as it can be logged: Satellites break its lines and indent them.
fn in_one_line(text: &str) -> String {
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(FAULT_TEXT_MAX).collect()
}

fn unreadable(https: &HttpsClient, error: &dyn std::fmt::Display) -> RegistrarError {
    RegistrarError::Unreadable {
        server: https.server(),
        reason: error.to_string(),
    }
}

/// The server's clock minus ours, which is taken in the middle of the call.
fn drift_millis(server_secs: i64, before: Timestamp, after: Timestamp) -> i64 {
    let middle = before + after.saturating_since(before) / 2;
    let server = Timestamp::from_secs(server_secs)
        .as_millis()
        .saturating_add(TIMESTAMP_LAG_MILLIS);
    server.saturating_sub(middle.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_measured_against_the_middle_of_the_call() {
        let [before, after] = [1_000_000, 1_003_000].map(Timestamp::from_millis);

        assert_eq!(drift_millis(1_001, before, after), 0);
        assert_eq!(drift_millis(1_301, before, after), 300_000);
        assert_eq!(drift_millis(701, before, after), -300_000);
    }
}
