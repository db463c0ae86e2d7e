//! A name server that knows a few XMPP servers on loopback: RFC 1035, and RFC 2782 for their ports.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// Types of records.
const A: u16 = 1;
const SRV: u16 = 33;
/// Class and seconds to live of every record.
const IN_FOR_A_MINUTE: [u8; 6] = [0, 1, 0, 0, 0, 60];
const HEADER: usize = 12;

/// Answers until the test ends.
pub struct NameServer {
    address: SocketAddr,
    ports: Arc<Mutex<BTreeMap<String, u16>>>,
}

impl NameServer {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let ports = Arc::new(Mutex::new(BTreeMap::new()));
        let known = Arc::clone(&ports);
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut query) {
                if let Some(answer) = answer(&query[..length], &known.lock().unwrap()) {
                    socket.send_to(&answer, asker).ok();
                }
            }
        });
        Self { address, ports }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// This domain has its server at this port of 127.0.0.1.
    pub fn add(&self, domain: &str, port: u16) {
        self.ports.lock().unwrap().insert(domain.to_owned(), port);
    }
}

/// To a query with one question.
fn answer(query: &[u8], ports: &BTreeMap<String, u16>) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let question = query.get(HEADER..end + 4)?;
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let data = match (kind, name.strip_prefix("_xmpp-server._tcp.")) {
        (SRV, Some(domain)) => ports.get(domain).map(|port| {
            let head = [[0, 0], [0, 0], port.to_be_bytes()].concat();
            [head, labels(domain)].concat()
        }),
        (A, None) => ports.get(&name).map(|_| vec![127, 0, 0, 1]),
        _ => None,
    };
    let is_known = ports.keys().any(|domain| name.ends_with(domain));
    // An answer with authority; no error, or no such name.
    let flags = [0x85, if is_known { 0x80 } else { 0x83 }];
    let counts = [0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0];
    let mut answer = [&query[..2], &flags, &counts, question].concat();
    if let Some(data) = data {
        // The name of the question, by its place.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend(IN_FOR_A_MINUTE);
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

/// The name that is asked for, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut name) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            let name = name.join(".").to_lowercase();
            return query.get(at + 3).map(|_| (name, at));
        }
        name.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut labels = Vec::new();
    for label in name.split('.') {
        labels.push(u8::try_from(label.len()).unwrap());
        labels.extend(label.as_bytes());
    }
    labels.push(0);
    labels
}
