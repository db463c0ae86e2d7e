//! How existing agents log in: digests, and those that know only TLS 1.0.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::deployment::{Deployment, Settings, Standalone};
use crate::existing::Event;
use crate::existing_agents::{answered, completed, pushable, wait_until};

#[test]
fn digest_is_used_where_it_is_switched_on_and_passwords_are_not_readable() {
    let mut deployment = Standalone::start(&Settings {
        accounts: "digest_login = true",
        ..Settings::default()
    });
    let identity = deployment.add("client");
    let password = identity.credentials.lock().unwrap().password.clone();

    let mut agent = pushable(&mut deployment, identity);
    let action = deployment.schedule(&["client"]);

    agent.wait_for(answered);
    wait_until("it is completed", || completed(&deployment, action));
    let by_digest = |event: &Event| matches!(event, Event::LoggedIn { digest: true, .. });
    assert_eq!(agent.count(by_digest), 1);
    let data = deployment.site.path("data");
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            let found = bytes
                .windows(password.len())
                .any(|window| window == password.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(data.join("passwords.key")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn passwords_kept_for_digests_are_lost_when_the_switch_is_off() {
    let mut deployment = Standalone::start(&Settings {
        accounts: "digest_login = true",
        ..Settings::default()
    });
    let identity = deployment.add("client");
    pushable(&mut deployment, identity.clone()).kill();

    let config = fs::read_to_string(deployment.site.config()).unwrap();
    fs::write(deployment.site.config(), config.replace("digest_login = true", "")).unwrap();
    deployment.log.process.kill();
    deployment.log = crate::agents::Logged::start(&deployment.site);
    let agent = pushable(&mut deployment, identity);

    let by_password = |event: &Event| matches!(event, Event::LoggedIn { digest: false, .. });
    assert_eq!(agent.count(by_password), 1);
    assert!(!deployment.site.path("data/passwords.key").exists());
}

/// A TLS 1.0 client hello with the cipher suites of its time.
const TLS10_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x00, 0x2f, 0x01, 0x00, 0x00, 0x2b, 0x03, 0x01, // record, handshake, version
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
    32, 0, // random, session id
    0x00, 0x04, 0x00, 0x35, 0x00, 0x2f, 0x01, 0x00, // suites, compression
];

#[test]
fn agent_that_knows_tls_1_0_only_is_named_in_the_log_with_the_way_out() {
    let mut deployment = Standalone::usual();
    let mut agent = TcpStream::connect(deployment.xmpp).unwrap();
    let address = agent.local_addr().unwrap().to_string();

    agent
        .write_all(
            b"<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' \
              xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
        )
        .unwrap();
    read_until(&mut agent, "</stream:features>");
    agent
        .write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' />")
        .unwrap();
    read_until(&mut agent, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    agent.write_all(TLS10_HELLO).unwrap();

    let line = deployment.log().wait_for("legacy_tls_refused", &address).to_string();
    assert!(line.contains("update it, or leave it on a jabberd"), "{line}");
}

fn read_until(stream: &mut TcpStream, end: &str) {
    let mut heard = Vec::new();
    let mut byte = [0];
    while !heard.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
}
