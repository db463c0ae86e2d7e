//! The existing agent's XML-RPC calls: compatibility contract, section 2.2.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Identity;
use super::tls::{Glance, Socket};
use crate::site::PATIENCE;

/// What `register_osad` gave.
#[derive(Clone, Debug)]
pub struct Registration {
    pub client_name: String,
    pub shared_key: String,
    pub dispatchers: Vec<String>,
}

/// `welcome_message`, for its headers, then a new name and key.
pub fn register_osad(identity: &Identity) -> Result<Registration, String> {
    let welcome = call(identity, "welcome_message", "")?;
    if !welcome.contains("registration.register_osad(1)=1") {
        return Err("the server cannot register osad".into());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let timestamp = format!("<member><name>client-timestamp</name><value><int>{now}</int></value></member>");
    let answer = call(identity, "register_osad", &arguments(identity, &timestamp))?;
    let values = strings(&answer);
    Ok(Registration {
        client_name: member(&answer, "client-name")?,
        shared_key: member(&answer, "shared-key")?,
        dispatchers: values
            .into_iter()
            .filter(|value| value.contains("rhn-dispatcher-sat"))
            .collect(),
    })
}

/// Reports the full JID.
pub fn register_osad_jid(identity: &Identity, jid: &str) -> Result<(), String> {
    let jid = format!("<member><name>jabber-id</name><value><string>{jid}</string></value></member>");
    call(identity, "register_osad_jid", &arguments(identity, &jid)).map(drop)
}

fn arguments(identity: &Identity, members: &str) -> String {
    let systemid = identity
        .systemid
        .lock()
        .unwrap()
        .replace('&', "&amp;")
        .replace('<', "&lt;");
    format!(
        "<param><value><string>{systemid}</string></value></param>\
         <param><value><struct>{members}</struct></value></param>"
    )
}

/// Headers and body of the answer, unless it is a fault.
fn call(identity: &Identity, method: &str, params: &str) -> Result<String, String> {
    let mut socket = Socket::connect(identity.https).map_err(|error| error.to_string())?;
    socket
        .secure(&identity.host, &identity.ca, true)
        .map_err(|error| error.to_string())?;
    let body = format!(
        "<?xml version='1.0'?>\n<methodCall>\n<methodName>registration.{method}</methodName>\n<params>\n{params}</params>\n\
         </methodCall>\n"
    );
    let request = format!(
        "POST /XMLRPC HTTP/1.1\r\nHost: {}\r\nAccept-Encoding: identity\r\nContent-Length: {}\r\n\
         User-Agent: rhn.rpclib.py/$Revision$\r\nX-Client-Version: 1\r\n\
         X-RHN-Transport-Capability: follow-redirects=3\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n{body}",
        identity.host,
        body.len()
    );
    socket.write(&request).map_err(|error| error.to_string())?;
    let until = Instant::now() + PATIENCE;
    let mut answer = Vec::new();
    while let Glance::Record(bytes) = socket.read_record(until, &|| false) {
        answer.extend(bytes);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if !answer.starts_with("HTTP/1.1 200") || answer.contains("<fault>") {
        return Err(format!("{method}: {answer}"));
    }
    Ok(answer)
}

fn member(answer: &str, name: &str) -> Result<String, String> {
    let behind = answer.split_once(&format!("<name>{name}</name>"));
    let value = behind.and_then(|(_, behind)| strings(behind).into_iter().next());
    value.ok_or_else(|| format!("no {name} in {answer}"))
}

fn strings(answer: &str) -> Vec<String> {
    let parts = answer.split("<string>").skip(1);
    parts
        .filter_map(|part| part.split_once("</string>"))
        .map(|(text, _)| text.to_owned())
        .collect()
}
