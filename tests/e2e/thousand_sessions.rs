//! The site's jabberd2 is killed under a thousand sessions and comes back. The development program has the agents and
//! judges: it fails if who is there is shown wrong for 90 s, and if an action is lost or carried out twice.

use crate::measurements::measure;

#[test]
fn server_that_is_killed_under_a_thousand_sessions_costs_nothing_that_is_due() {
    let outage = ["outage", "--agents=1000", "--outage-secs=1"];

    let told = measure(&outage, &["--repeats=2", "--settle-secs=1", "--json"]);

    for what in ["killed_until_all_shown_offline_s", "served_until_all_due_done_s"] {
        assert_eq!(told[what].as_array().unwrap().len(), 2, "{told}");
    }
}
