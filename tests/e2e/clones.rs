//! Machines that were copied together with their identity.

use crate::agents::{Home, Logged, copy, site_with_ports};

#[test]
fn clone_with_the_same_systemid_is_named_in_the_log_and_by_explain() {
    let site = site_with_ports();
    let mut dispatcher = Logged::start(&site);
    let original = Home::add(&site, "client");
    let clone = Home::add(&site, "clone");
    copy(&original.path("systemid"), &clone.path("systemid"));

    let _original = original.start();
    dispatcher.wait_for("step_recorded", "Online(true)");
    let _clone = clone.start();
    let clash = dispatcher.wait_for("agents_clashed", "");
    // The original finds that its registration is gone, and registers again.
    dispatcher.wait_for("session_closed", "another agent registered as this system");
    dispatcher.wait_for("session_closed", "another agent registered as this system");

    assert_ne!(clash["jid"], clash["older_jid"]);
    let explained = site.run(["explain", "client", "--json"]).json();
    let verdict = explained["verdict"].as_str().unwrap();
    assert!(
        verdict.contains("another agent is registered as this system"),
        "{verdict}"
    );
    assert!(verdict.contains("delete its systemid"), "{verdict}");
    for jid in [&clash["jid"], &clash["older_jid"]] {
        assert!(verdict.contains(jid.as_str().unwrap()), "{verdict}");
    }
    assert!(explained["rivals"]["times"].as_i64() >= Some(2), "{explained}");
}
