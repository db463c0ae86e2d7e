//! Commands beside a Satellite: what is its business is refused, whatever else is wrong.

use osa::store::postgres::PORT;

use crate::beside_satellite::{BesideSatellite, configured};
use crate::cluster::Database;
use crate::deployment::{Deployment, HURRY, USUAL};
use crate::site::Site;

fn refuses_what_is_the_satellites(site: &Site) {
    let told = [
        site.run(["schedule", "--all"]),
        site.run(["schedule", "nobody"]),
        site.run(["systems", "add", "nobody"]),
        site.run(["systems", "remove", "nobody"]),
    ];
    for ended in told {
        ended.assert_failed(69, &["belongs to the Satellite", "use its web interface or its API"]);
    }
}

#[test]
fn what_is_the_satellites_is_refused_before_anything_else_is_looked_at() {
    let database = Database::satellite();
    let (site, _) = configured(&database, "", HURRY);
    refuses_what_is_the_satellites(&site);
    let nowhere = Database {
        socket: site.path("nowhere"),
        port: PORT,
        name: "none".to_owned(),
        is_dropped: false,
    };
    refuses_what_is_the_satellites(&configured(&nowhere, "", HURRY).0);

    let beside = BesideSatellite::start(&["migrate"], USUAL);
    refuses_what_is_the_satellites(&beside.site);
}

#[test]
fn action_of_a_far_year_spoils_no_answer() {
    let beside = BesideSatellite::start(&["migrate"], USUAL);
    beside.add("client");
    for time in ["'20266-01-01'", "'0044-03-15 BC'", "'infinity'"] {
        beside.schedule_at(&["client"], time);
    }

    let told = beside.site.run(["actions", "--json"]).json();

    let mut times: Vec<&str> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["at"].as_str().unwrap())
        .collect();
    times.sort_unstable();
    let last = "9999-12-31T23:59:59";
    assert_eq!(times[0], "0000-01-01T00:00:00.000Z");
    assert!(times[1].starts_with(last) && times[2].starts_with(last), "{times:?}");
    let explained = beside.site.run(["explain", "client"]);
    assert_eq!(explained.code, Some(0), "{explained:?}");
}
