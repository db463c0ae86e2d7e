//! `osad` behind an HTTP proxy, configured as existing agents are: in `up2date`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::agents::{Home, states};
use crate::deployment::{Deployment, Standalone};
use crate::existing_agents::wait_until;

/// "agent:open sesame" and "agent:close sesame".
const LOGIN: &str = "YWdlbnQ6b3BlbiBzZXNhbWU=";
const WRONG: &str = "YWdlbnQ6Y2xvc2Ugc2VzYW1l";

/// Lets through who has the login: to where it knows a target to be, else to its port on this machine.
pub struct HttpProxy {
    address: SocketAddr,
    connected: Arc<Mutex<Vec<String>>>,
}

impl HttpProxy {
    fn start() -> Self {
        Self::start_to(BTreeMap::new())
    }

    /// With the places of some targets, which are hosts and ports.
    pub fn start_to(places: BTreeMap<String, SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            connected: Arc::default(),
        };
        let (connected, places) = (Arc::clone(&proxy.connected), Arc::new(places));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (connected, places) = (Arc::clone(&connected), Arc::clone(&places));
                std::thread::spawn(move || serve(socket, &places, &connected));
            }
        });
        proxy
    }

    /// The table of an agent's configuration.
    pub fn table(&self) -> String {
        format!(
            "[proxy]\nserver = \"{}\"\nuser = \"agent\"\npassword = \"open sesame\"\n",
            self.address
        )
    }

    fn up2date(&self, password: &str) -> String {
        format!(
            "enableProxy[comment]=Use a HTTP Proxy\nenableProxy=1\nhttpProxy=http://{}\nenableProxyAuth=1\n\
             proxyUser=agent\nproxyPassword={password}\n",
            self.address
        )
    }
}

fn serve(mut agent: TcpStream, places: &BTreeMap<String, SocketAddr>, connected: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        agent.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).ok()?;
    if !head.contains(&format!("Proxy-Authorization: Basic {LOGIN}\r\n")) {
        return agent.write_all(b"HTTP/1.1 407 Who are you?\r\n\r\n").ok();
    }
    let target = head.split(' ').nth(1)?.to_owned();
    let place = match places.get(&target) {
        Some(place) => *place,
        None => SocketAddr::from(([127, 0, 0, 1], target.rsplit(':').next()?.parse().ok()?)),
    };
    let mut server = TcpStream::connect(place).ok()?;
    connected.lock().unwrap().push(target);
    agent.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (mut from_server, mut to_agent) = (server.try_clone().ok()?, agent.try_clone().ok()?);
    std::thread::spawn(move || {
        copy(&mut from_server, &mut to_agent).ok();
        to_agent.shutdown(Shutdown::Both).ok();
    });
    copy(&mut agent, &mut server).ok();
    server.shutdown(Shutdown::Both).ok()
}

#[test]
fn agent_behind_a_proxy_with_login_is_woken_and_tells_nobody_the_password() {
    let mut site = Standalone::usual();
    let proxy = HttpProxy::start();
    let home = Home::add(&site.site, "client");
    let up2date = home.path("up2date");
    let arguments = ["--up2date", up2date.to_str().unwrap(), "-vvv"];
    let log = || fs::read_to_string(home.path("log")).unwrap();

    fs::write(&up2date, proxy.up2date("close sesame")).unwrap();
    let mut agent = home.start_with(&arguments);
    let refused = "refuses the user \"agent\" or the password (status 407): correct proxyUser and proxyPassword";
    wait_until("the proxy's refusal is in the log", || log().contains(refused));
    agent.kill();
    assert_eq!(proxy.connected.lock().unwrap().len(), 0);

    fs::write(&up2date, proxy.up2date("open sesame")).unwrap();
    let _agent = home.start_with(&arguments);
    site.log.wait_for("step_recorded", "Online(true)");
    let action = site.schedule(&["client"]);
    wait_until("its check has run", || states(&site.site, action) == ["completed"]);

    let targets = proxy.connected.lock().unwrap().clone();
    let local = |address: SocketAddr| format!("localhost:{}", address.port());
    assert!(
        targets.contains(&local(site.https)) && targets.contains(&local(site.xmpp)),
        "{targets:?}"
    );
    for secret in ["sesame", LOGIN, WRONG] {
        assert!(!log().contains(secret), "{secret}: {}", log());
        assert!(!home.status().to_string().contains(secret));
    }
}
