//! Agents that connect under another name than the dispatcher's: a Proxy forwards TCP to it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use crate::agents::Home;
use crate::behind_http_proxy::HttpProxy;
use crate::deployment::{Deployment, Settings, Standalone};
use crate::existing::{Event, ExistingAgent, Identity};
use crate::existing_agents::wait_until;
use crate::site::PATIENCE;

/// The Proxy's name; nothing resolves it, agents are given its address.
const PROXY: &str = "proxy.example.com";

/// What a Proxy does: every connection is joined to one to the dispatcher, byte for byte.
struct Forwarder(SocketAddr);

impl Forwarder {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for inner in listener.incoming().map_while(Result::ok) {
                if let Ok(outer) = TcpStream::connect(target) {
                    join(&inner, &outer);
                    join(&outer, &inner);
                }
            }
        });
        Self(address)
    }
}

fn join(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        io::copy(&mut from, &mut to).ok();
        to.shutdown(std::net::Shutdown::Both).ok();
    });
}

fn with_proxy() -> Standalone {
    Standalone::start(&Settings {
        xmpp: "names = [\"proxy.example.com\"]",
        ..Settings::default()
    })
}

/// An agent that is configured for the Proxy.
fn behind_proxy(deployment: &Standalone, identity: Identity) -> Identity {
    Identity {
        host: PROXY.into(),
        xmpp: Forwarder::to(deployment.xmpp).0,
        https: Forwarder::to(deployment.https).0,
        ..identity
    }
}

#[test]
fn agent_behind_a_forwarding_proxy_is_pushed_like_any_other() {
    let mut deployment = with_proxy();
    let direct = deployment.add("direct");
    let proxied = behind_proxy(&deployment, deployment.add("proxied"));
    let account = proxied.credentials.lock().unwrap().username.clone();

    let mut direct = ExistingAgent::start(direct);
    let mut proxied = ExistingAgent::start(proxied);
    let logged_in = |event: &Event| matches!(event, Event::LoggedIn { .. });
    let (_, login) = proxied.wait_for(logged_in);
    let jid = format!("{account}@{PROXY}/osad");
    assert_eq!(login, Event::LoggedIn { jid, digest: false });
    for agent in [&mut direct, &mut proxied] {
        agent.wait_for(|event| *event == Event::Available);
        deployment.log().wait_for("step_recorded", "Online(true)");
    }

    let action = deployment.schedule(&["direct", "proxied"]);

    let end = Instant::now() + PATIENCE;
    while deployment.states(action).iter().any(|state| state != "completed") {
        assert!(Instant::now() < end, "{:?}", deployment.states(action));
        deployment.log().wait_for("step_recorded", "");
    }
    for agent in [&direct, &proxied] {
        assert!(agent.count(|event| *event == Event::Answered("checkin")) >= 2);
        assert_eq!(agent.count(|event| matches!(event, Event::Lost(_))), 0);
    }
}

#[test]
fn new_agent_behind_a_forwarding_proxy_is_pushed_like_any_other() {
    let mut deployment = with_proxy();
    let home = Home::add(&deployment.site, "client");
    let places = [(443, deployment.https), (5222, deployment.xmpp)];
    let names = HttpProxy::start_to(places.map(|(port, place)| (format!("{PROXY}:{port}"), place)).into());
    let list = format!("server_url = [\"https://{PROXY}/XMLRPC\"]\n{}", names.table());
    fs::write(home.path("osad.toml"), list).unwrap();
    let _agent = home.start();
    deployment.log().wait_for("client_logged_in", &format!("@{PROXY}/osad"));
    deployment.log().wait_for("step_recorded", "Online(true)");

    let action = deployment.schedule(&["client"]);

    wait_until("it is completed", || deployment.states(action) == ["completed"]);
}

#[test]
fn name_that_is_not_served_is_refused_before_tls() {
    let mut deployment = with_proxy();
    let identity = Identity {
        host: "another.example.com".into(),
        ..deployment.add("client")
    };

    let mut agent = ExistingAgent::start(identity);

    let (_, lost) = agent.wait_for(|event| matches!(event, Event::Lost(_)));
    let Event::Lost(why) = lost else { unreachable!() };
    assert!(why.contains("host-unknown"), "{why}");
    deployment.log().wait_for("session_closed", "not served here");
}

#[test]
fn name_without_a_certificate_stops_the_start_with_its_file() {
    let mut deployment = with_proxy();
    deployment.log.process.kill();
    let missing = deployment.site.path("data/tls/names/proxy.example.com.crt");
    std::fs::remove_file(&missing).unwrap();
    std::fs::remove_file(missing.with_extension("key")).unwrap();

    let ended = deployment.site.run(["check-config"]);

    ended.assert_failed(66, &["tls/names/proxy.example.com.crt", "does not exist"]);
    let ended = deployment.site.run(["init"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(missing.exists());
}
