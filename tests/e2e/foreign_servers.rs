//! The XMPP servers that sites have.

use crate::servers::{Jabberd2, XmppServer, features};

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'";

#[test]
fn jabberd2_serves_again_after_it_was_stopped_killed_and_lost_its_store() {
    let mut server = Jabberd2::start("localhost");
    let features_of = |server: &Jabberd2| features(server.address(), "localhost");

    let first = features_of(&server).unwrap();
    server.stop();
    features_of(&server).unwrap_err();
    server.delete_store();
    server.launch();
    server.kill();
    features_of(&server).unwrap_err();
    server.launch();

    let last = features_of(&server).unwrap();
    for offered in [first, last] {
        assert!(offered.contains(STARTTLS), "{offered}");
        assert!(
            offered.contains("<register xmlns='http://jabber.org/features/iq-register'/>"),
            "{offered}"
        );
        assert!(!offered.contains("<required"), "{offered}");
    }
}
