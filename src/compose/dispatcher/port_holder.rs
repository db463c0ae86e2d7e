//! Who listens on a port that is taken, as far as this user may know.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::settings::names::XMPP_PORT;

/// `TCP_LISTEN` in the kernel's tables.
const LISTENING: &str = "0A";

/// How programs of XMPP servers are called, from the first letter on, and their services.
const XMPP_SERVERS: [(&str, &str); 5] = [
    ("c2s", JABBERD),
    ("jabberd", JABBERD),
    ("beam.smp", "ejabberd"),
    ("prosody", "prosody"),
    // Prosody's interpreter.
    ("lua", "prosody"),
];
/// The service of a Satellite.
const JABBERD: &str = "jabberd";

/// Whoever listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process of this name and number.
    Process {
        /// Its name.
        name: String,
        /// Its number.
        pid: u32,
    },
    /// A process that this user may not look at.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { name, pid } => write!(formatter, "process {pid}, {name}, listens there"),
            Self::Unknown => formatter.write_str("a process of another user listens there"),
        }
    }
}

impl Holder {
    /// The service of the XMPP server that it is, most likely: what is on that port and belongs to another user is a
    /// Satellite's jabberd.
    fn xmpp_server(&self, port: u16) -> Option<&'static str> {
        match self {
            Self::Process { name, .. } => {
                let of_name = XMPP_SERVERS.iter().find(|(program, _)| name.starts_with(program));
                of_name.map(|(_, service)| *service)
            }
            Self::Unknown => (port == XMPP_PORT).then_some(JABBERD),
        }
    }

    /// Who it is, and what to do if it is what osa-dispatcher replaces, or can work over.
    pub fn explained(&self, port: u16) -> String {
        let Some(service) = self.xmpp_server(port) else {
            return self.to_string();
        };
        format!(
            "{self}, most likely {service}: `systemctl stop {service} && systemctl mask {service}`, see docs/attach.md; or \
             work over it with transport = \"client\", see docs/site-server.md"
        )
    }
}

/// Finds out who listens on the port of an address; `None` if nobody does.
pub fn holder(address: SocketAddr) -> Option<Holder> {
    let read = |table| fs::read_to_string(table).unwrap_or_default();
    let tables = [read("/proc/net/tcp"), read("/proc/net/tcp6")];
    let inode = tables.iter().find_map(|table| listening_inode(table, address.port()))?;
    Some(process_with(&inode).unwrap_or(Holder::Unknown))
}

/// The socket that listens on a port, in a table such as `/proc/net/tcp` (proc(5)).
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let wanted = format!("{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (_, local_port) = fields.nth(1)?.rsplit_once(':')?;
        let state = fields.nth(1)?;
        (local_port == wanted && state == LISTENING).then(|| fields.nth(5).map(str::to_owned))?
    })
}

fn process_with(inode: &str) -> Option<Holder> {
    let link = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if has_descriptor(&process.path(), &link) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let name = name.trim().chars().filter(|c| !c.is_control()).collect();
            return Some(Holder::Process { name, pid });
        }
    }
    None
}

fn has_descriptor(process: &Path, link: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_listener_is_found_by_name() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();

        let found = holder(address);

        assert!(
            matches!(found, Some(Holder::Process { pid, .. }) if pid == std::process::id()),
            "{found:?}"
        );
        drop(listener);
        assert_eq!(holder(address), None);
    }

    #[test]
    fn xmpp_server_is_told_apart_from_other_programs() {
        let process = |name: &str| Holder::Process {
            name: name.to_owned(),
            pid: 7,
        };
        let says_jabberd = |holder: Holder, port| holder.explained(port).contains("mask jabberd");

        assert!(says_jabberd(process("c2s"), 15_222));
        assert!(says_jabberd(process("jabberd2-c2s"), 15_222));
        let said = |name| process(name).explained(15_222);
        assert!(said("beam.smp").contains("ejabberd"), "{}", said("beam.smp"));
        assert!(said("lua5.4").contains("prosody"), "{}", said("lua5.4"));
        assert!(!said("osa-dispatcher").contains("transport"));
        assert!(says_jabberd(Holder::Unknown, 5222));
        assert!(!says_jabberd(Holder::Unknown, 443));
        assert!(!says_jabberd(process("osa-dispatcher"), 5222));
    }

    #[test]
    fn connections_and_other_ports_do_not_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1466 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 11 1 0 20 4 30 10 -1\n   \
            1: 0100007F:1466 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0 100 0 0 10 0\n";

        assert_eq!(listening_inode(table, 5222).as_deref(), Some("22"));
        assert_eq!(listening_inode(table, 5223), None);
        assert_eq!(listening_inode("", 5222), None);
    }
}
