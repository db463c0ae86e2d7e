//! Ports for programs that are told theirs before they start, and have it again after each start.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// The ports of this process: each is held by a name that ends with the process, whatever becomes of it.
static HELD: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that no other test is given while this process lives, whether or not somebody listens on it just now. It is not
/// one that the system gives to whoever connects or asks for any.
pub fn free_port() -> u16 {
    loop {
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let port = 10_240 + u16::from_ne_bytes(random) % 22_000;
        let name = SocketAddr::from_abstract_name(format!("osa-test-port-{port}")).unwrap();
        let Ok(hold) = UnixListener::bind_addr(&name) else {
            continue;
        };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap().push(hold);
            return port;
        }
    }
}
