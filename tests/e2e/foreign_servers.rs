//! The XMPP servers that sites have.

use crate::servers::{Ejabberd, Jabberd2, Prosody, XmppServer, features};

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'";
const REGISTER: &str = "<register xmlns='http://jabber.org/features/iq-register'/>";

fn serves_again_after_it_was_stopped_killed_and_lost_its_store(mut server: impl XmppServer) {
    let first = features(server.address(), "localhost").unwrap();
    server.stop();
    features(server.address(), "localhost").unwrap_err();
    server.delete_store();
    server.launch();
    server.kill();
    features(server.address(), "localhost").unwrap_err();
    server.launch();

    let last = features(server.address(), "localhost").unwrap();
    for offered in [first, last] {
        assert!(offered.contains(STARTTLS), "{offered}");
        assert!(offered.contains(REGISTER), "{offered}");
        assert!(!offered.contains("<required"), "{offered}");
    }
}

#[test]
fn jabberd2_serves_again_after_it_was_stopped_killed_and_lost_its_store() {
    serves_again_after_it_was_stopped_killed_and_lost_its_store(Jabberd2::start("localhost"));
}

#[test]
fn ejabberd_serves_again_after_it_was_stopped_killed_and_lost_its_store() {
    serves_again_after_it_was_stopped_killed_and_lost_its_store(Ejabberd::start("localhost"));
}

#[test]
fn prosody_serves_again_after_it_was_stopped_killed_and_lost_its_store() {
    serves_again_after_it_was_stopped_killed_and_lost_its_store(Prosody::start("localhost"));
}
